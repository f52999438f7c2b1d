//! Records that wait to be written, and log records that are emitted once they are.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tracing::Level;

use super::waiting::{Batch, Waiting};
use crate::log::broadcast::Broadcast;
use crate::log::record::LogRecord;
use crate::log::{self, Event};
use crate::store::{Commit, IncidentRow};
use llmwatch_core::incident::Change;
use llmwatch_core::model::{Incident, Sample};
use llmwatch_core::monitor::{Effect, Effects, Record};

/// A shorter store failure is not announced: a backup may have locked the file.
const PATIENCE: Duration = Duration::from_secs(10);
/// Minimum time between two announcements of a failing store.
const ANNOUNCE_EVERY: Duration = Duration::from_hours(1);
/// How often a failing store, or the number of dropped samples, is logged.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// The effects of one sample or one command.
#[derive(Debug, Default)]
pub(super) struct PipelineStep {
    pub(super) effects: Effects,
    /// Rows of incidents that changed.
    pub(super) incidents: Vec<IncidentRow>,
    /// Changes of the alerting state to record.
    pub(super) alerting: Commit,
    /// Log records besides those of the effects.
    pub(super) records: Vec<LogRecord>,
}

impl From<Effects> for PipelineStep {
    fn from(effects: Effects) -> Self {
        Self {
            effects,
            ..Self::default()
        }
    }
}

impl PipelineStep {
    /// Adds an incident that a user changed.
    pub(super) fn update(&mut self, incident: Option<&Incident>) {
        if let Some(incident) = incident {
            self.incidents.push(IncidentRow::of(incident));
            self.records
                .push(LogRecord::incident(Change::Updated, incident));
        }
    }

    /// Reports whether the step is a sample that changes only figures.
    pub(super) fn is_ordinary(&self) -> bool {
        self.effects.is_ordinary() && self.incidents.is_empty() && self.records.is_empty()
    }

    /// Converts the step to the transaction that records it.
    fn commit(self) -> Commit {
        let mut commit = Commit {
            incidents: self.incidents,
            ..self.alerting
        };
        for effect in self.effects {
            match effect {
                Effect::Record(Record::Sample(sample)) => commit.sample = Some(*sample),
                Effect::Record(Record::Checkpoint(state)) => commit.checkpoint = Some(state),
                Effect::Record(Record::VendorStatus(id, official)) => {
                    commit.officials.push((id, *official));
                }
                Effect::Record(Record::Revision(revision)) => commit.revisions.push(revision),
                Effect::Record(Record::ClockSet { from, to }) => {
                    commit.clock_set = Some((from, to));
                }
                Effect::Incident(..)
                | Effect::Log(_)
                | Effect::Announce(_)
                | Effect::Recheck { .. }
                | Effect::PauseProbing { .. }
                | Effect::PauseEndpoint { .. } => {}
            }
        }
        commit
    }
}

/// Records that wait to be written, and log records to emit once they are.
#[derive(Default)]
pub(super) struct Backlog {
    /// Whether successful samples are logged as well.
    pub(super) all_samples: bool,
    /// Commits that wait for the store.
    pub(super) waiting: Waiting,
    /// Whether anything besides samples waits, which must survive this process.
    pub(super) is_unsaved: bool,
    /// Logged records to publish to listeners.
    pub(super) logged: Vec<LogRecord>,
    /// Why the store is not writable, while it is not.
    pub(super) error: Option<String>,
    unlogged: Vec<LogRecord>,
    failing_since: Option<Instant>,
    announced_at: Option<Instant>,
    /// When the last announced failure began, until its end is announced.
    announced_since: Option<Instant>,
    /// When a store failure was last logged, how many have occurred since, and whether the latest
    /// one is in the log.
    failure_logged_at: Option<Instant>,
    failures: u64,
    is_failure_logged: bool,
    /// Commits written since the store became writable again.
    flushed: usize,
    /// Dropped samples, how many of them were logged, and when.
    dropped: u64,
    dropped_logged: u64,
    dropped_at: Option<Instant>,
}

impl Backlog {
    /// Creates an empty backlog.
    pub(super) fn new(all_samples: bool) -> Self {
        Self {
            all_samples,
            ..Self::default()
        }
    }

