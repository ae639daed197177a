//! Bringing the schema up to what this binary needs.
//!
//! Owns when that is done, that two servers do not do it at once, and that a schema from a newer version is refused. What
//! is done is the crate `migration`'s.

use migration::{Migrator, MigratorTrait};
use sea_orm::{DatabaseConnection, DbErr};

use super::{
    Db, Error, Result,
    changes::ChangeSource,
    postgres::{SchemaLock, unhurried},
};

impl Db {
    /// Brings the schema up to date. A schema that is up to date is only looked at, so that a server whose database user
    /// may not change it can start.
    ///
    /// # Errors
    /// [`Error::Schema`] if a newer version was here, or if something is to be done and may not be.
    pub async fn migrate(&self) -> Result<()> {
        if self.pending().await? == 0 {
            return Ok(());
        }
        match &self.change_source {
            ChangeSource::Sqlite(_) => Box::pin(apply(&self.pools.current().write)).await,
            ChangeSource::Postgres(target) => {
                let lock = SchemaLock::take(target).await?;
                // Another server may have done it while this one waited; then nothing is left to do.
                let connection = unhurried(target).await?;
                let applied = Box::pin(apply(&connection)).await;
                connection.close().await?;
                applied?;
                lock.release().await
            }
        }
    }

    /// Whether nothing has ever been in it.
    pub async fn is_new(&self) -> Result<bool> {
        Ok(self.pending().await? == Migrator::migrations().len())
    }

    /// How many migrations are still to be applied.
    async fn pending(&self) -> Result<usize> {
        match Migrator::get_pending_migrations_read_only(&self.write).await {
            Ok(pending) => Ok(pending.len()),
            // The one way in which sea-orm tells of an applied migration that it has no file for.
            Err(DbErr::Custom(unknown)) => Err(Error::Schema(format!(
                "the schema was made by a newer version of partway; use that one, or a backup from before it ({unknown})"
            ))),
            Err(error) => Err(error.into()),
        }
    }
}

async fn apply(connection: &DatabaseConnection) -> Result<()> {
    Migrator::up(connection, None).await.map_err(|error| {
        Error::Schema(format!("the schema cannot be brought up to date; `partway migrate` does only this: {error}"))
    })
}
