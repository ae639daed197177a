//! The JSON bodies of the list of files.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    domain::{FilePage, FileStatus},
    error::{Error, Result},
    http::{FileRecordBody, openapi::Filename},
};

/// `GET /files`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct FilesParams {
    /// Only files with exactly this name, compared in Unicode normal form C.
    #[param(value_type = Option<Filename>)]
    pub(in crate::rest) original_filename: Option<String>,
    /// Only files with this status.
    #[param(value_type = Option<FileStatus>)]
    pub(in crate::rest) status: Option<String>,
    /// The number of files on a page. A larger number counts as 100.
    #[param(format = "uint64", minimum = 1, maximum = 18_446_744_073_709_551_615_u64, default = 20)]
    pub(in crate::rest) limit: Option<u64>,
    /// The `next` of the page before.
    #[param(format = Uuid)]
    pub(in crate::rest) after: Option<String>,
}

/// A page of files. The limits of a page, of a name and of metadata bound its length: 2 MiB.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FilePage, description = "A page of files, newest first.")]
pub(in crate::rest) struct FilesBody {
    files: Vec<FileRecordBody>,
    /// The cursor of the next page; null if there are no more. It is not the id of a file.
    #[schema(required)]
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
