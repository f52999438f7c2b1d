//! Preallocated disk space for critical state while the store cannot grow.
//!
//! The daemon allocates a small file beside the store while there is space. When a commit fails,
//! the pending incidents and notifications and the states of detection and alerting overwrite it,
//! which needs no further space. After a `kill -9` the daemon resumes from there: the outage keeps
//! its ID and number, and nobody is notified under another ID. File systems that never write in
//! place may still refuse; then this state is in memory only.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use flate2::Crc;
use serde::{Deserialize, Serialize};

use super::{Commit, IncidentRow, PRIVATE_FILE, locked, packed, unpacked};
use llmwatch_core::model::Outgoing;

/// The minimum size of the file in bytes.
const LEAST: u64 = 256 << 10;
/// The maximum size of an endpoint's state, compressed.
const PER_ENDPOINT: u64 = 2 << 10;
/// The magic number, and the length and checksum of the content.
const HEADER: usize = 16;
const MAGIC: [u8; 8] = *b"llmwatch";

/// State that could not be recorded in the store.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unrecorded {
    /// The last sample in the store at that time. A later sample makes this obsolete.
    pub last_seq: i64,
    /// The detector state.
    pub checkpoint: Option<String>,
    /// The alerting state.
    pub notification_state: Option<String>,
    /// The last row of each incident that changed.
    pub incidents: Vec<IncidentRow>,
    /// Notifications that are not in the outbox.
    pub outgoing: Vec<Outgoing>,
}

impl Unrecorded {
    /// Converts it to the transaction that records it.
    pub fn commit(self) -> Commit {
        Commit {
            incidents: self.incidents,
            outgoing: self.outgoing,
            checkpoint: self.checkpoint,
            notification_state: self.notification_state,
            ..Commit::default()
        }
    }
}

/// The preallocated file. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Reserve {
    file: Option<Arc<Mutex<File>>>,
    size: u64,
}

impl Reserve {
    /// Opens the reserve of the store at `path`, sized for the states of `endpoints`. If the disk
    /// is full, it stays smaller or empty.
    pub fn open(path: &Path, endpoints: usize) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(".reserve");
        let wanted = LEAST.max(PER_ENDPOINT.saturating_mul(endpoints as u64));
        let open = || -> std::io::Result<(File, u64)> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(PRIVATE_FILE)
                .open(name)?;
            // Write zeros instead of setting the length: a sparse file reserves no space.
            let mut size = file.metadata()?.len();
            let zeros = vec![0; 64 << 10];
            while size < wanted {
                let written = file.write_at(&zeros, size);
                match written {
                    Ok(written) if written > 0 => size += written as u64,
                    _ => break,
                }
            }
            Ok((file, size))
        };
        match open() {
            Ok((file, size)) => Self {
                file: Some(Arc::new(Mutex::new(file))),
                size,
            },
            Err(_) => Self::default(),
        }
    }

    /// Overwrites the reserve with `unrecorded`, leaving out the detector state if that does not
    /// fit.
    ///
    /// # Errors
    /// When the file cannot be written, or it does not fit.
    pub fn write(&self, unrecorded: &Unrecorded) -> std::io::Result<()> {
        let Some(file) = &self.file else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        let mut content = packed(&serde_json::to_string(unrecorded)?);
        if (HEADER + content.len()) as u64 > self.size {
            let smaller = Unrecorded {
                checkpoint: None,
                ..unrecorded.clone()
            };
            content = packed(&serde_json::to_string(&smaller)?);
        }
        if (HEADER + content.len()) as u64 > self.size {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let mut crc = Crc::new();
        crc.update(&content);
        let mut record = Vec::with_capacity(HEADER + content.len());
        record.extend(MAGIC);
        record.extend(u32::try_from(content.len()).unwrap_or(0).to_le_bytes());
        record.extend(crc.sum().to_le_bytes());
        record.write_all(&content)?;
        let file = locked(file);
        file.write_all_at(&record, 0)?;
        file.sync_data()
    }

    /// Returns the last written state, unless it was cleared or is damaged.
    pub fn read(&self) -> Option<Unrecorded> {
        let file = locked(self.file.as_ref()?);
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).ok()?;
        let number = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?))
        };
        let length = number(8).filter(|_| header.starts_with(&MAGIC))?;
        let mut content = vec![
            0;
            usize::try_from(length)
                .ok()
                .filter(|l| *l as u64 <= self.size)?
        ];
        file.read_exact_at(&mut content, HEADER as u64).ok()?;
        let mut crc = Crc::new();
        crc.update(&content);
        if Some(crc.sum()) != number(12) {
            return None;
        }
        serde_json::from_str(&unpacked(&content)).ok()
    }

    /// Clears the reserve once the store has the state.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn clear(&self) -> std::io::Result<()> {
        match &self.file {
            Some(file) => {
                let file = locked(file);
                file.write_all_at(&[0; HEADER], 0)?;
                file.sync_data()
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_until_it_is_cleared() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store.db");
        let reserve = Reserve::open(&path, 1);
        assert_eq!(reserve.read(), None);
        let unrecorded = Unrecorded {
            last_seq: 7,
            checkpoint: Some("{}".repeat(9000)),
            ..Unrecorded::default()
        };
        reserve.write(&unrecorded).expect("there is room");
        assert_eq!(Reserve::open(&path, 1).read(), Some(unrecorded));
        reserve.clear().expect("it can be written");
        assert_eq!(Reserve::open(&path, 1).read(), None);
    }

    #[test]
    fn a_damaged_record_is_ignored() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store.db");
        let reserve = Reserve::open(&path, 1);
        reserve
            .write(&Unrecorded::default())
            .expect("there is room");
        let name = dir.path().join("store.db.reserve");
        let mut bytes = std::fs::read(&name).expect("it is there");
        bytes[HEADER + 3] ^= 1;
        std::fs::write(&name, bytes).expect("it can be written");
        assert_eq!(reserve.read(), None);
    }
}
