//! What a message says, in the order in which it says it, before any receiver's format: what is broken and since when;
//! whose fault and why; the numbers against what is typical; the provider's own page; what works instead; the last
//! samples; links. Everything from outside is cleaned here, so that no format ever sees a control character.

use chrono_tz::Tz;

use super::remarks::remarks;
use super::subject;
use super::subject::gravest;
use crate::document;
use crate::incident::{SLOW, human_duration};
use crate::model::{
    Attribution, Block, Evidence, Fault, Incident, Notice, NoticeType, Official, Status, Strip,
    Timestamp,
};

/// What rendering needs besides the notice.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The time zone of the reader.
    pub timezone: Tz,
    /// When the message is sent: one that is late says so.
    pub now: Timestamp,
}

/// How many names a sentence lists: all of a vendor's usual dozen, but a storm has hundreds.
const NAMED: usize = 12;

/// A message in parts.
pub(in crate::notify) struct Letter {
    /// How serious it is, for a colour and a word.
    pub(in crate::notify) mood: Mood,
    /// The whole story in one line.
    pub(in crate::notify) subject: String,
    /// What is broken, in one line.
    pub(in crate::notify) headline: String,
    /// What must be known about the message itself: a test, late, a reminder.
    pub(in crate::notify) remarks: Vec<String>,
    /// What is broken and since when; of a resolved incident, what happened.
    pub(in crate::notify) what: String,
    /// Whose fault, and why we think so; empty for the monitor's own notices.
    pub(in crate::notify) whose: String,
    /// A text of its own: a digest, a report.
    pub(in crate::notify) document: Vec<Block>,
    /// Names and values.
    pub(in crate::notify) numbers: Vec<(&'static str, String)>,
    /// The last hour of the endpoints concerned.
    pub(in crate::notify) strips: Vec<Strip>,
    /// When that hour begins, its middle, and when it ends.
    pub(in crate::notify) axis: [String; 3],
    /// First token: typical and now, in milliseconds.
    pub(in crate::notify) latency: Option<(f64, f64)>,
    /// What the provider's own page says, and our lead; empty when there is none.
    pub(in crate::notify) official: String,
    /// What works instead, best first.
    pub(in crate::notify) alternatives: Vec<Choice>,
    /// That nothing does, when nothing does.
    pub(in crate::notify) no_alternative: &'static str,
    /// The last bad samples, oldest first.
    pub(in crate::notify) samples: Vec<Bad>,
    /// For a support ticket, once it is over.
    pub(in crate::notify) request_ids: Vec<String>,
    /// Name and address.
    pub(in crate::notify) links: Vec<(&'static str, String)>,
    /// Who says so.
    pub(in crate::notify) footer: String,
    /// Whether it is over: then the headings speak of the past.
    pub(in crate::notify) over: bool,
}

/// How serious a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::notify) enum Mood {
    Outage,
    Degraded,
    Account,
    Monitor,
    Resolved,
    Over,
    Advice,
    Report,
    Official,
    Test,
}

/// Something that works.
pub(in crate::notify) struct Choice {
    pub(in crate::notify) name: String,
    pub(in crate::notify) first_token: String,
    pub(in crate::notify) availability: String,
}

/// A bad sample, in words.
pub(in crate::notify) struct Bad {
    pub(in crate::notify) time: String,
    pub(in crate::notify) endpoint: String,
    pub(in crate::notify) what: String,
    /// Empty when the vendor gave none.
    pub(in crate::notify) request_id: String,
    /// The provider's own words; empty when it said nothing.
    pub(in crate::notify) words: String,
}

impl Mood {
    fn of(notice: &Notice) -> Self {
        let Some(incident) = &notice.incident else {
            return match notice.r#type {
                _ if notice.condition.as_ref().is_some_and(|c| c.over) => Self::Resolved,
                NoticeType::Test => Self::Test,
                NoticeType::Advice => Self::Advice,
                NoticeType::Report => Self::Report,
                NoticeType::Official => Self::Official,
                // As the subject says.
                NoticeType::Digest => match gravest(notice) {
                    "OUTAGE" => Self::Outage,
                    "DEGRADED" => Self::Degraded,
                    "YOUR ACCOUNT" => Self::Account,
                    "RESOLVED" => Self::Resolved,
                    _ => Self::Monitor,
                },
                _ => Self::Monitor,
            };
        };
        match (notice.r#type, incident.attribution, incident.status) {
            (NoticeType::Resolved, ..) => Self::Resolved,
            _ if notice.already_over => Self::Over,
            (_, Attribution::Account, _) => Self::Account,
            (_, Attribution::Local, _) => Self::Monitor,
            (_, _, Status::Degraded) => Self::Degraded,
            _ => Self::Outage,
        }
    }

