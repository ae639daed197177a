//! What callers hold open at the same time: streams, and sockets.
//!
//! Owns the counts, by owner and by narrow token. Does not own the limits: those belong to whom a caller asks for a permit.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::domain::Principal;

/// A caller with a token for one upload may use this share of the limit, so that such a token in a page does not stop the
/// owner's other clients.
const NARROW_SHARE: u64 = 8;

/// The number of open things of each caller. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct OpenCounts(Arc<Mutex<HashMap<Principal, u64>>>);

/// The right to one open thing. Dropping it frees that.
#[derive(Debug)]
pub struct OpenPermit {
    counts: OpenCounts,
    counted: Vec<Principal>,
}

impl OpenCounts {
    /// A permit for one more open thing of a caller whose owner may have `limit`.
    ///
    /// # Errors
    /// The limit that the owner, or the caller with a narrow token, has reached.
    pub fn permit(&self, principal: &Principal, limit: u64) -> Result<OpenPermit, u64> {
        let owner = Principal::of_owner(principal.counted_as().clone());
        let mut limits = vec![(owner, limit)];
        if principal.for_everything().is_none() {
            limits.push((principal.clone(), (limit / NARROW_SHARE).max(1)));
        }
        let mut counts = self.0.lock();
        let is_full = |(caller, limit): &&(Principal, u64)| counts.get(caller).is_some_and(|count| count >= limit);
        if let Some((_, limit)) = limits.iter().find(is_full) {
            return Err(*limit);
        }
        let counted: Vec<Principal> = limits.into_iter().map(|(caller, _)| caller).collect();
        for caller in &counted {
            *counts.entry(caller.clone()).or_default() += 1;
        }
        Ok(OpenPermit { counts: self.clone(), counted })
    }
}

impl OpenCounts {
    /// The number of open things of all callers.
    pub(super) fn total(&self) -> u64 {
        // A caller with a narrow token is also counted for its owner.
        self.0.lock().iter().filter(|(caller, _)| caller.for_everything().is_some()).map(|(_, count)| count).sum()
    }
}

impl Drop for OpenPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock();
        for caller in &self.counted {
            if let Some(count) = counts.get_mut(caller) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(caller);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{FileId, OwnerName, SessionId};

    #[test]
    fn a_token_for_one_upload_has_a_share_of_the_limit_of_its_owner() {
        let counts = OpenCounts::default();
        let owner = OwnerName::parse("alice").unwrap();
        let everything = Principal::of_owner(owner.clone());
        let page = Principal::of_upload(owner, SessionId(Uuid::now_v7()), FileId(Uuid::now_v7()));
        let held: Vec<OpenPermit> = (0..2).map(|_| counts.permit(&page, 16).unwrap()).collect();
        assert_eq!(counts.permit(&page, 16).unwrap_err(), 2);
        assert_eq!(counts.total(), 2, "each is counted once");
        let owners: Vec<OpenPermit> = (0..14).map(|_| counts.permit(&everything, 16).unwrap()).collect();
        assert_eq!(counts.permit(&everything, 16).unwrap_err(), 16);
        drop(held);
        assert_eq!(counts.0.lock().len(), 1, "the page has nothing open");
        assert!(counts.permit(&page, 16).is_ok());
        drop(owners);
        assert!(counts.0.lock().is_empty());
    }
}
