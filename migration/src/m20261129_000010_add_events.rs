//! Events and webhooks: what happened to uploads and files, who wants to hear of it, and each delivery.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, big_integer_null, integer, integer_null, string, string_null, text, text_null,
        timestamp_with_time_zone, timestamp_with_time_zone_null, uuid, uuid_null,
    },
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const INDEXES: [&str; 7] = [
    // For the feed of one owner.
    "CREATE UNIQUE INDEX event_feed ON event (owner, position)",
    // For the events that have just got their positions.
    "CREATE UNIQUE INDEX event_position ON event (position)",
    // For the assignment of positions to new events.
    "CREATE INDEX event_without_position ON event (seq) WHERE position IS NULL",
    // For the removal of old events, and for a replay.
    "CREATE INDEX event_created ON event (created_at)",
    "CREATE INDEX webhook_delivery_due ON webhook_delivery (webhook_id, next_attempt_at) WHERE state = 'PENDING'",
    "CREATE INDEX webhook_delivery_dead ON webhook_delivery (webhook_id, event_id) WHERE state = 'DEAD'",
    // For the removal of a webhook.
    "CREATE INDEX webhook_delivery_webhook ON webhook_delivery (webhook_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [event(), webhook(), webhook_delivery()] {
            manager.create_table(table).await?;
        }
        for index in INDEXES {
            manager.get_connection().execute_unprepared(index).await?;
        }
        let position = big_integer("last_event_position").default(0).take();
        manager.alter_table(Table::alter().table("instance").add_column(position).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table("instance").drop_column("last_event_position").to_owned()).await?;
        for table in ["webhook_delivery", "webhook", "event"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

fn event() -> TableCreateStatement {
    Table::create()
        .table("event")
        .col(big_integer("seq").auto_increment().primary_key())
        .col(uuid("id").unique_key())
        .col(big_integer_null("position"))
        .col(string("owner"))
        .col(string("event_type"))
        .col(uuid_null("session_id"))
        .col(uuid("file_id"))
        .col(text("data"))
        .col(timestamp_with_time_zone("created_at"))
        .to_owned()
}

fn webhook() -> TableCreateStatement {
    Table::create()
        .table("webhook")
        .col(uuid("id").primary_key())
        .col(text("url"))
        .col(text("event_types"))
        .col(string_null("owner"))
        .col(text("secret"))
        .col(text_null("previous_secret"))
        .col(timestamp_with_time_zone_null("previous_until"))
        .col(timestamp_with_time_zone_null("disabled_at"))
        .col(timestamp_with_time_zone("created_at"))
        .to_owned()
}

fn webhook_delivery() -> TableCreateStatement {
    Table::create()
        .table("webhook_delivery")
        .col(uuid("event_id"))
        .col(uuid("webhook_id"))
        .col(string("state"))
        .col(integer("attempts"))
        .col(timestamp_with_time_zone("next_attempt_at"))
        .col(timestamp_with_time_zone_null("leased_until"))
        .col(integer_null("last_status"))
        .col(text_null("last_error"))
        .col(timestamp_with_time_zone("created_at"))
        .col(timestamp_with_time_zone("updated_at"))
        .primary_key(Index::create().col("event_id").col("webhook_id"))
        .foreign_key(ForeignKey::create().from("webhook_delivery", "event_id").to("event", "id"))
        .foreign_key(ForeignKey::create().from("webhook_delivery", "webhook_id").to("webhook", "id"))
        .to_owned()
}
