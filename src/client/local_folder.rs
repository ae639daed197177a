//! The files of a local folder.
//!
//! Owns which entries of a folder are files to upload, in which order, and the path that each gets. Does not open them: that
//! is `local_file`.

use std::{
    io,
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, WalkDir};

use super::local_file::upload_name;

/// An entry of a folder.
#[derive(Debug)]
pub enum FolderEntry {
    /// A regular file.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its path from the folder on, which begins with the name of the folder. Its parts are joined with `/` on every
        /// system, and encoded like the name of an upload.
        relative: String,
        /// Its size when the folder was read.
        size_bytes: u64,
    },
    /// An entry that is neither a file nor a folder.
    Other {
        /// Where it is.
        path: PathBuf,
        /// What it is, such as `a symbolic link`.
        what: &'static str,
    },
    /// An entry that cannot be read.
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// The error of the operating system, or that a link leads back to a folder that contains it.
        error: io::Error,
    },
}

/// The entries below a folder, and below the folders in it, by name. The folder itself may be a symbolic link. Links in it are
/// followed only with `follow_links`.
pub fn folder_entries(folder: &Path, follow_links: bool) -> impl Iterator<Item = FolderEntry> {
    let root = folder.to_owned();
    // `.`, `..` and `/` have no name.
    let name = folder.file_name().map(upload_name);
    let walk = WalkDir::new(folder).min_depth(1).follow_links(follow_links).follow_root_links(true).sort_by_file_name();
    walk.into_iter().filter_map(move |entry| match entry {
        Ok(entry) if entry.file_type().is_dir() => None,
        Ok(entry) => Some(of_entry(&root, name.as_deref(), entry)),
        Err(error) => {
            let path = error.path().unwrap_or(&root).to_owned();
            Some(FolderEntry::Unreadable { path, error: without_path(error) })
        }
    })
}

fn of_entry(root: &Path, name: Option<&str>, entry: DirEntry) -> FolderEntry {
    let file_type = entry.file_type();
    if !file_type.is_file() {
        let what = if file_type.is_symlink() { "a symbolic link" } else { "no regular file" };
        return FolderEntry::Other { path: entry.into_path(), what };
    }
    let inside = entry.path().strip_prefix(root).unwrap_or(entry.path());
    let parts = inside.iter().map(upload_name);
    let relative = name.map(str::to_owned).into_iter().chain(parts).collect::<Vec<_>>().join("/");
    match entry.metadata() {
        Ok(metadata) => FolderEntry::File { size_bytes: metadata.len(), path: entry.into_path(), relative },
        Err(error) => FolderEntry::Unreadable { path: entry.into_path(), error: without_path(error) },
    }
}

/// The caller prints the path itself.
fn without_path(error: walkdir::Error) -> io::Error {
    match error.loop_ancestor() {
        Some(_) => io::Error::other("a symbolic link that leads to a folder that contains it"),
        None => error.into_io_error().unwrap_or_else(|| io::Error::other("cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn shown(folder: &Path, follow_links: bool) -> Vec<String> {
        let show = |entry| match entry {
            FolderEntry::File { relative, size_bytes, .. } => format!("{relative} {size_bytes}"),
            FolderEntry::Other { path, what } => format!("{} is {what}", path.file_name().unwrap().display()),
            FolderEntry::Unreadable { path, error } => format!("{}: {error}", path.file_name().unwrap().display()),
        };
        folder_entries(folder, follow_links).map(show).collect()
    }

    #[test]
    fn files_are_listed_by_name_with_the_path_from_the_folder_on() {
        let folder = tempfile::tempdir().unwrap();
        let photos = folder.path().join("photos");
        fs::create_dir_all(photos.join("b/empty")).unwrap();
        for (name, text) in [("c", "ccc"), ("b/e\u{301}", "x"), ("a\tb", "")] {
            fs::write(photos.join(name), text).unwrap();
        }
        let found = ["photos/a%09b 0", "photos/b/\u{e9} 1", "photos/c 3"];
        assert_eq!(shown(&photos, false), found);
        assert_eq!(shown(&photos.join("."), false), found);
        assert_eq!(shown(&photos.join("b/.."), false), ["a%09b 0", "b/\u{e9} 1", "c 3"]);
        symlink(&photos, folder.path().join("link")).unwrap();
        assert_eq!(shown(&folder.path().join("link"), false)[2], "link/c 3");
    }

    #[test]
    fn links_are_followed_only_on_request_and_never_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let (photos, other) = (folder.path().join("photos"), folder.path().join("other"));
        for folder in [&photos, &other] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(other.join("x"), "x").unwrap();
        symlink("/nowhere", photos.join("broken")).unwrap();
        symlink(&other, photos.join("folder")).unwrap();
        symlink(&photos, photos.join("loop")).unwrap();
        let link = |name| format!("{name} is a symbolic link");
        assert_eq!(shown(&photos, false), ["broken", "folder", "loop"].map(link));
        let followed = shown(&photos, true);
        assert!(followed[0].starts_with("broken: No such file"), "{followed:?}");
        assert_eq!(followed[1], "photos/folder/x 1");
        assert!(followed[2].starts_with("loop: a symbolic link that leads"), "{followed:?}");
    }
}
