//! Decisions that several daemons make together: incidents and messages, in one transaction of the
//! shared store.

use std::collections::BTreeMap;

use super::{Coordinator, PULSE, SyncInputs, SyncState, channel_set, pressing};
use crate::command::Command;
use crate::log::record::LogRecord;
use crate::store::postgres::{Decision, Session, SharedError};
use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::locations::{self, Decided, LocationEvidence, SharedIncident};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Incident, Snapshot, Timestamp};

/// The alerting state of each set of channels.
type Schedulers = BTreeMap<String, NotificationScheduler>;

/// Replies to a command once its change is committed.
type CommittedReply = Box<dyn FnOnce() + Send>;

impl Coordinator {
    /// Decides on incidents and messages. Returns whether there is something to send.
    pub(super) async fn decide(
        &mut self,
        session: &mut Session,
        state: &mut SyncState,
        here: &SyncInputs,
    ) -> Result<bool, SharedError> {
        let asked = self.take_asked();
        let pressing = pressing(&here.own);
        let wait = state.pressing != pressing || !asked.is_empty();
        let Some(mut decision) = session.lock(wait, PULSE).await? else {
            state.pressing = pressing;
            return Ok(false);
        };
        let at = (self.wall)();
        let channels = channel_set(&here.settings);
        let mut decided = decide_incidents(&mut decision, here, at);
        let mut schedulers = schedulers(&decision, here, &channels);
        record_changes(&mut decided, &mut schedulers, at);
        let replies = apply(asked, &mut schedulers, &mut decided, &decision.open);
        let snapshot = snapshot_of_all(&decision, &decided, state, here);
        let outgoing = schedulers
            .get_mut(&channels)
            .map(|s| {
                s.tick(
                    at,
                    &here.settings.config,
                    &snapshot,
                    &state.deliveries.value,
                )
            })
            .unwrap_or_default();
        let changed: Vec<_> = schedulers
            .iter_mut()
            .filter_map(|(name, notifications)| Some((name.clone(), notifications.take_change()?)))
            .collect();
        decision
            .record(&decided, &changed, &outgoing, here.offset_ms)
            .await?;
        state.pressing = pressing;
        for answer in replies {
            answer();
        }
        for one in &outgoing {
            LogRecord::outgoing(one).emit(true);
        }
        Ok(!outgoing.is_empty())
    }
}

/// Decides what becomes of the incidents, from the evidence of all locations.
fn decide_incidents(decision: &mut Decision<'_>, here: &SyncInputs, at: Timestamp) -> Vec<Decided> {
    let config = &here.settings.config;
    let evidence = LocationEvidence {
        now: decision.now,
        at,
        agree: config.quorum.agree,
        verdicts: &decision.verdicts,
        reports: &decision.reports,
        closed: &decision.closed,
    };
    let mut number = decision.next_number;
    let next_number = || {
        number += 1;
        number - 1
    };
    let locale = Locale::of(config);
    let decided = locations::decide(decision.open.clone(), &evidence, next_number, &locale);
    decision.next_number = number;
    decided
}

/// Loads the alerting state, merged with that from the time this daemon was alone.
fn schedulers(decision: &Decision<'_>, here: &SyncInputs, channels: &str) -> Schedulers {
    let mut schedulers: Schedulers = decision
        .alerting
        .iter()
        .filter_map(|(name, data)| Some((name.clone(), serde_json::from_str(data).ok()?)))
        .collect();
    schedulers.entry(channels.to_owned()).or_default();
    if let Some(alone) = &here.own.alone_notifications {
        for notifications in schedulers.values_mut() {
            notifications.adopt(alone);
        }
    }
    schedulers
}

fn record_changes(decided: &mut [Decided], schedulers: &mut Schedulers, at: Timestamp) {
    for one in decided {
        for change in one.alerts.clone() {
            for notifications in schedulers.values_mut() {
                one.shared.incident =
                    notifications.record_change(change, one.shared.incident.clone(), at);
            }
        }
    }
}

/// Applies the commands of users.
fn apply(
    asked: Vec<Command>,
    schedulers: &mut Schedulers,
    decided: &mut Vec<Decided>,
    open: &[SharedIncident],
) -> Vec<CommittedReply> {
    let mut replies = Vec::new();
    for command in asked {
        let (changed, answer) = answer(command, schedulers);
        for incident in changed {
            let id = incident.id;
            if let Some(one) = decided.iter_mut().find(|d| d.shared.incident.id == id) {
                one.shared.incident = incident;
            } else if let Some(shared) = open.iter().find(|s| s.incident.id == id) {
                decided.push(annotated(shared, incident));
            }
        }
        replies.push(answer);
    }
    replies
}

/// Returns `shared` with the acknowledgement and notes of `annotated`.
fn annotated(shared: &SharedIncident, annotated: Incident) -> Decided {
    Decided {
        change: None,
        alerts: Vec::new(),
        shared: SharedIncident {
            incident: Incident {
                acknowledged: annotated.acknowledged,
                notes: annotated.notes,
                ..shared.incident.clone()
            },
            ..shared.clone()
        },
    }
}

/// Returns this daemon's snapshot, overlaid with the verdicts of all locations.
fn snapshot_of_all(
    decision: &Decision<'_>,
    decided: &[Decided],
    state: &SyncState,
    here: &SyncInputs,
) -> Snapshot {
    let is_decided =
        |incident: &Incident| decided.iter().any(|d| d.shared.incident.id == incident.id);
    let unchanged = decision.open.iter().map(|s| &s.incident);
    let open: Vec<_> = unchanged
        .filter(|i| !is_decided(i))
        .chain(decided.iter().map(|d| &d.shared.incident))
        .filter(|i| i.resolved_at.is_none())
        .cloned()
        .collect();
    let verdicts: Vec<_> = state.verdicts.values().cloned().collect();
    let config = &here.settings.config;
    let mut snapshot = here.own.snapshot.clone();
    locations::overlay(
        &mut snapshot,
        &verdicts,
        &open,
        config.quorum.agree,
        decision.now,
        config.monitor.probe,
    );
    snapshot
}

/// Applies `change` to every scheduler. Returns the first result.
fn first_changed<T>(
    schedulers: &mut Schedulers,
    change: impl FnMut(&mut NotificationScheduler) -> Option<T>,
) -> Option<T> {
    let changed: Vec<T> = schedulers.values_mut().filter_map(change).collect();
    changed.into_iter().next()
}

/// Applies a command to every scheduler. Returns the incidents that changed, and the reply.
fn answer(command: Command, schedulers: &mut Schedulers) -> (Vec<Incident>, CommittedReply) {
    match command {
        Command::CreateSilence(silence, reply) => {
            for notifications in schedulers.values_mut() {
                notifications.silence(silence.clone());
            }
            (Vec::new(), Box::new(move || reply.send(silence)))
        }
        Command::ExpireSilence(id, reply) => {
            let first = first_changed(schedulers, |d| d.unsilence(id));
            (Vec::new(), Box::new(move || reply.send(first)))
        }
        Command::Acknowledge(number, acknowledgement, reply) => {
            let first = first_changed(schedulers, |d| {
                d.acknowledge(number, acknowledgement.clone())
            });
            (
                first.clone().into_iter().collect(),
                Box::new(move || reply.send(first)),
            )
        }
        Command::AddNote(number, note, reply) => {
            let first = first_changed(schedulers, |d| d.note(number, note.clone()));
            (
                first.clone().into_iter().collect(),
                Box::new(move || reply.send(first)),
            )
        }
        _ => (Vec::new(), Box::new(|| {})),
    }
}
