//! Leases: which of several nodes may put a part into an object store.

use std::time::Duration;

use chrono::TimeDelta;
use partway::config::Config;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{
    Answer, Cause, Deadline, Faults, Gate, Place, Step, TestApp, TestUser, When, in_time, sha256_hex,
};

/// Three parts of 10 bytes, but for the last.
const FILE: &[u8] = b"0123456789abcdefghijKLMNO";
const OTHER: &[u8] = b"XXXXXXXXXX";
/// Longer than the lease on a part.
const LEASE_IS_OVER: TimeDelta = TimeDelta::seconds(11);
/// After which a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(3);

/// A lease ends by the server's clock on SQLite alone, and that is the one which a test can move.
fn on_sqlite(config: &mut Config) {
    config.stores.database = String::new();
}

fn busy() -> (u16, String) {
    (409, "BUSY".to_owned())
}

fn putting(user: &TestUser, id: &str, number: u32, bytes: &'static [u8]) -> JoinHandle<Answer> {
    let (user, id) = (user.clone(), id.to_owned());
    tokio::spawn(async move { user.put(&id, number, bytes).await })
}

async fn assert_finishes(user: &TestUser, id: &str) {
    assert_eq!(user.finalize(id).await.expect(200).json()["file"]["sha256"], sha256_hex(FILE));
}

/// Part 1 on its way from one node, held at this side of the put, and another node.
struct UnderWay {
    app: TestApp,
    user: TestUser,
    id: String,
    gate: Gate,
    putting: JoinHandle<Answer>,
    other: TestApp,
    other_faults: Faults,
}

impl UnderWay {
    async fn held(when: When) -> Self {
        let (app, faults) = TestApp::with_faults_and(&Place::objects(), on_sqlite).await;
        let user = app.user("ann").await;
        let id = user.create_id(FILE.len()).await;
        let other_faults = Faults::default();
        let other = app.beside_with(&other_faults).await;
        // Both nodes know the token and the session: from here on, only the part is waited for.
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

/// Lets this much time pass for timers; what is under way in the database takes none of it.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_slow_put_renews_its_lease() {
    let under_way = UnderWay::held(When::Before).await;
    let begun = under_way.lease().await;
    for app in [&under_way.app, &under_way.other] {
        app.advance(TimeDelta::seconds(9));
    }
    pass(RENEWAL).await;
    Deadline::new().until("the lease to be renewed", async || under_way.lease().await != begun).await;
    for app in [&under_way.app, &under_way.other] {
        app.advance(TimeDelta::seconds(9));
    }
    let refused = under_way.other_user().put(&under_way.id, 1, &FILE[..10]).await;
    assert_eq!(refused.problem(), busy(), "18 seconds after it began");
    under_way.gate.open();
    in_time(under_way.putting).await.unwrap().expect(201);
}

#[tokio::test]
async fn a_put_whose_lease_went_to_another_node_ends_at_its_renewal() {
    let under_way = UnderWay::held(When::Before).await;
    under_way.other.advance(LEASE_IS_OVER);
    let other = under_way.other_user();
    other.put(&under_way.id, 1, &FILE[..10]).await.expect(201);
    pass(RENEWAL).await;
    // The gate is closed: the store has not been asked.
    assert_eq!(in_time(under_way.putting).await.unwrap().problem(), busy());
    other.put_parts(&under_way.id, FILE, [2, 3]).await;
    assert_finishes(&other, &under_way.id).await;
}

#[tokio::test]
async fn a_put_whose_lease_went_to_another_node_is_not_recorded() {
    let under_way = UnderWay::held(When::After).await;
    under_way.other.advance(LEASE_IS_OVER);
    let other = under_way.other_user();
    let others_gate = under_way.other_faults.hold(When::Before, Step::Persist);
    let others = putting(&other, &under_way.id, 1, &FILE[..10]);
    others_gate.reached().await;
    under_way.gate.open();
    assert_eq!(in_time(under_way.putting).await.unwrap().problem(), busy());
    assert_eq!(under_way.user.status(&under_way.id).await["received_parts"], json!([]));
    others_gate.open();
    others.await.unwrap().expect(201);
    other.put_parts(&under_way.id, FILE, [2, 3]).await;
    assert_finishes(&other, &under_way.id).await;
}

/// The bytes may still be on their way to the store.
#[tokio::test]
async fn a_put_without_an_answer_keeps_the_part_from_others_until_its_lease_ends() {
    for when in [When::Before, When::After] {
        let (app, faults) = TestApp::with_faults_and(&Place::objects(), on_sqlite).await;
        let user = app.user("ann").await;
        let id = user.create_id(FILE.len()).await;
        faults.fail(when, Step::Persist, Cause::Silent);
        assert_eq!(user.put(&id, 1, OTHER).await.problem(), (503, "UNAVAILABLE".to_owned()));
        faults.heal();
        assert_eq!(user.put(&id, 1, &FILE[..10]).await.problem(), busy());
        assert_eq!(user.status(&id).await["received_parts"], json!([]));
        app.advance(LEASE_IS_OVER);
        user.put_parts(&id, FILE, 1..=3).await;
        assert_finishes(&user, &id).await;
    }
}
