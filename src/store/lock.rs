//! Ensures one daemon per store: two would probe, count and notify twice.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{PRIVATE_FILE, StoreError, make_directory_of};

/// The exclusive right to run a daemon on a store. It ends with this value, or with the process.
#[derive(Debug)]
pub struct StoreLock {
    _file: Option<File>,
}

impl StoreLock {
    /// Locks the store at `path` by a file beside it. If the file system has no locks or no space,
    /// the daemon runs without this protection.
    ///
    /// # Errors
    /// When another process holds it, or the directory cannot be created.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        make_directory_of(path)?;
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        // Lock a separate file: SQLite's own locks are lost when any handle of this process is
        // closed.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE_FILE)
            .open(name)
            .ok();
        match file.as_ref().map(File::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => Err(StoreError::Claimed {
                path: path.to_owned(),
            }),
            _ => Ok(Self { _file: file }),
        }
    }
}
