//! `llmwatch status`: the current status, from the running daemon, otherwise from the store.

mod watch;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::StatusCode;
use uuid::Uuid;

use super::{
    Exit, Globals, READER_GONE, UNKNOWN, UNWRITTEN, color, paint, plugin_code, print, table,
};
use crate::clock;
use crate::config::Settings;
use crate::daemon::pipeline;
use crate::store::{Store, StoreError};
use crate::web::STORE_HEADER;
use llmwatch_core::locations::view_from;
use llmwatch_core::message::headline::headline;
use llmwatch_core::message::incident as narrator;
use llmwatch_core::message::values::{Locale, NONE};
use llmwatch_core::model::{
    AlertState, ChannelName, ChannelStats, Drills, EndpointView, Snapshot, Status,
};
use llmwatch_core::schedule::budget;
use llmwatch_core::text;

/// The timeout of a request to the daemon.
const PATIENCE: Duration = Duration::from_secs(3);
/// The minimum time between two reads with `--watch`.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch status --watch")]
pub(super) struct StatusArgs {
    /// Follow the status: an interactive view on a terminal (q quits), otherwise a new table after
    /// each change
    #[arg(long)]
    watch: bool,
    /// Show how this location sees the endpoints
    #[arg(long, value_name = "NAME")]
    location: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Exit with 0 if the daemon is running, whatever the status of the endpoints; for container
    /// health checks
    #[arg(long, conflicts_with_all = ["watch", "location", "json"])]
    alive: bool,
}

pub(super) async fn run(globals: &Globals, args: &StatusArgs) -> Exit {
    let config = globals
        .load_without_secrets()
        .map_err(|f| f.with(UNKNOWN))?;
    if args.alive {
        return alive(&config).await;
    }
    let locale = Locale::of(&config);
    let on_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if args.watch && !args.json && on_terminal {
        let watched = watch::run(Arc::new(config)).await;
        return watched.map_err(|f| f.with(UNKNOWN));
    }
    let mut events = None;
    loop {
        let (mut snapshot, note) = current(&config).await.map_err(|f| f.with(UNKNOWN))?;
        if let Some(note) = note {
            let note = locale.say(note);
            eprintln!(
                "{}",
                text!(locale, "{note}; showing the last recorded state", note)
            );
        }
        if let Some(location) = &args.location {
            snapshot = view_from(&snapshot, location)
                .map_err(|why| super::Failure::new(why).with(UNKNOWN))?;
        }
        if args.json {
            print(&serde_json::to_string(&snapshot)?);
        } else {
            print(&render(&snapshot, &locale));
        }
        let watched =
            args.watch && !READER_GONE.load(Ordering::Relaxed) && UNWRITTEN.get().is_none();
        if !watched {
            return Ok(plugin_code(snapshot.overall()));
        }
        tokio::select! {
            () = change(&config, &mut events) => print(""),
            _ = tokio::signal::ctrl_c() => return Ok(plugin_code(snapshot.overall())),
        }
    }
}

/// Asks the daemon whether it lives.
async fn alive(config: &Settings) -> Exit {
    let answer = tokio::time::timeout(PATIENCE, get(config, "/healthz")).await;
    if let Ok(Some(answer)) = answer
        && answer.status().is_success()
    {
        print("alive");
        return Ok(0);
    }
    let text = match config.process.listen {
        Some(address) => {
            format!("no daemon answers at http://{address}/healthz; is `llmwatch run` running?")
        }
        None => "the daemon cannot be asked, since `listen` is \"off\"".to_owned(),
    };
    Err(super::Failure::new(text))
}

/// Reads the status, and why it may be outdated.
pub(super) async fn current(
    config: &Settings,
) -> Result<(Snapshot, Option<&'static str>), super::Failure> {
    let why = match ask(config).await {
        Ok(snapshot) => return Ok((snapshot, None)),
        Err(StatusError::Silent) => "the daemon does not answer",
        Err(StatusError::Refused) => "the daemon requires a token that is not configured here",
        Err(StatusError::Foreign) => {
            "the daemon at `listen` uses a different store (check `listen` and `state_dir`)"
        }
    };
    let store = Store::open_read_only(&config.store.path).map_err(|error| super::Failure {
        code: UNKNOWN,
        text: format!("llmwatch: {why}, and {error}"),
    })?;
    let config = config.config.clone();
    let interval_multiplier = budget::interval_multiplier(&config);
    let now = clock::now();
    let outbox = store.channel_stats()?;
    let mut snapshot = Snapshot {
        outbox,
        ..pipeline::restore(&store, config, interval_multiplier, now)?.snapshot(now)
    };
    pipeline::restore_notifications(&store, None)?.annotate(&mut snapshot);
    Ok((snapshot, Some(why)))
}

