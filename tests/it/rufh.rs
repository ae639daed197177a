//! Resumable uploads of the IETF: the statuses, the headers and the problem types of each request, in every version.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use crate::support::{Answer, Cause, Deadline, FILE, Place, Step, TestApp, TestUser, When, crc64nvme};

/// The interop versions that the server speaks, and a client that names none.
const VERSIONS: [&str; 5] = ["5", "6", "7", "8", ""];
const MISMATCHING_OFFSET: &str = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset";
const INCONSISTENT_LENGTH: &str = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length";
type Headers<'a> = &'a [(&'a str, &'a str)];

/// A client of one version.
struct Client {
    user: TestUser,
    version: &'static str,
}

impl Client {
    async fn of(app: &TestApp, version: &'static str) -> Self {
        Self { user: app.user("ann").await, version }
    }

    async fn send(&self, method: &str, path: &str, headers: Headers<'_>, body: impl Into<Body>) -> Answer {
        let mut request = self.user.request(method, path);
        if !self.version.is_empty() {
            request = request.header("upload-draft-interop-version", self.version);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.user.send(request.body(body.into()).unwrap()).await
    }

    /// Creates an upload of `FILE` with its first bytes. Returns the path of the upload.
    async fn begin(&self, bytes: &'static [u8]) -> String {
        let headers = [("upload-complete", "?0"), ("upload-length", "25")];
        let answer = self.send("POST", "/files", &headers, bytes).await.expect(201);
        path(answer.header("location"))
    }

    async fn append(&self, upload: &str, offset: usize, complete: &str, body: impl Into<Body>) -> Answer {
        self.append_with(upload, offset, complete, &[], body).await
    }

    async fn append_with(
        &self,
        upload: &str,
        offset: usize,
        complete: &str,
        more: Headers<'_>,
        body: impl Into<Body>,
    ) -> Answer {
        let offset = offset.to_string();
        let mut headers = vec![("upload-offset", offset.as_str()), ("upload-complete", complete)];
        if self.version != "5" {
            headers.push(("content-type", "application/partial-upload"));
        }
        headers.extend_from_slice(more);
        self.send("PATCH", upload, &headers, body).await
    }

    /// The offset, and whether the upload is complete.
    async fn offset(&self, upload: &str) -> (String, String) {
        let answer = self.send("HEAD", upload, &[], "").await.expect(204);
        (answer.header("upload-offset").to_owned(), answer.header("upload-complete").to_owned())
    }
}

fn path(url: &str) -> String {
    url.strip_prefix("http://").map_or(url, |rest| &rest[rest.find('/').unwrap()..]).to_owned()
}

fn told(offset: &str, complete: &str) -> (String, String) {
    (offset.to_owned(), complete.to_owned())
}

/// A body in chunks, of unknown length.
fn chunked(chunks: &[&'static [u8]]) -> Body {
    let chunks: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from_static(chunk))).collect();
    Body::from_stream(stream::iter(chunks))
}

/// A body that breaks off after these bytes.
fn cut(bytes: &'static [u8]) -> Body {
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Body::from_stream(stream::iter([Ok(Bytes::from_static(bytes)), Err(broken)]))
}

async fn content(client: &Client, record: &Value) -> Vec<u8> {
    let path = format!("/files/{}/content", record["file_id"].as_str().unwrap());
    client.user.get(&path).await.expect(200).bytes
}

