//! Endpoints, their samples and their history.

use crate::web::place::LocationQuery;
use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{cursor, limit};
use crate::config::duration;
use crate::store::{RollupQuery, SamplePage, Store};
use crate::web::View;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::summary;
use llmwatch_core::model::EndpointView;
use llmwatch_core::model::{Attribution, EndpointName, Fault, Outcome, Sample, Timestamp};
use llmwatch_core::report::rollup::{Resolution, Rollup, Sketch, floor};
use llmwatch_core::report::round_usd;

/// The most points in a series.
const POINTS: u128 = 2000;
/// The approximate number of points if no step is given.
const USUAL_POINTS: u128 = 300;
/// The longest range of a series.
const LONGEST: Duration = Duration::from_hours(24 * 1000);
const SHORTEST_STEP: Duration = Duration::from_mins(5);

/// Every endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Endpoints {
    /// In the order of the configuration.
    endpoints: Vec<EndpointView>,
}

/// Every endpoint as it is now.
#[utoipa::path(get, path = "/api/v1/endpoints", operation_id = "endpoints", params(LocationQuery),
    responses((status = 200, body = Endpoints)))]
pub(super) async fn list(
    State(view): State<View>,
    reader: Reader,
    place: LocationQuery,
) -> Result<Response, Problem> {
    let snapshot = place.view(view.snapshot.borrow().clone())?;
    if !reader.sees_all() {
        let endpoints = snapshot.endpoints.iter();
        let endpoints: Vec<_> = endpoints
            .map(|e| summary::endpoint_json(e, &snapshot))
            .collect();
        return Ok(Json(json!({"endpoints": endpoints})).into_response());
    }
    Ok(Json(Endpoints {
        endpoints: snapshot.endpoints.clone(),
    })
    .into_response())
}

/// Which endpoint.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Named {
    /// The endpoint's name.
    name: String,
}

/// One endpoint: how it is, how it is configured, and how available it was.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndpointDetail {
    #[serde(flatten)]
    now: EndpointView,
    /// Where it is probed.
    base_url: String,
    /// From one scheduled probe to the next, in seconds.
    interval_s: f64,
    /// Whether the answer is streamed.
    stream: bool,
    /// The objective for availability, in percent.
    slo: f64,
    /// Free labels.
    labels: BTreeMap<String, String>,
    /// What it depends on.
    depends_on: Vec<String>,
    /// Share of good probes over the last days (in UTC, today included).
    availability: Availability,
}

/// Shares of good probes, 0 to 1; `null` where nothing was measured.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Availability {
    /// Over 7 days.
    #[serde(rename = "7d")]
    week: Option<f64>,
    /// Over 30 days.
    #[serde(rename = "30d")]
    month: Option<f64>,
    /// Over 90 days.
    #[serde(rename = "90d")]
    quarter: Option<f64>,
}

/// One endpoint.
#[utoipa::path(get, path = "/api/v1/endpoints/{name}", operation_id = "endpoint", params(Named, LocationQuery),
    responses((status = 200, body = EndpointDetail)))]
pub(super) async fn one(
    State(view): State<View>,
    reader: Reader,
    place: LocationQuery,
    Path(Named { name }): Path<Named>,
) -> Result<Response, Problem> {
    let snapshot = place.view(view.snapshot.borrow().clone())?;
    let config = view.config.borrow().clone();
    let now = snapshot
        .endpoints
        .iter()
        .find(|e| e.name == name)
        .ok_or_else(|| no_endpoint(&name))?
        .clone();
    let configured = config
        .endpoints
        .iter()
        .find(|e| e.name == name)
        .ok_or_else(|| no_endpoint(&name))?;
    let today = Resolution::Day.begin((view.wall)());
    let wanted = name.clone();
    let days = view.store.run_blocking(move |store| {
        let query = RollupQuery {
            resolution: Resolution::Day,
            endpoint: Some(&wanted),
            location: place.location.as_deref(),
            since: today - Resolution::Day.length() * 89,
            until: today + Resolution::Day.length(),
            detail: false,
        };
        store
            .rollups(query)
            .map(|mut found| found.remove(wanted.as_str()).unwrap_or_default())
    });
    let days = days.await?;
    let availability = Availability {
        week: availability_of_last(7, &days, today),
        month: availability_of_last(30, &days, today),
        quarter: availability_of_last(90, &days, today),
    };
    if !reader.sees_all() {
        let mut shown = summary::endpoint_json(&now, &snapshot);
        shown["availability"] = json!(availability);
        return Ok(Json(shown).into_response());
    }
    Ok(Json(EndpointDetail {
        now,
        base_url: configured.base_url.to_string(),
        interval_s: configured.interval.as_secs_f64(),
        stream: configured.stream,
        slo: configured.slo,
        labels: configured.labels.clone(),
        depends_on: configured.depends_on.clone(),
        availability,
    })
    .into_response())
}

