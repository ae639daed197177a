//! A move that is killed, or fails, at any point goes on where it stopped.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use partway::service::{MoveOptions, MoveOutcome, MoveProgress};

use crate::support::{
    Cause, FILE, Faults, House, MoveTarget, Place, Step, TestApp, When, assert_finishes, assert_stored_by_tus, content,
    cut_after, file_bytes, move_options,
};

/// Runs the move until the storage of the target fails. False if it did not come to that.
async fn fails_after(steps: usize, source: &TestApp, target: &MoveTarget) -> bool {
    let faults = Faults::default();
    faults.fail_after(steps);
    let mut moving = target.open(source, &Faults::default(), &faults).await.unwrap();
    let ended = moving.run(&move_options()).await;
    moving.close().await;
    assert_eq!(ended.is_err(), faults.has_failed(), "{ended:?}");
    faults.has_failed()
}

/// The steps of a move are those of a stored file with two parts, and of an open session with a part and a tail.
async fn ends_well_after_each_failure(to: &Place) {
    let app = TestApp::with_faults(&Place::Folder).await.0;
    let ann = app.user("ann").await;
    let (small, whole) = (file_bytes(15), ann.upload(&file_bytes(15)).await);
    let open = ann.tus_create(FILE.len(), "filename YQ==").await;
    ann.tus_patch(&open, 0, cut_after(&FILE[..13])).await;
    app.service.close().await;
    let mut steps = 0;
    loop {
        let target = MoveTarget::new(to);
        let has_failed = fails_after(steps, &app, &target).await;
        if has_failed {
            assert!(target.is_refused().await, "a server started on a target whose move is not finished");
            let report = target.fill(&app, &move_options()).await.unwrap();
            assert_eq!(report.outcome, MoveOutcome::Ready, "{steps}: {report:?}");
            assert_eq!((report.missing_parts, report.left_behind), (vec![], vec![]));
        }
        // The end of the test compares rows and bytes.
        let moved = target.app().await;
        let ann = ann.at(&moved);
        assert_eq!(content(&ann, &whole).await.expect(200).bytes, small);
        ann.tus_patch(&open, 13, FILE[13..].to_vec()).await.expect(204);
        assert_stored_by_tus(&ann, &open).await;
        if !has_failed {
            assert!(steps > 30, "{steps}");
            return;
        }
        // Every third step, so that the test stays short: beginnings and ends alike.
        steps += 3;
    }
}

#[tokio::test]
async fn a_move_to_a_folder_that_fails_at_any_step_ends_well_the_next_time() {
    Box::pin(ends_well_after_each_failure(&Place::Folder)).await;
}

#[tokio::test]
async fn a_move_to_an_object_store_that_fails_at_any_step_ends_well_the_next_time() {
    Box::pin(ends_well_after_each_failure(&Place::objects())).await;
}

#[tokio::test]
async fn what_is_tried_again_counts_once_in_the_progress() {
    let house = House::new(&Place::Folder).await;
    let (target, faults) = (MoveTarget::new(&Place::objects()), Faults::default());
    faults.fail(When::Before, Step::Complete, Cause::Silent);
    let (passed, retried) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let on_progress = {
        let (passed, retried, faults) = (Arc::clone(&passed), Arc::clone(&retried), faults.clone());
        move |progress| match progress {
            MoveProgress::Passed { bytes } => drop(passed.fetch_add(bytes, Ordering::Relaxed)),
            MoveProgress::Retrying { .. } => {
                retried.fetch_add(1, Ordering::Relaxed);
                faults.heal();
            }
            _ => {}
        }
    };
    let mut moving = target.open(&house.app, &Faults::default(), &faults).await.unwrap();
    let options = MoveOptions { on_progress: Arc::new(on_progress), ..move_options() };
    let report = moving.run(&options).await.unwrap();
    moving.close().await;
    assert_eq!(report.outcome, MoveOutcome::Ready, "{report:?}");
    assert!(retried.load(Ordering::Relaxed) > 0);
    assert_eq!(passed.load(Ordering::Relaxed), report.plan.file_bytes + report.plan.open_bytes);
    drop(target.app().await);
}

/// Unlike a failure, a kill runs no more code.
#[tokio::test]
async fn a_move_that_is_killed_in_a_step_ends_well_the_next_time() {
    use Step::{Begin, Complete, Finish, PartWriter, Persist, PersistAsTail, Push};
    for to in Place::each() {
        let house = House::new(&Place::Folder).await;
        for (when, step) in [
            (When::Before, Begin),
            (When::After, Begin),
            (When::After, PartWriter),
            (When::After, Push),
            (When::After, Finish),
            (When::Before, Persist),
            (When::After, Persist),
            (When::After, PersistAsTail),
            (When::Before, Complete),
            (When::After, Complete),
        ] {
            if step == Begin && matches!(to, Place::Folder) {
                continue;
            }
            let (target, faults) = (MoveTarget::new(&to), Faults::default());
            let gate = faults.hold(when, step);
            let mut moving = target.open(&house.app, &Faults::default(), &faults).await.unwrap();
            let options = move_options();
            tokio::select! {
                ended = moving.run(&options) => panic!("{when:?} {step:?}: {ended:?}"),
                () = gate.reached() => {}
            }
            drop(moving);
            assert!(target.is_refused().await);
            let report = target.fill(&house.app, &move_options()).await.unwrap();
            assert_eq!(report.outcome, MoveOutcome::Ready, "{when:?} {step:?} {to:?}: {report:?}");
            house.assert_lives_on(&target.app().await).await;
        }
    }
}