fn session_of(upload: &str) -> &str {
    upload.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn a_file_in_the_first_request_is_answered_by_its_record() {
    for version in VERSIONS {
        let app = TestApp::on_disk().await;
        let client = Client::of(&app, version).await;
        let headers = [
            ("upload-complete", "?1"),
            ("content-type", "text/plain"),
            ("content-disposition", "inline; filename=\"x\"; filename*=UTF-8''%C3%BC.txt"),
            ("host", "files.example:8080"),
        ];
        let answer = client.send("POST", "/files", &headers, FILE).await.expect(201);
        assert_eq!((answer.header("upload-complete"), answer.header("upload-offset")), ("?1", "25"), "{version}");
        let record = answer.json();
        let file = format!("/files/{}", record["file_id"].as_str().unwrap());
        assert_eq!(client.user.get(&file).await.expect(200).json(), record);
        assert_eq!((&record["original_filename"], &record["content_type"]), (&json!("ü.txt"), &json!("text/plain")));
        assert_eq!(record["crc64nvme"], crc64nvme(FILE));
        assert_eq!(content(&client, &record).await, FILE);
        let url = format!("http://files.example:8080{file}");
        let location = answer.header("location");
        if ["5", "6"].contains(&version) {
            // A client of these versions asks there for the offset, also of a complete upload.
            assert_eq!(client.offset(&path(location)).await, told("25", "?1"));
            assert_eq!(answer.header("content-location"), url);
        } else {
            assert_eq!(location, url, "{version}");
        }
    }
}

#[tokio::test]
async fn an_upload_in_several_requests_is_answered_by_offsets_and_then_by_the_record() {
    for place in Place::each() {
        for version in VERSIONS {
            let (app, _) = TestApp::with_faults(&place).await;
            let client = Client::of(&app, version).await;
            let headers = [("upload-complete", "?0"), ("upload-length", "25"), ("host", "x")];
            let created = client.send("POST", "/files", &headers, &FILE[..3]).await.expect(201);
            assert_eq!((created.header("upload-complete"), created.header("upload-offset")), ("?0", "3"));
            let upload = path(created.header("location"));
            assert!(created.header("location").starts_with("http://x/uploads/resumable/"), "{created:?}");
            let age = if version == "6" { "expires" } else { "max-age" };
            let limit = format!("max-size=100000, min-size=0, {age}=604800");
            assert_eq!(created.header("upload-limit"), limit, "{version}");

            let status = client.send("HEAD", &upload, &[], "").await.expect(204);
            assert_eq!((status.header("upload-complete"), status.header("upload-offset")), ("?0", "3"));
            assert_eq!((status.header("upload-length"), status.header("cache-control")), ("25", "no-store"));
            assert_eq!(status.header("upload-limit"), limit);
            let got = client.send("GET", &upload, &[], "").await.expect(204);
            assert_eq!(got.header("upload-offset"), "3");

            let next = client.append(&upload, 3, "?0", &FILE[3..12]).await.expect(204);
            assert_eq!((next.header("upload-complete"), next.header("upload-offset")), ("?0", "12"));
            assert_eq!(next.header("location"), "");
            let last = client.append(&upload, 12, "?1", chunked(&[&FILE[12..20], &FILE[20..]])).await.expect(201);
            assert_eq!((last.header("upload-complete"), last.header("upload-offset")), ("?1", "25"));
            let record = last.json();
            assert!(last.header("location").ends_with(&format!("/files/{}", record["file_id"].as_str().unwrap())));
            assert_eq!(content(&client, &record).await, FILE);
            assert_eq!(client.offset(&upload).await, told("25", "?1"));
        }
    }
}

#[tokio::test]
async fn options_tells_the_limits_without_a_token_and_to_pages_of_other_origins() {
    const ORIGIN: &str = "https://app.example.org";
    let apps = [TestApp::new().await, TestApp::with(|config| config.server.cors_origins = ORIGIN.to_owned()).await];
    for (app, allowed) in apps.iter().zip(["", ORIGIN]) {
        let user = app.anonymous();
        for path in ["/files", "/uploads/resumable/x"] {
            let request = user.request("OPTIONS", path).header("origin", ORIGIN);
            let request = request.header("access-control-request-method", "PATCH");
            let answer = user.send(request.body(Body::empty()).unwrap()).await.expect(204);
            assert_eq!(answer.header("upload-limit"), "max-size=100000, min-size=0", "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), allowed);
            assert!(allowed.is_empty() || answer.header("access-control-allow-methods").contains("PATCH"));
        }
    }
}

#[tokio::test]
async fn another_offset_is_a_conflict_that_tells_the_right_one() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let upload = client.begin(&FILE[..12]).await;
    for offset in [0, 5, 11, 13, 25, 99] {
        let refused = client.append(&upload, offset, "?0", "zz").await;
        assert_eq!(refused.problem(), (409, "OFFSET_MISMATCH".to_owned()), "{offset}");
        assert_eq!((refused.header("upload-offset"), refused.header("upload-complete")), ("12", "?0"));
        let body = refused.json();
        assert_eq!((&body["type"], &body["title"]), (&json!(MISMATCHING_OFFSET), &json!("Mismatching Upload Offset")));
        assert_eq!((&body["expected-offset"], &body["provided-offset"]), (&json!(12), &json!(offset)));
    }
    client.append(&upload, 12, "?1", &FILE[12..]).await.expect(201);
}

#[tokio::test]
async fn lengths_that_disagree_are_refused_and_nothing_is_stored() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let refused = |answer: Answer, what: &str| {
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{what}");
        assert_eq!((answer.header("upload-complete"), &answer.json()["type"]), ("?0", &json!(INCONSISTENT_LENGTH)));
    };
    for (complete, length) in [("?1", "24"), ("?1", "26"), ("?0", "24")] {
        let headers = [("upload-complete", complete), ("upload-length", length)];
        refused(client.send("POST", "/files", &headers, FILE).await, length);
    }
    assert!(app.bytes_on_disk().is_empty());

    let upload = client.begin(&FILE[..12]).await;
    refused(client.append_with(&upload, 12, "?0", &[("upload-length", "26")], "a").await, "another length");
    refused(client.append(&upload, 12, "?1", &FILE[12..24]).await, "the last bytes, one too few");
    refused(client.append(&upload, 12, "?0", vec![0; 14]).await, "one too many");
    assert_eq!(client.offset(&upload).await, told("12", "?0"));
    refused(client.append(&upload, 12, "?1", "").await, "the end in the middle");

    // Of a body of unknown length, the server stores what it can.
    refused(client.append(&upload, 12, "?1", chunked(&[&FILE[12..24]])).await, "chunks, one byte too few");
    assert_eq!(client.offset(&upload).await, told("24", "?0"));
    let long = client.append(&upload, 24, "?0", chunked(&[b"Oz"])).await;
    assert_eq!((long.problem(), &long.json()["type"]), ((400, "TOO_LARGE".to_owned()), &json!(INCONSISTENT_LENGTH)));
    let (offset, _) = client.offset(&upload).await;
    let rest = &FILE[offset.parse().unwrap()..];
    let record = client.append(&upload, 25 - rest.len(), "?1", rest).await.expect(201).json();
    assert_eq!(content(&client, &record).await, FILE);
}

