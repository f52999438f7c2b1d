//! How things are, in a sentence: for people who read one line. Pure.

use std::fmt::Display;

use chrono::Datelike;
use chrono_tz::Tz;

use crate::incident::{SLOW, human_duration};
use crate::model::{Attribution, Incident, Status, Timestamp};
use crate::snapshot::Snapshot;

/// The headline of the front page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headline {
    /// How bad it is: the worst status of all.
    pub(crate) status: Status,
    /// "OpenAI is failing for you since 09:12. Azure works."
    pub(crate) sentence: String,
    /// What to do about it, or why nothing can be said.
    pub(crate) advice: String,
}

/// Says how things are at `snapshot.at` for a reader in `zone`.
pub(crate) fn headline(snapshot: &Snapshot, zone: Tz) -> Headline {
    let now = snapshot.at;
    if snapshot.endpoints.is_empty() {
        return Headline {
            status: Status::Unknown,
            sentence: "Nothing is watched yet.".to_owned(),
            advice: "Add an [[endpoint]] to monitor.toml and reload.".to_owned(),
        };
    }
    if let Some(since) = snapshot.blind_since {
        return Headline {
            status: Status::Unknown,
            sentence: format!("This monitor has had no network since {}.", moment(since, now, zone)),
            advice: "Neither providers nor controls answer from here: how the providers are is unknown, not down."
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
        (true, true) if snapshot.budget_spent => "The day’s probing budget is spent.".to_owned(),
        (true, true) => "Nothing is known yet.".to_owned(),
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

/// A moment as short as it can be said: the time today, the date before that.
pub(crate) fn moment(at: Timestamp, now: Timestamp, zone: Tz) -> String {
    let (at, now) = (
        at.to_datetime().with_timezone(&zone),
        now.to_datetime().with_timezone(&zone),
    );
    let form = if at.date_naive() == now.date_naive() {
        "%H:%M"
    } else if at.year() == now.year() {
        "%-d %b, %H:%M"
    } else {
        "%-d %b %Y, %H:%M"
    };
    at.format(form).to_string()
}

/// A moment in full, with the offset.
pub(crate) fn moment_in_full(at: Timestamp, zone: Tz) -> String {
    let form = if zone == Tz::UTC {
        "%-d %B %Y, %H:%M:%S UTC"
    } else {
        "%-d %B %Y, %H:%M:%S %:z"
    };
    at.to_datetime()
        .with_timezone(&zone)
        .format(form)
        .to_string()
}

/// A latency as people say it: `380 ms`, `2.41 s`.
pub(crate) fn latency(ms: f64) -> String {
    if ms < 1000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.2} s", ms / 1000.0)
    }
}

/// A latency on a scale, without needless digits: `500 ms`, `1.5 s`.
pub(crate) fn scale(ms: f64) -> String {
    if ms < 1000.0 {
        format!("{ms} ms")
    } else {
        format!("{} s", ms / 1000.0)
    }
}

/// An availability in percent, never rounded up to a hundred.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 100.0 {
        "100 %".to_owned()
    } else {
        format!("{:.2} %", (percent * 100.0).floor() / 100.0)
    }
}

/// US dollars, with as many digits as small amounts need.
pub(crate) fn dollars(usd: f64) -> String {
    match usd {
        0.0 => "$0".to_owned(),
        u if u < 0.01 => format!("${u:.5}"),
        u if u < 1.0 => format!("${u:.3}"),
        u => format!("${u:.2}"),
    }
}

/// A number that people can read: `1,999,700`.
pub(crate) fn grouped(n: impl Display + Copy) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && text != "-" {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Whose fault, in words.
pub(crate) fn whose(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::Provider => "the provider’s fault",
        Attribution::Account => "your account or configuration",
        Attribution::Local => "this machine or its network",
    }
}

/// How bad it is while an incident goes on. What is refused to this account, or not reached from this machine, is no outage of
/// the provider's.
pub(crate) fn how_bad(incident: &Incident) -> &'static str {
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

fn failing(snapshot: &Snapshot, incident: &Incident, zone: Tz) -> String {
    let title = title_of(snapshot, incident);
    let since = moment(incident.started_at, snapshot.at, zone);
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
    match (incident.attribution, incident.status) {
        (Attribution::Account, _) => format!("{what} refuses your account since {since}."),
        (Attribution::Local, _) => {
            format!("{what} cannot be reached from this machine since {since}.")
        }
        (_, Status::Degraded) if incident.cause == SLOW => {
            format!("{what} is slow for you since {since}.")
        }
        (_, Status::Degraded) => format!("{what} is failing now and then for you since {since}."),
        _ => format!("{what} is failing for you since {since}."),
    }
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
            None => "No alternative is known to work.".to_owned(),
        };
    }
    if let Some(incident) = snapshot.incidents.first() {
        return match incident.attribution {
            Attribution::Account => {
                "The provider answers: check the key, the quota and the model’s name.".to_owned()
            }
            _ => "The cause lies on this machine, not at the provider.".to_owned(),
        };
    }
    let unknown = snapshot
        .endpoints
        .iter()
        .filter(|e| e.status == Status::Unknown)
        .count();
    let resting = snapshot
        .endpoints
        .iter()
        .filter(|e| e.status == Status::Maintenance)
        .count();
    let of_all = |n: usize| format!("{n} of {} endpoints", snapshot.endpoints.len());
    if snapshot.budget_spent {
        "Probing rests until midnight; until then every status is unknown.".to_owned()
    } else if snapshot.last_recorded_at.is_none() && unknown == snapshot.endpoints.len() {
        "The first probes are under way.".to_owned()
    } else if unknown > 0 {
        format!("{} could not be measured lately.", of_all(unknown))
    } else if resting > 0 {
        format!("{} are in maintenance.", of_all(resting))
    } else {
        match snapshot.endpoints.as_slice() {
            [one] => format!("{} answers rightly and in its usual time.", one.name),
            many => format!(
                "All {} endpoints answer rightly and in their usual time.",
                many.len()
            ),
        }
    }
}

/// "12 min", and for what goes on "for 12 min".
pub(crate) fn lasted(incident: &Incident) -> String {
    let length = human_duration(incident.duration_s);
    if incident.resolved_at.is_some() {
        length
    } else {
        format!("{length} so far")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        let said = [0, 999, 1000, 1_999_700, -1000, -999].map(grouped);
        assert_eq!(said, ["0", "999", "1,000", "1,999,700", "-1,000", "-999"]);
    }
}
