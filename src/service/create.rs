//! Creating a session.
//!
//! Owns the checks of a request, and its comparison with the session that has the same idempotency key. Does not own
//! the uniqueness of the key: that is a unique index and `db/sessions`.

use std::sync::Arc;

use chrono::Datelike;
use serde_json::value::RawValue;

use super::{
    Limits, Service,
    events::Event,
    input::{MAX_CONTENT_TYPE_BYTES, check_filename, parse_crc64nvme, parse_sha256},
    scope,
};
use crate::{
    db::Created,
    domain::{Account, Metadata, PartPlan, Principal, Timestamp, Upload, UploadRequest},
    error::{Error, Result},
    spans::span,
};

const MAX_KEY_CHARS: usize = 255;
/// RFC 3339 has no later year.
const MAX_YEAR: i32 = 9999;
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// A request to create a session.
#[derive(Clone, Debug, Default)]
pub struct CreateSession {
    /// The file's name on the client's side: 1 to 1,024 bytes, no control characters.
    pub original_filename: String,
    /// Its media type; `application/octet-stream` if `None`.
    pub content_type: Option<String>,
    /// Its exact size, 0 to the server's `max_file_size`.
    pub total_size_bytes: i64,
    /// Its SHA-256 in hex. If it is given, the session fails at finalize unless the bytes have it.
    pub sha256: Option<String>,
    /// Its CRC-64/NVME in base64; the same applies.
    pub crc64nvme: Option<String>,
    /// A JSON object that the client attaches to the file, see [`Metadata::parse`].
    pub metadata: Option<Box<RawValue>>,
    /// The client's name for this request, 1 to 255 characters, unique per owner. A repeated request with the same key
    /// returns the session that the first request created.
    pub idempotency_key: Option<String>,
    /// Whether the server finalizes the session as soon as it has all bytes.
    pub auto_finalize: bool,
    /// The metadata as a tus client sent it, for `HEAD`.
    pub upload_metadata: Option<String>,
    /// When the server deletes the stored file; in the future. `None`: as long as the setting `file_retention` says.
    pub retain_until: Option<Timestamp>,
}

/// A session that was created or found.
#[derive(Debug)]
pub struct Creation {
    /// The session and its file.
    pub upload: Upload,
    /// False if an earlier request with the same idempotency key created it.
    pub is_new: bool,
}

impl Service {
    /// Creates a session, or returns the session that an earlier identical request created.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming the field. `TOO_LARGE`. `IDEMPOTENCY_KEY_REUSED` if an earlier request had the key and
    /// other input. `QUOTA_EXCEEDED` if the owner's files would have too many bytes, `RATE_LIMITED` if the owner has too many
    /// open sessions, `UNAVAILABLE` if there is no space for more.
    pub async fn create(self: &Arc<Self>, principal: &Principal, input: CreateSession) -> Result<Creation> {
        let now = self.clock.now();
        let request = check(input, &self.limits)?;
        let new = Upload::new(scope::everything(principal)?, request.clone(), now, self.limits.session_ttl);
        let mut creation = match self.create_or_find(&new).await? {
            Created::New => {
                self.announce(Event::Created(&new));
                Creation { upload: new, is_new: true }
            }
            Created::KeyTaken(found) if found.has_same_input(&request) => Creation { upload: *found, is_new: false },
            Created::KeyTaken(_) => return Err(Error::idempotency_key_reused()),
            Created::OverLimit(account) => return Err(over_limit(&account, new.file.size_bytes)),
        };
        // An empty file has all its bytes from the start.
        if let Some(finalized) = self.finalize_if_due(principal, &creation.upload.session).await {
            creation.upload = finalized;
        }
        Ok(creation)
    }

    /// Without free space, or with a time that has passed, the server opens no session. But a repeated request must still find its
    /// session.
    async fn create_or_find(&self, new: &Upload) -> Result<Created> {
        let is_possible = match is_in_future(new) {
            Ok(()) => self.check_room(0).await,
            past => past,
        };
        let Err(refusal) = is_possible else {
            let _step = span!("record session");
            return Ok(self.db.create_upload(new, &self.limits.of_accounts()).await?);
        };
        let found = match &new.session.idempotency_key {
            Some(key) => self.db.upload_with_key(&new.session.owner, key).await?,
            None => None,
        };
        found.map(|found| Created::KeyTaken(Box::new(found))).ok_or(refusal)
    }
}

/// The error for a file of this size, if the owner's account, as it is, forbids it.
pub(super) fn over_limit(account: &Account, size_bytes: u64) -> Error {
    if account.open_sessions >= account.open_sessions_limit {
        return Error::too_many_sessions(account.open_sessions_limit);
    }
    Error::quota_exceeded(account, size_bytes)
}

