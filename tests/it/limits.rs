//! Limits of time and size: bodies that stall, refused bodies that continue, pages, and a server that panics or stops.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::Instant};

use crate::support::{Cause, Place, Server, Step, TestApp, TestUser, When, crc64nvme, file_bytes, in_time};

const MIB: usize = 1024 * 1024;

/// Memory for two parts at a time. One owner can use half of it.
fn memory_for_two_parts() -> Place {
    Place::objects_with(2 * 1024)
}

#[tokio::test]
async fn a_body_that_stalls_is_refused_and_releases_the_part_and_its_memory() {
    for place in [Place::Folder, memory_for_two_parts()] {
        let idle = Duration::from_millis(50);
        let (app, _) = TestApp::with_faults_and(&place, |config| config.connections.body_idle_timeout = idle).await;
        let user = app.user("ann").await;
        let id = user.create_id(25).await;
        let half = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"01234"))]).chain(stream::pending());
        let request = user.request("PUT", &format!("/uploads/sessions/{id}/parts/1"));
        let request = request.header("content-length", 10).body(Body::from_stream(half)).unwrap();
        let stalled = in_time(user.send(request)).await;
        assert_eq!(stalled.problem(), (503, "UNAVAILABLE".to_owned()), "{place:?}");
        assert_eq!(user.status(&id).await["status"], "INIT");
        // If the stalled part still held its claim or its memory, one of these parts would fail.
        user.put_parts(&id, &file_bytes(25), [2, 1, 3]).await;
        assert_eq!(user.finalize(&id).await.expect(200).json()["file"]["crc64nvme"], crc64nvme(&file_bytes(25)));
    }
}

/// A body that repeats `bytes` endlessly, or sends them once and then stalls. Also returns the number of bytes read,
/// and a receiver that fails when the body is dropped.
fn watched(bytes: Bytes, is_endless: bool) -> (Body, Arc<AtomicUsize>, oneshot::Receiver<()>) {
    let (read, (alive, dropped)) = (Arc::new(AtomicUsize::new(0)), oneshot::channel::<()>());
    let count = Arc::clone(&read);
    let pieces = match is_endless {
        true => stream::repeat(bytes).left_stream(),
        false => stream::iter([bytes]).chain(stream::pending()).right_stream(),
    };
    let pieces = pieces.map(move |bytes| {
        // Dropped with the body.
        assert!(!alive.is_closed());
        count.fetch_add(bytes.len(), Ordering::Relaxed);
        Ok::<_, std::io::Error>(bytes)
    });
    (Body::from_stream(pieces), read, dropped)
}

async fn refuse(app: &TestApp, body: Body) {
    let request = app.anonymous().request("PUT", "/uploads/sessions/x/parts/1").body(body).unwrap();
    assert_eq!(app.anonymous().send(request).await.problem().0, 401);
}

#[tokio::test]
async fn the_server_reads_at_most_32_mib_of_a_refused_body() {
    let app = TestApp::on_disk().await;
    let (body, read, dropped) = watched(vec![0; MIB].into(), true);
    refuse(&app, body).await;
    assert!(in_time(dropped).await.is_err(), "the body is dropped");
    assert_eq!(read.load(Ordering::Relaxed), 33 * MIB, "the limit and one more piece");
}

#[tokio::test]
async fn a_refused_body_is_read_for_at_most_ten_seconds() {
    let app = TestApp::on_disk().await;
    let (body, read, dropped) = watched(Bytes::from_static(b"x"), false);
    // No step after this one uses the database, whose time the paused clock does not count.
    tokio::time::pause();
    let begun = Instant::now();
    refuse(&app, body).await;
    assert!(in_time(dropped).await.is_err());
    assert_eq!(read.load(Ordering::Relaxed), 1);
    let took = begun.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&took), "{took:?}");
    tokio::time::resume();
}

#[tokio::test]
async fn a_page_has_at_most_100_sessions() {
    let app = TestApp::with(|config| config.limits.max_open_sessions = 200).await;
    let user = app.user("ann").await;
    for _ in 0..101 {
        user.create_id(5).await;
    }
    for (limit, expected) in [("99", 99), ("100", 100), ("101", 100), ("18446744073709551615", 100)] {
        let page = user.get(&format!("/uploads/sessions?limit={limit}")).await.expect(200).json();
        assert_eq!(page["sessions"].as_array().unwrap().len(), expected, "{limit}");
        assert!(page["next"].is_string());
    }
    for first in [100, 101, i32::MAX] {
        let query = "query($first: Int) { uploadSessions(first: $first) { nodes { id } pageInfo { hasNextPage } } }";
        let page = user.data(query, json!({ "first": first })).await["uploadSessions"].take();
        assert_eq!((page["nodes"].as_array().unwrap().len(), &page["pageInfo"]["hasNextPage"]), (100, &json!(true)));
    }
}

