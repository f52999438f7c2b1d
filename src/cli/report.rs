//! `llmwatch report`: what a stretch of time was like.

use std::time::Duration;

use super::{EX_USAGE, Exit, Failure, Globals, print};
use crate::clock;
use crate::config::duration;
use crate::model::Timestamp;
use crate::pipeline::reporting;
use crate::report;
use crate::store::Store;

/// A report that ends within this long before now is one of today.
const TODAY: Duration = Duration::from_hours(24);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// From when on: a length of time before now, such as `30d`, or an RFC 3339 moment
    #[arg(long, default_value = "30d", value_name = "WHEN")]
    since: String,
    /// Until when: a length of time before now, or an RFC 3339 moment [default: now]
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// A calendar month in the configured time zone, such as `2026-10`
    #[arg(long, value_name = "MONTH", conflicts_with_all = ["since", "until"])]
    month: Option<String>,
    /// The format
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The same as `--format json`
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Csv,
    Md,
    Html,
}

pub(super) fn run(globals: &Globals, args: &Args) -> Exit {
    let config = globals.load_without_secrets()?;
    let (zone, now) = (config.monitor.timezone, clock::now());
    let usage = |text: String| Failure {
        code: EX_USAGE,
        text: format!("llmwatch: {text}"),
    };
    let moment = |text: &str| {
        let parsed = duration(text)
            .map(|d| now - d)
            .or_else(|_| Timestamp::parse(text));
        parsed.map_err(|_| {
            usage(format!(
                "`{text}` is neither a length of time (`30d`) nor an RFC 3339 moment"
            ))
        })
    };
    let span = match &args.month {
        Some(text) => report::month(text, zone)
            .ok_or_else(|| usage(format!("`{text}` is no month: write `2026-10`")))?,
        None => (
            moment(&args.since)?,
            args.until.as_deref().map_or(Ok(now), moment)?,
        ),
    };
    if span.1 <= span.0 {
        return Err(usage("the report ends before it begins".to_owned()));
    }
    let store = Store::open_read_only(&config.store.path)?;
    let config = config.config;
    // What is advised today says nothing about a month that is long over.
    let standing = if span.1 >= now - TODAY {
        reporting::standing(&store, &config)?
    } else {
        Vec::new()
    };
    let report = reporting::gather(&store, &config, span, &standing)?;
    let format = if args.json { Format::Json } else { args.format };
    let text = match format {
        Format::Text => report.text(zone),
        Format::Json => serde_json::to_string_pretty(&report)?,
        Format::Csv => report.csv(),
        Format::Md => report.markdown(zone),
        Format::Html => report.html(zone),
    };
    print(text.trim_end());
    Ok(0)
}
