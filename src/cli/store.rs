//! `llmwatch store`: checks, repairs, copies or backs up the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::progress::{CountLine, ProgressLine};
use super::{Exit, Failure, Globals, print};
use crate::clock;
use crate::config::{PostgresUrl, Settings};
use crate::store::postgres::{Checksum, SharedStore, source_of};
use crate::store::{SampleQuery, Store, StoreError, repair};
use llmwatch_core::model::{Incident, Sample, Secret};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch store backup /var/backups/llmwatch.db")]
pub(super) struct StoreArgs {
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
    /// Recover what is readable into a new database and keep the damaged file; stop the daemon
    /// first
    #[command(after_help = "Example: llmwatch store repair")]
    Repair {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Move the history of an SQLite file into a PostgreSQL database; the daemon may be running.
    /// Run it again to continue after an interruption. A password is taken from the URL or from
    /// $PGPASSWORD
    #[command(
        after_help = "Example: llmwatch store copy --from sqlite:llmwatch.db --to postgres://llmwatch@db.example.com/llmwatch"
    )]
    Copy {
        /// File to read: `sqlite:llmwatch.db` in `state_dir`, or with a path
        #[arg(long, value_name = "URL")]
        from: String,
        /// Database to write: `postgres://user@host/database`
        #[arg(long, value_name = "URL")]
        to: String,
    },
    /// Write a consistent copy to a new file; the daemon may be running
    #[command(after_help = "Example: llmwatch store backup /var/backups/llmwatch.db")]
    Backup {
        /// File to write
        file: PathBuf,
    },
}

pub(super) async fn run(globals: &Globals, args: &StoreArgs) -> Exit {
    let config = globals.load_without_secrets()?;
    let path = &config.store.path;
    if !matches!(args.verb, Verb::Copy { .. }) {
        mention_shared_store(&config);
    }
    match &args.verb {
        Verb::Check { json } => check(path, *json),
        Verb::Repair { json } => {
            let stamp = clock::now().to_datetime().format("%Y%m%dT%H%M%S");
            let mut counter = CountLine::new("recovering");
            let done = repair(path, &format!(".damaged-{stamp}"), &mut |table| {
                counter.step(table);
            })?;
            drop(counter);
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
        Verb::Copy { from, to } => copy(&config, from, to).await,
        Verb::Backup { file } => {
            Store::open_read_only(path)?.back_up(file)?;
            eprintln!("{} is copied to {}", path.display(), file.display());
            Ok(0)
        }
    }
}

/// Warns that only the local file is covered if `[store] url` names a PostgreSQL database.
fn mention_shared_store(config: &Settings) {
    let shared = match &config.store.shared {
        Some(url) => format!(" `{}`", url.shown()),
        None if config.store.is_url_unknown => {
            " (its `url` is a secret that is not set here)".to_owned()
        }
        None => return,
    };
    eprintln!(
        "llmwatch: this covers only this daemon's local file {}, not the shared store{shared}; for that, use PostgreSQL's \
         own tools, such as `pg_dump`",
        config.store.path.display()
    );
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

/// The number of samples copied per batch.
const COPY_BATCH: usize = 1000;

/// Stops reading after a batch.
enum CopyStop {
    Full,
    Store(StoreError),
}

impl From<StoreError> for CopyStop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

async fn copy(config: &Settings, from: &str, to: &str) -> Exit {
    let wrong = |text: &str| Err(Failure::new(text));
    let Some(file) = from.strip_prefix("sqlite:").filter(|f| !f.is_empty()) else {
        return wrong(
            "`--from` must be `sqlite:FILE`: history is copied from SQLite to PostgreSQL",
        );
    };
    let mut url = match PostgresUrl::parse(to) {
        Ok(url) => url,
        Err((message, help)) => return wrong(&format!("`--to`: {message}; {help}")),
    };
    if url.password.is_none() {
        url.password = std::env::var("PGPASSWORD").ok().map(Secret::new);
    }
    let store = Store::open_read_only(&config.process.state_dir.join(file))?;
    let shared = SharedStore::new(Arc::new(url), config.process.ca_file.as_deref())
        .map_err(Failure::of_shared_store)?;
    let mut session = shared.open().await.map_err(Failure::of_shared_store)?;
    let (batch, _) = next_batch(&store, 0, 1).await?;
    let Some(first) = batch.first() else {
        eprintln!("there are no samples to copy");
        return Ok(0);
    };
    let source = source_of(first);
    let mut after = session
        .copied_until(source)
        .await
        .map_err(Failure::of_shared_store)?;
    if after > 0 {
        eprintln!("continuing after sample {after}");
    }
    let mut copied = 0;
    let mut progress = ProgressLine::new("copying", (first.started_at, clock::now()));
    loop {
        let (batch, last) = next_batch(&store, after, COPY_BATCH).await?;
        if batch.is_empty() {
            break;
        }
        session
            .copy_samples(source, &batch, last)
            .await
            .map_err(Failure::of_shared_store)?;
        after = last;
        copied += batch.len() as u64;
        for sample in &batch {
            progress.step(sample.started_at);
        }
    }
    drop(progress);
    let rows = store.run_blocking(|store| store.incidents(false)).await?;
    let incidents: Vec<Incident> = rows
        .iter()
        .filter_map(|row| serde_json::from_str(&row.data).ok())
        .collect();
    let location = &config.monitor.location;
    let new = session
        .copy_incidents(&incidents, location)
        .await
        .map_err(Failure::of_shared_store)?;
    eprintln!("{copied} samples and {new} incidents copied; comparing");
    let here = checksum(&store, after).await?;
    let there = session
        .copied_checksum(source)
        .await
        .map_err(Failure::of_shared_store)?;
    if here == there {
        print(&format!("ok: {there}; {} incidents", incidents.len()));
        return Ok(0);
    }
    print(&format!(
        "DIFFERENT: {here} in the file, {there} in the database"
    ));
    eprintln!(
        "samples of a slot that another daemon has recorded are not copied; run it again, or compare them"
    );
    Ok(1)
}

/// Returns the samples after sequence number `after`, and the number of the last one.
async fn next_batch(
    store: &Store,
    after: i64,
    most: usize,
) -> Result<(Vec<Sample>, i64), StoreError> {
    let read = store.run_blocking(move |store| {
        let mut batch = Vec::new();
        let mut last = after;
        let query = SampleQuery {
            after_seq: after,
            ..SampleQuery::default()
        };
        let ended = store.each_sample(query, |seq, sample| {
            if batch.len() >= most {
                return Err(CopyStop::Full);
            }
            last = seq;
            batch.push(sample);
            Ok(())
        });
        match ended {
            Err(CopyStop::Store(error)) => Err(error),
            Err(CopyStop::Full) | Ok(()) => Ok((batch, last)),
        }
    });
    read.await
}

/// Computes the checksum of the samples up to sequence number `until`.
async fn checksum(store: &Store, until: i64) -> Result<Checksum, StoreError> {
    let read = store.run_blocking(move |store| {
        let mut sum = Checksum::default();
        let ended = store.each_sample(SampleQuery::default(), |seq, sample| {
            if seq > until {
                return Err(CopyStop::Full);
            }
            sum.add(&sample);
            Ok(())
        });
        match ended {
            Err(CopyStop::Store(error)) => Err(error),
            Err(CopyStop::Full) | Ok(()) => Ok(sum),
        }
    });
    read.await
}
