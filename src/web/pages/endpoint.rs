//! One endpoint: its course over a chosen range, what is learned of it, and its last bad probes in full.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::json;

use super::chart::{self, Bars, Course, Spread, Ticks};
use super::front::told;
use super::notices::{self, Notice};
use super::past::{DAY_MS, DAYS, HOUR_MS, first_day};
use super::{Frame, Problem, View, class, html};
use crate::message::values::Locale;
use crate::model::EndpointView;
use crate::model::{Connection, Endpoint, Fault, Outcome, Sample, Timestamp};
use crate::rollup::{OutcomeCounts, Resolution, Rollup, Sketch, StageSums, floor};
use crate::store::{RollupQuery, SamplePage, Store, StoreError};
use crate::web::words::{dollars, grouped, latency, percent, scale, whose};

/// The size of a chart's drawing; the page stretches it.
const CHART: (usize, usize) = (720, 120);
/// How many bad probes are shown.
const BAD: u32 = 10;
/// Samples of the shortest range at the shortest interval.
const MOST_SAMPLES: u32 = 3600;
const MINUTE_MS: i64 = 60_000;

/// What stands after the `?`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    range: Option<String>,
    until: Option<String>,
}

/// A range that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    name: &'static str,
    words: &'static str,
    length_ms: i64,
    step_ms: i64,
}

const RANGES: [Range; 6] = [
    Range {
        name: "1h",
        words: "1 hour",
        length_ms: HOUR_MS,
        step_ms: MINUTE_MS,
    },
    Range {
        name: "6h",
        words: "6 hours",
        length_ms: 6 * HOUR_MS,
        step_ms: 5 * MINUTE_MS,
    },
    Range {
        name: "24h",
        words: "24 hours",
        length_ms: 24 * HOUR_MS,
        step_ms: 15 * MINUTE_MS,
    },
    Range {
        name: "7d",
        words: "7 days",
        length_ms: 7 * DAY_MS,
        step_ms: 2 * HOUR_MS,
    },
    Range {
        name: "30d",
        words: "30 days",
        length_ms: 30 * DAY_MS,
        step_ms: 8 * HOUR_MS,
    },
    Range {
        name: "90d",
        words: "90 days",
        length_ms: 90 * DAY_MS,
        step_ms: DAY_MS,
    },
];

/// The range that is shown when none is asked for.
const USUAL: Range = RANGES[2];