#[tokio::test]
async fn the_length_and_a_permitted_size_are_required_first() {
    let app = TestApp::new().await;
    let client = Client::of(&app, "8").await;
    let unknown = client.send("POST", "/files", &[("upload-complete", "?0")], &FILE[..5]).await;
    assert_eq!(unknown.problem(), (411, "LENGTH_REQUIRED".to_owned()));
    let chunks = client.send("POST", "/files", &[("upload-complete", "?1")], chunked(&[FILE])).await;
    assert_eq!(chunks.problem(), (411, "LENGTH_REQUIRED".to_owned()));
    let large = [("upload-complete", "?0"), ("upload-length", "100001")];
    let large = client.send("POST", "/files", &large, "").await;
    assert_eq!(large.problem(), (413, "TOO_LARGE".to_owned()));
    for refused in [unknown, chunks, large] {
        assert_eq!(refused.header("upload-limit"), "max-size=100000, min-size=0");
        assert_eq!(refused.header("upload-complete"), "?0");
    }
    let known = [("upload-complete", "?1"), ("upload-length", "5")];
    client.send("POST", "/files", &known, chunked(&[b"01234"])).await.expect(201);
}

#[tokio::test]
async fn an_append_needs_its_media_type_and_both_headers() {
    let app = TestApp::new().await;
    let complete = ("upload-complete", "?0");
    for version in VERSIONS {
        let client = Client::of(&app, version).await;
        let upload = client.begin(b"").await;
        for kind in ["application/octet-stream", "application/offset+octet-stream", ""] {
            let headers = [("upload-offset", "0"), complete, ("content-type", kind)];
            let answer = client.send("PATCH", &upload, &headers, "").await;
            if version == "5" {
                answer.expect(204);
                continue;
            }
            assert_eq!(answer.problem(), (415, "UNSUPPORTED_MEDIA_TYPE".to_owned()), "{version} {kind}");
            assert_eq!(answer.header("accept-patch"), "application/partial-upload");
            assert_eq!(answer.header("accept"), "");
        }
        let kind = ("content-type", "application/partial-upload");
        for (headers, field) in
            [([kind, complete], "upload_offset"), ([kind, ("upload-offset", "0")], "upload_complete")]
        {
            let answer = client.send("PATCH", &upload, &headers, "").await;
            assert_eq!((answer.problem().0, &answer.json()["field"]), (400, &json!(field)), "{version}");
        }
        for (offset, complete) in [("?0", "?0"), ("-1", "?0"), ("0, 0", "?0"), ("0", "1"), ("0", "true")] {
            let headers = [kind, ("upload-offset", offset), ("upload-complete", complete)];
            client.send("PATCH", &upload, &headers, "").await.expect(400);
        }
    }
}

