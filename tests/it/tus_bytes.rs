//! tus 1.0: the bytes of an upload, by `PATCH` and in the first request; cut connections, rivals, and failures of the storage.

use axum::body::Body;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    Answer, BYTES, Cause, Deadline, FILE, OTHER, Place, Step, TestApp, TestUser, When, assert_stored_by_tus,
    body_in_pieces, cut_after, id_of, in_time, session_on,
};

fn problem(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Sends a `PATCH` in a task of its own.
fn patching(user: &TestUser, id: &str, offset: usize, body: Body) -> tokio::task::JoinHandle<Answer> {
    let (user, id) = (user.clone(), id.to_owned());
    tokio::spawn(async move { user.tus_patch(&id, offset, body).await })
}

#[tokio::test]
async fn bytes_are_appended_in_pieces_of_any_size() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    for size in 1..=FILE.len() {
        let id = user.tus_create(FILE.len(), "").await;
        for (number, piece) in FILE.chunks(size).enumerate() {
            let offset = number * size;
            let patched = user.tus_patch(&id, offset, piece).await.expect(204);
            assert_eq!(patched.header("upload-offset"), (offset + piece.len()).to_string());
        }
        assert_stored_by_tus(&user, &id).await;
    }
}

#[tokio::test]
async fn a_patch_that_does_not_fit_changes_nothing() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    user.tus_patch(&id, 0, &FILE[..7]).await.expect(204);
    let before = user.status(&id).await;
    for offset in [0, 6, 8, 10, 24] {
        let refused = user.tus_patch(&id, offset, "x").await;
        assert_eq!(refused.problem(), problem(409, "OFFSET_MISMATCH"), "{offset}");
        assert_eq!(refused.header("upload-offset"), "7");
        assert_eq!(refused.json()["expected_offset"], 7);
    }
    for (offset, bytes) in [(7, [&FILE[7..], b"x"].concat()), (25, b"x".to_vec()), (26, Vec::new())] {
        let too_long = user.tus_patch(&id, offset, bytes).await;
        assert_eq!(too_long.problem(), problem(413, "TOO_LARGE"));
    }
    for (name, value) in [("content-type", ""), ("content-type", "application/octet-stream")] {
        let patch = user.tus("PATCH", &format!("/uploads/tus/{id}")).header("upload-offset", 7).header(name, value);
        let refused = user.send(patch.body("x".into()).unwrap()).await;
        assert_eq!(refused.problem(), problem(415, "UNSUPPORTED_MEDIA_TYPE"));
        assert_eq!(refused.header("accept"), BYTES);
    }
    for offset in [None, Some(""), Some("-1"), Some("x"), Some("99999999999999999999")] {
        let patch = user.tus("PATCH", &format!("/uploads/tus/{id}")).header("content-type", BYTES);
        let patch = offset.into_iter().fold(patch, |patch, offset| patch.header("upload-offset", offset));
        assert_eq!(user.send(patch.body("x".into()).unwrap()).await.problem(), problem(400, "INVALID_INPUT"));
    }
    let empty = user.tus_patch(&id, 7, "").await.expect(204);
    assert_eq!(empty.header("upload-offset"), "7");
    assert_eq!(user.status(&id).await, before);
}

#[tokio::test]
async fn a_body_without_a_length_is_counted_while_it_arrives() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let in_one = |bytes: &[u8]| {
        let (sender, body) = body_in_pieces();
        bytes.chunks(3).for_each(|piece| sender.send(piece));
        body
    };
    let id = user.tus_create(25, "").await;
    let patched = user.tus_patch(&id, 0, in_one(&FILE[..17])).await.expect(204);
    assert_eq!(patched.header("upload-offset"), "17");
    let too_long = user.tus_patch(&id, 17, in_one(&[&FILE[17..], b"x"].concat())).await;
    assert_eq!(too_long.problem(), problem(413, "TOO_LARGE"));
    // What came before the part that is too long may stay. The file is not complete.
    let offset = user.tus_offset(&id).await;
    assert!((17..25).contains(&offset), "{offset}");
    user.tus_patch(&id, offset, in_one(&FILE[offset..])).await.expect(204);
    assert_stored_by_tus(&user, &id).await;
}

#[tokio::test]
async fn a_finished_upload_accepts_a_patch_at_its_end() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    user.tus_patch(&id, 0, FILE).await.expect(204);
    let again = user.tus_patch(&id, 25, "").await.expect(204);
    assert_eq!(again.header("upload-offset"), "25");
    // The last answer was lost: the client asks, and finds the whole length.
    let repeated = user.tus_patch(&id, 0, FILE).await;
    assert_eq!(repeated.problem(), problem(409, "OFFSET_MISMATCH"));
    assert_eq!(repeated.header("upload-offset"), "25");
    assert_stored_by_tus(&user, &id).await;
}

