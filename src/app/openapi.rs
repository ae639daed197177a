//! The OpenAPI document.
//!
//! Owns what concerns the API as a whole, and makes one document of the descriptions of the edges.

use url::Url;
use utoipa::openapi::{
    Components, ContactBuilder, InfoBuilder, LicenseBuilder, OpenApiBuilder, Server,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    tag::TagBuilder,
};

use crate::{http::openapi, rest, rufh};

const DESCRIPTION: &str = "\
Resumable uploads that can be asked what has arrived: create a session, send its parts in any order, ask for the state, finalize.

- Ids are UUIDs. Times are RFC 3339 in UTC, with up to six digits of a second. Names are `snake_case`.
- Every answer has `X-Request-Id`, which is also in the server's log.
- Every route with `GET` also accepts `HEAD`.
- Errors are `application/problem+json` (RFC 9457) with a stable `code`. Only a request that is not HTTP, or has a very long head, is \
refused without a body (400, 431).

`docs/api.md` in the repository explains the API. This document does not describe GraphQL (`schema.graphql`), tus (`docs/tus.md`), and the \
resumable uploads of the IETF (`docs/resumable-http.md`), which use the same sessions and files.";

const TAGS: [(&str, &str); 5] = [
    ("sessions", "The upload of one file: create, ask, follow, finalize, abort."),
    ("parts", "The bytes of a session."),
    ("files", "Stored files and their content."),
    ("account", "What an owner uses, and what has happened."),
    ("server", "For operators and tools; without a token."),
];

/// The document in JSON, as in `openapi.json`. Without a public URL, the server is the one that sends the document, whatever its host
/// and path.
///
/// # Errors
/// The document cannot be written as JSON.
pub fn openapi(public_url: Option<&Url>) -> anyhow::Result<String> {
    let info = InfoBuilder::new()
        .title("Partway")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .contact(Some(ContactBuilder::new().name(Some("The maintainers of Partway")).build()))
        .license(Some(
            LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).identifier(Some(env!("CARGO_PKG_LICENSE"))).build(),
        ));
    let server = public_url.map_or(".", |url| url.as_str().trim_end_matches('/'));
    let tags = TAGS.map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build());
    let mut document = OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([Server::new(server)]))
        .tags(Some(tags))
        .security(Some([SecurityRequirement::new("bearer", [] as [&str; 0])]))
        .components(Some(Components::new()))
        .build();
    openapi::add(&mut document, rest::openapi());
    openapi::add(&mut document, rufh::openapi());
    if let Some(components) = &mut document.components {
        components.security_schemes.extend(security_schemes());
    }
    Ok(document.to_pretty_json()?)
}

fn security_schemes() -> [(String, utoipa::openapi::RefOr<SecurityScheme>); 3] {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token of an owner (`pw_…`), a JWT of the application's identity provider, or, where it is allowed, a token for one upload (`pu_…`).",
    ));
    let in_query = |name: &str, description: &str| {
        SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description(name, description)))
    };
    let schemes = [
        ("bearer", SecurityScheme::Http(bearer.build())),
        (
            "upload_token",
            in_query("upload_token", "A token for one upload (`pu_…`), where a page cannot send a header."),
        ),
        ("link", in_query("link", "The token of a link to the content of a file (`pl_…`).")),
    ];
    schemes.map(|(name, scheme)| (name.to_owned(), scheme.into()))
}
