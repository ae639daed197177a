//! What a document may cost before anything looks at it field by field.
//!
//! Owns the limits that async-graphql does not have: aliases, root fields, nesting of introspection, and the number of
//! selections with all fragments written out. Fragments that spread others several times grow exponentially, and
//! async-graphql's own validation walks them all before its limits apply: 900 bytes kept it busy for seconds. Here each
//! fragment is looked at once.

use std::collections::HashMap;

use async_graphql::{
    Request,
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};

use super::GraphqlSettings;
use crate::error::{Error, Result};

/// The fields of introspection that lead back to types.
const INTROSPECTION_LISTS: [&str; 4] = ["fields", "interfaces", "possibleTypes", "inputFields"];

/// Most selection sets within each other, fragments written out: what validates and executes goes down by recursion.
const MAX_DEPTH: usize = 64;

/// Refuses a document that asks for more than the settings allow.
pub(super) fn check(request: &mut Request, settings: &GraphqlSettings) -> Result<()> {
    if request.query.len() as u64 > settings.max_document_bytes {
        return Err(Error::too_large("a GraphQL document", settings.max_document_bytes));
    }
    // What cannot be parsed is told by the execution.
    request.parsed_query().map_or(Ok(()), |document| check_document(document, settings))
}

fn check_document(document: &ExecutableDocument, settings: &GraphqlSettings) -> Result<()> {
    let mut counter = Counter { document, fragments: HashMap::new(), depth: 0 };
    let mut total = Amount::default();
    let mut root_fields = 0;
    for (_, operation) in document.operations.iter() {
        let amount = counter.count(&operation.node.selection_set.node);
        root_fields = amount.own_fields.max(root_fields);
        total = total.and(amount);
    }
    // Validation also visits fragments that the query does not spread.
    for name in document.fragments.keys() {
        let amount = counter.fragment(name);
        total.depth = total.depth.max(amount.depth);
    }
    for (what, amount, limit) in [
        ("levels, fragments written out", total.depth, MAX_DEPTH),
        ("fields, fragments written out", total.selections, settings.max_complexity),
        ("aliases", total.aliases, settings.max_aliases),
        ("fields at its root", root_fields, settings.max_root_fields),
        ("lists of introspection within each other", total.introspection_lists, settings.max_introspection_lists),
    ] {
        if amount > limit {
            return Err(Error::malformed(format!("the query is too complex: it has more than {limit} {what}")));
        }
    }
    Ok(())
}

/// What a selection set amounts to, with fragments written out.
#[derive(Clone, Copy, Default)]
struct Amount {
    /// Selection sets within each other, fragments among them.
    depth: usize,
    selections: usize,
    /// Fields of the set itself, not below it.
    own_fields: usize,
    aliases: usize,
    introspection_lists: usize,
}

impl Amount {
    /// Beside another.
    fn and(self, other: Self) -> Self {
        Self {
            depth: self.depth.max(other.depth),
            selections: self.selections.saturating_add(other.selections),
            own_fields: self.own_fields.saturating_add(other.own_fields),
            aliases: self.aliases.saturating_add(other.aliases),
            introspection_lists: self.introspection_lists.max(other.introspection_lists),
        }
    }
}

struct Counter<'a> {
    document: &'a ExecutableDocument,
    /// What each fragment amounts to; nothing while it is being counted, since a cycle is refused by validation.
    fragments: HashMap<&'a str, Amount>,
    /// Selection sets around the one that is being counted.
    depth: usize,
}

impl<'a> Counter<'a> {
    fn count(&mut self, set: &'a SelectionSet) -> Amount {
        if self.depth > MAX_DEPTH {
            // No deeper: this counts by recursion itself.
            return Amount { depth: MAX_DEPTH, ..Amount::default() };
        }
        self.depth += 1;
        let mut total = Amount::default();
        for item in &set.items {
            let mut amount = match &item.node {
                Selection::Field(field) => {
                    let mut amount = self.count(&field.node.selection_set.node);
                    amount.own_fields = 1;
                    amount.aliases = amount.aliases.saturating_add(usize::from(field.node.alias.is_some()));
                    amount.introspection_lists +=
                        usize::from(INTROSPECTION_LISTS.contains(&field.node.name.node.as_str()));
                    amount
                }
                Selection::InlineFragment(inline) => self.count(&inline.node.selection_set.node),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node),
            };
            amount.selections = amount.selections.saturating_add(1);
            total = total.and(amount);
        }
        self.depth -= 1;
        total.depth += 1;
        total
    }

    fn fragment(&mut self, name: &'a str) -> Amount {
        if let Some(known) = self.fragments.get(name) {
            return *known;
        }
        self.fragments.insert(name, Amount::default());
        let document = self.document;
        let fragment = document.fragments.get(name);
        let amount = fragment.map_or(Amount::default(), |fragment| self.count(&fragment.node.selection_set.node));
        self.fragments.insert(name, amount);
        amount
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn is_allowed(document: &str) -> bool {
        let settings = GraphqlSettings {
            max_document_bytes: 100_000,
            max_depth: 15,
            max_complexity: 1_000,
            max_aliases: 3,
            max_root_fields: 5,
            max_directives: 8,
            max_introspection_lists: 2,
            max_response_bytes: bytesize::ByteSize::b(1_000),
            timeout: Duration::from_secs(1),
            introspection: true,
            suggestions: true,
        };
        check(&mut Request::new(document), &settings).is_ok()
    }

    #[test]
    fn a_bomb_of_fragments_is_refused_without_being_written_out() {
        let mut bomb = "{ ...f0 }".to_owned();
        for n in 0..60 {
            let next = n + 1;
            bomb += &format!(" fragment f{n} on Query {{ ...f{next} ...f{next} ...f{next} }}");
        }
        assert!(!is_allowed(&(bomb + " fragment f60 on Query { __typename }")));
    }

    #[test]
    fn a_chain_of_fragments_is_refused_also_if_nobody_spreads_it() {
        let chain = |length: usize| {
            let links = (1..length).map(|n| format!(" fragment f{n} on Query {{ ...f{} }}", n + 1));
            links.collect::<String>() + &format!(" fragment f{length} on Query {{ __typename }}")
        };
        assert!(is_allowed(&format!("{{ ...f1 }}{}", chain(60))));
        for length in [70, 2_300] {
            assert!(!is_allowed(&format!("{{ ...f1 }}{}", chain(length))));
            assert!(!is_allowed(&format!("{{ __typename }}{}", chain(length))));
        }
    }

    #[test]
    fn aliases_and_root_fields_count_through_fragments() {
        assert!(is_allowed("{ a: x b: x c: x }"));
        assert!(!is_allowed("{ a: x b: x c: x d: x }"));
        assert!(!is_allowed("{ ...f ...f } fragment f on Query { a: x b: x }"));
        assert!(is_allowed("{ a b c d e { f g h i j k } }"));
        assert!(!is_allowed("{ a b c ...f } fragment f on Query { d e f }"));
    }

    #[test]
    fn introspection_in_circles_is_refused() {
        assert!(is_allowed(
            "{ __schema { types { fields { args { type { ofType { name } } } } inputFields { name } } } }"
        ));
        assert!(!is_allowed("{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"));
    }

    #[test]
    fn ordinary_documents_and_cycles_pass() {
        assert!(is_allowed("{ a { b ...f } } fragment f on T { c d }"));
        assert!(is_allowed("{ ...f } fragment f on T { ...g } fragment g on T { ...f }"));
    }
}
