//! The update of a session's row.
//!
//! Owns which columns an update sets. SQLite writes every index of a column that a statement sets, changed or not. So an update sets
//! a column of an index only if it has changed, and a part that arrives does not write the indexes of the lists. Does not own the
//! values: those are in `rows`.

use entity::upload_session;
use sea_orm::{ActiveModelTrait, ActiveValue::NotSet};

use super::{
    Result, Transaction, changes,
    rows::{CorruptRow, session_update},
};
use crate::domain::Session;

/// Stores a session after a change, and announces the change.
pub(super) async fn store(tx: &Transaction, before: &Session, after: &Session) -> Result<()> {
    changed_columns(before, after)?.update_without_returning(tx).await?;
    changes::announce(tx, after).await
}

/// The columns that a change sets.
pub(super) fn changed_columns(before: &Session, after: &Session) -> Result<upload_session::ActiveModel, CorruptRow> {
    let mut row = session_update(after)?;
    if before.status == after.status {
        row.status = NotSet;
    }
    if before.file_deleted == after.file_deleted {
        row.file_deleted = NotSet;
    }
    if before.auto_finalize == after.auto_finalize {
        row.auto_finalize = NotSet;
    }
    if before.idempotency_key == after.idempotency_key {
        row.idempotency_key = NotSet;
    }
    Ok(row)
}
