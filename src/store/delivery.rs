//! Writes the outbox's rows: queues notifications and records delivery attempts.

use std::time::Duration;

use rusqlite::{Transaction, params};
use uuid::Uuid;

use llmwatch_core::model::{ChannelName, Notice, NoticeKind, Outgoing, ShiftClock, Timestamp};

/// A pending notification.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// Its position in the order.
    pub seq: i64,
    /// The channel's name.
    pub channel: ChannelName,
    /// The notification. An `opened` whose incident is over by now covers both.
    pub notice: Notice,
    /// Opaque to the store: which recipients already have it.
    pub progress: String,
    /// The earliest time to send it.
    pub queued_at: Timestamp,
    /// Attempts made so far.
    pub attempts: u32,
    /// An attempt began whose outcome was not recorded: the receiver may have it.
    pub is_interrupted: bool,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It was delivered.
    Sent,
    /// It was delivered and reported the end of its incident, which covers later messages about it.
    SentAsResolved,
    /// It will be retried at this time.
    RetryAt(Timestamp),
    /// The receiver permanently rejected it.
    Failed,
    /// It was not delivered within its lifetime.
    Expired,
}

/// An attempt and its outcome.
#[derive(Debug, Clone)]
pub(super) struct AttemptRecord {
    pub(super) pending: Pending,
    pub(super) at: Timestamp,
    pub(super) attempted: DeliveryOutcome,
    pub(super) progress: String,
    pub(super) error: Option<String>,
    pub(super) fallback: Option<String>,
    /// How far the clock of the stored times is ahead of these times, in milliseconds.
    pub(super) ahead_ms: i64,
}

impl AttemptRecord {
    /// Returns the attempt with the times to store, after the stored times were shifted by
    /// `shift_ms`.
    pub(super) fn stored(&self, shift_ms: i64) -> Self {
        let mut stored = self.clone();
        stored.shift_clock(self.ahead_ms + shift_ms);
        stored.ahead_ms = 0;
        stored
    }
}

impl ShiftClock for AttemptRecord {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            at,
            attempted,
            // The file has its own times of the notification.
            pending: _,
            progress: _,
            error: _,
            fallback: _,
            ahead_ms: _,
        } = self;
        at.shift_clock(by_ms);
        if let DeliveryOutcome::RetryAt(next) = attempted {
            next.shift_clock(by_ms);
        }
    }
}

/// The longest wait before the next attempt: a longer `Retry-After` is cut to it.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Shifts pending times after the clock was set from `from` to `to`. Calendar-based times, for
/// instance the end of quiet hours, stay.
pub(super) fn follow_clock(
    tx: &Transaction<'_>,
    from: Timestamp,
    to: Timestamp,
) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE outbox SET queued_at = queued_at + ?2, first_attempt_at = first_attempt_at + ?2,
            next_attempt_at = next_attempt_at + ?2
         WHERE state = 'pending' AND (attempts > 0 OR queued_at <= ?1)",
        params![from.0, to.since_ms(from)],
    )
    .map(drop)
}

pub(super) fn insert(tx: &Transaction<'_>, outgoing: &Outgoing) -> rusqlite::Result<()> {
    let notice = &outgoing.notice;
    let json = serde_json::to_string(notice)
        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    tx.prepare_cached(
        "INSERT INTO outbox (id, channel, incident, notice, decided_at, queued_at, next_attempt_at, digest)
         VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, ?5), coalesce(?6, ?5), ?7)",
    )?
    .execute(params![
        notice.id,
        outgoing.channel.as_str(),
        notice.incident.as_ref().map(|i| i.id),
        json,
        notice.decided_at.0,
        outgoing.not_before.map(|at| at.0),
        notice.kind == NoticeKind::Digest,
    ])?;
    if let (Some(condition), true) = (&notice.condition, outgoing.supersedes_pending) {
        tx.prepare_cached(
            "UPDATE outbox SET state = 'merged', ended_at = ?4
             WHERE state = 'pending' AND channel = ?1 AND incident IS NULL AND id <> ?2
                AND json_extract(notice, '$.condition.key') = ?3
                AND NOT (?5 AND json_extract(notice, '$.condition.over'))",
        )?
        .execute(params![
            outgoing.channel.as_str(),
            notice.id,
            condition.key,
            notice.decided_at.0,
            condition.over,
        ])?;
    }
    Ok(())
}

