//! The file's SHA-256 while parts land in an object store: from memory while they come about in order, by reading the file
//! back where they do not.

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
        let (app, faults) = TestApp::with_faults(&Place::objects()).await;
        let user = app.user("ann").await;
        let id = user.create_id(SIZE).await;
        Self { app, faults, user, id }
    }

    async fn put(&self, numbers: impl IntoIterator<Item = u32>) {
        self.user.put_parts(&self.id, &file_bytes(SIZE), numbers).await;
    }

    /// Finalizes, and answers whether the file had to be read back for it.
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
async fn parts_that_come_out_of_order_are_hashed_from_memory() {
    let upload = Upload::begin().await;
    upload.put([3, 1, 2, 6, 4, 5]).await;
    upload.put(7..=20).await;
    assert!(!upload.is_read_back().await);
}

#[tokio::test]
async fn eight_parts_wait_in_memory_for_one_before_them_and_not_nine() {
    for (waiting, is_read_back) in [(8, false), (9, true)] {
        let upload = Upload::begin().await;
        upload.put(2..2 + waiting).await;
        upload.put([1]).await;
        upload.put(2 + waiting..=20).await;
        assert_eq!(upload.is_read_back().await, is_read_back, "{waiting}");
    }
}

#[tokio::test]
async fn parts_that_wait_are_dropped_once_nothing_comes_between_two_sweeps() {
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
async fn parts_that_came_through_another_node_are_read_back() {
    let upload = Upload::begin().await;
    let other = upload.app.beside().await;
    upload.put(1..=10).await;
    upload.user.at(&other).put_parts(&upload.id, &file_bytes(SIZE), 11..=20).await;
    assert!(upload.is_read_back().await);
}
