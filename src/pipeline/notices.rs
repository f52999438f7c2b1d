//! Who is told what: turns a change of an incident into log lines, rows and one notification per channel that wants it.

use ring::digest::{SHA256, digest};
use uuid::Uuid;

use super::{Line, Step};
use crate::audience::wants;
use crate::config::Config;
use crate::incident::Change;
use crate::log::Event;
use crate::model::{Endpoint, Incident, Notice, NoticeType, Timestamp};
use crate::snapshot::Snapshot;
use crate::store::{IncidentRow, Outgoing};

pub(super) struct Teller<'a> {
    pub(super) config: &'a Config,
}

impl Teller<'_> {
    /// Records and tells a change of an incident.
    pub(super) fn incident(&self, step: &mut Step, change: Change, incident: Incident, now: &Snapshot) {
        let (event, level, r#type) = match change {
            Change::Opened => (Event::IncidentOpened, tracing::Level::WARN, NoticeType::Opened),
            Change::Updated => (Event::IncidentUpdated, tracing::Level::INFO, NoticeType::Updated),
            Change::Escalated => (Event::IncidentEscalated, tracing::Level::WARN, NoticeType::Escalated),
            Change::Resolved => (Event::IncidentResolved, tracing::Level::INFO, NoticeType::Resolved),
        };
        let fields = serde_json::json!({
            "incident": incident.id, "number": incident.number, "endpoint": incident.endpoints.first(),
            "endpoints": incident.endpoints, "provider": incident.provider, "status": incident.status,
            "cause": incident.cause, "attribution": incident.attribution, "started_at": incident.started_at,
            "opened_at": incident.opened_at, "resolved_at": incident.resolved_at, "duration_s": incident.duration_s,
            "explanation": incident.explanation,
        });
        step.lines.push(Line::new(event, level, incident.title.clone(), fields));
        step.commit.incidents.push(IncidentRow {
            id: incident.id,
            number: incident.number,
            open: incident.resolved_at.is_none(),
            started_at: incident.started_at,
            // Plain data with string keys: serialising cannot fail.
            data: serde_json::to_string(&incident).unwrap_or_default(),
        });
        let subject = incident
            .endpoints
            .iter()
            .find_map(|name| self.config.endpoints.iter().find(|e| e.name == *name))
            .map_or_else(|| incident.provider.clone(), |e| Endpoint::domain_title(e));
        let notice = Notice {
            id: Uuid::nil(),
            r#type,
            decided_at: now.at,
            location: self.config.monitor.location.clone(),
            subject,
            title: incident.title.clone(),
            alternatives: now.alternatives(&incident.endpoints),
            url: self.config.monitor.public_url.as_ref().map(|u| format!("{u}/incidents/{}", incident.number)),
            thread: None,
            already_over: false,
            recent: now.strips(&incident.endpoints),
            test: false,
            incident: Some(incident),
        };
        self.queue(step, &notice);
    }

    /// Tells something about the monitor itself.
    pub(super) fn monitor(&self, step: &mut Step, r#type: NoticeType, title: String, at: Timestamp) {
        let notice = Notice {
            id: Uuid::nil(),
            r#type,
            decided_at: at,
            location: self.config.monitor.location.clone(),
            incident: None,
            subject: self.config.monitor.location.clone(),
            title,
            alternatives: Vec::new(),
            url: self.config.monitor.public_url.clone(),
            thread: None,
            already_over: false,
            recent: Vec::new(),
            test: false,
        };
        self.queue(step, &notice);
    }

    fn queue(&self, step: &mut Step, notice: &Notice) {
        for channel in self.config.channels.iter().filter(|c| wants(&c.filters, notice, self.config)) {
            let id = |r#type: NoticeType, at: Timestamp| {
                let about = notice.incident.as_ref().map(|i| i.id.to_string()).unwrap_or_default();
                stable_id(&[&about, &channel.name, r#type.as_str(), &at.to_string()])
            };
            let opened = notice.incident.as_ref().map(|i| id(NoticeType::Opened, i.opened_at));
            let notice = match opened.filter(|_| notice.r#type == NoticeType::Opened) {
                Some(id) => Notice { id, ..notice.clone() },
                None => Notice { id: id(notice.r#type, notice.decided_at), thread: opened, ..notice.clone() },
            };
            let message = format!("{} is queued for {}", notice.r#type.as_str(), channel.name);
            let fields = serde_json::json!({
                "notification": notice.id, "channel": channel.name, "type": notice.r#type,
                "incident": notice.incident.as_ref().map(|i| i.id),
            });
            step.lines.push(Line::new(Event::NotificationQueued, tracing::Level::INFO, message, fields));
            step.commit.outgoing.push(Outgoing { channel: channel.name.clone(), notice });
        }
    }
}

/// An id that is the same whenever the same thing is told: a step that is repeated after a crash cannot tell it twice.
fn stable_id(parts: &[&str]) -> Uuid {
    let digest = digest(&SHA256, parts.join("\n").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
