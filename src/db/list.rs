//! The lists of an owner's sessions and files.
//!
//! Owns the pages. A page takes one statement, and another one for each time that rows are left out because they are invalid. Does
//! not own which rows a list has, and their indexes: those are in `list_ranges`.

use entity::{upload_file, upload_session};
use sea_orm::{ConnectionTrait, EntityTrait, QuerySelect, SelectTwo};
use uuid::Uuid;

use super::{
    Db, Result,
    error::retry_transient,
    list_ranges::{counted, listed, open},
    rows,
    sessions::joined,
    unreadable::{read_each, read_each_file},
};
use crate::domain::{Direction, FilePage, OwnerName, SessionId, UploadPage, UploadQuery};

type Rows = SelectTwo<upload_session::Entity, upload_file::Entity>;

impl Db {
    /// A page of the owner's sessions, with their files, in one statement. If rows are invalid, it logs them, leaves
    /// them out, and reads more rows in their place.
    pub async fn list_sessions(&self, owner: &OwnerName, query: &UploadQuery) -> Result<UploadPage> {
        let mut page = Page::new(query);
        while page.lacks_rows() {
            let select = listed(joined(), owner, &page.rest, self.read.get_database_backend());
            page.add(read_each(&self.read, &select).await?);
        }
        let (uploads, has_more) = page.finish(query);
        Ok(UploadPage { uploads: uploads.into_iter().map(|(_, upload)| upload).collect(), has_more })
    }

    /// A page of the owner's files, in one statement. Treats invalid rows as [`list_sessions`](Self::list_sessions) does.
    pub async fn list_files(&self, owner: &OwnerName, query: &UploadQuery) -> Result<FilePage> {
        let mut page = Page::new(query);
        while page.lacks_rows() {
            let select = listed(files(), owner, &page.rest, self.read.get_database_backend());
            page.add(read_each_file(&self.read, &select).await?);
        }
        let (files, has_more) = page.finish(query);
        Ok(FilePage { files, has_more })
    }

    /// The versions of the owner's open sessions, oldest first.
    pub async fn open_versions(&self, owner: &OwnerName) -> Result<Vec<(SessionId, u64)>> {
        let columns = [upload_session::Column::Id, upload_session::Column::Version];
        let select = upload_session::Entity::find().select_only().columns(columns);
        let select = open(select, owner, self.read.get_database_backend());
        let rows = retry_transient(|| select.clone().into_tuple::<(Uuid, i64)>().all(&self.read)).await?;
        // Leaves out a row with an invalid version, as lists do.
        let version = |(id, version)| Some((SessionId(id), rows::version(SessionId(id), version).ok()?));
        let mut versions: Vec<_> = rows.into_iter().filter_map(version).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The number of the owner's sessions, and so of their files, that pass the filters. Does not count further than `max + 1`.
    pub async fn count_uploads(&self, owner: &OwnerName, query: &UploadQuery, max: u64) -> Result<u64> {
        let backend = self.read.get_database_backend();
        let query = UploadQuery { limit: max + 1, ..query.clone() };
        let statement = backend.build(&counted(owner, &query, backend));
        let rows = retry_transient(|| self.read.query_all_raw(statement.clone())).await?;
        let count = rows.first().map(|row| row.try_get::<i64>("", "count")).transpose()?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default())
    }
}

/// A page while it is read: one item more than the client gets, to know whether there are more.
struct Page<T> {
    /// What is to be read next.
    rest: UploadQuery,
    items: Vec<(SessionId, T)>,
    is_end: bool,
}

impl<T> Page<T> {
    fn new(query: &UploadQuery) -> Self {
        let rest = UploadQuery { limit: query.limit + 1, ..query.clone() };
        Self { rest, items: Vec::new(), is_end: false }
    }

    fn lacks_rows(&self) -> bool {
        self.rest.limit > 0 && !self.is_end
    }

    fn add(&mut self, found: Vec<(SessionId, Result<T>)>) {
        self.is_end = (found.len() as u64) < self.rest.limit;
        let last = found.last().map(|(id, _)| *id);
        for (id, read) in found {
            match read {
                Ok(item) => {
                    self.items.push((id, item));
                    self.rest.limit -= 1;
                }
                Err(error) => {
                    tracing::error!(session.id = %id, %error, "an upload with an invalid row is left out of a list");
                }
            }
        }
        match self.rest.direction {
            Direction::Forward => self.rest.after = last,
            Direction::Backward => self.rest.before = last,
        }
    }

    /// The items, newest first, and whether there are more.
    fn finish(mut self, query: &UploadQuery) -> (Vec<(SessionId, T)>, bool) {
        let has_more = self.items.len() as u64 > query.limit;
        self.items.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
        if query.direction == Direction::Backward {
            self.items.reverse();
        }
        (self.items, has_more)
    }
}

/// Files with the ids of their sessions. Does not read the other columns of a session, which can be long.
pub(super) fn files() -> Rows {
    let ids = upload_session::Entity::find().select_only().column(upload_session::Column::Id);
    ids.find_also_related(upload_file::Entity)
}
