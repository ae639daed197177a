//! `partway upload -`: standard input.

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
    sync::{Mutex, mpsc},
    time::Duration,
};

use partway::client::{Client, NewUpload};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Cli, Server, crc64nvme, file_bytes, http_proxy};

const SETTINGS: [(&str, &str); 1] = [("PARTWAY_CHUNK_SIZE", "65536")];

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command with these bytes in a pipe on standard input.
fn run_with(command: Cli, bytes: &[u8]) -> Output {
    let mut running = command.stdin(Stdio::piped()).spawn();
    let mut input = running.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // Ignore the error: the command may end before it has read everything.
        scope.spawn(move || input.write_all(bytes));
    });
    running.wait_with_output().unwrap()
}

#[test]
fn standard_input_is_uploaded_under_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    for bytes in [file_bytes(1 << 20), Vec::new()] {
        let upload = Cli::new(&["upload", "-", "--name", "dump.sql"]).to(&server, &server.first_token);
        let output = run_with(upload, &bytes);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains(&crc64nvme(&bytes)));
        let session = server.sessions(&server.first_token, "COMPLETE").remove(0);
        let name = (session.file.original_filename.as_str(), session.file.content_type.as_str());
        assert_eq!(name, ("dump.sql", "application/x-sql"));
    }
    let unnamed = Cli::new(&["upload", "-"]).to(&server, &server.first_token).run();
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(stderr(&unnamed).contains("--name"), "{}", stderr(&unnamed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_input_again_continues_the_upload() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let bytes = file_bytes(200_000);
    let client = Client::new(&server.url, &server.first_token).unwrap();
    let id = client.create(&NewUpload::named("dump", 200_000, "k")).await.unwrap().session_id;
    let sha256 = partway::domain::Sha256Digest::of(&bytes[..65_536]);
    client.put_part(&id, 1, 65_536, &sha256, bytes[..65_536].to_vec().into()).await.unwrap();
    let upload = Cli::new(&["upload", "-", "--name", "dump"]).to(&server, &server.first_token);
    let output = run_with(upload, &bytes);
    assert!(stderr(&output).contains("the server has 1 of 4 parts"), "{}", stderr(&output));
    assert_eq!(client.session(&id).await.unwrap().status, "COMPLETE");
}

#[test]
fn the_copy_of_the_input_is_gone_however_the_command_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let temporary = folder.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let files = || fs::read_dir(&temporary).unwrap().count();
    let (sending, is_sending) = mpsc::channel();
    let sending = Mutex::new(sending);
    let url = http_proxy(&server.address, move |request| {
        if request.starts_with("PUT ") {
            let _ = sending.lock().unwrap().send(());
            loop {
                std::thread::park();
            }
        }
        None
    });
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let upload = Cli::new(&["upload", "-", "--name", "dump"]).env("PARTWAY_SERVER", &url);
        let upload = upload.env("PARTWAY_TOKEN", &server.first_token).env("TMPDIR", temporary.to_str().unwrap());
        let mut running = upload.stdin(Stdio::piped()).spawn();
        running.stdin.take().unwrap().write_all(&file_bytes(1_000)).unwrap();
        is_sending.recv_timeout(Duration::from_mins(1)).unwrap();
        assert_eq!(files(), 0, "the copy has no name");
        kill_process(Pid::from_child(&running), signal).unwrap();
        assert!(!running.wait().unwrap().success());
        assert_eq!(files(), 0);
    }
}

#[test]
fn an_error_names_the_folder_that_cannot_keep_the_input() {
    let upload = Cli::new(&["upload", "-", "--name", "x", "--token", "x"]).env("TMPDIR", "/nowhere");
    let output = run_with(upload, b"hello");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("keep standard input in /nowhere; TMPDIR"), "{}", stderr(&output));
}
