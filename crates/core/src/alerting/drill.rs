//! Drills of the notification channels: who gets one, who confirmed it, and which were not
//! confirmed in time.

use std::time::Duration;

use chrono::TimeZone;
use serde_json::json;
use uuid::Uuid;

use super::context::TickContext;
use super::{NotificationScheduler, stable_id};
use crate::config::matchers::is_stateful_receiver;
use crate::config::{Channel, Config};
use crate::message::incident as narrator;
use crate::message::monitor_notice;
use crate::message::values::Locale;
use crate::model::Announcement;
use crate::model::{
    Block, ChannelName, Condition, Document, DrillMessage, Incident, Notice, NoticeKind, Outgoing,
    Snapshot, Timestamp,
};
use crate::text;

/// How long a drill message is kept: while its link is valid, plus a day.
const KEPT_MS: i64 = 8 * 24 * 3_600_000;
/// A stateful receiver gets the end of the drill this much later: Alertmanager waits half a minute
/// before it notifies.
const LENGTH: Duration = Duration::from_secs(45);
/// The most drill messages that are kept besides the last one of each channel.
const MOST: usize = 500;

/// Outcome of a confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrillConfirmation {
    /// The message is now confirmed.
    Confirmed(DrillMessage),
    /// The message was confirmed before; nothing has changed.
    Already(DrillMessage),
    /// No drill message has this notification id.
    Unknown,
}

impl NotificationScheduler {
    /// Reports whether the drill that `[drill] every` schedules is due. It waits while this machine
    /// is offline or an incident is open: real messages go first.
    pub fn is_drill_due(&mut self, config: &Config, snapshot: &Snapshot) -> bool {
        let now = snapshot.at;
        let Some(cron) = &config.drill.every else {
            return false;
        };
        let zone = config.monitor.timezone;
        let local = zone.from_utc_datetime(&now.to_datetime().naive_utc());
        let Ok(last) = cron.find_previous_occurrence(&local, true) else {
            return false;
        };
        let last = Timestamp(last.timestamp_millis());
        match self.drilled_until {
            Some(done) if done <= now => {
                let is_calm = snapshot.offline_since.is_none() && snapshot.incidents.is_empty();
                if done >= last || !is_calm {
                    return false;
                }
                self.drilled_until = Some(now);
                self.changed = true;
                true
            }
            // The first drill is the next one scheduled. A stored time in the future comes from a
            // wrong clock.
            _ => {
                self.drilled_until = Some(now);
                self.changed = true;
                false
            }
        }
    }

    /// Starts the drill `id` on these channels; the messages are sent at the next tick. `incident`
    /// is what the detector opened for the simulated outage.
    pub fn start_drill(
        &mut self,
        id: Uuid,
        channels: &[ChannelName],
        incident: Option<&Incident>,
        config: &Config,
        now: Timestamp,
    ) -> Vec<DrillMessage> {
        self.changed = true;
        let messages: Vec<_> = config
            .channels
            .iter()
            .filter(|c| channels.contains(&c.name))
            .map(|c| DrillMessage {
                drill: id,
                notification: stable_id(&[&c.name, "drill", &id.to_string()]),
                channel: c.name.clone(),
                sent_at: now,
                confirmed_at: None,
                by: String::new(),
                reported: false,
            })
            .collect();
        for message in &messages {
            self.waiting_drills
                .push((message.clone(), document(message, incident, config)));
            self.drills.messages.push(message.clone());
        }
        self.forget_drills(config, now);
        messages
    }

    /// Records that a person has received the drill message `notification`.
    pub fn confirm_drill(
        &mut self,
        notification: Uuid,
        at: Timestamp,
        by: &str,
    ) -> DrillConfirmation {
        let message = self
            .drills
            .messages
            .iter_mut()
            .find(|m| m.notification == notification);
        let Some(message) = message else {
            return DrillConfirmation::Unknown;
        };
        if message.confirmed_at.is_some() {
            return DrillConfirmation::Already(message.clone());
        }
        self.changed = true;
        message.confirmed_at = Some(at);
        by.clone_into(&mut message.by);
        let message = message.clone();
        self.drills
            .last_confirmed
            .insert(message.channel.clone(), at);
        DrillConfirmation::Confirmed(message)
    }

    /// Returns the messages that nobody has confirmed within `[drill] confirm_within`, each once.
    /// Notifies the channels of `escalate_to` about them.
    pub fn report_unconfirmed_drills(
        &mut self,
        config: &Config,
        now: Timestamp,
    ) -> Vec<DrillMessage> {
        let within = config.drill.confirm_within;
        let mut late = Vec::new();
        for place in 0..self.drills.messages.len() {
            let message = &self.drills.messages[place];
            let is_known = config.has_channel(&message.channel);
            let is_answered = message.confirmed_at.is_some()
                || self
                    .drills
                    .last_confirmed
                    .get(&message.channel)
                    .is_some_and(|at| *at >= message.sent_at);
            if message.reported || is_answered || !is_known || now < message.sent_at + within {
                continue;
            }
            self.drills.messages[place].reported = true;
            self.changed = true;
            late.push(self.drills.messages[place].clone());
        }
        for message in &late {
            if !config.drill.escalate_to.is_empty() {
                self.announce(unconfirmed(message, config, now));
            }
        }
        late
    }

