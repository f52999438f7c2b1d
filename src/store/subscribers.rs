//! Email subscribers and the queue of their emails. Addresses leave the store only in an email.

use std::time::Duration;

use llmwatch_core::message::subscriber::SubscriberText;
use llmwatch_core::model::{Incident, Timestamp};
use rusqlite::{OptionalExtension as _, Transaction, params};
use uuid::Uuid;

use super::{Store, StoreError, derived_id};

/// One address gets at most one confirmation email in this time.
pub(super) const PER_ADDRESS: Duration = Duration::from_hours(1);
/// And at most this many until the sign-up expires.
pub(super) const MAX_CONFIRMATIONS: u32 = 3;
/// An unconfirmed sign-up and its link expire after this time.
pub(super) const UNCONFIRMED_FOR: Duration = Duration::from_hours(7 * 24);
/// The maximum number of confirmation emails per hour, over all addresses.
pub(super) const MAX_PER_HOUR: u32 = 100;
/// The maximum number of subscribers and sign-ups.
pub(super) const MAX_SUBSCRIBERS: u32 = 20_000;
/// How long the announcements of an incident are remembered.
pub(super) const ANNOUNCED_FOR: Duration = Duration::from_hours(90 * 24);

/// The tables of the subscribers and their mails.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS subscriber (
    id BLOB PRIMARY KEY,
    address TEXT NOT NULL UNIQUE,
    asked_at INTEGER NOT NULL,
    asked INTEGER NOT NULL,
    confirmed_at INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS subscriber_mail (
    id BLOB PRIMARY KEY,
    subscriber BLOB NOT NULL,
    -- NULL for the mail that asks for a confirmation.
    incident BLOB,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    queued_at INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS subscriber_mail_due ON subscriber_mail (next_attempt_at);
CREATE TABLE IF NOT EXISTS subscriber_incident (
    incident BLOB PRIMARY KEY,
    at INTEGER NOT NULL,
    notes INTEGER NOT NULL,
    over INTEGER NOT NULL
) STRICT;
";

/// The result of a sign-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUp {
    /// A confirmation email is queued, or none was needed. Visitors never learn which.
    Accepted,
    /// Too many sign-ups: nothing was changed.
    TooMany,
}

/// The state of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// Its address was not confirmed yet.
    Unconfirmed,
    /// It gets emails.
    Confirmed,
    /// It has ended, or its sign-up has expired.
    None,
}

/// What was announced of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The incident.
    pub incident: Uuid,
    /// How many of its notes were announced.
    pub notes: u32,
    /// Whether its end was announced.
    pub over: bool,
}

/// An incident that subscribers may learn of, and what they know of it.
#[derive(Debug, Clone)]
pub struct PublicIncident {
    /// The incident.
    pub incident: Incident,
    /// What was announced of it; `None` if it is new.
    pub announced: Option<Announced>,
}

/// An email to one subscriber.
#[derive(Debug, Clone)]
pub struct SubscriberMail {
    /// Its id, the same at every attempt.
    pub id: Uuid,
    /// The subscription.
    pub subscriber: Uuid,
    /// The recipient. It is never logged.
    pub address: String,
    /// The incident; `None` for the confirmation email.
    pub incident: Option<Uuid>,
    /// Its text, without the links of this subscriber.
    pub text: SubscriberText,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// How often it was attempted.
    pub attempts: u32,
}

impl SubscriberMail {
    /// Returns the ID of the first email about the incident that this subscriber got; `None` if it
    /// is this one.
    pub fn thread(&self) -> Option<Uuid> {
        let first = first_mail_id(self.incident?, self.subscriber);
        (first != self.id).then_some(first)
    }
}

/// Derives the ID of the first email about an incident to a subscriber, from which no other
/// subscriber's can be guessed.
pub(super) fn first_mail_id(incident: Uuid, subscriber: Uuid) -> Uuid {
    derived_id(subscriber, &incident.to_string())
}

/// A subscriber as it is stored, to move it to a shared store.
#[derive(Debug, Clone)]
pub struct StoredSubscriber {
    /// The subscription.
    pub id: Uuid,
    /// The address. It is never logged.
    pub address: String,
    /// When it last asked.
    pub asked_at: Timestamp,
    /// How often it asked.
    pub asked: u32,
    /// When it was confirmed.
    pub confirmed_at: Option<Timestamp>,
}

