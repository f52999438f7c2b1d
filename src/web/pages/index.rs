//! The index page: the state in one sentence, the problems worst first, then every endpoint with its last 90 days.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::chart::{self, Bars, MedianAndP95, TrendLine};
use super::history::{DAYS, Day, HOUR_MS, History, incidents};
use super::notices::{self, AdviceGroup, Notice};
use super::{Frame, Problem, View, class, html, web_url};
use crate::web::format::{
    self, Headline, count, dollars, duration, headline, latency, pending, percent, severity,
    whose_fault,
};
use crate::web::place::Place;
use crate::web::reader::Reader;
use crate::web::summary;
use llmwatch_core::model::{EndpointView, Incident, Snapshot, Status, Timestamp};

/// The hours that a sparkline shows.
const HOURS: usize = 24;
/// The size of a sparkline's drawing.
const SPARK: (usize, usize) = (96, 24);
/// Bad days that are read out one by one to those who cannot see the bars.
const DAYS_IN_TEXT: usize = 5;
/// With so few endpoints nothing is collapsed.
const ALL_OPEN: usize = 8;
/// A provider with more endpoints shows only those with problems until it is chosen.
const LONG: usize = 15;
/// Rows of one provider that are sent at all; beyond that the filter finds them.
const MOST_ROWS: usize = 300;
/// Problems that are listed before the rest is collapsed.
const FIRST_PROBLEMS: usize = 6;
/// The longest filter that is used, in bytes.
const LONGEST_FILTER: usize = 100;

/// What stands after the `?`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// A part of a name.
    q: Option<String>,
    /// `problems` shows only endpoints with a problem.
    show: Option<String>,
    /// The provider whose endpoints are all shown.
    provider: Option<String>,
    /// The location whose view is shown.
    location: Option<String>,
}

#[derive(Template)]
#[template(path = "pages/index.html")]
struct IndexPage {
    frame: Frame,
    /// The locations that can be chosen, and whether each is the chosen one.
    places: Vec<(String, bool)>,
    matrix: Vec<MatrixRow>,
    headline: Headline,
    class: &'static str,
    problems: Vec<ProblemLine>,
    more_problems: Vec<ProblemLine>,
    last_probe_at: Option<Timestamp>,
    notices: Vec<Notice>,
    advice: Vec<AdviceGroup>,
    filter: String,
    only_problems: bool,
    is_filtered: bool,
    providers: Vec<ProviderBlock>,
    incidents: Vec<IncidentLine>,
    gaps: String,
    width: usize,
    first_day: String,
    endpoints: String,
    has_endpoints: bool,
    has_tools: bool,
    spent: String,
    budget: String,
    spent_percent: u32,
}

/// One thing that is wrong now.
struct ProblemLine {
    class: &'static str,
    href: String,
    subject: String,
    state: &'static str,
    cause: String,
    detail: String,
    since: Option<Timestamp>,
    instead: Option<String>,
    acknowledged: Option<String>,
}

/// The endpoints of one failure domain.
struct ProviderBlock {
    /// Its title in an `id`: browsers keep what the visitor opened.
    id: String,
    title: String,
    class: &'static str,
    summary: String,
    availability: String,
    bars: Bars,
    bars_text: String,
    official: Option<VendorStatus>,
    is_open: bool,
    rows: Vec<Row>,
    /// How many endpoints are not shown, and the link that shows them.
    hidden: Option<(String, String)>,
}

/// The status on the vendor's own page.
struct VendorStatus {
    status: &'static str,
    url: String,
}

struct Row {
    name: String,
    class: &'static str,
    state: &'static str,
    /// Why it is not operational, else the model.
    note: String,
    /// The incident that it is part of.
    incident: Option<u64>,
    availability: String,
    bars: Bars,
    bars_text: String,
    spark: TrendLine,
    first_token: Option<Pair>,
    total: Option<Pair>,
}

/// A median and a 95th percentile.
struct Pair {
    p50: String,
    p95: String,
}

impl From<MedianAndP95> for Pair {
    fn from(spread: MedianAndP95) -> Self {
        Self {
            p50: latency(spread.p50),
            p95: latency(spread.p95),
        }
    }
}

