//! One daemon to a store: two would probe, count and notify twice.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{PRIVATE_FILE, StoreError, make_directory_of};

/// The right to run a daemon on a store; it ends with this value, and with the process, however that ends.
#[derive(Debug)]
pub struct StoreLock {
    _file: Option<File>,
}

impl StoreLock {
    /// Takes the store at `path` by a lock on a file beside it. Where the file system has no locks or no room for one, there
    /// is no protection, which is no reason not to watch.
    ///
    /// # Errors
    /// When another process has it, or the directory cannot be made.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        make_directory_of(path)?;
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        // The store itself cannot be locked: SQLite's own locks on it end when any handle of this process is closed.
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
