//! The index page: the state in one sentence, the current problems, worst first, then every
//! endpoint with its last 90 days.

use std::collections::{BTreeMap, HashSet};

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::chart::{self, Bars, TrendLine};
use super::history::{DAYS, Day, HOUR_MS, History, MedianAndP95, incidents};
use super::notices::{self, AdviceGroup, Notice};
use super::{Frame, PageError, View, class, html, web_url};
use crate::web::format::{
    self, Headline, cause, duration, headline, severity, title_of, whose_fault,
};
use crate::web::place::LocationQuery;
use crate::web::reader::Reader;
use crate::web::summary;
use llmwatch_core::message::headline::pending_reason;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    AlertState, Attribution, EndpointName, EndpointView, Incident, Snapshot, Status, Timestamp,
};
use llmwatch_core::report::routing::rank;
use llmwatch_core::text;

/// The number of hours in a sparkline.
const HOURS: usize = 24;
/// The size of a sparkline, in drawing units.
const SPARK: (usize, usize) = (96, 24);
/// The most bad days that are listed for people who cannot see the bars.
const DAYS_IN_TEXT: usize = 5;
/// With at most this many endpoints, nothing is collapsed.
const ALL_OPEN: usize = 8;
/// A provider with more endpoints shows only those with problems until the visitor selects it.
const LONG: usize = 15;
/// The same limit if there are more endpoints than fit on a few screens.
const LONG_AMONG_MANY: usize = 6;
/// The number of endpoints from which that limit applies.
const MANY: usize = 40;
/// The most rows sent for one provider; the filter finds the rest.
const MAX_ROWS: usize = 300;
/// The number of problems listed before the rest is collapsed.
const FIRST_PROBLEMS: usize = 6;
/// The longest filter that is accepted, in bytes.
const LONGEST_FILTER: usize = 100;

/// The query parameters.
#[derive(Debug, Default, Deserialize)]
pub(super) struct IndexQuery {
    /// Part of a name.
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
    /// The selectable locations, and whether each is selected.
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
    groups: Vec<GroupLine>,
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

/// A group of alternatives.
struct GroupLine {
    name: String,
    detail: String,
}

/// A current problem.
struct ProblemLine {
    class: &'static str,
    href: String,
    subject: String,
    state: &'static str,
    cause: String,
    detail: String,
    since: Option<Timestamp>,
    instead: Option<EndpointName>,
    acknowledged: Option<String>,
}

/// The endpoints of one failure domain.
struct ProviderBlock {
    /// Its title as an `id`, so that browsers remember what the visitor opened.
    id: String,
    title: String,
    class: &'static str,
    summary: String,
    availability: String,
    bars: Bars,
    bars_text: String,
    official: Option<VendorStatus>,
    is_open: bool,
    /// Whether its column headings repeat those of the provider above.
    repeats_head: bool,
    rows: Vec<Row>,
    /// The number of hidden endpoints, and the link that shows them.
    hidden: Option<(String, String)>,
}

/// The status on the vendor's status page.
struct VendorStatus {
    status: &'static str,
    url: String,
}

struct Row {
    name: String,
    class: &'static str,
    state: &'static str,
    /// Why it is not operational; otherwise the model.
    note: String,
    /// The incident that it is part of.
    incident: Option<u64>,
    availability: String,
    bars: Bars,
    bars_text: String,
    spark: TrendLine,
    first_token: Option<LatencyPair>,
    total: Option<LatencyPair>,
}

/// A median and a 95th percentile.
struct LatencyPair {
    p50: String,
    p95: String,
}

impl LatencyPair {
    fn new(spread: MedianAndP95, locale: &Locale) -> Self {
        Self {
            p50: locale.latency(spread.p50),
            p95: locale.latency(spread.p95),
        }
    }
}

/// An incident in a list.
pub(super) struct IncidentLine {
    pub(super) number: u64,
    pub(super) open: bool,
    pub(super) subject: String,
    pub(super) cause: String,
    pub(super) severity: &'static str,
    pub(super) class: &'static str,
    pub(super) whose: &'static str,
    pub(super) duration: String,
    pub(super) started_at: Timestamp,
}

impl IncidentLine {
    pub(super) fn new(incident: &Incident, snapshot: &Snapshot, locale: &Locale) -> Self {
        let open = incident.resolved_at.is_none();
        let cause = cause(incident, locale);
        Self {
            number: incident.number,
            open,
            // A summary, or an incident whose endpoints were removed, has only its title.
            subject: if cause.is_empty() || incident.removed {
                incident.title.clone()
            } else {
                format::subject(title_of(snapshot, incident), incident, locale)
            },
            cause,
            severity: severity(incident, locale),
            class: if open { class(incident.status) } else { "none" },
            whose: if incident.attribution == Attribution::Provider {
                ""
            } else {
                whose_fault(incident, locale)
            },
            duration: duration(incident, locale),
            started_at: incident.started_at,
        }
    }
}

/// The combined days of several endpoints.
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

/// Share of good probes over all days.
pub(super) fn availability(days: &[Day]) -> Option<f64> {
    let good: u64 = days.iter().map(|d| u64::from(d.good)).sum();
    let all: u64 = days.iter().map(|d| u64::from(d.counted())).sum();
    (all > 0).then(|| good as f64 / all as f64)
}

pub(super) async fn page(
    State(view): State<View>,
    reader: Reader,
    asked: Result<Query<IndexQuery>, QueryRejection>,
    request: HeaderMap,
) -> Response {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let place = LocationQuery {
        location: asked.location.clone(),
    };
    let all = view.snapshot.borrow().clone();
    let Ok(shown) = place.view(all) else {
        return PageError::Missing("No daemon probes from that location.")
            .page(&view, &request, reader);
    };
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
        Err(error) => PageError::Store(error).page(&view, &request, reader),
    }
}

