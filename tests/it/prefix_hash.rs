//! The file's SHA-256 with an object store: the server hashes parts from memory if they arrive roughly in order.
//! Otherwise it reads the file back.

use partway::{config::Config, service::FileSha256};

use crate::support::{Cause, Faults, Place, Step, TestApp, TestUser, When, file_bytes, sha256_hex};

const SIZE: usize = 10 * 20 - 3;

struct Upload {
    app: TestApp,
    faults: Faults,
    user: TestUser,
    id: String,
}

impl Upload {
    async fn begin() -> Self {
        let always = |config: &mut Config| config.limits.file_sha256 = FileSha256::Always;
        let (app, faults) = TestApp::with_faults_and(&Place::objects(), always).await;
        let user = app.user("ann").await;
        let id = user.create_id(SIZE).await;
        Self { app, faults, user, id }
    }

    async fn put(&self, numbers: impl IntoIterator<Item = u32>) {
        self.user.put_parts(&self.id, &file_bytes(SIZE), numbers).await;
    }

    /// Finalizes. Returns whether the server had to read the file back.
    async fn is_read_back(&self) -> bool {
        for step in [Step::Compare, Step::Hash] {
            self.faults.fail(When::Before, step, Cause::Broken);
        }
        let finalized = self.user.finalize(&self.id).await;
        self.faults.heal();
        let done = self.user.finalize(&self.id).await.expect(200).json();
        assert_eq!(done["file"]["sha256"], sha256_hex(&file_bytes(SIZE)));
        match finalized.status.as_u16() {
            200 => false,
            _ => {
                assert_eq!(finalized.problem(), (500, "INTERNAL".to_owned()));
                true
            }
        }
    }
}

#[tokio::test]
async fn parts_that_arrive_slightly_out_of_order_are_hashed_from_memory() {
    let upload = Upload::begin().await;
    upload.put([3, 1, 2, 6, 4, 5]).await;
    upload.put(7..=20).await;
    assert!(!upload.is_read_back().await);
}

#[tokio::test]
async fn up_to_eight_parts_are_buffered_while_an_earlier_part_is_missing() {
    for (waiting, is_read_back) in [(8, false), (9, true)] {
        let upload = Upload::begin().await;
        upload.put(2..2 + waiting).await;
        upload.put([1]).await;
        upload.put(2 + waiting..=20).await;
        assert_eq!(upload.is_read_back().await, is_read_back, "{waiting}");
    }
}

#[tokio::test]
async fn buffered_parts_are_dropped_if_no_part_arrives_between_two_sweeps() {
    for (sweeps, is_read_back) in [(1, false), (2, true)] {
        let upload = Upload::begin().await;
        upload.put([2, 3]).await;
        for _ in 0..sweeps {
            upload.app.service.sweep().await;
        }
        upload.put([1]).await;
        upload.put(4..=20).await;
        assert_eq!(upload.is_read_back().await, is_read_back, "{sweeps}");
    }
}

#[tokio::test]
async fn parts_that_arrived_through_another_node_are_read_back() {
    let upload = Upload::begin().await;
    let other = upload.app.beside().await;
    upload.put(1..=10).await;
    upload.user.at(&other).put_parts(&upload.id, &file_bytes(SIZE), 11..=20).await;
    assert!(upload.is_read_back().await);
}
