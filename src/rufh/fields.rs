//! The fields of the protocol in the head of a request and of an answer, which are structured fields
//! ([RFC 9651](https://www.rfc-editor.org/rfc/rfc9651)).
//!
//! Owns their names and their syntax. A field with a value of another type counts as absent, as the protocol demands.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, DictSerializer, Dictionary, Item, KeyRef, ListEntry, Parser};

use crate::domain::Sha256Digest;

pub(super) const COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
pub(super) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const LIMIT: HeaderName = HeaderName::from_static("upload-limit");
pub(super) const INTEROP_VERSION: HeaderName = HeaderName::from_static("upload-draft-interop-version");
/// In versions before 4, in place of `Upload-Complete`, with the opposite meaning.
pub(super) const INCOMPLETE: HeaderName = HeaderName::from_static("upload-incomplete");
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The largest number in a structured field.
const MAX_INTEGER: u64 = 999_999_999_999_999;
/// The media type of bytes that a client appends.
pub(super) const MEDIA_TYPE: &str = "application/partial-upload";

/// A boolean in a request.
pub(super) fn boolean(headers: &HeaderMap, name: &HeaderName) -> Option<bool> {
    match item(headers, name)? {
        BareItem::Boolean(value) => Some(value),
        _ => None,
    }
}

/// A number in a request, at least 0.
pub(super) fn integer(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    match item(headers, name)? {
        BareItem::Integer(value) => value.try_into().ok(),
        _ => None,
    }
}

fn item(headers: &HeaderMap, name: &HeaderName) -> Option<BareItem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    Parser::new(value.to_str().ok()?).parse::<Item>().ok().map(|item| item.bare_item)
}

/// Whether a client wants the SHA-256 of the file in `Repr-Digest`
/// ([RFC 9530](https://www.rfc-editor.org/rfc/rfc9530#name-integrity-preference-fields)).
pub(super) fn wants_digest(headers: &HeaderMap) -> bool {
    let values: Vec<_> = headers.get_all("want-repr-digest").iter().filter_map(|value| value.to_str().ok()).collect();
    let wanted: Option<Dictionary> = Parser::new(&values.join(", ")).parse().ok();
    let preference = wanted.as_ref().and_then(|wanted| wanted.get("sha-256"));
    matches!(preference, Some(ListEntry::Item(Item { bare_item: BareItem::Integer(weight), .. })) if *weight > 0.into())
}

/// `Upload-Complete` in an answer.
pub(super) fn complete(is_complete: bool) -> (HeaderName, HeaderValue) {
    (COMPLETE, HeaderValue::from_static(if is_complete { "?1" } else { "?0" }))
}

/// `Upload-Offset` in an answer.
pub(super) fn offset(bytes: u64) -> (HeaderName, HeaderValue) {
    (OFFSET, HeaderValue::from(bytes))
}

/// `Upload-Limit` in an answer.
pub(super) fn limit(limits: &[(&str, u64)]) -> (HeaderName, HeaderValue) {
    let members: Vec<_> = limits.iter().map(|(key, number)| format!("{key}={}", number.min(&MAX_INTEGER))).collect();
    (LIMIT, HeaderValue::try_from(members.join(", ")).expect("keys and digits are printable"))
}

/// `Repr-Digest` in an answer: the digest of the whole file.
pub(super) fn repr_digest(sha256: Sha256Digest) -> (HeaderName, HeaderValue) {
    let mut digests = DictSerializer::new();
    digests.bare_item(KeyRef::constant("sha-256"), sha256.as_bytes().as_slice());
    let digests = digests.finish().unwrap_or_default();
    (REPR_DIGEST, HeaderValue::try_from(digests).expect("base64 is printable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (OFFSET, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_value_of_another_type_counts_as_absent() {
        assert_eq!(integer(&headers(&["7"]), &OFFSET), Some(7));
        assert_eq!(integer(&headers(&["7;a=b"]), &OFFSET), Some(7));
        for values in [&["-1"][..], &["?1"], &["7.0"], &["\"7\""], &["7, 8"], &["7", "7"], &["x7"], &[""], &[]] {
            assert_eq!(integer(&headers(values), &OFFSET), None, "{values:?}");
        }
        assert_eq!(boolean(&headers(&["?1"]), &OFFSET), Some(true));
        assert_eq!(boolean(&headers(&["?0"]), &OFFSET), Some(false));
        for value in ["1", "true", "?2", "??1"] {
            assert_eq!(boolean(&headers(&[value]), &OFFSET), None, "{value}");
        }
    }

    #[test]
    fn a_digest_is_wanted_with_a_weight_above_zero() {
        let wants = |value: &'static str| {
            wants_digest(&HeaderMap::from_iter([(
                HeaderName::from_static("want-repr-digest"),
                HeaderValue::from_static(value),
            )]))
        };
        assert!(wants("sha-256=1") && wants("sha-512=10, sha-256=3"));
        for value in ["sha-256=0", "sha-512=1", "sha-256", "x y", ""] {
            assert!(!wants(value), "{value}");
        }
        assert!(!wants_digest(&HeaderMap::new()));
    }

    #[test]
    fn limits_are_a_dictionary_of_numbers_with_15_digits() {
        let (_, value) = limit(&[("max-size", u64::MAX), ("min-size", 0)]);
        assert_eq!(value, "max-size=999999999999999, min-size=0");
    }
}
