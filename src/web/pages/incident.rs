//! The incidents: the list, and the story of one.

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::front::IncidentLine;
use super::{Frame, Problem, View, class, html, listed, web_url};
use crate::message::values::Locale;
use crate::model::Snapshot;
use crate::model::{Attribution, Incident, Timestamp};
use crate::store::{StoreError, Told};
use crate::web::words::{how_bad, lasted, latency, percent, title_of, whose};

/// Incidents on one page of the list.
const PAGE: u32 = 50;

/// What stands after the `?`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
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
    asked: Result<Query<Asked>, QueryRejection>,
    request: HeaderMap,
) -> Response {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let snapshot = view.snapshot.borrow().clone();
    let before = asked.before.and_then(|number| number.parse().ok());
    let rows = match view
        .store
        .aside(move |store| store.last_incidents(before, PAGE))
        .await
    {
        Ok(rows) => rows,
        Err(error) => return Problem::from(error).page(&view, &request),
    };
    let full = rows.len() == PAGE as usize;
    let incidents: Vec<Incident> = rows
        .iter()
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect();
    let page = ListPage {
        frame: Frame {
            here: "/incidents",
            ..Frame::new(&view, &snapshot, "Incidents")
        },
        older: incidents.last().map(|i| i.number).filter(|_| full),
        newest: before.is_none(),
        incidents: incidents
            .iter()
            .map(|i| IncidentLine::new(&current(i, &snapshot)))
            .collect(),
    };
    html(&page, &request)
}

