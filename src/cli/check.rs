//! `llmwatch check`: loads the configuration exactly as `run` would, and prints its plan.

use super::{EX_CONFIG, Exit, Failure, Globals, print, probe};
use crate::config::plan::Plan;
use crate::config::{self, Environment, ExplainError, Settings};
use crate::daemon::coordinator::differences;
use crate::notify::{OpenError, Sender};
use crate::redact::Redactor;
use crate::store::postgres::SharedStore;
use crate::store::{Store, StoreError};
use llmwatch_core::model::Fault;

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
    plan.warnings.extend(check_store(&config)?);
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
    check_shared_store(&config).await?;
    let mut is_accepted = check_endpoints(&config, args.json).await?;
    is_accepted &= check_channels(&config).await?;
    if is_accepted {
        return Ok(0);
    }
    Err(Failure {
        code: EX_CONFIG,
        text: "llmwatch: part of the configuration is rejected; fix each endpoint and channel marked `rejected` above"
            .to_owned(),
    })
}

/// Checks the file of the store, if there is one, and returns warnings. One that `run` would refuse
/// is an error of the configuration.
fn check_store(config: &Settings) -> Result<Vec<String>, Failure> {
    let path = &config.store.path;
    let mut warnings = Store::exposed(path);
    match Store::open_read_only(path) {
        // The daemon creates and migrates it.
        Ok(_) | Err(StoreError::Missing { .. } | StoreError::TooOld { .. }) => {}
        Err(error) if error.is_misconfiguration() => {
            return Err(Failure::from(error).with(EX_CONFIG));
        }
        Err(error) => warnings.push(error.to_string()),
    }
    Ok(warnings)
}

/// Probes every endpoint once. Returns whether none of them rejects what is configured for it; any
/// other failure is no error of the configuration.
async fn check_endpoints(config: &Settings, as_json: bool) -> Result<bool, Failure> {
    if config.endpoints.is_empty() {
        return Ok(true);
    }
    let all = probe::samples(config, &config.endpoints, 1).await?;
    probe::show(config, &config.endpoints, &all, as_json)?;
    let mut is_accepted = true;
    for sample in all.iter().flatten() {
        let Some(fault) = sample.fault else { continue };
        let endpoint = &sample.endpoint;
        if is_configured_wrongly(fault) {
            is_accepted = false;
            eprintln!("endpoint {endpoint}: rejected: {}", fault.describe());
        } else {
            eprintln!(
                "endpoint {endpoint}: failing now, but not because of the configuration: {}",
                fault.describe()
            );
        }
    }
    Ok(is_accepted)
}

/// Reports whether only another key or another request can end this fault.
fn is_configured_wrongly(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::AccountAuth
            | Fault::AccountPermission
            | Fault::RequestModelNotFound
            | Fault::RequestRejected
            | Fault::RequestTooFewTokens
    )
}

/// Connects to every channel. Returns whether none of them rejects what is configured for it.
async fn check_channels(config: &Settings) -> Result<bool, Failure> {
    let sender = Sender::new(config)?;
    let mut is_accepted = true;
    for channel in &config.channels {
        let name = &channel.name;
        match sender.open(channel).await {
            Ok(()) => eprintln!("channel {name}: reachable"),
            Err(OpenError::Rejected(why)) => {
                is_accepted = false;
                eprintln!("channel {name}: rejected: {why}");
            }
            Err(OpenError::Unreachable(why)) => eprintln!("channel {name}: unreachable: {why}"),
        }
    }
    Ok(is_accepted)
}

/// Opens the shared store, if there is one, and prints who else uses it. A store that does not
/// answer is no error: the daemon works alone until then.
async fn check_shared_store(config: &Settings) -> Result<(), Failure> {
    let Some(url) = &config.store.shared else {
        return Ok(());
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
        }
        Err(error) if error.is_misconfiguration() => return Err(Failure::of_shared_store(error)),
        Err(error) => eprintln!(
            "{error}; check that the server is running and that its host, port and firewall settings allow this machine. \
             Until then, the daemon works alone"
        ),
    }
    Ok(())
}

/// `--explain KEY`.
fn explain(globals: &Globals, key: &str, json: bool) -> Exit {
    let explained = config::explain(&globals.config_path(), &Environment::from_process(), key);
    let explanation = match explained {
        Ok(explanation) => explanation,
        Err(ExplainError::Config(error)) => return Err(Failure::misconfigured(&error)),
        Err(error) => return Err(Failure::from(error).with(EX_CONFIG)),
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
