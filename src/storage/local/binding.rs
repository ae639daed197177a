//! The file that keeps the folder's id.

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

/// Writes the id under another name first, so that it is whole or not there. Answers the id that is kept.
pub(super) async fn write(root: PathBuf, id: Uuid, replace: bool) -> Result<Uuid> {
    let path = root.join(BINDING);
    let written = {
        let path = path.clone();
        off_thread(move || {
            let failed = || Error::io(format!("write {}", path.display()));
            // Of several at once, each has a name of its own: the id is the same for all.
            let unfinished = path.with_added_extension(Uuid::now_v7().to_string());
            let mut options = OpenOptions::new();
            let file = options.create(true).truncate(true).write(true).mode(0o600).open(&unfinished);
            let mut file = file.map_err(failed())?;
            writeln!(file, "{id}").and_then(|()| file.sync_all()).map_err(failed())?;
            let kept = if replace { fs::rename(&unfinished, &path) } else { fs::hard_link(&unfinished, &path) };
            let _ = fs::remove_file(&unfinished);
            match kept {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                kept => kept.map_err(failed()),
            }?;
            sync_dir(&root)?;
            Ok(root)
        })
        .await?
    };
    read(written).await?.ok_or_else(|| Error::Lost(format!("{} was written and is not there", path.display())))
}