    /// Puts the drill messages into the outbox, behind all real messages.
    pub(super) fn send_drills(&mut self, context: &TickContext<'_>, outgoing: &mut Vec<Outgoing>) {
        for (message, document) in std::mem::take(&mut self.waiting_drills) {
            let channel = context
                .config
                .channels
                .iter()
                .find(|c| c.name == message.channel);
            if let Some(channel) = channel {
                outgoing.extend(messages_to(channel, &message, &document, context));
            }
        }
    }

    fn forget_drills(&mut self, config: &Config, now: Timestamp) {
        let drills = &mut self.drills;
        drills
            .last_confirmed
            .retain(|name, _| config.has_channel(name));
        let last: Vec<Uuid> = config
            .channels
            .iter()
            .filter_map(|c| drills.last_of(&c.name).map(|m| m.notification))
            .collect();
        let excess = drills.messages.len().saturating_sub(MOST);
        let mut place = 0;
        drills.messages.retain(|message| {
            place += 1;
            let is_recent = now.since_ms(message.sent_at) < KEPT_MS && place > excess;
            config.has_channel(&message.channel)
                && (is_recent || last.contains(&message.notification))
        });
    }
}

/// Returns the drill message; for a stateful receiver, its end as well.
fn messages_to(
    channel: &Channel,
    message: &DrillMessage,
    document: &Document,
    context: &TickContext<'_>,
) -> Vec<Outgoing> {
    let is_stateful = is_stateful_receiver(channel);
    let bare = context.bare(
        message.notification,
        NoticeKind::Drill,
        message.sent_at,
        title(false, &Locale::of(context.config)),
    );
    let begin = Outgoing {
        channel: channel.name.clone(),
        not_before: None,
        notice: Notice {
            document: Some(document.clone()),
            condition: is_stateful.then(|| Condition {
                key: format!("drill/{}", message.drill),
                over: false,
            }),
            ..bare
        },
        supersedes_pending: false,
    };
    if !is_stateful {
        return vec![begin];
    }
    let end = Outgoing {
        not_before: Some(message.sent_at + LENGTH),
        notice: Notice {
            id: stable_id(&[&channel.name, "drill-end", &message.drill.to_string()]),
            title: title(true, &Locale::of(context.config)),
            condition: Some(Condition {
                key: format!("drill/{}", message.drill),
                over: true,
            }),
            ..begin.notice.clone()
        },
        ..begin.clone()
    };
    vec![begin, end]
}

fn title(over: bool, locale: &Locale) -> String {
    let title = if over {
        locale.say("the simulated outage is over")
    } else {
        locale.say("simulated outage, nothing is wrong")
    };
    title.to_owned()
}

/// Returns the content of a drill message.
fn document(message: &DrillMessage, incident: Option<&Incident>, config: &Config) -> Document {
    let locale = Locale::of(config);
    let within = locale.duration(config.drill.confirm_within.as_secs_f64());
    let what = match incident {
        Some(incident) => {
            let after = incident.opened_at.since_ms(incident.started_at) as f64 / 1000.0;
            let after = locale.duration(after);
            text!(
                locale,
                "A simulated endpoint failed inside the monitor. With your settings the detector opened an incident {after} after \
                 the first failed probe. A real message would say:",
                after
            )
        }
        None if config.endpoints.is_empty() => {
            let text = "No endpoint is configured, so the detector had nothing to judge.";
            locale.say(text).to_owned()
        }
        None => {
            let text = "With your settings the detector opens no incident for an outage of 24 hours. Check `[detection]`.";
            locale.say(text).to_owned()
        }
    };
    let channel = &message.channel;
    let mut blocks = vec![
        Block::Text(text!(
            locale,
            "This is a drill of the channel `{channel}`. It was sent the same way as an alert.",
            channel
        )),
        Block::Text(what),
    ];
    let mut data = json!({"drill": message.drill, "channel": message.channel, "incident": null});
    if let Some(incident) = incident {
        let mut incident = incident.clone();
        narrator::narrate(&mut incident, &locale);
        blocks.push(Block::List(vec![incident.title.clone()]));
        data["incident"] = json!({
            "status": incident.status, "attribution": incident.attribution, "cause": incident.cause,
            "title": incident.title, "endpoints": incident.endpoints, "started_at": incident.started_at,
            "opened_at": incident.opened_at,
        });
    }
    blocks.push(Block::Text(text!(
        locale,
        "Confirm within {within} that you have received it. Nothing else needs to be done.",
        within
    )));
    Document { blocks, data }
}

/// Returns the announcement for `escalate_to` that nobody has confirmed the message.
fn unconfirmed(message: &DrillMessage, config: &Config, now: Timestamp) -> Announcement {
    let locale = Locale::of(config);
    let within: Duration = config.drill.confirm_within;
    let only = config.drill.escalate_to.clone();
    monitor_notice::drill_unconfirmed(message, within, only, now, &locale)
}
