//! The record: samples, detector checkpoint, incidents and outbox in one SQLite file. The only module that knows SQL.
//!
//! There is one writer. What belongs together commits together: a sample, the incident that it changed and the
//! notifications about it are one transaction, so a crash can neither lose a notification nor open an incident twice.
//! Readers (the CLI, the pages) open the same file read-only and never wait for the writer, thanks to the
//! write-ahead log.

mod claim;
mod history;
mod outbox;
mod place;
mod retention;
mod rollups;
mod samples;
mod unwritten;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior,
    params,
};
use uuid::Uuid;

use self::unwritten::Unwritten;
pub use claim::Claim;
pub use history::Told;
pub use outbox::{Attempted, OutboxRow, Pending};
pub use retention::Horizon;
pub use rollups::RollupQuery;
pub use samples::{SamplePage, SampleQuery};
pub use upkeep::{Condition, Repair, UpkeepError, repair};

use crate::model::{Incident, Official, Outgoing, Sample, Timestamp};

/// How long a statement waits for another process that holds the file, for instance a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The schema, step by step; a store of version `n` has run the first `n` steps. A step is never edited once released.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite's own complaint.
    #[error("the store `{path}`: {source}", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// The file can be neither made nor written where it lies.
    #[error(
        "the store `{path}` cannot be opened for writing: {why}. See that the user who runs llmwatch may write in its \
         directory, and that the disk is neither full nor read-only (`ls -ld`, `df -h`, `findmnt -T`)",
        path = path.display()
    )]
    Place {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        why: &'static str,
    },
    /// What SQLite reads is not what it wrote.
    #[error(
        "the store `{path}` is damaged: {what}. It is left as it is: stop the daemon, and `llmwatch store repair` rescues \
         what can be read into a new one and keeps the damaged file; or move it away to begin a new one",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        what: String,
    },
    /// Written by a later release.
    #[error(
        "the store `{path}` has version {found}, this llmwatch knows versions up to {known}: install the newer release \
         again, or move the file away to begin a new one",
        path = path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest version that this release reads.
        known: usize,
    },
    /// Written by an earlier release, and not brought up to date yet.
    #[error(
        "the store `{path}` has version {found}, this llmwatch reads version {known}: the daemon brings it up to date when \
         it starts (`systemctl restart llmwatch`)",
        path = path.display()
    )]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The version that this release reads.
        known: usize,
    },
    /// Nobody has recorded anything yet.
    #[error("there is no store at `{path}` yet: `llmwatch run` makes it", path = path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// Another daemon writes it.
    #[error(
        "another llmwatch runs on the store `{path}`: stop that one, or give this one a `state_dir` of its own",
        path = path.display()
    )]
    Claimed {
        /// The file.
        path: PathBuf,
    },
    /// The directory cannot be made.
    #[error("the state directory `{path}` cannot be made: {source}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Something in the file is not what this module wrote.
    #[error("the store `{path}` holds {what} that cannot be read: {source}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
}

fn make_directory_of(path: &Path) -> Result<(), StoreError> {
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(directory).map_err(|source| StoreError::Directory {
        path: directory.to_owned(),
        source,
    })
}

/// What one step of the pipeline records: all of it or nothing.
#[derive(Debug, Default, Clone)]
pub struct Commit {
    /// The sample, if a probe was the reason.
    pub sample: Option<Sample>,
    /// Incidents that were opened or changed.
    pub incidents: Vec<IncidentRow>,
    /// What vendors' pages have said since about incidents that are recorded already.
    pub officials: Vec<(Uuid, Official)>,
    /// Notifications that these changes call for.
    pub outgoing: Vec<Outgoing>,
    /// The state of detection after this sample, now and then.
    pub checkpoint: Option<String>,
    /// What was told and is owed, whenever that changes.
    pub desk: Option<String>,
    /// The clock would have read the first and was set to the second.
    pub clock_set: Option<(Timestamp, Timestamp)>,
}

impl Commit {
    /// Whether there is nothing to record.
    pub fn is_empty(&self) -> bool {
        self.sample.is_none()
            && self.incidents.is_empty()
            && self.officials.is_empty()
            && self.outgoing.is_empty()
            && self.checkpoint.is_none()
            && self.desk.is_none()
            && self.clock_set.is_none()
    }
}

/// An incident as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentRow {
    /// Stable and unique.
    pub id: Uuid,
    /// Counts from 1.
    pub number: u64,
    /// Whether it goes on.
    pub open: bool,
    /// The first bad probe.
    pub started_at: Timestamp,
    /// The whole incident as JSON, in the form of the module `incident`.
    pub data: String,
}

