//! Webhooks: what is sent, to whom, and what follows from the answer.

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;
use partway::{
    domain::{Principal, Webhook},
    service::{Delivered, Replay},
};

use crate::support::{Receiver, Reply, TestApp, TestUser, file_bytes, in_time};

const NONE: Delivered = Delivered { delivered: 0, failed: 0, dead: 0, gone: 0 };
const ONE: Delivered = Delivered { delivered: 1, ..NONE };
const ONE_FAILED: Delivered = Delivered { failed: 1, ..NONE };

async fn add(app: &TestApp, receiver: &Receiver) -> Webhook {
    app.service.add_webhook(&receiver.url, &[], None).await.unwrap()
}

/// The shortest way to an event.
async fn abort(user: &TestUser) -> String {
    let id = user.create_id(10).await;
    user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    id
}

async fn deliver(app: &TestApp) -> Delivered {
    in_time(app.service.deliver_due()).await
}

#[tokio::test]
async fn a_message_is_the_event_of_the_feed_signed_by_the_secret() {
    let (app, receiver) = (TestApp::on_disk().await, Receiver::start().await);
    let (user, webhook) = (app.user("ann").await, add(&app, &receiver).await);
    let session = user.upload(&file_bytes(25)).await;
    assert_eq!(deliver(&app).await, ONE);

    let [message] = receiver.received().try_into().unwrap();
    assert!(message.is_signed_by(&webhook.secret.reveal()));
    assert_eq!(message.header("webhook-signature").split(' ').count(), 1);
    assert_eq!(message.header("content-type"), "application/json");
    assert_eq!(message.header("user-agent"), concat!("partway/", env!("CARGO_PKG_VERSION")));
    assert_eq!(message.header("content-length"), message.body.len().to_string());
    let body = message.json();
    assert_eq!(body["type"], "upload.completed");
    assert_eq!(body["data"]["session_id"], session["session_id"]);
    assert_eq!(body["data"]["crc64nvme"], session["file"]["crc64nvme"]);
    assert!(body["data"]["crc64nvme"].is_string());
    assert_eq!(body["data"]["owner"], "ann");
    let feed = app.service.events(&principal("ann"), None, 10).await.unwrap();
    assert_eq!(message.id(), feed.events[0].id.to_string());
    assert!(message.body.ends_with(&format!(r#","data":{}}}"#, feed.events[0].data)));

    assert_eq!(deliver(&app).await, NONE, "what is delivered is not sent again");
}

fn principal(owner: &str) -> Principal {
    Principal::of_owner(partway::domain::OwnerName::parse(owner).unwrap())
}

#[tokio::test]
async fn a_failed_event_is_sent_again_with_the_same_id_and_body_until_it_is_accepted() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let (user, webhook) = (app.user("ann").await, add(&app, &receiver).await);
    receiver.reply([Reply::Status(500), Reply::Status(503)]);
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE_FAILED);
    app.advance(TimeDelta::seconds(4));
    assert_eq!(deliver(&app).await, NONE);
    app.advance(TimeDelta::seconds(2));
    assert_eq!(deliver(&app).await, ONE_FAILED);
    app.advance(TimeDelta::minutes(4));
    assert_eq!(deliver(&app).await, NONE);
    app.advance(TimeDelta::seconds(95));
    assert_eq!(deliver(&app).await, ONE);

    let [first, second, third] = receiver.received().try_into().unwrap();
    let times: Vec<i64> =
        [&first, &second, &third].map(|message| message.header("webhook-timestamp").parse().unwrap()).to_vec();
    assert_eq!([times[1] - times[0], times[2] - times[1]], [6, 335]);
    for message in [&second, &third] {
        assert_eq!((message.id(), &message.body), (first.id(), &first.body));
        assert!(message.is_signed_by(&webhook.secret.reveal()));
    }
}

#[tokio::test]
async fn a_receiver_can_ask_for_more_time() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    receiver.reply([Reply::With(429, "retry-after", "3600"), Reply::With(503, "retry-after", "1")]);
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE_FAILED);
    app.advance(TimeDelta::seconds(3_599));
    assert_eq!(deliver(&app).await, NONE);
    app.advance(TimeDelta::seconds(1));
    assert_eq!(deliver(&app).await, ONE_FAILED);
    app.advance(TimeDelta::minutes(4));
    assert_eq!(deliver(&app).await, NONE, "not for less time");
    app.advance(TimeDelta::minutes(2));
    assert_eq!(deliver(&app).await, ONE);
}

