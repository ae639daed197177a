//! Which parts a store has of an upload: S3's `ListParts`.
//!
//! Owns the one question that the crate `object_store` does not ask. It is asked only when a store refuses to complete an
//! upload: one that keeps the last put of a part may have got another after the one that was recorded, and then knows the
//! part by another etag.

use std::{collections::HashMap, time::Duration};

use object_store::{
    path::Path,
    signer::{Method, SignedUrlOptions, Signer},
};
use serde::Deserialize;

use super::{ObjectStorage, answers::SILENCE};
use crate::domain::{PartRecord, Session};

/// How long the signature of a question is good for.
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
    /// The parts that the store has otherwise than they were recorded, or not at all. `None` if it has them all, or cannot be
    /// asked.
    pub(super) async fn replaced(&self, session: &Session, parts: &[PartRecord]) -> Option<Vec<u32>> {
        let (signer, upload_id) = (self.signer.as_ref()?, session.storage_upload_id.as_ref()?);
        let path = self.path(&Self::location(session));
        let listed = match list(&**signer, &path, upload_id).await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(session.id = %session.id, error = %format!("{error:#}"), "the store's parts cannot be listed");
                return None;
            }
        };
        let is_as_recorded = |record: &PartRecord| {
            listed.get(&record.part.number).is_some_and(|found| {
                let recorded = record.storage_etag.as_deref().unwrap_or_default();
                found.size == record.part.size_bytes && bare(&found.etag) == bare(recorded)
            })
        };
        let replaced: Vec<u32> =
            parts.iter().filter(|record| !is_as_recorded(record)).map(|record| record.part.number).collect();
        (!replaced.is_empty()).then_some(replaced)
    }
}

/// An etag without its quotes, which some stores leave out of lists.
fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

async fn list(signer: &dyn Signer, path: &Path, upload_id: &str) -> anyhow::Result<HashMap<u32, ListedPart>> {
    let client = reqwest::Client::builder().timeout(SILENCE).build()?;
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