fn render(
    frame: Frame,
    snapshot: &Snapshot,
    asked: &IndexQuery,
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
    let locale = frame.locale;
    let mut problems: Vec<_> = format::problems(snapshot, &locale)
        .into_iter()
        .map(|p| problem_line(p, &frame.root, &locale))
        .collect();
    // A single alternative for all problems is already in the headline.
    if let [first, rest @ ..] = problems.as_mut_slice()
        && rest.iter().all(|p| p.instead == first.instead)
    {
        for problem in &mut problems {
            problem.instead = None;
        }
    }
    let more_problems = problems.split_off(problems.len().min(FIRST_PROBLEMS));
    let resolved = last.iter().filter(|i| i.resolved_at.is_some());
    let headline = headline(snapshot, &locale);
    let budget = frame.config.budget.daily_usd;
    let has_endpoints = !snapshot.endpoints.is_empty();
    IndexPage {
        places: places(snapshot, asked.location.as_deref()),
        matrix: matrix(snapshot, &locale),
        class: match (headline.status, problems.first()) {
            (Status::Operational, Some(_)) => "wait",
            (Status::Unknown, Some(problem)) => problem.class,
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
        groups: if frame.sees_all {
            groups(snapshot, &locale)
        } else {
            Vec::new()
        },
        providers: providers(&frame, snapshot, &selection, history),
        is_filtered: selection.is_filtered(),
        filter: filter.to_owned(),
        only_problems: selection.only_problems,
        incidents: resolved
            .map(|i| IncidentLine::new(i, snapshot, &locale))
            .collect(),
        gaps: chart::gaps(DAYS),
        width: DAYS * chart::BAR,
        first_day: utc(&locale).day_tick(history.first_day),
        endpoints: format::endpoints(snapshot.endpoints.len(), &locale),
        has_endpoints,
        has_tools: snapshot.endpoints.len() > ALL_OPEN || selection.is_filtered(),
        spent: locale.money(snapshot.spent_today_usd),
        budget: locale.money(budget),
        spent_percent: if budget > 0.0 {
            (snapshot.spent_today_usd / budget * 100.0).clamp(0.0, 100.0) as u32
        } else {
            0
        },
        frame,
    }
}

/// Returns each group of at least two endpoints, with the one to use now.
fn groups(snapshot: &Snapshot, locale: &Locale) -> Vec<GroupLine> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for group in snapshot.endpoints.iter().filter_map(|e| e.group.as_deref()) {
        *sizes.entry(group).or_default() += 1;
    }
    sizes.retain(|_, n| *n > 1);
    let mut lines = Vec::new();
    for (group, n) in sizes {
        let endpoints = format::endpoints(n, locale);
        let chosen = rank(snapshot, Some(group), locale).and_then(|r| r.endpoint);
        let is_unknown = snapshot
            .endpoints
            .iter()
            .filter(|e| e.group.as_deref() == Some(group))
            .any(|e| e.status == Status::Unknown);
        lines.push(GroupLine {
            name: group.to_owned(),
            detail: match chosen {
                Some(name) => text!(locale, "{endpoints}, now {name}", endpoints, name),
                None if is_unknown => {
                    text!(
                        locale,
                        "{endpoints}, none is known to be healthy",
                        endpoints
                    )
                }
                None => text!(locale, "{endpoints}, none is healthy", endpoints),
            },
        });
    }
    lines
}

