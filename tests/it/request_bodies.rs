//! Every route with a body checks the body's digests and encodings.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use serde_json::{Value, json};

use crate::support::{Answer, Server, TestApp, TestUser};

const BYTES: &str = "0123456789";
/// The digests of `BYTES`.
const SHA_256: &str = "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:";
const SHA_512: &str =
    "sha-512=:u5bC/EDS1UYX1vJ2/r5XH2I6ja3wtzSFUpmw4Qf9oyz2tp8toys2RF1zaQuTy9D3v8IOD38oVT0qRCjyO3FukA==:";
/// Digests of other bytes.
const WRONG_256: &str = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
const WRONG_512: &str =
    "sha-512=:3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==:";

fn refused(code: &str) -> (u16, String) {
    (400, code.to_owned())
}

async fn put(user: &TestUser, id: &str, digest: &str, body: Body) -> Answer {
    let request = user.request("PUT", &format!("/uploads/sessions/{id}/parts/1")).header("content-digest", digest);
    user.send(request.body(body).unwrap()).await
}

#[tokio::test]
async fn every_digest_of_a_part_is_checked() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let both = |a: &str, b: &str| format!("{a}, {b}");
    for wrong in [WRONG_512.to_owned(), both(SHA_256, WRONG_512), both(SHA_512, WRONG_256)] {
        let answer = put(&user, &id, &wrong, BYTES.into()).await;
        assert_eq!(answer.problem(), refused("CHECKSUM_MISMATCH"), "{wrong}");
    }
    assert_eq!(user.status(&id).await["received_parts"], json!([]));
    put(&user, &id, &both(SHA_256, SHA_512), BYTES.into()).await.expect(201);
    // The server checks the digests of a replay, too.
    put(&user, &id, SHA_512, BYTES.into()).await.expect(200);
    assert_eq!(put(&user, &id, WRONG_512, BYTES.into()).await.problem(), refused("CHECKSUM_MISMATCH"));
    assert_eq!(put(&user, &id, "sha-384=:AAAA:", BYTES.into()).await.problem(), refused("INVALID_INPUT"));
}

#[tokio::test]
async fn a_digest_in_an_unannounced_trailer_is_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    for (name, status) in [("content-digest", 400), ("x-amz-checksum-sha256", 400), ("server-timing", 201)] {
        let trailers = axum::http::HeaderMap::from_iter([(name.parse().unwrap(), SHA_256.parse().unwrap())]);
        let frames = [Frame::data(Bytes::from(BYTES)), Frame::trailers(trailers)].map(Ok::<_, std::io::Error>);
        let body = Body::new(http_body_util::StreamBody::new(stream::iter(frames)));
        let request = user.request("PUT", &format!("/uploads/sessions/{id}/parts/1"));
        let answer = user.send(request.body(body).unwrap()).await.expect(status);
        if status == 400 {
            assert_eq!(answer.json()["field"], "trailer");
            assert_eq!(user.status(&id).await["received_parts"], json!([]), "{name}");
        }
    }
}

#[tokio::test]
async fn the_digests_and_encodings_of_json_bodies_are_checked_too() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let create = json!({ "original_filename": "a", "total_size_bytes": 1 });
    let graphql = json!({ "query": "{ __typename }" });
    for (path, body) in [("/uploads/sessions", create), ("/graphql", graphql)] {
        for (name, value, code) in [
            ("content-digest", WRONG_256, "CHECKSUM_MISMATCH"),
            ("content-digest", WRONG_512, "CHECKSUM_MISMATCH"),
            ("content-digest", "sha-256=x", "INVALID_INPUT"),
            ("repr-digest", SHA_256, "INVALID_INPUT"),
            ("content-md5", "x", "INVALID_INPUT"),
            ("trailer", "content-digest", "INVALID_INPUT"),
            ("content-encoding", "gzip", "INVALID_INPUT"),
            ("transfer-encoding", "gzip, chunked", "INVALID_INPUT"),
        ] {
            let request = user.request("POST", path).header("content-type", "application/json").header(name, value);
            let answer = user.send(request.body(body.to_string().into()).unwrap()).await.expect(400).json();
            let actual = answer.get("code").unwrap_or(&answer["errors"][0]["extensions"]["code"]);
            assert_eq!(*actual, code, "{path} {name}: {value}");
        }
    }
    assert_eq!(user.get("/uploads/sessions").await.json()["sessions"], json!([]));
    let finalize = format!("/uploads/sessions/{}/finalize", user.create_id(0).await);
    let request = user.request("POST", &finalize).header("content-digest", WRONG_256);
    assert_eq!(user.send(request.body(Body::empty()).unwrap()).await.problem(), refused("CHECKSUM_MISMATCH"));
}

/// Sends a request and reads until the server closes the connection. Returns the status, and the body as JSON.
fn exchange(server: &Server, request: &str) -> (u16, Value) {
    let mut socket = TcpStream::connect(&server.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn malformed_chunks_are_invalid_input_and_not_a_broken_connection() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (_, created) = server.post("/uploads/sessions", br#"{ "original_filename": "a", "total_size_bytes": 10 }"#);
    let created: Value = serde_json::from_str(&created).unwrap();
    let id = created["session_id"].as_str().unwrap();
    let (part, token) = (format!("PUT /uploads/sessions/{id}/parts/1"), &server.first_token);
    let json = "Content-Type: application/json\r\n";
    for (route, more) in [(&*part, ""), ("POST /uploads/sessions", json), ("POST /graphql", json)] {
        let head = format!(
            "{route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{more}\
             Transfer-Encoding: chunked\r\n\r\n"
        );
        for broken in ["zz\r\n", "5\r\n{}   x", "-1\r\n", "5\r\n{    \r\nffffffffffffffffff\r\n", "5;\n\r\n"] {
            let (status, answer) = exchange(&server, &format!("{head}{broken}"));
            let code = answer.get("code").unwrap_or(&answer["errors"][0]["extensions"]["code"]);
            assert_eq!((status, code), (400, &json!("INVALID_INPUT")), "{route} {broken:?}: {answer}");
        }
    }
    let trailer = format!(
        "{part} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Transfer-Encoding: chunked\r\n\r\na\r\n{BYTES}\r\n0\r\nContent-Digest: {SHA_256}\r\n\r\n"
    );
    let (status, answer) = exchange(&server, &trailer);
    assert_eq!((status, &answer["field"]), (400, &json!("trailer")), "{answer}");
    let (_, session) = server.get(&format!("/uploads/sessions/{id}"));
    assert!(session.contains(r#""received_parts":[]"#), "{session}");
}
