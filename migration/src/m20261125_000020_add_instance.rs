//! The table `instance`, whose one row has the id that binds the database to its storage.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{integer, uuid};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let instance =
            Table::create().table("instance").col(integer("id").primary_key()).col(uuid("storage_id")).to_owned();
        manager.create_table(instance).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("instance").to_owned()).await
    }
}
