//! The state of everything in one sentence and a list, and how times and numbers are written on the pages. Pure.

use std::fmt::Display;

use chrono_tz::Tz;

use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    Attribution, Cause, EndpointView, Incident, Snapshot, Status, Timestamp,
};

/// The headline of the index page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headline {
    /// The worst status of all.
    pub(crate) status: Status,
    /// "OpenAI is down."
    pub(crate) sentence: String,
    /// What to do about it, or why nothing can be reported.
    pub(crate) advice: String,
}

/// One thing that is wrong now: an open incident, or an endpoint whose failures are still being checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Its place in the list: provider's outages first.
    rank: u8,
    /// The number of the incident; `None` while it is only pending.
    pub(crate) number: Option<u64>,
    /// The endpoint that a pending problem is about.
    pub(crate) endpoint: String,
    /// "OpenAI: openai-chat".
    pub(crate) subject: String,
    /// "outage", "degraded", "account fault", "local fault" or "checking".
    pub(crate) state: &'static str,
    /// The status that gives it its color.
    pub(crate) status: Option<Status>,
    /// The cause, before any count: "server error (http.5xx)".
    pub(crate) cause: String,
    /// "9 of the last 10 probes failed".
    pub(crate) counts: String,
    /// Since when.
    pub(crate) since: Option<Timestamp>,
    /// How long so far.
    pub(crate) so_far: String,
    /// The endpoint to use instead.
    pub(crate) instead: Option<String>,
    /// Who has acknowledged it.
    pub(crate) acknowledged: Option<String>,
}

/// The state at `snapshot.at` for a reader in `zone`.
pub(crate) fn headline(snapshot: &Snapshot, zone: Tz) -> Headline {
    let now = snapshot.at;
    if snapshot.endpoints.is_empty() {
        return Headline {
            status: Status::Unknown,
            sentence: "No endpoint is configured.".to_owned(),
            advice: "Add an [[endpoint]] to monitor.toml and reload.".to_owned(),
        };
    }
    if let Some(since) = snapshot.offline_since {
        return Headline {
            status: Status::Unknown,
            sentence: "This monitor is offline.".to_owned(),
            advice: format!(
                "No network since {}. The status of every provider is unknown, not down.",
                moment(since, now, zone)
            ),
        };
    }
    let (sentence, advice) = sentence(snapshot);
    Headline {
        status: snapshot.overall(),
        sentence,
        advice,
    }
}

fn sentence(snapshot: &Snapshot) -> (String, String) {
    match snapshot.incidents.as_slice() {
        [] => quiet(snapshot),
        [one] => (one_incident(snapshot, one), advice(snapshot)),
        many => {
            let kinds = ["outage", "degraded", "account fault", "local fault"];
            let counts = kinds.iter().filter_map(|kind| {
                let n = many.iter().filter(|i| severity(i) == *kind).count();
                let noun = if *kind == "degraded" {
                    "degradation"
                } else {
                    kind
                };
                (n > 0).then(|| count(n, noun))
            });
            (
                format!("{}.", list(&counts.collect::<Vec<_>>())),
                advice(snapshot),
            )
        }
    }
}

fn one_incident(snapshot: &Snapshot, incident: &Incident) -> String {
    let title = title_of(snapshot, incident);
    let of_domain = snapshot.endpoints.iter().filter(|e| e.title == title);
    let is_part = of_domain
        .clone()
        .any(|e| !incident.endpoints.contains(&e.name));
    let what = match incident.endpoints.as_slice() {
        [one] if is_part => format!("{title} ({one})"),
        many if is_part => {
            format!(
                "{title} ({} of {} endpoints)",
                many.len(),
                of_domain.count()
            )
        }
        _ => title.to_owned(),
    };
    if hides_attribution(incident) {
        return format!("Checks of {} are failing.", listed(&incident.endpoints, 3));
    }
    match (incident.attribution, incident.status) {
        (Attribution::Account, _) => format!("{what} is rejecting your requests."),
        (Attribution::Local, _) => format!("{what} cannot be reached from this machine."),
        (_, Status::Degraded) if incident.cause.is_slow() => format!("{what} is slow."),
        (_, Status::Degraded) => format!("{what} is failing intermittently."),
        _ => format!("{what} is down."),
    }
}