#[tokio::test]
async fn a_receiver_that_is_gone_gets_nothing_until_a_test_succeeds() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let (user, webhook) = (app.user("ann").await, add(&app, &receiver).await);
    receiver.reply([Reply::Status(500), Reply::Status(410), Reply::Status(410)]);
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE_FAILED);
    abort(&user).await;
    assert_eq!(deliver(&app).await, Delivered { gone: 1, ..NONE });
    abort(&user).await;
    app.advance(TimeDelta::days(1));
    assert_eq!(deliver(&app).await, NONE);
    let [listed] = app.service.webhooks().await.unwrap().try_into().unwrap();
    assert!(listed.webhook.disabled_at.is_some());
    assert_eq!((listed.pending, listed.dead), (0, 2), "what was pending is dead; later events are not recorded");
    let refused = app.service.replay_events(Replay::Dead, Some(webhook.id)).await.unwrap_err();
    assert!(refused.message().contains("disabled"), "{}", refused.message());
    assert_eq!(app.service.replay_events(Replay::Dead, None).await.unwrap(), 0);

    let test = app.service.test_webhook(webhook.id).await.unwrap();
    assert!(!test.enabled && test.status == Some(410), "{test:?}");
    let test = app.service.test_webhook(webhook.id).await.unwrap();
    assert!(test.enabled && test.problem.is_none(), "{test:?}");
    assert_eq!(receiver.received().last().unwrap().json()["type"], "webhook.test");
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE);
    assert_eq!(app.service.replay_events(Replay::Dead, None).await.unwrap(), 2);
    assert_eq!(deliver(&app).await, Delivered { delivered: 2, ..NONE });
    assert_eq!(
        app.service.replay_events(Replay::Last(TimeDelta::days(2)), None).await.unwrap(),
        4,
        "with the missed one"
    );
    assert_eq!(deliver(&app).await, Delivered { delivered: 4, ..NONE });
}

#[tokio::test]
async fn after_ten_attempts_a_delivery_is_dead_and_can_be_replayed() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let (user, webhook) = (app.user("ann").await, add(&app, &receiver).await);
    receiver.always(Reply::Status(500));
    abort(&user).await;
    for _ in 1..10 {
        assert_eq!(deliver(&app).await, ONE_FAILED);
        app.advance(TimeDelta::hours(27));
    }
    assert_eq!(deliver(&app).await, Delivered { dead: 1, ..NONE });
    app.advance(TimeDelta::days(9));
    assert_eq!(deliver(&app).await, NONE);
    assert_eq!(receiver.received().len(), 10);

    let [dead] = app.service.dead_deliveries(None).await.unwrap().try_into().unwrap();
    assert_eq!((dead.webhook, dead.attempts, dead.last_status), (webhook.id, 10, Some(500)));
    assert_eq!((dead.event_type.as_str(), dead.last_error.as_deref()), ("upload.aborted", Some("status 500")));
    assert_eq!(dead.event.to_string(), receiver.received()[0].id());
    assert!(app.service.dead_deliveries(Some(&dead)).await.unwrap().is_empty());

    receiver.always(Reply::Accept);
    assert_eq!(app.service.replay_events(Replay::Dead, Some(webhook.id)).await.unwrap(), 1);
    assert_eq!(deliver(&app).await, ONE);
    assert_eq!(app.service.replay_events(Replay::Event(dead.event), None).await.unwrap(), 1, "a delivered one too");
    assert_eq!(deliver(&app).await, ONE);
    let messages = receiver.received();
    assert!(messages.iter().all(|message| message.body == messages[0].body && message.id() == messages[0].id()));
}

#[tokio::test]
async fn a_webhook_gets_only_its_types_and_the_events_of_its_owner() {
    let app = TestApp::on_disk().await;
    let [all, of_ann, aborted, of_bob] =
        [Receiver::start().await, Receiver::start().await, Receiver::start().await, Receiver::start().await];
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let types = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    abort(&ann).await;
    add(&app, &all).await;
    app.service.add_webhook(&of_ann.url, &[], Some("ann")).await.unwrap();
    app.service.add_webhook(&aborted.url, &types(&["upload.aborted", "file.deleted"]), None).await.unwrap();
    app.service.add_webhook(&of_bob.url, &types(&["upload.completed"]), Some("bob")).await.unwrap();
    assert_eq!(deliver(&app).await, NONE, "what happened before is not sent");
    ann.upload(&file_bytes(5)).await;
    abort(&bob).await;
    assert_eq!(deliver(&app).await, Delivered { delivered: 4, ..NONE });
    assert_eq!(all.types(), ["upload.aborted", "upload.completed"]);
    assert_eq!(of_ann.types(), ["upload.completed"]);
    assert_eq!(aborted.types(), ["upload.aborted"]);
    assert_eq!(of_bob.types(), [] as [&str; 0]);
    // A replay applies the same filters.
    assert_eq!(app.service.replay_events(Replay::Last(TimeDelta::hours(1)), None).await.unwrap(), 7);
    assert_eq!(deliver(&app).await, Delivered { delivered: 7, ..NONE });
    assert_eq!(of_ann.types().len(), 3);
}

