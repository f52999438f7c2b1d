//! The shared outbox: a daemon claims each notification with a lease and delivers it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, Transaction};
use uuid::Uuid;

use super::{LIMIT, NOW, Param, Session, SharedError, SharedStore, begin, json};
use crate::store::{DeliveryOutcome, OutboxRow, Pending, derived_id};
use llmwatch_core::alerting::{advice_of, with_advice};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    ChannelName, ChannelStats, Condition, Notice, NoticeKind, Outgoing, Timestamp,
};

/// A claim can be taken over after this time without renewal.
pub const LEASE: Duration = Duration::from_secs(20);

/// How long the advice of one daemon stands for that of the others, in milliseconds.
const ADVICE_MS: i64 = 24 * 3_600_000;

/// How often a claim is renewed during a delivery.
pub const RENEW: Duration = Duration::from_secs(5);

/// Appends notifications to the queue. `offset_ms` is how far the store's clock is ahead of the
/// daemon's.
pub(super) async fn insert(
    tx: &Transaction<'_>,
    outgoing: &[Outgoing],
    now: Timestamp,
    offset_ms: i64,
) -> Result<(), tokio_postgres::Error> {
    for one in outgoing {
        let notice = &one.notice;
        let data = json(notice);
        let kind = notice.kind.as_str();
        let incident = notice.incident.as_ref().map(|i| i.id);
        let due = one.not_before.map_or(now.0, |at| at.0 + offset_ms);
        tx.execute_typed(
            "INSERT INTO llmwatch_outbox (id, seq, channel, incident, kind, notice, state, decided_at, queued_at,
                next_attempt_at, attempts, progress)
             VALUES ($1, (SELECT coalesce(max(seq), 0) + 1 FROM llmwatch_outbox), $2, $3, $4, $5, 'pending', $6, $7, $7, 0, '')
             ON CONFLICT (id) DO NOTHING",
            &[
                (&notice.id, Type::UUID),
                (&one.channel.as_str(), Type::TEXT),
                (&incident, Type::UUID),
                (&kind, Type::TEXT),
                (&data, Type::TEXT),
                (&notice.decided_at.0, Type::INT8),
                (&due, Type::INT8),
            ],
        )
        .await?;
        if let (Some(condition), true) = (&notice.condition, one.supersedes_pending) {
            supersede(tx, one, condition, now).await?;
        }
    }
    Ok(())
}

/// Ends the pending notifications that `newer` replaces.
async fn supersede(
    tx: &Transaction<'_>,
    newer: &Outgoing,
    condition: &Condition,
    now: Timestamp,
) -> Result<(), tokio_postgres::Error> {
    tx.execute_typed(
        "UPDATE llmwatch_outbox SET state = 'merged', ended_at = $4
         WHERE state = 'pending' AND channel = $1 AND incident IS NULL AND id <> $2
            AND notice::JSON -> 'condition' ->> 'key' = $3
            AND NOT ($5 AND notice::JSON -> 'condition' ->> 'over' = 'true')",
        &[
            (&newer.channel.as_str(), Type::TEXT),
            (&newer.notice.id, Type::UUID),
            (&condition.key, Type::TEXT),
            (&now.0, Type::INT8),
            (&condition.over, Type::BOOL),
        ],
    )
    .await
    .map(drop)
}

