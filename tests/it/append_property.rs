//! The invariants of appends, over random appends, parts, finalizes and kills.
//!
//! The model knows which bytes are durable. It checks after every operation that no durable byte has changed, that the number
//! of contiguous bytes has not decreased, that exactly the durable parts are listed, and that the offset of a success is the
//! old one plus the bytes of the request. At the end the file must have the bytes of the model.

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::{StreamExt, stream};
use partway::{
    domain::{OwnerName, Principal, SessionId},
    error::{Code, Error},
    service::{Append, BodyFault},
};
use proptest::{collection::vec, prelude::*, test_runner::Config as Cases};
use serde_json::json;

use crate::support::{AFTER_PART_LEASE, Faults, Place, Step, TestApp, TestUser, When, sha256_hex};

const PART: usize = 10;
const SIZE: usize = 35;
const STEPS: [Step; 5] = [Step::PartWriter, Step::Push, Step::Finish, Step::Persist, Step::PersistAsTail];

#[derive(Clone, Debug)]
enum Operation {
    Append(Sent),
    /// The server is killed at this step of the append, if it gets there.
    KilledAppend(Sent, bool, usize),
    /// A request for a whole part, with these bytes.
    Put(usize, u8),
    Finalize,
}

/// The bytes of an append.
#[derive(Clone, Debug)]
struct Sent {
    /// Added to the number of contiguous bytes; usually 0.
    shift: i8,
    len: usize,
    /// Each seed gives the file other bytes.
    seed: u8,
    is_verified: bool,
    is_cut: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let shift = prop_oneof![4 => Just(0_i8), 1 => -12_i8..4];
    let seed = prop_oneof![6 => Just(0_u8), 1 => Just(1_u8)];
    (shift, 0_usize..24, seed, prop::bool::weighted(0.2), prop::bool::weighted(0.2))
        .prop_map(|(shift, len, seed, is_verified, is_cut)| Sent { shift, len, seed, is_verified, is_cut })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => sent().prop_map(Operation::Append),
        2 => (sent(), any::<bool>(), 0..STEPS.len()).prop_map(|(sent, before, at)| Operation::KilledAppend(sent, before, at)),
        3 => (1_usize..=4, prop_oneof![6 => Just(0_u8), 1 => Just(1_u8)]).prop_map(|(part, seed)| Operation::Put(part, seed)),
        1 => Just(Operation::Finalize),
    ]
}

fn file(seed: u8) -> Vec<u8> {
    (0..SIZE).map(|at| u8::try_from(at).unwrap() + 100 * seed).collect()
}

struct Model {
    app: TestApp,
    user: TestUser,
    id: SessionId,
    /// The bytes that are durable.
    durable: [Option<u8>; SIZE],
    contiguous: usize,
    /// How far the clock of the present server is ahead.
    elapsed: TimeDelta,
}

impl Model {
    async fn new(place: &Place) -> Self {
        // On SQLite a lease expires by the test's clock.
        let (app, _) = TestApp::with_faults_and(place, |config| config.stores.database = String::new()).await;
        let user = app.user("ann").await;
        let id = user.create_id(SIZE).await.parse().unwrap();
        Self { app, user, id, durable: [None; SIZE], contiguous: 0, elapsed: TimeDelta::zero() }
    }

    async fn run(&mut self, operation: &Operation) {
        match operation {
            Operation::Append(sent) => {
                let (offset, bytes) = self.bytes_of(sent);
                let acknowledged = append(&self.app, self.id, offset, &bytes, sent).await;
                self.observe(offset, &bytes, acknowledged).await;
            }
            Operation::KilledAppend(sent, before, at) => {
                let (offset, bytes) = self.bytes_of(sent);
                let faults = Faults::default();
                let killed = self.app.beside_with(&faults).await;
                killed.advance(self.elapsed);
                let when = if *before { When::Before } else { When::After };
                let gate = faults.hold(when, STEPS[*at]);
                let acknowledged = tokio::select! {
                    acknowledged = append(&killed, self.id, offset, &bytes, sent) => acknowledged,
                    () = gate.reached() => None,
                };
                self.app = self.app.beside().await;
                // The killed server may have left a lease on a part.
                self.elapsed += AFTER_PART_LEASE;
                self.app.advance(self.elapsed);
                self.user = self.user.at(&self.app);
                self.observe(offset, &bytes, acknowledged).await;
            }
            Operation::Put(part, seed) => {
                let offset = (part - 1) * PART;
                let bytes = file(*seed)[offset..SIZE.min(offset + PART)].to_vec();
                let status =
                    self.user.put(&self.id.to_string(), u32::try_from(*part).unwrap(), bytes.clone()).await.status;
                let is_acknowledged = matches!(status.as_u16(), 200 | 201);
                assert!(is_acknowledged || status == 409, "{status}");
                if is_acknowledged {
                    self.set_durable(offset, &bytes);
                }
                self.observe(0, &[], None).await;
            }
            Operation::Finalize => {
                let status = self.user.finalize(&self.id.to_string()).await.status;
                assert_eq!(status.is_success(), self.durable.iter().all(Option::is_some));
            }
        }
    }