fn availability_of_last(n: u32, days: &[Rollup], today: Timestamp) -> Option<f64> {
    let since = today - Resolution::Day.length() * (n - 1);
    let mut all = Rollup::default();
    for day in days.iter().filter(|day| day.at >= since) {
        all.merge(day);
    }
    all.availability()
}

fn no_endpoint(name: &str) -> Problem {
    Problem::not_found(format!(
        "there is no endpoint `{name}`; `/api/v1/endpoints` lists them"
    ))
}

/// Which samples.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SamplesQuery {
    /// The `next` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    cursor: Option<String>,
    /// The most samples to return, from 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only with this outcome.
    outcome: Option<Outcome>,
    /// Begun at or after this moment.
    since: Option<Timestamp>,
    /// Begun before this moment.
    until: Option<Timestamp>,
    /// Only from this location; default all.
    location: Option<String>,
}

/// A page of samples.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Samples {
    /// Newest first.
    samples: Vec<Sample>,
    /// The `cursor` of the next page; `null` if this is the last.
    next: Option<String>,
}

/// The samples of an endpoint, newest first.
#[utoipa::path(get, path = "/api/v1/endpoints/{name}/samples", operation_id = "samples", params(Named, SamplesQuery),
    responses((status = 200, body = Samples)))]
pub(super) async fn samples(
    State(view): State<View>,
    Path(Named { name }): Path<Named>,
    Query(ask): Query<SamplesQuery>,
) -> Result<Json<Samples>, Problem> {
    let limit = limit(ask.limit)?;
    let before_seq = cursor(ask.cursor.as_deref())?.map(u64::cast_signed);
    known(&view, &name).await?;
    let found = view.store.run_blocking(move |store| {
        // One extra sample shows whether there is a next page.
        store.samples(SamplePage {
            endpoint: &name,
            location: ask.location.as_deref(),
            before_seq,
            since: ask.since,
            until: ask.until,
            outcome: ask.outcome,
            limit: limit + 1,
        })
    });
    let mut found = found.await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found
        .last()
        .filter(|_| more)
        .map(|(seq, _)| seq.to_string());
    Ok(Json(Samples {
        samples: found.into_iter().map(|(_, s)| s).collect(),
        next,
    }))
}

/// Which part of the history.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SeriesQuery {
    /// How far back, from `5m` to `1000d`; default 24 hours.
    #[param(
        example = "24h",
        pattern = "^([5-9]|[1-9][0-9]{1,3})m$|^[1-9][0-9]{0,2}[hd]$"
    )]
    range: Option<String>,
    /// The length of each step, a multiple of `5m`; by default about 300 steps are returned. A step
    /// that would make more than 2000 of them is widened: `step_s` says to what.
    #[param(
        example = "5m",
        pattern = "^(5|[1-9][0-9]{0,2}[05])m$|^[1-9][0-9]{0,2}[hd]$"
    )]
    step: Option<String>,
    /// The end of the range; now if not given.
    until: Option<Timestamp>,
    /// Only from this location; default all.
    location: Option<String>,
}

/// The history of an endpoint in steps.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Series {
    /// The endpoint's name.
    endpoint: EndpointName,
    /// The beginning of the first step.
    since: Timestamp,
    /// The end.
    until: Timestamp,
    /// The length of a step, in seconds.
    step_s: u64,
    /// The entire range as one.
    summary: Point,
    /// The steps in which something was probed, oldest first.
    points: Vec<Point>,
}

/// One step.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Point {
    /// Its beginning.
    at: Timestamp,
    /// Good probes in the usual time.
    ok: u32,
    /// Good probes, but slow.
    slow: u32,
    /// Failed by the provider's fault.
    failed_provider: u32,
    /// Failed by the account's fault.
    failed_account: u32,
    /// Failed by this machine's fault.
    failed_local: u32,
    /// Share of good probes, 0 to 1; faults of the account or of this machine do not count.
    availability: Option<f64>,
    /// The failed probes by fault.
    faults: Vec<FaultCount>,
    /// First token of the good probes, in milliseconds.
    first_token_ms: Latency,
    /// Total of the good probes, in milliseconds.
    total_ms: Latency,
    /// What an average good probe spent in each stage, in milliseconds.
    stages_ms: Option<Stages>,
    /// Tokens of the prompts.
    input_tokens: u64,
    /// Tokens of the answers.
    output_tokens: u64,
    /// What the probes cost.
    cost_usd: f64,
}

/// How often a fault was seen.
#[derive(Debug, Serialize, ToSchema)]
struct FaultCount {
    fault: Fault,
    attribution: Attribution,
    count: u32,
}

