//! Many requests at the same time, in one process.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{
    future::{join_all, select_all},
    stream,
};
use partway::service::CheckOptions;
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{TestApp, TestUser, crc64nvme, file_bytes, sha256_hex};

fn count(answers: &[crate::support::Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Parts large enough to be written in several blocks.
async fn app_with_large_parts() -> (TestApp, TestUser) {
    let app = TestApp::with(|config| {
        config.limits.chunk_size = bytesize::ByteSize::kib(600);
        config.limits.max_file_size = bytesize::ByteSize::mib(10);
    })
    .await;
    let user = app.user("ann").await;
    (app, user)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_with_the_same_bytes_for_one_part_store_it_once() {
    let (app, user) = app_with_large_parts().await;
    let file = file_bytes(600 * 1024);
    let id = user.create_id(file.len()).await;
    let senders = (0..16).map(|_| {
        let (user, id, file) = (user.clone(), id.clone(), file.clone());
        tokio::spawn(async move { user.put(&id, 1, file).await })
    });
    let answers: Vec<_> = join_all(senders).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(count(&answers, 201), 1);
    for answer in answers.iter().filter(|answer| answer.status.as_u16() >= 400) {
        assert_eq!(answer.problem(), (409, "BUSY".to_owned()));
    }
    assert_eq!(user.status(&id).await["version"], 2, "the part was recorded once");
    assert_eq!(user.finalize(&id).await.expect(200).json()["file"]["crc64nvme"], crc64nvme(&file));
    assert_eq!(app.service.check(CheckOptions::default()).await.unwrap().problems, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_requests_send_different_bytes_for_one_part_exactly_one_is_stored() {
    let (app, user) = app_with_large_parts().await;
    for _ in 0..5 {
        let id = user.create_id(600 * 1024).await;
        let senders = (0..8_u8).map(|fill| {
            let (user, id) = (user.clone(), id.clone());
            tokio::spawn(async move { user.put(&id, 1, vec![fill; 600 * 1024]).await })
        });
        let answers: Vec<_> = join_all(senders).await.into_iter().map(Result::unwrap).collect();
        assert_eq!((count(&answers, 201), count(&answers, 409)), (1, 7));
        let winner = answers.iter().position(|answer| answer.status == 201).unwrap();
        let bytes = vec![u8::try_from(winner).unwrap(); 600 * 1024];
        assert_eq!(answers[winner].json()["sha256"], sha256_hex(&bytes));
        assert_eq!(user.finalize(&id).await.expect(200).json()["file"]["crc64nvme"], crc64nvme(&bytes));
    }
    assert_eq!(app.service.check(CheckOptions::default()).await.unwrap().problems, []);
}

#[tokio::test]
async fn a_newer_request_takes_over_from_a_stalled_one() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    // This client sends half of a part, and then neither ends the body nor continues.
    let (sender, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::from_stream(stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) }));
    let request = user.request("PUT", &format!("/uploads/sessions/{id}/parts/1")).body(body).unwrap();
    let older = tokio::spawn({
        let user = user.clone();
        async move { user.send(request).await }
    });
    sender.send(Ok(Bytes::from_static(b"XXXXX"))).await.unwrap();
    // The channel holds one piece, so a second one fits only after the server has read the first.
    sender.send(Ok(Bytes::from_static(b"XX"))).await.unwrap();
    sender.reserve().await.unwrap();

    user.put(&id, 1, "0123456789").await.expect(201);
    let older = older.await.unwrap();
    assert_eq!(older.problem(), (409, "BUSY".to_owned()));
    assert_eq!((older.header("retry-after"), &older.json()["retryable"]), ("1", &json!(true)));
    user.put_parts(&id, b"0123456789abcdefghijKLMNO", [2, 3]).await;
    let done = user.finalize(&id).await.expect(200).json();
    assert_eq!(done["file"]["crc64nvme"], crc64nvme(b"0123456789abcdefghijKLMNO"));
}

#[tokio::test]
async fn another_owner_cannot_take_over_a_part() {
    let app = TestApp::new().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let id = ann.create_id(10).await;
    let (sender, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::from_stream(stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) }));
    let request = ann.request("PUT", &format!("/uploads/sessions/{id}/parts/1")).body(body).unwrap();
    let sending = tokio::spawn({
        let ann = ann.clone();
        async move { ann.send(request).await }
    });
    sender.send(Ok(Bytes::from_static(b"01234"))).await.unwrap();
    sender.send(Ok(Bytes::from_static(b"567"))).await.unwrap();
    assert_eq!(bob.put(&id, 1, "XXXXXXXXXX").await.problem(), (404, "NOT_FOUND".to_owned()));
    sender.send(Ok(Bytes::from_static(b"89"))).await.unwrap();
    drop(sender);
    sending.await.unwrap().expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_part_is_lost_if_many_arrive_at_the_same_time() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(2_000);
    let id = user.create_id(file.len()).await;
    let senders = (1..=200_u32).map(|number| {
        let (user, id) = (user.clone(), id.clone());
        let part = file.chunks(10).nth(number as usize - 1).unwrap().to_vec();
        tokio::spawn(async move { user.put(&id, number, part).await })
    });
    let answers: Vec<_> = join_all(senders).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(count(&answers, 201), 200);
    assert_eq!(user.status(&id).await["received_parts"], json!(["1-200"]));
    assert_eq!(user.finalize(&id).await.expect(200).json()["file"]["crc64nvme"], crc64nvme(&file));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_while_parts_arrive_leaves_no_bytes() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(200);
    for _ in 0..10 {
        let id = user.create_id(file.len()).await;
        let senders = (1..=20_u32).map(|number| {
            let (user, id) = (user.clone(), id.clone());
            let part = file.chunks(10).nth(number as usize - 1).unwrap().to_vec();
            tokio::spawn(async move { user.put(&id, number, part).await.status.as_u16() })
        });
        let senders: Vec<_> = senders.collect();
        user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
        for sender in senders {
            assert!(matches!(sender.await.unwrap(), 201 | 409));
        }
        assert_eq!(app.bytes_on_disk(), [""; 0]);
    }
}

#[tokio::test]
async fn many_queued_writes_of_one_owner_delay_another_owner_only_a_little() {
    let app = TestApp::new().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    for user in [&ann, &bob] {
        user.create_id(1).await;
    }
    let creating = (0..100).map(|_| {
        let ann = ann.clone();
        tokio::spawn(async move { ann.create_id(1).await })
    });
    let (first, _, creating) = select_all(creating).await;
    first.unwrap();
    bob.create_id(1).await;
    let before = creating.iter().filter(|creating| creating.is_finished()).count();
    assert!(before < 50, "{before}");
    join_all(creating).await.into_iter().for_each(|created| drop(created.unwrap()));
}