#[tokio::test]
async fn a_removed_webhook_gets_nothing_more() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let (user, webhook) = (app.user("ann").await, add(&app, &receiver).await);
    receiver.reply([Reply::Status(500)]);
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE_FAILED);
    app.service.remove_webhook(webhook.id).await.unwrap();
    abort(&user).await;
    app.advance(TimeDelta::days(1));
    assert_eq!(deliver(&app).await, NONE);
    assert_eq!(receiver.received().len(), 1);
    assert!(app.service.webhooks().await.unwrap().is_empty());
    for unknown in [
        app.service.remove_webhook(webhook.id).await.unwrap_err(),
        app.service.rotate_webhook(webhook.id).await.unwrap_err(),
        app.service.test_webhook(webhook.id).await.unwrap_err(),
        app.service.replay_events(Replay::Dead, Some(webhook.id)).await.unwrap_err(),
    ] {
        assert_eq!((unknown.code().as_str(), unknown.message()), ("NOT_FOUND", "there is no such webhook"));
    }
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_for_a_day() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let (user, webhook) = (app.user("ann").await, add(&app, &receiver).await);
    let (old, new) = (webhook.secret.reveal(), app.service.rotate_webhook(webhook.id).await.unwrap().reveal());
    for (hours, both) in [(0, true), (23, true), (1, false)] {
        app.advance(TimeDelta::hours(hours));
        abort(&user).await;
        assert_eq!(deliver(&app).await, ONE);
        let message = receiver.received().pop().unwrap();
        assert!(message.is_signed_by(&new));
        assert_eq!(message.is_signed_by(&old), both, "{hours}");
        assert_eq!(message.header("webhook-signature").split(' ').count(), if both { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (app, receiver, other) = (TestApp::new().await, Receiver::start().await, Receiver::start().await);
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    let location: &'static str = other.url.clone().leak();
    receiver.reply([302, 307].map(|status| Reply::With(status, "location", location)));
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE_FAILED);
    app.advance(TimeDelta::seconds(6));
    assert_eq!(deliver(&app).await, ONE_FAILED);
    assert_eq!((receiver.received().len(), other.received().len()), (2, 0));
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_only_itself_and_is_tried_again() {
    let app = TestApp::with(|config| config.webhooks.timeout = Duration::from_millis(300)).await;
    let (hanging, other) = (Receiver::start().await, Receiver::start().await);
    let user = app.user("ann").await;
    let webhook = add(&app, &hanging).await;
    add(&app, &other).await;
    hanging.always(Reply::Hang);
    for _ in 0..9 {
        abort(&user).await;
    }
    let tasks = app.service.start_deliveries().await.unwrap();
    assert_eq!(tasks.len(), 2);
    hanging.wait_for(8).await;
    other.wait_for(9).await;
    abort(&user).await;
    app.service.start_deliveries().await.unwrap();
    other.wait_for(10).await;
    for task in tasks {
        in_time(task).await.unwrap();
    }
    let hung = hanging.received().len();
    assert!((9..=10).contains(&hung), "{hung}");

    app.advance(TimeDelta::seconds(6));
    hanging.always(Reply::Accept);
    let sent = deliver(&app).await.delivered;
    assert!((9..=10).contains(&sent), "{sent}");
    let ids = |receiver: &Receiver| {
        receiver.received().iter().map(|message| message.id().to_owned()).collect::<BTreeSet<String>>()
    };
    assert_eq!(ids(&hanging), ids(&other));
    let test = app.service.test_webhook(webhook.id).await.unwrap();
    assert_eq!(test.problem, None);
    hanging.always(Reply::Hang);
    let test = app.service.test_webhook(webhook.id).await.unwrap();
    assert_eq!(test.problem.unwrap(), "no answer within 300ms");
}

#[tokio::test]
async fn two_nodes_send_each_event_once() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let other = app.beside().await;
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    for _ in 0..30 {
        abort(&user).await;
    }
    let (one, two) = tokio::join!(deliver(&app), deliver(&other));
    assert_eq!(one.delivered + two.delivered, 30, "{one:?} {two:?}");
    let ids: BTreeSet<String> = receiver.received().iter().map(|message| message.id().to_owned()).collect();
    assert_eq!((ids.len(), receiver.received().len()), (30, 30));
}

#[tokio::test]
async fn what_a_dead_node_was_sending_is_sent_by_another_one_after_its_lease() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    abort(&user).await;
    receiver.reply([Reply::Hang]);
    let _sending = app.service.start_deliveries().await.unwrap();
    receiver.wait_for(1).await;
    let other = app.beside().await;
    assert_eq!(deliver(&other).await, NONE, "the other node has a lease");
    other.advance(TimeDelta::seconds(15));
    assert_eq!(deliver(&other).await, NONE);
    other.advance(TimeDelta::seconds(16));
    assert_eq!(deliver(&other).await, ONE);
    let [first, second] = receiver.received().try_into().unwrap();
    assert_eq!((first.id(), &first.body), (second.id(), &second.body));
}

