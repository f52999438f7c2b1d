//! A notice in words. Pure: the same notice and the same time give the same bytes.

mod html;
mod json;
mod subject;
mod text;

use chrono_tz::Tz;

pub use self::html::html;
pub use self::json::json;
pub use self::subject::subject;
pub use self::text::text;
use crate::incident::{SLOW, human_duration};
use crate::model::{Attribution, Evidence, Incident, Notice, NoticeType, Official, Timestamp};

/// What rendering needs besides the notice.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The time zone of the reader.
    pub timezone: Tz,
    /// When the message is sent: one that is late says so.
    pub now: Timestamp,
}

/// A message sent this long after its decision is late.
const LATE_MS: i64 = 5 * 60_000;

/// What a mail says, in the order in which it says it; text and HTML only set it differently.
struct Letter {
    headline: String,
    /// Set when it is sent long after it was decided.
    late: Option<String>,
    paragraphs: Vec<(&'static str, String)>,
    /// Name and value.
    figures: Vec<(&'static str, String)>,
    /// What works instead: name, latency, availability.
    alternatives: Vec<[String; 3]>,
    /// The last bad samples: when, endpoint, what, request id, the provider's words.
    samples: Vec<[String; 5]>,
    link: Option<String>,
    footer: String,
}

fn letter(notice: &Notice, setting: Setting) -> Letter {
    let late_by = setting.now.since_ms(notice.decided_at);
    let late = (late_by >= LATE_MS).then(|| {
        format!(
            "This message is late: it was decided at {} and could not be delivered for {}.",
            when(notice.decided_at, setting),
            human_duration(late_by as f64 / 1000.0)
        )
    });
    let footer = format!("llmwatch {} at {}, notification {}", env!("CARGO_PKG_VERSION"), notice.location, notice.id);
    let mut letter = Letter {
        headline: clean(&notice.title),
        late,
        paragraphs: Vec::new(),
        figures: Vec::new(),
        alternatives: Vec::new(),
        samples: Vec::new(),
        link: notice.url.clone(),
        footer,
    };
    match &notice.incident {
        Some(incident) => of_incident(&mut letter, notice, incident, setting),
        None => letter.paragraphs.push(("what it means", of_monitor(notice.r#type).to_owned())),
    }
    letter
}

fn of_incident(letter: &mut Letter, notice: &Notice, incident: &Incident, setting: Setting) {
    letter.headline = clean(&incident.title);
    letter.paragraphs.push(("what", clean(&incident.explanation)));
    if notice.already_over
        && let Some(resolved) = incident.resolved_at
    {
        letter.paragraphs.push((
            "already over",
            format!("It ended at {}, before this message could be delivered.", when(resolved, setting)),
        ));
    }
    letter.paragraphs.push(("whose fault", whose(incident.attribution).to_owned()));
    if let Some(says) = official(&incident.official, setting) {
        letter.paragraphs.push(("the provider's own page", says));
    }
    letter.figures.push(("since", when(incident.started_at, setting)));
    match incident.resolved_at {
        Some(at) => {
            letter.figures.push(("until", when(at, setting)));
            letter.figures.push(("lasted", human_duration(incident.duration_s)));
        }
        None => letter.figures.push(("noticed", when(incident.opened_at, setting))),
    }
    letter.figures.push(("endpoints", incident.endpoints.join(", ")));
    letter.figures.push(("cause", incident.cause.clone()));
    let Evidence { probes, failed, typical_failure_rate, first_token_ms, samples, .. } = &incident.evidence;
    let word = if incident.cause == SLOW { "slow" } else { "failed" };
    letter.figures.push(("probes", format!("{failed} of {probes} {word}")));
    if incident.attribution == Attribution::Provider {
        letter.figures.push(("typically fail", format!("{:.1} %", typical_failure_rate * 100.0)));
    }
    let ms = |value: Option<f64>| value.map_or("none".to_owned(), |ms| format!("{ms:.0} ms"));
    if first_token_ms.typical.is_some() || first_token_ms.now.is_some() {
        let typical = first_token_ms.typical.map_or("not learned yet".to_owned(), |ms| format!("{ms:.0} ms"));
        letter.figures.push(("first token", format!("typically {typical}, now {}", ms(first_token_ms.now))));
    }
    if notice.r#type != NoticeType::Resolved {
        letter.alternatives = notice
            .alternatives
            .iter()
            .map(|a| {
                let availability = a.availability_24h.map_or("-".to_owned(), |v| format!("{:.2} %", v * 100.0));
                let latency = a.first_token_ms_p50.map_or("-".to_owned(), |v| format!("{v:.0} ms"));
                [format!("{} ({})", a.endpoint, a.title), latency, availability]
            })
            .collect();
    }
    letter.samples = samples
        .iter()
        .map(|s| {
            let what = match (s.fault, s.http_status) {
                (Some(fault), Some(status)) => format!("{fault} (HTTP {status})"),
                (Some(fault), None) => fault.to_string(),
                (None, _) => format!("slow, first token {}", ms(s.first_token_ms)),
            };
            let time = s.started_at.to_datetime().with_timezone(&setting.timezone).format("%H:%M:%S").to_string();
            let id = s.request_id.as_deref().map(clean).unwrap_or_default();
            [time, s.endpoint.clone(), what, id, s.error.as_deref().map(clean).unwrap_or_default()]
        })
        .collect();
}

/// Whose fault, and what that means for the reader.
fn whose(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::Provider => "The provider's: its API fails or is slow, while this machine works.",
        Attribution::Account => {
            "Your account's or your configuration's: the provider answers, but refuses this key, quota, model or request. It \
             does not count as downtime of the provider."
        }
        Attribution::Local => {
            "This machine's: its network, resolver, clock or resources. It does not count as downtime of the provider."
        }
    }
}

/// What the provider's own page says, and who was first; `None` when there is no page.
fn official(official: &Official, setting: Setting) -> Option<String> {
    let status = official.status?.as_str();
    let says = match (&official.incident, official.published_at, official.lead_s) {
        (None, ..) => format!("It says \"{status}\" and nothing of this."),
        (Some(theirs), Some(at), Some(lead)) => {
            let (by, who) = (human_duration(lead.abs()), if lead >= 0.0 { "after" } else { "before" });
            let (theirs, at) = (clean(theirs), when(at, setting));
            format!("It says \"{status}\": \"{theirs}\", published at {at}, {by} {who} this was noticed here.")
        }
        (Some(theirs), ..) => format!("It says \"{status}\": \"{}\".", clean(theirs)),
    };
    Some(match &official.url {
        Some(url) => format!("{says} {}", clean(url)),
        None => says,
    })
}

fn of_monitor(r#type: NoticeType) -> &'static str {
    match r#type {
        NoticeType::Blind => {
            "Neither the providers nor the controls answer from this machine, so nothing can be said about the providers \
             until its network is back. You get one more message then."
        }
        NoticeType::Sighted => "This machine sees the world again. What happened meanwhile is unknown, not down.",
        NoticeType::Budget => {
            "The probing budget of the day is spent. Nothing is probed until midnight, and every status is unknown until \
             then. `llmwatch check` shows what probing costs."
        }
        NoticeType::Official => {
            "A vendor has published this on its own status page. It is information: the probes from here do not feel it, and \
             no incident is open."
        }
        NoticeType::Test => "This is only a test: nothing is wrong. If you read this, the channel works.",
        _ => "",
    }
}

/// A moment for the reader: with the date and the offset, in the configured time zone.
fn when(at: Timestamp, setting: Setting) -> String {
    at.to_datetime().with_timezone(&setting.timezone).format("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// One line without control characters, whatever came from outside.
fn clean(text: &str) -> String {
    text.split(|c: char| c.is_control()).filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" ")
}
