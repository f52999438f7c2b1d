//! The API: JSON from the snapshot and the store, described by `/api/v1/openapi.json`; errors are
//! problem+json.

mod annotations;
mod drills;
mod endpoints;
mod incident_actions;
mod incidents;
mod openapi;
pub(super) mod route;
mod silences;
mod statuspage;

use crate::web::place::LocationQuery;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};

use super::problem::Problem;
use super::reader::Reader;
use super::{View, events, summary};
use llmwatch_core::model::Snapshot;

/// The most items per page, and the default.
const MOST: u32 = 1000;
const USUAL: u32 = 100;

/// The routes below `/api/`.
pub(super) fn routes() -> Router<View> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/endpoints", get(endpoints::list))
        .route("/api/v1/endpoints/{name}", get(endpoints::one))
        .route("/api/v1/endpoints/{name}/samples", get(endpoints::samples))
        .route("/api/v1/endpoints/{name}/series", get(endpoints::series))
        .route("/api/v1/incidents", get(incidents::list))
        .route("/api/v1/incidents/{number}", get(incidents::one))
        .route(
            "/api/v1/incidents/{number}/ack",
            post(incident_actions::acknowledge),
        )
        .route(
            "/api/v1/incidents/{number}/notes",
            post(incident_actions::note),
        )
        .route("/api/v1/flush", post(incident_actions::flush))
        .route("/api/v1/reload", post(incident_actions::reload))
        .route("/api/v1/annotations", post(annotations::annotate))
        .route(
            "/api/v1/silences",
            get(silences::silences)
                .post(silences::silence)
                .delete(silences::unsilence_which),
        )
        .route("/api/v1/silences/{id}", delete(silences::unsilence))
        .route("/api/v1/drills", post(drills::start))
        .route("/api/v1/drills/route", post(drills::start_route))
        .route("/api/v1/drills/{id}", get(drills::show))
        .route("/api/v1/drills/{id}/confirm", post(drills::confirm))
        .route("/api/v1/route", get(route::route))
        .route("/api/v1/health", get(route::health))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/openapi.json", get(openapi::describe))
        .route("/api/v2/summary.json", get(statuspage::summarize))
        .route("/api/v2/status.json", get(statuspage::status))
        .route("/api/v2/components.json", get(statuspage::components))
        .route("/api/v2/incidents.json", get(statuspage::incidents))
}

/// The response header with the identity of the daemon's own store, which shows a command whether
/// it has reached the daemon of its configuration.
pub(crate) const STORE_HEADER: &str = "llmwatch-store";

/// The current status of everything that is monitored.
#[utoipa::path(get, path = "/api/v1/status", operation_id = "status", params(LocationQuery),
    responses((status = 200, body = Snapshot)))]
async fn status(
    State(view): State<View>,
    reader: Reader,
    place: LocationQuery,
) -> Result<Response, Problem> {
    let snapshot = place.view(view.snapshot.borrow().clone())?;
    if !reader.sees_all() {
        return Ok(Json(summary::status_json(&snapshot)).into_response());
    }
    let mut response = Json(&*snapshot).into_response();
    if let Some(value) = view
        .store_id
        .and_then(|id| HeaderValue::from_str(&id.to_string()).ok())
    {
        response.headers_mut().insert(STORE_HEADER, value);
    }
    Ok(response)
}

/// Checks the requested number of items.
fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked.unwrap_or(USUAL) {
        n @ 1..=MOST => Ok(n),
        _ => Err(Problem::bad_request(format!(
            "`limit` must be from 1 to {MOST}"
        ))),
    }
}

/// Parses the cursor of the previous page.
fn cursor(given: Option<&str>) -> Result<Option<u64>, Problem> {
    let parse = |text: &str| {
        let number = text
            .parse()
            .ok()
            .filter(|n: &u64| i64::try_from(*n).is_ok());
        number.ok_or_else(|| {
            Problem::bad_request("`cursor` must be the `next` of the previous page, unchanged")
        })
    };
    given.map(parse).transpose()
}
