//! `llmwatch check`: loads the configuration exactly as `run` would, and prints its plan.

use super::{EX_USAGE, Exit, Failure, Globals, print};
use crate::config::plan::Plan;
use crate::config::{self, Environment, ExplainError, Settings};
use crate::daemon::coordinator::differences;
use crate::notify::Sender;
use crate::redact::Redactor;
use crate::store::Store;
use crate::store::postgres::SharedStore;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch -c monitor.toml check --online")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(super) struct CheckArgs {
    /// Do not touch the network (the default)
    #[arg(long, conflicts_with = "online")]
    offline: bool,
    /// Probe each endpoint once and connect to each channel without sending
    #[arg(long)]
    online: bool,
    /// Skip secrets that cannot be read (systemd gives `ExecReload=` no credentials)
    #[arg(long, conflicts_with = "online")]
    without_secrets: bool,
    /// Print the value of one key and the file and line that set it, such as
    /// `endpoint.NAME.interval`
    #[arg(long, value_name = "KEY", conflicts_with_all = ["online", "without_secrets"])]
    explain: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(globals: &Globals, args: &CheckArgs) -> Exit {
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
    let redactor = Redactor::new(&config);
    for page in &mut plan.status_pages {
        page.url = redactor.clean(&page.url);
    }
    if args.json {
        print(&serde_json::to_string_pretty(&plan)?);
    } else {
        print(plan.to_string().trim_end());
    }
    if !args.online {
        return Ok(0);
    }
    let reached = check_shared_store(&config).await?;
    let probes = super::probe::ProbeArgs::for_all(args.json);
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
    Ok(u8::from(worst != 0 || !reachable || !reached))
}

/// Opens the shared store, if there is one, and prints who else uses it. Returns whether it
/// answers.
async fn check_shared_store(config: &Settings) -> Result<bool, Failure> {
    let Some(url) = &config.store.shared else {
        return Ok(true);
    };
    let shared = SharedStore::new(url.clone(), config.process.ca_file.as_deref())
        .map_err(Failure::of_shared_store)?;
    let updates = match shared.open().await {
        Ok(session) => session.updates(None, None, true, "").await,
        Err(error) => Err(error),
    };
    match updates {
        Ok(updates) => {
            eprintln!("store {}: reachable", shared.shown());
            for warning in differences(
                updates.daemons.as_deref().unwrap_or_default(),
                config,
                shared.me(),
            ) {
                eprintln!("warning: {warning}");
            }
            Ok(true)
        }
        Err(error) if error.is_misconfiguration() => Err(Failure::of_shared_store(error)),
        Err(error) => {
            eprintln!(
                "{error}; see that the server runs and that its host, port and firewall let this machine in. Until then the \
                 daemon works alone"
            );
            Ok(false)
        }
    }
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
