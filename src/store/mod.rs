//! The store: samples, detector checkpoint, incidents and outbox in one SQLite file. With its
//! submodules, the only code that knows SQL.
//!
//! There is one writer. A sample, the incident that it changed and the notifications about it
//! commit in one transaction, so a crash can neither lose a notification nor open an incident
//! twice. Readers (the CLI, the pages) open the same file read-only and never wait for the writer,
//! thanks to the write-ahead log.

mod blocks;
mod delivery;
mod history;
mod integrity;
mod link_key;
mod lock;
mod migrate;
mod open_error;
mod outbox;
pub mod postgres;
mod queue;
mod reserve;
mod retention;
mod revision;
mod rollups;
mod sample_rows;
mod samples;
mod subscriber_store;
mod subscribers;
mod write_behind;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, Weak};
use std::time::Duration;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior,
    params,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::blocks::{Recorded, Unsummed, UnsummedSeries};
use self::migrate::{MIGRATIONS, MigrationStep};
use self::sample_rows::{KnownSeries, SampleWriter};
use self::write_behind::WriteBehind;
use crate::clock::StoredClock;
pub use delivery::{DeliveryOutcome, Pending};
pub(crate) use delivery::{MAX_RETRY_AFTER, derived_id};
pub use history::NotificationRow;
pub use integrity::{Condition, IntegrityError, Repair, repair};
pub use link_key::{LINK_KEY_BYTES, LinkKeys};
pub use lock::StoreLock;
pub use outbox::OutboxRow;
pub use reserve::{Reserve, Unrecorded};
pub use retention::Horizon;
pub use revision::RevisedSamples;
pub use rollups::RollupQuery;
pub use samples::{SamplePage, SampleQuery};
pub use subscriber_store::{SubscriberError, SubscriberStore};
pub use subscribers::{
    Announced, PublicIncident, SignUp, StoredSubscriber, SubscriberMail, Subscription,
};

use llmwatch_core::model::{AttributionRevision, Incident, Official, Outgoing, Sample, Timestamp};

/// How long a statement waits for another process that locks the file, for instance a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The path of an in-memory store.
const IN_MEMORY: &str = ":memory:";

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An error of SQLite.
    #[error("the store `{path}`: {source}", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// The file cannot be created or written in its directory.
    #[error(
        "the store `{path}` cannot be opened for writing: {why}. See that the user who runs llmwatch may write in its \
         directory, and that the disk is neither full nor read-only (`ls -ld`, `df -h`, `findmnt -T`)",
        path = path.display()
    )]
    Place {
        /// The file.
        path: PathBuf,
        /// SQLite's message.
        why: &'static str,
    },
    /// The file is corrupt.
    #[error(
        "the store `{path}` is damaged: {what}. It is left as it is: stop the daemon, and `llmwatch store repair` rescues \
         what can be read into a new one and keeps the damaged file; or move it away to begin a new one",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's message.
        what: String,
    },
    /// An SQLite database that llmwatch did not create.
    #[error(
        "`{path}` is an SQLite database that llmwatch did not create: it has tables but no version. Move it away, or name \
         another file in `[store] url`",
        path = path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// Written by a later release.
    #[error(
        "the store `{path}` has version {found}, but this release reads only versions up to {known}: install the newer release \
         again, or move the file away to start a new one",
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
    /// Written by an earlier release, and not migrated yet.
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
    /// The file does not exist yet.
    #[error("there is no store at `{path}` yet: `llmwatch run` creates it", path = path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// The file exists, but may not be read.
    #[error(
        "the store `{path}` cannot be read: {why}. Run this as root or as the daemon's user (`sudo -u llmwatch …`)",
        path = path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: ErrorKind,
    },
    /// Another daemon uses it.
    #[error(
        "another llmwatch runs on the store `{path}`: stop that one, or give this one a `state_dir` of its own",
        path = path.display()
    )]
    Claimed {
        /// The file.
        path: PathBuf,
    },
    /// The directory cannot be created.
    #[error("cannot create the state directory `{path}`: {source}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A value in the file cannot be parsed.
    #[error("the store `{path}` contains {what} that cannot be read: {source}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The kind of value.
        what: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
}

