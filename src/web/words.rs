//! The headline and the short texts of the pages. Pure.

use std::fmt::Display;

use chrono_tz::Tz;

use crate::message::severity::Severity;
use crate::message::values::Locale;
use crate::model::Snapshot;
use crate::model::{Attribution, Incident, Status, Timestamp};

/// The headline of the front page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headline {
    /// The worst status of all endpoints.
    pub(crate) status: Status,
    /// "OpenAI has been failing since 09:12 UTC. Azure works."
    pub(crate) sentence: String,
    /// What to do about it, or why the status is unknown.
    pub(crate) advice: String,
}

/// The headline at `snapshot.at` for a reader in `zone`.
pub(crate) fn headline(snapshot: &Snapshot, zone: Tz) -> Headline {
    let now = snapshot.at;
    if snapshot.endpoints.is_empty() {
        return Headline {
            status: Status::Unknown,
            sentence: "No endpoint is configured yet.".to_owned(),
            advice: "Add an [[endpoint]] to monitor.toml and reload the daemon.".to_owned(),
        };
    }
    if let Some(since) = snapshot.blind_since {
        return Headline {
            status: Status::Unknown,
            sentence: format!(
                "This monitor has been offline since {}.",
                self::since(since, now, zone)
            ),
            advice: "Neither the providers nor the connectivity checks answer from here, so the \
                     status of every provider is unknown, not down."
                .to_owned(),
        };
    }
    let broken: Vec<_> = snapshot
        .incidents
        .iter()
        .map(|i| failing(snapshot, i, zone))
        .collect();
    let working = working(snapshot);
    let sentence = match (broken.is_empty(), working.is_empty()) {
        (true, true) if snapshot.budget_spent => "Today’s probing budget is used up.".to_owned(),
        (true, true) => "No results yet.".to_owned(),
        (true, false) if everything_works(snapshot) && working.len() > 2 => {
            "Everything works.".to_owned()
        }
        (true, false) => format!("{}.", verb(&working)),
        (false, true) => broken.join(" "),
        (false, false) => format!("{} {}.", broken.join(" "), verb(&working)),
    };
    Headline {
        status: snapshot.overall(),
        sentence,
        advice: advice(snapshot),
    }
}

/// A time as short as it can be: the time of day today, with the date before that.
pub(crate) fn moment(at: Timestamp, now: Timestamp, zone: Tz) -> String {
    Locale::english(zone).moment(at, now)
}

/// As [`moment`] with its zone, for a sentence.
pub(crate) fn since(at: Timestamp, now: Timestamp, zone: Tz) -> String {
    Locale::english(zone).time_short(at, now)
}

/// A time in full, with its zone.
pub(crate) fn moment_in_full(at: Timestamp, zone: Tz) -> String {
    Locale::english(zone).time_full(at)
}

/// A latency: `380 ms`, `2.41 s`.
pub(crate) fn latency(ms: f64) -> String {
    Locale::default().latency(ms)
}

/// A latency on a scale, without needless digits: `500 ms`, `1.5 s`.
pub(crate) fn scale(ms: f64) -> String {
    Locale::default().latency_tick(ms)
}

/// A share of 0 to 1 as a percentage, never rounded up to 100%.
pub(crate) fn percent(share: f64) -> String {
    Locale::default().percent(share)
}

/// US dollars, with as many digits as small amounts need.
pub(crate) fn dollars(usd: f64) -> String {
    Locale::default().money(usd)
}

/// An integer with separators: `1,999,700`.
pub(crate) fn grouped(n: impl Display) -> String {
    Locale::default().number(n)
}

/// Whose fault.
pub(crate) fn whose(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::Provider => "the provider’s fault",
        Attribution::Account => "your account or configuration",
        Attribution::Local => "this machine or its network",
    }
}

/// How bad an open incident is. A fault of the account or of this machine is no outage of the provider's.
pub(crate) fn how_bad(incident: &Incident) -> &'static str {
    Severity::of(incident).noun()
}

/// The name that people use for the failure domain of an incident.
pub(crate) fn title_of<'a>(snapshot: &'a Snapshot, incident: &'a Incident) -> &'a str {
    let found = snapshot
        .endpoints
        .iter()
        .find(|e| incident.endpoints.contains(&e.name));
    found.map_or(&incident.provider, |e| &e.title)
}

