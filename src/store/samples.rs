//! Queries for samples.

use rusqlite::{Connection, params};

use super::blocks;
use super::sample_rows::{SampleReader, outcome_code};
use super::{Store, StoreError};
use llmwatch_core::model::{Outcome, Sample, Timestamp};

/// Selects samples.
#[derive(Debug, Clone, Copy, Default)]
pub struct SampleQuery {
    /// Recorded after the sample with this number.
    pub after_seq: i64,
    /// Recorded at the latest as the sample with this number; `None` for all.
    pub through_seq: Option<i64>,
    /// Begun at or after this moment.
    pub since: Option<Timestamp>,
    /// Begun before this moment.
    pub until: Option<Timestamp>,
}

/// A page of one endpoint's samples, newest first.
#[derive(Debug, Clone, Copy)]
pub struct SamplePage<'a> {
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// Only from this location; `None` for all.
    pub location: Option<&'a str>,
    /// Recorded before the sample with this number; `None` begins with the newest.
    pub before_seq: Option<i64>,
    /// Begun at or after this moment.
    pub since: Option<Timestamp>,
    /// Begun before this moment.
    pub until: Option<Timestamp>,
    /// Only with this outcome.
    pub outcome: Option<Outcome>,
    /// The maximum number of samples.
    pub limit: u32,
}

impl SamplePage<'_> {
    fn includes(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }
}

impl Store {
    /// Returns the samples of `page` with their numbers.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn samples(&self, page: SamplePage<'_>) -> Result<Vec<(i64, Sample)>, StoreError> {
        if page.limit == 0 {
            return Ok(Vec::new());
        }
        self.reading(|c, pending| {
            let mut reader = SampleReader::default();
            let mut found = Vec::new();
            let before = page.before_seq.unwrap_or(i64::MAX);
            for series in series_from(c, page.endpoint, page.location)? {
                let mut left = page.limit;
                let mut take = |seq: i64| {
                    let Some(sample) = reader.at(c, seq)? else {
                        return Ok(true);
                    };
                    let wanted = page.outcome.is_none_or(|o| sample.outcome == o);
                    if wanted && page.includes(sample.started_at) {
                        found.push((seq, sample));
                        left -= 1;
                    }
                    Ok(left > 0)
                };
                match page.outcome {
                    Some(bad) if bad != Outcome::Ok => {
                        each_bad(c, series, bad, before, &mut take)?;
                    }
                    _ => {
                        let span = (page.since, page.until);
                        blocks::each_of_series(c, pending, series, before, span, &mut take)?;
                    }
                }
            }
            found.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
            found.truncate(page.limit as usize);
            Ok(found)
        })
    }

    /// Returns the last samples of `endpoint` that were not ok, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_bad(&self, endpoint: &str, limit: u32) -> Result<Vec<Sample>, StoreError> {
        let mut found = Vec::new();
        for outcome in [Outcome::Slow, Outcome::Failed] {
            found.extend(self.samples(SamplePage {
                endpoint,
                location: None,
                before_seq: None,
                since: None,
                until: None,
                outcome: Some(outcome),
                limit,
            })?);
        }
        found.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        found.truncate(limit as usize);
        Ok(found.into_iter().map(|(_, sample)| sample).collect())
    }

    /// Calls `each` with every sample of `query` and its number, in the order of recording. Rows
    /// are read one by one: the full history is never in memory.
    ///
    /// # Errors
    /// When the store cannot be read, or when `each` fails.
    pub fn each_sample<E: From<StoreError>>(
        &self,
        query: SampleQuery,
        mut each: impl FnMut(i64, Sample) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut stopped = None;
        self.run(|c| {
            let mut reader = SampleReader::default();
            let span = (query.since, query.until);
            let through = query.through_seq.unwrap_or(i64::MAX);
            for (first, last) in blocks::ranges(c, query.after_seq, span)? {
                let mut rows = c.prepare_cached(
                    "SELECT * FROM sample WHERE seq BETWEEN ?1 AND ?2
                     AND started_at >= ?3 AND started_at < ?4 ORDER BY seq",
                )?;
                let since = query.since.map_or(i64::MIN, |t| t.0);
                let until = query.until.map_or(i64::MAX, |t| t.0);
                let mut rows = rows.query(params![first, last.min(through), since, until])?;
                while let Some(row) = rows.next()? {
                    let (seq, sample) = reader.read(c, row)?;
                    if let Err(error) = each(seq, sample) {
                        stopped = Some(error);
                        return Ok(());
                    }
                }
            }
            Ok(())
        })?;
        stopped.map_or(Ok(()), Err)
    }
}

/// Calls `take` with the numbers of a series' samples with `outcome`, newest first, until it
/// returns false.
fn each_bad(
    c: &Connection,
    series: i64,
    outcome: Outcome,
    before: i64,
    take: &mut impl FnMut(i64) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let mut rows = c.prepare_cached(
        "SELECT seq FROM sample WHERE series = ?1 AND outcome = ?2 AND outcome <> 0 AND seq < ?3
         ORDER BY seq DESC",
    )?;
    let mut rows = rows.query(params![series, outcome_code(outcome), before])?;
    while let Some(row) = rows.next()? {
        if !take(row.get(0)?)? {
            break;
        }
    }
    Ok(())
}

/// Returns the IDs of the series of one endpoint, from one location or from all.
fn series_from(
    c: &Connection,
    endpoint: &str,
    location: Option<&str>,
) -> rusqlite::Result<Vec<i64>> {
    c.prepare_cached(
        "SELECT id FROM series WHERE endpoint = ?1 AND (?2 IS NULL OR location = ?2) ORDER BY id",
    )?
    .query_map(params![endpoint, location], |r| r.get(0))?
    .collect()
}
