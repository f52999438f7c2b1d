//! The command line: one file per subcommand. Data goes to stdout, messages go to stderr.
//!
//! Exit codes: 0 means success. `probe` and `status` follow the monitoring plugins (0 operational,
//! 1 degraded, 2 outage, 3 unknown, usage or configuration error). Elsewhere a configuration error
//! is 78, as in sysexits.h, and any other failure 1, also a usage error.

mod ack;
mod backtest;
mod check;
mod daemon_client;
mod demo;
mod drill;
mod export;
mod incidents;
mod init;
mod manual;
mod note;
mod outbox;
mod point_in_time;
mod probe;
mod progress;
mod reload;
mod report;
mod route;
mod run;
mod schema;
mod silence;
mod simulate;
mod status;
mod store;
mod test_alert;
pub mod trace_files;

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{self, ConfigError, Environment, LogFormat, Settings};
use crate::log;
use crate::notify::Sender;
use crate::probe::Prober;
use crate::store::postgres::SharedError;
use llmwatch_core::model::Status;

/// sysexits.h: a configuration error.
const EX_CONFIG: u8 = 78;
/// Monitoring plugins: unknown.
const UNKNOWN: u8 = 3;

/// The version with the commit it was built from.
const VERSION: &str = env!("LLMWATCH_VERSION");

/// A synthetic uptime monitor for LLM APIs: probes, measures, detects, attributes, alerts.
#[derive(Debug, Parser)]
#[command(
    name = "llmwatch",
    version = VERSION,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Examples:\n  llmwatch demo\n  llmwatch init\n  llmwatch check && llmwatch run"
)]
struct Cli {
    /// Configuration file [default: `$LLMWATCH_CONFIG`, else ./monitor.toml if it exists, else
    /// /etc/llmwatch/monitor.toml]
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    config: Option<PathBuf>,
    /// Log format (overrides `[log] format`)
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    log_format: Option<LogFormatArg>,
    /// Minimum log level (overrides `[log] level`): error, warn, info, debug or trace
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        help_heading = "Global options"
    )]
    log_level: Option<tracing::Level>,
    #[command(subcommand)]
    subcommand: Subcommands,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormatArg {
    Auto,
    Json,
    Pretty,
    Journald,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the daemon in the foreground
    Run(run::RunArgs),
    /// Write a configuration from what is found on this machine
    Init(init::InitArgs),
    /// Validate the configuration and print the plan: endpoints, requests, tokens and cost per day
    Check(check::CheckArgs),
    /// Probe endpoints once, now, without the daemon
    Probe(probe::ProbeArgs),
    /// Show current status (from the daemon, else the database)
    Status(status::StatusArgs),
    /// List incidents, or show one with its timeline and evidence
    Incidents(incidents::IncidentsArgs),
    /// List, retry or drop undelivered notifications
    Outbox(outbox::OutboxArgs),
    /// Create, list or expire silences
    Silence(silence::SilenceArgs),
    /// Acknowledge an incident (stops reminders)
    Ack(ack::AckArgs),
    /// Add a note to an incident, or mark a deploy in the charts
    Note(note::NoteArgs),
    /// Have the daemon reload its configuration; fails when the daemon rejects it
    Reload(reload::ReloadArgs),
    /// The endpoint to use now
    Route(route::RouteArgs),
    /// Availability report for a period: faults, latency, incidents, SLO and cost
    Report(report::ReportArgs),
    /// Send a clearly marked test notification through each channel
    TestAlert(test_alert::TestAlertArgs),
    /// Rehearse the alarm, or the switch to another endpoint
    Drill(drill::DrillArgs),
    /// Export recorded samples to stdout
    Export(export::ExportArgs),
    /// Replay recorded samples through the detector, with the current or other settings
    Backtest(backtest::BacktestArgs),
    /// Run the fault-injecting provider
    Simulate(simulate::SimulateArgs),
    /// Run a self-contained demo: no account, no network
    Demo(demo::DemoArgs),
    /// Check, repair or back up the database
    Store(store::StoreArgs),
    /// Print the JSON Schema of monitor.toml
    Schema(schema::SchemaArgs),
    /// Print shell completions
    Completions(manual::CompletionsArgs),
    /// Print the man page
    #[command(after_help = "Example: llmwatch man | man -l -")]
    Man,
}

