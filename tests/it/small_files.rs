//! Small files in a folder: of at most one part, in one request, with one sync and one transaction.

use axum::body::Body;
use bytes::Bytes;
use bytesize::ByteSize;
use futures_util::{future::join_all, stream};
use partway::service::{FileSha256, Swept};
use serde_json::{Value, json};

use crate::support::{Answer, Place, TestApp, TestUser, file_bytes, sha256_hex};

/// As many bytes as one part has.
const PART: &[u8] = b"0123456789";
const SHA256_OF_PART: &str = "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:";

pub(crate) async fn post(user: &TestUser, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut request = user.request("POST", "/files");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    user.send(request.body(body.into()).unwrap()).await
}

pub(crate) fn id_of(stored: &Answer) -> String {
    stored.json()["file_id"].as_str().unwrap().to_owned()
}

/// The only session of the owner.
async fn only_session(user: &TestUser) -> Value {
    let sessions = user.get("/uploads/sessions").await.expect(200).json()["sessions"].take();
    assert_eq!(sessions.as_array().unwrap().len(), 1, "{sessions}");
    sessions[0].clone()
}

async fn sessions(user: &TestUser) -> usize {
    user.get("/uploads/sessions?limit=100").await.json()["sessions"].as_array().unwrap().len()
}

async fn used(user: &TestUser) -> (u64, u64) {
    let account = user.get("/me").await.expect(200).json();
    (account["bytes_used"].as_u64().unwrap(), account["open_sessions"].as_u64().unwrap())
}

async fn all_events(user: &TestUser) -> Value {
    user.get("/events").await.expect(200).json()["events"].take()
}

/// Leaves out what differs between two uploads of one file.
fn without_identity(value: &Value) -> Value {
    let is_identity = |name: &str| {
        name == "id" || name == "timestamp" || name.ends_with("_id") || name.ends_with("_at") || name.ends_with("_url")
    };
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !is_identity(name));
            kept.map(|(name, value)| (name.clone(), without_identity(value))).collect()
        }
        Value::Array(values) => values.iter().map(without_identity).collect(),
        other => other.clone(),
    }
}

fn pieces(pieces: Vec<Bytes>) -> Body {
    Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)))
}

fn cut(bytes: &'static [u8]) -> Body {
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Body::from_stream(stream::iter([Ok(Bytes::from_static(bytes)), Err(broken)]))
}

#[tokio::test]
async fn the_result_is_that_of_a_session_that_was_created_filled_and_finalized() {
    const GRAPHQL: &str =
        "query ($id: ID!) { uploadSession(id: $id) { status completedParts bytesReceived version progress
        receivedParts { first last } file { originalFilename contentType sizeBytes sha256 crc64nvme compositeSha256 status } } }";
    for bytes in [PART, &PART[..3], b""] {
        // The SHA-256 of a file of one part is that of the part, so a small file has it in any case.
        let app = TestApp::on_disk_with(|config| config.limits.file_sha256 = FileSha256::Always).await;
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        let created =
            json!({ "original_filename": "a.txt", "content_type": "text/plain", "total_size_bytes": bytes.len() });
        let id = ann.post("/uploads/sessions", created).await.expect(201).json()["session_id"].clone();
        let id = id.as_str().unwrap();
        if !bytes.is_empty() {
            ann.put(id, 1, bytes).await.expect(201);
        }
        ann.finalize(id).await.expect(200);

        let headers = [("content-type", "text/plain"), ("content-disposition", "attachment; filename=a.txt")];
        let stored = post(&bob, &headers, bytes).await.expect(201);
        let (session, expected) = (only_session(&bob).await, only_session(&ann).await);
        assert_eq!(without_identity(&session), without_identity(&expected));
        let file = id_of(&stored);
        assert_eq!(session["file"]["file_id"], file);
        assert_eq!(user_file(&bob, &file).await, stored.json());
        let session = session["session_id"].as_str().unwrap();
        for path in ["", "/parts"] {
            let [one, other] =
                [(&bob, session), (&ann, id)].map(|(user, id)| (user, format!("/uploads/sessions/{id}{path}")));
            let (one, other) = (one.0.get(&one.1).await.expect(200), other.0.get(&other.1).await.expect(200));
            assert_eq!(without_identity(&one.json()), without_identity(&other.json()));
        }
        assert_eq!(bob.data(GRAPHQL, json!({ "id": session })).await, ann.data(GRAPHQL, json!({ "id": id })).await);
        let mut events = Vec::new();
        for user in [&bob, &ann] {
            events.push(without_identity(&all_events(user).await).to_string().replace("\"bob\"", "\"ann\""));
        }
        assert_eq!(events[0], events[1]);
        assert_eq!(used(&bob).await, used(&ann).await);
        assert_eq!(app.bytes_on_disk().iter().filter(|path| path.starts_with("stored/")).count(), 2);
        assert_eq!(app.bytes_on_disk().len(), 2);
    }
}