impl SharedStore {
    /// Claims the next due notification of `channel`. An earlier one of the same incident, or a
    /// digest, which covers many, holds it back.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn claim(&self, channel: &str) -> Result<Option<Pending>, SharedError> {
        self.repeated_within(LIMIT, || self.try_claim(channel))
            .await
    }

    async fn try_claim(&self, channel: &str) -> Result<Option<Pending>, SharedError> {
        let lease = LEASE.as_millis() as i64;
        let me = self.me();
        let of = |e: tokio_postgres::Error| self.error(&e);
        let beside = self.beside().await?;
        let row = beside
            .client
            .query_typed_opt(
                &format!(
                    "UPDATE llmwatch_outbox u SET claimed_by = $2, claimed_until = {NOW} + $3
                     FROM (
                        SELECT o.id, o.claimed_by IS NOT NULL AS interrupted FROM llmwatch_outbox o
                        WHERE o.state = 'pending' AND o.channel = $1 AND o.next_attempt_at <= {NOW}
                            AND (o.claimed_until IS NULL OR o.claimed_until < {NOW})
                            AND NOT EXISTS (
                                SELECT 1 FROM llmwatch_outbox e
                                WHERE e.state = 'pending' AND e.channel = o.channel AND e.seq < o.seq
                                    AND (e.incident = o.incident OR '{DIGEST}' IN (e.kind, o.kind)))
                        ORDER BY o.seq LIMIT 1 FOR UPDATE SKIP LOCKED) AS free
                     WHERE u.id = free.id
                     RETURNING u.seq, u.notice, u.progress, u.queued_at, u.attempts, u.incident, free.interrupted",
                    DIGEST = NoticeKind::Digest.as_str()
                ),
                &[
                    (&channel, Type::TEXT),
                    (&me, Type::UUID),
                    (&lease, Type::INT8),
                ],
            )
            .await
            .map_err(of)?;
        let Some(row) = row else {
            beside.give_back();
            return Ok(None);
        };
        let Some(mut pending) = read_pending(&row, channel).map_err(of)? else {
            beside.give_back();
            return Ok(None);
        };
        // If the incident is over by now, one message covers both.
        if pending.notice.kind == NoticeKind::Opened {
            let incident: Option<Uuid> = row.try_get(5).map_err(of)?;
            let end = beside
                .client
                .query_typed_opt(
                    "SELECT notice FROM llmwatch_outbox WHERE channel = $1 AND incident = $2 AND seq > $3
                        AND kind = 'incident.resolved' ORDER BY seq LIMIT 1",
                    &[
                        (&channel, Type::TEXT),
                        (&incident, Type::UUID),
                        (&pending.seq, Type::INT8),
                    ],
                )
                .await
                .map_err(of)?;
            let data: Option<String> = end.and_then(|row| row.try_get(0).ok());
            let end = data.and_then(|data| serde_json::from_str::<Notice>(&data).ok());
            if let Some(end) = end {
                pending.notice.incident = end.incident;
                pending.notice.already_over = true;
            }
        }
        beside.give_back();
        Ok(Some(pending))
    }

    /// Renews the claim on a notification during delivery. Returns false if another daemon has it.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn renew_claim(&self, id: Uuid) -> Result<bool, SharedError> {
        let lease = LEASE.as_millis() as i64;
        let me = self.me();
        let renew = async {
            let beside = self.beside().await?;
            let rows = beside
                .client
                .execute_typed(
                    &format!(
                        "UPDATE llmwatch_outbox SET claimed_until = {NOW} + $2
                         WHERE id = $1 AND claimed_by = $3 AND state = 'pending'"
                    ),
                    &[(&id, Type::UUID), (&lease, Type::INT8), (&me, Type::UUID)],
                )
                .await
                .map_err(|e| self.error(&e))?;
            beside.give_back();
            Ok(rows > 0)
        };
        self.within(LIMIT, renew).await
    }

    /// Records the outcome of an attempt, releases the claim, and passes an undeliverable
    /// notification to `fallback`. A retry is due `wait` from now.
    ///
    /// # Errors
    /// When the store does not respond. The attempt is then repeated with the same ID.
    pub async fn record_shared_attempt(
        &self,
        pending: &Pending,
        attempted: DeliveryOutcome,
        wait: Duration,
        progress: &str,
        error: Option<&str>,
        fallback: Option<&str>,
    ) -> Result<(), SharedError> {
        let made = SharedAttempt {
            pending,
            attempted,
            wait,
            progress,
            error,
            fallback,
        };
        let record = async {
            let mut beside = self.beside().await?;
            record(&mut beside.client, &made)
                .await
                .map_err(|e| self.error(&e))?;
            beside.give_back();
            Ok(())
        };
        self.within(LIMIT, record).await
    }

    /// Makes everything that failed on `channel` due now, since the receiver is reachable again.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn release_shared_channel(&self, channel: &str) -> Result<(), SharedError> {
        let release = async {
            let beside = self.beside().await?;
            beside
                .client
                .execute_typed(
                    &format!(
                        "UPDATE llmwatch_outbox SET next_attempt_at = {NOW}
                         WHERE state = 'pending' AND channel = $1 AND attempts > 0 AND next_attempt_at > {NOW}"
                    ),
                    &[(&channel, Type::TEXT)],
                )
                .await
                .map_err(|e| self.error(&e))?;
            beside.give_back();
            Ok(())
        };
        self.within(LIMIT, release).await
    }
}

