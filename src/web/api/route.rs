//! Which endpoint to use now, from memory.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::route::{Ranking, rank};
use crate::web::View;
use crate::web::problem::Problem;

/// What is asked.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RouteQuery {
    /// The group to choose from; all endpoints of LLM APIs if not given.
    group: Option<String>,
    /// `text` answers with the bare name.
    #[param(inline)]
    format: Option<Format>,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// The whole ranking with its reasons.
    Json,
    /// The bare name of the endpoint to use.
    Text,
}

/// The endpoint to use now: healthiest first, with the reasons. 503 if none is healthy.
#[utoipa::path(get, path = "/api/v1/route", operation_id = "route", params(RouteQuery),
    responses(
        (status = 200, description = "The ranking, or the bare name for `format=text`", content((Ranking = "application/json"), (String = "text/plain"))),
        (status = 503, description = "None is healthy; the ranking says why", content((Ranking = "application/json"), (Problem = "application/problem+json")))))]
pub(super) async fn route(
    State(view): State<View>,
    Query(ask): Query<RouteQuery>,
) -> Result<Response, Problem> {
    let snapshot = view.snapshot.borrow().clone();
    let group = ask.group.as_deref();
    let ranking = rank(&snapshot, group).ok_or_else(|| {
        let mut groups: Vec<_> = snapshot.leaders.keys().map(String::as_str).collect();
        groups.truncate(20);
        let known = if groups.is_empty() {
            "no endpoint has a `group`".to_owned()
        } else {
            groups.join(", ")
        };
        Problem::not_found(format!(
            "there is no group `{}`; known: {known}",
            group.unwrap_or_default()
        ))
    })?;
    match (&ranking.endpoint, ask.format) {
        (Some(endpoint), Some(Format::Text)) => Ok(format!("{endpoint}\n").into_response()),
        (None, Some(Format::Text)) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no endpoint is healthy",
        )),
        (Some(_), _) => Ok(Json(ranking).into_response()),
        (None, _) => Ok((StatusCode::SERVICE_UNAVAILABLE, Json(ranking)).into_response()),
    }
}