#[tokio::test]
async fn an_event_that_was_committed_before_a_crash_is_sent_after_the_restart() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    abort(&user).await;
    let app = app.restarted().await;
    assert_eq!(deliver(&app).await, ONE);
    assert_eq!(deliver(&app.restarted().await).await, NONE);
}

#[tokio::test]
async fn bad_input_is_refused_with_its_reason() {
    let app = TestApp::new().await;
    let add = async |url: &str, event: Option<&str>, owner: Option<&str>| {
        let types: Vec<String> = event.into_iter().map(str::to_owned).collect();
        app.service.add_webhook(url, &types, owner).await.unwrap_err().message().to_owned()
    };
    for (url, problem) in [
        ("example.org", "url: not a URL such as https://example.org/hook"),
        ("http://example.org", "url: a URL that begins with https://; http:// is only for localhost"),
        ("https://me@example.org", "url: a URL without user, password and fragment"),
        (
            "https://10.0.0.1",
            "url: the address is not one that the server may send to; webhook_allow_private allows private ones",
        ),
    ] {
        assert_eq!(add(url, None, None).await, problem);
    }
    assert_eq!(
        add("https://example.org", Some("upload.created"), None).await,
        "events: there is no type \"upload.created\"; the types are upload.completed, upload.failed, upload.aborted, \
         upload.expired, file.deleted"
    );
    assert!(add("https://example.org", None, Some("two words")).await.starts_with("owner: "));
    let unknown = "evt_01890000-0000-7000-8000-00000000000a".parse().unwrap();
    let unknown = app.service.replay_events(Replay::Event(unknown), None).await.unwrap_err();
    assert_eq!(unknown.message(), "there is no such event");
}

/// The setting may have been changed after the webhook was added.
#[tokio::test]
async fn an_address_that_is_no_longer_allowed_gets_nothing() {
    let app = TestApp::with(|config| config.webhooks.allow_private = true).await;
    let user = app.user("ann").await;
    let webhook = app.service.add_webhook("http://10.255.255.1/", &[], None).await.unwrap();
    abort(&user).await;
    let mut config = app.config.clone();
    config.webhooks.allow_private = false;
    let strict = app.beside_with_config(config).await;
    assert_eq!(deliver(&strict).await, ONE_FAILED);
    let refused = strict.service.test_webhook(webhook.id).await.unwrap_err();
    assert!(refused.message().starts_with("url: "), "{}", refused.message());
}

#[tokio::test]
async fn the_metrics_tell_what_waits_and_what_is_dead() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    let metrics = async || {
        app.service.sweep().await;
        let text = user.get("/metrics").await.expect(200).text();
        ["deliveries_pending ", "oldest_pending_seconds ", "deliveries_dead "].map(|name| {
            let line = text.lines().find_map(|line| line.strip_prefix("partway_webhook_")?.strip_prefix(name));
            line.unwrap().parse::<u64>().unwrap()
        })
    };
    assert_eq!(metrics().await, [0, 0, 0]);
    abort(&user).await;
    receiver.reply([Reply::Status(500), Reply::Status(500), Reply::Status(410)]);
    assert_eq!(deliver(&app).await, ONE_FAILED);
    app.advance(TimeDelta::seconds(4));
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE_FAILED);
    assert_eq!(metrics().await, [2, 4, 0]);
    app.advance(TimeDelta::seconds(2));
    assert_eq!(deliver(&app).await, Delivered { gone: 1, ..NONE });
    assert_eq!(metrics().await, [0, 0, 2]);
    let text = user.get("/metrics").await.expect(200).text();
    for (outcome, count) in [("Failed", 2), ("Gone", 1)] {
        assert!(text.contains(&format!("partway_webhook_attempts_total{{outcome=\"{outcome}\"}} {count}")), "{text}");
    }
}