impl SharedStore {
    /// Queues a notification that several daemons may decide on, only once: they all derive the
    /// same ID.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn queue_once(&self, outgoing: &Outgoing) -> Result<(), SharedError> {
        let queue = async {
            let mut beside = self.beside().await?;
            let add = async {
                let tx = begin(&mut beside.client).await?;
                let now = tx.query_typed_one(&format!("SELECT {NOW}"), &[]).await?;
                let now = Timestamp(now.try_get(0)?);
                insert(&tx, std::slice::from_ref(outgoing), now, 0).await?;
                tx.commit().await
            };
            add.await
                .map_err(|e: tokio_postgres::Error| self.error(&e))?;
            beside.give_back();
            Ok(())
        };
        self.within(LIMIT, queue).await
    }

    /// Queues the message that the daily budget is exhausted, or that probing resumed, unless
    /// another daemon has done so. `key` is the same at all daemons with the same budget: those of
    /// one location, or of all if it `is_shared`.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn queue_budget(
        &self,
        outgoing: &Outgoing,
        key: &str,
        is_shared: bool,
    ) -> Result<(), SharedError> {
        let mut outgoing = outgoing.clone();
        let is_end = outgoing.notice.condition.as_ref().is_some_and(|c| c.over);
        let mut began = if is_end {
            self.budget_messages(&outgoing.channel).await?
        } else {
            Vec::new()
        };
        began.retain(|n| is_shared || n.location == outgoing.notice.location);
        if let Some(began) = began.into_iter().next() {
            // Receivers match the end to its beginning by the location.
            outgoing.notice.location = began.location;
            outgoing.notice.id = derived_id(began.id, "end");
        } else {
            let label = format!("budget {} {is_end} {key}", outgoing.channel);
            outgoing.notice.id = derived_id(Uuid::nil(), &label);
        }
        self.queue_once(&outgoing).await
    }

    /// Returns the last messages to `channel` that a daily budget is exhausted, newest first.
    async fn budget_messages(&self, channel: &str) -> Result<Vec<Notice>, SharedError> {
        let kind = NoticeKind::Budget.as_str();
        let params: [Param<'_>; 2] = [(&channel, Type::TEXT), (&kind, Type::TEXT)];
        let rows = self.rows(
            "SELECT notice FROM llmwatch_outbox WHERE channel = $1 AND kind = $2 ORDER BY seq DESC LIMIT 100",
            &params,
        );
        let rows = rows.await?;
        let notices = rows
            .iter()
            .filter_map(|row| serde_json::from_str::<Notice>(row.try_get(0).ok()?).ok());
        Ok(notices
            .filter(|n| n.condition.as_ref().is_some_and(|c| !c.over))
            .collect())
    }

    /// Queues advice, without that which another daemon has given the channel in the last day.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn queue_advice(
        &self,
        outgoing: &Outgoing,
        locale: &Locale,
    ) -> Result<(), SharedError> {
        self.repeated_within(LIMIT, || self.try_queue_advice(outgoing, locale))
            .await
    }

    async fn try_queue_advice(
        &self,
        outgoing: &Outgoing,
        locale: &Locale,
    ) -> Result<(), SharedError> {
        let mut beside = self.beside().await?;
        let add = async {
            let tx = begin(&mut beside.client).await?;
            let advice = advice_of(&outgoing.notice);
            // In one order, so that no two daemons wait for each other.
            let keys: BTreeSet<_> = advice.iter().map(|a| (&a.endpoint, a.kind)).collect();
            let mut claimed = BTreeSet::new();
            for (endpoint, kind) in keys {
                let taken = tx
                    .execute_typed(
                        &format!(
                            "INSERT INTO llmwatch_advice (channel, endpoint, kind, owner, seen_at)
                             VALUES ($1, $2, $3, $4, {NOW})
                             ON CONFLICT (channel, endpoint, kind) DO UPDATE SET owner = excluded.owner,
                                seen_at = excluded.seen_at
                             WHERE llmwatch_advice.owner = excluded.owner OR llmwatch_advice.seen_at < excluded.seen_at - $5"
                        ),
                        &[
                            (&outgoing.channel.as_str(), Type::TEXT),
                            (&endpoint.as_str(), Type::TEXT),
                            (&kind.as_str(), Type::TEXT),
                            (&self.owner, Type::UUID),
                            (&ADVICE_MS, Type::INT8),
                        ],
                    )
                    .await?;
                if taken > 0 {
                    claimed.insert((endpoint.clone(), kind));
                }
            }
            let kept: Vec<_> = advice
                .iter()
                .filter(|a| claimed.contains(&(a.endpoint.clone(), a.kind)))
                .cloned()
                .collect();
            let is_complete = kept.len() == advice.len();
            if is_complete || !kept.is_empty() {
                let now = tx.query_typed_one(&format!("SELECT {NOW}"), &[]).await?;
                let mut outgoing = outgoing.clone();
                if !is_complete {
                    outgoing.notice = with_advice(&outgoing.notice, kept, locale);
                }
                insert(&tx, &[outgoing], Timestamp(now.try_get(0)?), 0).await?;
            }
            tx.commit().await
        };
        add.await
            .map_err(|e: tokio_postgres::Error| self.error(&e))?;
        beside.give_back();
        Ok(())
    }

    /// Returns the last notification sent to `channel` about each open incident.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn firing_notifications(&self, channel: &str) -> Result<Vec<Notice>, SharedError> {
        let params: [Param<'_>; 1] = [(&channel, Type::TEXT)];
        let rows = self.rows(
            "SELECT DISTINCT ON (o.incident) o.notice FROM llmwatch_outbox o
                JOIN llmwatch_incident i ON i.id = o.incident AND i.open
             WHERE o.channel = $1 AND o.state = 'sent' ORDER BY o.incident, o.seq DESC",
            &params,
        );
        Ok(rows
            .await?
            .iter()
            .filter_map(|row| serde_json::from_str(row.try_get(0).ok()?).ok())
            .collect())
    }

    /// Returns pending and given-up notifications, oldest first; with `all` also delivered and
    /// dropped ones.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn outbox_rows(&self, all: bool) -> Result<Vec<OutboxRow>, SharedError> {
        let params: [Param<'_>; 1] = [(&all, Type::BOOL)];
        let rows = self.rows(
            "SELECT id, channel, kind, notice, state, decided_at, attempts, next_attempt_at, ended_at, error
             FROM llmwatch_outbox WHERE $1 OR state NOT IN ('sent', 'merged', 'dropped') ORDER BY seq",
            &params,
        );
        let rows = rows.await?;
        let rows: Result<_, _> = rows.iter().map(read_row).collect();
        rows.map_err(|e| self.error(&e))
    }

    /// Requeues a notification as of now. Returns whether an undelivered one with this ID exists.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn retry(&self, id: Uuid) -> Result<bool, SharedError> {
        self.change(
            &format!(
                "UPDATE llmwatch_outbox SET state = 'pending', attempts = 0, first_attempt_at = NULL, queued_at = {NOW},
                    next_attempt_at = {NOW}, ended_at = NULL WHERE id = $1 AND state NOT IN ('sent', 'merged')"
            ),
            id,
        )
        .await
    }

    /// Drops an undelivered notification. Returns whether one with this ID exists.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn drop_notification(&self, id: Uuid) -> Result<bool, SharedError> {
        self.change(
            &format!(
                "UPDATE llmwatch_outbox SET state = 'dropped', ended_at = {NOW}
                 WHERE id = $1 AND state NOT IN ('sent', 'merged')"
            ),
            id,
        )
        .await
    }

    async fn change(&self, sql: &str, id: Uuid) -> Result<bool, SharedError> {
        let change = async {
            let beside = self.beside().await?;
            let changed = beside
                .client
                .execute_typed(sql, &[(&id, Type::UUID)])
                .await
                .map_err(|e| self.error(&e))?;
            beside.give_back();
            Ok(changed > 0)
        };
        self.within(LIMIT, change).await
    }
}

