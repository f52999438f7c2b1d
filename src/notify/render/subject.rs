//! The subject line: the whole story in one look at a phone.

use serde_json::Value;

use super::letter::clean;
use crate::incident::{SLOW, human_duration};
use crate::model::{Attribution, Fault, Incident, Notice, NoticeType, Status};

/// Longer subjects are cut by the programs that show them.
const LONGEST: usize = 150;

/// The subject of a mail about `notice`: one line without control characters.
pub fn subject(notice: &Notice) -> String {
    let line = match &notice.incident {
        Some(incident) => of_incident(notice, incident),
        None if notice.r#type == NoticeType::Test => notice.title.clone(),
        None if notice.r#type == NoticeType::Report => format!("[REPORT] {}", notice.title),
        None if notice.r#type == NoticeType::Official => format!("[OFFICIAL] {}", notice.title),
        None if notice.r#type == NoticeType::Digest => {
            format!("[{}] {}", gravest(notice), notice.title)
        }
        None if notice.r#type == NoticeType::Advice => format!("[ADVICE] {}", notice.title),
        None => format!("[MONITOR] {}", notice.title),
    };
    let is_test = notice.test || notice.r#type == NoticeType::Test;
    let line = format!("{}{}", if is_test { "[TEST] " } else { "" }, clean(&line));
    if line.chars().count() <= LONGEST {
        line
    } else {
        line.chars().take(LONGEST - 1).chain(['…']).collect()
    }
}

/// What a digest is tagged with: the gravest of what goes on in it.
pub(super) fn gravest(notice: &Notice) -> &'static str {
    let listed = notice
        .document
        .as_ref()
        .and_then(|d| d.data["incidents"].as_array());
    let tag = |entry: &Value| match (entry["attribution"].as_str(), entry["status"].as_str()) {
        (Some("account"), _) => (1, "YOUR ACCOUNT"),
        (Some("local"), _) => (0, "MONITOR"),
        (_, Some("degraded")) => (2, "DEGRADED"),
        _ => (3, "OUTAGE"),
    };
    let going_on = listed
        .into_iter()
        .flatten()
        .filter(|entry| entry["resolved_at"].is_null());
    going_on.map(tag).max().map_or("RESOLVED", |(_, tag)| tag)
}

fn of_incident(notice: &Notice, incident: &Incident) -> String {
    let name = &notice.subject;
    if notice.r#type == NoticeType::Resolved {
        let lasted = human_duration(incident.duration_s);
        return format!(
            "[RESOLVED after {lasted}] {name}: {} {}",
            who(incident),
            past(incident)
        );
    }
    let tag = match (incident.attribution, incident.status) {
        (Attribution::Account, _) => "YOUR ACCOUNT",
        (Attribution::Local, _) => "MONITOR",
        (Attribution::Provider, Status::Degraded) => "DEGRADED",
        (Attribution::Provider, _) => "OUTAGE",
    };
    let extra = match notice.r#type {
        NoticeType::Reminder => " still",
        NoticeType::Escalated => " now",
        _ => "",
    };
    let taken = incident
        .acknowledged
        .as_ref()
        .filter(|_| notice.r#type == NoticeType::Updated);
    let over = match taken {
        _ if notice.already_over => format!(", over after {}", human_duration(incident.duration_s)),
        Some(word) if word.by.is_empty() => ", somebody is on it".to_owned(),
        Some(word) => format!(", {} is on it", word.by),
        None => healthy(notice),
    };
    if incident.attribution == Attribution::Provider {
        let how = if notice.already_over {
            past(incident)
        } else {
            present(incident)
        };
        format!("[{tag}] {name}: {}{extra} {how}{over}", who(incident))
    } else {
        let words = incident
            .cause
            .parse::<Fault>()
            .map_or("not usable", Fault::describe);
        format!("[{tag}] {name}: {words}{over}")
    }
}

/// What works instead, in a word.
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
    let refused = incident
        .cause
        .parse::<Fault>()
        .is_ok_and(|f| f.attribution() == Attribution::Account);
    match incident.cause.as_str() {
        SLOW => "slow".to_owned(),
        cause if refused => format!("failing ({cause}), suspected provider fault"),
        cause => format!("failing ({cause})"),
    }
}

fn past(incident: &Incident) -> String {
    if incident.removed {
        return "removed from the configuration".to_owned();
    }
    if let (Attribution::Account, Some(number)) = (incident.attribution, incident.explained_by) {
        let is = if incident.endpoints.len() == 1 {
            "is"
        } else {
            "are"
        };
        return format!("{is} part of incident {number} now");
    }
    let one = incident.endpoints.len() == 1;
    let (stay, was, work) = if one {
        ("stays", "was", "works")
    } else {
        ("stay", "were", "work")
    };
    match incident.attribution {
        _ if incident.is_new_normal() => format!("{stay} slow, the new normal"),
        Attribution::Provider if incident.cause == SLOW => format!("{was} slow"),
        Attribution::Provider => format!("{was} failing ({})", incident.cause),
        _ => format!("{work} again ({})", incident.cause),
    }
}
