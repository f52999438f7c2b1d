//! Losing and regaining sight of the world: when nothing can be reached, nothing is said about any provider.

use serde::{Deserialize, Serialize};

use super::{Effects, Fact, MonitorState};
use crate::message::monitor_notice;
use crate::model::{Endpoint, Fault, Sample, Timestamp};

/// The monitor's own network is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OfflineState {
    pub(super) since: Timestamp,
    /// Whether a notice was queued: a blink is not worth one.
    told: bool,
    /// Probes that could not measure anything.
    #[serde(default)]
    missed: u32,
    /// Whether all of them failed for want of a name: then it may be the resolver alone.
    #[serde(default)]
    nameless: bool,
}

impl MonitorState {
    /// Takes a sample as a look out of the window; `offline` when it saw nothing at all.
    pub(super) fn see(
        &mut self,
        step: &mut Effects,
        endpoint: &Endpoint,
        sample: &Sample,
        offline: bool,
    ) {
        let at = sample.ended_at();
        if offline {
            let alert_after = endpoint.detection.alert_after().as_millis() as i64;
            self.lose_sight(step, sample, at, alert_after);
        } else if self.config.is_outside(endpoint) {
            // An answer from this machine itself says nothing about the world.
            self.regain_sight(step, at);
        }
    }

    fn lose_sight(&mut self, step: &mut Effects, sample: &Sample, at: Timestamp, alert_after: i64) {
        let (location, locale) = (&self.config.monitor.location, self.locale());
        let nameless = sample.fault == Some(Fault::LocalDns);
        let begins = self.state.blind.is_none();
        let fresh = OfflineState {
            since: sample.started_at,
            told: false,
            missed: 0,
            nameless,
        };
        let blind = self.state.blind.get_or_insert(fresh);
        blind.missed += 1;
        blind.nameless &= nameless;
        if begins {
            step.log(Fact::Offline {
                endpoint: sample.endpoint.clone(),
                fault: sample.fault,
                since: sample.started_at,
                dns_only: blind.nameless,
            });
        }
        if !blind.told && at.since_ms(blind.since) >= alert_after {
            blind.told = true;
            step.announce(monitor_notice::offline(
                location,
                blind.since,
                sample.fault,
                blind.nameless,
                at,
                &locale,
            ));
        }
    }

    fn regain_sight(&mut self, step: &mut Effects, at: Timestamp) {
        let Some(blind) = self.state.blind.take() else {
            return;
        };
        step.log(Fact::Online {
            since: blind.since,
            duration_s: at.since_ms(blind.since) as f64 / 1000.0,
            missed_probes: blind.missed,
        });
        if blind.told {
            step.announce(monitor_notice::online(
                &self.config.monitor.location,
                blind.since,
                blind.missed,
                blind.nameless,
                at,
                &self.locale(),
            ));
        }
    }
}