    /// Queues the steps of one turn of the monitor at `location`. `is_logged` decides which samples
    /// become log records, since most are of no interest.
    pub(super) fn add(
        &mut self,
        steps: Vec<PipelineStep>,
        location: &str,
        mut is_logged: impl FnMut(&Sample) -> bool,
    ) {
        for mut step in steps {
            let logged = step.effects.iter().filter(|effect| match effect {
                Effect::Record(Record::Sample(sample)) => is_logged(sample),
                _ => true,
            });
            self.unlogged
                .extend(logged.filter_map(|effect| LogRecord::of(effect, location)));
            self.unlogged.append(&mut step.records);
            let commit = step.commit();
            if !commit.is_empty() {
                self.is_unsaved |= !commit.is_ordinary();
                self.waiting.push(commit);
            }
        }
    }

    /// Returns the error when it is time to announce that the store fails.
    pub(super) fn worth_announcing(&mut self) -> Option<&str> {
        let is_long = self
            .failing_since
            .is_some_and(|since| since.elapsed() >= PATIENCE);
        let is_recent = self
            .announced_at
            .is_some_and(|at| at.elapsed() < ANNOUNCE_EVERY);
        if !is_long || is_recent {
            return None;
        }
        self.announced_at = Some(Instant::now());
        self.announced_since = self.failing_since;
        self.error.as_deref()
    }

    /// Returns the duration of an announced failure, once, after recovery.
    pub(super) fn recovered_after(&mut self) -> Option<Duration> {
        if self.failing_since.is_some() {
            return None;
        }
        self.announced_since.take().map(|since| since.elapsed())
    }

    /// Records that `commits` commits were written.
    pub(super) fn recorded(&mut self, commits: usize) {
        self.flushed += commits;
        if !self.waiting.is_empty() {
            return;
        }
        let flushed = std::mem::take(&mut self.flushed);
        // If the rate limit kept the failure out of the log, the recovery is not logged either.
        if self.error.take().is_some() && std::mem::take(&mut self.is_failure_logged) {
            log::emit(
                Event::StoreRecovered,
                Level::INFO,
                &format!("database writable again; flushed {flushed} buffered commits"),
                &json!({"commits": flushed}),
            );
        }
        self.failing_since = None;
        self.log_waiting();
    }

    /// Puts `batch` back after an attempt to write it, begun at `began`, failed.
    pub(super) fn failed(&mut self, batch: Batch, error: String, began: Instant) {
        // The decisions are in effect and notified even though they are not recorded.
        self.log_waiting();
        self.dropped += self.waiting.put_back(batch) as u64;
        self.failing_since.get_or_insert(began);
        self.failures += 1;
        self.log_failure(&error);
        self.error = Some(error);
        self.log_dropped();
    }

    /// Logs a store failure, at most once a minute.
    fn log_failure(&mut self, error: &str) {
        let is_recent = self
            .failure_logged_at
            .is_some_and(|at| at.elapsed() < LOG_EVERY);
        if is_recent {
            return;
        }
        let waiting = self.waiting.len();
        let count = std::mem::take(&mut self.failures);
        self.failure_logged_at = Some(Instant::now());
        self.is_failure_logged = true;
        let times = match count {
            1 => String::new(),
            count => format!(" ({count} attempts failed)"),
        };
        log::emit(
            Event::StoreFailed,
            Level::ERROR,
            &format!("cannot record, keeping samples in memory{times}: {error}"),
            &json!({"error": error, "waiting": waiting, "count": count}),
        );
    }

    fn log_waiting(&mut self) {
        let records = std::mem::take(&mut self.unlogged);
        self.log(records);
    }

    /// Emits log records and keeps those that listeners receive.
    fn log(&mut self, records: Vec<LogRecord>) {
        for record in records {
            record.emit(self.all_samples);
            if Broadcast::carries(record.event) {
                self.logged.push(record);
            }
        }
    }

    /// Logs the number of dropped samples, at most once a minute.
    fn log_dropped(&mut self) {
        let is_recent = self.dropped_at.is_some_and(|at| at.elapsed() < LOG_EVERY);
        if self.dropped == self.dropped_logged || is_recent {
            return;
        }
        self.dropped_logged = self.dropped;
        self.dropped_at = Some(Instant::now());
        let message = format!(
            "{} samples could not be recorded and are lost",
            self.dropped
        );
        log::emit(
            Event::StoreFailed,
            Level::ERROR,
            &message,
            &json!({"dropped": self.dropped}),
        );
    }
}
