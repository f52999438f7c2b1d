//! The stages from an incident to a message on one channel, in order:
//!
//! - routing: does the incident concern the channel?
//! - grouping: is it a storm?
//! - suppression and the channel's state: is a message due, and may it be sent?
//! - the rate limit: as a message of its own or in a digest?
//! - the outbox.

use uuid::Uuid;

use super::channel_state::{ChannelState, Company, Decision, Delivery};
use super::context::TickContext;
use super::rate_limiter::{Digest, RateLimiter};
use super::{IncidentRecord, NotificationScheduler, stable_id};
use crate::config::Channel;
use crate::config::matchers::{
    concerns, is_stateful_receiver, requires_explicit_resolve, wants_type,
};
use crate::message::values::Locale;
use crate::model::{Incident, IncidentState, Notice, NoticeKind, Outgoing};

/// More simultaneous first messages than this become one digest. Ten endpoints of one vendor are
/// one incident anyway.
const DIGEST_THRESHOLD: usize = 12;

/// State while dispatching to one channel.
struct Turn<'a> {
    channel: &'a Channel,
    context: &'a TickContext<'a>,
    /// Whether so many incidents begin at once that their first messages become one digest.
    is_storm: bool,
    limiter: RateLimiter,
}

impl NotificationScheduler {
    /// Puts all messages that are due for `channel` into `outgoing`.
    pub(super) fn dispatch(
        &mut self,
        channel: &Channel,
        context: &TickContext<'_>,
        outgoing: &mut Vec<Outgoing>,
    ) {
        let concerned = self.route(channel, context);
        let mut turn = Turn {
            channel,
            context,
            is_storm: self.is_storm(channel, context, &concerned),
            limiter: self.paces.remove(&channel.name).unwrap_or_default(),
        };
        self.changed |= turn.limiter.pass(context.now);
        for id in concerned {
            self.notify(id, &mut turn, outgoing);
        }
        self.flush_digest(&mut turn, outgoing);
        if !turn.limiter.is_fresh() {
            self.paces.insert(channel.name.clone(), turn.limiter);
        }
    }

    /// Returns the incidents that concern the channel, by number. Incidents that resolved before
    /// the channel knew of them are left out.
    fn route(&mut self, channel: &Channel, context: &TickContext<'_>) -> Vec<Uuid> {
        let mut concerned: Vec<(u64, Uuid)> = Vec::new();
        for (id, record) in &mut self.records {
            if !record.threads.contains_key(&channel.name) {
                let is_over = record.incident.state == IncidentState::Resolved;
                if is_over || !concerns(&channel.filters, &record.incident, context.config) {
                    continue;
                }
                let state = ChannelState::new(record.changed_at);
                record.threads.insert(channel.name.clone(), state);
                self.changed = true;
            }
            concerned.push((record.incident.number, *id));
        }
        concerned.sort_unstable();
        concerned.into_iter().map(|(_, id)| id).collect()
    }

    /// Reports whether so many incidents begin at once that one digest is clearer. Stateful
    /// receivers always get each incident.
    fn is_storm(&self, channel: &Channel, context: &TickContext<'_>, concerned: &[Uuid]) -> bool {
        if is_stateful_receiver(channel) {
            return false;
        }
        let mut due = 0;
        let mut waiting = 0;
        for record in concerned.iter().filter_map(|id| self.records.get(id)) {
            match self.decide(record, channel, context, false) {
                Some(Decision::Notify(NoticeKind::Opened, _)) => due += 1,
                Some(Decision::Group) => waiting += 1,
                _ => {}
            }
        }
        due > 0 && due + waiting > DIGEST_THRESHOLD
    }

    fn decide(
        &self,
        record: &IncidentRecord,
        channel: &Channel,
        context: &TickContext<'_>,
        is_storm: bool,
    ) -> Option<Decision> {
        let filters = &channel.filters;
        let suppressions = context.suppressions(&self.silences, filters, &record.incident);
        let state = record.threads.get(&channel.name)?;
        let company = if is_storm {
            Company::Storm
        } else if context.may_grow(&record.incident) {
            Company::Expected
        } else {
            Company::Complete
        };
        Some(state.decide(
            context.now,
            &record.incident,
            filters,
            suppressions,
            company,
        ))
    }

