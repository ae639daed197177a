//! Which database and which storage to use.
//!
//! Owns the meaning of the settings `database` and `storage`. Does not open them: that is `app`.

use std::path::PathBuf;

use anyhow::bail;

use super::StoreSettings;

/// Which database to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseTarget {
    /// SQLite in this file.
    Sqlite(PathBuf),
    /// PostgreSQL at this URL.
    Postgres(String),
}

/// Where to store bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageTarget {
    /// This folder.
    Folder(PathBuf),
    /// The object store at this URL.
    Objects(String),
}

impl StoreSettings {
    /// The configured database.
    ///
    /// # Errors
    /// `database` has an unknown scheme, or a SQLite URL with parameters.
    pub fn database(&self) -> anyhow::Result<DatabaseTarget> {
        let url = self.database.as_str();
        Ok(match url.split_once("://").map_or("", |(scheme, _)| scheme) {
            "postgres" | "postgresql" => DatabaseTarget::Postgres(url.to_owned()),
            "sqlite" | "" if url.is_empty() => DatabaseTarget::Sqlite(self.data.join("partway.db")),
            "sqlite" | "" => match url.strip_prefix("sqlite://").unwrap_or(url) {
                file if file.contains([':', '?']) => bail!("database: sqlite://PATH accepts no parameters"),
                file => DatabaseTarget::Sqlite(PathBuf::from(file)),
            },
            scheme => bail!("database: {scheme}:// is neither sqlite:// nor postgres://"),
        })
    }

    /// The configured storage.
    ///
    /// # Errors
    /// `storage` has an unknown scheme, or a URL without a bucket.
    pub fn storage(&self) -> anyhow::Result<StorageTarget> {
        let url = self.storage.as_str();
        Ok(match url.split_once("://") {
            None if url.is_empty() => StorageTarget::Folder(self.data.join("files")),
            None => StorageTarget::Folder(PathBuf::from(url)),
            Some(("s3" | "gs" | "az", bucket)) if !bucket.trim_start_matches('/').is_empty() => {
                StorageTarget::Objects(url.to_owned())
            }
            Some(_) => bail!("storage: {url} is neither a folder nor one of s3://, gs:// and az:// with a bucket"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn stores(database: &str, storage: &str) -> StoreSettings {
        let mut stores = Config::from_defaults(&serde_json::json!({})).unwrap().stores;
        database.clone_into(&mut stores.database);
        storage.clone_into(&mut stores.storage);
        stores
    }

    #[test]
    fn a_scheme_selects_the_database_and_the_storage() {
        let target = |database: &str| stores(database, "").database().ok();
        assert_eq!(target("sqlite://a.db"), Some(DatabaseTarget::Sqlite("a.db".into())));
        assert_eq!(target("/x/a.db"), Some(DatabaseTarget::Sqlite("/x/a.db".into())));
        let postgres = "postgresql://me@host/db?sslmode=require";
        assert_eq!(target(postgres), Some(DatabaseTarget::Postgres(postgres.to_owned())));
        assert_eq!(target("mysql://x"), None);

        let target = |storage: &str| stores("", storage).storage().ok();
        assert_eq!(target("/x/files"), Some(StorageTarget::Folder("/x/files".into())));
        assert_eq!(target("s3://bucket/a/b"), Some(StorageTarget::Objects("s3://bucket/a/b".to_owned())));
        for wrong in ["s3://", "ftp://x", "http://127.0.0.1:9000/bucket"] {
            assert_eq!(target(wrong), None, "{wrong}");
        }
    }
}
