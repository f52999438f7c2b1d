//! The outbox: each notification is a row, written in the transaction that decided it and sent
//! later.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use uuid::Uuid;

use super::delivery::{AttemptRecord, DeliveryOutcome, Pending, record};
use super::queue::{Queue, Queued};
use super::write_behind::WriteBehind;
use super::{Store, StoreError};
use llmwatch_core::model::{ChannelName, ChannelStats, Notice, NoticeKind, ShiftClock, Timestamp};

/// A row of the outbox, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutboxRow {
    /// The notification's id.
    pub id: Uuid,
    /// The channel's name.
    pub channel: ChannelName,
    /// The kind, for instance `incident.opened`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A one-line summary.
    pub title: String,
    /// `pending`, `sent`, `merged` (an earlier message covered it), `failed`, `expired` or
    /// `dropped`.
    pub state: String,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Attempts made so far.
    pub attempts: u32,
    /// When it is tried next, while it is pending.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
    /// The last error.
    pub error: Option<String>,
    /// Whether it is in the outbox of a shared store.
    pub shared: bool,
}

/// The query that [`OutboxRow::read`] reads.
const OUTBOX_ROW: &str = "SELECT id, channel, json_extract(notice, '$.type'),
    coalesce(json_extract(notice, '$.incident.title'), json_extract(notice, '$.title')),
    state, decided_at, attempts, next_attempt_at, ended_at, error FROM outbox";

impl OutboxRow {
    fn read(r: &Row<'_>) -> rusqlite::Result<Self> {
        let state: String = r.get(4)?;
        Ok(Self {
            id: r.get(0)?,
            channel: r.get::<_, String>(1)?.into(),
            kind: r.get(2)?,
            title: r.get(3)?,
            decided_at: Timestamp(r.get(5)?),
            attempts: r.get(6)?,
            next_attempt_at: (state == "pending").then_some(Timestamp(r.get(7)?)),
            ended_at: r.get::<_, Option<i64>>(8)?.map(Timestamp),
            error: r.get(9)?,
            shared: false,
            state,
        })
    }
}

