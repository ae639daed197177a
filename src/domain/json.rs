//! JSON, one level at a time.
//!
//! Owns a reader of JSON text that keeps what `serde_json::Value` loses: the digits of long numbers, the order of keys, and
//! duplicate keys. Values below the present level stay text. Checking them needs no recursion, so no depth overflows the
//! stack; the caller counts the levels as it descends.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The outermost level of a JSON value.
#[derive(Debug)]
pub enum JsonLevel<'a> {
    /// Its entries in order, duplicate keys included.
    Object(Vec<(String, &'a RawValue)>),
    /// Its items.
    List(Vec<&'a RawValue>),
    /// Its characters.
    String(String),
    /// A number as it is written.
    Number(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// `null`
    Null,
}

impl<'a> JsonLevel<'a> {
    /// `serde_json` uses keys with this prefix itself and would replace their values.
    pub const PRIVATE_KEYS: &'static str = "$serde_json::private::";

    /// Reads one level.
    ///
    /// # Errors
    /// A string or a key has a lone surrogate.
    pub fn read(json: &'a RawValue) -> serde_json::Result<Self> {
        let text = json.get();
        Ok(match text.as_bytes().first() {
            Some(b'{') => Self::Object(serde_json::from_str::<Entries<'a>>(text)?.0),
            Some(b'[') => Self::List(serde_json::from_str(text)?),
            Some(b'"') => Self::String(serde_json::from_str(text)?),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') => Self::Null,
            _ => Self::Number(text),
        })
    }
}

struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
