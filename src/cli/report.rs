//! `llmwatch report`: availability, faults, latency, incidents and cost of a period.

use std::time::Duration;

use super::point_in_time::point_in_time;
use super::{EX_USAGE, Exit, Failure, Globals, print};
use crate::clock;
use crate::pipeline::reporting;
use crate::report;
use crate::store::Store;

/// A report that ends within this long before now is one of today.
const TODAY: Duration = Duration::from_hours(24);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch report --month 2026-10 --format html > october.html")]
pub(super) struct Args {
    /// Start: a duration before now (30d), a date, or RFC 3339
    #[arg(long, default_value = "30d", value_name = "WHEN")]
    since: String,
    /// End: a duration before now, a date, or RFC 3339 [default: now]
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Calendar month in the configured time zone, such as `2026-10`
    #[arg(long, value_name = "MONTH", conflicts_with_all = ["since", "until"])]
    month: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Same as `--format json`
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
    let moment = |text: &str| point_in_time(text, now, zone);
    let span = match &args.month {
        Some(text) => report::month(text, zone)
            .ok_or_else(|| usage(format!("invalid month `{text}`: write it as `2026-10`")))?,
        None => (
            moment(&args.since)?,
            args.until.as_deref().map_or(Ok(now), moment)?,
        ),
    };
    if span.1 <= span.0 {
        return Err(usage("`--until` is not after `--since`".to_owned()));
    }
    let store = Store::open_read_only(&config.store.path)?;
    let config = config.config;
    // Advice that is current today does not concern a period that ended earlier.
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
