//! `Content-Digest` ([RFC 9530](https://www.rfc-editor.org/rfc/rfc9530)), a structured field
//! ([RFC 9651](https://www.rfc-editor.org/rfc/rfc9651)), and other headers that carry a digest.
//!
//! Owns the list of digests that the server checks: SHA-256 and SHA-512 in `Content-Digest`. It refuses all others, because
//! a client that sends a digest relies on the check.

use axum::http::{HeaderMap, HeaderName, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use sha2::{Digest, Sha512};

use crate::{
    domain::Sha256Digest,
    error::{Error, Result},
};

const HEADER: &str = "content-digest";
/// The name of `Content-Digest` in errors.
const FIELD: &str = "content_digest";
const OF_REPRESENTATION: &str = "repr-digest";
const USE_INSTEAD: &str = "send Content-Digest: sha-256=:BASE64: as a header instead";

/// The digests of the content that a request declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContentDigest {
    /// The SHA-256.
    pub sha256: Option<Sha256Digest>,
    pub(super) sha512: Option<[u8; 64]>,
}

impl ContentDigest {
    /// Reads the headers. `Content-Digest` may name other algorithms too, if it also has a SHA-256 or a SHA-512.
    ///
    /// # Errors
    /// `INVALID_INPUT` for a malformed header, and for a digest that the server does not check.
    pub(crate) fn declared(headers: &HeaderMap) -> Result<Self> {
        refuse_unchecked(headers)?;
        let Some(fields) = dictionary(headers, HEADER, FIELD)? else { return Ok(Self::default()) };
        let sha256 = digest(&fields, "sha-256", FIELD)?.map(Sha256Digest::from);
        let sha512 = digest(&fields, "sha-512", FIELD)?;
        match (sha256, sha512) {
            (None, None) => Err(Error::invalid(FIELD, "the server checks only sha-256 and sha-512; send one of them")),
            _ => Ok(Self { sha256, sha512 }),
        }
    }

    /// Whether there is a digest beside the SHA-256.
    pub(crate) fn has_sha512(&self) -> bool {
        self.sha512.is_some()
    }

    /// Checks the whole content.
    ///
    /// # Errors
    /// `CHECKSUM_MISMATCH`.
    pub(super) fn check(&self, content: &[u8]) -> Result<()> {
        if let Some(declared) = self.sha256 {
            check_sha256(declared, Sha256Digest::of(content))?;
        }
        self.sha512.map_or(Ok(()), |declared| check_sha512(&declared, &Sha512::digest(content).into()))
    }
}

/// Takes `Repr-Digest` out of the headers: the SHA-256 of a whole file, of which the body may be a part.
///
/// # Errors
/// `INVALID_INPUT` for a malformed header, and for one without a SHA-256.
pub(crate) fn take_digest_of_file(headers: &mut HeaderMap) -> Result<Option<Sha256Digest>> {
    let field = "repr_digest";
    let fields = dictionary(headers, OF_REPRESENTATION, field)?;
    headers.remove(OF_REPRESENTATION);
    let Some(fields) = fields else { return Ok(None) };
    let sha256 = digest(&fields, "sha-256", field)?;
    let unknown = || Error::invalid(field, "of a file, the server checks only the sha-256; send that");
    Ok(Some(sha256.ok_or_else(unknown)?.into()))
}

/// Compares two SHA-256 digests of a body.
pub(super) fn check_sha256(declared: Sha256Digest, actual: Sha256Digest) -> Result<()> {
    if declared == actual { Ok(()) } else { Err(Error::checksum_mismatch("body", declared, actual)) }
}

/// Compares two SHA-512 digests of a body.
pub(super) fn check_sha512(declared: &[u8; 64], actual: &[u8; 64]) -> Result<()> {
    if declared == actual { Ok(()) } else { Err(Error::body_mismatch("SHA-512", declared, actual)) }
}

/// Refuses a digest in a trailer. The server checks digests only in headers.
pub(super) fn refuse_in_trailer<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<()> {
    match names.find(|name| names_digest(&name.to_ascii_lowercase())) {
        Some(name) => Err(Error::invalid("trailer", format!("the server does not check {name} there; {USE_INSTEAD}"))),
        None => Ok(()),
    }
}