/// An incident in a list.
pub(super) struct IncidentLine {
    pub(super) number: u64,
    pub(super) open: bool,
    pub(super) title: String,
    pub(super) severity: &'static str,
    pub(super) class: &'static str,
    pub(super) whose: &'static str,
    pub(super) duration: String,
    pub(super) started_at: Timestamp,
}

impl IncidentLine {
    pub(super) fn new(incident: &Incident) -> Self {
        let open = incident.resolved_at.is_none();
        Self {
            number: incident.number,
            open,
            title: incident.title.clone(),
            severity: severity(incident),
            class: if open { class(incident.status) } else { "none" },
            whose: whose_fault(incident),
            duration: duration(incident),
            started_at: incident.started_at,
        }
    }
}

/// The days of several endpoints together.
#[derive(Debug, Default)]
struct Sum(Vec<Day>);

impl Sum {
    fn add(&mut self, days: &[Day]) {
        for day in days {
            match self.0.binary_search_by_key(&day.number, |d| d.number) {
                Ok(place) => {
                    let sum = &mut self.0[place];
                    sum.good = sum.good.saturating_add(day.good);
                    sum.slow = sum.slow.saturating_add(day.slow);
                    sum.failed = sum.failed.saturating_add(day.failed);
                }
                Err(place) => self.0.insert(place, *day),
            }
        }
    }
}

/// The share of good probes over all days.
pub(super) fn availability(days: &[Day]) -> Option<f64> {
    let good: u64 = days.iter().map(|d| u64::from(d.good)).sum();
    let all: u64 = days.iter().map(|d| u64::from(d.counted())).sum();
    (all > 0).then(|| good as f64 / all as f64)
}

pub(super) async fn page(
    State(view): State<View>,
    reader: Reader,
    asked: Result<Query<Asked>, QueryRejection>,
    request: HeaderMap,
) -> Response {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let place = Place {
        location: asked.location.clone(),
    };
    let all = view.snapshot.borrow().clone();
    let shown = place.view(all.clone()).unwrap_or(all);
    let snapshot = summary::snapshot_for(reader, shown);
    let read = async {
        Ok((
            view.history.get(&view.store, (view.wall)()).await?,
            incidents(&view.store).await?,
        ))
    };
    match read.await {
        Ok((history, last)) => {
            let last: Vec<_> = last
                .into_iter()
                .map(|i| summary::incident_for(reader, i))
                .collect();
            let frame = Frame {
                here: "/",
                ..Frame::new(&view, &snapshot, "", reader)
            };
            html(&render(frame, &snapshot, &asked, &history, &last), &request)
        }
        Err(error) => Problem::Store(error).page(&view, &request, reader),
    }
}

fn render(
    frame: Frame,
    snapshot: &Snapshot,
    asked: &Asked,
    history: &History,
    last: &[Incident],
) -> IndexPage {
    let filter = asked.q.as_deref().unwrap_or_default().trim();
    let filter = &filter[..filter.floor_char_boundary(LONGEST_FILTER)];
    let selection = Selection {
        filter: filter.to_lowercase(),
        only_problems: asked.show.as_deref() == Some("problems"),
        provider: asked.provider.as_deref(),
        total: snapshot.endpoints.len(),
    };
    let mut problems: Vec<_> = format::problems(snapshot)
        .into_iter()
        .map(|p| problem_line(p, &frame.root))
        .collect();
    let more_problems = problems.split_off(problems.len().min(FIRST_PROBLEMS));
    let resolved = last.iter().filter(|i| i.resolved_at.is_some());
    let headline = headline(snapshot, frame.zone);
    let budget = frame.config.budget.daily_usd;
    let has_endpoints = !snapshot.endpoints.is_empty();
    IndexPage {
        places: places(snapshot, asked.location.as_deref()),
        matrix: matrix(snapshot),
        class: match (headline.status, problems.first()) {
            (Status::Operational, Some(_)) => "wait",
            (Status::Unknown, Some(problem)) if problem.class == "wait" => "wait",
            (status, _) => class(status),
        },
        headline,
        problems,
        more_problems,
        last_probe_at: snapshot
            .endpoints
            .iter()
            .filter_map(|e| e.last_probe_at)
            .max(),
        notices: notices::of_all(snapshot, &frame),
        advice: notices::advice(snapshot),
        providers: providers(&frame, snapshot, &selection, history),
        is_filtered: selection.is_filtered(),
        filter: filter.to_owned(),
        only_problems: selection.only_problems,
        incidents: resolved.map(IncidentLine::new).collect(),
        gaps: chart::gaps(DAYS),
        width: DAYS * chart::BAR,
        first_day: history.first_day.to_datetime().format("%-d %b").to_string(),
        endpoints: count(snapshot.endpoints.len(), "endpoint"),
        has_endpoints,
        has_tools: snapshot.endpoints.len() > ALL_OPEN || selection.is_filtered(),
        spent: dollars(snapshot.spent_today_usd),
        budget: dollars(budget),
        spent_percent: if budget > 0.0 {
            (snapshot.spent_today_usd / budget * 100.0).clamp(0.0, 100.0) as u32
        } else {
            0
        },
        frame,
    }
}