/// Records an attempt. Returns whether its row exists.
pub(super) fn record(tx: &Transaction<'_>, made: &AttemptRecord) -> rusqlite::Result<bool> {
    if !record_outcome(tx, made)? {
        return Ok(false);
    }
    let pending = &made.pending;
    let notice = &pending.notice;
    match made.attempted {
        DeliveryOutcome::SentAsResolved if !began_at_fallback(tx, made)? => merge_end(tx, made)?,
        DeliveryOutcome::Sent
            if notice.instead_of.is_some()
                && notice.kind == NoticeKind::Opened
                && resolved_already_sent(tx, pending, &pending.channel)? =>
        {
            queue_end(tx, made)?;
        }
        _ => {}
    }
    if let Some(fallback) = &made.fallback
        && is_for_fallback(tx, pending, made.attempted, fallback)?
    {
        queue_for_fallback(tx, made, fallback)?;
    }
    Ok(true)
}

/// Updates the row of the notification. Returns whether it exists.
fn record_outcome(tx: &Transaction<'_>, made: &AttemptRecord) -> rusqlite::Result<bool> {
    let (state, next) = match made.attempted {
        DeliveryOutcome::Sent | DeliveryOutcome::SentAsResolved => ("sent", None),
        DeliveryOutcome::RetryAt(at) => ("pending", Some(at.0)),
        DeliveryOutcome::Failed => ("failed", None),
        DeliveryOutcome::Expired => ("expired", None),
    };
    let rows = tx
        .prepare_cached(
            // A row that was merged during a failed attempt stays merged.
            "UPDATE outbox SET state = CASE WHEN state = 'merged' AND ?2 <> 'sent' THEN state ELSE ?2 END,
                attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, ?6),
                next_attempt_at = coalesce(?3, next_attempt_at), progress = ?4, error = ?5,
                ended_at = CASE WHEN ?2 = 'pending' AND state <> 'merged' THEN NULL ELSE ?6 END WHERE id = ?1",
        )?
        .execute(params![
            made.pending.notice.id,
            state,
            next,
            made.progress,
            made.error,
            made.at.0
        ])?;
    Ok(rows > 0)
}

/// Reports whether the fallback delivered the start in place of this channel: then it must get the
/// end as well.
fn began_at_fallback(tx: &Transaction<'_>, made: &AttemptRecord) -> rusqlite::Result<bool> {
    let Some(fallback) = &made.fallback else {
        return Ok(false);
    };
    let (_, through_us) = sent_to(tx, &made.pending, fallback, NoticeKind::Opened)?;
    Ok(through_us)
}

/// Drops the later messages about an incident whose opening said that it is over.
fn merge_end(tx: &Transaction<'_>, made: &AttemptRecord) -> rusqlite::Result<()> {
    let pending = &made.pending;
    tx.prepare_cached(
        "UPDATE outbox SET state = 'merged', ended_at = ?3
         WHERE state = 'pending' AND channel = ?1 AND incident = ?2
            AND seq > (SELECT seq FROM outbox WHERE id = ?4)",
    )?
    .execute(params![
        pending.channel.as_str(),
        pending.notice.incident.as_ref().map(|i| i.id),
        made.at.0,
        pending.notice.id
    ])?;
    Ok(())
}

/// Queues the end for a receiver that keeps an alert open until it is resolved.
fn queue_end(tx: &Transaction<'_>, made: &AttemptRecord) -> rusqlite::Result<()> {
    let notice = &made.pending.notice;
    let end = Notice {
        id: derived_id(notice.id, "end"),
        kind: NoticeKind::Resolved,
        thread: Some(notice.id),
        already_over: false,
        ..notice.clone()
    };
    insert(
        tx,
        &Outgoing {
            channel: made.pending.channel.clone(),
            not_before: Some(made.at),
            notice: end,
            supersedes_pending: false,
        },
    )
}