impl Session {
    /// Returns delivery statistics for every channel that ever had a notification. Times are by the
    /// clock of a daemon that the store's is ahead of by `offset_ms`.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn channel_stats(&self, offset_ms: i64) -> Result<Vec<ChannelStats>, SharedError> {
        let stats = self.read_stats(offset_ms).await;
        stats.map_err(|e| self.error(&e))
    }

    async fn read_stats(&self, offset_ms: i64) -> Result<Vec<ChannelStats>, tokio_postgres::Error> {
        let client = &self.client;
        let counts = client
            .query_typed(
                "SELECT channel, state, count(*)::INT8, min(decided_at) + $1, max(ended_at),
                    min(CASE WHEN attempts > 0 THEN first_attempt_at END) FROM llmwatch_outbox GROUP BY channel, state
                 UNION ALL SELECT channel, state, count, NULL, NULL, NULL FROM llmwatch_outbox_forgotten",
                &[(&offset_ms, Type::INT8)],
            )
            .await?;
        let mut all = BTreeMap::<ChannelName, ChannelStats>::new();
        for row in &counts {
            let channel = ChannelName::from(row.try_get::<_, &str>(0)?);
            let state: &str = row.try_get(1)?;
            let count: i64 = row.try_get(2)?;
            let of_channel = all.entry(channel.clone()).or_default();
            of_channel.channel = channel;
            let times = (
                moment(row, 3, offset_ms)?,
                moment(row, 4, offset_ms)?,
                moment(row, 5, offset_ms)?,
            );
            of_channel.count(state, count.unsigned_abs(), times);
        }
        let errors = client
            .query_typed(
                "SELECT DISTINCT ON (channel) channel, error FROM llmwatch_outbox
                 WHERE error IS NOT NULL AND state <> 'sent' ORDER BY channel, seq DESC",
                &[],
            )
            .await?;
        for row in &errors {
            let channel: &str = row.try_get(0)?;
            if let Some(stats) = all.get_mut(channel)
                && (stats.failing_since.is_some() || stats.last_dead_at.is_some())
            {
                stats.last_error = row.try_get(1)?;
            }
        }
        let partly = client
            .query_typed(
                "SELECT DISTINCT ON (channel) channel, ended_at, error FROM llmwatch_outbox
                 WHERE error IS NOT NULL AND state = 'sent' ORDER BY channel, ended_at DESC",
                &[],
            )
            .await?;
        for row in &partly {
            let channel: &str = row.try_get(0)?;
            if let Some(stats) = all.get_mut(channel) {
                stats.last_refused_at = moment(row, 1, offset_ms)?;
                stats.refused = row.try_get(2)?;
            }
        }
        Ok(all.into_values().collect())
    }
}

