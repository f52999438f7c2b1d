//! The incident pages: the list, and the page of one with its timeline, figures and evidence.

use std::time::Duration;

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::index::IncidentLine;
use super::{Frame, PageError, View, class, html, web_url};
use crate::config::ChannelKind;
use crate::store::{NotificationRow, SamplePage, Store, StoreError};
use crate::web::format::{self, counts, duration, listed, severity, title_of, whose_fault};
use crate::web::reader::Reader;
use crate::web::summary;
use llmwatch_core::message::timeline::{self, Detail, Mark};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    Attribution, EndpointName, Fault, Incident, Outcome, Sample, Snapshot, Timestamp,
};
use llmwatch_core::text;

/// Incidents per page of the list.
const PAGE: u32 = 50;
/// The number of first failed probes shown.
const FIRST: usize = 3;
/// They are searched within this time after its start.
const FIRST_WITHIN: Duration = Duration::from_mins(10);
/// The number of endpoints whose probes are searched.
const FIRST_OF: usize = 10;

/// The query parameters.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PastIncidentsQuery {
    before: Option<String>,
}

#[derive(Template)]
#[template(path = "pages/incidents.html")]
struct ListPage {
    frame: Frame,
    incidents: Vec<IncidentLine>,
    older: Option<u64>,
    newest: bool,
}

pub(super) async fn list(
    State(view): State<View>,
    reader: Reader,
    asked: Result<Query<PastIncidentsQuery>, QueryRejection>,
    request: HeaderMap,
) -> Response {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let snapshot = summary::snapshot_for(reader, view.snapshot.borrow().clone());
    let before = asked.before.and_then(|number| number.parse().ok());
    let rows = match view
        .store
        .run_blocking(move |store| store.last_incidents(before, PAGE))
        .await
    {
        Ok(rows) => rows,
        Err(error) => return PageError::from(error).page(&view, &request, reader),
    };
    let full = rows.len() == PAGE as usize;
    let incidents: Vec<Incident> = rows
        .iter()
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect();
    let title = Locale::of(&view.config.borrow()).say("Incidents");
    let frame = Frame::new(&view, &snapshot, title, reader);
    let locale = frame.locale;
    let page = ListPage {
        frame: Frame {
            here: "/incidents",
            ..frame
        },
        older: incidents.last().map(|i| i.number).filter(|_| full),
        newest: before.is_none(),
        incidents: incidents
            .iter()
            .map(|i| summary::incident_for(reader, current(i, &snapshot)))
            .map(|i| IncidentLine::new(&i, &snapshot, &locale))
            .collect(),
    };
    html(&page, &request)
}

/// Returns an open incident from the snapshot, which has its current duration and figures.
fn current(incident: &Incident, snapshot: &Snapshot) -> Incident {
    snapshot
        .incidents
        .iter()
        .find(|i| i.id == incident.id)
        .unwrap_or(incident)
        .clone()
}

