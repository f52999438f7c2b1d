//! The log: one closed set of events, each with a message that reads alone and fields that a machine reads.
//!
//! [`emit`] goes through `tracing`, so that one level and one writer serve our events and those of the libraries; the
//! layer below writes each as a JSON line, for people, or as native journal fields.

pub mod broadcast;
mod event;
mod journal;
mod render;

use std::io::{IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

pub use event::Event;

use self::journal::Journal;
use crate::clock;
use crate::config::LogFormat;

/// The target of our own events; those of libraries have other ones.
const TARGET: &str = "llmwatch";

/// The least severe level that is written, as a number; see [`rank`].
static LEVEL: AtomicU8 = AtomicU8::new(2);

/// Writes one event. `fields` is an object; its null fields are left out.
pub fn emit(event: Event, level: Level, message: &str, fields: &impl Serialize) {
    if rank(level) > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    // Plain data with string keys: serialising cannot fail.
    let fields = serde_json::to_string(fields).unwrap_or_default();
    let event = event.as_str();
    match level {
        Level::ERROR => tracing::error!(target: TARGET, event, fields, "{message}"),
        Level::WARN => tracing::warn!(target: TARGET, event, fields, "{message}"),
        Level::INFO => tracing::info!(target: TARGET, event, fields, "{message}"),
        Level::DEBUG => tracing::debug!(target: TARGET, event, fields, "{message}"),
        Level::TRACE => tracing::trace!(target: TARGET, event, fields, "{message}"),
    }
}

/// Says on stderr why a verb could not do its work: in the journal each line is an error, with its priority.
pub fn complain(text: &str) {
    if !stderr_is_journal() {
        eprintln!("{text}");
        return;
    }
    // One write, so that no other line comes between.
    let lines: String = text.lines().flat_map(|line| ["<3>", line, "\n"]).collect();
    let _ = std::io::stderr().lock().write_all(lines.as_bytes());
}

/// Installs the log of this process, on stderr or in the journal. A second call only changes the level.
pub fn install(format: LogFormat, level: Level) {
    set_level(level);
    let layer = Lines {
        writer: Writer::of(format),
    };
    // Fails only when there is a log already, which then goes on.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
}

/// Changes the least severe level that is written.
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
    Pretty { colour: bool },
    Journal(Journal),
}

impl Writer {
    fn of(format: LogFormat) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let journal = || Journal::connect().map(Self::Journal);
        match format {
            LogFormat::Pretty => Self::Pretty { colour },
            LogFormat::Auto if stderr_is_journal() => journal().unwrap_or(Self::Json),
            LogFormat::Auto if terminal => Self::Pretty { colour },
            LogFormat::Journald => journal().unwrap_or(Self::Json),
            LogFormat::Json | LogFormat::Auto => Self::Json,
        }
    }
}

/// Whether stderr is the stream that the service manager connected to the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_journal() -> bool {
    let wanted = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Some((device, inode)) = wanted.split_once(':') else {
        return false;
    };
    let same = |m: std::fs::Metadata| device == m.dev().to_string() && inode == m.ino().to_string();
    std::fs::metadata("/proc/self/fd/2").is_ok_and(same)
}

struct Lines {
    writer: Writer,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let least = LEVEL.load(Ordering::Relaxed);
        // Libraries talk one level down: their info is our debug.
        let level = rank(*metadata.level());
        let ours = metadata.target() == TARGET;
        if ours {
            level <= least
        } else {
            level.max(2) < least
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Visited::default();
        event.record(&mut line);
        let level = *event.metadata().level();
        if event.metadata().target() != TARGET {
            line.event = Event::Library.as_str().to_owned();
            line.fields
                .insert("target".to_owned(), Value::from(event.metadata().target()));
        }
        let now = clock::now();
        let text = match &self.writer {
            Writer::Json => render::json(now, level, &line.event, &line.message, &line.fields),
            Writer::Pretty { colour } => render::pretty(
                now,
                level,
                &line.event,
                &line.message,
                &line.fields,
                *colour,
            ),
            Writer::Journal(journal) => {
                return journal.send(level, &line.event, &line.message, &line.fields);
            }
        };
        // A log that nobody can read any more is no reason to stop watching.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

type Fields = serde_json::Map<String, Value>;

#[derive(Default)]
struct Visited {
    event: String,
    message: String,
    fields: Fields,
}

impl Visit for Visited {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => value.clone_into(&mut self.event),
            "message" => value.clone_into(&mut self.message),
            "fields" => {
                if let Ok(Value::Object(fields)) = serde_json::from_str(value) {
                    self.fields
                        .extend(fields.into_iter().filter(|(_, v)| !v.is_null()));
                }
            }
            name => drop(self.fields.insert(name.to_owned(), Value::from(value))),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
