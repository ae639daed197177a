//! Reading bytes back: a stored file's content, and the bytes of a running upload for its checksum.

use std::{
    fs::File,
    io::{self, ErrorKind, SeekFrom},
    ops::Range,
    os::unix::fs::FileExt,
};

use bytes::Bytes;
use futures_util::{Stream, stream::BoxStream};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{Error, LocalDisk, Result, off_thread};
use crate::domain::Session;

const BLOCK_BYTES: usize = 256 * 1024;

/// A file's bytes as they are read.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

impl LocalDisk {
    /// Reads these bytes of a stored file.
    pub async fn read(
        &self,
        location: &str,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
        let path = self.stored(location);
        let failed = || Error::io(format!("read {}", path.display()));
        let mut file = tokio::fs::File::open(&path).await.map_err(failed())?;
        file.seek(SeekFrom::Start(range.start)).await.map_err(failed())?;
        Ok(ReaderStream::with_capacity(file.take(range.end - range.start), BLOCK_BYTES))
    }

    /// Feeds these bytes of a session to `hasher`, whether its file is still in `uploading/` or was renamed already.
    pub async fn hash(&self, session: &Session, mut hasher: Sha256, range: Range<u64>) -> Result<Sha256> {
        let paths = [self.uploading(session.id), self.stored(&format!("stored/{}", session.file_id.0))];
        off_thread(move || {
            let failed = || Error::io(format!("read {}", paths[0].display()));
            let file = match File::open(&paths[0]) {
                Err(missing) if missing.kind() == ErrorKind::NotFound => File::open(&paths[1]),
                opened => opened,
            }
            .map_err(failed())?;
            let mut block = vec![0; BLOCK_BYTES];
            let mut offset = range.start;
            while offset < range.end {
                let wanted = usize::try_from(range.end - offset).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
                file.read_exact_at(&mut block[..wanted], offset).map_err(failed())?;
                hasher.update(&block[..wanted]);
                offset += wanted as u64;
            }
            Ok(hasher)
        })
        .await
    }
}