/// Checks the input of a new session.
pub(super) fn check(input: CreateSession, limits: &Limits) -> Result<UploadRequest> {
    let total_size_bytes = u64::try_from(input.total_size_bytes)
        .map_err(|_| Error::invalid("total_size_bytes", "a size cannot be negative"))?;
    if total_size_bytes > limits.max_file_size.0 {
        return Err(Error::too_large("a file", limits.max_file_size.0));
    }
    Ok(UploadRequest {
        original_filename: check_filename(input.original_filename)?,
        content_type: check_content_type(input.content_type)?,
        plan: PartPlan::choose(total_size_bytes, limits.chunk_size.0, limits.max_parts).map_err(Error::internal)?,
        declared_sha256: parse_sha256("sha256", input.sha256.as_deref())?,
        declared_crc64nvme: parse_crc64nvme(input.crc64nvme.as_deref())?,
        metadata: check_metadata(input.metadata.as_deref())?,
        idempotency_key: input.idempotency_key.map(check_key).transpose()?,
        auto_finalize: input.auto_finalize,
        upload_metadata: input.upload_metadata,
        retain_until: check_retain_until(input.retain_until)?,
    })
}

fn check_retain_until(until: Option<Timestamp>) -> Result<Option<Timestamp>> {
    match until {
        Some(until) if until.year() > MAX_YEAR => Err(Error::invalid("retain_until", "must be before the year 10000")),
        // The database keeps microseconds, and no leap seconds.
        until => Ok(until.and_then(|until| Timestamp::from_timestamp_micros(until.timestamp_micros()))),
    }
}

/// Refuses a time that has passed.
pub(super) fn is_in_future(new: &Upload) -> Result<()> {
    match new.file.retain_until {
        Some(until) if until <= new.file.created_at => Err(Error::invalid("retain_until", "must be in the future")),
        _ => Ok(()),
    }
}

fn check_content_type(content_type: Option<String>) -> Result<String> {
    // Browsers send "" for a file with an unknown type.
    let content_type =
        content_type.filter(|given| !given.is_empty()).unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned());
    let is_media_type = content_type.parse::<mime::Mime>().is_ok();
    if is_media_type && content_type.len() <= MAX_CONTENT_TYPE_BYTES {
        return Ok(content_type);
    }
    Err(Error::invalid("content_type", "must be a media type such as video/mp4"))
}

fn check_metadata(metadata: Option<&RawValue>) -> Result<Metadata> {
    let metadata = metadata.map(Metadata::parse).transpose();
    metadata.map(Option::unwrap_or_default).map_err(|problem| Error::invalid("metadata", problem))
}

fn check_key(key: String) -> Result<String> {
    let fits = (1..=MAX_KEY_CHARS).contains(&key.chars().count());
    if fits && !key.chars().any(char::is_control) {
        return Ok(key);
    }
    Err(Error::invalid("idempotency_key", "1 to 255 characters, no control characters"))
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;
    use crate::service::FileSha256;

    fn limits() -> Limits {
        Limits {
            chunk_size: ByteSize::b(10),
            max_parts: 10,
            max_file_size: ByteSize::b(100),
            max_open_sessions: 1,
            max_streams_per_owner: 1,
            session_ttl: chrono::TimeDelta::hours(1),
            sweep_interval: std::time::Duration::from_mins(1),
            file_sha256: FileSha256::Always,
            owner_max_bytes: None,
            file_retention: None,
            part_retention: chrono::TimeDelta::days(1),
            event_retention: chrono::TimeDelta::days(30),
        }
    }

    fn refused_field(change: impl FnOnce(&mut CreateSession)) -> Option<&'static str> {
        let mut input =
            CreateSession { original_filename: "a.bin".to_owned(), total_size_bytes: 10, ..Default::default() };
        change(&mut input);
        check(input, &limits()).err().and_then(|error| error.field())
    }

    #[test]
    fn a_plain_request_gets_the_defaults() {
        let input = CreateSession { original_filename: "a.bin".to_owned(), total_size_bytes: 0, ..Default::default() };
        let checked = check(input, &limits()).unwrap();
        assert_eq!((checked.content_type.as_str(), checked.metadata), (DEFAULT_CONTENT_TYPE, Metadata::default()));
        assert_eq!(check_content_type(Some(String::new())).unwrap(), DEFAULT_CONTENT_TYPE);
    }

    #[test]
    fn every_bad_field_is_named() {
        assert_eq!(refused_field(|_| ()), None);
        assert_eq!(refused_field(|input| input.total_size_bytes = -1), Some("total_size_bytes"));
        // The last one is short, but not in normal form C.
        for name in ["", "  ", "a\nb", "nul\0", &"x".repeat(1025), &"\u{fb2c}".repeat(200)] {
            assert_eq!(refused_field(|input| input.original_filename = name.to_owned()), Some("original_filename"));
        }
        assert_eq!(refused_field(|input| input.content_type = Some("nonsense".to_owned())), Some("content_type"));
        assert_eq!(refused_field(|input| input.sha256 = Some("abc".to_owned())), Some("sha256"));
        assert_eq!(refused_field(|input| input.crc64nvme = Some("abc".to_owned())), Some("crc64nvme"));
        for key in ["", "a\tb", &"k".repeat(256)] {
            assert_eq!(refused_field(|input| input.idempotency_key = Some(key.to_owned())), Some("idempotency_key"));
        }
        assert_eq!(refused_field(|input| input.retain_until = Some(Timestamp::MAX_UTC)), Some("retain_until"));
        let list = RawValue::from_string("[]".to_owned()).unwrap();
        assert_eq!(refused_field(|input| input.metadata = Some(list)), Some("metadata"));
    }
}
