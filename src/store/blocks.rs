//! The blocks that index the samples, and the per-series sums that are not in the file yet.
//!
//! A sample is one row at the end of its table. The data kept per series (its rollups, and the
//! numbers of its samples) would change a random page of the file for each sample. So it is held in
//! memory and written for many samples of a series at once. The file records up to which sample
//! that has happened. A process that opens it, after a crash or beside the daemon, adds the samples
//! after that.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::rollups::{self, Revised};
use super::sample_rows::SampleReader;
use llmwatch_core::model::{Sample, Timestamp};
use llmwatch_core::report::rollup::{Resolution, Rollup};

/// A block is complete when it holds this many samples, or when they span [`BLOCK_LENGTH`].
const BLOCK_SAMPLES: u32 = 4096;
const BLOCK_LENGTH: Duration = Duration::from_mins(10);

/// The sums of a series are written at the latest after this.
const WRITE_AFTER: Duration = Duration::from_mins(30);
/// With more samples than this in memory, sums are written early: a start after a crash must reread
/// them.
const MAX_SAMPLES: usize = 200_000;
/// The maximum number of series written in one transaction.
const SERIES_AT_ONCE: usize = 64;

/// A recorded sample: its number, its series and the sample.
pub(super) type Recorded<'a> = (i64, i64, Cow<'a, Sample>);

/// A run of samples, and the range of their start times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first_seq: i64,
    last_seq: i64,
    from: Timestamp,
    until: Timestamp,
    samples: u32,
}

impl Span {
    fn one(seq: i64, at: Timestamp) -> Self {
        Self {
            first_seq: seq,
            last_seq: seq,
            from: at,
            until: at,
            samples: 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.first_seq = self.first_seq.min(other.first_seq);
        self.last_seq = self.last_seq.max(other.last_seq);
        self.from = self.from.min(other.from);
        self.until = self.until.max(other.until);
        self.samples += other.samples;
    }

    fn is_complete(&self) -> bool {
        let length_ms = self.until.since_ms(self.from).unsigned_abs();
        self.samples >= BLOCK_SAMPLES || u128::from(length_ms) >= BLOCK_LENGTH.as_millis()
    }
}

/// The samples of one series that its rollups and blocks in the file do not include yet.
#[derive(Debug)]
pub(super) struct UnsummedSeries {
    span: Span,
    seqs: Vec<i64>,
    /// Sorted. There are about ten at most, so a tree would waste memory.
    rollups: Vec<(Resolution, Rollup)>,
    since: Instant,
}

impl UnsummedSeries {
    fn new(seq: i64, sample: &Sample, now: Instant) -> Self {
        let mut series = Self {
            span: Span::one(seq, sample.started_at),
            seqs: Vec::new(),
            rollups: Vec::new(),
            since: now,
        };
        series.sum(seq, sample);
        series
    }

    fn sum(&mut self, seq: i64, sample: &Sample) {
        self.seqs.push(seq);
        for resolution in Resolution::ALL {
            let at = resolution.begin(sample.started_at);
            self.rollup(resolution, Rollup::beginning(at)).add(sample);
        }
    }

    /// Returns the rollup of the period of `empty`, inserting `empty` if there is none.
    fn rollup(&mut self, resolution: Resolution, empty: Rollup) -> &mut Rollup {
        let key = (resolution, empty.at);
        let at = match self.rollups.binary_search_by_key(&key, Self::key) {
            Ok(at) => at,
            Err(at) => {
                self.rollups.insert(at, (resolution, empty));
                at
            }
        };
        &mut self.rollups[at].1
    }

    fn key((resolution, rollup): &(Resolution, Rollup)) -> (Resolution, Timestamp) {
        (*resolution, rollup.at)
    }

    fn merge(&mut self, other: Self) {
        self.span.add(other.span);
        self.seqs.extend(other.seqs);
        self.seqs.sort_unstable();
        self.since = self.since.min(other.since);
        for (resolution, rollup) in other.rollups {
            self.rollup(resolution, Rollup::beginning(rollup.at))
                .merge(&rollup);
        }
    }

