//! Reading the source.
//!
//! Owns from where bytes are read, and what a failure to read them means. A folder returns the bytes of an open session, and an object
//! store does not: only the end of its multipart upload makes the parts readable.

use std::{collections::BTreeMap, ops::Range};

use futures_util::{StreamExt, TryStreamExt};

use super::{
    carry::Carry,
    transfer::{Failure, SourceBytes},
};
use crate::{
    domain::{Part, PartRecord, Session, Tail},
    error::Error,
    storage::{self, ByteStream},
};

pub(super) const NOT_READABLE: &str =
    "the object store of the source returns no parts of an upload that is not complete";

/// From where the bytes of an open session are read.
pub(super) enum Origin {
    Upload,
    /// A file that has only the first parts.
    FirstParts {
        location: String,
        size_bytes: u64,
    },
}

impl Origin {
    /// Whether it has this part.
    pub(super) fn has(&self, part: Part) -> bool {
        match self {
            Self::Upload => true,
            Self::FirstParts { size_bytes, .. } => part.end() <= *size_bytes,
        }
    }
}

impl Carry {
    /// The records of the parts of a session, by their numbers.
    pub(super) async fn records(&self, session: &Session) -> Result<BTreeMap<u32, PartRecord>, Failure> {
        let records = self.source.db.all_parts(session).await?;
        Ok(records.into_iter().map(|record| (record.part.number, record)).collect())
    }

    /// From where the parts of an open session can be read. `None` if the source returns none of them.
    pub(super) async fn origin(
        &self,
        session: &Session,
        records: &BTreeMap<u32, PartRecord>,
    ) -> Result<Option<Origin>, Failure> {
        let Some(store) = self.source.storage.as_multipart() else { return Ok(Some(Origin::Upload)) };
        // A finalize that was interrupted has completed the file.
        let complete = self.source.storage.read_upload(session, 0..1).await;
        if session.has_all_parts() && complete.map_err(|error| self.unreadable(error))?.is_some() {
            return Ok(Some(Origin::Upload));
        }
        let mut first = session.received.prefix_len();
        while self.options.ends_uploads && first > 0 {
            let parts: Vec<PartRecord> = records.range(1..=first).map(|(_, record)| record.clone()).collect();
            match store.end_upload(session, &parts).await {
                Ok(location) => {
                    return Ok(Some(Origin::FirstParts { location, size_bytes: session.plan.prefix_bytes(first) }));
                }
                Err(storage::Error::Replaced(numbers)) => {
                    first = numbers.into_iter().min().map_or(0, |number| number.min(first) - 1);
                }
                Err(storage::Error::Lost(_)) => return Ok(None),
                Err(error) => return Err(Failure::Stop(error.into())),
            }
        }
        Ok(None)
    }

    /// Reads a range of a stored file, or of an object with a tail.
    pub(super) async fn read(
        &self,
        location: &str,
        size_bytes: u64,
        range: Range<u64>,
    ) -> Result<SourceBytes, Failure> {
        let read = self.source.storage.read(location, size_bytes, range).await;
        Ok(self.of_source(read.map_err(|error| self.unreadable(error))?))
    }

    /// Reads a range of an open session.
    pub(super) async fn read_open(
        &self,
        session: &Session,
        origin: &Origin,
        range: Range<u64>,
    ) -> Result<SourceBytes, Failure> {
        if let Origin::FirstParts { location, size_bytes } = origin {
            return self.read(location, *size_bytes, range).await;
        }
        let read = self.source.storage.read_upload(session, range).await.map_err(|error| self.unreadable(error))?;
        Ok(self.of_source(read.ok_or_else(|| Failure::Unreadable(NOT_READABLE.to_owned()))?))
    }

    /// Reads a tail.
    pub(super) async fn read_tail(&self, session: &Session, tail: &Tail) -> Result<SourceBytes, Failure> {
        match &tail.location {
            Some(location) => self.read(location, tail.bytes, 0..tail.bytes).await,
            None => self.read_open(session, &Origin::Upload, tail.part.offset_bytes..tail.end()).await,
        }
    }

    /// What an error of the source means: of one file, or of the whole storage. A disk that cannot read a file can read others.
    pub(super) fn unreadable(&self, error: storage::Error) -> Failure {
        match error {
            lost @ storage::Error::Lost(_) => Failure::Unreadable(lost.to_string()),
            error if self.is_folder() => Failure::Unreadable(with_source(&error)),
            error => Failure::Stop(error.into()),
        }
    }

    fn of_source(&self, bytes: ByteStream) -> SourceBytes {
        let is_folder = self.is_folder();
        let failed = move |error: std::io::Error| match is_folder {
            true => Failure::Unreadable(error.to_string()),
            false => Failure::Stop(Error::unavailable("the object store of the source cannot be read", error)),
        };
        bytes.map_err(failed).boxed()
    }

    fn is_folder(&self) -> bool {
        self.source.storage.as_folder().is_some()
    }
}

fn with_source(error: &storage::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
