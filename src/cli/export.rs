//! `llmwatch export`: the recorded samples, while a daemon may be writing more.

use std::io::{BufWriter, ErrorKind, Write};

use clap::ValueEnum;
use serde_json::Value;

use super::{Exit, Failure, Globals};
use crate::clock;
use crate::config::duration;
use crate::model::{Sample, Timestamp};
use crate::store::{SampleQuery, Store, StoreError};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// From then on: a length of time such as 24h, or RFC 3339 [default: everything]
    #[arg(long)]
    since: Option<String>,
    /// Until then: a length of time such as 1h, or RFC 3339
    #[arg(long)]
    until: Option<String>,
    /// The format
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// The same as --format jsonl
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

pub(super) fn run(globals: &Globals, args: &Args) -> Exit {
    let config = globals.load_without_secrets()?;
    let now = clock::now();
    let query = SampleQuery {
        since: args.since.as_deref().map(|s| moment(s, now)).transpose()?,
        until: args.until.as_deref().map(|s| moment(s, now)).transpose()?,
        ..SampleQuery::default()
    };
    let store = Store::open_read_only(&config.store.path)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let csv = args.format == Format::Csv && !args.json;
    let mut head = csv;
    let written = store.each_sample(query, |_, sample| {
        if csv {
            write_csv(&mut out, &sample, std::mem::take(&mut head))
        } else {
            serde_json::to_writer(&mut out, &sample)?;
            out.write_all(b"\n").map_err(Stop::from)
        }
    });
    match written.and_then(|()| out.flush().map_err(Stop::from)) {
        // `export | head` has read enough.
        Err(Stop::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
        Err(Stop::Json(error)) if error.io_error_kind() == Some(ErrorKind::BrokenPipe) => Ok(0),
        other => other.map(|()| 0).map_err(Failure::from),
    }
}

/// A moment as people write it: `30d` before now, or RFC 3339.
pub(super) fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(at) = Timestamp::parse(text) {
        return Ok(at);
    }
    duration(text).map(|back| now - back).map_err(|_| Failure {
        code: super::EX_USAGE,
        text: format!(
            "llmwatch: `{text}` is neither a length of time (`24h`, `30d`) nor RFC 3339 (`2026-11-23T09:00:00Z`)"
        ),
    })
}

fn write_csv(out: &mut impl Write, sample: &Sample, head: bool) -> Result<(), Stop> {
    let Value::Object(fields) = serde_json::to_value(sample)? else {
        return Ok(());
    };
    if head {
        let names: Vec<_> = fields.keys().map(String::as_str).collect();
        writeln!(out, "{}", names.join(","))?;
    }
    let cells: Vec<_> = fields.values().map(cell).collect();
    writeln!(out, "{}", cells.join(","))?;
    Ok(())
}

/// RFC 4180: quoted when it has to be, quotes doubled.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
