//! Lists of ranges of parts.
//!
//! Owns the short cut for the usual selection, `{ first last }`, of a whole list: all readers of a state share its JSON.
//! async-graphql would call a resolver and build a map for each range, which takes 1 µs. Does not own the JSON of other values: that
//! is `response`.

use std::{borrow::Cow, sync::OnceLock};

use async_graphql::{
    ContextSelectionSet, OutputType, Positioned, ServerResult, Value,
    parser::types::{Field, Selection},
    registry::Registry,
};
use bytes::Bytes;

use super::{budget::LongList, objects::PartRange, response};
use crate::domain;

/// Longest list that is encoded at once: that takes 3 ms, once for each state. Longer ones are resolved range by range, and
/// yield in between.
const MAX_ENCODED: u32 = 100_000;

/// The value of `receivedParts` and `missingParts`.
pub(super) enum RangeList {
    /// The JSON of the list, with the fields `first` and `last`.
    Encoded(Bytes),
    Listed(LongList<PartRange>),
}

/// Whether a field's list may be encoded: it selects exactly `first` and `last`, and has at most `count` ranges.
pub(super) fn may_encode(field: &Positioned<Field>, count: u32) -> bool {
    let items = &field.node.selection_set.node.items;
    let is_plain = |name: &str, selection: &Positioned<Selection>| match &selection.node {
        Selection::Field(Positioned { node, .. }) => {
            node.name.node == name && node.alias.is_none() && node.directives.is_empty()
        }
        _ => false,
    };
    count <= MAX_ENCODED && matches!(&items[..], [one, two] if is_plain("first", one) && is_plain("last", two))
}

/// The JSON of these ranges, from `cell` if it is there.
pub(super) fn encoded(cell: &OnceLock<Bytes>, ranges: impl Iterator<Item = domain::PartRange>) -> Bytes {
    cell.get_or_init(|| encode(ranges)).clone()
}

fn encode(ranges: impl Iterator<Item = domain::PartRange>) -> Bytes {
    let (mut json, mut digits) = (String::from("["), itoa::Buffer::new());
    for domain::PartRange { first, last } in ranges {
        json.push_str(if json.len() > 1 { ",{\"first\":" } else { "{\"first\":" });
        json.push_str(digits.format(first));
        json.push_str(",\"last\":");
        json.push_str(digits.format(last));
        json.push('}');
    }
    json.push(']');
    json.into()
}

impl OutputType for RangeList {
    fn type_name() -> Cow<'static, str> {
        LongList::<PartRange>::type_name()
    }

    fn qualified_type_name() -> String {
        LongList::<PartRange>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        LongList::<PartRange>::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        match self {
            Self::Encoded(json) => Ok(response::encoded(json.clone())),
            Self::Listed(ranges) => ranges.resolve(ctx, field).await,
        }
    }
}
