//! `llmwatch report`: availability, faults, latency, incidents and cost of a period.

use std::time::Duration;

use super::point_in_time::point_in_time;
use super::progress::ProgressLine;
use super::{Exit, Failure, Globals, daemon_client, print};
use crate::clock;
use crate::config::Config;
use crate::daemon::pipeline::reporting;
use crate::failover::{Failover, Independence, Pair, replay};
use crate::store::{RollupQuery, Store};
use llmwatch_core::message::values::{Locale, NONE};
use llmwatch_core::model::{Block, Timestamp};
use llmwatch_core::report;
use llmwatch_core::report::chart::{self, Axis, Series};
use llmwatch_core::report::rollup::Resolution;
use llmwatch_core::text;

/// A report that ends within this time before now is current.
const TODAY: Duration = Duration::from_hours(24);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  llmwatch report --month 2026-10 --format html > october.html\n  llmwatch report --sla 99.9 --month 2026-10"
)]
pub(super) struct ReportArgs {
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
    format: ReportFormat,
    /// Say whether a commitment to this availability, in percent, was missed
    #[arg(long, value_name = "PERCENT", value_parser = objective)]
    sla: Option<f64>,
    /// Only what was seen from this location
    #[arg(long, value_name = "NAME")]
    location: Option<String>,
    /// Also report what each group of alternatives would have saved
    #[arg(long)]
    failover: bool,
    /// Same as `--format json`
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    Text,
    Json,
    Csv,
    Md,
    Html,
}

pub(super) async fn run(globals: &Globals, args: &ReportArgs) -> Exit {
    let config = globals.load_without_secrets()?;
    let zone = config.monitor.timezone;
    let now = clock::now();
    let span = if let Some(text) = &args.month {
        report::month(text, zone)
            .ok_or_else(|| Failure::new(format!("invalid month `{text}`: write it as `2026-10`")))?
    } else {
        let until = args.until.as_deref();
        (
            point_in_time(&args.since, now, zone)?,
            until.map_or(Ok(now), |text| point_in_time(text, now, zone))?,
        )
    };
    if span.1 <= span.0 {
        return Err(Failure::new("`--until` is not after `--since`"));
    }
    daemon_client::flush(&config).await;
    let store = Store::open_read_only(&config.store.path)?;
    let config = config.config;
    let locale = Locale::of(&config);
    // Current advice does not apply to a period that ended earlier.
    let standing = if span.1 >= now - TODAY {
        reporting::standing(&store, &config)?
    } else {
        Vec::new()
    };
    let location = args.location.as_deref();
    if let Some(location) = location {
        let known = store.known_locations()?;
        if !known.iter().any(|l| l == location) {
            let known = known.join(", ");
            return Err(Failure::new(format!(
                "nothing was recorded from `{location}`; the locations are {known}"
            )));
        }
    }
    let mut report = reporting::gather(&store, &config, span, now, location, &standing)?;
    if let Some(objective) = args.sla {
        report = report.with_sla(objective, &locale);
    }
    let failover = if args.failover {
        let mut progress = ProgressLine::new("replaying", span);
        replay(
            &store,
            &config,
            span,
            location,
            |_| true,
            |sample| progress.step(sample.started_at),
        )?
    } else {
        Vec::new()
    };
    let format = if args.json {
        ReportFormat::Json
    } else {
        args.format
    };
    report.parts.extend(failover_part(&failover, &locale));
    let text = match format {
        ReportFormat::Text => report.text(&locale),
        ReportFormat::Json => {
            let mut json = serde_json::to_value(&report)?;
            if args.failover {
                json["failover"] = serde_json::to_value(&failover)?;
            }
            serde_json::to_string_pretty(&json)?
        }
        ReportFormat::Csv => report.csv(),
        ReportFormat::Md => report.markdown(&locale),
        ReportFormat::Html => report.html(&locale, &charts(&store, &config, span, location)?),
    };
    print(text.trim_end());
    Ok(0)
}