    /// Sends everything that is due about one incident; a recovery may follow the opening at once.
    fn notify(&mut self, id: Uuid, turn: &mut Turn<'_>, outgoing: &mut Vec<Outgoing>) {
        loop {
            let decision = self
                .records
                .get(&id)
                .and_then(|record| self.decide(record, turn.channel, turn.context, turn.is_storm));
            let (Some(decision), Some(record)) = (decision, self.records.get_mut(&id)) else {
                return;
            };
            match decision {
                Decision::Idle | Decision::Group => return,
                Decision::Suppress(_) => {
                    let state = record.threads.get_mut(&turn.channel.name);
                    self.changed |= state.is_some_and(ChannelState::suppress);
                    return;
                }
                Decision::Done if turn.limiter.holds(id) => return,
                Decision::Done => {
                    record.threads.remove(&turn.channel.name);
                    self.changed = true;
                    return;
                }
                Decision::Notify(kind, at) => {
                    turn.send(record, kind, at, outgoing);
                    self.changed = true;
                }
            }
        }
    }

    /// Sends the digest of what the rate limit held back, once it is due.
    fn flush_digest(&mut self, turn: &mut Turn<'_>, outgoing: &mut Vec<Outgoing>) {
        let context = turn.context;
        let wait = turn.channel.filters.group_wait;
        let Some(digest) = turn.limiter.flush(
            context.now,
            wait,
            turn.is_storm,
            &Locale::of(context.config),
        ) else {
            return;
        };
        self.changed = true;
        self.announced += 1;
        let count = self.announced.to_string();
        let now = context.now.to_string();
        let id = stable_id(&[&turn.channel.name, "digest", &count, &now]);
        let notice = self.single(&digest, id, turn).unwrap_or_else(|| Notice {
            document: Some(digest.document),
            ..context.bare(id, NoticeKind::Digest, context.now, digest.title)
        });
        outgoing.push(turn.outgoing(notice));
    }

    /// Returns an ordinary message for a digest of only one incident.
    fn single(&mut self, digest: &Digest, id: Uuid, turn: &Turn<'_>) -> Option<Notice> {
        let (incident, kind) = digest.only?;
        let record = self.records.get_mut(&incident)?;
        let state = record.threads.get_mut(&turn.channel.name)?;
        let context = turn.context;
        let notice = context.notice(id, kind, context.now, &record.incident, state.first());
        state.promote_from_digest(id);
        Some(notice)
    }
}

impl Turn<'_> {
    /// Sends one message about `record`, or adds it to the digest, and records it.
    fn send(
        &mut self,
        record: &mut IncidentRecord,
        kind: NoticeKind,
        at: crate::model::Timestamp,
        outgoing: &mut Vec<Outgoing>,
    ) {
        let incident = &record.incident;
        let Some(state) = record.threads.get_mut(&self.channel.name) else {
            return;
        };
        let now = self.context.now;
        let id = state.next_id(&self.channel.name, incident, kind, at);
        let delivery = self.delivery(state, kind, incident);
        match delivery {
            Delivery::Unwanted => {}
            Delivery::Digest => self.limiter.enqueue(now, kind, incident),
            Delivery::Single => {
                self.limiter.take_one(now);
                let notice = Notice {
                    before: state.known(),
                    ..self.context.notice(id, kind, at, incident, state.first())
                };
                outgoing.push(self.outgoing(notice));
            }
        }
        state.record_sent(kind, id, now, incident, delivery);
        let says_the_end = delivery == Delivery::Single && !requires_explicit_resolve(self.channel);
        if says_the_end && kind == NoticeKind::Opened {
            state.skip_resolved();
        }
    }

    fn delivery(&self, state: &ChannelState, kind: NoticeKind, incident: &Incident) -> Delivery {
        let has_nothing_to_say = kind == NoticeKind::Updated && state.knows_all_of(incident);
        if !wants_type(&self.channel.filters, kind) || has_nothing_to_say {
            Delivery::Unwanted
        } else if is_stateful_receiver(self.channel) {
            Delivery::Single
        } else if self.is_storm || state.in_digest() || !self.limiter.has_room() {
            Delivery::Digest
        } else {
            Delivery::Single
        }
    }

    fn outgoing(&self, notice: Notice) -> Outgoing {
        Outgoing {
            channel: self.channel.name.clone(),
            not_before: None,
            notice,
            supersedes_pending: false,
        }
    }
}
