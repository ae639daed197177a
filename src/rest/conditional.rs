//! Conditional requests ([RFC 9110 §13](https://www.rfc-editor.org/rfc/rfc9110#name-conditional-requests)).

use axum::http::{HeaderMap, HeaderName, header};

/// An entity tag: text that changes when what it stands for does, in quotes.
pub(super) fn etag(text: impl std::fmt::Display) -> String {
    format!("\"{text}\"")
}

/// Whether `If-None-Match` names this tag, so that 304 is the answer. Compared weakly, as it says there.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    lists(headers, &header::IF_NONE_MATCH, |tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// Whether `If-Range` allows a part of the whole: it is absent, or names this tag. Compared strongly.
pub(super) fn allows_range(headers: &HeaderMap, etag: &str) -> bool {
    !headers.contains_key(header::IF_RANGE) || lists(headers, &header::IF_RANGE, |tag| tag == etag)
}

fn lists(headers: &HeaderMap, name: &HeaderName, matches: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|tag| matches(tag.trim()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_tag_is_found_in_every_form_that_the_header_has() {
        for (value, known) in [
            ("\"7\"", true),
            ("W/\"7\"", true),
            ("\"6\", \"7\"", true),
            ("*", true),
            ("\"77\"", false),
            ("7", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(value))]);
            assert_eq!(is_known(&headers, &etag(7)), known, "{value}");
        }
        assert!(!is_known(&HeaderMap::new(), &etag(7)));
    }
}
