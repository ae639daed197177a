//! The setting `min_free_space`, and full disks.

use std::{
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
};

use bytesize::ByteSize;
use serde_json::json;

use crate::support::{TestApp, TestUser, crc64nvme, file_bytes};

#[tokio::test]
async fn below_min_free_space_the_server_refuses_new_bytes_and_serves_all_other_requests() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(20);
    let new = json!({ "original_filename": "f", "total_size_bytes": 20, "idempotency_key": "k" });
    let half = user.post("/uploads/sessions", new.clone()).await.expect(201).json()["session_id"].clone();
    let half = half.as_str().unwrap();
    user.put_parts(half, &file, [1]).await;
    let whole = user.create_id(20).await;
    user.put_parts(&whole, &file, [1, 2]).await;
    user.get("/ready").await.expect(200);

    let mut app = app;
    app.config.stores.min_free_space = ByteSize::b(u64::MAX);
    let app = app.restarted().await;
    let user = TestUser { router: app.router.clone(), token: user.token };
    for refused in [
        user.get("/ready").await,
        user.post("/uploads/sessions", json!({ "original_filename": "g", "total_size_bytes": 1 })).await,
        user.put(half, 2, file[10..].to_vec()).await,
    ] {
        assert_eq!(refused.problem(), (503, "UNAVAILABLE".to_owned()));
        assert_eq!(refused.json()["min_free_bytes"], u64::MAX);
        assert!(refused.json()["free_bytes"].is_u64() && refused.header("retry-after") == "1");
    }
    let mutation = r#"mutation { createUploadSession(input: { originalFilename: "g", totalSizeBytes: "1" })
        { userErrors { code } } }"#;
    let graphql = user.graphql(mutation, json!({})).await;
    assert_eq!(graphql["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{graphql}");
    // A repeated create returns its session, and a repeated part succeeds.
    assert_eq!(user.post("/uploads/sessions", new).await.expect(200).json()["session_id"], half);
    assert_eq!(user.status(half).await["received_parts"], json!(["1"]));
    user.put(half, 1, file[..10].to_vec()).await.expect(200);
    let done = user.finalize(&whole).await.expect(200).json();
    assert_eq!(done["file"]["crc64nvme"], crc64nvme(&file));
    user.get(&format!("/files/{}/content", done["file"]["file_id"].as_str().unwrap())).await.expect(200);
    user.delete(&format!("/uploads/sessions/{half}")).await.expect(204);
}

#[tokio::test]
async fn a_first_part_occupies_only_its_own_disk_space() {
    let app = TestApp::on_disk_with(|config| {
        config.limits.chunk_size = ByteSize::kib(4);
        config.limits.max_file_size = ByteSize::tib(1);
        config.limits.max_parts = u32::MAX;
    })
    .await;
    let user = app.user("ann").await;
    let id = user.create_id(1 << 30).await;
    user.put(&id, 1, file_bytes(4096)).await.expect(201);
    let stored = std::fs::metadata(app.storage().join("uploading").join(&id)).unwrap();
    assert_eq!(stored.len(), 1 << 30);
    assert!(stored.blocks() * 512 <= 64 * 1024, "{} blocks", stored.blocks());
}

/// A file system of 2 MiB, which can grow to 16 MiB.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        assert!(
            disk.run("mount", &["-t", "tmpfs", "-o", "size=2m", "tmpfs"]),
            "cannot mount a tmpfs; run this test as root, or under `unshare --map-root-user --mount`"
        );
        disk
    }

    fn grow(&self) {
        assert!(self.run("mount", &["-o", "remount,size=16m"]));
    }

    fn run(&self, command: &str, args: &[&str]) -> bool {
        let run = Command::new(command).args(args).arg(self.0.path()).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["--lazy"]);
    }
}

#[tokio::test]
#[ignore = "mounts a tmpfs, which only root may: .ci/run"]
async fn a_part_that_fills_the_disk_fails_with_unavailable_and_can_be_sent_again() {
    const MIB: usize = 1024 * 1024;
    let disk = SmallDisk::mount();
    let app = TestApp::on_disk_with(|config| {
        config.stores.storage = disk.0.path().to_str().unwrap().to_owned();
        config.limits.chunk_size = ByteSize::mib(1);
        config.limits.max_file_size = ByteSize::mib(8);
    })
    .await;
    let user = app.user("ann").await;
    let file = file_bytes(4 * MIB);
    let id = user.create_id(file.len()).await;
    let part = |number: u32| file[(number as usize - 1) * MIB..][..MIB].to_vec();
    user.put(&id, 1, part(1)).await.expect(201);
    for number in [2, 3] {
        let answer = user.put(&id, number, part(number)).await;
        if answer.status == 201 {
            continue;
        }
        assert_eq!(answer.problem(), (503, "UNAVAILABLE".to_owned()));
    }
    assert_ne!(user.status(&id).await["missing_parts"], json!(["4"]), "the disk was full");
    disk.grow();
    for number in 1..=4 {
        assert!(user.put(&id, number, part(number)).await.status.is_success());
    }
    assert_eq!(user.finalize(&id).await.expect(200).json()["file"]["crc64nvme"], crc64nvme(&file));
}