impl Store {
    fn with_subscribers<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.transaction(|tx| {
            tx.execute_batch(TABLES)?;
            work(tx)
        })
    }

    /// Signs `address` up, and queues a confirmation email unless one was sent within the hour.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn sign_up(
        &self,
        address: &str,
        mail: &SubscriberText,
        now: Timestamp,
    ) -> Result<SignUp, StoreError> {
        self.with_subscribers(|tx| {
            tx.execute(
                "DELETE FROM subscriber WHERE confirmed_at IS NULL AND asked_at < ?1",
                [(now - UNCONFIRMED_FOR).0],
            )?;
            let hour_ago = (now - PER_ADDRESS).0;
            let recent: u32 = tx.query_row(
                "SELECT count(*) FROM subscriber WHERE asked_at > ?1",
                [hour_ago],
                |r| r.get(0),
            )?;
            let all: u32 = tx.query_row("SELECT count(*) FROM subscriber", [], |r| r.get(0))?;
            if recent >= MAX_PER_HOUR || all >= MAX_SUBSCRIBERS {
                return Ok(SignUp::TooMany);
            }
            let known: Option<(Uuid, i64, u32, Option<i64>)> = tx
                .query_row(
                    "SELECT id, asked_at, asked, confirmed_at FROM subscriber WHERE address = ?1",
                    [address],
                    |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)),
                )
                .optional()?;
            let id = match known {
                Some((_, _, _, Some(_))) => return Ok(SignUp::Accepted),
                Some((_, asked_at, asked, None))
                    if asked_at > hour_ago || asked >= MAX_CONFIRMATIONS =>
                {
                    return Ok(SignUp::Accepted);
                }
                Some((id, ..)) => {
                    tx.execute(
                        "UPDATE subscriber SET asked_at = ?2, asked = asked + 1 WHERE id = ?1",
                        params![id, now.0],
                    )?;
                    id
                }
                None => {
                    let id = Uuid::now_v7();
                    tx.execute(
                        "INSERT INTO subscriber (id, address, asked_at, asked) VALUES (?1, ?2, ?3, 1)",
                        params![id, address, now.0],
                    )?;
                    id
                }
            };
            let queued = QueuedMail {
                id: Uuid::now_v7(),
                subscriber: id,
                incident: None,
            };
            queue(tx, &queued, mail, now)?;
            Ok(SignUp::Accepted)
        })
    }

    /// Returns the state of the subscription with this ID.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn subscription(&self, id: Uuid) -> Result<Subscription, StoreError> {
        self.with_subscribers(|tx| state(tx, id))
    }

    /// Confirms a subscription. Returns its previous state.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn confirm_subscription(
        &self,
        id: Uuid,
        now: Timestamp,
    ) -> Result<Subscription, StoreError> {
        self.with_subscribers(|tx| {
            let before = state(tx, id)?;
            tx.execute(
                "UPDATE subscriber SET confirmed_at = ?2 WHERE id = ?1 AND confirmed_at IS NULL",
                params![id, now.0],
            )?;
            Ok(before)
        })
    }

    /// Ends a subscription and deletes its address. Returns its previous state.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn unsubscribe(&self, id: Uuid) -> Result<Subscription, StoreError> {
        self.with_subscribers(|tx| {
            let before = state(tx, id)?;
            tx.execute("DELETE FROM subscriber_mail WHERE subscriber = ?1", [id])?;
            tx.execute("DELETE FROM subscriber WHERE id = ?1", [id])?;
            Ok(before)
        })
    }

    /// Returns what was announced of the incidents whose end was not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn announced(&self) -> Result<Vec<Announced>, StoreError> {
        self.with_subscribers(|tx| {
            let mut rows =
                tx.prepare("SELECT incident, notes, over FROM subscriber_incident WHERE over = 0")?;
            let rows = rows.query_map([], |r| {
                Ok(Announced {
                    incident: r.get(0)?,
                    notes: r.get(1)?,
                    over: r.get(2)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Queues emails to every subscriber, and records what was announced. The first one about an
    /// incident that a subscriber gets begins a thread.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn announce(
        &self,
        known: Announced,
        mails: &[SubscriberText],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.with_subscribers(|tx| {
            let incident = known.incident;
            let last: Option<i64> = tx
                .query_row(
                    "SELECT at FROM subscriber_incident WHERE incident = ?1",
                    [incident],
                    |r| r.get(0),
                )
                .optional()?;
            let mut all = tx.prepare(
                "SELECT id, ?1 IS NULL OR confirmed_at > ?1 FROM subscriber WHERE confirmed_at IS NOT NULL",
            )?;
            let all: Vec<(Uuid, bool)> = all
                .query_map([last], |r| Ok((r.get(0)?, r.get(1)?)))?
                .collect::<Result<_, _>>()?;
            for (subscriber, mut is_first) in all {
                for mail in mails {
                    let id = if std::mem::take(&mut is_first) {
                        first_mail_id(incident, subscriber)
                    } else {
                        Uuid::now_v7()
                    };
                    let queued = QueuedMail {
                        id,
                        subscriber,
                        incident: Some(incident),
                    };
                    queue(tx, &queued, mail, now)?;
                }
            }
            tx.execute(
                "INSERT OR REPLACE INTO subscriber_incident (incident, at, notes, over) VALUES (?1, ?2, ?3, ?4)",
                params![incident, now.0, known.notes, known.over],
            )?;
            tx.execute(
                "DELETE FROM subscriber_incident WHERE over AND at < ?1",
                [(now - ANNOUNCED_FOR).0],
            )?;
            Ok(())
        })
    }

    /// Returns the due emails, oldest first, at most `most`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn due_subscriber_mails(
        &self,
        now: Timestamp,
        most: u32,
    ) -> Result<Vec<SubscriberMail>, StoreError> {
        self.with_subscribers(|tx| {
            let mut rows = tx.prepare(
                "SELECT m.id, m.subscriber, s.address, m.incident, m.subject, m.body, m.queued_at, m.attempts
                 FROM subscriber_mail m JOIN subscriber s ON s.id = m.subscriber
                 WHERE m.next_attempt_at <= ?1 ORDER BY m.queued_at, m.rowid LIMIT ?2",
            )?;
            let rows = rows.query_map(params![now.0, most], |r| {
                Ok(SubscriberMail {
                    id: r.get(0)?,
                    subscriber: r.get(1)?,
                    address: r.get(2)?,
                    incident: r.get(3)?,
                    text: SubscriberText {
                        subject: r.get(4)?,
                        body: r.get(5)?,
                    },
                    queued_at: Timestamp(r.get(6)?),
                    attempts: r.get(7)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Returns every subscriber and sign-up.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn subscribers(&self) -> Result<Vec<StoredSubscriber>, StoreError> {
        self.with_subscribers(|tx| {
            let mut rows =
                tx.prepare("SELECT id, address, asked_at, asked, confirmed_at FROM subscriber")?;
            let rows = rows.query_map([], |r| {
                Ok(StoredSubscriber {
                    id: r.get(0)?,
                    address: r.get(1)?,
                    asked_at: Timestamp(r.get(2)?),
                    asked: r.get(3)?,
                    confirmed_at: r.get::<_, Option<i64>>(4)?.map(Timestamp),
                })
            })?;
            rows.collect()
        })
    }

    /// Deletes every subscriber and their emails, once a shared store has them.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget_subscribers(&self) -> Result<(), StoreError> {
        self.with_subscribers(|tx| {
            tx.execute_batch(
                "DELETE FROM subscriber_mail; DELETE FROM subscriber_incident; DELETE FROM subscriber;",
            )
        })
    }

    /// Deletes an email that was delivered or given up.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn finish_subscriber_mail(&self, id: Uuid) -> Result<(), StoreError> {
        self.with_subscribers(|tx| {
            tx.execute("DELETE FROM subscriber_mail WHERE id = ?1", [id])
                .map(drop)
        })
    }

    /// Postpones an email until `at`, after a failed attempt.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn retry_subscriber_mail(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        self.with_subscribers(|tx| {
            tx.execute(
                "UPDATE subscriber_mail SET next_attempt_at = ?2, attempts = attempts + 1 WHERE id = ?1",
                params![id, at.0],
            )
            .map(drop)
        })
    }
}

fn state(tx: &Transaction<'_>, id: Uuid) -> rusqlite::Result<Subscription> {
    let confirmed: Option<bool> = tx
        .query_row(
            "SELECT confirmed_at IS NOT NULL FROM subscriber WHERE id = ?1",
            [id],
            |r| r.get(0),
        )
        .optional()?;
    Ok(match confirmed {
        None => Subscription::None,
        Some(false) => Subscription::Unconfirmed,
        Some(true) => Subscription::Confirmed,
    })
}

/// An email to queue.
struct QueuedMail {
    id: Uuid,
    subscriber: Uuid,
    incident: Option<Uuid>,
}

fn queue(
    tx: &Transaction<'_>,
    mail: &QueuedMail,
    text: &SubscriberText,
    now: Timestamp,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO subscriber_mail
            (id, subscriber, incident, subject, body, queued_at, next_attempt_at, attempts)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 0)",
    )?
    .execute(params![
        mail.id,
        mail.subscriber,
        mail.incident,
        text.subject,
        text.body,
        now.0
    ])
    .map(drop)
}
