//! A state of an upload that many readers share.
//!
//! Owns the shared values, and the place for the encoded forms of a state. Does not own the forms: an edge encodes them.
//! Does not own how long a state is current: that is `db/snapshots.rs`.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{FileRecord, Session, Upload};

/// A session and its file at one version. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct SessionState {
    /// The session.
    pub session: Arc<Session>,
    /// The file of the session.
    pub file: Arc<FileRecord>,
    /// Its encoded forms.
    pub encoded: Arc<Encoded>,
}

/// The forms in which clients get a state. The first reader of a state encodes a form, and all others send the same bytes.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The JSON of a session in REST.
    pub rest: OnceLock<Bytes>,
    /// The JSON of the received ranges in GraphQL, with the fields `first` and `last`.
    pub received_ranges: OnceLock<Bytes>,
    /// The same for the missing ranges.
    pub missing_ranges: OnceLock<Bytes>,
    /// The data of the answer to one GraphQL document, as JSON, with the number of that document.
    pub selected: Mutex<Option<(u64, Bytes)>>,
}

impl SessionState {
    /// The session and its file, copied.
    pub fn to_upload(&self) -> Upload {
        Upload { session: (*self.session).clone(), file: (*self.file).clone() }
    }
}

impl From<Upload> for SessionState {
    fn from(Upload { session, file }: Upload) -> Self {
        Self { session: Arc::new(session), file: Arc::new(file), encoded: Arc::default() }
    }
}