    fn reattribute(&mut self, revised: &Revised) {
        for resolution in Resolution::ALL {
            let at = resolution.begin(revised.started_at);
            self.rollup(resolution, Rollup::beginning(at)).reattribute(
                revised.fault,
                revised.was,
                revised.now,
            );
        }
    }

    /// Writes the rollups and the block.
    pub(super) fn write(&self, tx: &Transaction<'_>, series: i64) -> rusqlite::Result<()> {
        for (resolution, rollup) in &self.rollups {
            rollups::add(tx, *resolution, series, rollup)?;
        }
        write_series_block(tx, series, self.span, &self.seqs)
    }
}

/// The sums over samples in the file that the file does not hold yet.
#[derive(Debug, Default)]
pub(super) struct Unsummed {
    series: BTreeMap<i64, UnsummedSeries>,
    samples: usize,
    /// The samples after the last block.
    block: Option<Span>,
    /// The range of sample numbers, present when the file was opened, that are not summed yet.
    unread: Option<(i64, i64)>,
}

impl Unsummed {
    /// Initializes from a file that was just opened. This is quick; it defers summing.
    pub(super) fn of_file(c: &Connection) -> rusqlite::Result<Self> {
        let summed = summed(c)?;
        let last = last_seq(c)?;
        let block = c
            .prepare(
                "SELECT min(seq), max(seq), min(started_at), max(started_at), count(*) FROM sample
                 WHERE seq > (SELECT coalesce(max(last_seq), 0) FROM block)",
            )?
            .query_row([], |r| {
                Ok(match r.get::<_, Option<i64>>(0)? {
                    None => None,
                    Some(first_seq) => Some(Span {
                        first_seq,
                        last_seq: r.get(1)?,
                        from: Timestamp(r.get(2)?),
                        until: Timestamp(r.get(3)?),
                        samples: r.get(4)?,
                    }),
                })
            })?;
        Ok(Self {
            unread: (last > summed).then_some((summed, last)),
            block,
            ..Self::default()
        })
    }

    /// Computes all missing sums from the last samples of the file.
    pub(super) fn read(c: &Connection) -> rusqlite::Result<Self> {
        let mut pending = Self::default();
        pending.read_between(c, summed(c)?, i64::MAX)?;
        Ok(pending)
    }

    /// Returns the range of samples from before the start that are not summed yet.
    pub(super) fn unread(&self) -> Option<(i64, i64)> {
        self.unread
    }

    /// Adds the samples after `after` up to `last` that the rollups of their series do not include.
    fn read_between(&mut self, c: &Connection, after: i64, last: i64) -> rusqlite::Result<()> {
        let mut marks: BTreeMap<i64, i64> = BTreeMap::new();
        let mut reader = SampleReader::default();
        let mut rows =
            c.prepare_cached("SELECT * FROM sample WHERE seq > ?1 AND seq <= ?2 ORDER BY seq")?;
        let mut rows = rows.query([after, last])?;
        let now = Instant::now();
        while let Some(row) = rows.next()? {
            let series: i64 = row.get(2)?;
            let mark = match marks.get(&series) {
                Some(mark) => *mark,
                None => *marks.entry(series).or_insert(mark_of(c, series)?),
            };
            let (seq, sample) = reader.read(c, row)?;
            if seq > mark {
                self.sum(seq, series, &sample, now);
            }
        }
        Ok(())
    }

    /// Merges the sums of the samples from before the start.
    pub(super) fn catch_up(&mut self, before: Self) {
        self.unread = None;
        self.put_back(before.series);
    }

    fn sum(&mut self, seq: i64, series: i64, sample: &Sample, now: Instant) {
        self.samples += 1;
        match self.series.get_mut(&series) {
            Some(known) => {
                known.span.add(Span::one(seq, sample.started_at));
                known.sum(seq, sample);
            }
            None => drop(
                self.series
                    .insert(series, UnsummedSeries::new(seq, sample, now)),
            ),
        }
    }

