//! Which module may import which, and how large a file may be.
//!
//! The test parses every `use` tree and every path in the sources, so braces, `super::` and full paths in code count
//! too.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, ItemMod, ItemUse, UseTree, visit::Visit};

/// What a layer may import: modules of this crate, and crates in `GUARDED`. A new module needs a line here.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    ("domain", &[], &[]),
    ("error", &["domain"], &[]),
    ("group_commit", &[], &["tokio"]),
    ("owner_locks", &["domain"], &["tokio"]),
    ("spans", &[], &[]),
    ("tls", &[], &[]),
    ("db", &["domain", "group_commit", "metrics", "owner_locks"], &["entity", "migration", "sea_orm", "sqlx", "tokio"]),
    ("storage", &["domain", "group_commit", "tls"], &["object_store", "reqwest", "tokio"]),
    ("webhooks", &["domain", "tls"], &["reqwest", "tokio"]),
    ("identity", &["domain", "tls"], &["reqwest", "tokio"]),
    ("metrics", &[], &[]),
    (
        "service",
        &[
            "db",
            "domain",
            "error",
            "identity",
            "metrics",
            "spans",
            "storage",
            "group_commit",
            "owner_locks",
            "webhooks",
        ],
        &["tokio"],
    ),
    (
        "http",
        &["domain", "error", "metrics", "service", "traces"],
        &["axum", "hyper", "hyper_util", "tokio", "tower", "tower_http", "utoipa"],
    ),
    ("rest", &["domain", "error", "http", "service"], &["axum", "tokio", "tower_http", "utoipa", "utoipa_axum"]),
    ("tus", &["domain", "error", "http", "service"], &["axum", "tokio", "tower_http"]),
    ("rufh", &["domain", "error", "http", "service"], &["axum", "tokio", "utoipa", "utoipa_axum"]),
    (
        "graphql",
        &["domain", "error", "http", "service"],
        &["async_graphql", "async_graphql_axum", "axum", "tokio", "tower_http"],
    ),
    ("web", &["error", "http"], &["axum"]),
    ("client", &["domain", "tls"], &["hyper", "reqwest", "tokio"]),
    (
        "traces",
        &["metrics", "spans", "tls"],
        &["opentelemetry", "opentelemetry_otlp", "opentelemetry_sdk", "reqwest", "tokio"],
    ),
    ("logs", &["spans", "traces"], &[]),
    // `config` composes the settings of the modules. Nothing below `app` imports it.
    (
        "config",
        &["domain", "graphql", "http", "identity", "logs", "service", "storage", "traces", "webhooks"],
        &["figment"],
    ),
    (
        "app",
        &[
            "config", "db", "domain", "error", "graphql", "http", "identity", "metrics", "rest", "rufh", "service",
            "storage", "tus", "web", "webhooks",
        ],
        &["axum", "tokio", "tower", "tower_http", "utoipa"],
    ),
    (
        "cli",
        &["app", "client", "config", "domain", "error", "http", "logs", "service", "traces"],
        &["clap", "reqwest", "tokio"],
    ),
    ("main", &["cli"], &["clap", "tokio"]),
    ("lib", &[], &[]),
];

/// Crates that only some layers may import.
const GUARDED: &[&str] = &[
    "async_graphql",
    "async_graphql_axum",
    "axum",
    "clap",
    "entity",
    "figment",
    "hyper",
    "hyper_util",
    "migration",
    "object_store",
    "opentelemetry",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "reqwest",
    "sea_orm",
    "sqlx",
    "tokio",
    "tower",
    "tower_http",
    "utoipa",
    "utoipa_axum",
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

/// The text of a file without its tests.
fn production(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The modules of this crate and the guarded crates that one file imports.
struct Imports {
    /// The file's own module, from the crate's root: `["db", "sessions"]`.
    module: Vec<String>,
    found: BTreeSet<String>,
}

impl Imports {
    fn of(source: &str, module: &[&str]) -> BTreeSet<String> {
        let module = module.iter().map(|&name| name.to_owned()).collect();
        let mut imports = Self { module, found: BTreeSet::new() };
        imports.visit_file(&syn::parse_file(source).unwrap());
        imports.found
    }

    /// Takes the segments of a path. A path that is relative to this module stays inside the layer, unless it leaves it
    /// by
    /// `super`.
    fn add(&mut self, path: &[String]) {
        let supers = path.iter().take_while(|name| *name == "super").count();
        let name = match path.first().map(String::as_str) {
            Some("crate" | "partway") => path.get(1),
            Some("super") if supers >= self.module.len() => path.get(supers),
            Some(name) if GUARDED.contains(&name) => path.first(),
            _ => None,
        };
        self.found.extend(name.cloned());
    }

    fn add_tree(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.add(&with(&name.ident)),
            UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            UseTree::Glob(_) => self.add(prefix),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(prefix, tree)),
        }
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "test",
        _ => false,
    })
}

impl Visit<'_> for Imports {
    fn visit_item_use(&mut self, item: &ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.add(&names);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &ItemMod) {
        if !is_for_tests(&item.attrs) {
            self.module.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }
}

#[test]
fn a_layer_imports_only_allowed_modules() {
    let src = root().join("src");
    for path in sources(&src) {
        let relative = path.strip_prefix(&src).unwrap().with_extension("");
        let mut module: Vec<&str> = relative.iter().map(|name| name.to_str().unwrap()).collect();
        let layer = module[0];
        if module.last() == Some(&"mod") {
            module.pop();
        }
        let (_, modules, crates) = ALLOWED
            .iter()
            .find(|(name, ..)| *name == layer)
            .unwrap_or_else(|| panic!("{layer} has no line in the table of layers"));
        for name in Imports::of(&fs::read_to_string(&path).unwrap(), &module) {
            let is_allowed = name == layer || modules.contains(&&*name) || crates.contains(&&*name);
            assert!(is_allowed, "{}: {layer} must not use {name}", path.display());
        }
    }
}

#[test]
fn every_form_of_an_import_is_parsed() {
    let found = |source: &str| Imports::of(source, &["service", "sweep"]).into_iter().collect::<Vec<_>>();
    assert_eq!(found("use crate::db::Db;"), ["db"]);
    assert_eq!(found("use crate::{domain, rest::{self, Problem}, web as w};"), ["domain", "rest", "web"]);
    assert_eq!(found("use super::super::graphql::sdl;"), ["graphql"]);
    assert_eq!(found("use super::Service; use self::inner::Thing;"), [] as [&str; 0]);
    assert_eq!(
        found("fn f() -> crate::storage::Result<axum::Router> { sea_orm::Value::from(1) }"),
        ["axum", "sea_orm", "storage"]
    );
    assert_eq!(found("mod inner { use super::super::super::cli::run; }"), ["cli"]);
    assert_eq!(found("#[cfg(test)] mod tests { use crate::rest::Problem; }"), [] as [&str; 0]);
}

#[test]
fn migrations_do_not_import_the_entities() {
    for path in sources(&root().join("migration/src")) {
        assert!(!production(&path).contains("use entity"), "{}", path.display());
    }
}

#[test]
fn every_module_has_a_module_comment_and_stays_small() {
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
fn paths_in_the_docs_exist() {
    for doc in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/api.md",
        "docs/cli.md",
        "docs/moving.md",
        "docs/operations.md",
        "docs/resumable-http.md",
        "docs/tus.md",
        "docs/webhooks.md",
    ] {
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
