//! `partway check`: deleted files, and sessions whose part records were removed.

use std::{fs, sync::Arc};

use chrono::TimeDelta;
use partway::{
    domain::{OwnerName, Principal},
    service::FileSha256,
};
use serde_json::Value;

use crate::{
    check::{compare, flip, found, look, repair},
    support::{FILE, Faults, Place, Step, TestApp, When, file_bytes},
};

/// As the sweep does it, long after the end of the sessions.
const REMOVE_PARTS: [&str; 2] = ["UPDATE upload_session SET part_rows = 'REMOVED'", "DELETE FROM upload_part"];

async fn delete(app: &TestApp, session: &Value) {
    let owner = Principal::of_owner(OwnerName::parse("ann").unwrap());
    let file = session["file"]["file_id"].as_str().unwrap().parse().unwrap();
    app.service.delete_file(&owner, file, |_| true).await.unwrap();
}

async fn remove_parts(app: &TestApp) {
    for statement in REMOVE_PARTS {
        app.execute(statement).await;
    }
}

#[tokio::test]
async fn bytes_of_a_deleted_file_are_unfinished_work_that_a_repair_frees() {
    for (is_freed, by_sweep) in [("UPDATE upload_session SET bytes_freed = FALSE", true), ("SELECT 1", false)] {
        let app = TestApp::on_disk().await;
        let user = app.user("ann").await;
        let done = user.upload(FILE).await;
        delete(&app, &done).await;
        let report = look(&app).await;
        assert_eq!((report.problems, report.unfinished, report.files), (vec![], vec![], 0));

        let file = done["file"]["file_id"].as_str().unwrap();
        fs::write(app.storage().join("stored").join(file), FILE).unwrap();
        app.execute(is_freed).await;
        let report = look(&app).await;
        assert_eq!((report.problems.len(), report.unfinished.len()), (0, 1), "{report:?}");
        assert_eq!(found(&report.unfinished, "its file was deleted, and its bytes are not freed"), 1, "{report:?}");
        assert_eq!(report.unfinished[0].advice.contains("next sweep"), by_sweep, "{report:?}");
        let report = repair(&app).await;
        assert_eq!((report.problems.len(), report.repaired.len()), (0, 1), "{report:?}");
        assert_eq!(app.bytes_on_disk(), [""; 0]);
        let report = look(&app).await;
        assert_eq!((report.problems, report.unfinished), (vec![], vec![]));
    }
}

#[tokio::test]
async fn rows_that_contradict_a_deletion_or_a_removal_are_damage() {
    for (statement, problem) in [
        ("UPDATE upload_session SET file_deleted = FALSE WHERE file_deleted", "but its file is DELETED"),
        ("UPDATE upload_session SET file_deleted = TRUE WHERE status = 'ABORTED'", "ABORTED, but its file is deleted"),
        ("UPDATE upload_file SET location = 'stored/x' WHERE status = 'DELETED'", "but its file is DELETED"),
        ("UPDATE upload_session SET part_rows = 'REMOVED' WHERE status = 'IN_PROGRESS'", "part rows are not kept"),
        ("UPDATE upload_session SET part_rows = 'NONSENSE' WHERE status = 'ABORTED'", "part_rows has an invalid value"),
        (
            "UPDATE upload_session SET part_rows = 'REMOVED', bytes_received = 7 WHERE file_deleted",
            "7 bytes are counted",
        ),
        (
            "UPDATE upload_session SET part_rows = 'REMOVED', completed_parts = 2 WHERE file_deleted",
            "2 parts are counted",
        ),
    ] {
        let app = TestApp::on_disk().await;
        app.expect_damage();
        let user = app.user("ann").await;
        delete(&app, &user.upload(FILE).await).await;
        let [aborted, open] = [user.create_id(25).await, user.create_id(25).await];
        user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
        user.put(&open, 1, "0123456789").await.expect(201);
        assert!(look(&app).await.problems.is_empty());
        app.execute(statement).await;
        let report = look(&app).await;
        assert_eq!((report.problems.len(), found(&report.problems, problem)), (1, 1), "{statement}: {report:?}");
    }
}

