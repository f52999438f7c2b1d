//! `llmwatch store`: is the store sound, rescue what can be rescued, copy it while the daemon runs.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Exit, Globals, print};
use crate::clock;
use crate::store::{Store, StoreError, repair};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch store backup /var/backups/llmwatch.db")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Check the integrity of the database; the daemon may be running
    #[command(after_help = "Example: llmwatch store check --json")]
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Recover what is readable into a new database and keep the damaged file; stop the daemon first
    #[command(after_help = "Example: llmwatch store repair")]
    Repair {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a consistent copy to a new file; the daemon may be running
    #[command(after_help = "Example: llmwatch store backup /var/backups/llmwatch.db")]
    Backup {
        /// File to write
        file: PathBuf,
    },
}

pub(super) fn run(globals: &Globals, args: &Args) -> Exit {
    let config = globals.load_without_secrets()?;
    let path = &config.store.path;
    match &args.verb {
        Verb::Check { json } => check(path, *json),
        Verb::Repair { json } => {
            let done = repair(
                path,
                &format!(
                    ".damaged-{}",
                    clock::now().to_datetime().format("%Y%m%dT%H%M%S")
                ),
            )?;
            if *json {
                print(&serde_json::to_string_pretty(&done)?);
            } else {
                for (table, rows) in &done.rescued {
                    print(&format!("{table}: {rows} rows recovered"));
                }
                print(&format!(
                    "the damaged file is kept as {}",
                    done.kept_as.display()
                ));
            }
            Ok(0)
        }
        Verb::Backup { file } => {
            Store::open_read_only(path)?.back_up(file)?;
            eprintln!("{} is copied to {}", path.display(), file.display());
            Ok(0)
        }
    }
}

fn check(path: &Path, json: bool) -> Exit {
    let condition = Store::open_read_only(path).and_then(|store| store.condition());
    let condition = match condition {
        Ok(condition) => condition,
        Err(error @ StoreError::Damaged { .. }) => {
            if json {
                print(&json!({"problems": [error.to_string()]}).to_string());
            } else {
                print(&error.to_string());
            }
            return Ok(1);
        }
        Err(error) => return Err(error.into()),
    };
    if json {
        print(&serde_json::to_string_pretty(&condition)?);
    } else {
        let crate::store::Condition {
            version,
            bytes,
            samples,
            incidents,
            waiting,
            ..
        } = &condition;
        let holds =
            format!("{samples} samples, {incidents} incidents, {waiting} notifications waiting");
        let size = format!(
            "version {version}, {:.1} MiB",
            *bytes as f64 / f64::from(1 << 20)
        );
        let verdict = if condition.problems.is_empty() {
            "ok"
        } else {
            "DAMAGED"
        };
        print(&format!("{}: {verdict}; {size}: {holds}", path.display()));
        for problem in &condition.problems {
            print(&format!("  {problem}"));
        }
        if !condition.problems.is_empty() {
            eprintln!(
                "stop the daemon and run `llmwatch store repair` to recover what is readable"
            );
        }
    }
    Ok(u8::from(!condition.problems.is_empty()))
}
