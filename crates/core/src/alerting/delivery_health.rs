//! Uses the other channels to report a channel that fails to deliver.

use std::time::Duration;

use super::NotificationScheduler;
use crate::config::Config;
use crate::message::monitor_notice::{self, MonitorNotice};
use crate::message::values::Locale;
use crate::model::Announcement;
use crate::model::{ChannelStats, Condition, NoticeKind, Timestamp};

/// A channel that has been failing for this long is announced through the others.
const FAILING: Duration = Duration::from_mins(5);
/// Minimum interval between announcements that a channel's recipients reject messages.
const REFUSED: Duration = Duration::from_hours(24);

impl NotificationScheduler {
    /// Announces through the other channels when a channel fails to deliver and when it has
    /// recovered, once each.
    pub(super) fn watch_channels(
        &mut self,
        now: Timestamp,
        config: &Config,
        outbox: &[ChannelStats],
    ) {
        let location = config.monitor.location.as_str();
        let locale = Locale::of(config);
        for tally in outbox.iter().filter(|t| config.has_channel(&t.channel)) {
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
            let announced = self.refused.get(name);
            if let (Some(at), Some(who)) = (tally.last_refused_at, &tally.refused)
                && announced.is_none_or(|last| at.since_ms(*last) >= REFUSED.as_millis() as i64)
            {
                self.refused.insert(name.clone(), at);
                let notice = MonitorNotice::RecipientsRejected { channel: name, who };
                let title = monitor_notice::title(&notice, location, &locale);
                self.announce(Announcement::new(NoticeKind::Delivery, title, now));
            }
            let title = match (self.failing.get(name).copied(), in_vain.or(dead)) {
                (None, Some(since)) => {
                    self.failing.insert(name.clone(), since);
                    let notice = MonitorNotice::ChannelFailing {
                        channel: name,
                        error: tally.last_error.as_deref(),
                    };
                    monitor_notice::title(&notice, location, &locale)
                }
                (Some(since), None) if tally.last_sent_at.is_some_and(|at| at > since) => {
                    self.failing.remove(name);
                    let notice = MonitorNotice::ChannelRecovered {
                        channel: name,
                        after_s: now.since_ms(since) as f64 / 1000.0,
                    };
                    monitor_notice::title(&notice, location, &locale)
                }
                _ => continue,
            };
            let condition = Some(Condition {
                key: format!("delivery/{name}"),
                over: !self.failing.contains_key(name),
            });
            let except = Some(name.clone());
            self.announce(Announcement {
                except,
                condition,
                ..Announcement::new(NoticeKind::Delivery, title, now)
            });
        }
        self.failing.retain(|name, _| config.has_channel(name));
        self.refused.retain(|name, _| config.has_channel(name));
    }
}
