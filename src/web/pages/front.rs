//! The front page: how things are in one sentence, then every endpoint with its last 90 days.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::chart::{self, Bars, Course, Spread};
use super::notices::{self, Notice};
use super::past::{DAY_MS, DAYS, HOUR_MS, Past, incidents};
use super::{Frame, Problem, View, class, html, web_url};
use crate::config::Settings;
use crate::model::{EndpointView, Snapshot};
use crate::model::{Incident, Status, Timestamp};
use crate::rollup::OutcomeCounts;
use crate::web::words::{Headline, dollars, headline, how_bad, lasted, latency, percent, whose};

/// The hours that a sparkline shows.
const HOURS: usize = 24;
/// The size of a sparkline's drawing.
const SPARK: (usize, usize) = (96, 24);
/// Bad days that are told one by one to those who cannot see the bars.
const TOLD_DAYS: usize = 5;

#[derive(Template)]
#[template(path = "pages/front.html")]
struct FrontPage {
    frame: Frame,
    headline: Headline,
    class: &'static str,
    last_probe_at: Option<Timestamp>,
    notices: Vec<Notice>,
    providers: Vec<ProviderBlock>,
    incidents: Vec<IncidentLine>,
    gaps: String,
    width: usize,
    budget: String,
    endpoints: usize,
}

/// The endpoints of one failure domain.
struct ProviderBlock {
    title: String,
    availability: String,
    official: Option<OfficialWord>,
    rows: Vec<Row>,
}

/// What the vendor says of itself.
struct OfficialWord {
    status: &'static str,
    class: &'static str,
    url: String,
}

struct Row {
    name: String,
    status: Status,
    /// Why it is not operational, else the model.
    note: String,
    availability: String,
    bars: Bars,
    told: String,
    spark: Course,
    first_token: Option<Pair>,
    total: Option<Pair>,
}

impl Row {
    fn class(&self) -> &'static str {
        class(self.status)
    }
}

/// A median and a 95th percentile in words.
struct Pair {
    p50: String,
    p95: String,
}

impl From<Spread> for Pair {
    fn from(spread: Spread) -> Self {
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
    pub(super) how_bad: &'static str,
    pub(super) class: &'static str,
    pub(super) whose: &'static str,
    pub(super) lasted: String,
    pub(super) started_at: Timestamp,
}

impl IncidentLine {
    pub(super) fn new(incident: &Incident) -> Self {
        let open = incident.resolved_at.is_none();
        Self {
            number: incident.number,
            open,
            title: incident.title.clone(),
            how_bad: how_bad(incident),
            class: if open { class(incident.status) } else { "none" },
            whose: whose(incident.attribution),
            lasted: lasted(incident),
            started_at: incident.started_at,
        }
    }
}

/// Probes counted over several rollups.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    good: u64,
    failed: u64,
}

impl Counts {
    fn of(days: &[OutcomeCounts]) -> Self {
        let sum = |of: fn(&OutcomeCounts) -> u32| days.iter().map(|d| u64::from(of(d))).sum();
        Self {
            good: sum(|d| d.good),
            failed: sum(|d| d.failed),
        }
    }

    fn add(&mut self, other: Self) {
        self.good += other.good;
        self.failed += other.failed;
    }

    fn availability(self) -> Option<f64> {
        let all = self.good + self.failed;
        (all > 0).then(|| self.good as f64 / all as f64)
    }
}

pub(super) async fn page(State(view): State<View>, request: HeaderMap) -> Response {
    let snapshot = view.snapshot.borrow().clone();
    let config = view.config.borrow().clone();
    let read = async {
        Ok((
            view.memory.recall(&view.store, (view.wall)()).await?,
            incidents(&view.store).await?,
        ))
    };
    match read.await {
        Ok((past, last)) => {
            let frame = Frame {
                here: "/",
                ..Frame::new(&view, &snapshot, "")
            };
            html(&render(frame, &snapshot, &config, &past, &last), &request)
        }
        Err(error) => Problem::Store(error).page(&view, &request),
    }
}

