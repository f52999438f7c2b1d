//! Notices on a page: problems of the monitor itself, maintenance, silences, and advice.

use super::Frame;
use super::history::DAY_MS;
use crate::web::format::listed;
use llmwatch_core::model::AdviceKind;
use llmwatch_core::model::{
    Annotation, ChannelName, ChannelStats, EndpointName, Provider, Silence, Snapshot, Timestamp,
};
use llmwatch_core::text;

/// Undelivered notifications are shown for a week.
const UNDELIVERED_MS: i64 = 7 * DAY_MS;
/// The most annotations of the last day that are shown.
const ANNOTATIONS: usize = 3;
/// The most names that are listed individually.
const NAMES: usize = 3;

/// One notice: the class of its mark, and the text.
pub(super) type Notice = (&'static str, String);

/// The notices of the index page.
pub(super) fn of_all(snapshot: &Snapshot, frame: &Frame) -> Vec<Notice> {
    let locale = &frame.locale;
    let mut notices = of_the_monitor(snapshot, frame);
    for m in &snapshot.maintenance {
        let what = if m.endpoints.len() == snapshot.endpoints.len() {
            locale.say("everything").to_owned()
        } else {
            listed(&m.endpoints, NAMES, locale)
        };
        let name = &m.name;
        let until = frame.moment(&m.until);
        notices.push((
            "rest",
            text!(
                locale,
                "Maintenance “{name}” until {until}: {what}.",
                name,
                until,
                what
            ),
        ));
    }
    let is_recent = |a: &&Annotation| snapshot.at.since_ms(a.at) < DAY_MS;
    let recent = snapshot.annotations.iter().rev().filter(is_recent);
    notices.extend(recent.take(ANNOTATIONS).map(|a| annotation(a, frame)));
    if frame.sees_all {
        notices.extend(snapshot.silences.iter().map(|s| silence(s, frame)));
    }
    notices
}

/// Equal advice about several endpoints.
pub(super) struct AdviceGroup {
    kind: AdviceKind,
    pub(super) text: String,
    pub(super) endpoints: Vec<EndpointName>,
}

/// Groups advice by kind and text: advice about a model applies to each endpoint that uses it.
pub(super) fn advice(snapshot: &Snapshot) -> Vec<AdviceGroup> {
    let mut groups: Vec<AdviceGroup> = Vec::new();
    for advice in &snapshot.advice {
        let text = sentence(&capitalized(without_name(&advice.text, &advice.endpoint)));
        match groups
            .iter_mut()
            .find(|g| g.kind == advice.kind && g.text == text)
        {
            Some(group) => group.endpoints.push(advice.endpoint.clone()),
            None => groups.push(AdviceGroup {
                kind: advice.kind,
                text,
                endpoints: vec![advice.endpoint.clone()],
            }),
        }
    }
    groups.sort_by_key(|g| g.kind);
    groups
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(chars).collect()
}

/// Strips the endpoint's name from the start of the sentence.
fn without_name<'a>(text: &'a str, endpoint: &str) -> &'a str {
    text.strip_prefix(endpoint)
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(text)
}

/// The notices of an endpoint's page.
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
    let locale = &frame.locale;
    if !frame.sees_all {
        return notices;
    }
    if let Some(since) = &snapshot.alone_since {
        let since = frame.moment(since);
        notices.push((
            "bad",
            text!(
                locale,
                "The shared database has not been reached since {since}. What the other locations see is not known; samples wait \
                 on this machine.",
                since
            ),
        ));
    }
    notices.extend(
        snapshot
            .differences
            .iter()
            .map(|text| ("slow", sentence(text))),
    );
    if snapshot.store_error.is_some() {
        notices.push((
            "bad",
            locale
                .say("The database cannot be written. Samples wait in memory until it can.")
                .to_owned(),
        ));
    }
    if snapshot.budget_spent && snapshot.offline_since.is_none() {
        notices.push((
            "slow",
            locale
                .say("Today’s probing budget is used up. Probing is paused until midnight.")
                .to_owned(),
        ));
    }
    notices.extend(failing_channels(snapshot, frame));
    for tally in &snapshot.outbox {
        if let Some(at) = tally
            .last_dead_at
            .filter(|at| snapshot.at.since_ms(*at) < UNDELIVERED_MS)
        {
            let dead = tally.failed + tally.expired;
            let last = frame.moment(&at);
            let channel = &tally.channel;
            notices.push((
                "bad",
                text!(
                    locale,
                    dead => "One notification to {channel} could not be delivered; the last one expired at {last}.",
                    "Notifications to {channel} could not be delivered; the last one expired at {last}.";
                    channel, last
                ),
            ));
        }
    }
    notices.extend(drills(snapshot, frame));
    notices
}

