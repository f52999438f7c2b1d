//! `llmwatch route`: the endpoint to use now, once or as it changes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use serde_json::Value;

use super::daemon_client::{Daemon, Remote, refused};
use super::{Exit, Failure, Globals, print};
use llmwatch_core::model::EndpointName;

/// How long the daemon waits for a change before it answers that there is none.
const WAIT: &str = "30s";
/// The timeout of a request, including the wait.
const PATIENCE: Duration = Duration::from_secs(45);
/// The retry delay if the daemon does not answer.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  llmwatch route chat\n  llmwatch route chat --watch --write /run/llm-endpoint --exec /usr/local/bin/reload-proxy"
)]
pub(super) struct RouteArgs {
    /// The group to choose from; all endpoints of LLM APIs if not given
    group: Option<String>,
    /// As this location sees the endpoints
    #[arg(long, value_name = "NAME")]
    location: Option<String>,
    /// Follow the choice until interrupted
    #[arg(long)]
    watch: bool,
    /// Write the choice to this file, by rename
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Run this program after each change, without a shell, with the chosen endpoint in
    /// $LLMWATCH_ENDPOINT and the group in $LLMWATCH_GROUP
    #[arg(long, value_name = "PROGRAM")]
    exec: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// The daemon's answer.
struct RouteChoice {
    endpoint: Option<EndpointName>,
    json: String,
    etag: Option<String>,
}

pub(super) async fn run(globals: &Globals, args: &RouteArgs) -> Exit {
    let daemon = Daemon::of(globals, &args.remote)?;
    if args.watch {
        return tokio::select! {
            failure = watch(&daemon, args) => Err(failure),
            _ = tokio::signal::ctrl_c() => Ok(0),
        };
    }
    let choice = ask(&daemon, args, None).await?;
    let Some(choice) = choice else { return Ok(1) };
    let is_healthy = choice.endpoint.is_some();
    act(args, &choice).await?;
    Ok(u8::from(!is_healthy))
}

/// Follows the choice. If the daemon goes away, this waits for it and keeps the last choice.
async fn watch(daemon: &Daemon, args: &RouteArgs) -> Failure {
    let mut etag = None;
    let mut has_answered = false;
    loop {
        match ask(daemon, args, etag.as_deref()).await {
            Ok(None) => {}
            Ok(Some(choice)) => {
                has_answered = true;
                if let Err(failure) = act(args, &choice).await {
                    return failure;
                }
                etag = choice.etag;
            }
            // An invalid group or token is a permanent error.
            Err(failure) if !has_answered => return failure,
            Err(failure) => {
                eprintln!("{}; trying again", failure.text);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Requests the choice; `None` if it is unchanged since `known`.
async fn ask(
    daemon: &Daemon,
    args: &RouteArgs,
    known: Option<&str>,
) -> Result<Option<RouteChoice>, Failure> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(group) = &args.group {
        query.append_pair("group", group);
    }
    if let Some(location) = &args.location {
        query.append_pair("location", location);
    }
    if known.is_some() {
        query.append_pair("wait", WAIT);
    }
    let path = format!("/api/v1/route?{}", query.finish());
    let response = daemon
        .send(|client, base| {
            let request = client.get(format!("{base}{path}")).timeout(PATIENCE);
            match known {
                Some(etag) => request.header(IF_NONE_MATCH, etag),
                None => request,
            }
        })
        .await?;
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED {
        return Ok(None);
    }
    let etag = response.headers().get(ETAG);
    let etag = etag.and_then(|e| e.to_str().ok()).map(str::to_owned);
    let body = response.text().await?;
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    if answer.get("ranking").is_none() {
        return Err(refused(status, &answer));
    }
    Ok(Some(RouteChoice {
        endpoint: answer["endpoint"].as_str().map(EndpointName::from),
        json: body,
        etag,
    }))
}

/// Prints the choice, writes it and runs the program. If no endpoint is healthy, the file is left
/// unchanged: the last choice is better than none.
async fn act(args: &RouteArgs, choice: &RouteChoice) -> Result<(), Failure> {
    if args.json {
        print(choice.json.trim_end());
    }
    let Some(endpoint) = &choice.endpoint else {
        eprintln!("llmwatch: no endpoint is healthy");
        return Ok(());
    };
    if !args.json {
        print(endpoint);
    }
    if let Some(path) = &args.write {
        write(path, endpoint)
            .map_err(|e| Failure::new(format!("cannot write `{}`: {e}", path.display())))?;
    }
    if let Some(program) = &args.exec {
        let mut command = tokio::process::Command::new(program);
        command
            .env("LLMWATCH_ENDPOINT", endpoint.as_str())
            .env("LLMWATCH_GROUP", args.group.as_deref().unwrap_or_default())
            .stdin(Stdio::null());
        let ended = command.status().await;
        let ended =
            ended.map_err(|e| Failure::new(format!("cannot run `{}`: {e}", program.display())))?;
        if !ended.success() {
            eprintln!("llmwatch: `{}` has failed: {ended}", program.display());
        }
    }
    Ok(())
}

/// Writes by rename, so that nobody reads a partial name.
fn write(path: &Path, endpoint: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = std::fs::File::create(&temporary)?;
    writeln!(file, "{endpoint}")?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}
