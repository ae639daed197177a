//! Statements over tokens. Only hashes are kept; the token itself is seen once, by the person who made it.

use entity::api_token;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, DbBackend, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
};
use uuid::Uuid;

use super::{
    CorruptRow, Db, Result, at_most_one,
    error::{retry_transaction, retry_transient, unless_locked},
};
use crate::domain::{OwnerName, Principal, Timestamp, TokenHash};

/// How many are noted in one transaction: others wait for it.
const NOTED_AT_ONCE: usize = 100;

/// A token to be kept.
#[derive(Debug)]
pub struct NewToken {
    /// Its id.
    pub id: Uuid,
    /// Whose sessions it opens.
    pub owner: OwnerName,
    /// What it is for.
    pub name: String,
    /// SHA-256 of the token.
    pub hash: TokenHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// What is known of a token; never the token itself.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// Its id.
    pub id: Uuid,
    /// Whose sessions it opens.
    pub owner: String,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to within a sweep interval.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Db {
    /// Keeps a token.
    pub async fn create_token(&self, token: &NewToken) -> Result<()> {
        insert(token, &self.write).await
    }

    /// Keeps a token if there is none at all, so that two first starts at once make one.
    pub async fn create_first_token(&self, token: &NewToken) -> Result<bool> {
        unless_locked(|| self.try_create_first_token(token)).await
    }

    async fn try_create_first_token(&self, token: &NewToken) -> Result<bool> {
        let tx = self.begin(None).await?;
        if tx.get_database_backend() == DbBackend::Postgres {
            // Keeps other writers away until the commit; readers do not notice.
            tx.execute_unprepared("LOCK TABLE api_token IN SHARE ROW EXCLUSIVE MODE").await?;
        }
        if api_token::Entity::find().count(&tx).await? > 0 {
            return Ok(false);
        }
        insert(token, &tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Whom the token with this hash authenticates and until when, if it is neither revoked nor expired.
    pub async fn principal(&self, hash: &TokenHash, now: Timestamp) -> Result<Option<(Principal, Option<Timestamp>)>> {
        let wanted = api_token::Entity::find().filter(api_token::COLUMN.token_hash.eq(hash.as_bytes().to_vec()));
        let found = retry_transient(|| at_most_one(wanted.clone(), &self.read)).await?;
        let valid = found.filter(|row| row.revoked_at.is_none() && row.expires_at.is_none_or(|expiry| now < expiry));
        let Some(row) = valid else { return Ok(None) };
        let owner = OwnerName::parse(&row.owner).ok_or_else(|| CorruptRow::new("api_token", row.id, "owner"))?;
        Ok(Some((Principal { owner, token_id: row.id }, row.expires_at)))
    }

    /// Every token, oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>> {
        let found = api_token::Entity::find().order_by_asc(api_token::COLUMN.id).all(&self.read).await?;
        Ok(found.into_iter().map(record).collect())
    }

    /// Makes a token useless; false if there is none with this id that was in use.
    pub async fn revoke_token(&self, id: Uuid, now: Timestamp) -> Result<bool> {
        let revoked = api_token::Entity::update_many()
            .set(api_token::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() })
            .filter(api_token::COLUMN.id.eq(id))
            .filter(api_token::COLUMN.revoked_at.is_null())
            .exec(&self.write)
            .await?;
        Ok(revoked.rows_affected > 0)
    }

    /// Notes when tokens were last used.
    pub async fn note_token_use(&self, used: &[(Uuid, Timestamp)]) -> Result<()> {
        // In one order, so that servers that do this at once do not wait for each other crosswise.
        let mut used = used.to_vec();
        used.sort_unstable();
        for used in used.chunks(NOTED_AT_ONCE) {
            retry_transaction(|| self.try_note_token_use(used)).await?;
        }
        Ok(())
    }

    async fn try_note_token_use(&self, used: &[(Uuid, Timestamp)]) -> Result<()> {
        let tx = self.begin(None).await?;
        for (id, at) in used {
            api_token::Entity::update_many()
                .set(api_token::ActiveModel { last_used_at: Set(Some(*at)), ..Default::default() })
                .filter(api_token::COLUMN.id.eq(*id))
                .exec(&tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }
}

pub(super) async fn insert(token: &NewToken, connection: &impl ConnectionTrait) -> Result<()> {
    api_token::Entity::insert(row(token)).exec_without_returning(connection).await?;
    Ok(())
}

fn row(token: &NewToken) -> api_token::ActiveModel {
    api_token::ActiveModel {
        id: Set(token.id),
        owner: Set(token.owner.to_string()),
        name: Set(token.name.clone()),
        token_hash: Set(token.hash.as_bytes().to_vec()),
        created_at: Set(token.created_at),
        expires_at: Set(token.expires_at),
        last_used_at: NotSet,
        revoked_at: NotSet,
    }
}

fn record(row: api_token::Model) -> TokenRecord {
    let api_token::Model { id, owner, name, created_at, expires_at, last_used_at, revoked_at, .. } = row;
    TokenRecord { id, owner, name, created_at, expires_at, last_used_at, revoked_at }
}
