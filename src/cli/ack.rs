//! `llmwatch ack`: acknowledge an incident.

use reqwest::Method;
use serde_json::json;

use super::daemon_client::{Daemon, Remote};
use super::silence::renamed_to_note;
use super::{Exit, Globals, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch ack 42 --note \"calling the vendor\"")]
pub(super) struct AckArgs {
    /// The number of the incident
    number: u64,
    /// Note, shown on the incident's page
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[arg(long = "comment", hide = true, value_parser = renamed_to_note)]
    _comment: Option<String>,
    /// Your name
    #[arg(long, env = "USER", hide_env = true, default_value = "")]
    by: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(globals: &Globals, args: &AckArgs) -> Exit {
    let daemon = Daemon::of(globals, &args.remote)?;
    let path = format!("/api/v1/incidents/{}/ack", args.number);
    let body = json!({"by": args.by, "note": args.note});
    let incident = daemon.call(Method::POST, &path, Some(body)).await?;
    print(&if args.json {
        incident.to_string()
    } else {
        format!(
            "incident {} is acknowledged; no more reminders: {}",
            args.number,
            incident["title"].as_str().unwrap_or_default()
        )
    });
    Ok(0)
}
