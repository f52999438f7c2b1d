//! Drills: rehearsals of an alert, and who confirmed its arrival.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ChannelName, ShiftClock, Timestamp};

/// The message of a drill to one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillMessage {
    /// The drill.
    pub drill: Uuid,
    /// Its notification.
    pub notification: Uuid,
    /// The channel's name.
    pub channel: ChannelName,
    /// When it was put into the outbox.
    pub sent_at: Timestamp,
    /// When a person confirmed it.
    pub confirmed_at: Option<Timestamp>,
    /// Who confirmed it: a name, or `link`.
    #[serde(default)]
    pub by: String,
    /// Whether it was reported that nobody had confirmed it in time.
    #[serde(default)]
    pub reported: bool,
}

/// The stored drills.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Drills {
    /// The messages of the last days, oldest first, and the last one of each channel.
    pub messages: Vec<DrillMessage>,
    /// When a person last confirmed a drill, by channel.
    pub last_confirmed: BTreeMap<ChannelName, Timestamp>,
}

impl Drills {
    /// Reports whether there was none yet.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.last_confirmed.is_empty()
    }

    /// Returns the last message to `channel`.
    pub fn last_of(&self, channel: &str) -> Option<&DrillMessage> {
        self.messages.iter().rev().find(|m| m.channel == channel)
    }

    /// Returns the message of this notification.
    pub fn message(&self, notification: Uuid) -> Option<&DrillMessage> {
        self.messages
            .iter()
            .find(|m| m.notification == notification)
    }
}

impl ShiftClock for Drills {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            messages,
            last_confirmed: _,
        } = self;
        messages.shift_clock(by_ms);
    }
}

impl ShiftClock for DrillMessage {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            sent_at,
            confirmed_at,
            drill: _,
            notification: _,
            channel: _,
            by: _,
            reported: _,
        } = self;
        sent_at.shift_clock(by_ms);
        confirmed_at.shift_clock(by_ms);
    }
}