async fn user_file(user: &TestUser, id: &str) -> Value {
    user.get(&format!("/files/{id}")).await.expect(200).json()
}

#[tokio::test]
async fn it_takes_one_transaction() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    // The first file also inserts the account.
    post(&user, &[], PART).await.expect(201);
    let (statements, stored) = app.statements(post(&user, &[], PART)).await;
    stored.expect(201);
    // Four inserts and the account; on PostgreSQL also the notification.
    let expected = if app.config.stores.database.is_empty() { 5 } else { 6 };
    assert_eq!(statements, expected);
}

#[tokio::test]
async fn a_file_of_many_blocks_is_stored_and_read_back_in_ranges() {
    let app = TestApp::on_disk_with(|config| {
        config.limits.chunk_size = ByteSize::mib(1);
        config.limits.max_file_size = ByteSize::mib(8);
    })
    .await;
    let user = app.user("ann").await;
    let file = file_bytes(1 << 20);
    let length = file.len().to_string();
    let body = pieces(file.chunks(77_777).map(Bytes::copy_from_slice).collect());
    let stored = post(&user, &[("upload-length", &length)], body).await.expect(201);
    assert_eq!(stored.json()["sha256"], sha256_hex(&file));
    assert_eq!(only_session(&user).await["completed_parts"], 1);
    let content = format!("/files/{}/content", id_of(&stored));
    assert_eq!(user.get(&content).await.expect(200).bytes, file);
    let range = user.request("GET", &content).header("range", "bytes=262143-262145").body(Body::empty()).unwrap();
    assert_eq!(user.send(range).await.expect(206).bytes, file[262_143..=262_145]);
    // One byte more makes two parts.
    post(&user, &[], [file.clone(), vec![0]].concat()).await.expect(201);
    let newest = user.get("/uploads/sessions?limit=1").await.json()["sessions"][0]["total_parts"].clone();
    assert_eq!(newest, 2);
}

