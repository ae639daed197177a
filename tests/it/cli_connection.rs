//! How the client reaches a server: the token in a file, a private authority, proxies.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, mpsc},
};

use crate::support::{Cli, Server, http_proxy, tls_config};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures").join(name)
}

/// Copies both ways until both sides have ended.
fn copy_both_ways(near: &TcpStream, far: &TcpStream) {
    let copy = |from: &TcpStream, to: &TcpStream| {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        // Ignore errors: a peer may close its connection at any time.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| copy(near, far));
        copy(far, near);
    });
}

/// A server with a certificate of a private authority, for `localhost` and `partway.example`, in front of this address.
/// Returns its port.
fn with_private_certificate(target: &str) -> u16 {
    let pem = fs::read(fixture("of_private_ca.pem")).unwrap();
    let (config, listener) = (tls_config(&pem), TcpListener::bind("127.0.0.1:0").unwrap());
    let (port, target) = (listener.local_addr().unwrap().port(), target.to_owned());
    std::thread::spawn(move || {
        for near in listener.incoming().map(Result::unwrap) {
            let (config, target) = (Arc::clone(&config), target.clone());
            std::thread::spawn(move || {
                let tls = rustls::ServerConnection::new(config).unwrap();
                let mut near = rustls::StreamOwned::new(tls, near);
                // One request for each connection: its head, without a body.
                let mut head = String::new();
                let mut reader = BufReader::new(&mut near);
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).unwrap_or(0) == 0 {
                        return;
                    }
                }
                let mut far = TcpStream::connect(target).unwrap();
                far.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).unwrap();
                let mut answer = Vec::new();
                std::io::Read::read_to_end(&mut far, &mut answer).unwrap();
                near.write_all(&answer).unwrap();
                near.conn.send_close_notify();
                near.flush().unwrap();
            });
        }
    });
    port
}

/// A proxy for tunnels to this address, whatever address the client asks for. Returns its URL, and the requests for tunnels.
fn tunnel_proxy(target: String) -> (String, mpsc::Receiver<String>) {
    let ((seen, asked), listener) = (mpsc::channel(), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://user:secret@{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut near in listener.incoming().map(Result::unwrap) {
            let (seen, target) = (seen.clone(), target.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(near.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).unwrap_or(0) == 0 {
                        return;
                    }
                }
                let _ = seen.send(head);
                near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
                copy_both_ways(&near, &TcpStream::connect(target).unwrap());
            });
        }
    });
    (url, asked)
}

#[test]
fn the_token_may_be_in_a_file_and_a_flag_is_stronger_than_a_variable() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = |name: &str, token: &str, mode| {
        let path = folder.path().join(name);
        fs::write(&path, token).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let right = file("right", &format!("{}\n", server.first_token), 0o600);
    let (wrong, open) = (file("wrong", "pw_wrong", 0o600), file("open", &server.first_token, 0o644));
    let ls = |args: &[&str], variables: &[(&str, &str)]| {
        let ls = Cli::new(&[&["ls"], args].concat()).env("PARTWAY_SERVER", &server.url);
        variables.iter().fold(ls, |ls, (name, value)| ls.env(name, value)).run()
    };
    let (token, token_file) = ("PARTWAY_TOKEN", "PARTWAY_TOKEN_FILE");
    for output in [
        ls(&["--token-file", &right], &[]),
        ls(&[], &[(token_file, &right)]),
        ls(&["--token-file", &right], &[(token, "pw_wrong")]),
        ls(&["--token-file", &right], &[(token_file, &wrong)]),
        ls(&["--token", &server.first_token], &[(token_file, &wrong)]),
        ls(&[], &[(token_file, &right), (token, "")]),
        ls(&[], &[(token_file, ""), (token, &server.first_token)]),
    ] {
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    }
    let warned = ls(&[], &[(token_file, &open)]);
    assert_eq!(warned.status.code(), Some(0));
    assert!(stderr(&warned).starts_with("warning: all users of this machine can read"), "{}", stderr(&warned));
    let (empty, long) = (file("empty", "\n", 0o600), file("long", &"x".repeat(70_000), 0o600));
    for (output, code, said) in [
        (ls(&[], &[]), 5, "no token: set PARTWAY_TOKEN"),
        (ls(&["--token", "x", "--token-file", &right], &[]), 2, "not both"),
        (ls(&[], &[(token, "x"), (token_file, &right)]), 2, "not both"),
        (ls(&["--token-file", &wrong], &[]), 5, "UNAUTHENTICATED"),
        (ls(&["--token-file", "/nowhere"], &[]), 1, "/nowhere: No such file"),
        (ls(&["--token-file", &empty], &[]), 5, "the token is empty"),
        (ls(&["--token-file", &long], &[]), 1, "too long for a token"),
    ] {
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{said}: {}", stderr(&output));
    }
}

