//! The GraphiQL page.
//!
//! Owns the page, its files and its Content-Security-Policy. Does not execute queries: that is `graphql`. The page itself
//! needs no token; its queries do. If `scripts/fetch-graphiql` ran before the build, the binary contains GraphiQL's files.
//! Otherwise the page loads the same files from a CDN, pinned by hash.

use axum::{
    Router,
    extract::{Path, rejection::PathRejection},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{error::Error, http::Problem};

/// GraphiQL's files, gzipped; empty if they were not fetched before the build.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/graphiql_files.rs"));
const CDN: &str = "https://cdn.jsdelivr.net";
const PAGE: &str = include_str!("graphiql/page.html");
const FIRST_QUERY: &str = include_str!("graphiql/first_query.graphql");
const BOOT_JS: &str = include_str!("graphiql/boot.js");
const BOOT_CSS: &str = include_str!("graphiql/boot.css");

/// A file of the page: its name, its package on the CDN, and the hash of its bytes.
struct Asset {
    name: &'static str,
    package: &'static str,
    integrity: &'static str,
}

/// The files, in the order in which the browser must load them.
const ASSETS: [Asset; 4] = [
    Asset {
        name: "react.production.min.js",
        package: "react@18.3.1/umd",
        integrity: "sha384-DGyLxAyjq0f9SPpVevD6IgztCFlnMF6oW/XQGmfe+IsZ8TqEiDrcHkMLKI6fiB/Z",
    },
    Asset {
        name: "react-dom.production.min.js",
        package: "react-dom@18.3.1/umd",
        integrity: "sha384-gTGxhz21lVGYNMcdJOyq01Edg0jhn/c22nsx0kyqP0TxaV5WVdsSH1fSDUf5YJj1",
    },
    Asset {
        name: "graphiql.min.js",
        package: "graphiql@4.1.2",
        integrity: "sha384-9XdHu7ajgGJziD4J1zNBKQ842Q/+zZfDv+ib1eMhZWBH6hPAs806x+Jbcf0yNO6B",
    },
    Asset {
        name: "graphiql.min.css",
        package: "graphiql@4.1.2",
        integrity: "sha384-1el1QShFBnnXTx9x/Cprg82hZWKt0ry29OAYIXt05swbi0KcZDFoj0CWguMpopJr",
    },
];

/// The page's routes.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/graphiql", get(page)).route("/graphiql/{file}", get(file))
}

async fn page() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy(FILES.is_empty())),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    ([super::OPENER_POLICY], headers, html(FILES.is_empty()))
}

/// The Content-Security-Policy: allows our own files and our own API, and the CDN if the binary has no files.
fn policy(from_cdn: bool) -> String {
    let host = if from_cdn { format!(" {CDN}") } else { String::new() };
    format!(
        "default-src 'none'; script-src 'self'{host}; style-src 'self'{host}; img-src 'self' data:; \
         font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn html(from_cdn: bool) -> String {
    let tags: Vec<String> = ASSETS.iter().map(|asset| tag(asset, from_cdn)).collect();
    PAGE.replace("<!-- assets -->", &tags.join("\n    ")).replace("<!-- first query -->", FIRST_QUERY.trim_end())
}

fn tag(Asset { name, package, integrity }: &Asset, from_cdn: bool) -> String {
    let place = if from_cdn {
        format!("\"{CDN}/npm/{package}/{name}\" integrity=\"{integrity}\" crossorigin=\"anonymous\"")
    } else {
        format!("\"graphiql/{name}\"")
    };
    if name.ends_with(".css") {
        format!("<link rel=\"stylesheet\" href={place}>")
    } else {
        format!("<script defer src={place}></script>")
    }
}

async fn file(name: Result<Path<String>, PathRejection>) -> Response {
    // A name that cannot be decoded is answered with 404, like any other unknown name.
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let content_type = if name.ends_with(".css") { "text/css" } else { "text/javascript" };
    let headers = [
        (header::CONTENT_TYPE, format!("{content_type}; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    match name.as_str() {
        "boot.js" => (headers, BOOT_JS).into_response(),
        "boot.css" => (headers, BOOT_CSS).into_response(),
        _ => match FILES.iter().find(|(file, _)| *file == name) {
            Some((_, bytes)) => (headers, [(header::CONTENT_ENCODING, "gzip")], *bytes).into_response(),
            None => Problem(Error::not_found("file")).into_response(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_only_its_own_files_or_pinned_files_of_the_cdn() {
        let own = html(false);
        assert!(!own.contains("https://"), "{own}");
        assert!(!policy(false).contains("https://"));
        let cdn = html(true);
        assert_eq!(cdn.matches(CDN).count(), ASSETS.len());
        assert_eq!(cdn.matches("integrity=\"sha384-").count(), ASSETS.len());
        assert!(policy(true).contains(CDN));
    }
}
