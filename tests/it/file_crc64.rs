//! The CRC-64/NVME of a file, which follows from those of its parts.

use serde_json::{Value, json};

use crate::support::{Answer, FILE, Place, TestApp, TestUser, assert_finishes, crc64nvme, session_on};

/// As a version without checksums recorded them.
const FORGET: &str = "UPDATE upload_part SET crc64nvme = NULL";

async fn declaring(user: &TestUser, crc64nvme: &str) -> Answer {
    let body =
        json!({ "original_filename": "a", "total_size_bytes": 25, "crc64nvme": crc64nvme, "idempotency_key": "k" });
    user.post("/uploads/sessions", body).await
}

async fn finalize_saying(user: &TestUser, id: &str, crc64nvme: &str) -> Answer {
    user.post(&format!("/uploads/sessions/{id}/finalize"), json!({ "crc64nvme": crc64nvme })).await
}

fn id_of(session: &Value) -> String {
    session["session_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_part_and_every_file_has_one_in_whatever_order_the_parts_came() {
    for place in Place::each() {
        let (_app, _, user, id) = session_on(&place).await;
        user.put_parts(&id, FILE, [3, 1]).await;
        // The first bytes of part 2 as a tail, which the next append reads back.
        user.tus_patch(&id, 10, FILE[10..14].to_vec()).await.expect(204);
        user.tus_patch(&id, 14, FILE[14..20].to_vec()).await.expect(204);
        let parts = user.get(&format!("/uploads/sessions/{id}/parts")).await.expect(200).json();
        for (part, bytes) in parts["parts"].as_array().unwrap().iter().zip(FILE.chunks(10)) {
            assert_eq!(part["crc64nvme"], crc64nvme(bytes), "{place:?}");
        }
        let done = assert_finishes(&user, &id).await;
        assert_eq!((&done["file"]["crc64nvme"], &done["file"]["sha256"]), (&json!(crc64nvme(FILE)), &json!(null)));
    }
}

#[tokio::test]
async fn an_empty_file_has_one() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    assert_eq!(user.upload(b"").await["file"]["crc64nvme"], "AAAAAAAAAAA=");
}

#[tokio::test]
async fn a_declared_one_is_checked_and_part_of_the_input() {
    for place in Place::each() {
        let (app, _) = TestApp::with_faults(&place).await;
        let user = app.user("ann").await;
        let refused = declaring(&user, "ae8b14860a799888").await;
        assert_eq!(
            (refused.problem(), &refused.json()["field"]),
            ((400, "INVALID_INPUT".to_owned()), &json!("crc64nvme"))
        );
        let id = id_of(&declaring(&user, &crc64nvme(FILE)).await.expect(201).json());
        assert_eq!(id_of(&declaring(&user, &crc64nvme(FILE)).await.expect(200).json()), id);
        let other = declaring(&user, &crc64nvme(b"other")).await;
        assert_eq!(other.problem(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
        user.put_parts(&id, FILE, 1..=3).await;
        assert_finishes(&user, &id).await;

        let user = app.user("bob").await;
        let id = id_of(&declaring(&user, &crc64nvme(b"other")).await.expect(201).json());
        user.put_parts(&id, FILE, 1..=3).await;
        for _ in 0..2 {
            let refused = user.finalize(&id).await;
            assert_eq!(refused.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
            let digests =
                [&refused.json()["declared_crc64nvme"], &refused.json()["actual_crc64nvme"]].map(Value::clone);
            assert_eq!(digests, [crc64nvme(b"other"), crc64nvme(FILE)]);
        }
        let session = user.status(&id).await;
        assert_eq!((&session["status"], &session["status_reason"]), (&json!("FAILED"), &json!("checksum_mismatch")));
        assert_eq!(session["file"]["crc64nvme"], crc64nvme(FILE));
        let events = user.get("/events").await.expect(200).json();
        assert_eq!(events["events"][0]["data"]["crc64nvme"], crc64nvme(FILE));
    }
}

#[tokio::test]
async fn a_wrong_one_at_finalize_leaves_the_session_open() {
    for place in Place::each() {
        let (_app, _, user, id) = session_on(&place).await;
        user.put_parts(&id, FILE, [2, 3, 1]).await;
        let bad = finalize_saying(&user, &id, "rosUhgp5mIg").await;
        assert_eq!((bad.problem(), &bad.json()["field"]), ((400, "INVALID_INPUT".to_owned()), &json!("crc64nvme")));
        let before = user.status(&id).await;
        let wrong = finalize_saying(&user, &id, &crc64nvme(b"other")).await;
        assert_eq!(wrong.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
        assert_eq!(wrong.json()["actual_crc64nvme"], crc64nvme(FILE));
        assert_eq!(user.status(&id).await, before);
        let done = finalize_saying(&user, &id, &crc64nvme(FILE)).await.expect(200).json();
        assert_eq!(done["file"]["crc64nvme"], crc64nvme(FILE));
        assert_eq!(finalize_saying(&user, &id, &crc64nvme(b"other")).await.problem().1, "CHECKSUM_MISMATCH");
        assert_eq!(finalize_saying(&user, &id, &crc64nvme(FILE)).await.expect(200).json(), done);
    }
}

#[tokio::test]
async fn without_those_of_all_parts_the_server_reads_the_file_only_if_a_client_says_one() {
    for place in Place::each() {
        let (app, _, user, plain) = session_on(&place).await;
        let said = user.create_id(FILE.len()).await;
        let declared = id_of(&declaring(&user, &crc64nvme(FILE)).await.expect(201).json());
        let wrong = app.user("bob").await;
        let failing = id_of(&declaring(&wrong, &crc64nvme(b"other")).await.expect(201).json());
        for (user, id) in [(&user, &plain), (&user, &said), (&user, &declared), (&wrong, &failing)] {
            user.put_parts(id, FILE, [1, 3]).await;
        }
        app.execute(FORGET).await;
        for (user, id) in [(&user, &plain), (&user, &said), (&user, &declared), (&wrong, &failing)] {
            user.put_parts(id, FILE, [2]).await;
        }
        let parts = user.get(&format!("/uploads/sessions/{plain}/parts")).await.expect(200).json();
        let recorded: Vec<_> = (0..3).map(|part| parts["parts"][part]["crc64nvme"].is_string()).collect();
        assert_eq!(recorded, [false, true, false]);

        let done = user.finalize(&plain).await.expect(200).json();
        assert_eq!((&done["status"], &done["file"]["crc64nvme"]), (&json!("COMPLETE"), &json!(null)));
        // Also later.
        assert_eq!(finalize_saying(&user, &plain, &crc64nvme(b"other")).await.problem().1, "CHECKSUM_MISMATCH");
        let later = finalize_saying(&user, &plain, &crc64nvme(FILE)).await.expect(200).json();
        assert_eq!(later["file"]["crc64nvme"], crc64nvme(FILE));

        let refused = finalize_saying(&user, &said, &crc64nvme(b"other")).await;
        assert_eq!(refused.problem(), (400, "CHECKSUM_MISMATCH".to_owned()), "{place:?}");
        assert_eq!(user.status(&said).await["status"], "IN_PROGRESS");
        let done = finalize_saying(&user, &said, &crc64nvme(FILE)).await.expect(200).json();
        assert_eq!(done["file"]["crc64nvme"], crc64nvme(FILE));
        assert_finishes(&user, &declared).await;
        assert_eq!(wrong.finalize(&failing).await.problem(), (400, "CHECKSUM_MISMATCH".to_owned()));
        assert_eq!(wrong.status(&failing).await["status_reason"], "checksum_mismatch");
    }
}
