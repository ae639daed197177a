//! Tokens of the application's identity provider: JSON Web Tokens ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)).
//!
//! Owns the check of such a token, and the keys that it needs. Does not own Partway's own tokens and the cache of valid
//! tokens: those are in `service/authenticate`.

mod key_set;
mod keys;
mod settings;

use chrono::{DateTime, TimeDelta};
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

pub use self::settings::JwtSettings;
use self::{key_set::KeySet, keys::Key};
use crate::domain::{OwnerName, Timestamp};

/// The clocks of the provider and of this server may differ by this much.
const LEEWAY: TimeDelta = TimeDelta::seconds(60);
/// Larger tokens are refused before anything in them is read.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Checks tokens of one provider.
#[derive(Debug)]
pub struct Jwt {
    keys: KeySet,
    issuer: String,
    audience: String,
    owner_claim: String,
}

/// A valid token.
#[derive(Debug, PartialEq, Eq)]
pub struct ValidJwt {
    /// The owner whom the token names.
    pub owner: OwnerName,
    /// When the token expires, with the leeway for differing clocks.
    pub expires_at: Timestamp,
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The token is not valid. The text is for the log: the caller learns no reason.
    #[error("{0}")]
    Invalid(String),
    /// The server could never read the provider's keys, so it cannot tell whether the token is valid.
    #[error("the keys of the identity provider cannot be read: {0}")]
    NoKeys(String),
}

impl From<jsonwebtoken::errors::Error> for Refused {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl Jwt {
    /// The check that these settings describe; `None` if they name no key.
    ///
    /// # Errors
    /// The key file cannot be read or has no key. The settings are [valid](JwtSettings::check).
    pub fn open(settings: &JwtSettings) -> anyhow::Result<Option<Self>> {
        let Some(keys) = KeySet::open(settings)? else { return Ok(None) };
        let JwtSettings { jwt_issuer: issuer, jwt_audience: audience, jwt_owner_claim: owner_claim, .. } =
            settings.clone();
        Ok(Some(Self { keys, issuer, audience, owner_claim }))
    }

    /// Checks a token at this time.
    ///
    /// # Errors
    /// [`Refused`] says why.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<ValidJwt, Refused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refused::Invalid(format!("it has {} bytes", token.len())));
        }
        let header = decode_header(token)?;
        if header.crit.is_some() {
            return Err(Refused::Invalid("it has critical header parameters".to_owned()));
        }
        let keys = self.keys.find(header.kid.as_deref(), header.alg, now).await?;
        let claims = self.claims(token, header.alg, &keys)?;
        self.check(&claims, now)
    }

    /// The claims of a token that one of these keys has signed, for this audience, by this issuer.
    fn claims(&self, token: &str, alg: jsonwebtoken::Algorithm, keys: &[Key]) -> Result<Map<String, Value>, Refused> {
        let mut validation = Validation::new(alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // `check` does it, by the clock of this server.
        validation.validate_exp = false;
        let mut refused = Refused::Invalid("no key has its id and its algorithm".to_owned());
        for key in keys {
            match decode(token, &key.decoding, &validation) {
                Ok(valid) => return Ok(valid.claims),
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    fn check(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<ValidJwt, Refused> {
        let time = |name: &str| -> Result<Option<Timestamp>, Refused> {
            let unreadable = || Refused::Invalid(format!("its {name} is not a time"));
            let Some(value) = claims.get(name) else { return Ok(None) };
            value.as_f64().and_then(timestamp).map(Some).ok_or_else(unreadable)
        };
        let missing = |name: &str| Refused::Invalid(format!("it has no {name}"));
        // The library also accepts a list of issuers.
        claims.get("iss").and_then(Value::as_str).ok_or_else(|| missing("iss"))?;
        let expires_at = time("exp")?.ok_or_else(|| missing("exp"))?.checked_add_signed(LEEWAY);
        let expires_at = expires_at.ok_or_else(|| missing("valid exp"))?;
        if expires_at <= now {
            return Err(Refused::Invalid("it has expired".to_owned()));
        }
        if time("nbf")?.is_some_and(|not_before| now + LEEWAY < not_before) {
            return Err(Refused::Invalid("it is not valid yet".to_owned()));
        }
        let owner = claims.get(&self.owner_claim).and_then(Value::as_str).and_then(OwnerName::parse);
        let owner =
            owner.ok_or_else(|| Refused::Invalid(format!("its {} is not the name of an owner", self.owner_claim)))?;
        Ok(ValidJwt { owner, expires_at })
    }
}

/// A `NumericDate`: seconds since 1970, also with a fraction.
#[expect(clippy::cast_possible_truncation, reason = "a time is in range after the check")]
fn timestamp(seconds: f64) -> Option<Timestamp> {
    let in_range = seconds.is_finite() && seconds.abs() < 1e11;
    in_range.then(|| DateTime::from_timestamp_millis((seconds * 1e3) as i64)).flatten()
}