    fn bytes_of(&self, sent: &Sent) -> (usize, Vec<u8>) {
        let offset = self.contiguous.saturating_add_signed(sent.shift.into()).min(SIZE);
        (offset, file(sent.seed)[offset..SIZE.min(offset + sent.len)].to_vec())
    }

    fn set_durable(&mut self, offset: usize, bytes: &[u8]) {
        for (place, byte) in self.durable[offset..].iter_mut().zip(bytes) {
            assert!(place.is_none_or(|before| before == *byte), "a durable byte was acknowledged with another value");
            *place = Some(*byte);
        }
    }

    /// Compares the server with the model, after an append of `bytes` at `offset` that was acknowledged up to here.
    async fn observe(&mut self, offset: usize, bytes: &[u8], acknowledged: Option<u64>) {
        let status = self.user.status(&self.id.to_string()).await;
        let contiguous = usize::try_from(status["contiguous_bytes"].as_u64().unwrap()).unwrap();
        assert!(contiguous >= self.contiguous, "{contiguous} < {}", self.contiguous);
        if let Some(end) = acknowledged {
            assert_eq!(end, (offset + bytes.len()) as u64);
            self.set_durable(offset, bytes);
        } else if contiguous > offset && contiguous > self.contiguous {
            // Not acknowledged, but what is durable now came from this request.
            let new = self.contiguous.max(offset)..(offset + bytes.len()).min(contiguous);
            let before = self.durable;
            for at in new.filter(|at| before[*at].is_none()) {
                self.durable[at] = Some(bytes[at - offset]);
            }
        }
        assert!(self.durable[..contiguous].iter().all(Option::is_some), "{contiguous}: {:?}", self.durable);
        self.contiguous = contiguous;
        let parts = self.user.get(&format!("/uploads/sessions/{}/parts", self.id)).await.expect(200).json();
        let listed: Vec<_> = parts["parts"].as_array().unwrap().iter().map(|part| part["sha256"].clone()).collect();
        let whole = self.durable.chunks(PART).filter_map(|part| part.iter().copied().collect::<Option<Vec<u8>>>());
        let expected: Vec<_> = whole.map(|part| json!(sha256_hex(&part))).collect();
        assert_eq!(listed, expected);
    }

    /// Sends the rest, and compares the stored file.
    async fn finish(mut self) {
        while self.contiguous < SIZE {
            let rest = Sent { shift: 0, len: SIZE, seed: 0, is_verified: false, is_cut: false };
            let (offset, mut bytes) = self.bytes_of(&rest);
            for (byte, durable) in bytes.iter_mut().zip(&self.durable[offset..]) {
                *byte = durable.unwrap_or(*byte);
            }
            let acknowledged = append(&self.app, self.id, offset, &bytes, &rest).await;
            assert_eq!(acknowledged, Some(SIZE as u64));
            self.observe(offset, &bytes, acknowledged).await;
        }
        let done = self.user.finalize(&self.id.to_string()).await.expect(200).json();
        let file = done["file"]["file_id"].as_str().unwrap();
        let stored = self.user.get(&format!("/files/{file}/content")).await.expect(200).bytes;
        assert_eq!(stored, self.durable.map(Option::unwrap));
    }
}

/// Appends on this server. Returns the acknowledged offset.
async fn append(app: &TestApp, id: SessionId, offset: usize, bytes: &[u8], sent: &Sent) -> Option<u64> {
    let pieces: Vec<_> = bytes.chunks(4).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let cut = sent.is_cut.then_some(Err(BodyFault::Stopped));
    let body = stream::iter(pieces.into_iter().chain(cut)).boxed();
    let offset = offset as u64;
    let append = Append { offset, declared_bytes: None, is_verified: sent.is_verified, finalizes: false, body };
    let ann = Principal::of_owner(OwnerName::parse("ann").unwrap());
    match app.service.append(&ann, id, append).await {
        Ok(appended) => Some(appended.offset),
        Err(error) => {
            assert!(is_expected(&error, sent), "{error:?}");
            None
        }
    }
}

fn is_expected(error: &Error, sent: &Sent) -> bool {
    match error.code() {
        Code::Unavailable => sent.is_cut,
        code => matches!(code, Code::OffsetMismatch | Code::PartConflict),
    }
}

fn check(place: &Place, operations: &[Operation]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut model = Model::new(place).await;
        for operation in operations {
            if model.user.status(&model.id.to_string()).await["status"] == "COMPLETE" {
                break;
            }
            model.run(operation).await;
        }
        model.finish().await;
    });
}

proptest! {
    #![proptest_config(Cases { cases: 24, failure_persistence: None, max_shrink_iters: 200, ..Cases::default() })]

    #[test]
    fn the_invariants_hold_in_a_folder(operations in vec(operation(), 1..16)) {
        check(&Place::Folder, &operations);
    }

    #[test]
    fn the_invariants_hold_in_an_object_store(operations in vec(operation(), 1..16)) {
        check(&Place::objects(), &operations);
    }
}
