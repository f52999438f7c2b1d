//! `llmwatch export`: prints the recorded samples; the daemon may be running.

use std::io::{BufWriter, ErrorKind, Write};

use clap::ValueEnum;
use serde_json::Value;

use super::point_in_time::point_in_time;
use super::{Exit, Failure, Globals, daemon_client};
use crate::clock;

use crate::store::{SampleQuery, Store, StoreError};
use llmwatch_core::model::Sample;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch export --since 24h --format csv > samples.csv")]
pub(super) struct ExportArgs {
    /// Start: a duration before now (24h), a date, or RFC 3339 [default: everything]
    #[arg(long)]
    since: Option<String>,
    /// End: a duration before now (1h), a date, or RFC 3339 [default: now]
    #[arg(long)]
    until: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value = "jsonl")]
    format: ExportFormat,
    /// Same as --format jsonl
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum ExportFormat {
    Jsonl,
    Csv,
}

#[derive(Debug, thiserror::Error)]
enum ExportStop {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

pub(super) async fn run(globals: &Globals, args: &ExportArgs) -> Exit {
    let config = globals.load_without_secrets()?;
    let now = clock::now();
    let zone = config.monitor.timezone;
    let moment = |text: &String| point_in_time(text, now, zone);
    let query = SampleQuery {
        since: args.since.as_ref().map(moment).transpose()?,
        until: args.until.as_ref().map(moment).transpose()?,
        ..SampleQuery::default()
    };
    daemon_client::flush(&config).await;
    let store = Store::open_read_only(&config.store.path)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let csv = args.format == ExportFormat::Csv && !args.json;
    let mut head = csv;
    let written = store.each_sample(query, |_, sample| {
        if csv {
            write_csv(&mut out, &sample, std::mem::take(&mut head))
        } else {
            serde_json::to_writer(&mut out, &sample)?;
            out.write_all(b"\n").map_err(ExportStop::from)
        }
    });
    match written.and_then(|()| out.flush().map_err(ExportStop::from)) {
        // `export | head` closes the pipe early.
        Err(ExportStop::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
        Err(ExportStop::Json(error)) if error.io_error_kind() == Some(ErrorKind::BrokenPipe) => {
            Ok(0)
        }
        other => other.map(|()| 0).map_err(Failure::from),
    }
}

fn write_csv(out: &mut impl Write, sample: &Sample, head: bool) -> Result<(), ExportStop> {
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

/// Formats a CSV cell (RFC 4180): quoted if necessary, with quotes doubled.
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
