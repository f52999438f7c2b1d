//! The page of an endpoint: its history over a chosen range, its learned baseline, and its last
//! failed probes in full.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::chart::{self, Bars, Ticks, TrendLine};
use super::history::{DAY_MS, DAYS, Day, HOUR_MS, MedianAndP95, first_day};
use super::index::{availability, bars_text, utc};
use super::notices::{self, Notice};
use super::{Frame, PageError, View, class, html};
use crate::store::{RollupQuery, SamplePage, Store, StoreError};
use crate::web::format::{self, counts, pending, severity, whose};
use crate::web::reader::Reader;
use crate::web::summary;
use llmwatch_core::message::values::{Locale, NONE};
use llmwatch_core::model::{
    Annotation, Connection, Endpoint, EndpointView, Fault, Incident, Outcome, Sample, Timestamp,
    UsualHours,
};
use llmwatch_core::report::rollup::{Resolution, Rollup, Sketch, StageSums, floor};
use llmwatch_core::text;

/// The size of a chart in drawing units; the page scales it.
const CHART: (usize, usize) = (720, 120);
/// The number of bad probes shown.
const BAD: u32 = 10;
/// The number of samples in the shortest range at the shortest interval.
const MAX_SAMPLES: u32 = 3600;
const MINUTE_MS: i64 = 60_000;

/// The query parameters.
#[derive(Debug, Default, Deserialize)]
pub(super) struct EndpointQuery {
    range: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

/// A selectable range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    name: &'static str,
    title: &'static str,
    length_ms: i64,
    step_ms: i64,
}

const RANGES: [Range; 6] = [
    Range {
        name: "1h",
        title: "1 hour",
        length_ms: HOUR_MS,
        step_ms: MINUTE_MS,
    },
    Range {
        name: "6h",
        title: "6 hours",
        length_ms: 6 * HOUR_MS,
        step_ms: 5 * MINUTE_MS,
    },
    Range {
        name: "24h",
        title: "24 hours",
        length_ms: 24 * HOUR_MS,
        step_ms: 15 * MINUTE_MS,
    },
    Range {
        name: "7d",
        title: "7 days",
        length_ms: 7 * DAY_MS,
        step_ms: 2 * HOUR_MS,
    },
    Range {
        name: "30d",
        title: "30 days",
        length_ms: 30 * DAY_MS,
        step_ms: 8 * HOUR_MS,
    },
    Range {
        name: "90d",
        title: "90 days",
        length_ms: 90 * DAY_MS,
        step_ms: DAY_MS,
    },
];

/// The default range.
const USUAL: Range = RANGES[2];
/// The possible steps of a custom range. The finest one that gives at most this many columns is
/// used.
const STEPS_MS: [i64; 7] = [
    MINUTE_MS,
    5 * MINUTE_MS,
    15 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    8 * HOUR_MS,
    DAY_MS,
];
const MAX_COLUMNS: i64 = 120;
/// The number of incidents that are searched for those within a range.
const INCIDENTS: u32 = 200;