/// Parses the command line, runs the subcommand and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { usage_code() } else { 0 });
        }
    };
    // The crypto provider of the process; nothing else installs one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("llmwatch: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let is_plugin = matches!(
        cli.subcommand,
        Subcommands::Probe(_) | Subcommands::Status(_)
    );
    let code = runtime.block_on(dispatch(cli));
    // Blocking work still in progress (such as a name lookup) must not delay the exit.
    runtime.shutdown_background();
    if let Some(error) = UNWRITTEN.get() {
        eprintln!("llmwatch: cannot write to stdout: {error}");
        // If stdout could not be written, a monitoring system must not read the exit code as
        // success.
        return ExitCode::from(if code == 0 && is_plugin {
            UNKNOWN
        } else {
            code.max(1)
        });
    }
    ExitCode::from(code)
}

async fn dispatch(cli: Cli) -> u8 {
    let globals = Globals {
        config: cli.config,
        format: cli.log_format,
        level: cli.log_level,
    };
    let result = match cli.subcommand {
        Subcommands::Run(args) => run::run(&globals, &args).await,
        Subcommands::Init(args) => init::run(&globals, &args).await,
        Subcommands::Check(args) => check::run(&globals, &args).await,
        Subcommands::Probe(args) => probe::run(&globals, &args).await,
        Subcommands::Status(args) => status::run(&globals, &args).await,
        Subcommands::Incidents(args) => incidents::run(&globals, &args).await,
        Subcommands::Outbox(args) => outbox::run(&globals, &args).await,
        Subcommands::Silence(args) => silence::run(&globals, &args).await,
        Subcommands::Ack(args) => ack::run(&globals, &args).await,
        Subcommands::Note(args) => note::run(&globals, &args).await,
        Subcommands::Reload(args) => reload::run(&globals, &args).await,
        Subcommands::Route(args) => route::run(&globals, &args).await,
        Subcommands::Report(args) => report::run(&globals, &args).await,
        Subcommands::TestAlert(args) => test_alert::run(&globals, &args).await,
        Subcommands::Drill(args) => drill::run(&globals, &args).await,
        Subcommands::Export(args) => export::run(&globals, &args).await,
        Subcommands::Backtest(args) => backtest::run(&globals, &args).await,
        Subcommands::Simulate(args) => simulate::run(&globals, &args).await,
        Subcommands::Demo(args) => demo::run(&globals, &args).await,
        Subcommands::Store(args) => store::run(&globals, &args).await,
        Subcommands::Schema(args) => schema::run(&args),
        Subcommands::Completions(args) => Ok(manual::completions(&args)),
        Subcommands::Man => manual::man(),
    };
    result.unwrap_or_else(|failure| {
        log::complain(&failure.text);
        failure.code
    })
}

/// Why a subcommand failed.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = "llmwatch".to_owned();
        // Some errors already include the text of their cause; do not repeat it.
        for words in error.into().chain().map(ToString::to_string) {
            if !text.contains(&words) {
                text += &format!(": {words}");
            }
        }
        Self { code: 1, text }
    }
}

impl Failure {
    /// Creates the failure of a subcommand, with the name of the program before `text`.
    fn new(text: impl Display) -> Self {
        Self {
            code: 1,
            text: format!("llmwatch: {text}"),
        }
    }

    /// Converts an error of the shared store; a misconfiguration gets the exit code of the
    /// configuration.
    fn of_shared_store(error: SharedError) -> Self {
        let code = if error.is_misconfiguration() {
            EX_CONFIG
        } else {
            1
        };
        Self::from(error).with(code)
    }

    fn misconfigured(error: &ConfigError) -> Self {
        Self {
            code: EX_CONFIG,
            text: error.to_string().trim_end().to_owned(),
        }
    }

