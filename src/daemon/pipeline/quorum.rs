//! The pipeline's side of a shared store: it passes its own conclusions to the coordinator, and
//! gets the decisions of the quorum back.
//!
//! While the store is reachable, incidents from this daemon's own samples are only votes: the
//! shared incidents are recorded, logged, shown and notified. A daemon that is alone acts on its
//! own verdict, and says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::Pipeline;
use crate::command::Command;
use crate::daemon::backlog::PipelineStep;
use crate::log::record::LogRecord;
use crate::shared_view::{Mode, SharedView, Update};
use crate::store::IncidentRow;
use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::incident::Change;
use llmwatch_core::locations;
use llmwatch_core::message::incident::narrate;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    AttributionRevision, EndpointName, Incident, Snapshot, Status, Timestamp,
};
use llmwatch_core::monitor::{Effect, Effects, Fact, Record};

/// How long this daemon's resolved incidents are kept, so that the others learn of their end.
const KEEP_RESOLVED_MS: i64 = 3_600_000;
/// How many of them are kept.
const MAX_RESOLVED: usize = 200;

/// This daemon's conclusions from its own samples.
#[derive(Debug)]
pub struct OwnView {
    /// Its own snapshot.
    pub snapshot: Snapshot,
    /// Its open and recently resolved incidents.
    pub incidents: Vec<Incident>,
    /// The factor by which intervals are multiplied.
    pub interval_multiplier: f64,
    /// The alerting state from the time alone, until the others have adopted it.
    pub alone_notifications: Option<NotificationScheduler>,
}

/// The pipeline's side of a shared store.
pub struct QuorumState {
    /// Sends conclusions to the coordinator.
    pub own: watch::Sender<Arc<OwnView>>,
    /// Sends user commands that apply to the alerting of all daemons.
    pub asked: mpsc::UnboundedSender<Command>,
    /// The last view that the coordinator sent.
    view: Arc<SharedView>,
    /// The shared incidents as last logged.
    logged: BTreeMap<Uuid, Incident>,
    /// Each endpoint's status as last logged.
    statuses: BTreeMap<EndpointName, Status>,
    /// Recently resolved incidents of this daemon.
    resolved: Vec<Incident>,
    /// This daemon's incidents that it notified while alone, with the ID used in the messages.
    alone: BTreeMap<Uuid, Uuid>,
    is_alone: bool,
    handed_over: bool,
}

impl QuorumState {
    /// Starts without a view of the other daemons. `notifications` holds what was notified before a
    /// restart.
    pub fn new(
        own: watch::Sender<Arc<OwnView>>,
        asked: mpsc::UnboundedSender<Command>,
        notifications: &NotificationScheduler,
        open: Vec<Incident>,
    ) -> Self {
        let alone: BTreeMap<_, _> = notifications.alone().map(|id| (id, id)).collect();
        Self {
            own,
            asked,
            view: Arc::default(),
            logged: open.into_iter().map(|i| (i.id, i)).collect(),
            statuses: BTreeMap::new(),
            resolved: Vec::new(),
            is_alone: !alone.is_empty(),
            alone,
            handed_over: false,
        }
    }

    /// Returns the last known view of the other daemons.
    pub fn view(&self) -> &Arc<SharedView> {
        &self.view
    }

    /// Reports whether this daemon acts on its own verdict.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Returns an incident of this daemon under the ID and number of the shared incident that
    /// contains it.
    pub(super) fn as_known(&self, own: &Incident, locale: &Locale) -> Incident {
        let shared = self
            .view
            .open
            .iter()
            .find(|s| s.members.contains_key(&own.id) || s.incident.id == own.id);
        let mut incident = own.clone();
        incident.alone = true;
        if let Some(shared) = shared {
            incident.id = shared.incident.id;
            incident.number = shared.incident.number;
        } else {
            // The shared store has assigned this number to another incident.
            if incident.number <= self.view.last_number {
                incident.number += self.view.last_number;
            }
        }
        narrate(&mut incident, locale);
        incident
    }
}