#[derive(Template)]
#[template(path = "pages/endpoint.html")]
struct EndpointPage {
    frame: Frame,
    view: EndpointView,
    class: &'static str,
    notices: Vec<Notice>,
    status: &'static str,
    reason: String,
    incident: Option<u64>,
    days: Bars,
    gaps: String,
    width: usize,
    days_from: String,
    days_text: String,
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
    marks: String,
    marked: Vec<Marked>,
    /// The notes within the range, as lines in the charts.
    notes: String,
    noted: Vec<Noted>,
    since_ms: i64,
    until_ms: i64,
    zone_name: String,
    buckets: Vec<HistoryRow>,
    bad: Vec<BadProbe>,
    facts: Vec<(&'static str, String)>,
    /// The group that it belongs to.
    group: Option<String>,
}

/// A note within the range.
struct Noted {
    at: Timestamp,
    text: String,
}

/// An incident within the range.
struct Marked {
    number: u64,
    severity: &'static str,
    cause: String,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
}

/// A latency chart.
struct LineChart {
    course: TrendLine,
    /// The learned baseline.
    typical: Option<Learned>,
    /// Whether peaks exceed the top of the chart.
    is_cut: bool,
    top: String,
    middle: String,
    empty: bool,
}

/// The learned baseline of a latency, drawn.
struct Learned {
    /// The typical latency.
    line: String,
    /// From the typical latency up to the threshold of a slow probe.
    band: String,
}

/// A chart of stacked columns over time.
struct StackChart {
    /// Name, color class, path, and the total over the range as text.
    layers: Vec<(String, String, String, String)>,
    top: String,
    middle: String,
}

/// A row of the table below the charts.
struct HistoryRow {
    start: Timestamp,
    at: String,
    probes: u32,
    failed: u32,
    faults: String,
    first_token: String,
    total: String,
}

/// A failed or slow probe.
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
    reader: Reader,
    name: Result<Path<String>, PathRejection>,
    asked: Result<Query<EndpointQuery>, QueryRejection>,
    request: HeaderMap,
) -> Response {
    let Ok(Path(name)) = name else {
        return PageError::Missing("There is no such endpoint.").page(&view, &request, reader);
    };
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let snapshot = summary::snapshot_for(reader, view.snapshot.borrow().clone());
    let config = view.config.borrow().clone();
    let seen = snapshot.endpoints.iter().find(|e| e.name == name).cloned();
    let configured = config.endpoints.iter().find(|e| e.name == name).cloned();
    let (Some(seen), Some(configured)) = (seen, configured) else {
        return PageError::Missing("There is no such endpoint.").page(&view, &request, reader);
    };
    let (window, is_past) = window_of(&asked, snapshot.at);
    let frame = Frame::new(&view, &snapshot, &name, reader);
    let (status, class) = match pending(&seen, &frame.locale) {
        Some(_) => (frame.say("checking"), "wait"),
        None => (frame.locale.status(seen.status), class(seen.status)),
    };
    let frame = frame.with_state(&name, status, class);
    let now = snapshot.at;
    let incident = snapshot
        .incidents
        .iter()
        .find(|i| i.endpoints.iter().any(|e| *e == name));
    let reason = reason(&seen, incident, &frame);
    let incident = incident.map(|i| i.number);
    let is_about = |a: &&Annotation| a.covers(&name, frame.config.as_ref());
    let annotations: Vec<_> = snapshot
        .annotations
        .iter()
        .filter(is_about)
        .cloned()
        .collect();
    let read = view.store.run_blocking(move |store| {
        Ok::<_, StoreError>(EndpointHistory {
            days: rollups_of(store, &name, Resolution::Day, first_day(now), now)?,
            steps: steps(store, &name, window)?,
            bad: store.last_bad(&name, BAD)?,
            good: last_good(store, &name)?,
            incidents: incidents_in(store, &name, window)?,
            annotations,
        })
    });
    match read.await {
        Ok(read) => {
            let notices = notices::of_endpoint(&snapshot, &seen.name, &frame);
            let page = render(frame, seen, &configured, window, is_past, read);
            let page = EndpointPage {
                class,
                notices,
                status,
                reason,
                incident,
                ..page
            };
            html(&page, &request)
        }
        Err(error) => PageError::from(error).page(&view, &request, reader),
    }
}

