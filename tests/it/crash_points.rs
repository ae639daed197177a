//! A server that is killed at each step between a byte that is there and a row that says so, and the server after it.
//!
//! The steps are those of the storage: a request is held before or after one of them and never goes on. What a killed
//! server leaves between two system calls of one step is made by hand.

use std::{fs, sync::Arc};

use chrono::TimeDelta;
use partway::service::{CheckOptions, Service};
use serde_json::{Value, json};

use crate::support::{Faults, Place, Step, TestApp, TestUser, When, sha256_hex};

/// Three parts of 10 bytes, but for the last.
const FILE: &[u8] = b"0123456789abcdefghijKLMNO";
/// Longer than the lease on a part.
const LEASE_IS_OVER: TimeDelta = TimeDelta::seconds(11);
/// After which a session expires that nobody touches.
const EXPIRED: TimeDelta = TimeDelta::days(8);
/// Longer than the lease of a sweep on a session whose bytes it frees.
const SWEEPS_LEASE: TimeDelta = TimeDelta::minutes(11);

/// What a server does for a session when it is killed.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Put,
    Finalize,
    Abort,
    /// A week after the session was last touched.
    Sweep,
}

impl Doing {
    async fn run(self, service: Arc<Service>, user: TestUser, id: String) {
        match self {
            Self::Put => drop(user.put(&id, 1, &FILE[..10]).await),
            Self::Finalize => drop(user.finalize(&id).await),
            Self::Abort => drop(user.delete(&format!("/uploads/sessions/{id}")).await),
            Self::Sweep => drop(service.sweep().await),
        }
    }
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
        // The lease on a part ends by a clock that the test moves on SQLite alone.
        let (app, _) = TestApp::with_faults_and(place, |config| config.stores.database = String::new()).await;
        let user = app.user("ann").await;
        let mut body = json!({ "original_filename": "a", "total_size_bytes": FILE.len() });
        body.as_object_mut().unwrap().extend(session.as_object().unwrap().clone());
        let session = user.post("/uploads/sessions", body).await.expect(201).json();
        let id = session["session_id"].as_str().unwrap().to_owned();
        user.put_parts(&id, FILE, parts.iter().copied()).await;
        let mut survivor = Self { app, user, id, place: place.clone() };
        survivor.outlives(doing, when, step).await;
        survivor
    }

    /// Another server is killed there, and another one started.
    async fn outlives(&mut self, doing: Doing, when: When, step: Step) {
        let faults = Faults::default();
        let killed = self.app.beside_with(&faults).await;
        if let Doing::Sweep = doing {
            killed.advance(EXPIRED);
        }
        let gate = faults.hold(when, step);
        tokio::spawn(doing.run(Arc::clone(&killed.service), self.user.at(&killed), self.id.clone()));
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

    /// There are no bytes, and nothing is left to be done.
    async fn assert_freed(&self) {
        let report = self.app.service.check(CheckOptions::default()).await.unwrap();
        assert_eq!((report.problems, report.unfinished), (vec![], vec![]));
        if let Place::Folder = self.place {
            assert_eq!(self.app.bytes_on_disk(), [""; 0]);
        }
    }

    /// Finalizes, twice, and reads the file back.
    async fn assert_finishes(&self) {
        let done = self.user.finalize(&self.id).await.expect(200).json();
        assert_eq!((&done["status"], &done["file"]["sha256"]), (&json!("COMPLETE"), &json!(sha256_hex(FILE))));
        assert_eq!(self.user.finalize(&self.id).await.expect(200).json(), done);
        let file = done["file"]["file_id"].as_str().unwrap();
        assert_eq!(self.user.get(&format!("/files/{file}/content")).await.expect(200).bytes, FILE);
        if let Place::Folder = self.place {
            assert_eq!(self.app.bytes_on_disk(), [format!("stored/{file}")]);
        }
        self.assert_no_problems().await;
    }
}

#[tokio::test]
async fn killed_in_a_part_nothing_of_it_is_recorded_and_it_comes_again() {
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
            survivor.app.advance(LEASE_IS_OVER);
            survivor.user.put_parts(&survivor.id, FILE, [3, 1, 2]).await;
            survivor.assert_finishes().await;
        }
    }
}

