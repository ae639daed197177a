//! Reads bytes back: a stored file's content, and the bytes of an unfinished upload for its digest.
//!
//! Owns reading. Does not own where a file is: the paths come from the parent module.

use std::{
    fs::File,
    io::{self, ErrorKind, SeekFrom},
    ops::Range,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use bytes::Bytes;
use futures_util::Stream;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    super::{
        Compared,
        compare::{PartComparer, byte_range},
        expect_size,
    },
    Result,
    dir_entries::lost_or,
    off_thread,
};
use crate::domain::PartRecord;

const BLOCK_BYTES: usize = 256 * 1024;

/// Streams a range of the first of these files that exists. Fails with `Error::Lost` if its size is not `size_bytes`.
pub(super) async fn read(
    paths: [PathBuf; 3],
    size_bytes: u64,
    range: Range<u64>,
) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
    let path = paths[0].clone();
    let failed = |error| lost_or(error, "read", &path);
    let mut file = tokio::fs::File::from_std(off_thread(move || open(&paths)).await?);
    let found = file.metadata().await.map_err(failed)?.len();
    expect_size(path.display(), found, size_bytes)?;
    file.seek(SeekFrom::Start(range.start)).await.map_err(failed)?;
    Ok(ReaderStream::with_capacity(file.take(range.end - range.start), BLOCK_BYTES))
}

/// Feeds a range of a session's file to `hasher`, with `update`.
pub(super) async fn hash<H: Send + 'static>(
    paths: [PathBuf; 3],
    mut hasher: H,
    update: fn(&mut H, &[u8]),
    range: Range<u64>,
) -> Result<H> {
    off_thread(move || {
        read_blocks(&paths, range, |block| update(&mut hasher, block))?;
        Ok(hasher)
    })
    .await
}

/// Feeds consecutive parts to `hasher` and compares each part with its digest.
pub(super) async fn compare(paths: [PathBuf; 3], hasher: Sha256, parts: &[PartRecord]) -> Result<Compared> {
    let (mut comparer, range) = (PartComparer::new(hasher, parts), byte_range(parts));
    off_thread(move || {
        read_blocks(&paths, range, |block| comparer.push(block))?;
        Ok(comparer.finish())
    })
    .await
}

/// Opens the first of these files that exists. Its path must be in the order in which files move, so that a file that moves
/// meanwhile is found.
fn open(paths: &[PathBuf; 3]) -> Result<File> {
    let is_missing =
        |opened: &io::Result<File>| opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    let mut opened = paths.iter().map(File::open);
    let found = opened.find(|opened| !is_missing(opened));
    found.unwrap_or_else(|| Err(ErrorKind::NotFound.into())).map_err(|error| lost_or(error, "read", &paths[0]))
}

/// Reads a range of the first of these files that exists. Passes blocks of at most `BLOCK_BYTES` to `consume`.
fn read_blocks(paths: &[PathBuf; 3], range: Range<u64>, mut consume: impl FnMut(&[u8])) -> Result<()> {
    let failed = |error| lost_or(error, "read", &paths[0]);
    let file = open(paths)?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut offset = range.start;
    while offset < range.end {
        let len = usize::try_from(range.end - offset).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        file.read_exact_at(&mut block[..len], offset).map_err(failed)?;
        consume(&block[..len]);
        offset += len as u64;
    }
    Ok(())
}
