//! Forgetting recorded parts.
//!
//! Owns the one transaction that removes parts from a session. The service uses it if an object store has other bytes
//! than were recorded, so that the client sends those parts again.

use entity::upload_part;
use sea_orm::{EntityTrait, QueryFilter};

use super::{Db, Result, error::retry_transaction, session_change, sessions::locked_session};
use crate::domain::{PartRecord, Session, Timestamp};

impl Db {
    /// Forgets these parts of an open session. Skips a part that is now recorded with another ETag. Returns the session
    /// after the change.
    pub async fn forget_parts(&self, session: &Session, parts: &[PartRecord], now: Timestamp) -> Result<Session> {
        retry_transaction(|| self.try_forget_parts(session, parts, now)).await
    }

    async fn try_forget_parts(&self, session: &Session, parts: &[PartRecord], now: Timestamp) -> Result<Session> {
        let tx = self.begin(Some(&session.owner)).await?;
        let before = locked_session(&tx, session.id).await?;
        let mut session = before.clone();
        if !session.status.is_open() {
            return Ok(session);
        }
        let mut has_changed = false;
        for record in parts {
            let deleted = upload_part::Entity::delete_many()
                .filter(upload_part::COLUMN.session_id.eq(session.id.0))
                .filter(upload_part::COLUMN.part_number.eq(i64::from(record.part.number)))
                .filter(upload_part::COLUMN.storage_etag.eq(record.storage_etag.clone().unwrap_or_default()))
                .exec(&tx)
                .await?;
            if deleted.rows_affected > 0 {
                has_changed |= session.forget_part(record.part, now);
            }
        }
        if has_changed {
            session_change::store(&tx, &before, &session).await?;
            tx.commit().await?;
        }
        Ok(session)
    }
}
