//! Keys that sign tokens.
//!
//! Owns how keys are read, from a set ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)) or from a file, and which algorithms
//! each may verify. The key decides about the algorithm, and never the token alone: otherwise a client could use a public key
//! as the secret of an HMAC.

use anyhow::{Context, ensure};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
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
    // Some programs write a byte order mark, blank lines or a description before the key.
    let Some(pem) = find(content, b"-----BEGIN").map(|start| &content[start..]) else {
        // An editor ends a file with a newline.
        let secret = content.trim_ascii_end();
        ensure!(secret.len() >= MIN_SECRET_BYTES, "a secret for HS256 must have at least {MIN_SECRET_BYTES} bytes");
        ensure!(!is_asymmetric_key(secret), "it is a key in another format than PEM, and not a secret for HS256");
        return Ok(key(&[Algorithm::HS256], DecodingKey::from_secret(secret)?));
    };
    ensure!(find(pem, b"PRIVATE KEY-----").is_none(), "it is a private key: the server needs the public one");
    if let Ok(rsa) = DecodingKey::from_rsa_pem(pem) {
        return Ok(key(OF_RSA, rsa));
    }
    if let Ok(ed) = DecodingKey::from_ed_pem(pem) {
        return Ok(key(&[Algorithm::EdDSA], ed));
    }
    // The curve decides which of the two the key can verify.
    let ec = DecodingKey::from_ec_pem(pem).context("it has no public key of RSA, P-256, P-384 or Ed25519 in PEM")?;
    Ok(key(&[Algorithm::ES256, Algorithm::ES384], ec))
}

/// Whether the content is an asymmetric key in another format than PEM: SSH, JSON, XML, or DER, also in Base64. A public key must not
/// become a secret: everybody who has it could sign tokens.
fn is_asymmetric_key(content: &[u8]) -> bool {
    let text = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content).trim_ascii();
    let words: [&[u8]; 7] = [b"ssh-", b"ecdsa-", b"sk-ssh-", b"sk-ecdsa-", b"----", b"{", b"<"];
    let characters: Vec<u8> =
        text.iter().copied().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=').collect();
    let decoded = [STANDARD_NO_PAD.decode(&characters), URL_SAFE_NO_PAD.decode(&characters)];
    words.iter().any(|word| text.starts_with(word))
        || is_der(content)
        || decoded.iter().flatten().any(|bytes| is_der(bytes))
}

/// Whether the bytes are one DER SEQUENCE, as every key is ([X.690 §8.1](https://www.itu.int/rec/T-REC-X.690)).
fn is_der(bytes: &[u8]) -> bool {
    let (length, rest) = match bytes {
        [0x30, short @ 0..=0x7f, rest @ ..] => (usize::from(*short), rest),
        [0x30, 0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return false,
    };
    length == rest.len()
}

fn find(content: &[u8], wanted: &[u8]) -> Option<usize> {
    content.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const RSA: &str = include_str!("../../tests/it/fixtures/jwt/rsa1.pub.pem");

    fn algorithms(content: &[u8]) -> Vec<Algorithm> {
        from_file(content).map(|key| key.algorithms).unwrap_or_default()
    }

    #[test]
    fn a_public_key_never_becomes_a_secret() {
        for before in ["", "\n", "\u{feff}", " \t", "Bag Attributes\n    friendlyName: key\n"] {
            assert_eq!(algorithms(format!("{before}{RSA}").as_bytes()), OF_RSA, "{before:?}");
        }
        let base64: String = RSA.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(&base64).unwrap();
        let url_safe = base64.replace('+', "-").replace('/', "_");
        let ssh = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 key@example.org";
        let texts = [
            &base64,
            &url_safe,
            ssh,
            "{\"keys\": [{\"kty\": \"RSA\"}]}            ",
            "<RSAKeyValue><Modulus>AAAAAAAAAAAAAAAA",
        ];
        for text in texts {
            for before in ["", "\n", "\u{feff}"] {
                assert!(from_file(format!("{before}{text}\n").as_bytes()).is_err(), "{before:?}{text}");
            }
        }
        assert!(from_file(&der).is_err());
        assert!(from_file("---- BEGIN SSH2 PUBLIC KEY ----\nAAAAB3NzaC1yc2EAAAADAQABAAABgQC7".as_bytes()).is_err());
    }

    #[test]
    fn secrets_are_accepted_and_private_keys_refused() {
        for secret in [&[0x30; 48][..], b"0123456789abcdef0123456789abcdef\n", STANDARD.encode([7; 40]).as_bytes()] {
            assert_eq!(algorithms(secret), [Algorithm::HS256]);
        }
        let private = include_bytes!("../../tests/it/fixtures/jwt/rsa1.pem");
        assert!(from_file(private).is_err_and(|error| error.to_string().contains("private")));
    }
}