    /// One or two words in capitals.
    pub(in crate::notify) fn word(self) -> &'static str {
        match self {
            Self::Outage => "OUTAGE",
            Self::Degraded => "DEGRADED",
            Self::Account => "YOUR ACCOUNT",
            Self::Monitor => "MONITOR",
            Self::Resolved => "RESOLVED",
            Self::Over => "OVER",
            Self::Advice => "ADVICE",
            Self::Report => "REPORT",
            Self::Official => "OFFICIAL",
            Self::Test => "TEST",
        }
    }

    /// `#rrggbb`; each reads on white and on black.
    pub(in crate::notify) fn colour(self) -> &'static str {
        match self {
            Self::Outage => "#d93636",
            Self::Degraded | Self::Account | Self::Monitor => "#ad6800",
            Self::Resolved | Self::Over => "#1f8a4c",
            Self::Advice | Self::Report | Self::Official | Self::Test => "#3b74c9",
        }
    }
}

impl Letter {
    /// What `notice` says to a reader in `setting`.
    pub(in crate::notify) fn new(notice: &Notice, setting: Setting) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let mut letter = Self {
            mood: Mood::of(notice),
            subject: subject(notice),
            headline: clean(&notice.title),
            remarks: remarks(notice, setting),
            what: of_monitor(notice).to_owned(),
            whose: String::new(),
            document: notice
                .document
                .iter()
                .flat_map(|d| &d.blocks)
                .map(|b| b.map(clean))
                .collect(),
            numbers: Vec::new(),
            strips: Vec::new(),
            axis: <[String; 3]>::default(),
            latency: None,
            official: String::new(),
            alternatives: Vec::new(),
            no_alternative: "",
            samples: Vec::new(),
            request_ids: Vec::new(),
            links: Vec::new(),
            footer: format!(
                "llmwatch {version} at {}, notification {}",
                clean(&notice.location),
                notice.id
            ),
            over: notice.r#type == NoticeType::Resolved || notice.already_over,
        };
        if let Some(url) = &notice.url {
            letter.links.push((
                if notice.incident.is_some() {
                    "the incident's page"
                } else {
                    "status page"
                },
                clean(url),
            ));
        }
        if let Some(incident) = &notice.incident {
            letter.tell_incident(notice, incident, setting);
        }
        letter
    }

    fn tell_incident(&mut self, notice: &Notice, incident: &Incident, setting: Setting) {
        self.headline = if self.over {
            past(notice, incident)
        } else {
            clean(&incident.title)
        };
        self.what = what(incident, setting);
        let reason = clean(&incident.attribution_reason);
        let told = incident.attribution == Attribution::Provider && !reason.is_empty();
        let reason = if told {
            format!(" Why: {reason}.")
        } else {
            String::new()
        };
        let suspected = told && incident.attribution_reason.starts_with("suspected");
        let whose = if suspected {
            "The provider's, as it seems."
        } else {
            whose(incident.attribution)
        };
        self.whose = format!("{whose}{reason} {}", why(incident))
            .trim_end()
            .to_owned();
        self.numbers = numbers(incident, setting);
        self.official = official(&incident.official, setting);
        if let Some(url) = &incident.official.url {
            self.links.push(("the provider's own page", clean(url)));
        }
        let cleaned = |strip: &Strip| Strip {
            endpoint: clean(&strip.endpoint),
            ..strip.clone()
        };
        self.strips = notice.recent.iter().map(cleaned).collect();
        if let Some(strip) = notice.recent.first() {
            let minutes = strip.minutes.chars().count().saturating_sub(1) as i64;
            let clock = |ago: i64| {
                let at = Timestamp(strip.until.0 - ago * 60_000)
                    .to_datetime()
                    .with_timezone(&setting.timezone);
                at.format("%H:%M").to_string()
            };
            self.axis = [minutes, minutes / 2, 0].map(clock);
        }
        let latency = incident.evidence.first_token_ms;
        self.latency = latency
            .typical
            .zip(latency.now)
            .filter(|(a, b)| *a > 0.0 && *b > 0.0);
        if self.over {
            self.request_ids = incident
                .evidence
                .request_ids
                .iter()
                .map(|id| clean(id))
                .collect();
        } else {
            self.alternatives = notice
                .alternatives
                .iter()
                .map(|a| Choice {
                    name: format!("{} ({})", clean(&a.endpoint), clean(&a.title)),
                    first_token: a.first_token_ms_p50.map_or("-".to_owned(), millis),
                    availability: a.availability_24h.map_or("-".to_owned(), percent),
                })
                .collect();
            if self.alternatives.is_empty() && incident.attribution != Attribution::Local {
                self.no_alternative = "Nothing that is watched here: no endpoint of the same group, or of the same kind, is healthy \
                                       right now.";
            }
        }
        self.samples = incident
            .evidence
            .samples
            .iter()
            .map(|s| Bad {
                time: s
                    .started_at
                    .to_datetime()
                    .with_timezone(&setting.timezone)
                    .format("%H:%M:%S")
                    .to_string(),
                endpoint: clean(&s.endpoint),
                what: match (s.fault, s.http_status) {
                    (Some(fault), Some(status)) => format!("{fault} (HTTP {status})"),
                    (Some(fault), None) => fault.to_string(),
                    (None, _) => format!(
                        "slow, first token {}",
                        s.first_token_ms.map_or("-".to_owned(), millis)
                    ),
                },
                request_id: s.request_id.as_deref().map(clean).unwrap_or_default(),
                words: s.error.as_deref().map(clean).unwrap_or_default(),
            })
            .collect();
    }

    /// The heading of [`Letter::what`].
    pub(in crate::notify) fn what_heading(&self) -> &'static str {
        match (self.over, self.whose.is_empty()) {
            (true, _) => "What happened",
            (false, false) => "What is broken, and since when",
            (false, true) => "What it means",
        }
    }

    /// The body in headings and plain paragraphs, for receivers without a layout of their own. A paragraph may have
    /// several lines.
    pub(in crate::notify) fn paragraphs(&self) -> Vec<(&'static str, String)> {
        let lines = |lines: Vec<String>| lines.join("\n");
        let mut numbers: Vec<_> = self
            .numbers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        numbers.extend(
            self.strips
                .iter()
                .map(|s| format!("last hour of {}: {}", s.endpoint, squares(s))),
        );
        let alternatives = self.alternatives.iter().enumerate().map(|(place, choice)| {
            let Choice {
                name,
                first_token,
                availability,
            } = choice;
            format!(
                "{}. {name}: first token {first_token}, {availability} good in 24 h",
                place + 1
            )
        });
        let nothing = (!self.no_alternative.is_empty()).then(|| self.no_alternative.to_owned());
        let samples = self.samples.iter().map(|s| {
            let id = if s.request_id.is_empty() {
                String::new()
            } else {
                format!(", request id {}", s.request_id)
            };
            let words = if s.words.is_empty() {
                String::new()
            } else {
                format!(": {}", s.words)
            };
            format!("{} {} {}{id}{words}", s.time, s.endpoint, s.what)
        });
        let all = [
            ("Please note", lines(self.remarks.clone())),
            (self.what_heading(), self.what.clone()),
            ("Whose fault, and why we think so", self.whose.clone()),
            ("In detail", document::lines(&self.document)),
            ("The numbers", lines(numbers)),
            ("The provider's own page", self.official.clone()),
            (
                "What works instead",
                lines(alternatives.chain(nothing).collect()),
            ),
            ("The last bad probes", lines(samples.collect())),
            (
                "Request ids for a support ticket",
                self.request_ids.join(", "),
            ),
        ];
        all.into_iter()
            .filter(|(_, text)| !text.is_empty())
            .collect()
    }
}