#[tokio::test]
async fn only_an_explicit_end_completes_an_upload() {
    for version in VERSIONS {
        let app = TestApp::on_disk().await;
        let client = Client::of(&app, version).await;
        let upload = client.begin(&FILE[..20]).await;
        client.append(&upload, 20, "?0", &FILE[20..]).await.expect(204);
        assert_eq!(client.offset(&upload).await, told("25", "?0"), "{version}");
        assert_eq!(client.user.status(session_of(&upload)).await["status"], "IN_PROGRESS");
        let done = client.append(&upload, 25, "?1", "").await.expect(201);
        assert_eq!(done.header("upload-complete"), "?1");
        assert_eq!(content(&client, &done.json()).await, FILE);
        assert_eq!(client.offset(&upload).await, told("25", "?1"));
    }
}

#[tokio::test]
async fn an_empty_file_is_complete_only_at_its_explicit_end() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let record = client.send("POST", "/files", &[("upload-complete", "?1")], "").await.expect(201).json();
    assert_eq!((&record["size_bytes"], &record["status"]), (&json!(0), &json!("STORED")));
    let headers = [("upload-complete", "?0"), ("upload-length", "0")];
    let upload = path(client.send("POST", "/files", &headers, "").await.expect(201).header("location"));
    assert_eq!(client.offset(&upload).await, told("0", "?0"));
    client.append(&upload, 0, "?1", "").await.expect(201);
    assert_eq!(client.offset(&upload).await, told("0", "?1"));
}

#[tokio::test]
async fn the_last_answer_is_repeated_after_completion() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let upload = client.begin(&FILE[..20]).await;
    let first = client.append(&upload, 20, "?1", &FILE[20..]).await.expect(201);
    let again = client.append(&upload, 25, "?1", "").await.expect(201);
    assert_eq!((again.json(), again.header("upload-complete")), (first.json(), "?1"));
    assert_eq!(again.header("location"), first.header("location"));
    let behind = client.append(&upload, 20, "?1", &FILE[20..]).await;
    assert_eq!(behind.problem(), (409, "OFFSET_MISMATCH".to_owned()));
    assert_eq!((behind.header("upload-offset"), behind.header("upload-complete")), ("25", "?0"));
    assert_eq!(behind.headers.get_all("upload-offset").iter().count(), 1);
    let beyond = client.append(&upload, 25, "?0", "more").await;
    assert_eq!((beyond.problem().0, &beyond.json()["type"]), (400, &json!(INCONSISTENT_LENGTH)));
}

