//! The contract of `Storage`, on the local disk, in memory, and on S3 if `TEST_STORAGE_URL` names a store.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::{TryStreamExt, future::join_all};
use partway::{
    domain::{
        Clock, Digests, FileId, OwnerName, PartPlan, PartRecord, PartSet, Session, SessionId, SessionStatus,
        Sha256Digest, SystemClock,
    },
    storage::{Error, LocalDisk, MultipartStorage, ObjectStorage, Storage, SyncParts},
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{file_bytes, storage_url};

const MIB: usize = 1024 * 1024;
/// The smallest part that S3 accepts, except for the last part.
const PART: usize = 5 * MIB;
const MEMORY: u64 = 64 * MIB as u64;

/// All storages under test. Dropping the folder deletes the local disk's files.
fn storages() -> (TempDir, Vec<Arc<dyn Storage>>) {
    let folder = tempfile::tempdir().unwrap();
    let mut storages: Vec<Arc<dyn Storage>> = vec![
        Arc::new(LocalDisk::open(folder.path(), SyncParts::Always).unwrap()),
        Arc::new(ObjectStorage::in_memory(MEMORY)),
    ];
    if let Some(url) = storage_url(folder.path()) {
        storages.push(Arc::new(ObjectStorage::open(&url, MEMORY).unwrap()));
    }
    (folder, storages)
}

fn session(size: usize) -> Session {
    let now = SystemClock.now();
    Session {
        id: SessionId(Uuid::now_v7()),
        file_id: FileId(Uuid::now_v7()),
        owner: OwnerName::parse("ann").unwrap(),
        status: SessionStatus::Init,
        status_reason: None,
        plan: PartPlan::new(size as u64, PART as u64).unwrap(),
        received: PartSet::new(),
        bytes_received: 0,
        append_offset: 0,
        tail: None,
        auto_finalize: false,
        version: 1,
        idempotency_key: None,
        declared_sha256: None,
        declared_crc64nvme: None,
        file_deleted: false,
        keeps_part_records: true,
        storage_upload: None,
        expires_at: now,
        created_at: now,
        updated_at: now,
    }
}

/// Stores a part as the service does.
async fn put(storage: &dyn Storage, session: &mut Session, number: u32, file: &[u8]) -> PartRecord {
    if let (Some(store), None) = (storage.as_multipart(), &session.storage_upload) {
        session.storage_upload = Some(store.start(session).await.unwrap());
    }
    let part = session.plan.part(number).unwrap();
    let bytes = file.chunks(PART).nth(number as usize - 1).unwrap();
    let mut writer = storage.part_writer(session, part, Arc::new(())).await.unwrap();
    for piece in bytes.chunks(300_000) {
        writer.push(piece.to_vec().into()).await.unwrap();
    }
    let staged = writer.finish().await.unwrap();
    assert_eq!(staged.digests(), Digests::of(bytes));
    let Digests { sha256, crc64nvme } = staged.digests();
    let persisted = staged.persist().await.unwrap();
    session.record_part(part, SystemClock.now(), TimeDelta::hours(1));
    let crc64nvme = Some(crc64nvme);
    PartRecord { part, sha256, crc64nvme, storage_etag: persisted.etag, received_at: SystemClock.now() }
}

async fn put_all(storage: &dyn Storage, session: &mut Session, file: &[u8], order: &[u32]) -> Vec<PartRecord> {
    let mut parts = Vec::new();
    for number in order {
        parts.push(put(storage, session, *number, file).await);
    }
    parts.sort_by_key(|record| record.part.number);
    parts
}

async fn read(storage: &dyn Storage, location: &str, size: usize, range: std::ops::Range<usize>) -> Vec<u8> {
    let range = range.start as u64..range.end as u64;
    let stream = storage.read(location, size as u64, range).await.unwrap();
    stream.map_ok(|bytes| bytes.to_vec()).try_concat().await.unwrap()
}

#[tokio::test]
async fn parts_in_any_order_become_one_file_that_can_be_read_in_ranges() {
    let file = file_bytes(2 * PART + 1_000);
    for storage in storages().1 {
        storage.ping().await.unwrap();
        let mut session = session(file.len());
        let parts = put_all(&*storage, &mut session, &file, &[3, 1, 2]).await;
        storage.check_upload(&session).await.unwrap();
        let location = storage.complete(&session, &parts).await.unwrap();
        assert!(read(&*storage, &location, file.len(), 0..file.len()).await == file, "{storage:?}");
        for range in [0..10, PART - 5..PART + 5, file.len() - 7..file.len(), 9..9] {
            assert_eq!(read(&*storage, &location, file.len(), range.clone()).await, file[range]);
        }
        storage.check(&location, file.len() as u64).await.unwrap();
        assert!(storage.check(&location, 1).await.is_err());
        assert_eq!(storage.stored_files().await.unwrap(), [session.file_id]);
    }
}

#[tokio::test]
async fn complete_can_be_repeated_and_can_run_concurrently() {
    let file = file_bytes(PART + 1);
    for storage in storages().1 {
        let mut session = session(file.len());
        let parts = put_all(&*storage, &mut session, &file, &[1, 2]).await;
        let at_once = join_all((0..4).map(|_| storage.complete(&session, &parts))).await;
        let locations: Vec<_> = at_once.into_iter().map(|location| location.unwrap()).collect();
        assert!(locations.iter().all(|location| *location == locations[0]));
        assert_eq!(storage.complete(&session, &parts).await.unwrap(), locations[0]);
        assert!(read(&*storage, &locations[0], file.len(), 0..file.len()).await == file, "{storage:?}");
    }
}

#[tokio::test]
async fn a_session_of_an_empty_file_completes_without_parts() {
    for storage in storages().1 {
        let session = session(0);
        for _ in 0..2 {
            let location = storage.complete(&session, &[]).await.unwrap();
            assert!(read(&*storage, &location, 0, 0..0).await.is_empty());
            storage.check(&location, 0).await.unwrap();
        }
    }
}

#[tokio::test]
async fn discard_deletes_the_bytes_and_can_be_repeated() {
    let file = file_bytes(PART + 1);
    for storage in storages().1 {
        let (mut unfinished, mut finished) = (session(file.len()), session(file.len()));
        let incomplete = put_all(&*storage, &mut unfinished, &file, &[1, 2]).await;
        let parts = put_all(&*storage, &mut finished, &file, &[1, 2]).await;
        let location = storage.complete(&finished, &parts).await.unwrap();
        for session in [&unfinished, &finished, &unfinished, &finished] {
            storage.discard(session).await.unwrap();
        }
        assert!(storage.check(&location, file.len() as u64).await.is_err());
        assert!(storage.complete(&unfinished, &incomplete).await.is_err(), "{storage:?}");
        assert!(storage.stored_files().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_unrecorded_part_can_be_put_again_with_other_bytes() {
    let (wrong, file) = (vec![7; PART + 1], file_bytes(PART + 1));
    for storage in storages().1 {
        let mut session = session(file.len());
        put(&*storage, &mut session, 1, &wrong).await;
        let parts = put_all(&*storage, &mut session, &file, &[1, 2]).await;
        let location = storage.complete(&session, &parts).await.unwrap();
        assert!(read(&*storage, &location, file.len(), 0..file.len()).await == file, "{storage:?}");
    }
}

#[tokio::test]
async fn hash_works_after_completion_on_all_storages_and_before_it_on_the_local_disk() {
    let file = file_bytes(PART + 1_000);
    let range = |from: usize| from as u64..file.len() as u64;
    for storage in storages().1 {
        let mut session = session(file.len());
        let parts = put_all(&*storage, &mut session, &file, &[2, 1]).await;
        let before = storage.hash(&session, Sha256::new(), range(0)).await.unwrap();
        assert_eq!(before.is_none(), storage.as_multipart().is_some());
        storage.complete(&session, &parts).await.unwrap();
        let first_half = Sha256::new_with_prefix(&file[..PART]);
        let after = storage.hash(&session, first_half, range(PART)).await.unwrap().unwrap();
        assert_eq!(Sha256Digest::from(after), Sha256Digest::of(&file));
    }
}

#[tokio::test]
async fn an_upload_whose_id_was_not_kept_can_be_abandoned() {
    let file = file_bytes(100);
    for storage in storages().1 {
        let mut session = session(file.len());
        let kept = put_all(&*storage, &mut session, &file, &[1]).await;
        if let Some(store) = storage.as_multipart() {
            let other = store.start(&session).await.unwrap();
            store.abandon(&session, &other.id).await.unwrap();
            store.abandon(&session, &other.id).await.unwrap();
        }
        let location = storage.complete(&session, &kept).await.unwrap();
        assert!(read(&*storage, &location, file.len(), 0..file.len()).await == file, "{storage:?}");
    }
}

#[tokio::test]
async fn a_part_waits_while_other_parts_use_the_whole_memory_budget() {
    let storage = ObjectStorage::in_memory(PART as u64);
    let file = file_bytes(2 * PART);
    let mut session = session(file.len());
    session.storage_upload = Some(storage.start(&session).await.unwrap());
    let [first, second] = [1, 2].map(|number| session.plan.part(number).unwrap());
    let writer = storage.part_writer(&session, first, Arc::new(())).await.unwrap();
    let mut waiting = std::pin::pin!(storage.part_writer(&session, second, Arc::new(())));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(writer);
    assert!(waiting.await.is_ok());
}

#[test]
fn a_url_that_is_not_an_object_store_is_refused() {
    for url in ["ftp://bucket/prefix", "bucket"] {
        assert!(matches!(ObjectStorage::open(url, MEMORY), Err(Error::Lost(_))), "{url}");
    }
}