/// Days are in UTC, regardless of the reader's time zone.
pub(super) fn utc(locale: &Locale) -> Locale {
    Locale {
        timezone: chrono_tz::UTC,
        ..*locale
    }
}

/// An endpoint and its status from each location, in column order.
struct MatrixRow {
    name: String,
    cells: Vec<(&'static str, &'static str)>,
}

fn places(snapshot: &Snapshot, chosen: Option<&str>) -> Vec<(String, bool)> {
    let names = snapshot.locations.iter();
    names
        .map(|name| (name.clone(), chosen == Some(name.as_str())))
        .collect()
}

fn matrix(snapshot: &Snapshot, locale: &Locale) -> Vec<MatrixRow> {
    if snapshot.locations.len() < 2 {
        return Vec::new();
    }
    snapshot
        .endpoints
        .iter()
        .map(|endpoint| matrix_row(endpoint, &snapshot.locations, locale))
        .collect()
}

fn matrix_row(endpoint: &EndpointView, locations: &[String], locale: &Locale) -> MatrixRow {
    MatrixRow {
        name: endpoint.name.to_string(),
        cells: locations
            .iter()
            .map(|location| {
                let own = endpoint.locations.iter().find(|l| l.location == *location);
                own.map_or(("none", locale.say("not probed")), |l| {
                    (class(l.status), locale.status(l.status))
                })
            })
            .collect(),
    }
}

fn problem_line(problem: format::CurrentProblem, root: &str, locale: &Locale) -> ProblemLine {
    let href = match problem.number {
        Some(number) => format!("{root}/incidents/{number}"),
        None => format!("{root}/endpoints/{}", problem.endpoint),
    };
    let so_far = problem.so_far;
    let counts = problem.counts;
    let detail = match (so_far.is_empty(), counts.is_empty()) {
        (true, _) if problem.since.is_some() => format!("· {counts}"),
        (true, _) => counts,
        (false, true) => text!(locale, "for {so_far}", so_far),
        (false, false) => text!(locale, "for {so_far}, {counts}", so_far, counts),
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

/// The visitor's selection.
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
    endpoint.status != Status::Operational || is_pending(endpoint)
}

fn is_pending(endpoint: &EndpointView) -> bool {
    endpoint.alert.state == AlertState::Pending
}

/// What the board says about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowState {
    /// Recent probes failed, too few for an alert.
    Checking,
    /// It has an incident that says nothing about the provider, whose status is unknown: of the
    /// account or of this machine.
    Failing,
    /// Neither.
    Plain(Status),
}

impl RowState {
    /// Sorts worst first; pending alerts rank before working endpoints.
    fn rank(self) -> u8 {
        match self {
            Self::Plain(Status::Outage) => 0,
            Self::Failing => 1,
            Self::Plain(Status::Degraded) => 2,
            Self::Checking => 3,
            Self::Plain(Status::Unknown) => 4,
            Self::Plain(Status::Maintenance) => 5,
            Self::Plain(Status::Operational) => 6,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Checking => "wait",
            Self::Failing => "bad",
            Self::Plain(status) => class(status),
        }
    }

    fn text(self, locale: &Locale) -> &'static str {
        match self {
            Self::Checking => locale.say("checking"),
            Self::Failing => locale.say("failing"),
            Self::Plain(Status::Outage) => locale.say("down"),
            Self::Plain(status) => locale.status(status),
        }
    }

    /// How many endpoints are in this state: "2 down". Where English has one form for one and for
    /// several, other languages have two.
    fn counted(self, n: usize, locale: &Locale) -> String {
        let text = match self {
            Self::Checking => text!(locale, "{n} checking", n),
            Self::Failing => text!(locale, "{n} failing", n),
            Self::Plain(Status::Outage) => text!(locale, n => "{n} down", "{n} down "; n),
            Self::Plain(Status::Degraded) => {
                text!(locale, n => "{n} degraded", "{n} degraded "; n)
            }
            Self::Plain(Status::Unknown) => text!(locale, n => "{n} unknown", "{n} unknown "; n),
            Self::Plain(Status::Operational) => {
                text!(locale, n => "{n} operational", "{n} operational "; n)
            }
            Self::Plain(Status::Maintenance) => text!(locale, "{n} in maintenance", n),
        };
        text.trim_end().to_owned()
    }
}

/// The states of all endpoints.
struct Board<'a> {
    in_incidents: HashSet<&'a EndpointName>,
    /// Whether nothing is known of any endpoint: this machine is offline or has just started. Then
    /// no provider stands out.
    is_blank: bool,
}

