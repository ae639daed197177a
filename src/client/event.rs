//! The progress of an upload or a download, for a progress bar.
//!
//! Owns the events. Does not emit them: `resume`, `upload`, `session_upload` and `download` do.

use super::bodies::SessionBody;

/// A step of an upload.
#[derive(Clone, Debug)]
pub enum Event {
    /// The client starts to compare received parts with the local file.
    Comparing {
        /// The bytes in these parts.
        bytes: u64,
    },
    /// A received part has the bytes of the local file.
    Compared {
        /// The bytes in this part.
        bytes: u64,
    },
    /// The client starts to send the missing parts of this session.
    Sending(Box<SessionBody>),
    /// The client sent bytes. The server has not acknowledged their parts yet.
    Sent {
        /// The number of bytes.
        bytes: u64,
    },
    /// A part failed. The client will send its bytes again.
    Lost {
        /// The bytes that the client had already sent.
        bytes: u64,
    },
    /// A request failed. The client will try it again.
    Retrying {
        /// The reason.
        reason: String,
    },
    /// The session holds another file. The client leaves it alone and creates a new one.
    NewSession {
        /// The session that holds another file.
        replaces: String,
    },
    /// The server has a finished upload with this name and size, but neither its parts' digests nor a digest of its file. So the
    /// client cannot tell whether it is this file, and sends the file again.
    NotComparable {
        /// The session of that upload.
        session: String,
    },
    /// The server has all parts. The client asks it to finalize.
    Finalizing,
}

/// A step of a download.
#[derive(Clone, Debug)]
pub enum DownloadEvent {
    /// The client reads the bytes that an earlier run has received.
    Checking {
        /// Their number.
        bytes: u64,
    },
    /// The client has read bytes of an earlier run.
    Checked {
        /// The number of bytes.
        bytes: u64,
    },
    /// The client starts to receive the file.
    Receiving {
        /// How many bytes it has already.
        from: u64,
        /// The size of the file.
        size: u64,
    },
    /// Bytes arrived.
    Received {
        /// The number of bytes.
        bytes: u64,
    },
    /// The client forgets the bytes that it has, and starts to receive the file from its beginning.
    Restarting {
        /// The reason.
        reason: String,
    },
    /// A request failed. The client will try it again.
    Retrying {
        /// The reason.
        reason: String,
    },
}
