//! Expiry of sessions without activity.

use std::convert::Infallible;

use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{future::join_all, stream};
use serde_json::json;
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

use crate::support::{Answer, Deadline, TestApp, TestUser};

const TTL: TimeDelta = TimeDelta::days(7);

#[tokio::test]
async fn a_session_without_activity_is_aborted_and_its_bytes_are_freed() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    user.put(&id, 1, "0123456789").await.expect(201);

    app.advance(TTL - TimeDelta::seconds(1));
    assert_eq!(app.service.sweep().await.expired, 0);
    app.advance(TimeDelta::seconds(1));
    assert_eq!(app.service.sweep().await.expired, 1);
    assert_eq!(app.service.sweep().await.expired, 0);

    let session = user.status(&id).await;
    assert_eq!((&session["status"], &session["status_reason"]), (&json!("ABORTED"), &json!("expired")));
    assert!(app.bytes_on_disk().is_empty());
    assert_eq!(user.put(&id, 2, "0123456789").await.problem(), (409, "SESSION_CLOSED".to_owned()));
}

#[tokio::test]
async fn if_several_servers_sweep_each_session_is_freed_by_one_of_them() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for _ in 0..12 {
        let id = user.create_id(25).await;
        user.put(&id, 1, "0123456789").await.expect(201);
    }
    let other = app.beside().await;
    for app in [&app, &other] {
        app.advance(TTL * 2);
    }
    let swept = join_all([&app, &other, &app, &other].map(|app| app.service.sweep())).await;
    let [expired, freed]: [usize; 2] =
        [swept.iter().map(|swept| swept.expired).sum(), swept.iter().map(|swept| swept.freed).sum()];
    assert_eq!([expired, freed], [12, 12]);
}

/// As after a server died between ending a session and freeing its bytes.
#[tokio::test]
async fn another_server_frees_a_session_when_the_lease_of_a_dead_server_expires() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    user.put(&id, 1, "0123456789").await.expect(201);
    app.advance(TTL);
    app.execute(
        "UPDATE upload_session SET status = 'ABORTED', status_reason = 'expired', freeing_until = '3000-01-01 00:00:00+00:00'",
    )
    .await;
    app.execute("UPDATE upload_file SET status = 'FAILED'").await;
    app.execute("UPDATE account SET bytes_used = 0, open_sessions = 0").await;
    assert_eq!(app.service.sweep().await.freed, 0, "another server has the lease");
    app.advance(TimeDelta::days(400_000));
    assert_eq!(app.service.sweep().await.freed, 1);
}

#[tokio::test]
async fn every_part_moves_expires_at() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let session = user.create(25).await;
    let id = session["session_id"].as_str().unwrap();
    let time = |body: &serde_json::Value, field: &str| body[field].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert_eq!(time(&session, "expires_at"), time(&session, "created_at") + TTL);

    app.advance(TimeDelta::days(5));
    user.put(id, 1, "0123456789").await.expect(201);
    let touched = user.status(id).await;
    assert_eq!(time(&touched, "expires_at"), time(&session, "expires_at") + TimeDelta::days(5));
    app.advance(TimeDelta::days(5));
    assert_eq!(app.service.sweep().await.expired, 0);
    assert_eq!(user.status(id).await["status"], "IN_PROGRESS");
}

#[tokio::test]
async fn finished_sessions_do_not_expire() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let done = user.upload(b"0123456789").await;
    app.advance(TTL * 10);
    assert_eq!(app.service.sweep().await.expired, 0);
    assert_eq!(user.status(done["session_id"].as_str().unwrap()).await, done);
}

/// A bug on a machine whose clock was years ahead until it got the time from the network.
#[tokio::test]
async fn a_clock_that_jumps_by_years_expires_no_session_at_once() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let ids = [user.create_id(25).await, user.create_id(25).await];
    assert_eq!(app.service.sweep().await.expired, 0);
    let years = TimeDelta::days(3_650);
    app.advance(years);
    assert_eq!(app.service.sweep().await.expired, 0);
    // When the clock is right again, no session has expired.
    app.advance(-years);
    assert_eq!(app.service.sweep().await.expired, 0);
    for id in ids {
        assert_eq!(app.user("ann").await.status(&id).await["status"], "INIT");
    }
    for _ in 0..7 {
        assert_eq!(app.service.sweep().await.expired, 0);
        app.advance(TimeDelta::days(1));
    }
    assert_eq!(app.service.sweep().await.expired, 2);
}

#[tokio::test]
async fn after_a_lasting_jump_sessions_have_their_whole_ttl_again() {
    let app = TestApp::new().await;
    app.user("ann").await.create_id(25).await;
    assert_eq!(app.service.sweep().await.expired, 0);
    app.advance(TimeDelta::days(3_650));
    for _ in 0..7 {
        assert_eq!(app.service.sweep().await.expired, 0);
        app.advance(TimeDelta::days(1));
    }
    assert_eq!(app.service.sweep().await.expired, 1);
}

/// Starts a request for part 1. The test sends its bytes through the channel.
fn put_slowly(user: &TestUser, id: &str) -> (UnboundedSender<&'static str>, JoinHandle<Answer>) {
    let (line, mut pieces) = unbounded_channel::<&'static str>();
    let body = stream::poll_fn(move |context| pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>)));
    let request = user.request("PUT", &format!("/uploads/sessions/{id}/parts/1"));
    let (user, request) = (user.clone(), request.body(Body::from_stream(body)).unwrap());
    (line, tokio::spawn(async move { user.send(request).await }))
}

/// Waits until the session has changed.
async fn moved_since(user: &TestUser, id: &str, before: u64) -> u64 {
    let mut now = before;
    let has_moved = async || {
        now = version(user, id).await;
        now != before
    };
    Deadline::new().until("the arriving bytes to renew the session", has_moved).await;
    now
}

async fn version(user: &TestUser, id: &str) -> u64 {
    user.status(id).await["version"].as_u64().unwrap()
}

/// On a slow connection, a part takes longer than the session's time to live.
#[tokio::test]
async fn a_part_under_way_keeps_its_session_open_on_every_node() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let other = app.beside().await;
    let (line, putting) = put_slowly(&user, &id);
    let mut last = version(&user, &id).await;
    for piece in ["01", "23", "45", "67"] {
        for app in [&app, &other] {
            app.advance(TTL / 2);
        }
        line.send(piece).unwrap();
        last = moved_since(&user, &id, last).await;
        assert_eq!((app.service.sweep().await.expired, other.service.sweep().await.expired), (0, 0));
    }
    // Shortly after that, only the part changes the session.
    line.send("89").unwrap();
    drop(line);
    let answer = putting.await.unwrap().expect(201).json();
    assert_eq!(answer["version"].as_u64().unwrap(), last + 1);
}

#[tokio::test]
async fn a_part_under_way_is_refused_when_its_session_has_ended() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let (line, putting) = put_slowly(&user, &id);
    app.advance(TTL / 2);
    line.send("01").unwrap();
    moved_since(&user, &id, 1).await;
    user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    app.advance(TTL / 2);
    line.send("23").unwrap();
    assert_eq!(putting.await.unwrap().problem(), (409, "SESSION_CLOSED".to_owned()));
}