impl Pipeline {
    /// Applies an update from the coordinator.
    pub(in crate::daemon) fn join(&mut self, update: Update, now: Timestamp) -> Vec<PipelineStep> {
        let Some(quorum) = &mut self.quorum else {
            return Vec::new();
        };
        let mut steps = Vec::new();
        quorum.view = update.view;
        let (usd, tokens) = quorum.view.spent;
        let here = self.settings.monitor.location.clone();
        let mode = quorum.view.mode;
        let was_alone = quorum.is_alone;
        let view = quorum.view.clone();
        quorum.is_alone = match mode {
            Mode::Joined => false,
            Mode::Unreachable => quorum.is_alone,
            Mode::Alone => true,
        };
        if mode == Mode::Joined && self.settings.budget.shared {
            self.core.spent_by_all(usd, tokens);
        }
        self.core.number_after(view.last_number);
        for sample in update.samples {
            let mut step = PipelineStep::default();
            if sample.location == here && self.settings.monitor.probe {
                // A partner's sample is judged here as well, so that either daemon can take over.
                let effects = self.core.step(sample);
                for effect in effects {
                    match effect {
                        Effect::Record(Record::Sample(sample)) => {
                            step.alerting.sample = Some(*sample);
                        }
                        effect => step.effects.push(effect),
                    }
                }
            } else {
                step.alerting.sample = Some(sample);
            }
            steps.push(step);
        }
        for sample in &update.revised {
            let mut step = PipelineStep::default();
            step.alerting.revisions = AttributionRevision::to_match(sample);
            steps.push(step);
        }
        let locale = self.core.locale();
        let Some(quorum) = &mut self.quorum else {
            return steps;
        };
        if mode == Mode::Joined {
            if was_alone {
                // The others adopt what was notified while alone.
                quorum.handed_over = true;
            } else if quorum.handed_over {
                quorum.handed_over = false;
                quorum.alone.clear();
                self.notifications.drop_incidents();
            }
            for shared in update.incidents {
                steps.extend(quorum.log(&shared.incident));
            }
        } else if quorum.is_alone && !was_alone {
            // From now on this daemon decides alone; adopt what was notified already.
            self.notifications.adopt(&view.notifications);
            let own = self.core.snapshot(now).incidents;
            for incident in &own {
                let known = quorum.as_known(incident, &locale);
                quorum.alone.insert(incident.id, known.id);
                let known = self.notifications.record_change(Change::Opened, known, now);
                let is_new = !quorum.logged.contains_key(&known.id);
                steps.push(PipelineStep {
                    incidents: vec![IncidentRow::of(&known)],
                    records: is_new
                        .then(|| LogRecord::incident(Change::Opened, &known))
                        .into_iter()
                        .collect(),
                    ..PipelineStep::default()
                });
                quorum.logged.insert(known.id, known);
            }
        }
        steps
    }

    /// Removes the effects of this daemon's own samples that only a decision of the quorum may
    /// have.
    pub(in crate::daemon) fn hold_back_opinions(&mut self, steps: &mut [PipelineStep]) {
        let locale = self.core.locale();
        let Some(quorum) = &mut self.quorum else {
            return;
        };
        for step in steps {
            let effects = std::mem::take(&mut step.effects);
            let mut kept = Effects::default();
            for effect in effects {
                match effect {
                    Effect::Incident(change, incident, at) => {
                        if change == Change::Resolved {
                            quorum.resolved.push((*incident).clone());
                        }
                        if quorum.is_alone {
                            let known = quorum.as_known(&incident, &locale);
                            quorum.alone.insert(incident.id, known.id);
                            quorum.logged.insert(known.id, known.clone());
                            kept.push(Effect::Incident(change, Box::new(known), at));
                        }
                    }
                    Effect::Log(Fact::StatusChanged { .. }) if !quorum.is_alone => {}
                    effect => kept.push(effect),
                }
            }
            step.effects = kept;
        }
    }