/// A distribution; each quantile within 1 %, `null` if there was no good probe.
#[derive(Debug, Serialize, ToSchema)]
struct Latency {
    p50: Option<f64>,
    p90: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    mean: Option<f64>,
}

/// Milliseconds.
#[derive(Debug, Serialize, ToSchema)]
struct Stages {
    dns: f64,
    tcp: f64,
    tls: f64,
    headers: f64,
}

impl From<&Sketch> for Latency {
    fn from(sketch: &Sketch) -> Self {
        Self {
            p50: sketch.quantile(0.5),
            p90: sketch.quantile(0.9),
            p95: sketch.quantile(0.95),
            p99: sketch.quantile(0.99),
            mean: sketch.mean(),
        }
    }
}

impl From<&Rollup> for Point {
    fn from(r: &Rollup) -> Self {
        let [dns, tcp, tls, headers] = [
            r.stages.dns_us,
            r.stages.tcp_us,
            r.stages.tls_us,
            r.stages.headers_us,
        ]
        .map(|us| us as f64 / f64::from(r.good()) / 1000.0);
        let faults = r
            .faults
            .iter()
            .map(|((fault, attribution), count)| FaultCount {
                fault: *fault,
                attribution: *attribution,
                count: *count,
            });
        Self {
            at: r.at,
            ok: r.ok,
            slow: r.slow,
            failed_provider: r.failed_provider,
            failed_account: r.failed_account,
            failed_local: r.failed_local,
            availability: r.availability(),
            faults: faults.collect(),
            first_token_ms: (&r.first_token).into(),
            total_ms: (&r.total).into(),
            stages_ms: (r.good() > 0).then_some(Stages {
                dns,
                tcp,
                tls,
                headers,
            }),
            input_tokens: r.input_tokens,
            output_tokens: r.output_tokens,
            cost_usd: round_usd(r.cost_usd),
        }
    }
}

/// The history of an endpoint: outcomes, faults, latency percentiles, tokens and cost in steps.
#[utoipa::path(get, path = "/api/v1/endpoints/{name}/series", operation_id = "series", params(Named, SeriesQuery),
    responses((status = 200, body = Series)))]
pub(super) async fn series(
    State(view): State<View>,
    Path(Named { name }): Path<Named>,
    Query(ask): Query<SeriesQuery>,
) -> Result<Json<Series>, Problem> {
    let range = ask
        .range
        .as_deref()
        .map_or(Ok(Duration::from_hours(24)), |t| duration_of("range", t))?;
    if range < SHORTEST_STEP || range > LONGEST {
        return Err(Problem::bad_request("`range` must be from 5m to 1000d"));
    }
    let step = match &ask.step {
        Some(text) => duration_of("step", text)?,
        None => round_step(range, USUAL_POINTS),
    };
    if step < SHORTEST_STEP || !step.as_millis().is_multiple_of(SHORTEST_STEP.as_millis()) {
        return Err(Problem::bad_request("`step` must be a multiple of 5m"));
    }
    let step = step.max(round_step(range, POINTS));
    known(&view, &name).await?;
    let until = ask.until.unwrap_or_else(|| (view.wall)());
    let since = until - range;
    let wanted = name.clone();
    let found = view
        .store
        .run_blocking(move |store| {
            store.series(&wanted, ask.location.as_deref(), since, until, step)
        })
        .await?;
    let mut summary = Rollup::beginning(floor(since, step));
    for rollup in &found {
        summary.merge(rollup);
    }
    Ok(Json(Series {
        endpoint: name.into(),
        since: summary.at,
        until,
        step_s: step.as_secs(),
        summary: (&summary).into(),
        points: found.iter().map(Point::from).collect(),
    }))
}

fn duration_of(key: &str, text: &str) -> Result<Duration, Problem> {
    duration(text)
        .map_err(|why| Problem::bad_request(format!("`{key}` is not a valid duration: {why}")))
}

/// Returns the shortest round step that makes at most `points`.
fn round_step(range: Duration, points: u128) -> Duration {
    let minutes = [5, 10, 15, 30, 60, 120, 180, 360, 720, 1440].map(Duration::from_mins);
    minutes
        .into_iter()
        .find(|step| range.as_millis() / step.as_millis() <= points)
        .unwrap_or(Duration::from_hours(24 * 7))
}

/// Checks that the endpoint is configured or still has samples.
async fn known(view: &View, name: &str) -> Result<(), Problem> {
    if view
        .snapshot
        .borrow()
        .endpoints
        .iter()
        .any(|e| e.name == name)
    {
        return Ok(());
    }
    let recorded = view.store.run_blocking(Store::known_endpoints).await?;
    if recorded.iter().any(|known| known == name) {
        Ok(())
    } else {
        Err(no_endpoint(name))
    }
}
