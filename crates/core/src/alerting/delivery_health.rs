//! Reports channels that fail to deliver, through the other channels.
//!
//! A channel gets one report about all others, not one for each: many channels often fail together.
//! A report names every channel that fails at that time, so a newer one replaces a pending one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::NotificationScheduler;
use crate::config::Config;
use crate::config::matchers::wants_type;
use crate::message::monitor_notice;
use crate::message::values::Locale;
use crate::model::{Announcement, ChannelName, ChannelStats, NoticeKind, ShiftClock, Timestamp};

/// A channel that has been failing for this long is reported.
const FAILING: Duration = Duration::from_mins(5);
/// Minimum interval between reports that a channel's recipients reject messages.
const REFUSED: Duration = Duration::from_hours(24);
/// The most reports within [`PERIOD`]. What changes meanwhile waits for the next one, so a channel
/// that flaps, or reports that are themselves rejected, cannot flood the other channels.
const MAX_REPORTS: usize = 4;
/// See [`MAX_REPORTS`].
const PERIOD: Duration = Duration::from_hours(1);

/// What has changed since the last report, by channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DeliveryHealth {
    failed: BTreeSet<ChannelName>,
    /// How long each has failed, in milliseconds.
    recovered: BTreeMap<ChannelName, i64>,
    /// The recipients that rejected messages, with their servers' replies.
    rejected: BTreeMap<ChannelName, String>,
    /// When the last reports were decided, oldest first.
    reported_at: Vec<Timestamp>,
}

impl DeliveryHealth {
    fn note_failure(&mut self, channel: &ChannelName) {
        self.recovered.remove(channel);
        self.failed.insert(channel.clone());
    }

    fn note_recovery(&mut self, channel: &ChannelName, after_ms: i64) {
        self.failed.remove(channel);
        self.recovered.insert(channel.clone(), after_ms);
    }

    fn forget_removed(&mut self, config: &Config) {
        self.failed.retain(|name| config.has_channel(name));
        self.recovered.retain(|name, _| config.has_channel(name));
        self.rejected.retain(|name, _| config.has_channel(name));
    }

    /// Reports whether something has changed and a report may be sent at `now`.
    fn is_due(&self, now: Timestamp) -> bool {
        let latest = self.reported_at.len().checked_sub(MAX_REPORTS);
        let has_room = latest.is_none_or(|i| now >= self.reported_at[i] + PERIOD);
        let is_unchanged =
            self.failed.is_empty() && self.recovered.is_empty() && self.rejected.is_empty();
        has_room && !is_unchanged
    }

    /// Takes the changes, for a report at `now`.
    fn take(&mut self, now: Timestamp) -> Self {
        let changes = std::mem::take(self);
        self.reported_at.clone_from(&changes.reported_at);
        self.reported_at.push(now);
        let excess = self.reported_at.len().saturating_sub(MAX_REPORTS);
        self.reported_at.drain(..excess);
        changes
    }
}

impl ShiftClock for DeliveryHealth {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            failed: _,
            recovered: _,
            rejected: _,
            reported_at,
        } = self;
        reported_at.shift_clock(by_ms);
    }
}

impl NotificationScheduler {
    /// Reports through the other channels when channels fail to deliver, and when they have
    /// recovered.
    pub(super) fn watch_channels(
        &mut self,
        now: Timestamp,
        config: &Config,
        outbox: &[ChannelStats],
    ) {
        for tally in outbox.iter().filter(|t| config.has_channel(&t.channel)) {
            self.watch_channel(now, tally);
        }
        self.failing.retain(|name, _| config.has_channel(name));
        self.refused.retain(|name, _| config.has_channel(name));
        self.delivery.forget_removed(config);
        if self.delivery.is_due(now) {
            self.report_delivery(now, config, outbox);
        }
    }

    /// Notes what has changed on one channel.
    fn watch_channel(&mut self, now: Timestamp, tally: &ChannelStats) {
        let name = &tally.channel;
        let in_vain = tally
            .failing_since
            .filter(|since| now.since_ms(*since) >= FAILING.as_millis() as i64);
        let dead = tally
            .last_dead_at
            .filter(|at| self.dead.get(name).is_none_or(|known| known < at));
        if let Some(at) = dead {
            self.changed = true;
            self.dead.insert(name.clone(), at);
        }
        let reported = self.refused.get(name);
        if let (Some(at), Some(who)) = (tally.last_refused_at, &tally.refused)
            && reported.is_none_or(|last| at.since_ms(*last) >= REFUSED.as_millis() as i64)
        {
            self.changed = true;
            self.refused.insert(name.clone(), at);
            self.delivery.rejected.insert(name.clone(), who.clone());
        }
        match (self.failing.get(name).copied(), in_vain.or(dead)) {
            (None, Some(since)) => {
                self.changed = true;
                self.failing.insert(name.clone(), since);
                self.delivery.note_failure(name);
            }
            (Some(since), None) if tally.last_sent_at.is_some_and(|at| at > since) => {
                self.changed = true;
                self.failing.remove(name);
                self.delivery.note_recovery(name, now.since_ms(since));
            }
            _ => {}
        }
    }

    /// Announces what has changed, to each channel without itself.
    fn report_delivery(&mut self, now: Timestamp, config: &Config, outbox: &[ChannelStats]) {
        self.changed = true;
        let locale = Locale::of(config);
        let changes = self.delivery.take(now);
        let failing: Vec<(&str, Option<&str>)> = self
            .failing
            .keys()
            .map(|name| {
                let tally = outbox.iter().find(|t| t.channel == *name);
                (name.as_str(), tally.and_then(|t| t.last_error.as_deref()))
            })
            .collect();
        let mut reports = Vec::new();
        for receiver in &config.channels {
            if !wants_type(&receiver.filters, NoticeKind::Delivery) {
                continue;
            }
            let is_other = |name: &str| receiver.name != name;
            let failing: Vec<_> = failing
                .iter()
                .copied()
                .filter(|(name, _)| is_other(name))
                .collect();
            let recovered: Vec<(&str, f64)> = changes
                .recovered
                .iter()
                .filter(|(name, _)| is_other(name))
                .map(|(name, after_ms)| (name.as_str(), *after_ms as f64 / 1000.0))
                .collect();
            let has_failed = changes.failed.iter().any(|name| is_other(name));
            let only = vec![receiver.name.clone()];
            if has_failed || !recovered.is_empty() {
                let announcement =
                    monitor_notice::delivery(&failing, &recovered, has_failed, now, &locale);
                reports.push(Announcement {
                    only: Some(only.clone()),
                    ..announcement
                });
            }
            // The rejected channel itself reports it to its other recipients.
            if !changes.rejected.is_empty() {
                reports.push(Announcement {
                    only: Some(only),
                    ..monitor_notice::recipients_rejected(&changes.rejected, now, &locale)
                });
            }
        }
        for report in reports {
            self.announce(report);
        }
    }
}
