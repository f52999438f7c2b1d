//! `/feed.atom`: the incidents as an Atom feed.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::reader::Reader;
use super::{View, format, summary};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Incident, Timestamp};
use llmwatch_core::text;

/// The number of incidents in the feed.
const ENTRIES: u32 = 50;

#[derive(Template)]
#[template(path = "pages/feed.xml")]
struct Feed {
    base: String,
    heading: String,
    title: String,
    lang: &'static str,
    version: &'static str,
    updated: Timestamp,
    entries: Vec<FeedEntry>,
}

struct FeedEntry {
    id: Uuid,
    number: u64,
    title: String,
    summary: String,
    attribution: &'static str,
    published: Timestamp,
    updated: Timestamp,
}

pub(super) async fn serve(
    State(view): State<View>,
    reader: Reader,
    request: HeaderMap,
) -> Response {
    let config = view.config.borrow().clone();
    let Ok(rows) = view
        .store
        .run_blocking(|store| store.last_incidents(None, ENTRIES))
        .await
    else {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the store cannot be read\n",
        )
            .into_response();
    };
    let incidents: Vec<Incident> = rows
        .iter()
        .filter_map(|data| serde_json::from_str(data).ok())
        .map(|incident| summary::incident_for(reader, incident))
        .collect();
    let base = config
        .monitor
        .public_url
        .as_ref()
        .map(|url| url.trim_end_matches('/').to_owned());
    let locale = Locale::of(&config);
    let title = clean(config.web.title.as_deref().unwrap_or("llmwatch"));
    let location = clean(&config.monitor.location);
    let feed = Feed {
        heading: text!(
            locale,
            "{title}: incidents seen at {location}",
            title,
            location
        ),
        lang: locale.lang(),
        base: base.unwrap_or_else(|| asked_for(&request)),
        title,
        version: env!("CARGO_PKG_VERSION"),
        updated: incidents
            .iter()
            .map(changed)
            .max()
            .unwrap_or(view.started_at),
        entries: incidents.iter().map(entry).collect(),
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/atom+xml; charset=utf-8"),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("max-age=60"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (headers, feed.render().unwrap_or_default()).into_response()
}

/// Returns the base of links if there is no public URL: the host that the client requested.
fn asked_for(request: &HeaderMap) -> String {
    let host = request
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or("localhost");
    format!("http://{}", clean(host))
}

fn changed(incident: &Incident) -> Timestamp {
    incident.resolved_at.unwrap_or(incident.opened_at)
}

fn entry(incident: &Incident) -> FeedEntry {
    let prefix = if incident.resolved_at.is_some() {
        "Resolved: "
    } else {
        ""
    };
    FeedEntry {
        id: incident.id,
        number: incident.number,
        title: format!("{prefix}{}", clean(&incident.title)),
        summary: clean(&incident.explanation),
        attribution: if format::is_summary(incident) {
            ""
        } else {
            incident.attribution.as_str()
        },
        published: incident.opened_at,
        updated: changed(incident),
    }
}

/// Removes characters that XML cannot represent.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') {
                ' '
            } else {
                c
            }
        })
        .collect()
}
