//! `/files/{id}/content`.
//!
//! Owns `Range`, and the headers of a download.

use std::{ops::Range, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_range_header::parse_range_header;

use super::{extract::FilePath, representation};
use crate::{
    domain::FileRecord,
    error::Error,
    http::{ContentCaller, Freshness, Preconditions, Problem, Validator, allows_range, openapi},
    service::Service,
};

/// Download a file
///
/// Its content, or a range of it. The headers keep a browser from showing the file as a page of this server.
#[utoipa::path(
    get, path = "/files/{id}/content", operation_id = "downloadFile", tag = "files",
    params(FilePath, openapi::Ranges, openapi::ReadConditions),
    responses(
        (status = 200, description = "The content, with the media type of the file.",
            content((inline(openapi::Binary) = "*/*"), (inline(openapi::Binary) = "application/octet-stream")),
            headers(("ETag"), ("Last-Modified"), ("Cache-Control"), ("Accept-Ranges"), ("Content-Disposition"))),
        (status = 206, description = "The range.",
            content((inline(openapi::Binary) = "*/*"), (inline(openapi::Binary) = "application/octet-stream")),
            headers(("ETag"), ("Last-Modified"), ("Cache-Control"), ("Accept-Ranges"), ("Content-Disposition"), ("Content-Range"))),
        (status = 304, description = "You have this content.", headers(("ETag"), ("Cache-Control"))),
    ),
    security(("bearer" = []), ("link" = [])),
)]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    ContentCaller(principal): ContentCaller,
    FilePath(id): FilePath,
    method: Method,
    conditions: Preconditions,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let content = service.content(&principal, id).await?;
    let file = &content.file;
    let current = representation::of_content(file);
    if conditions.freshness(&current)? == Freshness::NotModified {
        return Ok(representation::not_modified(current.etag()));
    }
    let requested = match method {
        Method::GET => requested_range(&headers, &current, file.size_bytes),
        // RFC 9110 §14.2: `Range` has a meaning only in a GET.
        _ => RequestedRange::Whole,
    };
    let (status, range) = match requested {
        RequestedRange::Whole => (StatusCode::OK, 0..file.size_bytes),
        RequestedRange::One(range) => (StatusCode::PARTIAL_CONTENT, range),
        RequestedRange::NotSatisfiable => {
            let whole = [(header::CONTENT_RANGE, format!("bytes */{}", file.size_bytes))];
            return Ok((whole, Problem(Error::range_not_satisfiable(file.size_bytes))).into_response());
        }
    };
    let mut response_headers = content_headers(file, &current, &range);
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size_bytes);
        response_headers.push((header::CONTENT_RANGE, text));
    }
    let body = match method {
        Method::HEAD => {
            service.check_content(&content).await?;
            Body::empty()
        }
        _ => Body::from_stream(service.read(&content, range).await?),
    };
    let mut response = (status, body).into_response();
    for (name, value) in response_headers {
        // Each value comes from checked text. If one is still not valid in a header, the answer leaves that header out.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// The bytes that a request asks for.
#[derive(Debug, PartialEq)]
enum RequestedRange {
    Whole,
    One(Range<u64>),
    NotSatisfiable,
}

/// Parses `Range` ([RFC 9110 §14.2](https://www.rfc-editor.org/rfc/rfc9110#name-range)). The server ignores a malformed
/// header and one with several ranges, as the RFC allows.
fn requested_range(headers: &HeaderMap, current: &Validator, size_bytes: u64) -> RequestedRange {
    let header = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some(header) = header.filter(|_| allows_range(headers, current)) else { return RequestedRange::Whole };
    let parsed = parse_range_header(header).ok().filter(|ranges| ranges.len() == 1);
    let Some(parsed) = parsed else { return RequestedRange::Whole };
    match parsed.validate(size_bytes).as_deref() {
        Ok([only]) => RequestedRange::One(*only.start()..only.end() + 1),
        Ok(_) => RequestedRange::Whole,
        Err(_) => RequestedRange::NotSatisfiable,
    }
}

/// The headers of a download. A browser must not show an uploaded file as a page of this server: it saves the file, does not
/// guess its type, and runs no scripts of it.
fn content_headers(file: &FileRecord, current: &Validator, range: &Range<u64>) -> Vec<(HeaderName, String)> {
    let mut headers = vec![
        (header::CONTENT_TYPE, file.content_type.clone()),
        (header::CONTENT_LENGTH, (range.end - range.start).to_string()),
        (header::CONTENT_DISPOSITION, disposition(&file.original_filename)),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        // The address may have the token of a link.
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    headers.extend(representation::headers(current));
    headers
}

/// `Content-Disposition` with the name in both forms of [RFC 6266](https://www.rfc-editor.org/rfc/rfc6266): in ASCII for old
/// clients, and in percent-encoded UTF-8 ([RFC 8187](https://www.rfc-editor.org/rfc/rfc8187)) for all others.
fn disposition(filename: &str) -> String {
    let ascii: String = filename
        .chars()
        .map(|c| if c.is_ascii_graphic() && !"\"\\%/;".contains(c) || c == ' ' { c } else { '_' })
        .collect();
    let mut encoded = String::new();
    for byte in filename.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filename_is_complete_and_cannot_end_its_quotes() {
        assert_eq!(
            disposition("Übung \"1\"/a.txt"),
            "attachment; filename=\"_bung _1__a.txt\"; filename*=UTF-8''%C3%9Cbung%20%221%22%2Fa.txt"
        );
    }

    fn range(header: &'static str, size: u64) -> RequestedRange {
        let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(header))]);
        requested_range(&headers, &Validator::new("x", chrono::DateTime::UNIX_EPOCH), size)
    }

    #[test]
    fn one_range_is_served_and_malformed_or_several_ranges_are_ignored() {
        assert_eq!(range("bytes=0-4", 10), RequestedRange::One(0..5));
        assert_eq!(range("bytes=8-", 10), RequestedRange::One(8..10));
        assert_eq!(range("bytes=-3", 10), RequestedRange::One(7..10));
        assert_eq!(range("bytes=5-99", 10), RequestedRange::One(5..10));
        assert_eq!(range("bytes=10-", 10), RequestedRange::NotSatisfiable);
        assert_eq!(range("bytes=0-1,4-5", 10), RequestedRange::Whole);
        assert_eq!(range("lines=1-2", 10), RequestedRange::Whole);
        assert_eq!(range("bytes=9-1", 10), RequestedRange::Whole);
    }
}
