//! Persisted documents: a client sends a hash in place of a document.
//!
//! Owns both kinds. With automatic persisted queries, in
//! [Apollo's protocol](https://www.apollographql.com/docs/apollo-server/performance/apq), the first client that sends a
//! document with its hash registers it. Trusted documents come from a file that the server reads at its start. A server can
//! be restricted to them, so that it executes only the documents of its own front end.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};

use anyhow::Context;
use lru::LruCache;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::DocumentSettings;
use crate::{
    domain::Sha256Digest,
    error::{Error, Result},
};

/// Registered documents. A new one evicts the least recently used one.
const MAX_REGISTERED: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// The documents that clients can name by a hash.
#[derive(Clone, Debug)]
pub(crate) struct PersistedDocuments {
    trusted: Arc<HashMap<String, String>>,
    trusted_only: bool,
    registered: Arc<Mutex<LruCache<Sha256Digest, String>>>,
}

/// `extensions`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extensions {
    persisted_query: Option<PersistedQuery>,
}

/// `extensions.persistedQuery`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PersistedQuery {
    sha256_hash: String,
}

impl PersistedDocuments {
    /// Reads the trusted documents: a JSON object of hash to document.
    ///
    /// # Errors
    /// If the file cannot be read, or if the server is restricted to trusted documents and the settings name no file.
    pub(crate) fn load(settings: &DocumentSettings) -> anyhow::Result<Self> {
        let DocumentSettings { trusted_documents: path, trusted_only } = settings;
        let documents = if path.as_os_str().is_empty() {
            anyhow::ensure!(!trusted_only, "graphql_trusted_only needs graphql_trusted_documents");
            HashMap::new()
        } else {
            let text = std::fs::read_to_string(path);
            let read = text.map_err(anyhow::Error::from).and_then(|text| Ok(serde_json::from_str(&text)?));
            read.with_context(|| format!("graphql_trusted_documents: {}", path.display()))?
        };
        let registered = Arc::new(Mutex::new(LruCache::new(MAX_REGISTERED)));
        Ok(Self { trusted: Arc::new(documents), trusted_only: *trusted_only, registered })
    }

    /// The document of a request: the one that it contains, or the one with the hash in its `extensions`.
    ///
    /// # Errors
    /// `PERSISTED_QUERY_NOT_FOUND` for an unknown hash, `FORBIDDEN` for a document that is not trusted on a restricted server,
    /// `INVALID_INPUT` for a document that does not have the hash beside it.
    pub(super) fn resolve(&self, query: Option<String>, extensions: Option<&RawValue>) -> Result<Option<String>> {
        let hash = extensions.map(read_hash).transpose()?.flatten();
        if let Some(trusted) = hash.as_ref().and_then(|hash| self.trusted.get(hash)) {
            return Ok(Some(trusted.clone()));
        }
        if self.trusted_only {
            let is_trusted = query.as_ref().is_some_and(|query| self.trusted.values().any(|known| known == query));
            return if is_trusted {
                Ok(query)
            } else {
                Err(Error::forbidden("this server executes only trusted documents"))
            };
        }
        match (hash, query) {
            (None, query) => Ok(query),
            (Some(hash), None) => self.registered(&hash).map(Some),
            (Some(hash), Some(query)) => self.register(&hash, query).map(Some),
        }
    }

    fn registered(&self, hash: &str) -> Result<String> {
        let digest = hash.parse().map_err(|_| Error::persisted_query_not_found())?;
        let mut registered = self.registered.lock();
        registered.get(&digest).cloned().ok_or_else(Error::persisted_query_not_found)
    }

    fn register(&self, hash: &str, query: String) -> Result<String> {
        let digest = Sha256Digest::of(query.as_bytes());
        if hash.parse() != Ok(digest) {
            return Err(Error::invalid("extensions", "the document does not have the SHA-256 in persistedQuery"));
        }
        self.registered.lock().put(digest, query.clone());
        Ok(query)
    }
}

/// The hash in a request's `extensions`, if there is one. The server ignores other extensions.
fn read_hash(extensions: &RawValue) -> Result<Option<String>> {
    if !extensions.get().starts_with('{') {
        return Err(Error::invalid("extensions", "must be an object or null"));
    }
    let malformed = |_| Error::invalid("extensions", "persistedQuery needs a sha256Hash");
    let read: Extensions = serde_json::from_str(extensions.get()).map_err(malformed)?;
    Ok(read.persisted_query.map(|persisted| persisted.sha256_hash))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    const QUERY: &str = "{ __typename }";

    fn load(trusted_documents: &Path, trusted_only: bool) -> anyhow::Result<PersistedDocuments> {
        PersistedDocuments::load(&DocumentSettings { trusted_documents: trusted_documents.to_owned(), trusted_only })
    }

    fn hash(text: &str) -> Value {
        json!({ "persistedQuery": { "version": 1, "sha256Hash": Sha256Digest::of(text.as_bytes()).to_string() } })
    }

    fn resolve(documents: &PersistedDocuments, query: Option<&str>, extensions: &Value) -> Result<Option<String>> {
        documents.resolve(query.map(str::to_owned), Some(&to_raw_value(extensions).unwrap()))
    }

    fn code(result: Result<Option<String>>) -> &'static str {
        result.unwrap_err().code().as_str()
    }

    #[test]
    fn a_document_can_be_named_by_its_hash_after_a_client_has_registered_it() {
        let documents = load(Path::new(""), false).unwrap();
        assert_eq!(code(resolve(&documents, None, &hash(QUERY))), "PERSISTED_QUERY_NOT_FOUND");
        assert_eq!(code(resolve(&documents, Some("{ other }"), &hash(QUERY))), "INVALID_INPUT");
        assert_eq!(resolve(&documents, Some(QUERY), &hash(QUERY)).unwrap().as_deref(), Some(QUERY));
        assert_eq!(resolve(&documents, None, &hash(QUERY)).unwrap().as_deref(), Some(QUERY));
        assert_eq!(code(resolve(&documents, None, &json!({ "persistedQuery": 1 }))), "INVALID_INPUT");
    }

    #[test]
    fn a_server_can_be_restricted_to_trusted_documents() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("documents.json");
        std::fs::write(&file, json!({ "h1": QUERY }).to_string()).unwrap();
        let trusted = json!({ "persistedQuery": { "sha256Hash": "h1" } });
        for only in [false, true] {
            let documents = load(&file, only).unwrap();
            assert_eq!(resolve(&documents, None, &trusted).unwrap().as_deref(), Some(QUERY));
        }
        let documents = load(&file, true).unwrap();
        assert_eq!(resolve(&documents, Some(QUERY), &json!({})).unwrap().as_deref(), Some(QUERY));
        assert_eq!(code(resolve(&documents, Some("{ other }"), &hash("{ other }"))), "FORBIDDEN");
        assert_eq!(code(resolve(&documents, None, &hash(QUERY))), "FORBIDDEN");
        assert!(load(Path::new(""), true).is_err());
        assert!(load(&folder.path().join("none"), false).is_err());
    }
}
