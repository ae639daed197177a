//! What the uploader does when requests fail: it ends at once with the reason, or it retries.

use std::{
    collections::HashSet,
    fs,
    net::TcpListener,
    path::Path,
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use partway::client::{Client, NewUpload};

use crate::support::{Cli, Server, exchange, file_bytes, http_proxy, page, tls_config};

/// Well below the default retry limit of five minutes.
const AT_ONCE: Duration = Duration::from_secs(20);
const TEMPORARY_STATUSES: [u16; 7] = [408, 425, 429, 499, 502, 503, 504];

fn upload(url: &str, token: &str, file: &Path, more: &[&str]) -> Cli {
    Cli::new(&[&["upload"], more].concat()).arg(file.as_os_str()).env("PARTWAY_SERVER", url).env("PARTWAY_TOKEN", token)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An address where nothing listens.
fn unused_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A server with a self-signed certificate.
fn self_signed() -> String {
    let pem = include_bytes!("fixtures/self_signed.pem");
    let (config, listener) = (tls_config(pem), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map(Result::unwrap) {
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // The client closes the connection during the handshake.
            let _ = tls.complete_io(&mut socket);
        }
    });
    address
}

#[test]
fn a_permanent_error_ends_the_upload_at_once_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    fs::write(&file, "hello").unwrap();
    let (refusing, tls) = (format!("http://{}", unused_address()), self_signed());
    let answering = |answer: String| http_proxy("", move |_| Some(answer.clone()));
    let elsewhere = |status: u16| answering(page(status, "Location: https://example.org/x\r\n"));
    let plain = answering(page(200, "")).replace("http:", "https:");
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}";
    let cases = [
        (refusing, "Connection refused", 6),
        ("http://no-such-host.invalid".to_owned(), "dns error", 6),
        (format!("https://{tls}"), "invalid peer certificate", 1),
        (format!("http://{tls}"), "does not speak plain HTTP", 6),
        (plain, "does not speak TLS", 6),
        (answering(page(200, "")), "answered 200 OK with text/html", 1),
        (answering(page(404, "")), "answered 404 Not Found with text/html", 1),
        (answering(page(401, "")), "answered 401 Unauthorized with text/html", 1),
        (answering(json.to_owned()), "answered 200 OK with application/json", 1),
        (elsewhere(301), "redirects to https://example.org/x", 1),
        (elsewhere(307), "redirects to https://example.org/x", 1),
    ];
    let ran: Vec<_> = cases.iter().map(|(url, ..)| upload(url, "pw_x", &file, &[]).spawn()).collect();
    let start = Instant::now();
    for ((url, why, code), running) in cases.iter().zip(ran) {
        let output = running.wait_with_output().unwrap();
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(*code), "{printed}");
        assert!(printed.contains(why) && printed.contains(url), "{url}: {printed}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
    }
    assert!(start.elapsed() < AT_ONCE);
}

#[test]
fn temporary_proxy_errors_are_retried_on_every_route() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let mut running = Vec::new();
    for (index, status) in TEMPORARY_STATUSES.into_iter().enumerate() {
        let file = folder.path().join(status.to_string());
        fs::write(&file, file_bytes(1_000 + index)).unwrap();
        let seen = Mutex::new(HashSet::new());
        let url = http_proxy(&server.address, move |request| {
            let is_first = seen.lock().unwrap().insert(request.to_owned());
            is_first.then(|| page(status, ""))
        });
        running.push(upload(&url, &server.first_token, &file, &[]).spawn());
    }
    for upload in running {
        let output = upload.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert_eq!(server.sessions(&server.first_token, "COMPLETE").len(), TEMPORARY_STATUSES.len());
}

#[test]
fn the_client_waits_as_long_as_retry_after_asks() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = folder.path().join("a");
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:39 GMT\r\n";
    for (index, headers) in ["Retry-After: 2\r\n", date].into_iter().enumerate() {
        fs::write(&file, file_bytes(1_000 + index)).unwrap();
        let asked = AtomicUsize::new(0);
        let url = http_proxy(&server.address, move |_| {
            (asked.fetch_add(1, Ordering::Relaxed) == 0).then(|| page(503, headers))
        });
        let start = Instant::now();
        let output = upload(&url, &server.first_token, &file, &[]).run();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[test]
fn retries_end_at_the_given_limit_and_the_last_error_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = folder.path().join("a");
    fs::write(&file, "hello").unwrap();
    let url = http_proxy(&server.address, |request| {
        // An hour exceeds the limit of one second.
        request.starts_with("PUT").then(|| page(503, "Retry-After: 3600\r\n"))
    });
    let start = Instant::now();
    let output = upload(&url, &server.first_token, &file, &["--retry-for", "1s"]).run();
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains("parts/1 answered 503 Service Unavailable"), "{}", stderr(&output));
    assert!(start.elapsed() >= Duration::from_secs(1) && start.elapsed() < AT_ONCE);
    let invalid = upload(&url, "pw_x", &file, &["--retry-for", "soon"]).run();
    assert_eq!(invalid.status.code(), Some(2));
}

/// A listener that closes every connection may be a proxy whose server is about to start.
#[test]
fn connections_that_break_before_the_first_response_are_retried_for_only_some_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    fs::write(&file, "hello").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let start = Instant::now();
    let output = upload(&url, "pw_x", &file, &[]).run();
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains("no answer from the server") && stderr(&output).contains(&url));
    assert!(start.elapsed() < 2 * AT_ONCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_continues_after_a_failed_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let client = Client::new(&server.url, &server.first_token).unwrap();
    let id = client.create(&NewUpload::named("a", 5, "k")).await.unwrap().session_id;
    let (reads, is_reading) = (AtomicUsize::new(0), std::sync::mpsc::channel());
    let reads_seen = Mutex::new(is_reading.0);
    let url = http_proxy(&server.address, move |request| {
        let read = request.starts_with("GET").then(|| reads.fetch_add(1, Ordering::Relaxed))?;
        reads_seen.lock().unwrap().send(read).unwrap();
        // The first read is before the loop, so the second is the first one inside it.
        (read == 1).then(|| page(502, ""))
    });
    let watch = Cli::new(&["status", "--watch", &id]).env("PARTWAY_SERVER", &url);
    let watch = watch.env("PARTWAY_TOKEN", &server.first_token).spawn();
    while is_reading.1.recv_timeout(AT_ONCE).unwrap() < 2 {}
    exchange(&server.address, "DELETE", &format!("/uploads/sessions/{id}"), &server.first_token, b"").unwrap();
    let output = watch.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("ABORTED (aborted_by_owner)"), "{}", stderr(&output));
    assert!(stderr(&output).contains("502"), "{}", stderr(&output));
}

/// The proxy answers as a server that finds during finalize that bytes of a part are missing, and deletes the part's row.
#[test]
fn the_client_sends_parts_again_that_the_server_has_lost() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = folder.path().join("a");
    fs::write(&file, "hello").unwrap();
    let problem = r#"{"code":"PARTS_MISSING","detail":"parts are missing","retryable":false}"#;
    let answer =
        format!("HTTP/1.1 409 Conflict\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{problem}", problem.len());
    let finalized = AtomicUsize::new(0);
    let url = http_proxy(&server.address, move |request| {
        let is_first = request.contains("finalize") && finalized.fetch_add(1, Ordering::Relaxed) == 0;
        is_first.then(|| answer.clone())
    });
    let output = upload(&url, &server.first_token, &file, &[]).run();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("Session ").count(), 2, "{}", stderr(&output));
}
