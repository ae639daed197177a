//! Storage that is full, slow or broken: the client gets the right code, the database records nothing that is not
//! stored, and a later attempt succeeds.

use partway::{config::Config, service::FileSha256};
use serde_json::json;
use tower::ServiceExt;

use crate::support::{
    AFTER_FREEING_LEASE, Cause, FILE, Faults, OTHER, Place, Step, TestApp, When, assert_finishes, content, putting,
    session_on,
};

/// The error of a full storage of this kind.
fn full(place: &Place) -> Cause {
    match place {
        Place::Folder => Cause::Full,
        Place::Objects { .. } => Cause::Refused,
    }
}

fn unavailable() -> (u16, String) {
    (503, "UNAVAILABLE".to_owned())
}

#[tokio::test]
async fn a_part_that_the_storage_refuses_is_not_recorded_and_can_be_sent_again() {
    for place in Place::each() {
        let (app, faults) = TestApp::with_faults(&place).await;
        let user = app.user("ann").await;
        for step in [Step::PartWriter, Step::Push, Step::Finish, Step::Persist] {
            let id = user.create_id(FILE.len()).await;
            user.put_parts(&id, FILE, [2]).await;
            let before = user.status(&id).await;
            faults.fail(When::Before, step, full(&place));
            for _ in 0..2 {
                let refused = user.put(&id, 1, OTHER).await;
                assert_eq!(refused.problem(), unavailable(), "{step:?} {place:?}");
                assert_eq!((refused.header("retry-after"), &refused.json()["retryable"]), ("1", &json!(true)));
                assert_eq!(user.status(&id).await, before, "{step:?} {place:?}");
            }
            faults.heal();
            user.put_parts(&id, FILE, [1, 3]).await;
            assert_finishes(&user, &id).await;
        }
    }
}

#[tokio::test]
async fn a_failed_sync_is_500_and_the_part_can_be_sent_again() {
    let (_app, faults, user, id) = session_on(&Place::Folder).await;
    for when in [When::Before, When::After] {
        faults.fail(when, Step::Persist, Cause::Broken);
        assert_eq!(user.put(&id, 1, &FILE[..10]).await.problem(), (500, "INTERNAL".to_owned()));
        assert_eq!(user.status(&id).await["received_parts"], json!([]));
        faults.heal();
    }
    user.put_parts(&id, FILE, 1..=3).await;
    assert_finishes(&user, &id).await;
}

#[tokio::test]
async fn a_multipart_upload_that_cannot_start_is_started_by_the_next_part() {
    for when in [When::Before, When::After] {
        let (_app, faults, user, id) = session_on(&Place::objects()).await;
        faults.fail(when, Step::Begin, Cause::Silent);
        assert_eq!(user.put(&id, 1, &FILE[..10]).await.problem(), unavailable());
        assert_eq!(user.status(&id).await["status"], "INIT");
        faults.heal();
        user.put_parts(&id, FILE, 1..=3).await;
        assert_finishes(&user, &id).await;
    }
}

#[tokio::test]
async fn a_session_whose_file_cannot_be_completed_stays_open_and_finalize_can_be_repeated() {
    for place in Place::each() {
        for when in [When::Before, When::After] {
            let (app, faults, user, id) = session_on(&place).await;
            user.put_parts(&id, FILE, 1..=3).await;
            let before = user.status(&id).await;
            faults.fail(when, Step::Complete, full(&place));
            for _ in 0..2 {
                assert_eq!(user.finalize(&id).await.problem(), unavailable(), "{when:?} {place:?}");
                assert_eq!(user.status(&id).await, before, "{when:?} {place:?}");
                app.service.sweep().await;
            }
            faults.heal();
            assert_finishes(&user, &id).await;
        }
    }
}

#[tokio::test]
async fn the_next_sweep_frees_bytes_that_could_not_be_freed() {
    for place in Place::each() {
        for when in [When::Before, When::After] {
            let (app, faults, user, id) = session_on(&place).await;
            user.put_parts(&id, FILE, [1, 2]).await;
            faults.fail(when, Step::Discard, full(&place));
            assert_eq!(user.delete(&format!("/uploads/sessions/{id}")).await.problem(), unavailable());
            assert_eq!(user.status(&id).await["status"], "ABORTED");
            assert_eq!(app.service.sweep().await.freed, 0);
            faults.heal();
            // Wait for the lease of the failed sweep to expire.
            app.advance(AFTER_FREEING_LEASE);
            assert_eq!(app.service.sweep().await.freed, 1, "{when:?} {place:?}");
            assert_eq!(app.service.sweep().await.freed, 0);
            if let Place::Folder = place {
                assert_eq!(app.bytes_on_disk(), [""; 0]);
            }
        }
    }
}

