//! How the pipeline begins: where the record ends, and with what the configuration says by now.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Pipeline;
use crate::config::Config;
use crate::store::{Commit, IncidentRow, Reserve, SamplePage, SampleQuery, Store, StoreError};
use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::incident::Change;
use llmwatch_core::model::{Incident, Outcome, Timestamp};
use llmwatch_core::monitor::{Effects, MonitorState};

/// At most so many samples are folded again at a start. A checkpoint is written each minute, so more come after it only
/// at more than a thousand probes a second.
const MOST_FOLDED: i64 = 100_000;
/// At most so many samples are remembered after a checkpoint of release 0.1.
const MOST_REMEMBERED: i64 = 50_000;

/// At most so many incidents without the time of their recovery are completed at a start, the newest.
const MOST_COMPLETED: usize = 500;
/// At most so many probes of one endpoint are looked at to find where its recovery began.
const MOST_RECOVERING: u32 = 500;

/// Records what a daemon that was killed could not record, if there is anything; gives it back when the store still cannot be
/// written.
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
            // What cannot be recorded for another reason would stop everything after it.
            Ok(()) | Err(_) => {}
        }
    }
    // A failure to clear it is harmless: the next sample in the store makes it out of date.
    let _ = reserve.clear();
    Ok(None)
}

/// Has `core` number its incidents after those of `unrecorded`.
pub fn number_after(unrecorded: &Commit, core: &mut MonitorState) {
    for row in &unrecorded.incidents {
        core.number_after(row.number);
    }
}

/// The state of the last checkpoint and the number of the last sample in it; a new state and 0 where there is none that
/// can be read. Quick: what is to be probed is known from here on. That of `unrecorded`, which
/// the store does not have, comes after every stored sample.
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
            // Another release's form: the samples say the same, it only takes longer.
            Err(_) => (0, MonitorState::new(config, interval_multiplier)),
        },
    )
}

/// Brings `core`, which [`resume`] has read, to the last stored sample; `seq` is the number of the last one in it.
///
/// # Errors
/// When the store cannot be read.
pub fn catch_up(
    store: &Store,
    seq: i64,
    core: &mut MonitorState,
    now: Timestamp,
) -> Result<(), StoreError> {
    if seq > 0 && !core.has_recents() {
        // A checkpoint of release 0.1: what is at hand of recent samples comes from the last hour of them.
        let query = SampleQuery {
            after_seq: seq.saturating_sub(MOST_REMEMBERED),
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
    // Without a checkpoint the baselines are learned again from the last samples, however long the history is.
    let query = SampleQuery {
        after_seq: seq.max(store.last_seq()?.saturating_sub(MOST_FOLDED)),
        ..SampleQuery::default()
    };
    store.each_sample(query, |_, sample| {
        // What followed from it was committed with it.
        core.step(sample);
        Ok::<_, StoreError>(())
    })?;
    // Samples are forgotten before incidents: a number is never given twice.
    core.number_after(store.last_incident_number()?);
    Ok(())
}

/// The state after the last stored sample: the checkpoint, then the samples after it.
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
    catch_up(store, seq, &mut core, now)?;
    Ok(core)
}

/// Gives incidents that are over and do not say when their recovery began, as those of release 0.1, that moment: the start of
/// the first good probe after the last bad one, where the samples are still there.
///
/// # Errors
/// When the store cannot be read or written.
pub fn complete_incidents(store: &Store) -> Result<(), StoreError> {
    let mut open_ended: VecDeque<Incident> = VecDeque::new();
    store.each_incident(Timestamp(i64::MAX), |row| {
        let parsed = serde_json::from_str::<Incident>(&row.data).ok();
        if let Some(incident) = parsed.filter(|i| i.has_recovered() && i.ended_at.is_none()) {
            open_ended.push_back(incident);
            if open_ended.len() > MOST_COMPLETED {
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

/// When `endpoint` began to recover from `incident`; `None` when its samples do not say.
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
        limit: MOST_RECOVERING,
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
    // The last bad one is not among them.
    Ok(None)
}

/// What was sent and is pending, as the store has it, or what it could not record.
///
/// # Errors
/// When the store cannot be read.
pub fn restore_notifications(
    store: &Store,
    unrecorded: Option<&Commit>,
) -> Result<NotificationScheduler, StoreError> {
    // Another release's form: what is open is sent again, under ids that the receivers know.
    let state = match unrecorded.and_then(|commit| commit.notification_state.clone()) {
        Some(state) => Some(state),
        None => store.notification_state()?,
    };
    Ok(state
        .and_then(|state| serde_json::from_str(&state).ok())
        .unwrap_or_default())
}

impl Pipeline {
    /// Ends what is over as of `now`, though no sample said so: the state had to be made anew, or endpoints
    /// were taken out of the configuration while nobody ran. It is recorded and notified like any other end.
    pub(in crate::daemon) fn settle(&mut self, now: Timestamp) -> Effects {
        // What is shared is not this daemon's to end.
        let lost = match &self.joint {
            Some(_) => Vec::new(),
            None => self.notifications.reconcile(&self.core.snapshot(now)),
        };
        let mut step = self.core.settle(now);
        step.incidents_changed(
            lost.into_iter()
                .map(|incident| (Change::Resolved, incident))
                .collect(),
            now,
            &self.settings.monitor.location,
            &self.core.locale(),
        );
        step
    }
}
