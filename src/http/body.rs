//! A request's body.
//!
//! Owns the rules for every body: the only encoding is `chunked`, and the server checks each digest of the body or refuses
//! the request. A malformed body and a body that stops arriving are different errors.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderName, header},
};
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256, Sha512};

use super::digest::{self, ContentDigest};
use crate::{
    domain::Sha256Digest,
    error::{Error, Result},
    service::BodyFault,
};

/// A body as a stream that ends with an error if it does not have the declared SHA-512. It checks the SHA-256 only if nobody
/// else does: the code that stores a whole part computes that anyway.
#[derive(Debug)]
pub(crate) struct CheckedBody {
    body: Body,
    sha256: Option<(Sha256, Sha256Digest)>,
    sha512: Option<(Sha512, [u8; 64])>,
}

impl CheckedBody {
    /// The body of a request with these headers, and the digests that they declare.
    ///
    /// # Errors
    /// `INVALID_INPUT` if the body has an encoding, or if a header names a digest that the server does not check.
    pub(crate) fn new(headers: &HeaderMap, body: Body) -> Result<(Self, ContentDigest)> {
        refuse_encoded(headers)?;
        let declared = ContentDigest::declared(headers)?;
        let sha512 = declared.sha512.map(|declared| (Sha512::new(), declared));
        Ok((Self { body, sha256: None, sha512 }, declared))
    }

    /// The same, for a body that is stored in pieces: it also checks the SHA-256. Returns whether it checks any digest.
    pub(crate) fn checking_all(headers: &HeaderMap, body: Body) -> Result<(Self, bool)> {
        let (mut body, declared) = Self::new(headers, body)?;
        body.sha256 = declared.sha256.map(|declared| (Sha256::new(), declared));
        let is_checked = body.sha256.is_some() || body.sha512.is_some();
        Ok((body, is_checked))
    }
}

impl Stream for CheckedBody {
    type Item = Result<Bytes, BodyFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(frame) => frame.map_err(|error| fault(&error))?,
                None => return Poll::Ready(self.end().err().map(|error| Err(BodyFault::Refused(error)))),
            };
            match frame.into_data() {
                Ok(bytes) => {
                    if let Some((hasher, _)) = &mut self.sha256 {
                        hasher.update(&bytes);
                    }
                    if let Some((hasher, _)) = &mut self.sha512 {
                        hasher.update(&bytes);
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Err(frame) => {
                    let names = frame.trailers_ref().into_iter().flat_map(HeaderMap::keys).map(HeaderName::as_str);
                    digest::refuse_in_trailer(names).map_err(BodyFault::Refused)?;
                }
            }
        }
    }
}

impl CheckedBody {
    fn end(&mut self) -> Result<()> {
        if let Some((hasher, declared)) = self.sha256.take() {
            digest::check_sha256(declared, hasher.into())?;
        }
        self.sha512
            .take()
            .map_or(Ok(()), |(hasher, declared)| digest::check_sha512(&declared, &hasher.finalize().into()))
    }
}

/// Reads a whole body and checks every digest that the request declares; `what` is a noun.
///
/// # Errors
/// `TOO_LARGE`, `INVALID_INPUT`, `CHECKSUM_MISMATCH`, or `UNAVAILABLE` if the body stops arriving.
pub(super) async fn read_whole(request: Request, what: &str, max_bytes: usize) -> Result<Bytes> {
    let (parts, body) = request.into_parts();
    let too_large = || Error::too_large(what, max_bytes as u64);
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large());
    }
    let (mut body, declared) = CheckedBody::new(&parts.headers, body)?;
    let mut whole = Vec::new();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|fault| match fault {
            BodyFault::Stopped => Error::body_stopped(),
            BodyFault::Refused(error) => error,
        })?;
        if whole.len() + bytes.len() > max_bytes {
            return Err(too_large());
        }
        whole.extend_from_slice(&bytes);
    }
    declared.check(&whole)?;
    Ok(whole.into())
}

/// Refuses encodings other than `chunked`. The server stores the bytes as they arrive: it would store the encoded ones.
fn refuse_encoded(headers: &HeaderMap) -> Result<()> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    if encodings.any(|encoding| !encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Err(Error::invalid("content_encoding", "send the bytes without an encoding"));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        // hyper accepts `gzip, chunked`: it looks only at the last coding.
        return Err(Error::invalid("transfer_encoding", "send the bytes without an encoding other than chunked"));
    }
    Ok(())
}

/// Refuses `Content-Range`: something else gives the position of the bytes, as `instead` says. RFC 9110 §14.5 demands this of a
/// server that does not support partial PUTs.
///
/// # Errors
/// `INVALID_INPUT`.
pub(crate) fn refuse_partial(headers: &HeaderMap, instead: &str) -> Result<()> {
    match headers.contains_key(header::CONTENT_RANGE) {
        true => Err(Error::invalid("content_range", format!("the server does not read it; {instead}"))),
        false => Ok(()),
    }
}

/// Tells malformed chunks, which hyper reports as invalid input or data, from a connection that broke.
fn fault(error: &axum::Error) -> BodyFault {
    let mut next = Some(error as &dyn std::error::Error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)) {
            return BodyFault::Refused(Error::malformed(format!("the body has a malformed chunk: {error}")));
        }
        next = error.source();
    }
    BodyFault::Stopped
}
