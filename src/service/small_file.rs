//! Storing a small file: one of at most one part, whose bytes come in one request, in a folder.
//!
//! Owns the order: the bytes become durable under a temporary name, then one transaction inserts all rows, then the file gets
//! its place. The result is the same as that of a session that was created, filled and finalized, but it takes one sync and one
//! transaction. Requests that arrive together share the transaction (group commit). Also owns what becomes of a file that a
//! crash left. Does not own files of several parts, and files in an object store: those are in `store`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use sha2::{Digest, Sha256};

use super::{
    Append, BodyFault, CreateSession, Service,
    create::{check, is_in_future, over_limit},
    events::Event,
    scope,
    whole_body::WholeBody,
};
use crate::{
    db::{Created, SmallFile},
    domain::{CompleteFile, Digests, FileDigests, PartRecord, Principal, Sha256Digest, Upload, UploadRequest},
    error::{Error, Result},
    group_commit::GroupCommit,
    metrics::Queue,
    spans::span,
    storage::{ArrivingFile, FolderStorage, PersistedFile},
};

/// The server removes a file without a row only after this time. The transaction of a request that failed, or of a server that
/// was killed, may still be committed: a PostgreSQL server that does not answer may go on later.
pub(super) const ABANDONED_AFTER: Duration = Duration::from_mins(10);
const NOT_RECORDED: &str = "the database cannot accept the request now";
const KEY_IN_USE: &str = "another request with the same idempotency key is under way";

/// The group commit of small files.
pub(super) type SmallFiles = GroupCommit<SmallFile, Result<Created>>;

/// A small file before its bytes have arrived.
pub(super) struct NewFile {
    upload: Upload,
    request: UploadRequest,
}

/// What a request for a small file finds.
pub(super) enum Begin {
    /// Nothing: the file is new.
    New(Box<NewFile>),
    /// The file that an earlier request with the same idempotency key and the same input stored.
    Replay(Box<Upload>),
}

impl Service {
    /// Prepares to store a small file. `None` if `store` must do it in steps: the file has several parts, it is new and the storage
    /// is an object store, or an earlier request with its idempotency key left a session without a stored file.
    pub(super) async fn begin_small_file(
        &self,
        principal: &Principal,
        session: &CreateSession,
    ) -> Result<Option<Begin>> {
        let owner = scope::everything(principal)?;
        let request = check(session.clone(), &self.limits)?;
        if request.plan.total_parts() > 1 {
            return Ok(None);
        }
        let earlier = match &request.idempotency_key {
            Some(key) => self.db.upload_with_key(owner, key).await?,
            None => None,
        };
        match earlier {
            Some(found) if !found.is_stored() => Ok(None),
            Some(found) if !found.has_same_input(&request) => Err(Error::idempotency_key_reused()),
            Some(found) => Ok(Some(Begin::Replay(Box::new(found)))),
            None if self.storage.as_folder().is_none() => Ok(None),
            None => {
                let upload = Upload::new(owner, request.clone(), self.clock.now(), self.limits.session_ttl);
                is_in_future(&upload)?;
                Ok(Some(Begin::New(Box::new(NewFile { upload, request }))))
            }
        }
    }

    /// Receives the bytes and stores the file.
    ///
    /// # Errors
    /// `TOO_LARGE` and `INVALID_INPUT` if the body has more or fewer bytes than the file, `CHECKSUM_MISMATCH`,
    /// `IDEMPOTENCY_KEY_REUSED` if an earlier request had the key and other input or other bytes, `QUOTA_EXCEEDED`,
    /// `RATE_LIMITED`, `UNAVAILABLE`.
    pub(super) async fn store_small_file<B>(&self, begin: Begin, whole: Append<B>) -> Result<Upload>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
    {
        let found = match begin {
            Begin::New(new) => return self.store_new(*new, whole.body).await,
            Begin::Replay(found) => *found,
        };
        // A declared digest is part of the input, which is the same.
        if found.session.declared_sha256.is_none() {
            let mut hasher = Sha256::new();
            let mut body = WholeBody::new(whole.body, &found);
            while let Some(bytes) = body.next().await? {
                hasher.update(bytes);
            }
            expect_bytes(&found, hasher.into())?;
        }
        Ok(found)
    }

    async fn store_new<B>(&self, new: NewFile, body: B) -> Result<Upload>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
    {
        let folder = self.storage.as_folder().ok_or_else(|| Error::internal("the storage is no folder"))?;
        let NewFile { upload, request } = new;
        let _room = self.reserve_room(upload.file.size_bytes).await?;
        let mut arriving = folder.receive_file(upload.file.id);
        let refused = match self.persist_small_file(folder, &upload, body, &mut arriving).await {
            Err(error) => Err(error),
            Ok(persisted) => {
                let sha256 = persisted.digests.sha256;
                let small = self.small_file(upload, persisted);
                let waiting = self.metrics.queues.hold(Queue::Record);
                let step = span!("record file");
                let recorded = self.small_files.run(small.clone(), |files| self.create_together(files)).await;
                drop((waiting, step));
                let cancelled =
                    || Err(Error::unavailable("the server is stopping", "the task that recorded a batch ended"));
                // If the result is an error, the file may have rows nevertheless: the sweep looks later.
                match recorded.unwrap_or_else(cancelled)? {
                    Created::New => return Ok(self.small_file_is_stored(folder, small).await),
                    Created::KeyTaken(found) => same_file(*found, &request, sha256),
                    Created::OverLimit(account) => Err(over_limit(&account, small.upload.file.size_bytes)),
                }
            }
        };
        if let Err(error) = folder.discard_file(arriving).await {
            tracing::warn!(%error, "the bytes of a refused file cannot be removed; the sweep removes them");
        }
        refused
    }

