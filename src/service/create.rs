//! Creating a session.
//!
//! Owns what a client may ask for, and that asking twice with one idempotency key makes one session.

use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Service, SessionView};
use crate::{
    db::{Created, NewSession},
    domain::{
        FileId, FileRecord, FileStatus, Metadata, PartPlan, PartSet, Principal, Session, SessionId, SessionStatus,
        Sha256Digest, Timestamp, filename_key,
    },
    error::{Error, Result},
    metrics::SessionEvent,
};

const MAX_FILENAME_BYTES: usize = 1024;
const MAX_CONTENT_TYPE_BYTES: usize = 255;
const MAX_KEY_CHARS: usize = 255;
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct CreateSession {
    /// The file's name on the client's side: 1 to 1,024 bytes, no control characters.
    pub original_filename: String,
    /// Its media type; `application/octet-stream` where none is given.
    pub content_type: Option<String>,
    /// Its exact size, 0 to the server's `max_file_size`.
    pub total_size_bytes: i64,
    /// Its SHA-256 in hex, if known: finalize then fails unless the bytes have it.
    pub sha256: Option<String>,
    /// Anything the client wants to find with the file again: a JSON object, see [`Metadata::parse`].
    pub metadata: Option<Box<RawValue>>,
    /// The client's name for this request, unique among its own: 1 to 255 characters. Repeating the request with it
    /// answers the session that the first one made.
    pub idempotency_key: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Creation {
    /// The session.
    pub view: SessionView,
    /// False if an earlier request with the same idempotency key made it.
    pub is_new: bool,
}

/// A [`CreateSession`] that was found to be in order.
struct Checked {
    original_filename: String,
    content_type: String,
    total_size_bytes: u64,
    sha256: Option<Sha256Digest>,
    metadata: Metadata,
    idempotency_key: Option<String>,
}

impl Service {
    /// Creates a session, or answers the one that the same request made before.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming the field, `TOO_LARGE`, `IDEMPOTENCY_KEY_REUSED` if the key came with other input before,
    /// `RATE_LIMITED` if the owner has too many open sessions, `UNAVAILABLE` if there is no room for more.
    pub async fn create(&self, principal: &Principal, input: CreateSession) -> Result<Creation> {
        let checked = check(input, self.limits.max_file_size.0)?;
        let new = self.plan(principal, &checked)?;
        // Without room none may be opened, but a retry still finds the session that its first try made.
        let room = self.check_room(0).await;
        let max_open = if room.is_ok() { self.limits.max_open_sessions } else { 0 };
        let (session, file, is_new) = match self.db.create_session(&new, max_open).await? {
            Created::New => (new.session, new.file, true),
            Created::TooManyOpen => {
                return Err(room.err().unwrap_or_else(|| Error::too_many_sessions(self.limits.max_open_sessions)));
            }
            Created::KeyTaken(found) => {
                let (session, file) = *found;
                if !asked_the_same(&session, &file, &checked) {
                    return Err(Error::idempotency_key_reused());
                }
                (session, file, false)
            }
        };
        if is_new {
            self.metrics.count_session(SessionEvent::Created);
            tracing::info!(
                session.id = %session.id.0,
                owner = %session.owner,
                size_bytes = file.size_bytes,
                total_parts = session.plan.total_parts(),
                chunk_size_bytes = session.plan.chunk_size_bytes(),
                "session created"
            );
        }
        Ok(Creation { view: SessionView { session, file }, is_new })
    }

    fn plan(&self, principal: &Principal, input: &Checked) -> Result<NewSession> {
        let limits = &self.limits;
        let plan = PartPlan::choose(input.total_size_bytes, limits.chunk_size.0, limits.max_parts);
        let plan = plan.map_err(Error::internal)?;
        let now = self.clock.now();
        let file = new_file(principal, input, now);
        let session = Session {
            id: SessionId(Uuid::now_v7()),
            file_id: file.id,
            owner: principal.owner.clone(),
            status: SessionStatus::Init,
            status_reason: None,
            plan,
            received: PartSet::new(),
            bytes_received: 0,
            version: 1,
            idempotency_key: input.idempotency_key.clone(),
            declared_sha256: input.sha256,
            storage_upload_id: None,
            expires_at: now + limits.session_ttl,
            created_at: now,
            updated_at: now,
        };
        Ok(NewSession { session, file })
    }
}

fn new_file(principal: &Principal, input: &Checked, now: Timestamp) -> FileRecord {
    FileRecord {
        id: FileId(Uuid::now_v7()),
        owner: principal.owner.clone(),
        original_filename: input.original_filename.clone(),
        content_type: input.content_type.clone(),
        size_bytes: input.total_size_bytes,
        sha256: None,
        composite_sha256: None,
        metadata: input.metadata.clone(),
        status: FileStatus::Uploading,
        location: None,
        created_at: now,
        updated_at: now,
    }
}

fn asked_the_same(session: &Session, file: &FileRecord, input: &Checked) -> bool {
    file.original_filename == input.original_filename
        && file.content_type == input.content_type
        && file.size_bytes == input.total_size_bytes
        && file.metadata == input.metadata
        && session.declared_sha256 == input.sha256
}

fn check(input: CreateSession, max_file_size_bytes: u64) -> Result<Checked> {
    let total_size_bytes = u64::try_from(input.total_size_bytes)
        .map_err(|_| Error::invalid("total_size_bytes", "a size cannot be negative"))?;
    if total_size_bytes > max_file_size_bytes {
        return Err(Error::too_large("a file", max_file_size_bytes));
    }
    Ok(Checked {
        original_filename: check_filename(input.original_filename)?,
        content_type: check_content_type(input.content_type)?,
        total_size_bytes,
        sha256: parse_sha256("sha256", input.sha256.as_deref())?,
        metadata: check_metadata(input.metadata.as_deref())?,
        idempotency_key: input.idempotency_key.map(check_key).transpose()?,
    })
}

/// Reads an optional digest field, as creation and finalize take it.
pub(super) fn parse_sha256(field: &'static str, text: Option<&str>) -> Result<Option<Sha256Digest>> {
    text.map(str::parse).transpose().map_err(|problem| Error::invalid(field, problem))
}

/// Refuses what is no name of a file: blank, too long as it is or in the form in which names are compared, or with control
/// characters.
pub(super) fn check_filename(name: String) -> Result<String> {
    let invalid = |problem: &str| Err(Error::invalid("original_filename", problem));
    match name {
        name if name.trim().is_empty() => invalid("a file needs a name"),
        name if name.len().max(filename_key(&name).len()) > MAX_FILENAME_BYTES => invalid("at most 1,024 bytes"),
        name if name.chars().any(char::is_control) => invalid("no control characters"),
        name => Ok(name),
    }
}

fn check_content_type(content_type: Option<String>) -> Result<String> {
    // Browsers say "" of a file whose type they do not know.
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
    use super::*;

    fn refused_field(change: impl FnOnce(&mut CreateSession)) -> Option<&'static str> {
        let mut input =
            CreateSession { original_filename: "a.bin".to_owned(), total_size_bytes: 10, ..Default::default() };
        change(&mut input);
        check(input, 100).err().and_then(|error| error.field())
    }

    #[test]
    fn a_plain_request_gets_the_defaults() {
        let input = CreateSession { original_filename: "a.bin".to_owned(), total_size_bytes: 0, ..Default::default() };
        let checked = check(input, 100).unwrap();
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
        for key in ["", "a\tb", &"k".repeat(256)] {
            assert_eq!(refused_field(|input| input.idempotency_key = Some(key.to_owned())), Some("idempotency_key"));
        }
        let list = RawValue::from_string("[]".to_owned()).unwrap();
        assert_eq!(refused_field(|input| input.metadata = Some(list)), Some("metadata"));
    }
}