    /// Returns the newest block extended by the `recorded` samples: number, series and sample of
    /// each.
    pub(super) fn block_with(&self, recorded: &[Recorded<'_>]) -> NewestBlock {
        let mut block = self.block;
        for (seq, _, sample) in recorded {
            let one = Span::one(*seq, sample.started_at);
            match &mut block {
                Some(block) => block.add(one),
                None => block = Some(one),
            }
        }
        NewestBlock(block)
    }

    /// Adds recorded samples to the sums.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the block is newest only once"
    )]
    pub(super) fn add(&mut self, recorded: &[Recorded<'_>], block: NewestBlock) {
        let now = Instant::now();
        for (seq, series, sample) in recorded {
            self.sum(*seq, *series, sample, now);
        }
        self.block = block.0.filter(|block| !block.is_complete());
    }

    /// Reports whether the file does not hold the sums of a sample of a series yet.
    pub(super) fn holds(&self, series: i64, seq: i64) -> bool {
        let series = self.series.get(&series);
        series.is_some_and(|s| s.seqs.binary_search(&seq).is_ok())
    }

    /// Moves stored samples from one attribution to another in the sums that it holds.
    pub(super) fn reattribute(&mut self, revised: &[Revised]) {
        for revised in revised {
            if let Some(series) = self.series.get_mut(&revised.series) {
                series.reattribute(revised);
            }
        }
    }

    /// Reports whether sums are due to be written.
    pub(super) fn is_due(&self) -> bool {
        self.samples > MAX_SAMPLES
            || self
                .series
                .values()
                .any(|s| s.since.elapsed() >= WRITE_AFTER)
    }

    /// Removes and returns the series to write now, those that have waited longest first.
    pub(super) fn take_due(&mut self, everything: bool) -> BTreeMap<i64, UnsummedSeries> {
        let mut due: Vec<(i64, i64)> = self
            .series
            .iter()
            .filter(|(_, s)| everything || s.since.elapsed() >= WRITE_AFTER)
            .map(|(series, s)| (s.span.first_seq, *series))
            .collect();
        if due.is_empty() && self.samples > MAX_SAMPLES {
            due = self
                .series
                .iter()
                .map(|(series, s)| (s.span.first_seq, *series))
                .collect();
        }
        due.sort_unstable();
        due.truncate(SERIES_AT_ONCE);
        let mut taken = BTreeMap::new();
        for (_, series) in due {
            if let Some(pending) = self.series.remove(&series) {
                self.samples -= pending.seqs.len();
                taken.insert(series, pending);
            }
        }
        taken
    }

    /// Puts back sums that could not be written.
    pub(super) fn put_back(&mut self, taken: BTreeMap<i64, UnsummedSeries>) {
        for (series, mut pending) in taken {
            self.samples += pending.seqs.len();
            if let Some(since) = self.series.remove(&series) {
                pending.merge(since);
            }
            self.series.insert(series, pending);
        }
    }

    /// Returns up to which sample the file holds all sums, given its `last` sample.
    pub(super) fn summed(&self, last: i64) -> i64 {
        let first = self.series.values().map(|s| s.span.first_seq).min();
        first.map_or(last, |first| first - 1)
    }

    /// Returns the numbers of the samples of a series that are in no block, newest first.
    fn seqs(&self, series: i64) -> Vec<i64> {
        let seqs = self.series.get(&series).map(|s| s.seqs.iter().rev());
        seqs.into_iter().flatten().copied().collect()
    }

    /// Returns the rollups to add to those of a series in the file.
    pub(super) fn rollups(
        &self,
        series: i64,
        resolution: Resolution,
        since: Timestamp,
        until: Timestamp,
    ) -> Vec<Rollup> {
        let Some(series) = self.series.get(&series) else {
            return Vec::new();
        };
        let wanted = series
            .rollups
            .iter()
            .filter(|r| r.0 == resolution && r.1.at >= since && r.1.at < until);
        wanted.map(|(_, rollup)| rollup.clone()).collect()
    }
}

/// Computes the missing sums of the samples in the range `unread`.
pub(super) fn read_unread(c: &Connection, unread: (i64, i64)) -> rusqlite::Result<Unsummed> {
    let mut pending = Unsummed::default();
    pending.read_between(c, unread.0, unread.1)?;
    Ok(pending)
}

/// The newest block after more samples were added.
pub(super) struct NewestBlock(Option<Span>);

impl NewestBlock {
    /// Writes the block if it is complete.
    pub(super) fn write(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        match self.0.filter(Span::is_complete) {
            Some(block) => write_block(tx, block),
            None => Ok(()),
        }
    }
}

fn write_block(tx: &Transaction<'_>, span: Span) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT INTO block VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            span.last_seq,
            span.first_seq,
            span.from.0,
            span.until.0
        ])
        .map(drop)
}

