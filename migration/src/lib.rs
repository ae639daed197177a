//! Partway's database schema, one file per migration.
//!
//! Owns the schema's history. A migration writes out its own table and column names and never imports `entity`, so that a
//! later change to an entity does not change an old migration.

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::{MigrationTrait, async_trait};

mod m20261123_000001_create_tables;
mod m20261123_000002_add_object_storage;
mod m20261125_000020_add_instance;
mod m20261125_000070_add_sweep_indexes;
mod m20261125_000080_add_filename_key;
mod m20261125_000150_add_expiry_pause;
mod m20261128_000010_add_appends;
mod m20261129_000010_add_events;
mod m20261129_000020_add_file_deletion;
mod m20261129_000030_add_accounts;
mod m20261129_000040_add_upload_tokens;
mod m20261129_000050_add_file_lists;
mod m20261129_000060_add_download_links;
mod m20261129_000070_add_crc64nvme;
mod m20261129_000080_index_lists;
mod m20261130_000040_add_moves;

/// Every migration, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_create_tables::Migration),
            Box::new(m20261123_000002_add_object_storage::Migration),
            Box::new(m20261125_000020_add_instance::Migration),
            Box::new(m20261125_000070_add_sweep_indexes::Migration),
            Box::new(m20261125_000080_add_filename_key::Migration),
            Box::new(m20261125_000150_add_expiry_pause::Migration),
            Box::new(m20261128_000010_add_appends::Migration),
            Box::new(m20261129_000010_add_events::Migration),
            Box::new(m20261129_000020_add_file_deletion::Migration),
            Box::new(m20261129_000030_add_accounts::Migration),
            Box::new(m20261129_000040_add_upload_tokens::Migration),
            Box::new(m20261129_000050_add_file_lists::Migration),
            Box::new(m20261129_000060_add_download_links::Migration),
            Box::new(m20261129_000070_add_crc64nvme::Migration),
            Box::new(m20261129_000080_index_lists::Migration),
            Box::new(m20261130_000040_add_moves::Migration),
        ]
    }
}
