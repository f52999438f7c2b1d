//! Prometheus Alertmanager. An alert expires when it is not re-sent, so open alerts are re-sent.
//!
//! <https://prometheus.io/docs/alerting/latest/clients/>

use std::time::Duration;

use serde_json::{Value, json};

use super::shorten::shorten;
use super::{Call, FormatInput, Urgency};
use crate::message::render::clean;
use crate::model::{Incident, NoticeKind, Secret, Timestamp};

/// How long an alert lasts without a re-send: four missed re-sends at one per minute, plus a
/// margin.
const LIFE: Duration = Duration::from_mins(5);
/// Conditions of the monitor itself are not re-sent, so they last longer.
const OWN_LIFE: Duration = Duration::from_hours(1);
/// Alertmanager passes annotations on to its own receivers. The strictest (Pushover) accepts 1024
/// characters including all labels, and truncates or rejects longer texts. The full text is behind
/// the alert's link.
const ANNOTATION: usize = 600;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let alerts = match &input.notice.incident {
        Some(incident) => of_incident(input, incident),
        None => vec![of_monitor(input)],
    };
    Call::json(Secret::new(input.url("/api/v2/alerts")), &json!(alerts))
}

fn of_monitor(input: &FormatInput<'_>) -> Value {
    let name = match input.notice.kind {
        NoticeKind::Offline | NoticeKind::Online => "LlmwatchOffline",
        NoticeKind::Budget => "LlmwatchBudgetSpent",
        NoticeKind::Store => "LlmwatchStore",
        NoticeKind::Delivery => "LlmwatchDelivery",
        NoticeKind::Advice => "LlmwatchAdvice",
        NoticeKind::Test => "LlmwatchTest",
        NoticeKind::Drill => "LlmwatchDrill",
        _ => "LlmwatchMonitor",
    };
    // No severity label: the resolve of a condition must have the same labels as its opening.
    let mut labels = json!({"alertname": name, "location": clean(&input.notice.location)});
    if let Some((_, about)) = input
        .notice
        .condition
        .as_ref()
        .and_then(|c| c.key.split_once('/'))
    {
        labels["about"] = json!(clean(about));
    }
    let starts = input.notice.decided_at;
    let now = input.context.now;
    let ends = if input.is_over() {
        now.max(starts)
    } else {
        now + OWN_LIFE
    };
    alert(input, &labels, starts, ends)
}

fn of_incident(input: &FormatInput<'_>, incident: &Incident) -> Vec<Value> {
    let now = input.context.now;
    let starts = incident.started_at;
    let is_over = input.notice.kind == NoticeKind::Resolved;
    let ends = match incident.resolved_at {
        Some(at) if is_over => at.max(starts),
        _ => now + LIFE,
    };
    // An incident that was resolved before it could be notified is sent as firing, because
    // Alertmanager never notifies about an alert that arrives resolved. Its text says that it is
    // over, and it expires by itself.
    let current = labels(input, incident, input.urgency());
    let mut alerts = vec![alert(input, &current, starts, ends)];
    // Resolve the milder alert. An incident reattributed to the account has low urgency, so it
    // still is that alert.
    if input.notice.kind == NoticeKind::Escalated && input.urgency() == Urgency::High {
        let milder = labels(input, incident, Urgency::Low);
        alerts.push(alert(input, &milder, starts, now.max(starts)));
    }
    alerts
}

/// Labels must not change during an incident, because another label set is another alert. Severity
/// is the exception, because routes match on it. When the severity rises, the milder alert is
/// resolved.
fn labels(input: &FormatInput<'_>, incident: &Incident, urgency: Urgency) -> Value {
    json!({
        "alertname": "LlmwatchIncident",
        "incident": incident.id,
        "number": incident.number.to_string(),
        "provider": clean(&incident.provider),
        "attribution": incident.attribution,
        "location": clean(&input.notice.location),
        "severity": severity(urgency),
    })
}

fn severity(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::High => "critical",
        Urgency::Low => "warning",
        Urgency::Info => "info",
    }
}

fn alert(input: &FormatInput<'_>, labels: &Value, starts: Timestamp, ends: Timestamp) -> Value {
    let message = &input.message;
    let text: Vec<_> = message
        .paragraphs()
        .iter()
        .map(|(heading, text)| format!("{heading}\n{text}"))
        .collect();
    let mut alert = json!({
        "labels": labels,
        "annotations": {
            "summary": shorten(&message.subject, ANNOTATION),
            "description": shorten(&text.join("\n\n"), ANNOTATION),
        },
        "startsAt": starts,
        "endsAt": ends,
    });
    if let Some(url) = input.link() {
        alert["generatorURL"] = json!(url);
    }
    alert
}