impl IncidentRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            number: row.get::<_, i64>(1)?.cast_unsigned(),
            open: row.get(2)?,
            started_at: Timestamp(row.get(3)?),
            data: row.get(4)?,
        })
    }

    /// The row of an incident.
    pub fn of(incident: &Incident) -> Self {
        Self {
            id: incident.id,
            number: incident.number,
            open: incident.resolved_at.is_none(),
            started_at: incident.started_at,
            // Plain data with string keys: serialising cannot fail.
            data: serde_json::to_string(incident).unwrap_or_default(),
        }
    }
}

/// The store. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Store {
    path: Arc<PathBuf>,
    connection: Arc<Mutex<Connection>>,
    /// Locked before the connection, where both are.
    unwritten: Arc<Mutex<Unwritten>>,
}

impl Store {
    /// Opens the store for writing; makes the file and its directory, and brings an older schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, was written by a later release, or is damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_directory_of(path)?;
        Self::open_file(path).map_err(place::told)
    }

    fn open_file(path: &Path) -> Result<Self, StoreError> {
        let store = Self::with(path, Connection::open(path))?;
        store.run(|c| {
            c.busy_timeout(BUSY_TIMEOUT)?;
            if c.pragma_query_value(None, "page_count", |r| r.get::<_, i64>(0))? == 0 {
                Self::found(c)?;
            }
            c.pragma_update(None, "journal_mode", "wal")?;
            // FULL: a commit is on the disk before anything is told, also when the power fails.
            c.pragma_update(None, "synchronous", "full")?;
            c.pragma_update(None, "foreign_keys", true)
        })?;
        store.migrate(MIGRATIONS)?;
        store.refuse_damaged()?;
        Ok(store)
    }

    /// Opens the store for reading only, while a daemon may be writing it.
    ///
    /// # Errors
    /// When there is no such file or it cannot be read.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing {
                path: path.to_owned(),
            });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Self::with(path, Connection::open_with_flags(path, flags))?;
        store.run(|c| c.busy_timeout(BUSY_TIMEOUT))?;
        let (found, known) = (store.refuse_newer(MIGRATIONS)?, MIGRATIONS.len());
        if found < known {
            return Err(StoreError::TooOld {
                path: path.to_owned(),
                found,
                known,
            });
        }
        Ok(store)
    }

    /// A store in memory, for simulations.
    ///
    /// # Errors
    /// When SQLite itself fails.
    pub fn in_memory() -> Result<Self, StoreError> {
        let store = Self::with(Path::new(":memory:"), Connection::open_in_memory())?;
        store.migrate(MIGRATIONS)?;
        Ok(store)
    }

    /// Does `work` with the store on a thread of its own, so that a slow disk holds up nobody but the caller.
    pub async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down: nobody is left to wait for the answer.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Records `commits`, in order, in one transaction. When that fails because the file cannot be written, the
    /// notifications in them are sent all the same, and `commits` are to be tried again.
    ///
    /// # Errors
    /// When nothing of it was recorded.
    pub fn commit(&self, commits: &[Commit]) -> Result<(), StoreError> {
        let mut unwritten = self.unwritten();
        let written = self.transaction(|tx| {
            let mut addition = rollups::Addition::default();
            for commit in commits {
                let mut seq = None;
                if let Some(sample) = &commit.sample {
                    let series = samples::series(tx, sample)?;
                    seq = Some(samples::insert(tx, series, sample)?);
                    addition.add(series, sample);
                }
                for incident in &commit.incidents {
                    tx.prepare_cached(
                        "INSERT INTO incident (id, number, open, started_at, data) VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT (id) DO UPDATE SET open = excluded.open, started_at = excluded.started_at,
                            data = excluded.data",
                    )?
                    .execute(params![
                        incident.id,
                        incident.number.cast_signed(),
                        incident.open,
                        incident.started_at.0,
                        incident.data
                    ])?;
                }
                for (id, official) in &commit.officials {
                    let said = serde_json::to_string(official).unwrap_or_default();
                    tx.prepare_cached("UPDATE incident SET data = json_set(data, '$.official', json(?2)) WHERE id = ?1")?
                        .execute(params![id, said])?;
                }
                if let Some((from, to)) = commit.clock_set {
                    outbox::move_along(tx, from, to)?;
                }
                for outgoing in &commit.outgoing {
                    outbox::insert(tx, outgoing)?;
                }
                if let Some(state) = &commit.checkpoint {
                    tx.prepare_cached(
                        "INSERT INTO checkpoint (id, seq, state) VALUES (1, coalesce(?1, (SELECT max(seq) FROM sample), 0), ?2)
                         ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, state = excluded.state",
                    )?
                    .execute(params![seq, state])?;
                }
                if let Some(state) = &commit.desk {
                    tx.prepare_cached(
                        "INSERT INTO desk (id, state) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET state = excluded.state",
                    )?
                    .execute([state])?;
                }
            }
            addition.write(tx)?;
            unwritten.record(tx)
        });
        match written {
            Ok(recorded) => {
                unwritten.written(commits);
                unwritten.recorded(&recorded);
                Ok(())
            }
            Err(error) => {
                if Unwritten::is_for(&error) {
                    unwritten.hold(commits);
                }
                Err(error)
            }
        }
    }

    /// The last checkpoint of detection: the number of the last sample in it, and the state.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn checkpoint(&self) -> Result<Option<(i64, String)>, StoreError> {
        self.run(|c| {
            c.query_row("SELECT seq, state FROM checkpoint", [], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })
            .optional()
        })
    }

    /// What was told and is owed, as it was last recorded.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn desk(&self) -> Result<Option<String>, StoreError> {
        self.run(|c| {
            c.query_row("SELECT state FROM desk", [], |r| r.get(0))
                .optional()
        })
    }

    /// Every incident that goes on (`open`) or every one at all, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn incidents(&self, only_open: bool) -> Result<Vec<IncidentRow>, StoreError> {
        self.run(|c| {
            c.prepare_cached(
                "SELECT id, number, open, started_at, data FROM incident WHERE open OR NOT ?1 ORDER BY number",
            )?
            .query_map([only_open], IncidentRow::read)?
            .collect()
        })
    }

    /// The last `limit` incidents with a number below `before`, newest first; only those that go on, or only those that
    /// are over, if `open` says so.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn incidents_before(
        &self,
        before: Option<u64>,
        open: Option<bool>,
        limit: u32,
    ) -> Result<Vec<IncidentRow>, StoreError> {
        let before = before
            .and_then(|n| i64::try_from(n).ok())
            .unwrap_or(i64::MAX);
        self.run(|c| {
            c.prepare_cached(
                "SELECT id, number, open, started_at, data FROM incident
                 WHERE number < ?1 AND (?2 IS NULL OR open = ?2) ORDER BY number DESC LIMIT ?3",
            )?
            .query_map(params![before, open, limit], IncidentRow::read)?
            .collect()
        })
    }

    /// The incident with this number.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn incident(&self, number: u64) -> Result<Option<IncidentRow>, StoreError> {
        let Ok(number) = i64::try_from(number) else {
            return Ok(None);
        };
        self.run(|c| {
            c.prepare_cached(
                "SELECT id, number, open, started_at, data FROM incident WHERE number = ?1",
            )?
            .query_row([number], IncidentRow::read)
            .optional()
        })
    }

    /// The highest number an incident has.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_incident_number(&self) -> Result<u64, StoreError> {
        self.run(|c| {
            c.query_row("SELECT coalesce(max(number), 0) FROM incident", [], |r| {
                r.get::<_, i64>(0)
            })
        })
        .map(i64::cast_unsigned)
    }

    /// What was spent on probes since `from`: US dollars and tokens.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn spent_since(&self, from: Timestamp) -> Result<(f64, u64), StoreError> {
        self.run(|c| {
            c.query_row(
                "SELECT coalesce(sum(cost_usd), 0.0), coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0)
                 FROM sample WHERE started_at >= ?1",
                [from.0],
                |r| Ok((r.get(0)?, r.get::<_, i64>(1)?.cast_unsigned())),
            )
        })
    }

    /// What only takes effect before the first table is made: what is forgotten makes the file smaller.
    fn found(c: &Connection) -> rusqlite::Result<()> {
        c.pragma_update(None, "auto_vacuum", "incremental")
    }

    fn with(path: &Path, connection: rusqlite::Result<Connection>) -> Result<Self, StoreError> {
        let connection = connection.map_err(|source| StoreError::Sqlite {
            path: path.to_owned(),
            source,
        })?;
        let unwritten = Arc::default();
        Ok(Self {
            path: Arc::new(path.to_owned()),
            connection: Arc::new(Mutex::new(connection)),
            unwritten,
        })
    }

    fn refuse_newer(&self, steps: &[&str]) -> Result<usize, StoreError> {
        let found: i64 = self.run(|c| c.pragma_query_value(None, "user_version", |r| r.get(0)))?;
        let found = usize::try_from(found).unwrap_or(usize::MAX);
        if found > steps.len() {
            return Err(StoreError::TooNew {
                path: self.path.to_path_buf(),
                found,
                known: steps.len(),
            });
        }
        Ok(found)
    }

    /// Runs the steps that the store has not seen, each with its number in one transaction: what is interrupted goes on
    /// at the next start.
    fn migrate(&self, steps: &[&str]) -> Result<(), StoreError> {
        let from = self.refuse_newer(steps)?;
        for (version, step) in steps.iter().enumerate().skip(from) {
            self.transaction(|tx| {
                tx.execute_batch(step)?;
                tx.pragma_update(None, "user_version", version as i64 + 1)
            })?;
        }
        Ok(())
    }

    /// A panic while the lock was held has rolled its transaction back, so the connection is still good.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        work(&self.lock()).map_err(|source| self.failed(source))
    }

    fn transaction<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        let whole = || {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx)?;
            tx.commit()?;
            Ok(value)
        };
        whole().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> StoreError {
        if matches!(
            source.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ) {
            return StoreError::Damaged {
                path: self.path.to_path_buf(),
                what: source.to_string(),
            };
        }
        StoreError::Sqlite {
            path: self.path.to_path_buf(),
            source,
        }
    }

    fn unreadable(&self, what: &'static str, source: serde_json::Error) -> StoreError {
        StoreError::Content {
            path: self.path.to_path_buf(),
            what,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = MIGRATIONS[0];
    const SECOND: &str =
        "ALTER TABLE incident ADD COLUMN closed_by TEXT; CREATE INDEX by_end ON outbox (ended_at)";

    /// A store of the release that knew only the first step, with an incident that goes on.
    fn earlier(path: &Path) -> IncidentRow {
        let store = Store::with(path, Connection::open(path)).unwrap();
        store.migrate(&[FIRST]).unwrap();
        let row = IncidentRow {
            id: Uuid::from_u128(7),
            number: 42,
            open: true,
            started_at: Timestamp(1_000),
            data: "{}".to_owned(),
        };
        store
            .commit(&[Commit {
                incidents: vec![row.clone()],
                ..Commit::default()
            }])
            .unwrap();
        row
    }

    fn reopened(path: &Path, steps: &[&str]) -> (Result<(), StoreError>, Store) {
        let store = Store::with(path, Connection::open(path)).unwrap();
        (store.migrate(steps), store)
    }

    fn version(store: &Store) -> i64 {
        store
            .run(|c| c.pragma_query_value(None, "user_version", |r| r.get(0)))
            .unwrap()
    }

    #[test]
    fn an_upgrade_keeps_the_incidents_that_go_on_and_a_downgrade_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("llmwatch.db");
        let row = earlier(&path);
        let (migrated, store) = reopened(&path, &[FIRST, SECOND]);
        migrated.unwrap();
        assert_eq!(version(&store), 2);
        assert_eq!(store.incidents(true).unwrap(), [row]);
        store
            .run(|c| c.execute("UPDATE incident SET closed_by = 'me'", []))
            .unwrap();
        drop(store);
        let (again, store) = reopened(&path, &[FIRST, SECOND]);
        again.unwrap();
        drop(store);
        let refused = reopened(&path, &[FIRST]).0.unwrap_err();
        assert!(
            matches!(
                refused,
                StoreError::TooNew {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{refused}"
        );
    }

    #[test]
    fn a_migration_that_fails_half_way_leaves_the_store_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("llmwatch.db");
        let row = earlier(&path);
        let broken = format!("{SECOND}; INSERT INTO nowhere VALUES (1)");
        let (failed, store) = reopened(&path, &[FIRST, &broken]);
        failed.unwrap_err();
        assert_eq!(version(&store), 1);
        assert_eq!(store.incidents(true).unwrap(), [row]);
        drop(store);
        reopened(&path, &[FIRST, SECOND]).0.unwrap();
    }

    #[test]
    fn a_reader_says_that_a_store_is_not_up_to_date_yet() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("llmwatch.db");
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 0)
            .unwrap();
        let refused = Store::open_read_only(&path).unwrap_err().to_string();
        assert!(
            refused.contains("has version 0, this llmwatch reads version 1"),
            "{refused}"
        );
    }
}
