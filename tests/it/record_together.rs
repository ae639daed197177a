//! Parts that one transaction records.

use partway::{
    db::{Db, NewPart, Recorded},
    domain::{Clock, PartRecord, SessionId, Sha256Digest},
};

use serde_json::json;

use crate::support::{Place, Step, TestApp, When};

async fn database(app: &TestApp) -> Db {
    match app.config.stores.database.as_str() {
        "" => Db::open_sqlite(&app.folder().join("partway.db")).await.unwrap(),
        url => Db::open_postgres(url, 2).await.unwrap(),
    }
}

#[tokio::test]
async fn each_part_of_a_batch_has_its_own_result() {
    let app = TestApp::on_disk().await;
    // The test records parts whose bytes it has not sent.
    app.expect_damage();
    let user = app.user("ann").await;
    let [open, other, aborted] = [user.create_id(45).await, user.create_id(45).await, user.create_id(45).await];
    user.put(&open, 1, "0123456789").await.expect(201);
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);

    let db = database(&app).await;
    let owner = partway::domain::OwnerName::parse("ann").unwrap();
    let id = |text: &str| text.parse::<SessionId>().unwrap();
    let session = db.session(&owner, id(&open)).await.unwrap().unwrap();
    let now = app.clock.now();
    let part = |session_id: &str, number: u32| NewPart {
        session: id(session_id),
        part: PartRecord {
            part: session.plan.part(number).unwrap(),
            sha256: Sha256Digest::of(b"x"),
            crc64nvme: None,
            storage_etag: None,
            received_at: now,
        },
        lease: None,
        tail: None,
        is_appended: false,
    };
    let batch = [part(&other, 2), part(&open, 3), part(&open, 1), part(&aborted, 1), part(&open, 5), part(&other, 4)];
    for _ in 0..2 {
        // The second call is like a retry after a commit whose answer was lost.
        let outcomes = db.record_parts(&batch, chrono::TimeDelta::hours(1)).await.unwrap();
        let results: Vec<_> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Recorded::New(session) => format!("new {}", session.received),
                Recorded::Replay(_, part) => format!("replay {}", part.part.number),
                Recorded::Closed(_) => "closed".to_owned(),
                Recorded::OtherTail => "other tail".to_owned(),
                Recorded::LeaseLost => "lease lost".to_owned(),
                Recorded::Locked => "locked".to_owned(),
            })
            .collect();
        assert_eq!(results, ["new 2,4", "new 1,3,5", "replay 1", "closed", "new 1,3,5", "new 2,4"]);
    }
    let status = user.status(&open).await;
    assert_eq!(
        (&status["received_parts"], &status["bytes_received"]),
        (&serde_json::json!(["1", "3", "5"]), &25.into())
    );
    assert_eq!(user.status(&aborted).await["received_parts"], serde_json::json!([]));
}

#[tokio::test]
async fn parts_without_a_sync_make_the_same_file() {
    let app = TestApp::on_disk_with(|config| config.stores.sync = partway::storage::SyncParts::Os).await;
    let user = app.user("ann").await;
    let file = crate::support::file_bytes(95);
    let stored = user.upload(&file).await;
    let content = user.get(&format!("/files/{}/content", stored["file"]["file_id"].as_str().unwrap())).await;
    assert_eq!(content.bytes, file);
}

/// The parts of several sessions become durable at the same time, and then the row of one session is damaged.
#[tokio::test]
async fn an_invalid_session_fails_only_its_own_parts_of_a_batch() {
    let (app, faults) = TestApp::with_faults(&Place::Folder).await;
    let user = app.user("ann").await;
    let gate = faults.hold(When::After, Step::Persist);
    let mut sending = Vec::new();
    // The first part begins a transaction. The others share the next one.
    for name in ["first", "good", "bad", "good too"] {
        let body = json!({ "original_filename": name, "total_size_bytes": 25 });
        let session = user.post("/uploads/sessions", body).await.expect(201).json();
        let id = session["session_id"].as_str().unwrap().to_owned();
        let (user, put_to) = (user.clone(), id.clone());
        sending.push((name, id, tokio::spawn(async move { user.put(&put_to, 1, "0123456789").await })));
        gate.reached().await;
    }
    // The state in memory is then not the one of the row, so the server reads all rows of the batch.
    app.execute("UPDATE upload_session SET chunk_size_bytes = 0, version = 7 WHERE filename_key = 'bad'").await;
    gate.open();
    for (name, id, sending) in sending {
        let answer = sending.await.unwrap();
        if name == "bad" {
            assert_eq!(answer.problem(), (500, "INTERNAL".to_owned()));
        } else {
            assert_eq!(answer.status, 201, "{name}: {answer:?}");
            assert_eq!(user.status(&id).await["received_parts"], json!(["1"]));
        }
    }
    app.execute("UPDATE upload_session SET chunk_size_bytes = 10, version = 1 WHERE filename_key = 'bad'").await;
}