#[tokio::test]
async fn a_part_is_reported_only_after_it_is_durable_and_a_second_request_for_it_waits() {
    for place in Place::each() {
        let (_app, faults, user, id) = session_on(&place).await;
        let gate = faults.hold(When::Before, Step::Persist);
        let first = putting(&user, &id, 1, &FILE[..10]);
        gate.reached().await;
        let second = putting(&user, &id, 1, &FILE[..10]);
        assert_eq!(user.status(&id).await["received_parts"], json!([]));
        assert!(!first.is_finished() && !second.is_finished());
        gate.open();
        assert_eq!([first.await.unwrap().status, second.await.unwrap().status], [201, 200]);
        user.put_parts(&id, FILE, [2, 3]).await;
        assert_finishes(&user, &id).await;
    }
}

#[tokio::test]
async fn a_part_is_recorded_even_if_its_client_disconnects_while_it_becomes_durable() {
    for place in Place::each() {
        let (_app, faults, user, id) = session_on(&place).await;
        let gate = faults.hold(When::Before, Step::Persist);
        let first = putting(&user, &id, 1, &FILE[..10]);
        gate.reached().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let second = putting(&user, &id, 1, &FILE[..10]);
        gate.open();
        second.await.unwrap().expect(200);
        user.put_parts(&id, FILE, [2, 3]).await;
        assert_finishes(&user, &id).await;
    }
}

#[tokio::test]
async fn a_file_can_be_read_after_a_read_has_failed() {
    for (place, cause, expected) in
        [(Place::Folder, Cause::Broken, (500, "INTERNAL".to_owned())), (Place::objects(), Cause::Silent, unavailable())]
    {
        let (app, faults) = TestApp::with_faults(&place).await;
        let user = app.user("ann").await;
        let session = user.upload(FILE).await;
        faults.fail(When::Before, Step::Read, cause);
        assert_eq!(content(&user, &session).await.problem(), expected);
        faults.heal();
        assert_eq!(content(&user, &session).await.expect(200).bytes, FILE);
    }
}

/// The server has sent the head of the response, so it can report the error only by an early end.
#[tokio::test]
async fn a_download_whose_read_fails_midway_ends_early() {
    for place in Place::each() {
        let (app, faults) = TestApp::with_faults(&place).await;
        let user = app.user("ann").await;
        let session = user.upload(FILE).await;
        faults.fail(When::Before, Step::ReadOn, Cause::Broken);
        let path = format!("/files/{}/content", session["file"]["file_id"].as_str().unwrap());
        let request = user.request("GET", &path).body(axum::body::Body::empty()).unwrap();
        let answer = user.router.clone().oneshot(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["content-length"]), (200, &"25".parse().unwrap()));
        assert!(axum::body::to_bytes(answer.into_body(), usize::MAX).await.is_err());
        faults.heal();
        assert_eq!(content(&user, &session).await.expect(200).bytes, FILE);
    }
}

/// The server hashes every file.
fn always(config: &mut Config) {
    config.limits.file_sha256 = FileSha256::Always;
}

/// In a folder the server reads before the file is complete, in an object store after it.
#[tokio::test]
async fn a_finalize_that_cannot_read_the_bytes_can_be_repeated() {
    for place in Place::each() {
        let (app, _) = TestApp::with_faults_and(&place, always).await;
        let user = app.user("ann").await;
        let id = user.create_id(FILE.len()).await;
        user.put_parts(&id, FILE, 1..=3).await;
        // A server that has not hashed the parts while they arrived.
        let faults = Faults::default();
        let other = app.beside_with(&faults).await;
        let user = user.at(&other);
        for when in [When::Before, When::After] {
            faults.fail(when, Step::Compare, Cause::Broken);
            assert_eq!(user.finalize(&id).await.problem(), (500, "INTERNAL".to_owned()), "{when:?} {place:?}");
            assert_eq!(user.status(&id).await["status"], "IN_PROGRESS");
            faults.heal();
        }
        assert_finishes(&user, &id).await;
    }
}

#[tokio::test]
async fn finalize_hashes_the_rest_if_the_background_hash_failed() {
    let (app, faults) = TestApp::with_faults_and(&Place::Folder, always).await;
    let user = app.user("ann").await;
    let id = user.create_id(FILE.len()).await;
    let gate = faults.hold(When::After, Step::Hash);
    user.put_parts(&id, FILE, [1]).await;
    gate.reached().await;
    user.put_parts(&id, FILE, [2]).await;
    gate.fail(Cause::Broken);
    faults.heal();
    user.put_parts(&id, FILE, [3]).await;
    assert_finishes(&user, &id).await;
}
