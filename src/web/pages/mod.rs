//! The pages for people, rendered on the server from the snapshot and the store. They work without a script; a small
//! one keeps them live. Templates escape everything that comes from outside.

mod chart;
mod endpoint;
mod front;
mod incident;
mod notices;
mod past;

use std::fmt::Write as _;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono_tz::Tz;
use serde_json::json;
use tracing::Level;

pub use self::past::Memory;
use super::{View, assets, words};
use crate::config::Settings;
use crate::log::{Event, emit};
use crate::model::Snapshot;
use crate::model::{Status, Timestamp};
use crate::store::StoreError;

/// Nothing but our own style, script, images and events.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Smaller answers are not worth compressing.
const WORTH_COMPRESSING: usize = 2048;

/// The paths of the pages.
pub(super) fn routes() -> Router<View> {
    Router::new()
        .route("/", get(front::page))
        .route("/endpoints/{name}", get(endpoint::page))
        .route("/endpoints/{name}/days", get(endpoint::days))
        .route("/incidents", get(incident::list))
        .route("/incidents/{number}", get(incident::page))
        .fallback(nowhere)
}

async fn nowhere(State(view): State<View>, uri: Uri, request: HeaderMap) -> Response {
    if uri.path().starts_with("/api/") {
        // Programs get their own words.
        return StatusCode::NOT_FOUND.into_response();
    }
    Problem::Missing("page").page(&view, &request)
}

/// What stands around every page.
struct Frame {
    /// The site's title.
    site: String,
    /// The page's own.
    title: String,
    /// The path of the menu that it is.
    here: &'static str,
    location: String,
    /// When it was rendered.
    now: Timestamp,
    zone: Tz,
    config: Arc<Settings>,
    version: &'static str,
    css: &'static str,
    js: &'static str,
    icon: &'static str,
}

impl Frame {
    fn new(view: &View, snapshot: &Snapshot, title: &str) -> Self {
        let config = view.config.borrow().clone();
        let site = config
            .web
            .title
            .clone()
            .unwrap_or_else(|| "llmwatch".to_owned());
        Self {
            title: if title.is_empty() {
                site.clone()
            } else {
                format!("{title} · {site}")
            },
            site,
            here: "",
            location: snapshot.location.clone(),
            now: snapshot.at,
            zone: config.monitor.timezone,
            config,
            version: env!("CARGO_PKG_VERSION"),
            css: assets::STYLE.path(),
            js: assets::SCRIPT.path(),
            icon: assets::ICON.path(),
        }
    }

    /// A headline's words, and whether each is a name, which is broken only where it is longer than a line.
    #[expect(clippy::unused_self, reason = "templates call it so")]
    fn words<'a>(&self, headline: &'a str) -> Vec<(&'a str, bool)> {
        headline
            .split(' ')
            .map(|word| (word, word.contains('-')))
            .collect()
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "templates hand out references"
    )]
    fn moment(&self, at: &Timestamp) -> String {
        words::moment(*at, self.now, self.zone)
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "templates hand out references"
    )]
    fn in_full(&self, at: &Timestamp) -> String {
        words::moment_in_full(*at, self.zone)
    }
}

/// Why a page cannot be shown.
enum Problem {
    /// There is no such thing.
    Missing(&'static str),
    /// The store cannot be read.
    Store(StoreError),
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

#[derive(Template)]
#[template(path = "pages/problem.html")]
struct ProblemPage {
    frame: Frame,
    sentence: String,
    advice: String,
}

impl Problem {
    fn page(self, view: &View, request: &HeaderMap) -> Response {
        let snapshot = view.snapshot.borrow().clone();
        let (status, title, sentence, advice) = match self {
            Self::Missing(what) => (
                StatusCode::NOT_FOUND,
                "Not found",
                format!("There is no such {what}."),
                "It may have been removed from the configuration, or the address is mistyped."
                    .to_owned(),
            ),
            Self::Store(error) => {
                // The cause names a path of this machine: it is for the log and not for a visitor.
                let message = format!("a page cannot be shown: {error}");
                emit(
                    Event::StoreFailed,
                    Level::ERROR,
                    &message,
                    &json!({"error": error.to_string()}),
                );
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Not readable",
                    "The store cannot be read.".to_owned(),
                    "What is true now is still at /api/v1/status; the daemon’s log says why."
                        .to_owned(),
                )
            }
        };
        let page = ProblemPage {
            frame: Frame::new(view, &snapshot, title),
            sentence,
            advice,
        };
        (status, html(&page, request)).into_response()
    }
}

/// A page as a response: compressed where the reader takes it, and forbidden to load or run anything from elsewhere.
fn html(page: &impl Template, request: &HeaderMap) -> Response {
    let Ok(body) = page.render() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, squeezed(body.into_bytes(), request)).into_response()
}

/// The body, compressed if the request allows that and it is worth it.
pub(super) fn squeezed(body: Vec<u8>, request: &HeaderMap) -> Response {
    let vary = (header::VARY, HeaderValue::from_static("accept-encoding"));
    if body.len() >= WORTH_COMPRESSING && assets::takes_gzip(request) {
        let encoding = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return ([vary, encoding], assets::gzip(&body)).into_response();
    }
    ([vary], body).into_response()
}

/// The name of a status as a class of the style sheet.
fn class(status: Status) -> &'static str {
    match status {
        Status::Operational => "ok",
        Status::Degraded => "slow",
        Status::Outage => "bad",
        Status::Unknown => "none",
        Status::Maintenance => "rest",
    }
}

/// Words one after the other, as people list them.
fn listed(words: &[String], most: usize) -> String {
    let mut text = words
        .iter()
        .take(most)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if words.len() > most {
        let _ = write!(text, " and {} more", words.len() - most);
    }
    text
}

/// A link that came from outside, if it is one that a browser may follow.
fn web_url(url: &str) -> Option<String> {
    (url.starts_with("https://") || url.starts_with("http://")).then(|| url.to_owned())
}
