//! Two server processes on one PostgreSQL database and one S3 store. `scripts/test-services` runs these tests.

use std::{
    collections::BTreeSet,
    io::Write,
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use partway::client::{Client, NewUpload, part_numbers};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::support::{
    Cli, Deadline, Random, Received, Receiver, Server, crc64nvme, database_url, exchange, file_bytes, local_digests,
    storage_url,
};

const MIB: usize = 1024 * 1024;
/// The smallest part size that S3 accepts, except for the last part.
const PART: usize = 5 * MIB;

struct Cluster {
    folder: TempDir,
    token: String,
    /// `None` during a restart of the node.
    nodes: [Option<Server>; 2],
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let first = node(&folder, "127.0.0.1:0");
        let token = first.first_token.clone();
        let second = node(&folder, "127.0.0.1:0");
        Self { folder, token, nodes: [Some(first), Some(second)] }
    }

    fn node(&self, index: usize) -> &Server {
        self.nodes[index % 2].as_ref().unwrap()
    }

    fn client(&self, index: usize) -> Client {
        Client::new(&self.node(index).url, &self.token).unwrap()
    }

    /// Kills a node, as a power failure would, and starts it again.
    fn kill_and_start(&mut self, index: usize) {
        self.nodes[index].take().unwrap().kill();
        self.nodes[index] = Some(node(&self.folder, "127.0.0.1:0"));
    }

    fn put(&self, index: usize, id: &str, number: usize, part: &[u8]) -> Option<u16> {
        self.node(index).put(&self.token, id, number, part)
    }

    async fn create(&self, index: usize, size: usize, key: &str) -> String {
        self.client(index).create(&NewUpload::named("a", size as u64, key)).await.unwrap().session_id
    }

    /// Downloads a finished file from a node.
    async fn download(&self, index: usize, file: &str) -> Vec<u8> {
        let url = format!("{}/files/{file}/content", self.node(index).url);
        let answer = reqwest::Client::new().get(url).bearer_auth(&self.token).send().await.unwrap();
        answer.error_for_status().unwrap().bytes().await.unwrap().to_vec()
    }

    fn upload(&self, index: usize, file: &std::path::Path) {
        let done = Cli::new(&["upload", file.to_str().unwrap()]).to(self.node(index), &self.token).run();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

fn node(folder: &TempDir, address: &str) -> Server {
    let storage = storage_url(folder.path()).expect("TEST_STORAGE_URL");
    let part = PART.to_string();
    // A short time-out, so that what a killed node was sending to a webhook is soon sent by another one.
    let settings = [("PARTWAY_STORAGE", &*storage), ("PARTWAY_WEBHOOK_TIMEOUT", "1s"), ("PARTWAY_CHUNK_SIZE", &*part)];
    Server::start_on(address, folder.path(), &settings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn a_part_acknowledged_by_one_node_is_visible_on_the_other() {
    let cluster = Cluster::start();
    let file = file_bytes(3 * PART + 1_000);
    let id = cluster.create(0, file.len(), "spread").await;
    for (turn, number) in [4, 2, 1, 3].into_iter().enumerate() {
        let part = file.chunks(PART).nth(number - 1).unwrap();
        assert_eq!(cluster.put(turn, &id, number, part), Some(201));
        let seen = cluster.client(turn + 1).session(&id).await.unwrap();
        assert!(
            part_numbers(&seen.received_parts).any(|seen| seen as usize == number),
            "a write on one node is visible on the other"
        );
        assert_eq!(cluster.put(turn + 1, &id, number, part), Some(200), "a replay is accepted on either node");
    }
    let done = cluster.client(1).finalize(&id, local_digests(&file, PART)).await.unwrap();
    assert_eq!(done.file.crc64nvme.unwrap(), crc64nvme(&file));
    for index in 0..2 {
        assert!(cluster.download(index, &done.file.file_id).await == file);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn of_concurrent_requests_for_one_part_on_both_nodes_one_is_stored() {
    let cluster = Arc::new(Cluster::start());
    for round in 0..8_u8 {
        for is_equal in [true, false] {
            let id = cluster.create(0, MIB, &format!("{round} {is_equal}")).await;
            let bytes = move |sender: u8| vec![if is_equal { 0 } else { sender }; MIB];
            let senders: Vec<_> = (0..4_u8)
                .map(|sender| {
                    let (cluster, id) = (Arc::clone(&cluster), id.clone());
                    thread::spawn(move || cluster.put(sender.into(), &id, 1, &bytes(sender)).unwrap())
                })
                .collect();
            let answers: Vec<u16> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
            assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
            let others = if is_equal { [200, 409] } else { [409, 409] };
            assert!(answers.iter().all(|status| *status == 201 || others.contains(status)), "{answers:?}");
            let winner = u8::try_from(answers.iter().position(|status| *status == 201).unwrap()).unwrap();
            let done = cluster.client(1).finalize(&id, local_digests(&bytes(winner), PART)).await.unwrap();
            assert_eq!(done.file.crc64nvme.unwrap(), crc64nvme(&bytes(winner)));
            assert!(cluster.download(0, &done.file.file_id).await == bytes(winner));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn concurrent_finalize_on_both_nodes_creates_one_file() {
    let cluster = Cluster::start();
    let file = file_bytes(PART + 1_000);
    for round in 0..5 {
        let id = cluster.create(round, file.len(), &format!("{round}")).await;
        for (index, part) in file.chunks(PART).enumerate() {
            assert_eq!(cluster.put(index + round, &id, index + 1, part), Some(201));
        }
        let clients = [0, 1, 0, 1].map(|index| cluster.client(index));
        let digest = local_digests(&file, PART);
        let finalized = futures_util::future::join_all(clients.iter().map(|client| client.finalize(&id, digest))).await;
        for done in finalized {
            assert_eq!(done.unwrap().file.crc64nvme.unwrap(), crc64nvme(&file));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn after_a_node_is_killed_during_parts_the_other_has_all_acknowledged_parts() {
    const PARTS: usize = 6;
    let mut cluster = Cluster::start();
    let file = Arc::new(file_bytes(PART * PARTS - 7));
    let path = cluster.folder.path().join("a.bin");
    std::fs::write(&path, &*file).unwrap();
    let mut random = Random::new(4);
    for round in 0..3 {
        let id = cluster.create(1, file.len(), &format!("{round}")).await;
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let shared = Arc::new(cluster);
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let (cluster, id, file) = (Arc::clone(&shared), id.clone(), Arc::clone(&file));
                let acknowledged = Arc::clone(&acknowledged);
                let order: Vec<usize> = (0..3).map(|_| random.below(PARTS)).collect();
                thread::spawn(move || {
                    for index in order {
                        match cluster.put(sender, &id, index + 1, file.chunks(PART).nth(index).unwrap()) {
                            Some(200 | 201) => drop(acknowledged.lock().unwrap().insert(index + 1)),
                            Some(409) | None => {}
                            Some(status) => panic!("{status}"),
                        }
                    }
                })
            })
            .collect();
        // Kill the node after this many acknowledgements, while it receives further parts.
        let kill_after = random.below(4);
        let deadline = Deadline::new();
        while acknowledged.lock().unwrap().len() < kill_after && !senders.iter().all(thread::JoinHandle::is_finished) {
            deadline.wait_for("acknowledgements");
        }
        shared.node(0).signal(rustix::process::Signal::KILL);
        for sender in senders {
            sender.join().unwrap();
        }
        cluster = Arc::into_inner(shared).unwrap();
        let seen = cluster.client(1).session(&id).await.unwrap();
        let listed: BTreeSet<_> = part_numbers(&seen.received_parts).map(|number| number as usize).collect();
        assert!(listed.is_superset(&acknowledged.lock().unwrap()), "{listed:?}");
        // The killed node may have left part leases behind. The other node answers 409 until they expire.
        for (index, part) in file.chunks(PART).enumerate() {
            while cluster.put(1, &id, index + 1, part) == Some(409) {
                deadline.wait_for("the lease of the killed node to end");
            }
        }
        let done = cluster.client(1).finalize(&id, local_digests(&file, PART)).await.unwrap();
        assert_eq!(done.file.crc64nvme.unwrap(), crc64nvme(&file));
        cluster.kill_and_start(0);
    }
    // The restarted node works again.
    cluster.upload(0, &path);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn after_a_node_is_killed_between_the_object_and_the_commit_the_other_can_finalize() {
    let mut cluster = Cluster::start();
    let file = file_bytes(2 * PART + 1_000);
    let id = cluster.create(0, file.len(), "k").await;
    for (index, part) in file.chunks(PART).enumerate() {
        assert_eq!(cluster.put(index, &id, index + 1, part), Some(201));
    }
    let mut database = PgConnection::connect(&database_url(cluster.folder.path()).unwrap()).await.unwrap();
    // The statement that completes the session does not end.
    let endless = "CREATE FUNCTION endless() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$;
        CREATE TRIGGER endless BEFORE UPDATE ON upload_session FOR EACH ROW
            WHEN (NEW.status = 'COMPLETE') EXECUTE FUNCTION endless()";
    database.execute(endless).await.unwrap();
    let client = cluster.client(0);
    let finalize = tokio::spawn({
        let (id, digest) = (id.clone(), local_digests(&file, PART));
        async move { client.finalize(&id, digest).await }
    });
    let sleeping = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%upload_session%'";
    let count = format!("SELECT count(*) {sleeping}");
    let is_sleeping = async || {
        let count = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(count.clone()));
        count.fetch_one(&mut database).await.unwrap() > 0
    };
    Deadline::new().until("the file to be completed", is_sleeping).await;
    cluster.kill_and_start(0);
    finalize.abort();
    let end = format!("SELECT pg_terminate_backend(pid) {sleeping}; DROP TRIGGER endless ON upload_session");
    database.execute(sqlx::AssertSqlSafe(end)).await.unwrap();
    assert_eq!(cluster.client(0).session(&id).await.unwrap().status, "IN_PROGRESS");
    let done = cluster.client(1).finalize(&id, local_digests(&file, PART)).await.unwrap();
    assert_eq!((done.status.as_str(), done.file.crc64nvme.unwrap()), ("COMPLETE", crc64nvme(&file)));
    assert!(cluster.download(0, &done.file.file_id).await == file);
}

/// Uploads small files until `stop`, with each request on the other node than the one before. If a connection breaks, the
/// request goes to the other node, and is repeated while that node reports a retryable error. Any other error fails the test.
fn load(addresses: &[String; 2], cluster: &Mutex<Cluster>, stop: &AtomicBool, finished: &AtomicUsize, worker: usize) {
    let token = cluster.lock().unwrap().token.clone();
    let mut turn = worker;
    let mut request = |method: &str, path: &str, body: &[u8]| -> Value {
        let (mut is_again, deadline) = (false, Deadline::new());
        loop {
            turn += 1;
            match exchange(&addresses[turn % 2], method, path, &token, body) {
                None => is_again = true,
                Some((_, body)) if is_again && body.contains("\"retryable\":true") => {
                    deadline.wait_for("a node to answer");
                }
                Some((status, body)) => {
                    assert!(status < 300, "{method} {path}: {status} {body}");
                    return serde_json::from_str(&body).unwrap();
                }
            }
        }
    };
    for round in 0.. {
        let create =
            json!({ "original_filename": "a", "total_size_bytes": 9, "idempotency_key": format!("{worker} {round}") });
        let session = request("POST", "/uploads/sessions", create.to_string().as_bytes());
        let path = format!("/uploads/sessions/{}", session["session_id"].as_str().unwrap());
        request("PUT", &format!("{path}/parts/1"), b"012345678");
        assert_eq!(request("GET", &path, b"")["received_parts"], json!(["1"]));
        assert_eq!(request("POST", &format!("{path}/finalize"), b"{}")["file"]["crc64nvme"], crc64nvme(b"012345678"));
        finished.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
fn a_rolling_restart_under_load_fails_no_request() {
    let cluster = Cluster::start();
    let addresses = [0, 1].map(|index| cluster.node(index).address.clone());
    let (stop, finished) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let cluster = Arc::new(Mutex::new(cluster));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (addresses, cluster) = (addresses.clone(), Arc::clone(&cluster));
            let (stop, finished) = (Arc::clone(&stop), Arc::clone(&finished));
            thread::spawn(move || load(&addresses, &cluster, &stop, &finished, worker))
        })
        .collect();
    for index in [0, 1, 0, 1] {
        let so_far = finished.load(Ordering::Relaxed);
        let deadline = Deadline::new();
        while finished.load(Ordering::Relaxed) < so_far + 10 && !workers.iter().any(thread::JoinHandle::is_finished) {
            deadline.wait_for("ten more files");
        }
        let mut cluster = cluster.lock().unwrap();
        let node_to_stop = cluster.nodes[index].take().unwrap();
        node_to_stop.signal(rustix::process::Signal::TERM);
        assert_eq!(node_to_stop.wait().code(), Some(0));
        cluster.nodes[index] = Some(node(&cluster.folder, &addresses[index]));
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn a_watcher_on_one_node_sees_changes_made_on_the_other() {
    let cluster = Cluster::start();
    let file = file_bytes(PART + 1_000);
    let id = cluster.create(0, file.len(), "watched").await;
    let watching = Cli::new(&["status", &id, "--watch"]).to(cluster.node(1), &cluster.token).spawn();
    for (index, part) in file.chunks(PART).enumerate() {
        assert_eq!(cluster.put(0, &id, index + 1, part), Some(201));
    }
    cluster.client(0).finalize(&id, local_digests(&file, PART)).await.unwrap();
    let output = watching.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("COMPLETE"));
}

/// An unfinished request on one node does not lock the part on the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn an_unfinished_part_on_one_node_does_not_block_the_other() {
    let cluster = Cluster::start();
    let file = file_bytes(MIB);
    let id = cluster.create(0, file.len(), "half").await;
    let mut socket = TcpStream::connect(&cluster.node(0).address).unwrap();
    let head = format!(
        "PUT /uploads/sessions/{id}/parts/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        cluster.token,
        file.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(&file[..MIB / 2]).unwrap();
    assert_eq!(cluster.put(1, &id, 1, &file), Some(201));
    drop(socket);
    assert_eq!(
        cluster.client(1).finalize(&id, local_digests(&file, PART)).await.unwrap().file.crc64nvme.unwrap(),
        crc64nvme(&file)
    );
}

/// Both nodes send. Each node is killed while it does, and what it was sending is sent by the other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn every_event_reaches_a_webhook_though_nodes_are_killed() {
    let mut cluster = Cluster::start();
    let receiver = Receiver::start().await;
    let data = cluster.folder.path().to_str().unwrap();
    let added = Cli::new(&["webhook", "add", &receiver.url, "--data", data]).run();
    assert!(added.status.success(), "{added:?}");
    let mut ended = BTreeSet::new();
    for round in 0..6 {
        for upload in 0..10 {
            let id = cluster.create(round + upload, 1, &format!("{round} {upload}")).await;
            let (address, path) = (&cluster.node(round + upload).address, format!("/uploads/sessions/{id}"));
            assert_eq!(exchange(address, "DELETE", &path, &cluster.token, b"").unwrap().0, 204);
            ended.insert(id);
        }
        cluster.kill_and_start(round % 2);
    }
    let sessions = || {
        let session = |message: &Received| message.json()["data"]["session_id"].as_str().unwrap().to_owned();
        receiver.received().iter().map(session).collect::<BTreeSet<String>>()
    };
    Deadline::new().until("all events", async || sessions().len() == ended.len()).await;
    assert_eq!(sessions(), ended);
}
