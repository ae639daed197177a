//! `partway move`: the real binary, killed with signal 9, there and back.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Output},
    time::Duration,
};

use partway::{
    client::{Client, NewUpload, part_numbers},
    db::Db,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use crate::support::{
    Cli, Deadline, FakeS3, Proxy, Server, database_url, file_bytes, files_below, local_digests, storage_url,
};

/// The smallest part size that S3 accepts, except for the last part.
const PART: usize = 5 * 1024 * 1024;
const ENDPOINT: &str = "AWS_ENDPOINT_URL_S3";
const SQLITE: (&str, &str) = ("PARTWAY_DATABASE", "");

/// A place where a server can be, and the variables with which it uses it.
struct Home {
    folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Home {
    /// SQLite and a folder.
    fn on_disk() -> Self {
        Self::with(&[SQLITE])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let part = PART.to_string();
        let settings = [&[("PARTWAY_CHUNK_SIZE", &*part)], settings].concat();
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { folder: tempfile::tempdir().unwrap(), settings }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a server where another one has been: it prints no token.
    fn serve(&self) -> Server {
        fs::write(self.path().join(".started"), "").unwrap();
        self.serve_first()
    }

    fn serve_first(&self) -> Server {
        let settings: Vec<_> = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Server::start(self.path(), &settings)
    }

    /// A command of this place.
    fn cli(&self, command: &[&str]) -> Cli {
        let data = ["--data", self.path().to_str().unwrap()];
        let cli = Cli::new(&[command, &data[..]].concat());
        self.settings.iter().fold(cli, |cli, (name, value)| cli.env(name, value))
    }

    fn move_to(&self, target: &Self, more: &[&str]) -> Cli {
        let of = |name: &str| target.settings.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value);
        let to = target.path().to_str().unwrap();
        let to = ["--to-data", to, "--to-database", of("PARTWAY_DATABASE"), "--to-storage", of("PARTWAY_STORAGE")];
        // Both use the same store of the test.
        let variables = target.settings.iter().filter(|(name, _)| name.starts_with("AWS_"));
        let cli = self.cli(&[&["move"], &to[..], more].concat());
        variables.fold(cli, |cli, (name, value)| cli.env(name, value))
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)))
}

/// Runs a command again and again. Kills it when the object store has sent or received a number of bytes, more in each run,
/// until the command ends by itself. Returns how often it was killed.
fn run_killed(start: impl Fn() -> Child, store: &Proxy, after_kill: impl Fn()) -> (usize, Output) {
    for run in 0.. {
        store.be_silent_after((run as u64 + 1) * PART as u64 / 2);
        let (mut child, deadline) = (start(), Deadline::new());
        while child.try_wait().unwrap().is_none() {
            if store.is_silent() {
                child.kill().unwrap();
                break;
            }
            deadline.wait_for("the move");
        }
        let output = child.wait_with_output().unwrap();
        store.speak();
        if output.status.code().is_some() {
            return (run, output);
        }
        after_kill();
    }
    unreachable!()
}

/// Uploads half of a file: the parts with these numbers.
async fn upload_half(server: &Server, token: &str, name: &str, file: &[u8], numbers: &[usize]) -> String {
    let client = Client::new(&server.url, token).unwrap();
    let id = client.create(&NewUpload::named(name, file.len() as u64, name)).await.unwrap().session_id;
    for number in numbers {
        let part = file.chunks(PART).nth(number - 1).unwrap();
        assert_eq!(server.put(token, &id, *number, part), Some(201));
    }
    id
}

/// Sends the missing parts, which must be these, and reads the file back.
async fn end_half(server: &Server, token: &str, id: &str, file: &[u8], missing: Value) -> String {
    let client = Client::new(&server.url, token).unwrap();
    let status: Value = serde_json::from_str(&get(server, token, &format!("/uploads/sessions/{id}"))).unwrap();
    assert_eq!(status["missing_parts"], missing, "{status}");
    let ranges: Vec<String> = serde_json::from_value(missing).unwrap();
    for number in part_numbers(&ranges) {
        let number = usize::try_from(number).unwrap();
        let part = file.chunks(PART).nth(number - 1).unwrap();
        assert_eq!(server.put(token, id, number, part), Some(201));
    }
    let done = client.finalize(id, local_digests(file, PART)).await.unwrap();
    assert!(download(server, token, &done.file.file_id).await == file);
    done.file.file_id
}

