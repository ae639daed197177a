//! The result of an upload of one file or of many.
//!
//! Owns what is printed for each file, the sums at the end, and the exit code. Standard output has the stored files, and in
//! JSON all of them; standard error has what failed.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

use super::inputs::{Input, Inputs};
use crate::{
    cli::{
        exit::{self, Exit},
        output::{self, NOTHING, OutputError, note},
        progress::Uploads,
    },
    client::{FileBody, Outcome},
};

/// What has become of the files.
pub(super) struct Report {
    /// The result of one file is a block of lines; that of many is a line for each.
    is_single: bool,
    progress: Arc<Uploads>,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    stored: usize,
    already_stored: usize,
    skipped: usize,
    failures: Vec<Exit>,
    not_tried: usize,
    /// The error that no file can be uploaded after.
    end: Option<Exit>,
    has_lost_output: bool,
}

impl Report {
    /// Reports what is no file at once.
    pub(super) fn new(inputs: &Inputs, is_single: bool, progress: Arc<Uploads>) -> Self {
        let report = Self { is_single, progress, counts: Mutex::default() };
        for (shown, what) in &inputs.skipped {
            report.progress.beside(|| note(format_args!("skipped {shown}: {what}")));
            report.print(|| {
                output::result(json!({ "source": shown, "result": "skipped", "reason": what }), NOTHING, NOTHING)
            });
        }
        report.counts.lock().skipped = inputs.skipped.len();
        for (shown, problem) in &inputs.unreadable {
            report.fail(shown, &anyhow::anyhow!("{problem}"), false);
        }
        if inputs.files.is_empty() && inputs.unreadable.is_empty() {
            note("There are no files to upload.");
        }
        report
    }

    /// Whether an error has ended the command, and no other file may be started.
    pub(super) fn has_ended(&self) -> bool {
        self.counts.lock().end.is_some()
    }

    pub(super) fn not_tried(&self, input: &Input) {
        self.counts.lock().not_tried += 1;
        self.print(|| output::result(json!({ "source": input.shown, "result": "not_tried" }), NOTHING, NOTHING));
    }

    /// Reports a file whose upload has failed. With `ends_all`, no other file can be uploaded either.
    pub(super) fn failed(&self, input: &Input, error: &anyhow::Error, ends_all: bool) {
        self.fail(&input.shown, error, ends_all);
    }

    fn fail(&self, shown: &str, error: &anyhow::Error, ends_all: bool) {
        let exit = Exit::of(error);
        self.progress.beside(|| output::error(format_args!("error: {shown}: {error:#}")));
        let json = json!({ "source": shown, "result": "failed", "error": exit::to_json(error) });
        self.print(|| output::result(json, NOTHING, NOTHING));
        let mut counts = self.counts.lock();
        counts.failures.push(exit);
        counts.end = counts.end.or(Some(exit).filter(|_| ends_all));
    }

    pub(super) fn stored(&self, input: &Input, outcome: &Outcome) {
        let (file, result) = (&outcome.session.file, if outcome.is_new { "stored" } else { "already_stored" });
        if !outcome.is_new && self.is_single {
            self.progress.clear();
            note("Already stored: every part on the server matches this file. To store it again, add --new.");
        }
        let json = json!({
            "source": input.shown, "result": result, "session_id": outcome.session.session_id,
            "path": file.metadata.path(), "file": file,
        });
        let text = if self.is_single { block(file) } else { format!("{}  {}", file.file_id, input.shown) };
        self.print(|| output::result(json, Some(&file.file_id), Some(text)));
        let mut counts = self.counts.lock();
        if outcome.is_new { counts.stored += 1 } else { counts.already_stored += 1 }
    }

    /// Prints a result. If that fails, the uploads go on.
    fn print(&self, result: impl FnOnce() -> Result<(), OutputError>) {
        if let Err(error) = self.progress.beside(result)
            && !std::mem::replace(&mut self.counts.lock().has_lost_output, true)
        {
            note(format_args!("The uploads go on, but {error}"));
        }
    }

    /// Prints the sums, and returns how the command ended.
    pub(super) fn end(&self) -> Exit {
        let counts = self.counts.lock();
        let done = counts.stored + counts.already_stored;
        if !self.is_single {
            let sums = [
                (counts.stored, "stored"),
                (counts.already_stored, "already stored"),
                (counts.skipped, "skipped"),
                (counts.failures.len(), "failed"),
                (counts.not_tried, "not tried"),
            ];
            let sums = sums.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
            note(sums.collect::<Vec<_>>().join(", "));
        }
        match (counts.end, counts.failures.as_slice()) {
            (Some(end), _) => end,
            (None, []) => Exit::Done,
            (None, failures) => Exit::of_many(done, failures),
        }
    }
}

fn block(file: &FileBody) -> String {
    let digests =
        [("sha256   ", &file.sha256), ("crc64nvme  ", &file.crc64nvme), ("composite_sha256  ", &file.composite_sha256)];
    let digests = digests.into_iter().filter_map(|(name, digest)| Some(format!("\n{name}{}", digest.as_ref()?)));
    format!("file_id  {}{}", file.file_id, digests.collect::<String>())
}