fn write_series_block(
    tx: &Transaction<'_>,
    series: i64,
    span: Span,
    seqs: &[i64],
) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT INTO series_block VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            series,
            span.last_seq,
            span.first_seq,
            span.from.0,
            span.until.0,
            steps(span.first_seq, seqs)
        ])
        .map(drop)
}

/// Encodes ascending numbers as variable-length differences, the first one from `first`.
fn steps(first: i64, seqs: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(seqs.len() * 2);
    let mut before = first;
    for seq in seqs {
        let mut step = seq.abs_diff(before);
        while step >= 0x80 {
            bytes.push((step & 0x7f) as u8 | 0x80);
            step >>= 7;
        }
        bytes.push(step as u8);
        before = *seq;
    }
    bytes
}

fn numbers(first: i64, steps: &[u8]) -> Vec<i64> {
    let mut seqs = Vec::new();
    let mut seq = first;
    let mut step = 0_i64;
    let mut shift = 0;
    for byte in steps {
        step |= i64::from(byte & 0x7f) << shift;
        shift = (shift + 7).min(56);
        if *byte < 0x80 {
            seq = seq.saturating_add(step);
            seqs.push(seq);
            (step, shift) = (0, 0);
        }
    }
    seqs
}

/// Returns the sample up to which rollups and blocks are complete.
fn summed(c: &Connection) -> rusqlite::Result<i64> {
    c.query_row("SELECT coalesce(max(seq), 0) FROM summed", [], |r| r.get(0))
}

/// Returns the number of the newest sample ever recorded.
pub(super) fn last_seq(c: &Connection) -> rusqlite::Result<i64> {
    c.prepare_cached(
        "SELECT max((SELECT coalesce(max(seq), 0) FROM sample), (SELECT coalesce(max(seq), 0) FROM summed),
            (SELECT coalesce(max(last_seq), 0) FROM block), (SELECT coalesce(max(seq), 0) FROM checkpoint))",
    )?
    .query_row([], |r| r.get(0))
}

/// Returns the sample up to which the rollups of a series are complete.
fn mark_of(c: &Connection, series: i64) -> rusqlite::Result<i64> {
    c.prepare_cached(
        "SELECT last_seq FROM series_block WHERE series = ?1 ORDER BY last_seq DESC LIMIT 1",
    )?
    .query_row([series], |r| r.get(0))
    .optional()
    .map(Option::unwrap_or_default)
}

/// Returns the ranges of numbers that hold all samples after `after` that may have begun in a time
/// span.
pub(super) fn ranges(
    c: &Connection,
    after: i64,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
) -> rusqlite::Result<Vec<(i64, i64)>> {
    if since.is_none() && until.is_none() {
        return Ok(vec![(after.saturating_add(1), i64::MAX)]);
    }
    let last_block: i64 = c.query_row("SELECT coalesce(max(last_seq), 0) FROM block", [], |r| {
        r.get(0)
    })?;
    let mut blocks = c.prepare_cached(
        "SELECT first_seq, last_seq FROM block
         WHERE last_seq > ?1 AND began_until >= ?2 AND began_from < ?3 ORDER BY last_seq",
    )?;
    let since = since.map_or(i64::MIN, |t| t.0);
    let until = until.map_or(i64::MAX, |t| t.0);
    let mut blocks = blocks.query(params![after, since, until])?;
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    while let Some(row) = blocks.next()? {
        let first = row.get::<_, i64>(0)?.max(after.saturating_add(1));
        let last = row.get(1)?;
        match ranges.last_mut() {
            Some(range) if range.1 + 1 == first => range.1 = last,
            _ => ranges.push((first, last)),
        }
    }
    ranges.push((last_block.max(after).saturating_add(1), i64::MAX));
    Ok(ranges)
}

