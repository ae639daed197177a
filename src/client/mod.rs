//! The HTTP client that resumes; used by the command line and by tests.
//!
//! Owns speaking to a server (`api`, `bodies`, `answer`, `failure`), looking at the local file (`local_file`), finding an upload
//! that was begun before (`resume`) and sending what is missing (`upload`, `sending`, `departed`, `pace`, `patience`). Knows the
//! server by its REST contract alone: of the rest of the crate it uses the domain's arithmetic of parts, and nothing else.

mod answer;
mod api;
mod bodies;
mod departed;
mod failure;
mod local_file;
mod pace;
mod patience;
mod resume;
mod sending;
mod upload;
mod watch;

pub use api::Client;
pub use bodies::{FileBody, NewUpload, PartBody, SessionBody};
pub use failure::ClientError;
pub use local_file::{LocalFile, upload_name};
pub use patience::{Failure, Patience};
pub use upload::{Event, Outcome, UploadError, UploadOptions, upload};

/// The numbers in ranges such as `1-50`. Text that is no range has none; the server does not send any.
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
    fn ranges_are_read_as_the_server_writes_them() {
        let ranges = ["1-3", "7", "9-10"].map(str::to_owned);
        assert_eq!(part_numbers(&ranges).collect::<Vec<_>>(), [1, 2, 3, 7, 9, 10]);
    }
}