impl StoreError {
    /// Reports whether the configuration, or the installed release, must change before a start can
    /// succeed.
    pub fn is_misconfiguration(&self) -> bool {
        matches!(self, Self::TooNew { .. } | Self::Unknown { .. })
    }
}

impl StoreError {
    /// Reports whether the error is about the file or the disk, not about the data to be written.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Sqlite { source, .. } => !matches!(
                source.sqlite_error_code(),
                None | Some(ErrorCode::ConstraintViolation)
            ),
            _ => false,
        }
    }
}

fn store_error(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    if matches!(
        source.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    ) {
        return StoreError::Damaged {
            path,
            what: source.to_string(),
        };
    }
    StoreError::Sqlite { path, source }
}

/// States of at least this many bytes are compressed: the checkpoint of a large fleet is megabytes
/// of JSON each minute.
const PACKED_FROM: usize = 4096;

fn packed(state: &str) -> Vec<u8> {
    if state.len() < PACKED_FROM {
        return state.as_bytes().to_vec();
    }
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let _ = packed.write_all(state.as_bytes());
    packed.finish().unwrap_or_default()
}

/// Decompresses a state. JSON begins with a brace, which compressed data never does. An unreadable
/// state becomes empty and is then rebuilt from the samples.
fn unpacked(stored: &[u8]) -> String {
    let mut state = String::new();
    let read = match stored.first() {
        Some(b'{') => (&mut &*stored).read_to_string(&mut state),
        _ => DeflateDecoder::new(stored).read_to_string(&mut state),
    };
    read.map(|_| state).unwrap_or_default()
}

/// The mode of every created file: owner only.
const PRIVATE_FILE: u32 = 0o600;

/// Opens the file for writing.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let c = Connection::open(path)?;
    c.busy_timeout(BUSY_TIMEOUT)?;
    if c.pragma_query_value(None, "page_count", |r| r.get::<_, i64>(0))? == 0 {
        Store::found(&c)?;
    }
    if is_unknown(&c).unwrap_or(false) {
        // The caller refuses it; until then nothing in the file changes.
        return Ok(c);
    }
    c.pragma_update(None, "journal_mode", "wal")?;
    // FULL: a commit is on disk before anything is sent, even if the power fails.
    c.pragma_update(None, "synchronous", "full")?;
    c.pragma_update(None, "foreign_keys", true)?;
    Ok(c)
}

/// Reports whether the file system lets this process write the file.
fn is_writable(path: &Path) -> bool {
    OpenOptions::new().append(true).open(path).is_ok()
}

fn connect_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let c = Connection::open_with_flags(path, flags)?;
    c.busy_timeout(BUSY_TIMEOUT)?;
    Ok(c)
}

/// Reports whether a file has tables but no version: another program created it.
fn is_unknown(c: &Connection) -> rusqlite::Result<bool> {
    let version: i64 = c.pragma_query_value(None, "user_version", |r| r.get(0))?;
    let tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'";
    let tables: i64 = c.query_row(tables, [], |r| r.get(0))?;
    Ok(version == 0 && tables > 0)
}

fn make_directory_of(path: &Path) -> Result<(), StoreError> {
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    // Samples may quote responses and messages may name people, so the directory is private.
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(|source| StoreError::Directory {
        path: directory.to_owned(),
        source,
    })
}

/// The changes of one pipeline step, recorded atomically.
#[derive(Debug, Default, Clone)]
pub struct Commit {
    /// The sample, if a probe caused the step.
    pub sample: Option<Sample>,
    /// Revised attributions of this sample and of earlier ones.
    pub revisions: Vec<AttributionRevision>,
    /// Incidents that were opened or changed.
    pub incidents: Vec<IncidentRow>,
    /// Updates from vendors' status pages on incidents that are already recorded.
    pub officials: Vec<(Uuid, Official)>,
    /// Notifications about these changes.
    pub outgoing: Vec<Outgoing>,
    /// The detector state after this sample, written periodically.
    pub checkpoint: Option<String>,
    /// The alerting state, whenever it changes.
    pub notification_state: Option<String>,
    /// A clock change: from and to.
    pub clock_set: Option<(Timestamp, Timestamp)>,
}

