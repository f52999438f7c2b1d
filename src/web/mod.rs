//! What the daemon answers over HTTP. It reads the snapshot and a read-only connection to the store, so it can neither
//! change anything nor make a probe wait.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Wall;
use crate::config::Config;
use crate::model::{Status, Timestamp};
use crate::snapshot::{EndpointView, Snapshot};
use crate::store::Store;

/// How long open requests may go on after the daemon is told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// What the pages are made from.
#[derive(Clone)]
pub struct View {
    /// What is true now.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What is configured.
    pub config: watch::Receiver<Arc<Config>>,
    /// The machine's wall clock.
    pub wall: Wall,
    /// When the daemon began.
    pub started_at: Timestamp,
    /// The record, for reading only.
    pub store: Store,
    /// Cancelled when the daemon stops: streams end then.
    pub stop: CancellationToken,
}

/// Every path that is answered.
pub fn router(view: View) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/api/v1/status", get(status))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(view)
}

/// Serves until told to stop.
///
/// # Errors
/// When the listener fails.
pub async fn run(listener: TcpListener, view: View) -> std::io::Result<()> {
    let stop = view.stop.clone();
    let serve = axum::serve(listener, router(view)).with_graceful_shutdown(stop.clone().cancelled_owned());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = serve => result,
        () = late => Ok(()),
    }
}

async fn status(State(view): State<View>) -> Response {
    let snapshot = view.snapshot.borrow().clone();
    Json(&*snapshot).into_response()
}

/// Recording: something was recorded within three intervals (or nothing is to be probed), and the store works.
async fn ready(State(view): State<View>) -> (StatusCode, String) {
    let snapshot = view.snapshot.borrow().clone();
    let config = view.config.borrow().clone();
    if let Some(error) = &snapshot.store_error {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("not recording: {error}\n"));
    }
    // A probe that hangs is recorded when its time is up, so that much more is not a failure of ours.
    let Some(patience) = config.endpoints.iter().map(|e| e.interval * 3 + e.timeouts.total).min() else {
        return (StatusCode::OK, "ready: no endpoint is configured\n".to_owned());
    };
    let last = snapshot.last_recorded_at.unwrap_or(view.started_at);
    if snapshot.budget_spent {
        (StatusCode::OK, "ready: the day's budget is spent\n".to_owned())
    } else if (view.wall)() <= last + patience {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("nothing recorded since {last}\n"))
    }
}

async fn page(State(view): State<View>) -> Html<String> {
    let snapshot = view.snapshot.borrow().clone();
    let title = view.config.borrow().web.title.clone().unwrap_or_else(|| "llmwatch".to_owned());
    Html(render(&snapshot, &title))
}

fn render(snapshot: &Snapshot, title: &str) -> String {
    let mut rows = String::new();
    for e in &snapshot.endpoints {
        let mark = match e.status {
            Status::Operational => "●",
            Status::Degraded => "◐",
            Status::Outage => "○",
            Status::Unknown | Status::Maintenance => "·",
        };
        let EndpointView { name, status, reason, first_token_ms_p50, availability_24h, .. } = e;
        let latency = first_token_ms_p50.map_or("–".to_owned(), |ms| format!("{ms:.0} ms"));
        let availability = availability_24h.map_or("–".to_owned(), |a| format!("{:.2} %", a * 100.0));
        rows += &format!(
            "<tr><td>{mark} {}</td><td>{}</td><td>{latency}</td><td>{availability}</td><td>{}</td></tr>\n",
            escape(name),
            status.as_str(),
            escape(reason.as_deref().unwrap_or_default())
        );
    }
    let sentence = escape(&snapshot.headline(snapshot.at));
    let (title, location) = (escape(title), escape(&snapshot.location));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"refresh\" content=\"10\"></head>\n<body><main><h1>{title} at {location}</h1>\n<p>{sentence}</p>\n\
         <table><thead><tr><th>endpoint</th><th>status</th><th>first token</th><th>24 h</th><th>why</th></tr></thead>\n\
         <tbody>\n{rows}</tbody></table></main></body></html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
