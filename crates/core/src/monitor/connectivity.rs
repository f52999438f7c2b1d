//! Tracks whether this machine is offline. While it is, no provider is judged.

use serde::{Deserialize, Serialize};

use super::{Effects, Fact, MonitorState};
use crate::config::matchers::{requires_explicit_resolve, wants_type};
use crate::message::monitor_notice;
use crate::model::{Announcement, Condition, Endpoint, Fault, Sample, ShiftClock, Timestamp};

/// The key of this condition in release 0.1; now it is `offline`.
const KEY_OF_0_1: &str = "blind";

/// State while this machine is offline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OfflineState {
    pub(super) since: Timestamp,
    /// Whether a notice was queued; a brief interruption gets none.
    #[serde(rename = "told")]
    is_notified: bool,
    /// Probes that could not measure anything.
    #[serde(default)]
    missed: u32,
    /// Whether all of them failed at DNS: then the resolver alone may be broken.
    #[serde(default)]
    nameless: bool,
}

impl MonitorState {
    /// Updates the connectivity state from a sample; `offline` if it shows that nothing is
    /// reachable.
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
            self.go_offline(step, sample, at, alert_after);
        } else if self.config.is_outside(endpoint) {
            // An answer from this machine itself does not show that the network works.
            self.go_online(step, at);
        }
    }

    fn go_offline(&mut self, step: &mut Effects, sample: &Sample, at: Timestamp, alert_after: i64) {
        let location = &self.config.monitor.location;
        let locale = self.locale();
        let nameless = sample.fault == Some(Fault::LocalDns);
        let begins = self.state.offline.is_none();
        let fresh = OfflineState {
            since: sample.started_at,
            is_notified: false,
            missed: 0,
            nameless,
        };
        let offline = self.state.offline.get_or_insert(fresh);
        offline.missed += 1;
        offline.nameless &= nameless;
        if begins {
            step.log(Fact::Offline {
                endpoint: sample.endpoint.clone(),
                fault: sample.fault,
                since: sample.started_at,
                dns_only: offline.nameless,
            });
        }
        if !offline.is_notified && at.since_ms(offline.since) >= alert_after {
            offline.is_notified = true;
            step.announce(monitor_notice::offline(
                location,
                offline.since,
                sample.fault,
                offline.nameless,
                at,
                &locale,
            ));
        }
    }

    fn go_online(&mut self, step: &mut Effects, at: Timestamp) {
        let Some(offline) = self.state.offline.take() else {
            return;
        };
        step.log(Fact::Online {
            since: offline.since,
            duration_s: at.since_ms(offline.since) as f64 / 1000.0,
            missed_probes: offline.missed,
        });
        if !offline.is_notified {
            return;
        }
        let announcement = monitor_notice::online(
            &self.config.monitor.location,
            offline.since,
            offline.missed,
            offline.nameless,
            at,
            &self.locale(),
        );
        if std::mem::take(&mut self.state.closes_blind) {
            self.close_alert_of_0_1(step, announcement.clone());
        }
        step.announce(announcement);
    }

    /// Closes the alert that release 0.1 opened under its own key, at each receiver that keeps it
    /// open until then. The others need no second message.
    fn close_alert_of_0_1(&self, step: &mut Effects, online: Announcement) {
        let channels: Vec<_> = self
            .config
            .channels
            .iter()
            .filter(|c| requires_explicit_resolve(c) && wants_type(&c.filters, online.kind))
            .map(|c| c.name.clone())
            .collect();
        if channels.is_empty() {
            return;
        }
        step.announce(Announcement {
            only: Some(channels),
            condition: Some(Condition {
                key: KEY_OF_0_1.to_owned(),
                over: true,
            }),
            ..online
        });
    }
}

impl ShiftClock for OfflineState {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            since,
            is_notified: _,
            missed: _,
            nameless: _,
        } = self;
        since.shift_clock(by_ms);
    }
}
