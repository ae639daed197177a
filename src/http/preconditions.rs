//! Conditional requests ([RFC 9110 §13](https://www.rfc-editor.org/rfc/rfc9110#name-conditional-requests)).
//!
//! Owns the parsing of the conditions, and their evaluation against one state of a resource. Does not own
//! when that state is read: that is `service`.

use std::{fmt, time::SystemTime};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, Method, header, request::Parts},
};

use super::{
    Problem,
    entity_tags::{Tag, TagCondition},
};
use crate::{
    domain::Timestamp,
    error::{Error, Result},
};

/// The entity tag and the date of one state of a resource.
#[derive(Clone, Debug)]
pub(crate) struct Validator {
    tag: Tag,
    /// When that state began. Headers have only whole seconds.
    modified: Timestamp,
}

impl Validator {
    /// A validator with a strong entity tag. `tag` has no quotes.
    pub(crate) fn new(tag: impl fmt::Display, modified: Timestamp) -> Self {
        Self { tag: Tag::strong(tag), modified }
    }

    /// The value of `ETag`.
    pub(crate) fn etag(&self) -> String {
        self.tag.to_string()
    }

    /// The value of `Last-Modified`.
    pub(crate) fn last_modified(&self) -> String {
        httpdate::fmt_http_date(SystemTime::from(self.modified))
    }

    fn is_newer_than(&self, date: Timestamp) -> bool {
        self.modified.timestamp() > date.timestamp()
    }
}

/// The conditions of a request.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "each field has the name of its header")]
pub(crate) struct Preconditions {
    if_match: Option<TagCondition>,
    if_unmodified_since: Option<Timestamp>,
    if_none_match: Option<TagCondition>,
    if_modified_since: Option<Timestamp>,
}

/// Whether a client's copy is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The client has no copy, or one of another state. The server sends the resource.
    Modified,
    /// The client's copy is current. The server sends 304.
    NotModified,
}

impl Preconditions {
    /// Parses the headers of a request. Refuses a malformed condition of a change: ignoring it would make a change that the
    /// client wanted to prevent. In a read, ignores a malformed date, and treats a malformed `If-None-Match` as one that
    /// matches nothing.
    ///
    /// # Errors
    /// `INVALID_INPUT`.
    pub(crate) fn read(method: &Method, headers: &HeaderMap) -> Result<Self> {
        let is_read = method == Method::GET || method == Method::HEAD;
        let if_none_match = match tags(headers, &header::IF_NONE_MATCH, "if_none_match") {
            Err(_) if is_read => Some(TagCondition::Listed(Vec::new())),
            read => read?,
        };
        let if_unmodified_since = match date(headers, &header::IF_UNMODIFIED_SINCE) {
            Err(_) if !is_read => return Err(Error::invalid("if_unmodified_since", "must be one HTTP date")),
            read => read.unwrap_or_default(),
        };
        Ok(Self {
            if_match: tags(headers, &header::IF_MATCH, "if_match")?,
            if_unmodified_since,
            if_none_match,
            // RFC 9110 §13.1.3: `If-Modified-Since` applies only to GET and HEAD.
            if_modified_since: date(headers, &header::IF_MODIFIED_SINCE).unwrap_or_default().filter(|_| is_read),
        })
    }

    /// Whether the request has no conditions.
    pub(crate) fn is_empty(&self) -> bool {
        let has_tags = self.if_match.is_some() || self.if_none_match.is_some();
        !has_tags && self.if_unmodified_since.is_none() && self.if_modified_since.is_none()
    }

    /// Whether the conditions permit a change to a resource in this state. `None` is a resource that does not exist.
    pub(crate) fn permit(&self, current: Option<&Validator>) -> bool {
        let is_known = |names: &TagCondition| current.is_some_and(|current| names.match_weakly(&current.tag));
        self.allows(current) && !self.if_none_match.as_ref().is_some_and(is_known)
    }

