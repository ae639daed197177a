//! Real servers, killed while uploads are created, end, and are deleted.
//!
//! After every kill: each acknowledged change is there, and each end has exactly one event. At the end the accounts agree with the
//! rows, and no bytes are left that nobody needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use chrono::TimeDelta;
use partway::{
    app::{Opening, open_service},
    config::Config,
    domain::{Clock, ManualClock, SystemClock},
    service::CheckOptions,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Deadline, Random, Server, database_url, exchange, storage_url};

const WORKERS: usize = 4;

/// How far a client knows that a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Acknowledged {
    Created,
    Aborted,
    Completed,
    Deleted,
}

/// By session.
type Ledger = Arc<Mutex<BTreeMap<String, Acknowledged>>>;

/// Servers on the same data, of which one is killed at a time.
struct Nodes {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
    token: String,
    servers: Vec<Server>,
}

impl Nodes {
    fn start(count: usize, storage: impl FnOnce(&TempDir) -> Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = storage(&folder);
        let mut nodes = Self { folder, settings, token: String::new(), servers: Vec::new() };
        for _ in 0..count {
            let server = nodes.server();
            nodes.servers.push(server);
        }
        nodes.token = nodes.servers[0].first_token.clone();
        nodes
    }

    fn server(&self) -> Server {
        let settings: Vec<_> = self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Server::start(self.folder.path(), &settings)
    }

    fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.address.clone()).collect()
    }

    fn get(&self, path: &str) -> Value {
        let answer = exchange(&self.servers[0].address, "GET", path, &self.token, b"").unwrap();
        assert_eq!(answer.0, 200, "{path}: {}", answer.1);
        serde_json::from_str(&answer.1).unwrap()
    }

    /// All sessions: the status of each, and of its file.
    fn sessions(&self) -> BTreeMap<String, (String, String)> {
        let (mut sessions, mut after) = (BTreeMap::new(), String::new());
        loop {
            let page = self.get(&format!("/uploads/sessions?limit=100{after}"));
            for session in page["sessions"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let statuses = (text(&session["status"]), text(&session["file"]["status"]));
                sessions.insert(text(&session["session_id"]), statuses);
            }
            match page["next"].as_str() {
                Some(cursor) => after = format!("&after={cursor}"),
                None => return sessions,
            }
        }
    }

    /// The types of the events of each session.
    fn events(&self) -> BTreeMap<String, Vec<String>> {
        let (mut events, mut cursor) = (BTreeMap::<_, Vec<_>>::new(), "0".to_owned());
        loop {
            let page = self.get(&format!("/events?limit=1000&after={cursor}"));
            let found = page["events"].as_array().unwrap();
            if found.is_empty() {
                return events;
            }
            for event in found {
                let session = event["data"]["session_id"].as_str().unwrap().to_owned();
                events.entry(session).or_default().push(event["type"].as_str().unwrap().to_owned());
            }
            page["next"].as_str().unwrap().clone_into(&mut cursor);
        }
    }

    /// Compares what the servers say with what they have acknowledged.
    fn assert_true(&self, acknowledged: &BTreeMap<String, Acknowledged>) {
        let (sessions, mut events) = (self.sessions(), self.events());
        let lost: Vec<_> = acknowledged.iter().filter(|(id, _)| !sessions.contains_key(*id)).collect();
        assert!(lost.is_empty(), "lost: {lost:?} of {} {}", sessions.len(), acknowledged.len());
        for (session, (status, file)) in &sessions {
            let (at_least, expected): (_, &[&str]) = match (status.as_str(), file.as_str()) {
                ("INIT" | "IN_PROGRESS", "UPLOADING") => (Acknowledged::Created, &[]),
                ("ABORTED", "FAILED") => (Acknowledged::Aborted, &["upload.aborted"]),
                ("COMPLETE", "STORED") => (Acknowledged::Completed, &["upload.completed"]),
                ("COMPLETE", "DELETED") => (Acknowledged::Deleted, &["upload.completed", "file.deleted"]),
                other => panic!("{other:?}"),
            };
            assert_eq!(events.remove(session).unwrap_or_default(), expected, "{session} {status} {file}");
            if let Some(acknowledged) = acknowledged.get(session) {
                assert!(*acknowledged <= at_least, "{session} is {status}, {file}; acknowledged was {acknowledged:?}");
                let is_aborted = *acknowledged == Acknowledged::Aborted;
                assert!(!is_aborted || at_least == Acknowledged::Aborted);
            }
        }
        assert!(events.is_empty(), "events of unknown sessions: {events:?}");
    }
}

