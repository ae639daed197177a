//! What a document may cost before anything looks at it field by field.
//!
//! Owns the limit on selections with all fragments written out. Fragments that spread others several times grow
//! exponentially, and async-graphql's own validation walks them all before its limits apply: 900 bytes kept it busy for
//! seconds. Counted here with each fragment looked at once.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

use crate::error::{Error, Result};

/// Most fields in one document, fragments written out. Far above what people write: an introspection has some 200.
const MAX_SELECTIONS: usize = 10_000;

/// Refuses a document that is too large when written out.
pub(super) fn check(document: &ExecutableDocument) -> Result<()> {
    let mut counter = Counter { document, fragments: HashMap::new() };
    let sets = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    let total = sets.fold(0_usize, |total, set| total.saturating_add(counter.count(set)));
    if total > MAX_SELECTIONS {
        return Err(Error::malformed("the query is too complex: its fragments expand to too many fields"));
    }
    Ok(())
}

struct Counter<'a> {
    document: &'a ExecutableDocument,
    /// What each fragment amounts to; nothing while it is being counted, since a cycle is refused by validation.
    fragments: HashMap<&'a str, usize>,
}

impl<'a> Counter<'a> {
    fn count(&mut self, set: &'a SelectionSet) -> usize {
        let amounts = set.items.iter().map(|item| match &item.node {
            Selection::Field(field) => self.count(&field.node.selection_set.node).saturating_add(1),
            Selection::InlineFragment(inline) => self.count(&inline.node.selection_set.node).saturating_add(1),
            Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node).saturating_add(1),
        });
        amounts.fold(0, usize::saturating_add)
    }

    fn fragment(&mut self, name: &'a str) -> usize {
        if let Some(known) = self.fragments.get(name) {
            return *known;
        }
        self.fragments.insert(name, 0);
        let document = self.document;
        let amount = document.fragments.get(name).map_or(0, |fragment| self.count(&fragment.node.selection_set.node));
        self.fragments.insert(name, amount);
        amount
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    #[test]
    fn a_bomb_of_fragments_is_refused_without_being_written_out() {
        let mut bomb = "{ ...f0 }".to_owned();
        for n in 0..60 {
            let next = n + 1;
            bomb += &format!(" fragment f{n} on Query {{ ...f{next} ...f{next} ...f{next} }}");
        }
        bomb += " fragment f60 on Query { __typename }";
        assert!(check(&parse_query(bomb).unwrap()).is_err());
    }

    #[test]
    fn ordinary_documents_and_cycles_pass() {
        for document in
            ["{ a { b ...f } } fragment f on T { c d }", "{ ...f } fragment f on T { ...g } fragment g on T { ...f }"]
        {
            assert!(check(&parse_query(document).unwrap()).is_ok(), "{document}");
        }
    }
}
