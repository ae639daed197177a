//! The file `partway.id`, which binds the folder to its database.
//!
//! Owns reading the file and replacing it atomically. Does not own the comparison with the database: that is
//! `service/bind.rs`.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use uuid::Uuid;

use super::super::{BINDING, parse_binding};
use super::{Error, Result, off_thread, sync_dir};

pub(super) async fn read(root: PathBuf) -> Result<Option<Uuid>> {
    let path = root.join(BINDING);
    off_thread(move || match fs::read(&path) {
        Ok(bytes) => parse_binding(path.display(), &String::from_utf8_lossy(&bytes)).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("read {}", path.display()))(error)),
    })
    .await
}

/// Writes the id to a temporary file and then links or renames it, so that the final file is never incomplete. Without
/// `replace`, an existing file is kept. Returns the id that the file then contains.
pub(super) async fn write(root: PathBuf, id: Uuid, replace: bool) -> Result<Uuid> {
    let path = root.join(BINDING);
    let written = {
        let path = path.clone();
        off_thread(move || {
            let failed = || Error::io(format!("write {}", path.display()));
            // Concurrent starts must not share a temporary file, so each gets a unique name.
            let unfinished = path.with_added_extension(Uuid::now_v7().to_string());
            let mut options = OpenOptions::new();
            let file = options.create(true).truncate(true).write(true).mode(0o600).open(&unfinished);
            let mut file = file.map_err(failed())?;
            writeln!(file, "{id}").and_then(|()| file.sync_all()).map_err(failed())?;
            let placed = if replace { fs::rename(&unfinished, &path) } else { fs::hard_link(&unfinished, &path) };
            let _ = fs::remove_file(&unfinished);
            match placed {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                placed => placed.map_err(failed()),
            }?;
            sync_dir(&root)?;
            Ok(root)
        })
        .await?
    };
    read(written)
        .await?
        .ok_or_else(|| Error::Lost(format!("{} is missing directly after it was written", path.display())))
}