/// Creates uploads, and ends or deletes them, each request on the next node, until a request gets no answer.
fn work(addresses: &[String], token: &str, ledger: &Ledger, answers: &AtomicUsize, mut random: Random) {
    let mut turn = random.below(2);
    let mut request = |method: &str, path: &str, body: &[u8]| -> Option<Value> {
        turn += 1;
        let (status, body) = exchange(&addresses[turn % addresses.len()], method, path, token, body)?;
        assert!(status < 300, "{method} {path}: {status} {body}");
        answers.fetch_add(1, Ordering::Relaxed);
        Some(serde_json::from_str(&body).unwrap_or_default())
    };
    let mut step = |kind: usize| -> Option<()> {
        let note = |session: &str, to| {
            ledger.lock().unwrap().insert(session.to_owned(), to);
        };
        let body = json!({ "original_filename": "a", "total_size_bytes": 3 }).to_string();
        let created = request("POST", "/uploads/sessions", body.as_bytes())?;
        let session = created["session_id"].as_str().unwrap();
        note(session, Acknowledged::Created);
        let path = format!("/uploads/sessions/{session}");
        if kind != 1 {
            request("PUT", &format!("{path}/parts/1"), b"abc")?;
        }
        if kind < 2 {
            request("DELETE", &path, b"")?;
            note(session, Acknowledged::Aborted);
            return Some(());
        }
        request("POST", &format!("{path}/finalize"), b"{}")?;
        note(session, Acknowledged::Completed);
        if kind < 4 {
            request("DELETE", &format!("/files/{}", created["file"]["file_id"].as_str().unwrap()), b"")?;
            note(session, Acknowledged::Deleted);
        }
        Some(())
    };
    while step(random.below(5)).is_some() {}
}

/// Kills a server in each round while the clients work, and starts it again.
fn kill_and_compare(mut nodes: Nodes, rounds: usize) {
    let mut random = Random::new(7);
    let ledger = Ledger::default();
    for round in 0..rounds {
        let answers = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (addresses, token) = (nodes.addresses(), nodes.token.clone());
                let (ledger, answers) = (Arc::clone(&ledger), Arc::clone(&answers));
                let random = Random::new((round * WORKERS + worker) as u64);
                thread::spawn(move || work(&addresses, &token, &ledger, &answers, random))
            })
            .collect();
        let (victim, kill_after, deadline) = (random.below(nodes.servers.len()), random.below(120), Deadline::new());
        while answers.load(Ordering::Relaxed) < kill_after && !workers.iter().any(thread::JoinHandle::is_finished) {
            deadline.wait_for("answers");
        }
        nodes.servers[victim].signal(Signal::KILL);
        for worker in workers {
            worker.join().unwrap();
        }
        nodes.servers.remove(victim).kill();
        let started = nodes.server();
        nodes.servers.insert(victim, started);
        nodes.assert_true(&ledger.lock().unwrap());
    }
    assert!(ledger.lock().unwrap().values().collect::<BTreeSet<_>>().len() == 4, "not everything was tried");
    for server in nodes.servers.drain(..) {
        server.kill();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(assert_clean(&nodes));
}

/// What the sweep of a later server leaves agrees, and is finished.
async fn assert_clean(nodes: &Nodes) {
    let folder = nodes.folder.path();
    let mut config = Config::from_defaults(&json!({ "data": folder })).unwrap();
    config.stores.database = database_url(folder).unwrap_or_default();
    let setting = |name| nodes.settings.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    if let Some(database) = setting("PARTWAY_DATABASE") {
        config.stores.database = database;
    }
    config.stores.storage = setting("PARTWAY_STORAGE").unwrap_or_default();
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let opening = Opening { bind: true, must_exist: true, ..Opening::default() };
    let service = Arc::new(open_service(&config, Arc::clone(&clock) as Arc<dyn Clock>, opening).await.unwrap());
    // Longer than the leases of the killed servers.
    clock.advance(TimeDelta::minutes(30));
    service.sweep().await;
    // A client would repeat the finalize that a kill has interrupted.
    let repaired = service.check(CheckOptions { repairs: true, ..CheckOptions::default() }).await.unwrap().repaired;
    assert!(repaired.iter().all(|finding| finding.what.ends_with("is open: finalized")), "{repaired:?}");
    let report = service.check(CheckOptions::default()).await.unwrap();
    assert_eq!((report.problems, report.unfinished), (Vec::new(), Vec::new()));
}

#[test]
fn after_a_kill_each_end_has_one_event_and_nothing_acknowledged_is_lost() {
    kill_and_compare(Nodes::start(1, |_| vec![("PARTWAY_DATABASE", String::new())]), 6);
}

#[test]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
fn after_the_kill_of_one_of_two_nodes_each_end_has_one_event_and_nothing_acknowledged_is_lost() {
    let storage = |folder: &TempDir| vec![("PARTWAY_STORAGE", storage_url(folder.path()).expect("TEST_STORAGE_URL"))];
    kill_and_compare(Nodes::start(2, storage), 8);
}
