//! Asks the running daemon: through its control socket, which needs no token; else by HTTP; a remote one by `--url`.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::{Failure, Globals};
use crate::config::Settings;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a reader of the database waits for the daemon to commit what it holds.
const FLUSH_PATIENCE: Duration = Duration::from_secs(3);

/// Where a daemon on another machine is.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Remote {
    /// Ask the daemon at this address, such as `https://status.example.com`, instead of the one on this machine; its web token
    /// is taken from $LLMWATCH_TOKEN
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// A daemon that can be asked.
pub(super) struct Daemon {
    /// The control socket, if there is one.
    socket: Option<PathBuf>,
    /// Where it listens, without a slash at its end.
    url: Option<String>,
    token: Option<String>,
}

impl Daemon {
    /// The daemon of the configuration, or the remote one.
    pub(super) fn of(globals: &Globals, remote: &Remote) -> Result<Self, Failure> {
        if let Some(url) = &remote.url {
            return Ok(Self {
                socket: None,
                url: Some(url.trim_end_matches('/').to_owned()),
                token: std::env::var("LLMWATCH_TOKEN")
                    .ok()
                    .filter(|t| !t.is_empty()),
            });
        }
        // Through the socket no secret is needed, so one that cannot be read here is no reason to give up.
        Ok(Self::local(&globals.load_without_secrets()?))
    }

    /// The daemon of this configuration.
    pub(super) fn local(config: &Settings) -> Self {
        let socket = config.process.state_dir.join("control.sock");
        let token = config.web.token.as_ref().map(|t| t.expose().to_owned());
        Self {
            socket: socket.exists().then_some(socket),
            url: config.process.listen.map(|a| format!("http://{a}")),
            token,
        }
    }

    /// The JSON that it answers.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failure> {
        let response = self
            .send(|client, base| {
                let request = client.request(method.clone(), format!("{base}{path}"));
                let request = request.timeout(PATIENCE);
                match &body {
                    Some(body) => request
                        .header("content-type", "application/json")
                        .body(body.to_string()),
                    None => request,
                }
            })
            .await?;
        let status = response.status();
        let answer: Value = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        Err(refused(status, &answer))
    }

    /// The response to a request, by the first way that reaches a daemon.
    pub(super) async fn send(
        &self,
        request: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let mut why = None;
        if let Some(socket) = &self.socket {
            let client = Client::builder()
                .no_proxy()
                .unix_socket(socket.clone())
                .build()?;
            match request(&client, "http://localhost").send().await {
                Ok(response) => return Ok(response),
                Err(error) => why = Some(format!("{}: {}", socket.display(), cause(&error))),
            }
        }
        let Some(url) = &self.url else {
            let why =
                why.unwrap_or_else(|| "there is no control socket, and `listen` is off".to_owned());
            return Err(failed(format!(
                "no daemon answers ({why}); is `llmwatch run` running?"
            )));
        };
        let client = Client::builder().no_proxy().build()?;
        let mut request = request(&client, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await.map_err(|error| {
            let why = why.map(|why| format!("; {why}")).unwrap_or_default();
            failed(format!(
                "no daemon answers at {url}: {}{why}",
                cause(&error)
            ))
        })
    }
}

/// Has the daemon of this configuration commit what it holds in memory, so that a reader of the database sees every probe
/// that has ended. Without a daemon, or with one that does not answer, at most the samples of the last second are missing,
/// which is no reason to refuse to read.
pub(super) async fn flush(config: &Settings) {
    let socket = config.process.state_dir.join("control.sock");
    if !socket.exists() {
        return;
    }
    let client = Client::builder().no_proxy().unix_socket(socket).build();
    let Ok(client) = client else { return };
    let flush = client.post("http://localhost/api/v1/flush");
    // Nothing to do about a failure, as said above.
    let _ = flush.timeout(FLUSH_PATIENCE).send().await;
}

/// What is wrong, without the wrappers around it.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The daemon's refusal as a failure of the command.
pub(super) fn refused(status: StatusCode, answer: &Value) -> Failure {
    let detail = answer["detail"].as_str().unwrap_or("the daemon refused");
    match status {
        StatusCode::UNAUTHORIZED => failed(
            "the daemon requires its web token: set LLMWATCH_TOKEN and `--url`, or run this as the daemon's user or root"
                .to_owned(),
        ),
        StatusCode::FORBIDDEN => failed(
            "the daemon has no web token, so it takes changes only through its control socket: run this as the daemon's user or \
             root"
                .to_owned(),
        ),
        _ => failed(detail.to_owned()),
    }
}

pub(super) fn failed(text: impl std::fmt::Display) -> Failure {
    Failure {
        code: 1,
        text: format!("llmwatch: {text}"),
    }
}
