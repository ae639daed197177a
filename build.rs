//! Embeds GraphiQL's files if `scripts/fetch-graphiql` has fetched them. Uses no network.

use std::{env, fs, path::Path};

const FILES: [&str; 4] =
    ["react.production.min.js", "react-dom.production.min.js", "graphiql.min.js", "graphiql.min.css"];

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let vendor = Path::new(&root).join("src/web/graphiql/vendor");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let out = Path::new(&out);
    // Not `vendor` itself: cargo treats a missing path as changed on every build.
    println!("cargo::rerun-if-changed=src/web/graphiql");
    let mut entries = String::new();
    if FILES.iter().all(|name| vendor.join(format!("{name}.gz")).exists()) {
        for name in FILES {
            // The copy is named relative to the generated file. Checkouts that share a target folder share this output,
            // which must not name a path in a checkout that may be gone.
            let copy = format!("{name}.gz");
            fs::copy(vendor.join(&copy), out.join(&copy)).expect("OUT_DIR can be written to");
            entries += &format!("({name:?}, include_bytes!({copy:?})), ");
        }
    }
    fs::write(out.join("graphiql_files.rs"), format!("&[{entries}]")).expect("OUT_DIR can be written to");
}
