//! Accounts: what each owner uses.
//!
//! Owns the row of an owner, which the transactions that create, end and delete an upload change as well. A conditional update
//! checks the limits, so they are exact on any number of nodes and cost one row. It is the last statement of its transaction,
//! because the row is locked until the commit. Before this update, the transaction waits a limited time for the
//! others of its node that change the same account. Does not own what an upload uses: that is `domain/account`.

use entity::account;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, Func, LockType, OnConflict},
};

use super::{Db, Result, Transaction, at_most_one, error::retry_transient, rows::CorruptRow, sessions::missing_row};
use crate::domain::{Account, AccountLimits, OwnerName, Usage};

/// A new limit of one owner: `None` if the limit of the settings applies.
pub type NewLimit = Option<u64>;

impl Db {
    /// An owner's account. `defaults` are the limits of an owner without limits of their own.
    pub async fn account(&self, owner: &OwnerName, defaults: &AccountLimits) -> Result<Account> {
        let row = retry_transient(|| at_most_one(account::Entity::find_by_id(owner.as_str()), &self.read)).await?;
        Ok(row.map_or_else(|| empty(owner.clone(), defaults), |row| of_row(row, owner.clone(), defaults)))
    }

    /// All accounts, in the order of the owners' names.
    pub async fn accounts(&self, defaults: &AccountLimits) -> Result<Vec<Account>> {
        let found =
            retry_transient(|| account::Entity::find().order_by_asc(account::COLUMN.owner).all(&self.read)).await?;
        // An invalid name is left out, so that it does not hide the other accounts.
        let read = |row: account::Model| match OwnerName::parse(&row.owner) {
            Some(owner) => Some(of_row(row, owner, defaults)),
            None => {
                tracing::error!(error = %CorruptRow::of_owner(&row.owner), "the row of an account is invalid");
                None
            }
        };
        Ok(found.into_iter().filter_map(read).collect())
    }

    /// Stores limits of an owner; `u64::MAX` is no limit. Keeps a limit that is not given. Creates the account if the owner has
    /// none.
    pub async fn set_limits(
        &self,
        owner: &OwnerName,
        max_bytes: Option<NewLimit>,
        max_open_sessions: Option<NewLimit>,
    ) -> Result<()> {
        let stored = |limit: NewLimit| Set(limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX)));
        let row = account::ActiveModel {
            max_bytes: max_bytes.map_or(NotSet, stored),
            max_open_sessions: max_open_sessions.map_or(NotSet, stored),
            ..new_row(owner)
        };
        let given =
            [max_bytes.map(|_| account::Column::MaxBytes), max_open_sessions.map(|_| account::Column::MaxOpenSessions)];
        let replace = OnConflict::column(account::Column::Owner).update_columns(given.into_iter().flatten()).to_owned();
        account::Entity::insert(row).on_conflict(replace).exec_without_returning(&self.write).await?;
        Ok(())
    }
}

/// Adds a new upload to the account of its owner, unless a limit forbids it. Then returns the account as it is.
pub(super) async fn admit(
    tx: &Transaction,
    owner: &OwnerName,
    added: Usage,
    defaults: &AccountLimits,
) -> Result<Option<Account>> {
    tx.lock_account(owner).await;
    if add_within_limits(tx, owner, added, defaults).await? {
        return Ok(None);
    }
    // The owner's first upload, or a limit forbids it. Other transactions may create or change the account at the same time, so
    // this decides again with the row locked: the account that forbids an upload is the account in the answer.
    let keep_existing = OnConflict::column(account::Column::Owner).do_nothing().to_owned();
    account::Entity::insert(new_row(owner)).on_conflict(keep_existing).exec_without_returning(tx).await?;
    let row = at_most_one(account::Entity::find_by_id(owner.as_str()).lock(LockType::NoKeyUpdate), tx)
        .await?
        .ok_or_else(|| missing_row("account"))?;
    if add_within_limits(tx, owner, added, defaults).await? {
        return Ok(None);
    }
    Ok(Some(of_row(row, owner.clone(), defaults)))
}

async fn add_within_limits(
    tx: &Transaction,
    owner: &OwnerName,
    added: Usage,
    defaults: &AccountLimits,
) -> Result<bool> {
    let limit = |column: account::Column, default: u64| {
        let default = i64::try_from(default).unwrap_or(i64::MAX);
        Expr::from(Func::coalesce([Expr::col(column), Expr::val(default)]))
    };
    let max_sessions = limit(account::Column::MaxOpenSessions, defaults.max_open_sessions);
    let max_bytes = limit(account::Column::MaxBytes, defaults.max_bytes.unwrap_or(u64::MAX));
    let mut update = adding(owner, added).filter(Expr::col(account::Column::OpenSessions).lt(max_sessions));
    // An empty file needs no room, also if a new limit is lower than what the owner uses.
    if added.bytes > 0 {
        // The difference cannot overflow, and a sum could.
        update = update.filter(Expr::col(account::Column::BytesUsed).lte(max_bytes.sub(added.bytes)));
    }
    Ok(update.exec(tx).await?.rows_affected > 0)
}

/// Changes the account of an owner. If there is no account, changes nothing: `partway check` then reports it.
pub(super) async fn change(tx: &Transaction, owner: &OwnerName, by: Usage) -> Result<()> {
    if !by.is_zero() {
        tx.lock_account(owner).await;
        adding(owner, by).exec(tx).await?;
    }
    Ok(())
}

fn adding(owner: &OwnerName, added: Usage) -> sea_orm::UpdateMany<account::Entity> {
    use account::Column;
    account::Entity::update_many()
        .col_expr(Column::BytesUsed, Expr::col(Column::BytesUsed).add(added.bytes))
        .col_expr(Column::OpenSessions, Expr::col(Column::OpenSessions).add(added.open_sessions))
        .filter(account::COLUMN.owner.eq(owner.as_str()))
}

pub(super) fn new_row(owner: &OwnerName) -> account::ActiveModel {
    account::ActiveModel {
        owner: Set(owner.to_string()),
        bytes_used: Set(0),
        open_sessions: Set(0),
        max_bytes: NotSet,
        max_open_sessions: NotSet,
        events_dropped_to: Set(0),
    }
}

fn empty(owner: OwnerName, defaults: &AccountLimits) -> Account {
    Account {
        owner,
        bytes_used: 0,
        bytes_limit: defaults.max_bytes,
        open_sessions: 0,
        open_sessions_limit: defaults.max_open_sessions,
    }
}

/// A count below zero is read as zero, because an account must not fail a request. `partway check` reports it.
fn of_row(row: account::Model, owner: OwnerName, defaults: &AccountLimits) -> Account {
    let count = |value: i64| u64::try_from(value).unwrap_or_default();
    // The largest value means that there is no limit.
    let bytes_limit = match row.max_bytes {
        Some(i64::MAX) => None,
        Some(limit) => Some(count(limit)),
        None => defaults.max_bytes,
    };
    Account {
        owner,
        bytes_used: count(row.bytes_used),
        bytes_limit,
        open_sessions: count(row.open_sessions),
        open_sessions_limit: row.max_open_sessions.map_or(defaults.max_open_sessions, count),
    }
}