/// An endpoint and its status from each location, in the order of the columns.
struct MatrixRow {
    name: String,
    cells: Vec<(&'static str, &'static str)>,
}

fn places(snapshot: &Snapshot, chosen: Option<&str>) -> Vec<(String, bool)> {
    let is_chosen = |name: &String| chosen == Some(name.as_str());
    let names = snapshot.locations.iter();
    names.map(|name| (name.clone(), is_chosen(name))).collect()
}

fn matrix(snapshot: &Snapshot) -> Vec<MatrixRow> {
    if snapshot.locations.len() < 2 {
        return Vec::new();
    }
    let row = |endpoint: &EndpointView| MatrixRow {
        name: endpoint.name.clone(),
        cells: snapshot
            .locations
            .iter()
            .map(|location| {
                let own = endpoint.locations.iter().find(|l| l.location == *location);
                own.map_or(("none", "not probed"), |l| {
                    (class(l.status), l.status.as_str())
                })
            })
            .collect(),
    };
    snapshot.endpoints.iter().map(row).collect()
}

fn problem_line(problem: format::Problem, root: &str) -> ProblemLine {
    let href = match problem.number {
        Some(number) => format!("{root}/incidents/{number}"),
        None => format!("{root}/endpoints/{}", problem.endpoint),
    };
    let detail = match (problem.so_far.as_str(), problem.counts.as_str()) {
        ("", counts) => counts.to_owned(),
        (so_far, "") => format!("for {so_far}"),
        (so_far, counts) => format!("for {so_far}, {counts}"),
    };
    ProblemLine {
        class: problem.status.map_or("wait", class),
        href,
        subject: problem.subject,
        state: problem.state,
        cause: problem.cause,
        detail,
        since: problem.since,
        instead: problem.instead,
        acknowledged: problem.acknowledged,
    }
}

/// What the visitor wants to see.
struct Selection<'a> {
    filter: String,
    only_problems: bool,
    provider: Option<&'a str>,
    total: usize,
}

impl Selection<'_> {
    fn is_filtered(&self) -> bool {
        !self.filter.is_empty() || self.only_problems || self.provider.is_some()
    }

    fn fits(&self, endpoint: &EndpointView) -> bool {
        (self.filter.is_empty() || endpoint.name.to_lowercase().contains(&self.filter))
            && (!self.only_problems || has_problem(endpoint))
            && self.provider.is_none_or(|p| p == endpoint.title)
    }
}

fn has_problem(endpoint: &EndpointView) -> bool {
    endpoint.status != Status::Operational || pending(endpoint).is_some()
}

/// Worst first; what is only pending before what works.
fn rank(endpoint: &EndpointView) -> u8 {
    match endpoint.status {
        Status::Outage => 0,
        Status::Degraded => 1,
        _ if pending(endpoint).is_some() => 2,
        Status::Unknown => 3,
        Status::Maintenance => 4,
        Status::Operational => 5,
    }
}

