//! `llmwatch reload`: asks the running daemon to reload its configuration, and reports whether it
//! was accepted.

use reqwest::{Method, StatusCode};

use super::daemon_client::{Daemon, refused};
use super::{Exit, Failure, Globals, print};

/// The exit code for a rejected configuration.
const REJECTED: u8 = 78;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch -c /etc/llmwatch/monitor.toml reload")]
pub(super) struct ReloadArgs {}

pub(super) async fn run(globals: &Globals, _: &ReloadArgs) -> Exit {
    let daemon = Daemon::local(&globals.load_without_secrets()?);
    let response = daemon
        .send(|client, base| client.request(Method::POST, format!("{base}/api/v1/reload")))
        .await?;
    let status = response.status();
    if status.is_success() {
        print("the daemon has reloaded its configuration");
        return Ok(0);
    }
    let answer = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
    let failure = refused(status, &answer);
    Err(if status == StatusCode::UNPROCESSABLE_ENTITY {
        Failure {
            code: REJECTED,
            text: failure.text.replacen(
                "llmwatch: ",
                "llmwatch: the daemon rejected the new configuration, the old one stays in effect: ",
                1,
            ),
        }
    } else {
        failure
    })
}
