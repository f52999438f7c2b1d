//! The log: a closed set of events, each with a self-contained message for people and fields for
//! programs.
//!
//! Our events and those of libraries (through `tracing`) share one level and one writer. Each event
//! becomes a JSON line, a human-readable line, or native journal fields.

pub mod broadcast;
mod event;
mod journal;
pub mod record;
mod render;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

pub use event::Event;

use self::journal::Journal;
use crate::clock;
use crate::config::LogFormat;

/// The minimum level, as a number; see [`rank`].
static LEVEL: AtomicU8 = AtomicU8::new(2);

/// The writer; unset until the log is installed.
static WRITER: OnceLock<Writer> = OnceLock::new();

/// Rate-limited events by event and subject: the time of the last line, and the count since then.
static REPEATED: Mutex<BTreeMap<(&str, String), Repeated>> = Mutex::new(BTreeMap::new());
const REPEAT_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
struct Repeated {
    logged_at: Option<Instant>,
    count: u64,
}

/// Logs one event. `fields` is an object; its null fields are left out.
///
/// It bypasses `tracing`, which would convert the fields to text, parse them, and convert them
/// again.
pub fn emit(event: Event, level: Level, message: &str, fields: &impl Serialize) {
    if rank(level) > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let Some(writer) = WRITER.get() else { return };
    // Plain data with string keys: serializing cannot fail.
    let mut fields = match serde_json::to_value(fields) {
        Ok(Value::Object(fields)) => fields,
        _ => FieldMap::new(),
    };
    fields.retain(|_, value| !value.is_null());
    writer.write(level, event.as_str(), message, &fields);
}

/// Logs a recurring event at most once a minute for each `subject`, with the `count` since the last
/// line. `fields` is an object. Subjects are parts of the daemon and names in the configuration, so
/// their number is bounded.
pub fn emit_limited(event: Event, level: Level, subject: &str, message: &str, mut fields: Value) {
    let Some(count) = count_repeated(event, subject) else {
        return;
    };
    fields["count"] = count.into();
    emit(event, level, message, &fields);
}

/// Counts a recurring event. Returns the count since the last line if it is time for another.
fn count_repeated(event: Event, subject: &str) -> Option<u64> {
    let mut repeated = REPEATED.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = repeated
        .entry((event.as_str(), subject.to_owned()))
        .or_default();
    entry.count += 1;
    if entry
        .logged_at
        .is_some_and(|at| at.elapsed() < REPEAT_EVERY)
    {
        return None;
    }
    entry.logged_at = Some(Instant::now());
    Some(std::mem::take(&mut entry.count))
}

/// Logs that the store failed for `part` of the daemon, at most once a minute for each part: a full
/// disk fails every attempt.
pub fn store_failed(part: &'static str, message: &str, error: &impl Display) {
    let fields = json!({"part": part, "error": error.to_string()});
    emit_limited(Event::StoreFailed, Level::ERROR, part, message, fields);
}

/// Prints on stderr why a subcommand failed. In the journal, each line has the priority of an
/// error.
pub fn complain(text: &str) {
    if !stderr_is_journal() {
        // Not `eprintln`, which panics if nobody reads stderr any more.
        let _ = writeln!(std::io::stderr(), "{text}");
        return;
    }
    // A single write, so that lines of other threads do not get in between.
    let lines: String = text.lines().flat_map(|line| ["<3>", line, "\n"]).collect();
    let _ = std::io::stderr().lock().write_all(lines.as_bytes());
}

/// Installs the log of this process, on stderr or in the journal. A second call changes only the
/// level.
pub fn install(format: LogFormat, level: Level) {
    set_level(level);
    // If a log is already installed, it stays.
    let _ = WRITER.set(Writer::of(format));
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Libraries));
}

/// Changes the minimum level.
pub fn set_level(level: Level) {
    LEVEL.store(rank(level), Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

enum Writer {
    Json,
    Pretty { color: bool },
    Journal(Journal),
}

impl Writer {
    fn of(format: LogFormat) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let journal = || Journal::connect().map(Self::Journal);
        match format {
            LogFormat::Pretty => Self::Pretty { color },
            LogFormat::Auto if stderr_is_journal() => journal().unwrap_or(Self::Json),
            LogFormat::Auto if terminal => Self::Pretty { color },
            LogFormat::Journald => journal().unwrap_or(Self::Json),
            LogFormat::Json | LogFormat::Auto => Self::Json,
        }
    }
}

/// Reports whether stderr is connected to the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_journal() -> bool {
    let wanted = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Some((device, inode)) = wanted.split_once(':') else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|m| device == m.dev().to_string() && inode == m.ino().to_string())
}

impl Writer {
    fn write(&self, level: Level, event: &str, message: &str, fields: &FieldMap) {
        let now = clock::now();
        let text = match self {
            Self::Json => render::json(now, level, event, message, fields),
            Self::Pretty { color } => render::pretty(now, level, event, message, fields, *color),
            Self::Journal(journal) => return journal.send(level, event, message, fields),
        };
        // A failed log write must not stop monitoring.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Forwards the log events of libraries.
struct Libraries;

impl<S: Subscriber> Layer<S> for Libraries {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Libraries log one level down: their info is our debug.
        rank(*metadata.level()).max(2) < LEVEL.load(Ordering::Relaxed)
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let Some(writer) = WRITER.get() else { return };
        let mut line = Visited::default();
        event.record(&mut line);
        let metadata = event.metadata();
        line.fields
            .insert("target".to_owned(), Value::from(metadata.target()));
        let name = Event::Library.as_str();
        writer.write(*metadata.level(), name, &line.message, &line.fields);
    }
}

type FieldMap = serde_json::Map<String, Value>;

#[derive(Default)]
struct Visited {
    message: String,
    fields: FieldMap,
}

impl Visit for Visited {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => drop(self.fields.insert(name.to_owned(), Value::from(value))),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_repeated_event_is_logged_once_a_minute_with_a_count() {
        let count = || count_repeated(Event::StoreFailed, "a test");
        assert_eq!(count(), Some(1));
        for _ in 0..59 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(count(), None);
        }
        assert_eq!(count_repeated(Event::StoreFailed, "another"), Some(1));
        assert_eq!(count_repeated(Event::StoreSlow, "a test"), Some(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(count(), Some(60));
    }
}