/// The failure domains, worst first, otherwise in the order of the configuration.
fn providers(
    frame: &Frame,
    snapshot: &Snapshot,
    selection: &Selection<'_>,
    history: &History,
) -> Vec<ProviderBlock> {
    let mut groups: Vec<(&str, Vec<&EndpointView>)> = Vec::new();
    for endpoint in snapshot.endpoints.iter().filter(|e| selection.fits(e)) {
        match groups
            .iter_mut()
            .find(|(title, _)| *title == endpoint.title)
        {
            Some((_, members)) => members.push(endpoint),
            None => groups.push((&endpoint.title, vec![endpoint])),
        }
    }
    for (_, members) in &mut groups {
        members.sort_by_key(|e| rank(e));
    }
    groups.sort_by_key(|(_, members)| members.first().map_or(u8::MAX, |e| rank(e)));
    groups
        .into_iter()
        .map(|(title, members)| block(frame, snapshot, selection, history, title, &members))
        .collect()
}

fn block(
    frame: &Frame,
    snapshot: &Snapshot,
    selection: &Selection<'_>,
    history: &History,
    title: &str,
    members: &[&EndpointView],
) -> ProviderBlock {
    let mut sum = Sum::default();
    for endpoint in members {
        sum.add(days_of(history, &endpoint.name));
    }
    let problems = members.iter().filter(|e| has_problem(e)).count();
    let is_open = problems > 0 || selection.is_filtered() || selection.total <= ALL_OPEN;
    let wanted = if selection.is_filtered() || members.len() <= LONG {
        MOST_ROWS
    } else {
        problems
    };
    let shown = &members[..members.len().min(wanted).min(MOST_ROWS)];
    let left = members.len() - shown.len();
    let encoded: String = url::form_urlencoded::byte_serialize(title.as_bytes()).collect();
    let hidden = (left > 0 && members.len() <= MOST_ROWS).then(|| {
        let text = if shown.is_empty() {
            format!("Show {}", count(left, "endpoint"))
        } else {
            format!("Show {left} more")
        };
        (text, format!("{}/?provider={encoded}", frame.root))
    });
    let hidden = hidden.or_else(|| {
        let text = format!("{} more: filter by name", count(left, "endpoint"));
        (left > 0).then(|| (text, format!("{}/?provider={encoded}#q", frame.root)))
    });
    ProviderBlock {
        id: format!("provider-{encoded}"),
        title: title.to_owned(),
        class: members.first().map_or("none", |e| row_class(e)),
        summary: summary(members, problems),
        availability: availability(&sum.0).map_or("–".to_owned(), percent),
        bars: chart::bars(&sum.0, history.first_day, DAYS),
        bars_text: bars_text(&sum.0),
        official: official(snapshot, title).filter(|_| frame.sees_all),
        is_open,
        rows: shown
            .iter()
            .map(|e| row(e, snapshot, history, frame))
            .collect(),
        hidden,
    }
}

/// "12 endpoints, all operational", "12 endpoints: 2 outage, 1 checking".
fn summary(members: &[&EndpointView], problems: usize) -> String {
    let all = count(members.len(), "endpoint");
    if problems == 0 {
        return match members.len() {
            1 => format!("{all}, operational"),
            _ => format!("{all}, all operational"),
        };
    }
    let mut parts: Vec<(&str, usize)> = Vec::new();
    for endpoint in members.iter().filter(|e| has_problem(e)) {
        let state = row_state(endpoint);
        match parts.iter_mut().find(|(s, _)| *s == state) {
            Some((_, n)) => *n += 1,
            None => parts.push((state, 1)),
        }
    }
    let parts: Vec<_> = parts.iter().map(|(s, n)| format!("{n} {s}")).collect();
    format!("{all}: {}", parts.join(", "))
}

fn row_state(endpoint: &EndpointView) -> &'static str {
    match (pending(endpoint), endpoint.status) {
        (Some(_), _) => "checking",
        (None, Status::Outage) => "down",
        (None, status) => status.as_str(),
    }
}

fn row_class(endpoint: &EndpointView) -> &'static str {
    match pending(endpoint) {
        Some(_) => "wait",
        None => class(endpoint.status),
    }
}

