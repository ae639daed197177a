//! `/files/{id}` and its content.

use std::{ops::Range, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_range_header::parse_range_header;

use super::{
    bodies::FileRecordBody,
    conditional,
    extract::{Caller, FilePath},
};
use crate::{domain::FileRecord, error::Error, http::Problem, service::Service};

pub(super) async fn show(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    FilePath(id): FilePath,
) -> Result<Json<FileRecordBody>, Problem> {
    Ok(Json(service.file(&principal, id).await?.into()))
}

pub(super) async fn content(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    FilePath(id): FilePath,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let content = service.content(&principal, id).await?;
    let file = &content.file;
    // A stored file never changes, so its id would do; the digest lets a client compare copies.
    let etag = conditional::etag(file.sha256.map_or_else(|| file.id.0.to_string(), |digest| digest.to_string()));
    if conditional::is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let (status, range) = match wanted(&headers, &etag, file.size_bytes) {
        Wanted::All => (StatusCode::OK, 0..file.size_bytes),
        Wanted::Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Impossible => {
            let whole = format!("bytes */{}", file.size_bytes);
            let problem = Problem(Error::invalid("range", "the file ends before it"));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, whole)], problem).into_response());
        }
    };
    let mut response_headers = content_headers(file, etag, &range);
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
        // Made of checked text alone; what should still not fit a header is left out rather than failing a download.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

#[derive(Debug, PartialEq)]
enum Wanted {
    All,
    Some(Range<u64>),
    Impossible,
}

/// What `Range` asks for ([RFC 9110 §14.2](https://www.rfc-editor.org/rfc/rfc9110#name-range)). A header that cannot be
/// read is ignored, and so is one with several ranges: both are allowed.
fn wanted(headers: &HeaderMap, etag: &str, size_bytes: u64) -> Wanted {
    let header = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some(header) = header.filter(|_| conditional::allows_range(headers, etag)) else { return Wanted::All };
    let Some(ranges) = parse_range_header(header).ok().filter(|ranges| ranges.len() == 1) else { return Wanted::All };
    match ranges.validate(size_bytes) {
        Ok(ranges) => match ranges.as_slice() {
            [only] => Wanted::Some(*only.start()..only.end() + 1),
            _ => Wanted::All,
        },
        Err(_) => Wanted::Impossible,
    }
}

/// What people upload is shown to nobody as a page of this server: it is saved, not opened, and its type is not guessed.
fn content_headers(file: &FileRecord, etag: String, range: &Range<u64>) -> Vec<(HeaderName, String)> {
    vec![
        (header::CONTENT_TYPE, file.content_type.clone()),
        (header::CONTENT_LENGTH, (range.end - range.start).to_string()),
        (header::CONTENT_DISPOSITION, disposition(&file.original_filename)),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::ETAG, etag),
        (header::LAST_MODIFIED, file.updated_at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()),
    ]
}

/// `Content-Disposition` with the name in both forms of [RFC 6266](https://www.rfc-editor.org/rfc/rfc6266): for old
/// clients in ASCII, for all others percent-encoded UTF-8 ([RFC 8187](https://www.rfc-editor.org/rfc/rfc8187)).
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
    fn a_name_is_carried_whole_and_cannot_break_out() {
        assert_eq!(
            disposition("Übung \"1\"/a.txt"),
            "attachment; filename=\"_bung _1__a.txt\"; filename*=UTF-8''%C3%9Cbung%20%221%22%2Fa.txt"
        );
    }

    fn range(header: &'static str, size: u64) -> Wanted {
        let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(header))]);
        wanted(&headers, "\"x\"", size)
    }

    #[test]
    fn a_single_range_is_served_and_odd_ones_do_no_harm() {
        assert_eq!(range("bytes=0-4", 10), Wanted::Some(0..5));
        assert_eq!(range("bytes=8-", 10), Wanted::Some(8..10));
        assert_eq!(range("bytes=-3", 10), Wanted::Some(7..10));
        assert_eq!(range("bytes=5-99", 10), Wanted::Some(5..10));
        assert_eq!(range("bytes=10-", 10), Wanted::Impossible);
        assert_eq!(range("bytes=0-1,4-5", 10), Wanted::All);
        assert_eq!(range("lines=1-2", 10), Wanted::All);
        assert_eq!(range("bytes=9-1", 10), Wanted::All);
    }
}
