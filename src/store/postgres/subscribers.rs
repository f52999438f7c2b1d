//! Email subscribers of all daemons, and the queue of their emails: each is sent by the daemon that
//! claims it.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use super::{LEASE, LIMIT, NOW, SharedError, SharedStore, begin};
use crate::store::derived_id;
use crate::store::subscribers::{
    ANNOUNCED_FOR, Announced, MAX_CONFIRMATIONS, MAX_PER_HOUR, MAX_SUBSCRIBERS, PER_ADDRESS,
    PublicIncident, SignUp, StoredSubscriber, SubscriberMail, Subscription, UNCONFIRMED_FOR,
    first_mail_id,
};
use llmwatch_core::locations::SharedIncident;
use llmwatch_core::message::subscriber::SubscriberText;
use llmwatch_core::model::Timestamp;

impl SharedStore {
    /// Signs `address` up, and queues a confirmation email unless one was sent within the hour.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn sign_up(
        &self,
        address: &str,
        mail: &SubscriberText,
    ) -> Result<SignUp, SharedError> {
        self.repeated_within(LIMIT, || self.try_sign_up(address, mail))
            .await
    }

    async fn try_sign_up(
        &self,
        address: &str,
        text: &SubscriberText,
    ) -> Result<SignUp, SharedError> {
        let mut beside = self.beside().await?;
        let add = async {
            let tx = begin(&mut beside.client).await?;
            tx.execute_typed(
                &format!(
                    "DELETE FROM llmwatch_subscriber WHERE confirmed_at IS NULL AND asked_at < {NOW} - $1"
                ),
                &[(&millis(UNCONFIRMED_FOR), Type::INT8)],
            )
            .await?;
            let counts = tx
                .query_typed_one(
                    &format!(
                        "SELECT count(*), count(*) FILTER (WHERE asked_at > {NOW} - $1) FROM llmwatch_subscriber"
                    ),
                    &[(&millis(PER_ADDRESS), Type::INT8)],
                )
                .await?;
            let all: i64 = counts.try_get(0)?;
            let recent: i64 = counts.try_get(1)?;
            if recent >= i64::from(MAX_PER_HOUR) || all >= i64::from(MAX_SUBSCRIBERS) {
                return Ok(SignUp::TooMany);
            }
            // No row comes back if no confirmation is due.
            let asked = tx
                .query_typed_opt(
                    &format!(
                        "INSERT INTO llmwatch_subscriber (id, address, asked_at, asked) VALUES ($1, $2, {NOW}, 1)
                         ON CONFLICT (address) DO UPDATE SET asked_at = excluded.asked_at,
                            asked = llmwatch_subscriber.asked + 1
                         WHERE llmwatch_subscriber.confirmed_at IS NULL
                            AND llmwatch_subscriber.asked_at <= excluded.asked_at - $3
                            AND llmwatch_subscriber.asked < $4
                         RETURNING id"
                    ),
                    &[
                        (&Uuid::now_v7(), Type::UUID),
                        (&address, Type::TEXT),
                        (&millis(PER_ADDRESS), Type::INT8),
                        (&i64::from(MAX_CONFIRMATIONS), Type::INT8),
                    ],
                )
                .await?;
            if let Some(row) = asked {
                let subscriber: Uuid = row.try_get(0)?;
                let mail = Mail {
                    incident: None,
                    seq: 0,
                    text,
                };
                mail.queue(&tx, &[Uuid::now_v7()], &[subscriber]).await?;
            }
            tx.commit().await?;
            Ok(SignUp::Accepted)
        };
        let signed_up = add
            .await
            .map_err(|e: tokio_postgres::Error| self.error(&e))?;
        beside.give_back();
        Ok(signed_up)
    }

    /// Returns the state of the subscription with this ID.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn subscription(&self, id: Uuid) -> Result<Subscription, SharedError> {
        self.subscription_before("SELECT TRUE", id).await
    }

    /// Confirms a subscription. Returns its previous state.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn confirm_subscription(&self, id: Uuid) -> Result<Subscription, SharedError> {
        let confirm = format!(
            "UPDATE llmwatch_subscriber SET confirmed_at = {NOW} WHERE id = $1 AND confirmed_at IS NULL RETURNING id"
        );
        self.subscription_before(&confirm, id).await
    }

    /// Ends a subscription at every daemon, and deletes its address and its waiting emails. Returns
    /// its previous state.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn unsubscribe(&self, id: Uuid) -> Result<Subscription, SharedError> {
        self.subscription_before(
            "DELETE FROM llmwatch_subscriber WHERE id = $1 RETURNING id",
            id,
        )
        .await
    }

    /// Returns the state of a subscription before `change`.
    async fn subscription_before(
        &self,
        change: &str,
        id: Uuid,
    ) -> Result<Subscription, SharedError> {
        // All parts of a statement see the state before it.
        let sql = format!(
            "WITH changed AS ({change}) SELECT confirmed_at IS NOT NULL FROM llmwatch_subscriber WHERE id = $1"
        );
        let rows = self.rows(&sql, &[(&id, Type::UUID)]).await?;
        Ok(match rows.first().map(|row| row.try_get(0)) {
            None => Subscription::None,
            Some(Ok(true)) => Subscription::Confirmed,
            Some(Ok(false)) => Subscription::Unconfirmed,
            Some(Err(error)) => return Err(self.error(&error)),
        })
    }

    /// Returns the open incidents, and those whose end was not announced yet.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn public_incidents(&self) -> Result<Vec<PublicIncident>, SharedError> {
        let rows = self
            .rows(
                "SELECT i.data, a.notes FROM llmwatch_incident i
                    LEFT JOIN llmwatch_announced a ON a.incident = i.id WHERE i.open
                 UNION ALL
                 SELECT i.data, a.notes FROM llmwatch_announced a
                    JOIN llmwatch_incident i ON i.id = a.incident WHERE NOT a.over AND NOT i.open",
                &[],
            )
            .await?;
        let mut incidents = Vec::new();
        for row in &rows {
            incidents.extend(read_public(row).map_err(|e| self.error(&e))?);
        }
        Ok(incidents)
    }

    /// Queues emails to every subscriber, and records what was announced. The first one about an
    /// incident that a subscriber gets begins a thread. Returns false if another daemon was first; then nothing is queued.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn announce(
        &self,
        before: Option<Announced>,
        known: Announced,
        mails: &[SubscriberText],
    ) -> Result<bool, SharedError> {
        self.repeated_within(LIMIT, || self.try_announce(before, known, mails))
            .await
    }

    async fn try_announce(
        &self,
        before: Option<Announced>,
        known: Announced,
        mails: &[SubscriberText],
    ) -> Result<bool, SharedError> {
        let mut beside = self.beside().await?;
        let add = async {
            let tx = begin(&mut beside.client).await?;
            let incident = known.incident;
            let last = announced_at(&tx, incident).await?;
            if !advance(&tx, before, known).await? {
                return Ok(false);
            }
            let now = announced_at(&tx, incident).await?;
            // Somebody who confirms meanwhile gets the next mail as the first.
            let rows = tx
                .query_typed(
                    "SELECT id, $1 IS NULL OR confirmed_at > $1 FROM llmwatch_subscriber WHERE confirmed_at <= $2",
                    &[(&last, Type::INT8), (&now, Type::INT8)],
                )
                .await?;
            let mut subscribers = Vec::new();
            let mut are_new: Vec<bool> = Vec::new();
            for row in &rows {
                subscribers.push(row.try_get(0)?);
                are_new.push(row.try_get(1)?);
            }
            // The opening is the first, then every note, then the end.
            let first = before.map_or(0, |before| 1 + i64::from(before.notes));
            for (seq, text) in (first..).zip(mails) {
                let mail = Mail {
                    incident: Some(incident),
                    seq,
                    text,
                };
                // The same ID at every attempt of this announcement.
                let label = format!("{incident} {seq}");
                let id = |(subscriber, is_new): (&Uuid, &bool)| match is_new {
                    true if seq == first => first_mail_id(incident, *subscriber),
                    _ => derived_id(*subscriber, &label),
                };
                let ids: Vec<Uuid> = subscribers.iter().zip(&are_new).map(id).collect();
                mail.queue(&tx, &ids, &subscribers).await?;
            }
            tx.execute_typed(
                &format!("DELETE FROM llmwatch_announced WHERE over AND seen_at < {NOW} - $1"),
                &[(&millis(ANNOUNCED_FOR), Type::INT8)],
            )
            .await?;
            tx.commit().await?;
            Ok(true)
        };
        let is_first = add
            .await
            .map_err(|e: tokio_postgres::Error| self.error(&e))?;
        beside.give_back();
        Ok(is_first)
    }

    /// Claims the due emails, oldest first, at most `most`. Emails of one incident to one
    /// subscriber follow each other.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn claim_subscriber_mails(
        &self,
        most: u32,
    ) -> Result<Vec<SubscriberMail>, SharedError> {
        let sql = format!(
            "UPDATE llmwatch_subscriber_mail u SET claimed_by = $1, claimed_until = {NOW} + $2
             FROM (
                SELECT m.id, s.address FROM llmwatch_subscriber_mail m
                    JOIN llmwatch_subscriber s ON s.id = m.subscriber
                WHERE m.next_attempt_at <= {NOW} AND (m.claimed_until IS NULL OR m.claimed_until < {NOW})
                    AND NOT EXISTS (
                        SELECT 1 FROM llmwatch_subscriber_mail e
                        WHERE e.subscriber = m.subscriber AND e.incident = m.incident AND e.seq < m.seq)
                ORDER BY m.queued_at, m.seq LIMIT $3 FOR UPDATE OF m SKIP LOCKED) AS free
             WHERE u.id = free.id
             RETURNING u.id, u.subscriber, free.address, u.incident, u.subject, u.body, u.queued_at, u.attempts"
        );
        let rows = self
            .rows(
                &sql,
                &[
                    (&self.me(), Type::UUID),
                    (&millis(LEASE), Type::INT8),
                    (&i64::from(most), Type::INT8),
                ],
            )
            .await?;
        let mails: Result<Vec<_>, _> = rows.iter().map(read_mail).collect();
        let mut mails = mails.map_err(|e| self.error(&e))?;
        mails.sort_by_key(|mail| mail.queued_at);
        Ok(mails)
    }

    /// Renews the claims of this daemon that are still in force.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn renew_mail_claims(&self) -> Result<(), SharedError> {
        let sql = format!(
            "UPDATE llmwatch_subscriber_mail SET claimed_until = {NOW} + $2 WHERE claimed_by = $1 AND claimed_until >= {NOW}"
        );
        self.rows(
            &sql,
            &[(&self.me(), Type::UUID), (&millis(LEASE), Type::INT8)],
        )
        .await
        .map(drop)
    }

    /// Releases the claims of this daemon, for instance because the mail server is away.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn release_mail_claims(&self) -> Result<(), SharedError> {
        self.rows(
            "UPDATE llmwatch_subscriber_mail SET claimed_by = NULL, claimed_until = NULL WHERE claimed_by = $1",
            &[(&self.me(), Type::UUID)],
        )
        .await
        .map(drop)
    }

    /// Deletes an email that was delivered or given up.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn finish_subscriber_mail(&self, id: Uuid) -> Result<(), SharedError> {
        self.rows(
            "DELETE FROM llmwatch_subscriber_mail WHERE id = $1",
            &[(&id, Type::UUID)],
        )
        .await
        .map(drop)
    }

    /// Postpones an email by `wait`, after a failed attempt.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn retry_subscriber_mail(&self, id: Uuid, wait: Duration) -> Result<(), SharedError> {
        let sql = format!(
            "UPDATE llmwatch_subscriber_mail SET next_attempt_at = {NOW} + $2, attempts = attempts + 1,
                claimed_by = NULL, claimed_until = NULL WHERE id = $1"
        );
        self.rows(&sql, &[(&id, Type::UUID), (&millis(wait), Type::INT8)])
            .await
            .map(drop)
    }

    /// Takes over subscribers that a daemon had before it shared this store. One whose address is
    /// known keeps the subscription that is here.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn adopt_subscribers(
        &self,
        subscribers: &[StoredSubscriber],
    ) -> Result<(), SharedError> {
        let ids: Vec<_> = subscribers.iter().map(|s| s.id).collect();
        let addresses: Vec<_> = subscribers.iter().map(|s| s.address.as_str()).collect();
        let asked_at: Vec<_> = subscribers.iter().map(|s| s.asked_at.0).collect();
        let asked: Vec<_> = subscribers.iter().map(|s| i64::from(s.asked)).collect();
        let confirmed_at: Vec<_> = subscribers
            .iter()
            .map(|s| s.confirmed_at.map(|at| at.0))
            .collect();
        self.rows(
            "INSERT INTO llmwatch_subscriber (id, address, asked_at, asked, confirmed_at)
             SELECT * FROM unnest($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            &[
                (&ids, Type::UUID_ARRAY),
                (&addresses, Type::TEXT_ARRAY),
                (&asked_at, Type::INT8_ARRAY),
                (&asked, Type::INT8_ARRAY),
                (&confirmed_at, Type::INT8_ARRAY),
            ],
        )
        .await
        .map(drop)
    }
}

