//! Opens the object store that a URL names.
//!
//! Owns the URL schemes, the HTTP timeouts and the retry policy. Does not own credentials and endpoints: each cloud's usual
//! environment variables set them, and `docs/operations.md` lists them.

use std::sync::Arc;

use object_store::{
    ClientConfigKey, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    memory::InMemory,
    path::Path,
    signer::Signer,
};

use super::{ObjectStorage, PartLimits, checked::CheckedUploads, failed};
use crate::{
    storage::{Error, Result},
    tls,
};

/// Maximum duration of one request to the store. It is long because a client may download a large file on a slow line.
const REQUEST_TIMEOUT: &str = "7 days";
/// Maximum time between two reads from the store.
const READ_TIMEOUT: &str = "2 minutes";
/// How long the server retries a failed request. It is short because clients retry too.
const RETRY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

impl ObjectStorage {
    /// Opens `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`. All parts on their way to the store use
    /// at most `memory_bytes` of memory. Sends no request yet.
    ///
    /// # Errors
    /// The URL has another form, or an environment variable is invalid.
    pub fn open(url: &str, memory_bytes: u64) -> Result<Self> {
        tls::use_ring();
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = Path::parse(prefix).map_err(|error| failed("read the storage URL")(error.into()))?;
        let retry = RetryConfig { max_retries: 5, retry_timeout: RETRY_TIMEOUT, ..Default::default() };
        let opened = match scheme {
            "s3" => {
                let s3 = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                    .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ReadTimeout), READ_TIMEOUT)
                    .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp), allow_http("AWS_ENDPOINT"))
                    .with_retry(retry);
                let checked = s3.clone().with_checksum_algorithm(Checksum::CRC64NVME);
                s3.build().and_then(|store| {
                    let signer: Arc<dyn Signer> = Arc::new(store.clone());
                    let checked = Some(CheckedUploads::new(checked.build()?, must_not_check()));
                    Ok(Self { signer: Some(signer), checked, ..Self::with_store(store, prefix, memory_bytes) })
                })
            }
            "gs" => GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                .with_config(GoogleConfigKey::Client(ClientConfigKey::ReadTimeout), READ_TIMEOUT)
                .with_retry(retry)
                .build()
                .map(|store| Self::with_store(store, prefix, memory_bytes)),
            "az" => MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                .with_config(AzureConfigKey::Client(ClientConfigKey::ReadTimeout), READ_TIMEOUT)
                .with_config(AzureConfigKey::Client(ClientConfigKey::AllowHttp), allow_http("AZURE_STORAGE_ENDPOINT"))
                .with_retry(retry)
                .build()
                .map(|store| Self::with_store(store, prefix, memory_bytes)),
            _ => return Err(Error::Lost(format!("{url} is not an object store: use s3://, gs:// or az://"))),
        };
        opened.map_err(failed("open the object store"))
    }

    /// A store in this process's memory, for tests.
    pub fn in_memory(memory_bytes: u64) -> Self {
        Self { part_limits: PartLimits::NONE, ..Self::with_store(InMemory::new(), Path::default(), memory_bytes) }
    }
}

/// Whether new uploads must do without checksums. The variable is that of Amazon's own libraries, for stores that accept none.
fn must_not_check() -> bool {
    std::env::var("AWS_REQUEST_CHECKSUM_CALCULATION").is_ok_and(|value| value.eq_ignore_ascii_case("when_required"))
}

/// Allows HTTP without TLS if an endpoint variable says `http://`, as for a store on the same machine or network.
fn allow_http(endpoint: &str) -> String {
    let starts = |text: &std::ffi::OsStr, with: &str| text.to_string_lossy().starts_with(with);
    std::env::vars_os().any(|(name, value)| starts(&name, endpoint) && starts(&value, "http://")).to_string()
}
