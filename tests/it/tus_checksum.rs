//! Digests of the bytes that a tus client sends: `Upload-Checksum` and `Content-Digest`.

use axum::body::Body;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::support::{BYTES, FILE, TestApp, TestUser, base64, cut_after, id_of};

fn sha1(bytes: &[u8]) -> (&'static str, String) {
    ("upload-checksum", format!("sha1 {}", base64(Sha1::digest(bytes))))
}

fn sha256(bytes: &[u8]) -> (&'static str, String) {
    ("upload-checksum", format!("sha256 {}", base64(Sha256::digest(bytes))))
}

fn content_sha256(bytes: &[u8]) -> (&'static str, String) {
    ("content-digest", format!("sha-256=:{}:", base64(Sha256::digest(bytes))))
}

fn content_sha512(bytes: &[u8]) -> (&'static str, String) {
    ("content-digest", format!("sha-512=:{}:", base64(Sha512::digest(bytes))))
}

async fn patch(
    user: &TestUser,
    id: &str,
    offset: usize,
    digest: &(&str, String),
    body: Body,
) -> crate::support::Answer {
    user.send(user.tus_patch_head(id, offset).header(digest.0, &digest.1).body(body).unwrap()).await
}

#[tokio::test]
async fn bytes_without_their_digest_are_discarded() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    let mut offset = 0;
    for digest in [sha1, sha256, content_sha256, content_sha512] {
        let bytes = &FILE[offset..offset + 6];
        let refused = patch(&user, &id, offset, &digest(b"other"), bytes.into()).await;
        assert_eq!(refused.problem(), (460, "CHECKSUM_MISMATCH".to_owned()));
        assert_eq!(refused.json()["title"], "Checksum Mismatch");
        assert_eq!(user.tus_offset(&id).await, offset, "the offset does not move");
        // Also if they would fill parts, or the file.
        let rest = &FILE[offset..];
        assert_eq!(patch(&user, &id, offset, &digest(b"other"), rest.into()).await.problem().0, 460);
        assert_eq!(user.tus_offset(&id).await, offset);
        patch(&user, &id, offset, &digest(bytes), bytes.into()).await.expect(204);
        offset += 6;
        assert_eq!(user.tus_offset(&id).await, offset);
    }
    patch(&user, &id, 24, &sha1(&FILE[24..]), FILE[24..].into()).await.expect(204);
    assert_eq!(user.status(&id).await["file"]["crc64nvme"], crate::support::crc64nvme(FILE));
}

#[tokio::test]
async fn bytes_with_a_digest_are_kept_as_a_whole_or_not_at_all() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    let cut = patch(&user, &id, 0, &sha256(FILE), cut_after(&FILE[..17])).await;
    assert_eq!(cut.problem(), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(user.tus_offset(&id).await, 0);
    patch(&user, &id, 0, &sha256(FILE), FILE.into()).await.expect(204);
    assert_eq!(user.status(&id).await["status"], "COMPLETE");
}

#[tokio::test]
async fn a_digest_that_the_server_does_not_check_is_refused() {
    let app = TestApp::new().await;
    let user = app.user("ann").await;
    let id = user.tus_create(25, "").await;
    for (name, value) in [
        ("upload-checksum", "md5 1B2M2Y8AsgTpgAmY7PhCfg=="),
        ("upload-checksum", "SHA1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0="),
        ("upload-checksum", "sha1 ***"),
        ("upload-checksum", "sha1 AAAA"),
        ("upload-checksum", "sha1"),
        ("upload-checksum", ""),
        ("content-digest", "md5=:AAAA:"),
        ("content-md5", "AAAA"),
        ("repr-digest", "sha-256=:AAAA:"),
        ("trailer", "upload-checksum"),
        ("content-encoding", "gzip"),
    ] {
        let refused = patch(&user, &id, 0, &(name, value.to_owned()), "0123456".into()).await;
        assert_eq!(refused.problem(), (400, "INVALID_INPUT".to_owned()), "{name}: {value}");
    }
    assert_eq!(user.tus_offset(&id).await, 0);
    // REST does not know this header.
    let put = user.request("PUT", &format!("/uploads/sessions/{id}/parts/1"));
    let put = put.header("upload-checksum", sha1(&FILE[..10]).1).body(FILE[..10].into()).unwrap();
    assert_eq!(user.send(put).await.problem(), (400, "INVALID_INPUT".to_owned()));
}

#[tokio::test]
async fn the_first_bytes_of_an_upload_may_have_a_digest() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let post = async |digest: (&str, String)| {
        let request = user.tus("POST", "/uploads/tus").header("upload-length", 25).header("content-type", BYTES);
        user.send(request.header(digest.0, digest.1).body(FILE[..7].into()).unwrap()).await
    };
    for digest in [sha1, content_sha512] {
        assert_eq!(post(digest(b"other")).await.problem(), (460, "CHECKSUM_MISMATCH".to_owned()));
        let created = post(digest(&FILE[..7])).await.expect(201);
        assert_eq!((created.header("upload-offset"), user.tus_offset(&id_of(&created)).await), ("7", 7));
    }
    assert_eq!(post(("upload-checksum", "md5 AAAA".to_owned())).await.problem().0, 400);
    // The client of a refused request does not know the upload, so it does not stay open.
    let open = user.get("/uploads/sessions?status=INIT").await.json();
    assert_eq!(open["sessions"], serde_json::json!([]));
}
