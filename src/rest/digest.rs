//! `Content-Digest` ([RFC 9530](https://www.rfc-editor.org/rfc/rfc9530)), a structured field
//! ([RFC 9651](https://www.rfc-editor.org/rfc/rfc9651)).

use axum::http::HeaderMap;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::{
    domain::Sha256Digest,
    error::{Error, Result},
};

pub(super) const HEADER: &str = "content-digest";

/// The SHA-256 that the header declares, if it is there. Other algorithms may stand beside it; alone they are refused,
/// since the sender would believe that something was checked.
pub(super) fn declared(headers: &HeaderMap) -> Result<Option<Sha256Digest>> {
    let invalid = |problem| Error::invalid("content_digest", problem);
    let values: Vec<_> = headers.get_all(HEADER).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    if values.is_empty() {
        return Ok(None);
    }
    let fields: Dictionary =
        Parser::new(&values.join(", ")).parse().map_err(|_| invalid("must be of the form sha-256=:BASE64:"))?;
    let Some(ListEntry::Item(item)) = fields.get("sha-256") else {
        return Err(invalid("only sha-256 is checked; send that"));
    };
    let BareItem::ByteSequence(bytes) = &item.bare_item else {
        return Err(invalid("the digest must stand between colons, in base64"));
    };
    let digest = Sha256Digest::try_from(bytes.as_slice());
    digest.map(Some).map_err(|_| invalid("a SHA-256 digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const ABC: &str = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";

    fn read(value: &str) -> Result<Option<Sha256Digest>> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_str(value).unwrap());
        declared(&headers)
    }

    #[test]
    fn the_sha_256_is_found_also_among_others() {
        let abc = Some(Sha256Digest::of(b"abc"));
        assert_eq!(read(ABC).unwrap(), abc);
        assert_eq!(read(&format!("md5=:AAAA:, {ABC}")).unwrap(), abc);
        assert_eq!(declared(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        for bad in ["sha-512=:AAAA:", "sha-256=abc", "sha-256=:AAAA:", "sha-256", "", "garbage\"", "sha-256=:***:"] {
            assert_eq!(read(bad).unwrap_err().field(), Some("content_digest"), "{bad}");
        }
    }
}