/// Serves the days, with the hours of imperfect days, for the details of the bars.
pub(super) async fn days(State(view): State<View>, Path(name): Path<String>) -> Response {
    let now = view.snapshot.borrow().at;
    let first = first_day(now);
    let read = view.store.run_blocking(move |store| {
        let days = rollups_of(store, &name, Resolution::Day, first, now)?;
        Ok::<_, StoreError>((
            days,
            rollups_of(store, &name, Resolution::Hour, first, now)?,
        ))
    });
    let Ok((days, hours)) = read.await else {
        return axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let days = counts_by_step(&days, first, DAY_MS);
    let hours = counts_by_step(&hours, first, HOUR_MS);
    Json(json!({"first": first, "days": days, "hours": hours})).into_response()
}

/// Returns the good, slow and failed probes (of the provider, and others) of each step since
/// `first`.
fn counts_by_step(all: &[Rollup], first: Timestamp, step_ms: i64) -> BTreeMap<i64, [u32; 4]> {
    let mut counts = BTreeMap::new();
    for r in all {
        let others = r.failed_account + r.failed_local;
        counts.insert(
            (r.at.0 - first.0) / step_ms,
            [r.ok, r.slow, r.failed_provider, others],
        );
    }
    counts
}

/// Returns the requested window, and whether it ends before now.
fn window_of(asked: &EndpointQuery, now: Timestamp) -> (ChartWindow, bool) {
    let since = past_time(asked.since.as_deref(), now);
    let until = past_time(asked.until.as_deref(), now);
    let named = RANGES
        .into_iter()
        .find(|r| Some(r.name) == asked.range.as_deref());
    let chosen = since
        .map(|since| (since, until.unwrap_or(now)))
        .filter(|(since, until)| named.is_none() && since < until);
    let range = match chosen {
        Some((since, until)) => free_range(until.since_ms(since)),
        None => named.unwrap_or(USUAL),
    };
    // Includes the entire step that contains the end.
    let end = until.unwrap_or(now).0;
    let until_ms = end.div_euclid(range.step_ms) * range.step_ms + range.step_ms;
    let window = ChartWindow {
        range,
        since: Timestamp(until_ms - range.length_ms),
        until: Timestamp(until_ms),
    };
    (window, until.is_some())
}

/// Returns a range of about `length_ms`, at most 90 days.
fn free_range(length_ms: i64) -> Range {
    let length_ms = length_ms.clamp(10 * MINUTE_MS, DAYS as i64 * DAY_MS);
    let step_ms = STEPS_MS
        .into_iter()
        .find(|step| length_ms / step < MAX_COLUMNS)
        .unwrap_or(DAY_MS);
    Range {
        name: "",
        title: "",
        length_ms: (length_ms / step_ms + 1) * step_ms,
        step_ms,
    }
}

/// Returns the incidents of `endpoint` within the window, oldest first.
fn incidents_in(
    store: &Store,
    endpoint: &str,
    window: ChartWindow,
) -> Result<Vec<Incident>, StoreError> {
    let mut found: Vec<Incident> = store
        .last_incidents(None, INCIDENTS)?
        .iter()
        .filter_map(|data| serde_json::from_str(data).ok())
        .filter(|i: &Incident| i.affected().any(|e| e == endpoint))
        .filter(|i| i.started_at < window.until)
        .filter(|i| i.end().is_none_or(|end| end > window.since))
        .collect();
    found.reverse();
    Ok(found)
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
        location: None,
        since,
        until,
        detail: false,
    };
    Ok(store.rollups(query)?.remove(endpoint).unwrap_or_default())
}

/// Returns the steps of the window. Steps shorter than the finest rollup are computed from samples.
fn steps(store: &Store, endpoint: &str, window: ChartWindow) -> Result<Vec<Rollup>, StoreError> {
    let step = Duration::from_millis(window.range.step_ms.unsigned_abs());
    if step >= Resolution::FiveMinutes.length() {
        return store.series(endpoint, None, window.since, window.until, step);
    }
    let since = Some(window.since);
    let until = Some(window.until);
    let page = SamplePage {
        location: None,
        endpoint,
        before_seq: None,
        since,
        until,
        outcome: None,
        limit: MAX_SAMPLES,
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
        location: None,
        endpoint,
        before_seq: None,
        since: None,
        until: None,
        outcome,
        limit: 1,
    };
    Ok(store.samples(page)?.pop().map(|(_, sample)| sample))
}

/// The displayed range.
#[derive(Clone, Copy)]
struct ChartWindow {
    range: Range,
    since: Timestamp,
    until: Timestamp,
}

impl ChartWindow {
    /// Returns the horizontal place of a time in a chart.
    fn x(self, at: Timestamp) -> i64 {
        let length = self.until.since_ms(self.since) as f64;
        let share = at.since_ms(self.since) as f64 / length;
        (share.clamp(0.0, 1.0) * CHART.0 as f64).round() as i64
    }

    /// Returns the link to a window of this length that ends at `until`.
    fn link_to(self, path: &str, until: Timestamp) -> String {
        match self.range.name {
            "" => {
                let since = Timestamp(until.0 - self.range.length_ms + self.range.step_ms);
                format!("{path}?since={since}&until={until}")
            }
            name => format!("{path}?range={name}&until={until}"),
        }
    }

    fn columns(self) -> usize {
        (self.range.length_ms / self.range.step_ms) as usize
    }

    fn place(self, at: Timestamp) -> Option<usize> {
        usize::try_from((at.0 - self.since.0).div_euclid(self.range.step_ms))
            .ok()
            .filter(|p| *p < self.columns())
    }
}

/// The history read from the store.
struct EndpointHistory {
    days: Vec<Rollup>,
    steps: Vec<Rollup>,
    bad: Vec<Sample>,
    good: Option<Sample>,
    incidents: Vec<Incident>,
    annotations: Vec<Annotation>,
}

