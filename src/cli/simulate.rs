//! `llmwatch simulate`: the fault-injecting provider on its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{Exit, Globals};
use crate::simulate::{self, Scenario};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What goes wrong when; healthy without it
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
}

pub(super) async fn run(_: &Globals, args: &Args) -> Exit {
    let scenario = match &args.scenario {
        None => Scenario::healthy(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
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
    simulate::run(args.listen, scenario, stop).await?;
    Ok(0)
}