#[derive(Template)]
#[template(path = "pages/incident.html")]
struct IncidentPage {
    frame: Frame,
    incident: Incident,
    class: &'static str,
    severity: &'static str,
    cause: String,
    counts: String,
    open: bool,
    provider: String,
    facts: Vec<(&'static str, String)>,
    timeline: Vec<TimelineDay>,
    why: &'static str,
    endpoints: Vec<(EndpointName, bool)>,
    faults: Vec<(String, u32, &'static str)>,
    first: Vec<FailedProbe>,
    samples: Vec<FailedProbe>,
    alternatives: Vec<(String, String)>,
    names: String,
    official: Option<(String, Option<String>)>,
}

/// The entries of one day.
struct TimelineDay {
    day: String,
    moments: Vec<Moment>,
}

/// One entry of the timeline.
struct Moment {
    at: Timestamp,
    time: String,
    /// The time since the first failed probe.
    after: String,
    class: &'static str,
    what: String,
    detail: String,
}

/// A failed or slow probe.
struct FailedProbe {
    at: Timestamp,
    endpoint: EndpointName,
    what: String,
    status: Option<u16>,
    request_id: Option<String>,
    error: Option<String>,
}

pub(super) async fn page(
    State(view): State<View>,
    reader: Reader,
    number: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let number = number.ok().and_then(|Path(number)| number.parse().ok());
    let Some(number) = number else {
        return PageError::Missing("There is no such incident.").page(&view, &request, reader);
    };
    let snapshot = summary::snapshot_for(reader, view.snapshot.borrow().clone());
    let read = view.store.run_blocking(move |store| {
        let Some(data) = store.incident_data(number)? else {
            return Ok::<_, StoreError>(None);
        };
        let Ok(incident) = serde_json::from_str::<Incident>(&data) else {
            return Ok(None);
        };
        let notified = store.notifications_of(incident.id)?;
        let first = first_bad(store, &incident)?;
        Ok(Some((incident, notified, first)))
    });
    match read.await {
        Ok(Some((incident, notified, first))) => {
            let incident = summary::incident_for(reader, current(&incident, &snapshot));
            let first = if reader.sees_all() { first } else { Vec::new() };
            let frame = Frame::new(&view, &snapshot, "", reader);
            let locale = frame.locale;
            let state = if incident.resolved_at.is_some() {
                (locale.say("resolved"), "ok")
            } else {
                (severity(&incident, &locale), class(incident.status))
            };
            let title = text!(&locale, "Incident {number}", number);
            let frame = frame.with_state(&title, state.0, state.1);
            let frame = Frame {
                description: incident.title.clone(),
                ..frame
            };
            let shown = Shown {
                incident,
                notified: &notified,
                first,
                reader,
            };
            html(&render(frame, shown, &snapshot), &request)
        }
        Ok(None) => PageError::Missing("There is no such incident.").page(&view, &request, reader),
        Err(error) => PageError::from(error).page(&view, &request, reader),
    }
}

/// Returns the first failed or slow probes of the incident's endpoints, oldest first, if they are
/// still stored.
fn first_bad(store: &Store, incident: &Incident) -> Result<Vec<Sample>, StoreError> {
    let outcome = if incident.cause.is_slow() {
        Outcome::Slow
    } else {
        Outcome::Failed
    };
    let mut found = Vec::new();
    for endpoint in incident.endpoints.iter().take(FIRST_OF) {
        let page = SamplePage {
            location: None,
            endpoint,
            before_seq: None,
            since: Some(incident.started_at),
            until: Some(incident.started_at + FIRST_WITHIN),
            outcome: Some(outcome),
            limit: FIRST_WITHIN.as_secs() as u32,
        };
        found.extend(store.samples(page)?.into_iter().map(|(_, sample)| sample));
    }
    found.sort_by_key(|s| s.started_at);
    found.truncate(FIRST);
    Ok(found)
}

/// The data of an incident's page, and its reader.
struct Shown<'a> {
    incident: Incident,
    notified: &'a [NotificationRow],
    first: Vec<Sample>,
    reader: Reader,
}

fn render(frame: Frame, shown: Shown<'_>, snapshot: &Snapshot) -> IncidentPage {
    let Shown {
        incident,
        notified,
        first,
        reader,
    } = shown;
    let open = incident.resolved_at.is_none();
    let locale = &frame.locale;
    let evidence = &incident.evidence;
    let faults: Vec<_> = evidence
        .faults_by_count()
        .into_iter()
        .map(|(fault, n)| (fault.to_string(), n, locale.say(fault.describe())))
        .collect();
    let last = evidence.samples.iter();
    let is_first = |at: Timestamp| first.iter().any(|f| f.started_at == at);
    let samples = last
        .filter(|s| !is_first(s.started_at))
        .map(|s| FailedProbe {
            at: s.started_at,
            endpoint: s.endpoint.clone(),
            what: what(s.fault, locale),
            status: s.http_status,
            request_id: s.request_id.clone(),
            error: s.error.clone(),
        });
    let known = |name: &EndpointName| snapshot.endpoints.iter().any(|e| e.name == *name);
    let alternatives = if open {
        snapshot.alternatives(&incident.endpoints)
    } else {
        Vec::new()
    };
    let alternatives = alternatives.into_iter().take(5).map(|a| {
        let mut detail = a.title;
        if let Some(ms) = a.first_token_ms_p50 {
            let ms = locale.latency(ms);
            detail += &text!(locale, ", first token {ms}", ms);
        }
        if let Some(share) = a.availability_24h {
            let share = locale.percent(share);
            detail += &text!(locale, ", {share} available in 24 hours", share);
        }
        (a.endpoint.to_string(), detail)
    });
    IncidentPage {
        class: if open { class(incident.status) } else { "ok" },
        severity: severity(&incident, locale),
        cause: format::cause(&incident, locale),
        counts: counts(&incident, locale),
        open,
        provider: title_of(snapshot, &incident).to_owned(),
        facts: facts(&incident, &frame),
        timeline: timeline(&incident, notified, &frame, reader),
        why: if format::is_summary(&incident) {
            ""
        } else {
            why(incident.attribution, locale)
        },
        endpoints: incident
            .endpoints
            .iter()
            .map(|name| (name.clone(), known(name)))
            .collect(),
        samples: samples.collect(),
        first: first.iter().map(|s| bad(s, locale)).collect(),
        alternatives: alternatives.collect(),
        official: official(&incident, locale),
        names: listed(&incident.endpoints, 3, locale),
        faults,
        incident,
        frame,
    }
}

/// "http.5xx, server error".
fn what(fault: Option<Fault>, locale: &Locale) -> String {
    fault.map_or_else(
        || locale.say("slow").to_owned(),
        |f| format!("{f}, {}", locale.say(f.describe())),
    )
}

fn bad(sample: &Sample, locale: &Locale) -> FailedProbe {
    FailedProbe {
        at: sample.started_at,
        endpoint: sample.endpoint.clone(),
        what: what(sample.fault, locale),
        status: sample.http_status,
        request_id: sample.request_id.clone(),
        error: sample.error.clone(),
    }
}

fn facts(incident: &Incident, frame: &Frame) -> Vec<(&'static str, String)> {
    let locale = &frame.locale;
    let evidence = &incident.evidence;
    let detected = between(incident.started_at, incident.opened_at, locale);
    let mut facts = vec![
        (locale.say("Started"), frame.in_full(&incident.started_at)),
        (
            locale.say("Detected"),
            text!(locale, "{detected} after the first failed probe", detected),
        ),
        (locale.say("Duration"), duration(incident, locale)),
        (
            locale.say("Attributed to"),
            whose_fault(incident, locale).to_owned(),
        ),
        (locale.say("Cause"), format::cause(incident, locale)),
        (locale.say("Probes"), counts(incident, locale)),
    ];
    if format::is_summary(incident) {
        facts.retain(|(_, value)| !value.is_empty());
        return facts;
    }
    if let Some(rate) = evidence.typical_failure_rate
        && incident.attribution == Attribution::Provider
        && !incident.cause.is_slow()
    {
        facts.push((locale.say("Usual failure rate"), locale.failure_rate(rate)));
    }
    if let Some(usual) = evidence.first_token_ms.typical {
        let usual = locale.latency(usual);
        let text = match evidence.first_token_ms.now {
            Some(last) => {
                let last = locale.latency(last);
                text!(locale, "usually {usual}, last {last}", usual, last)
            }
            None => text!(locale, "usually {usual}, last none", usual),
        };
        facts.push((locale.say("First token"), text));
    }
    if let Some(ms) = evidence.worst_total_ms {
        facts.push((locale.say("Longest wait"), locale.latency(ms)));
    }
    facts
}

/// What the vendor's status page said, with its URL.
fn official(incident: &Incident, locale: &Locale) -> Option<(String, Option<String>)> {
    let official = &incident.official;
    let status = locale.status(official.status?);
    let text = match (&official.incident, official.lead_s) {
        (Some(title), Some(lead)) if lead >= 0.0 => {
            let lead = locale.duration(lead);
            text!(
                locale,
                "“{title}”, published {lead} after we opened this",
                title,
                lead
            )
        }
        (Some(title), Some(lead)) => {
            let lead = locale.duration(-lead);
            text!(
                locale,
                "“{title}”, published {lead} before we opened this",
                title,
                lead
            )
        }
        (Some(title), None) => format!("“{title}”"),
        (None, _) => text!(locale, "{status}, no incident posted", status),
    };
    Some((text, official.url.as_deref().and_then(web_url)))
}

fn between(from: Timestamp, to: Timestamp, locale: &Locale) -> String {
    locale.duration(to.since_ms(from).max(0) as f64 / 1000.0)
}

/// Returns the events in order, grouped by day: our decisions, deliveries, and updates of the
/// vendor's page.
fn timeline(
    incident: &Incident,
    notified: &[NotificationRow],
    frame: &Frame,
    reader: Reader,
) -> Vec<TimelineDay> {
    let locale = &frame.locale;
    let deliveries = notified.iter().filter(|_| reader.sees_all());
    let deliveries = deliveries.map(|one| delivery(one, frame, reader)).collect();
    let detail = if reader.sees_all() {
        Detail::Full
    } else {
        Detail::Summary
    };
    let mut days: Vec<TimelineDay> = Vec::new();
    for moment in timeline::timeline(incident, deliveries, detail, locale) {
        let day = locale.date_full(moment.at);
        let shown = shown(moment, incident, locale);
        match days.last_mut() {
            Some(last) if last.day == day => last.moments.push(shown),
            _ => days.push(TimelineDay {
                day,
                moments: vec![shown],
            }),
        }
    }
    days
}

fn shown(moment: timeline::TimelineEntry, incident: &Incident, locale: &Locale) -> Moment {
    let at = moment.at;
    let sign = if at < incident.started_at { "−" } else { "+" };
    let offset = at.since_ms(incident.started_at).abs() as f64 / 1000.0;
    Moment {
        at,
        time: format::time_of_day(at, locale),
        after: format!("{sign}{}", locale.duration(offset)),
        class: match moment.mark {
            Mark::Start => "slow",
            Mark::Failure => "bad",
            Mark::Success => "ok",
            Mark::Person => "rest",
            Mark::Other => "none",
        },
        what: moment.what,
        detail: moment.detail,
    }
}

/// Describes one notification. Readers with the token also see the recipient and the receiver's
/// answer.
fn delivery(one: &NotificationRow, frame: &Frame, reader: Reader) -> timeline::TimelineEntry {
    let recipients = recipients(&one.channel, frame).filter(|_| reader.sees_recipients());
    one.moment(recipients, reader.sees_recipients(), &frame.locale)
}

/// Returns the recipients of an email channel.
fn recipients(channel: &str, frame: &Frame) -> Option<String> {
    let channel = frame.config.channels.iter().find(|c| c.name == channel)?;
    match &channel.kind {
        ChannelKind::Email(email) => {
            let all: Vec<String> = email
                .to
                .iter()
                .chain(&email.cc)
                .map(ToString::to_string)
                .collect();
            let locale = &frame.locale;
            let all = listed(&all, 5, &frame.locale);
            Some(text!(locale, "to {all}", all))
        }
        ChannelKind::Webhook(_) => None,
    }
}

/// Explains an attribution.
fn why(attribution: Attribution, locale: &Locale) -> &'static str {
    locale.say(match attribution {
        Attribution::Provider => {
            "Its API failed or was slow while this machine’s network worked. This counts as downtime of the provider."
        }
        Attribution::Account => {
            "The provider answered, but rejected this key, quota, model or request. This does not count as its downtime."
        }
        Attribution::Local => {
            "This machine could not reach it, because of its network, resolver, clock or resources. This does not count as \
             downtime of the provider."
        }
    })
}
