//! The command line: one file a verb. stdout carries data, stderr talk.
//!
//! Exit codes: 0 is good everywhere. `probe` and `status` follow the monitoring plugins (0 operational, 1 degraded,
//! 2 outage, 3 unknown, usage or configuration); a bad configuration is 78 elsewhere and bad usage 64, as in
//! sysexits.h, so that neither can be mistaken for an outage.

mod backtest;
mod check;
mod demo;
mod export;
mod incidents;
mod manual;
mod outbox;
mod people;
mod probe;
mod report;
mod run;
mod schema;
mod simulate;
mod status;
mod store;
mod test_alert;

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{self, ConfigError, Diagnostic, LogFormat, Settings, Surroundings};
use crate::log;
use crate::model::Status;
use crate::notify::Sender;
use crate::probe::Prober;

/// sysexits.h: the command was used wrongly.
const EX_USAGE: u8 = 64;
/// sysexits.h: something was found in an unconfigured or misconfigured state.
const EX_CONFIG: u8 = 78;
/// Monitoring plugins: unknown.
const UNKNOWN: u8 = 3;

/// The version and the commit it was built from.
const VERSION: &str = env!("LLMWATCH_VERSION");

/// A synthetic uptime monitor for LLM APIs: probes, measures, detects, attributes, alerts.
#[derive(Debug, Parser)]
#[command(name = "llmwatch", version = VERSION, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    /// The configuration file [default: `$LLMWATCH_CONFIG`, else ./monitor.toml if it exists, else
    /// /etc/llmwatch/monitor.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The shape of the log, over `[log] format`
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<Format>,
    /// The least severe level that is logged, over `[log] level`: error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<tracing::Level>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Auto,
    Json,
    Pretty,
    Journald,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon in the foreground
    Run,
    /// Check the configuration and print the plan: endpoints, probes, tokens and money a day, channels
    Check(check::Args),
    /// Probe now, once, outside any daemon
    Probe(probe::Args),
    /// Print what is true now: asks the running daemon, else reads the store
    Status(status::Args),
    /// List incidents; with a number or an id, its whole story
    Incidents(incidents::Args),
    /// List what waits to be delivered and what was given up; have it tried again, or drop it
    Outbox(outbox::Args),
    /// Tell nothing for a while: begin a silence, list those that hold, or end one
    Silence(people::SilenceArgs),
    /// Say that somebody is on an incident: its reminders end
    Ack(people::AckArgs),
    /// What a stretch of time was like: availability, faults, latency, incidents, objectives, spending
    Report(report::Args),
    /// Send a clearly marked test notification through each channel
    TestAlert(test_alert::Args),
    /// Write the recorded samples to stdout
    Export(export::Args),
    /// Replay samples through the detector: what would it have said, with these rules or others?
    Backtest(backtest::Args),
    /// Run the fault-injecting provider
    Simulate(simulate::Args),
    /// See everything at work, with no account and no network
    Demo(demo::Args),
    /// Look after the store: check, repair, backup
    Store(store::Args),
    /// Print the JSON Schema of monitor.toml
    Schema,
    /// Print the completions of a shell
    Completions(manual::CompletionsArgs),
    /// Print the manual page
    Man,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { usage_code() } else { 0 });
        }
    };
    // One crypto provider for everything; the first to install wins, and there is only this one.
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
    let is_plugin = matches!(cli.verb, Verb::Probe(_) | Verb::Status(_));
    let code = runtime.block_on(dispatch(cli));
    // Blocking work that is still under way (a name lookup, say) must not hold up the exit.
    runtime.shutdown_background();
    if let Some(error) = UNWRITTEN.get() {
        eprintln!("llmwatch: cannot write to stdout: {error}");
        // What a monitoring system cannot read, it does not know.
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
    let result = match cli.verb {
        Verb::Run => run::run(&globals).await,
        Verb::Check(args) => check::run(&globals, &args).await,
        Verb::Probe(args) => probe::run(&globals, &args).await,
        Verb::Status(args) => status::run(&globals, &args).await,
        Verb::Incidents(args) => incidents::run(&globals, &args),
        Verb::Outbox(args) => outbox::run(&globals, &args),
        Verb::Silence(args) => people::silence(&globals, &args).await,
        Verb::Ack(args) => people::ack(&globals, &args).await,
        Verb::Report(args) => report::run(&globals, &args),
        Verb::TestAlert(args) => test_alert::run(&globals, &args).await,
        Verb::Export(args) => export::run(&globals, &args),
        Verb::Backtest(args) => backtest::run(&globals, &args),
        Verb::Simulate(args) => simulate::run(&globals, &args).await,
        Verb::Demo(args) => demo::run(&globals, &args).await,
        Verb::Store(args) => store::run(&globals, &args),
        Verb::Schema => schema::run(),
        Verb::Completions(args) => Ok(manual::completions(&args)),
        Verb::Man => manual::man(),
    };
    result.unwrap_or_else(|failure| {
        log::complain(&failure.text);
        failure.code
    })
}

/// A verb that could not do its work.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = "llmwatch".to_owned();
        // Some errors word their cause themselves: it is not said again.
        for words in error.into().chain().map(ToString::to_string) {
            if !text.contains(&words) {
                text += &format!(": {words}");
            }
        }
        Self { code: 1, text }
    }
}

