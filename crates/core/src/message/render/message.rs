//! The parts of a message in order, independent of the receiver's format: what is broken and since
//! when; the attribution and its reason; current against typical figures; the provider's status
//! page; alternatives; the last failed probes; links and commands. All outside text is cleaned
//! here, so formats never see control characters.

use super::notes::notes;
use super::subject;
use super::tag::Tag;
use crate::message::document;
use crate::message::fault::is_providers_message;
use crate::message::incident as narrator;
use crate::message::place;
use crate::message::values::{Locale, NONE, clean};
use crate::model::{
    Attribution, Block, EvidenceSample, FailoverOutcome, Incident, Notice, NoticeKind, Sparkline,
    Timestamp,
};
use crate::text;

/// The context for rendering a notice.
#[derive(Debug, Clone, Copy)]
pub struct RenderContext<'a> {
    /// The reader's time zone and language.
    pub locale: Locale,
    /// When the message is sent; a late message says so.
    pub now: Timestamp,
    /// The one-click link to acknowledge the incident. It is secret to the recipient.
    pub acknowledge_url: Option<&'a str>,
    /// The one-click link to confirm the drill. It is secret to the recipient.
    pub confirm_url: Option<&'a str>,
}

/// The parts of a message.
pub(in crate::message) struct Message {
    /// The kind of message, for a label and a color.
    pub(in crate::message) tag: Tag,
    /// The message in one line.
    pub(in crate::message) subject: String,
    /// What is broken, in one line.
    pub(in crate::message) headline: String,
    /// Since when, the attribution and an alternative, in one line; empty for the monitor's own
    /// notices.
    pub(in crate::message) lead: String,
    /// Notes about the message itself: a test, late, a reminder.
    pub(in crate::message) notes: Vec<String>,
    /// What is broken and since when, or what happened if the incident is resolved.
    pub(in crate::message) what: String,
    /// The attribution and its reason; empty for the monitor's own notices.
    pub(in crate::message) whose: String,
    /// The content of a digest, an advice or a report.
    pub(in crate::message) document: Vec<Block>,
    /// Names and values.
    pub(in crate::message) numbers: Vec<(&'static str, String)>,
    /// The last hour of the affected endpoints.
    pub(in crate::message) sparklines: Vec<Sparkline>,
    /// The start, middle and end of that hour.
    pub(in crate::message) axis: [String; 3],
    /// The time zone of the axis and of the failed probes.
    pub(in crate::message) zone: String,
    /// Time to the first token: typical and now, in milliseconds.
    pub(in crate::message) latency: Option<(f64, f64)>,
    /// What the provider's status page says, and our lead over it; empty without a status page.
    pub(in crate::message) vendor_status: String,
    /// Endpoints that work instead, best first.
    pub(in crate::message) alternatives: Vec<AlternativeLine>,
    /// A sentence that says that no alternative works.
    pub(in crate::message) no_alternative: String,
    /// The last failed probes, most recent last, as a table.
    pub(in crate::message) probes: Option<ProbeTable>,
    /// The request IDs for a support ticket, once the incident is resolved.
    pub(in crate::message) request_ids: Vec<String>,
    /// Label and URL.
    pub(in crate::message) links: Vec<(&'static str, String)>,
    /// The URL among these that acknowledges or confirms.
    action_url: Option<String>,
    /// Commands to run, each with its purpose.
    pub(in crate::message) commands: Vec<(&'static str, String)>,
    /// The monitor that sent the message.
    pub(in crate::message) footer: String,
    /// Whether the incident is over, which puts the headings in the past tense.
    pub(in crate::message) over: bool,
    locale: Locale,
}

/// An alternative that works.
pub(in crate::message) struct AlternativeLine {
    pub(in crate::message) name: String,
    pub(in crate::message) first_token: String,
    pub(in crate::message) availability: String,
}

/// The last failed or slow probes.
pub(in crate::message) struct ProbeTable {
    pub(in crate::message) heading: &'static str,
    pub(in crate::message) head: Vec<String>,
    pub(in crate::message) rows: Vec<Vec<String>>,
    /// Each distinct error or wrong answer once, in a sentence.
    pub(in crate::message) errors: Vec<String>,
}

impl ProbeTable {
    /// The number of columns, and the index of the endpoint column.
    const COLUMNS: usize = 4;
    const ENDPOINT: usize = 1;

    /// Returns the table without the endpoint column, if all rows have the same endpoint.
    pub(in crate::message) fn without_endpoint(&self) -> Option<Self> {
        let first = self.rows.first()?.get(Self::ENDPOINT)?;
        let only_one = self
            .rows
            .iter()
            .all(|row| row.get(Self::ENDPOINT) == Some(first));
        if !only_one || self.head.len() != Self::COLUMNS {
            return None;
        }
        let mut narrower = Self {
            heading: self.heading,
            head: self.head.clone(),
            rows: self.rows.clone(),
            errors: Vec::new(),
        };
        narrower.head.remove(Self::ENDPOINT);
        for row in &mut narrower.rows {
            row.remove(Self::ENDPOINT);
        }
        Some(narrower)
    }
}

impl Message {
    /// Builds the message for `notice`.
    pub(in crate::message) fn new(notice: &Notice, context: RenderContext<'_>) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let mut message = Self {
            tag: Tag::of(notice),
            subject: subject(notice, &context.locale),
            headline: clean(&notice.title),
            lead: String::new(),
            notes: notes(notice, context),
            what: context.locale.say(of_monitor(notice)).to_owned(),
            whose: String::new(),
            document: notice
                .document
                .iter()
                .flat_map(|d| &d.blocks)
                .map(|b| b.map(clean))
                .collect(),
            numbers: Vec::new(),
            sparklines: Vec::new(),
            axis: <[String; 3]>::default(),
            zone: context.locale.zone(notice.decided_at),
            latency: None,
            vendor_status: String::new(),
            alternatives: Vec::new(),
            no_alternative: String::new(),
            probes: None,
            request_ids: Vec::new(),
            links: Vec::new(),
            action_url: context
                .acknowledge_url
                .or(context.confirm_url)
                .map(str::to_owned),
            commands: Vec::new(),
            footer: {
                let location = clean(&notice.location);
                let id = notice.id;
                text!(
                    context.locale,
                    "llmwatch {version} at {location}, notification {id}",
                    version,
                    location,
                    id
                )
            },
            over: notice.kind == NoticeKind::Resolved
                || notice.already_over
                || notice.kind == NoticeKind::Drill
                    && notice.condition.as_ref().is_some_and(|c| c.over),
            locale: context.locale,
        };
        if notice.kind == NoticeKind::Drill && !message.over {
            message.add_confirmation(notice, context);
        }
        if let Some(url) = &notice.url {
            let name = if notice.incident.is_some() {
                "incident page"
            } else {
                "status page"
            };
            message.links.push((context.locale.say(name), clean(url)));
        }
        if let Some(incident) = &notice.incident {
            let mut incident = incident.clone();
            narrator::narrate(&mut incident, &context.locale);
            message.add_incident(notice, &incident, context);
        }
        message
    }

    fn add_incident(&mut self, notice: &Notice, incident: &Incident, context: RenderContext<'_>) {
        let locale = &context.locale;
        self.headline = if self.over {
            clean(&narrator::outcome(incident, locale))
        } else {
            clean(&incident.title)
        };
        self.lead = format!(
            "{}{}",
            place::prefix(incident),
            lead(notice, incident, context)
        );
        self.what = clean(&narrator::summary(incident, locale));
        if let Some(sentence) = place::sentence(incident, locale) {
            self.what += &format!(" {}", clean(&sentence));
        }
        self.whose = whose(incident, locale);
        self.numbers = numbers(incident, locale);
        if let Some(failover) = &notice.failover {
            let saved = saved(failover, incident, locale);
            self.numbers.push((locale.say("failover"), saved));
        }
        self.vendor_status = narrator::vendor_status(incident, locale);
        if let Some(url) = &incident.official.url {
            self.links
                .push((locale.say("provider's status page"), clean(url)));
        }
        self.add_strips(notice);
        let latency = incident.evidence.first_token_ms;
        self.latency = latency
            .typical
            .zip(latency.now)
            .filter(|(typical, now)| *typical > 0.0 && *now > 0.0);
        if self.over {
            let ids = incident.evidence.request_ids.iter();
            self.request_ids = ids.map(|id| clean(id)).collect();
        } else {
            self.add_alternatives(notice, incident);
        }
        self.probes = probe_table(incident, &self.zone, locale);
        let number = incident.number;
        self.commands.push((
            locale.say("details"),
            format!("llmwatch incidents {number}"),
        ));
        if !self.over && incident.acknowledged.is_none() {
            if let Some(url) = context.acknowledge_url {
                self.links
                    .push((locale.say("acknowledge with one click"), url.to_owned()));
            }
            self.commands
                .push((locale.say("acknowledge"), format!("llmwatch ack {number}")));
        }
    }

    /// Reports whether the link to `url` acknowledges the incident or confirms the drill.
    pub(super) fn is_action(&self, url: &str) -> bool {
        self.action_url.as_deref() == Some(url)
    }

    /// Adds how to confirm a drill: the link, or a command if there is no link.
    fn add_confirmation(&mut self, notice: &Notice, context: RenderContext<'_>) {
        match context.confirm_url {
            Some(url) => self.links.push((
                context.locale.say("confirm that you received this"),
                url.to_owned(),
            )),
            None => self.commands.push((
                context.locale.say("confirm"),
                format!("llmwatch drill --confirm {}", notice.id),
            )),
        }
    }

    fn add_strips(&mut self, notice: &Notice) {
        self.sparklines = notice
            .recent
            .iter()
            .map(|sparkline| Sparkline {
                endpoint: clean(&sparkline.endpoint).into(),
                ..sparkline.clone()
            })
            .collect();
        if let Some(sparkline) = notice.recent.first() {
            let minutes = sparkline.minutes.chars().count().saturating_sub(1) as i64;
            self.axis = [minutes, minutes / 2, 0].map(|ago| {
                self.locale
                    .clock_tick(Timestamp(sparkline.until.0 - ago * 60_000))
            });
        }
    }

    fn add_alternatives(&mut self, notice: &Notice, incident: &Incident) {
        if incident.cause.affects_all() {
            return;
        }
        let locale = &self.locale;
        self.alternatives = notice
            .alternatives
            .iter()
            .map(|a| AlternativeLine {
                name: format!("{} ({})", clean(&a.endpoint), clean(&a.title)),
                first_token: a
                    .first_token_ms_p50
                    .map_or(NONE.to_owned(), |ms| locale.latency(ms)),
                availability: a
                    .availability_24h
                    .map_or(NONE.to_owned(), |share| locale.percent(share)),
            })
            .collect();
        if self.alternatives.is_empty() && incident.attribution != Attribution::Local {
            locale
                .say(no_alternative(notice))
                .clone_into(&mut self.no_alternative);
        }
    }

    /// Returns the heading of [`Message::what`].
    pub(in crate::message) fn what_heading(&self) -> &'static str {
        self.locale.say(match (self.over, self.whose.is_empty()) {
            (true, _) => "What happened",
            (false, false) => "What is broken, and since when",
            (false, true) => "What it means",
        })
    }

    /// Translates a fixed text, for the templates.
    pub(in crate::message) fn say(&self, english: &'static str) -> &'static str {
        self.locale.say(english)
    }

    /// Formats an alternative on one line.
    pub(in crate::message) fn choice(&self, choice: &AlternativeLine) -> String {
        let AlternativeLine {
            name,
            first_token,
            availability,
        } = choice;
        text!(
            self.locale,
            "{name}: first token {first_token}, availability {availability} in 24 h",
            name,
            first_token,
            availability
        )
    }

    /// Returns the `lang` attribute of the page.
    pub(in crate::message) fn lang(&self) -> &'static str {
        self.locale.lang()
    }

    /// Returns the body as headings and plain paragraphs, for receivers without a layout of their
    /// own. A paragraph may have several lines.
    pub(in crate::message) fn paragraphs(&self) -> Vec<(&'static str, String)> {
        let mut numbers: Vec<_> = self
            .numbers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        numbers.extend(self.sparklines.iter().map(|s| {
            let endpoint = &s.endpoint;
            let hour = squares(s);
            text!(
                self.locale,
                "last hour of {endpoint}: {hour}",
                endpoint,
                hour
            )
        }));
        let alternatives = self
            .alternatives
            .iter()
            .enumerate()
            .map(|(place, choice)| format!("{}. {}", place + 1, self.choice(choice)));
        let nothing = Some(self.no_alternative.clone()).filter(|text| !text.is_empty());
        let commands = self
            .commands
            .iter()
            .map(|(name, command)| format!("{name}: {command}"));
        let (heading, probes) = self
            .probes
            .as_ref()
            .map_or(("", Vec::new()), |table| (table.heading, table.lines()));
        let all = [
            (self.say("Please note"), self.notes.join("\n")),
            (self.what_heading(), self.what.clone()),
            (
                self.say("Whose fault, and why we think so"),
                self.whose.clone(),
            ),
            (self.say("In detail"), document::lines(&self.document)),
            (self.say("The numbers"), numbers.join("\n")),
            (
                self.say("The provider's status page"),
                self.vendor_status.clone(),
            ),
            (
                self.say("What works instead"),
                alternatives.chain(nothing).collect::<Vec<_>>().join("\n"),
            ),
            (heading, probes.join("\n")),
            (
                self.say("Request IDs for a support ticket"),
                self.request_ids.join(", "),
            ),
            (
                self.say("Commands"),
                commands.collect::<Vec<_>>().join("\n"),
            ),
        ];
        all.into_iter()
            .filter(|(_, text)| !text.is_empty())
            .collect()
    }
}

impl ProbeTable {
    /// Returns one line per probe, then the errors.
    fn lines(&self) -> Vec<String> {
        let rows = self.rows.iter().map(|row| {
            let cells: Vec<_> = row.iter().filter(|cell| *cell != NONE).cloned().collect();
            cells.join("  ")
        });
        rows.chain(self.errors.iter().cloned()).collect()
    }
}

/// Returns since when, the attribution and an alternative.
fn lead(notice: &Notice, incident: &Incident, context: RenderContext<'_>) -> String {
    let locale = &context.locale;
    let names = locale.list_at_most(&incident.endpoints, place::MAX_NAMES);
    let count = incident.endpoints.len();
    let since = locale.time_short(incident.started_at, context.now);
    if incident.resolved_at.is_some() {
        let outcome = narrator::outcome(incident, locale);
        let end = incident.end().unwrap_or(incident.started_at);
        let from = since;
        let to = locale.time_short(end, context.now);
        if from == to {
            return clean(&text!(locale, "{outcome}, at {from}.", outcome, from));
        }
        return clean(&text!(
            locale,
            "{outcome}, from {from} to {to}.",
            outcome,
            from,
            to
        ));
    }
    let what = match incident.attribution {
        Attribution::Provider => {
            let how = narrator::manner(incident, locale);
            let whose = if incident.is_suspected() {
                locale.say("probably the provider's fault")
            } else {
                locale.say("the provider's fault")
            };
            text!(
                locale,
                count => "{names} has been {how} since {since}: {whose}.",
                "{names} have been {how} since {since}: {whose}.";
                names, how, since, whose
            )
        }
        Attribution::Account => text!(
            locale,
            count => "{names} has been rejected since {since}: your account or configuration, not a provider outage.",
            "{names} have been rejected since {since}: your account or configuration, not a provider outage.";
            names, since
        ),
        Attribution::Local => text!(
            locale,
            count => "{names} has been unreachable since {since}: the cause is this machine, not the provider.",
            "{names} have been unreachable since {since}: the cause is this machine, not the provider.";
            names, since
        ),
    };
    let instead = match (notice.alternatives.first(), incident.attribution) {
        (_, Attribution::Local) => String::new(),
        (Some(best), _) => {
            let name = clean(&best.endpoint);
            let title = clean(&best.title);
            text!(locale, " {name} ({title}) works.", name, title)
        }
        (None, _) if notice.monitors_alternative == Some(false) => {
            locale.say(" You monitor no alternative.").to_owned()
        }
        (None, _) => locale.say(" No alternative works right now.").to_owned(),
    };
    let others = locale.list(&notice.also_failing);
    let also = match notice.also_failing.len() {
        0 => String::new(),
        1 => text!(locale, " {others} is failing as well.", others),
        _ => text!(locale, " {others} are failing as well.", others),
    };
    clean(&format!("{what}{instead}{also}"))
}

fn no_alternative(notice: &Notice) -> &'static str {
    if notice.monitors_alternative == Some(false) {
        "You monitor no alternative: add an endpoint with the same `group` to get one."
    } else {
        "No alternative works: no other endpoint of the same `group`, or of the same kind, is healthy \
         right now."
    }
}

