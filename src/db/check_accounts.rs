//! Statements of `partway check` over accounts.
//!
//! Owns the comparison of each account with the rows of its owner, in one snapshot, and its correction. Does not own what
//! counts: that is `domain/account`; a test compares the two.

use std::collections::BTreeMap;

use entity::{account, upload_session};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{Set, Unchanged},
    EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, LockBehavior, LockType, OnConflict},
};

use super::{Db, Result, accounts::new_row, at_most_one, error::retry_transaction, sessions::missing_row};
use crate::domain::{OwnerName, Usage};

/// An account that does not agree with the rows of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongAccount {
    /// The owner.
    pub owner: OwnerName,
    /// What the account says. `None` if the owner has sessions, but no account.
    pub recorded: Option<Usage>,
    /// What the owner uses.
    pub actual: Usage,
}

impl Db {
    /// The accounts that do not agree with the rows of their owners, in the order of the owners' names.
    pub async fn wrong_accounts(&self) -> Result<Vec<WrongAccount>> {
        let tx = self.snapshot().await?;
        let mut actual: BTreeMap<String, Usage> = used().into_tuple().all(&tx).await?.into_iter().map(usage).collect();
        let mut wrong = Vec::new();
        let mut compare = |owner: &str, recorded: Option<Usage>, actual: Usage| {
            // The check of the sessions reports an invalid name.
            let owner = OwnerName::parse(owner).filter(|_| recorded != Some(actual));
            wrong.extend(owner.map(|owner| WrongAccount { owner, recorded, actual }));
        };
        for row in account::Entity::find().all(&tx).await? {
            let recorded = Usage { bytes: row.bytes_used, open_sessions: row.open_sessions };
            compare(&row.owner, Some(recorded), actual.remove(&row.owner).unwrap_or_default());
        }
        for (owner, actual) in actual {
            compare(&owner, None, actual);
        }
        wrong.sort_by(|one, other| one.owner.as_str().cmp(other.owner.as_str()));
        Ok(wrong)
    }

    /// Corrects an account, also while servers run. Every transaction that changes what the owner uses locks the account, so
    /// the rows that are counted under this lock are those of the transactions that have changed it.
    pub async fn correct_account(&self, owner: &OwnerName) -> Result<()> {
        retry_transaction(|| self.try_correct_account(owner)).await
    }

    async fn try_correct_account(&self, owner: &OwnerName) -> Result<()> {
        let tx = self.begin(Some(owner)).await?;
        let keep_existing = OnConflict::column(account::Column::Owner).do_nothing().to_owned();
        account::Entity::insert(new_row(owner)).on_conflict(keep_existing).exec_without_returning(&tx).await?;
        let own = account::Entity::find_by_id(owner.as_str());
        let locked = at_most_one(own.lock_with_behavior(LockType::NoKeyUpdate, LockBehavior::Nowait), &tx).await?;
        let row = locked.ok_or_else(|| missing_row("account"))?;
        let own = used().filter(upload_session::COLUMN.owner.eq(owner.as_str()));
        let actual = own.into_tuple().all(&tx).await?.pop().map(usage).map(|(_, actual)| actual).unwrap_or_default();
        let correct = account::ActiveModel {
            owner: Unchanged(row.owner),
            bytes_used: Set(actual.bytes),
            open_sessions: Set(actual.open_sessions),
            ..Default::default()
        };
        correct.update_without_returning(&tx).await?;
        Ok(tx.commit().await?)
    }
}

/// What each owner uses: the name, the bytes, the open sessions. A sum of `bigint` is `numeric` on PostgreSQL.
fn used() -> sea_orm::Select<upload_session::Entity> {
    let sum = |of: &str| Expr::cust(format!("CAST(SUM({of}) AS BIGINT)"));
    let bytes = "CASE WHEN upload_file.status IN ('UPLOADING', 'STORED') THEN upload_file.size_bytes ELSE 0 END";
    let open = "CASE WHEN upload_session.status IN ('INIT', 'IN_PROGRESS') THEN 1 ELSE 0 END";
    upload_session::Entity::find()
        .left_join(entity::upload_file::Entity)
        .select_only()
        .column(upload_session::Column::Owner)
        .column_as(sum(bytes), "bytes")
        .column_as(sum(open), "open_sessions")
        .group_by(upload_session::Column::Owner)
}

fn usage((owner, bytes, open_sessions): (String, i64, i64)) -> (String, Usage) {
    (owner, Usage { bytes, open_sessions })
}
