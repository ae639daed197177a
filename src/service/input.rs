//! Checks of input that several use cases share.

use chrono::TimeDelta;
use humantime_serde::re::humantime;

use crate::{
    domain::{Crc64Nvme, Sha256Digest, filename_key},
    error::{Error, Result},
};

/// Maximum length of the name of a file, also in the form in which names are compared.
pub const MAX_FILENAME_BYTES: usize = 1024;
/// Maximum length of a media type.
pub const MAX_CONTENT_TYPE_BYTES: usize = 255;
/// The name of a file whose client names none.
pub const UNNAMED: &str = "unnamed";

/// Reads an optional digest in hex.
pub(super) fn parse_sha256(field: &'static str, text: Option<&str>) -> Result<Option<Sha256Digest>> {
    text.map(str::parse).transpose().map_err(|problem| Error::invalid(field, problem))
}

/// Reads an optional checksum in base64.
pub(super) fn parse_crc64nvme(text: Option<&str>) -> Result<Option<Crc64Nvme>> {
    text.map(str::parse).transpose().map_err(|problem| Error::invalid("crc64nvme", problem))
}

/// Reads a duration longer than zero and at most `max`. `problem` says that to the client.
pub(super) fn parse_expires_in(text: &str, max: TimeDelta, problem: &str) -> Result<TimeDelta> {
    // `M` is a month for the parser, and too easily written for a minute.
    let duration = humantime::parse_duration(text).ok().filter(|_| !text.contains('M'));
    // Times have microseconds.
    let duration = duration.and_then(|duration| i64::try_from(duration.as_micros()).ok()).map(TimeDelta::microseconds);
    let duration = duration.filter(|duration| *duration > TimeDelta::zero() && *duration <= max);
    duration.ok_or_else(|| Error::invalid("expires_in", problem))
}

/// Refuses names that are blank, too long (also in the form in which names are compared) or have control characters.
pub(super) fn check_filename(name: String) -> Result<String> {
    let invalid = |problem: &str| Err(Error::invalid("original_filename", problem));
    match name {
        name if name.trim().is_empty() => invalid("a file needs a name"),
        name if name.len().max(filename_key(&name).len()) > MAX_FILENAME_BYTES => invalid("at most 1,024 bytes"),
        name if name.chars().any(char::is_control) => invalid("no control characters"),
        name => Ok(name),
    }
}
