//! What the daemon answers over HTTP. It reads the snapshot and a read-only connection to the store, so it can neither
//! change anything nor make a probe wait.

mod api;
mod assets;
mod badge;
mod feed;
mod guard;
mod live;
mod metrics;
pub mod pages;
mod problem;
mod serve;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::guard::Guard;
use crate::clock::Wall;
use crate::config::Settings;
use crate::log::broadcast::Broadcast;
use crate::metrics::Counters;
use crate::model::Snapshot;
use crate::model::Timestamp;
use crate::pipeline::Control;
use crate::schedule::budget;
use crate::store::Store;

/// What the pages are made from.
#[derive(Clone)]
pub struct View {
    /// What is true now.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Orders for the pipeline: what people say.
    pub controls: mpsc::Sender<Control>,
    /// What is configured.
    pub config: watch::Receiver<Arc<Settings>>,
    /// The machine's wall clock.
    pub wall: Wall,
    /// When the daemon began.
    pub started_at: Timestamp,
    /// The record, for reading only.
    pub store: Store,
    /// Cancelled when the daemon stops: streams end then.
    pub stop: CancellationToken,
    /// What happens, as it happens.
    pub broadcast: Broadcast,
    /// What was counted since the daemon began.
    pub counters: Counters,
    /// What the front page read last.
    pub memory: pages::Memory,
}

/// Every path that is answered, behind the guard.
pub fn router(view: View) -> Router {
    Router::new()
        .merge(pages::routes())
        .route("/assets/{name}", get(assets::serve))
        .route("/favicon.ico", get(assets::favicon))
        .route("/badge/{file}", get(badge::serve))
        .route("/feed.atom", get(feed::serve))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(api::routes())
        .layer(axum::middleware::from_fn_with_state(
            Guard::new(view.clone()),
            guard::guard,
        ))
        .with_state(view)
}

/// Serves until told to stop.
pub async fn run(listener: TcpListener, view: View) {
    let stop = view.stop.clone();
    serve::run(listener, router(view), stop).await;
}

/// Recording: something was recorded within three intervals (or nothing is to be probed), and the store works.
async fn ready(State(view): State<View>) -> (StatusCode, String) {
    let snapshot = view.snapshot.borrow().clone();
    let config = view.config.borrow().clone();
    if snapshot.store_error.is_some() {
        // Asked without a token: what the store says names a path of this machine.
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "not recording: the store cannot be written; the log says why\n".into(),
        );
    }
    let stretch = budget::stretch(&config);
    let Some(patience) = config
        .endpoints
        .iter()
        .map(|e| budget::patience(e, stretch))
        .min()
    else {
        return (
            StatusCode::OK,
            "ready: no endpoint is configured\n".to_owned(),
        );
    };
    let last = snapshot.last_recorded_at.unwrap_or(view.started_at);
    if snapshot.budget_spent {
        (
            StatusCode::OK,
            "ready: the day's budget is spent\n".to_owned(),
        )
    } else if (view.wall)() <= last + patience {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("nothing recorded since {last}\n"),
        )
    }
}
