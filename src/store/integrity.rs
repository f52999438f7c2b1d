//! Integrity of the store file: check, repair and online backup.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, params_from_iter};
use serde::Serialize;

use super::{MIGRATIONS, Store, StoreError, blocks, is_unknown, link_key, migrate, subscribers};

/// The maximum number of problems that a check lists.
const PROBLEMS: usize = 20;
/// A larger file is not checked at the start, because that delays probing; the daemon checks it
/// while running.
const CHECKED_AT_START: u64 = 64 << 20;

/// The tables that are not part of the schema's versions: each is created when it is first needed.
const CREATED_ON_FIRST_USE: [&str; 2] = [link_key::TABLE, subscribers::TABLES];

/// The condition of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// The version of its schema.
    pub version: u32,
    /// Its size in bytes.
    pub bytes: u64,
    /// How many samples it holds.
    pub samples: u64,
    /// How many incidents it holds.
    pub incidents: u64,
    /// How many notifications are pending.
    pub waiting: u64,
    /// The problems that SQLite reports; empty when the file is intact.
    pub problems: Vec<String>,
}

/// The result of a repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// Where the damaged file is kept.
    pub kept_as: PathBuf,
    /// Rows that were rescued, per table.
    pub rescued: Vec<(String, u64)>,
}

/// Why a repair or a backup failed.
#[derive(Debug, thiserror::Error)]
pub enum IntegrityError {
    /// A daemon has the file open.
    #[error("the store `{path}` is in use: stop the daemon first (`systemctl stop llmwatch`)", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A file would be overwritten.
    #[error("`{path}` already exists: name a new file", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file system error.
    #[error("`{path}`: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A store error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Checks the entire file. A reader beside a running daemon may do this.
    ///
    /// # Errors
    /// When the file cannot be queried.
    pub fn condition(&self) -> Result<Condition, StoreError> {
        let bytes = fs::metadata(&*self.path).map_or(0, |m| m.len());
        self.run(|c| {
            let mut check = c.prepare(&format!("PRAGMA integrity_check({PROBLEMS})"))?;
            // Damage may also abort the check itself.
            let problems: Vec<String> = check
                .query_map([], |r| r.get(0))?
                .map(|problem| problem.unwrap_or_else(|e| e.to_string()))
                .collect();
            Ok(Condition {
                version: c.pragma_query_value(None, "user_version", |r| r.get(0))?,
                bytes,
                samples: count(c, "SELECT count(*) FROM sample"),
                incidents: count(c, "SELECT count(*) FROM incident"),
                waiting: count(c, "SELECT count(*) FROM outbox WHERE state = 'pending'"),
                problems: problems.into_iter().filter(|p| p != "ok").collect(),
            })
        })
    }

    /// Writes a consistent copy of the store to `file`. A daemon may be writing meanwhile.
    ///
    /// # Errors
    /// When `file` exists, or reading or writing fails.
    pub fn back_up(&self, file: &Path) -> Result<(), IntegrityError> {
        if file.exists() {
            return Err(IntegrityError::Exists {
                path: file.to_owned(),
            });
        }
        self.run(|c| {
            c.execute("VACUUM INTO ?1", [file.to_string_lossy()])
                .map(drop)
        })?;
        // Samples may quote the provider's responses, so the copy is as private as the store.
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).map_err(io_at(file))
    }

    /// Checkpoints the write-ahead log into the file, so that the file alone holds everything once
    /// the daemon has ended. The empty log and its index stay: a full disk at the next start would
    /// have no space for new ones.
    pub fn checkpoint_wal(&self) {
        // On failure the data stays in the log, where the next start finds it.
        while self.write_sums(true).unwrap_or(false) {}
        let _ = self.run(|c| {
            c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            c.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        });
    }

    /// Rejects a damaged file before it is used.
    pub(super) fn refuse_damaged(&self) -> Result<(), StoreError> {
        if self.is_unchecked() {
            return Ok(());
        }
        self.check()
    }

    /// Reports whether the file was too large to check when it was opened.
    pub fn is_unchecked(&self) -> bool {
        fs::metadata(&*self.path).is_ok_and(|m| m.len() > CHECKED_AT_START)
    }

    /// Runs SQLite's quick check.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn check(&self) -> Result<(), StoreError> {
        let found: String = self.run(|c| c.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)))?;
        if found == "ok" {
            return Ok(());
        }
        Err(StoreError::Damaged {
            path: self.path.to_path_buf(),
            what: found,
        })
    }
}

