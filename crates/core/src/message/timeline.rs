//! The timeline of an incident, for its page and for the terminal.

use super::incident::revision;
use super::values::Locale;
use crate::model::{Incident, Timestamp};
use crate::text;

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The first bad probe.
    Start,
    /// Something failed: the endpoint, or a delivery.
    Failure,
    /// Something succeeded.
    Success,
    /// A person has acted.
    Person,
    /// Anything else.
    Other,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// What it is about.
    pub mark: Mark,
    /// What happened.
    pub what: String,
    /// More about it; may be empty.
    pub detail: String,
}

/// Whether a notification has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It was accepted.
    Sent,
    /// It waits for its next attempt.
    Waiting,
    /// It was given up.
    Failed,
}

/// How much a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Everything.
    Full,
    /// The public summary: neither evidence nor names of people.
    Summary,
}

/// Returns what happened to `incident`, in order, merged with its `deliveries`.
pub fn timeline(
    incident: &Incident,
    deliveries: Vec<TimelineEntry>,
    detail: Detail,
    locale: &Locale,
) -> Vec<TimelineEntry> {
    let is_full = detail == Detail::Full;
    let mut moments = beginning(incident, is_full, locale);
    moments.extend(deliveries);
    moments.extend(people(incident, is_full, locale));
    if let Some((at, why)) = revision(incident, locale).filter(|_| is_full) {
        let what = locale.say("Attribution revised").to_owned();
        moments.push(moment(at, Mark::Other, what, why));
    }
    if let Some(at) = incident.official.published_at {
        let what = locale.say("Posted on the vendor’s status page").to_owned();
        let title = incident.official.incident.clone().unwrap_or_default();
        moments.push(moment(at, Mark::Other, what, title));
    }
    if let Some(at) = incident.resolved_at {
        let what = if incident.is_new_normal() {
            locale.say("Closed: still slow, now the usual latency")
        } else {
            locale.say("Resolved")
        };
        let lasted = locale.duration(incident.duration_s);
        let lasted = text!(locale, "after {lasted}", lasted);
        moments.push(moment(at, Mark::Success, what.to_owned(), lasted));
    }
    // The sort is stable: simultaneous events stay in decision order.
    moments.sort_by_key(|m| m.at);
    moments
}

/// Returns the entry of a notification about an incident, decided or finished `at`; `kind` is the
/// last part of its type.
pub fn delivery(
    state: DeliveryState,
    at: Timestamp,
    channel: &str,
    kind: &str,
    detail: String,
    locale: &Locale,
) -> TimelineEntry {
    let (mark, what) = match state {
        DeliveryState::Sent => (
            Mark::Success,
            text!(locale, "Notified {channel}: {kind}", channel, kind),
        ),
        DeliveryState::Waiting => (
            Mark::Other,
            text!(locale, "Waiting to notify {channel}: {kind}", channel, kind),
        ),
        DeliveryState::Failed => (
            Mark::Failure,
            text!(locale, "Could not notify {channel}: {kind}", channel, kind),
        ),
    };
    moment(at, mark, what, detail)
}

fn moment(at: Timestamp, mark: Mark, what: String, detail: String) -> TimelineEntry {
    TimelineEntry {
        at,
        mark,
        what,
        detail,
    }
}

fn beginning(incident: &Incident, is_full: bool, locale: &Locale) -> Vec<TimelineEntry> {
    let first = if incident.cause.is_slow() {
        locale.say("First slow probe")
    } else {
        locale.say("First failed probe")
    };
    let opened = locale.say("Incident opened").to_owned();
    let why = if is_full {
        locale.say("enough evidence").to_owned()
    } else {
        String::new()
    };
    let started_at = incident.started_at;
    vec![
        moment(started_at, Mark::Start, first.to_owned(), String::new()),
        moment(incident.opened_at, Mark::Failure, opened, why),
    ]
}

/// Returns the acknowledgement and the notes.
fn people(incident: &Incident, is_full: bool, locale: &Locale) -> Vec<TimelineEntry> {
    let mut moments = Vec::new();
    if let Some(ack) = &incident.acknowledged {
        let by = if ack.by.is_empty() {
            String::new()
        } else {
            let by = &ack.by;
            text!(locale, "by {by}", by)
        };
        let detail = [by, ack.note.clone()];
        let detail: Vec<_> = detail.into_iter().filter(|d| !d.is_empty()).collect();
        let what = locale.say("Acknowledged").to_owned();
        moments.push(moment(ack.at, Mark::Person, what, detail.join(": ")));
    }
    for note in &incident.notes {
        let what = match note.by.as_str() {
            by if is_full && !by.is_empty() => text!(locale, "Note by {by}", by),
            _ => locale.say("Note").to_owned(),
        };
        moments.push(moment(note.at, Mark::Person, what, note.text.clone()));
    }
    moments
}
