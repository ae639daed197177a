//! Content negotiation: the media type and the HTTP status of an answer.
//!
//! Owns the choice between `application/graphql-response+json`, where a request that the server cannot execute has status
//! 400, and `application/json`, where it has status 200.

use async_graphql::Response;
use axum::{
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};

use super::response::is_request_error;

/// A media type of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    /// `application/graphql-response+json`
    GraphqlResponse,
    /// `application/json`; the default
    Json,
    /// `text/event-stream`
    EventStream,
}

impl MediaType {
    /// The media type that the client prefers, by `Accept`.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut best = (Self::Json, 0.0);
        for range in values.flat_map(|value| value.split(',')) {
            let Ok(range) = range.trim().parse::<mime::Mime>() else { continue };
            let quality = range.get_param("q").and_then(|q| q.as_str().parse::<f32>().ok()).unwrap_or(1.0);
            let offered = match range.essence_str() {
                "application/graphql-response+json" => Self::GraphqlResponse,
                "application/json" | "application/*" | "*/*" => Self::Json,
                "text/event-stream" => Self::EventStream,
                _ => continue,
            };
            // With equal quality the first one wins, although the RFC does not require it: clients list what they prefer first.
            if quality > best.1 {
                best = (offered, quality);
            }
        }
        best.0
    }

    /// The `Content-Type` of an answer.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            // An event stream sets its own type. A refusal before it begins is JSON.
            Self::Json | Self::EventStream => "application/json; charset=utf-8",
        }
    }

    /// An answer without its body.
    pub(super) fn head(self, response: &Response) -> axum::response::Response {
        let headers = [(header::CONTENT_TYPE, self.content_type()), (header::CACHE_CONTROL, "no-store")];
        (self.status(response), headers).into_response()
    }

    /// The HTTP status of an answer. The draft of July 2026 has 422 for a failed validation and 294 for partial results.
    /// Current clients and the audit suite do not support these, so this follows the draft of June 2025.
    fn status(self, response: &Response) -> StatusCode {
        match self {
            Self::GraphqlResponse if is_request_error(response) => StatusCode::BAD_REQUEST,
            Self::GraphqlResponse | Self::Json | Self::EventStream => StatusCode::OK,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_server_chooses_the_media_type_that_the_client_prefers() {
        for (accept, expected) in [
            ("application/graphql-response+json", MediaType::GraphqlResponse),
            ("application/graphql-response+json, application/json;q=0.9", MediaType::GraphqlResponse),
            ("application/json, application/graphql-response+json", MediaType::Json),
            ("application/graphql-response+json;q=0.1, application/json", MediaType::Json),
            ("text/html", MediaType::Json),
            ("text/event-stream", MediaType::EventStream),
            ("*/*", MediaType::Json),
            ("application/graphql-response+json; charset=utf-8", MediaType::GraphqlResponse),
            // What urql sends.
            (
                "application/graphql-response+json, application/graphql+json, application/json, text/event-stream",
                MediaType::GraphqlResponse,
            ),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(MediaType::accepted(&headers), expected, "{accept}");
        }
        assert_eq!(MediaType::accepted(&HeaderMap::new()), MediaType::Json);
    }
}
