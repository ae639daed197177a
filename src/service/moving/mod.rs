//! `partway move`: copying everything of a stopped server to another database and another storage.
//!
//! Owns the order, on the side of the target: mark the database, copy the bytes and note each part when it is durable, copy the rows,
//! check the result, and mark the move as finished. No server uses the target before that. The source is only read. So a move can be
//! killed at any point and run again: it skips the bytes that are noted, and copies the rows anew. If the source has changed in
//! between, what has changed is copied again. Does not own the locks that keep servers away: those are in `app`.

mod carry;
mod digested;
mod open;
mod plan;
mod reading;
mod report;
mod stored;
mod transfer;

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use chrono::TimeDelta;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::carry::{Carried, Carry};
pub use self::report::{LeftBehind, MissingParts, MoveOutcome, MovePlan, MoveReport};
use super::{CheckOptions, Service};
use crate::{
    db::{Db, MoveState, RowChanges},
    error::{Error, Result},
    storage::{PartLimits, Storage},
};

/// How many uploads are copied at once.
const UPLOADS_AT_ONCE: usize = 4;
/// The number of sessions that one statement reads.
const PAGE: u64 = 500;

/// What a move reads. Nothing else may use it meanwhile.
#[derive(Clone, Debug)]
pub struct MoveSource {
    /// The database.
    pub db: Db,
    /// The storage.
    pub storage: Arc<dyn Storage>,
}

/// How to move.
#[derive(Clone)]
pub struct MoveOptions {
    /// Finish without what cannot be moved.
    pub leaves_behind: bool,
    /// Read the parts of open sessions from an object store by ending their multipart uploads there.
    pub ends_uploads: bool,
    /// Is called when something happens.
    pub on_progress: Arc<dyn Fn(MoveProgress) + Send + Sync>,
}

impl fmt::Debug for MoveOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { leaves_behind, ends_uploads, .. } = self;
        f.debug_struct("MoveOptions")
            .field("leaves_behind", leaves_behind)
            .field("ends_uploads", ends_uploads)
            .finish_non_exhaustive()
    }
}

/// What happens during a move.
#[derive(Clone, Debug)]
pub enum MoveProgress {
    /// All sessions were looked at. This many bytes are to be copied, including those that an earlier run has copied.
    Planned {
        /// The number of bytes.
        bytes: u64,
    },
    /// These bytes were copied, or an earlier run had copied them.
    Passed {
        /// The number of bytes.
        bytes: u64,
    },
    /// An upload could not be copied, and is tried again.
    Retrying {
        /// What has failed.
        reason: String,
    },
    /// All bytes are copied. The rows follow.
    CopyingRows,
    /// The rows are copied. The check follows.
    Checking,
}

impl Service {
    /// Moves everything from `source` to the database and the storage of this service, which must be empty or those of the same move.
    /// Can be repeated after a failure at any point.
    ///
    /// # Errors
    /// The source or the target is not one that a move can use, or one of them failed.
    pub async fn move_from(self: &Arc<Self>, source: &MoveSource, options: &MoveOptions) -> Result<MoveReport> {
        let from = source.id().await?;
        let state = self.db.move_state().await?;
        if let Some(MoveState { finished_at: Some(at), .. }) = state.filter(|state| state.source == from) {
            self.db.forget_move().await?;
            return Ok(MoveReport::new(MoveOutcome::FinishedBefore(at), MovePlan::default()));
        }
        self.expect_target_of(from, state).await?;
        let limits = self.part_limits();
        let plan = source.plan(limits, options.ends_uploads).await?;
        (options.on_progress)(MoveProgress::Planned { bytes: plan.file_bytes + plan.open_bytes });
        if !plan.left_behind.is_empty() && !options.leaves_behind {
            return Ok(MoveReport {
                left_behind: plan.left_behind.clone(),
                ..MoveReport::new(MoveOutcome::Undecided, plan)
            });
        }
        if state.is_none() {
            self.check_room(plan.file_bytes + plan.open_bytes).await?;
        }
        self.begin_move(from).await?;
        let mut report = self.carry_all(source, options, plan).await?;
        if !report.left_behind.is_empty() && !options.leaves_behind {
            report.outcome = MoveOutcome::Undecided;
            return Ok(report);
        }
        (options.on_progress)(MoveProgress::CopyingRows);
        self.copy_rows(source, &mut report).await?;
        if !report.left_behind.is_empty() && !options.leaves_behind {
            report.outcome = MoveOutcome::Undecided;
            return Ok(report);
        }
        (options.on_progress)(MoveProgress::Checking);
        report.problems = self.check(CheckOptions::default()).await?.problems;
        if !report.problems.is_empty() {
            report.outcome = MoveOutcome::Damaged;
            return Ok(report);
        }
        Ok(report)
    }

