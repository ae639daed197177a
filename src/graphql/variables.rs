//! Parsing the variables of a request.
//!
//! Owns the checks that keep values unchanged: no duplicate keys, no inexact numbers, keys in their order. Owns the limit on
//! their depth, too.

use async_graphql::{Name, Value, Variables, indexmap::IndexMap};
use serde_json::value::RawValue;

use super::literals::{duplicate_key, inexact_number, is_exact};
use crate::{
    domain::{JsonLevel, Metadata},
    error::{Error, Result},
};

/// Levels of objects and lists: those of metadata, of an input and of the variables, and a few to spare.
const MAX_DEPTH: usize = Metadata::MAX_DEPTH + 8;

/// Reads a JSON object of variables.
///
/// # Errors
/// `INVALID_INPUT`.
pub(super) fn read(json: &RawValue) -> Result<Variables> {
    match value(json, 0).map_err(|problem| Error::invalid("variables", problem))? {
        object @ Value::Object(_) => Ok(Variables::from_value(object)),
        _ => Err(Error::invalid("variables", "must be an object or null")),
    }
}

/// Longest value in bytes below the input, where only metadata can be. The parser reads each level's text again for the levels
/// below it, so its work is length times depth.
const MAX_DEEP_BYTES: usize = 4 * Metadata::MAX_BYTES;

/// `depth` is the number of objects and lists around the value.
fn value(json: &RawValue, depth: usize) -> Result<Value, String> {
    if depth > 2 && json.get().len() > MAX_DEEP_BYTES {
        return Err(format!("a nested value must have at most {MAX_DEEP_BYTES} bytes"));
    }
    let level =
        JsonLevel::read(json).map_err(|_| "a string has a lone surrogate, which is half of a character".to_owned())?;
    if matches!(level, JsonLevel::Object(_) | JsonLevel::List(_)) && depth == MAX_DEPTH {
        return Err(format!("must not nest more than {MAX_DEPTH} objects and lists"));
    }
    Ok(match level {
        JsonLevel::Object(entries) => {
            let mut object = IndexMap::with_capacity(entries.len());
            for (key, item) in entries {
                if key.starts_with(JsonLevel::PRIVATE_KEYS) {
                    return Err(format!("keys must not begin with {:?}", JsonLevel::PRIVATE_KEYS));
                }
                if object.insert(Name::new(&key), value(item, depth + 1)?).is_some() {
                    return Err(duplicate_key(&key));
                }
            }
            Value::Object(object)
        }
        JsonLevel::List(items) => {
            Value::List(items.into_iter().map(|item| value(item, depth + 1)).collect::<Result<_, _>>()?)
        }
        JsonLevel::String(text) => Value::String(text),
        JsonLevel::Number(text) if is_exact(text) => Value::Number(text.parse().map_err(|_| inexact_number(text))?),
        JsonLevel::Number(text) => return Err(inexact_number(text)),
        JsonLevel::Bool(value) => Value::Boolean(value),
        JsonLevel::Null => Value::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Variables> {
        read(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn variables_keep_their_values_or_are_refused() {
        let text = r#"{"a":{"z":1,"b":[1.5,"ü",null,true,18446744073709551615]}}"#;
        assert_eq!(serde_json::to_string(&read_text(text).unwrap()).unwrap(), text);
        for bad in [
            "[]",
            "1",
            r#"{"a":1,"a":2}"#,
            r#"{"a":[{"b":1,"\u0062":2}]}"#,
            r#"{"a":12345678901234567890123}"#,
            r#"{"a":[1e400]}"#,
            r#"{"a":{"$serde_json::private::RawValue":"1"}}"#,
            r#"{"a":"\ud800"}"#,
            &format!("{{\"a\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000)),
        ] {
            assert_eq!(read_text(bad).unwrap_err().field(), Some("variables"), "{bad:.80}");
        }
    }
}