/// Reads a time of the database as a time of this machine's clock.
fn moment(
    row: &Row,
    column: usize,
    offset_ms: i64,
) -> Result<Option<Timestamp>, tokio_postgres::Error> {
    let at: Option<i64> = row.try_get(column)?;
    Ok(at.map(|at| Timestamp(at - offset_ms)))
}

fn read_row(row: &Row) -> Result<OutboxRow, tokio_postgres::Error> {
    let state: String = row.try_get(4)?;
    let notice: &str = row.try_get(3)?;
    let notice: serde_json::Value = serde_json::from_str(notice).unwrap_or_default();
    let title = notice["incident"]["title"].as_str();
    let title = title.or(notice["title"].as_str()).unwrap_or_default();
    let attempts: i64 = row.try_get(6)?;
    let next: i64 = row.try_get(7)?;
    let ended: Option<i64> = row.try_get(8)?;
    Ok(OutboxRow {
        id: row.try_get(0)?,
        channel: row.try_get::<_, String>(1)?.into(),
        kind: row.try_get(2)?,
        title: title.to_owned(),
        decided_at: Timestamp(row.try_get(5)?),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        next_attempt_at: (state == "pending").then_some(Timestamp(next)),
        ended_at: ended.map(Timestamp),
        error: row.try_get(9)?,
        shared: true,
        state,
    })
}

/// A delivery attempt to record.
struct SharedAttempt<'a> {
    pending: &'a Pending,
    attempted: DeliveryOutcome,
    wait: Duration,
    progress: &'a str,
    error: Option<&'a str>,
    fallback: Option<&'a str>,
}