/// Why the daemon returned no status.
pub(super) enum StatusError {
    /// There is no daemon, or its answer is invalid.
    Silent,
    /// It rejected our token.
    Refused,
    /// It uses another store.
    Foreign,
}

pub(super) async fn ask(config: &Settings) -> Result<Snapshot, StatusError> {
    let body = async {
        let answer = get(config, "/api/v1/status")
            .await
            .ok_or(StatusError::Silent)?;
        if matches!(
            answer.status(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return Err(StatusError::Refused);
        }
        let theirs = answer.headers().get(STORE_HEADER);
        let theirs = theirs.and_then(|id| id.to_str().ok()?.parse().ok());
        if theirs.is_some_and(|theirs| is_foreign(config, theirs)) {
            return Err(StatusError::Foreign);
        }
        answer.bytes().await.map_err(|_| StatusError::Silent)
    };
    let body = tokio::time::timeout(PATIENCE, body)
        .await
        .map_err(|_| StatusError::Silent)??;
    serde_json::from_slice(&body).map_err(|_| StatusError::Silent)
}

/// Reports whether the store `theirs` is certainly not that of `config`.
fn is_foreign(config: &Settings, theirs: Uuid) -> bool {
    match Store::open_read_only(&config.store.path) {
        Ok(store) => store.identity().is_ok_and(|own| own != theirs),
        Err(error) => matches!(error, StoreError::Missing { .. }),
    }
}

async fn get(config: &Settings, path: &str) -> Option<reqwest::Response> {
    let address = config.process.listen?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(PATIENCE)
        .build()
        .ok()?;
    let mut request = client.get(format!("http://{address}{path}"));
    if let Some(token) = &config.web.token {
        request = request.bearer_auth(token.expose());
    }
    request.send().await.ok()
}

/// Waits until the daemon reports an event, with a time limit if it reports none.
pub(super) async fn change(config: &Settings, events: &mut Option<reqwest::Response>) {
    tokio::time::sleep(AGAIN).await;
    let Some(stream) = events else {
        // Events before the stream opened are covered by the next read.
        *events = get(config, "/api/v1/events")
            .await
            .filter(|answer| answer.status().is_success());
        return;
    };
    loop {
        match stream.chunk().await {
            Ok(Some(bytes)) if bytes.windows(6).any(|w| w == b"event:") => return,
            // A heartbeat.
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                *events = None;
                return;
            }
        }
    }
}

/// Ranks an endpoint: the worst is first in every list.
pub(super) fn badness(endpoint: &EndpointView) -> u8 {
    match endpoint.status {
        Status::Outage => 5,
        Status::Degraded => 4,
        _ if endpoint.alert.state == AlertState::Pending => 3,
        Status::Unknown => 2,
        Status::Maintenance => 1,
        Status::Operational => 0,
    }
}

/// The symbol of an endpoint's state.
pub(super) fn mark(endpoint: &EndpointView) -> char {
    match endpoint.status {
        Status::Outage => '✕',
        Status::Degraded => '▲',
        _ if endpoint.alert.state == AlertState::Pending => '?',
        Status::Unknown => '-',
        Status::Maintenance => '=',
        Status::Operational => '●',
    }
}

/// The state of an endpoint in one word.
pub(super) fn status_word(endpoint: &EndpointView, locale: &Locale) -> &'static str {
    match endpoint.alert.state {
        AlertState::Pending => locale.say("pending"),
        _ => locale.status(endpoint.status),
    }
}

/// Why an endpoint is not operational, the cause first: "server error (http.5xx) since 09:12 UTC".
pub(super) fn reason(endpoint: &EndpointView, snapshot: &Snapshot, locale: &Locale) -> String {
    if let Some(counts) = llmwatch_core::message::headline::pending(endpoint, locale) {
        return counts;
    }
    if endpoint.status == Status::Operational && !endpoint.locations_down.is_empty() {
        let names = endpoint.locations_down.join(", ");
        return text!(locale, "not from {names}", names);
    }
    let open = snapshot.incidents.iter();
    let incident = open
        .filter(|i| i.evidence.probes > 0)
        .find(|i| i.endpoints.contains(&endpoint.name));
    match incident {
        Some(incident) => {
            let cause = narrator::cause(incident, locale);
            let since = locale.time_short(incident.started_at, snapshot.at);
            text!(locale, "{cause} since {since}", cause, since)
        }
        None => endpoint.reason.clone().unwrap_or_default(),
    }
}

