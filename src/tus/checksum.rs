//! The bytes of a request, and the digests that the client declares for them.
//!
//! Owns `Upload-Checksum`: its syntax, its algorithms, and its check when the body ends. Does not own `Content-Digest`: that is
//! `http/digest.rs`.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, HeaderValue},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{Stream, StreamExt};
use sha1::Sha1;
use sha2::{Sha256, digest::DynDigest};

use super::fields;
use crate::{
    error::{Error, Result},
    http::{CheckedBody, refuse_partial},
    service::{Append, BodyFault},
};

/// The algorithms of `Upload-Checksum`, as in `Tus-Checksum-Algorithm`.
pub(super) const ALGORITHMS: &str = "sha1,sha256";

/// The body of a request as bytes to append at `offset`. Takes `Upload-Checksum` from the headers, because `CheckedBody`
/// refuses what it does not check itself.
///
/// # Errors
/// `INVALID_INPUT` if the body has an encoding, a range, or a digest that the server does not check.
pub(super) fn bytes_at(offset: u64, headers: &mut HeaderMap, body: Body) -> Result<Append<VerifiedBody>> {
    refuse_partial(headers, "Upload-Offset gives the position of the bytes")?;
    let declared_bytes = body.size_hint().exact();
    let checksum = headers.remove(fields::CHECKSUM).as_ref().map(Checksum::parse).transpose()?;
    let (body, has_digest) = CheckedBody::checking_all(headers, body)?;
    let is_verified = has_digest || checksum.is_some();
    Ok(Append { offset, declared_bytes, is_verified, finalizes: true, body: VerifiedBody { body, checksum } })
}

/// A body as a stream that ends with an error if it does not have a declared digest.
pub(super) struct VerifiedBody {
    body: CheckedBody,
    checksum: Option<Checksum>,
}

impl Stream for VerifiedBody {
    type Item = Result<Bytes, BodyFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.body.poll_next_unpin(cx));
        match (&next, &mut self.checksum) {
            (Some(Ok(bytes)), Some(checksum)) => checksum.hasher.update(bytes),
            (None, checksum) => {
                let checked = checksum.take().map_or(Ok(()), Checksum::check);
                return Poll::Ready(checked.err().map(|error| Err(BodyFault::Refused(error))));
            }
            _ => {}
        }
        Poll::Ready(next)
    }
}

/// A digest of the body that the client declares.
struct Checksum {
    algorithm: &'static str,
    hasher: Box<dyn DynDigest + Send>,
    declared: Vec<u8>,
}

impl Checksum {
    /// Reads `sha1 BASE64` or `sha256 BASE64`.
    fn parse(value: &HeaderValue) -> Result<Self> {
        let invalid = |problem| Error::invalid("upload_checksum", problem);
        let words = value.to_str().ok().and_then(|text| text.trim().split_once(' '));
        let (name, base64) = words.ok_or_else(|| invalid("must be an algorithm, a space and a digest in base64"))?;
        let (algorithm, hasher): (_, Box<dyn DynDigest + Send>) = match name {
            "sha1" => ("SHA-1", Box::new(Sha1::default())),
            "sha256" => ("SHA-256", Box::new(Sha256::default())),
            _ => return Err(invalid("the server checks only sha1 and sha256; send one of them")),
        };
        let digest = STANDARD.decode(base64.trim()).ok().filter(|digest| digest.len() == hasher.output_size());
        let declared = digest.ok_or_else(|| invalid("the digest is not base64 of the algorithm's length"))?;
        Ok(Self { algorithm, hasher, declared })
    }

    fn check(self) -> Result<()> {
        let actual = self.hasher.finalize();
        if *actual == *self.declared {
            return Ok(());
        }
        Err(Error::body_mismatch(self.algorithm, &self.declared, &actual))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    const SHA_1: &str = "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=";
    const SHA_256: &str = "sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

    fn bytes(value: &str, body: &'static str) -> Result<Append<VerifiedBody>> {
        let mut headers = HeaderMap::from_iter([(fields::CHECKSUM, HeaderValue::from_str(value).unwrap())]);
        bytes_at(0, &mut headers, body.into())
    }

    #[tokio::test]
    async fn a_body_ends_well_only_if_it_has_its_checksum() {
        for checksum in [SHA_1, SHA_256] {
            let right = bytes(checksum, "abc").unwrap();
            assert_eq!((right.is_verified, right.declared_bytes), (true, Some(3)));
            assert_eq!(right.body.try_collect::<Vec<_>>().await.unwrap(), ["abc"]);
            let wrong = bytes(checksum, "abd").unwrap().body.try_collect::<Vec<_>>().await;
            let Err(BodyFault::Refused(error)) = wrong else { panic!("{wrong:?}") };
            assert_eq!(error.code().as_str(), "CHECKSUM_MISMATCH");
        }
    }

    #[test]
    fn a_checksum_that_the_server_cannot_check_is_refused() {
        for value in
            ["", "sha1", "sha1 ", "sha1 ***", "sha1 AAAA", "md5 1B2M2Y8AsgTpgAmY7PhCfg==", &SHA_1.to_uppercase()]
        {
            assert_eq!(bytes(value, "abc").err().and_then(|error| error.field()), Some("upload_checksum"), "{value}");
        }
    }

    #[test]
    fn a_body_without_a_digest_is_not_verified() {
        assert!(!bytes_at(0, &mut HeaderMap::new(), "abc".into()).unwrap().is_verified);
    }
}