/// A command and the server number events and write deliveries at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replay_works_while_the_server_is_busy() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let (command, user) = (app.beside().await, app.user("ann").await);
    add(&app, &receiver).await;
    abort(&user).await;
    let uploads = async {
        for _ in 0..60 {
            abort(&user).await;
        }
    };
    let replays = async {
        for _ in 0..60 {
            command.service.replay_events(Replay::Last(TimeDelta::hours(1)), None).await.unwrap();
        }
    };
    let deliveries = async {
        for _ in 0..10 {
            deliver(&app).await;
        }
    };
    tokio::join!(uploads, replays, deliveries);
    // The clock of the command began later.
    app.advance(TimeDelta::minutes(1));
    deliver(&app).await;
    let ids: BTreeSet<String> = receiver.received().iter().map(|message| message.id().to_owned()).collect();
    assert_eq!(ids.len(), 61);
}

#[tokio::test]
async fn an_answer_without_an_end_is_accepted_soon() {
    // Longer than the test may take.
    let app = TestApp::with(|config| config.webhooks.timeout = Duration::from_mins(5)).await;
    let receiver = Receiver::start().await;
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    receiver.reply([Reply::Endless]);
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE);
}

#[tokio::test]
async fn a_request_that_hangs_delays_no_later_event_of_its_webhook() {
    let app = TestApp::with(|config| config.webhooks.timeout = Duration::from_mins(5)).await;
    let receiver = Receiver::start().await;
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    receiver.reply([Reply::Hang]);
    abort(&user).await;
    let tasks = app.service.start_deliveries().await.unwrap();
    assert_eq!(tasks.len(), 1);
    receiver.wait_for(1).await;
    abort(&user).await;
    // The webhook has a task already.
    assert!(app.service.start_deliveries().await.unwrap().is_empty());
    receiver.wait_for(2).await;
}

#[tokio::test]
async fn an_event_that_must_still_be_sent_is_not_removed_because_of_its_age() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    receiver.reply([Reply::Status(503)]);
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE_FAILED);
    app.advance(TimeDelta::days(60));
    app.service.sweep().await;
    assert_eq!(deliver(&app).await, ONE);
    app.service.sweep().await;
    assert_eq!(user.get("/events").await.expect(200).json()["events"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn an_invalid_row_of_a_webhook_or_an_event_stops_no_other_one() {
    let (app, receiver, other) = (TestApp::new().await, Receiver::start().await, Receiver::start().await);
    app.expect_damage();
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    app.service.add_webhook(&other.url, &[], Some("ann")).await.unwrap();
    app.execute("UPDATE webhook SET secret = 'nonsense' WHERE owner IS NULL").await;
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE);
    abort(&user).await;
    app.execute("UPDATE event SET event_type = 'nonsense' WHERE position IS NULL").await;
    abort(&user).await;
    assert_eq!(deliver(&app).await, Delivered { delivered: 1, failed: 1, ..NONE });
    assert_eq!((receiver.received().len(), other.received().len()), (0, 2));
    assert_eq!(app.service.webhooks().await.unwrap().len(), 1);
}

/// A crash between the two steps of disabling leaves pending deliveries.
#[tokio::test]
async fn the_sweep_makes_dead_what_a_disabled_webhook_does_not_get() {
    let (app, receiver) = (TestApp::new().await, Receiver::start().await);
    let user = app.user("ann").await;
    add(&app, &receiver).await;
    receiver.reply([Reply::Status(500)]);
    abort(&user).await;
    assert_eq!(deliver(&app).await, ONE_FAILED);
    app.execute("UPDATE webhook SET disabled_at = created_at").await;
    app.advance(TimeDelta::minutes(1));
    assert_eq!(deliver(&app).await, NONE);
    app.service.sweep().await;
    let [dead] = app.service.dead_deliveries(None).await.unwrap().try_into().unwrap();
    assert_eq!((dead.attempts, dead.last_error.as_deref()), (1, Some("the webhook is disabled")));
}
