//! What a caller may touch.
//!
//! Owns the error for a caller who may not. Every use case asks here for the owner before it reads or changes anything. Does not
//! own what each kind of caller may do: that is `domain/principal`.

use crate::{
    domain::{FileId, OwnerName, Principal, SessionId},
    error::{Error, Result},
};

/// The owner, if the caller may do everything.
///
/// # Errors
/// `FORBIDDEN` if the caller's token is a narrow one.
pub(super) fn everything(principal: &Principal) -> Result<&OwnerName> {
    principal.for_everything().ok_or_else(Error::narrow_token)
}

/// The owner, if the caller may ask for this session and send its bytes.
///
/// # Errors
/// `NOT_FOUND` if not: for this caller there is no such session.
pub(super) fn session(principal: &Principal, id: SessionId) -> Result<&OwnerName> {
    principal.for_session(id).ok_or_else(|| Error::not_found("session"))
}

/// The owner, if the caller may read the content of this file.
///
/// # Errors
/// `FORBIDDEN` if not.
pub(super) fn content(principal: &Principal, id: FileId) -> Result<&OwnerName> {
    principal.for_content(id).ok_or_else(Error::narrow_token)
}

/// The owner, if the caller may ask for the record of this file.
///
/// # Errors
/// `NOT_FOUND` if not: for this caller there is no such file.
pub(super) fn file(principal: &Principal, id: FileId) -> Result<&OwnerName> {
    principal.for_file(id).ok_or_else(|| Error::not_found("file"))
}
