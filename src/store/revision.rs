//! Revises the attribution of stored samples, and of the rollups that count them.

use std::borrow::Cow;

use rusqlite::{Connection, Transaction};

use super::blocks::{self, Recorded};
use super::rollups::Revised;
use super::sample_rows::{SampleReader, SampleWriter};
use super::{SharedState, Store, StoreError, rollups};
use llmwatch_core::model::{AttributionRevision, Sample};
use llmwatch_core::report::rollup::Resolution;

/// A sample that began so much earlier than wanted ends the search: samples are stored in the order
/// in which they end, so they are nearly in the order in which they began.
const SEARCH_BEFORE_MS: i64 = 600_000;

/// Revises the samples that `revision` covers, those `recorded` in this transaction included.
/// Returns those whose sums are in memory.
pub(super) fn apply(
    tx: &Transaction<'_>,
    shared: &SharedState,
    writer: &mut SampleWriter<'_>,
    recorded: &mut [Recorded<'_>],
    revision: &AttributionRevision,
) -> rusqlite::Result<Vec<Revised>> {
    for (seq, _, sample) in recorded {
        if revision.covers(sample) {
            let after = revision.revise(sample);
            writer.replace(*seq, &after)?;
            note(tx, *seq)?;
            *sample = Cow::Owned(after);
        }
    }
    let mut in_memory = Vec::new();
    for (seq, series, before) in stored(tx, shared, revision)? {
        writer.replace(seq, &revision.revise(&before))?;
        note(tx, seq)?;
        let revised = Revised {
            series,
            started_at: before.started_at,
            fault: revision.fault,
            was: revision.was,
            now: revision.now,
        };
        if shared.lock().holds(series, seq) {
            in_memory.push(revised);
        } else {
            for resolution in Resolution::ALL {
                rollups::reattribute(tx, resolution, &revised)?;
            }
        }
    }
    Ok(in_memory)
}

/// Notes that the sample with the number `seq` was revised, for the shared store.
fn note(tx: &Transaction<'_>, seq: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT INTO revised_sample (seq) VALUES (?1)")?
        .execute([seq])
        .map(drop)
}

/// Revised samples that the shared store may still have as they were.
#[derive(Debug, Default)]
pub struct RevisedSamples {
    /// The samples as they are now.
    pub samples: Vec<Sample>,
    /// The number of the last note that was read.
    last: i64,
}

impl Store {
    /// Returns at most `limit` revised samples, in the order of their revision.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn revised_samples(&self, limit: u32) -> Result<RevisedSamples, StoreError> {
        self.run(|c| {
            let mut revised = RevisedSamples::default();
            let mut reader = SampleReader::default();
            let mut notes =
                c.prepare_cached("SELECT id, seq FROM revised_sample ORDER BY id LIMIT ?1")?;
            let mut notes = notes.query([limit])?;
            while let Some(note) = notes.next()? {
                revised.last = note.get(0)?;
                revised.samples.extend(reader.at(c, note.get(1)?)?);
            }
            Ok(revised)
        })
    }

    /// Forgets that these samples were revised, since the shared store has them.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget_revised(&self, revised: &RevisedSamples) -> Result<(), StoreError> {
        if revised.last == 0 {
            return Ok(());
        }
        self.transaction(|tx| {
            tx.prepare_cached("DELETE FROM revised_sample WHERE id <= ?1")?
                .execute([revised.last])
                .map(drop)
        })
    }
}

/// Returns the samples of earlier transactions that `revision` covers: number, series and sample.
fn stored(
    c: &Connection,
    shared: &SharedState,
    revision: &AttributionRevision,
) -> rusqlite::Result<Vec<(i64, i64, Sample)>> {
    let mut found = Vec::new();
    let mut reader = SampleReader::default();
    let mut all =
        c.prepare_cached("SELECT id FROM series WHERE endpoint = ?1 AND location = ?2")?;
    let mut all = all.query([revision.endpoint.as_str(), revision.location.as_str()])?;
    let since = revision.from.0 - SEARCH_BEFORE_MS;
    while let Some(row) = all.next()? {
        let series = row.get(0)?;
        let mut take = |seq| -> rusqlite::Result<bool> {
            let Some(sample) = reader.at(c, seq)? else {
                return Ok(true);
            };
            let is_in_reach = sample.started_at.0 >= since;
            if revision.covers(&sample) {
                found.push((seq, series, sample));
            }
            Ok(is_in_reach)
        };
        blocks::each_of_series(
            c,
            shared,
            series,
            i64::MAX,
            (Some(revision.from), None),
            &mut take,
        )?;
    }
    Ok(found)
}
