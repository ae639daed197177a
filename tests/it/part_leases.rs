//! Leases: which of several nodes may put a part into an object store.

use std::time::Duration;

use chrono::TimeDelta;
use partway::config::Config;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{
    AFTER_PART_LEASE, Answer, Cause, Deadline, FILE, Faults, Gate, OTHER, Place, Step, TestApp, TestUser, When,
    assert_finishes, in_time, putting,
};

/// The time after which a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(3);

/// On SQLite a lease expires by the server's clock, which a test can move.
fn on_sqlite(config: &mut Config) {
    config.stores.database = String::new();
}

fn busy() -> (u16, String) {
    (409, "BUSY".to_owned())
}

/// A node whose put of part 1 is blocked, and another node.
struct RunningPut {
    app: TestApp,
    user: TestUser,
    id: String,
    gate: Gate,
    putting: JoinHandle<Answer>,
    other: TestApp,
    other_faults: Faults,
}

impl RunningPut {
    async fn blocked(when: When) -> Self {
        let (app, faults) = TestApp::with_faults_and(&Place::objects(), on_sqlite).await;
        let user = app.user("ann").await;
        let id = user.create_id(FILE.len()).await;
        let other_faults = Faults::default();
        let other = app.beside_with(&other_faults).await;
        // Now both nodes have cached the token, so the test waits only for the part.
        user.at(&other).status(&id).await;
        let gate = faults.hold(when, Step::Persist);
        let putting = putting(&user, &id, 1, OTHER);
        gate.reached().await;
        Self { app, user, id, gate, putting, other, other_faults }
    }

    fn other_user(&self) -> TestUser {
        self.user.at(&self.other)
    }

    async fn lease(&self) -> String {
        self.app.text("SELECT claimed_until FROM upload_part_claim").await
    }
}

/// Advances tokio's timers by this time. Statements that are running in the database do not time out.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_slow_put_renews_its_lease() {
    let running = RunningPut::blocked(When::Before).await;
    let begun = running.lease().await;
    for app in [&running.app, &running.other] {
        app.advance(TimeDelta::seconds(9));
    }
    pass(RENEWAL).await;
    Deadline::new().until("the lease to be renewed", async || running.lease().await != begun).await;
    for app in [&running.app, &running.other] {
        app.advance(TimeDelta::seconds(9));
    }
    let refused = running.other_user().put(&running.id, 1, &FILE[..10]).await;
    assert_eq!(refused.problem(), busy(), "18 seconds after the put began");
    running.gate.open();
    in_time(running.putting).await.unwrap().expect(201);
}

#[tokio::test]
async fn a_put_whose_lease_went_to_another_node_ends_at_its_renewal() {
    let running = RunningPut::blocked(When::Before).await;
    running.other.advance(AFTER_PART_LEASE);
    let other = running.other_user();
    other.put(&running.id, 1, &FILE[..10]).await.expect(201);
    pass(RENEWAL).await;
    // The gate is closed, so the store has received no request.
    assert_eq!(in_time(running.putting).await.unwrap().problem(), busy());
    other.put_parts(&running.id, FILE, [2, 3]).await;
    assert_finishes(&other, &running.id).await;
}

#[tokio::test]
async fn a_put_whose_lease_went_to_another_node_is_not_recorded() {
    let running = RunningPut::blocked(When::After).await;
    running.other.advance(AFTER_PART_LEASE);
    let other = running.other_user();
    let others_gate = running.other_faults.hold(When::Before, Step::Persist);
    let others = putting(&other, &running.id, 1, &FILE[..10]);
    others_gate.reached().await;
    running.gate.open();
    assert_eq!(in_time(running.putting).await.unwrap().problem(), busy());
    assert_eq!(running.user.status(&running.id).await["received_parts"], json!([]));
    others_gate.open();
    others.await.unwrap().expect(201);
    other.put_parts(&running.id, FILE, [2, 3]).await;
    assert_finishes(&other, &running.id).await;
}

/// The bytes of a put without a response may still reach the store.
#[tokio::test]
async fn a_put_without_a_response_blocks_the_part_until_its_lease_expires() {
    for when in [When::Before, When::After] {
        let (app, faults) = TestApp::with_faults_and(&Place::objects(), on_sqlite).await;
        let user = app.user("ann").await;
        let id = user.create_id(FILE.len()).await;
        faults.fail(when, Step::Persist, Cause::Silent);
        assert_eq!(user.put(&id, 1, OTHER).await.problem(), (503, "UNAVAILABLE".to_owned()));
        faults.heal();
        assert_eq!(user.put(&id, 1, &FILE[..10]).await.problem(), busy());
        assert_eq!(user.status(&id).await["received_parts"], json!([]));
        app.advance(AFTER_PART_LEASE);
        user.put_parts(&id, FILE, 1..=3).await;
        assert_finishes(&user, &id).await;
    }
}
