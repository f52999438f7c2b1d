//! `llmwatch note`: adds a note to an incident, for the page and the next message, or one that
//! belongs to no incident, for the page and the charts.

use reqwest::Method;
use serde_json::json;

use super::daemon_client::{Daemon, Remote};
use super::{Exit, Globals, print};
use llmwatch_core::model::EndpointName;

#[derive(Debug, clap::Args)]
#[command(
    allow_missing_positional = true,
    after_help = "Examples: llmwatch note 42 \"the vendor has confirmed it\"\n          \
                  llmwatch note \"deployed the gateway 2.3\" --group chat"
)]
pub(super) struct NoteArgs {
    /// Incident number; leave it out for a note that belongs to no incident, such as a deploy
    number: Option<u64>,
    /// The note: one line
    text: String,
    /// Only about this endpoint; may be repeated
    #[arg(long = "endpoint", value_name = "NAME", conflicts_with = "number")]
    endpoints: Vec<EndpointName>,
    /// Only about this provider; may be repeated
    #[arg(long = "provider", value_name = "PROVIDER", conflicts_with = "number")]
    providers: Vec<String>,
    /// Only about this group; may be repeated
    #[arg(long = "group", value_name = "GROUP", conflicts_with = "number")]
    groups: Vec<String>,
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
    let Some(number) = args.number else {
        let body = json!({
            "by": args.by, "text": args.text,
            "endpoints": args.endpoints, "providers": args.providers, "groups": args.groups,
        });
        let annotation = daemon
            .call(Method::POST, "/api/v1/annotations", Some(body))
            .await?;
        print(&if args.json {
            annotation.to_string()
        } else {
            "noted; the page and the charts show it".to_owned()
        });
        return Ok(0);
    };
    let path = format!("/api/v1/incidents/{number}/notes");
    let body = json!({"by": args.by, "text": args.text});
    let incident = daemon.call(Method::POST, &path, Some(body)).await?;
    print(&if args.json {
        incident.to_string()
    } else {
        format!("noted on incident {number}")
    });
    Ok(0)
}
