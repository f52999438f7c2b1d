//! Restores the pipeline's state at startup from the store and the reserve.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Pipeline, PipelineStep};
use crate::config::Config;
use crate::store::{Commit, IncidentRow, Reserve, SamplePage, SampleQuery, Store, StoreError};
use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::incident::Change;
use llmwatch_core::model::{AttributionRevision, Incident, Outcome, Sample, Timestamp};
use llmwatch_core::monitor::{Effect, Effects, MonitorState, Record};

/// The most samples that are folded again at a start. Checkpoints are written each minute, so only
/// more than a thousand probes a second exceed this.
const MAX_FOLDED: i64 = 100_000;
/// How many recent samples are loaded after a checkpoint of release 0.1.
const MAX_REMEMBERED: i64 = 50_000;

/// The most incidents, newest first, whose missing recovery time is filled in at a start.
const MAX_COMPLETED: usize = 500;
/// The most probes of one endpoint that are searched for the start of its recovery.
const MAX_RECOVERING: u32 = 500;

/// Writes the records in the reserve of a killed daemon to the store. Returns them if the store is
/// still not writable.
///
/// # Errors
/// When the store cannot be read.
pub fn recover(store: &Store, reserve: &Reserve) -> Result<Option<Commit>, StoreError> {
    let Some(unrecorded) = reserve.read() else {
        return Ok(None);
    };
    if unrecorded.last_seq == store.last_seq()? {
        let commit = unrecorded.commit();
        match store.commit(std::slice::from_ref(&commit)) {
            Err(error) if error.is_temporary() => return Ok(Some(commit)),
            // A permanent error would block everything after it, so these records are dropped.
            Ok(()) | Err(_) => {}
        }
    }
    // A failure to clear it is harmless: the next recorded sample makes it obsolete.
    let _ = reserve.clear();
    Ok(None)
}

/// Makes `core` continue numbering after the incidents of `unrecorded`.
pub fn number_after(unrecorded: &Commit, core: &mut MonitorState) {
    for row in &unrecorded.incidents {
        core.number_after(row.number);
    }
}

/// Returns the state of the last checkpoint and the number of its last sample, or a new state and 0
/// without a readable checkpoint. This is quick, so that probing can begin. The checkpoint of
/// `unrecorded`, which the store lacks, comes after every stored sample.
///
/// # Errors
/// When the store cannot be read.
pub fn resume(
    store: &Store,
    unrecorded: Option<&Commit>,
    config: Arc<Config>,
    interval_multiplier: f64,
    now: Timestamp,
) -> Result<(i64, MonitorState), StoreError> {
    let unrecorded = unrecorded.and_then(|commit| commit.checkpoint.as_deref());
    let resumed = unrecorded.and_then(|state| {
        MonitorState::resume(config.clone(), interval_multiplier, state, now).ok()
    });
    if let Some(core) = resumed {
        return Ok((store.last_seq()?, core));
    }
    let Some((seq, state)) = store.checkpoint()? else {
        return Ok((0, MonitorState::new(config, interval_multiplier)));
    };
    Ok(
        match MonitorState::resume(config.clone(), interval_multiplier, &state, now) {
            Ok(core) => (seq, core),
            // The format of another release: fold the samples again, which takes longer.
            Err(_) => (0, MonitorState::new(config, interval_multiplier)),
        },
    )
}

/// Folds the samples after number `seq`, the last one in `core`, up to number `last_seq` into
/// `core`, as read by [`resume`]. Later samples may be recorded meanwhile. Returns the revisions of
/// stored samples that follow: those of a sample that was recorded [early](super::early) may be
/// missing in the store.
///
/// # Errors
/// When the store cannot be read.
pub fn catch_up(
    store: &Store,
    seq: i64,
    last_seq: i64,
    core: &mut MonitorState,
    now: Timestamp,
) -> Result<Vec<AttributionRevision>, StoreError> {
    if seq > 0 && !core.has_recents() {
        // A checkpoint of release 0.1 has no recent samples: load them from the last hour.
        let query = SampleQuery {
            after_seq: seq.saturating_sub(MAX_REMEMBERED),
            since: Some(now - Duration::from_hours(1)),
            ..SampleQuery::default()
        };
        store.each_sample(query, |at, sample| {
            if at <= seq {
                core.remember(&sample);
            }
            Ok::<_, StoreError>(())
        })?;
    }
    // Without a checkpoint the baselines are learned from the last samples only, however long the
    // history is.
    let query = SampleQuery {
        after_seq: seq.max(last_seq.saturating_sub(MAX_FOLDED)),
        through_seq: Some(last_seq),
        ..SampleQuery::default()
    };
    let mut revisions = Vec::new();
    store.each_sample(query, |_, sample| {
        let effects = core.step(sample);
        // Without a checkpoint the state is not the one that samples were judged by.
        if seq > 0 {
            revisions.extend(effects.revisions().cloned());
        }
        Ok::<_, StoreError>(())
    })?;
    // Samples expire before incidents; numbers must never be reused.
    core.number_after(store.last_incident_number()?);
    Ok(revisions)
}

