//! Room that is kept free on the disk for what must not be lost while the store cannot grow.
//!
//! The daemon allocates a small file beside the store while there is room. When a commit fails, the incidents and
//! notifications that wait, and the states of detection and alerting, are written over it, which needs no further room. After a
//! `kill -9` the daemon continues from there: the outage keeps its id and its number, and nobody is notified of it under
//! another id. File systems that never write in place may still refuse; then what waits is in memory only.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use flate2::Crc;
use serde::{Deserialize, Serialize};

use super::{Commit, IncidentRow, PRIVATE_FILE, locked, packed, unpacked};
use llmwatch_core::model::Outgoing;

/// The least size of the file in bytes.
const LEAST: u64 = 256 << 10;
/// What the state of an endpoint takes at most in it, packed.
const PER_ENDPOINT: u64 = 2 << 10;
/// The magic number, the length and the checksum of what follows.
const HEADER: usize = 16;
const MAGIC: [u8; 8] = *b"llmwatch";

/// What could not be recorded in the store.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unrecorded {
    /// The number of the last sample in the store then. After a later one this is out of date.
    pub last_seq: i64,
    /// The state of detection.
    pub checkpoint: Option<String>,
    /// The record of alerting.
    pub notification_state: Option<String>,
    /// The last row of each incident that changed.
    pub incidents: Vec<IncidentRow>,
    /// Notifications that the outbox does not have.
    pub outgoing: Vec<Outgoing>,
}

impl Unrecorded {
    /// The transaction that records it.
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

/// See the module. Clones share one file.
#[derive(Debug, Clone, Default)]
pub struct Reserve {
    file: Option<Arc<Mutex<File>>>,
    size: u64,
}

impl Reserve {
    /// The reserve of the store at `path`, with room for the states of `endpoints`. Without room for it there is none.
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
            // Written and not merely set: a hole is no room.
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

    /// Writes `unrecorded` over what was there; without the state of detection if that does not fit.
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

    /// What was written last, unless it was cleared since or is damaged.
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

    /// Forgets what was written: the store has it.
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