#[tokio::test]
async fn a_cut_request_keeps_what_had_arrived() {
    for place in Place::each() {
        let (app, _) = TestApp::with_faults(&place).await;
        let client = Client::of(&app, "8").await;
        let (first, second) = (&FILE[..13], &FILE[13..22]);
        // A cut creation: its client knows the upload from the interim answer.
        let headers = [("upload-complete", "?1"), ("upload-length", "25"), ("idempotency-key", "k")];
        client.send("POST", "/files", &headers, cut(first)).await.expect(503);
        let sessions = client.user.get("/uploads/sessions").await.json();
        let upload = format!("/uploads/resumable/{}", sessions["sessions"][0]["session_id"].as_str().unwrap());
        assert_eq!(client.offset(&upload).await, told("13", "?0"), "{place:?}");
        let refused = client.append(&upload, 13, "?1", cut(second)).await.expect(503);
        assert_eq!((refused.header("upload-complete"), refused.header("upload-offset")), ("?0", "22"));
        assert_eq!(client.offset(&upload).await, told("22", "?0"));
        let record = client.append(&upload, 22, "?1", &FILE[22..]).await.expect(201).json();
        assert_eq!(content(&client, &record).await, FILE);
    }
}

#[tokio::test]
async fn cancelling_ends_an_upload_once() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let upload = client.begin(&FILE[..12]).await;
    for _ in 0..2 {
        client.send("DELETE", &upload, &[], "").await.expect(204);
    }
    assert!(app.bytes_on_disk().is_empty());
    assert_eq!(client.send("GET", &upload, &[], "").await.problem(), (410, "SESSION_CLOSED".to_owned()));
    assert_eq!(client.append(&upload, 12, "?0", "z").await.problem(), (410, "SESSION_CLOSED".to_owned()));
}

#[tokio::test]
async fn cancelling_ends_a_running_append() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let upload = client.begin(b"").await;
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(receiver);
    let body = Body::from_stream(stream::poll_fn(move |cx| receiver.lock().unwrap().poll_recv(cx)));
    sender.send(Ok::<_, std::io::Error>(Bytes::from_static(&FILE[..10]))).unwrap();
    let other = Client { user: client.user.clone(), version: "8" };
    let appending = tokio::spawn({
        let upload = upload.clone();
        async move { other.append(&upload, 0, "?0", body).await }
    });
    let deadline = Deadline::new();
    deadline.until("the first part", async || client.offset(&upload).await == told("10", "?0")).await;
    client.send("DELETE", &upload, &[], "").await.expect(204);
    sender.send(Ok(Bytes::from_static(&FILE[10..20]))).unwrap();
    assert_eq!(appending.await.unwrap().problem(), (410, "SESSION_CLOSED".to_owned()));
}

#[tokio::test]
async fn nobody_sees_the_uploads_of_others() {
    let app = TestApp::new().await;
    let client = Client::of(&app, "8").await;
    let upload = client.begin(b"").await;
    let stranger = Client { user: app.user("eve").await, version: "8" };
    let anonymous = Client { user: app.anonymous(), version: "8" };
    for method in ["HEAD", "GET", "DELETE"] {
        stranger.send(method, &upload, &[], "").await.expect(404);
        anonymous.send(method, &upload, &[], "").await.expect(401);
        client.send(method, "/uploads/resumable/x", &[], "").await.expect(404);
    }
    assert_eq!(stranger.append(&upload, 0, "?0", "z").await.problem(), (404, "NOT_FOUND".to_owned()));
    anonymous.append(&upload, 0, "?0", "z").await.expect(401);
    anonymous.send("POST", "/files", &[("upload-complete", "?1")], "z").await.expect(401);
    assert_eq!(client.offset(&upload).await, told("0", "?0"));
}

