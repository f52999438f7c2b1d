//! Retention: deletes expired rows, a few at a time.

use std::time::Duration;

use rusqlite::params;

use super::{Store, StoreError};
use crate::config;
use llmwatch_core::model::Timestamp;
use llmwatch_core::report::rollup::Resolution;

/// The retention limits: older rows are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// Samples, and notifications that have ended.
    pub samples: Timestamp,
    /// Rollups of five minutes.
    pub fine_rollups: Timestamp,
    /// Rollups of hours and days.
    pub rollups: Timestamp,
    /// Resolved incidents; `None` keeps all.
    pub incidents: Option<Timestamp>,
}

/// The retention of five-minute rollups. They take as many bytes as the samples of an endpoint
/// probed each minute, and rollups of hours and days suffice for long ranges.
const FINE_ROLLUPS: Duration = Duration::from_hours(90 * 24);

impl Horizon {
    /// Computes the limits of `[store]` at `now`.
    pub fn at(now: Timestamp, store: &config::StoreSettings) -> Self {
        Self {
            samples: now - store.keep_samples,
            fine_rollups: now - store.keep_rollups.min(FINE_ROLLUPS),
            rollups: now - store.keep_rollups,
            incidents: store.keep_incidents.map(|keep| now - keep),
        }
    }
}

impl Store {
    /// Deletes about `limit` rows beyond `horizon`, and returns their space to the file system.
    /// Returns how many were deleted: fewer than `limit` means that nothing is left.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget(&self, horizon: Horizon, limit: u32) -> Result<u32, StoreError> {
        self.sum_up_to(horizon.samples)?;
        let deleted = self.transaction(|tx| {
            let mut left = limit;
            let mut spend = |deleted: usize| left = left.saturating_sub(u32::try_from(deleted).unwrap_or(u32::MAX));
            spend(
                tx.prepare_cached(
                    "DELETE FROM sample WHERE seq IN (
                        SELECT sample.seq FROM block CROSS JOIN sample
                            ON sample.seq BETWEEN block.first_seq AND block.last_seq
                        WHERE block.began_from < ?1 AND sample.started_at < ?1 LIMIT ?2)
                     AND seq <= (SELECT seq FROM checkpoint) AND seq <= (SELECT seq FROM summed)",
                )?
                .execute(params![horizon.samples.0, limit])?,
            );
            tx.prepare_cached(
                "DELETE FROM block WHERE began_until < ?1 AND NOT EXISTS (
                    SELECT 1 FROM sample WHERE seq BETWEEN block.first_seq AND block.last_seq)",
            )?
            .execute([horizon.samples.0])?;
            tx.prepare_cached(
                "DELETE FROM series_block WHERE (series, last_seq) IN (
                    SELECT series.id, b.last_seq FROM series CROSS JOIN series_block b
                        ON b.series = series.id AND b.last_seq < (SELECT min(seq) FROM sample) LIMIT ?1)",
            )?
            .execute([limit])?;
            tx.prepare_cached(
                "DELETE FROM revised_sample WHERE id IN (
                    SELECT id FROM revised_sample WHERE seq < (SELECT min(seq) FROM sample) LIMIT ?1)",
            )?
            .execute([limit])?;
            spend(
                tx.prepare_cached(
                    "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox
                        WHERE state <> 'pending' AND ended_at < ?1
                            AND NOT EXISTS (SELECT 1 FROM incident WHERE incident.id = outbox.incident AND open)
                        LIMIT ?2)",
                )?
                .execute(params![horizon.samples.0, limit])?,
            );
            if let Some(before) = horizon.incidents {
                spend(
                    tx.prepare_cached(
                        "DELETE FROM incident WHERE id IN
                            (SELECT id FROM incident WHERE NOT open AND started_at < ?1
                                AND number < (SELECT max(number) FROM incident) LIMIT ?2)",
                    )?
                    .execute(params![before.0, limit])?,
                );
            }
            for resolution in Resolution::ALL {
                let fine = resolution == Resolution::FiveMinutes;
                let before = if fine { horizon.fine_rollups } else { horizon.rollups };
                let span = params![resolution.length().as_secs().cast_signed(), before.0, limit];
                spend(
                    tx.prepare_cached(
                        "DELETE FROM rollup WHERE (step, series, at) IN
                            (SELECT ?1, rollup.series, at FROM series CROSS JOIN rollup
                                ON step = ?1 AND rollup.series = series.id AND at < ?2 LIMIT ?3)",
                    )?
                    .execute(span)?,
                );
                spend(
                    tx.prepare_cached(
                        "DELETE FROM rollup_fault WHERE (step, series, at, fault, attribution) IN
                            (SELECT ?1, f.series, at, fault, attribution FROM series CROSS JOIN rollup_fault f
                                ON step = ?1 AND f.series = series.id AND at < ?2 LIMIT ?3)",
                    )?
                    .execute(span)?,
                );
            }
            Ok(limit - left)
        })?;
        if deleted > 0 {
            // Each step of the statement frees one page.
            self.run(|c| {
                let mut vacuum = c.prepare(&format!("PRAGMA incremental_vacuum({limit})"))?;
                let mut pages = vacuum.query([])?;
                while pages.next()?.is_some() {}
                Ok(())
            })?;
        }
        Ok(deleted)
    }

    /// Writes the rollups of all samples before they are deleted.
    fn sum_up_to(&self, horizon: Timestamp) -> Result<(), StoreError> {
        let unsummed = self.run(|c| {
            c.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM block
                    WHERE last_seq > (SELECT seq FROM summed) AND began_from < ?1)",
            )?
            .query_row([horizon.0], |r| r.get::<_, bool>(0))
        })?;
        while unsummed && self.write_sums(true)? {}
        Ok(())
    }
}