/// Queues for the fallback what the channel could not deliver.
fn queue_for_fallback(
    tx: &Transaction<'_>,
    made: &AttemptRecord,
    fallback: &str,
) -> rusqlite::Result<()> {
    let pending = &made.pending;
    let there = |id: Uuid| derived_id(id, fallback);
    let notice = Notice {
        id: there(pending.notice.id),
        // The first message reached the fallback under a derived ID as well.
        thread: pending.notice.thread.map(there),
        instead_of: Some(pending.channel.clone()),
        ..pending.notice.clone()
    };
    insert(
        tx,
        &Outgoing {
            channel: fallback.into(),
            not_before: Some(made.at),
            notice,
            supersedes_pending: false,
        },
    )
}

/// Reports whether the outcome requires a message to the fallback.
fn is_for_fallback(
    tx: &Transaction<'_>,
    pending: &Pending,
    attempted: DeliveryOutcome,
    fallback: &str,
) -> rusqlite::Result<bool> {
    let notice = &pending.notice;
    // Only one level of fallback, and never back to the same channel.
    if notice.instead_of.is_some() || pending.channel == fallback {
        return Ok(false);
    }
    let (by_itself, through_us) = sent_to(tx, pending, fallback, notice.kind)?;
    if notice.kind == NoticeKind::Resolved && resolved_already_sent(tx, pending, fallback)? {
        return Ok(false);
    }
    let once = matches!(notice.kind, NoticeKind::Opened | NoticeKind::Resolved);
    match attempted {
        DeliveryOutcome::Failed | DeliveryOutcome::Expired => {
            Ok(!(by_itself || once && through_us))
        }
        DeliveryOutcome::Sent if notice.kind == NoticeKind::Resolved => {
            let (_, began_through_us) = sent_to(tx, pending, fallback, NoticeKind::Opened)?;
            Ok(began_through_us && !by_itself && !through_us)
        }
        DeliveryOutcome::Sent | DeliveryOutcome::SentAsResolved | DeliveryOutcome::RetryAt(_) => {
            Ok(false)
        }
    }
}

/// Returns whether `fallback` was sent this kind of message about the subject of `pending`: on its
/// own, and in place of the channel of `pending`.
fn sent_to(
    tx: &Transaction<'_>,
    pending: &Pending,
    fallback: &str,
    kind: NoticeKind,
) -> rusqlite::Result<(bool, bool)> {
    let notice = &pending.notice;
    tx.prepare_cached(
        "SELECT coalesce(sum(json_extract(notice, '$.instead_of') IS NULL), 0),
            coalesce(sum(json_extract(notice, '$.instead_of') = ?5), 0)
         FROM outbox WHERE channel = ?1 AND incident IS ?2 AND json_extract(notice, '$.type') = ?3
            AND (incident IS NOT NULL OR decided_at = ?4)",
    )?
    .query_row(
        params![
            fallback,
            notice.incident.as_ref().map(|i| i.id),
            kind.as_str(),
            notice.decided_at.0,
            pending.channel.as_str()
        ],
        |r| Ok((r.get::<_, i64>(0)? > 0, r.get::<_, i64>(1)? > 0)),
    )
}

/// Reports whether `fallback` got an `opened` that already reported the end.
fn resolved_already_sent(
    tx: &Transaction<'_>,
    pending: &Pending,
    fallback: &str,
) -> rusqlite::Result<bool> {
    tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM outbox WHERE channel = ?1 AND incident = ?2
            AND json_extract(notice, '$.type') = ?3 AND json_extract(notice, '$.already_over'))",
    )?
    .query_row(
        params![
            fallback,
            pending.notice.incident.as_ref().map(|i| i.id),
            NoticeKind::Opened.as_str()
        ],
        |r| r.get(0),
    )
}

/// Derives a stable ID for a notification that goes to another channel.
pub(crate) fn derived_id(id: Uuid, channel: &str) -> Uuid {
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{id}\n{channel}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
