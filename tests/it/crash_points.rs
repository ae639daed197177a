//! A server that is killed at each step between the write of bytes and the commit of their row, and the next server on
//! the same data.
//!
//! The steps are the operations of the storage. A test blocks a request before or after one of them and never lets it
//! continue. The tests create by hand the state that a killed server leaves between two system calls of one step.

use std::{fs, sync::Arc};

use chrono::TimeDelta;
use partway::{
    domain::{ManualClock, OwnerName, Principal},
    service::{CheckOptions, Service},
};
use serde_json::{Value, json};

use crate::support::{
    AFTER_FREEING_LEASE, AFTER_PART_LEASE, FILE, Faults, Place, Step, TestApp, TestUser, When, assert_finishes,
    content, sha256_hex,
};

/// Longer than the time-to-live of a session without activity.
const EXPIRED: TimeDelta = TimeDelta::days(8);
/// Longer than the bytes of a deleted file stay on an object store.
const AFTER_MIN_STAY: TimeDelta = TimeDelta::seconds(11);

/// The operation during which a server is killed.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Put,
    Finalize,
    Abort,
    /// The deletion of the stored file.
    Delete,
    /// A sweep after the session has expired, or the retention of the file has ended.
    Sweep,
}

impl Doing {
    async fn run(self, service: Arc<Service>, clock: Arc<ManualClock>, user: TestUser, id: String) {
        match self {
            Self::Put => drop(user.put(&id, 1, &FILE[..10]).await),
            Self::Finalize => drop(user.finalize(&id).await),
            Self::Abort => drop(user.delete(&format!("/uploads/sessions/{id}")).await),
            Self::Delete => service.terminate(&ann(), id.parse().unwrap()).await.unwrap(),
            Self::Sweep => drop(service.sweep().await),
        }
        // On an object store, a later sweep frees a deleted file.
        clock.advance(AFTER_MIN_STAY);
        service.sweep().await;
    }
}

fn ann() -> Principal {
    Principal::of_owner(OwnerName::parse("ann").unwrap())
}

/// A session, and a server on the same data as one that was killed.
struct Survivor {
    app: TestApp,
    user: TestUser,
    id: String,
    place: Place,
}

impl Survivor {
    /// Creates a session, sends these parts, and has another server killed on the given side of the step.
    async fn of(place: &Place, parts: &[u32], doing: Doing, when: When, step: Step) -> Self {
        Self::with_session(place, &json!({}), parts, doing, when, step).await
    }

    async fn with_session(place: &Place, session: &Value, parts: &[u32], doing: Doing, when: When, step: Step) -> Self {
        // On SQLite a lease expires by the test's clock; on PostgreSQL by the database's clock, which a test cannot
        // move.
        let (app, _) = TestApp::with_faults_and(place, |config| config.stores.database = String::new()).await;
        let user = app.user("ann").await;
        let mut body = json!({ "original_filename": "a", "total_size_bytes": FILE.len() });
        body.as_object_mut().unwrap().extend(session.as_object().unwrap().clone());
        let session = user.post("/uploads/sessions", body).await.expect(201).json();
        let id = session["session_id"].as_str().unwrap().to_owned();
        user.put_parts(&id, FILE, parts.iter().copied()).await;
        let mut survivor = Self { app, user, id, place: place.clone() };
        survivor.survive_kill(doing, when, step).await;
        survivor
    }

    /// Kills another server at this step, and starts a new one.
    async fn survive_kill(&mut self, doing: Doing, when: When, step: Step) {
        let faults = Faults::default();
        let killed = self.app.beside_with(&faults).await;
        if let Doing::Sweep = doing {
            killed.advance(EXPIRED);
        }
        let gate = faults.hold(when, step);
        let (service, clock) = (Arc::clone(&killed.service), Arc::clone(&killed.clock));
        tokio::spawn(doing.run(service, clock, self.user.at(&killed), self.id.clone()));
        gate.reached().await;
        self.app = self.app.beside().await;
        self.user = self.user.at(&self.app);
    }

    async fn status(&self) -> Value {
        self.user.status(&self.id).await
    }

    async fn assert_no_problems(&self) {
        assert_eq!(self.app.service.check(CheckOptions::default()).await.unwrap().problems, []);
    }

    /// Asserts that no bytes are left, and no unfinished work.
    async fn assert_freed(&self) {
        let report = self.app.service.check(CheckOptions::default()).await.unwrap();
        assert_eq!((report.problems, report.unfinished), (vec![], vec![]));
        if let Place::Folder = self.place {
            assert_eq!(self.app.bytes_on_disk(), [""; 0]);
        }
    }

    /// Asserts that no client can read the file, and that its record says why.
    async fn assert_deleted(&self) {
        let status = self.status().await;
        assert_eq!((&status["status"], &status["file"]["status"]), (&json!("COMPLETE"), &json!("DELETED")));
        assert_eq!(content(&self.user, &status).await.problem(), (404, "NOT_FOUND".to_owned()));
        let file = status["file"]["file_id"].as_str().unwrap();
        assert_eq!(self.user.get(&format!("/files/{file}")).await.expect(200).json()["status"], "DELETED");
        self.assert_no_problems().await;
    }