/// Statements that make the target's database fail at a table.
const FAIL: [&str; 6] = [
    "CREATE TRIGGER fails BEFORE INSERT ON move_upload BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE TRIGGER fails BEFORE INSERT ON move_part WHEN (SELECT COUNT(*) FROM move_part) = 3 BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE TRIGGER fails BEFORE INSERT ON upload_session BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE TRIGGER fails BEFORE INSERT ON upload_part BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE TRIGGER fails BEFORE INSERT ON webhook_delivery BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE TRIGGER fails BEFORE UPDATE OF move_finished_at ON instance BEGIN SELECT RAISE(ABORT, 'no'); END",
];

#[tokio::test]
async fn a_move_whose_database_fails_ends_well_the_next_time() {
    let house = House::new(&Place::Folder).await;
    for statement in FAIL {
        let target = MoveTarget::on_sqlite(&Place::Folder);
        target.migrate().await;
        target.execute(statement).await;
        target.fill(&house.app, &move_options()).await.unwrap_err();
        assert!(statement.contains("move_upload") || target.is_refused().await, "{statement}");
        target.execute("DROP TRIGGER fails").await;
        let report = target.fill(&house.app, &move_options()).await.unwrap();
        assert_eq!(report.outcome, MoveOutcome::Ready, "{statement}: {report:?}");
        house.assert_lives_on(&target.app().await).await;
    }
}

/// The old server ran between two runs of the move, such as after a restart of the machine.
#[tokio::test]
async fn what_changed_at_the_source_between_two_runs_is_copied_again() {
    for to in Place::each() {
        let house = House::new(&Place::Folder).await;
        let (target, faults) = (MoveTarget::new(&to), Faults::default());
        // All bytes are copied, and no row.
        let mut moving = target.open(&house.app, &Faults::default(), &faults).await.unwrap();
        let gate = faults.hold(When::After, Step::Complete);
        let options = move_options();
        tokio::select! {
            ended = moving.run(&options) => panic!("{ended:?}"),
            () = gate.reached() => {}
        }
        drop(moving);
        let app = house.app.beside().await;
        let ann = house.ann.at(&app);
        // A file is deleted, a session is aborted, one is finalized, and one gets a longer tail.
        let (deleted, _) = &house.stored[0];
        ann.delete(&format!("/files/{deleted}")).await.expect(204);
        ann.put_parts(&house.half_done, FILE, [house.missing]).await;
        assert_finishes(&ann, &house.half_done).await;
        ann.tus_patch(&house.with_tail, 13, cut_after(&FILE[13..17])).await;
        app.service.close().await;

        let report = target.fill(&house.app, &move_options()).await.unwrap();
        assert_eq!(report.outcome, MoveOutcome::Ready, "{report:?}");
        let app = target.app().await;
        let ann = house.ann.at(&app);
        assert_eq!(ann.get(&format!("/files/{deleted}/content")).await.problem().1, "NOT_FOUND");
        assert_finishes(&ann, &house.half_done).await;
        assert_eq!(ann.tus_offset(&house.with_tail).await, 17);
        assert!(!target.files().iter().any(|name| name.contains(deleted.as_str())));
    }
}

#[tokio::test]
async fn bytes_that_the_target_has_lost_between_two_runs_are_copied_again() {
    let house = House::new(&Place::Folder).await;
    let (target, faults) = (MoveTarget::new(&Place::Folder), Faults::default());
    let mut moving = target.open(&house.app, &Faults::default(), &faults).await.unwrap();
    let gate = faults.hold(When::Before, Step::PersistAsTail);
    let options = move_options();
    tokio::select! {
        ended = moving.run(&options) => panic!("{ended:?}"),
        () = gate.reached() => {}
    }
    drop(moving);
    let uploading = target.folder().join("files/uploading").join(&house.with_tail);
    std::fs::remove_file(uploading).unwrap();
    let report = target.fill(&house.app, &move_options()).await.unwrap();
    assert_eq!(report.outcome, MoveOutcome::Ready, "{report:?}");
    house.assert_lives_on(&target.app().await).await;
}

#[tokio::test]
async fn open_sessions_do_not_expire_because_of_the_time_of_the_move() {
    let house = House::new(&Place::Folder).await;
    house.app.advance(chrono::TimeDelta::days(30));
    let target = MoveTarget::new(&Place::Folder);
    target.fill(&house.app, &move_options()).await.unwrap();
    let app: TestApp = target.app().await;
    app.advance(chrono::TimeDelta::days(30));
    app.service.sweep().await;
    assert_eq!(house.ann.at(&app).status(&house.half_done).await["status"], "IN_PROGRESS");
    app.advance(chrono::TimeDelta::days(8));
    for _ in 0..8 {
        app.advance(chrono::TimeDelta::days(1));
        app.service.sweep().await;
    }
    assert_eq!(house.ann.at(&app).status(&house.half_done).await["status_reason"], "expired");
}
