//! How the pipeline begins: where the record ends, and with what the configuration says by now.

use std::sync::Arc;
use std::time::Duration;

use super::pipeline::Pipeline;
use crate::config::Config;
use crate::store::{SampleQuery, Store, StoreError};
use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::incident::Change;
use llmwatch_core::model::Timestamp;
use llmwatch_core::monitor::{Effects, MonitorState};

/// At most so many samples are folded again at a start. A checkpoint is written each minute, so more come after it only
/// at more than a thousand probes a second.
const MOST_FOLDED: i64 = 100_000;
/// At most so many samples are remembered after a checkpoint of release 0.1.
const MOST_REMEMBERED: i64 = 50_000;

/// The state after the last stored sample: the checkpoint, then the samples after it.
///
/// # Errors
/// When the store cannot be read.
pub fn restore(
    store: &Store,
    config: Arc<Config>,
    stretch: f64,
    now: Timestamp,
) -> Result<MonitorState, StoreError> {
    let (seq, mut core) = match store.checkpoint()? {
        None => (0, MonitorState::new(config, stretch)),
        Some((seq, state)) => match MonitorState::resume(config.clone(), stretch, &state, now) {
            Ok(core) => (seq, core),
            // Another release's form: the samples say the same, it only takes longer.
            Err(_) => (0, MonitorState::new(config, stretch)),
        },
    };
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
    Ok(core)
}

/// What was told and is owed, as the store has it.
///
/// # Errors
/// When the store cannot be read.
pub fn restore_desk(store: &Store) -> Result<NotificationScheduler, StoreError> {
    // Another release's form: what is open is told again, under ids that the receivers know.
    Ok(store
        .desk()?
        .and_then(|state| serde_json::from_str(&state).ok())
        .unwrap_or_default())
}

impl Pipeline {
    /// Ends what does not go on any more as of `now`, though no sample said so: the state had to be made anew, or endpoints
    /// were taken out of the configuration while nobody ran. It is recorded and told like any other end.
    pub(super) fn settle(&mut self, now: Timestamp) -> Effects {
        let lost = self.desk.reconcile(&self.core.snapshot(now));
        let mut step = self.core.settle(now);
        step.incidents_changed(
            lost.into_iter()
                .map(|incident| (Change::Resolved, incident))
                .collect(),
            now,
            &self.core.locale(),
        );
        step
    }
}