impl<'a> Board<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let in_incidents = snapshot.incidents.iter().flat_map(|i| &i.endpoints);
        let mut board = Self {
            in_incidents: in_incidents.collect(),
            is_blank: false,
        };
        let unknown = RowState::Plain(Status::Unknown);
        board.is_blank = snapshot.endpoints.iter().all(|e| board.state(e) == unknown);
        board
    }

    fn state(&self, endpoint: &EndpointView) -> RowState {
        match endpoint.status {
            Status::Outage | Status::Degraded => RowState::Plain(endpoint.status),
            _ if is_pending(endpoint) => RowState::Checking,
            Status::Unknown if self.in_incidents.contains(&endpoint.name) => RowState::Failing,
            status => RowState::Plain(status),
        }
    }
}

/// Returns the failure domains, worst first, otherwise in configuration order.
fn providers(
    frame: &Frame,
    snapshot: &Snapshot,
    selection: &Selection<'_>,
    history: &History,
) -> Vec<ProviderBlock> {
    let board = Board::new(snapshot);
    let mut groups: Vec<(&str, Vec<(RowState, &EndpointView)>)> = Vec::new();
    for endpoint in snapshot.endpoints.iter().filter(|e| selection.fits(e)) {
        let member = (board.state(endpoint), endpoint);
        match groups
            .iter_mut()
            .find(|(title, _)| *title == endpoint.title)
        {
            Some((_, members)) => members.push(member),
            None => groups.push((&endpoint.title, vec![member])),
        }
    }
    for (_, members) in &mut groups {
        members.sort_by_key(|(state, _)| state.rank());
    }
    groups.sort_by_key(|(_, members)| members.first().map_or(u8::MAX, |(s, _)| s.rank()));
    let mut blocks: Vec<_> = groups
        .into_iter()
        .map(|(title, members)| block(frame, snapshot, &board, selection, history, title, &members))
        .collect();
    // Columns are aligned across providers, so one row of headings is enough.
    let with_rows = blocks
        .iter_mut()
        .filter(|b| b.is_open && !b.rows.is_empty());
    for block in with_rows.skip(1) {
        block.repeats_head = true;
    }
    blocks
}

fn block(
    frame: &Frame,
    snapshot: &Snapshot,
    board: &Board<'_>,
    selection: &Selection<'_>,
    history: &History,
    title: &str,
    members: &[(RowState, &EndpointView)],
) -> ProviderBlock {
    let mut sum = Sum::default();
    for (_, endpoint) in members {
        sum.add(days_of(history, &endpoint.name));
    }
    let problems = members
        .iter()
        .filter(|(_, e)| has_problem(e) && !board.is_blank)
        .count();
    let is_open = problems > 0 || selection.is_filtered() || selection.total <= ALL_OPEN;
    let long = if selection.total >= MANY {
        LONG_AMONG_MANY
    } else {
        LONG
    };
    let locale = &frame.locale;
    let wanted = if selection.is_filtered() || members.len() <= long {
        MAX_ROWS
    } else {
        problems
    };
    let shown = &members[..members.len().min(wanted).min(MAX_ROWS)];
    let left = members.len() - shown.len();
    let encoded: String = url::form_urlencoded::byte_serialize(title.as_bytes()).collect();
    let hidden = (left > 0 && members.len() <= MAX_ROWS).then(|| {
        let text = if shown.is_empty() {
            let endpoints = format::endpoints(left, locale);
            text!(locale, "Show {endpoints}", endpoints)
        } else {
            text!(locale, "Show {left} more", left)
        };
        (text, format!("{}/?provider={encoded}", frame.root))
    });
    let hidden = hidden.or_else(|| {
        let endpoints = format::endpoints(left, locale);
        let text = text!(locale, "{endpoints} more: filter by name", endpoints);
        (left > 0).then(|| (text, format!("{}/?provider={encoded}#q", frame.root)))
    });
    ProviderBlock {
        id: format!("provider-{encoded}"),
        title: title.to_owned(),
        class: members.first().map_or("none", |(state, _)| state.class()),
        summary: summary(members, locale),
        availability: availability(&sum.0).map_or("–".to_owned(), |a| locale.percent(a)),
        bars: chart::bars(&sum.0, history.first_day, DAYS),
        bars_text: bars_text(&sum.0, locale),
        official: official(snapshot, title, locale).filter(|_| frame.sees_all),
        is_open,
        repeats_head: false,
        rows: shown
            .iter()
            .map(|(state, e)| row(*state, e, snapshot, history, frame))
            .collect(),
        hidden,
    }
}

