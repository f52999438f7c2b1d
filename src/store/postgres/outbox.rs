//! The outbox that the daemons share: each notification is claimed by one of them, with a lease, and delivered by it.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, Transaction};
use uuid::Uuid;

use super::{NOW, SharedError, SharedStore, begin, json};
use crate::store::{DeliveryOutcome, Pending, derived_id};
use llmwatch_core::model::{Notice, NoticeType, Outgoing, Timestamp};

/// A claim of a daemon that is gone is taken over after this.
const LEASE: Duration = Duration::from_secs(20);
/// How long a statement about the outbox may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How often a claim is renewed while a delivery is under way.
pub const RENEW: Duration = Duration::from_secs(5);

/// Queues notifications behind what is queued already. `offset_ms` is how far the store's clock is ahead of the daemon's.
pub(super) async fn insert(
    tx: &Transaction<'_>,
    outgoing: &[Outgoing],
    now: Timestamp,
    offset_ms: i64,
) -> Result<(), tokio_postgres::Error> {
    for one in outgoing {
        let notice = &one.notice;
        let data = json(notice);
        let kind = notice.r#type.as_str();
        let incident = notice.incident.as_ref().map(|i| i.id);
        let due = one.not_before.map_or(now.0, |at| at.0 + offset_ms);
        tx.execute_typed(
            "INSERT INTO llmwatch_outbox (id, seq, channel, incident, kind, notice, state, decided_at, queued_at,
                next_attempt_at, attempts, progress)
             VALUES ($1, (SELECT coalesce(max(seq), 0) + 1 FROM llmwatch_outbox), $2, $3, $4, $5, 'pending', $6, $7, $7, 0, '')
             ON CONFLICT (id) DO NOTHING",
            &[
                (&notice.id, Type::UUID),
                (&one.channel, Type::TEXT),
                (&incident, Type::UUID),
                (&kind, Type::TEXT),
                (&data, Type::TEXT),
                (&notice.decided_at.0, Type::INT8),
                (&due, Type::INT8),
            ],
        )
        .await?;
    }
    Ok(())
}

impl SharedStore {
    /// Claims the next notification for `channel` that is due and that no earlier one about its incident holds back.
    ///
    /// # Errors
    /// When the store does not answer.
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
                    "UPDATE llmwatch_outbox SET claimed_by = $2, claimed_until = {NOW} + $3
                     WHERE id = (
                        SELECT o.id FROM llmwatch_outbox o
                        WHERE o.state = 'pending' AND o.channel = $1 AND o.next_attempt_at <= {NOW}
                            AND (o.claimed_until IS NULL OR o.claimed_until < {NOW})
                            AND NOT EXISTS (
                                SELECT 1 FROM llmwatch_outbox e WHERE e.state = 'pending' AND e.channel = o.channel
                                    AND e.incident = o.incident AND e.seq < o.seq)
                        ORDER BY o.seq LIMIT 1 FOR UPDATE SKIP LOCKED)
                     RETURNING seq, notice, progress, queued_at, attempts, incident"
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
        // An incident that is over by now gets one message that says both.
        if pending.notice.r#type == NoticeType::Opened {
            let incident: Option<Uuid> = row.try_get(5).map_err(of)?;
            let end = beside
                .client
                .query_typed_opt(
                    "SELECT notice FROM llmwatch_outbox WHERE channel = $1 AND incident = $2 AND seq > $3
                        AND kind = 'incident.resolved' AND state = 'pending' ORDER BY seq LIMIT 1",
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

    /// Keeps the claim on a notification while it is being delivered; false when another daemon has it.
    ///
    /// # Errors
    /// When the store does not answer.
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

    /// Records what came of an attempt, frees the claim, and hands what cannot be delivered to `fallback`. A retry is due
    /// `wait` from now.
    ///
    /// # Errors
    /// When the store does not answer: then the attempt is repeated with the same id.
    pub async fn record_shared_attempt(
        &self,
        pending: &Pending,
        attempted: DeliveryOutcome,
        wait: Duration,
        progress: &str,
        error: Option<&str>,
        fallback: Option<&str>,
    ) -> Result<(), SharedError> {
        let made = Made {
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

    /// A receiver is back: everything that failed on `channel` is due.
    ///
    /// # Errors
    /// When the store does not answer.
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

/// An attempt that was made.
struct Made<'a> {
    pending: &'a Pending,
    attempted: DeliveryOutcome,
    wait: Duration,
    progress: &'a str,
    error: Option<&'a str>,
    fallback: Option<&'a str>,
}

async fn record(client: &mut Client, made: &Made<'_>) -> Result<(), tokio_postgres::Error> {
    let pending = made.pending;
    let state = match made.attempted {
        DeliveryOutcome::Sent | DeliveryOutcome::SentWithEnd => "sent",
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
    if made.attempted == DeliveryOutcome::SentWithEnd {
        tx.execute_typed(
            &format!(
                "UPDATE llmwatch_outbox SET state = 'merged', ended_at = {NOW}
                 WHERE state = 'pending' AND channel = $1 AND incident = $2 AND seq > $3"
            ),
            &[
                (&pending.channel, Type::TEXT),
                (&incident, Type::UUID),
                (&pending.seq, Type::INT8),
            ],
        )
        .await?;
    }
    if let (Some(fallback), "failed" | "expired") = (made.fallback, state) {
        hand_on(&tx, pending, incident, fallback).await?;
    }
    tx.commit().await
}

/// Hands a notification that cannot be delivered to another channel, unless that has it of its own accord.
async fn hand_on(
    tx: &Transaction<'_>,
    pending: &Pending,
    incident: Option<Uuid>,
    fallback: &str,
) -> Result<(), tokio_postgres::Error> {
    let notice = &pending.notice;
    let kind = notice.r#type.as_str();
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
        channel: fallback.to_owned(),
        notice: Notice {
            id: derived_id(notice.id, fallback),
            thread: notice.thread.map(|id| derived_id(id, fallback)),
            instead_of: Some(pending.channel.clone()),
            ..notice.clone()
        },
        not_before: None,
        supersedes_opening: false,
    };
    insert(tx, &[handed], Timestamp(now.try_get(0)?), 0).await
}

fn read_pending(row: &Row, channel: &str) -> Result<Option<Pending>, tokio_postgres::Error> {
    let data: &str = row.try_get(1)?;
    // What another release wrote in a form that this one cannot read waits for that release.
    let Ok(notice) = serde_json::from_str(data) else {
        return Ok(None);
    };
    Ok(Some(Pending {
        seq: row.try_get(0)?,
        channel: channel.to_owned(),
        notice,
        progress: row.try_get(2)?,
        queued_at: Timestamp(row.try_get(3)?),
        attempts: u32::try_from(row.try_get::<_, i64>(4)?).unwrap_or(u32::MAX),
    }))
}
