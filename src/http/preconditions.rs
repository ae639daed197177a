//! Conditional requests ([RFC 9110 §13](https://www.rfc-editor.org/rfc/rfc9110#name-conditional-requests)).
//!
//! Owns which conditions a request sets, and what they say of a state of its target. That a change sees the same state as
//! its conditions is the service's: it asks within the transaction.

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

/// What tells one state of a resource from another.
#[derive(Clone, Debug)]
pub struct Validator {
    tag: Tag,
    /// When that state began. Headers have whole seconds.
    modified: Timestamp,
}

impl Validator {
    /// A state that has this text for a strong entity tag, without the quotes.
    pub fn new(tag: impl fmt::Display, modified: Timestamp) -> Self {
        Self { tag: Tag::strong(tag), modified }
    }

    /// The value of `ETag`.
    pub fn etag(&self) -> String {
        self.tag.to_string()
    }

    /// The value of `Last-Modified`.
    pub fn last_modified(&self) -> String {
        httpdate::fmt_http_date(SystemTime::from(self.modified))
    }

    fn is_newer_than(&self, date: Timestamp) -> bool {
        self.modified.timestamp() > date.timestamp()
    }
}

/// The conditions of a request.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "each field has the name of its header")]
pub struct Preconditions {
    if_match: Option<TagCondition>,
    if_unmodified_since: Option<Timestamp>,
    if_none_match: Option<TagCondition>,
    if_modified_since: Option<Timestamp>,
}

/// What a read has to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The client has another state, or none.
    Modified,
    /// The client has this state: 304.
    NotModified,
}

impl Preconditions {
    /// Reads the headers. A condition that guards a change and cannot be read is refused: to ignore it would be to make the
    /// change that it guards. In a read it is as if it were not there, or did not name what the client has.
    ///
    /// # Errors
    /// `INVALID_INPUT`.
    pub fn read(method: &Method, headers: &HeaderMap) -> Result<Self> {
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
            // Of a change it asks nothing.
            if_modified_since: date(headers, &header::IF_MODIFIED_SINCE).unwrap_or_default().filter(|_| is_read),
        })
    }

    /// Whether the request sets none.
    pub fn is_empty(&self) -> bool {
        let has_tags = self.if_match.is_some() || self.if_none_match.is_some();
        !has_tags && self.if_unmodified_since.is_none() && self.if_modified_since.is_none()
    }

    /// Whether a change may be made to what is in this state, or is not there at all.
    pub fn permit(&self, current: Option<&Validator>) -> bool {
        let is_known = |names: &TagCondition| current.is_some_and(|current| names.match_weakly(&current.tag));
        self.allows(current) && !self.if_none_match.as_ref().is_some_and(is_known)
    }

    /// What a read of something in this state has to answer.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED`.
    pub fn freshness(&self, current: &Validator) -> Result<Freshness> {
        if !self.allows(Some(current)) {
            return Err(Error::precondition_failed());
        }
        let is_known = match &self.if_none_match {
            Some(names) => names.match_weakly(&current.tag),
            None => self.if_modified_since.is_some_and(|since| !current.is_newer_than(since)),
        };
        Ok(if is_known { Freshness::NotModified } else { Freshness::Modified })
    }

    /// Whether the entity tag alone says what a read has to answer.
    pub fn need_only_the_tag(&self) -> bool {
        self.if_none_match.is_some() && self.if_match.is_none() && self.if_unmodified_since.is_none()
    }

    /// Whether `If-None-Match` names this tag, which stands here without its quotes.
    pub fn if_none_match_lists(&self, tag: impl fmt::Display) -> bool {
        self.if_none_match.as_ref().is_some_and(|names| names.match_weakly(&Tag::strong(tag)))
    }

    /// `If-Match`, and only without it `If-Unmodified-Since`.
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

/// Whether `If-Range` allows a part of the whole in this state: it is absent, or names the tag (strongly) or the very date.
pub fn allows_range(headers: &HeaderMap, current: &Validator) -> bool {
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
    // Several lines mean the same as one with commas between.
    let value = headers.get_all(name).iter().map(|line| line.as_bytes()).collect::<Vec<_>>().join(&b","[..]);
    let names = TagCondition::parse(&value);
    names.map(Some).ok_or_else(|| Error::invalid(field, "must be * or entity tags in quotes, such as \"98\""))
}

/// A date that cannot be read, or one of several.
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
    fn the_conditions_of_a_read_are_looked_at_in_the_order_of_the_rfc() {
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
    fn a_change_is_permitted_to_what_its_conditions_name() {
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
            assert_eq!(conditions.permit(None), absent, "{headers:?}, of what is not there");
        }
    }

    #[test]
    fn a_condition_that_cannot_be_read_guards_no_change() {
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
    fn a_range_is_of_the_state_that_the_client_has() {
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