#[test]
fn the_certificate_of_a_private_authority_is_trusted_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let url = format!("https://localhost:{}", with_private_certificate(&server.address));
    let ls = |more: &[&str]| {
        let args = [&["ls", "--server", &url, "--token", &server.first_token], more].concat();
        Cli::new(&args)
    };
    let untrusted = ls(&[]).run();
    assert_eq!(untrusted.status.code(), Some(1));
    assert!(stderr(&untrusted).contains("invalid peer certificate: UnknownIssuer"), "{}", stderr(&untrusted));
    let authority = fixture("private_ca.pem");
    for trusted in
        [ls(&["--ca-file", authority.to_str().unwrap()]), ls(&[]).env("PARTWAY_CA_FILE", authority.to_str().unwrap())]
    {
        let output = trusted.run();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let (empty, damaged) = (folder.path().join("empty"), folder.path().join("damaged"));
    fs::write(&empty, "no certificate").unwrap();
    fs::write(&damaged, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    for (file, said) in [
        (empty, "empty: there is no valid certificate"),
        (damaged, "damaged: there is no valid certificate"),
        (folder.path().join("missing"), "missing: No such file"),
    ] {
        let refused = ls(&["--ca-file", file.to_str().unwrap()]).run();
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains(said), "{said}: {}", stderr(&refused));
    }
}

#[test]
fn a_machine_without_certificates_reaches_a_server_without_tls() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let ls = |url: &str| {
        let ls = Cli::new(&["ls", "--server", url, "--token", &server.first_token]);
        ls.env("SSL_CERT_FILE", "/nowhere").env("SSL_CERT_DIR", "/nowhere").run()
    };
    let plain = ls(&server.url);
    assert!(plain.status.success(), "{}", stderr(&plain));
    let tls = ls("https://localhost");
    assert_eq!(tls.status.code(), Some(1));
    assert!(stderr(&tls).contains("No CA certificates were loaded"), "{}", stderr(&tls));
}

#[test]
fn requests_go_through_the_proxy_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let (seen, asked) = mpsc::channel();
    let seen = std::sync::Mutex::new(seen);
    let proxy = http_proxy(&server.address, move |request| {
        seen.lock().unwrap().send(request.to_owned()).unwrap();
        None
    });
    let ls = |url: &str| Cli::new(&["ls", "--server", url, "--token", &server.first_token]);
    // The proxy alone knows this host.
    let through = ls("http://partway.example").env("HTTP_PROXY", &proxy).run();
    assert!(through.status.success(), "{}", stderr(&through));
    assert!(asked.try_recv().unwrap().starts_with("GET http://partway.example/files?"));
    let around = ls(&server.url).env("HTTP_PROXY", &proxy).env("NO_PROXY", "example.org,127.0.0.1").run();
    assert!(around.status.success(), "{}", stderr(&around));
    assert!(asked.try_recv().is_err(), "the client did not ask the proxy");

    let port = with_private_certificate(&server.address);
    let (proxy, asked) = tunnel_proxy(format!("127.0.0.1:{port}"));
    let authority = fixture("private_ca.pem");
    let tunneled = ls("https://partway.example").env("HTTPS_PROXY", &proxy);
    let tunneled = tunneled.env("PARTWAY_CA_FILE", authority.to_str().unwrap()).run();
    assert!(tunneled.status.success(), "{}", stderr(&tunneled));
    let head = asked.try_recv().unwrap().to_lowercase();
    assert!(head.starts_with("connect partway.example:443 "), "{head}");
    assert!(head.contains("proxy-authorization: basic dxnlcjpzzwnyzxq=") && !head.contains("bearer"), "{head}");
}
