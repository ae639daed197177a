//! Two protocols with one meaning: the same request by REST and by GraphQL has the same result and the same error code.

use std::collections::BTreeSet;

use partway::error::Code;
use serde_json::{Map, Value, json};

use crate::support::{Answer, Cause, Place, Step, TestApp, TestUser, When, crc64nvme, file_bytes, sha256_hex};

/// The fields of a session that depend on its state only. The server may keep the answer to such a query.
const STATE: &str = "session_id: id status status_reason: statusReason total_parts: totalParts
    completed_parts: completedParts received_parts: receivedParts { first last }
    missing_parts: missingParts { first last } receivedPartsText chunk_size_bytes: chunkSizeBytes
    total_size_bytes: totalSizeBytes bytes_received: bytesReceived contiguous_bytes: contiguousBytes
    auto_finalize: autoFinalize version created_at: createdAt updated_at: updatedAt expires_at: expiresAt";
const FILE: &str = "file { file_id: id original_filename: originalFilename content_type: contentType
    size_bytes: sizeBytes sha256 crc64nvme composite_sha256: compositeSha256 status metadata retain_until: retainUntil }";

async fn session(user: &TestUser, id: &str, fields: &str) -> Value {
    let query = format!("query($id: ID!) {{ uploadSession(id: $id) {{ {fields} }} }}");
    user.data(&query, json!({ "id": id })).await["uploadSession"].take()
}

/// Converts a GraphQL result to REST's form: ranges are text, byte counts are numbers.
fn as_rest(mut session: Value) -> Value {
    fn number(object: &mut Map<String, Value>, field: &str) {
        let text = object[field].as_str().unwrap().to_owned();
        object[field] = json!(text.parse::<u64>().unwrap());
    }
    let object = session.as_object_mut().unwrap();
    for field in ["received_parts", "missing_parts"] {
        let text = |range: &Value| match (&range["first"], &range["last"]) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let ranges: Vec<String> = object[field].as_array().unwrap().iter().map(text).collect();
        if field == "received_parts" {
            assert_eq!(object.remove("receivedPartsText").unwrap(), ranges.join(","));
        }
        object[field] = json!(ranges);
    }
    for field in ["chunk_size_bytes", "total_size_bytes", "bytes_received", "contiguous_bytes", "version"] {
        number(object, field);
    }
    number(object["file"].as_object_mut().unwrap(), "size_bytes");
    session
}

async fn assert_same(user: &TestUser, id: &str) {
    let graphql = session(user, id, &format!("{STATE} {FILE}")).await;
    // The first request may put the document in a cache, the second its answer. The third gets that answer.
    for _ in 0..3 {
        let mut state = session(user, id, STATE).await;
        state["file"] = graphql["file"].clone();
        assert_eq!(state, graphql);
    }
    // The same state, selected by other documents in turn.
    for _ in 0..3 {
        for (alias, field) in [("a", "version"), ("a", "bytesReceived"), ("b", "version")] {
            let state = session(user, id, &format!("{alias}: {field}")).await;
            let name = if field == "version" { "version" } else { "bytes_received" };
            assert_eq!(state, json!({ alias: graphql[name] }));
        }
    }
    assert_eq!(as_rest(graphql), user.status(id).await);
}

#[tokio::test]
async fn both_protocols_return_the_same_session_in_every_state() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(95);
    let body = json!({ "original_filename": "ü.bin", "total_size_bytes": 95, "metadata": { "b": 1, "a": { "c": null } },
            "retain_until": "2126-11-29T01:02:03.123456789+01:00" });
    let id = user.post("/uploads/sessions", body).await.expect(201).json()["session_id"].as_str().unwrap().to_owned();
    assert_same(&user, &id).await;
    for number in [1, 2, 5, 10, 9, 3, 4, 6, 7, 8] {
        user.put_parts(&id, &file, [number]).await;
        assert_same(&user, &id).await;
    }
    let file = user.finalize(&id).await.expect(200).json()["file"]["file_id"].as_str().unwrap().to_owned();
    assert_same(&user, &id).await;
    user.delete(&format!("/files/{file}")).await.expect(204);
    assert_same(&user, &id).await;

    let aborted = user.create_id(25).await;
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    assert_same(&user, &aborted).await;
    let expired = user.create_id(25).await;
    app.advance(chrono::TimeDelta::days(8));
    app.service.sweep().await;
    assert_same(&user, &expired).await;
    assert_eq!(user.status(&expired).await["status_reason"], "expired");
}

