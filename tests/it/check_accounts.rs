//! `partway check`: accounts that do not agree with the rows of their owners.

use std::sync::Arc;

use futures_util::future::join_all;
use partway::domain::{OwnerName, Principal};

use crate::{
    check::{found, look, repair},
    support::{FILE, TestApp, TestUser},
};

async fn used(app: &TestApp, owner: &str) -> (u64, u64) {
    let account = app.service.account(&Principal::of_owner(OwnerName::parse(owner).unwrap())).await.unwrap();
    (account.bytes_used, account.open_sessions)
}

#[tokio::test]
async fn a_wrong_account_is_damage_that_a_repair_corrects() {
    for (statement, problem) in [
        ("UPDATE account SET bytes_used = 26 WHERE owner = 'ann'", "it says 26 bytes and 1 open sessions"),
        ("UPDATE account SET bytes_used = -1 WHERE owner = 'ann'", "it says -1 bytes and 1 open sessions"),
        ("UPDATE account SET open_sessions = -3 WHERE owner = 'ann'", "it says 75 bytes and -3 open sessions"),
        ("DELETE FROM account WHERE owner = 'ann'", "it does not exist"),
    ] {
        let app = TestApp::on_disk().await;
        let (user, other) = (app.user("ann").await, app.user("bob").await);
        user.upload(FILE).await;
        user.upload(FILE).await;
        user.create_id(25).await;
        let aborted = user.create_id(1_000).await;
        user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
        other.upload(FILE).await;
        app.service.set_limits("ann", Some(Some(1_000)), None).await.unwrap();
        assert!(look(&app).await.problems.is_empty());
        app.execute(statement).await;
        let report = look(&app).await;
        let what = format!("account ann: {problem}, but the owner uses 75 bytes and 1 open sessions");
        assert_eq!((report.problems.len(), found(&report.problems, &what)), (1, 1), "{report:?}");
        let report = repair(&app).await;
        assert_eq!((report.problems.len(), found(&report.repaired, &what)), (0, 1), "{report:?}");
        assert_eq!((used(&app, "ann").await, used(&app, "bob").await), ((75, 1), (25, 0)));
        if !statement.starts_with("DELETE") {
            let ann = Principal::of_owner(OwnerName::parse("ann").unwrap());
            assert_eq!(app.service.account(&ann).await.unwrap().bytes_limit, Some(1_000), "the limits stay");
        }
        assert!(look(&app).await.problems.is_empty());
    }
}

/// Creates, completes, aborts and deletes.
async fn work(app: TestApp, user: TestUser) {
    let owner = Principal::of_owner(OwnerName::parse("ann").unwrap());
    for _ in 0..8 {
        let aborted = user.create_id(25).await;
        user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
        let done = user.upload(FILE).await;
        let file = done["file"]["file_id"].as_str().unwrap().parse().unwrap();
        app.service.delete_file(&owner, file, |_| true).await.unwrap();
        user.create_id(25).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_check_beside_a_busy_server_finds_no_wrong_account_and_a_repair_is_exact() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    user.create_id(25).await;
    app.execute("UPDATE account SET bytes_used = 7, open_sessions = 7").await;
    let mut busy = Vec::new();
    for _ in 0..4 {
        let other = app.beside().await;
        let user = user.at(&other);
        busy.push(tokio::spawn(work(other, user)));
    }
    let service = Arc::clone(&app.service);
    let repairing = async {
        let options = partway::service::CheckOptions { repairs: true, ..Default::default() };
        service.check(options).await.unwrap()
    };
    let repaired = repairing.await;
    assert_eq!(found(&repaired.repaired, "account ann"), 1, "{repaired:?}");
    while busy.iter().any(|task| !task.is_finished()) {
        let report = look(&app).await;
        assert_eq!(report.problems, []);
    }
    for task in join_all(busy).await {
        task.unwrap();
    }
    assert_eq!(used(&app, "ann").await, (33 * 25, 33));
}