/// The channels that accept no messages: one notice for each, or one for all if there are many,
/// since they probably fail for the same reason.
fn failing_channels(snapshot: &Snapshot, frame: &Frame) -> Vec<Notice> {
    let locale = &frame.locale;
    let failing: Vec<_> = snapshot
        .outbox
        .iter()
        .filter_map(|tally| Some((tally, tally.failing_since?)))
        .collect();
    if failing.len() > NAMES {
        let first = failing.iter().map(|(_, since)| *since).min();
        let since = first.map_or_else(String::new, |since| frame.moment(&since));
        let waiting: u64 = failing.iter().map(|(tally, _)| tally.pending).sum();
        let names: Vec<_> = failing.iter().map(|(tally, _)| &tally.channel).collect();
        let n = failing.len();
        let channels = listed(&names, NAMES, locale);
        let text = text!(
            locale,
            "{n} channels have not accepted messages since {since}: {channels}; {waiting} messages waiting.",
            n,
            since,
            channels,
            waiting
        );
        return vec![("bad", text)];
    }
    failing
        .into_iter()
        .map(|(tally, since)| failing_channel(tally, since, frame))
        .collect()
}

fn failing_channel(tally: &ChannelStats, since: Timestamp, frame: &Frame) -> Notice {
    let channel = &tally.channel;
    let n = tally.pending;
    let since = frame.moment(&since);
    let text = text!(
        frame.locale,
        n => "{channel} has not accepted messages since {since}; {n} message waiting.",
        "{channel} has not accepted messages since {since}; {n} messages waiting.";
        channel, since, n
    );
    ("bad", text)
}

/// When a person last confirmed a drill, for each drilled channel.
fn drills(snapshot: &Snapshot, frame: &Frame) -> Vec<Notice> {
    let drills = &snapshot.drills;
    let mut channels: Vec<_> = drills.messages.iter().map(|m| &m.channel).collect();
    channels.extend(drills.last_confirmed.keys());
    channels.sort_unstable();
    channels.dedup();
    let locale = &frame.locale;
    let line = |channel: &ChannelName| {
        let open = drills.last_of(channel).filter(|m| m.confirmed_at.is_none());
        let class = if open.is_some() { "slow" } else { "ok" };
        let mut line = match drills.last_confirmed.get(channel) {
            Some(at) => {
                let at = frame.moment(at);
                text!(
                    locale,
                    "Drills of {channel}: last confirmed {at}",
                    channel,
                    at
                )
            }
            None => text!(locale, "Drills of {channel}: never confirmed", channel),
        };
        if let Some(message) = open {
            let at = frame.moment(&message.sent_at);
            line += &text!(locale, "; the drill of {at} is not confirmed yet", at);
        }
        (class, line + ".")
    };
    channels.into_iter().map(line).collect()
}

fn annotation(annotation: &Annotation, frame: &Frame) -> Notice {
    let names = scope(
        &annotation.endpoints,
        &annotation.groups,
        &annotation.providers,
    );
    let mut text = frame.moment(&annotation.at);
    if !annotation.by.is_empty() {
        text += &format!(", {}", annotation.by);
    }
    text += &format!(": {}", annotation.text);
    if !names.is_empty() {
        text += &format!(" ({})", listed(&names, NAMES, &frame.locale));
    }
    ("rest", text)
}

fn scope<'a>(
    endpoints: &'a [EndpointName],
    groups: &'a [String],
    providers: &'a [Provider],
) -> Vec<&'a str> {
    let endpoints = endpoints.iter().map(EndpointName::as_str);
    let groups = groups.iter().map(String::as_str);
    let providers = providers.iter().map(|p| p.title());
    endpoints.chain(groups).chain(providers).collect()
}

fn silence(silence: &Silence, frame: &Frame) -> Notice {
    let names = scope(&silence.endpoints, &silence.groups, &silence.providers);
    let locale = &frame.locale;
    let until = frame.moment(&silence.until);
    let mut text = if names.is_empty() {
        text!(locale, "Silenced until {until}: no notifications", until)
    } else {
        let about = listed(&names, NAMES, locale);
        text!(
            locale,
            "Silenced until {until}: no notifications about {about}",
            until,
            about
        )
    };
    match (silence.by.as_str(), silence.note.as_str()) {
        ("", "") => text.push('.'),
        ("", why) => text += &format!(". “{why}”"),
        (who, "") => text += &text!(locale, ". Created by {who}.", who),
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