/// The composite digest is left, or the digest of the whole file, or none.
#[tokio::test]
async fn without_part_rows_the_bytes_are_compared_with_the_digests_of_the_file() {
    for (statement, problem) in [
        ("SELECT 1", "its composite SHA-256 is"),
        ("UPDATE upload_file SET sha256 = NULL", "its composite SHA-256 is"),
        ("UPDATE upload_file SET composite_sha256 = NULL", "its SHA-256 is"),
        ("UPDATE upload_file SET composite_sha256 = NULL, sha256 = NULL", "its CRC-64/NVME is"),
        ("UPDATE upload_file SET composite_sha256 = NULL, sha256 = NULL, crc64nvme = NULL", ""),
    ] {
        let app = TestApp::on_disk_with(|config| config.limits.file_sha256 = FileSha256::Always).await;
        app.expect_damage();
        let user = app.user("ann").await;
        let done = user.upload(&file_bytes(25)).await;
        user.upload(b"").await;
        remove_parts(&app).await;
        app.execute(statement).await;
        // An empty file needs no digest.
        let uncompared = u64::from(problem.is_empty());
        let report = compare(&app).await;
        assert_eq!((report.problems, report.not_compared), (vec![], uncompared), "{statement}");
        flip(&app.storage().join("stored").join(done["file"]["file_id"].as_str().unwrap()));
        let report = compare(&app).await;
        assert_eq!(report.not_compared, uncompared, "{statement}");
        assert_eq!(report.problems.len(), usize::from(!problem.is_empty()), "{statement}: {report:?}");
        assert_eq!(found(&report.problems, problem), report.problems.len(), "{statement}: {report:?}");
    }
}

#[tokio::test]
async fn an_object_store_is_compared_without_part_rows_too() {
    let (app, _) = TestApp::with_faults(&Place::objects()).await;
    let user = app.user("ann").await;
    user.upload(FILE).await;
    remove_parts(&app).await;
    let report = compare(&app).await;
    assert_eq!((report.problems, report.not_compared, report.files), (vec![], 0, 1));
}

#[tokio::test]
async fn a_file_that_a_server_deletes_during_the_check_is_no_damage() {
    for place in Place::each() {
        for (step, removes_parts) in [(Step::Compare, false), (Step::Read, true)] {
            let (app, _) = TestApp::with_faults(&place).await;
            let user = app.user("ann").await;
            let done = user.upload(FILE).await;
            if removes_parts {
                remove_parts(&app).await;
            }
            let faults = Faults::default();
            let checking = app.beside_with(&faults).await;
            let gate = faults.hold(When::Before, step);
            let service = Arc::clone(&checking.service);
            let on_read = Some(Arc::new(|_, _| ()) as Arc<dyn Fn(u64, u64) + Send + Sync>);
            let options = partway::service::CheckOptions { on_read, ..Default::default() };
            let check = tokio::spawn(async move { service.check(options).await.unwrap() });
            gate.reached().await;
            delete(&app, &done).await;
            gate.open();
            let report = check.await.unwrap();
            assert_eq!((report.problems, report.unfinished), (vec![], vec![]), "{place:?} {step:?}");
        }
    }
}

/// On an object store, the bytes of a deleted file stay for a moment, for the downloads that have begun on any node.
#[tokio::test]
async fn a_repair_beside_a_server_leaves_bytes_that_may_still_be_sent() {
    let (app, _) = TestApp::with_faults(&Place::objects()).await;
    let user = app.user("ann").await;
    delete(&app, &user.upload(FILE).await).await;
    for _ in 0..2 {
        let report = repair(&app).await;
        assert_eq!((report.problems.len(), report.unfinished.len(), report.repaired.len()), (0, 1, 0), "{report:?}");
    }
    app.advance(TimeDelta::seconds(11));
    let report = repair(&app).await;
    assert_eq!((report.problems.len(), report.unfinished.len(), report.repaired.len()), (0, 0, 1), "{report:?}");
    assert_eq!(look(&app).await.unfinished, []);
}
