//! Small files, and a server that is killed while it stores them.
//!
//! The steps are: the bytes become durable in `arriving/`, the rows are committed, the file moves to `stored/`.

use std::{
    fs::{self, File},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use partway::{
    app::{Opening, open_service},
    config::Config,
    domain::SystemClock,
    service::{CheckOptions, Swept},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::small_files::{id_of, post};
use crate::support::{
    Cause, Deadline, Faults, Gate, Place, Random, Server, Step, TestApp, TestUser, When, database_url, exchange,
    file_bytes, sha256_hex,
};

const PART: &[u8] = b"0123456789";
/// Longer than a file without a row stays.
const OLD: Duration = Duration::from_mins(11);

/// Makes the files in `arriving/` older than the sweep needs to remove one without a row.
pub(crate) fn make_old(app: &TestApp) {
    make_old_in(&app.storage());
}

fn make_old_in(storage: &Path) {
    for entry in storage.join("arriving").read_dir().unwrap() {
        let file = File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() - OLD).unwrap();
    }
}

async fn assert_no_problems(app: &TestApp) {
    let report = app.service.check(CheckOptions::default()).await.unwrap();
    assert_eq!((report.problems, report.unfinished), (vec![], vec![]));
}

/// Blocks a request on this side of a step. Returns its app, and where it is blocked.
async fn blocked(app: &TestApp, user: &TestUser, when: When, step: Step) -> (TestApp, Gate) {
    let faults = Faults::default();
    let killed = app.beside_with(&faults).await;
    let gate = faults.hold(when, step);
    let user = user.at(&killed);
    tokio::spawn(async move { post(&user, &[("idempotency-key", "k")], PART).await });
    gate.reached().await;
    (killed, gate)
}

#[tokio::test]
async fn a_file_without_a_row_is_removed_later_and_its_request_can_be_repeated() {
    for when in [When::Before, When::After] {
        let (app, _) = TestApp::with_faults(&Place::Folder).await;
        let user = app.user("ann").await;
        let (_killed, _gate) = blocked(&app, &user, when, Step::PersistFile).await;
        let app = app.restarted().await;
        let user = user.at(&app);
        let left = app.bytes_on_disk();
        assert_eq!(left.len(), usize::from(when == When::After));
        assert_no_problems(&app).await;
        assert_eq!(app.service.sweep().await, Swept::default(), "its transaction may still be committed");
        let stored = post(&user, &[("idempotency-key", "k")], PART).await.expect(201);
        make_old(&app);
        assert_eq!(app.service.sweep().await.leftovers, left.len());
        assert_eq!(app.bytes_on_disk(), [format!("stored/{}", id_of(&stored))]);
        assert_no_problems(&app).await;
    }
}

#[tokio::test]
async fn a_file_with_a_row_is_read_where_it_is_and_the_sweep_moves_it_to_its_place() {
    for when in [When::Before, When::After] {
        let (app, _) = TestApp::with_faults(&Place::Folder).await;
        let user = app.user("ann").await;
        let (_killed, _gate) = blocked(&app, &user, when, Step::KeepFile).await;
        let app = app.restarted().await;
        let user = user.at(&app);
        let file = user.get("/files").await.json()["files"][0].clone();
        let id = file["file_id"].as_str().unwrap();
        let places = [format!("arriving/{id}"), format!("stored/{id}")];
        let now = usize::from(when == When::After);
        assert_eq!(app.bytes_on_disk(), places[now..=now]);
        let content = format!("/files/{id}/content");
        let reads = async || assert_eq!(user.get(&content).await.expect(200).bytes, PART);
        reads().await;
        assert_no_problems(&app).await;
        let on_read = Some(Arc::new(|_, _| ()) as Arc<dyn Fn(u64, u64) + Send + Sync>);
        let compared = app.service.check(CheckOptions { on_read, ..CheckOptions::default() }).await.unwrap();
        assert_eq!(compared.problems, []);
        // Its request is repeated before the sweep.
        assert_eq!(post(&user, &[("idempotency-key", "k")], PART).await.expect(201).json(), file);
        make_old(&app);
        assert_eq!(app.service.sweep().await, Swept::default());
        assert_eq!(app.bytes_on_disk(), [format!("stored/{id}")]);
        reads().await;
        assert_no_problems(&app).await;
    }
}

#[tokio::test]
async fn a_file_that_is_deleted_before_it_is_at_its_place_leaves_nothing() {
    let (app, _) = TestApp::with_faults(&Place::Folder).await;
    let user = app.user("ann").await;
    let (killed, gate) = blocked(&app, &user, When::Before, Step::KeepFile).await;
    let file = user.get("/files").await.json()["files"][0]["file_id"].as_str().unwrap().to_owned();
    user.delete(&format!("/files/{file}")).await.expect(204);
    assert_eq!(app.bytes_on_disk(), [""; 0]);
    gate.open();
    // Closing waits for the request.
    killed.service.close().await;
    assert_eq!(app.bytes_on_disk(), [""; 0]);
    assert_no_problems(&app).await;
}

#[tokio::test]
async fn the_sweep_leaves_the_file_of_a_running_request() {
    let (app, faults) = TestApp::with_faults(&Place::Folder).await;
    let user = app.user("ann").await;
    let gate = faults.hold(When::After, Step::PersistFile);
    let request = tokio::spawn({
        let user = user.clone();
        async move { post(&user, &[], PART).await }
    });
    gate.reached().await;
    make_old(&app);
    assert_eq!(app.service.sweep().await, Swept::default());
    gate.open();
    let stored = request.await.unwrap().expect(201);
    assert_eq!(app.bytes_on_disk(), [format!("stored/{}", id_of(&stored))]);
}

#[tokio::test]
async fn a_disk_that_fails_is_an_error_only_before_the_commit() {
    for when in [When::Before, When::After] {
        let (app, faults) = TestApp::with_faults(&Place::Folder).await;
        let user = app.user("ann").await;
        for (cause, expected) in [(Cause::Full, (503, "UNAVAILABLE")), (Cause::Broken, (500, "INTERNAL"))] {
            faults.fail(when, Step::PersistFile, cause);
            assert_eq!(post(&user, &[], PART).await.problem(), (expected.0, expected.1.to_owned()));
            assert_eq!(app.bytes_on_disk(), [""; 0], "{when:?}");
        }
        faults.heal();
        faults.fail(when, Step::KeepFile, Cause::Broken);
        let id = id_of(&post(&user, &[], PART).await.expect(201));
        assert_eq!(user.get(&format!("/files/{id}/content")).await.expect(200).bytes, PART);
        faults.heal();
        app.service.sweep().await;
        assert_eq!(app.bytes_on_disk(), [format!("stored/{id}")]);
    }
}

#[tokio::test]
async fn check_reports_what_was_left_and_finishes_it_on_request() {
    let (app, _) = TestApp::with_faults(&Place::Folder).await;
    let user = app.user("ann").await;
    let (_killed, _gate) = blocked(&app, &user, When::Before, Step::KeepFile).await;
    let app = app.restarted().await;
    let stored = user.at(&app).get("/files").await.json()["files"][0]["file_id"].as_str().unwrap().to_owned();
    fs::write(app.storage().join("arriving/01890000-0000-7000-8000-00000000000a"), PART).unwrap();
    assert_no_problems(&app).await;
    make_old(&app);
    let report = app.service.check(CheckOptions::default()).await.unwrap();
    assert_eq!((report.problems, report.unfinished.len()), (vec![], 2));
    let repaired = app.service.check(CheckOptions { repairs: true, ..CheckOptions::default() }).await.unwrap();
    assert_eq!((repaired.problems, repaired.unfinished, repaired.repaired.len()), (vec![], vec![], 2));
    assert_eq!(app.bytes_on_disk(), [format!("stored/{stored}")]);
}

/// Stores files over one connection after the other until the server is killed. Notes each acknowledged file and its digest.
fn store(address: &str, token: &str, seed: usize, ledger: &Mutex<Vec<(String, String)>>, answers: &AtomicUsize) {
    let mut random = Random::new(seed as u64);
    loop {
        let mut bytes = file_bytes([0, 1, 900, 4_096, 300_000][random.below(5)]);
        bytes.iter_mut().zip(seed.to_le_bytes()).for_each(|(byte, of_seed)| *byte ^= of_seed);
        let Some((status, body)) = exchange(address, "POST", "/files", token, &bytes) else { return };
        assert_eq!(status, 201, "{body}");
        let Ok(record) = serde_json::from_str::<Value>(&body) else { return };
        assert_eq!(record["sha256"], sha256_hex(&bytes));
        ledger.lock().unwrap().push((record["file_id"].as_str().unwrap().to_owned(), sha256_hex(&bytes)));
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn after_a_kill_every_acknowledged_file_has_its_bytes_and_nothing_else_is_left() {
    const WORKERS: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let stored = folder.path().join("files/stored");
    let (ledger, mut random) = (Arc::<Mutex<Vec<(String, String)>>>::default(), Random::new(11));
    let mut token = String::new();
    for round in 0..12 {
        let server = Server::start(folder.path(), &[]);
        if round == 0 {
            token.clone_from(&server.first_token);
        }
        let answers = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (address, token) = (server.address.clone(), token.clone());
                let (ledger, answers) = (Arc::clone(&ledger), Arc::clone(&answers));
                thread::spawn(move || store(&address, &token, round * WORKERS + worker, &ledger, &answers))
            })
            .collect();
        let (kill_after, deadline) = (random.below(90), Deadline::new());
        while answers.load(Ordering::Relaxed) < kill_after && !workers.iter().any(thread::JoinHandle::is_finished) {
            deadline.wait_for("answers");
        }
        server.signal(Signal::KILL);
        for worker in workers {
            worker.join().unwrap();
        }
        drop(server);
        let server = Server::start(folder.path(), &[]);
        for (id, sha256) in ledger.lock().unwrap().iter() {
            let places = [stored.join(id), folder.path().join("files/arriving").join(id)];
            let bytes = places.iter().find_map(|place| fs::read(place).ok());
            assert_eq!(bytes.map(|bytes| sha256_hex(&bytes)).as_ref(), Some(sha256), "{id}");
            let (status, record) = exchange(&server.address, "GET", &format!("/files/{id}"), &token, b"").unwrap();
            assert_eq!(status, 200, "{record}");
        }
        server.kill();
    }
    assert!(ledger.lock().unwrap().len() > 100);
    make_old_in(&folder.path().join("files"));
    let mut config = Config::from_defaults(&json!({ "data": folder.path() })).unwrap();
    config.stores.database = database_url(folder.path()).unwrap_or_default();
    let opening = Opening { bind: true, must_exist: true, ..Opening::default() };
    let service = Arc::new(open_service(&config, Arc::new(SystemClock), opening).await.unwrap());
    service.sweep().await;
    let on_read = Some(Arc::new(|_, _| ()) as Arc<dyn Fn(u64, u64) + Send + Sync>);
    let report = service.check(CheckOptions { on_read, ..CheckOptions::default() }).await.unwrap();
    assert_eq!((report.problems, report.unfinished), (vec![], vec![]));
    assert_eq!(stored.read_dir().unwrap().count() as u64, report.files);
    for empty in ["files/arriving", "files/uploading"] {
        assert_eq!(folder.path().join(empty).read_dir().unwrap().count(), 0, "{empty}");
    }
}