/// Returns the state after the last stored sample: the checkpoint plus the samples after it.
///
/// # Errors
/// When the store cannot be read.
pub fn restore(
    store: &Store,
    config: Arc<Config>,
    interval_multiplier: f64,
    now: Timestamp,
) -> Result<MonitorState, StoreError> {
    let (seq, mut core) = resume(store, None, config, interval_multiplier, now)?;
    catch_up(store, seq, store.last_seq()?, &mut core, now)?;
    Ok(core)
}

/// Fills in the recovery time of resolved incidents that lack it, as those of release 0.1 do. It is
/// the start of the first good probe after the last bad one, if the samples still exist.
///
/// # Errors
/// When the store cannot be read or written.
pub fn complete_incidents(store: &Store) -> Result<(), StoreError> {
    let mut open_ended: VecDeque<Incident> = VecDeque::new();
    store.each_incident(Timestamp(i64::MAX), |row| {
        let parsed = serde_json::from_str::<Incident>(&row.data).ok();
        if let Some(incident) = parsed.filter(|i| i.has_recovered() && i.ended_at.is_none()) {
            open_ended.push_back(incident);
            if open_ended.len() > MAX_COMPLETED {
                open_ended.pop_front();
            }
        }
    })?;
    let mut completed = Vec::new();
    for mut incident in open_ended {
        let mut recovered_at: Option<Timestamp> = None;
        for endpoint in incident.affected() {
            recovered_at = recovered_at.max(recovery_of(store, &incident, endpoint)?);
        }
        if let Some(at) = recovered_at {
            incident.ended_at = Some(at);
            incident.duration_s = at.since_ms(incident.started_at).max(0) as f64 / 1000.0;
            completed.push(IncidentRow::of(&incident));
        }
    }
    if completed.is_empty() {
        return Ok(());
    }
    store.commit(&[Commit {
        incidents: completed,
        ..Commit::default()
    }])
}

/// Returns when `endpoint` began to recover from `incident`; `None` when its samples do not show
/// it.
fn recovery_of(
    store: &Store,
    incident: &Incident,
    endpoint: &str,
) -> Result<Option<Timestamp>, StoreError> {
    let Some(resolved_at) = incident.resolved_at else {
        return Ok(None);
    };
    let newest_first = store.samples(SamplePage {
        location: None,
        endpoint,
        before_seq: None,
        since: Some(incident.started_at),
        until: Some(resolved_at + Duration::from_millis(1)),
        outcome: None,
        limit: MAX_RECOVERING,
    })?;
    let is_slow = incident.cause.is_slow();
    let is_bad = |outcome| match outcome {
        Outcome::Failed => true,
        Outcome::Slow => is_slow,
        Outcome::Ok => false,
    };
    let mut recovered_at = None;
    for (_, sample) in newest_first {
        if is_bad(sample.outcome) {
            return Ok(recovered_at);
        }
        recovered_at = Some(sample.started_at);
    }
    // The last bad probe is not among them.
    Ok(None)
}

/// Restores the alerting state from `unrecorded`, else from the store.
///
/// # Errors
/// When the store cannot be read.
pub fn restore_notifications(
    store: &Store,
    unrecorded: Option<&Commit>,
) -> Result<NotificationScheduler, StoreError> {
    // The format of another release: open incidents are notified again, under IDs that the
    // receivers know.
    let state = match unrecorded.and_then(|commit| commit.notification_state.clone()) {
        Some(state) => Some(state),
        None => store.notification_state()?,
    };
    Ok(state
        .and_then(|state| serde_json::from_str(&state).ok())
        .unwrap_or_default())
}

impl Pipeline {
    /// Brings alerting in line with the state as of `now`, without a sample that shows the change.
    /// Closes incidents that are over: the state was rebuilt, or their endpoints were removed while
    /// the daemon was down. Opens incidents that alerting does not know: the last process ended
    /// after [recording](super::early) their samples and before judging them. Both are recorded and
    /// notified as usual.
    pub(in crate::daemon) fn settle(&mut self, now: Timestamp) -> Effects {
        let mut changes = Vec::new();
        // One daemon must neither open nor close shared incidents.
        if self.quorum.is_none() {
            let snapshot = self.core.snapshot(now);
            let lost = self.notifications.reconcile(&snapshot, &self.core.locale());
            changes.extend(lost.into_iter().map(|i| (Change::Resolved, i)));
            let mut open = snapshot.incidents;
            open.retain(|incident| !self.notifications.knows(incident.id));
            changes.extend(open.into_iter().map(|i| (Change::Opened, i)));
        }
        let mut step = self.core.settle(now);
        step.incidents_changed(
            changes,
            now,
            &self.settings.monitor.location,
            &self.core.locale(),
        );
        step
    }

    /// [Settles](Self::settle) as of `now`, then folds the samples that were `recorded` while the
    /// history was read. These are in the store already, so only their consequences remain to be
    /// recorded, and then a checkpoint that includes them all.
    pub(super) fn resume(&mut self, recorded: Vec<Sample>, now: Timestamp) -> Vec<PipelineStep> {
        let settled = self.settle(now);
        if recorded.is_empty() {
            return vec![settled.into()];
        }
        let mut steps = vec![settled.behind_store().into()];
        for sample in recorded {
            self.counters.count(&sample);
            steps.push(self.core.step(sample).behind_store().into());
        }
        let mut checkpoint = Effects::default();
        checkpoint.push(Effect::Record(Record::Checkpoint(self.core.checkpoint())));
        steps.push(checkpoint.into());
        steps
    }
}
