//! A server with something of everything, which a test moves elsewhere.

use serde_json::{Value, json};

use super::{Answer, FILE, Place, TestApp, TestUser, assert_finishes, assert_stored_by_tus, cut_after, file_bytes};

/// The size of a file whose part records were removed.
const OLD: usize = 95;

/// A server that has stopped, and what its clients know.
pub(crate) struct House {
    pub(crate) app: TestApp,
    pub(crate) ann: TestUser,
    /// A session for [`FILE`] with two of its three parts.
    pub(crate) half_done: String,
    /// The part of it that the client has not sent.
    pub(crate) missing: u32,
    /// A session of tus: a part of [`FILE`], and 3 bytes of the next one.
    pub(crate) with_tail: String,
    /// The files that are stored, and their bytes.
    pub(crate) stored: Vec<(String, Vec<u8>)>,
    upload_token: String,
    link: String,
    /// The position in the feed up to which a reader has read.
    cursor: String,
}

fn id_of(session: &Value) -> String {
    session["file"]["file_id"].as_str().unwrap().to_owned()
}

async fn content(user: &TestUser, file: &str) -> Answer {
    user.get(&format!("/files/{file}/content")).await
}

impl House {
    pub(crate) async fn new(place: &Place) -> Self {
        let (app, _) = TestApp::with_faults(place).await;
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        app.service.add_webhook("http://localhost:1/hook", &[], None).await.unwrap();
        let mut stored = Vec::new();
        for bytes in [FILE.to_vec(), file_bytes(10), file_bytes(OLD), Vec::new()] {
            stored.push((id_of(&ann.upload(&bytes).await), bytes));
        }
        let small = ann.request("POST", "/files").body(b"12345".to_vec().into()).unwrap();
        let small = ann.send(small).await.expect(201).json();
        stored.push((small["file_id"].as_str().unwrap().to_owned(), b"12345".to_vec()));
        ann.post(&format!("/files/{}/sha256", stored[2].0), json!({})).await.expect(200);
        app.execute(
            "UPDATE upload_session SET part_rows = 'REMOVED' WHERE total_size_bytes = 95; \
             DELETE FROM upload_part WHERE session_id IN (SELECT id FROM upload_session WHERE total_size_bytes = 95)",
        )
        .await;
        let link = ann.post(&format!("/files/{}/links", stored[2].0), json!({})).await.expect(201).json();
        let link = link["url"].as_str().unwrap().to_owned();

        let deleted = id_of(&ann.upload(b"deleted").await);
        ann.delete(&format!("/files/{deleted}")).await.expect(204);
        let aborted = ann.create_id(FILE.len()).await;
        ann.put_parts(&aborted, FILE, [1]).await;
        ann.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
        let cursor = ann.get("/events?limit=3").await.expect(200).json()["next"].as_str().unwrap().to_owned();

        ann.send(keyed(&ann)).await.expect(201);
        bob.put_parts(&bob.create_id(FILE.len()).await, FILE, [1]).await;
        let half_done = ann.create_id(FILE.len()).await;
        // The test's object store cannot complete an upload with a gap.
        let missing = if let Place::Folder = place { 2 } else { 3 };
        ann.put_parts(&half_done, FILE, (1..=3).filter(|number| *number != missing)).await;
        let with_tail = ann.tus_create(FILE.len(), "filename YQ==").await;
        ann.tus_patch(&with_tail, 0, cut_after(&FILE[..13])).await;
        assert_eq!(ann.tus_offset(&with_tail).await, 13);
        let token = ann.post(&format!("/uploads/sessions/{half_done}/tokens"), json!({})).await.expect(201).json();
        let upload_token = token["token"].as_str().unwrap().to_owned();
        app.service.set_limits("ann", Some(Some(1_000_000)), None).await.unwrap();
        // Also numbers the events, and records what the server must send.
        assert_eq!(ann.get("/events").await.expect(200).json()["events"].as_array().unwrap().len(), stored.len() + 3);
        app.service.sweep().await;
        app.service.close().await;
        Self { app, ann, half_done, missing, with_tail, stored, upload_token, link, cursor }
    }

    /// Asserts that a server on the target is the same for its clients, and that they can end what they began.
    pub(crate) async fn assert_lives_on(&self, app: &TestApp) {
        let ann = self.ann.at(app);
        for (file, bytes) in &self.stored {
            assert_eq!(content(&ann, file).await.expect(200).bytes, *bytes);
        }
        let mut page = ann.get(&format!("/events?after={}", self.cursor)).await.expect(200).json();
        assert_eq!(page["events"].as_array().unwrap().len(), self.stored.len(), "{page}");
        let linked = app.anonymous().get(&self.link[self.link.find("/files").unwrap()..]).await.expect(200);
        assert_eq!(linked.bytes, file_bytes(OLD));
        let repeated = ann.send(keyed(&ann)).await.expect(200).json();
        assert_eq!(repeated["file"]["original_filename"], "key");
        assert_eq!(ann.get("/me").await.expect(200).json()["bytes_limit"], 1_000_000);

        // Only the missing part is sent, with the token for this one upload.
        let narrow = TestUser { router: app.router.clone(), token: self.upload_token.clone() };
        let status = narrow.status(&self.half_done).await;
        assert_eq!(status["missing_parts"], json!([self.missing.to_string()]), "{status}");
        narrow.put_parts(&self.half_done, FILE, [self.missing]).await;
        assert_finishes(&ann, &self.half_done).await;
        assert_eq!(ann.tus_offset(&self.with_tail).await, 13);
        ann.tus_patch(&self.with_tail, 13, FILE[13..].to_vec()).await.expect(204);
        assert_stored_by_tus(&ann, &self.with_tail).await;
        // New events have positions after all others.
        let next = page["next"].take();
        page = ann.get(&format!("/events?after={}", next.as_str().unwrap())).await.expect(200).json();
        assert_eq!(page["events"].as_array().unwrap().len(), 2, "{page}");
        assert_eq!(app.service.sweep().await, partway::service::Swept::default());
    }
}

/// A request that creates one session, however often it is sent.
fn keyed(user: &TestUser) -> axum::http::Request<axum::body::Body> {
    let body = json!({ "original_filename": "key", "total_size_bytes": 7, "metadata": { "n": 1.5, "ü": "\u{0}" } });
    let request = user.request("POST", "/uploads/sessions").header("idempotency-key", "one");
    request.header("content-type", "application/json").body(body.to_string().into()).unwrap()
}
