//! Logs to the systemd journal with native fields, so that `journalctl EVENT=incident.opened`
//! works.
//!
//! The protocol is one datagram per entry: `KEY=value` lines. A value with line feeds is sent as
//! `KEY`, a line feed, the length as 64 bits little endian, and the bytes
//! (`systemd.io/JOURNAL_NATIVE_PROTOCOL`). The socket never blocks: entries that the journal does
//! not accept are dropped and counted. Long values are truncated and marked, so that each entry
//! fits into one datagram.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use serde_json::Value;
use tracing::Level;

use super::FieldMap;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Longer values are truncated: `journalctl -o json` shows fields of 4096 bytes and more (their
/// name included) as `null`.
const LONGEST_VALUE: usize = 4000;
/// Fields beyond this size are left out: an entry that exceeds the socket's buffer (208 KiB by
/// default) would not be sent.
const LONGEST_ENTRY: usize = 128 * 1024;
/// The size limit if the full entry does not fit because the machine's buffers are unusually small.
/// This fits the smallest buffers.
const SHORT_ENTRY: usize = 1024;
/// Marks a truncated value.
const CUT: &str = "…";

/// A connection to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    dropped: AtomicU64,
}

impl Journal {
    /// Connects; `None` if there is no journal.
    pub(super) fn connect() -> Option<Self> {
        Self::at(PathBuf::from(SOCKET))
    }

    fn at(path: PathBuf) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(&path).ok()?;
        Some(Self {
            socket,
            path,
            dropped: AtomicU64::new(0),
        })
    }

    /// Sends one entry, or counts it as dropped.
    pub(super) fn send(&self, level: Level, event: &str, message: &str, fields: &FieldMap) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let entry = |longest| {
            let mut entry = encode(level, event, message, fields, longest);
            if dropped > 0 {
                field(
                    &mut entry,
                    "DROPPED_ENTRIES",
                    &dropped.to_string(),
                    LONGEST_VALUE,
                );
            }
            entry
        };
        let full_entry = entry(LONGEST_ENTRY);
        let sent = self.socket.send(&full_entry).or_else(|error| {
            if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) {
                return self.socket.send(&entry(SHORT_ENTRY));
            }
            // After a restart, the journal has a new socket at the same path.
            self.socket.connect(&self.path)?;
            self.socket.send(&full_entry)
        });
        if sent.is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }
}

/// Encodes an entry. Fields that would make it longer than `longest` are left out;
/// `FIELDS_LEFT_OUT` has their number.
fn encode(level: Level, event: &str, message: &str, fields: &FieldMap, longest: usize) -> Vec<u8> {
    // syslog(3): err, warning, info, debug.
    let priority = match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    };
    let mut entry = Vec::with_capacity(1024);
    let longest_value = LONGEST_VALUE.min(longest / 2);
    field(&mut entry, "PRIORITY", priority, longest_value);
    field(&mut entry, "SYSLOG_IDENTIFIER", "llmwatch", longest_value);
    field(&mut entry, "EVENT", event, longest_value);
    field(&mut entry, "MESSAGE", message, longest_value);
    let mut left_out = 0;
    for (name, value) in fields {
        let key: String = name
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect::<String>()
            .to_ascii_uppercase();
        if !key.starts_with(|c: char| c.is_ascii_alphabetic()) || value.is_null() {
            continue;
        }
        let before = entry.len();
        match value {
            Value::String(text) => field(&mut entry, &key, text, longest_value),
            other => field(&mut entry, &key, &other.to_string(), longest_value),
        }
        if entry.len() > longest {
            entry.truncate(before);
            left_out += 1;
        }
    }
    if left_out > 0 {
        field(
            &mut entry,
            "FIELDS_LEFT_OUT",
            &left_out.to_string(),
            longest_value,
        );
    }
    entry
}

/// Adds a field. A value longer than `longest` is truncated and ends in [`CUT`].
fn field(entry: &mut Vec<u8>, key: &str, value: &str, longest: usize) {
    let (value, mark) = if value.len() <= longest {
        (value, "")
    } else {
        (
            &value[..value.floor_char_boundary(longest - CUT.len())],
            CUT,
        )
    };
    entry.extend_from_slice(key.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&((value.len() + mark.len()) as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.extend_from_slice(mark.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests;