fn get(server: &Server, token: &str, path: &str) -> String {
    let (status, body) = crate::support::exchange(&server.address, "GET", path, token, b"").unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

async fn download(server: &Server, token: &str, file: &str) -> Vec<u8> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}/files/{file}/content", server.url);
    let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap();
    answer.error_for_status().unwrap().bytes().await.unwrap().to_vec()
}

fn assert_refused(home: &Home, why: &str) {
    let refused = home.cli(&["serve", "--listen", "127.0.0.1:0"]).run();
    assert!(!refused.status.success() && text(&refused).contains(why), "{}", text(&refused));
}

/// The files of a place, without the index of SQLite's write-ahead log.
fn bytes_of(home: &Home) -> BTreeMap<String, Vec<u8>> {
    let mut files = files_below(home.path());
    files.retain(|name, _| !name.ends_with("-shm"));
    files
}

/// Moves a server from SQLite and a folder to `away`, and from there to another folder. Kills both moves. `store` is between
/// `away` and its object store.
async fn moves_there_and_back(away: &Home, store: &Proxy) {
    let (home, other) = (Home::on_disk(), Home::on_disk());
    let (whole, small, half) = (file_bytes(4 * PART + 7), file_bytes(1_000), file_bytes(3 * PART + 1_000));
    let server = home.serve_first();
    let token = server.first_token.clone();
    let whole_id = upload(&server, &token, "whole", &whole).await;
    let small_id = upload(&server, &token, "small", &small).await;
    let first = upload_half(&server, &token, "first", &half, &[1, 3]).await;
    server.kill();

    let before = bytes_of(&home);
    assert!(before.keys().any(|name| name.ends_with("partway.db-wal")), "the server was killed");
    let after_kill = || assert_refused(away, "has not finished");
    let (kills, moved) = run_killed(|| home.move_to(away, &["--json"]).spawn(), store, after_kill);
    assert!(moved.status.success() && kills > 2, "{kills} {}", text(&moved));
    let report = json_of(&moved);
    let found = (&report["outcome"], &report["missing_parts"], &report["left_behind"]);
    assert_eq!(found, (&json!("finished"), &json!([]), &json!([])));
    assert_eq!(json_of(&home.move_to(away, &["--json"]).run())["outcome"], "finished_before");
    assert!(bytes_of(&home) == before, "the source has changed");

    let server = away.serve();
    end_half(&server, &token, &first, &half, json!(["2", "4"])).await;
    let second = upload_half(&server, &token, "second", &half, &[1, 2]).await;
    server.kill();

    let back = || away.move_to(&other, &["--end-uploads"]).spawn();
    let (kills, moved) = run_killed(back, store, || ());
    assert!(moved.status.success() && kills > 0, "{kills} {}", text(&moved));
    let server = other.serve();
    end_half(&server, &token, &second, &half, json!(["3-4"])).await;
    assert!(download(&server, &token, &whole_id).await == whole);
    assert!(download(&server, &token, &small_id).await == small);
    server.kill();
    let checked = other.cli(&["check", "--digests"]).run();
    assert!(checked.status.success(), "{}", text(&checked));
}

/// A proxy before the object store at this URL, and its own URL.
async fn before_store(url: &str) -> (Proxy, String) {
    let proxy = Proxy::to(url.trim_start_matches("http://")).await;
    let url = format!("http://{}", proxy.address);
    (proxy, url)
}

