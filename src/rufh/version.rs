//! The versions of the protocol.
//!
//! Owns which ones the server speaks, and what differs between them. While the protocol is a draft, a client names the interop
//! version that it speaks. Does not own the fields: those are in `fields`.

use std::ops::RangeInclusive;

use axum::http::HeaderMap;

use super::fields;

/// The interop versions that the server speaks.
const SPOKEN: RangeInclusive<u64> = 5..=8;

/// The version that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The client names none: the newest, without interim answers, which a draft must not send to such a client.
    Unnamed,
    /// This interop version.
    Spoken(u64),
    /// One that the server does not speak.
    Unknown,
}

impl Version {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match fields::integer(headers, &fields::INTEROP_VERSION) {
            Some(version) if SPOKEN.contains(&version) => Self::Spoken(version),
            _ if headers.contains_key(fields::INTEROP_VERSION) => Self::Unknown,
            _ => Self::Unnamed,
        }
    }

    /// The version that an interim answer must name. `None` if the server must not send one.
    pub(super) fn for_interim_answers(self) -> Option<u64> {
        match self {
            Self::Spoken(version) => Some(version),
            Self::Unnamed | Self::Unknown => None,
        }
    }

    /// Whether appended bytes have a media type.
    pub(super) fn has_media_type(self) -> bool {
        self != Self::Spoken(5)
    }

    /// The key in `Upload-Limit` of the time for which the upload remains.
    pub(super) fn age_key(self) -> &'static str {
        if self == Self::Spoken(6) { "expires" } else { "max-age" }
    }

    /// Whether `Location` names the upload in every answer to a creation. In later versions, the last answer is that of the
    /// target, and `Location` names what the target created.
    pub(super) fn always_locates_upload(self) -> bool {
        matches!(self, Self::Spoken(5 | 6))
    }
}
