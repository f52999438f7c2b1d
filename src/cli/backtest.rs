//! `llmwatch backtest`: replays recorded samples through the detector, with the current rules or
//! others.

use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::json;

use super::point_in_time::point_in_time;
use super::progress::ProgressLine;
use super::{EX_CONFIG, Exit, Failure, Globals, daemon_client, trace_files};
use crate::clock;
use crate::config::{self, Environment, Settings};
use crate::files;
use crate::store::{SamplePage, SampleQuery, Store, StoreError};
use llmwatch_core::model::{DetectionPolicy, Sample, Timestamp};
use llmwatch_core::report::backtest::{
    Difference, Label, Replay, ReplayError, Samples, Score, Summary, Survey, Sweep,
};

/// The default length of the replay.
const USUAL: &str = "30d";

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch backtest --since 7d --rules stricter.toml")]
pub(super) struct BacktestArgs {
    /// Start: a duration before now (30d), a date, or RFC 3339 [default: 30d, or all of a file]
    #[arg(long)]
    since: Option<String>,
    /// End: a duration before now (1h), a date, or RFC 3339 [default: now]
    #[arg(long)]
    until: Option<String>,
    /// Compare with the `[detection]` settings of this file
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Replay these samples instead of the database: JSON lines of `export` (`-` for stdin), a CSV
    /// trace, or a folder of traces
    #[arg(long, value_name = "PATH")]
    samples: Option<PathBuf>,
    /// Compare values of one setting of `[detection]`, for example `alert_after=60s,90s,3m`
    #[arg(long, value_name = "KEY=V,V,…", conflicts_with = "rules")]
    sweep: Option<String>,
    /// Score the events against labels, one JSON object per line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Print one JSON object per event; with labels, the score is the last line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(globals: &Globals, args: &BacktestArgs) -> Exit {
    let now = clock::now();
    let zone = optional_config(globals)?.map_or(chrono_tz::UTC, |c| c.monitor.timezone);
    let since = args.since.as_deref();
    let until = args.until.as_deref();
    let window = ReplayWindow {
        since: since.map(|t| point_in_time(t, now, zone)).transpose()?,
        until: until.map(|t| point_in_time(t, now, zone)).transpose()?,
    };
    let sweep = args.sweep.as_deref().map(read_sweep).transpose()?;
    let rules: Vec<_> = match &sweep {
        Some(sweep) => sweep.policies.clone(),
        None => args
            .rules
            .as_deref()
            .map(|path| config::load_rules(path, &Environment::from_process()))
            .transpose()
            .map_err(|e| Failure {
                code: EX_CONFIG,
                text: e.to_string().trim_end().to_owned(),
            })?
            .into_iter()
            .collect(),
    };
    let labels = args.labels.as_deref().map(read_labels).transpose()?;
    let mut replays = match &args.samples {
        Some(traces) if trace_files::is_trace(traces) => replay_traces(traces, &rules, window)?,
        Some(file) => {
            let config = optional_config(globals)?;
            let name = file
                .file_stem()
                .map_or_else(|| "samples".into(), |s| s.to_string_lossy());
            let samples = read_file(file, samples_of(&name, config.as_ref()), window)?;
            replay_samples(samples, &rules)?
        }
        None => {
            let config = globals.load_without_secrets()?;
            let since = window
                .since
                .map_or_else(|| point_in_time(USUAL, now, zone), Ok)?;
            daemon_client::flush(&config).await;
            let window = ReplayWindow {
                since: Some(since),
                ..window
            };
            replay_store(&config, &rules, window, now)?
        }
    };
    if let Some(sweep) = &sweep {
        return sweep.print(&replays[1..], labels.as_deref());
    }
    let with_rules = (replays.len() > 1).then(|| replays.remove(1));
    let current = replays.remove(0);
    let replay = with_rules.as_ref().unwrap_or(&current);
    let difference = with_rules
        .as_ref()
        .map(|after| Difference::new(&current, after));
    let score = labels.map(|labels| Score::new(replay, &labels));
    match write(replay, difference.as_ref(), score.as_ref(), args.json) {
        // `backtest | head` closes the pipe early.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
        other => other.map(|()| 0).map_err(Failure::from),
    }
}

