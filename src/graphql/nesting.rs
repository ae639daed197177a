//! How deep the brackets of a document nest.
//!
//! Owns the limit that holds before a document is parsed: the parser is recursive, and a document of 3 kB that nests 1,500
//! lists overflows its stack. Counts brackets of all kinds in one pass, without recursion. Does not check that they match;
//! that is the parser's.

use crate::error::{Error, Result};

/// Most brackets that may be open at the same place. The deepest field of `graphql_max_depth` needs about two for each level.
const MAX_NESTING: usize = 64;

/// Refuses a document whose brackets nest deeper than [`MAX_NESTING`].
///
/// # Errors
/// `INVALID_INPUT`.
pub(super) fn check(document: &str) -> Result<()> {
    let mut rest = document.as_bytes();
    let mut open = 0_usize;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'{' | b'[' | b'(' => {
                open += 1;
                if open > MAX_NESTING {
                    return Err(Error::invalid("query", format!("nests deeper than {MAX_NESTING} brackets")));
                }
                after
            }
            b'}' | b']' | b')' => {
                open = open.saturating_sub(1);
                after
            }
            b'#' => skip_comment(after),
            b'"' => match after.strip_prefix(b"\"\"") {
                Some(block) => skip_block_string(block),
                None => skip_string(after),
            },
            _ => after,
        };
    }
    Ok(())
}

fn skip_comment(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    end.map_or(&[], |end| &text[end..])
}

/// A string ends at its quote. One that ends at a line break is an error of the document: the parser looks no further.
fn skip_string(mut text: &[u8]) -> &[u8] {
    loop {
        text = match text {
            [b'"' | b'\n' | b'\r', rest @ ..] => return rest,
            [b'\\', _, rest @ ..] | [_, rest @ ..] => rest,
            [] => return text,
        };
    }
}

fn skip_block_string(mut text: &[u8]) -> &[u8] {
    loop {
        text = match text {
            [b'"', b'"', b'"', rest @ ..] => return rest,
            [b'\\', b'"', b'"', b'"', rest @ ..] | [_, rest @ ..] => rest,
            [] => return text,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(open: &str, close: &str, levels: usize) -> String {
        format!("{{ a(b: {}1{}) }}", open.repeat(levels), close.repeat(levels))
    }

    #[test]
    fn every_kind_of_bracket_counts() {
        for (open, close) in [("[", "]"), ("{a:", "}"), ("[{a:", "}]")] {
            assert!(check(&nested(open, close, 20)).is_ok(), "{open}");
            assert!(check(&nested(open, close, 1_500)).is_err(), "{open}");
        }
        assert!(check(&format!("query($a: {}Int{}) {{ b }}", "[".repeat(100), "]".repeat(100))).is_err());
        assert!(check(&"{a".repeat(100)).is_err());
        assert!(check(&"@a(b:".repeat(100)).is_err());
    }

    #[test]
    fn brackets_side_by_side_do_not_count() {
        assert!(check(&"{ a(b: [1]) }".repeat(1_000)).is_ok());
        assert!(check(&("]".repeat(1_000) + &"[".repeat(64))).is_ok());
    }

    #[test]
    fn strings_and_comments_hide_brackets_and_nothing_else_does() {
        let many = "[".repeat(1_000);
        for hidden in [
            format!("{{ a(b: \"{many}\\\"{many}\") }}"),
            format!("{{ a(b: \"\"\"{many}\" {many}\\\"\"\" {many}\"\"\") }}"),
            format!("# {many}\n{{ a }}"),
        ] {
            assert!(check(&hidden).is_ok(), "{hidden}");
        }
        for shown in [
            format!("{{ a(b: \"\" {many}"),
            format!("{{ a(b: \"\\\\\" {many}"),
            format!("{{ a(b: \"\"\"x\"\"\" {many}"),
            format!("# x\r{many}"),
            format!("{{ a(b: \"#\" {many}"),
            format!("\"x\n{many}"),
        ] {
            assert!(check(&shown).is_err(), "{shown}");
        }
    }
}