/// What is broken and since when, in a sentence or two.
fn what(incident: &Incident, setting: Setting) -> String {
    let names = listed(&incident.endpoints);
    let many = incident.endpoints.len() > 1;
    let have = if many { "have" } else { "has" };
    let since = when(incident.started_at, setting);
    let cause = cause(incident);
    match (incident.resolved_at, incident.attribution) {
        _ if incident.removed => clean(&incident.explanation),
        (Some(at), _) if incident.is_new_normal() => {
            let verb = if many { "stay" } else { "stays" };
            let at = when(at, setting);
            format!(
                "{names} {verb} slow. It has been so since {since}, and counts as the new normal from {at} on: {cause}."
            )
        }
        (Some(_), Attribution::Account) if incident.explained_by.is_some() => {
            clean(&incident.explanation)
        }
        (Some(at), _) => {
            let lasted = human_duration(incident.duration_s);
            format!(
                "{} again since {}. It lasted {lasted}, from {since} on: {cause}.{}",
                works(incident),
                when(at, setting),
                still_slow(incident).map_or(String::new(), |still| format!(
                    " {still}, which counts as the new normal."
                ))
            )
        }
        (None, Attribution::Account) => {
            format!("{names} {have} been refused to this account since {since}: {cause}.")
        }
        (None, Attribution::Local) => {
            format!("{names} {have} been out of this machine's reach since {since}: {cause}.")
        }
        (None, Attribution::Provider) => {
            let how = match (incident.cause == SLOW, incident.status) {
                (true, _) => "slow",
                (false, Status::Degraded) => "failing now and then",
                _ => "failing",
            };
            format!("{names} {have} been {how} since {since}: {cause}.")
        }
    }
}