impl Commit {
    /// Reports whether it holds a sample and nothing else.
    pub fn is_ordinary(&self) -> bool {
        self.sample.is_some() && !self.has_consequences()
    }

    /// Reports whether there is nothing to record.
    pub fn is_empty(&self) -> bool {
        self.sample.is_none() && !self.has_consequences()
    }

    fn has_consequences(&self) -> bool {
        !self.revisions.is_empty()
            || !self.incidents.is_empty()
            || !self.officials.is_empty()
            || !self.outgoing.is_empty()
            || self.checkpoint.is_some()
            || self.notification_state.is_some()
            || self.clock_set.is_some()
    }
}

/// Returns by how much `commits` shift the stored times, in milliseconds; `None` if they do not.
fn shift_ms(commits: &[Commit]) -> Option<i64> {
    commits
        .iter()
        .filter_map(|commit| commit.clock_set)
        .map(|(from, to)| to.since_ms(from))
        .reduce(i64::saturating_add)
}

impl Commit {
    /// Writes the changes that belong to the sample `seq`, or that came after it.
    fn write_consequences(&self, tx: &Transaction<'_>, seq: i64) -> rusqlite::Result<()> {
        for incident in &self.incidents {
            // Two daemons that were alone may have assigned the same number: the incoming incident
            // keeps it.
            tx.prepare_cached(
                "UPDATE incident SET number = (SELECT max(number) + 1 FROM incident) WHERE number = ?1 AND id <> ?2",
            )?
            .execute(params![incident.number.cast_signed(), incident.id])?;
            tx.prepare_cached(
                "INSERT INTO incident (id, number, open, started_at, data) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET number = excluded.number, open = excluded.open, started_at = excluded.started_at,
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
        for (id, official) in &self.officials {
            let official = serde_json::to_string(official).unwrap_or_default();
            tx.prepare_cached(
                "UPDATE incident SET data = json_set(data, '$.official', json(?2)) WHERE id = ?1",
            )?
            .execute(params![id, official])?;
        }
        if let Some((from, to)) = self.clock_set {
            delivery::follow_clock(tx, from, to)?;
        }
        for outgoing in &self.outgoing {
            delivery::insert(tx, outgoing)?;
        }
        if let Some(state) = &self.checkpoint {
            tx.prepare_cached(
                "INSERT INTO checkpoint (id, seq, state) VALUES (1, ?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, state = excluded.state",
            )?
            .execute(params![seq, packed(state)])?;
        }
        if let Some(state) = &self.notification_state {
            tx.prepare_cached(
                "INSERT INTO notification_state (id, state) VALUES (1, ?1)
                 ON CONFLICT (id) DO UPDATE SET state = excluded.state",
            )?
            .execute([state])?;
        }
        Ok(())
    }
}

/// An incident's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentRow {
    /// Stable and unique.
    pub id: Uuid,
    /// A sequence number from 1.
    pub number: u64,
    /// Whether it is open.
    pub open: bool,
    /// The first bad probe.
    pub started_at: Timestamp,
    /// The complete incident as JSON.
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
            // Plain data with string keys: serializing cannot fail.
            data: serde_json::to_string(incident).unwrap_or_default(),
        }
    }
}

/// The store. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Store {
    path: Arc<PathBuf>,
    connection: Arc<Mutex<Connection>>,
    /// Lock order: before the connection.
    unwritten: Arc<Mutex<WriteBehind>>,
    shared: Arc<SharedState>,
    /// Another process may write the file.
    foreign: bool,
    read_only: bool,
}

/// State that all connections of this process share: the sums that the file does not hold yet.
#[derive(Debug, Default)]
struct SharedState {
    /// Held for writing while pending sums go to the file, and for reading while both are read.
    /// Lock order: before the connection.
    agreement: RwLock<()>,
    catching_up: Mutex<()>,
    /// Lock order: after the connection.
    unsummed: Mutex<Unsummed>,
    /// Lock order: after the connection.
    known: Mutex<KnownSeries>,
    /// The read-only connections of this process.
    readers: Mutex<Vec<Weak<Mutex<Connection>>>>,
}

