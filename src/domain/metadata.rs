//! The metadata that a client attaches to a file.
//!
//! Owns how metadata is stored and compared, and its limits. It is stored as JSON text, so a client reads what it wrote:
//! every digit of a number, and keys in their order.

use std::collections::HashSet;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::JsonLevel;

/// A JSON object without white space. Two of them are equal if they have the same values under the same keys, in any
/// order.
#[derive(Clone, Debug)]
pub struct Metadata(Box<RawValue>);

/// Why a value cannot be attached to a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// It is not an object.
    #[error("must be a JSON object")]
    NoObject,
    /// A string has an escape of a lone surrogate, so it is not text.
    #[error("a string has half of a character: a lone surrogate")]
    HalfCharacter,
    /// Too many bytes.
    #[error("at most 16 KiB of JSON")]
    TooLong,
    /// Objects and lists are nested too deeply.
    #[error("at most {} objects and lists within each other", Metadata::MAX_DEPTH)]
    TooDeep,
    /// There are too many keys in all objects together.
    #[error("at most {} keys in all", Metadata::MAX_KEYS)]
    TooManyKeys,
    /// A key is too long.
    #[error("at most {} bytes in a key", Metadata::MAX_KEY_BYTES)]
    LongKey,
    /// A key appears twice. JSON readers differ in which value they use.
    #[error("the key {0:?} comes twice in one object")]
    DuplicateKey(String),
    /// A key has a special meaning in a JSON library.
    #[error("no keys that begin with {:?}", JsonLevel::PRIVATE_KEYS)]
    PrivateKey,
}

impl Metadata {
    /// Maximum size without white space, in bytes.
    pub const MAX_BYTES: usize = 16 * 1024;
    /// Maximum nesting of objects and lists; the outermost object counts.
    pub const MAX_DEPTH: usize = 16;
    /// Maximum number of keys in all objects together.
    pub const MAX_KEYS: usize = 1_000;
    /// Maximum size of a key, in bytes.
    pub const MAX_KEY_BYTES: usize = 256;

    /// Checks a client's metadata, and removes white space.
    pub fn parse(json: &RawValue) -> Result<Self, MetadataError> {
        let mut writer = Writer { text: String::new(), keys: 0 };
        if !json.get().starts_with('{') {
            return Err(MetadataError::NoObject);
        }
        writer.write(json, 0)?;
        Self::from_stored(writer.text).ok_or(MetadataError::NoObject)
    }

    /// Reads stored metadata. Does not check the limits, because an earlier version had other limits. `None` if it is
    /// not a JSON object.
    pub fn from_stored(text: String) -> Option<Self> {
        RawValue::from_string(text).ok().filter(|json| json.get().starts_with('{')).map(Self)
    }

    /// The JSON text.
    pub fn as_json(&self) -> &RawValue {
        &self.0
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self::from_stored("{}".to_owned()).expect("it is an object")
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        is_same(&self.0, &other.0)
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Compares values within the limits of `Metadata::parse`. Deeper values were stored by an earlier version and are equal
/// only if their text is.
fn is_same(one: &RawValue, other: &RawValue) -> bool {
    let levels = |value| JsonLevel::read(value).ok();
    one.get() == other.get()
        || match (levels(one), levels(other)) {
            (Some(JsonLevel::Object(mut one)), Some(JsonLevel::Object(mut other))) => {
                let by_key = |entries: &mut Vec<(String, &RawValue)>| entries.sort_by(|one, other| one.0.cmp(&other.0));
                by_key(&mut one);
                by_key(&mut other);
                one.len() == other.len()
                    && one.iter().zip(&other).all(|(one, other)| one.0 == other.0 && is_same(one.1, other.1))
            }
            (Some(JsonLevel::List(one)), Some(JsonLevel::List(other))) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
            }
            (Some(JsonLevel::String(one)), Some(JsonLevel::String(other))) => one == other,
            _ => false,
        }
}

/// Writes text without white space, and checks the limits.
struct Writer {
    text: String,
    keys: usize,
}

impl Writer {
    /// `depth` is the number of objects and lists around the value.
    fn write(&mut self, json: &RawValue, depth: usize) -> Result<(), MetadataError> {
        let level = JsonLevel::read(json).map_err(|_| MetadataError::HalfCharacter)?;
        if matches!(level, JsonLevel::Object(_) | JsonLevel::List(_)) && depth == Metadata::MAX_DEPTH {
            return Err(MetadataError::TooDeep);
        }
        match level {
            JsonLevel::Object(entries) => {
                let mut seen = HashSet::new();
                for (at, (key, value)) in entries.iter().enumerate() {
                    self.check_key(key)?;
                    if !seen.insert(key) {
                        return Err(MetadataError::DuplicateKey(key.clone()));
                    }
                    self.text.push(if at == 0 { '{' } else { ',' });
                    self.push_string(key);
                    self.text.push(':');
                    self.write(value, depth + 1)?;
                }
                self.text.push_str(if entries.is_empty() { "{}" } else { "}" });
            }
            JsonLevel::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.text.push(if at == 0 { '[' } else { ',' });
                    self.write(item, depth + 1)?;
                }
                self.text.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            JsonLevel::String(text) => self.push_string(&text),
            JsonLevel::Number(_) | JsonLevel::Bool(_) | JsonLevel::Null => self.text.push_str(json.get()),
        }
        if self.text.len() > Metadata::MAX_BYTES { Err(MetadataError::TooLong) } else { Ok(()) }
    }

