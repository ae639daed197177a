//! Appends: bytes in the order of the file, on a folder and on an object store.

use std::sync::Arc;

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use partway::{
    config::Config,
    domain::{OwnerName, Principal, SessionId, SessionStatus},
    error::{Code, Error, Result},
    service::{Append, Appended, BodyFault, Service},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{
    AFTER_PART_LEASE, Cause, FILE, Faults, Place, Step, TestApp, TestUser, When, assert_finishes, content, file_bytes,
    sha256_hex,
};

const CHUNK: usize = 10;
/// A file of the same size with other bytes.
const OTHER: &[u8] = b"XXXXXXXXXXXXXXXXXXXXXXXXX";

type Body = stream::BoxStream<'static, Result<Bytes, BodyFault>>;

/// An app on one place, a session of `FILE`, and its owner.
struct Case {
    app: TestApp,
    faults: Faults,
    user: TestUser,
    place: Place,
    id: SessionId,
}

impl Case {
    async fn each() -> Vec<Self> {
        let mut cases = Vec::new();
        for place in Place::each() {
            cases.push(Self::on(&place).await);
        }
        cases
    }

    async fn on(place: &Place) -> Self {
        let (app, faults) = TestApp::with_faults(place).await;
        let user = app.user("ann").await;
        let id = user.create_id(FILE.len()).await.parse().unwrap();
        Self { app, faults, user, place: place.clone(), id }
    }

    fn is_folder(&self) -> bool {
        matches!(self.place, Place::Folder)
    }

    async fn append(&self, offset: usize, bytes: &[u8]) -> Result<Appended> {
        self.send(offset, whole(bytes)).await
    }

    async fn send(&self, offset: usize, body: Body) -> Result<Appended> {
        append(&self.app.service, self.id, offset, body, false).await
    }

    async fn send_verified(&self, offset: usize, body: Body) -> Result<Appended> {
        append(&self.app.service, self.id, offset, body, true).await
    }

    /// The received parts, and the number of contiguous bytes.
    async fn state(&self) -> (Value, u64) {
        let status = self.status().await;
        (status["received_parts"].clone(), status["contiguous_bytes"].as_u64().unwrap())
    }

    async fn status(&self) -> Value {
        self.user.status(&self.id.to_string()).await
    }

    async fn put(&self, number: u32, bytes: &[u8]) -> u16 {
        self.user.put(&self.id.to_string(), number, bytes).await.status.as_u16()
    }

    async fn assert_finishes(&self) {
        assert_finishes(&self.user, &self.id.to_string()).await;
    }
}

fn ann() -> Principal {
    Principal::of_owner(OwnerName::parse("ann").unwrap())
}

async fn append(
    service: &Arc<Service>,
    id: SessionId,
    offset: usize,
    body: Body,
    is_verified: bool,
) -> Result<Appended> {
    let append = Append { offset: offset as u64, declared_bytes: None, is_verified, finalizes: false, body };
    service.append(&ann(), id, append).await
}

/// A body in pieces of 3 bytes, which never end where a part ends.
fn pieces(bytes: &[u8]) -> impl Stream<Item = Result<Bytes, BodyFault>> + Send + use<> {
    let pieces: Vec<_> = bytes.chunks(3).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

fn whole(bytes: &[u8]) -> Body {
    pieces(bytes).boxed()
}

/// A body that ends with a fault after these bytes.
fn cut(bytes: &[u8], fault: BodyFault) -> Body {
    pieces(bytes).chain(stream::once(async { Err(fault) })).boxed()
}

/// A body to which the test adds bytes. It ends when the sender is dropped.
fn open_body() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (sender, stream::poll_fn(move |cx| receiver.poll_recv(cx)).map(Ok).boxed())
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code()
}

/// The offset that the server needs, from the error of an append.
fn expected_offset(result: Result<Appended>) -> u64 {
    let error = result.unwrap_err();
    assert_eq!(error.code(), Code::OffsetMismatch);
    error.details()["expected_offset"].as_u64().unwrap()
}

#[tokio::test]
async fn appends_of_any_length_become_the_same_parts_as_requests_for_whole_parts() {
    for case in Case::each().await {
        for (begin, end) in [(0, 7), (7, 8), (8, 8), (8, 25)] {
            let appended = case.append(begin, &FILE[begin..end]).await.unwrap();
            assert_eq!(appended.offset, end as u64);
        }
        assert_eq!(case.state().await, (json!(["1-3"]), 25));
        let parts = case.user.get(&format!("/uploads/sessions/{}/parts", case.id)).await.expect(200).json();
        for (part, bytes) in parts["parts"].as_array().unwrap().iter().zip(FILE.chunks(CHUNK)) {
            assert_eq!(part["sha256"], sha256_hex(bytes));
        }
        case.assert_finishes().await;
    }
}

#[tokio::test]
async fn the_tail_counts_as_contiguous_and_as_no_part() {
    for case in Case::each().await {
        case.append(0, &FILE[..13]).await.unwrap();
        let status = case.status().await;
        assert_eq!((&status["received_parts"], &status["bytes_received"]), (&json!(["1"]), &json!(10)));
        assert_eq!((&status["contiguous_bytes"], &status["status"]), (&json!(13), &json!("IN_PROGRESS")));
        let query = "query($id: ID!) { uploadSession(id: $id) { contiguousBytes receivedPartsText } }";
        let seen = case.user.data(query, json!({ "id": case.id.to_string() })).await;
        assert_eq!(seen["uploadSession"], json!({ "contiguousBytes": "13", "receivedPartsText": "1" }));
        let refused = case.user.finalize(&case.id.to_string()).await;
        assert_eq!(refused.problem(), (409, "PARTS_MISSING".to_owned()));
    }
}

#[tokio::test]
async fn a_tail_alone_makes_the_session_in_progress_and_renews_its_time() {
    for case in Case::each().await {
        let before = case.status().await;
        case.app.advance(TimeDelta::hours(1));
        case.append(0, &FILE[..1]).await.unwrap();
        let after = case.status().await;
        assert_eq!((&before["status"], &after["status"]), (&json!("INIT"), &json!("IN_PROGRESS")));
        assert!(before["expires_at"].as_str() < after["expires_at"].as_str());
        assert_eq!(after["version"], 2);
    }
}

#[tokio::test]
async fn a_body_that_is_cut_keeps_what_has_arrived() {
    for case in Case::each().await {
        let stopped = case.send(0, cut(&FILE[..17], BodyFault::Stopped)).await;
        assert_eq!(code(stopped), Code::Unavailable);
        assert_eq!(case.state().await, (json!(["1"]), 17));
        let refused = case.send(17, cut(&FILE[17..19], BodyFault::Refused(Error::malformed("a bad chunk")))).await;
        assert_eq!(code(refused), Code::InvalidInput);
        assert_eq!(case.state().await, (json!(["1"]), 19));
        // All bytes have arrived, but not the end of the body.
        assert_eq!(code(case.send(19, cut(&FILE[19..], BodyFault::Stopped)).await), Code::Unavailable);
        assert_eq!(case.state().await, (json!(["1-3"]), 25));
        case.assert_finishes().await;
    }
}

#[tokio::test]
async fn a_verified_body_records_nothing_before_its_end() {
    for case in Case::each().await {
        for fault in [BodyFault::Stopped, BodyFault::Refused(Error::malformed("a wrong digest"))] {
            assert!(case.send_verified(0, cut(FILE, fault)).await.is_err());
            assert_eq!(case.state().await, (json!([]), 0));
        }
        assert_eq!(case.send_verified(0, whole(&FILE[..22])).await.unwrap().offset, 22);
        assert_eq!(case.state().await, (json!(["1-2"]), 22));
        case.send_verified(22, whole(&FILE[22..])).await.unwrap();
        case.assert_finishes().await;
    }
}

#[tokio::test]
async fn a_verified_body_holds_a_share_of_the_memory_for_parts_at_most() {
    const KIB: usize = 1024;
    let chunks_of_1_kib = |config: &mut Config| config.limits.chunk_size = bytesize::ByteSize::kib(1);
    // An eighth of it are 8 parts.
    let (app, _) = TestApp::with_faults_and(&Place::objects_with(64 * KIB as u64), chunks_of_1_kib).await;
    let user = app.user("ann").await;
    let file = file_bytes(20 * KIB);
    let body = json!({ "original_filename": "a", "total_size_bytes": file.len(), "auto_finalize": true });
    let session = user.post("/uploads/sessions", body).await.expect(201).json();
    let id: SessionId = session["session_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(code(append(&app.service, id, 0, whole(&file[..=8 * KIB]), true).await), Code::TooLarge);
    assert_eq!(append(&app.service, id, 0, whole(&file[..8 * KIB]), true).await.unwrap().offset, 8 * KIB as u64);
    append(&app.service, id, 8 * KIB, whole(&file[8 * KIB..]), false).await.unwrap();
    assert_eq!(content(&user, &user.status(&id.to_string()).await).await.bytes, file);
}

#[tokio::test]
async fn an_append_begins_where_the_bytes_end_and_nowhere_else() {
    for case in Case::each().await {
        case.append(0, &FILE[..12]).await.unwrap();
        for offset in [0, 1, 10, 11, 13, 20, 25] {
            assert_eq!(expected_offset(case.append(offset, &FILE[offset..]).await), 12, "{offset}");
        }
        assert_eq!(case.state().await, (json!(["1"]), 12));
    }
}

#[tokio::test]
async fn more_bytes_than_the_file_has_are_refused_and_the_last_part_is_not_recorded() {
    for case in Case::each().await {
        let declared =
            Append { offset: 20, declared_bytes: Some(6), is_verified: false, finalizes: false, body: whole(b"") };
        assert_eq!(code(case.app.service.append(&ann(), case.id, declared).await), Code::TooLarge);
        let long = [FILE, b"!"].concat();
        assert_eq!(code(case.append(0, &long).await), Code::TooLarge);
        assert_eq!(case.state().await, (json!(["1-2"]), 20));
        case.append(20, &FILE[20..]).await.unwrap();
        assert_eq!(code(case.append(25, b"!").await), Code::TooLarge);
        assert_eq!(code(case.append(26, b"").await), Code::TooLarge);
        assert_eq!(case.append(25, b"").await.unwrap().offset, 25);
    }
}

#[tokio::test]
async fn a_part_replaces_its_tail_only_if_it_begins_with_the_same_bytes() {
    for case in Case::each().await {
        case.append(0, &FILE[..15]).await.unwrap();
        let refused = case.user.put(&case.id.to_string(), 2, &OTHER[10..20]).await;
        assert_eq!(refused.problem(), (409, "PART_CONFLICT".to_owned()));
        assert_eq!(refused.json()["stored_sha256"], sha256_hex(&FILE[10..15]));
        assert_eq!(case.state().await, (json!(["1"]), 15));
        assert_eq!(case.put(2, &FILE[10..20]).await, 201);
        assert_eq!(case.state().await, (json!(["1-2"]), 20));
        case.append(20, &FILE[20..]).await.unwrap();
        case.assert_finishes().await;
    }
}

#[tokio::test]
async fn parts_that_have_arrived_are_compared_and_the_append_goes_on_after_them() {
    for case in Case::each().await {
        assert_eq!(case.put(2, &FILE[10..20]).await, 201);
        assert_eq!(code(case.append(0, OTHER).await), Code::PartConflict);
        // Part 1 arrived with the refused append.
        assert_eq!(case.state().await, (json!(["1-2"]), 20));
        let (service, id) = (&case.app.service, case.user.create_id(25).await);
        assert_eq!(case.user.put(&id, 2, &FILE[10..20]).await.status, 201);
        let appended = append(service, id.parse().unwrap(), 0, whole(FILE), false).await.unwrap();
        assert_eq!((appended.offset, appended.upload.session.received.to_string()), (25, "1-3".to_owned()));
        assert_finishes(&case.user, &id).await;
    }
}

#[tokio::test]
async fn the_next_append_begins_where_the_latest_ended_even_if_the_next_part_is_there() {
    for case in Case::each().await {
        assert_eq!(case.put(2, &FILE[10..20]).await, 201);
        // A client in steps of a part: it was told 10, although 20 bytes are contiguous then.
        assert_eq!(case.append(0, &FILE[..10]).await.unwrap().offset, 10);
        assert_eq!(case.state().await, (json!(["1-2"]), 20));
        assert_eq!(case.append(10, &FILE[10..20]).await.unwrap().offset, 20);
        assert_eq!(case.append(20, &FILE[20..]).await.unwrap().offset, 25);
        case.assert_finishes().await;
    }
}

#[tokio::test]
async fn an_append_that_ends_inside_a_received_part_is_acknowledged_only_if_the_bytes_can_be_read() {
    for case in Case::each().await {
        assert_eq!(case.put(2, &FILE[10..20]).await, 201);
        let appended = case.append(0, &FILE[..15]).await;
        if case.is_folder() {
            assert_eq!(appended.unwrap().offset, 15);
            assert_eq!(code(case.append(15, &OTHER[15..]).await), Code::PartConflict);
            assert_eq!(case.append(15, &FILE[15..]).await.unwrap().offset, 25);
        } else {
            assert_eq!(expected_offset(appended), 20);
            assert_eq!(case.append(20, &FILE[20..]).await.unwrap().offset, 25);
        }
        case.assert_finishes().await;
    }
}

/// Waits until the append has recorded this many contiguous bytes.
async fn until_contiguous(case: &Case, bytes: u64) {
    while case.state().await.1 < bytes {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_newer_append_takes_over_at_the_beginning_of_the_older_or_at_a_part_that_it_brought() {
    for case in Case::each().await {
        let case = Arc::new(case);
        let (sender, body) = open_body();
        let older = tokio::spawn({
            let case = Arc::clone(&case);
            async move { case.send(0, body).await }
        });
        sender.send(Bytes::from_static(&FILE[..14])).unwrap();
        until_contiguous(&case, 10).await;
        // The client of the newer append asked before part 1 had arrived.
        let (sender_2, body) = open_body();
        let newer = tokio::spawn({
            let case = Arc::clone(&case);
            async move { case.send(0, body).await }
        });
        sender_2.send(Bytes::from_static(&FILE[..20])).unwrap();
        assert_eq!(code(older.await.unwrap()), Code::Superseded);
        assert!(sender.send(Bytes::new()).is_err(), "the older body is dropped");
        until_contiguous(&case, 20).await;
        assert_eq!(case.append(10, &FILE[10..]).await.unwrap().offset, 25);
        assert_eq!(code(newer.await.unwrap()), Code::Superseded);
        case.assert_finishes().await;
    }
}

#[tokio::test]
async fn an_append_that_would_be_refused_stops_no_other() {
    for case in Case::each().await {
        let case = Arc::new(case);
        let (sender, body) = open_body();
        let live = tokio::spawn({
            let case = Arc::clone(&case);
            async move { case.send(0, body).await }
        });
        sender.send(Bytes::from_static(&FILE[..13])).unwrap();
        until_contiguous(&case, 10).await;
        assert_eq!(code(case.append(0, OTHER).await), Code::PartConflict);
        for (offset, bytes) in [(0, &b""[..]), (5, b"x"), (13, b"x"), (20, b"x"), (25, b"")] {
            assert_eq!(expected_offset(case.append(offset, bytes).await), 10, "{offset}");
        }
        let put = case.user.put(&case.id.to_string(), 1, &OTHER[..10]).await;
        assert_eq!(put.problem().1, "PART_CONFLICT");
        sender.send(Bytes::from_static(&FILE[13..])).unwrap();
        drop(sender);
        assert_eq!(live.await.unwrap().unwrap().offset, 25);
        case.assert_finishes().await;
    }
}

#[tokio::test]
async fn an_append_that_ended_normally_leaves_nothing_to_take_over() {
    for case in Case::each().await {
        let gate = case.faults.hold(When::After, Step::PersistAsTail);
        let mut older = Box::pin(case.append(0, &FILE[..5]));
        tokio::select! {
            _ = &mut older => unreachable!("the gate is closed"),
            () = gate.reached() => {}
        }
        // The older append has its whole body, so it succeeds although the newer one waits for it.
        let mut newer = Box::pin(case.append(0, &OTHER[..5]));
        for _ in 0..100 {
            assert!(newer.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        gate.open();
        assert_eq!(older.await.unwrap().offset, 5);
        assert_eq!(expected_offset(newer.await), 5);
    }
}

#[tokio::test]
async fn of_eight_appends_at_one_offset_exactly_one_wins() {
    for case in Case::each().await {
        let bodies: Vec<Vec<u8>> = (0..8_u8).map(|n| vec![n; 17]).collect();
        let appends = bodies.iter().map(|bytes| case.append(0, bytes));
        let results = futures_util::future::join_all(appends).await;
        let winners: Vec<_> = (0..8).filter(|n| results[*n].is_ok()).collect();
        let [winner] = winners[..] else { panic!("{results:?}") };
        assert_eq!(case.state().await, (json!(["1"]), 17));
        let part = case.user.get(&format!("/uploads/sessions/{}/parts/1", case.id)).await.expect(200).json();
        assert_eq!(part["sha256"], sha256_hex(&bodies[winner][..10]));
    }
}

#[tokio::test]
async fn a_request_for_a_part_takes_it_from_an_append_which_keeps_the_parts_before_it() {
    for case in Case::each().await {
        case.append(0, &FILE[..10]).await.unwrap();
        let gate = case.faults.hold(When::After, Step::PartWriter);
        let (sender, body) = open_body();
        sender.send(Bytes::from_static(&FILE[10..14])).unwrap();
        let mut older = Box::pin(case.send(10, body));
        tokio::select! {
            _ = &mut older => unreachable!("the gate is closed"),
            () = gate.reached() => {}
        }
        gate.open();
        let (put, appended) = tokio::join!(case.put(2, &FILE[10..20]), older);
        assert_eq!((put, code(appended)), (201, Code::Busy));
        assert_eq!(case.state().await, (json!(["1-2"]), 20));
    }
}

#[tokio::test]
async fn of_two_nodes_only_the_one_that_records_its_tail_first_acknowledges_it() {
    let place = Place::objects();
    let case = Case::on(&place).await;
    let other_node = case.app.beside().await;
    case.append(0, &FILE[..2]).await.unwrap();
    let gate = case.faults.hold(When::After, Step::PersistAsTail);
    let mut slow = Box::pin(case.append(2, &OTHER[2..4]));
    tokio::select! {
        _ = &mut slow => unreachable!("the gate is closed"),
        () = gate.reached() => {}
    }
    append(&other_node.service, case.id, 2, whole(&FILE[2..9]), false).await.unwrap();
    gate.open();
    assert_eq!(expected_offset(slow.await), 9);
    append(&other_node.service, case.id, 9, whole(&FILE[9..]), false).await.unwrap();
    case.assert_finishes().await;
}

#[tokio::test]
async fn a_newer_append_on_another_node_wins_over_a_dead_connection() {
    let case = Case::on(&Place::objects()).await;
    let other_node = case.app.beside().await;
    let (sender, body) = open_body();
    sender.send(Bytes::from_static(&FILE[..14])).unwrap();
    let mut dead = Box::pin(case.send(0, body));
    tokio::select! {
        _ = &mut dead => unreachable!("its body is open"),
        () = until_contiguous(&case, 10) => {}
    }
    append(&other_node.service, case.id, 10, whole(&FILE[10..17]), false).await.unwrap();
    // The first node notices the broken connection now. Its four bytes of part 2 are too late.
    drop(sender);
    assert_eq!(expected_offset(dead.await), 17);
    append(&other_node.service, case.id, 17, whole(&FILE[17..]), false).await.unwrap();
    case.assert_finishes().await;
}

/// Another node replaces the tail while a request waits to read it.
#[tokio::test]
async fn a_tail_that_an_append_on_another_node_has_replaced_is_not_lost() {
    for is_put in [true, false] {
        let case = Case::on(&Place::objects()).await;
        let other_node = case.app.beside().await;
        case.append(0, &FILE[..2]).await.unwrap();
        let gate = case.faults.hold(When::Before, Step::PartWriter);
        let mut late = Box::pin(async {
            match is_put {
                true => case.put(1, &FILE[..10]).await == 409,
                false => code(case.append(2, &FILE[2..9]).await) == Code::Busy,
            }
        });
        tokio::select! {
            _ = &mut late => unreachable!("the gate is closed"),
            () = gate.reached() => {}
        }
        append(&other_node.service, case.id, 2, whole(&FILE[2..5]), false).await.unwrap();
        gate.open();
        assert!(late.await);
        assert_eq!(case.state().await, (json!([]), 5));
        append(&other_node.service, case.id, 5, whole(&FILE[5..]), false).await.unwrap();
        case.assert_finishes().await;
    }
}

#[tokio::test]
async fn an_append_waits_for_the_lease_of_a_dead_node() {
    // On SQLite a lease expires by the test's clock.
    let place = Place::objects();
    let (app, _) = TestApp::with_faults_and(&place, |config| config.stores.database = String::new()).await;
    let user = app.user("ann").await;
    let id = user.create_id(FILE.len()).await;
    let faults = Faults::default();
    let dead = app.beside_with(&faults).await;
    let gate = faults.hold(When::Before, Step::Persist);
    let user_there = user.at(&dead);
    let mut part = Box::pin(user_there.put(&id, 1, &FILE[..10]));
    tokio::select! {
        _ = &mut part => unreachable!("the gate is closed"),
        () = gate.reached() => {}
    }
    assert_eq!(user.put(&id, 1, &FILE[..10]).await.problem().1, "BUSY");
    let mut waiting = Box::pin(append(&app.service, id.parse().unwrap(), 0, whole(FILE), false));
    assert!(waiting.as_mut().now_or_never().is_none());
    app.advance(AFTER_PART_LEASE);
    assert_eq!(waiting.await.unwrap().offset, 25);
    assert_finishes(&user, &id).await;
}

#[tokio::test]
async fn a_request_for_a_part_takes_it_from_an_append_with_a_digest_that_holds_it() {
    for case in Case::each().await {
        let (sender, body) = open_body();
        sender.send(Bytes::from_static(&FILE[..23])).unwrap();
        let mut held = Box::pin(case.send_verified(0, body));
        let gate = case.faults.hold(When::After, Step::Finish);
        tokio::select! {
            _ = &mut held => unreachable!("its body is open"),
            () = gate.reached() => {}
        }
        gate.open();
        let (put, appended) = tokio::join!(case.put(1, &FILE[..10]), held);
        assert_eq!((put, code(appended)), (201, Code::Busy));
        drop(sender);
    }
}

#[tokio::test]
async fn a_part_is_not_recorded_over_a_tail_that_another_node_recorded_meanwhile() {
    let place = Place::objects();
    let case = Case::on(&place).await;
    let other_node = case.app.beside().await;
    let gate = case.faults.hold(When::After, Step::Persist);
    let mut put = Box::pin(case.put(1, &OTHER[..10]));
    tokio::select! {
        _ = &mut put => unreachable!("the gate is closed"),
        () = gate.reached() => {}
    }
    append(&other_node.service, case.id, 0, whole(&FILE[..4]), false).await.unwrap();
    gate.open();
    assert_eq!(put.await, 409);
    assert_eq!(case.state().await, (json!([]), 4));
    append(&other_node.service, case.id, 4, whole(&FILE[4..]), false).await.unwrap();
    case.assert_finishes().await;
}

#[tokio::test]
async fn a_lost_tail_fails_the_session_when_it_is_needed() {
    let case = Case::on(&Place::Folder).await;
    case.append(0, &FILE[..13]).await.unwrap();
    let file = case.app.storage().join("uploading").join(case.id.to_string());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[12] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(code(case.append(13, &FILE[13..]).await), Code::SessionClosed);
    let status = case.status().await;
    assert_eq!((&status["status"], &status["status_reason"]), (&json!("FAILED"), &json!("bytes_lost")));
}

#[tokio::test]
async fn no_tail_outlives_its_session() {
    let (app, faults) = TestApp::with_faults(&Place::objects()).await;
    let user = app.user("ann").await;
    let storage = app.faultless_storage();
    let tails = || async { storage.as_multipart().unwrap().sessions_with_tails(None, 100).await.unwrap() };
    let id = user.create_id(FILE.len()).await.parse().unwrap();
    let send = |id, offset: usize, end: usize| append(&app.service, id, offset, whole(&FILE[offset..end]), false);
    send(id, 0, 4).await.unwrap();
    send(id, 4, 8).await.unwrap();
    assert_eq!(tails().await, [id]);
    send(id, 8, 25).await.unwrap();
    assert_eq!(tails().await, []);
    assert_finishes(&user, &id.to_string()).await;

    let aborted = user.create_id(FILE.len()).await.parse().unwrap();
    send(aborted, 0, 4).await.unwrap();
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    assert_eq!(tails().await, []);

    let mut begun = Vec::new();
    for _ in 0..3 {
        begun.push(user.create_id(FILE.len()).await.parse().unwrap());
        send(begun[begun.len() - 1], 0, 4).await.unwrap();
    }
    let multipart = storage.as_multipart().unwrap();
    assert_eq!(multipart.sessions_with_tails(None, 2).await.unwrap(), begun[..2]);
    assert_eq!(multipart.sessions_with_tails(Some(begun[1]), 2).await.unwrap(), begun[2..]);
    for id in begun {
        user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    }

    // A server that stops here leaves a tail that no row refers to.
    let left = user.create_id(FILE.len()).await.parse().unwrap();
    faults.fail(When::After, Step::PersistAsTail, Cause::Silent);
    assert!(send(left, 0, 4).await.is_err());
    faults.heal();
    send(left, 0, 25).await.unwrap();
    app.service.sweep().await;
    assert_eq!(tails().await, [left], "the session is open");
    assert_finishes(&user, &left.to_string()).await;
    app.service.sweep().await;
    assert_eq!(tails().await, []);
}

#[tokio::test]
async fn the_last_byte_finalizes_a_session_that_asks_for_it() {
    for place in Place::each() {
        let (app, faults) = TestApp::with_faults(&place).await;
        let user = app.user("ann").await;
        let body = |size: usize| json!({ "original_filename": "a", "total_size_bytes": size, "auto_finalize": true });
        let create = |size| {
            let (user, body) = (user.clone(), body(size));
            async move { user.post("/uploads/sessions", body).await.expect(201).json() }
        };
        let id = |session: &Value| session["session_id"].as_str().unwrap().to_owned();

        let empty = create(0).await;
        assert_eq!((&empty["status"], &empty["auto_finalize"]), (&json!("COMPLETE"), &json!(true)));

        let by_parts = id(&create(25).await);
        user.put_parts(&by_parts, FILE, [3, 1]).await;
        assert_eq!(user.put(&by_parts, 2, &FILE[10..20]).await.expect(201).json()["status"], "COMPLETE");
        assert_eq!(content(&user, &user.status(&by_parts).await).await.bytes, FILE);

        let by_append = id(&create(25).await);
        let appended = append(&app.service, by_append.parse().unwrap(), 0, whole(FILE), false).await.unwrap();
        assert_eq!(appended.upload.session.status, SessionStatus::Complete);

        // The part is acknowledged, even if the file cannot be completed now.
        let later = id(&create(25).await);
        user.put_parts(&later, FILE, [1, 2]).await;
        faults.fail(When::Before, Step::Complete, Cause::Silent);
        assert_eq!(user.put(&later, 3, &FILE[20..]).await.expect(201).json()["status"], "IN_PROGRESS");
        let later: SessionId = later.parse().unwrap();
        assert!(app.service.settled_status(&ann(), later).await.is_err());
        faults.heal();
        assert_eq!(app.service.sweep().await.finalized, 1);
        assert_eq!(user.status(&later.to_string()).await["status"], "COMPLETE");
        assert_eq!(app.service.sweep().await.finalized, 0);
    }
}

#[tokio::test]
async fn a_status_finalizes_no_session_of_which_nobody_has_asked_that() {
    for case in Case::each().await {
        case.append(0, FILE).await.unwrap();
        let open = case.app.service.settled_status(&ann(), case.id).await.unwrap();
        assert_eq!(open.session.status, SessionStatus::InProgress);
        case.assert_finishes().await;
    }
}

#[tokio::test]
async fn an_append_that_finalizes_makes_the_session_finalize_when_any_request_brings_the_last_byte() {
    for case in Case::each().await {
        let append =
            Append { offset: 0, declared_bytes: None, is_verified: false, finalizes: true, body: whole(&FILE[..20]) };
        case.app.service.append(&ann(), case.id, append).await.unwrap();
        assert_eq!(case.put(3, &FILE[20..]).await, 201);
        assert_eq!(case.status().await["status"], "COMPLETE");
    }
}

#[tokio::test]
async fn a_complete_file_takes_no_more_bytes_and_checks_the_digest_of_none() {
    for case in Case::each().await {
        case.append(0, FILE).await.unwrap();
        case.assert_finishes().await;
        assert_eq!(code(case.append(25, b"!").await), Code::TooLarge);
        let wrong = cut(b"", BodyFault::Refused(Error::malformed("a wrong digest")));
        assert_eq!(code(case.send_verified(25, wrong).await), Code::InvalidInput);
        assert_eq!(case.append(25, b"").await.unwrap().offset, 25);
    }
}

#[tokio::test]
async fn an_append_of_the_last_byte_finalizes_if_its_client_asks_for_it() {
    for case in Case::each().await {
        let principal = ann();
        let send = |offset: usize, bytes: &[u8]| {
            let body = whole(bytes);
            case.app.service.append(
                &principal,
                case.id,
                Append { offset: offset as u64, declared_bytes: None, is_verified: false, finalizes: true, body },
            )
        };
        case.faults.fail(When::Before, Step::Complete, Cause::Silent);
        assert!(send(0, FILE).await.is_err());
        case.faults.heal();
        // Its client may never come back.
        assert_eq!(case.app.service.sweep().await.finalized, 1);
        assert_eq!(send(25, b"").await.unwrap().upload.session.status, SessionStatus::Complete);
        assert_eq!(expected_offset(send(0, b"").await), 25);
    }
}

#[tokio::test]
async fn an_ended_session_takes_no_append() {
    for case in Case::each().await {
        case.append(0, &FILE[..5]).await.unwrap();
        case.user.delete(&format!("/uploads/sessions/{}", case.id)).await.expect(204);
        assert_eq!(code(case.append(5, &FILE[5..]).await), Code::SessionClosed);
        let foreign = Principal::of_owner(OwnerName::parse("bob").unwrap());
        let append = Append { offset: 5, declared_bytes: None, is_verified: false, finalizes: false, body: whole(b"") };
        assert_eq!(code(case.app.service.append(&foreign, case.id, append).await), Code::NotFound);
    }
}

#[tokio::test]
async fn an_abort_during_an_append_leaves_nothing() {
    for case in Case::each().await {
        let gate = case.faults.hold(When::Before, Step::PersistAsTail);
        let mut append = Box::pin(case.append(0, &FILE[..15]));
        tokio::select! {
            _ = &mut append => unreachable!("the gate is closed"),
            () = gate.reached() => {}
        }
        case.user.delete(&format!("/uploads/sessions/{}", case.id)).await.expect(204);
        gate.open();
        assert_eq!(code(append.await), Code::SessionClosed);
        if case.is_folder() {
            assert_eq!(case.app.bytes_on_disk(), [""; 0]);
        }
    }
}

#[tokio::test]
async fn a_full_disk_keeps_what_was_recorded() {
    for case in Case::each().await {
        case.append(0, &FILE[..12]).await.unwrap();
        for step in [Step::Push, Step::Finish, Step::PersistAsTail] {
            case.faults.fail(When::Before, step, Cause::Full);
            assert_eq!(code(case.append(12, &FILE[12..18]).await), Code::Unavailable, "{step:?}");
            case.faults.heal();
            assert_eq!(case.state().await, (json!(["1"]), 12));
        }
        case.append(12, &FILE[12..]).await.unwrap();
        case.assert_finishes().await;
    }
}
