//! Fields in the head of a tus request that the server refuses, because it cannot do what they say.

use axum::body::Body;

use crate::support::{Answer, BYTES, FILE, TestApp, id_of};

fn assert_refused(answer: &Answer, field: &str) {
    assert_eq!(answer.problem(), (400, "INVALID_INPUT".to_owned()), "{field}");
    assert_eq!(answer.json()["field"], field);
}

/// The one who sent the second line may be another one than who sent the first.
#[tokio::test]
async fn a_field_that_comes_twice_is_refused() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    let sha1 = "sha1 w0mvDj8LMdmpjtHjrv9ssZwH6Y4=";
    let create = [
        ("tus-resumable", "1.0.0", "tus_resumable"),
        ("upload-length", "25", "upload_length"),
        ("upload-metadata", "a MQ==", "upload_metadata"),
        ("upload-checksum", sha1, "upload_checksum"),
        ("content-type", BYTES, "content_type"),
        ("x-http-method-override", "POST", "x_http_method_override"),
        ("idempotency-key", "photo", "idempotency_key"),
    ];
    let patch = [
        ("tus-resumable", "1.0.0", "tus_resumable"),
        ("upload-offset", "0", "upload_offset"),
        ("upload-checksum", sha1, "upload_checksum"),
        ("content-type", BYTES, "content_type"),
        ("x-http-method-override", "PATCH", "x_http_method_override"),
    ];
    for (path, fields) in [("/uploads/tus", create.as_slice()), (&format!("/uploads/tus/{id}"), &patch)] {
        for (twice, first, field) in fields {
            for second in [*first, "other"] {
                let request = fields
                    .iter()
                    .fold(user.request("POST", path), |request, (name, value, _)| request.header(*name, *value));
                let request = request.header(*twice, second).body(FILE.into()).unwrap();
                assert_refused(&user.send(request).await, field);
            }
        }
    }
    let both =
        ["HEAD", "DELETE"].into_iter().fold(user.tus("POST", &format!("/uploads/tus/{id}")), |request, method| {
            request.header("x-http-method-override", method)
        });
    assert_refused(&user.send(both.body(Body::empty()).unwrap()).await, "x_http_method_override");
    assert_eq!(user.tus_offset(&id).await, 0);
    let sessions = user.get("/uploads/sessions").await.json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1, "nothing was created");
    // A status reads none of these fields.
    let head = user.tus("HEAD", &format!("/uploads/tus/{id}")).header("tus-resumable", "1.0.0");
    user.send(head.body(Body::empty()).unwrap()).await.expect(200);
}

#[tokio::test]
async fn an_idempotency_key_that_comes_twice_is_refused_by_rest_too() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let request = user.request("POST", "/uploads/sessions").header("content-type", "application/json");
    let request = request.header("idempotency-key", "a").header("idempotency-key", "b");
    let body = r#"{"original_filename":"a","total_size_bytes":5}"#;
    assert_refused(&user.send(request.body(body.into()).unwrap()).await, "idempotency_key");
}

#[tokio::test]
async fn bytes_with_a_range_are_refused() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    let range = "bytes 0-6/25";
    let patch = user.tus_patch_head(&id, 0).header("content-range", range).body(FILE[..7].into()).unwrap();
    assert_refused(&user.send(patch).await, "content_range");
    let post = user.tus("POST", "/uploads/tus").header("upload-length", 25).header("content-type", BYTES);
    let post = post.header("content-range", range).body(FILE[..7].into()).unwrap();
    assert_refused(&user.send(post).await, "content_range");
    assert_eq!(user.tus_offset(&id).await, 0);
}

#[tokio::test]
async fn bytes_for_an_empty_upload_are_refused() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let post = || user.tus("POST", "/uploads/tus").header("upload-length", 0).header("content-type", BYTES);
    let chunked = || Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("x")]));
    for body in ["x".into(), chunked()] {
        assert_eq!(user.send(post().body(body).unwrap()).await.problem(), (413, "TOO_LARGE".to_owned()));
    }
    let checked = |digest| post().header("upload-checksum", digest).body(Body::empty()).unwrap();
    let wrong = user.send(checked("sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")).await;
    assert_eq!(wrong.problem(), (460, "CHECKSUM_MISMATCH".to_owned()));
    assert_eq!(wrong.json()["title"], "Checksum Mismatch");
    let right = user.send(checked("sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=")).await.expect(201);
    assert_eq!(right.header("upload-offset"), "0");
    assert_eq!(user.status(&id_of(&right)).await["status"], "COMPLETE");
}
