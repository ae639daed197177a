//! `Content-Disposition` ([RFC 6266](https://www.rfc-editor.org/rfc/rfc6266)): the name of a file that a client sends.
//!
//! Owns the syntax of its parameters, `filename` and `filename*` ([RFC 8187](https://www.rfc-editor.org/rfc/rfc8187)). Does not
//! own which names a session accepts: that is `service`.

use axum::http::{HeaderMap, header};
use percent_encoding::percent_decode_str;

/// The file's name: `filename*` if it is valid, else `filename`.
pub(super) fn filename(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_DISPOSITION)?.as_bytes();
    // Some clients send UTF-8, which the RFC does not allow; others send ISO 8859-1, which it does.
    let text =
        std::str::from_utf8(value).map_or_else(|_| value.iter().map(|byte| *byte as char).collect(), str::to_owned);
    let parameters = parameters(&text);
    let find = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    find("filename*").and_then(decode).or_else(|| find("filename").map(str::to_owned))
}

/// The parameters after the disposition type, with their names in lower case. Ends at the first malformed one.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let Some((value, after)) = value(after.trim_start()) else { break };
        // An empty parameter, as in `a=b;; c=d`, is allowed.
        found.push((name.trim_matches([' ', '\t', ';']).to_ascii_lowercase(), value));
        rest = after.split_once(';').map_or("", |(_, rest)| rest);
    }
    found
}

/// A token or a quoted string, and what follows it. `None` if a quote does not end.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let (mut value, mut chars) = (String::new(), quoted.char_indices());
    while let Some((at, next)) = chars.next() {
        match next {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// The text of an extended value, such as `UTF-8''%c3%bc`.
fn decode(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = percent_decode_str(encoded);
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => bytes.decode_utf8().ok().map(|text| text.into_owned()),
        "iso-8859-1" => Some(bytes.map(char::from).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn name(value: &[u8]) -> Option<String> {
        filename(&HeaderMap::from_iter([(header::CONTENT_DISPOSITION, HeaderValue::from_bytes(value).unwrap())]))
    }

    #[test]
    fn names_are_read_in_every_form() {
        for (value, expected) in [
            ("attachment; filename=\"a b.txt\"", "a b.txt"),
            ("inline; filename=a.txt", "a.txt"),
            ("inline;FileName = a.txt ; size=3", "a.txt"),
            ("form-data; name=\"f;filename=x\"; filename=\"a;b=c.txt\"", "a;b=c.txt"),
            ("attachment; filename=\"a\\\"b\\\\c.txt\"", "a\"b\\c.txt"),
            ("attachment; filename=\"x.txt\"; filename*=UTF-8''%C3%9Cbung%20%221%22.txt", "Übung \"1\".txt"),
            ("attachment; filename*=utf-8'de'%c3%bc.txt; filename=x.txt", "ü.txt"),
            ("attachment; filename*=ISO-8859-1''%fc.txt", "ü.txt"),
            ("attachment; filename*=UTF-8''%ff; filename=fallback.txt", "fallback.txt"),
            ("attachment; filename*=klingon''x; filename=fallback.txt", "fallback.txt"),
            ("attachment; filename*=garbage; filename=fallback.txt", "fallback.txt"),
            ("attachment;; filename=a.txt;", "a.txt"),
            ("attachment; filename=\"ü.txt\"", "ü.txt"),
        ] {
            assert_eq!(name(value.as_bytes()).as_deref(), Some(expected), "{value}");
        }
        assert_eq!(name(b"attachment; filename=\"\xfc.txt\"").as_deref(), Some("ü.txt"));
    }

    #[test]
    fn a_header_without_a_name_has_none() {
        for value in ["attachment", "attachment; name=x", "attachment; filename", "attachment; filename=\"open", ""] {
            assert_eq!(name(value.as_bytes()), None, "{value}");
        }
        assert_eq!(filename(&HeaderMap::new()), None);
    }
}
