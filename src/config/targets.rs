//! Which database and which storage the settings name, and whether they go together with the others.

use std::path::PathBuf;

use anyhow::bail;

use super::Config;
use crate::domain::PartPlan;

/// S3's own limits on a multipart upload
/// ([Amazon S3 multipart upload limits](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)). Azure takes
/// at most 4,000 MiB, and says so when such a part is put.
const MIN_OBJECT_PART_BYTES: u64 = 5 * 1024 * 1024;
const MAX_OBJECT_PART_BYTES: u64 = 5 * 1024 * 1024 * 1024;
const MAX_OBJECT_PARTS: u32 = 10_000;

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseTarget {
    /// SQLite in this file.
    Sqlite(PathBuf),
    /// PostgreSQL at this URL.
    Postgres(String),
}

/// A place for bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageTarget {
    /// This folder.
    Folder(PathBuf),
    /// The object store at this URL.
    Objects(String),
}

impl Config {
    /// The database that the settings name.
    pub fn database(&self) -> anyhow::Result<DatabaseTarget> {
        let url = self.database.as_str();
        Ok(match url.split_once("://").map_or("", |(scheme, _)| scheme) {
            "postgres" | "postgresql" => DatabaseTarget::Postgres(url.to_owned()),
            "sqlite" | "" if url.is_empty() => DatabaseTarget::Sqlite(self.data.join("partway.db")),
            "sqlite" | "" => match url.strip_prefix("sqlite://").unwrap_or(url) {
                file if file.contains([':', '?']) => bail!("database: sqlite://PATH takes no parameters"),
                file => DatabaseTarget::Sqlite(PathBuf::from(file)),
            },
            scheme => bail!("database: {scheme}:// is neither sqlite:// nor postgres://"),
        })
    }

    /// The storage that the settings name.
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

    /// What an object store would refuse later is refused at the start.
    pub(super) fn validate_for_objects(&self) -> anyhow::Result<()> {
        let range = MIN_OBJECT_PART_BYTES..=MAX_OBJECT_PART_BYTES;
        if !range.contains(&self.chunk_size.0) {
            bail!("chunk_size must be 5 MiB to 5 GiB on an object store, which takes no other parts");
        }
        if self.max_parts > MAX_OBJECT_PARTS {
            bail!("max_parts must be at most {MAX_OBJECT_PARTS} on an object store, which takes no more");
        }
        if self.max_file_size.0.div_ceil(self.max_parts.into()) > MAX_OBJECT_PART_BYTES {
            bail!("max_file_size is more than max_parts parts of 5 GiB, the largest that an object store takes");
        }
        let plan = PartPlan::choose(self.max_file_size.0, self.chunk_size.0, self.max_parts)?;
        let largest_part = plan.chunk_size_bytes().min(self.max_file_size.0);
        if self.storage_memory.0 < largest_part {
            bail!(
                "storage_memory must hold the largest part, which has {largest_part} bytes: raise it to that, or lower \
                 max_file_size or chunk_size"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{DatabaseTarget, StorageTarget};

    use super::*;

    fn config(database: &str, storage: &str) -> Config {
        let mut config = Config::from_defaults(&serde_json::json!({})).unwrap();
        database.clone_into(&mut config.database);
        storage.clone_into(&mut config.storage);
        config
    }

    #[test]
    fn urls_name_what_they_look_like() {
        let target = |database: &str| config(database, "").database().ok();
        assert_eq!(target("sqlite://a.db"), Some(DatabaseTarget::Sqlite("a.db".into())));
        assert_eq!(target("/x/a.db"), Some(DatabaseTarget::Sqlite("/x/a.db".into())));
        let postgres = "postgresql://me@host/db?sslmode=require";
        assert_eq!(target(postgres), Some(DatabaseTarget::Postgres(postgres.to_owned())));
        assert_eq!(target("mysql://x"), None);

        let target = |storage: &str| config("", storage).storage().ok();
        assert_eq!(target("/x/files"), Some(StorageTarget::Folder("/x/files".into())));
        assert_eq!(target("s3://bucket/a/b"), Some(StorageTarget::Objects("s3://bucket/a/b".to_owned())));
        for wrong in ["s3://", "ftp://x", "http://127.0.0.1:9000/bucket"] {
            assert_eq!(target(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn limits_of_object_stores_are_held_at_the_start() {
        let mut config = config("", "s3://bucket");
        config.max_parts = 10_000;
        assert!(config.validate_for_objects().is_ok());
        for bytes in [5 * 1024 * 1024 - 1, 5 * 1024 * 1024 * 1024 + 1] {
            config.chunk_size = bytesize::ByteSize::b(bytes);
            assert!(config.validate_for_objects().unwrap_err().to_string().contains("chunk_size"));
        }
        config.chunk_size = bytesize::ByteSize::mib(5);
        config.storage_memory = bytesize::ByteSize::mib(100);
        assert!(config.validate_for_objects().unwrap_err().to_string().contains("storage_memory"));
        config.max_file_size = bytesize::ByteSize::tib(60);
        assert!(config.validate_for_objects().unwrap_err().to_string().contains("max_file_size"));
        config.max_parts = 10_001;
        assert!(config.validate_for_objects().unwrap_err().to_string().contains("max_parts"));
    }
}