impl SharedState {
    fn lock(&self) -> MutexGuard<'_, Unsummed> {
        locked(&self.unsummed)
    }
}

/// Ignores poisoning: a panic rolled its transaction back, so the guarded value is still valid.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the store for writing. Creates the file and its directory, and migrates an older
    /// schema.
    ///
    /// # Errors
    /// When the file cannot be opened, was written by a later release, or is damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_directory_of(path)?;
        Self::open_file(path).map_err(open_error::explain)
    }

    fn open_file(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its side files the mode of this one. A failure here shows again at the open
        // below.
        let private = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(PRIVATE_FILE)
            .open(path);
        drop(private);
        let store = Self::with(path, connect(path))?;
        store.refuse_unknown()?;
        store.migrate(MIGRATIONS)?;
        store.refuse_damaged()?;
        *store.shared.lock() = store.run(Unsummed::of_file)?;
        Ok(store)
    }

    /// Opens the store read-only. A daemon may be writing it.
    ///
    /// # Errors
    /// When there is no such file or it cannot be read.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        if let Err(why) = File::open(path) {
            let path = path.to_owned();
            return Err(match why.kind() {
                ErrorKind::NotFound => StoreError::Missing { path },
                why => StoreError::Unreadable { path, why },
            });
        }
        let mut store = Self::with(path, connect_read_only(path))?;
        store.foreign = true;
        store.read_only = true;
        store.refuse_unknown()?;
        let found = store.refuse_newer(MIGRATIONS)?;
        let known = MIGRATIONS.len();
        if found < known {
            return Err(StoreError::TooOld {
                path: path.to_owned(),
                found,
                known,
            });
        }
        Ok(store)
    }

    /// Returns the identity of this store, which no other store has.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn identity(&self) -> Result<Uuid, StoreError> {
        self.run(|c| c.query_row("SELECT uuid FROM identity", [], |r| r.get(0)))
    }

    /// Returns warnings about files of the store at `path` that other users may open, each with a
    /// fix.
    pub fn exposed(path: &Path) -> Vec<String> {
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let directory = path.parent().map(|directory| (directory, 0o700));
        let files = [(path, PRIVATE_FILE), (Path::new(&lock), PRIVATE_FILE)];
        let mut warnings = Vec::new();
        for (path, private) in directory.into_iter().chain(files) {
            let Ok(found) = std::fs::metadata(path) else {
                continue;
            };
            let mode = found.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let path = path.display();
                warnings.push(format!(
                    "other users may open `{path}` (mode {mode:04o}): `chmod {private:o} {path}`"
                ));
            }
        }
        warnings
    }

    /// Creates an in-memory store, for simulations.
    ///
    /// # Errors
    /// When SQLite itself fails.
    pub fn in_memory() -> Result<Self, StoreError> {
        let store = Self::with(Path::new(IN_MEMORY), Connection::open_in_memory())?;
        store.migrate(MIGRATIONS)?;
        Ok(store)
    }

    /// Opens a second, read-only connection to the same store: a long read on it never blocks the
    /// writer. An in-memory store has only one connection.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn reader(&self) -> Result<Self, StoreError> {
        if self.path.as_os_str() == IN_MEMORY {
            return Ok(self.clone());
        }
        let mut reader = Self::open_read_only(&self.path)?;
        reader.shared = self.shared.clone();
        reader.foreign = self.foreign;
        let mut readers = locked(&self.shared.readers);
        readers.retain(|known| known.strong_count() > 0);
        readers.push(Arc::downgrade(&reader.connection));
        drop(readers);
        Ok(reader)
    }

    /// Runs `work` on a blocking thread, so that a slow disk delays only the caller.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, so nothing waits for the result.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Records `commits`, in order, in one transaction. If the file cannot be written, their
    /// notifications are sent anyway, and the caller must retry `commits`.
    ///
    /// # Errors
    /// When nothing was recorded.
    pub fn commit(&self, commits: &[Commit]) -> Result<(), StoreError> {
        self.commit_first(commits, &[])
    }

    /// Like [`Store::commit`]. On failure it also sends `later`, the notifications of commits
    /// queued behind these.
    ///
    /// # Errors
    /// When nothing was recorded.
    pub fn commit_first(&self, commits: &[Commit], later: &[Outgoing]) -> Result<(), StoreError> {
        let mut unwritten = self.unwritten();
        // Follows steps that are too small to be reported, so that they do not add up.
        unwritten.is_clock_behind();
        let written = {
            let mut connection = self.lock();
            let written = self.write(&mut connection, commits, &unwritten);
            match &written {
                Err(error) if self.reopened(&mut connection, error) => {
                    self.write(&mut connection, commits, &unwritten)
                }
                _ => written,
            }
        };
        match written.map_err(|source| self.failed(source)) {
            Ok(recorded) => {
                unwritten.written(commits);
                unwritten.recorded(&recorded);
                if let Some(by_ms) = shift_ms(commits) {
                    unwritten.shifted(by_ms);
                }
                Ok(())
            }
            Err(error) => {
                if error.is_temporary() {
                    unwritten.hold(commits.iter().flat_map(|c| &c.outgoing).chain(later));
                }
                Err(error)
            }
        }
    }

    /// Tells by which clock the stored times are meant. It follows the commits that say that the
    /// clock was set.
    pub fn follow_clock(&self, clock: StoredClock) {
        self.unwritten().follow(clock);
    }

    /// Removes from `outgoing` what was delivered or given up while the store could not be written.
    pub fn retain_undelivered(&self, outgoing: &mut Vec<Outgoing>) {
        let unwritten = self.unwritten();
        outgoing.retain(|o| match unwritten.outcome(o.notice.id) {
            None | Some(DeliveryOutcome::RetryAt(_)) => true,
            Some(_) => false,
        });
    }

    /// Reopens the file after an `error` that the old connection would return forever: the file
    /// system was read-only when it was opened. Returns whether that succeeded.
    ///
    /// All connections of a process share the index of the write-ahead log, as the first one opened
    /// it. So every connection is closed first.
    fn reopened(&self, connection: &mut Connection, error: &rusqlite::Error) -> bool {
        let is_read_only = error.sqlite_error_code() == Some(ErrorCode::ReadOnly);
        // An earlier reopening may have failed halfway.
        let is_lost = connection.path().is_none_or(str::is_empty);
        if self.read_only || !(is_read_only || is_lost) || !is_writable(&self.path) {
            return false;
        }
        let readers: Vec<_> = locked(&self.shared.readers)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let mut open = Vec::new();
        for reader in &readers {
            // A read in progress delays this until the next commit.
            let Ok(reader) = reader.try_lock() else {
                return false;
            };
            open.push(reader);
        }
        let all = open.iter_mut().map(|reader| &mut **reader);
        let closed = all
            .chain([&mut *connection])
            .try_for_each(|open| Connection::open_in_memory().map(|none| *open = none));
        let writer = closed.and_then(|()| connect(&self.path));
        let readers = open
            .iter_mut()
            .try_for_each(|reader| connect_read_only(&self.path).map(|new| **reader = new));
        match (writer, readers) {
            (Ok(writer), Ok(())) => {
                *connection = writer;
                true
            }
            // The writer stays in memory, where every commit fails: the next one tries again.
            _ => false,
        }
    }

    /// Writes `commits` and the unrecorded delivery attempts. Returns the IDs of the latter.
    fn write(
        &self,
        connection: &mut Connection,
        commits: &[Commit],
        unwritten: &WriteBehind,
    ) -> rusqlite::Result<BTreeSet<Uuid>> {
        let has_revisions = commits.iter().any(|commit| !commit.revisions.is_empty());
        if has_revisions {
            // Every sum is then either in memory or in the file.
            self.catch_up(connection)?;
        }
        let mut known = locked(&self.shared.known);
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut writer = SampleWriter::new(&tx, &known);
        let mut recorded: Vec<Recorded<'_>> = Vec::new();
        let mut revised = Vec::new();
        let mut seq = blocks::last_seq(&tx)?;
        for commit in commits {
            if let Some(sample) = &commit.sample {
                seq += 1;
                let series = writer.series(sample)?;
                writer.insert(seq, series, sample)?;
                recorded.push((seq, series, Cow::Borrowed(sample)));
            }
            for revision in &commit.revisions {
                revised.extend(revision::apply(
                    &tx,
                    &self.shared,
                    &mut writer,
                    &mut recorded,
                    revision,
                )?);
            }
            commit.write_consequences(&tx, seq)?;
        }
        let added = writer.finish();
        let block = self.shared.lock().block_with(&recorded);
        block.write(&tx)?;
        let attempts = unwritten.record(&tx, shift_ms(commits).unwrap_or(0))?;
        tx.commit()?;
        known.extend(added);
        let mut unsummed = self.shared.lock();
        unsummed.reattribute(&revised);
        unsummed.add(&recorded, block);
        Ok(attempts)
    }

    /// Writes some of the sums held in memory about samples in the file: those that are due, or
    /// `everything`. Returns whether there may be more to write.
    ///
    /// # Errors
    /// When the store cannot be written; nothing is lost then.
    pub fn write_sums(&self, everything: bool) -> Result<bool, StoreError> {
        let _agreement = if everything {
            self.shared
                .agreement
                .write()
                .unwrap_or_else(PoisonError::into_inner)
        } else {
            match self.shared.agreement.try_write() {
                Ok(agreement) => agreement,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // A read is in progress, and this can wait.
                Err(TryLockError::WouldBlock) => return Ok(true),
            }
        };
        let mut connection = self.lock();
        let mut write = || {
            self.catch_up(&connection)?;
            let taken = self.shared.lock().take_due(everything);
            if taken.is_empty() {
                return Ok(false);
            }
            let written = self.write_series(&mut connection, &taken);
            if written.is_err() {
                self.shared.lock().put_back(taken);
            }
            written.map(|()| true)
        };
        write().map_err(|source| self.failed(source))
    }

    fn write_series(
        &self,
        connection: &mut Connection,
        taken: &BTreeMap<i64, UnsummedSeries>,
    ) -> rusqlite::Result<()> {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (series, pending) in taken {
            pending.write(&tx, *series)?;
        }
        let summed = self.shared.lock().summed(blocks::last_seq(&tx)?);
        tx.prepare_cached("UPDATE summed SET seq = max(seq, ?1)")?
            .execute([summed])?;
        tx.commit()
    }

    /// Reports whether [`Store::write_sums`] has something to do.
    pub fn sums_are_due(&self) -> bool {
        self.shared.lock().is_due()
    }

    /// Reads the file together with the sums that it does not hold yet.
    fn reading<T>(
        &self,
        work: impl FnOnce(&Connection, &SharedState) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if self.foreign {
            return self.run(|c| {
                // One snapshot of the file for all reads.
                let tx = c.unchecked_transaction()?;
                let shared = SharedState::default();
                *shared.lock() = Unsummed::read(&tx)?;
                work(&tx, &shared)
            });
        }
        let _agreement = self
            .shared
            .agreement
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        self.run(|c| {
            self.catch_up(c)?;
            work(c, &self.shared)
        })
    }

    /// Sums, once, the samples that had not been summed when the file was opened.
    fn catch_up(&self, c: &Connection) -> rusqlite::Result<()> {
        let _once = locked(&self.shared.catching_up);
        let unread = self.shared.lock().unread();
        if let Some(unread) = unread {
            let before = blocks::read_unread(c, unread)?;
            self.shared.lock().catch_up(before);
        }
        Ok(())
    }

    /// Returns the last detector checkpoint: the number of its last sample, and the state.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn checkpoint(&self) -> Result<Option<(i64, String)>, StoreError> {
        self.run(|c| {
            c.query_row("SELECT seq, state FROM checkpoint", [], |r| {
                Ok((r.get(0)?, unpacked(r.get_ref(1)?.as_blob()?)))
            })
            .optional()
        })
    }

    /// Returns the number of the newest sample ever recorded; 0 without any.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_seq(&self) -> Result<i64, StoreError> {
        self.run(blocks::last_seq)
    }

    /// Returns the last recorded alerting state.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn notification_state(&self) -> Result<Option<String>, StoreError> {
        self.run(|c| {
            c.query_row("SELECT state FROM notification_state", [], |r| r.get(0))
                .optional()
        })
    }

    /// Returns all incidents, or only the open ones, oldest first.
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

    /// Calls `each` with every incident that began before `until`, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn each_incident(
        &self,
        until: Timestamp,
        mut each: impl FnMut(IncidentRow),
    ) -> Result<(), StoreError> {
        self.run(|c| {
            let mut rows = c.prepare_cached(
                "SELECT id, number, open, started_at, data FROM incident WHERE started_at < ?1 ORDER BY number",
            )?;
            let mut rows = rows.query([until.0])?;
            while let Some(row) = rows.next()? {
                each(IncidentRow::read(row)?);
            }
            Ok(())
        })
    }

    /// Returns the last `limit` incidents with a number below `before`, newest first. `open`
    /// selects only open or only resolved ones.
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

    /// Returns the incident with this number.
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

    /// Returns the highest incident number.
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

    /// Applies settings that only work before the first table is created: deleted rows shrink the
    /// file.
    fn found(c: &Connection) -> rusqlite::Result<()> {
        c.pragma_update(None, "auto_vacuum", "incremental")
    }

    fn with(path: &Path, connection: rusqlite::Result<Connection>) -> Result<Self, StoreError> {
        let connection = connection.map_err(|source| store_error(path, source))?;
        let unwritten = Arc::default();
        Ok(Self {
            path: Arc::new(path.to_owned()),
            connection: Arc::new(Mutex::new(connection)),
            unwritten,
            shared: Arc::default(),
            foreign: false,
            read_only: false,
        })
    }

    /// Rejects an SQLite database that llmwatch did not create.
    fn refuse_unknown(&self) -> Result<(), StoreError> {
        if self.run(is_unknown)? {
            return Err(StoreError::Unknown {
                path: self.path.to_path_buf(),
            });
        }
        Ok(())
    }

    fn refuse_newer(&self, steps: &[MigrationStep]) -> Result<usize, StoreError> {
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

    /// Runs the pending migration steps, each with its version number in one transaction. An
    /// interrupted step runs again at the next start.
    fn migrate(&self, steps: &[MigrationStep]) -> Result<(), StoreError> {
        let from = self.refuse_newer(steps)?;
        for (version, step) in steps.iter().enumerate().skip(from) {
            self.transaction(|tx| {
                step.run(tx)?;
                tx.pragma_update(None, "user_version", version as i64 + 1)
            })?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        locked(&self.connection)
    }

    fn unwritten(&self) -> MutexGuard<'_, WriteBehind> {
        locked(&self.unwritten)
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
        let insert_all = || {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx)?;
            tx.commit()?;
            Ok(value)
        };
        insert_all().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> StoreError {
        store_error(&self.path, source)
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

    const FIRST: MigrationStep = MIGRATIONS[0];
    const SECOND: MigrationStep = MigrationStep {
        sql: "ALTER TABLE incident ADD COLUMN closed_by TEXT; CREATE INDEX by_end ON outbox (ended_at)",
        then: None,
    };

    /// A store of a release with only the first migration step, with an open incident.
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
        let commit = Commit {
            incidents: vec![row.clone()],
            ..Commit::default()
        };
        let written = store.transaction(|tx| commit.write_consequences(tx, 0));
        written.unwrap();
        row
    }

    fn reopened(path: &Path, steps: &[MigrationStep]) -> (Result<(), StoreError>, Store) {
        let store = Store::with(path, Connection::open(path)).unwrap();
        (store.migrate(steps), store)
    }

    fn version(store: &Store) -> i64 {
        store
            .run(|c| c.pragma_query_value(None, "user_version", |r| r.get(0)))
            .unwrap()
    }

    #[test]
    fn upgrade_keeps_open_incidents_and_downgrade_is_refused() {
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
    fn failed_migration_leaves_the_store_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("llmwatch.db");
        let row = earlier(&path);
        let broken = MigrationStep {
            then: Some(|tx| tx.execute_batch("INSERT INTO nowhere VALUES (1)")),
            ..SECOND
        };
        let (failed, store) = reopened(&path, &[FIRST, broken]);
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
        let newest = MIGRATIONS.len();
        let expected = format!("has version 0, this llmwatch reads version {newest}");
        assert!(refused.contains(&expected), "{refused}");
    }
}
