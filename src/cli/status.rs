//! `llmwatch status`: what is true now, from the running daemon, else from the store.

use std::time::Duration;

use super::{Exit, Globals, UNKNOWN, colour, paint, plugin_code, print, table};
use crate::clock;
use crate::config::{Config, plan};
use crate::pipeline;
use crate::snapshot::Snapshot;
use crate::store::Store;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// From one look to the next with `--watch`.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on looking until interrupted
    #[arg(long)]
    watch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(globals: &Globals, args: &Args) -> Exit {
    let config = globals.load().map_err(|f| f.with(UNKNOWN))?;
    loop {
        let snapshot = look(&config).await.map_err(|f| f.with(UNKNOWN))?;
        if args.json {
            print(&serde_json::to_string(&snapshot)?);
        } else {
            print(&render(&snapshot));
        }
        if !args.watch {
            return Ok(plugin_code(snapshot.overall()));
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => print(""),
            _ = tokio::signal::ctrl_c() => return Ok(plugin_code(snapshot.overall())),
        }
    }
}

async fn look(config: &Config) -> Result<Snapshot, super::Failure> {
    if let Some(snapshot) = ask(config).await {
        Ok(snapshot)
    } else {
        let store = Store::open_read_only(&config.store.path)?;
        let config = std::sync::Arc::new(config.clone());
        let stretch = plan::stretch(&config);
        eprintln!("the daemon does not answer; this is what it recorded last");
        let now = clock::now();
        Ok(pipeline::restore(&store, config, stretch, now)?.snapshot(now))
    }
}

pub(super) async fn ask(config: &Config) -> Option<Snapshot> {
    let address = config.monitor.listen?;
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().ok()?;
    let mut request = client.get(format!("http://{address}/api/v1/status"));
    if let Some(token) = &config.web.token {
        request = request.bearer_auth(token.expose());
    }
    let body = request.send().await.ok()?.error_for_status().ok()?.bytes().await.ok()?;
    serde_json::from_slice(&body).ok()
}

fn render(snapshot: &Snapshot) -> String {
    let mut rows = vec![["endpoint", "status", "first token", "24 h", "why"].map(str::to_owned).to_vec()];
    rows.extend(snapshot.endpoints.iter().map(|e| {
        vec![
            e.name.clone(),
            e.status.as_str().to_owned(),
            e.first_token_ms_p50.map_or("-".to_owned(), |ms| format!("{ms:.0} ms")),
            e.availability_24h.map_or("-".to_owned(), |a| format!("{:.2} %", a * 100.0)),
            e.reason.clone().unwrap_or_default(),
        ]
    }));
    let head = paint(&snapshot.headline(clock::now()), colour(snapshot.overall()));
    format!("{head}\n{}", table(&rows))
}