#[tokio::test]
async fn an_answer_in_memory_is_for_one_operation_and_one_owner() {
    let app = TestApp::on_disk().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let id = ann.create_id(25).await;
    let document = "query A($id: ID!) { uploadSession(id: $id) { status } }
        query B($id: ID!) { uploadSession(id: $id) { totalParts } }";
    for _ in 0..3 {
        for (operation, data) in [("A", json!({ "status": "INIT" })), ("B", json!({ "totalParts": 3 }))] {
            let request = json!({ "query": document, "operationName": operation, "variables": { "id": id } });
            let own = ann.post("/graphql", request.clone()).await.expect(200).json();
            assert_eq!(own, json!({ "data": { "uploadSession": data } }));
            let of_another = bob.post("/graphql", request).await.expect(200).json();
            assert_eq!(of_another, json!({ "data": { "uploadSession": null } }));
        }
    }
}

#[tokio::test]
async fn both_protocols_return_the_limits_of_the_settings() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let limits = app.config.limits;
    let rest = user.get("/uploads/limits").await.expect(200).json();
    let expected = json!({ "chunk_size_bytes": limits.chunk_size.0, "max_parts": limits.max_parts,
        "max_file_size_bytes": limits.max_file_size.0 });
    assert_eq!(rest, expected);
    let query = "{ uploadLimits { chunkSizeBytes maxParts maxFileSizeBytes } }";
    let graphql = user.data(query, json!({})).await["uploadLimits"].take();
    let expected = json!({ "chunkSizeBytes": limits.chunk_size.0.to_string(), "maxParts": limits.max_parts,
        "maxFileSizeBytes": limits.max_file_size.0.to_string() });
    assert_eq!(graphql, expected);
}

#[tokio::test]
async fn both_protocols_return_the_same_list() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for _ in 0..3 {
        user.create(5).await;
    }
    user.upload(b"0123456789").await;
    for status in ["INIT", "COMPLETE", "ABORTED"] {
        let rest = user.get(&format!("/uploads/sessions?status={status}")).await.json();
        let rest: Vec<_> = rest["sessions"].as_array().unwrap().iter().map(|session| &session["session_id"]).collect();
        let query = "query($status: UploadSessionStatus) { uploadSessions(status: $status) { nodes { id } } }";
        let graphql = user.data(query, json!({ "status": status })).await;
        let nodes = graphql["uploadSessions"]["nodes"].as_array().unwrap();
        assert_eq!(nodes.iter().map(|node| &node["id"]).collect::<Vec<_>>(), rest, "{status}");
    }
}

#[tokio::test]
async fn both_protocols_return_the_same_list_by_name_and_size() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    for (name, size) in [("a.bin", 5), ("a.bin", 6), ("b.bin", 5), ("u\u{308}.bin", 5)] {
        let body = json!({ "original_filename": name, "total_size_bytes": size });
        user.post("/uploads/sessions", body).await.expect(201);
    }
    for (name, size) in [("a.bin", 5), ("a.bin", 7), ("\u{fc}.bin", 5), ("%", 5)] {
        let path = format!("/uploads/sessions?original_filename={}&total_size_bytes={size}", name.replace('%', "%25"));
        let rest = user.get(&path.replace('\u{fc}', "%C3%BC")).await.expect(200).json();
        let rest: Vec<_> = rest["sessions"].as_array().unwrap().iter().map(|session| &session["session_id"]).collect();
        let query = "query($name: String, $size: BigInt) {
            uploadSessions(originalFilename: $name, totalSizeBytes: $size) { nodes { id } } }";
        let graphql = user.data(query, json!({ "name": name, "size": size })).await;
        let nodes = graphql["uploadSessions"]["nodes"].as_array().unwrap();
        assert_eq!(nodes.iter().map(|node| &node["id"]).collect::<Vec<_>>(), rest, "{name} {size}");
    }
    let rest = user.get("/uploads/sessions?original_filename=%01").await;
    let graphql = user.graphql("{ uploadSessions(originalFilename: \"\\u0001\") { nodes { id } } }", json!({})).await;
    assert_eq!(rest.problem().1, "INVALID_INPUT");
    assert_eq!(graphql["errors"][0]["extensions"]["code"], "INVALID_INPUT");
    assert_eq!(graphql["errors"][0]["message"], rest.json()["detail"]);
}