#[tokio::test]
async fn a_page_has_at_most_1000_parts_by_rest_and_100_by_graphql() {
    const PARTS: u32 = 1_001;
    let app = TestApp::on_disk_with(|config| config.limits.max_parts = PARTS).await;
    let user = app.user("ann").await;
    let id = user.create_id(10 * PARTS as usize).await;
    let file = file_bytes(10 * PARTS as usize);
    let parts = (1..=PARTS).map(|number| (number, file.chunks(10).nth(number as usize - 1).unwrap().to_vec()));
    let puts = stream::iter(parts).map(async |(number, part)| user.put(&id, number, part).await);
    puts.buffer_unordered(100).for_each(async |answer| drop(answer.expect(201))).await;
    for (limit, expected) in [("999", 999), ("1000", 1_000), ("1001", 1_000), ("18446744073709551615", 1_000)] {
        let page = user.get(&format!("/uploads/sessions/{id}/parts?limit={limit}")).await.expect(200).json();
        let parts = page["parts"].as_array().unwrap();
        assert_eq!((parts.len(), &page["next"]), (expected, &parts[expected - 1]["part_number"]), "{limit}");
    }
    let query =
        "query($id: ID!, $first: Int) { uploadSession(id: $id) { parts(first: $first) { nodes { partNumber } } } }";
    for first in [100, 101, i32::MAX] {
        let page = user.data(query, json!({ "id": id, "first": first })).await["uploadSession"]["parts"].take();
        assert_eq!(page["nodes"].as_array().unwrap().len(), 100);
    }
}

async fn content(user: &TestUser, session: &Value) -> crate::support::Answer {
    user.get(&format!("/files/{}/content", session["file"]["file_id"].as_str().unwrap())).await
}

#[tokio::test]
async fn a_handler_that_panics_is_500_with_the_request_id_and_the_next_request_is_served() {
    let (app, faults) = TestApp::with_faults(&Place::Folder).await;
    let user = app.user("ann").await;
    let session = user.upload(b"0123456789").await;
    faults.fail(When::Before, Step::Read, Cause::Panic);
    let answer = content(&user, &session).await;
    assert_eq!(answer.problem(), (500, "INTERNAL".to_owned()));
    assert!(!answer.header("x-request-id").is_empty());
    assert_eq!(answer.json()["request_id"], answer.header("x-request-id"));
    assert_eq!(answer.json()["detail"], "an internal error occurred");
    faults.heal();
    assert_eq!(content(&user, &session).await.expect(200).bytes, b"0123456789");
}

/// In steps that run under a claim, or in their own task.
#[tokio::test]
async fn a_panic_while_a_part_is_written_releases_the_part() {
    for place in Place::each() {
        let (app, faults) = TestApp::with_faults_and(&place, |config| config.stores.database = String::new()).await;
        let user = app.user("ann").await;
        let id = user.create_id(25).await;
        for step in [Step::PartWriter, Step::Push, Step::Finish, Step::Persist] {
            faults.fail(When::Before, step, Cause::Panic);
            let answer = user.put(&id, 1, "0123456789").await;
            assert_eq!(answer.problem(), (500, "INTERNAL".to_owned()), "{step:?} {place:?}");
        }
        faults.heal();
        // Wait for the lease on the part in an object store to expire.
        app.advance(chrono::TimeDelta::seconds(11));
        user.put_parts(&id, &file_bytes(25), [2, 1, 3]).await;
        faults.fail(When::Before, Step::Complete, Cause::Panic);
        assert_eq!(user.finalize(&id).await.problem(), (500, "INTERNAL".to_owned()), "{place:?}");
        faults.heal();
        assert_eq!(user.finalize(&id).await.expect(200).json()["file"]["crc64nvme"], crc64nvme(&file_bytes(25)));
    }
}

#[test]
fn a_request_that_does_not_end_within_the_shutdown_timeout_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("PARTWAY_SHUTDOWN_TIMEOUT", "200ms")]);
    let token = server.first_token.clone();
    let (_, session) = server.post("/uploads/sessions", br#"{"original_filename":"a","total_size_bytes":10}"#);
    let session: Value = serde_json::from_str(&session).unwrap();
    let id = session["session_id"].as_str().unwrap();
    let mut socket = TcpStream::connect(&server.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let head = format!(
        "PUT /uploads/sessions/{id}/parts/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    // `100 Continue` shows that the handler reads the body, so the request is running.
    let mut go_on = [0; 25];
    socket.read_exact(&mut go_on).unwrap();
    socket.write_all(b"01234").unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let mut answer = Vec::new();
    // The connection is closed or reset, without a response.
    let _ = socket.read_to_end(&mut answer);
    assert_eq!(answer, b"");

    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.put(&token, id, 1, b"0123456789"), Some(201), "nothing of the first request was recorded");
}
