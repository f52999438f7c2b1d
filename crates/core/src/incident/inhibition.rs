//! Inhibition by dependency.
//!
//! An endpoint that depends on a failing vendor joins the vendor's incident. It gets its own
//! incident only if it still fails after the vendor has recovered.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::open::OpenIncident;
use super::{Change, IncidentContext, IncidentTracker, OUTAGE_SHARE};
use crate::detect::DetectorEvent;
use crate::model::{
    Attribution, Endpoint, IncidentKind, Outcome, Sample, ShiftClock, Status, Timestamp,
};

/// An endpoint whose failures are caused by another incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Inhibited {
    /// The causing incident, while it is open.
    pub(super) by: Option<Uuid>,
    /// The detector event; its counts restart once the causing incident resolves.
    note: DetectorEvent,
    /// When the causing incident resolved.
    alone_since: Option<Timestamp>,
}

impl Inhibited {
    pub(super) fn status(&self) -> Status {
        let share = f64::from(self.note.k) / f64::from(self.note.n.max(1));
        if !self.note.cause.is_slow() && share >= OUTAGE_SHARE {
            Status::Outage
        } else {
            Status::Degraded
        }
    }
}

impl IncidentTracker {
    /// Adds an endpoint to the open incident of something that it depends on, if there is one.
    pub(super) fn inhibit_by_dependency(
        &mut self,
        note: &DetectorEvent,
        status: Status,
        endpoint: &Endpoint,
        context: &impl IncidentContext,
    ) -> Option<(Change, Uuid)> {
        let open = self
            .open
            .iter_mut()
            .find(|o| is_cause(o, endpoint, context))?;
        let explains = &mut open.incident.explains;
        if !explains.contains(&note.endpoint) {
            explains.push(note.endpoint.clone());
        }
        let mut note = note.clone();
        if status == Status::Outage {
            // Keeps the reported status: an endpoint that failed before it joined counts as
            // failing.
            note.k = note.k.max(note.n.div_ceil(2));
        }
        let explained = Inhibited {
            by: Some(open.incident.id),
            note,
            alone_since: None,
        };
        self.explained.insert(endpoint.name.clone(), explained);
        Some((Change::Updated, open.incident.id))
    }

    /// Links already notified incidents to the new incident `id` if it is their cause.
    pub(super) fn explain_others(
        &mut self,
        id: Uuid,
        context: &impl IncidentContext,
    ) -> Vec<(Change, Uuid)> {
        let Some(cause) = self.open.iter().find(|o| o.incident.id == id).cloned() else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        for open in self
            .open
            .iter_mut()
            .filter(|o| o.incident.id != id && o.kind == IncidentKind::Service)
        {
            let all_depend = open.failing.iter().all(|name| {
                context
                    .endpoint(name)
                    .is_some_and(|e| is_cause(&cause, e, context))
            });
            if open.incident.explained_by.is_none() && !open.failing.is_empty() && all_depend {
                open.incident.explained_by = Some(cause.incident.number);
                changes.push((Change::Updated, open.incident.id));
            }
        }
        changes
    }

    /// Ends the inhibition by incident `id`, which resolved at `at`. Its dependents recover from
    /// now on or get their own incidents.
    pub(super) fn release(&mut self, id: Uuid, at: Timestamp) {
        for explained in self.explained.values_mut().filter(|e| e.by == Some(id)) {
            (explained.by, explained.alone_since) = (None, Some(at));
            (explained.note.k, explained.note.n) = (0, 0);
        }
    }

    /// Counts a sample of an endpoint that is no longer inhibited. Opens its own incident once it
    /// has kept failing for as long as an alert takes.
    pub(super) fn promote_if_still_failing(
        &mut self,
        sample: &Sample,
        context: &impl IncidentContext,
    ) -> Option<(Change, Uuid)> {
        let endpoint = context.endpoint(&sample.endpoint)?;
        let explained = self.explained.get_mut(&sample.endpoint)?;
        let since = explained.alone_since?;
        let note = &mut explained.note;
        let bad = match sample.outcome {
            Outcome::Failed => sample.attribution == Some(Attribution::Provider),
            Outcome::Slow => note.cause.is_slow(),
            Outcome::Ok => false,
        };
        if sample.started_at < since {
            return None;
        }
        if bad && note.k == 0 {
            note.started_at = sample.started_at;
        }
        note.k += u32::from(bad);
        note.n += 1;
        let grace = endpoint.detection.alert_after().as_millis() as i64;
        if !bad || note.k < 2 || sample.ended_at().since_ms(since) < grace {
            return None;
        }
        let note = DetectorEvent {
            at: sample.ended_at(),
            ..note.clone()
        };
        let status = explained.status();
        self.explained.remove(&sample.endpoint);
        if let Some(change) = self.inhibit_by_dependency(&note, status, endpoint, context) {
            // Another incident is the cause now.
            return Some(change);
        }
        let domain = endpoint.domain();
        let outage = self
            .open
            .iter_mut()
            .find(|o| o.kind == IncidentKind::Service && o.incident.provider == domain);
        if let Some(open) = outage {
            open.count_event(&note, context);
            return Some((Change::Updated, open.incident.id));
        }
        Some((
            Change::Opened,
            self.begin(
                &note,
                sample,
                status,
                (Attribution::Provider, IncidentKind::Service),
                context,
            ),
        ))
    }
}

/// Reports whether `open` affects something that `endpoint` depends on, by name or by provider.
fn is_cause(open: &OpenIncident, endpoint: &Endpoint, context: &impl IncidentContext) -> bool {
    let is_dependency = open.failing.iter().any(|name| {
        let provider = context.endpoint(name).map(|e| e.provider.as_str());
        endpoint
            .depends_on
            .iter()
            .any(|d| *name == d.as_str() || Some(d.as_str()) == provider)
    });
    open.incident.attribution == Attribution::Provider
        && !open.failing.contains(&endpoint.name)
        && is_dependency
}

impl ShiftClock for Inhibited {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            note,
            alone_since,
            by: _,
        } = self;
        note.shift_clock(by_ms);
        alone_since.shift_clock(by_ms);
    }
}
