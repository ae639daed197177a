//! The keys of the identity provider, in a file or at an address.
//!
//! Owns when the server reads the key set again: for a key id that it does not know, but not more often than each 10 seconds,
//! so that made-up ids cause no load; and after 15 minutes, so that a key that the provider has withdrawn stops working. If the
//! provider does not answer, the last set stays in use.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use chrono::TimeDelta;
use jsonwebtoken::Algorithm;
use parking_lot::RwLock;
use reqwest::{Url, redirect};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    JwtSettings, Refused,
    keys::{self, Key},
};
use crate::{
    domain::{Timestamp, is_younger},
    tls,
};

const MIN_INTERVAL: TimeDelta = TimeDelta::seconds(10);
const MAX_AGE: TimeDelta = TimeDelta::minutes(15);
const TIMEOUT: Duration = Duration::from_secs(5);
/// A larger answer is no key set.
const MAX_BYTES: usize = 1024 * 1024;

/// Where keys come from.
#[derive(Debug)]
pub(super) enum KeySet {
    /// One key that never changes.
    File(Key),
    /// A set that the provider publishes.
    Published(Box<Published>),
}

/// A set at an address.
#[derive(Debug)]
pub(super) struct Published {
    http: reqwest::Client,
    url: Url,
    known: RwLock<Option<Known>>,
    /// When the server last asked. The lock lets one request ask at a time; the others wait for its answer.
    asked_at: Mutex<Option<Timestamp>>,
}

#[derive(Clone, Debug)]
struct Known {
    keys: Arc<[Key]>,
    read_at: Timestamp,
}

impl KeySet {
    pub(super) fn open(settings: &JwtSettings) -> anyhow::Result<Option<Self>> {
        if !settings.jwt_key_file.is_empty() {
            let file = &settings.jwt_key_file;
            let content = std::fs::read(file).with_context(|| format!("jwt_key_file {file}"))?;
            return Ok(Some(Self::File(keys::from_file(&content).with_context(|| format!("jwt_key_file {file}"))?)));
        }
        let Some(url) = settings.url()? else { return Ok(None) };
        tls::use_ring();
        let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).build()?;
        let published = Published { http, url, known: RwLock::default(), asked_at: Mutex::default() };
        Ok(Some(Self::Published(Box::new(published))))
    }

    /// The keys that may have signed a token with this key id and this algorithm.
    ///
    /// # Errors
    /// [`Refused::NoKeys`] if the set could never be read.
    pub(super) async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Vec<Key>, Refused> {
        let fitting =
            |keys: &[Key]| -> Vec<Key> { keys.iter().filter(|key| key.fits(id, algorithm)).cloned().collect() };
        let published = match self {
            Self::File(key) => return Ok(fitting(std::slice::from_ref(key))),
            Self::Published(published) => published,
        };
        let known = published.known();
        let found = known.as_ref().map(|known| fitting(&known.keys)).unwrap_or_default();
        if !found.is_empty() && known.is_some_and(|known| is_younger(known.read_at, MAX_AGE, now)) {
            return Ok(found);
        }
        // If the provider hangs, one request waits for it. The others use the old set if it has their key.
        let one_at_a_time = match published.asked_at.try_lock() {
            Ok(asked_at) => asked_at,
            Err(_) if !found.is_empty() => return Ok(found),
            Err(_) => published.asked_at.lock().await,
        };
        Ok(fitting(&published.read_again(one_at_a_time, now).await?.keys))
    }
}

impl Published {
    fn known(&self) -> Option<Known> {
        self.known.read().clone()
    }

    /// Reads the set, unless another request has just done so. If that fails, returns the last set.
    async fn read_again(
        &self,
        mut asked_at: MutexGuard<'_, Option<Timestamp>>,
        now: Timestamp,
    ) -> Result<Known, Refused> {
        let is_due = asked_at.is_none_or(|at| !is_younger(at, MIN_INTERVAL, now));
        let failure = if is_due {
            *asked_at = Some(now);
            match self.read().await {
                Ok(keys) => {
                    let known = Known { keys: keys.into(), read_at: now };
                    *self.known.write() = Some(known.clone());
                    return Ok(known);
                }
                Err(failure) => {
                    tracing::warn!(url = %self.url, %failure, "the keys of the identity provider cannot be read");
                    failure
                }
            }
        } else {
            "the last attempt has just failed".to_owned()
        };
        self.known().ok_or(Refused::NoKeys(failure))
    }

    async fn read(&self) -> Result<Vec<Key>, String> {
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let mut response = self.http.get(self.url.clone()).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        let mut json = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(failed)? {
            if json.len() + bytes.len() > MAX_BYTES {
                return Err(format!("it has more than {MAX_BYTES} bytes"));
            }
            json.extend_from_slice(&bytes);
        }
        keys::from_set(&json)
    }
}