/// Without an incident.
fn quiet(snapshot: &Snapshot) -> (String, String) {
    let all = snapshot.endpoints.len();
    let with = |status| {
        snapshot
            .endpoints
            .iter()
            .filter(|e| e.status == status)
            .count()
    };
    let pending: Vec<_> = snapshot
        .endpoints
        .iter()
        .filter(|e| pending(e).is_some())
        .collect();
    let (unknown, paused) = (with(Status::Unknown), with(Status::Maintenance));
    let of_all = |n: usize| format!("{n} of {}", count(all, "endpoint"));
    if snapshot.budget_spent {
        (
            "Today’s probing budget is used up.".to_owned(),
            "Probing is paused until midnight. Until then every status is unknown.".to_owned(),
        )
    } else if snapshot.last_recorded_at.is_none() && unknown == all {
        (
            "No probe has completed yet.".to_owned(),
            "Every endpoint is probed within ten seconds of the start.".to_owned(),
        )
    } else if let [first, rest @ ..] = pending.as_slice() {
        let sentence = if rest.is_empty() {
            format!("Checking {}.", first.name)
        } else {
            format!("Checking {}.", count(pending.len(), "endpoint"))
        };
        let advice = "Recent probes failed; there is not enough evidence for an alert yet.";
        (sentence, advice.to_owned())
    } else if unknown > 0 {
        (
            format!("{} without a recent result.", of_all(unknown)),
            match all - unknown - paused {
                0 => String::new(),
                1 => "The other endpoint is operational.".to_owned(),
                n => format!("The other {n} are operational."),
            },
        )
    } else if paused > 0 {
        (
            format!("{} in maintenance.", of_all(paused)),
            match all - paused {
                0 => String::new(),
                1 => "The other endpoint is operational.".to_owned(),
                n => format!("The other {n} are operational."),
            },
        )
    } else {
        let sentence = match snapshot.endpoints.as_slice() {
            [one] => format!("{} is operational.", one.name),
            [_, _] => "Both endpoints are operational.".to_owned(),
            many => format!("All {} endpoints are operational.", many.len()),
        };
        (sentence, "Correct answers in the usual time.".to_owned())
    }
}

fn advice(snapshot: &Snapshot) -> String {
    let broken = snapshot
        .incidents
        .iter()
        .filter(|i| i.attribution == Attribution::Provider)
        .min_by_key(|i| rank(i));
    if let Some(incident) = broken {
        return match snapshot.alternatives(&incident.endpoints).first() {
            Some(best) => format!("Use {} instead.", best.endpoint),
            None => "No healthy alternative is configured.".to_owned(),
        };
    }
    match snapshot.incidents.first() {
        Some(incident) if hides_attribution(incident) => String::new(),
        Some(incident) if incident.attribution == Attribution::Account => {
            "The provider answers. Check the API key, the quota and the model name.".to_owned()
        }
        _ => "The cause is this machine or its network, not the provider.".to_owned(),
    }
}

/// Everything that is wrong now, worst first: a provider's outages, its degradations, pending failures, faults of the account,
/// faults of this machine.
pub(crate) fn problems(snapshot: &Snapshot) -> Vec<Problem> {
    let mut problems: Vec<Problem> = snapshot
        .incidents
        .iter()
        .map(|i| incident_problem(snapshot, i))
        .collect();
    problems.extend(snapshot.endpoints.iter().filter_map(pending_problem));
    problems.sort_by(|a, b| (a.rank, a.since, &a.subject).cmp(&(b.rank, b.since, &b.subject)));
    problems
}

fn incident_problem(snapshot: &Snapshot, incident: &Incident) -> Problem {
    let title = title_of(snapshot, incident);
    let names = listed(&incident.endpoints, 3);
    let instead = (incident.attribution == Attribution::Provider)
        .then(|| snapshot.alternatives(&incident.endpoints))
        .and_then(|found| found.into_iter().next())
        .map(|best| best.endpoint);
    Problem {
        rank: rank(incident),
        number: Some(incident.number),
        endpoint: String::new(),
        subject: format!("{title}: {names}"),
        state: severity(incident),
        status: Some(incident.status),
        cause: cause(incident),
        counts: counts(incident),
        since: Some(incident.started_at),
        so_far: plain().duration(incident.duration_s),
        instead,
        acknowledged: incident.acknowledged.as_ref().map(|a| a.by.clone()),
    }
}

fn pending_problem(endpoint: &EndpointView) -> Option<Problem> {
    Some(Problem {
        rank: 2,
        number: None,
        endpoint: endpoint.name.clone(),
        subject: format!("{}: {}", endpoint.title, endpoint.name),
        state: "checking",
        status: None,
        cause: endpoint
            .last_fault
            .map_or_else(String::new, |f| format!("{} ({f})", f.describe())),
        counts: pending(endpoint)?,
        since: None,
        so_far: String::new(),
        instead: None,
        acknowledged: None,
    })
}

fn rank(incident: &Incident) -> u8 {
    match (incident.attribution, incident.status) {
        (Attribution::Provider, Status::Degraded) => 1,
        (Attribution::Provider, _) => 0,
        (Attribution::Account, _) => 3,
        (Attribution::Local, _) => 4,
    }
}

/// "4 of the last 4 probes failed", while bad probes are not yet evidence enough for an incident.
pub(crate) fn pending(endpoint: &EndpointView) -> Option<String> {
    endpoint.pending(&plain())
}

