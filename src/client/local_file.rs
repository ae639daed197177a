//! The file on this side.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::domain::{Part, Sha256Digest};

const BLOCK_BYTES: usize = 256 * 1024;

/// A file that is to be uploaded.
#[derive(Clone, Debug)]
pub struct LocalFile {
    path: PathBuf,
    /// Its name, without its folder.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    modified: Option<SystemTime>,
    file: Arc<File>,
}

impl LocalFile {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let name = path.canonicalize()?.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (size_bytes, modified) = (metadata.len(), metadata.modified().ok());
        Ok(Self { path: path.to_owned(), name, size_bytes, modified, file: Arc::new(file) })
    }

    /// Its media type, guessed from its name.
    pub fn content_type(&self) -> String {
        mime_guess::from_path(&self.name).first_or_octet_stream().essence_str().to_owned()
    }

    /// Whether somebody wrote to it since it was opened.
    pub fn has_changed(&self) -> bool {
        let same = |now: Metadata| now.len() == self.size_bytes && now.modified().ok() == self.modified;
        !std::fs::metadata(&self.path).is_ok_and(same)
    }

    /// The SHA-256 of a part of it.
    pub async fn sha256(&self, part: Part) -> io::Result<Sha256Digest> {
        let file = Arc::clone(&self.file);
        let hashing = tokio::task::spawn_blocking(move || {
            let (mut hasher, mut block) = (Sha256::new(), vec![0; BLOCK_BYTES]);
            let (mut offset, end) = (part.offset_bytes, part.offset_bytes + part.size_bytes);
            while offset < end {
                let wanted = usize::try_from(end - offset).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
                file.read_exact_at(&mut block[..wanted], offset)?;
                hasher.update(&block[..wanted]);
                offset += wanted as u64;
            }
            Ok(hasher.into())
        });
        hashing.await.map_err(io::Error::other)?
    }

    /// A part of it, read as it is sent: a part can be larger than one would like to hold in memory.
    pub async fn read(
        &self,
        part: Part,
        on_read: impl Fn(usize) + Send + 'static,
    ) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
        let mut file = tokio::fs::File::open(&self.path).await?;
        file.seek(io::SeekFrom::Start(part.offset_bytes)).await?;
        let blocks = ReaderStream::with_capacity(file.take(part.size_bytes), BLOCK_BYTES);
        Ok(blocks.inspect_ok(move |block| on_read(block.len())))
    }
}
