//! `/files/{id}` and its content.

use std::{ops::Range, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_range_header::parse_range_header;

use super::{
    bodies::FileRecordBody,
    extract::{Caller, FilePath},
    representation,
};
use crate::{
    domain::FileRecord,
    error::Error,
    http::{Freshness, Preconditions, Problem, Validator, allows_range},
    service::Service,
};

pub(super) async fn show(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    FilePath(id): FilePath,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    let file = service.file(&principal, id).await?;
    let (modified, body) = (file.updated_at, FileRecordBody::from(file));
    Ok(representation::answer(&conditions, &representation::of_json(&body, modified)?, body)?)
}

pub(super) async fn content(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
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
    let wanted = match method {
        Method::GET => wanted(&headers, &current, file.size_bytes),
        // RFC 9110 §14.2: `Range` means something for GET alone.
        _ => Wanted::All,
    };
    let (status, range) = match wanted {
        Wanted::All => (StatusCode::OK, 0..file.size_bytes),
        Wanted::Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Impossible => {
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
fn wanted(headers: &HeaderMap, current: &Validator, size_bytes: u64) -> Wanted {
    let header = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some(header) = header.filter(|_| allows_range(headers, current)) else { return Wanted::All };
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
fn content_headers(file: &FileRecord, current: &Validator, range: &Range<u64>) -> Vec<(HeaderName, String)> {
    let mut headers = vec![
        (header::CONTENT_TYPE, file.content_type.clone()),
        (header::CONTENT_LENGTH, (range.end - range.start).to_string()),
        (header::CONTENT_DISPOSITION, disposition(&file.original_filename)),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    headers.extend(representation::headers(current));
    headers
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
        wanted(&headers, &Validator::new("x", chrono::DateTime::UNIX_EPOCH), size)
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