impl Failure {
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

/// The exit code of a verb, or why it could not do its work.
type Exit = Result<u8, Failure>;

/// What stands before the verb.
struct Globals {
    config: Option<PathBuf>,
    format: Option<Format>,
    level: Option<tracing::Level>,
}

impl Globals {
    /// The file that somebody asked for, with `-c` or through the environment.
    fn named_config(&self) -> Option<PathBuf> {
        let named = || {
            std::env::var_os("LLMWATCH_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        self.config.clone().or_else(named)
    }

    /// The file that `run` would read.
    fn config_path(&self) -> PathBuf {
        let local = Path::new("monitor.toml");
        match self.named_config() {
            Some(path) => path,
            None if local.exists() => local.to_owned(),
            None => PathBuf::from("/etc/llmwatch/monitor.toml"),
        }
    }

    /// The checked configuration; the failure carries 78.
    fn load(&self) -> Result<Settings, Failure> {
        config::load(&self.config_path(), &Surroundings::from_process())
            .map_err(|e| Failure::misconfigured(&e))
    }

    /// The same for a verb that needs no secret, and so must not fail for the want of one: the service's are seldom
    /// to be had in a shell.
    fn load_without_secrets(&self) -> Result<Settings, Failure> {
        config::load(&self.config_path(), &without_secrets())
            .map_err(|e| Failure::misconfigured(&e))
    }

    /// As [`Globals::load`], and what `run` builds of it can be built.
    fn load_whole(&self) -> Result<Settings, Failure> {
        load_whole(&self.config_path(), &Surroundings::from_process())
            .map_err(|e| Failure::misconfigured(&e))
    }

    /// The same as far as no secret is needed for it: a reload must not pass that the daemon would refuse.
    fn load_whole_without_secrets(&self) -> Result<Settings, Failure> {
        load_whole(&self.config_path(), &without_secrets()).map_err(|e| Failure::misconfigured(&e))
    }

    /// Installs the log, as the configuration and the command line say.
    fn install_log(&self, config: Option<&config::Log>) {
        let format = match self.format {
            Some(Format::Json) => LogFormat::Json,
            Some(Format::Pretty) => LogFormat::Pretty,
            Some(Format::Journald) => LogFormat::Journald,
            Some(Format::Auto) => LogFormat::Auto,
            None => config.map_or(LogFormat::Auto, |c| c.format),
        };
        let level = self
            .level
            .or(config.map(|c| c.level))
            .unwrap_or(tracing::Level::INFO);
        log::install(format, level);
    }
}

/// This process's, with secrets that cannot be read taken for granted.
fn without_secrets() -> Surroundings {
    Surroundings {
        without_secrets: true,
        ..Surroundings::from_process()
    }
}

/// The configuration at `path`, if all that `run` builds of it can be built: a key file or a CA file that is of no use is a
/// bad configuration too, and must be refused at a reload as at the start. Only who sends needs secrets.
fn load_whole(path: &Path, surroundings: &Surroundings) -> Result<Settings, ConfigError> {
    let config = config::load(path, surroundings)?;
    let prober = Prober::new(&config).err().map(|e| e.to_string());
    let sender = if surroundings.without_secrets {
        None
    } else {
        Sender::new(&config).err().map(|e| e.to_string())
    };
    let unusable = [prober, sender].into_iter().flatten();
    let diagnostics: Vec<_> = unusable
        .map(|message| Diagnostic {
            message,
            span: None,
            help: None,
        })
        .collect();
    if diagnostics.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError::new(path, String::new(), diagnostics))
    }
}

/// The exit code of monitoring plugins.
fn plugin_code(status: Status) -> u8 {
    match status {
        Status::Operational | Status::Maintenance => 0,
        Status::Degraded => 1,
        Status::Outage => 2,
        Status::Unknown => UNKNOWN,
    }
}

/// Bad usage of a plugin verb is 3, of any other 64.
fn usage_code() -> u8 {
    let known = Cli::command();
    let verb = std::env::args_os()
        .skip(1)
        .find(|a| known.find_subcommand(a).is_some());
    if verb.is_some_and(|v| v == "probe" || v == "status") {
        UNKNOWN
    } else {
        EX_USAGE
    }
}

/// Why data could not be written to stdout, for instance to a full disk.
static UNWRITTEN: OnceLock<std::io::Error> = OnceLock::new();
/// Whether the reader of stdout has gone away.
static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Writes one line of data; a reader that has gone away is not an error of ours.
fn print(text: &str) {
    note(writeln!(std::io::stdout(), "{text}"));
}

/// Remembers how writing to stdout went.
fn note(written: std::io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            READER_GONE.store(true, Ordering::Relaxed)
        }
        Err(error) => drop(UNWRITTEN.set(error)),
    }
}

/// `text` in colour, on a terminal that wants it.
fn paint(text: &str, colour: u8) -> String {
    let wanted = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    if wanted {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// The colour of a status.
fn colour(status: Status) -> u8 {
    match status {
        Status::Operational => 32,
        Status::Degraded => 33,
        Status::Outage => 31,
        Status::Unknown | Status::Maintenance => 90,
    }
}

/// Rows as an aligned table; the first row is its head.
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