/// Returns when something of the incident was last announced.
async fn announced_at(
    tx: &Transaction<'_>,
    incident: Uuid,
) -> Result<Option<i64>, tokio_postgres::Error> {
    tx.query_typed_opt(
        "SELECT seen_at FROM llmwatch_announced WHERE incident = $1",
        &[(&incident, Type::UUID)],
    )
    .await?
    .map(|row| row.try_get(0))
    .transpose()
}

/// Records that `known` is announced. Returns false if another daemon has announced more than
/// `before` meanwhile.
async fn advance(
    tx: &Transaction<'_>,
    before: Option<Announced>,
    known: Announced,
) -> Result<bool, tokio_postgres::Error> {
    let notes = i64::from(known.notes);
    let changed = if let Some(before) = before {
        tx.execute_typed(
            &format!(
                "UPDATE llmwatch_announced SET notes = $2, over = $3, seen_at = {NOW}
                 WHERE incident = $1 AND notes = $4 AND NOT over"
            ),
            &[
                (&known.incident, Type::UUID),
                (&notes, Type::INT8),
                (&known.over, Type::BOOL),
                (&i64::from(before.notes), Type::INT8),
            ],
        )
        .await?
    } else {
        tx.execute_typed(
            &format!(
                "INSERT INTO llmwatch_announced (incident, notes, over, seen_at) VALUES ($1, $2, $3, {NOW})
                 ON CONFLICT (incident) DO NOTHING"
            ),
            &[
                (&known.incident, Type::UUID),
                (&notes, Type::INT8),
                (&known.over, Type::BOOL),
            ],
        )
        .await?
    };
    Ok(changed > 0)
}