fn render(
    frame: Frame,
    view: EndpointView,
    endpoint: &Endpoint,
    window: ChartWindow,
    is_past: bool,
    read: EndpointHistory,
) -> EndpointPage {
    let locale = frame.locale;
    let all = total(&read.steps);
    let first_day = first_day(frame.now);
    let path = format!("{}/endpoints/{}", frame.root, view.name);
    let later = window.until.0 + window.range.length_ms;
    let later = is_past.then(|| match window.range.name {
        name if later >= frame.now.0 && !name.is_empty() => format!("{path}?range={name}"),
        _ => window.link_to(&path, Timestamp(later.min(frame.now.0) - 1)),
    });
    let noted = noted(&read.incidents, &read.annotations, window);
    let days: Vec<Day> = read.days.iter().map(Day::of).collect();
    let learned = view.typical_first_token_ms.map(|typical_ms| Usual {
        typical_ms,
        slow_factor: endpoint.detection.slow_factor,
        hours: &view.usual_hours,
    });
    let first_token = line_chart(
        &read.steps,
        window,
        |r| &r.first_token,
        learned.as_ref(),
        &locale,
    );
    EndpointPage {
        class: "none",
        status: "",
        incident: None,
        reason: String::new(),
        notices: Vec::new(),
        days: chart::bars(&days, first_day, DAYS),
        gaps: chart::gaps(DAYS),
        width: DAYS * chart::BAR,
        days_from: utc(&locale).day_tick(first_day),
        days_text: bars_text(&days, &locale),
        availability_90d: availability(&days).map_or("–".to_owned(), |a| locale.percent(a)),
        ranges: RANGES,
        range: window.range,
        span: format!(
            "{} – {}",
            frame.moment(&window.since),
            frame.moment(&window.until.min(frame.now))
        ),
        earlier: window.link_to(&path, Timestamp(window.since.0 - 1)),
        later,
        figures: figures(&view, endpoint, &all, &locale),
        first_token,
        total: line_chart(&read.steps, window, |r| &r.total, None, &locale),
        errors: errors(&read.steps, window, &locale),
        stages: stages(&read.steps, window, &locale),
        ticks: chart::ticks((window.since, window.until), &locale, CHART),
        marks: marks(&read.incidents, window, frame.now),
        marked: read.incidents.iter().map(|i| marked(i, &locale)).collect(),
        notes: note_lines(&noted, window),
        noted,
        since_ms: window.since.0,
        until_ms: window.until.0,
        zone_name: locale.zone(window.until),
        buckets: read
            .steps
            .iter()
            .rev()
            .map(|step| line(step, window, &locale))
            .collect(),
        bad: read
            .bad
            .into_iter()
            .map(|sample| bad_probe(sample, &locale))
            .collect(),
        group: endpoint.group.clone().filter(|_| frame.sees_all),
        facts: facts(endpoint, read.good.as_ref(), &locale),
        view,
        frame,
    }
}

fn total(rollups: &[Rollup]) -> Rollup {
    let mut total = Rollup::default();
    for rollup in rollups {
        total.merge(rollup);
    }
    total
}

/// Returns name, value and note of each figure.
fn figures(
    view: &EndpointView,
    endpoint: &Endpoint,
    all: &Rollup,
    locale: &Locale,
) -> Vec<(&'static str, String, String)> {
    let availability = all.availability();
    let slo = locale.percentage(endpoint.slo, 4);
    let kept = match availability {
        Some(a) if a >= endpoint.slo / 100.0 => text!(locale, "objective {slo} met", slo),
        Some(_) => text!(locale, "objective {slo} missed", slo),
        None => text!(locale, "objective {slo}", slo),
    };
    let typical = match view.typical_first_token_ms {
        None => locale.say("usual value not learned yet").to_owned(),
        Some(ms) => {
            let ms = locale.latency(ms);
            text!(locale, "typically {ms}", ms)
        }
    };
    let first_token = MedianAndP95::of(&all.first_token);
    let total = MedianAndP95::of(&all.total);
    let total_p95 = latency_or_dash(total.map(|s| s.p95), locale);
    let cost = if endpoint.price.is_some() {
        locale.money(all.cost_usd)
    } else {
        NONE.to_owned()
    };
    let failed = locale.number(all.failed());
    let slow = locale.number(all.slow);
    let n = all.input_tokens + all.output_tokens;
    let tokens = locale.number(n);
    vec![
        (
            locale.say("Availability"),
            availability.map_or(NONE.to_owned(), |a| locale.percent(a)),
            kept,
        ),
        (
            locale.say("Probes"),
            locale.number(all.probes()),
            text!(locale, "{failed} failed, {slow} slow", failed, slow),
        ),
        (
            locale.say("First token"),
            latency_or_dash(first_token.map(|s| s.p50), locale),
            typical,
        ),
        (
            locale.say("First token, p95"),
            latency_or_dash(first_token.map(|s| s.p95), locale),
            locale.say("1 in 20 is slower").to_owned(),
        ),
        (
            locale.say("Total"),
            latency_or_dash(total.map(|s| s.p50), locale),
            format!("p95 {total_p95}"),
        ),
        (
            locale.say("Cost"),
            cost,
            text!(locale, n => "{tokens} token", "{tokens} tokens"; tokens),
        ),
    ]
}