/// Whether this is the summary of an incident, which has no evidence.
pub(crate) fn is_summary(incident: &Incident) -> bool {
    incident.evidence.probes == 0
}

/// Whether whose fault it is stays hidden: in the summary unless it is the provider's.
fn hides_attribution(incident: &Incident) -> bool {
    is_summary(incident) && incident.attribution != Attribution::Provider
}

/// The cause of an incident, with the code of its fault.
pub(crate) fn cause(incident: &Incident) -> String {
    if is_summary(incident) {
        return String::new();
    }
    match incident.cause {
        Cause::Fault(fault) => format!("{} ({fault})", fault.describe()),
        Cause::Slow => "slower than usual".to_owned(),
        Cause::Failed => "failing".to_owned(),
    }
}

/// "9 of the last 10 probes failed".
pub(crate) fn counts(incident: &Incident) -> String {
    if is_summary(incident) {
        return String::new();
    }
    let evidence = &incident.evidence;
    let what = if incident.cause.is_slow() {
        "were slow"
    } else {
        "failed"
    };
    format!(
        "{} of the last {} {what}",
        evidence.failed,
        count(evidence.probes as usize, "probe")
    )
}

fn plain() -> Locale {
    Locale::default()
}

/// `1 probe`, `12 probes`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    plain().count(n as u64, noun, &format!("{noun}s"))
}

/// `A`, `A and B`, `A, B and C`.
pub(crate) fn list(items: &[String]) -> String {
    plain().list(items)
}

/// The first `most` of `items`, and how many more there are.
pub(crate) fn listed(items: &[String], most: usize) -> String {
    plain().list_at_most(items, most)
}

/// A moment as short as it can be written, with its zone: the time today, the date as well before that.
pub(crate) fn moment(at: Timestamp, now: Timestamp, zone: Tz) -> String {
    Locale::english(zone).time_short(at, now)
}

/// The time of day with seconds and zone.
pub(crate) fn time_of_day(at: Timestamp, zone: Tz) -> String {
    let locale = Locale::english(zone);
    format!("{} {}", locale.clock_time(at), locale.zone(at))
}

/// The zone's short name at a moment: "UTC", "CET".
pub(crate) fn zone_name(at: Timestamp, zone: Tz) -> String {
    Locale::english(zone).zone(at)
}

/// The day, with its weekday.
pub(crate) fn day(at: Timestamp, zone: Tz) -> String {
    let local = at.to_datetime().with_timezone(&zone);
    local.format("%A, %-d %B %Y").to_string()
}

/// A latency: `380 ms`, `2.41 s`.
pub(crate) fn latency(ms: f64) -> String {
    plain().latency(ms)
}

/// A latency on a scale: `500 ms`, `1.5 s`.
pub(crate) fn scale(ms: f64) -> String {
    plain().latency_tick(ms)
}

/// A share in percent, rounded down: "100%" only if nothing failed.
pub(crate) fn percent(share: f64) -> String {
    plain().percent(share)
}

/// US dollars.
pub(crate) fn dollars(usd: f64) -> String {
    plain().money(usd)
}

/// A number with separators: `1,999,700`.
pub(crate) fn grouped(n: impl Display) -> String {
    plain().number(n)
}

/// Whose fault an incident is; empty where that is hidden.
pub(crate) fn whose_fault(incident: &Incident) -> &'static str {
    if hides_attribution(incident) {
        ""
    } else {
        whose(incident.attribution)
    }
}

/// Whose fault.
pub(crate) fn whose(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::Provider => "the provider",
        Attribution::Account => "your account or configuration",
        Attribution::Local => "this machine or its network",
    }
}

/// How bad an open incident is. What the provider refuses to this account, or what this machine cannot reach, is not an outage
/// of the provider.
pub(crate) fn severity(incident: &Incident) -> &'static str {
    if hides_attribution(incident) {
        return "checks failing";
    }
    match incident.attribution {
        Attribution::Provider => incident.status.as_str(),
        Attribution::Account => "account fault",
        Attribution::Local => "local fault",
    }
}

/// How people call the failure domain of an incident.
pub(crate) fn title_of<'a>(snapshot: &'a Snapshot, incident: &'a Incident) -> &'a str {
    let found = snapshot
        .endpoints
        .iter()
        .find(|e| incident.endpoints.contains(&e.name));
    found.map_or(&incident.provider, |e| &e.title)
}

/// "12 min", and while it is open "12 min so far".
pub(crate) fn duration(incident: &Incident) -> String {
    if incident.resolved_at.is_some() {
        plain().duration(incident.duration_s)
    } else {
        plain().duration_so_far(incident.duration_s)
    }
}

/// A duration: "12 min".
pub(crate) fn seconds(s: f64) -> String {
    plain().duration(s)
}
