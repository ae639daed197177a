//! Conditional requests.

use axum::body::Body;
use chrono::TimeDelta;

use crate::support::{Answer, TestApp, TestUser, file_bytes};

async fn send(user: &TestUser, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = user.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    user.send(request.body(Body::empty()).unwrap()).await
}

fn failed() -> (u16, String) {
    (412, "PRECONDITION_FAILED".to_owned())
}

#[tokio::test]
async fn a_delete_with_a_stale_condition_changes_nothing() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let path = format!("/uploads/sessions/{id}");
    let seen = user.get(&path).await.expect(200);
    app.advance(TimeDelta::seconds(2));
    user.put(&id, 1, "0123456789").await.expect(201);
    let (etag, date) = (seen.header("etag"), seen.header("last-modified"));
    for condition in
        [("if-match", etag), ("if-match", "\"0\", \"77\""), ("if-unmodified-since", date), ("if-none-match", "*")]
    {
        assert_eq!(send(&user, "DELETE", &path, &[condition]).await.problem(), failed(), "{condition:?}");
    }
    for condition in [("if-match", "2"), ("if-match", ""), ("if-none-match", "?"), ("if-unmodified-since", "now")] {
        let answer = send(&user, "DELETE", &path, &[condition]).await;
        assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{condition:?}");
    }
    let now = user.get(&path).await.expect(200);
    assert_eq!(now.json()["status"], "IN_PROGRESS");
    assert_eq!(app.bytes_on_disk(), [format!("uploading/{id}")]);
    let fresh = now.header("etag");
    send(&user, "DELETE", &path, &[("if-match", fresh)]).await.expect(204);
    assert!(app.bytes_on_disk().is_empty());
    // The session is aborted already. A client that repeats the request because it lost the answer gets the same answer.
    send(&user, "DELETE", &path, &[("if-match", fresh)]).await.expect(204);
}

#[tokio::test]
async fn a_delete_with_the_current_date_succeeds() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let path = format!("/uploads/sessions/{}", user.create_id(25).await);
    let seen = user.get(&path).await.expect(200);
    send(&user, "DELETE", &path, &[("if-unmodified-since", seen.header("last-modified"))]).await.expect(204);
}

#[tokio::test]
async fn only_one_of_two_concurrent_changes_with_the_same_tag_succeeds() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(10).await;
    user.put(&id, 1, "0123456789").await.expect(201);
    let path = format!("/uploads/sessions/{id}");
    let etag = user.get(&path).await.header("etag").to_owned();
    let finalize = format!("{path}/finalize");
    let condition = [("if-match", etag.as_str())];
    let (aborted, finalized) = futures_util::future::join(
        send(&user, "DELETE", &path, &condition),
        send(&user, "POST", &finalize, &condition),
    )
    .await;
    let status = user.status(&id).await["status"].as_str().unwrap().to_owned();
    match status.as_str() {
        "ABORTED" => assert_eq!((aborted.status.as_u16(), finalized.problem().0), (204, 409)),
        _ => {
            assert_eq!((finalized.status.as_u16(), status.as_str()), (200, "COMPLETE"));
            assert!([412, 409].contains(&aborted.problem().0));
        }
    }
}

#[tokio::test]
async fn a_finalize_with_a_stale_condition_changes_nothing() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(10).await;
    let path = format!("/uploads/sessions/{id}");
    let stale = user.get(&path).await.header("etag").to_owned();
    user.put(&id, 1, "0123456789").await.expect(201);
    let finalize = format!("{path}/finalize");
    let before = user.status(&id).await;
    for condition in [("if-match", stale.as_str()), ("if-match", "W/\"1\""), ("if-none-match", "*")] {
        assert_eq!(send(&user, "POST", &finalize, &[condition]).await.problem(), failed(), "{condition:?}");
    }
    assert_eq!(user.status(&id).await, before);
    assert_eq!(app.bytes_on_disk(), [format!("uploading/{id}")]);
    let fresh = user.get(&path).await.header("etag").to_owned();
    let done = send(&user, "POST", &finalize, &[("if-match", &fresh)]).await.expect(200).json();
    assert_eq!(done["status"], "COMPLETE");
    assert_eq!(send(&user, "POST", &finalize, &[("if-match", &fresh)]).await.expect(200).json(), done);
}

