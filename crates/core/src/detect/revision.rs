//! What detection makes of failures whose attribution later samples revised.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    Blip, Cleared, DetectedCause, Detector, DetectorEventKind, FailureReason, Observation, Policy,
    ProbeResult, Verdict,
};
use crate::model::{Attribution, AttributionRevision, EndpointName, Timestamp};
use crate::schedule::next_tick;

/// What is taken back once failures turn out to be this machine's.
enum TakenBack {
    Alert,
    Pending(Blip),
}

impl Detector {
    /// Folds in earlier failures that turned out to be the provider's.
    pub fn observe_restored(
        &mut self,
        policies: &BTreeMap<EndpointName, Policy>,
        revisions: &[AttributionRevision],
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let restored = revisions.iter();
        for revision in restored.filter(|r| r.now == Attribution::Provider) {
            let name = &revision.endpoint;
            let Some(policy) = policies.get(name) else {
                continue;
            };
            let interval = Duration::from_millis(policy.interval_ms.unsigned_abs());
            let mut starts = vec![revision.from, revision.until];
            starts.dedup();
            for start in starts {
                let earlier = self.observe(
                    policies,
                    &Observation {
                        endpoint: name.clone(),
                        start,
                        end: start,
                        next_tick: next_tick(name, interval, start),
                        result: ProbeResult::Failed {
                            reason: FailureReason::Confirmed,
                            retry_after_ms: None,
                        },
                    },
                );
                verdict.notes.extend(earlier.notes);
                verdict.blips.extend(earlier.blips);
            }
        }
        verdict
    }

    /// Takes back failures that turned out to be this machine's: what is pending, and alerts.
    /// `verdict` loses the alerts that were about to be notified. Returns the revisions that ended
    /// an alert.
    pub fn take_back_revised<'a>(
        &mut self,
        revisions: &'a [AttributionRevision],
        verdict: &mut Verdict,
    ) -> Vec<&'a AttributionRevision> {
        let mut ended = Vec::new();
        for revision in revisions {
            if revision.was != Attribution::Provider {
                continue;
            }
            match self.take_back(&revision.endpoint, revision.from) {
                Some(TakenBack::Pending(blip)) => verdict.blips.push(blip),
                Some(TakenBack::Alert) => {
                    verdict
                        .notes
                        .retain(|note| note.endpoint != revision.endpoint || !is_alert(note.event));
                    ended.push(revision);
                }
                None => {}
            }
        }
        ended
    }

    /// Takes back the failures of an endpoint that began at `from` or later.
    fn take_back(&mut self, endpoint: &str, from: Timestamp) -> Option<TakenBack> {
        let watched = self.endpoints.get_mut(endpoint)?;
        if let Some(alert) = &watched.alert {
            let is_about_them = alert.failing_since.is_some_and(|since| since >= from.0);
            return (is_about_them && self.withdraw(endpoint)).then_some(TakenBack::Alert);
        }
        let failures = watched.errors.excursion().filter(|e| e.since >= from.0)?;
        watched.errors.empty();
        let blip = failures.blip(endpoint, DetectedCause::Errors, Cleared::Reattributed);
        Some(TakenBack::Pending(blip))
    }
}

fn is_alert(event: DetectorEventKind) -> bool {
    matches!(
        event,
        DetectorEventKind::Open | DetectorEventKind::Join | DetectorEventKind::Escalate
    )
}