#[derive(Template)]
#[template(path = "pages/endpoint.html")]
struct EndpointPage {
    frame: Frame,
    view: EndpointView,
    class: &'static str,
    notices: Vec<Notice>,
    days: Bars,
    gaps: String,
    days_from: String,
    days_told: String,
    availability_90d: String,
    ranges: [Range; 6],
    range: Range,
    span: String,
    earlier: String,
    later: Option<String>,
    figures: Vec<(&'static str, String, String)>,
    first_token: LineChart,
    total: LineChart,
    errors: StackChart,
    stages: StackChart,
    ticks: Ticks,
    buckets: Vec<Line>,
    bad: Vec<BadProbe>,
    facts: Vec<(&'static str, String)>,
}

/// A latency over time.
struct LineChart {
    course: Course,
    /// Where the learned value lies, in units from above.
    typical: Option<i64>,
    top: String,
    middle: String,
    empty: bool,
}

/// Columns over time, layer on layer.
struct StackChart {
    /// Name, colour class, path, and the sum over the range in words.
    layers: Vec<(String, String, String, String)>,
    top: String,
    middle: String,
}

/// A row of the table below the charts.
struct Line {
    start: Timestamp,
    at: String,
    probes: u32,
    failed: u32,
    faults: String,
    first_token: String,
    total: String,
}

/// A probe that was not good.
struct BadProbe {
    at: Timestamp,
    class: &'static str,
    what: String,
    why: &'static str,
    whose: &'static str,
    status: Option<u16>,
    request_id: Option<String>,
    error: Option<String>,
    answer: Option<String>,
    stages: Vec<(&'static str, String)>,
    facts: String,
}

pub(super) async fn page(
    State(view): State<View>,
    name: Result<Path<String>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: HeaderMap,
) -> Response {
    let Ok(Path(name)) = name else {
        return Problem::Missing("endpoint").page(&view, &request);
    };
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let snapshot = view.snapshot.borrow().clone();
    let config = view.config.borrow().clone();
    let seen = snapshot.endpoints.iter().find(|e| e.name == name).cloned();
    let configured = config.endpoints.iter().find(|e| e.name == name).cloned();
    let (Some(seen), Some(configured)) = (seen, configured) else {
        return Problem::Missing("endpoint").page(&view, &request);
    };
    let range = RANGES
        .into_iter()
        .find(|r| Some(r.name) == asked.range.as_deref())
        .unwrap_or(USUAL);
    let asked_until = asked
        .until
        .as_deref()
        .and_then(|t| Timestamp::parse(t).ok())
        .filter(|t| *t < snapshot.at);
    // Whole steps, the current one included.
    let until = asked_until
        .unwrap_or(snapshot.at)
        .0
        .div_euclid(range.step_ms)
        * range.step_ms
        + range.step_ms;
    let window = Window {
        range,
        since: Timestamp(until - range.length_ms),
        until: Timestamp(until),
    };
    let frame = Frame::new(&view, &snapshot, &name);
    let now = snapshot.at;
    let read = view.store.aside(move |store| {
        Ok::<_, StoreError>(Read {
            days: rollups_of(store, &name, Resolution::Day, first_day(now), now)?,
            steps: steps(store, &name, window)?,
            bad: store.last_bad(&name, BAD)?,
            good: last_good(store, &name)?,
        })
    });
    match read.await {
        Ok(read) => {
            let notices = notices::of_endpoint(&snapshot, &seen.name, &frame);
            let page = render(
                frame,
                seen,
                &configured,
                window,
                asked_until.is_some(),
                read,
            );
            html(&EndpointPage { notices, ..page }, &request)
        }
        Err(error) => Problem::from(error).page(&view, &request),
    }
}

/// The days and the hours of the days that were not perfect, for the detail of the bars.
pub(super) async fn days(State(view): State<View>, Path(name): Path<String>) -> Response {
    let now = view.snapshot.borrow().at;
    let first = first_day(now);
    let read = view.store.aside(move |store| {
        let days = rollups_of(store, &name, Resolution::Day, first, now)?;
        Ok::<_, StoreError>((
            days,
            rollups_of(store, &name, Resolution::Hour, first, now)?,
        ))
    });
    let Ok((days, hours)) = read.await else {
        return axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let plain = |all: &[Rollup], step: i64| -> BTreeMap<i64, [u32; 4]> {
        let counts = |r: &Rollup| {
            [
                r.ok,
                r.slow,
                r.failed_provider,
                r.failed_account + r.failed_local,
            ]
        };
        all.iter()
            .map(|r| ((r.at.0 - first.0) / step, counts(r)))
            .collect()
    };
    Json(json!({"first": first, "days": plain(&days, DAY_MS), "hours": plain(&hours, HOUR_MS)}))
        .into_response()
}

fn rollups_of(
    store: &Store,
    endpoint: &str,
    resolution: Resolution,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<Rollup>, StoreError> {
    let query = RollupQuery {
        resolution,
        endpoint: Some(endpoint),
        since,
        until,
        detail: false,
    };
    Ok(store.rollups(query)?.remove(endpoint).unwrap_or_default())
}

/// The steps of the window. Those that are shorter than the finest rollup are made from the samples themselves.
fn steps(store: &Store, endpoint: &str, window: Window) -> Result<Vec<Rollup>, StoreError> {
    let step = Duration::from_millis(window.range.step_ms.unsigned_abs());
    if step >= Resolution::FiveMinutes.length() {
        return store.series(endpoint, window.since, window.until, step);
    }
    let (since, until) = (Some(window.since), Some(window.until));
    let page = SamplePage {
        endpoint,
        before_seq: None,
        since,
        until,
        outcome: None,
        limit: MOST_SAMPLES,
    };
    let mut steps: BTreeMap<Timestamp, Rollup> = BTreeMap::new();
    for (_, sample) in store.samples(page)? {
        let at = floor(sample.started_at, step);
        steps
            .entry(at)
            .or_insert_with(|| Rollup::beginning(at))
            .add(&sample);
    }
    Ok(steps.into_values().collect())
}

fn last_good(store: &Store, endpoint: &str) -> Result<Option<Sample>, StoreError> {
    let outcome = Some(Outcome::Ok);
    let page = SamplePage {
        endpoint,
        before_seq: None,
        since: None,
        until: None,
        outcome,
        limit: 1,
    };
    Ok(store.samples(page)?.pop().map(|(_, sample)| sample))
}

/// The stretch that is shown.
#[derive(Clone, Copy)]
struct Window {
    range: Range,
    since: Timestamp,
    until: Timestamp,
}

impl Window {
    fn columns(self) -> usize {
        (self.range.length_ms / self.range.step_ms) as usize
    }

    fn place(self, at: Timestamp) -> Option<usize> {
        usize::try_from((at.0 - self.since.0).div_euclid(self.range.step_ms))
            .ok()
            .filter(|p| *p < self.columns())
    }
}

/// What was read of the endpoint.
struct Read {
    days: Vec<Rollup>,
    steps: Vec<Rollup>,
    bad: Vec<Sample>,
    good: Option<Sample>,
}

fn render(
    frame: Frame,
    view: EndpointView,
    endpoint: &Endpoint,
    window: Window,
    is_past: bool,
    read: Read,
) -> EndpointPage {
    let zone = frame.zone;
    let all = whole(&read.steps);
    let first_day = first_day(frame.now);
    let days: Vec<_> = read.days.iter().map(OutcomeCounts::from).collect();
    let link = |until: i64| {
        format!(
            "/endpoints/{}?range={}&until={}",
            view.name,
            window.range.name,
            Timestamp(until)
        )
    };
    let later = window.until.0 + window.range.length_ms;
    let later = is_past.then(|| {
        if later >= frame.now.0 {
            format!("/endpoints/{}?range={}", view.name, window.range.name)
        } else {
            link(later - 1)
        }
    });
    EndpointPage {
        class: class(view.status),
        notices: Vec::new(),
        days: chart::bars(&days, first_day, DAY_MS, DAYS),
        gaps: chart::gaps(DAYS),
        days_from: first_day.to_datetime().format("%-d %b").to_string(),
        days_told: told(&days),
        availability_90d: whole(&read.days)
            .availability()
            .map_or("–".to_owned(), percent),
        ranges: RANGES,
        range: window.range,
        span: format!(
            "{} – {}",
            frame.moment(&window.since),
            frame.moment(&window.until.min(frame.now))
        ),
        earlier: link(window.since.0 - 1),
        later,
        figures: figures(&view, endpoint, &all),
        first_token: line_chart(
            &read.steps,
            window,
            |r| &r.first_token,
            view.typical_first_token_ms,
        ),
        total: line_chart(&read.steps, window, |r| &r.total, None),
        errors: errors(&read.steps, window),
        stages: stages(&read.steps, window),
        ticks: chart::ticks((window.since, window.until), zone, CHART),
        buckets: read
            .steps
            .iter()
            .rev()
            .map(|step| line(step, window, zone))
            .collect(),
        bad: read.bad.into_iter().map(bad_probe).collect(),
        facts: facts(endpoint, read.good.as_ref()),
        view,
        frame,
    }
}

fn whole(rollups: &[Rollup]) -> Rollup {
    let mut whole = Rollup::default();
    for rollup in rollups {
        whole.merge(rollup);
    }
    whole
}

/// Name, value and a note of each.
fn figures(
    view: &EndpointView,
    endpoint: &Endpoint,
    all: &Rollup,
) -> Vec<(&'static str, String, String)> {
    let none = || "–".to_owned();
    let availability = all.availability();
    let kept = match availability {
        Some(a) if a >= endpoint.slo / 100.0 => format!("objective {} % kept", endpoint.slo),
        Some(_) => format!("objective {} % missed", endpoint.slo),
        None => format!("objective {} %", endpoint.slo),
    };
    let typical = view
        .typical_first_token_ms
        .map_or("still learning".to_owned(), |ms| {
            format!("typically {}", latency(ms))
        });
    let (first_token, total) = (Spread::of(&all.first_token), Spread::of(&all.total));
    let p50 = |s: Option<Spread>| s.map_or_else(none, |s| latency(s.p50));
    let p95 = |s: Option<Spread>| s.map_or_else(none, |s| latency(s.p95));
    let cost = if endpoint.price.is_some() {
        dollars(all.cost_usd)
    } else {
        none()
    };
    vec![
        ("Available", availability.map_or_else(none, percent), kept),
        (
            "Probes",
            grouped(all.probes()),
            format!("{} failed, {} slow", all.failed(), all.slow),
        ),
        ("First token", p50(first_token), typical),
        (
            "First token, p95",
            p95(first_token),
            "1 of 20 is slower".to_owned(),
        ),
        ("Total", p50(total), format!("p95 {}", p95(total))),
        (
            "Cost",
            cost,
            format!("{} tokens", grouped(all.input_tokens + all.output_tokens)),
        ),
    ]
}

fn line_chart(
    steps: &[Rollup],
    window: Window,
    of: fn(&Rollup) -> &Sketch,
    typical: Option<f64>,
) -> LineChart {
    let mut points = vec![None; window.columns()];
    for step in steps {
        if let Some(place) = window.place(step.at) {
            points[place] = Spread::of(of(step));
        }
    }
    let highest = points
        .iter()
        .flatten()
        .map(|s| s.p95)
        .fold(typical.unwrap_or(0.0), f64::max);
    let top = chart::round_up(highest);
    let typical = typical.map(|ms| ((1.0 - ms / top) * CHART.1 as f64).round() as i64);
    LineChart {
        empty: points.iter().all(Option::is_none),
        course: chart::course(&points, CHART, top),
        typical,
        top: scale(top),
        middle: scale(top / 2.0),
    }
}

/// The classes of faults, first word of their codes, most frequent first; what is rare is put together.
fn errors(steps: &[Rollup], window: Window) -> StackChart {
    const MOST: usize = 5;
    let word = |fault: Fault| {
        fault
            .as_str()
            .split('.')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut sums: BTreeMap<String, u32> = BTreeMap::new();
    for ((fault, _), n) in steps.iter().flat_map(|s| &s.faults) {
        *sums.entry(word(*fault)).or_default() += n;
    }
    let mut names: Vec<_> = sums.iter().map(|(name, n)| (name.clone(), *n)).collect();
    names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    if names.len() > MOST + 1 {
        let rest = names.split_off(MOST);
        names.push(("other".to_owned(), rest.iter().map(|r| r.1).sum()));
    }
    let mut columns = vec![vec![0.0; names.len()]; window.columns()];
    for step in steps {
        let Some(place) = window.place(step.at) else {
            continue;
        };
        for ((fault, _), n) in &step.faults {
            let of = word(*fault);
            let layer = names
                .iter()
                .position(|(name, _)| *name == of)
                .unwrap_or(names.len() - 1);
            columns[place][layer] += f64::from(*n);
        }
    }
    let highest = columns
        .iter()
        .map(|c| c.iter().sum::<f64>())
        .fold(0.0, f64::max);
    let top = chart::round_up(highest.max(2.0));
    let paths = chart::stacked(&columns, names.len(), CHART, top);
    let layers = names.into_iter().zip(paths).enumerate();
    StackChart {
        layers: layers
            .map(|(n, ((name, sum), path))| (name, format!("c{}", n + 1), path, sum.to_string()))
            .collect(),
        top: format!("{top:.0}"),
        middle: format!("{}", top / 2.0),
    }
}

/// Where the time of a good probe goes: means of the connection's stages below the median of the rest.
fn stages(steps: &[Rollup], window: Window) -> StackChart {
    const NAMES: [&str; 6] = [
        "DNS",
        "TCP",
        "TLS",
        "headers",
        "first token",
        "rest of the answer",
    ];
    let mut columns = vec![Vec::new(); window.columns()];
    for step in steps {
        let (Some(place), Some(total)) = (window.place(step.at), step.total.quantile(0.5)) else {
            continue;
        };
        let mean = |us: u64| us as f64 / 1000.0 / f64::from(step.good().max(1));
        let StageSums {
            dns_us,
            tcp_us,
            tls_us,
            headers_us,
        } = step.stages;
        let connection = [dns_us, tcp_us, tls_us, headers_us].map(mean);
        let first = step.first_token.quantile(0.5).unwrap_or(total);
        let before: f64 = connection.iter().sum();
        columns[place] = connection.to_vec();
        columns[place].extend([(first - before).max(0.0), (total - first).max(0.0)]);
    }
    let highest = columns
        .iter()
        .map(|c| c.iter().sum::<f64>())
        .fold(0.0, f64::max);
    let top = chart::round_up(highest);
    let paths = chart::stacked(&columns, NAMES.len(), CHART, top);
    let measured: Vec<_> = columns.iter().filter(|c| !c.is_empty()).collect();
    let typical = |layer: usize| {
        let mut values: Vec<f64> = measured.iter().map(|c| c[layer]).collect();
        values.sort_by(f64::total_cmp);
        values
            .get(values.len() / 2)
            .map_or("–".to_owned(), |ms| latency(*ms))
    };
    let layers = NAMES.iter().zip(paths).enumerate();
    StackChart {
        layers: layers
            .map(|(n, (name, path))| ((*name).to_owned(), format!("c{}", n + 1), path, typical(n)))
            .collect(),
        top: scale(top),
        middle: scale(top / 2.0),
    }
}

fn line(step: &Rollup, window: Window, zone: Tz) -> Line {
    let form = if window.range.step_ms < DAY_MS {
        "%-d %b %H:%M"
    } else {
        "%-d %b %Y"
    };
    let spread = |sketch: &Sketch| {
        Spread::of(sketch).map_or("–".to_owned(), |s| {
            format!("{} / {}", latency(s.p50), latency(s.p95))
        })
    };
    let faults: Vec<_> = step
        .faults
        .iter()
        .map(|((fault, _), n)| format!("{n} × {fault}"))
        .collect();
    Line {
        start: step.at,
        at: step
            .at
            .to_datetime()
            .with_timezone(&zone)
            .format(form)
            .to_string(),
        probes: step.probes(),
        failed: step.failed(),
        faults: faults.join(", "),
        first_token: spread(&step.first_token),
        total: spread(&step.total),
    }
}

fn bad_probe(sample: Sample) -> BadProbe {
    let reached = [
        ("DNS", sample.dns_ms),
        ("TCP", sample.tcp_ms),
        ("TLS", sample.tls_ms),
        ("headers", sample.headers_ms),
        ("first token at", sample.first_token_ms),
        ("end at", sample.total_ms),
    ];
    let mut facts = Vec::new();
    facts.extend(sample.remote_addr.clone());
    facts.extend(sample.http_version.clone());
    facts.extend(sample.edge.as_ref().map(|edge| format!("edge {edge}")));
    facts.extend(
        sample
            .retry_after_ms
            .map(|ms| format!("asked to wait {}", latency(ms))),
    );
    facts.extend(
        sample
            .finish_reason
            .as_ref()
            .map(|why| format!("finish reason {why}")),
    );
    BadProbe {
        at: sample.started_at,
        class: if sample.outcome == Outcome::Slow {
            "slow"
        } else {
            "bad"
        },
        what: sample.fault.map_or("slow".to_owned(), |f| f.to_string()),
        why: sample
            .fault
            .map_or("answered rightly, but late", Fault::describe),
        whose: sample.attribution.map_or("", whose),
        status: sample.http_status,
        request_id: sample.request_id,
        error: sample.error,
        answer: sample.answer,
        stages: reached
            .into_iter()
            .filter_map(|(name, ms)| Some((name, latency(ms?))))
            .collect(),
        facts: facts.join(" · "),
    }
}

fn facts(endpoint: &Endpoint, good: Option<&Sample>) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        (
            "Provider",
            format!("{}, API {}", endpoint.domain_title(), endpoint.api),
        ),
        // Neither query nor credentials: a URL can carry keys.
        (
            "At",
            format!(
                "{}://{}{}",
                endpoint.base_url.scheme(),
                endpoint.base_url.host_str().unwrap_or_default(),
                port(endpoint)
            ),
        ),
    ];
    if let Some(model) = &endpoint.model {
        let answered = good
            .and_then(|s| s.response_model.as_ref())
            .filter(|answered| *answered != model);
        facts.push((
            "Model",
            answered.map_or_else(|| model.clone(), |a| format!("{model}, answered by {a}")),
        ));
    }
    let every = Locale::default().duration(endpoint.interval.as_secs_f64());
    let how = if endpoint.connection == Connection::Fresh {
        "a fresh connection"
    } else {
        "a kept connection"
    };
    facts.push(("Probed", format!("every {every}, over {how}")));
    if let Some(price) = endpoint.price {
        facts.push((
            "Price",
            format!(
                "${} in, ${} out per million tokens",
                price.input, price.output
            ),
        ));
    }
    if let Some(group) = &endpoint.group {
        facts.push(("Group", group.clone()));
    }
    let Some(good) = good else { return facts };
    let connection = [
        good.http_version.clone(),
        good.remote_addr.clone(),
        good.edge.as_ref().map(|e| format!("edge {e}")),
    ];
    let connection: Vec<_> = connection.into_iter().flatten().collect();
    if !connection.is_empty() {
        facts.push(("Connection", connection.join(", ")));
    }
    facts.push((
        "TLS",
        good.tls_ms.map_or("none".to_owned(), |ms| {
            format!("handshake in {}", latency(ms))
        }),
    ));
    if let Some(ms) = good.server_ms {
        facts.push(("Provider’s own time", latency(ms)));
    }
    if let Some(fingerprint) = &good.system_fingerprint {
        facts.push(("Fingerprint", fingerprint.clone()));
    }
    let left = |n: Option<i64>, what: &str| n.map(|n| format!("{} {what}", grouped(n)));
    let left: Vec<_> = [
        left(good.ratelimit_remaining_requests, "requests"),
        left(good.ratelimit_remaining_tokens, "tokens"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !left.is_empty() {
        facts.push(("Rate limit", format!("{} left", left.join(", "))));
    }
    if let (Some(input), Some(output)) = (good.input_tokens, good.output_tokens) {
        let cost = good
            .cost_usd
            .map(|usd| format!(", {}", dollars(usd)))
            .unwrap_or_default();
        facts.push((
            "Last good probe",
            format!("{input} tokens in, {output} out{cost}"),
        ));
    }
    facts
}

fn port(endpoint: &Endpoint) -> String {
    endpoint
        .base_url
        .port()
        .map(|p| format!(":{p}"))
        .unwrap_or_default()
}