    /// Finalizes twice, and reads the file back.
    async fn assert_finishes(&self) {
        let done = assert_finishes(&self.user, &self.id).await;
        assert_eq!(self.user.finalize(&self.id).await.expect(200).json(), done);
        if let Place::Folder = self.place {
            let file = done["file"]["file_id"].as_str().unwrap();
            assert_eq!(self.app.bytes_on_disk(), [format!("stored/{file}")]);
        }
        self.assert_no_problems().await;
    }
}

#[tokio::test]
async fn a_kill_during_a_part_records_nothing_and_the_client_can_send_the_part_again() {
    use Step::{Begin, Finish, PartWriter, Persist, Push};
    use When::{After, Before};
    for place in Place::each() {
        for (when, step) in [
            (Before, Begin),
            (After, Begin),
            (Before, PartWriter),
            (After, PartWriter),
            (After, Push),
            (After, Finish),
            (Before, Persist),
            (After, Persist),
        ] {
            // Only a store with multipart uploads has one to start.
            if step == Begin && matches!(place, Place::Folder) {
                continue;
            }
            let survivor = Survivor::of(&place, &[], Doing::Put, when, step).await;
            assert_eq!(survivor.status().await["status"], "INIT", "{when:?} {step:?} {place:?}");
            survivor.assert_no_problems().await;
            survivor.app.advance(AFTER_PART_LEASE);
            survivor.user.put_parts(&survivor.id, FILE, [3, 1, 2]).await;
            survivor.assert_finishes().await;
        }
    }
}

#[tokio::test]
async fn after_a_kill_during_finalize_a_client_can_repeat_it() {
    // So the server reads the bytes.
    let declared = json!({ "sha256": sha256_hex(FILE) });
    for place in Place::each() {
        for when in [When::Before, When::After] {
            for step in [Step::Compare, Step::Complete] {
                let survivor = Survivor::with_session(&place, &declared, &[1, 2, 3], Doing::Finalize, when, step).await;
                assert_eq!(survivor.status().await["status"], "IN_PROGRESS", "{when:?} {step:?} {place:?}");
                survivor.assert_no_problems().await;
                assert_eq!(survivor.app.service.sweep().await, partway::service::Swept::default());
                survivor.assert_finishes().await;
            }
        }
    }
}

#[tokio::test]
async fn after_a_kill_during_finalize_a_client_can_abort_the_session() {
    for place in Place::each() {
        for when in [When::Before, When::After] {
            let survivor = Survivor::of(&place, &[1, 2, 3], Doing::Finalize, when, Step::Complete).await;
            survivor.user.delete(&format!("/uploads/sessions/{}", survivor.id)).await.expect(204);
            survivor.assert_freed().await;
        }
    }
}

#[tokio::test]
async fn after_a_kill_between_the_end_of_a_session_and_the_removal_of_its_bytes_the_sweep_frees_them() {
    let wrong = json!({ "sha256": sha256_hex(b"another file") });
    for place in Place::each() {
        for when in [When::Before, When::After] {
            for (session, doing, status, reason) in [
                (&json!({}), Doing::Abort, "ABORTED", "aborted_by_owner"),
                (&json!({}), Doing::Sweep, "ABORTED", "expired"),
                (&wrong, Doing::Finalize, "FAILED", "checksum_mismatch"),
            ] {
                let survivor = Survivor::with_session(&place, session, &[1, 2, 3], doing, when, Step::Discard).await;
                let status_now = survivor.status().await;
                assert_eq!((&status_now["status"], &status_now["status_reason"]), (&json!(status), &json!(reason)));
                survivor.assert_no_problems().await;
                survivor.app.advance(EXPIRED + AFTER_FREEING_LEASE);
                assert_eq!(survivor.app.service.sweep().await.freed, 1, "{when:?} {reason} {place:?}");
                survivor.assert_freed().await;
            }
        }
    }
}

/// A deletion has two steps: the commit of the row, and the removal of the bytes. A kill before the commit changes nothing.
#[tokio::test]
async fn after_a_kill_during_a_deletion_the_file_is_never_readable_again_and_the_sweep_frees_it() {
    for place in Place::each() {
        for when in [When::Before, When::After] {
            for doing in [Doing::Delete, Doing::Sweep] {
                let mut survivor = Survivor::of(&place, &[1, 2, 3], Doing::Finalize, When::After, Step::Complete).await;
                survivor.assert_finishes().await;
                survivor.app.execute("UPDATE upload_file SET retain_until = created_at").await;
                survivor.survive_kill(doing, when, Step::Discard).await;
                survivor.app.advance(EXPIRED + AFTER_FREEING_LEASE);
                survivor.assert_deleted().await;
                assert_eq!(survivor.app.service.sweep().await.freed, 1, "{when:?} {doing:?} {place:?}");
                survivor.assert_deleted().await;
                survivor.assert_freed().await;
                survivor.app.service.terminate(&ann(), survivor.id.parse().unwrap()).await.unwrap();
                survivor.assert_freed().await;
            }
        }
    }
}