impl Store {
    /// Returns the next notification to send to `channel` at `now`: the oldest that is due and that
    /// no earlier one [holds back](Queue).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next_pending(
        &self,
        channel: &str,
        now: Timestamp,
    ) -> Result<Option<Pending>, StoreError> {
        let unwritten = self.unwritten();
        let (queue, unread) = self.queue(channel, &unwritten);
        let next = queue.free(now).find(|queued| queued.due <= now);
        match (next, unread) {
            (Some(next), _) => self.pending(next, channel, &unwritten),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Builds the queue of `channel`: the rows of the file, updated by unrecorded attempts, then
    /// the notifications not in the file yet. If the file cannot be read, returns the latter with
    /// the error.
    fn queue(&self, channel: &str, unwritten: &WriteBehind) -> (Queue, Option<StoreError>) {
        let mut queue = Queue::default();
        let rows = self.run(|c| {
            c.prepare_cached(
                "SELECT seq, id, incident, digest, queued_at, next_attempt_at,
                    json_extract(notice, '$.condition.key'), json_extract(notice, '$.type') = 'monitor.drill'
                 FROM outbox WHERE state = 'pending' AND channel = ?1 ORDER BY seq",
            )?
            .query_map([channel], |r| {
                Ok(Queued {
                    seq: Some(r.get(0)?),
                    id: r.get(1)?,
                    incident: r.get(2)?,
                    digest: r.get(3)?,
                    queued_at: Timestamp(r.get(4)?),
                    due: Timestamp(r.get(5)?),
                    condition: r.get(6)?,
                    is_drill: r.get(7)?,
                })
            })?
            .collect::<Result<Vec<_>, _>>()
        });
        let (rows, unread) = match rows {
            Ok(rows) => (rows, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        for queued in rows.into_iter().chain(unwritten.queued(channel)) {
            match unwritten.outcome(queued.id) {
                None => queue.push(queued),
                Some(DeliveryOutcome::RetryAt(due)) => queue.push(Queued { due, ..queued }),
                // Finished, but not recorded in the file yet.
                Some(_) => {}
            }
        }
        (queue, unread)
    }

    /// Returns the notification of an entry in the queue of `channel`.
    fn pending(
        &self,
        queued: &Queued,
        channel: &str,
        unwritten: &WriteBehind,
    ) -> Result<Option<Pending>, StoreError> {
        let Some(seq) = queued.seq else {
            return Ok(unwritten.pending(queued.id));
        };
        let row = self.run(|c| {
            c.prepare_cached(
                "SELECT notice, progress, attempts,
                    coalesce(
                        (SELECT json_extract(later.notice, '$.incident') FROM outbox later
                         WHERE later.channel = o.channel AND later.incident = o.incident AND later.seq > o.seq
                            AND json_extract(later.notice, '$.type') = 'incident.resolved'),
                        (SELECT data FROM incident WHERE id = o.incident AND NOT open))
                 FROM outbox o WHERE seq = ?1",
            )?
            .query_row([seq], |r| {
                let over: Option<String> = r.get(3)?;
                Ok((r.get::<_, String>(0)?, r.get(1)?, r.get(2)?, over))
            })
            .optional()
        })?;
        let Some((notice, progress, attempts, over)) = row else {
            return Ok(None);
        };
        let mut notice = self.notice(&notice)?;
        if notice.kind == NoticeKind::Opened
            && let Some(over) = over
        {
            let incident = serde_json::from_str(&over)
                .map_err(|source| self.unreadable("an incident", source))?;
            notice.incident = Some(incident);
            notice.already_over = true;
        }
        Ok(Some(unwritten.updated(Pending {
            seq,
            channel: channel.into(),
            notice,
            progress,
            queued_at: queued.queued_at,
            attempts,
            is_interrupted: false,
        })))
    }

    /// Returns the last notification sent to `channel` about each open incident.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn firing_notifications(&self, channel: &str) -> Result<Vec<Notice>, StoreError> {
        let rows: Vec<String> = self.run(|c| {
            c.prepare_cached(
                "SELECT o.notice FROM outbox o JOIN incident i ON i.id = o.incident AND i.open
                 WHERE o.channel = ?1 AND o.state = 'sent' AND NOT EXISTS (
                    SELECT 1 FROM outbox later WHERE later.channel = o.channel AND later.incident = o.incident
                    AND later.state = 'sent' AND later.seq > o.seq)
                 ORDER BY o.seq",
            )?
            .query_map([channel], |r| r.get(0))?
            .collect()
        })?;
        rows.iter().map(|json| self.notice(json)).collect()
    }

    /// Returns when the next pending notification of `channel` is due, as of `now`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next_attempt_at(
        &self,
        channel: &str,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (queue, unread) = self.queue(channel, &self.unwritten());
        let due = queue.free(now).map(|queued| queued.due).min();
        match unread {
            Some(error) if due.is_none() => Err(error),
            _ => Ok(due),
        }
    }

    /// Records that an attempt begins. `progress` is valid until its outcome is recorded.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn begin_attempt(&self, id: Uuid, progress: &str) -> Result<(), StoreError> {
        self.transaction(|tx| {
            tx.prepare_cached("UPDATE outbox SET progress = ?2 WHERE id = ?1")?
                .execute(params![id, progress])
                .map(drop)
        })
    }

    /// Records that another outbox took this notification over.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn handed_over(&self, id: Uuid, now: Timestamp) -> Result<(), StoreError> {
        self.transaction(|tx| {
            tx.prepare_cached("UPDATE outbox SET state = 'merged', ended_at = ?2 WHERE id = ?1")?
                .execute(params![id, now.0])
                .map(drop)
        })
    }

    /// Records the outcome of an attempt at `now`. An undeliverable notification goes to the
    /// channel `fallback`, unless that gets it anyway. A channel that was notified of the start is
    /// also notified of the end.
    ///
    /// While the file cannot be written, the outcome is kept in memory and recorded later.
    ///
    /// # Errors
    /// When it could not be recorded. The attempt will be repeated with the same ID.
    pub fn record_attempt(
        &self,
        pending: &Pending,
        now: Timestamp,
        attempted: DeliveryOutcome,
        progress: &str,
        error: Option<&str>,
        fallback: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut made = AttemptRecord {
            pending: pending.clone(),
            at: now,
            attempted,
            progress: progress.to_owned(),
            error: error.map(str::to_owned),
            fallback: fallback.map(str::to_owned),
            ahead_ms: 0,
        };
        let mut unwritten = self.unwritten();
        // The clock may have been set since the attempt; only how long to wait is certain then.
        let ahead_ms = unwritten.stored_now(now).since_ms(now);
        if unwritten.is_clock_behind() {
            made.ahead_ms = ahead_ms;
        } else {
            made.shift_clock(ahead_ms);
        }
        if unwritten.holds(pending.notice.id) {
            unwritten.keep(made);
            return Ok(());
        }
        let recorded = self.transaction(|tx| {
            // In order, so that an older attempt cannot overwrite a newer one.
            let before = unwritten.record(tx, 0)?;
            record(tx, &made.stored(0)).map(|_| before)
        });
        match recorded {
            Ok(before) => unwritten.recorded(&before),
            Err(error) if error.is_temporary() => unwritten.keep(made),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes everything that failed on `channel` due at `now`, since the receiver is reachable
    /// again.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn release_channel(&self, channel: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut unwritten = self.unwritten();
        unwritten.release(channel, now);
        let now = unwritten.stored_now(now);
        self.transaction(|tx| {
            tx.prepare_cached(
                "UPDATE outbox SET next_attempt_at = ?2
                 WHERE state = 'pending' AND channel = ?1 AND attempts > 0 AND next_attempt_at > ?2",
            )?
            .execute(params![channel, now.0])
            .map(drop)
        })
    }

    /// Reports whether the wall clock was set and the stored times do not follow it yet: ages of
    /// notifications are wrong then.
    pub fn is_clock_behind(&self) -> bool {
        self.unwritten().is_clock_behind()
    }

    /// Gives up everything pending for channels other than these, which were removed from the
    /// configuration. Returns those rows.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn expire_all_except(
        &self,
        channels: &[ChannelName],
        now: Timestamp,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let known: BTreeSet<_> = channels.iter().collect();
        let lost: Vec<_> = self
            .outbox_rows(false)?
            .into_iter()
            .filter(|r| r.state == "pending" && !known.contains(&r.channel))
            .collect();
        self.transaction(|tx| {
            for row in &lost {
                tx.prepare_cached(
                    "UPDATE outbox SET state = 'failed', ended_at = ?2, error = 'the channel is not configured any more'
                     WHERE id = ?1",
                )?
                .execute(params![row.id, now.0])?;
            }
            Ok(())
        })?;
        Ok(lost)
    }

    /// Returns pending and given-up notifications, oldest first; with `all` also delivered and
    /// dropped ones.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outbox_rows(&self, all: bool) -> Result<Vec<OutboxRow>, StoreError> {
        self.run(|c| {
            let undelivered = "WHERE ?1 OR state NOT IN ('sent', 'merged', 'dropped') ORDER BY seq";
            c.prepare_cached(&format!("{OUTBOX_ROW} {undelivered}"))?
                .query_map([all], OutboxRow::read)?
                .collect()
        })
    }

    /// Returns the rows of these notifications, in no particular order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outbox_rows_of(&self, ids: &[Uuid]) -> Result<Vec<OutboxRow>, StoreError> {
        self.run(|c| {
            let mut statement = c.prepare_cached(&format!("{OUTBOX_ROW} WHERE id = ?1"))?;
            let mut rows = Vec::new();
            for id in ids {
                rows.extend(statement.query_row([id], OutboxRow::read).optional()?);
            }
            Ok(rows)
        })
    }

    /// Requeues a notification as of `now`. Returns whether an undelivered one with this ID exists.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn retry(&self, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
        self.transaction(|tx| {
            tx.execute(
                "UPDATE outbox SET state = 'pending', attempts = 0, first_attempt_at = NULL, queued_at = ?2,
                    next_attempt_at = ?2, ended_at = NULL WHERE id = ?1 AND state NOT IN ('sent', 'merged')",
                params![id, now.0],
            )
        })
        .map(|n| n > 0)
    }

    /// Drops an undelivered notification. Returns whether one with this ID exists.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn drop_notification(&self, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
        self.transaction(|tx| {
            tx.execute(
                "UPDATE outbox SET state = 'dropped', ended_at = ?2 WHERE id = ?1 AND state NOT IN ('sent', 'merged')",
                params![id, now.0],
            )
        })
        .map(|n| n > 0)
    }

    /// Returns delivery statistics for every channel that ever had a notification.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn channel_stats(&self) -> Result<Vec<ChannelStats>, StoreError> {
        self.run(|c| {
            let mut tallies: BTreeMap<ChannelName, ChannelStats> = BTreeMap::new();
            let mut of = c.prepare_cached(
                "SELECT channel, state, count(*), min(decided_at), max(ended_at),
                    min(CASE WHEN attempts > 0 THEN first_attempt_at END) FROM outbox GROUP BY channel, state
                 UNION ALL SELECT channel, state, count, NULL, NULL, NULL FROM outbox_forgotten",
            )?;
            let mut rows = of.query([])?;
            while let Some(r) = rows.next()? {
                let channel = ChannelName::from(r.get::<_, String>(0)?);
                let state: String = r.get(1)?;
                let count = r.get::<_, i64>(2)?.cast_unsigned();
                let moment = |i| Ok::<_, rusqlite::Error>(r.get::<_, Option<i64>>(i)?.map(Timestamp));
                let tally = tallies.entry(channel.clone()).or_default();
                tally.channel = channel;
                tally.count(&state, count, (moment(3)?, moment(4)?, moment(5)?));
            }
            let mut last = c.prepare_cached(
                "SELECT channel, max(seq), error FROM outbox WHERE error IS NOT NULL AND state <> 'sent' GROUP BY channel",
            )?;
            let mut rows = last.query([])?;
            while let Some(r) = rows.next()? {
                let tally = tallies.get_mut(r.get::<_, String>(0)?.as_str());
                if let Some(tally) = tally.filter(|t| t.failing_since.is_some() || t.last_dead_at.is_some()) {
                    tally.last_error = r.get(2)?;
                }
            }
            let mut partly = c.prepare_cached(
                "SELECT channel, max(ended_at), error FROM outbox WHERE state = 'sent' AND error IS NOT NULL GROUP BY channel",
            )?;
            let mut rows = partly.query([])?;
            while let Some(r) = rows.next()? {
                if let Some(tally) = tallies.get_mut(r.get::<_, String>(0)?.as_str()) {
                    tally.last_refused_at = r.get::<_, Option<i64>>(1)?.map(Timestamp);
                    tally.refused = r.get(2)?;
                }
            }
            Ok(tallies.into_values().collect())
        })
    }

    fn notice(&self, json: &str) -> Result<Notice, StoreError> {
        serde_json::from_str(json).map_err(|source| self.unreadable("a notification", source))
    }
}
