//! `llmwatch note`: adds a note to an incident, for the page and the next message.

use reqwest::Method;
use serde_json::json;

use super::daemon_client::{Daemon, Remote};
use super::{Exit, Globals, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch note 42 \"the vendor has confirmed it\"")]
pub(super) struct NoteArgs {
    /// The number of the incident
    number: u64,
    /// The note: one line
    text: String,
    /// Your name
    #[arg(long, env = "USER", hide_env = true, default_value = "")]
    by: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(globals: &Globals, args: &NoteArgs) -> Exit {
    let daemon = Daemon::of(globals, &args.remote)?;
    let path = format!("/api/v1/incidents/{}/notes", args.number);
    let body = json!({"by": args.by, "text": args.text});
    let incident = daemon.call(Method::POST, &path, Some(body)).await?;
    print(&if args.json {
        incident.to_string()
    } else {
        format!("noted on incident {}", args.number)
    });
    Ok(0)
}
