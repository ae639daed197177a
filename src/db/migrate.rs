//! Migrating the schema to the version that this binary needs.
//!
//! Owns when to migrate, the locks that let only one process migrate at a time, and the refusal of a schema from a newer
//! version. Does not own the migrations: those are in the crate `migration`.

use migration::{Migrator, MigratorTrait};
use sea_orm::{DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait};

use super::{
    Db, Error, Result,
    changes::ChangeSource,
    postgres::{SchemaLock, without_timeouts},
};

impl Db {
    /// Applies the pending migrations. If none is pending, it only reads, so the server can start with a database user
    /// that may not change the schema.
    ///
    /// # Errors
    /// [`Error::Schema`] if a newer version of Partway has migrated the schema, or if a migration fails.
    pub async fn migrate(&self) -> Result<()> {
        if self.pending().await? == 0 {
            return Ok(());
        }
        match &self.change_source {
            ChangeSource::Sqlite(_) => {
                // One write transaction for all migrations. Another process, such as `partway token`, waits until it is
                // committed and then has nothing left to apply, and a process that is killed leaves the old schema.
                let immediate = Some(SqliteTransactionMode::Immediate);
                let options =
                    TransactionOptions { sqlite_transaction_mode: immediate, ..TransactionOptions::default() };
                let transaction = self.pools.current().write.begin_with_options(options).await?;
                Box::pin(Migrator::up(&transaction, None)).await.map_err(failed)?;
                Ok(transaction.commit().await?)
            }
            ChangeSource::Postgres(target) => {
                let lock = SchemaLock::take(target).await?;
                // Another node may have migrated while this one waited. Then there is nothing left to apply.
                let connection = without_timeouts(target).await?;
                let applied = Box::pin(Migrator::up(&connection, None)).await.map_err(failed);
                connection.close().await?;
                applied?;
                lock.release().await
            }
        }
    }

    /// Whether no migration has ever been applied.
    pub async fn is_new(&self) -> Result<bool> {
        Ok(self.pending().await? == Migrator::migrations().len())
    }

    /// Whether the schema is the one of this version.
    ///
    /// # Errors
    /// [`Error::Schema`] if a newer version of Partway has migrated the schema.
    pub async fn is_current(&self) -> Result<bool> {
        Ok(self.pending().await? == 0)
    }

    /// The number of migrations that are not applied yet.
    async fn pending(&self) -> Result<usize> {
        match Migrator::get_pending_migrations_read_only(&self.write).await {
            Ok(pending) => Ok(pending.len()),
            // sea-orm returns `Custom` only if an applied migration is unknown to this binary.
            Err(DbErr::Custom(unknown)) => Err(Error::Schema(format!(
                "a newer version of partway migrated this schema; use that version, or restore a backup from before it \
                 ({unknown})"
            ))),
            Err(error) => Err(error.into()),
        }
    }
}

fn failed(error: DbErr) -> Error {
    Error::Schema(format!("cannot migrate the schema; to try again without a server, run `partway migrate`: {error}"))
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    /// As when `partway token` runs at the moment of the first start.
    #[tokio::test]
    async fn processes_that_open_a_new_database_together_migrate_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = Vec::new();
        for _ in 0..4 {
            opened.push(Db::open_sqlite(&folder.path().join("a.db")).await.unwrap());
        }
        for migrated in join_all(opened.iter().map(Db::migrate)).await {
            migrated.unwrap();
        }
    }
}