#[tokio::test]
async fn conditions_of_a_put_apply_to_the_stored_part() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let path = format!("/uploads/sessions/{id}/parts/1");
    let put = |condition: (&'static str, String)| {
        let request = user.request("PUT", &path).header(condition.0, condition.1);
        user.send(request.body("0123456789".into()).unwrap())
    };
    assert_eq!(put(("if-match", "*".to_owned())).await.problem(), failed());
    put(("if-none-match", "*".to_owned())).await.expect(201);
    assert_eq!(put(("if-none-match", "*".to_owned())).await.problem(), failed());
    let part = user.get(&path).await.expect(200);
    assert_eq!(part.header("etag"), format!("\"{}\"", part.json()["sha256"].as_str().unwrap()));
    put(("if-match", part.header("etag").to_owned())).await.expect(200);
    assert_eq!(put(("if-match", "\"other\"".to_owned())).await.problem(), failed());
    let nowhere = user.request("PUT", "/uploads/sessions/0/parts/1").header("if-match", "*");
    assert_eq!(user.send(nowhere.body("x".into()).unwrap()).await.problem(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn every_resource_evaluates_conditions_by_tag_and_by_date() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let done = user.upload(&file_bytes(25)).await;
    let session = format!("/uploads/sessions/{}", done["session_id"].as_str().unwrap());
    let file = format!("/files/{}", done["file"]["file_id"].as_str().unwrap());
    for path in [format!("{session}/parts/3"), session, format!("{file}/content"), file] {
        let whole = user.get(&path).await.expect(200);
        let (etag, date) = (whole.header("etag"), whole.header("last-modified"));
        assert!(date.ends_with(" GMT") && etag.starts_with('"'), "{whole:?}");
        let (before, after) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Thu, 06 Nov 2994 08:49:37 GMT");
        for method in ["GET", "HEAD"] {
            for (headers, status) in [
                (&[("if-none-match", etag)][..], 304),
                (&[("if-none-match", "*")], 304),
                (&[("if-none-match", "\"x\""), ("if-modified-since", date)], 200),
                (&[("if-modified-since", date)], 304),
                (&[("if-modified-since", after)], 304),
                (&[("if-modified-since", before)], 200),
                (&[("if-match", etag)], 200),
                (&[("if-match", "\"x\"")], 412),
                (&[("if-match", etag), ("if-none-match", etag)], 304),
                (&[("if-match", "\"x\""), ("if-none-match", etag)], 412),
                (&[("if-unmodified-since", date)], 200),
                (&[("if-unmodified-since", before)], 412),
                (&[("if-match", etag), ("if-unmodified-since", before)], 200),
            ] {
                let answer = send(&user, method, &path, headers).await;
                assert_eq!(answer.status.as_u16(), status, "{method} {path} {headers:?}");
                if status == 304 {
                    assert_eq!((answer.header("etag"), answer.bytes.len()), (etag, 0));
                }
            }
        }
    }
}

#[tokio::test]
async fn if_range_returns_a_range_only_of_the_same_file() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let done = user.upload(&file_bytes(25)).await;
    let path = format!("/files/{}/content", done["file"]["file_id"].as_str().unwrap());
    let whole = user.get(&path).await;
    let (etag, date) = (whole.header("etag"), whole.header("last-modified"));
    let range = ("range", "bytes=1-2");
    for (condition, status) in [
        (("if-range", etag), 206),
        (("if-range", date), 206),
        (("if-range", "\"other\""), 200),
        (("if-range", &format!("W/{etag}")), 200),
        (("if-range", "Sun, 06 Nov 1994 08:49:37 GMT"), 200),
        (("if-range", "Thu, 06 Nov 2994 08:49:37 GMT"), 200),
        (("if-match", "\"other\""), 412),
        (("if-none-match", etag), 304),
    ] {
        send(&user, "GET", &path, &[range, condition]).await.expect(status);
    }
    let beyond = [("range", "bytes=99-"), ("if-range", "\"other\"")];
    send(&user, "GET", &path, &beyond).await.expect(200);
    // The server ignores `Range` in a HEAD.
    send(&user, "HEAD", &path, &[range]).await.expect(200);
}
