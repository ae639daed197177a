//! The limit on nested brackets in a document.
//!
//! Owns the check before the parser runs. The parser is recursive: a document of 3 kB with 1,500 nested lists overflows its
//! stack. The check counts brackets of all kinds in one pass, without recursion. Does not own that they match: that is the
//! parser's task.

use super::tokens::{Token, tokens};
use crate::error::{Error, Result};

/// Brackets that may be open at the same time. A field at the default `graphql_max_depth` needs about two per level.
const MAX_NESTING: usize = 64;

/// Refuses a document whose brackets nest deeper than [`MAX_NESTING`].
///
/// # Errors
/// `INVALID_INPUT`.
pub(super) fn check(document: &str) -> Result<()> {
    let mut open = 0_usize;
    for token in tokens(document) {
        open = match token {
            Token::Open(_) => open + 1,
            Token::Close => open.saturating_sub(1),
            _ => open,
        };
        if open > MAX_NESTING {
            return Err(Error::invalid("query", format!("must not nest more than {MAX_NESTING} brackets")));
        }
    }
    Ok(())
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
