//! What deserves a line of its own on a page: what the monitor must say of itself, what people have announced, and what should
//! be seen to before it fails.

use super::past::DAY_MS;
use super::{Frame, listed};
use crate::model::Provider;
use crate::model::Silence;
use crate::model::Snapshot;

/// Notifications that did not arrive are worth a word for a week.
const UNDELIVERED_MS: i64 = 7 * DAY_MS;
/// The names that are listed one by one.
const NAMES: usize = 3;

/// One line: the class of its mark, and the text.
pub(super) type Notice = (&'static str, String);

/// What the front page says.
pub(super) fn of_all(snapshot: &Snapshot, frame: &Frame) -> Vec<Notice> {
    let mut notices = of_the_monitor(snapshot, frame);
    for m in &snapshot.maintenance {
        let what = if m.endpoints.len() == snapshot.endpoints.len() {
            "everything".to_owned()
        } else {
            listed(&m.endpoints, NAMES)
        };
        notices.push((
            "rest",
            format!(
                "Maintenance “{}” until {}: {what}.",
                m.name,
                frame.moment(&m.until)
            ),
        ));
    }
    notices.extend(snapshot.silences.iter().map(|s| silence(s, frame)));
    for advice in &snapshot.advice {
        notices.push(("slow", sentence(&advice.text)));
    }
    notices
}

/// What the page of one endpoint says.
pub(super) fn of_endpoint(snapshot: &Snapshot, name: &str, frame: &Frame) -> Vec<Notice> {
    let config = frame.config.as_ref();
    let silences = snapshot
        .silences
        .iter()
        .filter(|s| s.covers(name, config))
        .map(|s| silence(s, frame));
    let advice = snapshot
        .advice
        .iter()
        .filter(|a| a.endpoint == name)
        .map(|a| ("slow", sentence(&a.text)));
    silences.chain(advice).collect()
}

fn of_the_monitor(snapshot: &Snapshot, frame: &Frame) -> Vec<Notice> {
    let mut notices = Vec::new();
    if snapshot.store_error.is_some() {
        notices.push((
            "bad",
            "Nothing can be recorded at the moment: the store fails, samples wait in memory."
                .to_owned(),
        ));
    }
    if snapshot.budget_spent && snapshot.blind_since.is_none() {
        notices.push((
            "slow",
            "The day’s probing budget is spent; probing rests until midnight.".to_owned(),
        ));
    }
    for tally in &snapshot.outbox {
        if let Some(since) = tally.failing_since {
            let since = frame.moment(&since);
            notices.push((
                "bad",
                format!(
                    "{} cannot be told since {since}: {} waiting.",
                    tally.channel, tally.pending
                ),
            ));
        }
        if let Some(at) = tally
            .last_dead_at
            .filter(|at| snapshot.at.since_ms(*at) < UNDELIVERED_MS)
        {
            let (dead, last) = (tally.failed + tally.expired, frame.moment(&at));
            let was = if dead == 1 {
                "One notification to"
            } else {
                "Notifications to"
            };
            notices.push((
                "bad",
                format!(
                    "{was} {} could not be delivered; the last was given up {last}.",
                    tally.channel
                ),
            ));
        }
    }
    notices
}

fn silence(silence: &Silence, frame: &Frame) -> Notice {
    let names = silence.endpoints.iter().chain(&silence.groups).cloned();
    let names: Vec<_> = names
        .chain(
            silence
                .providers
                .iter()
                .map(|p: &Provider| p.title().to_owned()),
        )
        .collect();
    let about = if names.is_empty() {
        String::new()
    } else {
        format!(" about {}", listed(&names, NAMES))
    };
    let mut text = format!(
        "Silenced until {}: nobody is told{about}",
        frame.moment(&silence.until)
    );
    match (silence.by.as_str(), silence.note.as_str()) {
        ("", "") => text.push('.'),
        ("", why) => text += &format!(". “{why}”"),
        (who, "") => text += &format!(". Asked for by {who}."),
        (who, why) => text += &format!(". {who}: “{why}”"),
    }
    ("rest", text)
}

fn sentence(text: &str) -> String {
    if text.ends_with('.') {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}