/// The cause, before any counts: "server error (http.5xx) since 09:12 UTC, 9 of the last 10 probes
/// failed".
fn reason(view: &EndpointView, incident: Option<&Incident>, frame: &Frame) -> String {
    let locale = &frame.locale;
    if let Some(counts) = pending(view, locale) {
        return text!(
            locale,
            "Checking: {counts}. There is not enough evidence for an alert yet.",
            counts
        );
    }
    let known = incident.filter(|i| !format::is_summary(i));
    if let Some(incident) = known {
        let cause = format::cause(incident, locale);
        let counts = counts(incident, locale);
        let since = frame.moment(&incident.started_at);
        return text!(
            locale,
            "{cause} since {since}, {counts}.",
            cause,
            since,
            counts
        );
    }
    view.reason
        .clone()
        .unwrap_or_else(|| locale.say("Correct answers in the usual time.").to_owned())
}

/// Draws the incidents as areas of the charts, at least two units wide.
fn marks(incidents: &[Incident], window: ChartWindow, now: Timestamp) -> String {
    let areas = incidents.iter().map(|incident| {
        let left = window.x(incident.started_at);
        let right = window.x(incident.end().unwrap_or(now)).max(left + 2);
        format!("M{left} 0H{right}V{}H{left}z", CHART.1)
    });
    areas.collect()
}

/// Returns the notes of the incidents and the annotations within the window, oldest first.
fn noted(incidents: &[Incident], annotations: &[Annotation], window: ChartWindow) -> Vec<Noted> {
    let of_incidents = incidents.iter().flat_map(|i| &i.notes);
    let of_incidents = of_incidents.map(|note| (note.at, &note.text));
    let all = of_incidents.chain(annotations.iter().map(|a| (a.at, &a.text)));
    let mut noted: Vec<_> = all
        .filter(|(at, _)| (window.since..window.until).contains(at))
        .map(|(at, text)| Noted {
            at,
            text: text.clone(),
        })
        .collect();
    noted.sort_by_key(|n| n.at);
    noted
}

fn note_lines(noted: &[Noted], window: ChartWindow) -> String {
    let length = window.until.since_ms(window.since) as f64;
    let lines = noted.iter().map(|note| {
        let share = note.at.since_ms(window.since) as f64 / length;
        format!("M{:.0} 0v{}", share * CHART.0 as f64, CHART.1)
    });
    lines.collect()
}

fn marked(incident: &Incident, locale: &Locale) -> Marked {
    Marked {
        number: incident.number,
        severity: severity(incident, locale),
        cause: format::cause(incident, locale),
        started_at: incident.started_at,
        ended_at: incident.end(),
    }
}

/// The learned baseline of a latency.
struct Usual<'a> {
    typical_ms: f64,
    slow_factor: f64,
    hours: &'a UsualHours,
}

impl Usual<'_> {
    /// Returns the baseline of a column, in milliseconds: the mean of its hours.
    fn at(&self, window: ChartWindow, place: usize) -> f64 {
        let from = window.since.0 + place as i64 * window.range.step_ms;
        let hours = (window.range.step_ms / HOUR_MS).max(1);
        self.typical_ms
            * (0..hours)
                .map(|hour| self.hours.factor(Timestamp(from + hour * HOUR_MS)))
                .sum::<f64>()
            / hours as f64
    }

    fn highest(&self, window: ChartWindow) -> f64 {
        (0..window.columns())
            .map(|place| self.at(window, place))
            .fold(self.typical_ms, f64::max)
    }

    fn draw(&self, window: ChartWindow, top: f64) -> Learned {
        let width = CHART.0;
        if self.hours.is_flat() {
            let y = y_of(self.typical_ms, top);
            let slow = y_of(self.typical_ms * self.slow_factor, top);
            return Learned {
                line: format!("M0 {y}h{width}"),
                band: format!("M0 {slow}H{width}V{y}H0z"),
            };
        }
        let last = window.columns().saturating_sub(1).max(1);
        let mut line = Vec::new();
        let mut slow = Vec::new();
        for place in 0..window.columns() {
            let x = (place as f64 / last as f64 * width as f64).round() as i64;
            let usual_ms = self.at(window, place);
            line.push(format!("{x} {}", y_of(usual_ms, top)));
            slow.push(format!("{x} {}", y_of(usual_ms * self.slow_factor, top)));
        }
        let back: Vec<_> = line.iter().rev().map(String::as_str).collect();
        Learned {
            line: format!("M{}", line.join(" ")),
            band: format!("M{} {}z", slow.join(" "), back.join(" ")),
        }
    }
}

