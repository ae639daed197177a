//! `Upload-Metadata`: pairs of a key and a value in base64.
//!
//! Owns the syntax, and what the pairs mean for a session: its filename, its media type, its digest and its metadata. Also
//! describes a file in this syntax if no tus client created it. Does not own the limits of these fields: those are in `service`.

use axum::http::{HeaderMap, HeaderValue};
use base64::{Engine, engine::general_purpose::STANDARD};
use mime::Mime;
use serde::Serializer;
use serde_json::value::RawValue;

use super::fields;
use crate::{
    domain::{FileRecord, JsonLevel, filename_key},
    error::{Error, Result},
    service::{MAX_CONTENT_TYPE_BYTES, MAX_FILENAME_BYTES, UNNAMED},
};

/// Longest header that the server stores.
const MAX_BYTES: usize = 16 * 1024;
/// Longest header that the server makes up. Clients with Node.js refuse an answer whose head has more than 16 KiB.
const MAX_DESCRIPTION_BYTES: usize = 8 * 1024;

/// The metadata of an upload as the client sent it.
#[derive(Debug, Default)]
pub(super) struct UploadMetadata {
    /// The header's value.
    pub(super) raw: String,
    /// The pairs with a value that is UTF-8. The server keeps the others only in `raw`.
    pairs: Vec<(String, String)>,
}

impl UploadMetadata {
    /// Reads the header. Some clients send it empty.
    ///
    /// # Errors
    /// `INVALID_INPUT` if it is too long, a value is not base64, or a key comes twice.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self> {
        let raw = headers.get(fields::METADATA).map_or(Ok(""), HeaderValue::to_str);
        let raw = raw.map_err(|_| invalid("must be ASCII"))?.to_owned();
        if raw.len() > MAX_BYTES {
            return Err(invalid("at most 16 KiB"));
        }
        let mut keys = Vec::new();
        let mut pairs = Vec::new();
        for pair in raw.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, base64) = pair.split_once(' ').unwrap_or((pair, ""));
            let value = STANDARD.decode(base64.trim()).map_err(|_| invalid("a value is not base64"))?;
            keys.push(key);
            // Uppy sends the text "null" for a file that is in no folder.
            if let Ok(value) = String::from_utf8(value)
                && (key, value.as_str()) != ("relativePath", "null")
            {
                pairs.push((key.to_owned(), value));
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() < count {
            return Err(invalid("a key comes twice"));
        }
        Ok(Self { raw, pairs })
    }

    /// The file's name, without what a session's name must not have.
    pub(super) fn filename(&self) -> String {
        let names = ["filename", "name"].into_iter().filter_map(|key| self.get(key)).map(clean_filename);
        names.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| UNNAMED.to_owned())
    }

    /// The file's media type, if there is a valid one.
    pub(super) fn content_type(&self) -> Option<String> {
        let is_valid = |text: &&str| text.len() <= MAX_CONTENT_TYPE_BYTES && text.parse::<Mime>().is_ok();
        let types = ["filetype", "type", "mime_type"].into_iter().filter_map(|key| self.get(key));
        types.into_iter().find(is_valid).map(str::to_owned)
    }

    /// The SHA-256 of the whole file, if the client declares it.
    pub(super) fn sha256(&self) -> Option<String> {
        self.get("sha256").map(str::to_owned)
    }

    /// All pairs as a JSON object.
    pub(super) fn to_json(&self) -> Result<Box<RawValue>> {
        let (mut json, pairs) = (Vec::new(), self.pairs.iter().map(|(key, value)| (key, value)));
        serde_json::Serializer::new(&mut json).collect_map(pairs).map_err(Error::internal)?;
        let json = String::from_utf8(json).map_err(Error::internal)?;
        RawValue::from_string(json).map_err(Error::internal)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

fn invalid(problem: &str) -> Error {
    Error::invalid("upload_metadata", problem)
}

/// Removes control characters, and cuts the name to the length that a session accepts.
fn clean_filename(name: &str) -> String {
    let mut name: String = name.chars().filter(|c| !c.is_control()).collect();
    while name.len().max(filename_key(&name).len()) > MAX_FILENAME_BYTES {
        name.pop();
    }
    name.trim().to_owned()
}

/// The `Upload-Metadata` of a file: as its client sent it, or made from the name, the media type and the metadata. `None` if it
/// is empty.
pub(super) fn describe(file: &FileRecord) -> Option<HeaderValue> {
    let text = match &file.upload_metadata {
        Some(raw) => raw.clone(),
        None => description(file),
    };
    HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
}

fn description(file: &FileRecord) -> String {
    let mut text = format!(
        "filename {},filetype {}",
        STANDARD.encode(&file.original_filename),
        STANDARD.encode(&file.content_type)
    );
    let Ok(JsonLevel::Object(entries)) = JsonLevel::read(file.metadata.as_json()) else { return text };
    for (key, value) in entries {
        let Ok(JsonLevel::String(value)) = JsonLevel::read(value) else { continue };
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        let pair = format!(",{key} {}", STANDARD.encode(value));
        if is_key && !["filename", "filetype"].contains(&&*key) && text.len() + pair.len() <= MAX_DESCRIPTION_BYTES {
            text.push_str(&pair);
        }
    }
    text
}
