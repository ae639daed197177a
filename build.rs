//! Embeds GraphiQL's files if `scripts/fetch-graphiql` has fetched them. Reaches no network.

use std::{env, fs, path::Path};

const FILES: [&str; 4] =
    ["react.production.min.js", "react-dom.production.min.js", "graphiql.min.js", "graphiql.min.css"];

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let vendor = Path::new(&root).join("src/web/graphiql/vendor");
    // Not the folder itself: cargo takes what is not there for changed, every time.
    println!("cargo::rerun-if-changed=src/web/graphiql");
    let paths = FILES.map(|name| vendor.join(format!("{name}.gz")));
    let code = if paths.iter().all(|path| path.exists()) {
        let files = FILES.iter().zip(&paths);
        let files: Vec<_> =
            files.map(|(name, path)| format!("({name:?}, include_bytes!({:?}))", path.display().to_string())).collect();
        format!("&[{}]", files.join(", "))
    } else {
        "&[]".to_owned()
    };
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("graphiql_files.rs");
    fs::write(out, code).expect("OUT_DIR can be written to");
}