/// An email to queue.
struct Mail<'a> {
    incident: Option<Uuid>,
    seq: i64,
    text: &'a SubscriberText,
}

impl Mail<'_> {
    /// Queues it to each of `subscribers`, under these IDs.
    async fn queue(
        &self,
        tx: &Transaction<'_>,
        ids: &[Uuid],
        subscribers: &[Uuid],
    ) -> Result<(), tokio_postgres::Error> {
        tx.execute_typed(
            &format!(
                "INSERT INTO llmwatch_subscriber_mail
                    (id, subscriber, incident, seq, subject, body, queued_at, next_attempt_at, attempts)
                 SELECT i, s, $3, $4, $5, $6, t.now, t.now, 0
                 FROM unnest($1, $2) AS n(i, s), (SELECT {NOW} AS now) AS t ON CONFLICT (id) DO NOTHING"
            ),
            &[
                (&ids, Type::UUID_ARRAY),
                (&subscribers, Type::UUID_ARRAY),
                (&self.incident, Type::UUID),
                (&self.seq, Type::INT8),
                (&self.text.subject, Type::TEXT),
                (&self.text.body, Type::TEXT),
            ],
        )
        .await
        .map(drop)
    }
}

/// Reads an incident that subscribers may learn of. One that waits for the other locations' probes
/// is not public yet, and one of another release may be unreadable.
fn read_public(row: &Row) -> Result<Option<PublicIncident>, tokio_postgres::Error> {
    let data: &str = row.try_get(0)?;
    let notes: Option<i64> = row.try_get(1)?;
    let Ok(shared) = serde_json::from_str::<SharedIncident>(data) else {
        return Ok(None);
    };
    let announced = notes.map(|notes| Announced {
        incident: shared.incident.id,
        notes: u32::try_from(notes).unwrap_or(u32::MAX),
        over: false,
    });
    Ok(shared.notified.then_some(PublicIncident {
        incident: shared.incident,
        announced,
    }))
}

fn read_mail(row: &Row) -> Result<SubscriberMail, tokio_postgres::Error> {
    Ok(SubscriberMail {
        id: row.try_get(0)?,
        subscriber: row.try_get(1)?,
        address: row.try_get(2)?,
        incident: row.try_get(3)?,
        text: SubscriberText {
            subject: row.try_get(4)?,
            body: row.try_get(5)?,
        },
        queued_at: Timestamp(row.try_get(6)?),
        attempts: u32::try_from(row.try_get::<_, i64>(7)?).unwrap_or(u32::MAX),
    })
}

fn millis(length: Duration) -> i64 {
    length.as_millis() as i64
}
