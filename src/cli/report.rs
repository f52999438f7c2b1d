//! `llmwatch report`: availability, faults, latency, incidents and cost of a period.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono_tz::Tz;

use super::point_in_time::point_in_time;
use super::{EX_USAGE, Exit, Failure, Globals, print};
use crate::clock;
use crate::config::Config;
use crate::daemon::pipeline::reporting;
use crate::failover::{Failover, Replay};
use crate::store::{SampleQuery, Store, StoreError};
use llmwatch_core::message::values::{Locale, NONE};
use llmwatch_core::model::{Incident, Timestamp};
use llmwatch_core::report;

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
    /// Also report what each group of alternatives would have saved
    #[arg(long)]
    failover: bool,
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
    let failover = if args.failover {
        replay(&store, &config, span)?
    } else {
        Vec::new()
    };
    let format = if args.json { Format::Json } else { args.format };
    let text = match format {
        Format::Text => report.text(zone) + &failover_text(&failover, zone),
        Format::Json => {
            let mut json = serde_json::to_value(&report)?;
            if args.failover {
                json["failover"] = serde_json::to_value(&failover)?;
            }
            serde_json::to_string_pretty(&json)?
        }
        Format::Csv => report.csv(),
        Format::Md => report.markdown(zone),
        Format::Html => report.html(zone),
    };
    print(text.trim_end());
    Ok(0)
}

/// Replays the samples of `span` through the routing of each group.
fn replay(
    store: &Store,
    config: &Config,
    span: (Timestamp, Timestamp),
) -> Result<Vec<Failover>, Failure> {
    let incidents: Vec<Incident> = store
        .incidents(false)?
        .iter()
        .filter_map(|row| serde_json::from_str(&row.data).ok())
        .filter(|i: &Incident| i.opened_at < span.1 && i.resolved_at.is_none_or(|end| end > span.0))
        .collect();
    let groups: BTreeSet<&str> = config
        .endpoints
        .iter()
        .filter_map(|e| e.group.as_deref())
        .collect();
    let mut replays: Vec<Replay> = groups
        .into_iter()
        .filter_map(|group| Replay::new(group, &config.endpoints, &incidents))
        .collect();
    let query = SampleQuery {
        after_seq: 0,
        since: Some(span.0),
        until: Some(span.1),
    };
    store.each_sample(query, |_, sample| {
        for replay in &mut replays {
            replay.add(&sample);
        }
        Ok::<_, StoreError>(())
    })?;
    Ok(replays.into_iter().map(Replay::finish).collect())
}

/// "chat: openai-chat alone 99.41%, with the group 99.93%; all down together for 38 min".
fn failover_text(all: &[Failover], zone: Tz) -> String {
    let locale = Locale::english(zone);
    let percent = |share: Option<f64>| share.map_or(NONE.to_owned(), |s| locale.percent(s));
    let mut text = String::new();
    for one in all {
        let alone = one.alone.iter().find(|a| a.name == one.first);
        text += &format!(
            "\n\nFAILOVER: {}\n{} alone {}, with the group {}; all down together for {}",
            one.group,
            one.first,
            percent(alone.and_then(|a| a.availability)),
            percent(one.with_group.availability),
            locale.duration(one.down_together_s),
        );
        match one.independence_ratio {
            Some(ratio) => text += &format!(", {ratio:.1} times what chance would give"),
            None => text += " (too little data to judge independence)",
        }
        let switches = one.switchovers.len() as u64;
        text += &format!(
            "\nbased on {}, {}",
            locale.count(one.samples, "sample", "samples"),
            locale.count(switches, "switchover", "switchovers")
        );
        if let Some(usd) = one.extra_cost_usd {
            text += &format!(", extra cost of the alternatives {}", locale.money(usd));
        }
    }
    text
}
