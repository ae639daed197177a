//! Writes sessions in the middle of an upload directly into the database. Uploading 100,000 parts for each would take hours
//! and result in the same rows.

use std::{collections::HashMap, fs, path::Path};

use anyhow::Context;
use partway::{
    db::{Created, Db},
    domain::{AccountLimits, Clock, OwnerName, PartPlan, PartRange, Session, SystemClock, Upload, UploadRequest},
};
use serde_json::value::to_raw_value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::floor::Ranges;

/// The owner of the token that Partway creates at its first start.
pub(crate) const OWNER: &str = "local";
/// Number of sessions for the list: more than its limit of 50, so that there is a next page.
const LISTED: usize = 60;
const CHUNK_BYTES: u64 = 5 * 1024 * 1024;

/// Which parts of a session have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pattern {
    FirstHalf,
    EveryOther,
}

/// A session that was seeded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeded {
    pub(crate) id: Uuid,
    pub(crate) parts: u32,
    pub(crate) pattern: Pattern,
}

/// Creates the sessions, and the file of ranges for the floor.
pub(crate) async fn seed(database: &str, ranges_file: &Path) -> anyhow::Result<Vec<Seeded>> {
    let db = if database.starts_with("postgres") {
        Db::open_postgres(database, 2).await?
    } else {
        Db::open_sqlite(Path::new(database)).await?
    };
    let limits = AccountLimits { max_bytes: None, max_open_sessions: u64::MAX };
    let (mut seeded, mut ranges) = (Vec::new(), HashMap::new());
    let wanted = [1, 100, 10_000, 100_000].map(|parts| [(parts, Pattern::FirstHalf), (parts, Pattern::EveryOther)]);
    // The list returns the newest sessions, so create them last, and small.
    let listed = std::iter::repeat_n((100, Pattern::FirstHalf), LISTED);
    for (parts, pattern) in wanted.into_iter().flatten().chain(listed) {
        let upload = upload(parts, pattern)?;
        let id = upload.session.id.0;
        ranges.insert(id, ready_made(&upload.session)?);
        seeded.push(Seeded { id, parts, pattern });
        let created = db.create_upload(&upload, &limits).await?;
        anyhow::ensure!(matches!(created, Created::New), "{created:?}");
    }
    fs::write(ranges_file, serde_json::to_vec(&ranges)?)?;
    Ok(seeded)
}

/// Creates a schema in this PostgreSQL database, passes its URL to `work`, and drops the schema afterwards.
pub(crate) fn with_schema<T>(
    runtime: &Runtime,
    url: &str,
    work: impl FnOnce(&str) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let execute = |statement: String| {
        runtime.block_on(async {
            PgConnection::connect(url).await?.execute(AssertSqlSafe(statement)).await.map_err(anyhow::Error::from)
        })
    };
    let schema = format!("bench_{}", std::process::id());
    let separator = if url.contains('?') { '&' } else { '?' };
    execute(format!("CREATE SCHEMA {schema}"))?;
    let done = work(&format!("{url}{separator}options[search_path]={schema}"));
    execute(format!("DROP SCHEMA {schema} CASCADE"))?;
    done
}

fn upload(parts: u32, pattern: Pattern) -> anyhow::Result<Upload> {
    let request = UploadRequest::new(
        "holiday.mov",
        "video/quicktime",
        PartPlan::new(u64::from(parts) * CHUNK_BYTES, CHUNK_BYTES)?,
    );
    let (now, ttl) = (SystemClock.now(), chrono::TimeDelta::days(7));
    let mut upload = Upload::new(&OwnerName::parse(OWNER).context("the owner")?, request, now, ttl);
    let received: Vec<u32> = match pattern {
        Pattern::FirstHalf => (1..=parts.div_ceil(2)).collect(),
        Pattern::EveryOther => (1..=parts).step_by(2).collect(),
    };
    for number in received {
        let part = upload.session.plan.part(number).context("a part beyond the last")?;
        upload.session.record_part(part, now, ttl);
    }
    Ok(upload)
}

fn ready_made(session: &Session) -> anyhow::Result<Ranges> {
    let texts = |ranges: Vec<PartRange>| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
    let received: Vec<_> = session.received.ranges().collect();
    let objects: Vec<_> = received.iter().map(|range| Object { first: range.first, last: range.last }).collect();
    let missing = session.received.missing(session.plan.total_parts()).collect();
    Ok(Ranges {
        received_objects: to_raw_value(&objects)?,
        received: to_raw_value(&texts(received))?,
        missing: to_raw_value(&texts(missing))?,
        contiguous_bytes: i64::try_from(session.contiguous_bytes())?,
    })
}

/// A range in GraphQL.
#[derive(serde::Serialize)]
struct Object {
    first: u32,
    last: u32,
}
