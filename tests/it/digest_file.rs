//! Asking for the SHA-256 of a stored file.

use serde_json::{Value, json};

use crate::support::{
    Answer, Cause, FILE, Place, Step, TestApp, TestUser, When, crc64nvme, file_bytes, session_on, sha256_hex,
};

const COMPUTE: &str = "mutation($id: ID!) { computeFileSha256(input: { id: $id }) {
    uploadFile { id sha256 crc64nvme } userErrors { code message } } }";

async fn ask(user: &TestUser, file: &str) -> Answer {
    user.post(&format!("/files/{file}/sha256"), json!({})).await
}

fn file_of(session: &Value) -> String {
    session["file"]["file_id"].as_str().unwrap().to_owned()
}

/// A stored file in this place. Returns its session too.
async fn stored(place: &Place) -> (TestApp, crate::support::Faults, TestUser, Value) {
    let (app, faults, user, id) = session_on(place).await;
    user.put_parts(&id, FILE, 1..=3).await;
    let done = user.finalize(&id).await.expect(200).json();
    (app, faults, user, done)
}

#[tokio::test]
async fn the_file_is_read_once_and_the_result_is_kept() {
    for place in Place::each() {
        let (_app, faults, user, done) = stored(&place).await;
        let file = file_of(&done);
        assert_eq!(done["file"]["sha256"], json!(null));
        let record = ask(&user, &file).await.expect(200);
        assert_eq!((&record.json()["sha256"], &record.json()["file_id"]), (&json!(sha256_hex(FILE)), &json!(file)));
        faults.fail(When::Before, Step::Read, Cause::Broken);
        assert_eq!(ask(&user, &file).await.expect(200).json(), record.json(), "{place:?}");
        let shown = user.get(&format!("/files/{file}")).await.expect(200);
        assert_eq!((shown.json(), shown.header("etag")), (record.json(), record.header("etag")));
        let version = user.status(done["session_id"].as_str().unwrap()).await["version"].as_u64();
        assert_eq!(version, done["version"].as_u64().map(|before| before + 1), "a follower sees a change");
    }
}

#[tokio::test]
async fn graphql_has_the_same_answers() {
    let (_app, _, user, done) = stored(&Place::Folder).await;
    let file = file_of(&done);
    let answer = user.data(COMPUTE, json!({ "id": file })).await["computeFileSha256"].take();
    let record = json!({ "id": file, "sha256": sha256_hex(FILE), "crc64nvme": crc64nvme(FILE) });
    assert_eq!(answer, json!({ "uploadFile": record, "userErrors": [] }));
    let open = file_of(&user.create(25).await);
    for id in ["nonsense", &open] {
        let rest = ask(&user, id).await;
        assert_eq!(rest.problem(), (404, "NOT_FOUND".to_owned()));
        let answer = user.data(COMPUTE, json!({ "id": id })).await["computeFileSha256"].take();
        let error = json!({ "code": "NOT_FOUND", "message": rest.json()["detail"] });
        assert_eq!(answer, json!({ "uploadFile": null, "userErrors": [error] }));
    }
}

#[tokio::test]
async fn a_read_goes_on_if_its_request_is_dropped_and_the_next_one_waits_for_it() {
    for place in Place::each() {
        let (_app, faults, user, done) = stored(&place).await;
        let file = file_of(&done);
        let gate = faults.hold(When::Before, Step::Read);
        let asking = |user: &TestUser| {
            let (user, file) = (user.clone(), file.clone());
            tokio::spawn(async move { ask(&user, &file).await })
        };
        let dropped = asking(&user);
        gate.reached().await;
        dropped.abort();
        let waiting = [asking(&user), asking(&user)];
        gate.open();
        for answer in waiting {
            assert_eq!(answer.await.unwrap().expect(200).json()["sha256"], sha256_hex(FILE));
        }
        let version = user.status(done["session_id"].as_str().unwrap()).await["version"].as_u64();
        assert_eq!(version, done["version"].as_u64().map(|before| before + 1), "one of them has read the file");
    }
}

#[tokio::test]
async fn one_owner_does_not_take_the_turns_of_another() {
    let (app, faults) = TestApp::with_faults(&Place::Folder).await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let (first, second) = (file_of(&ann.upload(FILE).await), file_of(&ann.upload(FILE).await));
    let of_bob = file_of(&bob.upload(FILE).await);
    let gate = faults.hold(When::Before, Step::Read);
    let asking = |user: &TestUser, file: &str| {
        let (user, file) = (user.clone(), file.to_owned());
        tokio::spawn(async move { ask(&user, &file).await.expect(200) })
    };
    let mut answers = vec![asking(&ann, &first), asking(&ann, &second)];
    gate.reached().await;
    answers.push(asking(&bob, &of_bob));
    gate.reached().await;
    gate.open();
    for answer in answers {
        assert_eq!(answer.await.unwrap().json()["sha256"], sha256_hex(FILE));
    }
}

#[tokio::test]
async fn damaged_bytes_get_no_digest() {
    // What the bytes are compared with: the checksum, or the composite digest, or a known SHA-256.
    for forget in ["SELECT 1", "UPDATE upload_file SET crc64nvme = NULL"] {
        for is_known in [false, true] {
            let app = TestApp::on_disk().await;
            app.expect_damage();
            let user = app.user("ann").await;
            let done = user.upload(&file_bytes(25)).await;
            let file = file_of(&done);
            if is_known {
                ask(&user, &file).await.expect(200);
                app.execute("UPDATE upload_file SET crc64nvme = NULL").await;
            }
            app.execute(forget).await;
            let path = app.storage().join("stored").join(&file);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[17] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let before = user.get(&format!("/files/{file}")).await.expect(200).json();
            assert_eq!(ask(&user, &file).await.problem(), (410, "BYTES_LOST".to_owned()), "{forget} {is_known}");
            assert_eq!(user.get(&format!("/files/{file}")).await.expect(200).json(), before);
            std::fs::remove_file(&path).unwrap();
            assert_eq!(ask(&user, &file).await.problem(), (410, "BYTES_LOST".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_read_that_fails_can_be_repeated() {
    for (place, code) in Place::each().into_iter().zip(["INTERNAL", "UNAVAILABLE"]) {
        let (_app, faults, user, done) = stored(&place).await;
        let file = file_of(&done);
        faults.fail(When::Before, Step::ReadOn, Cause::Broken);
        assert_eq!(ask(&user, &file).await.problem().1, code);
        faults.heal();
        assert_eq!(ask(&user, &file).await.expect(200).json()["sha256"], sha256_hex(FILE));
    }
}

#[tokio::test]
async fn a_deleted_file_keeps_the_digest_that_is_known() {
    let (_app, _, user, done) = stored(&Place::Folder).await;
    let (asked, other) = (file_of(&done), file_of(&user.upload(FILE).await));
    ask(&user, &asked).await.expect(200);
    for file in [&asked, &other] {
        user.delete(&format!("/files/{file}")).await.expect(204);
    }
    let record = ask(&user, &asked).await.expect(200).json();
    assert_eq!((&record["status"], &record["sha256"]), (&json!("DELETED"), &json!(sha256_hex(FILE))));
    assert_eq!(ask(&user, &other).await.problem(), (404, "NOT_FOUND".to_owned()));
}
