//! The schema's own scalars.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::SecondsFormat;
use serde_json::value::{RawValue, to_raw_value};

use crate::domain::Timestamp;

/// A count of bytes from 0 to 2^63-1, written as a decimal string because a GraphQL `Int` ends at 2^31-1. Read from a
/// decimal string or an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BigInt(pub(super) u64);

/// A count of bytes from 0 to 2^63-1, written as a decimal string because a GraphQL `Int` ends at 2^31-1. Read from a
/// decimal string or an integer.
#[Scalar(specified_by_url = "https://www.w3.org/TR/xmlschema-2/#nonNegativeInteger")]
impl ScalarType for BigInt {
    fn parse(value: Value) -> InputValueResult<Self> {
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().ok(),
            _ => None,
        };
        let in_range = number.filter(|number| i64::try_from(*number).is_ok());
        in_range.map(Self).ok_or_else(|| InputValueError::custom("expected a whole number from 0 to 2^63-1"))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// A time in UTC with microseconds, as in `2026-11-23T20:17:00.123456Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateTime(pub(super) Timestamp);

/// A time in UTC with microseconds, as in `2026-11-23T20:17:00.123456Z`.
#[Scalar(specified_by_url = "https://www.rfc-editor.org/rfc/rfc3339")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => Ok(Self(chrono::DateTime::parse_from_rfc3339(text)?.to_utc())),
            _ => Err(InputValueError::custom("expected a time such as 2026-11-23T20:17:00Z")),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// A JSON object. As an input, it has at most 16 KiB, 16 levels of objects and lists, and 1,000 keys, and no object has the same
/// key twice. The server returns every value as it was sent, and refuses numbers that it cannot keep exactly.
#[derive(Clone, Debug)]
pub(super) struct JsonObject(pub(super) Box<RawValue>);

/// A JSON object. As an input, it has at most 16 KiB, 16 levels of objects and lists, and 1,000 keys, and no object has the same
/// key twice. The server returns every value as it was sent, and refuses numbers that it cannot keep exactly.
#[Scalar(name = "JSONObject", specified_by_url = "https://www.rfc-editor.org/rfc/rfc8259#section-4")]
impl ScalarType for JsonObject {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::Object(_) => Ok(Self(to_raw_value(&value)?)),
            _ => Err(InputValueError::custom("expected a JSON object")),
        }
    }

    /// A value that serializes as exactly this text.
    fn to_value(&self) -> Value {
        async_graphql::to_value(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_big_int_is_parsed_from_a_string_or_an_integer_and_written_as_a_string() {
        for value in [Value::from("5368709120"), Value::from(5_368_709_120_u64)] {
            assert_eq!(BigInt::parse(value).unwrap(), BigInt(5_368_709_120));
        }
        assert_eq!(BigInt(7).to_value(), Value::from("7"));
        for bad in [Value::from("-1"), Value::from(-1), Value::from(""), Value::from("1e3"), Value::from(1.5)] {
            assert!(BigInt::parse(bad.clone()).is_err(), "{bad}");
        }
        assert!(BigInt::parse(Value::from("9223372036854775808")).is_err());
    }
}