/// Uploads a whole file. Returns its id.
async fn upload(server: &Server, token: &str, name: &str, file: &[u8]) -> String {
    let all: Vec<usize> = (1..=file.len().div_ceil(PART)).collect();
    let id = upload_half(server, token, name, file, &all).await;
    let client = Client::new(&server.url, token).unwrap();
    client.finalize(&id, local_digests(file, PART)).await.unwrap().file.file_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_half_done_ends_on_an_object_store_and_another_one_back_in_a_folder() {
    let s3 = FakeS3::start().await;
    let (store, endpoint) = before_store(&s3.endpoint).await;
    let away = Home::with(&[&s3.settings()[..], &[(ENDPOINT, &endpoint)]].concat());
    moves_there_and_back(&away, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn an_upload_that_was_half_done_ends_on_postgresql_and_s3_and_another_one_back_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_url(folder.path()).expect("TEST_DATABASE_URL");
    let storage = storage_url(folder.path()).expect("TEST_STORAGE_URL");
    let (store, endpoint) = before_store(&std::env::var(ENDPOINT).unwrap()).await;
    let mut away = Home::with(&[("PARTWAY_DATABASE", &database), ("PARTWAY_STORAGE", &storage), (ENDPOINT, &endpoint)]);
    away.folder = folder;
    moves_there_and_back(&away, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_and_a_move_exclude_each_other() {
    let s3 = FakeS3::start().await;
    let (home, away) = (Home::on_disk(), Home::with(&s3.settings()));
    let server = home.serve_first();
    let token = server.first_token.clone();
    upload_half(&server, &token, "a", &file_bytes(2 * PART), &[1]).await;
    let refused = home.move_to(&away, &[]).run();
    assert!(
        !refused.status.success() && text(&refused).contains("in use by another partway process"),
        "{}",
        text(&refused)
    );
    assert!(!away.path().join("partway.db").exists());
    server.kill();
    s3.hold_parts();
    let mut moving = home.move_to(&away, &[]).spawn();
    let deadline = Deadline::new();
    while s3.open_uploads() == 0 {
        deadline.wait_for("the move to begin");
    }
    for place in [&home, &away] {
        assert_refused(place, "in use by another partway process");
    }
    moving.kill().unwrap();
    moving.wait().unwrap();
    assert_refused(&away, "`partway move` has not finished with this database");
    let server = home.serve();
    assert_eq!(
        server.put(&token, &server.sessions(&token, "IN_PROGRESS")[0].session_id, 2, &file_bytes(2 * PART)[PART..]),
        Some(201)
    );
}

#[test]
fn mistakes_are_named_and_create_nothing() {
    let (home, target) = (Home::on_disk(), Home::on_disk());
    let missing = home.move_to(&target, &[]).run();
    assert!(text(&missing).contains("source: there is no database"), "{}", text(&missing));
    assert_eq!((home.path().read_dir().unwrap().count(), target.path().read_dir().unwrap().count()), (0, 0));
    home.serve_first().kill();
    for (args, why) in [
        (&[][..], "name the target: --to-data, or both --to-database and --to-storage"),
        (&["--to-database", "x.db"], "name the target"),
        (&["--to-data", home.path().to_str().unwrap()], "the database of the target is that of the source"),
        (&["--to-database", "postgres://u@127.0.0.1:1/x", "--to-storage", "s3://"], "storage: s3://"),
    ] {
        let refused = home.cli(&[&["move"], args].concat()).run();
        assert!(!refused.status.success() && text(&refused).contains(why), "{args:?} {}", text(&refused));
    }
    // What an object store would refuse is named before anything is copied.
    let small =
        home.move_to(&Home::with(&[SQLITE, ("PARTWAY_STORAGE", "s3://bucket")]), &[]).env("PARTWAY_CHUNK_SIZE", "10");
    assert!(text(&small.run()).contains("chunk_size must be 5 MiB"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_what_cannot_be_moved_and_the_move_names_it() {
    let s3 = FakeS3::start().await;
    let (mut home, away) = (Home::on_disk(), Home::with(&s3.settings()));
    home.settings.push(("PARTWAY_CHUNK_SIZE".to_owned(), "1000".to_owned()));
    let server = home.serve_first();
    let token = server.first_token.clone();
    let client = Client::new(&server.url, &token).unwrap();
    let id = client.create(&NewUpload::named("tiny parts", 2_500, "k")).await.unwrap().session_id;
    assert_eq!(server.put(&token, &id, 1, &[1; 1_000]), Some(201));
    server.kill();
    home.settings.pop();

    let planned = home.move_to(&away, &["--dry-run", "--json"]).run();
    assert_eq!(planned.status.code(), Some(1));
    let report = json_of(&planned);
    assert_eq!((&report["outcome"], &report["plan"]["open_sessions"]), (&json!("planned"), &json!(1)));
    let [left] = &report["left_behind"].as_array().unwrap()[..] else { panic!("{report}") };
    let expected = ("session", id.as_str(), "tiny parts");
    let found = [&left["kind"], &left["id"], &left["original_filename"]].map(|field| field.as_str().unwrap());
    assert_eq!(found, [expected.0, expected.1, expected.2]);
    assert_eq!(away.path().read_dir().unwrap().count(), 0, "a dry run creates nothing");

    let undecided = home.move_to(&away, &[]).run();
    assert_eq!(undecided.status.code(), Some(1));
    assert!(
        text(&undecided).contains(&format!(
            "cannot be moved: session {id} (\"tiny parts\" of local): it has 3 parts of 1000 bytes"
        ))
    );
    assert!(text(&undecided).contains("the move is not finished"), "{}", text(&undecided));
    let left = home.move_to(&away, &["--leave-behind"]).run();
    assert_eq!(left.status.code(), Some(1));
    assert!(text(&left).contains("the move is finished"), "{}", text(&left));
    let server = away.serve();
    assert_eq!(server.sessions(&token, "IN_PROGRESS").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: scripts/test-services"]
async fn a_running_node_on_postgresql_and_a_move_exclude_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_url(folder.path()).expect("TEST_DATABASE_URL");
    let storage = storage_url(folder.path()).expect("TEST_STORAGE_URL");
    let mut home = Home::with(&[("PARTWAY_DATABASE", &database), ("PARTWAY_STORAGE", &storage)]);
    home.folder = folder;
    let target = Home::on_disk();
    let server = home.serve_first();
    let refused = home.move_to(&target, &[]).run();
    assert!(!refused.status.success() && text(&refused).contains("stop it first"), "{}", text(&refused));
    server.kill();
    // The connections of a server that was killed do not keep a move away.
    let (db, alone) = Db::open_postgres_alone(&database, 4).await.unwrap();
    assert_refused(&home, "`partway move` uses this database now");
    db.close().await;
    alone.release().await;
    let moved = home.move_to(&target, &[]).run();
    assert!(moved.status.success(), "{}", text(&moved));
    target.serve().kill();
}

/// PostgreSQL frees the lock of a move that was killed a moment later.
#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_server_that_starts_after_a_move_waits_for_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_url(folder.path()).expect("TEST_DATABASE_URL");
    let (db, alone) = Db::open_postgres_alone(&database, 4).await.unwrap();
    let mut opening = Box::pin(Db::open_postgres(&database, 4));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut opening).await;
    assert!(early.is_err(), "{early:?}");
    drop(alone);
    opening.await.unwrap().close().await;
    db.close().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_move_that_has_ended_holds_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_url(folder.path()).expect("TEST_DATABASE_URL");
    let mut other = PgConnection::connect(&database).await.unwrap();
    for _ in 0..20 {
        let (db, alone) = Db::open_postgres_alone(&database, 4).await.unwrap();
        db.close().await;
        alone.release().await;
        let key = "hashtextextended('partway.nodes.' || current_schema(), 0)";
        let free = format!("SELECT pg_try_advisory_lock({key}) AND pg_advisory_unlock({key})");
        let is_free: bool = sqlx::query_scalar(AssertSqlSafe(free)).fetch_one(&mut other).await.unwrap();
        assert!(is_free);
    }
}
