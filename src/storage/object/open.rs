//! Which store a URL means, and how it is spoken to.
//!
//! Credentials and endpoints come from the variables that each cloud's own tools use; `docs/operations.md` has them.

use std::sync::Arc;

use object_store::{
    ClientConfigKey, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    memory::InMemory,
    path::Path,
    signer::Signer,
};

use super::{ObjectStorage, failed};
use crate::storage::{Error, Result};

/// The longest that one request to the store may take, as long as its bytes flow: a large file downloaded on a slow line.
const REQUEST_TIMEOUT: &str = "7 days";
/// The longest that the store may be silent.
const READ_TIMEOUT: &str = "2 minutes";
/// A request is tried again for so long before its failure is told. Clients try again themselves.
const RETRY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

impl ObjectStorage {
    /// Opens `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`, with so much memory for parts on
    /// their way. Talks to nobody yet.
    ///
    /// # Errors
    /// The URL is none of these, or the variables make no sense.
    pub fn open(url: &str, memory_bytes: u64) -> Result<Self> {
        // The HTTP client uses the process-wide crypto provider; the first caller installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = Path::parse(prefix).map_err(|error| failed("read the storage URL")(error.into()))?;
        let retry = RetryConfig { max_retries: 5, retry_timeout: RETRY_TIMEOUT, ..Default::default() };
        let opened = match scheme {
            "s3" => AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ReadTimeout), READ_TIMEOUT)
                .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp), allow_http("AWS_ENDPOINT"))
                .with_retry(retry)
                .build()
                .map(|store| {
                    let signer: Arc<dyn Signer> = Arc::new(store.clone());
                    Self { signer: Some(signer), ..Self::over(store, prefix, memory_bytes) }
                }),
            "gs" => GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                .with_config(GoogleConfigKey::Client(ClientConfigKey::ReadTimeout), READ_TIMEOUT)
                .with_retry(retry)
                .build()
                .map(|store| Self::over(store, prefix, memory_bytes)),
            "az" => MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                .with_config(AzureConfigKey::Client(ClientConfigKey::ReadTimeout), READ_TIMEOUT)
                .with_config(AzureConfigKey::Client(ClientConfigKey::AllowHttp), allow_http("AZURE_STORAGE_ENDPOINT"))
                .with_retry(retry)
                .build()
                .map(|store| Self::over(store, prefix, memory_bytes)),
            _ => return Err(Error::Lost(format!("{url} names no object store: s3://, gs:// or az://"))),
        };
        opened.map_err(failed("open the object store"))
    }

    /// A store in this process's memory: for tests of what all stores do.
    pub fn in_memory(memory_bytes: u64) -> Self {
        Self::over(InMemory::new(), Path::default(), memory_bytes)
    }
}

/// An endpoint without TLS is meant when it is written so: a store on this machine or network.
fn allow_http(endpoint: &str) -> String {
    let starts = |text: &std::ffi::OsStr, with: &str| text.to_string_lossy().starts_with(with);
    std::env::vars_os().any(|(name, value)| starts(&name, endpoint) && starts(&value, "http://")).to_string()
}