/// The time range to replay.
#[derive(Clone, Copy)]
struct ReplayWindow {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// Loads the configuration if there is one; a file of samples can be replayed without it.
fn optional_config(globals: &Globals) -> Result<Option<Settings>, Failure> {
    if globals.named_config().is_some() {
        return globals.load_without_secrets().map(Some);
    }
    if !globals.config_path().exists() {
        return Ok(None);
    }
    let config = globals.load_without_secrets();
    if config.is_err() {
        let path = globals.config_path();
        eprintln!(
            "llmwatch: {} is not valid (see `llmwatch check`); replaying without it",
            path.display()
        );
    }
    Ok(config.ok())
}

fn samples_of(name: &str, config: Option<&Settings>) -> Samples {
    // Without a configuration, connectivity checks are unknown. Trust the recorded attributions to
    // this machine.
    let has_checks = config.is_none_or(|c| !c.connectivity_checks.is_empty());
    Samples::new(name, config.map_or(&[], |c| &c.endpoints), has_checks)
}

/// Replays the samples of the store as they are read.
fn replay_store(
    config: &Settings,
    rules: &[DetectionPolicy],
    window: ReplayWindow,
    now: Timestamp,
) -> Result<Replays, Failure> {
    let store = Store::open_read_only(&config.store.path)?;
    let has_checks = !config.connectivity_checks.is_empty();
    let mut survey = Survey::new("store", &config.endpoints, has_checks);
    for endpoint in store.known_endpoints()? {
        let newest_first = store.samples(SamplePage {
            endpoint: &endpoint,
            location: None,
            before_seq: None,
            since: window.since,
            until: window.until,
            outcome: None,
            limit: survey.enough(&endpoint),
        })?;
        for (_, sample) in newest_first.iter().rev() {
            survey.note(sample);
        }
    }
    let own_rules = std::iter::once(None);
    let all_rules: Vec<_> = own_rules.chain(rules.iter().map(Some)).collect();
    let mut replay = survey.replay(&all_rules);
    let query = SampleQuery {
        since: window.since,
        until: window.until,
        ..SampleQuery::default()
    };
    let span = (window.since.unwrap_or(now), window.until.unwrap_or(now));
    let mut progress = ProgressLine::new("replaying", span);
    store.each_sample(query, |_, sample| {
        progress.step(sample.started_at);
        replay.push(&sample);
        Ok::<_, StoreError>(())
    })?;
    drop(progress);
    if replay.count() == 0 {
        return Err(nothing_to_replay());
    }
    eprintln!("replayed {} samples", replay.count());
    Ok(replay.finish())
}

fn nothing_to_replay() -> Failure {
    Failure::new("no samples to replay; `llmwatch export` shows what is recorded")
}

/// The events under the current rules, and then under each set of given rules.
type Replays = Vec<Replay>;

/// One setting with the values to compare.
struct Candidates {
    key: String,
    values: Vec<String>,
    policies: Vec<DetectionPolicy>,
}

fn read_sweep(text: &str) -> Result<Candidates, Failure> {
    let Some((key, values)) = text.split_once('=') else {
        return Err(Failure {
            code: EX_CONFIG,
            text: format!(
                "llmwatch: expected `KEY=VALUE,VALUE` for --sweep, for example `alert_after=60s,90s`, got `{text}`"
            ),
        });
    };
    let values: Vec<String> = values.split(',').map(|v| v.trim().to_owned()).collect();
    let key = key.trim();
    let policies: Result<Vec<_>, Failure> = values.iter().map(|v| policy_with(key, v)).collect();
    Ok(Candidates {
        key: key.to_owned(),
        policies: policies?,
        values,
    })
}

/// Returns the detection rules with one key set to a value of the sweep.
fn policy_with(key: &str, value: &str) -> Result<DetectionPolicy, Failure> {
    let is_plain = value.parse::<f64>().is_ok() || value.parse::<bool>().is_ok();
    let literal = if is_plain {
        value.to_owned()
    } else {
        json!(value).to_string()
    };
    let text = format!("[detection]\n{key} = {literal}\n");
    config::rules_from_text("--sweep", text, &Environment::from_process()).map_err(|e| Failure {
        code: EX_CONFIG,
        text: e.to_string().trim_end().to_owned(),
    })
}

impl Candidates {
    fn print(&self, replays: &[Replay], labels: Option<&[Label]>) -> Exit {
        let mut sweep = Sweep::new(&self.key);
        for (value, replay) in self.values.iter().zip(replays) {
            sweep.add(value, replay, labels);
        }
        match write!(std::io::stdout().lock(), "{sweep}") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
            other => other.map(|()| 0).map_err(Failure::from),
        }
    }
}

