//! `llmwatch drill`: rehearses the alert, or the switch to another endpoint.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::daemon_client::{Daemon, Remote};
use super::{Exit, Failure, Globals, print, table};
use llmwatch_core::message::values::{Locale, NONE};
use llmwatch_core::model::Timestamp;

/// How long the channels have to accept the messages.
const PATIENCE: Duration = Duration::from_mins(1);
/// The polling interval for receipts.
const AGAIN: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  llmwatch drill\n  llmwatch drill oncall\n  llmwatch drill --route chat"
)]
pub(super) struct DrillArgs {
    /// Channels to drill [default: those of `[drill]`, else all]
    channels: Vec<String>,
    /// Mark the first choice of this group down for a minute, for `route` and agent checks only
    #[arg(long, value_name = "GROUP")]
    route: Option<String>,
    /// Confirm that you have received the drill message with this id
    #[arg(long, value_name = "ID", conflicts_with_all = ["channels", "route"])]
    confirm: Option<String>,
    /// Your name, with `--confirm`
    #[arg(long, env = "USER", hide_env = true, default_value = "")]
    by: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(globals: &Globals, args: &DrillArgs) -> Exit {
    let daemon = Daemon::of(globals, &args.remote)?;
    if let Some(id) = &args.confirm {
        return confirm(&daemon, args, id).await;
    }
    if let Some(group) = &args.route {
        drill_route(&daemon, args, group).await?;
        if args.channels.is_empty() {
            return Ok(0);
        }
    }
    let locale = globals.load_without_secrets().map_or_else(
        |_| Locale::default(),
        |c| Locale::english(c.monitor.timezone),
    );
    let body = json!({"channels": args.channels});
    let started = daemon
        .call(Method::POST, "/api/v1/drills", Some(body))
        .await?;
    let ended = follow(&daemon, started).await?;
    if args.json {
        print(&ended.to_string());
    } else {
        print(&receipts(&ended, &locale));
    }
    let all_accepted = each(&ended).all(is_accepted);
    if !all_accepted && !args.json {
        eprintln!(
            "llmwatch: not every channel has accepted the drill; it stays in the outbox (`llmwatch outbox`), behind \
             messages about real incidents"
        );
    }
    Ok(u8::from(!all_accepted))
}

async fn confirm(daemon: &Daemon, args: &DrillArgs, id: &str) -> Exit {
    let path = format!("/api/v1/drills/{id}/confirm");
    let body = json!({"by": args.by});
    let message = daemon.call(Method::POST, &path, Some(body)).await?;
    print(&if args.json {
        message.to_string()
    } else {
        let channel = message["channel"].as_str().unwrap_or_default();
        format!("the drill of {channel} is confirmed")
    });
    Ok(0)
}

async fn drill_route(daemon: &Daemon, args: &DrillArgs, group: &str) -> Result<(), Failure> {
    let body = json!({"group": group});
    let drill = daemon
        .call(Method::POST, "/api/v1/drills/route", Some(body))
        .await?;
    let [endpoint, instead] =
        ["endpoint", "instead"].map(|key| drill[key].as_str().unwrap_or_default());
    let until = Locale::default().time(serde_json::from_value(drill["until"].clone())?);
    print(&if args.json {
        drill.to_string()
    } else {
        format!("{endpoint} counts as down until {until}; {group} uses {instead}")
    });
    Ok(())
}

/// Polls the receipts until every channel has accepted or refused, or the time limit is reached.
async fn follow(daemon: &Daemon, started: Value) -> Result<Value, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let id = started["id"].as_str().unwrap_or_default().to_owned();
    let mut latest = started;
    while !each(&latest).all(is_done) && Instant::now() < deadline {
        tokio::time::sleep(AGAIN).await;
        let path = format!("/api/v1/drills/{id}");
        latest = daemon.call(Method::GET, &path, None).await?;
    }
    Ok(latest)
}

fn each(drill: &Value) -> impl Iterator<Item = &Value> {
    drill["receipts"].as_array().into_iter().flatten()
}

fn is_accepted(receipt: &Value) -> bool {
    !receipt["accepted_at"].is_null() || !receipt["confirmed_at"].is_null()
}

fn is_done(receipt: &Value) -> bool {
    is_accepted(receipt) || receipt["state"] != "pending"
}

fn receipts(drill: &Value, locale: &Locale) -> String {
    let head = ["channel", "sent", "accepted", "confirmed", "error"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(each(drill).map(|receipt| {
        let [channel, error] =
            ["channel", "error"].map(|key| receipt[key].as_str().unwrap_or_default().to_owned());
        let [sent, accepted, confirmed] = ["sent_at", "accepted_at", "confirmed_at"].map(|key| {
            let at = receipt[key].as_str().map(Timestamp::parse);
            match at {
                Some(Ok(at)) => locale.clock_time(at),
                _ => NONE.to_owned(),
            }
        });
        vec![channel, sent, accepted, confirmed, error]
    }));
    table(&rows)
}
