//! The endpoint to use now, answered from memory: an application may call this before each LLM
//! request.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::config::duration;
use crate::web::View;
use crate::web::middleware::has_tag;
use crate::web::place::LocationQuery;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::traffic::{RouteAnswer, no_group};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Attribution, EndpointName, Snapshot, Status, Timestamp};
use llmwatch_core::report::routing::{Rank, Ranking, rank};

/// The longest wait for a change.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What is asked.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RouteQuery {
    /// The group to choose from; all endpoints of LLM APIs if not given.
    group: Option<String>,
    /// `text` answers with the bare name.
    #[param(inline)]
    format: Option<RouteFormat>,
    /// How long to wait for another choice than that of `If-None-Match`, such as `30s`; at most a
    /// minute.
    wait: Option<String>,
    /// Rank the endpoints as this location sees them; default: the verdict of the quorum.
    location: Option<String>,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RouteFormat {
    /// The ranking with its reasons.
    Json,
    /// The bare name of the endpoint to use.
    Text,
}

/// An endpoint of the ranking with its share of traffic.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Weighted<'a> {
    #[serde(flatten)]
    rank: &'a Rank,
    /// Its share of traffic in percent, from 0 to 100: less while it is degraded or has just
    /// recovered.
    weight: u32,
}

/// The endpoints of a group, best first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Routing<'a> {
    /// When this was true.
    at: Timestamp,
    /// The group asked for; `null` for all endpoints.
    group: Option<&'a str>,
    /// The endpoint to use now; `null` if none is healthy.
    endpoint: Option<&'a str>,
    /// The share of traffic of that endpoint, in percent.
    weight: Option<u32>,
    /// Every endpoint of the group, healthiest first.
    ranking: Vec<Weighted<'a>>,
}

/// The endpoint to use now: healthiest first, with the reasons and weights. 503 if none is healthy.
/// The `ETag` stands for the choice: with `If-None-Match` and `wait` the answer comes when the
/// choice changes, else 304.
#[utoipa::path(get, path = "/api/v1/route", operation_id = "route", params(RouteQuery),
    responses(
        (status = 200, description = "The ranking, or the bare name for `format=text`", content((Routing = "application/json"), (String = "text/plain"))),
        (status = 304, description = "The choice is that of `If-None-Match`"),
        (status = 503, description = "None is healthy; the ranking says why", content((Routing = "application/json"), (Problem = "application/problem+json")))))]
pub(super) async fn route(
    State(view): State<View>,
    reader: Reader,
    Query(asked): Query<RouteQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = asked.wait.as_deref().map(wait_of).transpose()?;
    let deadline = Instant::now() + wait.unwrap_or_default();
    let known = headers.get(header::IF_NONE_MATCH);
    let group = asked.group.as_deref();
    let place = LocationQuery {
        location: asked.location.clone(),
    };
    let mut snapshots = view.snapshot.clone();
    loop {
        let all = snapshots.borrow_and_update().clone();
        let snapshot = place.view(all)?;
        let is_summary = !reader.sees_all();
        let make = || make(&view, &snapshot, group, is_summary);
        let answer = match place.location {
            None => view
                .traffic
                .route_answer(&snapshot, group, is_summary, make),
            Some(_) => make().map(Arc::new),
        };
        let answer = answer.ok_or_else(|| no_group(&snapshot, group.unwrap_or_default()))?;
        if !has_tag(known, &answer.etag) {
            return render(&answer, asked.format);
        }
        let has_changed = tokio::select! {
            changed = snapshots.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(deadline) => false,
            () = view.stop.cancelled() => false,
        };
        if !has_changed || Instant::now() >= deadline {
            return Ok((StatusCode::NOT_MODIFIED, cached(&answer.etag)).into_response());
        }
    }
}

fn wait_of(text: &str) -> Result<Duration, Problem> {
    duration(text)
        .map(|wait| wait.min(LONGEST_WAIT))
        .map_err(|why| Problem::bad_request(format!("`wait` is not a valid duration: {why}")))
}

