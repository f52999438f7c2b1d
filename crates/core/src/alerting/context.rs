//! Context of one tick: the time, the configuration, the snapshot and the maintenance windows.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Timelike;
use uuid::Uuid;

use super::maintenance::{self, Active};
use super::suppression::Suppressions;
use crate::config::{Channel, Config, Filters};
use crate::message::values::Locale;
use crate::model::Silence;
use crate::model::Snapshot;
use crate::model::{
    Attribution, Endpoint, EndpointName, Fault, Incident, Notice, NoticeKind, Outcome, Status,
    Timestamp,
};

/// Context of one tick.
pub(super) struct TickContext<'a> {
    pub(super) now: Timestamp,
    pub(super) config: &'a Config,
    pub(super) snapshot: &'a Snapshot,
    pub(super) windows: Vec<Active<'a>>,
}

impl TickContext<'_> {
    /// Returns the end of a maintenance window that covers everything; nothing is sent before.
    pub(super) fn closed_until(&self) -> Option<Timestamp> {
        self.windows
            .iter()
            .filter(|w| w.scope().is_everything())
            .map(|w| w.until)
            .max()
    }

    /// Returns the end of the channel's quiet hours, if they suppress a message of this urgency.
    pub(super) fn quiet_until(&self, channel: &Channel, is_urgent: bool) -> Option<Timestamp> {
        (!is_urgent || channel.filters.quiet_hours_all)
            .then(|| quiet_until(&channel.filters, self.config, self.now))
            .flatten()
    }

    /// Returns what suppresses messages about `incident` for a channel with `filters`. Silences or
    /// maintenance windows must cover every endpoint of the incident.
    pub(super) fn suppressions(
        &self,
        silences: &[Silence],
        filters: &Filters,
        incident: &Incident,
    ) -> Suppressions {
        let endpoints = &incident.endpoints;
        let is_silenced = endpoints
            .iter()
            .all(|name| silences.iter().any(|s| s.covers(name, self.config)));
        let is_maintained = endpoints
            .iter()
            .all(|name| maintenance::covers(&self.windows, name, self.config));
        let is_urgent = incident.status == Status::Outage && !filters.quiet_hours_all;
        Suppressions {
            silence: is_silenced && !silences.is_empty(),
            maintenance: is_maintained && !self.windows.is_empty(),
            quiet_hours: !is_urgent && quiet_until(filters, self.config, self.now).is_some(),
        }
    }

    /// Reports whether another endpoint could still join `incident`: one of the same failure
    /// domain, or any endpoint if the problem is local.
    pub(super) fn may_grow(&self, incident: &Incident) -> bool {
        let is_local = incident.attribution == Attribution::Local;
        self.config.endpoints.iter().any(|e| {
            (is_local || e.domain() == incident.provider) && !incident.endpoints.contains(&e.name)
        })
    }

    /// Builds a message about `incident`.
    pub(super) fn notice(
        &self,
        id: Uuid,
        kind: NoticeKind,
        at: Timestamp,
        incident: &Incident,
        thread: Option<Uuid>,
    ) -> Notice {
        let now = self.snapshot.incidents.iter().find(|i| i.id == incident.id);
        // The official status can change without a change of the incident.
        let official = now.unwrap_or(incident).official.clone();
        // A reminder, and an update by a person, are about now, not about the last change.
        let is_about_now = matches!(kind, NoticeKind::Reminder | NoticeKind::Updated);
        let current = now.filter(|_| is_about_now && incident.resolved_at.is_none());
        let incident = &Incident {
            official,
            ..incident.clone().as_of(current.cloned(), self.now)
        };
        let endpoint = incident
            .endpoints
            .iter()
            .find_map(|n| self.config.endpoints.iter().find(|e| e.name == *n));
        let subject = endpoint.map_or_else(
            || incident.provider.title().to_owned(),
            |e| Endpoint::domain_title(e),
        );
        Notice {
            subject,
            alternatives: self.snapshot.alternatives(&incident.endpoints),
            monitors_alternative: Some(self.snapshot.monitors_alternative(&incident.endpoints)),
            also_failing: self
                .snapshot
                .also_failing(incident, Locale::of(self.config).say("being checked")),
            failing_otherwise: self.failing_otherwise(incident),
            recent: self.snapshot.sparklines(&incident.endpoints),
            url: self
                .config
                .monitor
                .public_url
                .as_ref()
                .map(|u| format!("{u}/incidents/{}", incident.number)),
            thread,
            already_over: kind == NoticeKind::Opened && incident.resolved_at.is_some(),
            incident: Some(incident.clone()),
            ..self.bare(id, kind, at, incident.title.clone())
        }
    }

    /// Returns the endpoints that have left `incident`, or whose incident is over, and that fail in
    /// another way now.
    fn failing_otherwise(&self, incident: &Incident) -> BTreeMap<EndpointName, Fault> {
        let affected = incident.endpoints.iter();
        let affected = affected.filter(|_| incident.resolved_at.is_some() && !incident.removed);
        let left = || incident.recovered.iter().chain(affected.clone());
        let endpoints = self.snapshot.endpoints.iter();
        endpoints
            .filter(|e| e.last_outcome == Some(Outcome::Failed) && left().any(|n| *n == e.name))
            .filter_map(|e| Some((e.name.clone(), e.last_fault?)))
            .filter(|(_, fault)| incident.cause.fault() != Some(*fault))
            .collect()
    }

    /// Builds a message that is not about an incident.
    pub(super) fn bare(&self, id: Uuid, kind: NoticeKind, at: Timestamp, title: String) -> Notice {
        Notice {
            id,
            kind,
            decided_at: at,
            location: self.config.monitor.location.clone(),
            incident: None,
            subject: self.config.monitor.location.clone(),
            title,
            alternatives: Vec::new(),
            monitors_alternative: None,
            also_failing: Vec::new(),
            url: self.config.monitor.public_url.clone(),
            thread: None,
            already_over: false,
            recent: Vec::new(),
            test: false,
            instead_of: None,
            failing_otherwise: BTreeMap::new(),
            failover: None,
            document: None,
            condition: None,
            before: None,
        }
    }
}

/// Returns the end of the quiet hours that contain `now`.
fn quiet_until(filters: &Filters, config: &Config, now: Timestamp) -> Option<Timestamp> {
    let (start, end) = filters.quiet_hours?;
    let local = now.to_datetime().with_timezone(&config.monitor.timezone);
    let minute = (local.hour() * 60 + local.minute()) as u16;
    let quiet = if start <= end {
        (start..end).contains(&minute)
    } else {
        minute >= start || minute < end
    };
    let left =
        i64::from((end + 24 * 60 - minute) % (24 * 60)) * 60_000 - i64::from(local.second()) * 1000;
    quiet.then(|| now + Duration::from_millis(left.max(0).unsigned_abs()))
}
