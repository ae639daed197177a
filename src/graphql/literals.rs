//! Literals that the GraphQL library would change.
//!
//! Owns two checks, before the parser runs: every number keeps its exact value, and no object has a key twice. The library
//! reads numbers into 64 bits, and keeps only the last of two values with the same key.

use std::collections::HashSet;

use serde_json::Number;

use super::tokens::{Token, tokens};
use crate::error::{Error, Result};

/// Refuses a document with an inexact number, or with an object that has a key twice.
///
/// # Errors
/// `INVALID_INPUT`.
pub(super) fn check(document: &str) -> Result<()> {
    let mut open: Vec<Bracket> = Vec::new();
    let mut last_name = None;
    for token in tokens(document) {
        let name = last_name.take();
        match token {
            Token::Open(kind) => {
                let is_value = kind == b'(' || open.last().is_some_and(|around| around.is_value);
                let keys = (kind == b'{' && is_value).then(HashSet::new);
                open.push(Bracket { is_value, keys });
            }
            Token::Close => drop(open.pop()),
            Token::Name(name) => last_name = Some(name),
            Token::Number(text) if !is_exact(text) => return Err(Error::invalid("query", inexact_number(text))),
            Token::Other(b':') => {
                let object = open.last_mut().and_then(|around| around.keys.as_mut());
                if let (Some(keys), Some(key)) = (object, name)
                    && !keys.insert(key)
                {
                    return Err(Error::invalid("query", duplicate_key(key)));
                }
            }
            Token::Number(_) | Token::Other(_) => {}
        }
    }
    Ok(())
}

/// An open bracket.
struct Bracket<'a> {
    /// Whether it contains values, and not selections.
    is_value: bool,
    /// The keys so far, if it is an object.
    keys: Option<HashSet<&'a str>>,
}

/// Whether the library keeps the exact value of a number. The spelling may change (`1e2` and `100`).
pub(super) fn is_exact(text: &str) -> bool {
    match text.parse::<Number>() {
        Ok(number) => Decimal::read(text).is_some_and(|read| Some(read) == Decimal::read(&number.to_string())),
        Err(_) => false,
    }
}

pub(super) fn inexact_number(text: &str) -> String {
    let end = text.floor_char_boundary(40);
    format!(
        "the server cannot keep the exact value of the number {}{}; send it as a string",
        &text[..end],
        if end < text.len() { "…" } else { "" }
    )
}

pub(super) fn duplicate_key(key: &str) -> String {
    format!("an object has the key {key:?} twice")
}

/// The value of a number: its significant digits, and the power of ten of the first digit.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` if the text is not a number, or if its exponent does not fit into an `i64`.
    fn read(text: &str) -> Option<Self> {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let zeros = digits.len() - digits.trim_start_matches('0').len();
        let exponent = exponent.parse::<i64>().ok()?.checked_add(i64::try_from(whole.len()).ok()?)?;
        let digits = digits.trim_matches('0').to_owned();
        let exponent = if digits.is_empty() { 0 } else { exponent.checked_sub(i64::try_from(zeros).ok()?)? };
        Some(Self { is_negative, digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_fit_into_64_bits_are_exact() {
        for text in [
            "0",
            "-0",
            "1",
            "1.0",
            "0.10",
            "1e5",
            "1E+2",
            "-12.5e-3",
            "18446744073709551615",
            "0.1",
            "1e308",
            "5e-324",
            "100e-2",
        ] {
            assert!(is_exact(text), "{text}");
        }
        for text in
            ["12345678901234567890123", "1e400", "-1e400", "1e-400", "0.12345678901234567890", "1e99999999999999999999"]
        {
            assert!(!is_exact(text), "{text}");
        }
    }

    #[test]
    fn a_document_whose_values_would_change_is_refused() {
        for good in [
            "{ a(b: 1.5, c: [{ d: 1, e: { d: 2 } }, { d: 3 }]) { d: x d: x } }",
            "query($a: In = { x: 1 }, $x: Int) { a(b: { x: $x, y: x }) }",
            "{ a(b: \"1e400 {x: 1, x: 2}\") } # 1e400",
            "{ a1e400 }",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "{ a(b: 12345678901234567890123) }",
            "{ a(b: [{ c: 1e400 }]) }",
            "{ a(b: { c: 1, c: 2 }) }",
            "{ a(b: [{ c: { d: 1 d : 2 } }]) }",
            "query($a: In = { x: 1, y: 1, x: 1 }) { a }",
            "{ a @b(c: { d: 1 # x\n d: 1 }) }",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