/// One line about what is over.
fn past(notice: &Notice, incident: &Incident) -> String {
    let (name, names) = (clean(&notice.subject), listed(&incident.endpoints));
    let lasted = human_duration(incident.duration_s);
    if incident.removed {
        return clean(&incident.title);
    }
    if incident.is_new_normal() {
        let verb = if incident.endpoints.len() > 1 {
            "stay"
        } else {
            "stays"
        };
        return format!("{name}: {names} {verb} slow: after {lasted} that is the new normal");
    }
    if let (Attribution::Account, Some(number)) = (incident.attribution, incident.explained_by) {
        return format!("{name}: {names} is not refused alone, this goes on as incident {number}");
    }
    // That answers were slow is said by what they are now.
    let cause = if incident.cause == SLOW {
        String::new()
    } else {
        format!(" ({})", clean(&incident.cause))
    };
    let still = still_slow(incident).map_or(String::new(), |still| format!("; {still}"));
    format!(
        "{name}: {} again after {lasted}{cause}{still}",
        works(incident)
    )
}

/// What the endpoints of an incident that is over do again; not those whose slowness is the new normal.
fn works(incident: &Incident) -> String {
    let better: Vec<_> = incident
        .endpoints
        .iter()
        .filter(|e| !incident.new_normal.contains(e))
        .cloned()
        .collect();
    let verb = match (incident.cause == SLOW, better.len() > 1) {
        (true, true) => "answer in their usual time",
        (true, false) => "answers in its usual time",
        (false, true) => "work",
        (false, false) => "works",
    };
    format!("{} {verb}", listed(&better))
}

/// Which of them did not become faster.
fn still_slow(incident: &Incident) -> Option<String> {
    let slow = &incident.new_normal;
    let verb = if slow.len() > 1 { "stay" } else { "stays" };
    (!slow.is_empty()).then(|| format!("{} {verb} slow", listed(slow)))
}

/// What the explanation adds to the sentence about what is broken and to the numbers, which tell its first sentence in
/// their own way. An account's says what was refused, in the provider's words, and what to do.
fn why(incident: &Incident) -> String {
    if incident.removed || incident.resolved_at.is_some() && incident.explained_by.is_some() {
        return String::new();
    }
    let explanation = clean(&incident.explanation);
    if incident.attribution == Attribution::Account {
        return explanation;
    }
    explanation
        .split_once(". ")
        .map(|(_, rest)| rest.to_owned())
        .unwrap_or_default()
}

