//! `llmwatch outbox`: lists, retries or drops pending and dead notifications.

use super::{Exit, Failure, Globals, print, table};
use crate::clock;
use crate::config::Settings;
use crate::store::postgres::SharedStore;
use crate::store::{OutboxRow, Store};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch outbox retry all")]
pub(super) struct OutboxArgs {
    #[command(subcommand)]
    action: Option<OutboxAction>,
    /// Include delivered and dropped notifications
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum OutboxAction {
    /// List pending and dead notifications (the default)
    #[command(after_help = "Example: llmwatch outbox list --json")]
    List,
    /// Retry notifications; a running daemon sends them within seconds
    #[command(after_help = "Example: llmwatch outbox retry all")]
    Retry {
        /// Ids from the list, or the first characters of one; `all` for every dead notification
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Drop notifications: they are never sent
    #[command(after_help = "Example: llmwatch outbox drop 0192f")]
    Drop {
        /// Ids from the list, or the first characters of one; `all` for every dead notification
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

pub(super) async fn run(globals: &Globals, args: &OutboxArgs) -> Exit {
    let config = globals.load_without_secrets()?;
    let shared = shared_store(&config)?;
    let (ids, action): (_, &str) = match &args.action {
        None | Some(OutboxAction::List) => {
            let rows = rows(&config, shared.as_ref(), args.all).await?;
            if args.json {
                print(&serde_json::to_string_pretty(&rows)?);
            } else if rows.is_empty() {
                eprintln!("no undelivered notifications");
            } else {
                print(&listing(&rows));
            }
            return Ok(0);
        }
        Some(OutboxAction::Retry { ids }) => (ids, "retry"),
        Some(OutboxAction::Drop { ids }) => (ids, "drop"),
    };
    let rows = rows(&config, shared.as_ref(), false).await?;
    let chosen = choose(&rows, ids)?;
    let store = Store::open(&config.store.path)?;
    let now = clock::now();
    let mut done = Vec::new();
    for row in chosen {
        let changed = match (shared.as_ref().filter(|_| row.shared), action) {
            (Some(shared), "retry") => shared.retry(row.id).await?,
            (Some(shared), _) => shared.drop_notification(row.id).await?,
            (None, "retry") => store.retry(row.id, now)?,
            (None, _) => store.drop_notification(row.id, now)?,
        };
        if changed {
            done.push(row.id);
        }
    }
    if args.json {
        print(&serde_json::json!({"action": action, "notifications": done}).to_string());
    } else {
        let past = if action == "retry" {
            "will be retried"
        } else {
            "dropped"
        };
        for id in &done {
            print(&format!("{id} {past}"));
        }
    }
    Ok(0)
}

/// Opens the shared store, if there is one and its URL is available.
fn shared_store(config: &Settings) -> Result<Option<SharedStore>, Failure> {
    if config.store.is_url_unknown {
        eprintln!(
            "the shared store's URL cannot be read here, so only this daemon's own notifications are listed; run this as the \
             service does, for instance `systemd-run --pipe -p LoadCredential=store:/etc/llmwatch/store-url llmwatch outbox`"
        );
        return Ok(None);
    }
    let Some(url) = &config.store.shared else {
        return Ok(None);
    };
    let shared = SharedStore::new(url.clone(), config.process.ca_file.as_deref())?;
    Ok(Some(shared))
}

/// Returns this daemon's own notifications and those in the shared store, oldest first.
async fn rows(
    config: &Settings,
    shared: Option<&SharedStore>,
    all: bool,
) -> Result<Vec<OutboxRow>, Failure> {
    // Read-only, so that a missing store is not created.
    let mut rows = Store::open_read_only(&config.store.path)?.outbox_rows(all)?;
    if let Some(shared) = shared {
        match shared.outbox_rows(all).await {
            Ok(more) => rows.extend(more),
            Err(error) => {
                eprintln!("{error}; only this daemon's own notifications are listed");
            }
        }
        rows.sort_by_key(|row| row.decided_at);
    }
    Ok(rows)
}

/// Selects the requested notifications.
fn choose<'a>(rows: &'a [OutboxRow], asked: &[String]) -> Result<Vec<&'a OutboxRow>, Failure> {
    let mut chosen = Vec::new();
    for text in asked {
        if text == "all" {
            chosen.extend(rows.iter().filter(|r| r.state != "pending"));
            continue;
        }
        let found: Vec<_> = rows
            .iter()
            .filter(|r| r.id.to_string().starts_with(text.as_str()))
            .collect();
        match found.as_slice() {
            [one] => chosen.push(*one),
            [] => {
                let text = format!(
                    "no pending or dead notification `{text}`; `llmwatch outbox` lists them"
                );
                return Err(Failure::new(text));
            }
            several => {
                let text = format!(
                    "{} notifications start with `{text}`: use more characters of the id",
                    several.len()
                );
                return Err(Failure::new(text));
            }
        }
    }
    Ok(chosen)
}

fn listing(rows: &[OutboxRow]) -> String {
    let mut lines = vec![
        [
            "id", "channel", "type", "state", "decided", "attempts", "next", "what", "error",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    lines.extend(rows.iter().map(|r| {
        vec![
            r.id.to_string(),
            r.channel.to_string(),
            r.kind.clone(),
            r.state.clone(),
            r.decided_at.to_string(),
            r.attempts.to_string(),
            r.next_attempt_at
                .map_or("-".to_owned(), |at| at.to_string()),
            r.title.clone(),
            r.error.clone().unwrap_or_default(),
        ]
    }));
    table(&lines)
}
