//! What the command line prints, to which stream, and what happens if a write fails.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    net::TcpListener,
    process::Stdio,
};

use partway::client::{Client, NewUpload};

use crate::support::{Cli, Server, crc64nvme, exchange, file_bytes};

/// A stream on which every write fails with "no space left on device".
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader is closed.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn an_upload_succeeds_even_if_its_output_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let targets: [fn() -> Stdio; 2] = [full, closed];
    for (index, target) in targets.into_iter().enumerate() {
        let file = folder.path().join(format!("{index}.bin"));
        fs::write(&file, file_bytes(100 + index)).unwrap();
        let upload = || Cli::new(&["upload", "--new"]).arg(file.as_os_str()).to(&server, &server.first_token);
        assert_eq!(upload().stdout(target()).run().status.code(), Some(0));
        assert_eq!(upload().stdout(target()).stderr(target()).run().status.code(), Some(0));
        let output = upload().stderr(target()).run();
        assert!(String::from_utf8_lossy(&output.stdout).contains(&crc64nvme(&file_bytes(100 + index))));
    }
    assert_eq!(server.sessions(&server.first_token, "COMPLETE").len(), 6);
}

#[test]
fn a_command_reports_a_failed_write_unless_the_reader_has_closed_the_pipe() {
    let output = Cli::new(&["schema"]).stdout(full()).run();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output: No space"));
    let output = Cli::new(&["schema"]).stdout(closed()).run();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(141), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_log_cannot_be_written_keeps_running() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    drop(Server::start(&data, &[]));
    let token = Cli::new(&["token", "create", "--owner", "a", "--data", data.to_str().unwrap()]).run();
    let token = String::from_utf8(token.stdout).unwrap();
    let server = Server::start_logging_to(full(), &data);
    let (status, _) = exchange(&server.address, "GET", "/uploads/sessions", token.trim(), b"").unwrap();
    assert_eq!(status, 200);
    Client::new(&server.url, &token).unwrap().create(&NewUpload::named("a", 5, "k")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_may_end_with_a_newline_but_must_be_a_valid_header_value() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = folder.path().join("a.bin");
    fs::write(&file, file_bytes(10)).unwrap();
    for (token, code) in
        [(format!("{}\r\n", server.first_token), 0), ("pw_\u{e9}".to_owned(), 5), (" \n".to_owned(), 5)]
    {
        let output = Cli::new(&["upload"]).arg(file.as_os_str()).to(&server, &token).run();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert_eq!(code == 5, printed.contains("token"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sha256_that_is_not_known_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = folder.path().join("a.bin");
    fs::write(&file, file_bytes(10)).unwrap();
    let output = Cli::new(&["upload"]).arg(file.as_os_str()).to(&server, &server.first_token).run();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.lines().all(|line| !line.starts_with("sha256") && line.split_whitespace().count() == 2),
        "{printed}"
    );
    assert!(printed.contains("composite_sha256  "), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_with_watch_fails_if_the_upload_failed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let client = Client::new(&server.url, &server.first_token).unwrap();
    let id = client.create(&NewUpload::named("a", 5, "k")).await.unwrap().session_id;
    exchange(&server.address, "DELETE", &format!("/uploads/sessions/{id}"), &server.first_token, b"").unwrap();
    for (args, code) in [(["status", id.as_str()].as_slice(), 0), (&["status", "--watch", &id], 1)] {
        let output = Cli::new(args).to(&server, &server.first_token).run();
        assert!(String::from_utf8_lossy(&output.stdout).contains("ABORTED (aborted_by_owner)"));
        assert_eq!(output.status.code(), Some(code));
    }
}

#[test]
fn the_client_sends_its_user_agent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut status = Cli::new(&["status", "x"]).env("PARTWAY_SERVER", &url).env("PARTWAY_TOKEN", "pw_x").spawn();
    let (mut socket, _) = listener.accept().unwrap();
    let mut head = vec![0; 4096];
    let read = socket.read(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
    assert!(head.contains(concat!("user-agent: partway/", env!("CARGO_PKG_VERSION"))), "{head}");
    let body = r#"{"code":"NOT_FOUND","detail":"no","retryable":false}"#;
    write!(socket, "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    status.wait().unwrap();
}

#[test]
fn the_usage_line_shows_only_required_arguments() {
    for (command, usage) in [
        ("upload", "partway upload [OPTIONS] <FILE>..."),
        ("download", "partway download [OPTIONS] <FILE_ID>"),
        ("status", "partway status [OPTIONS] <ID>"),
        ("rm", "partway rm [OPTIONS] <FILE_ID>..."),
        ("abort", "partway abort [OPTIONS] <SESSION_ID>..."),
    ] {
        let output = Cli::new(&[command])
            .env("PARTWAY_SERVER", "http://x")
            .env("PARTWAY_TOKEN", "x")
            .env("PARTWAY_PARALLEL", "2");
        let printed = String::from_utf8(output.run().stderr).unwrap();
        assert!(printed.contains(usage) && !printed.contains("--token"), "{printed}");
    }
}