async fn record(
    client: &mut Client,
    made: &SharedAttempt<'_>,
) -> Result<(), tokio_postgres::Error> {
    let pending = made.pending;
    let state = match made.attempted {
        DeliveryOutcome::Sent | DeliveryOutcome::SentAsResolved => "sent",
        DeliveryOutcome::RetryAt(_) => "pending",
        DeliveryOutcome::Failed => "failed",
        DeliveryOutcome::Expired => "expired",
    };
    let wait = made.wait.as_millis() as i64;
    let tx = begin(client).await?;
    tx.execute_typed(
        &format!(
            "UPDATE llmwatch_outbox SET state = $2, attempts = attempts + 1, progress = $3, error = $4,
                next_attempt_at = {NOW} + $5, first_attempt_at = coalesce(first_attempt_at, {NOW}),
                ended_at = CASE WHEN $2 = 'pending' THEN NULL ELSE {NOW} END,
                claimed_by = NULL, claimed_until = NULL
             WHERE id = $1 AND state = 'pending'"
        ),
        &[
            (&pending.notice.id, Type::UUID),
            (&state, Type::TEXT),
            (&made.progress, Type::TEXT),
            (&made.error, Type::TEXT),
            (&wait, Type::INT8),
        ],
    )
    .await?;
    let incident = pending.notice.incident.as_ref().map(|i| i.id);
    if made.attempted == DeliveryOutcome::SentAsResolved {
        tx.execute_typed(
            &format!(
                "UPDATE llmwatch_outbox SET state = 'merged', ended_at = {NOW}
                 WHERE state = 'pending' AND channel = $1 AND incident = $2 AND seq > $3"
            ),
            &[
                (&pending.channel.as_str(), Type::TEXT),
                (&incident, Type::UUID),
                (&pending.seq, Type::INT8),
            ],
        )
        .await?;
    }
    if let Some(fallback) = made
        .fallback
        .filter(|fallback| pending.channel != *fallback)
    {
        let is_given_up = matches!(state, "failed" | "expired");
        // A channel that was notified of the start must also be notified of the end.
        let is_end = made.attempted == DeliveryOutcome::Sent
            && pending.notice.kind == NoticeKind::Resolved
            && began_at(&tx, pending, incident, fallback).await?;
        if is_given_up || is_end {
            hand_on(&tx, pending, incident, fallback).await?;
        }
    }
    tx.commit().await
}

/// Reports whether `fallback` was notified of the start of the incident in place of the channel of
/// `pending`.
async fn began_at(
    tx: &Transaction<'_>,
    pending: &Pending,
    incident: Option<Uuid>,
    fallback: &str,
) -> Result<bool, tokio_postgres::Error> {
    let rows = tx
        .query_typed(
            "SELECT notice FROM llmwatch_outbox WHERE channel = $1 AND incident = $2 AND kind = $3",
            &[
                (&fallback, Type::TEXT),
                (&incident, Type::UUID),
                (&NoticeKind::Opened.as_str(), Type::TEXT),
            ],
        )
        .await?;
    let mut notices = rows.iter().filter_map(|row| row.try_get::<_, &str>(0).ok());
    Ok(notices.any(|notice| {
        let notice = serde_json::from_str::<Notice>(notice);
        notice.is_ok_and(|n| n.instead_of.as_ref() == Some(&pending.channel))
    }))
}

/// Passes an undeliverable notification to `fallback`, unless that gets it anyway.
async fn hand_on(
    tx: &Transaction<'_>,
    pending: &Pending,
    incident: Option<Uuid>,
    fallback: &str,
) -> Result<(), tokio_postgres::Error> {
    let notice = &pending.notice;
    // Only one level of fallback.
    if notice.instead_of.is_some() {
        return Ok(());
    }
    let kind = notice.kind.as_str();
    let there = tx
        .query_typed_one(
            "SELECT count(*) FROM llmwatch_outbox WHERE channel = $1 AND incident = $2 AND kind = $3",
            &[
                (&fallback, Type::TEXT),
                (&incident, Type::UUID),
                (&kind, Type::TEXT),
            ],
        )
        .await?;
    if incident.is_some() && there.try_get::<_, i64>(0)? > 0 {
        return Ok(());
    }
    let now = tx.query_typed_one(&format!("SELECT {NOW}"), &[]).await?;
    let handed = Outgoing {
        channel: fallback.into(),
        notice: Notice {
            id: derived_id(notice.id, fallback),
            thread: notice.thread.map(|id| derived_id(id, fallback)),
            instead_of: Some(pending.channel.clone()),
            ..notice.clone()
        },
        not_before: None,
        supersedes_pending: false,
    };
    insert(tx, &[handed], Timestamp(now.try_get(0)?), 0).await
}

fn read_pending(row: &Row, channel: &str) -> Result<Option<Pending>, tokio_postgres::Error> {
    let data: &str = row.try_get(1)?;
    // Leave a notification in another release's format for that release.
    let Ok(notice) = serde_json::from_str(data) else {
        return Ok(None);
    };
    Ok(Some(Pending {
        seq: row.try_get(0)?,
        channel: channel.into(),
        notice,
        progress: row.try_get(2)?,
        queued_at: Timestamp(row.try_get(3)?),
        attempts: u32::try_from(row.try_get::<_, i64>(4)?).unwrap_or(u32::MAX),
        is_interrupted: row.try_get(6)?,
    }))
}
