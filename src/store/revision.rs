//! Revises the attribution of stored samples, and of the rollups that count them.

use std::borrow::Cow;

use rusqlite::{Connection, Transaction};

use super::blocks::{self, Recorded};
use super::rollups::Revised;
use super::sample_rows::{SampleReader, SampleWriter};
use super::{SharedState, rollups};
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
            *sample = Cow::Owned(after);
        }
    }
    let mut in_memory = Vec::new();
    for (seq, series, before) in stored(tx, shared, revision)? {
        writer.replace(seq, &revision.revise(&before))?;
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