    /// Receives the bytes and makes them durable.
    async fn persist_small_file<B>(
        &self,
        folder: &dyn FolderStorage,
        upload: &Upload,
        body: B,
        arriving: &mut ArrivingFile,
    ) -> Result<PersistedFile>
    where
        B: Stream<Item = Result<Bytes, BodyFault>> + Unpin + Send,
    {
        let mut body = WholeBody::new(body, upload);
        while let Some(bytes) = body.next().await? {
            arriving.push(bytes).await?;
        }
        let actual = arriving.digests().sha256;
        match upload.session.declared_sha256 {
            Some(declared) if declared != actual => Err(Error::checksum_mismatch("file", declared, actual)),
            _ => {
                let _waiting = self.metrics.queues.hold(Queue::Persist);
                let _step = span!("persist file");
                Ok(folder.persist_file(arriving).await?)
            }
        }
    }

    async fn small_file_is_stored(&self, folder: &dyn FolderStorage, small: SmallFile) -> Upload {
        let SmallFile { upload, part } = small;
        if let Err(error) = folder.keep_file(upload.file.id).await {
            tracing::warn!(file.id = %upload.file.id, %error, "a stored file is not at its place; the sweep moves it there");
        }
        self.announce(Event::Created(&upload));
        if let Some(record) = part {
            self.announce(Event::PartReceived(&upload.session, record.part));
        }
        self.announce(Event::Ended(&upload));
        upload
    }

    /// The upload as it is after its part and its finalize.
    fn small_file(&self, mut upload: Upload, PersistedFile { digests, location }: PersistedFile) -> SmallFile {
        let now = self.clock.now();
        let part = upload.session.plan.part(1);
        let Digests { sha256, crc64nvme } = digests;
        let known = FileDigests { sha256: Some(sha256), crc64nvme: Some(crc64nvme) };
        let record =
            |part| PartRecord { part, sha256, crc64nvme: Some(crc64nvme), storage_etag: None, received_at: now };
        let part = part.map(record);
        if let Some(record) = &part {
            upload.session.record_part(record.part, now, self.limits.session_ttl);
        }
        let composite_sha256 = Sha256Digest::composite(part.iter().map(|record| record.sha256));
        let complete = CompleteFile { digests: known, composite_sha256, location };
        upload.complete(complete, self.limits.file_retention, now);
        SmallFile { upload, part }
    }

    /// Creates the uploads in one transaction. If one of them cannot be created, the others still are: then each half is tried
    /// alone. Returns one result for each, in their order.
    async fn create_together(&self, files: Vec<SmallFile>) -> Vec<Result<Created>> {
        let (mut results, mut batches) = (Vec::new(), vec![files]);
        while let Some(mut batch) = batches.pop() {
            match self.db.create_small_files(&batch, &self.limits.of_accounts()).await {
                Ok(Created::New) => results.extend(batch.iter().map(|_| Ok(Created::New))),
                Err(error) if error.is_unavailable() => {
                    let error = Arc::new(error);
                    results.extend(batch.iter().map(|_| Err(Error::unavailable(NOT_RECORDED, Arc::clone(&error)))));
                }
                alone if batch.len() == 1 => results.push(alone.map_err(Error::from)),
                _ => {
                    let second = batch.split_off(batch.len() / 2);
                    batches.extend([second, batch]);
                }
            }
        }
        results
    }

    /// Finishes what requests that a crash has ended left: moves stored files to their places, and removes files that have no
    /// row. Returns the number of those that it removed.
    pub(super) async fn finish_small_files(&self) -> Result<usize> {
        let mut removed = 0;
        let Some(folder) = self.storage.as_folder() else { return Ok(0) };
        for files in folder.abandoned_files().await?.chunks(BATCH) {
            let ids: Vec<_> = files.iter().map(|file| file.id).collect();
            let stored = self.db.stored_among(&ids).await?;
            for file in files {
                if stored.contains(&file.id) {
                    folder.keep_file(file.id).await?;
                } else if file.age >= ABANDONED_AFTER {
                    folder.discard_abandoned(file.id).await?;
                    tracing::warn!(file.id = %file.id, "removed the bytes of a request that did not end");
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// The number of files in one statement.
const BATCH: usize = 100;

/// The file that another request with the same idempotency key has stored in the meantime.
fn same_file(found: Upload, request: &UploadRequest, sha256: Sha256Digest) -> Result<Upload> {
    if !found.has_same_input(request) {
        return Err(Error::idempotency_key_reused());
    }
    match found.is_stored() {
        true => expect_bytes(&found, sha256).map(|()| found),
        false if found.session.status.is_open() => Err(Error::busy(KEY_IN_USE)),
        false => Err(Error::session_closed(&found.session)),
    }
}

/// Checks that a file with the same idempotency key has the bytes with this SHA-256.
fn expect_bytes(found: &Upload, sha256: Sha256Digest) -> Result<()> {
    let parts = found.session.plan.total_parts();
    let is_same = match found.file.sha256 {
        Some(known) => known == sha256,
        // It was divided into parts when the server had a smaller chunk size.
        None if parts > 1 => true,
        None => found.file.composite_sha256 == Some(Sha256Digest::composite((0..parts).map(|_| sha256))),
    };
    if is_same { Ok(()) } else { Err(Error::idempotency_key_reused()) }
}