    /// Marks the move as finished: from now on, servers can use the target. Call it after [`move_from`](Self::move_from) has
    /// succeeded, and after a last look that no server used the source meanwhile.
    pub async fn finish_move(&self) -> Result<()> {
        self.db.finish_move(self.clock.now()).await?;
        // Nobody reads these rows any more, so a kill in between does no harm.
        Ok(self.db.forget_move().await?)
    }

    /// The parts that the storage accepts.
    fn part_limits(&self) -> PartLimits {
        self.storage.as_multipart().map_or(PartLimits::NONE, |store| store.part_limits())
    }

    /// Checks that the target is empty, or that this move has begun to fill it.
    async fn expect_target_of(&self, from: Uuid, state: Option<MoveState>) -> Result<()> {
        let found = self.storage.binding().await?;
        if found == Some(from) {
            return Err(Error::cannot_move(
                "the storage of the target is that of the source; name another one".to_owned(),
            ));
        }
        match state {
            Some(state) if state.source == from => match found {
                Some(found) if found != state.target => Err(Error::cannot_move(format!(
                    "the storage of the target has the id {found}, and its database expects {}: use the storage with which \
                     the move began",
                    state.target
                ))),
                _ => Ok(()),
            },
            Some(MoveState { finished_at: None, source, .. }) => Err(Error::cannot_move(format!(
                "the move of another source, with the storage id {source}, has begun to fill the database of the target"
            ))),
            _ if !self.db.is_empty().await? => {
                Err(Error::cannot_move("the database of the target is not empty; name a new one".to_owned()))
            }
            _ if found.is_some() || !self.storage.sample_ids().await?.is_empty() => {
                Err(Error::cannot_move("the storage of the target is not empty; name a new one".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Marks the database, and then binds the storage to it. From now on, no server uses them.
    async fn begin_move(&self, from: Uuid) -> Result<()> {
        let begun = self.db.begin_move(from, Uuid::now_v7()).await?;
        let Some(MoveState { target, .. }) = begun.filter(|state| state.source == from) else {
            return Err(Error::cannot_move("another process has begun to use the database of the target".to_owned()));
        };
        match self.storage.bind(target).await? == target {
            true => Ok(()),
            false => Err(Error::cannot_move("another process has begun to use the storage of the target".to_owned())),
        }
    }

    /// Copies the bytes of all sessions, and frees what an earlier run copied of sessions that need none any more.
    async fn carry_all(
        self: &Arc<Self>,
        source: &MoveSource,
        options: &MoveOptions,
        plan: MovePlan,
    ) -> Result<MoveReport> {
        let copied_bytes = Arc::new(AtomicU64::new(0));
        let carry = || Carry {
            target: Arc::clone(self),
            source: source.clone(),
            options: options.clone(),
            limits: self.part_limits(),
            copied_bytes: Arc::clone(&copied_bytes),
            passed: AtomicU64::new(0),
            furthest: AtomicU64::new(0),
        };
        let mut report = MoveReport::new(MoveOutcome::Ready, plan);
        report.left_behind.extend(source.lone_files().await?);
        let (mut running, mut after) = (JoinSet::new(), None);
        loop {
            let page = source.db.uploads_after(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (id, _) in &page {
                if running.len() == UPLOADS_AT_ONCE {
                    note(&mut report, running.join_next().await)?;
                }
                let (carry, id) = (carry(), *id);
                running.spawn(async move { carry.session(id).await });
            }
        }
        while let Some(joined) = running.join_next().await {
            note(&mut report, Some(joined))?;
        }
        report.copied_bytes = copied_bytes.load(Ordering::Relaxed);
        report.in_order();
        Ok(report)
    }

    async fn copy_rows(&self, source: &MoveSource, report: &mut MoveReport) -> Result<()> {
        let now = self.clock.now();
        let downtime = source.db.last_sweep().await?.map_or(TimeDelta::zero(), |at| (now - at).max(TimeDelta::zero()));
        let without: HashSet<_> = report.left_behind.iter().filter_map(|left| left.session).collect();
        let copied = self.db.copy_rows(&source.db, &RowChanges { without, now, downtime }).await?;
        report.rows = copied.tables;
        report.left_behind.extend(copied.events.into_iter().map(|(id, why)| LeftBehind::event(id, why)));
        // They count what has stayed behind, and may have been wrong before.
        for wrong in self.db.wrong_accounts().await? {
            self.db.correct_account(&wrong.owner).await?;
        }
        Ok(())
    }
}

/// Adds a result to the report.
fn note(report: &mut MoveReport, joined: Option<Result<Result<Carried>, tokio::task::JoinError>>) -> Result<()> {
    match joined {
        Some(Ok(carried)) => match carried? {
            Carried::Whole => {}
            Carried::NotCompared => report.not_compared += 1,
            Carried::Incomplete(missing) => report.missing_parts.push(missing),
            Carried::Left(left) => report.left_behind.push(left),
        },
        Some(Err(failed)) => return Err(Error::internal(failed)),
        None => {}
    }
    Ok(())
}
