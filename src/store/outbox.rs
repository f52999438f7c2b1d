//! The outbox: a notification is a row in the transaction that decided it, long before anybody sends it.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::model::{Notice, NoticeType, Outgoing, Tally, Timestamp};

/// A notification that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// Its place in the order.
    pub seq: i64,
    /// The channel's name.
    pub channel: String,
    /// What it says. An `opened` whose incident is over by now says both.
    pub notice: Notice,
    /// Opaque to the store: which recipients have it already.
    pub progress: String,
    /// Attempts made so far.
    pub attempts: u32,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempted {
    /// It arrived.
    Sent,
    /// It will be tried again then.
    RetryAt(Timestamp),
    /// The receiver refused it for good.
    Failed,
    /// It was tried for as long as it is worth.
    Expired,
}

impl Store {
    /// The next notification that `channel` should be sent at `now`: the oldest that is due and has no earlier one of
    /// the same incident before it, so that a `resolved` never overtakes its `opened`. The monitor's own notices are in
    /// order among themselves, and a digest, which is about many incidents, with everything.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next_pending(&self, channel: &str, now: Timestamp) -> Result<Option<Pending>, StoreError> {
        let row = self.run(|c| {
            c.prepare_cached(
                "SELECT seq, notice, progress, attempts,
                    (SELECT later.notice FROM outbox later WHERE later.channel = o.channel AND later.incident = o.incident
                     AND later.seq > o.seq ORDER BY later.seq DESC LIMIT 1)
                 FROM outbox o
                 WHERE state = 'pending' AND channel = ?1 AND next_attempt_at <= ?2 AND NOT EXISTS (
                    SELECT 1 FROM outbox earlier WHERE earlier.state = 'pending' AND earlier.channel = o.channel
                    AND earlier.seq < o.seq AND (earlier.incident IS o.incident OR earlier.digest OR o.digest))
                 ORDER BY seq LIMIT 1",
            )?
            .query_row(params![channel, now.0], |r| {
                Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get(2)?, r.get(3)?, r.get::<_, Option<String>>(4)?))
            })
            .optional()
        })?;
        let Some((seq, notice, progress, attempts, latest)) = row else { return Ok(None) };
        let mut notice = self.notice(&notice)?;
        if notice.r#type == NoticeType::Opened
            && let Some(latest) = latest
            && let latest = self.notice(&latest)?
            && latest.r#type == NoticeType::Resolved
        {
            notice.incident = latest.incident;
            notice.already_over = true;
        }
        Ok(Some(Pending { seq, channel: channel.to_owned(), notice, progress, attempts }))
    }

    /// When the next waiting notification of `channel` is due.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next_attempt_at(&self, channel: &str) -> Result<Option<Timestamp>, StoreError> {
        self.run(|c| {
            c.prepare_cached(
                "SELECT min(next_attempt_at) FROM outbox o WHERE state = 'pending' AND channel = ?1 AND NOT EXISTS (
                    SELECT 1 FROM outbox earlier WHERE earlier.state = 'pending' AND earlier.channel = o.channel
                    AND earlier.seq < o.seq AND (earlier.incident IS o.incident OR earlier.digest OR o.digest))",
            )?
            .query_row([channel], |r| r.get::<_, Option<i64>>(0))
        })
        .map(|at| at.map(Timestamp))
    }

    /// Records what came of an attempt at `now`.
    ///
    /// # Errors
    /// When it could not be recorded; the attempt will be repeated with the same id.
    pub fn record_attempt(
        &self,
        seq: i64,
        now: Timestamp,
        attempted: Attempted,
        progress: &str,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        let (state, next) = match attempted {
            Attempted::Sent => ("sent", None),
            Attempted::RetryAt(at) => ("pending", Some(at.0)),
            Attempted::Failed => ("failed", None),
            Attempted::Expired => ("expired", None),
        };
        self.transaction(|tx| {
            tx.prepare_cached(
                "UPDATE outbox SET state = ?2, attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, ?6),
                    next_attempt_at = coalesce(?3, next_attempt_at), progress = ?4, error = ?5, ended_at = CASE WHEN ?2 = 'pending' THEN NULL ELSE ?6 END WHERE seq = ?1",
            )?
            .execute(params![seq, state, next, progress, error, now.0])
            .map(drop)
        })
    }

    /// How the outbox stands, per channel that ever had something in it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outbox_tally(&self) -> Result<Vec<Tally>, StoreError> {
        self.run(|c| {
            let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
            let mut of = c.prepare_cached(
                "SELECT channel, state, count(*), min(decided_at), max(ended_at),
                    min(CASE WHEN attempts > 0 THEN first_attempt_at END) FROM outbox GROUP BY channel, state",
            )?;
            let mut rows = of.query([])?;
            while let Some(r) = rows.next()? {
                let channel: String = r.get(0)?;
                let state: String = r.get(1)?;
                let count = r.get::<_, i64>(2)?.cast_unsigned();
                let moment = |i| Ok::<_, rusqlite::Error>(r.get::<_, Option<i64>>(i)?.map(Timestamp));
                let tally = tallies.entry(channel.clone()).or_default();
                tally.channel = channel;
                match state.as_str() {
                    "pending" => {
                        (tally.pending, tally.oldest, tally.failing_since) = (count, moment(3)?, moment(5)?);
                    }
                    "sent" => (tally.sent, tally.last_sent_at) = (count, moment(4)?),
                    "dropped" => {}
                    dead => {
                        *(if dead == "failed" { &mut tally.failed } else { &mut tally.expired }) = count;
                        tally.last_dead_at = tally.last_dead_at.max(moment(4)?);
                    }
                }
            }
            let mut last = c.prepare_cached(
                "SELECT error FROM outbox WHERE channel = ?1 AND error IS NOT NULL AND state <> 'sent' ORDER BY seq DESC LIMIT 1",
            )?;
            for tally in tallies.values_mut().filter(|t| t.failing_since.is_some() || t.last_dead_at.is_some()) {
                tally.last_error = last.query_row([&tally.channel], |r| r.get(0)).optional()?;
            }
            Ok(tallies.into_values().collect())
        })
    }

    /// The id of the first notification about `incident` on `channel`: mails thread on it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn thread_of(&self, channel: &str, incident: Uuid) -> Result<Option<Uuid>, StoreError> {
        self.run(|c| {
            c.prepare_cached("SELECT id FROM outbox WHERE channel = ?1 AND incident = ?2 ORDER BY seq LIMIT 1")?
                .query_row(params![channel, incident], |r| r.get(0))
                .optional()
        })
    }

    fn notice(&self, json: &str) -> Result<Notice, StoreError> {
        serde_json::from_str(json).map_err(|source| self.unreadable("a notification", source))
    }
}

pub(super) fn insert(tx: &Transaction<'_>, outgoing: &Outgoing) -> rusqlite::Result<()> {
    let notice = &outgoing.notice;
    let json = serde_json::to_string(notice).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    tx.prepare_cached(
        "INSERT INTO outbox (id, channel, incident, notice, decided_at, next_attempt_at, digest)
         VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, ?5), ?7)",
    )?
    .execute(params![
        notice.id,
        outgoing.channel,
        notice.incident.as_ref().map(|i| i.id),
        json,
        notice.decided_at.0,
        outgoing.not_before.map(|at| at.0),
        notice.r#type == NoticeType::Digest,
    ])?;
    Ok(())
}
