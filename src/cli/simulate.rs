//! `llmwatch simulate`: the fault-injecting provider alone, optionally with a mail and webhook
//! receiver.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Exit, Globals, print};
use crate::files;
use llmwatch_simulator::{self, MailSink, Scenario, WebhookSink};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch simulate --scenario scenarios/outage.toml")]
pub(super) struct SimulateArgs {
    /// Scenario file with the faults to inject [default: none, always healthy]
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Also receive mail at this address over plain SMTP; each mail is printed as a JSON line
    #[arg(long, value_name = "ADDR")]
    mail: Option<SocketAddr>,
    /// Also receive webhooks at this address; each request is printed as a JSON line
    #[arg(long, value_name = "ADDR")]
    webhooks: Option<SocketAddr>,
}

/// The size limit of a scenario, in bytes.
const MAX_SCENARIO: u64 = 1 << 20;

pub(super) async fn run(_: &Globals, args: &SimulateArgs) -> Exit {
    let scenario = match &args.scenario {
        None => Scenario::healthy(),
        Some(path) => {
            let text = files::read_to_string(path, MAX_SCENARIO)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            Scenario::parse(&text).with_context(|| format!("in `{}`", path.display()))?
        }
    };
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        interrupted.cancel();
    });
    if let Some(address) = args.mail {
        receive_mail(MailSink::start(listen(address).await?)?);
    }
    if let Some(address) = args.webhooks {
        receive_webhooks(WebhookSink::start(listen(address).await?)?);
    }
    llmwatch_simulator::run(args.listen, scenario, stop)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    Ok(0)
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

fn receive_mail(mut sink: MailSink) {
    tokio::spawn(async move {
        loop {
            let mail = sink.next().await;
            let data = String::from_utf8_lossy(&mail.data);
            let line = json!({"mail": {"received_at": mail.received_at, "from": mail.from, "to": mail.to, "data": data}});
            print(&line.to_string());
        }
    });
}

fn receive_webhooks(mut sink: WebhookSink) {
    tokio::spawn(async move {
        loop {
            let request = sink.next().await;
            let body = request
                .json()
                .unwrap_or_else(|| json!(String::from_utf8_lossy(&request.body)));
            let line = json!({"webhook": {"path": request.path, "id": request.header("webhook-id"), "body": body}});
            print(&line.to_string());
        }
    });
}