    /// Whether the client's copy is current, for a read of a resource in this state.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED`.
    pub(crate) fn freshness(&self, current: &Validator) -> Result<Freshness> {
        if !self.allows(Some(current)) {
            return Err(Error::precondition_failed());
        }
        let is_known = match &self.if_none_match {
            Some(names) => names.match_weakly(&current.tag),
            None => self.if_modified_since.is_some_and(|since| !current.is_newer_than(since)),
        };
        Ok(if is_known { Freshness::NotModified } else { Freshness::Modified })
    }

    /// Whether the entity tag is enough to answer a read, without the date.
    pub(crate) fn need_only_the_tag(&self) -> bool {
        self.if_none_match.is_some() && self.if_match.is_none() && self.if_unmodified_since.is_none()
    }

    /// The `ETag` with this strong tag, if `If-None-Match` lists it. `tag` has no quotes.
    pub(crate) fn if_none_match_lists(&self, tag: impl fmt::Display) -> Option<String> {
        let tag = Tag::strong(tag);
        self.if_none_match.as_ref().filter(|names| names.match_weakly(&tag)).map(|_| tag.to_string())
    }

    /// Evaluates `If-Match`, or `If-Unmodified-Since` if there is no `If-Match`.
    fn allows(&self, current: Option<&Validator>) -> bool {
        match (&self.if_match, self.if_unmodified_since) {
            (Some(names), _) => current.is_some_and(|current| names.match_strongly(&current.tag)),
            (None, Some(since)) => current.is_none_or(|current| !current.is_newer_than(since)),
            (None, None) => true,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::read(&parts.method, &parts.headers)?)
    }
}