#[tokio::test]
async fn killed_in_finalize_it_can_be_called_again_and_ends_right() {
    for place in Place::each() {
        for when in [When::Before, When::After] {
            for step in [Step::Compare, Step::Complete] {
                let survivor = Survivor::of(&place, &[1, 2, 3], Doing::Finalize, when, step).await;
                assert_eq!(survivor.status().await["status"], "IN_PROGRESS", "{when:?} {step:?} {place:?}");
                survivor.assert_no_problems().await;
                assert_eq!(survivor.app.service.sweep().await, partway::service::Swept::default());
                survivor.assert_finishes().await;
            }
        }
    }
}

#[tokio::test]
async fn killed_in_finalize_the_session_can_be_aborted_all_the_same() {
    for place in Place::each() {
        for when in [When::Before, When::After] {
            let survivor = Survivor::of(&place, &[1, 2, 3], Doing::Finalize, when, Step::Complete).await;
            survivor.user.delete(&format!("/uploads/sessions/{}", survivor.id)).await.expect(204);
            survivor.assert_freed().await;
        }
    }
}

#[tokio::test]
async fn killed_between_the_end_of_a_session_and_the_end_of_its_bytes_the_sweep_frees_them() {
    let wrong = json!({ "sha256": sha256_hex(b"another file") });
    for place in Place::each() {
        for when in [When::Before, When::After] {
            for (session, doing, status, reason) in [
                (&json!({}), Doing::Abort, "ABORTED", "aborted_by_owner"),
                (&json!({}), Doing::Sweep, "ABORTED", "expired"),
                (&wrong, Doing::Finalize, "FAILED", "checksum_mismatch"),
            ] {
                let survivor = Survivor::with_session(&place, session, &[1, 2, 3], doing, when, Step::Discard).await;
                let told = survivor.status().await;
                assert_eq!((&told["status"], &told["status_reason"]), (&json!(status), &json!(reason)));
                survivor.assert_no_problems().await;
                survivor.app.advance(EXPIRED + SWEEPS_LEASE);
                assert_eq!(survivor.app.service.sweep().await.freed, 1, "{when:?} {reason} {place:?}");
                survivor.assert_freed().await;
            }
        }
    }
}

/// Killed twice: after the file was complete, and then in the abort.
#[tokio::test]
async fn a_complete_file_of_an_aborted_session_is_freed_too() {
    for place in Place::each() {
        for when in [When::Before, When::After] {
            let mut survivor = Survivor::of(&place, &[1, 2, 3], Doing::Finalize, When::After, Step::Complete).await;
            survivor.outlives(Doing::Abort, when, Step::Discard).await;
            assert_eq!(survivor.status().await["status"], "ABORTED");
            assert_eq!(survivor.app.service.sweep().await.freed, 1);
            survivor.assert_freed().await;
        }
    }
}

/// The system calls of [`Step::Discard`] in a folder: the parts are removed, and the complete file is not yet.
#[tokio::test]
async fn killed_between_the_removal_of_parts_and_of_the_file_the_sweep_removes_the_file() {
    let survivor = Survivor::of(&Place::Folder, &[1, 2, 3], Doing::Abort, When::After, Step::Discard).await;
    let file = survivor.status().await["file"]["file_id"].as_str().unwrap().to_owned();
    fs::write(survivor.app.storage().join("stored").join(file), FILE).unwrap();
    assert_eq!(survivor.app.service.sweep().await.freed, 1);
    survivor.assert_freed().await;
}

/// The system calls that make a session's file: created under another name, given its size, renamed, and marked as this
/// server's.
#[tokio::test]
async fn killed_while_the_file_of_a_session_is_made_the_next_part_makes_it() {
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

/// Finalize makes the file of a session without parts.
#[tokio::test]
async fn killed_while_an_empty_file_is_made_and_moved_finalize_can_be_called_again() {
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

/// The system calls of [`Step::Complete`] in a folder are a sync, a rename and two syncs of folders. To a killed server only
/// the rename makes a difference, but a power cut can undo it as long as the folders are not synced: then the file is where
/// it was, and the row says that it was not completed.
#[tokio::test]
async fn a_rename_that_a_power_cut_undid_is_done_again() {
    let survivor = Survivor::of(&Place::Folder, &[1, 2, 3], Doing::Finalize, When::After, Step::Complete).await;
    let file = survivor.status().await["file"]["file_id"].as_str().unwrap().to_owned();
    let storage = survivor.app.storage();
    fs::rename(storage.join("stored").join(file), storage.join("uploading").join(&survivor.id)).unwrap();
    survivor.assert_no_problems().await;
    survivor.assert_finishes().await;
}
