//! The subject line: the message in one line, short enough for a phone.

use super::tag::Tag;
use crate::message::incident::changes;
use crate::message::place;
use crate::message::values::{Locale, clean};
use crate::model::{Attribution, Cause, Incident, Notice, NoticeKind, Status};
use crate::text;

/// Mail programs truncate longer subjects.
const LONGEST: usize = 150;

/// Returns the subject of a mail about `notice`: one line without control characters.
pub fn subject(notice: &Notice, locale: &Locale) -> String {
    let line = match &notice.incident {
        Some(incident) => of_incident(notice, incident, locale),
        None if notice.kind == NoticeKind::Test => notice.title.clone(),
        None => format!("[{}] {}", label(notice), notice.title),
    };
    let is_test = notice.test || notice.kind == NoticeKind::Test;
    let line = format!("{}{}", if is_test { "[TEST] " } else { "" }, clean(&line));
    if line.chars().count() <= LONGEST {
        line
    } else {
        line.chars().take(LONGEST - 1).chain(['…']).collect()
    }
}

/// Returns the tag. A condition of the monitor keeps its tag from start to end.
fn label(notice: &Notice) -> &'static str {
    match notice.kind {
        NoticeKind::Advice
        | NoticeKind::Report
        | NoticeKind::Official
        | NoticeKind::Digest
        | NoticeKind::Drill => Tag::of(notice).label(),
        _ => Tag::Monitor.label(),
    }
}

fn of_incident(notice: &Notice, incident: &Incident, locale: &Locale) -> String {
    let name = &format!("{}{}", place::prefix(incident), notice.subject);
    let from = place::suffix(incident, locale);
    let lasted = locale.duration(incident.duration_s);
    if notice.kind == NoticeKind::Resolved {
        let who = who(incident, locale);
        let past = past(incident, locale);
        return text!(
            locale,
            "[RESOLVED after {lasted}] {name}: {who} {past}",
            lasted,
            name,
            who,
            past
        );
    }
    if let Some(before) = notice.before.as_ref()
        && notice.kind == NoticeKind::Updated
        && before.is_acknowledged == incident.acknowledged.is_some()
    {
        let changes = changes(before, incident, &notice.failing_otherwise, locale);
        if !changes.is_empty() {
            return format!("[{}] {name}: {changes}", Tag::of(notice).label());
        }
    }
    let tag = match Tag::of(notice) {
        // The text says that it is over. Mail filters need the tag of the opening.
        Tag::Over(severity) => severity.tag(),
        tag => tag.label(),
    };
    let extra = match notice.kind {
        NoticeKind::Reminder => locale.say(" still"),
        NoticeKind::Escalated => locale.say(" now"),
        _ => "",
    };
    let end = if notice.already_over {
        text!(locale, ", over after {lasted}", lasted)
    } else {
        acknowledged(notice, incident, locale).unwrap_or_else(|| healthy(notice, incident, locale))
    };
    match (incident.attribution, incident.cause) {
        (Attribution::Provider, _) => {
            let how = if notice.already_over {
                past(incident, locale)
            } else {
                present(incident, locale)
            };
            format!(
                "[{tag}] {name}: {}{extra} {how}{from}{end}",
                who(incident, locale)
            )
        }
        (_, Cause::Fault(fault)) => {
            format!(
                "[{tag}] {name}: {}{from}{end}",
                locale.say(fault.describe())
            )
        }
        _ => format!("[{tag}] {name}: {}{from}{end}", locale.say("not usable")),
    }
}

fn acknowledged(notice: &Notice, incident: &Incident, locale: &Locale) -> Option<String> {
    let acknowledged = incident.acknowledged.as_ref()?;
    (notice.kind == NoticeKind::Updated).then(|| match acknowledged.by.as_str() {
        "" => locale.say(", acknowledged").to_owned(),
        by => text!(locale, ", acknowledged by {by}", by),
    })
}

/// Returns what works instead: the vendor, or only the endpoint if the vendor has trouble of its
/// own.
fn healthy(notice: &Notice, incident: &Incident, locale: &Locale) -> String {
    if incident.cause.affects_all() {
        return String::new();
    }
    let is_well =
        |vendor: &String| *vendor != notice.subject && !notice.also_failing.contains(vendor);
    let name = match notice.alternatives.first() {
        Some(best) if is_well(&best.title) => best.title.as_str(),
        Some(best) => best.endpoint.as_str(),
        None => return String::new(),
    };
    text!(locale, ", {name} healthy", name)
}

fn who(incident: &Incident, locale: &Locale) -> String {
    match incident.endpoints.as_slice() {
        [one] => one.to_string(),
        many => {
            let n = many.len();
            text!(locale, "{n} endpoints", n)
        }
    }
}

fn present(incident: &Incident, locale: &Locale) -> String {
    let one = incident.endpoints.len();
    match incident.cause {
        Cause::Slow => text!(locale, one => "slow", "slow "; one)
            .trim_end()
            .to_owned(),
        cause if incident.is_suspected() => text!(
            locale,
            one => "failing ({cause}), suspected provider fault",
            "failing ({cause}), suspected provider fault ";
            cause
        )
        .trim_end()
        .to_owned(),
        cause if incident.status == Status::Degraded => text!(
            locale,
            one => "failing intermittently ({cause})", "failing intermittently ({cause}) "; cause
        )
        .trim_end()
        .to_owned(),
        cause => text!(locale, one => "failing ({cause})", "failing ({cause}) "; cause)
            .trim_end()
            .to_owned(),
    }
}

fn past(incident: &Incident, locale: &Locale) -> String {
    let one = incident.endpoints.len() == 1;
    let cause = incident.cause;
    if incident.removed {
        return locale.say("removed from the configuration").to_owned();
    }
    if let Some(number) = incident.merged_into() {
        return text!(locale, "now part of incident {number}", number);
    }
    if incident.is_new_normal() {
        return locale.say("still slow, now the baseline").to_owned();
    }
    match (incident.attribution, cause, one) {
        (Attribution::Provider, Cause::Slow, true) => locale.say("was slow").to_owned(),
        (Attribution::Provider, Cause::Slow, false) => locale.say("were slow").to_owned(),
        (Attribution::Provider, _, true) => text!(locale, "was failing ({cause})", cause),
        (Attribution::Provider, _, false) => text!(locale, "were failing ({cause})", cause),
        _ => text!(locale, "recovered (was: {cause})", cause),
    }
}
