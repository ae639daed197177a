//! Keys that sign tokens.
//!
//! Owns how keys are read, from a set ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)) or from a file, and which algorithms
//! each may verify. The key decides about the algorithm, and never the token alone: otherwise a client could use a public key
//! as the secret of an HMAC.

use anyhow::{Context, ensure};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::Value;

/// Maximum number of keys in a set.
const MAX_KEYS: usize = 100;
/// RFC 7518 requires a secret of at least this length for HS256.
const MIN_SECRET_BYTES: usize = 32;

const OF_RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// A key that verifies signatures.
#[derive(Clone)]
pub(super) struct Key {
    /// Its name in the set.
    id: Option<String>,
    /// The algorithms that it may verify.
    algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
}

/// Keeps a secret out of logs.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

impl Key {
    /// Whether this key may have signed a token with this key id and this algorithm.
    pub(super) fn fits(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm) && (id.is_none() || self.id.is_none() || self.id.as_deref() == id)
    }
}

/// Reads a key set. Skips keys that do not verify signatures by a public key. Such a set has, for example, keys for encryption.
pub(super) fn from_set(json: &[u8]) -> Result<Vec<Key>, String> {
    let set: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let keys = set.get("keys").and_then(Value::as_array).ok_or("it has no list of keys")?;
    let keys: Vec<Key> = keys.iter().take(MAX_KEYS).filter_map(from_set_entry).collect();
    if keys.is_empty() { Err("it has no key that this server can use".to_owned()) } else { Ok(keys) }
}

fn from_set_entry(entry: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(entry.clone()).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => OF_RSA.to_vec(),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
        // A secret in a public set is no secret.
        _ => return None,
    };
    if let Some(only) = jwk.common.key_algorithm {
        let name = only.to_string();
        algorithms.retain(|algorithm| format!("{algorithm:?}") == name);
    }
    Some(Key { id: jwk.common.key_id.clone(), algorithms, decoding: DecodingKey::from_jwk(&jwk).ok()? })
}

/// Reads the key in a file: a public key in PEM, or else the secret of HS256.
pub(super) fn from_file(content: &[u8]) -> anyhow::Result<Key> {
    let key = |algorithms: &[Algorithm], decoding| Key { id: None, algorithms: algorithms.to_vec(), decoding };
    if !content.starts_with(b"-----BEGIN") {
        // An editor ends a file with a newline.
        let secret = content.trim_ascii_end();
        ensure!(secret.len() >= MIN_SECRET_BYTES, "a secret for HS256 must have at least {MIN_SECRET_BYTES} bytes");
        return Ok(key(&[Algorithm::HS256], DecodingKey::from_secret(secret)?));
    }
    if let Ok(rsa) = DecodingKey::from_rsa_pem(content) {
        return Ok(key(OF_RSA, rsa));
    }
    if let Ok(ed) = DecodingKey::from_ed_pem(content) {
        return Ok(key(&[Algorithm::EdDSA], ed));
    }
    // The curve decides which of the two the key can verify.
    let ec =
        DecodingKey::from_ec_pem(content).context("it has no public key of RSA, P-256, P-384 or Ed25519 in PEM")?;
    Ok(key(&[Algorithm::ES256, Algorithm::ES384], ec))
}
