//! Who may import whom, and how large a file may grow.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What the files of a layer must not mention. `app` wires all and `error` maps the errors of what is below it.
const FORBIDDEN: [(&str, &[&str]); 9] = [
    ("domain", &["crate::", "sea_orm", "axum", "async_graphql", "tokio::"]),
    (
        "db",
        &["crate::storage", "crate::service", "crate::rest", "crate::graphql", "crate::app", "axum", "async_graphql"],
    ),
    ("storage", &["crate::db", "crate::service", "crate::rest", "crate::graphql", "sea_orm", "axum", "async_graphql"]),
    ("service", &["crate::rest", "crate::graphql", "crate::web", "crate::cli", "sea_orm", "axum", "async_graphql"]),
    (
        "rest",
        &["crate::graphql", "crate::web", "crate::cli", "crate::db", "crate::storage", "sea_orm", "async_graphql"],
    ),
    ("graphql", &["crate::rest", "crate::web", "crate::cli", "crate::db", "crate::storage", "sea_orm"]),
    ("web", &["crate::rest", "crate::graphql", "crate::cli", "crate::db", "crate::storage", "sea_orm"]),
    ("client", &["crate::service", "crate::db", "crate::storage", "crate::rest", "crate::graphql", "axum"]),
    (
        "cli",
        &["crate::rest", "crate::graphql", "crate::web", "crate::db", "crate::storage", "sea_orm", "async_graphql"],
    ),
];

const MAX_LINES: usize = 300;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// A file without its tests.
fn production(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn layers_import_only_what_is_below_them() {
    for (layer, forbidden) in FORBIDDEN {
        for path in sources(&root().join("src").join(layer)) {
            for line in production(&path).lines().filter(|line| !line.trim_start().starts_with("//")) {
                for name in forbidden {
                    assert!(!line.contains(name), "{}: {layer} must not use {name}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn nested_imports_of_a_layer_are_read_too() {
    // `use crate::{db::…}` spells the layer without its path.
    for layer in ["rest", "graphql", "web", "cli"] {
        for path in sources(&root().join("src").join(layer)) {
            let text = production(&path);
            for block in text.split("use crate::{").skip(1) {
                let block = block.split("};").next().unwrap();
                for name in ["db::", "storage::"] {
                    assert!(!block.contains(name), "{}: {layer} must not use {name}", path.display());
                }
            }
        }
    }
}

#[test]
fn migrations_do_not_know_the_entities() {
    for path in sources(&root().join("migration/src")) {
        assert!(!production(&path).contains("use entity"), "{}", path.display());
    }
}

#[test]
fn every_module_says_what_it_owns_and_stays_small() {
    for folder in ["src", "entity/src", "migration/src"] {
        for path in sources(&root().join(folder)) {
            let text = production(&path);
            assert!(text.starts_with("//!"), "{} does not open with a module comment", path.display());
            let lines = text.lines().count();
            assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn paths_named_in_the_docs_exist() {
    for doc in ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/api.md", "docs/operations.md"] {
        let text = fs::read_to_string(root().join(doc)).unwrap();
        for name in text.split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "docs/", "entity/", "migration/", "scripts/", ".ci/"]
                .iter()
                .any(|p| name.starts_with(p));
            if is_path && !name.contains([' ', '<', '{', '*']) {
                assert!(root().join(name).exists(), "{doc} names {name}");
            }
        }
    }
}
