//! Tails: the first bytes of a part, which a later append continues.
//!
//! Owns the objects below `tails/<session>/`. An object store takes only whole parts and returns none of them before the file
//! is complete, so a tail is an object of its own. Each tail has a new name, and the database decides which one is valid: so
//! no request can overwrite the tail of another. Does not own the buffer of a part: that is `part_writer`.

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use uuid::Uuid;

use super::{
    ObjectStorage,
    answers::{ANSWER_TIMEOUT, failed, with_timeout},
    unless_missing,
};
use crate::{
    domain::{SessionId, Sha256Digest, Tail},
    storage::{Error, Result},
};

const TAILS: &str = "tails";

impl ObjectStorage {
    /// The location of a new tail.
    pub(super) fn new_tail(session: SessionId) -> String {
        format!("{TAILS}/{session}/{}", Uuid::now_v7())
    }

    /// Reads a tail. Fails with [`Error::Lost`] if it is missing or has other bytes.
    pub(super) async fn read_tail(&self, tail: &Tail) -> Result<Bytes> {
        let location = tail.location.as_deref().unwrap_or_default();
        let path = self.path(location);
        let read = async { self.objects.get(&path).await?.bytes().await };
        let bytes = with_timeout("read a tail", ANSWER_TIMEOUT, read).await?;
        if bytes.len() as u64 != tail.bytes || Sha256Digest::of(&bytes) != tail.sha256 {
            return Err(Error::Lost(format!("{location} does not have the bytes that were recorded")));
        }
        Ok(bytes)
    }

    /// Deletes all tails of a session.
    pub(super) async fn delete_tails(&self, session: SessionId) -> Result<()> {
        let tails = self.path(TAILS).join(session.to_string());
        let found: Vec<_> = self.objects.list(Some(&tails)).try_collect().await.map_err(failed("list the bucket"))?;
        for tail in found {
            self.delete_tail_at(&tail.location).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_tail_at(&self, path: &Path) -> Result<()> {
        let deleted = async { unless_missing(self.objects.delete(path).await) };
        with_timeout("delete a tail", ANSWER_TIMEOUT, deleted).await.map(drop)
    }

    /// The sessions after this one, or the first ones, that have tails: at most `limit`, in the order of their ids.
    pub(super) async fn sessions_with_tails(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<SessionId>> {
        let (tails, mut found) = (self.path(TAILS), Vec::new());
        // After all tails of the session: `0` is the character after `/`.
        let listed = match after {
            Some(id) => self.objects.list_with_offset(Some(&tails), &self.path(&format!("{TAILS}/{id}0"))),
            None => self.objects.list(Some(&tails)),
        };
        let reading = async {
            let mut listed = listed;
            while let Some(tail) = listed.try_next().await? {
                let mut path = tail.location.parts().rev().skip(1);
                let session = path.next().and_then(|name| name.as_ref().parse().ok());
                let Some(session) = session.filter(|session| found.last() != Some(session)) else { continue };
                if found.len() == limit {
                    break;
                }
                found.push(session);
            }
            Ok(())
        };
        with_timeout("list the bucket", ANSWER_TIMEOUT, reading).await?;
        Ok(found)
    }
}
