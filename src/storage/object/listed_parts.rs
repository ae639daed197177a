//! Asks S3 which parts an upload has, with `ListParts`.
//!
//! Owns this one request, which the crate `object_store` does not offer. The server sends it only after the store has refused
//! to complete an upload. The store keeps the last put of a part, so a delayed put can replace a part after the server has
//! recorded it. The store then has another etag for that part. Does not own what follows: `service/send_again.rs` makes the
//! client send the part again.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use object_store::{
    path::Path,
    signer::{Method, SignedUrlOptions, Signer},
};
use serde::Deserialize;

use super::{ObjectStorage, answers::ANSWER_TIMEOUT};
use crate::domain::{PartRecord, Session};

/// How long a signed URL is valid.
const SIGNED_FOR: Duration = Duration::from_mins(1);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListPartsResult {
    #[serde(default)]
    is_truncated: bool,
    next_part_number_marker: Option<u32>,
    #[serde(rename = "Part", default)]
    parts: Vec<ListedPart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedPart {
    part_number: u32,
    #[serde(rename = "ETag")]
    etag: String,
    size: u64,
}

impl ObjectStorage {
    /// The numbers of the recorded parts that the store does not have or has with another size or etag. `None` if there are
    /// no such parts, or if the store cannot list parts.
    pub(super) async fn find_replaced_parts(&self, session: &Session, parts: &[PartRecord]) -> Option<Vec<u32>> {
        let (signer, upload_id) = (self.signer.as_ref()?, &session.storage_upload.as_ref()?.id);
        let path = self.path(&Self::location(session));
        let listed = match list(&**signer, &path, upload_id).await {
            Ok(listed) => listed,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(session.id = %session.id, %error, "cannot list the parts that the object store has");
                return None;
            }
        };
        let is_as_recorded = |record: &PartRecord| {
            listed.get(&record.part.number).is_some_and(|found| {
                let recorded = record.storage_etag.as_deref().unwrap_or_default();
                found.size == record.part.size_bytes && unquoted(&found.etag) == unquoted(&etag_of(recorded))
            })
        };
        let replaced: Vec<u32> =
            parts.iter().filter(|record| !is_as_recorded(record)).map(|record| record.part.number).collect();
        (!replaced.is_empty()).then_some(replaced)
    }
}

/// What `object_store` returns for a part that was put with a checksum, as text: its etag and the checksum.
#[derive(Deserialize)]
struct WithChecksum {
    e_tag: String,
}

/// The etag of a part as it was recorded.
fn etag_of(recorded: &str) -> Cow<'_, str> {
    let with_checksum = quick_xml::de::from_str(recorded);
    with_checksum.map_or(Cow::Borrowed(recorded), |found: WithChecksum| Cow::Owned(found.e_tag))
}

/// An etag without quotes. Some stores omit the quotes in lists.
fn unquoted(etag: &str) -> &str {
    etag.trim_matches('"')
}

async fn list(signer: &dyn Signer, path: &Path, upload_id: &str) -> anyhow::Result<HashMap<u32, ListedPart>> {
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build()?;
    let (mut listed, mut marker) = (HashMap::new(), 0);
    loop {
        let query = [("uploadId", upload_id.to_owned()), ("part-number-marker", marker.to_string())];
        let options = SignedUrlOptions::default().with_query(query);
        let url = signer.signed_url_opts(Method::GET, path, SIGNED_FOR, &options).await?;
        let answer = client.get(url).send().await.map_err(reqwest::Error::without_url)?;
        let text = answer.error_for_status().map_err(reqwest::Error::without_url)?.text().await?;
        let page: ListPartsResult = quick_xml::de::from_str(&text)?;
        listed.extend(page.parts.into_iter().map(|part| (part.part_number, part)));
        match page.next_part_number_marker.filter(|next| page.is_truncated && *next > marker) {
            Some(next) => marker = next,
            None => return Ok(listed),
        }
    }
}
