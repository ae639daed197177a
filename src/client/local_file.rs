//! The local file: its name, its size and its bytes.
//!
//! Owns which files can be uploaded, and under which name. Reads through one open descriptor, so that a file that replaces
//! this one under the same name is not mixed in. Does not compare with the server: that is `resume`.

use std::{
    ffi::OsStr,
    fs::{File, FileType, Metadata, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, FileTypeExt, OpenOptionsExt},
    },
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use rustix::fs::OFlags;
use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use super::bodies::PATH_KEY;
use crate::domain::{Digests, Hasher, Part};

/// Number of bytes in one read from the file.
const BLOCK_BYTES: usize = 256 * 1024;
/// Number of bytes in one item of the stream. The client counts the progress in these steps.
const PIECE_BYTES: usize = 16 * 1024;

/// A file to upload.
#[derive(Clone, Debug)]
pub struct LocalFile {
    /// The name of the upload; see [`upload_name`].
    pub name: String,
    /// Its media type, guessed from its name.
    pub content_type: String,
    /// The metadata that the server stores with the file.
    pub metadata: Map<String, Value>,
    /// Its size when it was opened.
    pub size_bytes: u64,
    modified: Option<SystemTime>,
    file: Arc<File>,
}

impl LocalFile {
    /// Opens a regular file.
    ///
    /// # Errors
    /// The error of the operating system, or `InvalidInput` for a folder, a FIFO, a device, a socket, or a file that has more
    /// or fewer bytes than its size, as many files in `/proc` and `/sys` have.
    pub fn open(path: &Path) -> io::Result<Self> {
        refuse_special(std::fs::metadata(path)?.file_type())?;
        let name = upload_name(path.file_name().unwrap_or_default());
        Self::of(open_without_waiting(path)?, name)
    }

    /// A file that is open for reading, under this name. The server must accept the name; see [`upload_name`].
    ///
    /// # Errors
    /// As `open`.
    pub fn of(file: File, name: String) -> io::Result<Self> {
        let metadata = file.metadata()?;
        refuse_special(metadata.file_type())?;
        refuse_wrong_size(&file, metadata.len())?;
        let content_type = mime_guess::from_path(&name).first_or_octet_stream().essence_str().to_owned();
        let (size_bytes, modified) = (metadata.len(), metadata.modified().ok());
        Ok(Self { name, content_type, metadata: Map::new(), size_bytes, modified, file: Arc::new(file) })
    }

    /// Its path in the folder that is uploaded, which the metadata has.
    pub fn path(&self) -> Option<&str> {
        self.metadata.get(PATH_KEY)?.as_str()
    }

    /// Whether the file's size or modification time has changed since it was opened.
    pub fn has_changed(&self) -> bool {
        let same = |now: Metadata| now.len() == self.size_bytes && now.modified().ok() == self.modified;
        !self.file.metadata().is_ok_and(same)
    }

    /// The digests of a part of the file.
    pub async fn digests(&self, part: Part) -> io::Result<Digests> {
        let file = Arc::clone(&self.file);
        let hashing = tokio::task::spawn_blocking(move || {
            let (mut hasher, mut block) = (Hasher::default(), vec![0; BLOCK_BYTES]);
            let (mut offset, end) = (part.offset_bytes, part.offset_bytes + part.size_bytes);
            while offset < end {
                let wanted = usize::try_from(end - offset).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
                file.read_exact_at(&mut block[..wanted], offset)?;
                hasher.update(&block[..wanted]);
                offset += wanted as u64;
            }
            Ok(hasher.finish())
        });
        hashing.await.map_err(io::Error::other)?
    }

    /// Streams a part of the file, because a part may be too large for memory. Calls `on_sent` with the number of bytes in
    /// each item.
    pub fn read(
        &self,
        part: Part,
        on_sent: impl Fn(usize) + Send + 'static,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (file, end) = (Arc::clone(&self.file), part.offset_bytes + part.size_bytes);
        let blocks = stream::try_unfold((file, part.offset_bytes), move |(file, offset)| async move {
            let wanted = usize::try_from(end - offset).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
            if wanted == 0 {
                return Ok(None);
            }
            let reading = tokio::task::spawn_blocking(move || {
                let mut block = vec![0; wanted];
                file.read_exact_at(&mut block, offset)?;
                Ok::<_, io::Error>((Bytes::from(block), (file, offset + wanted as u64)))
            });
            reading.await.map_err(io::Error::other)?.map(Some)
        });
        let pieces = blocks.map_ok(|mut block| {
            let cut = move || (!block.is_empty()).then(|| block.split_to(PIECE_BYTES.min(block.len())));
            stream::iter(std::iter::from_fn(cut).map(Ok))
        });
        pieces.try_flatten().inspect_ok(move |piece| on_sent(piece.len()))
    }
}