#[tokio::test]
async fn the_first_request_may_have_the_first_bytes() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let post = async |content_type: &str, body: Body| {
        let request = user.tus("POST", "/uploads/tus").header("upload-length", 25).header("content-type", content_type);
        user.send(request.body(body).unwrap()).await
    };
    for (bytes, offset) in [(&FILE[..0], 0), (&FILE[..7], 7), (&FILE[..20], 20)] {
        let created = post(BYTES, bytes.into()).await.expect(201);
        assert_eq!(created.header("upload-offset"), offset.to_string());
        let id = id_of(&created);
        user.tus_patch(&id, offset, &FILE[offset..]).await.expect(204);
        assert_stored_by_tus(&user, &id).await;
    }
    let whole = post(BYTES, FILE.into()).await.expect(201);
    assert_eq!((whole.header("upload-offset"), whole.header("upload-expires")), ("25", ""));
    assert_stored_by_tus(&user, &id_of(&whole)).await;

    let other = post("application/octet-stream", FILE.into()).await.expect(201);
    assert_eq!(user.tus_offset(&id_of(&other)).await, 0, "the body is not for tus");
    // The client goes on with what arrived.
    let cut = post(BYTES, cut_after(&FILE[..17])).await.expect(201);
    assert_eq!((cut.header("upload-offset"), user.tus_offset(&id_of(&cut)).await), ("17", 17));

    let open =
        || async { user.get("/uploads/sessions?status=INIT").await.json()["sessions"].as_array().unwrap().len() };
    let before = open().await;
    for body in [
        Body::from([FILE, b"x"].concat()),
        Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(FILE), Ok(b"x")])),
    ] {
        assert_eq!(post(BYTES, body).await.problem(), problem(413, "TOO_LARGE"));
    }
    assert_eq!(open().await, before, "an upload whose bytes are refused does not stay open");
}

#[tokio::test]
async fn a_cut_patch_keeps_what_arrived() {
    for place in Place::each() {
        let (_app, _, user, _) = session_on(&place).await;
        let id = user.tus_create(25, "").await;
        for (from, to) in [(0, 7), (7, 9), (9, 13), (13, 20)] {
            let cut = user.tus_patch(&id, from, cut_after(&FILE[from..to])).await;
            assert_eq!(cut.problem(), problem(503, "UNAVAILABLE"));
            assert_eq!(user.tus_offset(&id).await, to);
        }
        let received = user.status(&id).await["received_parts"].take();
        assert_eq!(received, json!(["1-2"]));
    }
}

#[tokio::test]
async fn a_newer_patch_wins() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    let (sender, body) = body_in_pieces();
    sender.send(&FILE[..12]);
    let older = patching(&user, &id, 0, body);
    // The first part is durable, so the older request is in the second one.
    Deadline::new().until("the first part", async || user.tus_offset(&id).await >= 10).await;
    let offset = user.tus_offset(&id).await;
    let newer = in_time(user.tus_patch(&id, offset, &FILE[offset..])).await.expect(204);
    assert_eq!(newer.header("upload-offset"), "25");
    let older = in_time(older).await.unwrap();
    // After a 409 a live rival would ask, and take over again.
    assert_eq!(older.problem(), problem(400, "SUPERSEDED"));
    drop(sender);
    assert_stored_by_tus(&user, &id).await;
}

#[tokio::test]
async fn of_patches_at_one_offset_one_wins() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    for _ in 0..20 {
        let id = user.tus_create(25, "").await;
        let rivals = (0..8).map(|_| patching(&user, &id, 0, FILE[..17].into()));
        let answers = in_time(join_all(rivals)).await;
        let statuses: Vec<u16> = answers.into_iter().map(|answer| answer.unwrap().status.as_u16()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [204, 400, 409].contains(status)), "{statuses:?}");
        assert_eq!(user.tus_offset(&id).await, 17);
        user.tus_patch(&id, 17, &FILE[17..]).await.expect(204);
        assert_stored_by_tus(&user, &id).await;
    }
}