fn line_chart(
    steps: &[Rollup],
    window: ChartWindow,
    of: fn(&Rollup) -> &Sketch,
    usual: Option<&Usual<'_>>,
    locale: &Locale,
) -> LineChart {
    let mut points = vec![None; window.columns()];
    for step in steps {
        if let Some(place) = window.place(step.at) {
            points[place] = MedianAndP95::of(of(step));
        }
    }
    // A few peaks must not flatten the rest: the scale ends above the 95th percentile of the peaks.
    let mut peaks: Vec<f64> = points.iter().flatten().map(|s| s.p95).collect();
    peaks.sort_by(f64::total_cmp);
    let usual_peak = peaks.get(peaks.len() * 19 / 20).copied().unwrap_or(0.0);
    let medians = points.iter().flatten().map(|s| s.p50);
    let slow_at = usual.map_or(0.0, |usual| usual.highest(window) * usual.slow_factor);
    let highest = medians.fold(usual_peak.max(slow_at), f64::max);
    let top = chart::round_up(highest);
    LineChart {
        empty: peaks.is_empty(),
        is_cut: peaks.last().is_some_and(|peak| *peak > top),
        course: chart::course(&points, CHART, top),
        typical: usual.map(|usual| usual.draw(window, top)),
        top: locale.latency_tick(top),
        middle: locale.latency_tick(top / 2.0),
    }
}