fn cause(incident: &Incident) -> String {
    if incident.cause == SLOW {
        let take = if incident.resolved_at.is_some() && !incident.is_new_normal() {
            "took"
        } else {
            "take"
        };
        return format!("answers {take} much longer than usual");
    }
    let code = clean(&incident.cause);
    incident.cause.parse::<Fault>().map_or_else(
        |_| code.clone(),
        |fault| format!("{} ({code})", fault.describe()),
    )
}

/// A few names, and how many more there are.
fn listed(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(NAMED).map(|n| clean(n)).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn numbers(incident: &Incident, setting: Setting) -> Vec<(&'static str, String)> {
    let mut numbers = vec![("since", when(incident.started_at, setting))];
    match incident.resolved_at {
        Some(at) => {
            numbers.push(("until", when(at, setting)));
            numbers.push(("lasted", human_duration(incident.duration_s)));
        }
        None => numbers.push(("noticed", when(incident.opened_at, setting))),
    }
    if let Some(word) = &incident.acknowledged {
        let by = if word.by.is_empty() {
            String::new()
        } else {
            format!(" by {}", clean(&word.by))
        };
        let comment = if word.comment.is_empty() {
            String::new()
        } else {
            format!(": {}", clean(&word.comment))
        };
        numbers.push((
            "acknowledged",
            format!("{}{by}{comment}", when(word.at, setting)),
        ));
    }
    let Evidence {
        probes,
        failed,
        typical_failure_rate,
        first_token_ms,
        faults,
        ..
    } = &incident.evidence;
    let word = if incident.cause == SLOW {
        "slow"
    } else {
        "failed"
    };
    let typically = match incident.attribution {
        // What is learned is the share of failures, which says nothing of slowness.
        Attribution::Provider if incident.cause != SLOW => {
            format!(", typically {}", percent(*typical_failure_rate))
        }
        _ => String::new(),
    };
    numbers.push(("probes", format!("{failed} of {probes} {word}{typically}")));
    let mut tally: Vec<_> = faults.iter().collect();
    tally.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    if !tally.is_empty() {
        let list: Vec<_> = tally
            .iter()
            .take(NAMED)
            .map(|(code, n)| format!("{n} × {}", clean(code)))
            .collect();
        numbers.push(("faults", list.join(", ")));
    }
    if first_token_ms.typical.is_some() || first_token_ms.now.is_some() {
        let typical = first_token_ms
            .typical
            .map_or("not learned yet".to_owned(), millis);
        let now = first_token_ms.now.map_or("none".to_owned(), millis);
        let times = first_token_ms
            .typical
            .zip(first_token_ms.now)
            .filter(|(typical, _)| *typical > 0.0);
        let times = times
            .map(|(typical, now)| now / typical)
            .filter(|times| *times >= 1.5);
        let times = times.map_or(String::new(), |times| format!(" (× {times:.1})"));
        numbers.push((
            "first token",
            format!("typically {typical}, now {now}{times}"),
        ));
    }
    let worst = [
        ("first token", incident.evidence.worst_first_token_ms),
        ("whole probe", incident.evidence.worst_total_ms),
    ];
    let worst: Vec<_> = worst
        .iter()
        .filter_map(|(name, ms)| ms.map(|ms| format!("{name} {}", millis(ms))))
        .collect();
    // How soon a refusal came tells nothing.
    if !worst.is_empty() && incident.attribution == Attribution::Provider {
        numbers.push(("at worst", worst.join(", ")));
    }
    numbers
}

/// Whose fault, and what that means for the reader.
fn whose(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::Provider => "The provider's.",
        Attribution::Account => {
            "Your account's or your configuration's: the provider answers, but refuses this key, quota, model or request. It \
             does not count as downtime of the provider."
        }
        Attribution::Local => {
            "This machine's: its network, resolver, clock or resources. It does not count as downtime of the provider."
        }
    }
}

