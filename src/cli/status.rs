//! `llmwatch status`: what is true now, from the running daemon, else from the store.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::StatusCode;

use super::{
    Exit, Globals, READER_GONE, UNKNOWN, UNWRITTEN, colour, paint, plugin_code, print, table,
};
use crate::clock;
use crate::config::Settings;
use crate::daemon::pipeline;
use crate::store::Store;
use llmwatch_core::message::values::{Locale, NONE};
use llmwatch_core::model::{AlertState, ChannelStats, Drills, Snapshot};
use llmwatch_core::schedule::budget;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// From one look to the next with `--watch` at least, whatever happens.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch status --watch")]
pub(super) struct Args {
    /// Refresh until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(globals: &Globals, args: &Args) -> Exit {
    let config = globals
        .load_without_secrets()
        .map_err(|f| f.with(UNKNOWN))?;
    let locale = Locale::of(&config);
    let mut events = None;
    loop {
        let snapshot = look(&config).await.map_err(|f| f.with(UNKNOWN))?;
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

async fn look(config: &Settings) -> Result<Snapshot, super::Failure> {
    let why = match ask(config).await {
        Ok(snapshot) => return Ok(snapshot),
        Err(StatusError::Silent) => "the daemon does not answer",
        Err(StatusError::Refused) => "the daemon requires a token that is not configured here",
    };
    let store = Store::open_read_only(&config.store.path)?;
    let config = config.config.clone();
    let interval_multiplier = budget::interval_multiplier(&config);
    eprintln!("{why}; this is what it recorded last");
    let now = clock::now();
    let outbox = store.channel_stats()?;
    let drills = pipeline::restore_notifications(&store)?.drills().clone();
    Ok(Snapshot {
        outbox,
        drills,
        ..pipeline::restore(&store, config, interval_multiplier, now)?.snapshot(now)
    })
}

/// Why there is no status from the daemon.
pub(super) enum StatusError {
    /// There is none, or it says nothing that can be understood.
    Silent,
    /// It does not take our token.
    Refused,
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
        answer.bytes().await.map_err(|_| StatusError::Silent)
    };
    let body = tokio::time::timeout(PATIENCE, body)
        .await
        .map_err(|_| StatusError::Silent)??;
    serde_json::from_slice(&body).map_err(|_| StatusError::Silent)
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

/// Waits until the daemon says that something has happened; when it says nothing at all, only for a while.
async fn change(config: &Settings, events: &mut Option<reqwest::Response>) {
    tokio::time::sleep(AGAIN).await;
    let Some(stream) = events else {
        // What happened before it was opened is seen by the next look.
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

fn render(snapshot: &Snapshot, locale: &Locale) -> String {
    let mut rows = vec![
        ["endpoint", "status", "first token", "24 h", "reason"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(snapshot.endpoints.iter().map(|e| {
        vec![
            e.name.clone(),
            match e.alert.state {
                AlertState::Pending => "pending".to_owned(),
                _ => e.status.as_str().to_owned(),
            },
            e.first_token_ms_p50
                .map_or(NONE.to_owned(), |ms| locale.latency(ms)),
            e.availability_24h
                .map_or(NONE.to_owned(), |a| locale.percent(a)),
            e.reason.clone().unwrap_or_default(),
        ]
    }));
    let head = paint(&snapshot.headline(clock::now()), colour(snapshot.overall()));
    format!(
        "{head}\n{}{}{}",
        table(&rows),
        undelivered(&snapshot.outbox, locale),
        drilled(&snapshot.drills, locale)
    )
}

/// When each channel that was ever drilled was last confirmed to reach a person; empty if none was.
fn drilled(drills: &Drills, locale: &Locale) -> String {
    let channels: BTreeSet<_> = drills
        .messages
        .iter()
        .map(|m| &m.channel)
        .chain(drills.last_confirmed.keys())
        .collect();
    let line = |channel: &String| {
        let confirmed = match drills.last_confirmed.get(channel) {
            Some(at) => format!("last confirmed by a person on {}", locale.time(*at)),
            None => "never confirmed by a person".to_owned(),
        };
        let open = drills.last_of(channel).filter(|m| m.confirmed_at.is_none());
        let open = open.map_or_else(String::new, |m| {
            format!(", drill of {} not confirmed", locale.time(m.sent_at))
        });
        format!("channel {channel}: {confirmed}{open}")
    };
    let lines: Vec<_> = channels.into_iter().map(line).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("\n\n{}", lines.join("\n"))
}

/// Undelivered notifications, one line a channel; empty if there are none.
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
            lines.push(format!(
                "channel {name} has been failing since {}, {} pending{why}",
                locale.time(since),
                locale.number(tally.pending)
            ));
        } else if let Some(at) = tally.last_dead_at {
            lines.push(format!(
                "channel {name} has undelivered notifications, the last from {}{why}",
                locale.time(at)
            ));
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "\n\n{}\n`llmwatch outbox` lists and retries them",
        lines.join("\n")
    )
}
