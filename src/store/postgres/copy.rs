//! Copies the history of an SQLite file to the shared store, while a daemon may be writing the
//! file. Existing rows are skipped, so an interrupted copy resumes where it stopped.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{SampleRows, Session, SharedError, begin, compact, insert_samples, json};
use llmwatch_core::locations::SharedIncident;
use llmwatch_core::model::{Incident, Sample, Timestamp};

/// Compares sets of samples: their number, and an order-independent checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checksum {
    /// The number of samples.
    pub count: u64,
    sum: [u8; 32],
}

impl Checksum {
    /// Adds a sample; the order does not matter.
    pub fn add(&mut self, sample: &Sample) {
        self.add_text(&compact(sample));
    }

    fn add_text(&mut self, text: &str) {
        self.count += 1;
        let digest = digest(&SHA256, text.as_bytes());
        for (sum, byte) in self.sum.iter_mut().zip(digest.as_ref()) {
            *sum ^= byte;
        }
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sum: String = self.sum[..8].iter().map(|b| format!("{b:02x}")).collect();
        write!(f, "{} samples, checksum {sum}", self.count)
    }
}

impl Session {
    /// Returns the number of the last copied sample of `source`; 0 if none was.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn copied_until(&self, source: Uuid) -> Result<i64, SharedError> {
        let row = self
            .client
            .query_typed_opt(
                "SELECT seq FROM llmwatch_copy WHERE source = $1",
                &[(&source, Type::UUID)],
            )
            .await;
        let seq = row.and_then(|row| row.map_or(Ok(0), |row| row.try_get(0)));
        seq.map_err(|e| self.error(&e))
    }

    /// Copies samples of `source`, the last of which has the number `seq` there.
    ///
    /// # Errors
    /// When nothing was copied.
    pub async fn copy_samples(
        &mut self,
        source: Uuid,
        samples: &[Sample],
        seq: i64,
    ) -> Result<(), SharedError> {
        let url = self.connector.url.clone();
        let copy = async {
            let tx = begin(&mut self.client).await?;
            insert_samples(
                &tx,
                &SampleRows {
                    daemon: source,
                    samples,
                    // They do not count against today's budget.
                    zone: None,
                },
            )
            .await?;
            tx.execute_typed(
                "INSERT INTO llmwatch_copy (source, seq) VALUES ($1, $2)
                 ON CONFLICT (source) DO UPDATE SET seq = excluded.seq",
                &[(&source, Type::UUID), (&seq, Type::INT8)],
            )
            .await?;
            tx.commit().await
        };
        copy.await.map_err(|e| SharedError::of(&url, &e))
    }

    /// Copies missing incidents, oldest first; one whose number is taken gets the next. Returns how
    /// many were new.
    ///
    /// # Errors
    /// When nothing was copied.
    pub async fn copy_incidents(
        &mut self,
        incidents: &[Incident],
        location: &str,
    ) -> Result<u64, SharedError> {
        let url = self.connector.url.clone();
        let copy = async {
            let tx = begin(&mut self.client).await?;
            let row = tx
                .query_typed_one(
                    "SELECT next_number FROM llmwatch_state WHERE id = 1 FOR UPDATE",
                    &[],
                )
                .await?;
            let mut next: i64 = row.try_get(0)?;
            let mut new = 0;
            for incident in incidents {
                let taken = tx
                    .query_typed_opt(
                        "SELECT id FROM llmwatch_incident WHERE number = $1",
                        &[(&incident.number.cast_signed(), Type::INT8)],
                    )
                    .await?;
                let holder: Option<Uuid> = taken.map(|row| row.try_get(0)).transpose()?;
                let mut incident = incident.clone();
                if holder.is_some_and(|id| id != incident.id) {
                    incident.number = next.max(1).unsigned_abs();
                }
                incident.place(location);
                next = next.max(incident.number.cast_signed() + 1);
                let began_at = incident.started_at;
                let opened_at = incident.opened_at;
                let changed_at = incident.resolved_at.unwrap_or(opened_at);
                let shared = SharedIncident {
                    members: BTreeMap::from([(incident.id, location.to_owned())]),
                    notified: true,
                    began_at,
                    opened_at,
                    incident,
                };
                new += tx
                    .execute_typed(
                        "INSERT INTO llmwatch_incident (id, number, open, started_at, changed_at, data)
                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
                        &[
                            (&shared.incident.id, Type::UUID),
                            (&shared.incident.number.cast_signed(), Type::INT8),
                            (&shared.incident.resolved_at.is_none(), Type::BOOL),
                            (&began_at.0, Type::INT8),
                            (&changed_at.0, Type::INT8),
                            (&json(&shared), Type::TEXT),
                        ],
                    )
                    .await?;
            }
            tx.execute_typed(
                "UPDATE llmwatch_state SET next_number = $1 WHERE id = 1",
                &[(&next, Type::INT8)],
            )
            .await?;
            tx.commit().await?;
            Ok(new)
        };
        copy.await
            .map_err(|e: tokio_postgres::Error| SharedError::of(&url, &e))
    }

    /// Returns the checksum of the copied samples of `source`, read back from the store.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn copied_checksum(&self, source: Uuid) -> Result<Checksum, SharedError> {
        let mut sum = Checksum::default();
        let mut after = (i64::MIN, Uuid::nil());
        loop {
            let rows = self
                .client
                .query_typed(
                    "SELECT recorded_at, id, data FROM llmwatch_sample
                     WHERE daemon = $1 AND (recorded_at, id) > ($2, $3) ORDER BY recorded_at, id LIMIT 5000",
                    &[
                        (&source, Type::UUID),
                        (&after.0, Type::INT8),
                        (&after.1, Type::UUID),
                    ],
                )
                .await
                .map_err(|e| self.error(&e))?;
            for row in &rows {
                let read = || {
                    Ok((
                        row.try_get(0)?,
                        row.try_get(1)?,
                        row.try_get::<_, String>(2)?,
                    ))
                };
                let (at, id, data) = read().map_err(|e| self.error(&e))?;
                after = (at, id);
                sum.add_text(&data);
            }
            if rows.is_empty() {
                return Ok(sum);
            }
        }
    }
}

/// Derives the source ID of a file from its first sample, independent of its path.
pub fn source_of(first: &Sample) -> Uuid {
    let digest = digest(&SHA256, format!("copy of {}", first.id).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Returns when a copied sample counts as recorded: in the past, so that other daemons do not take
/// it for a new one.
pub(super) fn recorded_at(sample: &Sample) -> Timestamp {
    sample.ended_at()
}
