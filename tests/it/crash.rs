//! The real binary, killed at random times.
//!
//! After every kill: the server lists every acknowledged part, each listed part has its bytes, and the upload can be finished
//! with the correct digest.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use partway::client::{Client, NewUpload, part_numbers};
use sqlx::{Connection, Executor};

use crate::support::{Deadline, Random, Server, crc64nvme, file_bytes, local_digests, sha256_hex};

const PART: usize = 64 * 1024;
const PARTS: usize = 24;
const KILLS: usize = 12;
const SETTINGS: [(&str, &str); 1] = [("PARTWAY_CHUNK_SIZE", "65536")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_the_server_lists_every_acknowledged_part_with_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let file = Arc::new(file_bytes(PART * PARTS - 7));
    let server = Server::start(folder.path(), &SETTINGS);
    let token = server.first_token.clone();
    let session =
        Client::new(&server.url, &token).unwrap().create(&NewUpload::named("a", file.len() as u64, "k")).await;
    let id = session.unwrap().session_id;
    let mut random = Random::new(2);
    let mut acknowledged = BTreeSet::new();
    server.kill();

    for _ in 0..KILLS {
        let server = Arc::new(Server::start(folder.path(), &SETTINGS));
        // Kill the server after this many acknowledgements, while it receives further parts.
        let kill_after = random.below(5);
        let answered = Arc::new(Mutex::new(Vec::new()));
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let (server, token, id) = (Arc::clone(&server), token.clone(), id.clone());
                let (file, answered) = (Arc::clone(&file), Arc::clone(&answered));
                let order: Vec<usize> = (0..6).map(|_| random.below(PARTS)).collect();
                std::thread::spawn(move || {
                    for index in order {
                        let part = file.chunks(PART).nth(index).unwrap();
                        match server.put(&token, &id, index + 1, part) {
                            Some(200 | 201) => answered.lock().unwrap().push(index + 1),
                            Some(409) | None => {}
                            Some(status) => panic!("{status}"),
                        }
                    }
                })
            })
            .collect();
        let deadline = Deadline::new();
        while answered.lock().unwrap().len() < kill_after && !senders.iter().all(std::thread::JoinHandle::is_finished) {
            deadline.wait_for("acknowledgements");
        }
        server.signal(rustix::process::Signal::KILL);
        for sender in senders {
            sender.join().unwrap();
        }
        acknowledged.extend(answered.lock().unwrap().iter().map(|number| u32::try_from(*number).unwrap()));
        drop(server);

        let server = Server::start(folder.path(), &SETTINGS);
        let client = Client::new(&server.url, &token).unwrap();
        let session = client.session(&id).await.unwrap();
        let listed: BTreeSet<u32> = part_numbers(&session.received_parts).collect();
        assert!(listed.is_superset(&acknowledged), "acknowledged {acknowledged:?}, listed {listed:?}");
        let on_disk = std::fs::read(folder.path().join("files/uploading").join(&id)).unwrap_or_default();
        let (parts, _) = client.parts(&id, 0).await.unwrap();
        assert_eq!(parts.len(), listed.len());
        for part in parts {
            let [offset, size] = [part.offset_bytes, part.size_bytes].map(|count| usize::try_from(count).unwrap());
            let bytes = &on_disk[offset..][..size];
            assert_eq!(sha256_hex(bytes), part.sha256, "part {} has other bytes than recorded", part.part_number);
        }
        acknowledged.extend(listed);
        server.kill();
    }

    let server = Server::start(folder.path(), &SETTINGS);
    for (index, part) in file.chunks(PART).enumerate() {
        assert!(matches!(server.put(&token, &id, index + 1, part), Some(200 | 201)));
    }
    let done = Client::new(&server.url, &token).unwrap().finalize(&id, local_digests(&file, PART)).await.unwrap();
    assert_eq!(done.file.crc64nvme.unwrap(), crc64nvme(&file));
}

/// `crash_points` tests every step at which a server can be killed. This test kills the real process at one of them:
/// between the rename and the commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalize_that_was_killed_in_its_last_transaction_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_bytes(PART * 16);
    let settings = [SETTINGS[0], ("PARTWAY_DATABASE", "")];
    let server = Server::start(folder.path(), &settings);
    let token = server.first_token.clone();
    let client = Client::new(&server.url, &token).unwrap();
    let session = client.create(&NewUpload::named("a", file.len() as u64, "k")).await.unwrap();
    let id = session.session_id;
    for (index, part) in file.chunks(PART).enumerate() {
        assert_eq!(server.put(&token, &id, index + 1, part), Some(201));
    }
    let database = format!("sqlite://{}", folder.path().join("partway.db").display());
    let mut database = sqlx::SqliteConnection::connect(&database).await.unwrap();
    // The statement that completes the session never ends.
    let endless = "CREATE TRIGGER endless BEFORE UPDATE ON upload_session WHEN NEW.status = 'COMPLETE' BEGIN
        SELECT count(*) FROM (WITH RECURSIVE ever(n) AS (SELECT 1 UNION ALL SELECT n FROM ever) SELECT n FROM ever);
        END";
    database.execute(endless).await.unwrap();
    let finalize = tokio::spawn({
        let (client, id, digest) = (client.clone(), id.clone(), local_digests(&file, PART));
        async move { client.finalize(&id, digest).await }
    });
    let stored = folder.path().join("files/stored").join(&session.file.file_id);
    Deadline::new().until("the file to be renamed", async || stored.exists()).await;
    assert!(!finalize.is_finished());
    server.kill();
    finalize.abort();
    database.execute("DROP TRIGGER endless").await.unwrap();

    let server = Server::start(folder.path(), &settings);
    let client = Client::new(&server.url, &token).unwrap();
    assert_eq!(client.session(&id).await.unwrap().status, "IN_PROGRESS");
    let done = client.finalize(&id, local_digests(&file, PART)).await.unwrap();
    assert_eq!((done.status.as_str(), done.file.crc64nvme.unwrap()), ("COMPLETE", crc64nvme(&file)));
    assert!(std::fs::read(stored).unwrap() == file);
    assert_eq!(folder.path().join("files/uploading").read_dir().unwrap().count(), 0);
}
