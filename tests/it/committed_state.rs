//! A status is the last committed state, from memory or not: requests that race, and requests that are cancelled.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Random, TestApp, TestUser};

const PARTS: usize = 200;
const PROGRESS: &str = "query($id: ID!) { uploadSession(id: $id) { version receivedParts { first last } } }";

/// Whether these ranges, as in `["1-3", "7"]`, have this part.
fn contains(ranges: &serde_json::Value, part: u64) -> bool {
    ranges.as_array().unwrap().iter().any(|range| {
        let range = range.as_str().unwrap();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        (first.parse().unwrap()..=last.parse().unwrap()).contains(&part)
    })
}

/// Reads the status until `done`. No answer may be older than one that any reader has got before.
async fn read(user: TestUser, id: String, newest: Arc<AtomicU64>, done: Arc<AtomicBool>) {
    while !done.load(Ordering::SeqCst) {
        let known = newest.load(Ordering::SeqCst);
        let version = user.status(&id).await["version"].as_u64().unwrap();
        assert!(version >= known, "version {version} after {known}");
        newest.fetch_max(version, Ordering::SeqCst);
        let known = newest.load(Ordering::SeqCst);
        let session = &user.data(PROGRESS, json!({ "id": id })).await["uploadSession"];
        let version = session["version"].as_str().unwrap().parse::<u64>().unwrap();
        assert!(version >= known, "version {version} after {known}");
        newest.fetch_max(version, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_never_goes_back_and_has_every_acknowledged_part() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(PARTS * 10).await;
    let (newest, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> =
        (0..4).map(|_| tokio::spawn(read(user.clone(), id.clone(), Arc::clone(&newest), Arc::clone(&done)))).collect();
    let senders = (0..4_u64).map(|sender| {
        let (user, id) = (user.clone(), id.clone());
        tokio::spawn(async move {
            for part in (1..=PARTS as u64).filter(|part| part % 4 == sender) {
                user.put(&id, u32::try_from(part).unwrap(), vec![7; 10]).await.expect(201);
                let status = user.status(&id).await;
                assert!(contains(&status["received_parts"], part), "part {part}: {status}");
            }
        })
    });
    for sender in join_all(senders).await {
        sender.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    for reader in join_all(readers).await {
        reader.unwrap();
    }
    let status = user.status(&id).await;
    assert_eq!((&status["received_parts"], &status["version"]), (&json!(["1-200"]), &json!(201)));
}

/// The client of a request can disconnect at any of its steps, also while the transaction commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_is_true_after_requests_that_were_cancelled_at_any_step() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(PARTS * 10).await;
    let mut random = Random::new(17);
    for part in 1..=PARTS {
        let (sender, session) = (user.clone(), id.clone());
        let put = tokio::spawn(async move { sender.put(&session, u32::try_from(part).unwrap(), vec![7; 10]).await });
        for _ in 0..random.below(8) {
            user.status(&id).await;
        }
        let is_acknowledged = put.is_finished();
        put.abort();
        let status = user.status(&id).await;
        assert!(!is_acknowledged || contains(&status["received_parts"], part as u64), "part {part}: {status}");
    }
    // Steps that were under way have ended when the session is aborted.
    user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    let rows = app.number("SELECT version FROM upload_session").await;
    assert_eq!(user.status(&id).await["version"], rows);
    assert_eq!(user.status(&id).await["status"], "ABORTED");
}

#[tokio::test]
async fn a_status_of_another_owner_or_of_another_process_is_no_exception() {
    let app = TestApp::on_disk().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let id = ann.create_id(20).await;
    assert_eq!(ann.status(&id).await["version"], 1);
    let path = format!("/uploads/sessions/{id}");
    assert_eq!(bob.get(&path).await.problem(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(bob.data(PROGRESS, json!({ "id": id })).await["uploadSession"], json!(null));
    let restarted = app.beside().await;
    ann.at(&restarted).put(&id, 1, vec![7; 10]).await.expect(201);
    assert_eq!(ann.status(&id).await["received_parts"], json!(["1"]));
}