fn failing(snapshot: &Snapshot, incident: &Incident, zone: Tz) -> String {
    let title = title_of(snapshot, incident);
    let since = since(incident.started_at, snapshot.at, zone);
    let of_domain: Vec<_> = snapshot
        .endpoints
        .iter()
        .filter(|e| e.title == title)
        .collect();
    let partly = of_domain
        .iter()
        .any(|e| !incident.endpoints.contains(&e.name));
    let what = match incident.endpoints.as_slice() {
        [one] if partly => format!("{title} ({one})"),
        many if partly => format!("{title} ({} of {} endpoints)", many.len(), of_domain.len()),
        _ => title.to_owned(),
    };
    let how = match (incident.attribution, incident.status) {
        (Attribution::Account, _) => "rejecting your account",
        (Attribution::Local, _) => "unreachable from this machine",
        (_, Status::Degraded) if incident.cause.is_slow() => "slow",
        (_, Status::Degraded) => "failing intermittently",
        _ => "failing",
    };
    format!("{what} has been {how} since {since}.")
}

/// The failure domains of which every endpoint works, in the order of the configuration.
fn working(snapshot: &Snapshot) -> Vec<&str> {
    let mut titles: Vec<(&str, bool)> = Vec::new();
    for endpoint in &snapshot.endpoints {
        let works = endpoint.status == Status::Operational;
        match titles
            .iter_mut()
            .find(|(title, _)| *title == endpoint.title)
        {
            Some((_, all)) => *all &= works,
            None => titles.push((&endpoint.title, works)),
        }
    }
    titles
        .into_iter()
        .filter_map(|(title, works)| works.then_some(title))
        .collect()
}

fn everything_works(snapshot: &Snapshot) -> bool {
    snapshot
        .endpoints
        .iter()
        .all(|e| e.status == Status::Operational)
}

/// "Azure works", "Azure and Gemini work", "Azure, Gemini and 4 others work".
fn verb(titles: &[&str]) -> String {
    match titles {
        [] => String::new(),
        [one] => format!("{one} works"),
        [one, two] => format!("{one} and {two} work"),
        [one, two, three] => format!("{one}, {two} and {three} work"),
        [one, two, rest @ ..] => format!("{one}, {two} and {} others work", rest.len()),
    }
}

fn advice(snapshot: &Snapshot) -> String {
    let broken = snapshot
        .incidents
        .iter()
        .find(|i| i.attribution == Attribution::Provider);
    if let Some(incident) = broken {
        return match snapshot.alternatives(&incident.endpoints).first() {
            Some(best) => {
                let speed = best
                    .first_token_ms_p50
                    .map(|ms| format!(", first token {}", latency(ms)))
                    .unwrap_or_default();
                format!("Use {} instead: operational{speed}.", best.endpoint)
            }
            None => "No alternative is healthy right now.".to_owned(),
        };
    }
    if let Some(incident) = snapshot.incidents.first() {
        return match incident.attribution {
            Attribution::Account => {
                "The provider answers: check the API key, the quota and the model name.".to_owned()
            }
            _ => "The cause is on this machine, not at the provider.".to_owned(),
        };
    }
    let unknown = snapshot
        .endpoints
        .iter()
        .filter(|e| e.status == Status::Unknown)
        .count();
    let in_maintenance = snapshot
        .endpoints
        .iter()
        .filter(|e| e.status == Status::Maintenance)
        .count();
    let of_all = |n: usize| format!("{n} of {} endpoints", snapshot.endpoints.len());
    if snapshot.budget_spent {
        "Probing resumes at midnight; until then every status is unknown.".to_owned()
    } else if snapshot.last_recorded_at.is_none() && unknown == snapshot.endpoints.len() {
        "Waiting for the result of the first probes.".to_owned()
    } else if unknown > 0 {
        format!("No recent results for {}.", of_all(unknown))
    } else if in_maintenance > 0 {
        format!("{} in maintenance.", of_all(in_maintenance))
    } else {
        match snapshot.endpoints.as_slice() {
            [one] => format!("{} answers correctly and at its usual speed.", one.name),
            [_, _] => "Both endpoints answer correctly and at their usual speed.".to_owned(),
            many => format!(
                "All {} endpoints answer correctly and at their usual speed.",
                grouped(many.len())
            ),
        }
    }
}

/// How long an incident lasted, or has lasted so far.
pub(crate) fn lasted(incident: &Incident) -> String {
    let locale = Locale::default();
    if incident.resolved_at.is_some() {
        locale.duration(incident.duration_s)
    } else {
        locale.duration_so_far(incident.duration_s)
    }
}
