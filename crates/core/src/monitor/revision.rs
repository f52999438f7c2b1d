//! Applies revised attributions to incidents, recent history, records and the log.

use std::collections::BTreeMap;

use super::{Effects, Fact, MonitorState, Record};
use crate::config::Config;
use crate::incident::network::Peer;
use crate::model::{AttributionRevision, EndpointName};

/// The endpoints whose failures a network problem of this machine can explain.
pub(super) fn peers(config: &Config) -> BTreeMap<EndpointName, Peer> {
    let outside = config.endpoints.iter().filter(|e| config.is_outside(e));
    outside
        .map(|e| {
            let peer = Peer {
                domain: e.domain(),
                interval_ms: e.interval.as_millis() as i64,
            };
            (e.name.clone(), peer)
        })
        .collect()
}

impl MonitorState {
    /// Applies revisions to the recent history.
    pub(super) fn revise_recents(&mut self, revisions: &[AttributionRevision]) {
        for revision in revisions {
            if let Some(recent) = self.recents.get_mut(&revision.endpoint) {
                recent.revise(revision);
            }
        }
    }

    /// Adds revisions to the records and the log.
    pub(super) fn record_revisions(&self, step: &mut Effects, revisions: Vec<AttributionRevision>) {
        for revision in revisions {
            if let Some(endpoint) = self.endpoint(&revision.endpoint) {
                step.log(Fact::AttributionRevised {
                    provider: endpoint.provider,
                    revision: revision.clone(),
                });
            }
            step.record(Record::Revision(revision));
        }
    }
}