/// Rescues all readable rows of the store at `path` into a new file in its place. The damaged file
/// is kept beside it, with `suffix` appended to its name. `on_row` gets the table of each rescued
/// row.
///
/// # Errors
/// When a daemon uses the store, or the new file cannot be written.
pub fn repair(
    path: &Path,
    suffix: &str,
    on_row: &mut dyn FnMut(&str),
) -> Result<Repair, IntegrityError> {
    let owner = fs::metadata(path).map_err(io_at(path))?;
    let fresh = with_suffix(path, ".repaired");
    let kept = with_suffix(path, suffix);
    if kept.exists() {
        return Err(IntegrityError::Exists { path: kept });
    }
    if fresh.exists() {
        // Left behind by an interrupted repair.
        fs::remove_file(&fresh).map_err(io_at(&fresh))?;
    }
    let damaged = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(sqlite_at(path))?;
    // Lock the file exclusively, and never write to it or its log, not even on close.
    damaged
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(sqlite_at(path))?;
    damaged
        .pragma_update(None, "locking_mode", "exclusive")
        .map_err(sqlite_at(path))?;
    match damaged.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
        Err(rusqlite::Error::SqliteFailure(failure, _))
            if matches!(
                failure.code,
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked
            ) =>
        {
            return Err(IntegrityError::InUse {
                path: path.to_owned(),
            });
        }
        // Damage may prevent locking; the copy shows what can be read.
        _ => {}
    }
    if is_of_another_program(&damaged).unwrap_or(false) {
        let path = path.to_owned();
        return Err(StoreError::Unknown { path }.into());
    }
    let version: usize = damaged
        .pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0))
        .ok()
        .and_then(|v| usize::try_from(v).ok())
        .filter(|v| (1..=MIGRATIONS.len()).contains(v))
        .unwrap_or(MIGRATIONS.len());
    let rescued = rescue(&damaged, &fresh, version, on_row).map_err(sqlite_at(&fresh))?;
    drop(damaged);
    fs::set_permissions(&fresh, fs::Permissions::from_mode(owner.mode() & 0o777))
        .map_err(io_at(&fresh))?;
    // If root runs the repair, the new file must still belong to the daemon's user.
    chown(&fresh, Some(owner.uid()), Some(owner.gid())).map_err(io_at(&fresh))?;
    fs::rename(path, &kept).map_err(io_at(path))?;
    for end in ["-wal", "-shm"] {
        let from = with_suffix(path, end);
        if from.exists() {
            fs::rename(&from, with_suffix(&kept, end)).map_err(io_at(&from))?;
        }
    }
    fs::rename(&fresh, path).map_err(io_at(path))?;
    Ok(Repair {
        kept_as: kept,
        rescued,
    })
}

