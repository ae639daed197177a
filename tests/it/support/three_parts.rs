//! The upload of three parts that the tests of faults share.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Answer, Faults, Place, TestApp, TestUser, crc64nvme};

/// Two parts of 10 bytes, and one of 5.
pub(crate) const FILE: &[u8] = b"0123456789abcdefghijKLMNO";
/// Other bytes for the first part.
pub(crate) const OTHER: &[u8] = b"XXXXXXXXXX";
/// Longer than the lease on a part.
pub(crate) const AFTER_PART_LEASE: TimeDelta = TimeDelta::seconds(11);
/// Longer than a freeing lease.
pub(crate) const AFTER_FREEING_LEASE: TimeDelta = TimeDelta::minutes(11);

/// A server on this storage with one session for [`FILE`], which has received nothing.
pub(crate) async fn session_on(place: &Place) -> (TestApp, Faults, TestUser, String) {
    let (app, faults) = TestApp::with_faults(place).await;
    let user = app.user("ann").await;
    let id = user.create_id(FILE.len()).await;
    (app, faults, user, id)
}

/// Sends a part in a task of its own.
pub(crate) fn putting(user: &TestUser, id: &str, number: u32, bytes: &'static [u8]) -> JoinHandle<Answer> {
    let (user, id) = (user.clone(), id.to_owned());
    tokio::spawn(async move { user.put(&id, number, bytes).await })
}

/// Finalizes a session for [`FILE`], and reads the file back. Returns the finalized session.
pub(crate) async fn assert_finishes(user: &TestUser, id: &str) -> Value {
    let done = user.finalize(id).await.expect(200).json();
    assert_eq!((&done["status"], &done["file"]["crc64nvme"]), (&json!("COMPLETE"), &json!(crc64nvme(FILE))));
    assert_eq!(content(user, &done).await.expect(200).bytes, FILE);
    done
}

/// The response to a download of a session's file.
pub(crate) async fn content(user: &TestUser, session: &Value) -> Answer {
    user.get(&format!("/files/{}/content", session["file"]["file_id"].as_str().unwrap())).await
}
