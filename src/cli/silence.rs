//! `llmwatch silence`: silence notifications of the running daemon.

use reqwest::Method;
use serde_json::json;

use super::daemon_client::{Daemon, Remote};
use super::{Exit, Globals, print, table};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{EndpointName, Silence};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch silence --for 2h --endpoint openai-chat")]
pub(super) struct SilenceArgs {
    /// Duration of a new silence, such as `2h`; without it, active silences are listed
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "end")]
    length: Option<String>,
    /// Only this endpoint; may be repeated
    #[arg(long = "endpoint", value_name = "NAME", requires = "length")]
    endpoints: Vec<EndpointName>,
    /// Only this provider; may be repeated
    #[arg(long = "provider", value_name = "PROVIDER", requires = "length")]
    providers: Vec<String>,
    /// Only this group; may be repeated
    #[arg(long = "group", value_name = "GROUP", requires = "length")]
    groups: Vec<String>,
    /// Reason, shown with the silence
    #[arg(long, default_value = "")]
    note: String,
    #[arg(long = "comment", hide = true, value_parser = renamed_to_note)]
    _comment: Option<String>,
    /// Your name
    #[arg(long, env = "USER", hide_env = true, default_value = "")]
    by: String,
    /// Expire the silence with this id
    #[arg(long, value_name = "ID")]
    end: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(globals: &Globals, args: &SilenceArgs) -> Exit {
    let daemon = Daemon::of(globals, &args.remote)?;
    if let Some(id) = &args.end {
        let path = format!("/api/v1/silences/{id}");
        let ended = daemon.call(Method::DELETE, &path, None).await?;
        print(&if args.json {
            ended.to_string()
        } else {
            format!("silence {id} has ended")
        });
    } else if let Some(length) = &args.length {
        let wanted = json!({
            "for": length, "endpoints": args.endpoints, "providers": args.providers, "groups": args.groups,
            "note": args.note, "by": args.by,
        });
        let begun = daemon
            .call(Method::POST, "/api/v1/silences", Some(wanted))
            .await?;
        if args.json {
            print(&begun.to_string());
            return Ok(0);
        }
        let silence: Silence = serde_json::from_value(begun)?;
        print(&format!(
            "silenced until {}; end it with `llmwatch silence --end {}`",
            Locale::default().time(silence.until),
            silence.id
        ));
    } else {
        let held = daemon.call(Method::GET, "/api/v1/silences", None).await?;
        if args.json {
            print(&held.to_string());
            return Ok(0);
        }
        let silences: Vec<Silence> = serde_json::from_value(held["silences"].clone())?;
        if silences.is_empty() {
            eprintln!("no silence is active");
        } else {
            let mut rows = vec![
                ["id", "until", "about", "by", "note"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            rows.extend(silences.iter().map(|s| {
                let endpoints = s.endpoints.iter().map(EndpointName::as_str);
                let providers = s.providers.iter().map(|p| p.as_str());
                let groups = s.groups.iter().map(String::as_str);
                let about: Vec<_> = endpoints.chain(providers).chain(groups).collect();
                let about = if about.is_empty() {
                    "everything".to_owned()
                } else {
                    about.join(", ")
                };
                vec![
                    s.id.to_string(),
                    Locale::default().time(s.until),
                    about,
                    s.by.clone(),
                    s.note.clone(),
                ]
            }));
            print(&table(&rows));
        }
    }
    Ok(0)
}

/// Rejects the former name of `--note`.
pub(super) fn renamed_to_note(_: &str) -> Result<String, &'static str> {
    Err("`--comment` is now `--note`")
}
