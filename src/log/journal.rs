//! Native journal fields, so that `journalctl EVENT=incident.opened` works.
//!
//! The protocol is one datagram an entry: `KEY=value` lines, or `KEY`, a line feed, the length as 64 bits little endian
//! and the bytes, for values that contain line feeds (`systemd.io/JOURNAL_NATIVE_PROTOCOL`). The socket never blocks: what
//! a full journal does not take is dropped and counted. What is too long is cut, and a mark says so: no entry needs more
//! than a datagram.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use serde_json::Value;
use tracing::Level;

use super::Fields;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Longer values are cut: `journalctl -o json` shows fields of 4096 bytes and more (their name included) as `null`.
const LONGEST_VALUE: usize = 4000;
/// Further fields are left out: an entry that does not fit the socket's buffer (208 KiB by default) would not be sent.
const LONGEST_ENTRY: usize = 128 * 1024;
/// Where even that does not fit, because the machine's buffers are smaller than usual: this fits the smallest ones.
const SHORT_ENTRY: usize = 1024;
/// Ends a value that was cut.
const CUT: &str = "…";

/// A connection to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    dropped: AtomicU64,
}

impl Journal {
    /// Connects; `None` where there is no journal.
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
    pub(super) fn send(&self, level: Level, event: &str, message: &str, fields: &Fields) {
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
            // A journal that was restarted has a new socket under the old name.
            self.socket.connect(&self.path)?;
            self.socket.send(&full_entry)
        });
        if sent.is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }
}

/// The entry; fields that make it longer than `longest` are left out, and `FIELDS_LEFT_OUT` says how many.
fn encode(level: Level, event: &str, message: &str, fields: &Fields, longest: usize) -> Vec<u8> {
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

/// Adds a field; a value that is longer than `longest` is cut, and ends in [`CUT`].
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
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_upper_case_fields_and_safe_line_feeds() {
        let Value::Object(fields) =
            serde_json::json!({"endpoint": "a", "_x": 1, "error": "two\nlines"})
        else {
            panic!("an object")
        };
        let entry = encode(
            Level::WARN,
            "probe.completed",
            "it failed",
            &fields,
            LONGEST_ENTRY,
        );
        let text = String::from_utf8_lossy(&entry);
        assert!(text.starts_with(
            "PRIORITY=4\nSYSLOG_IDENTIFIER=llmwatch\nEVENT=probe.completed\nMESSAGE=it failed\n"
        ));
        assert!(text.contains("\nENDPOINT=a\n"));
        assert!(
            text.contains("ERROR\n\u{9}\0\0\0\0\0\0\0two\nlines\n"),
            "{text:?}"
        );
        assert!(
            !text.contains("_X"),
            "fields that begin with an underscore are the journal's own"
        );
    }

    #[test]
    fn a_full_or_restarted_journal_drops_with_a_count_and_never_stalls() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let reader = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(path.clone()).unwrap();
        let say = |words: &str| journal.send(Level::INFO, "probe.completed", words, &Fields::new());
        let next = |reader: &UnixDatagram| {
            let mut entry = vec![0; LONGEST_ENTRY];
            let n = reader.recv(&mut entry).unwrap();
            String::from_utf8_lossy(&entry[..n]).into_owned()
        };
        let mut said = 0;
        while journal.dropped.load(Ordering::Relaxed) < 3 {
            say("nobody reads");
            said += 1;
        }
        for _ in 0..said - 3 {
            assert!(!next(&reader).contains("DROPPED_ENTRIES"));
        }
        say("there is room");
        assert!(next(&reader).ends_with("MESSAGE=there is room\nDROPPED_ENTRIES=3\n"));
        drop(reader);
        std::fs::remove_file(&path).unwrap();
        say("nobody is there");
        let reader = UnixDatagram::bind(&path).unwrap();
        say("it is back");
        assert!(next(&reader).ends_with("MESSAGE=it is back\nDROPPED_ENTRIES=1\n"));
    }

    #[test]
    fn whatever_is_logged_an_entry_stays_within_the_limits_and_says_what_was_cut() {
        let long = "ü".repeat(1 << 16);
        let fields = (0..200)
            .map(|i| (format!("field{i}"), Value::from(long.clone())))
            .collect();
        for longest in [LONGEST_ENTRY, SHORT_ENTRY] {
            let entry = encode(Level::INFO, "probe.completed", &long, &fields, longest);
            assert!(entry.len() < longest + 64, "{}", entry.len());
            let text = String::from_utf8(entry).unwrap();
            assert!(text.lines().all(|line| line.len() < 4096));
            assert!(
                text.lines()
                    .any(|line| line.starts_with("MESSAGE=ü") && line.ends_with("ü…"))
            );
            let held = text
                .lines()
                .filter(|line| line.starts_with("FIELD") && line.ends_with("ü…"))
                .count();
            assert!(text.ends_with(&format!("\nFIELDS_LEFT_OUT={}\n", 200 - held)));
        }
    }

    #[test]
    fn an_entry_that_the_machines_buffers_do_not_take_is_sent_short() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let reader = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(path).unwrap();
        // The smallest that the kernel allows.
        nix::sys::socket::setsockopt(&journal.socket, nix::sys::socket::sockopt::SndBuf, &0)
            .unwrap();
        let error = "long\n".repeat(1 << 12);
        let fields = [("endpoint", "one"), ("error", &error), ("answer", &error)];
        let fields = fields
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .into_iter()
            .collect();
        journal.send(Level::WARN, "probe.completed", "it failed", &fields);
        let mut entry = vec![0; LONGEST_ENTRY];
        let n = reader.recv(&mut entry).unwrap();
        let text = String::from_utf8_lossy(&entry[..n]);
        assert!(
            text.contains("EVENT=probe.completed\nMESSAGE=it failed\nENDPOINT=one\n"),
            "{text:?}"
        );
        assert!(
            text.contains("long…\n") && text.ends_with("\nFIELDS_LEFT_OUT=1\n"),
            "{text:?}"
        );
        assert_eq!(journal.dropped.load(Ordering::Relaxed), 0);
    }
}