    /// Passes this daemon's conclusions to the coordinator, and overlays the verdicts of the quorum
    /// on the snapshot.
    pub(in crate::daemon) fn combine(&mut self, snapshot: &mut Snapshot) -> Vec<PipelineStep> {
        let Some(quorum) = &mut self.quorum else {
            return Vec::new();
        };
        let at = snapshot.at;
        quorum.resolved.retain(|i| {
            i.resolved_at
                .is_some_and(|end| at.since_ms(end) <= KEEP_RESOLVED_MS)
        });
        let excess = quorum.resolved.len().saturating_sub(MAX_RESOLVED);
        quorum.resolved.drain(..excess);
        let mut incidents: Vec<Incident> = snapshot.incidents.clone();
        incidents.extend(quorum.resolved.iter().cloned());
        for incident in &mut incidents {
            incident.alone = quorum.alone.get(&incident.id) == Some(&incident.id);
            // The duration changes constantly; without it only real changes count.
            incident.duration_s = 0.0;
        }
        quorum.own.send_replace(Arc::new(OwnView {
            snapshot: snapshot.clone(),
            incidents,
            interval_multiplier: self.core.interval_multiplier(),
            alone_notifications: (quorum.is_alone || quorum.handed_over)
                .then(|| self.notifications.clone()),
        }));
        snapshot.partners.clone_from(&quorum.view.partners);
        snapshot.locations.clone_from(&quorum.view.locations);
        snapshot.differences.clone_from(&quorum.view.warnings);
        if quorum.view.mode != Mode::Joined {
            snapshot.alone_since = Some(quorum.view.since);
            snapshot.spooled = quorum.view.spooled;
        }
        if quorum.is_alone {
            let locale = self.core.locale();
            for incident in &mut snapshot.incidents {
                *incident = quorum.as_known(incident, &locale);
            }
            return Vec::new();
        }
        let incidents: Vec<_> = quorum
            .view
            .open
            .iter()
            .map(|s| s.incident.clone())
            .collect();
        let config = self.core.config();
        let store_now = Timestamp(at.0 + quorum.view.offset_ms);
        locations::overlay(
            snapshot,
            &quorum.view.verdicts,
            &incidents,
            config.quorum.agree,
            store_now,
            config.monitor.probe,
        );
        let mut step = PipelineStep::default();
        for endpoint in &snapshot.endpoints {
            let was = quorum
                .statuses
                .insert(endpoint.name.clone(), endpoint.status);
            if let Some(was) = was.filter(|was| *was != endpoint.status) {
                step.effects.push(Effect::Log(Fact::StatusChanged {
                    endpoint: endpoint.name.clone(),
                    provider: endpoint.provider,
                    was,
                    now: endpoint.status,
                }));
            }
        }
        if step.effects.iter().next().is_some() {
            vec![step]
        } else {
            Vec::new()
        }
    }

    /// Forwards a user command that applies to all daemons. Returns the command if it is to be
    /// applied here.
    pub(in crate::daemon) fn forward(&self, command: Command) -> Option<Command> {
        let is_for_all = matches!(
            command,
            Command::CreateSilence(..)
                | Command::ExpireSilence(..)
                | Command::Acknowledge(..)
                | Command::AddNote(..)
        );
        match &self.quorum {
            Some(quorum) if is_for_all && !quorum.is_alone => {
                quorum.asked.send(command).err().map(|unsent| unsent.0)
            }
            _ => Some(command),
        }
    }
}

impl QuorumState {
    /// Records and logs the change of a shared incident.
    fn log(&mut self, incident: &Incident) -> Option<PipelineStep> {
        let change = match self.logged.get(&incident.id) {
            None if incident.resolved_at.is_none() => Some(Change::Opened),
            None => None,
            Some(was) if was == incident => return None,
            Some(was) if was.resolved_at.is_some() => None,
            Some(_) if incident.resolved_at.is_some() => Some(Change::Resolved),
            Some(was) => locations::change_between(was, incident),
        };
        self.logged.insert(incident.id, incident.clone());
        // IDs sort by time.
        let resolved = self.logged.values().filter(|i| i.resolved_at.is_some());
        let excess = resolved.clone().count().saturating_sub(MAX_RESOLVED);
        let oldest: Vec<Uuid> = resolved.take(excess).map(|i| i.id).collect();
        for id in &oldest {
            self.logged.remove(id);
        }
        Some(PipelineStep {
            incidents: vec![IncidentRow::of(incident)],
            records: change
                .map(|change| LogRecord::incident(change, incident))
                .into_iter()
                .collect(),
            ..PipelineStep::default()
        })
    }
}
