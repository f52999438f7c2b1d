//! `llmwatch check`: the configuration, loaded exactly as `run` would, and the plan that it means.

use super::{Exit, Globals, print};
use crate::config::plan::Plan;
use crate::notify::Sender;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch -c monitor.toml check --online")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(super) struct Args {
    /// Do not touch the network (the default)
    #[arg(long, conflicts_with = "online")]
    offline: bool,
    /// Probe each endpoint once and connect to each channel without sending
    #[arg(long)]
    online: bool,
    /// Skip secrets that cannot be read (systemd gives `ExecReload=` no credentials)
    #[arg(long, conflicts_with = "online")]
    without_secrets: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(globals: &Globals, args: &Args) -> Exit {
    let config = if args.without_secrets {
        globals.load_whole_without_secrets()?
    } else {
        globals.load_whole()?
    };
    let plan = Plan::of(&config);
    if args.json {
        print(&serde_json::to_string_pretty(&plan)?);
    } else {
        print(plan.to_string().trim_end());
    }
    if !args.online {
        return Ok(0);
    }
    let probes = super::probe::Args::for_all(args.json);
    let worst = super::probe::run(globals, &probes).await?;
    let sender = Sender::new(&config)?;
    let mut reachable = true;
    for channel in &config.channels {
        match sender.open(channel).await {
            Ok(()) => eprintln!("channel {}: reachable", channel.name),
            Err(error) => {
                reachable = false;
                eprintln!("channel {}: {error}", channel.name);
            }
        }
    }
    Ok(u8::from(worst != 0 || !reachable))
}
