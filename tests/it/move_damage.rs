//! What is damaged at the source is never copied as good, and what cannot be moved is named.

use std::fs;

use partway::{
    service::{MoveOptions, MoveOutcome, MoveReport},
    storage::PartLimits,
};
use serde_json::json;

use crate::support::{
    Cause, FILE, Faults, House, MoveTarget, Place, Step, TestApp, TestUser, When, assert_finishes,
    assert_stored_by_tus, move_options,
};

fn leaving_behind() -> MoveOptions {
    MoveOptions { leaves_behind: true, ..move_options() }
}

/// Changes one byte of a file of the source.
fn damage(app: &TestApp, path: &str, at: usize) {
    app.expect_damage();
    let path = app.storage().join(path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn reasons(report: &MoveReport) -> Vec<(&str, &str)> {
    report.left_behind.iter().map(|left| (left.id.as_str(), left.why.as_str())).collect()
}

async fn downloads(user: &TestUser, file: &str) -> u16 {
    user.get(&format!("/files/{file}/content")).await.status.as_u16()
}

#[tokio::test]
async fn a_damaged_file_stops_the_move_at_its_end_until_it_is_repaired() {
    for to in Place::each() {
        let house = House::new(&Place::Folder).await;
        let target = MoveTarget::new(&to);
        // With part records, without, and without any bytes.
        let [(first, _), _, (old, _), ..] = &house.stored[..] else { panic!() };
        let paths = [format!("stored/{first}"), format!("stored/{old}")];
        damage(&house.app, &paths[0], 17);
        damage(&house.app, &paths[1], 90);
        let report = target.fill(&house.app, &move_options()).await.unwrap();
        assert_eq!(report.outcome, MoveOutcome::Undecided);
        let mut expected = vec![
            (first.as_str(), "part 2 does not have the bytes that arrived"),
            (old.as_str(), "its composite SHA-256 is not the recorded one"),
        ];
        expected.sort_unstable();
        assert_eq!(reasons(&report), expected);
        assert!(target.is_refused().await);
        assert!(!target.files().iter().any(|name| name.contains(first.as_str()) || name.contains(old.as_str())));

        damage(&house.app, &paths[0], 17);
        damage(&house.app, &paths[1], 90);
        let report = target.fill(&house.app, &move_options()).await.unwrap();
        assert_eq!((report.outcome, report.copied_bytes), (MoveOutcome::Ready, 25 + 95), "only these files are copied");
        house.assert_lives_on(&target.app().await).await;
    }
}

#[tokio::test]
async fn the_move_can_be_finished_without_damaged_and_missing_files() {
    let house = House::new(&Place::Folder).await;
    let [(first, _), (second, _), (old, _), ..] = &house.stored[..] else { panic!() };
    damage(&house.app, &format!("stored/{first}"), 0);
    fs::remove_file(house.app.storage().join("stored").join(second)).unwrap();
    let cut = fs::OpenOptions::new().write(true).open(house.app.storage().join("stored").join(old)).unwrap();
    cut.set_len(94).unwrap();
    let target = MoveTarget::new(&Place::objects());
    let report = target.fill(&house.app, &leaving_behind()).await.unwrap();
    assert_eq!(report.outcome, MoveOutcome::Ready);
    let mut left: Vec<&str> = report.left_behind.iter().map(|left| left.id.as_str()).collect();
    left.sort_unstable();
    let mut expected = [first.as_str(), second, old];
    expected.sort_unstable();
    assert_eq!(left, expected, "{report:?}");
    assert_eq!(report.left_behind[0].owner.as_deref(), Some("ann"));
    assert_eq!(report.rows["download_link"], 0);

    let app = target.app().await;
    let ann = house.ann.at(&app);
    for (file, _) in &house.stored[..3] {
        assert_eq!(downloads(&ann, file).await, 404);
    }
    for (file, _) in &house.stored[3..] {
        assert_eq!(downloads(&ann, file).await, 200);
    }
    // The account counts what is there. The end of the test compares it with the rows.
    let used = ann.get("/me").await.expect(200).json()["bytes_used"].as_u64().unwrap();
    assert_eq!(used, 5 + 7 + 2 * FILE.len() as u64);
}

#[tokio::test]
async fn a_damaged_part_of_an_open_session_is_missing_in_the_target() {
    for to in Place::each() {
        let house = House::new(&Place::Folder).await;
        damage(&house.app, &format!("uploading/{}", house.half_done), 24);
        // The part before the tail, so the tail is of no use.
        damage(&house.app, &format!("uploading/{}", house.with_tail), 0);
        let target = MoveTarget::new(&to);
        let report = target.fill(&house.app, &move_options()).await.unwrap();
        assert_eq!((report.outcome, &report.left_behind[..]), (MoveOutcome::Ready, &[][..]));
        let missing: Vec<_> = report
            .missing_parts
            .iter()
            .map(|missing| (missing.session.to_string(), missing.parts.to_string(), missing.has_no_tail))
            .collect();
        assert_eq!(
            missing,
            [(house.half_done.clone(), "3".to_owned(), false), (house.with_tail.clone(), "1".to_owned(), true)]
        );
        assert_eq!(report.missing_parts[0].why, "part 3 does not have the bytes that arrived");

        let app = target.app().await;
        let ann = house.ann.at(&app);
        assert_eq!(ann.status(&house.half_done).await["missing_parts"], json!(["2-3"]));
        ann.put_parts(&house.half_done, FILE, [2, 3]).await;
        assert_finishes(&ann, &house.half_done).await;
        assert_eq!(ann.tus_offset(&house.with_tail).await, 0);
        app.service.sweep().await;
        ann.tus_patch(&house.with_tail, 0, FILE.to_vec()).await.expect(204);
        assert_stored_by_tus(&ann, &house.with_tail).await;
    }
}

#[tokio::test]
async fn a_damaged_tail_is_missing_in_the_target() {
    for to in Place::each() {
        let house = House::new(&Place::Folder).await;
        damage(&house.app, &format!("uploading/{}", house.with_tail), 11);
        let target = MoveTarget::new(&to);
        let report = target.fill(&house.app, &move_options()).await.unwrap();
        let [missing] = &report.missing_parts[..] else { panic!("{report:?}") };
        assert_eq!((missing.parts.is_empty(), missing.has_no_tail), (true, true));
        let app = target.app().await;
        let ann = house.ann.at(&app);
        assert_eq!(ann.tus_offset(&house.with_tail).await, 10);
        ann.tus_patch(&house.with_tail, 10, FILE[10..].to_vec()).await.expect(204);
        assert_stored_by_tus(&ann, &house.with_tail).await;
    }
}

/// As on a disk with unreadable sectors.
#[tokio::test]
async fn a_file_that_cannot_be_read_stays_behind_and_stops_no_other() {
    for step in [Step::Read, Step::ReadOn] {
        let house = House::new(&Place::Folder).await;
        let (from, target) = (Faults::default(), MoveTarget::new(&Place::Folder));
        from.fail(When::Before, step, Cause::Broken);
        let mut moving = target.open(&house.app, &from, &Faults::default()).await.unwrap();
        let report = moving.run(&move_options()).await.unwrap();
        moving.close().await;
        assert_eq!((report.outcome, report.left_behind.len()), (MoveOutcome::Undecided, 4), "all but the empty one");
        assert!(report.left_behind[0].why.contains("Input/output error"), "{report:?}");
        assert_eq!(report.missing_parts.len(), 3);
        let report = target.fill(&house.app, &move_options()).await.unwrap();
        assert_eq!((report.outcome, report.missing_parts), (MoveOutcome::Ready, vec![]));
        house.assert_lives_on(&target.app().await).await;
    }
}

/// An object store that cannot be read now says nothing about single files.
#[tokio::test]
async fn a_store_that_cannot_be_read_stops_the_move() {
    let house = House::new(&Place::objects()).await;
    let (from, target) = (Faults::default(), MoveTarget::new(&Place::Folder));
    from.fail(When::Before, Step::Read, Cause::Broken);
    let mut moving = target.open(&house.app, &from, &Faults::default()).await.unwrap();
    moving.run(&leaving_behind()).await.unwrap_err();
    moving.close().await;
    assert!(target.is_refused().await);
    let report = target.fill(&house.app, &move_options()).await.unwrap();
    assert_eq!((report.outcome, report.left_behind), (MoveOutcome::Ready, vec![]));
    drop(target.app().await);
}

const BREAK: [&str; 4] = [
    "UPDATE upload_file SET metadata = 'no JSON' WHERE original_filename = 'bad'",
    "UPDATE upload_session SET status = 'NONSENSE' WHERE filename_key = 'bad'",
    "UPDATE upload_session SET received_parts = '\\x00' WHERE filename_key = 'bad'",
    "UPDATE upload_session SET completed_parts = 2 WHERE filename_key = 'bad'",
];

#[tokio::test]
async fn a_session_with_an_invalid_row_stays_behind() {
    for statement in BREAK {
        let house = House::new(&Place::Folder).await;
        let app = house.app.beside().await;
        app.expect_damage();
        let body = json!({ "original_filename": "bad", "total_size_bytes": 25 });
        let ann = house.ann.at(&app);
        let bad = ann.post("/uploads/sessions", body).await.expect(201).json()["session_id"].take();
        let bad = bad.as_str().unwrap();
        ann.put_parts(bad, FILE, [1]).await;
        ann.post(&format!("/uploads/sessions/{bad}/tokens"), json!({})).await.expect(201);
        app.execute(statement).await;
        app.service.close().await;
        let target = MoveTarget::new(&Place::Folder);
        let report = target.fill(&house.app, &move_options()).await.unwrap();
        assert_eq!(report.outcome, MoveOutcome::Undecided, "{statement}");
        assert_eq!(report.left_behind.iter().map(|left| &*left.id).collect::<Vec<_>>(), [bad], "{statement}");
        let report = target.fill(&house.app, &leaving_behind()).await.unwrap();
        assert_eq!((report.outcome, report.left_behind.len()), (MoveOutcome::Ready, 1), "{statement}: {report:?}");
        house.assert_lives_on(&target.app().await).await;
    }
}

#[tokio::test]
async fn an_invalid_event_stays_behind_and_a_wrong_account_is_corrected() {
    let house = House::new(&Place::Folder).await;
    house.app.expect_damage();
    house.app.execute("UPDATE event SET data = '{bad' WHERE position = 8").await;
    house.app.execute("UPDATE account SET bytes_used = 1").await;
    let target = MoveTarget::new(&Place::Folder);
    let report = target.fill(&house.app, &move_options()).await.unwrap();
    assert_eq!(report.outcome, MoveOutcome::Undecided);
    let [left] = &report.left_behind[..] else { panic!("{report:?}") };
    assert_eq!((left.kind, left.id.starts_with("evt_")), ("event", true));
    let report = target.fill(&house.app, &leaving_behind()).await.unwrap();
    assert_eq!(report.outcome, MoveOutcome::Ready);
    let app = target.app().await;
    let events = house.ann.at(&app).get("/events").await.expect(200).json();
    assert_eq!(events["events"].as_array().unwrap().len(), 7);
}

/// The client knows the parts of an open session by number, so they cannot be divided anew. Those of a stored file can.
#[tokio::test]
async fn an_open_session_whose_parts_the_store_does_not_accept_stays_behind() {
    let house = House::new(&Place::Folder).await;
    let (to, target) = (Faults::default(), MoveTarget::new(&Place::objects()));
    to.limit_parts(PartLimits { min_part_bytes: 15, max_part_bytes: 16, max_parts: 100 });
    let mut moving = target.open(&house.app, &Faults::default(), &to).await.unwrap();
    let report = moving.run(&move_options()).await.unwrap();
    assert_eq!(
        (report.outcome, report.copied_bytes),
        (MoveOutcome::Undecided, 0),
        "nothing is copied before the decision"
    );
    let why = "it has 3 parts of 10 bytes, and the object store accepts at most 100 parts of 15 to 16 bytes";
    // Two sessions of ann, one of bob. The fourth has one part.
    assert_eq!(report.left_behind.iter().filter(|left| left.why == why).count(), 3, "{report:?}");
    let report = moving.run(&leaving_behind()).await.unwrap();
    moving.close().await;
    assert_eq!((report.outcome, report.left_behind.len()), (MoveOutcome::Ready, 3), "{report:?}");
    let app = target.app().await;
    let ann = house.ann.at(&app);
    for (file, bytes) in &house.stored {
        assert_eq!(ann.get(&format!("/files/{file}/content")).await.expect(200).bytes, *bytes);
    }
    assert_eq!(ann.get(&format!("/uploads/sessions/{}", house.half_done)).await.problem().1, "NOT_FOUND");
}

#[tokio::test]
async fn a_damaged_file_is_noticed_if_it_is_copied_in_other_parts() {
    for at in [0, 9, 10, 15, 16, 94] {
        let house = House::new(&Place::Folder).await;
        let (to, target) = (Faults::default(), MoveTarget::new(&Place::objects()));
        target.expect_damage();
        to.limit_parts(PartLimits { min_part_bytes: 15, max_part_bytes: 16, max_parts: 100 });
        for (file, bytes) in house.stored.iter().filter(|(_, bytes)| bytes.len() > at) {
            damage(&house.app, &format!("stored/{file}"), at);
            assert!(!bytes.is_empty());
        }
        let damaged = house.stored.iter().filter(|(_, bytes)| bytes.len() > at).count();
        let mut moving = target.open(&house.app, &Faults::default(), &to).await.unwrap();
        let report = moving.run(&leaving_behind()).await.unwrap();
        moving.close().await;
        let files = report.left_behind.iter().filter(|left| left.kind == "file").count();
        assert_eq!(files, damaged, "{at}: {report:?}");
    }
}

/// A part that an earlier version received has no checksum, and an old file has neither records nor digests.
#[tokio::test]
async fn rows_of_earlier_versions_are_moved() {
    for to in Place::each() {
        let house = House::new(&Place::Folder).await;
        house.app.execute("UPDATE upload_part SET crc64nvme = NULL").await;
        house
            .app
            .execute(
                "UPDATE upload_file SET sha256 = NULL, composite_sha256 = NULL, crc64nvme = NULL WHERE size_bytes = 95",
            )
            .await;
        let target = MoveTarget::new(&to);
        let report = target.fill(&house.app, &move_options()).await.unwrap();
        assert_eq!((report.outcome, report.not_compared), (MoveOutcome::Ready, 1), "{report:?}");
        let app = target.app().await;
        let ann = house.ann.at(&app);
        for (file, bytes) in &house.stored {
            assert_eq!(ann.get(&format!("/files/{file}/content")).await.expect(200).bytes, *bytes);
        }
        // The part without a checksum is not forgotten.
        ann.put_parts(&house.half_done, FILE, [house.missing]).await;
        ann.finalize(&house.half_done).await.expect(200);
    }
}

/// Without the end of the uploads at the source, its store returns no parts.
#[tokio::test]
async fn parts_that_a_store_does_not_return_are_sent_again() {
    let house = House::new(&Place::objects()).await;
    let target = MoveTarget::new(&Place::Folder);
    let report = target.fill(&house.app, &move_options()).await.unwrap();
    assert_eq!(report.outcome, MoveOutcome::Ready, "{report:?}");
    assert_eq!((report.plan.unreadable_sessions, report.plan.unreadable_bytes), (3, 20 + 13 + 10));
    let missing: Vec<String> = report.missing_parts.iter().map(|missing| missing.parts.to_string()).collect();
    assert_eq!(missing, ["1", "1-2", "1"]);
    let app = target.app().await;
    let ann = house.ann.at(&app);
    let status = ann.status(&house.half_done).await;
    assert_eq!((&status["status"], &status["missing_parts"]), (&json!("INIT"), &json!(["1-3"])));
    // The sweep does not count them as lost.
    assert_eq!(app.service.sweep().await, partway::service::Swept::default());
    ann.put_parts(&house.half_done, FILE, 1..=3).await;
    assert_finishes(&ann, &house.half_done).await;
    assert_eq!(ann.tus_offset(&house.with_tail).await, 0);
    // At the source they go on.
    let app = house.app.beside().await;
    let ann = house.ann.at(&app);
    ann.put_parts(&house.half_done, FILE, [house.missing]).await;
    assert_finishes(&ann, &house.half_done).await;
}
