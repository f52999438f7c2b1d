//! `llmwatch silence` and `llmwatch ack`: what people say to the running daemon, through its API.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Exit, Failure, Globals, print, table};
use crate::config::Settings;
use crate::model::Silence;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch silence --for 2h --endpoint openai-chat")]
pub(super) struct SilenceArgs {
    /// Duration of a new silence, such as `2h`; without it, active silences are listed
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "end")]
    length: Option<String>,
    /// Only this endpoint; may be repeated
    #[arg(long = "endpoint", value_name = "NAME", requires = "length")]
    endpoints: Vec<String>,
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
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch ack 42")]
pub(super) struct AckArgs {
    /// Number of the incident
    number: u64,
    /// Note, shown on the incident's page
    #[arg(long, default_value = "")]
    note: String,
    #[arg(long = "comment", hide = true, value_parser = renamed_to_note)]
    _comment: Option<String>,
    /// Your name
    #[arg(long, env = "USER", hide_env = true, default_value = "")]
    by: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Refuses the name that `--note` had before.
fn renamed_to_note(_: &str) -> Result<String, &'static str> {
    Err("`--comment` is now `--note`")
}

pub(super) async fn silence(globals: &Globals, args: &SilenceArgs) -> Exit {
    let config = globals.load()?;
    if let Some(id) = &args.end {
        let ended = call(
            &config,
            reqwest::Method::DELETE,
            &format!("silences/{id}"),
            None,
        )
        .await?;
        print(&if args.json {
            ended.to_string()
        } else {
            format!("the silence {id} is over")
        });
    } else if let Some(length) = &args.length {
        let wish = json!({
            "for": length, "endpoints": args.endpoints, "providers": args.providers, "groups": args.groups,
            "note": args.note, "by": args.by,
        });
        let begun = call(&config, reqwest::Method::POST, "silences", Some(wish)).await?;
        let word = |key: &str| begun[key].as_str().unwrap_or_default().to_owned();
        print(&if args.json {
            begun.to_string()
        } else {
            format!(
                "silent until {}; end it with `llmwatch silence --end {}`",
                word("until"),
                word("id")
            )
        });
    } else {
        let held = call(&config, reqwest::Method::GET, "silences", None).await?;
        if args.json {
            print(&held.to_string());
            return Ok(0);
        }
        let silences: Vec<Silence> = serde_json::from_value(held["silences"].clone())?;
        if silences.is_empty() {
            eprintln!("no silence holds");
        } else {
            let mut rows = vec![
                ["id", "until", "about", "by", "note"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            rows.extend(silences.iter().map(|s| {
                let providers = s.providers.iter().map(|p| p.as_str().to_owned());
                let about: Vec<_> = s
                    .endpoints
                    .iter()
                    .cloned()
                    .chain(providers)
                    .chain(s.groups.iter().cloned())
                    .collect();
                let about = if about.is_empty() {
                    "everything".to_owned()
                } else {
                    about.join(", ")
                };
                vec![
                    s.id.to_string(),
                    s.until.to_string(),
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

pub(super) async fn ack(globals: &Globals, args: &AckArgs) -> Exit {
    let config = globals.load()?;
    let word = json!({"by": args.by, "note": args.note});
    let incident = call(
        &config,
        reqwest::Method::POST,
        &format!("incidents/{}/ack", args.number),
        Some(word),
    )
    .await?;
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

/// Asks the running daemon.
async fn call(
    config: &Settings,
    method: reqwest::Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, Failure> {
    let failed = |text: String| Failure {
        code: 1,
        text: format!("llmwatch: {text}"),
    };
    let address = config.process.listen.ok_or_else(|| {
        failed("the daemon does not listen (`listen = \"off\"`), so it cannot be told".to_owned())
    })?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()?;
    let mut request = client.request(method, format!("http://{address}/api/v1/{path}"));
    if let Some(token) = &config.web.token {
        request = request.bearer_auth(token.expose());
    }
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_string());
    }
    let answer = request
        .send()
        .await
        .map_err(|_| failed(format!("the daemon does not answer at {address}")))?;
    let ok = answer.status().is_success();
    let answer: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
    if ok {
        Ok(answer)
    } else {
        Err(failed(
            answer["detail"]
                .as_str()
                .unwrap_or("the daemon refused")
                .to_owned(),
        ))
    }
}
