//! Ids of sessions, files and webhooks.
//!
//! Owns how an id is generated, parsed and formatted. Does not own what an id refers to: that is in `session`,
//! `file` and `webhook`.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// Text that is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is a UUID of 36 characters, such as 01890000-0000-7000-8000-00000000000a")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id. It sorts after all earlier ones.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A session's id: a UUID version 7 ([RFC 9562](https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7)), so that
    /// ids sort by the time of creation.
    SessionId
}

id! {
    /// A file's id: a UUID version 7, like a session's.
    FileId
}

id! {
    /// A webhook's id: a UUID version 7, like a session's.
    WebhookId
}

/// Reads an id in its one spelling, hyphenated hex of either case. Other spellings of a UUID are not ids, so each
/// resource has one URL.
fn parse(text: &str) -> Result<Uuid, InvalidId> {
    let is_hyphenated = |id: &Uuid| id.as_hyphenated().to_string().eq_ignore_ascii_case(text);
    Uuid::try_parse(text).ok().filter(is_hyphenated).ok_or(InvalidId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let text = "01890000-0000-7000-8000-00000000000a";
        let id: SessionId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        for other in ["", "x", &text.replace('-', ""), &format!("{{{text}}}"), &format!("urn:uuid:{text}")] {
            assert_eq!(other.parse::<FileId>(), Err(InvalidId), "{other}");
        }
    }
}
