//! The HTTP client that resumes uploads. The command line and the tests use it.
//!
//! Owns the requests to a server (`api`, `bodies`, `connection`, `content`, `response`, `error`, `watch`), local files
//! (`local_file`, `local_folder`, `part_file`), the search for an unfinished upload (`resume`), the upload itself (`upload`,
//! `session_upload`, `concurrency`, `sent_bytes`, `retry`) and the download (`download`). Does not use any server code: it
//! depends on the REST contract and on the part arithmetic in `domain`.

mod api;
mod bodies;
mod concurrency;
mod connection;
mod content;
mod download;
mod download_error;
mod error;
mod event;
mod local_file;
mod local_folder;
mod part_file;
mod response;
mod resume;
mod retry;
mod sent_bytes;
mod session_upload;
mod upload;
mod upload_error;
mod watch;

pub use api::{Client, ListFilter};
pub use bodies::{FileBody, FileMetadata, LocalDigests, NewUpload, PATH_KEY, Page, PartBody, SessionBody, Verbatim};
pub use download::{Download, Downloaded, stored_file};
pub use download_error::DownloadError;
pub use error::ClientError;
pub use event::{DownloadEvent, Event};
pub use local_file::{LocalFile, upload_name};
pub use local_folder::{FolderEntry, folder_entries};
pub use part_file::PartFile;
pub use retry::{RetryPolicy, Retryable};
pub use upload::{OnEvent, Outcome, UploadOptions, Uploader};
pub use upload_error::UploadError;

/// The numbers in ranges such as `1-50`. Skips text that is not a range; the server does not send any.
pub fn part_numbers(ranges: &[String]) -> impl Iterator<Item = u32> + '_ {
    let bounds = ranges.iter().filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse::<u32>().ok()?, last.parse::<u32>().ok()?))
    });
    bounds.flat_map(|(first, last)| first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_numbers_reads_the_server_format() {
        let ranges = ["1-3", "7", "9-10"].map(str::to_owned);
        assert_eq!(part_numbers(&ranges).collect::<Vec<_>>(), [1, 2, 3, 7, 9, 10]);
    }
}