/// "12 endpoints, all operational", "12 endpoints: 2 down, 1 checking".
fn summary(members: &[(RowState, &EndpointView)], locale: &Locale) -> String {
    let all = format::endpoints(members.len(), locale);
    let mut parts: Vec<(RowState, usize)> = Vec::new();
    for (state, _) in members.iter().filter(|(_, e)| has_problem(e)) {
        match parts.iter_mut().find(|(s, _)| s == state) {
            Some((_, n)) => *n += 1,
            None => parts.push((*state, 1)),
        }
    }
    if parts.is_empty() {
        let n = members.len();
        return text!(locale, n => "{all}, operational", "{all}, all operational"; all);
    }
    let parts: Vec<_> = parts.iter().map(|(s, n)| s.counted(*n, locale)).collect();
    format!("{all}: {}", parts.join(", "))
}

fn official(snapshot: &Snapshot, title: &str, locale: &Locale) -> Option<VendorStatus> {
    let page = &snapshot
        .official
        .iter()
        .find(|vendor| vendor.title == title)?
        .page;
    let url = web_url(&page.url)?;
    Some(VendorStatus {
        status: locale.status(page.status),
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

fn row(
    state: RowState,
    endpoint: &EndpointView,
    snapshot: &Snapshot,
    history: &History,
    frame: &Frame,
) -> Row {
    let days = days_of(history, &endpoint.name);
    let pace = history.paces.get(&endpoint.name).filter(|_| frame.sees_all);
    let locale = &frame.locale;
    let incident = snapshot
        .incidents
        .iter()
        .find(|i| i.endpoints.contains(&endpoint.name));
    Row {
        name: endpoint.name.to_string(),
        class: state.class(),
        state: state.text(locale),
        note: note(endpoint, incident, locale),
        incident: incident.map(|i| i.number),
        availability: availability(days).map_or("–".to_owned(), |a| locale.percent(a)),
        bars: chart::bars(days, history.first_day, DAYS),
        bars_text: bars_text(days, locale),
        spark: pace.map(|p| spark(&p.hours, frame.now)).unwrap_or_default(),
        first_token: pace
            .and_then(|p| p.first_token)
            .map(|s| LatencyPair::new(s, locale)),
        total: pace
            .and_then(|p| p.total)
            .map(|s| LatencyPair::new(s, locale)),
    }
}

/// Why it is not operational, the cause before any count; otherwise the model.
fn note(endpoint: &EndpointView, incident: Option<&Incident>, locale: &Locale) -> String {
    if let Some(reason) = pending_reason(endpoint, locale) {
        return reason;
    }
    let of_incident = incident.map(|i| cause(i, locale)).filter(|c| !c.is_empty());
    // The heading above already names the provider.
    let reason = endpoint.reason.as_ref().map(|r| {
        r.strip_prefix(&format!("{}: ", endpoint.title))
            .unwrap_or(r)
            .to_owned()
    });
    of_incident
        .or(reason)
        .or_else(|| endpoint.model.clone())
        .unwrap_or_else(|| endpoint.api.as_str().to_owned())
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

/// Describes the bars for people who cannot see them.
pub(super) fn bars_text(days: &[Day], locale: &Locale) -> String {
    let bad: Vec<_> = days.iter().filter(|d| d.failed > 0).collect();
    let measured = days.iter().filter(|d| d.counted() > 0).count();
    if measured == 0 {
        return locale.say("Nothing was measured in 90 days.").to_owned();
    }
    let n = measured;
    let text = text!(locale, n => "{n} day with data, ", "{n} days with data, "; n);
    if bad.is_empty() {
        return text + locale.say("none with failures.");
    }
    let last = bad.iter().rev().take(DAYS_IN_TEXT).map(|day| {
        let date = utc(locale).day_tick(day.start());
        let share = day
            .availability()
            .map_or("–".to_owned(), |a| locale.percent(a));
        format!("{date} {share}")
    });
    let n = bad.len();
    let last = last.collect::<Vec<_>>().join(", ");
    let end = if n > DAYS_IN_TEXT {
        locale.say(" and earlier ones.")
    } else {
        "."
    };
    text + &text!(locale, n => "{n} day with failures: {last}", "{n} days with failures: {last}"; n, last)
        + end
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
            bars_text(&sum.0, &Locale::default()),
            "3 days with data, 2 days with failures: 4 Jan 50%, 2 Jan 90%."
        );
    }
}
