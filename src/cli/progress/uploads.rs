//! The progress of uploads.
//!
//! Owns what each step of an upload shows. One file shows its session, the comparison and the bytes. Many files share one bar
//! over the bytes of all of them: a file counts as far as the server has it or it has been sent, and as a whole when it has
//! ended.

use std::{ops::Deref, sync::Arc};

use indicatif::HumanBytes;
use parking_lot::Mutex;

use super::Bar;
use crate::{
    cli::output::note,
    client::{Event, SessionBody},
};

/// The progress of all files of one command.
pub(in crate::cli) struct Uploads {
    bar: Bar,
    files: usize,
    ended: Mutex<usize>,
}

/// The progress of one of them.
pub(in crate::cli) struct OneFile {
    all: Arc<Uploads>,
    name: String,
    size_bytes: Mutex<u64>,
    counted: Mutex<u64>,
}

impl Deref for Uploads {
    type Target = Bar;

    fn deref(&self) -> &Bar {
        &self.bar
    }
}

impl Uploads {
    /// The progress of this many files, which have this many bytes.
    pub(in crate::cli) fn new(files: usize, bytes: u64) -> Arc<Self> {
        let all = Self { bar: Bar::new(), files, ended: Mutex::new(0) };
        if files > 1 {
            all.bar.start(bytes, "");
            all.show_count(0);
        }
        Arc::new(all)
    }

    /// The progress of the file with this name, which has this many bytes of those of all.
    pub(in crate::cli) fn of_file(self: &Arc<Self>, name: &str, size_bytes: u64) -> OneFile {
        let (size_bytes, counted) = (Mutex::new(size_bytes), Mutex::new(0));
        OneFile { all: Arc::clone(self), name: name.to_owned(), size_bytes, counted }
    }

    fn show_count(&self, ended: usize) {
        self.bar.bar().set_prefix(format!("{ended} of {} files", self.files));
    }
}

impl OneFile {
    /// Shows that standard input is read.
    pub(in crate::cli) fn reading_input(&self) {
        if self.all.files == 1 {
            self.all.bar.start_spinner("reading standard input");
        }
    }

    /// Shows an event of the upload.
    pub(in crate::cli) fn show(&self, event: Event) {
        match event {
            Event::Retrying { reason } => self.all.bar.retry(&reason),
            Event::NewSession { replaces } => {
                self.note(&format!("Session {replaces} does not hold this file, or not any more; creating a new one"));
            }
            Event::NotComparable { session } => {
                let why = "the server has no digests of it any more, so it may be another file; sending this file";
                self.note(&format!("Session {session} has a file of this name and size, but {why}"));
            }
            event if self.all.files == 1 => self.show_step(event),
            Event::Sending(session) => self.count(true, |_| session.bytes_received),
            Event::Sent { bytes } => self.count(false, |before| before + bytes),
            Event::Lost { bytes } => self.count(false, |before| before.saturating_sub(bytes)),
            Event::Comparing { .. } | Event::Compared { .. } | Event::Finalizing => {}
        }
    }

    /// The only file.
    fn show_step(&self, event: Event) {
        let bar = &self.all.bar;
        match event {
            Event::Comparing { bytes } => bar.start(bytes, "comparing"),
            Event::Compared { bytes } | Event::Sent { bytes } => bar.bar().inc(bytes),
            Event::Lost { bytes } => bar.bar().dec(bytes),
            Event::Finalizing => bar.start_spinner("finalizing"),
            Event::Sending(session) => {
                bar.clear();
                note(headline(&session));
                bar.start(session.total_size_bytes, "sending");
                let bar = bar.bar();
                bar.set_position(session.bytes_received);
                // The rate and the remaining time must not include the bytes of earlier runs.
                bar.reset_eta();
            }
            Event::Retrying { .. } | Event::NewSession { .. } | Event::NotComparable { .. } => {}
        }
    }

    fn note(&self, line: &str) {
        if self.all.files == 1 {
            self.all.bar.clear();
            note(line);
        } else {
            self.all.bar.beside(|| note(format_args!("{}: {line}", self.name)));
        }
    }

    /// The size of a file that was not known before.
    pub(in crate::cli) fn has_size(&self, size_bytes: u64) {
        if self.all.files > 1 {
            let before = std::mem::replace(&mut *self.size_bytes.lock(), size_bytes);
            self.all.bar.bar().inc_length(size_bytes.saturating_sub(before));
        }
    }

    /// Counts the file as a whole: it is stored, or has failed.
    pub(in crate::cli) fn end(&self, was_sent: bool) {
        if self.all.files > 1 {
            let size_bytes = *self.size_bytes.lock();
            self.count(!was_sent, |_| size_bytes);
            let mut ended = self.all.ended.lock();
            *ended += 1;
            self.all.show_count(*ended);
        }
    }

    /// Changes how much of the file counts. Bytes that were not sent now must not raise the rate.
    fn count(&self, is_jump: bool, now: impl FnOnce(u64) -> u64) {
        let mut counted = self.counted.lock();
        let before = *counted;
        let now = now(before);
        *counted = now;
        let bar = self.all.bar.bar();
        bar.inc(now.saturating_sub(before));
        bar.dec(before.saturating_sub(now));
        if is_jump && now > before {
            bar.reset_eta();
        }
    }
}

fn headline(session: &SessionBody) -> String {
    let (id, total) = (&session.session_id, session.total_parts);
    match session.completed_parts {
        0 => format!("Session {id}: {total} parts, {}", HumanBytes(session.total_size_bytes)),
        done => format!(
            "Session {id}: the server has {done} of {total} parts, {} left",
            HumanBytes(session.total_size_bytes - session.bytes_received)
        ),
    }
}
