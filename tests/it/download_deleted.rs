//! Downloads that are running when their file is deleted.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use chrono::TimeDelta;
use tower::ServiceExt;

use crate::support::{FILE, Faults, Place, Step, TestApp, TestUser, When};

/// Shorter than the time for which the bytes of a deleted file are protected.
const LESS_THAN_LEASE: TimeDelta = TimeDelta::minutes(8);
const MORE_THAN_LEASE: TimeDelta = TimeDelta::minutes(11);

/// A download whose body is not read yet.
async fn begin(user: &TestUser, file: &str) -> Response {
    let request = user.request("GET", &format!("/files/{file}/content")).body(Body::empty()).unwrap();
    let response = user.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

async fn rest_of(download: Response) -> Vec<u8> {
    axum::body::to_bytes(download.into_body(), usize::MAX).await.unwrap().to_vec()
}

async fn delete(user: &TestUser, file: &str) {
    user.delete(&format!("/files/{file}")).await.expect(204);
}

/// Whether the store still has the only stored file.
async fn is_stored(app: &TestApp) -> bool {
    !app.faultless_storage().stored_files().await.unwrap().is_empty()
}

fn pass(apps: [&TestApp; 2], time: TimeDelta) {
    for app in apps {
        app.advance(time);
    }
}

#[tokio::test]
async fn a_node_does_not_free_a_deleted_file_that_another_node_is_sending() {
    let (app, _) = TestApp::with_faults(&Place::objects()).await;
    let sender = app.beside().await;
    let user = app.user("ann").await;
    let file = user.upload(FILE).await["file"]["file_id"].as_str().unwrap().to_owned();
    let downloads = [begin(&user.at(&sender), &file).await, begin(&user.at(&sender), &file).await];
    delete(&user, &file).await;
    delete(&user, &file).await;
    user.get(&format!("/files/{file}/content")).await.expect(404);
    sender.service.protect_downloads().await.unwrap();
    for download in downloads {
        for _ in 0..5 {
            pass([&app, &sender], LESS_THAN_LEASE);
            sender.service.protect_downloads().await.unwrap();
            assert_eq!(app.service.sweep().await.freed, 0);
            assert_eq!(sender.service.sweep().await.freed, 0);
            assert!(is_stored(&app).await);
        }
        assert_eq!(rest_of(download).await, FILE);
    }
    pass([&app, &sender], MORE_THAN_LEASE);
    sender.service.protect_downloads().await.unwrap();
    assert_eq!(app.service.sweep().await.freed, 1);
    assert!(!is_stored(&app).await);
}

/// After a suspension of the machine, for example, the sweep can run before the next protection.
#[tokio::test]
async fn a_node_does_not_free_a_deleted_file_that_it_is_sending_itself() {
    let (app, _) = TestApp::with_faults(&Place::objects()).await;
    let user = app.user("ann").await;
    let file = user.upload(FILE).await["file"]["file_id"].as_str().unwrap().to_owned();
    let download = begin(&user, &file).await;
    delete(&user, &file).await;
    for _ in 0..3 {
        app.advance(MORE_THAN_LEASE);
        assert_eq!(app.service.sweep().await.freed, 0);
    }
    assert_eq!(rest_of(download).await, FILE);
    app.advance(MORE_THAN_LEASE);
    assert_eq!(app.service.sweep().await.freed, 1);
}

#[tokio::test]
async fn a_file_in_a_store_that_nobody_is_sending_is_freed_after_a_while_also_if_a_sender_has_died() {
    let (app, _) = TestApp::with_faults(&Place::objects()).await;
    let user = app.user("ann").await;
    let file = user.upload(FILE).await["file"]["file_id"].as_str().unwrap().to_owned();
    {
        let sender = app.beside().await;
        let _download = begin(&user.at(&sender), &file).await;
        delete(&user, &file).await;
        sender.service.protect_downloads().await.unwrap();
    }
    app.advance(LESS_THAN_LEASE);
    assert_eq!(app.service.sweep().await.freed, 0);
    app.advance(MORE_THAN_LEASE);
    assert_eq!(app.service.sweep().await.freed, 1);
    assert!(!is_stored(&app).await);
}

#[tokio::test]
async fn a_file_in_a_store_that_nobody_is_sending_is_freed_soon() {
    let (app, _) = TestApp::with_faults(&Place::objects()).await;
    let user = app.user("ann").await;
    let file = user.upload(FILE).await["file"]["file_id"].as_str().unwrap().to_owned();
    rest_of(begin(&user, &file).await).await;
    delete(&user, &file).await;
    app.advance(TimeDelta::seconds(9));
    assert_eq!(app.service.sweep().await.freed, 0);
    app.advance(TimeDelta::seconds(2));
    assert_eq!(app.service.sweep().await.freed, 1);
    assert!(!is_stored(&app).await);
}

#[tokio::test]
async fn a_file_in_a_folder_is_freed_at_once_and_a_download_that_has_begun_continues() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = user.upload(FILE).await["file"]["file_id"].as_str().unwrap().to_owned();
    let download = begin(&user, &file).await;
    delete(&user, &file).await;
    assert!(app.bytes_on_disk().is_empty());
    assert_eq!(rest_of(download).await, FILE);
}

/// A node that is killed during the first sweep after the deletion, or in a folder during the deletion.
#[tokio::test]
async fn a_deletion_by_a_node_that_is_killed_is_finished_by_the_sweep_of_another_node() {
    for (place, when) in
        Place::each().into_iter().flat_map(|place| [(place.clone(), When::Before), (place, When::After)])
    {
        let (app, _) = TestApp::with_faults(&place).await;
        let user = app.user("ann").await;
        let file = user.upload(FILE).await["file"]["file_id"].as_str().unwrap().to_owned();
        let faults = Faults::default();
        let killed = app.beside_with(&faults).await;
        let gate = faults.hold(when, Step::Discard);
        let (service, killed_user, path) = (Arc::clone(&killed.service), user.at(&killed), format!("/files/{file}"));
        tokio::spawn(async move {
            killed_user.delete(&path).await;
            killed.advance(MORE_THAN_LEASE);
            service.sweep().await;
        });
        gate.reached().await;
        let other = app.beside().await;
        let user = user.at(&other);
        assert_eq!(user.get(&format!("/files/{file}")).await.json()["status"], "DELETED");
        assert_eq!(user.get("/me").await.json()["bytes_used"], 0);
        let events = user.get("/events").await.json()["events"].as_array().unwrap().len();
        assert_eq!(events, 2, "the upload and the deletion");
        other.advance(MORE_THAN_LEASE * 3);
        assert_eq!(other.service.sweep().await.freed, 1, "{place:?} {when:?}");
        assert!(!is_stored(&other).await);
    }
}
