//! The HTTP server of the daemon. It reads the snapshot and a read-only connection to the store, so
//! it can neither change anything nor delay a probe.

pub mod agent;
mod api;
mod assets;
mod badge;
mod events;
mod feed;
mod format;
mod metrics;
mod middleware;
pub mod pages;
mod place;
mod problem;
mod reader;
mod serve;
mod summary;
pub mod traffic;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use self::api::STORE_HEADER;
use self::middleware::Middleware;
use crate::clock::WallClock;
use crate::command::Commands;
use crate::config::Settings;
use crate::links::Links;
use crate::log::broadcast::Broadcast;
use crate::metrics::Counters;
use crate::store::Store;
use crate::store::postgres::SPOOL_LIMIT;
use crate::subscriptions::Subscriptions;
use llmwatch_core::model::Snapshot;
use llmwatch_core::model::Timestamp;
use llmwatch_core::schedule::budget;

/// When the history of the index page is read ahead: the first probes after a start come before it.
const READ_AHEAD_AFTER: Duration = Duration::from_secs(5);
/// How often it is read ahead again, so that little is missing when somebody looks.
const READ_AHEAD_EVERY: Duration = Duration::from_mins(10);

/// The state that every handler shares.
#[derive(Clone)]
pub struct View {
    /// The current state.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Sends people's commands to the pipeline.
    pub commands: Commands,
    /// The current configuration.
    pub config: watch::Receiver<Arc<Settings>>,
    /// The wall clock.
    pub wall: WallClock,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// The store, read-only.
    pub store: Store,
    /// The identity of the store; `None` if it could not be read.
    pub store_id: Option<Uuid>,
    /// Cancelled when the daemon stops, which ends the streams.
    pub stop: CancellationToken,
    /// Live events.
    pub broadcast: Broadcast,
    /// The counters since the daemon started.
    pub counters: Counters,
    /// The cached history of the index page.
    pub history: pages::HistoryCache,
    /// The cached replays of the groups.
    pub replays: pages::ReplayCache,
    /// How much traffic each endpoint should get.
    pub traffic: traffic::Traffic,
    /// Sends visitors' requests about subscriptions.
    pub subscriptions: Subscriptions,
    /// Signs the links in messages.
    pub links: Links,
    /// Asks the daemon to reload its configuration.
    pub reload: Reload,
}

/// Asks the daemon to reload its configuration. Without a daemon, it does nothing.
#[derive(Debug, Clone, Default)]
pub struct Reload(Option<mpsc::Sender<ReloadReply>>);

/// Receives the result of a reload: the first error if the file was rejected.
pub type ReloadReply = oneshot::Sender<Result<(), String>>;

impl Reload {
    /// Creates a requester and the daemon's receiver.
    pub fn channel() -> (Self, mpsc::Receiver<ReloadReply>) {
        let (sender, requests) = mpsc::channel(1);
        (Self(Some(sender)), requests)
    }

    /// Reloads the configuration; `None` when the daemon is stopping.
    pub(crate) async fn ask(&self) -> Option<Result<(), String>> {
        let (reply, result) = oneshot::channel();
        self.0.as_ref()?.send(reply).await.ok()?;
        result.await.ok()
    }
}

/// Returns all routes, behind the middleware. If `public_url` has a path, requests may include or
/// omit it, because a reverse proxy may do either.
pub fn router(view: View) -> Router {
    let paths = paths(view.clone());
    let layer = axum::middleware::from_fn_with_state(view, below_root);
    Router::new().fallback_service(paths).layer(layer)
}

/// Strips the path of `public_url` from the request's path.
async fn below_root(
    State(view): State<View>,
    mut request: Request,
    next: axum::middleware::Next,
) -> Response {
    let root = pages::root_of(&view.config.borrow());
    let uri = request.uri();
    let stripped = uri.path().strip_prefix(&root).filter(|_| !root.is_empty());
    if let Some(path) = stripped.filter(|p| p.is_empty() || p.starts_with('/')) {
        let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
        let path = if path.is_empty() { "/" } else { path };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = format!("{path}{query}").parse().ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    next.run(request).await
}

fn paths(view: View) -> Router {
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
            Middleware::new(view.clone()),
            middleware::check,
        ))
        .with_state(view)
}

/// Serves until shutdown.
pub async fn run(listener: TcpListener, view: View) {
    let stop = view.stop.clone();
    let ahead = view.clone();
    let read_ahead = async move {
        tokio::time::sleep(READ_AHEAD_AFTER).await;
        loop {
            ahead.history.read_ahead(&ahead.store, (ahead.wall)()).await;
            tokio::time::sleep(READ_AHEAD_EVERY).await;
        }
    };
    tokio::select! {
        () = serve::run(listener, router(view), stop) => {}
        () = read_ahead => {}
    }
}

/// Creates the control socket at `path`, for the daemon's own user and root.
///
/// # Errors
/// When the socket cannot be created.
pub fn bind_control_socket(path: &Path) -> std::io::Result<UnixListener> {
    // A killed daemon may have left its socket. The store's lock ensures that no other daemon is
    // running.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the control socket at `path` until shutdown.
pub async fn run_control_socket(listener: UnixListener, path: PathBuf, view: View) {
    let stop = view.stop.clone();
    serve::run_local(listener, router(view), stop).await;
    // It may already be removed.
    let _ = std::fs::remove_file(path);
}

/// Reports readiness: a sample was recorded within three intervals (or nothing is to be probed),
/// and the store works.
async fn ready(State(view): State<View>) -> (StatusCode, String) {
    let snapshot = view.snapshot.borrow().clone();
    let config = view.config.borrow().clone();
    if snapshot.store_error.is_some() {
        // This needs no token, and the store's error contains a local path.
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "not recording: the store cannot be written; see the log\n".into(),
        );
    }
    if snapshot.spooled >= SPOOL_LIMIT {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "not recording: the shared store has been unreachable for too long\n".into(),
        );
    }
    if !config.monitor.probe {
        return (StatusCode::OK, "ready: this daemon does not probe\n".into());
    }
    let interval_multiplier = budget::interval_multiplier(&config);
    let Some(patience) = config
        .endpoints
        .iter()
        .map(|e| budget::patience(e, interval_multiplier))
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
