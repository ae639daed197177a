//! What the arguments of an upload name.
//!
//! Owns which files a command uploads: those that are given, and those in given folders. Does not open them.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use crate::{
    cli::output::note,
    client::{FolderEntry, folder_entries, upload_name},
};

/// The files to upload, and what is not one.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) files: Vec<Input>,
    /// Entries of folders that are no files, and what they are.
    pub(super) skipped: Vec<(String, &'static str)>,
    /// Entries of folders that cannot be read.
    pub(super) unreadable: Vec<(String, io::Error)>,
    /// Whether the files of a folder are uploaded.
    pub(super) has_folder: bool,
}

/// A file to upload.
#[derive(Debug)]
pub(super) struct Input {
    /// How messages and results name it: its path, with percent-encoded bytes where text cannot show it.
    pub(super) shown: String,
    /// Its size as far as it is known before it is opened.
    pub(super) size_bytes: u64,
    pub(super) source: Source,
}

#[derive(Debug)]
pub(super) enum Source {
    /// A path, and the path from the given folder on.
    Path { path: PathBuf, relative: Option<String> },
    /// A folder without `--recursive`.
    Folder,
    /// Standard input.
    Input,
}

impl Inputs {
    /// The files that the arguments name, in their order. A folder may be a symbolic link; links in folders are followed only
    /// with `follow_links`.
    pub(super) fn of(arguments: &[PathBuf], recursive: bool, follow_links: bool) -> Self {
        let (mut inputs, mut known) = (Self::default(), HashSet::new());
        for path in arguments {
            if path.as_os_str() == "-" {
                inputs.files.push(Input { shown: "-".to_owned(), size_bytes: 0, source: Source::Input });
                continue;
            }
            // The same file may be given under several names, and is then stored under each of them.
            let identity = path.canonicalize().ok().map(|place| (place, path.file_name().map(upload_name)));
            if identity.is_some_and(|identity| !known.insert(identity)) {
                note(format_args!("{} is given twice; uploading it once", shown(path)));
            } else if path.is_dir() && recursive {
                inputs.add_folder(path, follow_links);
            } else {
                inputs.add(path);
            }
        }
        inputs
    }

    fn add(&mut self, path: &Path) {
        let is_folder = path.is_dir();
        let source = if is_folder { Source::Folder } else { Source::Path { path: path.to_owned(), relative: None } };
        let size_bytes = path.metadata().ok().filter(|_| !is_folder).map_or(0, |metadata| metadata.len());
        self.files.push(Input { shown: shown(path), size_bytes, source });
    }

    fn add_folder(&mut self, folder: &Path, follow_links: bool) {
        self.has_folder = true;
        for entry in folder_entries(folder, follow_links) {
            match entry {
                FolderEntry::File { path, relative, size_bytes } => {
                    let source = Source::Path { relative: Some(relative), path: path.clone() };
                    self.files.push(Input { shown: shown(&path), size_bytes, source });
                }
                FolderEntry::Other { path, what } => self.skipped.push((shown(&path), what)),
                FolderEntry::Unreadable { path, error } => self.unreadable.push((shown(&path), error)),
            }
        }
    }
}

/// A path as text. What is not valid UTF-8, and control characters, are percent-encoded.
fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text += &crate::cli::output::plain(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    text
}