#[tokio::test]
async fn both_protocols_refuse_a_wrong_checksum_with_the_same_code() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(25);
    let open = user.create_id(25).await;
    user.put_parts(&open, &file, 1..=3).await;
    let complete = user.upload(&file).await["session_id"].as_str().unwrap().to_owned();
    let wrong = crc64nvme(b"wrong");
    for (id, crc64nvme, code) in [
        (&open, "x", "INVALID_INPUT"),
        (&open, wrong.as_str(), "CHECKSUM_MISMATCH"),
        (&complete, wrong.as_str(), "CHECKSUM_MISMATCH"),
    ] {
        let rest = user.post(&format!("/uploads/sessions/{id}/finalize"), json!({ "crc64nvme": crc64nvme })).await;
        let graphql = user.data(FINALIZE, json!({ "input": { "id": id, "crc64nvme": crc64nvme } })).await;
        assert_same_refusal(&rest, &graphql, code);
    }
}

#[tokio::test]
async fn both_protocols_refuse_with_the_same_code() {
    let mut compared = BTreeSet::new();
    let app = TestApp::with(|config| {
        config.limits.max_open_sessions = 3;
        // Only a folder can complete a file with parts this small.
        config.stores.storage = String::new();
    })
    .await;
    let user = app.user("ann").await;
    let file = file_bytes(25);
    let incomplete = user.create_id(25).await;
    user.put_parts(&incomplete, &file, [1]).await;
    let whole = user.create_id(25).await;
    user.put_parts(&whole, &file, 1..=3).await;
    let aborted = user.create_id(25).await;
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    let complete = user.upload(&file).await["session_id"].as_str().unwrap().to_owned();

    let wrong = sha256_hex(b"wrong");
    for (id, sha256, code) in [
        ("01890000-0000-7000-8000-000000000000", None, "NOT_FOUND"),
        ("nonsense", None, "NOT_FOUND"),
        (&incomplete, None, "PARTS_MISSING"),
        (&aborted, None, "SESSION_CLOSED"),
        (&whole, Some("x"), "INVALID_INPUT"),
        (&whole, Some(wrong.as_str()), "CHECKSUM_MISMATCH"),
        (&complete, Some(wrong.as_str()), "CHECKSUM_MISMATCH"),
    ] {
        let rest = user.post(&format!("/uploads/sessions/{id}/finalize"), json!({ "sha256": sha256 })).await;
        let graphql = user.data(FINALIZE, json!({ "input": { "id": id, "sha256": sha256 } })).await;
        assert_same_refusal(&rest, &graphql, code);
        compared.insert(code);
    }
    for (id, code) in [("nonsense", "NOT_FOUND"), (&complete, "SESSION_CLOSED")] {
        let rest = user.delete(&format!("/uploads/sessions/{id}")).await;
        let mutation =
            "mutation($id: ID!) { result: abortUploadSession(input: { id: $id }) { userErrors { code message } } }";
        let graphql = user.data(mutation, json!({ "id": id })).await;
        assert_same_refusal(&rest, &graphql, code);
        compared.insert(code);
    }
    let create = |name: &str, size: i64, key: Option<&str>| {
        let rest = json!({ "original_filename": name, "total_size_bytes": size, "idempotency_key": key });
        let graphql = json!({ "originalFilename": name, "totalSizeBytes": size, "idempotencyKey": key });
        (rest, graphql)
    };
    user.post("/uploads/sessions", create("a", 5, Some("k")).0).await.expect(201);
    for ((rest, graphql), code) in [
        (create("", 5, None), "INVALID_INPUT"),
        (create("a", 100_001, None), "TOO_LARGE"),
        (create("b", 5, Some("k")), "IDEMPOTENCY_KEY_REUSED"),
        (create("a", 5, None), "RATE_LIMITED"),
    ] {
        let rest = user.post("/uploads/sessions", rest).await;
        let graphql = user.data(CREATE, json!({ "input": graphql })).await;
        assert_same_refusal(&rest, &graphql, code);
        compared.insert(code);
    }
    app.service.set_limits("ann", Some(Some(80)), Some(Some(10))).await.unwrap();
    for (body, input, code) in [
        (json!({ "total_size_bytes": 5 }), json!({ "totalSizeBytes": 5 }), "QUOTA_EXCEEDED"),
        (
            json!({ "total_size_bytes": 0, "retain_until": "1999-12-31T23:59:59Z" }),
            json!({ "totalSizeBytes": 0, "retainUntil": "1999-12-31T23:59:59Z" }),
            "INVALID_INPUT",
        ),
    ] {
        let (mut body, mut input) = (body, input);
        (body["original_filename"], input["originalFilename"]) = (json!("a"), json!("a"));
        let rest = user.post("/uploads/sessions", body).await;
        let graphql = user.data(CREATE, json!({ "input": input })).await;
        assert_same_refusal(&rest, &graphql, code);
        compared.insert(code);
    }
    for id in ["nonsense", user.status(&incomplete).await["file"]["file_id"].as_str().unwrap()] {
        let rest = user.delete(&format!("/files/{id}")).await;
        let mutation = "mutation($id: ID!) { result: deleteFile(input: { id: $id }) { userErrors { code message } } }";
        assert_same_refusal(&rest, &user.data(mutation, json!({ "id": id })).await, "NOT_FOUND");
    }
    // A storage that refuses all parts now.
    let (app, faults) = TestApp::with_faults(&Place::Folder).await;
    let user = app.user("ann").await;
    let whole = user.create_id(25).await;
    user.put_parts(&whole, &file, 1..=3).await;
    faults.fail(When::Before, Step::Complete, Cause::Full);
    let rest = user.finalize(&whole).await;
    let graphql = user.graphql(FINALIZE, json!({ "input": { "id": whole } })).await;
    assert_eq!(rest.problem().1, "UNAVAILABLE");
    assert_eq!(graphql["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{graphql}");
    compared.insert("UNAVAILABLE");

    let all: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let excused: BTreeSet<_> = NOT_COMPARED.iter().map(|(code, _)| *code).collect();
    assert_eq!(
        compared.intersection(&excused).count(),
        0,
        "a code that is compared must not be in the list of exceptions"
    );
    assert_eq!(&compared | &excused, all);
}

/// The codes that this test cannot compare, and why.
const NOT_COMPARED: &[(&str, &str)] = &[
    ("OFFSET_MISMATCH", "GraphQL appends no bytes"),
    ("SUPERSEDED", "GraphQL appends no bytes"),
    ("LENGTH_REQUIRED", "GraphQL needs the size of a file in its type"),
    ("UNAUTHENTICATED", "GraphQL has no use case to refuse: compared in `auth`"),
    ("FORBIDDEN", "as above: compared in `graphql_http`"),
    ("METHOD_NOT_ALLOWED", "HTTP's: compared in `errors` and `graphql_http`"),
    ("UNSUPPORTED_MEDIA_TYPE", "HTTP's: compared in `session_create` and `graphql_http`"),
    ("RANGE_NOT_SATISFIABLE", "GraphQL carries no bytes"),
    ("INTERNAL", "needs a damaged database: compared in `errors`"),
    ("BYTES_LOST", "GraphQL carries no bytes"),
    ("PART_OUT_OF_RANGE", "GraphQL carries no bytes"),
    ("PART_SIZE_MISMATCH", "GraphQL carries no bytes"),
    ("PART_CONFLICT", "GraphQL carries no bytes"),
    ("BUSY", "GraphQL carries no bytes"),
    ("PRECONDITION_FAILED", "only HTTP has conditions"),
    ("PERSISTED_QUERY_NOT_FOUND", "only GraphQL has documents"),
    ("EVENTS_EXPIRED", "needs events that are older than others: compared in `parity_events`"),
    ("PARTS_NOT_KEPT", "GraphQL has null in place of the parts"),
];

const CREATE: &str = "mutation($input: CreateUploadSessionInput!) {
    result: createUploadSession(input: $input) { userErrors { code message } } }";

const FINALIZE: &str = "mutation($input: FinalizeUploadSessionInput!) {
    result: finalizeUploadSession(input: $input) { userErrors { code message } } }";

fn assert_same_refusal(rest: &Answer, graphql: &Value, code: &str) {
    assert_eq!(rest.problem().1, code);
    let error = json!({ "code": code, "message": rest.json()["detail"] });
    assert_eq!(graphql["result"]["userErrors"], json!([error]));
}
