//! Limits on a document before its validation.
//!
//! Owns the limits that async-graphql does not have: aliases, root fields, nested introspection lists, and selections with
//! all fragments expanded. Fragments that spread others several times grow exponentially. async-graphql expands them all
//! before its own limits apply: a document of 900 bytes kept it busy for seconds. This module visits each fragment once.

use std::collections::HashMap;

use async_graphql::{
    Request,
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};

use super::GraphqlSettings;
use crate::error::{Error, Result};

/// The lists of introspection that lead back to types, so that a query can nest them without end.
const INTROSPECTION_LISTS: [&str; 4] = ["fields", "interfaces", "possibleTypes", "inputFields"];

/// Levels of selection sets, with fragments expanded. async-graphql validates and executes by recursion, so a deeper document
/// would overflow the stack.
const MAX_DEPTH: usize = 64;

/// Refuses a document that asks for more than the settings allow.
pub(super) fn check(request: &mut Request, settings: &GraphqlSettings) -> Result<()> {
    if request.query.len() as u64 > settings.max_document_bytes {
        return Err(Error::too_large("a GraphQL document", settings.max_document_bytes));
    }
    // The execution reports a syntax error.
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
    // async-graphql also validates fragments that the query does not use.
    for name in document.fragments.keys() {
        let amount = counter.fragment(name);
        total.depth = total.depth.max(amount.depth);
    }
    for (what, amount, limit) in [
        ("levels with its fragments expanded", total.depth, MAX_DEPTH),
        ("fields with its fragments expanded", total.selections, settings.max_complexity),
        ("aliases", total.aliases, settings.max_aliases),
        ("fields at its root", root_fields, settings.max_root_fields),
        ("nested introspection lists", total.introspection_lists, settings.max_introspection_lists),
    ] {
        if amount > limit {
            return Err(Error::malformed(format!("the query is too complex: it has more than {limit} {what}")));
        }
    }
    Ok(())
}

/// The size of a selection set, with fragments expanded.
#[derive(Clone, Copy, Default)]
struct Amount {
    /// Levels of selection sets, those of fragments included.
    depth: usize,
    selections: usize,
    /// Fields of the set itself, without those below it.
    own_fields: usize,
    aliases: usize,
    introspection_lists: usize,
}

impl Amount {
    /// The size of two sets side by side.
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
    /// The size of each fragment; zero during its own count. That ends a cycle, which the validation refuses later.
    fragments: HashMap<&'a str, Amount>,
    /// Levels of selection sets around the current one.
    depth: usize,
}

impl<'a> Counter<'a> {
    fn count(&mut self, set: &'a SelectionSet) -> Amount {
        if self.depth > MAX_DEPTH {
            // Already over the limit. This function is recursive, too.
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
        if let Some(counted) = self.fragments.get(name) {
            return *counted;
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
    fn an_exponential_fragment_bomb_is_refused_without_expanding_it() {
        let mut bomb = "{ ...f0 }".to_owned();
        for n in 0..60 {
            let next = n + 1;
            bomb += &format!(" fragment f{n} on Query {{ ...f{next} ...f{next} ...f{next} }}");
        }
        assert!(!is_allowed(&(bomb + " fragment f60 on Query { __typename }")));
    }

    #[test]
    fn a_long_chain_of_fragments_is_refused_even_if_the_query_does_not_use_it() {
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
    fn circular_introspection_is_refused() {
        assert!(is_allowed(
            "{ __schema { types { fields { args { type { ofType { name } } } } inputFields { name } } } }"
        ));
        assert!(!is_allowed("{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"));
    }

    #[test]
    fn ordinary_documents_pass_and_cycles_are_left_to_the_validation() {
        assert!(is_allowed("{ a { b ...f } } fragment f on T { c d }"));
        assert!(is_allowed("{ ...f } fragment f on T { ...g } fragment g on T { ...f }"));
    }
}