/// Returns the attribution, its reason and the consequences.
fn whose(incident: &Incident, locale: &Locale) -> String {
    let mut parts = vec![narrator::attribution(incident, locale).to_owned()];
    let reason = clean(&incident.attribution_reason);
    if incident.facts.is_some() {
        if incident.attribution == Attribution::Provider {
            parts.push(reason);
        }
        parts.push(clean(&narrator::context(incident, locale)));
    } else if !reason.is_empty() {
        // Rows of release 0.1 have only half a sentence.
        parts.push(text!(locale, "Why: {reason}.", reason));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

/// Returns what failover would have saved: "group chat: azure-chat from 09:13:20 UTC on, 65 s after
/// the first failed probe; 12% of the probes succeeded without it, 97% with it".
fn saved(failover: &FailoverOutcome, incident: &Incident, locale: &Locale) -> String {
    let group = clean(&failover.group);
    let first = clean(&failover.first);
    let alone = locale.percent(failover.alone);
    let with = locale.percent(failover.with_group);
    match &failover.moved {
        Some((name, at)) => {
            let after = at.since_ms(incident.started_at).max(0) as f64 / 1000.0;
            let name = clean(name);
            let after = locale.duration(after);
            text!(
                locale,
                "the route of group {group} moved to {name} {after} after the first failed probe: {with} of the probes succeeded there, {alone} of those of {first}",
                group,
                name,
                after,
                with,
                alone,
                first
            )
        }
        None => text!(
            locale,
            "group {group} had nothing better than {first}: {alone} of the probes succeeded",
            group,
            first,
            alone
        ),
    }
}

fn numbers(incident: &Incident, locale: &Locale) -> Vec<(&'static str, String)> {
    let mut numbers = vec![(locale.say("started"), locale.time(incident.started_at))];
    let until_detected = incident.opened_at.since_ms(incident.started_at).max(0) as f64 / 1000.0;
    let at = locale.time(incident.opened_at);
    let after = locale.duration(until_detected);
    let detected = if incident.cause.is_slow() {
        text!(
            locale,
            "{at}, {after} after the first slow probe",
            at,
            after
        )
    } else {
        text!(
            locale,
            "{at}, {after} after the first failed probe",
            at,
            after
        )
    };
    numbers.push((locale.say("detected"), detected));
    if let (Some(end), Some(resolved_at)) = (incident.end(), incident.resolved_at) {
        if !incident.has_recovered() {
            numbers.push((locale.say("closed"), locale.time(resolved_at)));
        } else if end == resolved_at {
            numbers.push((locale.say("recovered"), locale.time(end)));
        } else {
            numbers.push((locale.say("recovered"), locale.time(end)));
            numbers.push((locale.say("confirmed"), locale.time(resolved_at)));
        }
        numbers.push((locale.say("duration"), locale.duration(incident.duration_s)));
    }
    if let Some(acknowledged) = &incident.acknowledged {
        let by = if acknowledged.by.is_empty() {
            String::new()
        } else {
            let by = clean(&acknowledged.by);
            text!(locale, " by {by}", by)
        };
        let note = if acknowledged.note.is_empty() {
            String::new()
        } else {
            format!(": {}", clean(&acknowledged.note))
        };
        numbers.push((
            locale.say("acknowledged"),
            format!("{}{by}{note}", locale.time(acknowledged.at)),
        ));
    }
    numbers.push((
        locale.say("probes"),
        narrator::share_of_probes(incident, locale),
    ));
    let faults: Vec<_> = incident
        .evidence
        .faults_by_count()
        .iter()
        .take(place::MAX_NAMES)
        .map(|(fault, n)| format!("{} × {fault}", locale.number(n)))
        .collect();
    if !faults.is_empty() {
        numbers.push((locale.say("faults"), faults.join(", ")));
    }
    numbers.extend(narrator::measures(incident, locale));
    if incident.cause.is_slow() {
        let worst = [
            ("first token", incident.evidence.worst_first_token_ms),
            ("total", incident.evidence.worst_total_ms),
        ];
        let worst: Vec<_> = worst
            .iter()
            .filter_map(|(name, ms)| {
                ms.map(|ms| format!("{} {}", locale.say(name), locale.latency(ms)))
            })
            .collect();
        if !worst.is_empty() {
            numbers.push((locale.say("worst case"), worst.join(", ")));
        }
    }
    numbers
}

fn probe_table(incident: &Incident, zone: &str, locale: &Locale) -> Option<ProbeTable> {
    let samples = &incident.evidence.samples;
    if samples.is_empty() {
        return None;
    }
    let mut errors: Vec<String> = Vec::new();
    for sample in samples {
        for error in error_of(sample, locale) {
            if !errors.contains(&error) {
                errors.push(error);
            }
        }
    }
    Some(ProbeTable {
        heading: if incident.cause.is_slow() {
            locale.say("The last slow probes")
        } else {
            locale.say("The last failed probes")
        },
        head: vec![
            text!(locale, "time ({zone})", zone),
            locale.say("endpoint").to_owned(),
            locale.say("result").to_owned(),
            locale.say("request ID").to_owned(),
        ],
        rows: samples.iter().map(|s| probe_row(s, locale)).collect(),
        errors,
    })
}

fn probe_row(sample: &EvidenceSample, locale: &Locale) -> Vec<String> {
    let result = match (sample.fault, sample.http_status) {
        (Some(fault), Some(status)) => format!("{fault} (HTTP {status})"),
        (Some(fault), None) => fault.to_string(),
        (None, _) => match sample.first_token_ms {
            Some(ms) => {
                let first = locale.latency(ms);
                text!(locale, "slow, first token {first}", first)
            }
            None => locale.say("slow").to_owned(),
        },
    };
    vec![
        locale.clock_time(sample.started_at),
        clean(&sample.endpoint),
        result,
        sample.request_id.as_deref().map_or(NONE.to_owned(), clean),
    ]
}

/// Returns the error text of a probe and its wrong answer, one sentence each.
fn error_of(sample: &EvidenceSample, locale: &Locale) -> Vec<String> {
    let source = if sample.fault.is_some_and(is_providers_message) {
        locale.say("The API said")
    } else {
        locale.say("Error")
    };
    let error = sample
        .error
        .as_deref()
        .map(|text| format!("{source}: {}", clean(text)));
    let answer = sample.answer.as_deref().map(|text| {
        let answer = clean(text);
        text!(locale, "It answered: {answer}", answer)
    });
    error.into_iter().chain(answer).collect()
}

fn of_monitor(notice: &Notice) -> &'static str {
    let over = notice.condition.as_ref().is_some_and(|c| c.over);
    match notice.kind {
        NoticeKind::Offline if notice.document.is_some() => {
            "This machine cannot resolve host names, so no provider can be reached and every status is \
             unknown until that is fixed. You will be notified when it is."
        }
        NoticeKind::Offline => {
            "Neither the providers nor the connectivity checks answer from this machine, so every \
             status is unknown until its network is back. You will be notified when it is."
        }
        NoticeKind::Online => "Network is back. The gap is recorded as unknown, not as downtime.",
        NoticeKind::Budget if over => "Probing has resumed.",
        NoticeKind::Store if over => {
            "Buffered records were written; records that exceeded the buffer were dropped."
        }
        NoticeKind::Budget => {
            "Nothing is probed until midnight, and every status is unknown until then. `[heartbeat]` \
             is silent, so a dead man's switch will fire. `llmwatch check` shows what probing costs."
        }
        NoticeKind::Store => {
            "Probing, detection and notifications continue from memory. Everything is written once the \
             database is writable again. Free up disk space; do not restart the daemon, which would \
             lose the buffered records."
        }
        NoticeKind::Delivery if over => {
            "Pending notifications were delivered, oldest first, and marked as late. Dead \
             notifications are kept: `llmwatch outbox` lists and retries them."
        }
        NoticeKind::Delivery if is_unconfirmed_drill(notice) => "",
        NoticeKind::Delivery if notice.condition.is_none() => {
            "The other recipients received it. Rejected addresses are not retried: correct `to`, or ask \
             the owners of the mailboxes. This is reported at most once a day."
        }
        NoticeKind::Delivery => {
            "Undelivered notifications are kept and retried. `llmwatch outbox` lists pending and dead \
             notifications, and retries them."
        }
        NoticeKind::Digest => {
            "Many incidents at once; this message covers them all. You will be notified when each one \
             ends."
        }
        NoticeKind::Advice => {
            "Nothing has failed yet. This is an early warning; each one is sent once."
        }
        NoticeKind::Test => "This is only a test; nothing is wrong. The channel works.",
        _ => "",
    }
}

/// Reports whether `notice` is about a drill that nobody confirmed, which its document explains.
fn is_unconfirmed_drill(notice: &Notice) -> bool {
    let document = notice.document.as_ref();
    document.is_some_and(|document| document.data.get("drill").is_some())
}

/// Renders the last hour as squares of five minutes each, for receivers that show emoji.
fn squares(sparkline: &Sparkline) -> String {
    let cells: Vec<char> = sparkline.minutes.chars().collect();
    cells.chunks(5).map(square).collect()
}

/// Returns the square for some minutes of a sparkline; the worst minute counts.
fn square(cells: &[char]) -> char {
    match cells {
        cells if cells.contains(&'x') => '🟥',
        cells if cells.contains(&'~') => '🟨',
        cells if cells.contains(&'.') => '🟩',
        _ => '⬜',
    }
}
