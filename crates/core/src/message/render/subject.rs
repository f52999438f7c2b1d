//! The subject line: the message in one line, short enough for a phone.

use serde_json::Value;

use super::tag::Tag;
use crate::message::incident::{changes, manner};
use crate::message::severity::Severity;
use crate::message::values::{Locale, clean};
use crate::model::{Attribution, Cause, Incident, Notice, NoticeType};

/// Longer subjects are cut by the programs that show them.
const LONGEST: usize = 150;

/// The subject of a mail about `notice`: one line without control characters.
pub fn subject(notice: &Notice) -> String {
    let line = match &notice.incident {
        Some(incident) => of_incident(notice, incident),
        None if notice.r#type == NoticeType::Test => notice.title.clone(),
        None => format!("[{}] {}", label(notice), notice.title),
    };
    let is_test = notice.test || notice.r#type == NoticeType::Test;
    let line = format!("{}{}", if is_test { "[TEST] " } else { "" }, clean(&line));
    if line.chars().count() <= LONGEST {
        line
    } else {
        line.chars().take(LONGEST - 1).chain(['…']).collect()
    }
}

/// The tag; one condition of the monitor keeps it from beginning to end.
fn label(notice: &Notice) -> &'static str {
    match notice.r#type {
        NoticeType::Advice | NoticeType::Report | NoticeType::Official | NoticeType::Digest => {
            Tag::of(notice).label()
        }
        _ => Tag::Monitor.label(),
    }
}

/// The most serious of the open incidents of a digest; `None` if all are over.
pub(super) fn gravest(notice: &Notice) -> Option<Severity> {
    let listed = notice
        .document
        .as_ref()
        .and_then(|d| d.data["incidents"].as_array());
    let severity = |entry: &Value| {
        let attribution = serde_json::from_value(entry["attribution"].clone()).ok()?;
        let status = serde_json::from_value(entry["status"].clone()).ok()?;
        Some(Severity::new(attribution, status))
    };
    listed
        .into_iter()
        .flatten()
        .filter(|entry| entry["resolved_at"].is_null())
        .filter_map(severity)
        .max()
}

fn of_incident(notice: &Notice, incident: &Incident) -> String {
    let locale = Locale::default();
    let name = &notice.subject;
    let lasted = locale.duration(incident.duration_s);
    if notice.r#type == NoticeType::Resolved {
        let (who, past) = (who(incident), past(incident));
        return format!("[RESOLVED after {lasted}] {name}: {who} {past}");
    }
    if let Some(before) = notice.before.as_ref()
        && notice.r#type == NoticeType::Updated
        && before.is_acknowledged == incident.acknowledged.is_some()
    {
        let changes = changes(before, incident, &locale);
        if !changes.is_empty() {
            return format!("[{}] {name}: {changes}", Tag::of(notice).label());
        }
    }
    let tag = match Tag::of(notice) {
        // It says below that it is over; its beginning is what filters sort by.
        Tag::Over(severity) => severity.tag(),
        tag => tag.label(),
    };
    let extra = match notice.r#type {
        NoticeType::Reminder => " still",
        NoticeType::Escalated => " now",
        _ => "",
    };
    let end = if notice.already_over {
        format!(", over after {lasted}")
    } else {
        acknowledged(notice, incident).unwrap_or_else(|| healthy(notice))
    };
    match (incident.attribution, incident.cause) {
        (Attribution::Provider, _) => {
            let how = if notice.already_over {
                past(incident)
            } else {
                present(incident)
            };
            format!("[{tag}] {name}: {}{extra} {how}{end}", who(incident))
        }
        (_, Cause::Fault(fault)) => format!("[{tag}] {name}: {}{end}", fault.describe()),
        _ => format!("[{tag}] {name}: not usable{end}"),
    }
}

fn acknowledged(notice: &Notice, incident: &Incident) -> Option<String> {
    let acknowledged = incident.acknowledged.as_ref()?;
    (notice.r#type == NoticeType::Updated).then(|| match acknowledged.by.as_str() {
        "" => ", acknowledged".to_owned(),
        by => format!(", acknowledged by {by}"),
    })
}

/// What works instead.
fn healthy(notice: &Notice) -> String {
    match notice.alternatives.first() {
        Some(best) if best.title != notice.subject => format!(", {} healthy", best.title),
        Some(best) => format!(", {} healthy", best.endpoint),
        None => String::new(),
    }
}

fn who(incident: &Incident) -> String {
    match incident.endpoints.as_slice() {
        [one] => one.clone(),
        many => format!("{} endpoints", many.len()),
    }
}

fn present(incident: &Incident) -> String {
    match incident.cause {
        Cause::Slow => "slow".to_owned(),
        cause if incident.is_suspected() => format!("failing ({cause}), suspected provider fault"),
        cause => format!("{} ({cause})", manner(incident)),
    }
}

fn past(incident: &Incident) -> String {
    let one = incident.endpoints.len() == 1;
    let cause = incident.cause;
    if incident.removed {
        return "removed from the configuration".to_owned();
    }
    if let Some(number) = incident.merged_into() {
        return format!("now part of incident {number}");
    }
    if incident.is_new_normal() {
        return "still slow, now the baseline".to_owned();
    }
    match (incident.attribution, cause, one) {
        (Attribution::Provider, Cause::Slow, true) => "was slow".to_owned(),
        (Attribution::Provider, Cause::Slow, false) => "were slow".to_owned(),
        (Attribution::Provider, _, true) => format!("was failing ({cause})"),
        (Attribution::Provider, _, false) => format!("were failing ({cause})"),
        _ => format!("recovered (was: {cause})"),
    }
}
