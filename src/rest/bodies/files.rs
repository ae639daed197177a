//! The JSON bodies of the list of files.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{FilePage, FileStatus},
    error::{Error, Result},
    http::FileRecordBody,
};

/// `GET /files`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct FilesParams {
    pub(in crate::rest) original_filename: Option<String>,
    pub(in crate::rest) status: Option<String>,
    pub(in crate::rest) limit: Option<u64>,
    pub(in crate::rest) after: Option<String>,
}

/// A page of files. The limits of a page, of a name and of metadata bound its length: 2 MiB.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct FilesBody {
    files: Vec<FileRecordBody>,
    next: Option<Uuid>,
}

impl From<FilePage> for FilesBody {
    fn from(page: FilePage) -> Self {
        let next = page.files.last().map(|(cursor, _)| cursor.0).filter(|_| page.has_more);
        Self { files: page.files.into_iter().map(|(_, file)| file.into()).collect(), next }
    }
}

/// Parses the status of a file from a query string.
pub(in crate::rest) fn parse_file_status(name: Option<&str>) -> Result<Option<FileStatus>> {
    let unknown = || Error::invalid("status", "must be one of UPLOADING, STORED, FAILED, DELETED");
    name.map(|name| FileStatus::parse(name).ok_or_else(unknown)).transpose()
}