/// What the provider's own page says, and who was first; empty when there is no page.
fn official(official: &Official, setting: Setting) -> String {
    let Some(status) = official.status else {
        return String::new();
    };
    let status = status.as_str();
    match (&official.incident, official.published_at, official.lead_s) {
        (None, ..) => format!("It says \"{status}\" and nothing of this."),
        (Some(theirs), Some(at), Some(lead)) => {
            let (by, who) = (
                human_duration(lead.abs()),
                if lead >= 0.0 { "after" } else { "before" },
            );
            let (theirs, at) = (clean(theirs), when(at, setting));
            format!(
                "It says \"{status}\": \"{theirs}\", published at {at}, {by} {who} this was noticed here."
            )
        }
        (Some(theirs), ..) => format!("It says \"{status}\": \"{}\".", clean(theirs)),
    }
}

fn of_monitor(notice: &Notice) -> &'static str {
    match notice.r#type {
        NoticeType::Blind if notice.document.is_some() => {
            "No name is resolved on this machine, so nobody can be reached and nothing can be said about the providers until \
             that is mended. You get one more message then."
        }
        NoticeType::Blind => {
            "Neither the providers nor the controls answer from this machine, so nothing can be said about the providers \
             until its network is back. You get one more message then."
        }
        NoticeType::Sighted => {
            "This machine sees the world again. What happened meanwhile is unknown, not down."
        }
        NoticeType::Budget if notice.condition.as_ref().is_some_and(|c| c.over) => {
            "Probing goes on."
        }
        NoticeType::Store if notice.condition.as_ref().is_some_and(|c| c.over) => {
            "What waited in memory is written, as far as there was room for it."
        }
        NoticeType::Budget => {
            "The probing budget of the day is spent. Nothing is probed until midnight, every status is unknown until then, \
             and `[heartbeat]` is silent, so a dead-man's switch will go off. `llmwatch check` shows what probing costs."
        }
        NoticeType::Store => {
            "Probing, detecting and telling go on from memory, and everything is written once the store can be. Make room on \
             the disk; do not restart the daemon, which would forget what waits."
        }
        NoticeType::Delivery if notice.condition.as_ref().is_some_and(|c| c.over) => {
            "What waited for it is delivered, oldest first, marked as late. What was given up meanwhile is kept: `llmwatch \
             outbox` lists it, and can send it again."
        }
        NoticeType::Delivery if notice.condition.is_none() => {
            "The others have it. Whoever is named does not get what is told there, and it is not tried again for them: correct \
             `to`, or ask whoever runs that mailbox. It is told once a day."
        }
        NoticeType::Delivery => {
            "What a channel could not deliver is kept and tried again. `llmwatch outbox` lists what waits and what was given \
             up, and can send it again."
        }
        NoticeType::Digest => {
            "So much happened at once that one message stands for many. Every incident has its page, and its end is told."
        }
        NoticeType::Advice => {
            "Nothing has failed. This will, or may, if nothing is done. Each advice is told once."
        }
        NoticeType::Test => {
            "This is only a test: nothing is wrong. If you read this, the channel works."
        }
        _ => "",
    }
}

/// The last hour as squares, five minutes each, for receivers that show emoji.
fn squares(strip: &Strip) -> String {
    let cells: Vec<char> = strip.minutes.chars().collect();
    let square = |cells: &[char]| match cells {
        cells if cells.contains(&'x') => '🟥',
        cells if cells.contains(&'~') => '🟨',
        cells if cells.contains(&'.') => '🟩',
        _ => '⬜',
    };
    cells.chunks(5).map(square).collect()
}

/// A latency: `420 ms`, `3.2 s`.
pub(super) fn millis(ms: f64) -> String {
    if ms < 1000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

/// A share of 0 to 1.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 99.995 || percent == 0.0 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.2} %")
    }
}

/// A moment for the reader: with the date and the offset, in the configured time zone.
pub(super) fn when(at: Timestamp, setting: Setting) -> String {
    at.to_datetime()
        .with_timezone(&setting.timezone)
        .format("%Y-%m-%d %H:%M:%S %:z")
        .to_string()
}

/// One line without anything that acts instead of being shown, whatever came from outside: control characters (line
/// ends and terminal escapes among them), line separators, and marks that turn the direction of writing.
pub(in crate::notify) fn clean(text: &str) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.split(acts)
        .filter(|s| !s.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