/// Whether `If-Range` allows a range of a resource in this state: the header is absent, or is this strong tag, or is exactly
/// this date.
pub(crate) fn allows_range(headers: &HeaderMap, current: &Validator) -> bool {
    if !headers.contains_key(header::IF_RANGE) {
        return true;
    }
    match tags(headers, &header::IF_RANGE, "if_range") {
        Ok(Some(TagCondition::Listed(tags))) => matches!(&*tags, [only] if only.equals_strongly(&current.tag)),
        Ok(_) => false,
        Err(_) => date(headers, &header::IF_RANGE)
            .is_ok_and(|date| date.is_some_and(|date| date.timestamp() == current.modified.timestamp())),
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName, field: &'static str) -> Result<Option<TagCondition>> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    // RFC 9110 §5.2: several lines of one field mean the same as one line with commas.
    let value = headers.get_all(name).iter().map(|line| line.as_bytes()).collect::<Vec<_>>().join(&b","[..]);
    let names = TagCondition::parse(&value);
    names.map(Some).ok_or_else(|| Error::invalid(field, "must be * or entity tags in quotes, such as \"98\""))
}

/// A malformed date, or more than one.
struct InvalidDate;

fn date(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Timestamp>, InvalidDate> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| InvalidDate)?;
            httpdate::parse_http_date(text).map(|date| Some(date.into())).map_err(|_| InvalidDate)
        }
        (Some(_), Some(_)) => Err(InvalidDate),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    /// A state of version 7 that began within the second `NOW`.
    fn current() -> Validator {
        let began = Timestamp::from(httpdate::parse_http_date(NOW).unwrap()) + chrono::TimeDelta::milliseconds(300);
        Validator::new(7, began)
    }

    fn read(method: &Method, headers: &[(&'static str, &'static str)]) -> Result<Preconditions> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Preconditions::read(method, &map)
    }

    #[test]
    fn the_conditions_of_a_read_are_evaluated_in_the_order_of_the_rfc() {
        for (headers, status) in [
            (&[][..], 200),
            (&[("if-match", "\"7\"")], 200),
            (&[("if-match", "\"6\", \"7\"")], 200),
            (&[("if-match", "\"6\""), ("if-match", "\"7\"")], 200),
            (&[("if-match", "*")], 200),
            (&[("if-match", "W/\"7\"")], 412),
            (&[("if-match", "\"6\"")], 412),
            (&[("if-match", "\"6\""), ("if-none-match", "\"7\"")], 412),
            (&[("if-match", "\"7\""), ("if-unmodified-since", BEFORE)], 200),
            (&[("if-unmodified-since", BEFORE)], 412),
            (&[("if-unmodified-since", NOW)], 200),
            (&[("if-unmodified-since", "Sunday, 06-Nov-94 08:49:37 GMT")], 200),
            (&[("if-unmodified-since", "Sun Nov  6 08:49:36 1994")], 412),
            (&[("if-unmodified-since", "yesterday")], 200),
            (&[("if-none-match", "\"7\"")], 304),
            (&[("if-none-match", "W/\"7\"")], 304),
            (&[("if-none-match", "\"6\",\"7\"")], 304),
            (&[("if-none-match", "*")], 304),
            (&[("if-none-match", "\"77\"")], 200),
            (&[("if-none-match", "7")], 200),
            (&[("if-none-match", "")], 200),
            (&[("if-none-match", "\"6\""), ("if-modified-since", AFTER)], 200),
            (&[("if-none-match", "7"), ("if-modified-since", AFTER)], 200),
            (&[("if-modified-since", BEFORE)], 200),
            (&[("if-modified-since", NOW)], 304),
            (&[("if-modified-since", AFTER)], 304),
            (&[("if-modified-since", "never")], 200),
            (&[("if-modified-since", AFTER), ("if-modified-since", AFTER)], 200),
            (&[("if-match", "\"7\""), ("if-none-match", "\"7\"")], 304),
        ] {
            let answer = match read(&Method::GET, headers).unwrap().freshness(&current()) {
                Ok(Freshness::Modified) => 200,
                Ok(Freshness::NotModified) => 304,
                Err(error) => error.code().http_status(),
            };
            assert_eq!(answer, status, "{headers:?}");
        }
    }

    #[test]
    fn a_change_is_permitted_only_in_a_state_that_meets_its_conditions() {
        for (headers, there, absent) in [
            (&[][..], true, true),
            (&[("if-match", "\"7\"")], true, false),
            (&[("if-match", "W/\"7\"")], false, false),
            (&[("if-match", "*")], true, false),
            (&[("if-match", "\"6\"")], false, false),
            (&[("if-none-match", "*")], false, true),
            (&[("if-none-match", "\"7\"")], false, true),
            (&[("if-none-match", "\"6\"")], true, true),
            (&[("if-unmodified-since", NOW)], true, true),
            (&[("if-unmodified-since", BEFORE)], false, true),
            (&[("if-modified-since", AFTER)], true, true),
        ] {
            let conditions = read(&Method::DELETE, headers).unwrap();
            assert_eq!(conditions.permit(Some(&current())), there, "{headers:?}");
            assert_eq!(conditions.permit(None), absent, "{headers:?} without a resource");
        }
    }

    #[test]
    fn a_malformed_condition_of_a_change_is_refused() {
        for (method, header, field) in [
            (Method::GET, ("if-match", "7"), "if_match"),
            (Method::DELETE, ("if-match", ""), "if_match"),
            (Method::DELETE, ("if-match", "\"7"), "if_match"),
            (Method::DELETE, ("if-match", "*, \"7\""), "if_match"),
            (Method::DELETE, ("if-none-match", "7"), "if_none_match"),
            (Method::DELETE, ("if-unmodified-since", "yesterday"), "if_unmodified_since"),
        ] {
            assert_eq!(read(&method, &[header]).unwrap_err().field(), Some(field), "{header:?}");
        }
    }

    #[test]
    fn if_range_allows_a_range_only_of_the_same_state() {
        for (value, allowed) in [
            ("\"7\"", true),
            ("W/\"7\"", false),
            ("\"6\"", false),
            ("\"7\", \"7\"", false),
            ("*", false),
            (NOW, true),
            (BEFORE, false),
            (AFTER, false),
            ("7", false),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_RANGE, HeaderValue::from_static(value))]);
            assert_eq!(allows_range(&headers, &current()), allowed, "{value}");
        }
        assert!(allows_range(&HeaderMap::new(), &current()));
        assert_eq!(current().last_modified(), NOW);
    }
}
