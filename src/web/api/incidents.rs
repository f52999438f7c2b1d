//! Incidents, newest first, and one by its number.

use crate::web::place::LocationQuery;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{cursor, limit};
use crate::store::IncidentRow;
use crate::web::View;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::summary;
use llmwatch_core::model::Snapshot;
use llmwatch_core::model::{Incident, IncidentState};

/// Which incidents.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct IncidentsQuery {
    /// The `next` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    cursor: Option<String>,
    /// The most incidents to return, from 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only the open ones, or only those that are over.
    state: Option<IncidentState>,
}

/// Which incident.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Numbered {
    /// Its number.
    #[param(minimum = 0)]
    pub(super) number: u64,
}

/// A page of incidents.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Incidents {
    /// Newest first.
    incidents: Vec<Incident>,
    /// The `cursor` of the next page; `null` if this is the last.
    next: Option<String>,
}

/// The incidents, newest first.
#[utoipa::path(get, path = "/api/v1/incidents", operation_id = "incidents", params(IncidentsQuery, LocationQuery),
    responses((status = 200, body = Incidents)))]
pub(super) async fn list(
    State(view): State<View>,
    reader: Reader,
    place: LocationQuery,
    Query(ask): Query<IncidentsQuery>,
) -> Result<Response, Problem> {
    let limit = limit(ask.limit)?;
    let before = cursor(ask.cursor.as_deref())?;
    let open = ask.state.map(|s| s == IncidentState::Open);
    let mut rows = view
        .store
        .run_blocking(move |store| store.incidents_before(before, open, limit + 1))
        .await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| row.number.to_string());
    let snapshot = view.snapshot.borrow().clone();
    let mut incidents: Vec<Incident> = rows
        .iter()
        .map(|row| read(row, &snapshot))
        .collect::<Result<_, _>>()?;
    if let Some(location) = &place.location {
        incidents.retain(|i| i.is_seen_from(location, &snapshot.location));
    }
    if !reader.sees_all() {
        let incidents: Vec<_> = incidents.iter().map(summary::incident_json).collect();
        return Ok(Json(json!({"incidents": incidents, "next": next})).into_response());
    }
    Ok(Json(Incidents { incidents, next }).into_response())
}

/// One incident: its timeline, evidence and explanation.
#[utoipa::path(get, path = "/api/v1/incidents/{number}", operation_id = "incident", params(Numbered),
    responses((status = 200, body = Incident)))]
pub(super) async fn one(
    State(view): State<View>,
    reader: Reader,
    Path(Numbered { number }): Path<Numbered>,
) -> Result<Response, Problem> {
    let row = view
        .store
        .run_blocking(move |store| store.incident(number))
        .await?;
    let row = row.ok_or_else(|| {
        Problem::not_found(format!(
            "there is no incident {number}; `/api/v1/incidents` lists them"
        ))
    })?;
    let snapshot = view.snapshot.borrow().clone();
    let incident = read(&row, &snapshot)?;
    if !reader.sees_all() {
        return Ok(Json(summary::incident_json(&incident)).into_response());
    }
    Ok(Json(incident).into_response())
}

/// Returns the incident of a stored row. An open one comes from the snapshot, which is newer.
pub(super) fn read(row: &IncidentRow, snapshot: &Snapshot) -> Result<Incident, Problem> {
    if let Some(now) = snapshot.incidents.iter().find(|i| i.number == row.number) {
        return Ok(now.clone());
    }
    serde_json::from_str(&row.data).map_err(|_| {
        let detail = format!(
            "incident {} was recorded in a format that this release cannot read",
            row.number
        );
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })
}