#[tokio::test]
async fn a_body_that_is_wrong_or_breaks_off_leaves_nothing() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let key = ("idempotency-key", "k");
    let length = ("upload-length", "10");
    let chunked = |bytes: &'static [u8]| pieces(vec![Bytes::from_static(bytes)]);
    for (refused, expected) in [
        (post(&user, &[key, length], cut(&PART[..4])).await, (503, "UNAVAILABLE")),
        (post(&user, &[key, length], cut(PART)).await, (503, "UNAVAILABLE")),
        (post(&user, &[key, length], chunked(&PART[..9])).await, (400, "INVALID_INPUT")),
        (post(&user, &[key, length], chunked(b"0123456789a")).await, (413, "TOO_LARGE")),
        (post(&user, &[key, ("content-digest", SHA256_OF_PART)], "0123456788").await, (400, "CHECKSUM_MISMATCH")),
        (post(&user, &[key, ("repr-digest", SHA256_OF_PART)], "").await, (400, "CHECKSUM_MISMATCH")),
        (post(&user, &[key, length, ("content-encoding", "gzip")], PART).await, (400, "INVALID_INPUT")),
    ] {
        assert_eq!(refused.problem(), (expected.0, expected.1.to_owned()));
        assert_eq!(app.bytes_on_disk(), [""; 0]);
        assert_eq!((sessions(&user).await, used(&user).await), (0, (0, 0)));
    }
    // The key is still free.
    post(&user, &[key, ("content-digest", SHA256_OF_PART)], PART).await.expect(201);
    assert_eq!(all_events(&user).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_repeated_request_returns_the_first_file_and_other_bytes_are_refused() {
    for place in Place::each() {
        let (app, _) = TestApp::with_faults(&place).await;
        let user = app.user("ann").await;
        let (key, name) = (("idempotency-key", "k"), ("content-disposition", "attachment; filename=a"));
        let first = post(&user, &[key, name], PART).await.expect(201);
        let again = post(&user.at(&app.beside().await), &[key, name], PART).await.expect(201);
        assert_eq!((first.json(), first.header("location")), (again.json(), again.header("location")));
        let other_name = ("content-disposition", "attachment; filename=b");
        for (headers, body) in [
            (&[key, name][..], &b"0123456788"[..]),
            (&[key, name], &PART[..9]),
            (&[key, other_name], PART),
            (&[key, name, ("content-type", "text/plain")], PART),
            (&[key, name, ("content-digest", SHA256_OF_PART)], PART),
        ] {
            assert_eq!(post(&user, headers, body).await.problem(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
        }
        // With a declared digest, the server need not read the body again.
        let declared = [("idempotency-key", "declared"), ("content-digest", SHA256_OF_PART)];
        let first = post(&user, &declared, PART).await.expect(201);
        assert_eq!(post(&user, &declared, PART).await.expect(201).json(), first.json());
        assert_eq!(sessions(&user).await, 2);
        if let Place::Folder = place {
            assert_eq!(app.bytes_on_disk().len(), 2);
        }
    }
}

#[tokio::test]
async fn of_many_requests_with_one_key_at_the_same_time_one_stores_the_file() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let there = user.at(&app.beside().await);
    let users = [&user, &there];
    for round in 0..8 {
        let key = format!("equal {round}");
        let headers = [("idempotency-key", &*key)];
        let answers = join_all((0..16).map(|n| post(users[n % 2], &headers, PART))).await;
        let first = answers[0].json();
        for answer in answers {
            assert_eq!(answer.expect(201).json(), first);
        }
        let key = format!("other {round}");
        let headers = [("idempotency-key", &*key)];
        let bodies: Vec<_> = (0..16).map(|n| format!("{n:010}")).collect();
        let requests = bodies.iter().enumerate();
        let requests = requests.map(|(n, body)| post(users[n % 2], &headers, body.clone()));
        let answers = join_all(requests).await;
        let stored: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        let refused = answers.iter().filter(|answer| answer.status == 422);
        assert_eq!((stored.len(), refused.count()), (1, 15));
        let winner = answers.iter().position(|answer| answer.status == 201).unwrap();
        assert_eq!(stored[0].json()["sha256"], sha256_hex(bodies[winner].as_bytes()));
    }
    assert_eq!((sessions(&user).await, app.bytes_on_disk().len()), (16, 16));
    assert_eq!(used(&user).await, (160, 0));
}

#[tokio::test]
async fn a_session_with_the_same_key_is_used_or_refused() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let session = |name: &str| json!({ "original_filename": name, "total_size_bytes": 10, "idempotency_key": name });
    let id = user.post("/uploads/sessions", session("unnamed")).await.expect(201).json()["session_id"].clone();
    post(&user, &[("idempotency-key", "unnamed")], PART).await.expect(201);
    assert_eq!(only_session(&user).await["session_id"], id);
    user.post("/uploads/sessions", session("other")).await.expect(201);
    let refused = post(&user, &[("idempotency-key", "other")], PART).await;
    assert_eq!(refused.problem(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    // After the deletion of the file, its key stays used.
    user.delete(&format!("/files/{}", only_stored(&user).await)).await.expect(204);
    let deleted = post(&user, &[("idempotency-key", "unnamed")], PART).await;
    assert_eq!(deleted.problem(), (409, "SESSION_CLOSED".to_owned()));
    assert_eq!(app.bytes_on_disk(), [""; 0]);
}

async fn only_stored(user: &TestUser) -> String {
    user.get("/files?status=STORED").await.json()["files"][0]["file_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_limit_of_one_owner_is_exact_and_refuses_no_other_owner() {
    let app = TestApp::on_disk_with(|config| config.limits.owner_max_bytes = Some(ByteSize::b(105))).await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let of_ann = (0..40).map(|_| post(&ann, &[], PART));
    let of_bob = (0..10).map(|_| post(&bob, &[], PART));
    let answers = join_all(of_ann.chain(of_bob)).await;
    let (ann_got, bob_got) = answers.split_at(40);
    assert!(bob_got.iter().all(|answer| answer.status == 201));
    let (stored, refused): (Vec<_>, Vec<_>) = ann_got.iter().partition(|answer| answer.status == 201);
    assert_eq!((stored.len(), refused.len()), (10, 30));
    assert!(refused.iter().all(|answer| answer.problem() == (413, "QUOTA_EXCEEDED".to_owned())));
    assert_eq!((used(&ann).await, used(&bob).await), ((100, 0), (100, 0)));
    post(&ann, &[], &PART[..5]).await.expect(201);
    post(&ann, &[], "x").await.expect(413);
    post(&ann, &[], "").await.expect(201);
    assert_eq!(app.bytes_on_disk().len(), 22);
    // A deletion gives the bytes back.
    ann.delete(&format!("/files/{}", id_of(stored[0]))).await.expect(204);
    post(&ann, &[], PART).await.expect(201);
}

#[tokio::test]
async fn an_owner_with_too_many_open_sessions_stores_no_file() {
    let app = TestApp::on_disk_with(|config| config.limits.max_open_sessions = 1).await;
    let user = app.user("ann").await;
    for _ in 0..3 {
        post(&user, &[], PART).await.expect(201);
    }
    let id = user.create_id(10).await;
    assert_eq!(post(&user, &[], PART).await.problem(), (429, "RATE_LIMITED".to_owned()));
    user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    post(&user, &[], PART).await.expect(201);
}

#[tokio::test]
async fn without_free_space_only_a_repeated_request_succeeds() {
    let mut app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let key = [("idempotency-key", "k")];
    let stored = post(&user, &key, PART).await.expect(201);
    app.config.stores.min_free_space = ByteSize::b(u64::MAX);
    let app = app.restarted().await;
    let user = user.at(&app);
    assert_eq!(post(&user, &[], PART).await.problem(), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(post(&user, &key, PART).await.expect(201).json(), stored.json());
    assert_eq!(app.bytes_on_disk().len(), 1);
}

/// A row that the database refuses is only the problem of its own request.
#[tokio::test]
async fn a_file_that_cannot_be_recorded_does_not_affect_the_others_of_its_batch() {
    let app = TestApp::on_disk_with(|config| config.stores.database = String::new()).await;
    let user = app.user("ann").await;
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON upload_file WHEN NEW.original_filename = 'bad' BEGIN \
                  SELECT RAISE(ABORT, 'refused'); END";
    app.execute(refuse).await;
    let name = |n: usize| if n.is_multiple_of(5) { "attachment; filename=bad" } else { "attachment; filename=good" };
    let answers = join_all((0..20).map(|n| {
        let user = user.clone();
        async move { post(&user, &[("content-disposition", name(n))], PART).await }
    }))
    .await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.status, if n.is_multiple_of(5) { 500 } else { 201 });
    }
    assert_eq!((sessions(&user).await, used(&user).await), (16, (160, 0)));
    // The server cannot know whether the transaction was committed, so it leaves the bytes to the sweep.
    let arriving = || app.bytes_on_disk().iter().filter(|path| path.starts_with("arriving/")).count();
    assert_eq!((app.bytes_on_disk().len(), arriving()), (20, 4));
    assert_eq!(app.service.sweep().await, Swept::default(), "they are too young");
    super::small_files_crash::make_old(&app);
    assert_eq!(app.service.sweep().await, Swept { leftovers: 4, ..Swept::default() });
    assert_eq!((app.bytes_on_disk().len(), arriving()), (16, 0));
}