fn official(snapshot: &Snapshot, title: &str) -> Option<VendorStatus> {
    let page = &snapshot
        .official
        .iter()
        .find(|vendor| vendor.title == title)?
        .page;
    let url = web_url(&page.url)?;
    Some(VendorStatus {
        status: page.status.as_str(),
        url,
    })
}

fn days_of<'a>(history: &'a History, name: &str) -> &'a [Day] {
    history
        .days
        .get(name)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn row(endpoint: &EndpointView, snapshot: &Snapshot, history: &History, frame: &Frame) -> Row {
    let days = days_of(history, &endpoint.name);
    let pace = history.paces.get(&endpoint.name).filter(|_| frame.sees_all);
    // The heading above names the provider.
    let reason = endpoint.reason.as_ref().map(|r| {
        r.strip_prefix(&format!("{}: ", endpoint.title))
            .unwrap_or(r)
            .to_owned()
    });
    let reason = pending(endpoint)
        .map(|counts| format!("checking: {counts}"))
        .or(reason);
    let incident = snapshot
        .incidents
        .iter()
        .find(|i| i.endpoints.contains(&endpoint.name));
    let note = reason.or_else(|| endpoint.model.clone());
    Row {
        name: endpoint.name.clone(),
        class: row_class(endpoint),
        state: row_state(endpoint),
        note: note.unwrap_or_else(|| endpoint.api.as_str().to_owned()),
        incident: incident.map(|i| i.number),
        availability: availability(days).map_or("–".to_owned(), percent),
        bars: chart::bars(days, history.first_day, DAYS),
        bars_text: bars_text(days),
        spark: pace.map(|p| spark(&p.hours, frame.now)).unwrap_or_default(),
        first_token: pace.and_then(|p| p.first_token).map(Pair::from),
        total: pace.and_then(|p| p.total).map(Pair::from),
    }
}

fn spark(steps: &[(Timestamp, MedianAndP95)], now: Timestamp) -> TrendLine {
    let first = now.0.div_euclid(HOUR_MS) - (HOURS as i64 - 1);
    let mut points = vec![None; HOURS];
    for (at, spread) in steps {
        let place = usize::try_from(at.0.div_euclid(HOUR_MS) - first).ok();
        if let Some(point) = place.and_then(|place| points.get_mut(place)) {
            *point = Some(*spread);
        }
    }
    let top = points.iter().flatten().map(|s| s.p95).fold(0.0, f64::max);
    chart::course(&points, SPARK, top.max(1.0) * 1.05)
}

/// The bars as text, for those who cannot see them.
pub(super) fn bars_text(days: &[Day]) -> String {
    let bad: Vec<_> = days.iter().filter(|d| d.failed > 0).collect();
    let measured = days.iter().filter(|d| d.counted() > 0).count();
    if measured == 0 {
        return "Nothing was measured in 90 days.".to_owned();
    }
    let mut text = format!("{} with data, ", count(measured, "day"));
    if bad.is_empty() {
        return text + "none with failures.";
    }
    text += &format!("{} with failures: ", count(bad.len(), "day"));
    let last = bad.iter().rev().take(DAYS_IN_TEXT).map(|day| {
        let date = day.start().to_datetime().format("%-d %B");
        let share = day.availability().map_or("–".to_owned(), percent);
        format!("{date} {share}")
    });
    text += &last.collect::<Vec<_>>().join(", ");
    text + if bad.len() > DAYS_IN_TEXT {
        " and earlier ones."
    } else {
        "."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_several_endpoints_add_up() {
        let day = |number, good, failed| Day {
            number,
            good,
            slow: 0,
            failed,
        };
        let mut sum = Sum::default();
        sum.add(&[day(1, 9, 1), day(3, 5, 0)]);
        sum.add(&[day(2, 1, 0), day(3, 5, 10)]);
        assert_eq!(sum.0, [day(1, 9, 1), day(2, 1, 0), day(3, 10, 10)]);
        assert_eq!(availability(&sum.0), Some(20.0 / 31.0));
        assert_eq!(
            bars_text(&sum.0),
            "3 days with data, 2 days with failures: 4 January 50%, 2 January 90%."
        );
    }
}
