//! Many uploads that end at the same time, on real servers: feeds of events, and exact accounts.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Api, Server, in_time, storage_url};

const MIB: usize = 1024 * 1024;
const CLIENTS: usize = 16;

/// Servers on the same data: one on SQLite and a folder, or several on PostgreSQL and S3.
struct Nodes {
    _servers: Vec<Server>,
    apis: Vec<Api>,
    _folder: TempDir,
}

impl Nodes {
    fn one(settings: &[(&str, &str)]) -> Self {
        Self::start(1, &[settings, &[("PARTWAY_DATABASE", "")]].concat())
    }

    fn two(settings: &[(&str, &str)], folder: TempDir) -> Self {
        let storage = storage_url(folder.path()).expect("TEST_STORAGE_URL");
        Self::start_in(folder, 2, &[settings, &[("PARTWAY_STORAGE", &storage)]].concat())
    }

    fn start(nodes: usize, settings: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), nodes, settings)
    }

    fn start_in(folder: TempDir, nodes: usize, settings: &[(&str, &str)]) -> Self {
        let servers: Vec<_> = (0..nodes).map(|_| Server::start(folder.path(), settings)).collect();
        let token = servers[0].first_token.clone();
        let apis = servers.iter().map(|server| Api::of(server, &token)).collect();
        Self { _servers: servers, apis, _folder: folder }
    }

    fn api(&self, index: usize) -> &Api {
        &self.apis[index % self.apis.len()]
    }
}

fn id(session: &Value) -> &str {
    session["session_id"].as_str().unwrap()
}

fn event_ids(events: &[Value]) -> impl Iterator<Item = String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned())
}

/// Creates and finalizes empty files, each request on the next node. Returns the ids of the sessions.
async fn upload(nodes: &Nodes, client: usize, files: usize) -> Vec<String> {
    let mut sessions = Vec::new();
    for round in 0..files {
        let (status, session) = nodes.api(client + round).create(0).await.unwrap();
        assert_eq!(status, 201, "{session}");
        let session = id(&session).to_owned();
        let (status, done) = nodes.api(client + round + 1).finalize(&session).await.unwrap();
        assert_eq!((status, &done["status"]), (200, &json!("COMPLETE")), "{done}");
        sessions.push(session);
    }
    sessions
}

