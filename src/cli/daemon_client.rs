//! Calls the running daemon: through its control socket, which needs no token, otherwise by HTTP;
//! or a remote daemon with `--url`.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::{Failure, Globals, without_secrets};
use crate::config::{self, Settings};

/// The timeout of a request to the daemon.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for the daemon to commit its buffer before reading the database.
const FLUSH_PATIENCE: Duration = Duration::from_secs(3);

/// Where a daemon on another machine is.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Remote {
    /// Ask the daemon at this address, such as `https://status.example.com`, instead of the one on
    /// this machine; its web token is taken from $LLMWATCH_TOKEN
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// A running daemon.
pub(super) struct Daemon {
    /// The control socket, if there is one.
    socket: Option<PathBuf>,
    /// Its URL without a trailing slash.
    url: Option<String>,
    token: Option<String>,
}

impl Daemon {
    /// Returns the configured daemon, or the remote one.
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
        // The socket needs no secrets, so unreadable ones do not matter.
        let failure = match globals.load_without_secrets() {
            Ok(config) => return Ok(Self::local(&config)),
            Err(failure) => failure,
        };
        // Nor does a file that a running daemon has not loaded.
        let path = globals.config_path();
        let directory = config::state_dir_of(&path, &without_secrets());
        let socket = directory.map(|directory| directory.join("control.sock"));
        let socket = socket.filter(|socket| socket.exists()).ok_or(failure)?;
        eprintln!(
            "llmwatch: {} has errors (`llmwatch check` lists them); using the running daemon anyway",
            path.display()
        );
        Ok(Self {
            socket: Some(socket),
            url: None,
            token: None,
        })
    }

    /// Returns the daemon of this configuration.
    pub(super) fn local(config: &Settings) -> Self {
        let socket = config.process.state_dir.join("control.sock");
        let token = config.web.token.as_ref().map(|t| t.expose().to_owned());
        Self {
            socket: socket.exists().then_some(socket),
            url: config.process.listen.map(|a| format!("http://{a}")),
            token,
        }
    }

    /// Sends a request and returns the JSON response.
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

    /// Sends a request by the first way that reaches a daemon.
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
            return Err(Failure::new(format!(
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
            Failure::new(format!(
                "no daemon answers at {url}: {}{why}",
                cause(&error)
            ))
        })
    }
}

/// Asks the daemon of this configuration to commit its buffer, so that the database contains every
/// finished probe. If there is no daemon, at most the last second of samples is missing. That is
/// not an error; a daemon that does not answer in time draws a note.
pub(super) async fn flush(config: &Settings) {
    let socket = config.process.state_dir.join("control.sock");
    if !socket.exists() {
        return;
    }
    let client = Client::builder().no_proxy().unix_socket(socket).build();
    let Ok(client) = client else { return };
    let flush = client.post("http://localhost/api/v1/flush");
    let answer = flush.timeout(FLUSH_PATIENCE).send().await;
    if answer.is_err_and(|error| error.is_timeout()) {
        eprintln!(
            "llmwatch: the daemon did not write its newest samples within {} s, so they may be missing here",
            FLUSH_PATIENCE.as_secs()
        );
    }
}

/// Returns the innermost cause.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Converts a refusal of the daemon into a failure of the command.
pub(super) fn refused(status: StatusCode, answer: &Value) -> Failure {
    let detail = answer["detail"].as_str().unwrap_or("the daemon refused");
    match status {
        StatusCode::UNAUTHORIZED => Failure::new(
            "the daemon requires its web token: set LLMWATCH_TOKEN and `--url`, or run this as the daemon's user or root"
                .to_owned(),
        ),
        StatusCode::FORBIDDEN => Failure::new(
            "the daemon has no web token, so it takes changes only through its control socket: run this as the daemon's user or \
             root"
                .to_owned(),
        ),
        _ => Failure::new(detail.to_owned()),
    }
}