fn refuse_unchecked(headers: &HeaderMap) -> Result<()> {
    let trailers = headers.get_all(header::TRAILER).iter().filter_map(|value| value.to_str().ok());
    refuse_in_trailer(trailers.flat_map(|value| value.split(',')).map(str::trim))?;
    let is_unchecked = |name: &&HeaderName| name.as_str() != HEADER && names_digest(name.as_str());
    match headers.keys().find(is_unchecked) {
        Some(name) => Err(Error::malformed(format!("the server does not check {name}; {USE_INSTEAD}"))),
        None => Ok(()),
    }
}

/// Whether a field carries a digest, by its name. It covers the fields of S3, Google Cloud Storage and Azure.
fn names_digest(name: &str) -> bool {
    let ends = ["digest", "md5", "sha1", "sha256", "sha512", "crc32", "crc32c", "crc64", "crc64nvme"];
    let is_one = name.contains("checksum") || name == "x-goog-hash" || name == "x-amz-trailer";
    !name.starts_with("want-") && (is_one || ends.iter().any(|end| name.ends_with(end)))
}

/// The digests in a header. `None` if there is no such header.
fn dictionary(headers: &HeaderMap, name: &str, field: &'static str) -> Result<Option<Dictionary>> {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    if values.is_empty() {
        return Ok(None);
    }
    let fields = Parser::new(&values.join(", ")).parse();
    fields.map(Some).map_err(|_| Error::invalid(field, "must be of the form sha-256=:BASE64:"))
}

fn digest<const SIZE: usize>(fields: &Dictionary, algorithm: &str, field: &'static str) -> Result<Option<[u8; SIZE]>> {
    let invalid = |problem: String| Error::invalid(field, problem);
    let bytes = match fields.get(algorithm) {
        None => return Ok(None),
        Some(ListEntry::Item(item)) => match &item.bare_item {
            BareItem::ByteSequence(bytes) => Some(bytes),
            _ => None,
        },
        Some(ListEntry::InnerList(_)) => None,
    };
    let bytes = bytes.ok_or_else(|| invalid("the digest must be base64 between colons".to_owned()))?;
    let digest = bytes.as_slice().try_into();
    digest.map(Some).map_err(|_| invalid(format!("a {algorithm} digest must have {SIZE} bytes")))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const ABC: &str = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
    const ABC_512: &str =
        "sha-512=:3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==:";

    fn read(value: &str) -> Result<ContentDigest> {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(HEADER), HeaderValue::from_str(value).unwrap())]);
        ContentDigest::declared(&headers)
    }

    #[test]
    fn known_digests_are_read_beside_unknown_ones() {
        let abc = Some(Sha256Digest::of(b"abc"));
        assert_eq!(read(ABC).unwrap(), ContentDigest { sha256: abc, sha512: None });
        assert_eq!(read(&format!("md5=:AAAA:, {ABC}")).unwrap().sha256, abc);
        let both = read(&format!("{ABC_512}, {ABC}")).unwrap();
        assert_eq!((both.sha256, both.sha512.is_some()), (abc, true));
        assert_eq!(ContentDigest::declared(&HeaderMap::new()).unwrap(), ContentDigest::default());
    }

    #[test]
    fn every_declared_digest_is_checked() {
        for declared in [ABC.to_owned(), ABC_512.to_owned(), format!("{ABC}, {ABC_512}")] {
            let declared = read(&declared).unwrap();
            assert!(declared.check(b"abc").is_ok());
            assert_eq!(declared.check(b"abd").unwrap_err().code().as_str(), "CHECKSUM_MISMATCH");
        }
        // One wrong digest is enough, even beside a right one.
        let of_abd = "sha-256=:pS0VnyYrLG3bckphhAvvw26zDIiHekAwtly+himESck=:";
        assert!(read(&format!("{of_abd}, {ABC_512}")).unwrap().check(b"abc").is_err());
    }

    #[test]
    fn malformed_and_unknown_digests_are_refused() {
        for bad in [
            "md5=:AAAA:",
            "sha-256=abc",
            "sha-256=:AAAA:",
            "sha-512=:AAAA:",
            "sha-256",
            "",
            "garbage\"",
            "sha-256=:***:",
            "sha-256=(:AAAA:)",
            &format!("{ABC}, sha-512=:AAAA:"),
        ] {
            assert_eq!(read(bad).unwrap_err().field(), Some("content_digest"), "{bad}");
        }
    }
}
