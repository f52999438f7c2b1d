//! History for the pages, besides the rollups: incidents and their notifications.

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::{Store, StoreError};
use llmwatch_core::message::timeline::{DeliveryState, TimelineEntry, delivery};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{ChannelName, Timestamp};
use llmwatch_core::text;

/// A notification about an incident, and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationRow {
    /// The channel's name.
    pub channel: ChannelName,
    /// For instance `incident.opened`.
    pub kind: String,
    /// `pending`, `sent`, `failed` or `expired`.
    pub state: String,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
    /// Attempts made.
    pub attempts: u32,
    /// The last error.
    pub error: Option<String>,
}

impl NotificationRow {
    /// Returns its entry in the timeline of the incident. `recipients` come first; `with_error` adds
    /// the receiver's answer, unless it was sent.
    pub fn moment(
        &self,
        recipients: Option<String>,
        with_error: bool,
        locale: &Locale,
    ) -> TimelineEntry {
        let state = match self.state.as_str() {
            "sent" => DeliveryState::Sent,
            "pending" => DeliveryState::Waiting,
            _ => DeliveryState::Failed,
        };
        let mut details = Vec::from_iter(recipients);
        if self.attempts > 1 {
            let n = self.attempts;
            details.push(text!(locale, "{n} attempts", n));
        }
        if with_error && state != DeliveryState::Sent {
            details.extend(self.error.clone());
        }
        let at = self.ended_at.unwrap_or(self.decided_at);
        let kind = self.kind.rsplit('.').next().unwrap_or_default();
        delivery(state, at, &self.channel, kind, details.join(": "), locale)
    }
}

impl Store {
    /// Returns the newest `limit` incidents as JSON, newest first; below number `before`, if given.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_incidents(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let before = before.map_or(i64::MAX, |n| i64::try_from(n).unwrap_or(i64::MAX));
        self.run(|c| {
            c.prepare_cached(
                "SELECT data FROM incident WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
            )?
            .query_map(params![before, limit], |r| r.get(0))?
            .collect()
        })
    }

    /// Returns the incident with this number as JSON.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn incident_data(&self, number: u64) -> Result<Option<String>, StoreError> {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.run(|c| {
            c.prepare_cached("SELECT data FROM incident WHERE number = ?1")?
                .query_row([number], |r| r.get(0))
                .optional()
        })
    }

    /// Returns the incident with this ID as JSON.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn incident_data_by_id(&self, id: Uuid) -> Result<Option<String>, StoreError> {
        self.run(|c| {
            c.prepare_cached("SELECT data FROM incident WHERE id = ?1")?
                .query_row([id], |r| r.get(0))
                .optional()
        })
    }

    /// Returns the notifications about an incident, in the order of the decisions.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn notifications_of(&self, incident: Uuid) -> Result<Vec<NotificationRow>, StoreError> {
        self.run(|c| {
            c.prepare_cached(
                "SELECT channel, json_extract(notice, '$.type'), state, decided_at, ended_at, attempts, error FROM outbox
                 WHERE incident = ?1 ORDER BY seq",
            )?
            .query_map([incident], |r| {
                Ok(NotificationRow {
                    channel: r.get::<_, String>(0)?.into(),
                    kind: r.get::<_, Option<String>>(1)?.unwrap_or_default(),
                    state: r.get(2)?,
                    decided_at: Timestamp(r.get(3)?),
                    ended_at: r.get::<_, Option<i64>>(4)?.map(Timestamp),
                    attempts: r.get(5)?,
                    error: r.get(6)?,
                })
            })?
            .collect()
        })
    }
}
