//! Webhooks with the real binary: the commands beside a running server, and servers that are killed or stopped.

use std::{collections::BTreeSet, path::Path};

use rustix::process::Signal;

use crate::support::{Cli, Deadline, Receiver, Reply, Server, exchange};

/// A short time-out, so that the lease of a killed server expires soon.
const SETTINGS: [(&str, &str); 1] = [("PARTWAY_WEBHOOK_TIMEOUT", "1s")];

/// Runs `partway webhook` beside the server. Returns the exit code, standard output and standard error.
fn webhook(data: &Path, args: &[&str]) -> (bool, String, String) {
    let args = [&["webhook"], args, &["--data", data.to_str().unwrap()]].concat();
    let output = Cli::new(&args).env("PARTWAY_WEBHOOK_TIMEOUT", "1s").run();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn succeeds(data: &Path, args: &[&str]) -> (String, String) {
    let (succeeded, stdout, stderr) = webhook(data, args);
    assert!(succeeded, "{args:?}: {stderr}");
    (stdout, stderr)
}

/// Adds a webhook. Returns its id and its secret.
fn add(data: &Path, receiver: &Receiver, more: &[&str]) -> (String, String) {
    let (secret, id) = succeeds(data, &[&["add", &receiver.url], more].concat());
    (id.strip_prefix("id ").unwrap().to_owned(), secret)
}

/// Uploads an empty file.
fn upload(server: &Server, token: &str) {
    let post = |path: &str, body: &str| exchange(&server.address, "POST", path, token, body.as_bytes()).unwrap();
    let (status, session) = post("/uploads/sessions", r#"{"original_filename":"a","total_size_bytes":0}"#);
    assert_eq!(status, 201, "{session}");
    let session: serde_json::Value = serde_json::from_str(&session).unwrap();
    let path = format!("/uploads/sessions/{}/finalize", session["session_id"].as_str().unwrap());
    assert_eq!(post(&path, "{}").0, 200);
}

/// The cells of each row that the command `list` prints: id, day, time, state, pending, dead and so on.
fn rows(data: &Path) -> Vec<Vec<String>> {
    let (list, _) = succeeds(data, &["list"]);
    list.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_work_beside_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (server, receiver) = (Server::start(data, &SETTINGS), Receiver::start().await);
    let token = server.first_token.clone();
    let (id, secret) = add(data, &receiver, &["--events", "upload.completed,file.deleted"]);
    assert!(secret.starts_with("whsec_"));

    assert_eq!(succeeds(data, &["test", &id]).0, "delivered: status 204");
    upload(&server, &token);
    let messages = receiver.wait_for(2).await;
    assert_eq!(receiver.types(), ["upload.completed", "webhook.test"]);
    assert!(messages.iter().all(|message| message.is_signed_by(&secret)));

    let (rotated, note) = succeeds(data, &["rotate", &id]);
    assert!(rotated.starts_with("whsec_") && rotated != secret && note.contains("24 hours"));
    let [row] = rows(data).try_into().unwrap();
    assert_eq!(
        (row[0].as_str(), &row[3..8]),
        (id.as_str(), &["enabled", "0", "0", "all", "upload.completed,file.deleted"].map(str::to_owned)[..])
    );
    assert!(row[8].ends_with("/hook?…"), "the query may contain a secret: {row:?}");

    receiver.reply([Reply::Status(410)]);
    upload(&server, &token);
    Deadline::new().until("the webhook to be disabled", async || rows(data)[0][3] == "disabled").await;
    let (dead, _) = succeeds(data, &["dead"]);
    let dead: Vec<&str> = dead.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((dead[0], dead[2], dead[3]), (id.as_str(), "upload.completed", "1"));
    assert_eq!(dead[1], receiver.received().last().unwrap().id());
    receiver.reply([Reply::Status(500)]);
    let (succeeded, outcome, _) = webhook(data, &["test", &id]);
    assert!(!succeeded && outcome == "failed: status 500", "{outcome}");
    let (succeeded, _, problem) = webhook(data, &["replay", "--webhook", &id]);
    assert!(!succeeded && problem.contains("it is disabled"), "{problem}");
    assert!(succeeds(data, &["test", &id]).1.contains("enabled again"));

    let before = receiver.received().len();
    assert_eq!(succeeds(data, &["replay"]).0, "1");
    assert_eq!(receiver.wait_for(before + 1).await[before].id(), dead[1]);
    assert_eq!(succeeds(data, &["replay", dead[1], "--webhook", &id]).0, "1");
    assert_eq!(receiver.wait_for(before + 2).await[before + 1].id(), dead[1]);
    assert_eq!(succeeds(data, &["replay", "--since", "1h"]).0, "2");
    receiver.wait_for(before + 4).await;

    succeeds(data, &["remove", &id]);
    assert!(rows(data).is_empty());
    for (args, problem) in [
        (&["remove", &id] as &[&str], "there is no such webhook"),
        (&["test", &id], "there is no such webhook"),
        (&["rotate", "x"], "give the id that `partway webhook list` shows"),
        (&["replay", "evt_01890000-0000-7000-8000-00000000000a"], "there is no such event"),
        (&["replay", "01890000-0000-7000-8000-00000000000a"], "an event's id is evt_ and a UUID"),
        (&["replay", dead[1], "--since", "1h"], "cannot be used with"),
        (&["add", "https://example.org", "--events", "upload.created"], "there is no type \"upload.created\""),
        (&["add", "https://192.168.1.1"], "webhook_allow_private"),
    ] {
        let (succeeded, _, stderr) = webhook(data, args);
        assert!(!succeeded && stderr.contains(problem), "{args:?}: {stderr}");
    }
}

/// Between the commit and the record of the delivery, at the latest possible moment: the receiver already has the event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_sent_after_a_server_that_was_sending_it_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (server, receiver) = (Server::start(data, &SETTINGS), Receiver::start().await);
    let (token, (_, secret)) = (server.first_token.clone(), add(data, &receiver, &[]));
    receiver.reply([Reply::Hang]);
    upload(&server, &token);
    receiver.wait_for(1).await;
    server.kill();

    let _server = Server::start(data, &SETTINGS);
    let messages = receiver.wait_for(2).await;
    assert_eq!((messages[0].id(), &messages[0].body), (messages[1].id(), &messages[1].body));
    assert!(messages.iter().all(|message| message.is_signed_by(&secret)));
    Deadline::new().until("the delivery to be recorded", async || rows(data)[0][4] == "0").await;
}

/// The server commits the event, and a signal ends it before it looks for what to send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_a_server_that_is_killed_in_a_burst_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (server, receiver) = (Server::start(data, &SETTINGS), Receiver::start().await);
    let token = server.first_token.clone();
    add(data, &receiver, &[]);
    let mut events = 0;
    let mut server = Some(server);
    for _ in 0..3 {
        for _ in 0..5 {
            upload(server.as_ref().unwrap(), &token);
            events += 1;
        }
        server.take().unwrap().kill();
        server = Some(Server::start(data, &SETTINGS));
    }
    let ids = || receiver.received().iter().map(|message| message.id().to_owned()).collect::<BTreeSet<_>>();
    Deadline::new().until("all events", async || ids().len() == events).await;
    Deadline::new().until("the deliveries to be recorded", async || rows(data)[0][4] == "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_does_not_hold_up_the_stop_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let slow = [("PARTWAY_WEBHOOK_TIMEOUT", "5m")];
    let (server, receiver) = (Server::start(data, &slow), Receiver::start().await);
    let token = server.first_token.clone();
    add(data, &receiver, &[]);
    receiver.reply([Reply::Hang]);
    upload(&server, &token);
    receiver.wait_for(1).await;
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    // The lease would last for ten minutes. The stop has released it.
    let _server = Server::start(data, &slow);
    receiver.wait_for(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_tells_of_failures_without_secrets() {
    let (folder, log) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let data = folder.path();
    let (server, receiver) = (Server::start_logging_to(log.reopen().unwrap().into(), data), Receiver::start().await);
    let token = server.first_token.clone();
    let (id, secret) = add(data, &receiver, &[]);
    receiver.reply([Reply::Status(500), Reply::Status(410)]);
    let written = || std::fs::read_to_string(log.path()).unwrap();
    upload(&server, &token);
    Deadline::new().until("the failure", async || written().contains("the server sends it again")).await;
    upload(&server, &token);
    Deadline::new().until("the end", async || written().contains("410 Gone and is disabled")).await;
    let log = written();
    assert!(log.contains(&format!("webhook.id={id}")) && log.contains("status=500"), "{log}");
    assert!(!log.contains("hidden") && !log.contains("whsec_") && !log.contains(&secret[6..]), "{log}");
}
