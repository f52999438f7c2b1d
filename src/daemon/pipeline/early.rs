//! Records the first results while the history is still being read.
//!
//! Without a usable checkpoint a start folds up to 100,000 samples, which takes seconds. Results
//! that arrive meanwhile cannot be judged yet. Those of successful probes are recorded all the
//! same, and judged once the history is read. A failed probe needs the history for its attribution,
//! so it and everything after it wait.

use std::future::Future;
use std::pin::pin;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{BATCH, PULSE};
use crate::daemon::scheduler::{Probed, Report};
use crate::log::record::LogRecord;
use crate::store::{Commit, Store};
use llmwatch_core::model::{Outcome, Sample};
use llmwatch_core::monitor::{Effect, Record};

/// The results that arrived while the history was read.
#[derive(Debug, Default)]
pub struct EarlyReports {
    /// Recorded samples that still have to be judged, in the order of recording.
    pub(super) recorded: Vec<Sample>,
    /// Reports that are not recorded yet.
    pub(super) waiting: Vec<Report>,
}

/// Records the first results.
pub struct EarlyRecorder {
    store: Store,
    location: String,
    all_samples: bool,
    early: EarlyReports,
}

impl EarlyRecorder {
    /// Records into `store` for the monitor at `location`. `all_samples` says whether successful
    /// samples are logged.
    pub fn new(store: Store, location: String, all_samples: bool) -> Self {
        Self {
            store,
            location,
            all_samples,
            early: EarlyReports::default(),
        }
    }

    /// Records `reports`, at most once per [`PULSE`], until `reading` has ended. Returns its value
    /// and the reports received.
    pub async fn record_until<T>(
        mut self,
        reports: &mut mpsc::Receiver<Report>,
        reading: impl Future<Output = T>,
    ) -> (T, EarlyReports) {
        let mut reading = pin!(reading);
        while self.early.waiting.is_empty() {
            let mut received = Vec::new();
            tokio::select! {
                value = &mut reading => return (value, self.early),
                _ = reports.recv_many(&mut received, BATCH) => self.record(received).await,
            }
            tokio::select! {
                value = &mut reading => return (value, self.early),
                () = sleep(PULSE) => {}
            }
        }
        // The rest stays in the queue.
        (reading.await, self.early)
    }

    /// Commits the successful samples before the first report that has to wait.
    async fn record(&mut self, mut received: Vec<Report>) {
        received.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut commits = Vec::new();
        for report in received {
            match report {
                Report::Probed(probed)
                    if probed.sample.outcome == Outcome::Ok && self.early.waiting.is_empty() =>
                {
                    commits.push(Commit {
                        sample: Some(probed.sample),
                        ..Commit::default()
                    });
                }
                report => self.early.waiting.push(report),
            }
        }
        if commits.is_empty() {
            return;
        }
        let write = move |store: &Store| {
            let result = store.commit(&commits);
            (commits, result)
        };
        let (commits, result) = self.store.run_blocking(write).await;
        let samples = commits.into_iter().filter_map(|commit| commit.sample);
        if result.is_ok() {
            samples.for_each(|sample| self.recorded(sample));
        } else {
            // The pipeline tries again, and reports the failure.
            let reports = samples.map(|sample| {
                Report::Probed(Box::new(Probed {
                    sample,
                    connectivity: None,
                }))
            });
            self.early.waiting.splice(..0, reports);
        }
    }

    fn recorded(&mut self, sample: Sample) {
        let effect = Effect::Record(Record::Sample(Box::new(sample.clone())));
        if let Some(record) = LogRecord::of(&effect, &self.location) {
            record.emit(self.all_samples);
        }
        self.early.recorded.push(sample);
    }
}
