//! The command line, against the real server.

use std::{
    fs,
    path::Path,
    process::Output,
    sync::{Mutex, mpsc},
    time::Duration,
};

use partway::client::{Client, NewUpload};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Cli, Deadline, Server, crc64nvme, file_bytes, http_proxy};

const SETTINGS: [(&str, &str); 1] = [("PARTWAY_CHUNK_SIZE", "65536")];
const SIZE: usize = 65_536 * 40 - 99;

fn upload(server: &Server, token: &str, file: &Path, more: &[&str]) -> Output {
    let mut args = vec!["upload", file.to_str().unwrap()];
    args.extend(more);
    Cli::new(&args).to(server, token).run()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_uploaded_and_its_id_and_digest_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let token = server.first_token.clone();
    let bytes = file_bytes(SIZE);
    for (name, bytes) in [("großes bild.png", bytes.as_slice()), ("empty", b"")] {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        let printed = stdout(&upload(&server, &token, &file, &[]));
        let id = printed.lines().next().unwrap().strip_prefix("file_id  ").unwrap();
        assert_eq!(printed.lines().nth(1), Some(format!("crc64nvme  {}", crc64nvme(bytes)).as_str()));
        assert!(fs::read(folder.path().join("data/files/stored").join(id)).unwrap() == bytes);
        let again = upload(&server, &token, &file, &[]);
        assert!(stderr(&again).contains("Already stored"));
        assert_eq!(stdout(&again), printed, "nothing is stored twice without --new");
        assert_ne!(stdout(&upload(&server, &token, &file, &["--new"])), printed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_resumes_from_another_folder_after_client_and_server_were_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data, &SETTINGS);
    let (token, address) = (server.first_token.clone(), server.address.clone());
    let bytes = file_bytes(SIZE);
    let file = folder.path().join("a.bin");
    fs::write(&file, &bytes).unwrap();

    // The session of an uploader that was killed halfway.
    let client = Client::new(&server.url, &token).unwrap();
    let id = client.create(&NewUpload::named("a.bin", SIZE as u64, "k")).await.unwrap().session_id;
    for number in [1, 2, 3, 17, 40] {
        let part = bytes.chunks(65_536).nth(number - 1).unwrap().to_vec();
        let sha256 = partway::domain::Sha256Digest::of(&part);
        let size = part.len() as u64;
        client.put_part(&id, u32::try_from(number).unwrap(), size, &sha256, part.into()).await.unwrap();
    }
    server.kill();
    let server = Server::start_on(&address, &data, &SETTINGS);

    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(&file, elsewhere.path().join("a.bin")).unwrap();
    let resumed = Cli::new(&["upload", "a.bin"]).in_folder(elsewhere.path()).to(&server, &token).run();
    assert!(stderr(&resumed).contains("the server has 5 of 40 parts"), "{}", stderr(&resumed));
    assert!(stdout(&resumed).contains(&crc64nvme(&bytes)));
    let session = Client::new(&server.url, &token).unwrap().session(&id).await.unwrap();
    assert_eq!(session.status, "COMPLETE", "the upload resumed this session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_file_with_the_same_name_and_size_gets_its_own_session() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let token = server.first_token.clone();
    let client = Client::new(&server.url, &token).unwrap();
    let id = client.create(&NewUpload::named("a.bin", SIZE as u64, "k")).await.unwrap().session_id;
    let part = vec![1; 65_536];
    let sha256 = partway::domain::Sha256Digest::of(&part);
    client.put_part(&id, 7, 65_536, &sha256, part.into()).await.unwrap();

    let file = folder.path().join("a.bin");
    let bytes = file_bytes(SIZE);
    fs::write(&file, &bytes).unwrap();
    assert!(stdout(&upload(&server, &token, &file, &[])).contains(&crc64nvme(&bytes)));
    assert_eq!(client.session(&id).await.unwrap().received_parts, ["7"], "the client sent no part to this session");
    assert!(stdout(&upload(&server, &token, &file, &["--new"])).contains(&crc64nvme(&bytes)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uploader_waits_for_a_server_that_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data, &SETTINGS);
    let (token, address) = (server.first_token.clone(), server.address.clone());
    let bytes = file_bytes(SIZE);
    fs::write(folder.path().join("a.bin"), &bytes).unwrap();
    let held = HeldParts::before(&address);
    let upload = Cli::new(&["upload", "a.bin", "--parallel", "2"]).in_folder(folder.path());
    let running = upload.env("PARTWAY_SERVER", &held.url).env("PARTWAY_TOKEN", &token).spawn();
    let first = held.next();
    server.kill();
    held.release();
    // No server receives the released requests. The repeated requests may reach the new server.
    let deadline = Deadline::new();
    while held.next() != first {
        deadline.wait_for("the first part to be sent again");
    }
    let _server = Server::start_on(&address, &data, &SETTINGS);
    let output = running.wait_with_output().unwrap();
    assert!(stdout(&output).contains(&crc64nvme(&bytes)));
}

/// A proxy that holds requests for parts before they get to the server.
struct HeldParts {
    url: String,
    seen: mpsc::Receiver<String>,
    release: mpsc::Sender<()>,
}

impl HeldParts {
    fn before(server: &str) -> Self {
        let ((sender, seen), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
        let (sender, released) = (Mutex::new(sender), Mutex::new(released));
        let url = http_proxy(server, move |request| {
            if request.starts_with("PUT ") {
                // Ignore the error: the test may have ended.
                let _ = sender.lock().unwrap().send(request.to_owned());
                let _ = released.lock().unwrap().recv();
            }
            None
        });
        Self { url, seen, release }
    }

    /// Waits for the next request, and returns it.
    fn next(&self) -> String {
        self.seen.recv_timeout(Duration::from_mins(1)).expect("a part is sent")
    }

    /// Forwards all requests from now on.
    fn release(&self) {
        // More than the number of requests.
        (0..1_000).for_each(|_| self.release.send(()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_prints_how_to_resume() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let token = server.first_token.clone();
    fs::write(folder.path().join("a.bin"), file_bytes(SIZE)).unwrap();
    // No part gets to the server, so that the upload cannot end first.
    let held = HeldParts::before(&server.address);
    let upload_held = Cli::new(&["upload", "a.bin"]).in_folder(folder.path());
    let running = upload_held.env("PARTWAY_SERVER", &held.url).env("PARTWAY_TOKEN", &token).spawn();
    held.next();
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    let interrupted = running.wait_with_output().unwrap();
    assert_eq!(interrupted.status.code(), Some(130), "{}", stderr(&interrupted));
    assert!(stderr(&interrupted).contains("run the same command to go on"), "{}", stderr(&interrupted));
    assert!(upload(&server, &token, &folder.path().join("a.bin"), &[]).status.success());
}

#[test]
fn status_prints_a_bar_and_the_part_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let token = server.first_token.clone();
    fs::write(folder.path().join("a.bin"), file_bytes(SIZE)).unwrap();
    let uploaded = upload(&server, &token, &folder.path().join("a.bin"), &[]);
    let id = stderr(&uploaded).split_whitespace().nth(1).unwrap().trim_end_matches(':').to_owned();
    let printed = stdout(&Cli::new(&["status", &id, "--watch"]).to(&server, &token).run());
    for line in ["status    COMPLETE", "received  1-40", "missing   none", &"█".repeat(40)] {
        assert!(printed.contains(line), "{printed}");
    }
    let unknown = Cli::new(&["status", "nonsense"]).to(&server, &token).run();
    assert!(stderr(&unknown).contains("NOT_FOUND"));
}

#[test]
fn tokens_are_created_listed_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let token = |args: &[&str]| Cli::new(&[&["token"], args, &["--data", data]].concat()).run();
    stdout(&Cli::new(&["migrate", "--data", data]).run());
    let created = stdout(&token(&["create", "--owner", "ci", "--name", "nightly"]));
    assert!(created.trim_end().starts_with("pw_") && created.lines().count() == 1, "only the token: {created}");
    let listed = stdout(&token(&["list"]));
    let row = listed.lines().nth(1).unwrap();
    assert!(row.contains("ci") && row.ends_with("nightly") && !listed.contains(created.trim_end()));
    let id = row.split_whitespace().next().unwrap();
    stdout(&token(&["revoke", id]));
    assert!(!token(&["revoke", id]).status.success());
    assert!(!token(&["create", "--owner", "two words"]).status.success());
}

#[test]
fn the_error_for_a_missing_file_token_or_server_names_it() {
    let missing = Cli::new(&["upload", "/nowhere"]).env("PARTWAY_TOKEN", "x").run();
    assert!(stderr(&missing).contains("/nowhere"));
    let no_token = Cli::new(&["upload", "/nowhere"]).run();
    assert!(stderr(&no_token).contains("PARTWAY_TOKEN"));
    let no_server = Cli::new(&["status", "x", "--server", "http://127.0.0.1:9", "--token", "x"]).run();
    assert!(stderr(&no_server).contains("no answer from the server"));
}

#[test]
fn check_and_migrate_work_on_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let mistyped = Cli::new(&["check", "--data", data]).on_sqlite().run();
    assert!(!mistyped.status.success(), "check fails on a folder without a database");
    for command in ["migrate", "check"] {
        assert!(Cli::new(&[command, "--data", data]).run().status.success());
    }
}

/// A regression test: with a mistyped folder, `token create` created a new database, and its token worked on no server.
#[test]
fn only_serve_and_migrate_create_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("mistyped");
    let owner = ["token", "create", "--owner", "ann"];
    for command in [&owner[..], &["token", "list"], &["check"], &["adopt"]] {
        let refused = Cli::new(&[command, &["--data", data.to_str().unwrap()]].concat()).on_sqlite().run();
        assert!(!refused.status.success());
        let error = stderr(&refused);
        assert!(
            error.contains(data.join("partway.db").to_str().unwrap()) && error.contains("partway migrate"),
            "{error}"
        );
        assert!(!data.exists(), "{command:?} creates no folder");
    }
}

/// Uploads these files concurrently, each from its own folder, and returns the SHA-256 that each upload printed.
fn upload_at_once(server: &Server, more: &[&str], files: &[Vec<u8>]) -> Vec<String> {
    let folders: Vec<_> = files.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let uploads: Vec<_> = folders
        .iter()
        .zip(files)
        .map(|(folder, bytes)| {
            fs::write(folder.path().join("disk.img"), bytes).unwrap();
            let args = [&["upload", "disk.img"], more].concat();
            Cli::new(&args).in_folder(folder.path()).to(server, &server.first_token).spawn()
        })
        .collect();
    let outputs = uploads.into_iter().map(|upload| stdout(&upload.wait_with_output().unwrap()));
    outputs.map(|printed| printed.lines().nth(1).unwrap().replace("crc64nvme  ", "")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_uploads_of_different_files_with_one_name_and_size_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[("PARTWAY_CHUNK_SIZE", "262144")]);
    // The files differ only in a byte outside the samples of the idempotency key, so both uploads start in one session.
    let one = file_bytes(8 << 20);
    let mut other = one.clone();
    other[2 << 20] ^= 1;
    let files = [one, other];
    let digests: Vec<_> = files.iter().map(|bytes| crc64nvme(bytes)).collect();
    for more in [&[][..], &["--new"]] {
        assert_eq!(upload_at_once(&server, more, &files), digests);
    }
}

#[test]
fn the_same_file_from_two_hosts_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let bytes = file_bytes(SIZE);
    let printed = upload_at_once(&server, &[], &[bytes.clone(), bytes.clone(), bytes.clone()]);
    assert_eq!(printed, vec![crc64nvme(&bytes); 3]);
    assert_eq!(server.sessions(&server.first_token, "COMPLETE").len(), 1);
    assert_eq!(server.sessions(&server.first_token, "IN_PROGRESS").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_filters_sessions_by_name_and_size() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let client = Client::new(&server.url, &server.first_token).unwrap();
    let session = client.create(&NewUpload::named("a&b=ü.bin", 5, "k")).await.unwrap();
    let sha256 = partway::domain::Sha256Digest::of(b"hello");
    client.put_part(&session.session_id, 1, 5, &sha256, "hello".into()).await.unwrap();
    let (lists, listed) = std::sync::mpsc::channel();
    let lists = std::sync::Mutex::new(lists);
    let url = http_proxy(&server.address, move |request| {
        if request.starts_with("GET /uploads/sessions?") {
            lists.lock().unwrap().send(request.to_owned()).unwrap();
        }
        None
    });
    let file = folder.path().join("a&b=u\u{308}.bin");
    fs::write(&file, b"hello").unwrap();
    let upload = Cli::new(&["upload"]).arg(file.as_os_str()).env("PARTWAY_SERVER", &url);
    let output = upload.env("PARTWAY_TOKEN", &server.first_token).run();
    assert!(stderr(&output).contains(&session.session_id), "{}", stderr(&output));
    let listed: Vec<_> = listed.try_iter().collect();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].contains("original_filename=a%26b%3D%C3%BC.bin&total_size_bytes=5&"), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_requests_of_an_upload_does_not_depend_on_other_sessions_of_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let client = Client::new(&server.url, &server.first_token).unwrap();
    let mut asked = Vec::new();
    for (round, others) in [0, 120].into_iter().enumerate() {
        for other in 0..others {
            // More than a page of sessions of each status, with other names and with other sizes.
            let (name, size) = if other % 2 == 0 { (format!("{other}"), 5) } else { ("a.bin".to_owned(), 6 + other) };
            client.create(&NewUpload::named(&name, size, &format!("{other}"))).await.unwrap();
        }
        let (requests, seen) = mpsc::channel();
        let requests = Mutex::new(requests);
        let url = http_proxy(&server.address, move |request| {
            let method_and_route: Vec<_> = request.split(['/', '?']).take(3).collect();
            requests.lock().unwrap().send(method_and_route.concat()).unwrap();
            None
        });
        let file = folder.path().join("a.bin");
        fs::write(&file, format!("hell{round}")).unwrap();
        let upload = Cli::new(&["upload"]).arg(file.as_os_str()).env("PARTWAY_SERVER", &url);
        let output = upload.env("PARTWAY_TOKEN", &server.first_token).run();
        assert!(output.status.success(), "{}", stderr(&output));
        let mut seen: Vec<String> = seen.try_iter().collect();
        seen.sort();
        asked.push(seen);
    }
    // The first file has the name and size of the second one, so the client compares them: one more request, for the
    // list of its parts.
    let (alone, among_many) = (&asked[0], &asked[1]);
    assert!(among_many.len() <= alone.len() + 1, "{alone:?} {among_many:?}");
    assert!(alone.len() <= 6, "{alone:?}");
}
