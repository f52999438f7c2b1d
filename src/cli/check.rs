//! `llmwatch check`: the configuration, loaded exactly as `run` would, and the plan that it means.

use super::{EX_USAGE, Exit, Failure, Globals, print};
use crate::config::plan::Plan;
use crate::config::{self, Environment, ExplainError};
use crate::notify::Sender;
use crate::store::Store;

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
    /// Print the value of one key and the file and line that set it, such as `endpoint.NAME.interval`
    #[arg(long, value_name = "KEY", conflicts_with_all = ["online", "without_secrets"])]
    explain: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(globals: &Globals, args: &Args) -> Exit {
    if let Some(key) = &args.explain {
        return explain(globals, key, args.json);
    }
    let config = if args.without_secrets {
        globals.load_whole_without_secrets()?
    } else {
        globals.load_whole()?
    };
    let mut plan = Plan::of(&config);
    plan.warnings.extend(Store::exposed(&config.store.path));
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

/// `--explain KEY`.
fn explain(globals: &Globals, key: &str, json: bool) -> Exit {
    let explained = config::explain(&globals.config_path(), &Environment::from_process(), key);
    let explanation = match explained {
        Ok(explanation) => explanation,
        Err(ExplainError::Config(error)) => return Err(Failure::misconfigured(&error)),
        Err(error) => return Err(Failure::from(error).with(EX_USAGE)),
    };
    if json {
        print(&serde_json::to_string_pretty(&explanation)?);
        return Ok(0);
    }
    match (&explanation.value, &explanation.file, explanation.line) {
        (Some(value), Some(file), Some(line)) => {
            print(&format!("{key} = {value}"));
            print(&format!("  set at {}:{line}", file.display()));
        }
        _ => print(&format!("{key} is not set")),
    }
    print(&format!("  default: {}", explanation.default));
    print(&format!("  {}", explanation.text));
    Ok(0)
}