/// Replays traces. They are unrelated to the configured endpoints, so the defaults serve as the
/// current rules.
fn replay_traces(
    path: &Path,
    rules: &[DetectionPolicy],
    window: ReplayWindow,
) -> Result<Replays, Failure> {
    if window.since.is_some() || window.until.is_some() {
        eprintln!("llmwatch: a trace is replayed completely; --since and --until are for samples");
    }
    let standard = DetectionPolicy::default();
    let policies: Vec<_> = std::iter::once(&standard).chain(rules).collect();
    Ok(trace_files::replay(path, &policies)?)
}

fn replay_samples(mut samples: Samples, rules: &[DetectionPolicy]) -> Result<Replays, Failure> {
    if samples.count() == 0 {
        return Err(nothing_to_replay());
    }
    eprintln!("replaying {} samples", samples.count());
    let mut replays = vec![samples.replay(None)];
    for (done, policy) in rules.iter().enumerate() {
        if rules.len() > 1 {
            eprintln!("replaying setting {} of {}", done + 1, rules.len());
        }
        replays.push(samples.replay(Some(policy)));
    }
    Ok(replays)
}

fn read_file(path: &Path, mut samples: Samples, window: ReplayWindow) -> Result<Samples, Failure> {
    let plain: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = files::open(path).map_err(|e| cannot_read(path, e))?;
        if path.extension().is_some_and(|e| e == "gz") {
            Box::new(GzDecoder::new(file))
        } else {
            Box::new(file)
        }
    };
    for (index, line) in BufReader::new(plain).lines().enumerate() {
        let line = line.map_err(|e| cannot_read(path, e))?;
        if line.trim().is_empty() {
            continue;
        }
        let sample: Sample = serde_json::from_str(&line).map_err(|e| ReplayError::Row {
            path: path.to_owned(),
            line: index + 1,
            what: format!("not a sample as `llmwatch export` writes it: {e}"),
        })?;
        let since = window.since.is_none_or(|t| sample.started_at >= t);
        if since && window.until.is_none_or(|t| sample.started_at < t) {
            samples.push(&sample);
        }
    }
    Ok(samples)
}

/// The size limit of a file of labels, in bytes.
const MAX_LABELS: u64 = 64 << 20;

fn read_labels(path: &Path) -> Result<Vec<Label>, Failure> {
    let text = files::read_to_string(path, MAX_LABELS).map_err(|e| cannot_read(path, e))?;
    let mut labels = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        labels.push(serde_json::from_str(line).map_err(|e| ReplayError::Row {
            path: path.to_owned(),
            line: index + 1,
            what: format!("not a label: {e}"),
        })?);
    }
    Ok(labels)
}

fn cannot_read(path: &Path, source: std::io::Error) -> ReplayError {
    ReplayError::Read {
        path: path.to_owned(),
        source,
    }
}

fn write(
    replay: &Replay,
    difference: Option<&Difference<'_>>,
    score: Option<&Score>,
    as_json: bool,
) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    if as_json {
        for event in &replay.events {
            serde_json::to_writer(&mut out, event)?;
            out.write_all(b"\n")?;
        }
        if let Some(score) = score {
            writeln!(out, "{}", json!({ "score": score }))?;
        }
        out.flush()?;
        // With JSON, stdout has only events, so the comparison goes to stderr.
        if let Some(difference) = difference {
            eprint!("{difference}");
        }
        return Ok(());
    }
    match score {
        Some(score) => writeln!(out, "{score}")?,
        None => write!(out, "{}", Summary::new(replay))?,
    }
    if let Some(difference) = difference {
        write!(out, "\n{difference}")?;
    }
    out.flush()
}
