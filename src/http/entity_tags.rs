//! Entity tags ([RFC 9110 §8.8.3](https://www.rfc-editor.org/rfc/rfc9110#name-etag)).
//!
//! Owns their syntax and both comparisons. Does not own which condition uses which comparison: that is
//! `preconditions`. Which tag a resource has, `rest/representation` says.

use std::fmt;

/// An entity tag: an opaque text that identifies one state of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    is_weak: bool,
    opaque: Box<[u8]>,
}

impl Tag {
    pub(super) fn strong(text: impl fmt::Display) -> Self {
        Self { is_weak: false, opaque: text.to_string().into_bytes().into() }
    }

    /// The strong comparison: both tags identify the same bytes.
    pub(super) fn equals_strongly(&self, other: &Self) -> bool {
        !self.is_weak && self == other
    }

    /// The weak comparison: both tags identify equivalent states.
    fn equals_weakly(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weak = if self.is_weak { "W/" } else { "" };
        write!(f, "{weak}\"{}\"", String::from_utf8_lossy(&self.opaque))
    }
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug)]
pub(super) enum TagCondition {
    /// `*`: any state of a resource that exists.
    Any,
    Listed(Vec<Tag>),
}

impl TagCondition {
    /// Parses a header's value. `None` if it is malformed.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        if value.trim_ascii() == b"*" {
            return Some(Self::Any);
        }
        let tags = tags(value)?;
        (!tags.is_empty()).then_some(Self::Listed(tags))
    }

    /// Whether the condition matches the tag by the weak comparison.
    pub(super) fn match_weakly(&self, tag: &Tag) -> bool {
        self.any(|named| named.equals_weakly(tag))
    }

    /// Whether the condition matches the tag by the strong comparison.
    pub(super) fn match_strongly(&self, tag: &Tag) -> bool {
        self.any(|named| named.equals_strongly(tag))
    }

    fn any(&self, matches: impl Fn(&Tag) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(matches),
        }
    }
}

/// Parses a list of tags. A tag may contain commas, and elements of the list may be empty (`, "a",,`).
fn tags(value: &[u8]) -> Option<Vec<Tag>> {
    let (mut tags, mut rest) = (Vec::new(), value.trim_ascii());
    while let Some(begin) = rest.iter().position(|byte| !b", \t".contains(byte)) {
        rest = &rest[begin..];
        let weak = rest.strip_prefix(b"W/");
        let quoted = weak.unwrap_or(rest).strip_prefix(b"\"")?;
        let end = quoted.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = (&quoted[..end], quoted[end + 1..].trim_ascii_start());
        let is_printable = |byte: &u8| *byte > b' ' && *byte != 0x7f;
        if !opaque.iter().all(is_printable) || !(after.is_empty() || after.starts_with(b",")) {
            return None;
        }
        tags.push(Tag { is_weak: weak.is_some(), opaque: opaque.into() });
        rest = after;
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Option<String> {
        Some(match TagCondition::parse(value.as_bytes())? {
            TagCondition::Any => "*".to_owned(),
            TagCondition::Listed(tags) => tags.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        })
    }

    #[test]
    fn lists_of_tags_are_parsed() {
        for (value, read) in [
            ("\"a\"", "\"a\""),
            ("W/\"a\"", "W/\"a\""),
            ("\"\"", "\"\""),
            ("\"a\",\"b\" , W/\"c\"", "\"a\" \"b\" W/\"c\""),
            ("\"a,b\", \"c\"", "\"a,b\" \"c\""),
            (", \"a\",, \"b\",", "\"a\" \"b\""),
            ("*", "*"),
            ("\"*\"", "\"*\""),
        ] {
            assert_eq!(parse(value).as_deref(), Some(read), "{value}");
        }
    }

    #[test]
    fn malformed_lists_are_refused() {
        for value in
            ["", ",", "a", "\"a", "a\"", "\"a\" \"b\"", "\"a\"b", "w/\"a\"", "W/ \"a\"", "*, \"a\"", "*, *", "\"a b\""]
        {
            assert_eq!(parse(value), None, "{value}");
        }
    }
}
