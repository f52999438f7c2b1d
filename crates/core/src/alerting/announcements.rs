//! Messages that are not about an incident: the monitor itself, reports, advice and vendor
//! incidents.

use super::context::TickContext;
use super::{NotificationScheduler, stable_id};
use crate::config::Channel;
use crate::config::matchers::{requires_explicit_resolve, wants_type};
use crate::message::values::Locale;
use crate::model::Announcement;
use crate::model::{Notice, NoticeKind, Outgoing};

impl NotificationScheduler {
    /// Puts an announcement into the outbox of each channel that wants it.
    pub(super) fn announce_to_channels(
        &mut self,
        announcement: &Announcement,
        context: &TickContext<'_>,
        outgoing: &mut Vec<Outgoing>,
    ) {
        let Announcement {
            kind,
            title,
            at,
            document,
            only,
            except,
            condition,
            advice,
        } = announcement;
        self.announced += 1;
        // Daemons that share a store produce the same report; it must have the same id on each.
        let count = match kind {
            NoticeKind::Report => String::new(),
            _ => self.announced.to_string(),
        };
        for channel in &context.config.channels {
            let is_asked = match only {
                Some(names) => names.contains(&channel.name),
                None => wants_type(&channel.filters, *kind),
            };
            if !is_asked || except.as_ref() == Some(&channel.name) {
                continue;
            }
            if let Some(advice) = advice {
                self.advice_batches
                    .entry(channel.name.clone())
                    .or_default()
                    .add(advice.clone(), *at);
                continue;
            }
            let id = stable_id(&[&channel.name, kind.as_str(), &count, &at.to_string()]);
            let bare = context.bare(id, *kind, *at, title.clone());
            let notice = Notice {
                document: document.clone(),
                condition: condition.clone(),
                ..bare
            };
            // Messages about an offline monitor, its database or a broken channel are as urgent as
            // an outage. The rest can wait.
            let is_urgent = matches!(
                kind,
                NoticeKind::Offline | NoticeKind::Online | NoticeKind::Store | NoticeKind::Delivery
            );
            let not_before = context
                .closed_until()
                .max(context.quiet_until(channel, is_urgent));
            let supersedes_pending = condition.as_ref().is_some_and(|c| {
                if c.over {
                    // A channel that never received the opening message gets one that covers both.
                    !requires_explicit_resolve(channel)
                } else {
                    // A report about delivery says everything that an unsent one says.
                    *kind == NoticeKind::Delivery
                }
            });
            outgoing.push(Outgoing {
                channel: channel.name.clone(),
                not_before,
                notice,
                supersedes_pending,
            });
        }
    }

    /// Sends the advice of a channel once it has waited long enough for more to join it.
    pub(super) fn flush_advice(
        &mut self,
        channel: &Channel,
        context: &TickContext<'_>,
        outgoing: &mut Vec<Outgoing>,
    ) {
        let batch = self.advice_batches.get(&channel.name);
        if !batch.is_some_and(|b| b.is_due(context.now, channel.filters.group_wait)) {
            return;
        }
        let Some(batch) = self.advice_batches.remove(&channel.name) else {
            return;
        };
        self.changed = true;
        self.announced += 1;
        let (at, title, document) = batch.message(
            &context.config.monitor.location,
            &Locale::of(context.config),
        );
        let id = stable_id(&[
            &channel.name,
            "advice",
            &self.announced.to_string(),
            &at.to_string(),
        ]);
        let notice = Notice {
            document: Some(document),
            ..context.bare(id, NoticeKind::Advice, at, title)
        };
        let not_before = context
            .closed_until()
            .max(context.quiet_until(channel, false));
        outgoing.push(Outgoing {
            channel: channel.name.clone(),
            not_before,
            notice,
            supersedes_pending: false,
        });
    }
}