#[tokio::test]
async fn the_digest_of_a_request_decides_whether_its_bytes_are_kept() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let upload = client.begin(&FILE[..12]).await;
    for digest in [sha256_field(b"other"), sha512_field(b"other")] {
        let refused = client.append_with(&upload, 12, "?1", &[("content-digest", digest.as_str())], &FILE[12..]).await;
        assert_eq!(refused.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
        assert_eq!((refused.header("upload-complete"), refused.header("upload-offset")), ("?0", "12"));
    }
    let right = [("content-digest", &*sha256_field(&FILE[12..20]))];
    client.append_with(&upload, 12, "?0", &right, &FILE[12..20]).await.expect(204);
    let right = [("content-digest", &*sha512_field(&FILE[20..]))];
    client.append_with(&upload, 20, "?1", &right, &FILE[20..]).await.expect(201);
    let unchecked = [("content-digest", "md5=:AAAA:")];
    client.append_with(&client.begin(b"").await, 0, "?0", &unchecked, "z").await.expect(400);
}

#[tokio::test]
async fn the_digest_of_the_file_decides_whether_it_is_stored() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let start = |digest: String| {
        let client = &client;
        async move {
            let headers = [("upload-complete", "?0"), ("upload-length", "25"), ("repr-digest", digest.as_str())];
            path(client.send("POST", "/files", &headers, &FILE[..12]).await.expect(201).header("location"))
        }
    };
    let upload = start(sha256_field(FILE)).await;
    let stored = client.append(&upload, 12, "?1", &FILE[12..]).await.expect(201);
    assert_eq!(stored.header("repr-digest"), sha256_field(FILE));

    let upload = start(sha256_field(b"other")).await;
    let refused = client.append(&upload, 12, "?1", &FILE[12..]).await;
    assert_eq!(refused.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
    // The whole file has arrived, so the client must not go on.
    assert_eq!(refused.header("upload-complete"), "?1");
    client.send("HEAD", &upload, &[], "").await.expect(410);

    for headers in [
        [("upload-complete", "?1"), ("repr-digest", &*sha256_field(b"other"))],
        [("upload-complete", "?1"), ("content-digest", &*sha256_field(b"other"))],
    ] {
        let refused = client.send("POST", "/files", &headers, FILE).await;
        assert_eq!(refused.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
        assert_eq!(refused.header("upload-complete"), "?1");
    }
    for digest in ["sha-512=:AAAA:", "sha-256=:AAAA:", "x\""] {
        let headers = [("upload-complete", "?1"), ("repr-digest", digest)];
        let refused = client.send("POST", "/files", &headers, FILE).await;
        assert_eq!((refused.problem().0, &refused.json()["field"]), (400, &json!("repr_digest")), "{digest}");
    }
}

#[tokio::test]
async fn a_version_that_the_server_does_not_speak_makes_no_file_of_a_part() {
    let app = TestApp::on_disk().await;
    for version in ["3", "4", "9", "x"] {
        let client = Client::of(&app, version).await;
        let part = if version == "3" { ("upload-incomplete", "?1") } else { ("upload-complete", "?0") };
        let refused = client.send("POST", "/files", &[part, ("upload-length", "25")], &FILE[..5]).await;
        assert_eq!(refused.problem().0, 400, "{version}");
        assert_eq!(refused.json()["field"], "upload_draft_interop_version");
        // What is whole is stored without resumption.
        let whole = if version == "3" { ("upload-incomplete", "?0") } else { ("upload-complete", "?1") };
        let stored = client.send("POST", "/files", &[whole], FILE).await.expect(201);
        assert_eq!((stored.header("upload-complete"), stored.json()["size_bytes"].as_u64()), ("", Some(25)));
    }
}

#[tokio::test]
async fn a_repeated_creation_finds_its_upload() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let headers = [("upload-complete", "?0"), ("upload-length", "25"), ("idempotency-key", "a")];
    let begin = async || path(client.send("POST", "/files", &headers, "").await.expect(201).header("location"));
    let upload = begin().await;
    assert_eq!(begin().await, upload);
    client.append(&upload, 0, "?1", FILE).await.expect(201);
    let again = client.send("POST", "/files", &headers, "").await.expect(201);
    assert_eq!(again.header("upload-complete"), "?1");

    let headers = [("upload-complete", "?1"), ("idempotency-key", "b")];
    let first = client.send("POST", "/files", &headers, FILE).await.expect(201);
    let again = client.send("POST", "/files", &headers, FILE).await.expect(201);
    assert_eq!((first.json(), first.header("location")), (again.json(), again.header("location")));
    let other = client.send("POST", "/files", &headers, &FILE[1..]).await;
    assert_eq!(other.problem(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
}

#[tokio::test]
async fn a_session_of_another_protocol_can_be_sent_to() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let id = client.user.create_id(FILE.len()).await;
    let upload = format!("/uploads/resumable/{id}");
    client.user.put_parts(&id, FILE, [1]).await;
    assert_eq!(client.offset(&upload).await, told("10", "?0"));
    client.append(&upload, 10, "?0", &FILE[10..14]).await.expect(204);
    assert_eq!(client.user.status(&id).await["contiguous_bytes"], 14);
    client.user.put_parts(&id, FILE, [2]).await;
    let record = client.append(&upload, 20, "?1", &FILE[20..]).await.expect(201).json();
    assert_eq!(content(&client, &record).await, FILE);
    assert_eq!(client.user.status(&id).await["file"]["file_id"], record["file_id"]);
}

#[tokio::test]
async fn other_bytes_for_a_place_that_is_stored_are_refused_for_good() {
    let app = TestApp::on_disk().await;
    let client = Client::of(&app, "8").await;
    let id = client.user.create_id(FILE.len()).await;
    let upload = format!("/uploads/resumable/{id}");
    client.append(&upload, 0, "?0", "").await.expect(204);
    client.user.put_parts(&id, FILE, [1]).await;
    let refused = client.append(&upload, 0, "?0", "XXXXXXXXXX").await;
    assert_eq!(refused.problem(), (422, "PART_CONFLICT".to_owned()));
    assert_eq!((refused.header("upload-complete"), refused.header("upload-offset")), ("?0", "10"));
}

#[tokio::test]
async fn the_end_of_the_file_is_told_only_once_it_is_stored() {
    let (app, faults) = TestApp::with_faults(&Place::Folder).await;
    let client = Client::of(&app, "6").await;
    let upload = client.begin(&FILE[..20]).await;
    faults.fail(When::Before, Step::Complete, Cause::Full);
    let failed = client.append(&upload, 20, "?1", &FILE[20..]).await;
    assert_eq!(failed.problem(), (503, "UNAVAILABLE".to_owned()));
    // The client believes that an offset at the end means success.
    let status = client.send("HEAD", &upload, &[], "").await.expect(503);
    assert_eq!((status.header("upload-offset"), status.header("retry-after")), ("", "1"));
    faults.heal();
    assert_eq!(client.offset(&upload).await, told("25", "?1"));
}

fn sha256_field(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    field("sha-256", &Sha256::digest(bytes))
}

fn sha512_field(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha512};
    field("sha-512", &Sha512::digest(bytes))
}

fn field(algorithm: &str, digest: &[u8]) -> String {
    let mut dictionary = sfv::DictSerializer::new();
    dictionary.bare_item(sfv::KeyRef::from_str(algorithm).unwrap(), digest);
    dictionary.finish().unwrap()
}