/// Reports whether another program created a readable file: damage may have cost a store its
/// version, but not the tables that every store has.
fn is_of_another_program(file: &Connection) -> rusqlite::Result<bool> {
    let own =
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('incident', 'outbox', 'checkpoint')";
    Ok(is_unknown(file)? && file.query_row(own, [], |row| row.get::<_, i64>(0))? == 0)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sqlite_at(path: &Path) -> impl FnOnce(rusqlite::Error) -> IntegrityError {
    let path = path.to_owned();
    move |source| IntegrityError::Store(StoreError::Sqlite { path, source })
}

/// Counts rows; 0 if the table cannot be read.
fn count(c: &Connection, sql: &str) -> u64 {
    c.query_row(sql, [], |r| r.get::<_, i64>(0))
        .map_or(0, i64::cast_unsigned)
}

/// Copies every readable row of `damaged` into a new file of the same version.
fn rescue(
    damaged: &Connection,
    fresh: &Path,
    version: usize,
    on_row: &mut dyn FnMut(&str),
) -> rusqlite::Result<Vec<(String, u64)>> {
    let mut new = Connection::open(fresh)?;
    Store::found(&new)?;
    let tx = new.transaction()?;
    for step in &MIGRATIONS[..version] {
        step.run(&tx)?;
    }
    for tables in CREATED_ON_FIRST_USE {
        tx.execute_batch(tables)?;
    }
    tx.pragma_update(None, "user_version", version as i64)?;
    let tables: Vec<String> = tx
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid")?
        .query_map([], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut rescued = Vec::new();
    for table in tables {
        let rows = rescue_table(damaged, &tx, &table, on_row)?;
        rescued.push((table, rows));
    }
    tx.execute(
        "DELETE FROM sample WHERE series NOT IN (SELECT id FROM series)",
        [],
    )?;
    if version > 1 {
        blocks::rebuild_rescued(&tx)?;
    }
    if version > 2 {
        migrate::identify(&tx)?;
    }
    tx.commit()?;
    Ok(rescued)
}

/// Copies every readable row of a table. Returns their number.
fn rescue_table(
    damaged: &Connection,
    new: &Transaction<'_>,
    table: &str,
    on_row: &mut dyn FnMut(&str),
) -> rusqlite::Result<u64> {
    // What the migrations put there stands for an empty store.
    new.execute(&format!("DELETE FROM {table}"), [])?;
    let columns: Vec<String> = new
        .prepare("SELECT name FROM pragma_table_info(?1)")?
        .query_map([table], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let marks = vec!["?"; columns.len()].join(", ");
    let columns = columns.join(", ");
    let mut insert = new.prepare(&format!(
        "INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"
    ))?;
    let mut rows = 0;
    // A damaged page ends a scan; rows behind it are reached from the other end.
    for direction in ["ASC", "DESC"] {
        let order = order_of(new, table, direction)?;
        let select = format!("SELECT {columns} FROM {table} NOT INDEXED ORDER BY {order}");
        let Ok(mut select) = damaged.prepare(&select) else {
            // The damaged file has no such table.
            break;
        };
        let Ok(mut scan) = select.query([]) else {
            continue;
        };
        let is_complete = loop {
            let row = match scan.next() {
                Ok(Some(row)) => row,
                Ok(None) => break true,
                Err(_) => break false,
            };
            let values = (0..row.as_ref().column_count())
                .map(|i| row.get::<_, Value>(i))
                .collect::<rusqlite::Result<Vec<_>>>();
            let Ok(values) = values else { continue };
            match insert.execute(params_from_iter(values)) {
                Ok(n) => {
                    rows += n as u64;
                    on_row(table);
                }
                // A corrupted row that violates the schema.
                Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {}
                Err(e) => return Err(e),
            }
        };
        if is_complete {
            break;
        }
    }
    Ok(rows)
}

/// Returns the `ORDER BY` terms that walk the pages of a table in their order.
fn order_of(c: &Connection, table: &str, direction: &str) -> rusqlite::Result<String> {
    let has_rowid: bool = c.query_row(
        "SELECT NOT wr FROM pragma_table_list WHERE name = ?1",
        [table],
        |r| r.get(0),
    )?;
    if has_rowid {
        return Ok(format!("rowid {direction}"));
    }
    let key: Vec<String> = c
        .prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")?
        .query_map([table], |r| {
            Ok(format!("{} {direction}", r.get::<_, String>(0)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(key.join(", "))
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> IntegrityError {
    let path = path.to_owned();
    move |source| IntegrityError::Io { path, source }
}