/// Returns the charts of the page, with daily steps, or hourly ones for a period of a few days.
fn charts(
    store: &Store,
    config: &Config,
    (since, until): (Timestamp, Timestamp),
    location: Option<&str>,
) -> Result<String, Failure> {
    let is_short = until.since_ms(since) <= 4 * 24 * 3_600_000;
    let resolution = if is_short {
        Resolution::Hour
    } else {
        Resolution::Day
    };
    let query = RollupQuery {
        resolution,
        endpoint: None,
        location,
        since: resolution.begin(since),
        until,
        detail: true,
    };
    let mut rollups = store.rollups(query)?;
    let series: Vec<_> = config
        .endpoints
        .iter()
        .filter_map(|e| {
            let steps = rollups.remove(&e.name)?;
            let endpoint = e.name.clone();
            Some(Series { endpoint, steps })
        })
        .collect();
    let axis = Axis {
        since: resolution.begin(since),
        until: resolution.end(until),
        step_ms: resolution.length().as_millis() as i64,
        locale: Locale::of(config),
    };
    Ok(chart::html(&series, axis))
}

/// Parses an objective in percent.
fn objective(text: &str) -> Result<f64, String> {
    let percent: Option<f64> = text.trim_end_matches('%').parse().ok();
    percent
        .filter(|p| *p > 0.0 && *p < 100.0)
        .ok_or_else(|| "write a percentage below 100, such as 99.9".to_owned())
}

/// Formats the pairs of the first endpoint with each of the others, and which of them fail
/// together.
fn pairs_part(failover: &Failover, locale: &Locale) -> Vec<Block> {
    let head = [
        locale.say("with"),
        locale.say("availability"),
        locale.say("both down"),
        locale.say("fail together"),
    ];

    let shared = failover.pairs.iter().filter_map(|pair| {
        let independence = pair.independence.filter(Independence::is_shared_fate)?;
        let first = &failover.first;
        let with = &pair.with;
        let share = locale.percentage(independence.shared * 100.0, 0);
        Some(text!(
            locale,
            "{first} and {with} share most of their bad minutes ({share}): they are not independent alternatives.",
            first,
            with,
            share
        ))
    });
    let shared: Vec<_> = shared.collect();
    let mut blocks = vec![Block::Table {
        head: head.map(str::to_owned).to_vec(),
        rows: failover
            .pairs
            .iter()
            .map(|pair| pair_row(pair, locale))
            .collect(),
    }];
    if !shared.is_empty() {
        blocks.push(Block::List(shared));
    }
    blocks
}

fn pair_row(pair: &Pair, locale: &Locale) -> Vec<String> {
    let independence = match pair.independence {
        None => locale.say("too little data").to_owned(),
        Some(i) => {
            let [ratio, low, high] = [i.ratio, i.low, i.high].map(|f| locale.decimal(f, 1));
            text!(
                locale,
                "{ratio}× chance ({low} to {high})",
                ratio,
                low,
                high
            )
        }
    };
    vec![
        pair.with.to_string(),
        percent(pair.availability, locale),
        locale.duration(pair.down_together_s),
        independence,
    ]
}

fn percent(share: Option<f64>, locale: &Locale) -> String {
    share.map_or(NONE.to_owned(), |s| locale.percent(s))
}

/// Formats the failover figures: "openai-chat alone 99.41%, with the group 99.93%; all down
/// together for 38 min".
fn failover_part(all: &[Failover], locale: &Locale) -> Vec<Block> {
    let mut blocks = Vec::new();
    for one in all {
        let alone = one.alone.iter().find(|a| a.name == one.first);
        let first = &one.first;
        let group = &one.group;
        let alone = percent(alone.and_then(|a| a.availability), locale);
        let with = percent(one.with_group.availability, locale);
        let down = locale.duration(one.down_together_s);
        let mut text = text!(
            locale,
            "{first} alone {alone}, with the group {with}; all down together for {down}",
            first,
            alone,
            with,
            down
        );
        text += &match one.independence_ratio {
            Some(ratio) => {
                let ratio = locale.decimal(ratio, 1);
                text!(locale, ", {ratio} times what chance would give.", ratio)
            }
            None => locale
                .say(", too little data to judge independence.")
                .to_owned(),
        };
        let n = one.samples;
        let switches = one.switchovers.len();
        let samples = locale.number(n);
        text += &text!(locale, n => " Based on {samples} sample", " Based on {samples} samples"; samples);
        text += &text!(locale, switches => ", {switches} switchover", ", {switches} switchovers"; switches);
        if let Some(usd) = one.extra_cost_usd {
            let usd = locale.money(usd);
            text += &text!(locale, ", extra cost of the alternatives {usd}", usd);
        }
        blocks.push(Block::Heading(text!(locale, "Failover: {group}", group)));
        blocks.push(Block::Text(text + "."));
        blocks.extend(pairs_part(one, locale));
    }
    blocks
}