    fn check_key(&mut self, key: &str) -> Result<(), MetadataError> {
        self.keys += 1;
        match key {
            _ if self.keys > Metadata::MAX_KEYS => Err(MetadataError::TooManyKeys),
            key if key.len() > Metadata::MAX_KEY_BYTES => Err(MetadataError::LongKey),
            key if key.starts_with(JsonLevel::PRIVATE_KEYS) => Err(MetadataError::PrivateKey),
            _ => Ok(()),
        }
    }

    fn push_string(&mut self, text: &str) {
        self.text.push_str(&serde_json::to_string(text).expect("writing a string cannot fail"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Metadata, MetadataError> {
        Metadata::parse(serde_json::from_str(text).unwrap())
    }

    fn nested(levels: usize) -> String {
        format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
    }

    #[test]
    fn stored_metadata_is_read_back_unchanged() {
        for text in [
            "{}",
            r#"{"long":12345678901234567890123,"float":1.0,"huge":1e400,"tiny":-0.0,"exact":0.1234567890123456789012}"#,
            r#"{"z":1,"a":{"":[[],{},null,true,"ü\"\\\u0000"]}}"#,
        ] {
            assert_eq!(parse(text).unwrap().as_json().get(), text);
        }
        assert_eq!(parse(" { \"a\" : [ 1 , \"\\u00fc\" ] } ").unwrap().as_json().get(), "{\"a\":[1,\"ü\"]}");
    }

    #[test]
    fn invalid_metadata_is_refused() {
        let keys: Vec<String> = (0..=Metadata::MAX_KEYS).map(|n| format!("\"{n}\":0")).collect();
        for (text, error) in [
            ("[]".to_owned(), MetadataError::NoObject),
            ("\"{}\"".to_owned(), MetadataError::NoObject),
            (nested(Metadata::MAX_DEPTH + 1), MetadataError::TooDeep),
            (nested(50_000), MetadataError::TooDeep),
            (format!("{{\"a\":\"{}\"}}", "x".repeat(Metadata::MAX_BYTES)), MetadataError::TooLong),
            (format!("{{{}}}", keys.join(",")), MetadataError::TooManyKeys),
            (format!("{{\"{}\":0}}", "x".repeat(Metadata::MAX_KEY_BYTES + 1)), MetadataError::LongKey),
            (r#"{"b":{"a":1,"\u0061":2}}"#.to_owned(), MetadataError::DuplicateKey("a".to_owned())),
            (r#"{"$serde_json::private::RawValue":"1"}"#.to_owned(), MetadataError::PrivateKey),
            (r#"{"a":{"$serde_json::private::Number":"1"}}"#.to_owned(), MetadataError::PrivateKey),
            (r#"{"a":"\ud800"}"#.to_owned(), MetadataError::HalfCharacter),
            (r#"{"\udc00":1}"#.to_owned(), MetadataError::HalfCharacter),
        ] {
            assert_eq!(parse(&text).unwrap_err(), error, "{text:.80}");
        }
        assert!(parse(&nested(Metadata::MAX_DEPTH)).is_ok());
    }

    #[test]
    fn metadata_with_the_same_values_is_equal() {
        let one = parse(r#"{"a":1,"b":[{"c":"ü","d":1.0}]}"#).unwrap();
        assert_eq!(one, parse(r#"{"b":[{"d":1.0,"c":"\u00fc"}],"a":1}"#).unwrap());
        for other in [
            r#"{"a":1,"b":[{"c":"ü","d":1}]}"#,
            r#"{"a":1,"b":[{"c":"ü"}]}"#,
            r#"{"a":1}"#,
            r#"{"a":1,"b":[{"c":"ü","d":1.0},null]}"#,
        ] {
            assert_ne!(one, parse(other).unwrap(), "{other}");
        }
        let long = |last| parse(&format!("{{\"a\":1234567890123456789012{last}}}")).unwrap();
        assert_ne!(long(3), long(4));
        assert_eq!(Metadata::default(), parse("{ }").unwrap());
    }

    #[test]
    fn stored_metadata_must_be_an_object() {
        let deep = nested(100_000);
        assert_eq!(Metadata::from_stored(deep.clone()).unwrap().as_json().get(), deep);
        for bad in ["", "null", "[]", "{", "{\"a\":1} x", "{\"a\"}"] {
            assert!(Metadata::from_stored(bad.to_owned()).is_none(), "{bad}");
        }
    }
}