fn make(
    view: &View,
    snapshot: &Snapshot,
    group: Option<&str>,
    is_summary: bool,
) -> Option<RouteAnswer> {
    let locale = Locale::of(&view.config.borrow());
    let mut ranking = rank(snapshot, group, &locale)?;
    if let Some(drill) = view.traffic.drill((view.wall)()) {
        ranking.mark_down(&drill.endpoint, locale.say("marked down by a drill"));
    }
    let ramp = view.config.borrow().route.ramp;
    let weight = |name: &str| view.traffic.weight(name, (view.wall)(), ramp);
    let body = if is_summary {
        summary(&ranking, weight)
    } else {
        let entries = ranking.ranking.iter().map(|rank| Weighted {
            weight: weight(&rank.endpoint),
            rank,
        });
        let routing = Routing {
            at: ranking.at,
            group: ranking.group.as_deref(),
            endpoint: ranking.endpoint.as_deref(),
            weight: ranking.endpoint.as_deref().map(weight),
            ranking: entries.collect(),
        };
        serde_json::to_vec(&routing).ok()?
    };
    Some(RouteAnswer {
        json: body.into(),
        etag: tag(group, ranking.endpoint.as_deref()),
        endpoint: ranking.endpoint,
    })
}

/// Names and states only.
fn summary(ranking: &Ranking, weight: impl Fn(&str) -> u32) -> Vec<u8> {
    let entries = ranking.ranking.iter().map(|rank| {
        json!({
            "endpoint": rank.endpoint, "status": rank.status, "usable": rank.usable, "weight": weight(&rank.endpoint),
        })
    });
    let entries: Vec<_> = entries.collect();
    json!({"at": ranking.at, "group": ranking.group, "endpoint": ranking.endpoint, "ranking": entries})
        .to_string()
        .into_bytes()
}

/// Computes an `ETag` of the choice, which changes only when the choice does.
fn tag(group: Option<&str>, endpoint: Option<&str>) -> String {
    let text = format!("{group:?} {endpoint:?}");
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..9]))
}

fn cached(etag: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers
}

fn render(answer: &RouteAnswer, format: Option<RouteFormat>) -> Result<Response, Problem> {
    let headers = cached(&answer.etag);
    match (&answer.endpoint, format) {
        (Some(endpoint), Some(RouteFormat::Text)) => {
            Ok((headers, format!("{endpoint}\n")).into_response())
        }
        (None, Some(RouteFormat::Text)) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no endpoint is healthy; without `format=text` the ranking says why",
        )),
        (endpoint, _) => {
            let status = if endpoint.is_some() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            let kind = [(header::CONTENT_TYPE, "application/json")];
            Ok((status, headers, kind, answer.json.clone()).into_response())
        }
    }
}

/// Which group.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HealthQuery {
    /// The group; all endpoints of LLM APIs if not given.
    group: Option<String>,
}

/// The state of a group in at most 200 bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// The worst status of the group.
    status: Status,
    /// Whose fault that is; `null` without an incident, and for a visitor without the token.
    attribution: Option<Attribution>,
    /// Since when.
    since: Option<Timestamp>,
    /// The endpoint to use now; `null` if none is healthy.
    r#use: Option<EndpointName>,
}

/// The state of a group for a front end: is it us or them, and what works instead.
#[utoipa::path(get, path = "/api/v1/health", operation_id = "health", params(HealthQuery, LocationQuery),
    responses((status = 200, body = Health)))]
pub(super) async fn health(
    State(view): State<View>,
    reader: Reader,
    place: LocationQuery,
    Query(asked): Query<HealthQuery>,
) -> Result<Response, Problem> {
    let snapshot = place.view(view.snapshot.borrow().clone())?;
    let group = asked.group.as_deref();
    let ranking = rank(&snapshot, group, &Locale::default())
        .ok_or_else(|| no_group(&snapshot, group.unwrap_or_default()))?;
    let members: Vec<_> = ranking
        .ranking
        .iter()
        .map(|r| r.endpoint.as_str())
        .collect();
    let incident = snapshot
        .incidents
        .iter()
        .filter(|i| {
            i.endpoints
                .iter()
                .any(|name| members.contains(&name.as_str()))
        })
        .min_by_key(|i| {
            (
                i.attribution != Attribution::Provider,
                i.status != Status::Outage,
                i.started_at,
            )
        });
    let statuses = ranking.ranking.iter().map(|r| r.status);
    let in_service = statuses.filter(|s| *s != Status::Maintenance);
    // A visitor sees of the other incidents only that checks are failing.
    let of_incident = incident.map(|i| {
        if reader.sees_all() || i.attribution == Attribution::Provider {
            i.status
        } else {
            Status::Unknown
        }
    });
    let worst = in_service.chain(of_incident).reduce(Status::worse);
    let health = Health {
        status: worst.unwrap_or(match members.as_slice() {
            [] => Status::Unknown,
            _ => Status::Maintenance,
        }),
        attribution: incident
            .map(|i| i.attribution)
            .filter(|_| reader.sees_all()),
        since: incident.map(|i| i.started_at),
        r#use: ranking.endpoint,
    };
    Ok(axum::Json(health).into_response())
}
