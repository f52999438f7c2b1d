//! The HTML pages, rendered on the server from the snapshot and the store. They work without
//! JavaScript; a small script keeps them live. Templates escape everything that comes from outside.

mod answer;
mod chart;
mod embed;
mod endpoint;
mod group;
mod history;
mod incident;
mod index;
mod link;
mod notices;
mod subscribe;

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub use self::group::ReplayCache;
pub use self::history::HistoryCache;
use super::reader::Reader;
use super::{View, assets, format};
use crate::config::Settings;
use crate::log;
use crate::store::StoreError;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::Snapshot;
use llmwatch_core::model::{Status, Timestamp};
use llmwatch_core::text;

/// Allows only our own style sheet, script, images and events.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Smaller responses are not worth compressing.
const WORTH_COMPRESSING: usize = 2048;

/// The routes of the pages.
pub(super) fn routes() -> Router<View> {
    Router::new()
        .route("/", get(index::page))
        .route("/endpoints/{name}", get(endpoint::page))
        .route("/endpoints/{name}/days", get(endpoint::days))
        .route("/groups/{name}", get(group::page))
        .route("/incidents", get(incident::list))
        .route("/incidents/{number}", get(incident::page))
        .route("/embed", get(embed::page))
        .route("/a/{token}", get(link::show).post(link::act))
        .route("/subscribe", get(subscribe::form).post(subscribe::sign_up))
        .route(
            "/unsubscribe/{token}",
            get(subscribe::show_unsubscribe).post(subscribe::unsubscribe),
        )
        .fallback(nowhere)
}

async fn nowhere(
    State(view): State<View>,
    reader: Reader,
    uri: Uri,
    request: HeaderMap,
) -> Response {
    if uri.path().starts_with("/api/") {
        // API clients get a problem document.
        return StatusCode::NOT_FOUND.into_response();
    }
    PageError::Missing("There is no such page.").page(&view, &request, reader)
}

/// The head, the navigation and the footer of every page.
struct Frame {
    /// The site's title.
    site: String,
    /// The tab's title, starting with the state.
    title: String,
    /// The description for search engines and link previews.
    description: String,
    /// The path of the current menu entry.
    here: &'static str,
    location: String,
    /// The state shown by the icon.
    state: &'static str,
    /// When it was rendered.
    now: Timestamp,
    /// The reader's language and time zone.
    locale: Locale,
    config: Arc<Settings>,
    /// The path of `public_url` without a trailing slash, prepended to every link.
    root: String,
    /// Whether the visitor sees more than the summary.
    sees_all: bool,
    /// Whether the page follows live events.
    is_live: bool,
    version: &'static str,
    css: &'static str,
    js: &'static str,
    icon: &'static str,
}

impl Frame {
    fn new(view: &View, snapshot: &Snapshot, title: &str, reader: Reader) -> Self {
        let config = view.config.borrow().clone();
        let site = config
            .web
            .title
            .clone()
            .unwrap_or_else(|| "llmwatch".to_owned());
        let locale = Locale::of(&config);
        let headline = format::headline(snapshot, &locale);
        let state = class(headline.status);
        let sentence = headline.sentence.trim_end_matches('.');
        Self {
            title: if title.is_empty() {
                format!("{sentence} · {site}")
            } else {
                format!("{title} · {} · {site}", locale.status(headline.status))
            },
            description: format!("{} {}", headline.sentence, headline.advice)
                .trim()
                .to_owned(),
            site,
            here: "",
            location: snapshot.location.clone(),
            state,
            now: snapshot.at,
            locale,
            root: root_of(&config),
            config,
            sees_all: reader.sees_all(),
            is_live: reader.sees_all(),
            version: env!("CARGO_PKG_VERSION"),
            css: assets::STYLE.path(),
            js: assets::SCRIPT.path(),
            icon: assets::icon(state).path(),
        }
    }

    /// Turns this into the page of one thing, whose state the tab shows.
    fn with_state(mut self, title: &str, status: &str, class: &'static str) -> Self {
        self.title = format!("{title}: {status} · {}", self.site);
        self.description = format!("{title}: {status}.");
        self.state = class;
        self.icon = assets::icon(class).path();
        self
    }

    /// Turns this into the page of a one-click link, which reveals nothing about the overall state.
    fn into_link(mut self) -> Self {
        self.title = self.site.clone();
        self.description.clear();
        self.is_live = false;
        self
    }

    /// What the script says, in the reader's language, as JSON.
    fn words(&self) -> String {
        let words = [
            ("ago", self.locale.say("{ago} ago")),
            ("live", self.locale.say("Live")),
            ("dead", self.locale.say("Not live")),
            ("nothing", self.locale.say("no data")),
            ("available", self.locale.say("{share}% available")),
            ("failed", self.locale.say("{failed} of {all} probes failed")),
            ("probes", self.locale.say("{all} probes")),
            ("slow", self.locale.say("{slow} slow")),
            ("other", self.locale.say("{other} not the provider’s fault")),
        ];
        serde_json::json!(BTreeMap::from(words)).to_string()
    }

