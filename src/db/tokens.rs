//! Statements over tokens.
//!
//! Owns the rows of tokens, which hold only hashes. The server shows a token once, to the person who creates it.

use entity::api_token;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::{
    CorruptRow, Db, Result, at_most_one,
    error::{retry_locked, retry_transaction, retry_transient},
};
use crate::domain::{OwnerName, Timestamp, TokenHash};

/// The largest number of tokens in one transaction. Other writers wait for it.
const MAX_NOTED: usize = 100;

/// A token to store.
#[derive(Debug)]
pub struct NewToken {
    /// Its id.
    pub id: Uuid,
    /// The owner whose sessions it gives access to.
    pub owner: OwnerName,
    /// A description of the token's purpose, for people.
    pub name: String,
    /// The SHA-256 of the token.
    pub hash: TokenHash,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires. `None` if never.
    pub expires_at: Option<Timestamp>,
}

/// A stored token, without its hash.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// Its id.
    pub id: Uuid,
    /// The owner whose sessions it gives access to.
    pub owner: String,
    /// A description of the token's purpose, for people.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires. `None` if never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used. The server updates it at each sweep.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked. `None` if it was not.
    pub revoked_at: Option<Timestamp>,
}

/// A token that is neither revoked nor expired.
#[derive(Clone, Debug)]
pub struct ValidToken {
    /// Its id.
    pub id: Uuid,
    /// The owner whose sessions it gives access to.
    pub owner: OwnerName,
    /// When it expires. `None` if never.
    pub expires_at: Option<Timestamp>,
}

impl Db {
    /// Stores a token.
    pub async fn create_token(&self, token: &NewToken) -> Result<()> {
        insert(token, &self.write).await
    }

    /// Stores a token if there is none at all; false if there is one. If two nodes start for the first time at once,
    /// only one of them stores a token.
    pub async fn create_first_token(&self, token: &NewToken) -> Result<bool> {
        retry_locked(|| self.try_create_first_token(token)).await
    }

    async fn try_create_first_token(&self, token: &NewToken) -> Result<bool> {
        let tx = self.begin(None).await?;
        if tx.get_database_backend() == DbBackend::Postgres {
            // Blocks other writers until the commit, and no readers.
            tx.execute_unprepared("LOCK TABLE api_token IN SHARE ROW EXCLUSIVE MODE").await?;
        }
        if !api_token::Entity::find().limit(1).all(&tx).await?.is_empty() {
            return Ok(false);
        }
        insert(token, &tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The token with this hash. `None` if it is unknown, revoked or expired.
    pub async fn valid_token(&self, hash: &TokenHash, now: Timestamp) -> Result<Option<ValidToken>> {
        let wanted = api_token::Entity::find().filter(api_token::COLUMN.token_hash.eq(hash.as_bytes().to_vec()));
        let found = retry_transient(|| at_most_one(wanted.clone(), &self.read)).await?;
        let valid = found.filter(|row| row.revoked_at.is_none() && row.expires_at.is_none_or(|expiry| now < expiry));
        let Some(row) = valid else { return Ok(None) };
        let owner = OwnerName::parse(&row.owner).ok_or_else(|| CorruptRow::new("api_token", row.id, "owner"))?;
        Ok(Some(ValidToken { id: row.id, owner, expires_at: row.expires_at }))
    }

    /// All tokens, the oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>> {
        let found = api_token::Entity::find().order_by_asc(api_token::COLUMN.id).all(&self.read).await?;
        Ok(found.into_iter().map(record).collect())
    }

    /// Revokes a token. False if there is no token with this id, or if it is revoked already.
    pub async fn revoke_token(&self, id: Uuid, now: Timestamp) -> Result<bool> {
        let revoked = api_token::Entity::update_many()
            .set(api_token::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() })
            .filter(api_token::COLUMN.id.eq(id))
            .filter(api_token::COLUMN.revoked_at.is_null())
            .exec(&self.write)
            .await?;
        Ok(revoked.rows_affected > 0)
    }

    /// Records when tokens were last used.
    pub async fn note_token_use(&self, used: &[(Uuid, Timestamp)]) -> Result<()> {
        // Always in the same order, so that two nodes do not deadlock.
        let mut used = used.to_vec();
        used.sort_unstable();
        for used in used.chunks(MAX_NOTED) {
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