fn render(
    frame: Frame,
    snapshot: &Snapshot,
    config: &Arc<Settings>,
    past: &Past,
    last: &[Incident],
) -> FrontPage {
    let mut providers: Vec<ProviderBlock> = Vec::new();
    let mut sums: Vec<Counts> = Vec::new();
    for endpoint in &snapshot.endpoints {
        let row = row(endpoint, past, &frame);
        let cells = past
            .days
            .get(&endpoint.name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let sum = Counts::of(cells);
        if let Some(place) = providers.iter().position(|p| p.title == endpoint.title) {
            providers[place].rows.push(row);
            sums[place].add(sum);
        } else {
            let title = endpoint.title.clone();
            let official = official(snapshot, &title);
            providers.push(ProviderBlock {
                title,
                availability: String::new(),
                official,
                rows: vec![row],
            });
            sums.push(sum);
        }
    }
    for (block, sum) in providers.iter_mut().zip(&sums) {
        block.availability = sum.availability().map_or("–".to_owned(), percent);
    }
    let mut lines: Vec<_> = snapshot
        .incidents
        .iter()
        .rev()
        .map(IncidentLine::new)
        .collect();
    let over = last.iter().filter(|i| i.resolved_at.is_some());
    lines.extend(over.map(IncidentLine::new));
    let headline = headline(snapshot, frame.zone);
    FrontPage {
        class: class(headline.status),
        headline,
        last_probe_at: snapshot
            .endpoints
            .iter()
            .filter_map(|e| e.last_probe_at)
            .max(),
        notices: notices::of_all(snapshot, &frame),
        providers,
        incidents: lines,
        gaps: chart::gaps(DAYS),
        width: DAYS * chart::BAR,
        budget: format!(
            "{} of {} today",
            dollars(snapshot.spent_today_usd),
            dollars(config.budget.daily_usd)
        ),
        endpoints: snapshot.endpoints.len(),
        frame,
    }
}

fn official(snapshot: &Snapshot, title: &str) -> Option<OfficialWord> {
    let page = &snapshot
        .official
        .iter()
        .find(|vendor| vendor.title == title)?
        .page;
    let url = web_url(&page.url)?;
    Some(OfficialWord {
        status: page.status.as_str(),
        class: class(page.status),
        url,
    })
}

fn row(endpoint: &EndpointView, past: &Past, frame: &Frame) -> Row {
    let cells = past
        .days
        .get(&endpoint.name)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let pace = past.paces.get(&endpoint.name);
    // The heading above says whose it is.
    let reason = endpoint.reason.as_ref().map(|r| {
        r.strip_prefix(&format!("{}: ", endpoint.title))
            .unwrap_or(r)
            .to_owned()
    });
    let note = reason.or_else(|| endpoint.model.clone());
    Row {
        name: endpoint.name.clone(),
        status: endpoint.status,
        note: note.unwrap_or_else(|| endpoint.api.as_str().to_owned()),
        availability: Counts::of(cells)
            .availability()
            .map_or("–".to_owned(), percent),
        bars: chart::bars(cells, past.first_day, DAY_MS, DAYS),
        told: told(cells),
        spark: pace.map(|p| spark(&p.hours, frame.now)).unwrap_or_default(),
        first_token: pace.and_then(|p| p.first_token).map(Pair::from),
        total: pace.and_then(|p| p.total).map(Pair::from),
    }
}

fn spark(steps: &[(Timestamp, Spread)], now: Timestamp) -> Course {
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

/// The bars in words, for those who cannot see them.
pub(super) fn told(cells: &[OutcomeCounts]) -> String {
    let bad: Vec<_> = cells.iter().filter(|c| c.failed > 0).collect();
    let measured = cells.iter().filter(|c| c.availability().is_some()).count();
    let days = |n: usize| format!("{n} day{}", if n == 1 { "" } else { "s" });
    if measured == 0 {
        return "Nothing measured in 90 days.".to_owned();
    }
    let mut text = format!("{} measured, ", days(measured));
    if bad.is_empty() {
        return text + "none with failures.";
    }
    text += &format!("{} with failures: ", days(bad.len()));
    let said = bad.iter().rev().take(TOLD_DAYS).map(|c| {
        let day = c.at.to_datetime().format("%-d %B");
        format!("{day} {}", c.availability().map_or("–".to_owned(), percent))
    });
    text += &said.collect::<Vec<_>>().join(", ");
    text + if bad.len() > TOLD_DAYS {
        " and earlier ones."
    } else {
        "."
    }
}
