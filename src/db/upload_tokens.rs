//! Tokens that open one session only.
//!
//! Owns the rows, and when they are removed. A token without a time of its own expires with its session, whose time moves with
//! each part; so the sweep looks at it again later. Does not own what such a token may do: that is `domain/principal`.

use entity::{upload_session, upload_token};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, JoinType, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

use super::{Db, Result, error::retry_transient, rows::CorruptRow};
use crate::domain::{FileId, OwnerName, SessionId, Timestamp, TokenHash};

/// A token to be stored.
#[derive(Clone, Debug)]
pub struct NewUploadToken {
    /// Its hash.
    pub hash: TokenHash,
    /// The session that it opens.
    pub session: SessionId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires. `None` if it expires with its session.
    pub expires_at: Option<Timestamp>,
    /// When the sweep looks whether it has expired.
    pub check_at: Timestamp,
}

/// A token that has not expired.
#[derive(Clone, Debug)]
pub struct ValidUploadToken {
    /// The session that it opens.
    pub session: SessionId,
    /// The file of the session.
    pub file: FileId,
    /// The owner of the session.
    pub owner: OwnerName,
    /// When it expires, as of now.
    pub expires_at: Timestamp,
}

/// Session, file, owner, the token's own time, the session's time.
type Columns = (Uuid, Uuid, String, Option<Timestamp>, Timestamp);

impl Db {
    /// Stores a token, unless its session already has `max` tokens that have not expired. Requests that run at the same time do not see each other, so
    /// a session can get a few more.
    pub async fn create_upload_token(&self, token: &NewUploadToken, max: u64) -> Result<bool> {
        let of_session = upload_token::Entity::find()
            .filter(upload_token::COLUMN.session_id.eq(token.session.0))
            .filter(upload_token::COLUMN.check_at.gt(token.created_at));
        if retry_transient(|| of_session.clone().count(&self.read)).await? >= max {
            return Ok(false);
        }
        let row = upload_token::ActiveModel {
            id: Set(Uuid::now_v7()),
            token_hash: Set(token.hash.as_bytes().to_vec()),
            session_id: Set(token.session.0),
            created_at: Set(token.created_at),
            expires_at: Set(token.expires_at),
            check_at: Set(token.check_at),
        };
        upload_token::Entity::insert(row).exec_without_returning(&self.write).await?;
        Ok(true)
    }

    /// The token with this hash. `None` if it is unknown or has expired.
    pub async fn valid_upload_token(&self, hash: &TokenHash, now: Timestamp) -> Result<Option<ValidUploadToken>> {
        let wanted = upload_token::Entity::find()
            .filter(upload_token::COLUMN.token_hash.eq(hash.as_bytes().to_vec()))
            .join(JoinType::InnerJoin, to_session())
            .select_only()
            .column(upload_token::Column::SessionId)
            .column(upload_session::Column::FileId)
            .column(upload_session::Column::Owner)
            .column(upload_token::Column::ExpiresAt)
            .column_as(upload_session::Column::ExpiresAt, "session_expires_at");
        let found = retry_transient(|| wanted.clone().into_tuple::<Columns>().all(&self.read)).await?.pop();
        let Some((session, file, owner, expires_at, session_expires_at)) = found else { return Ok(None) };
        let expires_at = expires_at.unwrap_or(session_expires_at);
        let owner = OwnerName::parse(&owner).ok_or_else(|| CorruptRow::new("upload_session", session, "owner"))?;
        let token = ValidUploadToken { session: SessionId(session), file: FileId(file), owner, expires_at };
        Ok((now < expires_at).then_some(token))
    }

    /// Removes the tokens that have expired, of at most `limit` that the sweep must look at. Looks at the others again when they
    /// can expire. Returns the number of tokens that it has looked at.
    pub async fn remove_expired_upload_tokens(&self, now: Timestamp, limit: u64) -> Result<usize> {
        let due = to_check(now)
            .limit(limit)
            .join(JoinType::InnerJoin, to_session())
            .select_only()
            .column(upload_token::Column::Id)
            .column(upload_token::Column::ExpiresAt)
            .column_as(upload_session::Column::ExpiresAt, "session_expires_at");
        let due = || due.clone().into_tuple::<(Uuid, Option<Timestamp>, Timestamp)>();
        let due = retry_transient(|| due().all(&self.read)).await?;
        let expiry = |(_, own, of_session): &(Uuid, Option<Timestamp>, Timestamp)| own.unwrap_or(*of_session);
        let expired: Vec<Uuid> = due.iter().filter(|token| expiry(token) <= now).map(|token| token.0).collect();
        if !expired.is_empty() {
            let expired = upload_token::Entity::delete_many().filter(upload_token::Column::Id.is_in(expired));
            retry_transient(|| expired.clone().exec(&self.write)).await?;
        }
        for token in due.iter().filter(|token| expiry(token) > now) {
            let again = upload_token::Entity::update_many()
                .set(upload_token::ActiveModel { check_at: Set(expiry(token)), ..Default::default() })
                .filter(upload_token::COLUMN.id.eq(token.0));
            retry_transient(|| again.clone().exec(&self.write)).await?;
        }
        Ok(due.len())
    }
}

/// Tokens that may have expired, the oldest first.
pub(super) fn to_check(now: Timestamp) -> Select<upload_token::Entity> {
    let due = upload_token::Entity::find().filter(upload_token::COLUMN.check_at.lte(now));
    due.order_by_asc(upload_token::COLUMN.check_at)
}

fn to_session() -> sea_orm::RelationDef {
    upload_token::Entity::belongs_to(upload_session::Entity)
        .from(upload_token::Column::SessionId)
        .to(upload_session::Column::Id)
        .into()
}
