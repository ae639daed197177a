//! A move carries everything over, and changes nothing at the source.

use std::{collections::BTreeMap, fs};

use partway::service::{MoveOptions, MoveOutcome, MoveReport};

use crate::support::{House, MoveTarget, Place, Table, TestApp, files_below, move_options, tables};

/// Tables whose rows a move does not copy: leases of running requests, and what the move itself notes.
const NOT_COPIED: [&str; 3] = ["upload_part_claim", "move_upload", "move_part"];

/// What differs in the target. For `upload_session`: only of open sessions.
fn may_differ(table: &str) -> &'static [&'static str] {
    match table {
        "instance" => &["storage_id", "moved_from", "move_finished_at", "expiry_seen_at"],
        "upload_session" => &[
            "storage_upload_id",
            "storage_checksum",
            "tail_location",
            "expires_at",
            "version",
            "updated_at",
            "bytes_freed",
        ],
        "upload_part" => &["storage_etag"],
        _ => &[],
    }
}

fn comparable(tables: BTreeMap<String, Table>) -> BTreeMap<String, Table> {
    let mut tables: BTreeMap<_, _> =
        tables.into_iter().filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())).collect();
    for (name, rows) in &mut tables {
        for row in &mut *rows {
            row.retain(|column, _| !may_differ(name).contains(&column.as_str()));
        }
        rows.sort();
    }
    tables
}

fn assert_finished(report: &MoveReport) {
    assert_eq!(report.outcome, MoveOutcome::Ready, "{report:?}");
    assert_eq!((&report.missing_parts[..], &report.left_behind[..]), (&[][..], &[][..]));
}

fn all_options() -> MoveOptions {
    MoveOptions { ends_uploads: true, ..move_options() }
}

#[tokio::test]
async fn everything_arrives_and_what_was_half_done_ends_there() {
    for from in Place::each() {
        for to in Place::each() {
            let house = House::new(&from).await;
            let before = tables(&house.app).await;
            let target = MoveTarget::new(&to);
            let report = target.fill(&house.app, &all_options()).await.unwrap();
            assert_finished(&report);
            assert_eq!(report.copied_bytes, report.plan.file_bytes + report.plan.open_bytes);
            assert_eq!(comparable(target.tables().await), comparable(before), "{from:?} {to:?}");
            house.assert_lives_on(&target.app().await).await;
            house.app.expect_damage();
        }
    }
}

#[tokio::test]
async fn the_source_is_as_it_was() {
    let house = House::new(&Place::Folder).await;
    let (rows, bytes) = (tables(&house.app).await, files_below(house.app.folder()));
    assert_finished(&MoveTarget::new(&Place::Folder).fill(&house.app, &move_options()).await.unwrap());
    assert_eq!(files_below(house.app.folder()), bytes);
    assert_eq!(tables(&house.app).await, rows);
    house.assert_lives_on(&house.app.beside().await).await;
}

/// A new table must be copied, or be named in [`NOT_COPIED`].
#[tokio::test]
async fn every_table_is_copied() {
    let app = TestApp::with_faults(&Place::Folder).await.0;
    app.service.close().await;
    let target = MoveTarget::new(&Place::Folder);
    let report = target.fill(&app, &move_options()).await.unwrap();
    let mut copied: Vec<&str> = report.rows.keys().copied().chain(NOT_COPIED).collect();
    copied.sort_unstable();
    assert_eq!(copied, target.tables().await.keys().map(String::as_str).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_finished_move_is_finished_when_it_is_repeated_and_goes_on_to_a_third_place() {
    let house = House::new(&Place::Folder).await;
    let target = MoveTarget::new(&Place::Folder);
    assert_finished(&target.fill(&house.app, &move_options()).await.unwrap());
    let again = target.fill(&house.app, &move_options()).await.unwrap();
    assert!(matches!(again.outcome, MoveOutcome::FinishedBefore(_)), "{again:?}");
    let second = target.app().await;
    second.service.close().await;
    let third = MoveTarget::new(&Place::objects());
    assert_finished(&third.fill(&second, &move_options()).await.unwrap());
    house.assert_lives_on(&third.app().await).await;
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_refused_and_unchanged() {
    let house = House::new(&Place::Folder).await;
    let refused = async |target: &MoveTarget, why: &str| {
        let before = target.tables().await;
        let refused = target.fill(&house.app, &move_options()).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(target.tables().await, before);
    };
    let with_token = MoveTarget::new(&Place::Folder);
    let app = with_token.app().await;
    app.user("ann").await;
    app.service.close().await;
    refused(&with_token, "the database of the target is not empty").await;

    let with_file = MoveTarget::new(&Place::Folder);
    with_file.expect_damage();
    fs::create_dir_all(with_file.folder().join("files/stored")).unwrap();
    fs::write(with_file.folder().join("files/stored/01890000-0000-7000-8000-00000000000a"), "x").unwrap();
    let refused_too = with_file.fill(&house.app, &move_options()).await.unwrap_err().to_string();
    assert!(refused_too.contains("the storage of the target is not empty"), "{refused_too}");

    let of_another = MoveTarget::new(&Place::Folder);
    let other = House::new(&Place::Folder).await;
    assert_finished(&of_another.fill(&other.app, &move_options()).await.unwrap());
    refused(&of_another, "the database of the target is not empty").await;
}

#[tokio::test]
async fn a_target_of_an_earlier_version_is_not_migrated() {
    let house = House::new(&Place::Folder).await;
    let target = MoveTarget::on_sqlite(&Place::Folder);
    target.expect_damage();
    let app = target.app().await;
    app.user("ann").await.create_id(1).await;
    app.service.close().await;
    let newest = "(SELECT MAX(version) FROM seaql_migrations)";
    target.execute(&format!("DELETE FROM seaql_migrations WHERE version = {newest}")).await;
    let before = files_below(target.folder());
    let refused = target.fill(&house.app, &move_options()).await.unwrap_err();
    assert!(format!("{refused:#}").contains("the database of the target is not empty"), "{refused:#}");
    assert!(files_below(target.folder()) == before);
}