/// Calls `take` with the numbers of a series' samples below `before`, newest first, until it
/// returns false. Skips blocks outside the time span.
pub(super) fn each_of_series(
    c: &Connection,
    pending: &super::SharedState,
    series: i64,
    before: i64,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    take: &mut impl FnMut(i64) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let newest = pending.lock().seqs(series);
    for seq in newest.into_iter().filter(|seq| *seq < before) {
        if !take(seq)? {
            return Ok(());
        }
    }
    let mut blocks = c.prepare_cached(
        "SELECT first_seq, steps FROM series_block
         WHERE series = ?1 AND first_seq < ?2 AND began_until >= ?3 AND began_from < ?4 ORDER BY last_seq DESC",
    )?;
    let since = since.map_or(i64::MIN, |t| t.0);
    let until = until.map_or(i64::MAX, |t| t.0);
    let mut blocks = blocks.query(params![series, before, since, until])?;
    while let Some(row) = blocks.next()? {
        let seqs = numbers(row.get(0)?, row.get_ref(1)?.as_blob().unwrap_or_default());
        for seq in seqs.into_iter().rev().filter(|seq| *seq < before) {
            if !take(seq)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Rebuilds all blocks from the samples, all of which are in the rollups.
pub(super) fn rebuild(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    build(tx, |_, _| true)?;
    let last = last_seq(tx)?;
    tx.execute("INSERT OR REPLACE INTO summed VALUES (1, ?1)", [last])
        .map(drop)
}

/// Rebuilds the blocks from the samples that were rescued from a damaged file. Those that the
/// rescued rollups do not include yet are summed after the next start. If no rollup was rescued,
/// that is all.
pub(super) fn rebuild_rescued(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let is_empty: bool =
        tx.query_row("SELECT NOT EXISTS (SELECT 1 FROM rollup)", [], |r| r.get(0))?;
    if is_empty {
        tx.execute_batch("INSERT OR REPLACE INTO summed VALUES (1, 0); DELETE FROM series_block")?;
    } else {
        // Without the mark, count no sample twice rather than all of them.
        tx.execute(
            "INSERT OR IGNORE INTO summed VALUES (1, ?1)",
            [last_seq(tx)?],
        )?;
    }
    let summed = summed(tx)?;
    let marks: BTreeMap<i64, i64> = tx
        .prepare("SELECT series, max(last_seq) FROM series_block GROUP BY series")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    build(tx, |series, seq| {
        seq <= summed || marks.get(&series).is_some_and(|mark| seq <= *mark)
    })
}

/// Builds all blocks anew from the samples; those of a series from the samples that are `summed`.
fn build(tx: &Transaction<'_>, summed: impl Fn(i64, i64) -> bool) -> rusqlite::Result<()> {
    tx.execute_batch("DELETE FROM block; DELETE FROM series_block")?;
    let mut block: Option<Span> = None;
    let mut series: BTreeMap<i64, (Span, Vec<i64>)> = BTreeMap::new();
    let mut rows = tx.prepare("SELECT seq, series, started_at FROM sample ORDER BY seq")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let of = row.get(1)?;
        let at = Timestamp(row.get(2)?);
        let one = Span::one(seq, at);
        match &mut block {
            Some(block) => block.add(one),
            None => block = Some(one),
        }
        if let Some(complete) = block.take_if(|block| block.is_complete()) {
            write_block(tx, complete)?;
        }
        if !summed(of, seq) {
            continue;
        }
        let (span, seqs) = series
            .entry(of)
            .or_insert((Span { samples: 0, ..one }, Vec::new()));
        span.add(one);
        seqs.push(seq);
        if span.samples >= BLOCK_SAMPLES {
            write_series_block(tx, of, *span, seqs)?;
            series.remove(&of);
        }
    }
    if let Some(block) = block {
        write_block(tx, block)?;
    }
    for (of, (span, seqs)) in series {
        write_series_block(tx, of, span, &seqs)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_samples_come_back_from_their_steps() {
        for seqs in [
            vec![7],
            vec![1, 2, 3, 200, 100_000, 100_001],
            vec![5, 4_000_000_000, 4_000_000_001],
        ] {
            assert_eq!(numbers(seqs[0], &steps(seqs[0], &seqs)), seqs);
        }
    }
}
