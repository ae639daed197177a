//! A tokenizer for documents, for the checks before the parser.
//!
//! Owns the limits of strings and comments. Does not own that the tokens form a document: that is the parser's task.

/// A token, as far as the checks need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `{`, `[` or `(`
    Open(u8),
    /// `}`, `]` or `)`
    Close,
    Name(&'a str),
    Number(&'a str),
    /// A string, or any other byte.
    Other(u8),
}

/// Splits a document into tokens, without recursion.
pub(super) fn tokens(document: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = document;
    std::iter::from_fn(move || {
        let (token, after) = next(rest)?;
        rest = after;
        Some(token)
    })
}

fn next(document: &str) -> Option<(Token<'_>, &str)> {
    let mut rest = document;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || matches!(c, ',' | '\u{feff}'));
        let Some(comment) = rest.strip_prefix('#') else { break };
        rest = &comment[comment.find(['\n', '\r']).unwrap_or(comment.len())..];
    }
    let first = rest.chars().next()?;
    let while_in = |is_part: fn(char) -> bool| rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
    Some(match first {
        'A'..='Z' | 'a'..='z' | '_' => {
            let (name, rest) = while_in(|c| c.is_ascii_alphanumeric() || c == '_');
            (Token::Name(name), rest)
        }
        '0'..='9' | '-' => {
            let (number, rest) = while_in(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'));
            (Token::Number(number), rest)
        }
        '{' => (Token::Open(b'{'), &rest[1..]),
        '[' => (Token::Open(b'['), &rest[1..]),
        '(' => (Token::Open(b'('), &rest[1..]),
        '}' | ']' | ')' => (Token::Close, &rest[1..]),
        '"' => {
            (Token::Other(b'"'), rest.strip_prefix("\"\"\"").map_or_else(|| skip_string(&rest[1..]), skip_block_string))
        }
        other => {
            let after = &rest[other.len_utf8()..];
            (Token::Other(rest.as_bytes()[0]), after)
        }
    })
}

/// Skips to the end of a string: its closing quote, or a line break. The parser stops at a line break in a string with an
/// error.
fn skip_string(text: &str) -> &str {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\n' | '\r' => break,
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    chars.as_str()
}

fn skip_block_string(mut text: &str) -> &str {
    while let Some(at) = text.find("\"\"\"") {
        let (before, after) = (&text[..at], &text[at + 3..]);
        if !before.ends_with('\\') {
            return after;
        }
        text = after;
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_split_into_tokens() {
        use Token::{Close, Name, Number, Open, Other};
        let document = "query($v1: Int = -1.5e+3) { # x\"{\r\u{feff}f1(a: \"\\\"}\", b: \"\"\"\\\"\"\"{\"\"\") @d }";
        let expected = [
            Name("query"),
            Open(b'('),
            Other(b'$'),
            Name("v1"),
            Other(b':'),
            Name("Int"),
            Other(b'='),
            Number("-1.5e+3"),
            Close,
            Open(b'{'),
            Name("f1"),
            Open(b'('),
            Name("a"),
            Other(b':'),
            Other(b'"'),
            Name("b"),
            Other(b':'),
            Other(b'"'),
            Close,
            Other(b'@'),
            Name("d"),
            Close,
        ];
        assert_eq!(tokens(document).collect::<Vec<_>>(), expected);
        assert_eq!(tokens("a\"ü").collect::<Vec<_>>(), [Name("a"), Other(b'"')]);
        assert_eq!(tokens("ü").count(), 1);
    }
}