/// An open incident as the snapshot has it: its length and figures are of this moment.
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
    how_bad: &'static str,
    open: bool,
    provider: String,
    facts: Vec<(&'static str, String)>,
    timeline: Vec<Moment>,
    why: &'static str,
    endpoints: Vec<(String, bool)>,
    faults: Vec<(String, u32, &'static str)>,
    samples: Vec<Bad>,
    alternatives: Vec<(String, String)>,
    words: String,
    official: Option<(String, Option<String>)>,
}

/// One entry of the timeline.
struct Moment {
    at: Timestamp,
    /// Since the first bad probe.
    after: String,
    class: &'static str,
    what: String,
    detail: String,
}

/// A bad sample of the evidence.
struct Bad {
    at: Timestamp,
    endpoint: String,
    what: String,
    status: Option<u16>,
    request_id: Option<String>,
    error: Option<String>,
}

pub(super) async fn page(
    State(view): State<View>,
    number: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let number = number.ok().and_then(|Path(number)| number.parse().ok());
    let Some(number) = number else {
        return Problem::Missing("incident").page(&view, &request);
    };
    let snapshot = view.snapshot.borrow().clone();
    let read = view.store.aside(move |store| {
        let Some(data) = store.incident_data(number)? else {
            return Ok::<_, StoreError>(None);
        };
        let Ok(incident) = serde_json::from_str::<Incident>(&data) else {
            return Ok(None);
        };
        let told = store.told(incident.id)?;
        Ok(Some((incident, told)))
    });
    match read.await {
        Ok(Some((incident, told))) => {
            let incident = current(&incident, &snapshot);
            let frame = Frame::new(
                &view,
                &snapshot,
                &format!("Incident {number}: {}", incident.title),
            );
            html(&render(frame, incident, &told, &snapshot), &request)
        }
        Ok(None) => Problem::Missing("incident").page(&view, &request),
        Err(error) => Problem::from(error).page(&view, &request),
    }
}

fn render(frame: Frame, incident: Incident, told: &[Told], snapshot: &Snapshot) -> IncidentPage {
    let open = incident.resolved_at.is_none();
    let evidence = &incident.evidence;
    let faults: Vec<_> = evidence
        .faults_by_count()
        .into_iter()
        .map(|(fault, n)| (fault.to_string(), n, fault.describe()))
        .collect();
    let samples = evidence.samples.iter().rev().map(|s| Bad {
        at: s.started_at,
        endpoint: s.endpoint.clone(),
        what: s
            .fault
            .map_or("slow".to_owned(), |f| format!("{f}, {}", f.describe())),
        status: s.http_status,
        request_id: s.request_id.clone(),
        error: s.error.clone(),
    });
    let known = |name: &String| snapshot.endpoints.iter().any(|e| e.name == *name);
    let alternatives = if open {
        snapshot.alternatives(&incident.endpoints)
    } else {
        Vec::new()
    };
    let alternatives = alternatives.into_iter().take(5).map(|a| {
        let speed = a
            .first_token_ms_p50
            .map_or(String::new(), |ms| format!(", first token {}", latency(ms)));
        let kept = a.availability_24h.map_or(String::new(), |v| {
            format!(", {} available in 24 h", percent(v))
        });
        (a.endpoint, format!("{}{speed}{kept}", a.title))
    });
    IncidentPage {
        class: if open { class(incident.status) } else { "ok" },
        how_bad: how_bad(&incident),
        open,
        provider: title_of(snapshot, &incident).to_owned(),
        facts: facts(&incident, &frame),
        timeline: timeline(&incident, told),
        why: why(incident.attribution),
        endpoints: incident
            .endpoints
            .iter()
            .map(|name| (name.clone(), known(name)))
            .collect(),
        samples: samples.collect(),
        alternatives: alternatives.collect(),
        official: official(&incident),
        words: listed(&incident.endpoints, 3),
        faults,
        incident,
        frame,
    }
}

fn facts(incident: &Incident, frame: &Frame) -> Vec<(&'static str, String)> {
    let evidence = &incident.evidence;
    let word = if incident.cause.is_slow() {
        "slow"
    } else {
        "failed"
    };
    let mut facts = vec![
        ("Began", frame.in_full(&incident.started_at)),
        (
            "Noticed",
            format!(
                "{} after the first bad probe",
                between(incident.started_at, incident.opened_at)
            ),
        ),
        ("Lasted", lasted(incident)),
        ("Whose fault", whose(incident.attribution).to_owned()),
        ("Cause", incident.cause.to_string()),
        (
            "Probes",
            format!("{} of {} {word}", evidence.failed, evidence.probes),
        ),
    ];
    if let Some(rate) = evidence.typical_failure_rate
        && incident.attribution == Attribution::Provider
        && !incident.cause.is_slow()
    {
        facts.push(("Typically fail", Locale::default().failure_rate(rate)));
    }
    if let Some(typical) = evidence.first_token_ms.typical {
        let now = evidence
            .first_token_ms
            .now
            .map_or("none".to_owned(), latency);
        facts.push((
            "First token",
            format!("typically {}, last {now}", latency(typical)),
        ));
    }
    if let Some(ms) = evidence.worst_total_ms {
        facts.push(("Longest wait", latency(ms)));
    }
    facts
}

/// What the vendor's own page said, and where.
fn official(incident: &Incident) -> Option<(String, Option<String>)> {
    let said = &incident.official;
    let status = said.status?.as_str();
    let text = match (&said.incident, said.lead_s) {
        (Some(title), Some(lead)) if lead >= 0.0 => {
            format!(
                "“{title}”, published {} after we opened this",
                Locale::default().duration(lead)
            )
        }
        (Some(title), Some(lead)) => format!(
            "“{title}”, published {} before we opened this",
            Locale::default().duration(-lead)
        ),
        (Some(title), None) => format!("“{title}”"),
        (None, _) => format!("{status}, no incident of its own"),
    };
    Some((text, said.url.as_deref().and_then(web_url)))
}

fn between(from: Timestamp, to: Timestamp) -> String {
    Locale::default().duration(to.since_ms(from).max(0) as f64 / 1000.0)
}

/// What happened, in order: here and at the receivers.
fn timeline(incident: &Incident, told: &[Told]) -> Vec<Moment> {
    let after = |at: Timestamp| {
        let sign = if at < incident.started_at { "−" } else { "+" };
        format!(
            "{sign}{}",
            Locale::default().duration(at.since_ms(incident.started_at).abs() as f64 / 1000.0)
        )
    };
    let mut moments = vec![
        Moment {
            at: incident.started_at,
            after: "+0 s".to_owned(),
            class: "slow",
            what: "First bad probe".to_owned(),
            detail: String::new(),
        },
        Moment {
            at: incident.opened_at,
            after: after(incident.opened_at),
            class: "bad",
            what: "Incident opened".to_owned(),
            detail: "there was evidence enough".to_owned(),
        },
    ];
    for one in told {
        let kind = one.r#type.rsplit('.').next().unwrap_or_default().to_owned();
        let (class, what) = match one.state.as_str() {
            "sent" => ("ok", format!("{} told: {kind}", one.channel)),
            "pending" => ("none", format!("{} not told yet: {kind}", one.channel)),
            _ => ("bad", format!("{} could not be told: {kind}", one.channel)),
        };
        let attempts = if one.attempts > 1 {
            format!("{} attempts", one.attempts)
        } else {
            String::new()
        };
        let error = one
            .error
            .clone()
            .filter(|_| one.state != "sent")
            .unwrap_or_default();
        let detail = [attempts, error]
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
            .join(": ");
        let at = one.ended_at.unwrap_or(one.decided_at);
        moments.push(Moment {
            at,
            after: after(at),
            class,
            what,
            detail,
        });
    }
    if let Some(at) = incident.official.published_at {
        let detail = incident.official.incident.clone().unwrap_or_default();
        let (after, what) = (after(at), "The vendor’s own page says so".to_owned());
        moments.push(Moment {
            at,
            after,
            class: "none",
            what,
            detail,
        });
    }
    if let Some(at) = incident.resolved_at {
        moments.push(Moment {
            at,
            after: after(at),
            class: "ok",
            what: if incident.is_new_normal() {
                "Closed: still slow, the new normal"
            } else {
                "Resolved"
            }
            .to_owned(),
            detail: format!("after {}", Locale::default().duration(incident.duration_s)),
        });
    }
    // Stable: what happened in one moment stays in the order of its telling.
    moments.sort_by_key(|m| m.at);
    moments
}

/// Why the fault is given to whom it is given.
fn why(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::Provider => {
            "Its API failed or was slow while this machine’s own network worked. It counts as downtime of the provider."
        }
        Attribution::Account => {
            "The provider answered, but refused this key, quota, model or request. It does not count as its downtime."
        }
        Attribution::Local => {
            "This machine could not reach it: its network, resolver, clock or resources. It does not count as downtime of the \
             provider."
        }
    }
}