#[tokio::test]
async fn a_put_of_the_same_part_takes_over_and_the_client_goes_on_after_it() {
    let (app, faults) = TestApp::with_faults(&Place::Folder).await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    user.tus_patch(&id, 0, &FILE[..10]).await.expect(204);
    let gate = faults.hold(When::After, Step::PartWriter);
    let (sender, body) = body_in_pieces();
    sender.send(&FILE[10..12]);
    let patch = patching(&user, &id, 10, body);
    gate.reached().await;
    gate.open();
    in_time(user.put(&id, 2, &FILE[10..20])).await.expect(201);
    let patch = in_time(patch).await.unwrap();
    assert_eq!(patch.problem(), problem(409, "BUSY"));
    // The offset before the part, or after it if that is recorded by now.
    assert!(["10", "20"].contains(&patch.header("upload-offset")), "{patch:?}");
    drop(sender);
    assert_eq!(user.tus_offset(&id).await, 20);
    user.tus_patch(&id, 20, &FILE[20..]).await.expect(204);
    assert_stored_by_tus(&user, &id).await;
}

#[tokio::test]
async fn other_bytes_for_a_received_part_are_final() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    user.put(&id, 2, OTHER).await.expect(201);
    let refused = user.tus_patch(&id, 0, FILE).await;
    // After a 409 the client would append the rest of its file to the parts of another one.
    assert_eq!(refused.problem(), problem(422, "PART_CONFLICT"));
    assert_eq!(user.status(&id).await["status"], "IN_PROGRESS");
}

#[tokio::test]
async fn the_whole_length_is_told_only_of_a_stored_file() {
    for cause in [Cause::Full, Cause::Broken, Cause::Silent] {
        let (_app, faults, user, _) = session_on(&Place::Folder).await;
        let id = user.tus_create(25, "").await;
        faults.fail(When::Before, Step::Complete, cause);
        let refused = user.tus_patch(&id, 0, FILE).await;
        assert!(refused.status.is_server_error(), "{cause:?}: {refused:?}");
        let head = user.tus_head(&id).await;
        assert_eq!((head.status.as_u16(), head.header("upload-offset")), (423, ""), "{cause:?}");
        faults.heal();
        assert_eq!(user.tus_offset(&id).await, 25);
        assert_stored_by_tus(&user, &id).await;
    }
}

#[tokio::test]
async fn an_empty_upload_that_cannot_be_stored_is_not_acknowledged() {
    let (_app, faults, user, _) = session_on(&Place::Folder).await;
    faults.fail(When::Before, Step::Complete, Cause::Full);
    let request = user.tus("POST", "/uploads/tus").header("upload-length", 0);
    let refused = user.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(refused.problem(), problem(503, "UNAVAILABLE"));
}

#[tokio::test]
async fn a_storage_that_refuses_bytes_is_unavailable_and_the_client_goes_on_later() {
    for place in Place::each() {
        let (_app, faults, user, _) = session_on(&place).await;
        let id = user.tus_create(25, "").await;
        user.tus_patch(&id, 0, &FILE[..7]).await.expect(204);
        faults.fail(When::Before, Step::PartWriter, Cause::Full);
        let refused = user.tus_patch(&id, 7, &FILE[7..12]).await;
        assert_eq!(refused.problem(), problem(503, "UNAVAILABLE"));
        assert_ne!(refused.header("retry-after"), "");
        assert_eq!(user.tus_offset(&id).await, 7);
        faults.heal();
        user.tus_patch(&id, 7, &FILE[7..12]).await.expect(204);
        assert_eq!(user.tus_offset(&id).await, 12);
    }
}

#[tokio::test]
async fn a_status_disturbs_no_patch() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    let (sender, body) = body_in_pieces();
    let patch = patching(&user, &id, 0, body);
    for piece in FILE.chunks(5) {
        sender.send(piece);
        for _ in 0..20 {
            user.tus_head(&id).await.expect(200);
        }
    }
    drop(sender);
    assert_eq!(in_time(patch).await.unwrap().expect(204).header("upload-offset"), "25");
    assert_stored_by_tus(&user, &id).await;
}

#[tokio::test]
async fn a_status_without_a_database_is_locked() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    app.service.close().await;
    user.tus_head(&id).await.expect(423);
}

/// After any other error, tus-js-client starts again from the first byte.
#[tokio::test]
async fn a_status_that_cannot_be_read_is_locked() {
    let app = TestApp::new().await;
    app.expect_damage();
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    app.execute("UPDATE upload_session SET status = 'NONSENSE'").await;
    user.tus_head(&id).await.expect(423);
    let named = user.tus("POST", &format!("/uploads/tus/{id}")).header("x-http-method-override", "HEAD");
    assert_eq!(user.send(named.body(Body::empty()).unwrap()).await.problem(), problem(423, "INTERNAL"));
    assert_eq!(user.tus_patch(&id, 0, "x").await.problem(), problem(500, "INTERNAL"));
}