    /// A fixed text in the reader's language.
    fn say(&self, english: &'static str) -> &'static str {
        self.locale.say(english)
    }

    /// The `lang` attribute of the page.
    fn lang(&self) -> &'static str {
        self.locale.lang()
    }

    /// "Incident 42".
    fn incident(&self, number: &u64) -> String {
        text!(&self.locale, "Incident {number}", number)
    }

    /// The path of a group's page.
    fn group(&self, name: &str) -> String {
        let encoded: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        format!("{}/groups/{}", self.root, encoded.replace('+', "%20"))
    }

    /// "12 endpoints".
    fn endpoints(&self, n: usize) -> String {
        format::endpoints(n, &self.locale)
    }

    /// "4 more".
    fn more(&self, n: usize) -> String {
        text!(&self.locale, "{n} more", n)
    }

    /// "acknowledged by kim".
    fn acknowledged(&self, by: &str) -> String {
        match by {
            "" => self.say("acknowledged").to_owned(),
            by => text!(&self.locale, "acknowledged by {by}", by),
        }
    }

    /// "; peaks above 2 s are cut".
    fn cut(&self, top: &str) -> String {
        text!(&self.locale, "; peaks above {top} are cut", top)
    }

    /// Splits a headline into words, each with whether it is a name, which is broken only if it
    /// does not fit on a line.
    #[expect(clippy::unused_self, reason = "templates call it so")]
    fn parts<'a>(&self, headline: &'a str) -> Vec<(&'a str, bool)> {
        headline
            .split(' ')
            .map(|part| (part, part.contains('-')))
            .collect()
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "templates hand out references"
    )]
    fn moment(&self, at: &Timestamp) -> String {
        self.locale.time_short(*at, self.now)
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "templates hand out references"
    )]
    fn clock(&self, at: &Timestamp) -> String {
        format::time_of_day(*at, &self.locale)
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "templates hand out references"
    )]
    fn in_full(&self, at: &Timestamp) -> String {
        self.locale.time_full(*at)
    }
}

/// Returns the path of `public_url` without a trailing slash: "" or "/llmwatch".
pub(super) fn root_of(config: &Settings) -> String {
    let url = config.monitor.public_url.as_deref();
    let url = url.and_then(|url| url::Url::parse(url).ok());
    url.map(|url| url.path().trim_end_matches('/').to_owned())
        .unwrap_or_default()
}

/// Why a page cannot be shown.
enum PageError {
    /// Not found; with the sentence that says so.
    Missing(&'static str),
    /// The store cannot be read.
    Store(StoreError),
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

#[derive(Template)]
#[template(path = "pages/problem.html")]
struct ProblemPage {
    frame: Frame,
    sentence: &'static str,
    advice: &'static str,
}

impl PageError {
    fn page(self, view: &View, request: &HeaderMap, reader: Reader) -> Response {
        let snapshot = view.snapshot.borrow().clone();
        let locale = Locale::of(&view.config.borrow());
        let (status, title, sentence, advice) = match self {
            Self::Missing(sentence) => (
                StatusCode::NOT_FOUND,
                locale.say("Not found"),
                locale.say(sentence),
                locale.say(
                    "It may have been removed from the configuration, or the address is mistyped.",
                ),
            ),
            Self::Store(error) => {
                // The error contains a local path: it belongs in the log, not on the page.
                let message = format!("cannot show a page: {error}");
                log::store_failed("pages", &message, &error);
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    locale.say("Not readable"),
                    locale.say("The store cannot be read."),
                    locale.say(
                        "The current state is still at /api/v1/status; the daemon’s log has the reason.",
                    ),
                )
            }
        };
        let page = ProblemPage {
            frame: Frame::new(view, &snapshot, title, reader),
            sentence,
            advice,
        };
        (status, html(&page, request)).into_response()
    }
}

/// Renders a page: compressed if the client accepts it, and with a policy against external
/// resources and scripts.
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
    (headers, compressed(body.into_bytes(), request)).into_response()
}

/// Compresses the body if the client accepts it and it is worthwhile.
pub(super) fn compressed(body: Vec<u8>, request: &HeaderMap) -> Response {
    let vary = (header::VARY, HeaderValue::from_static("accept-encoding"));
    if body.len() >= WORTH_COMPRESSING && assets::takes_gzip(request) {
        let encoding = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return ([vary, encoding], assets::gzip(&body)).into_response();
    }
    ([vary], body).into_response()
}

/// The CSS class of a status.
fn class(status: Status) -> &'static str {
    match status {
        Status::Operational => "ok",
        Status::Degraded => "slow",
        Status::Outage => "bad",
        Status::Unknown => "none",
        Status::Maintenance => "rest",
    }
}

/// Returns a link from outside if browsers may follow it.
fn web_url(url: &str) -> Option<String> {
    (url.starts_with("https://") || url.starts_with("http://")).then(|| url.to_owned())
}