fn open_without_waiting(path: &Path) -> io::Result<File> {
    // NONBLOCK: if a FIFO has replaced the file since its type was read, `open` must not wait for a writer. The flag has no
    // effect on a regular file.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn refuse_special(file_type: FileType) -> io::Result<()> {
    let what = match file_type {
        regular if regular.is_file() => return Ok(()),
        folder if folder.is_dir() => "a folder",
        fifo if fifo.is_fifo() => "a named pipe (FIFO)",
        socket if socket.is_socket() => "a socket",
        _ => "a device",
    };
    Err(invalid(format!("this is {what}; only regular files can be uploaded")))
}

/// Files in virtual file systems (`/proc`, `/sys`) have another size than `stat` reports: none, one page, or terabytes.
fn refuse_wrong_size(file: &File, size_bytes: u64) -> io::Result<()> {
    let mut byte = [0];
    let has_byte_at = |offset, byte: &mut [u8; 1]| file.read_at(byte, offset).map(|read| read == 1);
    let wrong = match size_bytes.checked_sub(1) {
        _ if has_byte_at(size_bytes, &mut byte)? => "more",
        Some(last) if !has_byte_at(last, &mut byte)? => "fewer",
        _ => return Ok(()),
    };
    Err(invalid(format!(
        "the file system reports that the file has {size_bytes} bytes, but it has {wrong}; copy it to a regular file and \
         upload the copy"
    )))
}

fn invalid(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

/// The name under which a local file is uploaded. It is in Unicode normal form C, so that an upload can resume from a system
/// that decomposes names (macOS). Bytes that are not UTF-8, control characters, and the blanks of a name of only blanks are
/// percent-encoded, because the server rejects them.
pub fn upload_name(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.extend(chunk.valid().nfc());
        text.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    let is_blank = text.trim().is_empty();
    let mut encoded = String::new();
    for c in text.chars() {
        if c.is_control() || is_blank {
            encoded.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            encoded.push(c);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(bytes: &[u8]) -> String {
        upload_name(OsStr::from_bytes(bytes))
    }

    #[test]
    fn a_plain_name_does_not_change() {
        for name in ["a.bin", "two words.txt", " leading", "100%.txt", "großes bild.png", "日本.zip"] {
            assert_eq!(name_of(name.as_bytes()), name);
        }
    }

    #[test]
    fn both_normal_forms_of_a_name_give_the_same_name() {
        assert_eq!(name_of("e\u{301}te\u{301}".as_bytes()), "\u{e9}t\u{e9}");
        assert_eq!(name_of("\u{1112}\u{1161}\u{11ab}".as_bytes()), "\u{d55c}");
    }

    #[test]
    fn characters_that_the_server_rejects_are_percent_encoded() {
        let encoded = ["a%09b", "a%0Ab", "%7F", "%20%20", "%E2%80%83", "caf%E9", "%C2%85x"];
        let names: [&[u8]; 7] = [b"a\tb", b"a\nb", b"\x7f", b"  ", "\u{2003}".as_bytes(), b"caf\xe9", b"\xc2\x85x"];
        for (name, encoded) in names.iter().zip(encoded) {
            assert_eq!(name_of(name), encoded);
        }
    }

    #[test]
    fn files_with_another_size_than_stat_reports_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"abc").unwrap();
        let file = File::open(&path).unwrap();
        assert!(refuse_wrong_size(&file, 3).is_ok());
        for wrong in [0, 2, 4, 4096] {
            assert_eq!(refuse_wrong_size(&file, wrong).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        std::fs::write(&path, b"").unwrap();
        assert!(refuse_wrong_size(&File::open(&path).unwrap(), 0).is_ok());
    }
}