/// Follows the feed of a node until it has `files` events. All events belong to this owner, so the cursor counts them.
async fn follow(api: &Api, files: usize, pages: &AtomicUsize) -> Vec<Value> {
    let (mut events, mut cursor) = (Vec::new(), "0".to_owned());
    while events.len() < files {
        let (page, next) = api.events(&cursor, 1 + events.len() % 500).await;
        events.extend(page);
        assert_eq!(next, events.len().to_string(), "a position without an event");
        cursor = next;
        pages.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(api.events(&cursor, 1_000).await, (Vec::new(), cursor));
    events
}

async fn each_reader_gets_each_event_once(nodes: Nodes, files: usize) {
    let nodes = Arc::new(nodes);
    let begun = Instant::now();
    let pages = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = nodes
        .apis
        .iter()
        .cloned()
        .map(|api| {
            let pages = Arc::clone(&pages);
            tokio::spawn(async move { follow(&api, files, &pages).await })
        })
        .collect();
    let clients = (0..CLIENTS).map(|client| {
        let nodes = Arc::clone(&nodes);
        tokio::spawn(async move { upload(&nodes, client, files / CLIENTS).await })
    });
    let sessions: HashSet<String> = join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    let ended = begun.elapsed();
    let read: Vec<Vec<Value>> = in_time(join_all(readers)).await.into_iter().map(Result::unwrap).collect();
    println!("{files} files in {ended:?}; all events read after {:?} in {pages:?} pages", begun.elapsed());
    for events in &read {
        assert!(*events == read[0], "the readers got the events in different orders");
        assert!(events.iter().all(|event| event["type"] == "upload.completed"));
        let of: HashSet<String> = events.iter().map(|event| id(&event["data"]).to_owned()).collect();
        assert!(of == sessions && events.len() == files);
        assert_eq!(event_ids(events).collect::<HashSet<_>>().len(), files);
    }
    // A reader that begins now gets the same.
    let (mut late, mut cursor) = (Vec::new(), "0".to_owned());
    while late.len() < files {
        let (page, next) = nodes.api(1).events(&cursor, 1_000).await;
        late.extend(page);
        cursor = next;
    }
    assert!(late == read[0]);
    let account = nodes.api(0).get("/me").await;
    assert_eq!((&account["bytes_used"], &account["open_sessions"]), (&json!(0), &json!(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_the_feed_gets_each_event_once_while_uploads_end() {
    each_reader_gets_each_event_once(Nodes::one(&[]), 30 * CLIENTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn readers_on_two_nodes_get_ten_thousand_events_once_and_in_the_same_order() {
    each_reader_gets_each_event_once(Nodes::two(&[], tempfile::tempdir().unwrap()), 625 * CLIENTS).await;
}

/// The statuses of this many creates at the same time, for files of 1 MiB, and the sessions.
async fn create_together(nodes: &Arc<Nodes>, creates: usize) -> Vec<(u16, Value)> {
    let creating = (0..creates).map(|index| {
        let nodes = Arc::clone(nodes);
        tokio::spawn(async move { nodes.api(index).create(MIB).await.unwrap() })
    });
    join_all(creating).await.into_iter().map(Result::unwrap).collect()
}

/// Lets 200 creates compete for room for `left` files of 1 MiB. Returns the ids of the sessions and of their files.
async fn fill(nodes: &Arc<Nodes>, left: usize) -> Vec<(String, String)> {
    let mut created = Vec::new();
    for (status, answer) in create_together(nodes, 200).await {
        match status {
            201 => created.push((id(&answer).to_owned(), answer["file"]["file_id"].as_str().unwrap().to_owned())),
            413 => {
                assert_eq!(answer["code"], "QUOTA_EXCEEDED");
                let number = |field: &str| answer[field].as_u64().unwrap();
                assert_eq!(number("bytes_left"), number("bytes_limit") - number("bytes_used"));
                assert!(number("bytes_left") < number("bytes_needed"));
            }
            status => panic!("{status} {answer}"),
        }
    }
    assert_eq!(created.len(), left);
    assert_used(nodes, QUOTA_FILES).await;
    created
}

/// Each node says that the owner uses this many MiB.
async fn assert_used(nodes: &Nodes, files: usize) {
    for api in &nodes.apis {
        assert_eq!(api.get("/me").await["bytes_used"], files * MIB);
    }
}

const QUOTA: (&str, &str) = ("PARTWAY_OWNER_MAX_BYTES", "50MiB");
const QUOTA_FILES: usize = 50;

async fn a_quota_is_exact(nodes: Nodes) {
    let nodes = Arc::new(nodes);
    let mut sessions = fill(&nodes, QUOTA_FILES).await;
    for _ in 0..3 {
        // Each of these is done twice, on different nodes: it must count once.
        let ending = sessions.drain(..20).enumerate().map(|(index, (session, file))| {
            let nodes = Arc::clone(&nodes);
            tokio::spawn(async move {
                let session = format!("/uploads/sessions/{session}");
                if index % 2 == 0 {
                    let abort = |node| nodes.api(node).send(Method::DELETE, &session, "");
                    let aborted = join_all([abort(0), abort(1)]).await.into_iter().map(|answer| answer.unwrap().0);
                    assert_eq!(aborted.collect::<Vec<_>>(), [204, 204]);
                } else {
                    nodes.api(index).done(Method::PUT, &format!("{session}/parts/1"), vec![b'a'; MIB]).await;
                    nodes.api(index + 1).done(Method::POST, &format!("{session}/finalize"), "{}").await;
                    let file = format!("/files/{file}");
                    let delete = |node| nodes.api(node).send(Method::DELETE, &file, "");
                    let deleted = join_all([delete(0), delete(1)]).await.into_iter().map(|answer| answer.unwrap().0);
                    assert_eq!(deleted.collect::<Vec<_>>(), [204, 204]);
                }
            })
        });
        join_all(ending.collect::<Vec<_>>()).await.into_iter().for_each(Result::unwrap);
        assert_used(&nodes, QUOTA_FILES - 20).await;
        sessions.extend(fill(&nodes, 20).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_creates_at_the_same_time_those_within_the_quota_succeed() {
    a_quota_is_exact(Nodes::one(&[QUOTA])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn of_200_creates_at_the_same_time_on_two_nodes_those_within_the_quota_succeed() {
    a_quota_is_exact(Nodes::two(&[QUOTA], tempfile::tempdir().unwrap())).await;
}

/// All of them change one row: the owner's account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn creates_and_finalizes_of_one_owner_at_the_same_time_on_two_nodes_all_succeed() {
    const TOGETHER: usize = 64;
    let nodes = Arc::new(Nodes::two(&[], tempfile::tempdir().unwrap()));
    let mut open: Vec<String> = Vec::new();
    for round in 0..4 {
        let begun = Instant::now();
        let creating = (0..TOGETHER).map(|index| {
            let nodes = Arc::clone(&nodes);
            tokio::spawn(async move {
                let (status, session) = nodes.api(index).create(0).await.unwrap();
                assert_eq!(status, 201, "{session}");
                id(&session).to_owned()
            })
        });
        let finalizing = open.drain(..).enumerate().map(|(index, session)| {
            let nodes = Arc::clone(&nodes);
            tokio::spawn(async move {
                let (status, done) = nodes.api(index + round).finalize(&session).await.unwrap();
                assert_eq!(status, 200, "{done}");
            })
        });
        let (creating, finalizing): (Vec<_>, Vec<_>) = (creating.collect(), finalizing.collect());
        let finalized = finalizing.len();
        join_all(finalizing).await.into_iter().for_each(Result::unwrap);
        open = join_all(creating).await.into_iter().map(Result::unwrap).collect();
        println!("{TOGETHER} creates and {finalized} finalizes: {:?}", begun.elapsed());
    }
    let account = nodes.api(1).get("/me").await;
    assert_eq!(account["open_sessions"], TOGETHER);
}