/// A client that got no answer repeats the deletion, also when a server was killed during the repetition. On an object store,
/// only the sweep frees.
#[tokio::test]
async fn a_repeated_deletion_frees_what_a_kill_left() {
    let mut survivor = Survivor::of(&Place::Folder, &[1, 2, 3], Doing::Finalize, When::After, Step::Complete).await;
    survivor.assert_finishes().await;
    for when in [When::Before, When::After] {
        survivor.survive_kill(Doing::Delete, When::Before, Step::Discard).await;
        survivor.assert_deleted().await;
        survivor.survive_kill(Doing::Delete, when, Step::Discard).await;
        survivor.assert_deleted().await;
    }
    survivor.app.service.terminate(&ann(), survivor.id.parse().unwrap()).await.unwrap();
    survivor.assert_freed().await;
    let freed = survivor.app.service.sweep().await.freed;
    assert_eq!(freed, 0, "the deletion has recorded that the bytes are free");
}

/// Two kills: after the file was complete, and then during the abort.
#[tokio::test]
async fn a_complete_file_of_an_aborted_session_is_freed_too() {
    for place in Place::each() {
        for when in [When::Before, When::After] {
            let mut survivor = Survivor::of(&place, &[1, 2, 3], Doing::Finalize, When::After, Step::Complete).await;
            survivor.survive_kill(Doing::Abort, when, Step::Discard).await;
            assert_eq!(survivor.status().await["status"], "ABORTED");
            assert_eq!(survivor.app.service.sweep().await.freed, 1);
            survivor.assert_freed().await;
        }
    }
}

/// Between the system calls of [`Step::Discard`] in a folder: the parts are removed, the complete file is not removed
/// yet.
#[tokio::test]
async fn after_a_kill_between_the_removal_of_the_parts_and_of_the_file_the_sweep_removes_the_file() {
    let survivor = Survivor::of(&Place::Folder, &[1, 2, 3], Doing::Abort, When::After, Step::Discard).await;
    let file = survivor.status().await["file"]["file_id"].as_str().unwrap().to_owned();
    fs::write(survivor.app.storage().join("stored").join(file), FILE).unwrap();
    assert_eq!(survivor.app.service.sweep().await.freed, 1);
    survivor.assert_freed().await;
}

/// Between the system calls that create a session's file: create it under another name, set its size, rename it, set
/// the server's mark.
#[tokio::test]
async fn after_a_kill_while_the_file_of_a_session_is_created_the_next_part_creates_it() {
    for size in [0, FILE.len() as u64] {
        for is_renamed in [false, true] {
            let survivor = Survivor::of(&Place::Folder, &[], Doing::Put, When::Before, Step::PartWriter).await;
            let path = survivor.app.storage().join("uploading").join(&survivor.id);
            let made = if is_renamed { path } else { path.with_extension("new") };
            fs::File::create(made).unwrap().set_len(size).unwrap();
            survivor.assert_no_problems().await;
            survivor.user.put_parts(&survivor.id, FILE, [3, 1, 2]).await;
            survivor.assert_finishes().await;
        }
    }
}

/// A session of an empty file has no parts, so finalize creates its file.
#[tokio::test]
async fn after_a_kill_while_an_empty_file_is_created_and_moved_a_client_can_repeat_finalize() {
    let places =
        |id: &str, file: &str| [format!("uploading/{id}.new"), format!("uploading/{id}"), format!("stored/{file}")];
    for at in 0..3 {
        let app = TestApp::on_disk().await;
        let user = app.user("ann").await;
        let session = user.create(0).await;
        let (id, file) = (session["session_id"].as_str().unwrap(), session["file"]["file_id"].as_str().unwrap());
        fs::write(app.storage().join(&places(id, file)[at]), "").unwrap();
        assert_eq!(app.service.check(CheckOptions::default()).await.unwrap().problems, []);
        assert_eq!(app.service.sweep().await, partway::service::Swept::default());
        user.finalize(id).await.expect(200);
        assert_eq!(app.bytes_on_disk(), [format!("stored/{file}")]);
    }
}

/// The system calls of [`Step::Complete`] in a folder are a sync, a rename and two syncs of folders. Only the rename
/// matters if the process is killed. But a power failure can undo the rename before the folders are synced. Then the
/// file is at its old path, and the row is not complete.
#[tokio::test]
async fn finalize_repeats_a_rename_that_a_power_failure_undid() {
    let survivor = Survivor::of(&Place::Folder, &[1, 2, 3], Doing::Finalize, When::After, Step::Complete).await;
    let file = survivor.status().await["file"]["file_id"].as_str().unwrap().to_owned();
    let storage = survivor.app.storage();
    fs::rename(storage.join("stored").join(file), storage.join("uploading").join(&survivor.id)).unwrap();
    survivor.assert_no_problems().await;
    survivor.assert_finishes().await;
}