    fn with(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

/// The exit code of a subcommand, or why it failed.
type Exit = Result<u8, Failure>;

/// Options of every subcommand.
struct Globals {
    config: Option<PathBuf>,
    format: Option<LogFormatArg>,
    level: Option<tracing::Level>,
}

impl Globals {
    /// Returns the file named by `-c` or by the environment.
    fn named_config(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| {
            std::env::var_os("LLMWATCH_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        })
    }

    /// Returns the file that `run` would read.
    fn config_path(&self) -> PathBuf {
        let local = Path::new("monitor.toml");
        match self.named_config() {
            Some(path) => path,
            None if local.exists() => local.to_owned(),
            None => PathBuf::from("/etc/llmwatch/monitor.toml"),
        }
    }

    /// Loads the configuration; a failure has exit code 78.
    fn load(&self) -> Result<Settings, Failure> {
        config::load(&self.config_path(), &Environment::from_process())
            .map_err(|e| Failure::misconfigured(&e))
    }

    /// Loads it for a subcommand that needs no secrets: those of the service are rarely available
    /// in a shell.
    fn load_without_secrets(&self) -> Result<Settings, Failure> {
        config::load(&self.config_path(), &without_secrets())
            .map_err(|e| Failure::misconfigured(&e))
    }

    /// Loads it like [`Globals::load`], and checks that everything `run` builds from it can be
    /// built.
    fn load_whole(&self) -> Result<Settings, Failure> {
        load_whole(&self.config_path(), &Environment::from_process())
            .map_err(|e| Failure::misconfigured(&e))
    }

    /// Loads and checks everything that needs no secrets: `check` must not accept what a reload
    /// would reject.
    fn load_whole_without_secrets(&self) -> Result<Settings, Failure> {
        load_whole(&self.config_path(), &without_secrets()).map_err(|e| Failure::misconfigured(&e))
    }

    /// Reports whether the log is in a machine format even on a terminal.
    fn is_for_machines(&self, configured: LogFormat) -> bool {
        match self.format {
            Some(format) => matches!(format, LogFormatArg::Json | LogFormatArg::Journald),
            None => matches!(configured, LogFormat::Json | LogFormat::Journald),
        }
    }

    /// Installs the log, with the command line overriding the configuration.
    fn install_log(&self, config: Option<&config::Log>) {
        let format = match self.format {
            Some(LogFormatArg::Json) => LogFormat::Json,
            Some(LogFormatArg::Pretty) => LogFormat::Pretty,
            Some(LogFormatArg::Journald) => LogFormat::Journald,
            Some(LogFormatArg::Auto) => LogFormat::Auto,
            None => config.map_or(LogFormat::Auto, |c| c.format),
        };
        let level = self
            .level
            .or(config.map(|c| c.level))
            .unwrap_or(tracing::Level::INFO);
        log::install(format, level);
    }
}

/// The environment of this process, with unreadable secrets accepted.
fn without_secrets() -> Environment {
    Environment {
        without_secrets: true,
        ..Environment::from_process()
    }
}

/// Loads the configuration at `path` and checks that everything `run` builds from it can be built.
/// An unusable key file or CA file must be rejected at a reload as well as at the start. Only
/// sending needs secrets.
fn load_whole(path: &Path, surroundings: &Environment) -> Result<Settings, ConfigError> {
    let config = config::load(path, surroundings)?;
    let prober = Prober::new(&config).err().map(|e| e.to_string());
    let sender = if surroundings.without_secrets {
        None
    } else {
        Sender::new(&config).err().map(|e| e.to_string())
    };
    let unusable = [prober, sender].into_iter().flatten();
    let problems: Vec<String> = unusable.collect();
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError::of_parts(path, problems))
    }
}

/// Returns the exit code of monitoring plugins.
fn plugin_code(status: Status) -> u8 {
    match status {
        Status::Operational | Status::Maintenance => 0,
        Status::Degraded => 1,
        Status::Outage => 2,
        Status::Unknown => UNKNOWN,
    }
}

/// Returns the exit code of a usage error: 3 for a monitoring plugin, 78 for `check`, which knows
/// nothing but valid and invalid, and 1 for any other subcommand.
fn usage_code() -> u8 {
    let known = Cli::command();
    let verb = std::env::args_os()
        .skip(1)
        .find(|a| known.find_subcommand(a).is_some());
    match verb.as_deref().and_then(OsStr::to_str) {
        Some("probe" | "status") => UNKNOWN,
        Some("check") => EX_CONFIG,
        _ => 1,
    }
}

/// Why stdout could not be written, for instance because the disk is full.
static UNWRITTEN: OnceLock<std::io::Error> = OnceLock::new();
/// Whether the reader of stdout has closed it.
static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Prints one line of data. A closed pipe is not an error.
fn print(text: &str) {
    note(writeln!(std::io::stdout(), "{text}"));
}

/// Records the result of a write to stdout.
fn note(written: std::io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            READER_GONE.store(true, Ordering::Relaxed);
        }
        Err(error) => drop(UNWRITTEN.set(error)),
    }
}

/// Colors `text` on a terminal that supports it.
fn paint(text: &str, color: u8) -> String {
    let wanted = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    if wanted {
        format!("\x1b[{color}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// The color of a status.
fn color(status: Status) -> u8 {
    match status {
        Status::Operational => 32,
        Status::Degraded => 33,
        Status::Outage => 31,
        Status::Unknown | Status::Maintenance => 90,
    }
}

/// Formats rows as an aligned table; the first row is the header.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter()
            .filter_map(|r| r.get(c))
            .map(|s| s.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, w)| format!("{cell:w$}", w = *w))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