/// Returns the width of the terminal; `None` if stdout is not a terminal.
fn width() -> Option<usize> {
    let is_terminal = std::io::stdout().is_terminal();
    let size = ratatui::crossterm::terminal::size().ok();
    size.filter(|_| is_terminal)
        .map(|(columns, _)| columns.into())
}

fn render(snapshot: &Snapshot, locale: &Locale) -> String {
    let mut rows = vec![vec![
        locale.say("endpoint").to_owned(),
        locale.say("status").to_owned(),
        locale.say("1st token").to_owned(),
        locale.say("24 h").to_owned(),
        locale.say("reason").to_owned(),
    ]];
    let mut endpoints: Vec<_> = snapshot.endpoints.iter().collect();
    endpoints.sort_by_key(|e| std::cmp::Reverse(badness(e)));
    rows.extend(endpoints.into_iter().map(|e| {
        vec![
            e.name.to_string(),
            status_word(e, locale).to_owned(),
            e.first_token_ms_p50
                .map_or(NONE.to_owned(), |ms| locale.latency(ms)),
            e.availability_24h
                .map_or(NONE.to_owned(), |a| locale.percent(a)),
            reason(e, snapshot, locale),
        ]
    }));
    let lines: Vec<_> = table(&rows)
        .lines()
        .map(|line| match width() {
            Some(width) => cut(line, width),
            None => line.to_owned(),
        })
        .collect();
    let head = paint(
        &headline(snapshot, clock::now(), locale),
        color(snapshot.overall()),
    );
    format!(
        "{head}\n{}{}{}",
        lines.join("\n"),
        undelivered(&snapshot.outbox, locale),
        drilled(&snapshot.drills, locale)
    )
}

/// Truncates the line to the width of the terminal, so that it does not wrap.
pub(super) fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Describes when a person last confirmed a drill, for each drilled channel; empty if there was no
/// drill.
fn drilled(drills: &Drills, locale: &Locale) -> String {
    let channels: BTreeSet<_> = drills
        .messages
        .iter()
        .map(|m| &m.channel)
        .chain(drills.last_confirmed.keys())
        .collect();
    let line = |channel: &ChannelName| {
        let confirmed = match drills.last_confirmed.get(channel) {
            Some(at) => {
                let at = locale.time(*at);
                text!(locale, "last confirmed by a person on {at}", at)
            }
            None => locale.say("never confirmed by a person").to_owned(),
        };
        let open = drills.last_of(channel).filter(|m| m.confirmed_at.is_none());
        let open = open.map_or_else(String::new, |m| {
            let at = locale.time(m.sent_at);
            text!(locale, ", drill of {at} not confirmed", at)
        });
        text!(
            locale,
            "channel {channel}: {confirmed}{open}",
            channel,
            confirmed,
            open
        )
    };
    let lines: Vec<_> = channels.into_iter().map(line).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("\n\n{}", lines.join("\n"))
}

/// Lists undelivered notifications, one line per channel; empty if there are none.
fn undelivered(outbox: &[ChannelStats], locale: &Locale) -> String {
    let mut lines = Vec::new();
    for tally in outbox {
        let name = &tally.channel;
        let why = tally
            .last_error
            .as_deref()
            .map(|error| format!(": {error}"))
            .unwrap_or_default();
        if let Some(since) = tally.failing_since {
            let since = locale.time(since);
            let n = locale.number(tally.pending);
            lines.push(text!(
                locale,
                "channel {name} has been failing since {since}, {n} pending{why}",
                name,
                since,
                n,
                why
            ));
        } else if let Some(at) = tally.last_dead_at {
            let at = locale.time(at);
            lines.push(text!(
                locale,
                "channel {name} has undelivered notifications, the last from {at}{why}",
                name,
                at,
                why
            ));
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "\n\n{}\n{}",
        lines.join("\n"),
        locale.say("`llmwatch outbox` lists and retries them")
    )
}