/// Counts errors by class (the first part of the fault's code), most frequent first. Rare classes
/// are combined.
fn errors(steps: &[Rollup], window: ChartWindow, locale: &Locale) -> StackChart {
    const MOST: usize = 5;
    let mut sums: BTreeMap<String, u32> = BTreeMap::new();
    for ((fault, _), n) in steps.iter().flat_map(|s| &s.faults) {
        *sums.entry(fault_class(*fault).to_owned()).or_default() += n;
    }
    let mut names: Vec<_> = sums.iter().map(|(name, n)| (name.clone(), *n)).collect();
    names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    if names.len() > MOST + 1 {
        let rest = names.split_off(MOST);
        names.push((
            locale.say("other").to_owned(),
            rest.iter().map(|r| r.1).sum(),
        ));
    }
    let mut columns = vec![vec![0.0; names.len()]; window.columns()];
    for step in steps {
        let Some(place) = window.place(step.at) else {
            continue;
        };
        for ((fault, _), n) in &step.faults {
            let layer = names
                .iter()
                .position(|(name, _)| *name == fault_class(*fault))
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

/// Breaks down the time of a good probe: means of the connection's stages below the median of the
/// rest.
fn stages(steps: &[Rollup], window: ChartWindow, locale: &Locale) -> StackChart {
    let names = [
        "DNS",
        "TCP",
        "TLS",
        locale.say("headers"),
        locale.say("first token"),
        locale.say("rest of the answer"),
    ];
    let mut columns = vec![Vec::new(); window.columns()];
    for step in steps {
        let (Some(place), Some(total)) = (window.place(step.at), step.total.quantile(0.5)) else {
            continue;
        };
        let StageSums {
            dns_us,
            tcp_us,
            tls_us,
            headers_us,
        } = step.stages;
        let connection = [dns_us, tcp_us, tls_us, headers_us]
            .map(|us| us as f64 / 1000.0 / f64::from(step.good().max(1)));
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
    let paths = chart::stacked(&columns, names.len(), CHART, top);
    let measured: Vec<_> = columns.iter().filter(|c| !c.is_empty()).collect();
    let layers = names.iter().zip(paths).enumerate();
    StackChart {
        layers: layers
            .map(|(n, (name, path))| {
                let typical = latency_or_dash(median(measured.iter().map(|c| c[n])), locale);
                ((*name).to_owned(), format!("c{}", n + 1), path, typical)
            })
            .collect(),
        top: locale.latency_tick(top),
        middle: locale.latency_tick(top / 2.0),
    }
}

fn line(step: &Rollup, window: ChartWindow, locale: &Locale) -> HistoryRow {
    let day = locale.day_tick(step.at);
    let faults: Vec<_> = step
        .faults
        .iter()
        .map(|((fault, _), n)| format!("{n} × {fault}"))
        .collect();
    HistoryRow {
        start: step.at,
        at: if window.range.step_ms < DAY_MS {
            format!("{day} {}", locale.clock_tick(step.at))
        } else {
            day
        },
        probes: step.probes(),
        failed: step.failed(),
        faults: faults.join(", "),
        first_token: median_and_p95(&step.first_token, locale),
        total: median_and_p95(&step.total, locale),
    }
}

fn median_and_p95(sketch: &Sketch, locale: &Locale) -> String {
    MedianAndP95::of(sketch).map_or(NONE.to_owned(), |s| {
        format!("{} / {}", locale.latency(s.p50), locale.latency(s.p95))
    })
}

fn latency_or_dash(ms: Option<f64>, locale: &Locale) -> String {
    ms.map_or(NONE.to_owned(), |ms| locale.latency(ms))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Returns the part of a fault's name before the dot.
fn fault_class(fault: Fault) -> &'static str {
    fault.as_str().split('.').next().unwrap_or_default()
}

/// Returns the height of a latency in a chart that ends at `top_ms`.
fn y_of(ms: f64, top_ms: f64) -> i64 {
    ((1.0 - (ms / top_ms).min(1.0)) * CHART.1 as f64).round() as i64
}

/// Returns a time of the query, if it is valid and in the past.
fn past_time(text: Option<&str>, now: Timestamp) -> Option<Timestamp> {
    let at = Timestamp::parse(text?).ok()?;
    (at < now).then_some(at)
}

fn bad_probe(sample: Sample, locale: &Locale) -> BadProbe {
    let reached = [
        ("DNS", sample.dns_ms),
        ("TCP", sample.tcp_ms),
        ("TLS", sample.tls_ms),
        (locale.say("headers"), sample.headers_ms),
        (locale.say("first token after"), sample.first_token_ms),
        (locale.say("end after"), sample.total_ms),
    ];
    let mut facts = Vec::new();
    facts.extend(sample.remote_addr.clone());
    facts.extend(sample.http_version.clone());
    if let Some(edge) = &sample.edge {
        facts.push(text!(locale, "edge {edge}", edge));
    }
    if let Some(ms) = sample.retry_after_ms {
        let ms = locale.latency(ms);
        facts.push(text!(locale, "asked to wait {ms}", ms));
    }
    if let Some(why) = &sample.finish_reason {
        facts.push(text!(locale, "finish reason {why}", why));
    }
    let late = locale.say("answered correctly, but late");
    BadProbe {
        at: sample.started_at,
        class: if sample.outcome == Outcome::Slow {
            "slow"
        } else {
            "bad"
        },
        what: sample
            .fault
            .map_or_else(|| locale.say("slow").to_owned(), |f| f.to_string()),
        why: sample.fault.map_or(late, |f| locale.say(f.describe())),
        whose: sample.attribution.map_or("", |a| whose(a, locale)),
        status: sample.http_status,
        request_id: sample.request_id,
        error: sample.error,
        answer: sample.answer,
        stages: reached
            .into_iter()
            .filter_map(|(name, ms)| Some((name, locale.latency(ms?))))
            .collect(),
        facts: facts.join(" · "),
    }
}

fn facts(
    endpoint: &Endpoint,
    good: Option<&Sample>,
    locale: &Locale,
) -> Vec<(&'static str, String)> {
    let title = endpoint.domain_title();
    let api = endpoint.api;
    let mut facts = vec![
        (
            locale.say("Provider"),
            text!(locale, "{title}, API {api}", title, api),
        ),
        // Without query or credentials, because a URL can contain keys.
        (
            locale.say("Address"),
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
            locale.say("Model"),
            answered.map_or_else(
                || model.clone(),
                |answered| text!(locale, "{model}, answered by {answered}", model, answered),
            ),
        ));
    }
    let every = locale.duration(endpoint.interval.as_secs_f64());
    facts.push((
        locale.say("Probed"),
        if endpoint.connection == Connection::Fresh {
            text!(locale, "every {every}, over a fresh connection", every)
        } else {
            text!(locale, "every {every}, over a kept connection", every)
        },
    ));
    if let Some(price) = endpoint.price {
        let input = locale.decimal(price.input, 4);
        let output = locale.decimal(price.output, 4);
        facts.push((
            locale.say("Price"),
            text!(
                locale,
                "${input} in, ${output} out per million tokens",
                input,
                output
            ),
        ));
    }
    let Some(good) = good else { return facts };
    let connection = [
        good.http_version.clone(),
        good.remote_addr.clone(),
        good.edge
            .as_ref()
            .map(|edge| text!(locale, "edge {edge}", edge)),
    ];
    let connection: Vec<_> = connection.into_iter().flatten().collect();
    if !connection.is_empty() {
        facts.push((locale.say("Connection"), connection.join(", ")));
    }
    let tls = match good.tls_ms {
        None => locale.say("none").to_owned(),
        Some(ms) => {
            let ms = locale.latency(ms);
            text!(locale, "handshake in {ms}", ms)
        }
    };
    facts.push(("TLS", tls));
    if let Some(ms) = good.server_ms {
        facts.push((locale.say("Provider’s own time"), locale.latency(ms)));
    }
    if let Some(fingerprint) = &good.system_fingerprint {
        facts.push((locale.say("Fingerprint"), fingerprint.clone()));
    }
    let mut left = Vec::new();
    if let Some(n) = good.ratelimit_remaining_requests {
        let n = locale.number(n);
        left.push(text!(locale, "{n} requests left", n));
    }
    if let Some(n) = good.ratelimit_remaining_tokens {
        let n = locale.number(n);
        left.push(text!(locale, "{n} tokens left", n));
    }
    if !left.is_empty() {
        facts.push((locale.say("Rate limit"), left.join(", ")));
    }
    if let (Some(input), Some(output)) = (good.input_tokens, good.output_tokens) {
        let cost = good
            .cost_usd
            .map(|usd| format!(", {}", locale.money(usd)))
            .unwrap_or_default();
        facts.push((
            locale.say("Last good probe"),
            text!(
                locale,
                "{input} tokens in, {output} out{cost}",
                input,
                output,
                cost
            ),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The points of a path of straight lines.
    fn points(path: &str) -> Vec<(i64, i64)> {
        let numbers: Vec<i64> = path
            .trim_start_matches('M')
            .trim_end_matches('z')
            .split(' ')
            .map(|n| n.parse().unwrap())
            .collect();
        numbers.chunks(2).map(|xy| (xy[0], xy[1])).collect()
    }

    /// The week of a rush from 09:00 to 17:00 UTC on weekdays: the line of what is usual rises
    /// then, the upper edge of the band is where slow begins, and the weekend is flat.
    #[test]
    fn the_band_follows_the_learned_hours() {
        let day_ms = 24 * HOUR_MS;
        // 2026-11-23, a Monday.
        let since = Timestamp(1_795_392_000_000);
        let range = Range {
            name: "7d",
            title: "7 days",
            length_ms: 7 * day_ms,
            step_ms: HOUR_MS,
        };
        let window = ChartWindow {
            range,
            since,
            until: Timestamp(since.0 + range.length_ms),
        };
        let is_rush = |at: Timestamp| {
            let hour = at.0.div_euclid(HOUR_MS);
            // The epoch was a Thursday.
            (hour.div_euclid(24) + 3) % 7 < 5 && (9..17).contains(&hour.rem_euclid(24))
        };
        let week = (0..168).map(|hour| {
            let at = Timestamp(hour * HOUR_MS);
            if is_rush(at) { 2.0_f64.ln() } else { 0.0 }
        });
        let hours = UsualHours::new(week);
        let usual = Usual {
            typical_ms: 500.0,
            slow_factor: 2.0,
            hours: &hours,
        };
        let top = 2400.0;
        let drawn = usual.draw(window, top);
        let line = points(&drawn.line);
        let band = points(&drawn.band);
        assert_eq!((line.len(), band.len()), (168, 336));
        let y = |ms: f64| ((1.0 - ms / top) * CHART.1 as f64).round() as i64;
        for (place, (x, at)) in line.iter().enumerate() {
            let hour = Timestamp(since.0 + place as i64 * HOUR_MS);
            let typical = if is_rush(hour) { 1000.0 } else { 500.0 };
            assert!((at - y(typical)).abs() <= 2, "{place}: {at}");
            assert!((band[place].1 - y(2.0 * typical)).abs() <= 4, "{place}");
            assert_eq!(band[place].0, *x);
            assert_eq!(band[335 - place], (*x, *at), "the band ends at the line");
        }
        assert!(usual.highest(window) > 950.0);

        let flat = UsualHours::default();
        let drawn = Usual {
            hours: &flat,
            ..usual
        }
        .draw(window, top);
        assert_eq!(drawn.line, format!("M0 {}h{}", y(500.0), CHART.0));
    }
}
