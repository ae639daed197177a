//! The page at `/`: uploads in a browser.
//!
//! Owns its route, the routes of its modules, and its Content-Security-Policy. Does not own what the page does: that is in
//! `page/*.js`, on top of `clients/js`. The binary contains all files.

use std::{collections::HashMap, sync::LazyLock};

use axum::{
    Router,
    extract::{Path, rejection::PathRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    http::{Preconditions, Problem},
};

/// Embeds files: their names below `page/`, and their texts.
macro_rules! embed {
    ($folder:literal as $place:literal: $($name:literal)*) => {
        &[$((concat!($place, $name), include_str!(concat!($folder, $name)))),*]
    };
}

/// The modules and the style sheet of the page, and the modules of `clients/js`. A test follows their imports.
const FILES: [&[(&str, &str)]; 3] = [
    embed!("page/" as "":
        "account.js" "actions.js" "announce.js" "batch.js" "credentials.js" "dialogs.js" "drop.js" "entry.js"
        "filters.js" "format.js" "list.js" "live.js" "main.js" "messages.js" "older.js" "ranges.js" "rate.js"
        "row.js" "sign_in.js" "store.js" "style.css" "uploads.js" "words.js"
    ),
    embed!("../../clients/js/" as "client/": "index.js"),
    embed!("../../clients/js/src/" as "client/src/":
        "digest.js" "error.js" "find.js" "http.js" "local.js" "model.js" "partway.js" "progress.js" "put.js"
        "retry.js" "sha256.js" "slots.js" "source.js" "token.js" "transfer.js" "upload.js" "watch.js"
    ),
];
const INDEX: &str = include_str!("page/index.html");

/// Allows only the page's own files and API. The client computes digests in a worker that it creates from a `blob:` URL.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct File {
    content_type: &'static str,
    /// A digest of the bytes.
    tag: String,
    bytes: &'static str,
}

static PAGE: LazyLock<File> = LazyLock::new(|| {
    // Without this list, the browser would ask for a module only after it has read another one that imports it.
    let modules = FILES.iter().copied().flatten().filter(|(name, _)| name.ends_with(".js"));
    let links: String =
        modules.map(|(name, _)| format!("\n    <link rel=\"modulepreload\" href=\"page/{name}\">")).collect();
    file("index.html", INDEX.replace("<!-- modules -->", links.trim_start()).leak())
});
static BY_NAME: LazyLock<HashMap<&str, File>> =
    LazyLock::new(|| FILES.iter().copied().flatten().map(|(name, text)| (*name, file(name, text))).collect());

fn file(name: &str, bytes: &'static str) -> File {
    let content_type = match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        _ => "text/javascript; charset=utf-8",
    };
    File { content_type, tag: hex::encode(Sha256::digest(bytes)), bytes }
}

/// The page's routes.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(page)).route("/page/{*file}", get(module))
}

async fn page(conditions: Preconditions) -> Response {
    let headers =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::REFERRER_POLICY, "no-referrer"), super::OPENER_POLICY];
    (headers, answer(&PAGE, &conditions)).into_response()
}

async fn module(name: Result<Path<String>, PathRejection>, conditions: Preconditions) -> Response {
    // A name that cannot be decoded is answered with 404, like any other unknown name.
    match name.ok().and_then(|Path(name)| BY_NAME.get(name.as_str())) {
        Some(file) => answer(file, &conditions),
        None => Problem(Error::not_found("file")).into_response(),
    }
}

fn answer(file: &'static File, conditions: &Preconditions) -> Response {
    let headers = [
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::ETAG, format!("\"{}\"", file.tag)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    if conditions.if_none_match_lists(&file.tag).is_some() {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response()
}
