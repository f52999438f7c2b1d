//! Reads and writes rollups. They are written for many samples at once, together with the number of
//! the last one, so they stay exact across a crash. Sums that are not written yet are added while
//! reading.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Rows, Transaction, params};

use super::sample_rows::named;
use super::{SharedState, Store, StoreError};
use llmwatch_core::model::{Attribution, EndpointName, Fault, Timestamp};
use llmwatch_core::report::rollup::{Resolution, Rollup, Sketch, StageSums, floor};

/// Selects rollups.
#[derive(Debug, Clone, Copy)]
pub struct RollupQuery<'a> {
    /// Of this length.
    pub resolution: Resolution,
    /// Of this endpoint; `None` for all.
    pub endpoint: Option<&'a str>,
    /// Recorded at this location; `None` for all.
    pub location: Option<&'a str>,
    /// Beginning at or after this moment.
    pub since: Timestamp,
    /// Beginning before this moment.
    pub until: Timestamp,
    /// Whether to read faults and latency sketches; without them a query is several times faster.
    pub detail: bool,
}

impl Store {
    /// Calls `each` with every rollup of `query`, ordered by endpoint, then by model and location,
    /// then by time. Rows are read one by one, so memory use does not depend on the length of the
    /// period.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn each_rollup(
        &self,
        query: RollupQuery<'_>,
        mut each: impl FnMut(&str, Rollup),
    ) -> Result<(), StoreError> {
        self.reading(|c, pending| each_rollup(c, pending, query, &mut each))
    }

    /// Returns the rollups of `query`, by endpoint and in order of time. Rollups of several models
    /// or locations of an endpoint for one period are merged.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn rollups(
        &self,
        query: RollupQuery<'_>,
    ) -> Result<BTreeMap<EndpointName, Vec<Rollup>>, StoreError> {
        let mut found: BTreeMap<EndpointName, Vec<Rollup>> = BTreeMap::new();
        self.each_rollup(query, |endpoint, rollup| {
            if let Some(all) = found.get_mut(endpoint) {
                all.push(rollup);
            } else {
                found.insert(endpoint.into(), vec![rollup]);
            }
        })?;
        for all in found.values_mut() {
            if !all.is_sorted_by(|a, b| a.at < b.at) {
                all.sort_by_key(|r| r.at);
                *all = joined(std::mem::take(all), query.resolution.length());
            }
        }
        Ok(found)
    }

    /// Returns one rollup per endpoint over `since` to `until`, for one location or for all, with
    /// faults and latencies. The edges are rounded to five minutes, or to hours where five-minute
    /// rollups have expired.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn sums(
        &self,
        since: Timestamp,
        until: Timestamp,
        location: Option<&str>,
    ) -> Result<BTreeMap<EndpointName, Rollup>, StoreError> {
        let mut sums: BTreeMap<EndpointName, Rollup> = BTreeMap::new();
        self.reading(|c, pending| {
            for (resolution, from, to) in pieces(since, until) {
                let query = RollupQuery {
                    resolution,
                    endpoint: None,
                    location,
                    since: from,
                    until: to,
                    detail: true,
                };
                each_rollup(c, pending, query, &mut |endpoint, rollup| {
                    if let Some(sum) = sums.get_mut(endpoint) {
                        sum.merge(&rollup);
                    } else {
                        sums.insert(endpoint.into(), rollup);
                    }
                })?;
            }
            Ok(())
        })?;
        Ok(sums)
    }

    /// Returns the rollups of `endpoint` from `since` to `until`, for one location or for all, in
    /// steps of `step` (a multiple of five minutes), with faults and latencies. Steps without a
    /// probe are omitted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn series(
        &self,
        endpoint: &str,
        location: Option<&str>,
        since: Timestamp,
        until: Timestamp,
        step: Duration,
    ) -> Result<Vec<Rollup>, StoreError> {
        let resolution = Resolution::for_step(step);
        let query = RollupQuery {
            resolution,
            endpoint: Some(endpoint),
            location,
            since: floor(since, step),
            until,
            detail: true,
        };
        let fine = self.rollups(query)?.remove(endpoint).unwrap_or_default();
        Ok(if resolution.length() == step {
            fine
        } else {
            joined(fine, step)
        })
    }

    /// Returns every location that ever recorded samples.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn known_locations(&self) -> Result<Vec<String>, StoreError> {
        self.run(|c| {
            c.prepare_cached("SELECT DISTINCT location FROM series ORDER BY location")?
                .query_map([], |r| r.get(0))?
                .collect()
        })
    }

    /// Returns every endpoint that ever had samples.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn known_endpoints(&self) -> Result<Vec<EndpointName>, StoreError> {
        self.run(|c| {
            c.prepare_cached("SELECT DISTINCT endpoint FROM series ORDER BY endpoint")?
                .query_map([], |r| Ok(r.get::<_, String>(0)?.into()))?
                .collect()
        })
    }
}

/// Splits the period from `since` to `until` into full days, full hours beside them, and five
/// minutes at the edges, so that few rows are read however long it is.
fn pieces(since: Timestamp, until: Timestamp) -> Vec<(Resolution, Timestamp, Timestamp)> {
    let mut pieces = Vec::new();
    let mut from = Resolution::FiveMinutes.begin(since);
    let mut to = until;
    for (fine, coarse) in [
        (Resolution::FiveMinutes, Resolution::Hour),
        (Resolution::Hour, Resolution::Day),
    ] {
        let first = coarse.end(from).min(to);
        let last = coarse.begin(to).max(first);
        pieces.push((fine, from, first));
        pieces.push((fine, last, to));
        (from, to) = (first, last);
    }
    pieces.push((Resolution::Day, from, to));
    pieces.retain(|(_, from, to)| from < to);
    pieces
}

fn each_rollup(
    c: &Connection,
    pending: &SharedState,
    query: RollupQuery<'_>,
    each: &mut impl FnMut(&str, Rollup),
) -> rusqlite::Result<()> {
    // One statement for both cases could not use the index on the endpoint.
    let mut series = c.prepare_cached(match query.endpoint {
        Some(_) => {
            "SELECT id, endpoint FROM series WHERE endpoint = ?1 AND (?2 IS NULL OR location = ?2)
             ORDER BY id"
        }
        None => {
            "SELECT id, endpoint FROM series WHERE ?1 IS NULL AND (?2 IS NULL OR location = ?2)
             ORDER BY endpoint, id"
        }
    })?;
    let mut series = series.query(params![query.endpoint, query.location])?;
    while let Some(row) = series.next()? {
        let (id, endpoint): (i64, String) = (row.get(0)?, row.get(1)?);
        let RollupQuery {
            resolution,
            since,
            until,
            ..
        } = query;
        let held = pending.lock().rollups(id, resolution, since, until);
        let mut held = held.into_iter().peekable();
        each_stored(c, id, query, |mut stored| {
            while let Some(earlier) = held.next_if(|h| h.at < stored.at) {
                each(&endpoint, earlier);
            }
            if let Some(same) = held.next_if(|h| h.at == stored.at) {
                stored.merge(&same);
            }
            each(&endpoint, stored);
        })?;
        held.for_each(|later| each(&endpoint, later));
    }
    Ok(())
}

/// Calls `each` with the rollups of one series in the file, in order of time.
fn each_stored(
    c: &Connection,
    series: i64,
    query: RollupQuery<'_>,
    mut each: impl FnMut(Rollup),
) -> rusqlite::Result<()> {
    let step = query.resolution.length().as_secs().cast_signed();
    let span = params![step, series, query.since.0, query.until.0];
    if !query.detail {
        let mut rows = c.prepare_cached(
            "SELECT at, ok, slow, failed_provider, failed_account, failed_local, input_tokens, output_tokens, cost_usd,
                dns_us, tcp_us, tls_us, headers_us FROM rollup
             WHERE step = ?1 AND series = ?2 AND at >= ?3 AND at < ?4 ORDER BY at",
        )?;
        let mut rows = rows.query(span)?;
        while let Some(row) = rows.next()? {
            each(read(row, false)?);
        }
        return Ok(());
    }
    let mut rows = c.prepare_cached(
        "SELECT at, ok, slow, failed_provider, failed_account, failed_local, input_tokens, output_tokens, cost_usd,
            dns_us, tcp_us, tls_us, headers_us, first_token, total FROM rollup
         WHERE step = ?1 AND series = ?2 AND at >= ?3 AND at < ?4 ORDER BY at",
    )?;
    let mut faults = c.prepare_cached(
        "SELECT at, fault, attribution, count FROM rollup_fault
         WHERE step = ?1 AND series = ?2 AND at >= ?3 AND at < ?4 ORDER BY at",
    )?;
    let mut rows = rows.query(span)?;
    let mut faults = faults.query(span)?;
    let mut fault = next_fault(&mut faults)?;
    while let Some(row) = rows.next()? {
        let mut rollup = read(row, true)?;
        // Both are sorted by time.
        while let Some((at, key, count)) = fault.filter(|(at, ..)| *at <= rollup.at) {
            if at == rollup.at {
                rollup.faults.insert(key, count);
            }
            fault = next_fault(&mut faults)?;
        }
        each(rollup);
    }
    Ok(())
}

type FaultRow = (Timestamp, (Fault, Attribution), u32);

fn next_fault(rows: &mut Rows<'_>) -> rusqlite::Result<Option<FaultRow>> {
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let key = (named(row, "fault")?, named(row, "attribution")?);
    Ok(Some((Timestamp(row.get(0)?), key, row.get(3)?)))
}

/// Merges `rollups`, sorted by time, into steps of `step`.
fn joined(rollups: Vec<Rollup>, step: Duration) -> Vec<Rollup> {
    let mut steps: Vec<Rollup> = Vec::new();
    for rollup in rollups {
        let at = floor(rollup.at, step);
        match steps.last_mut().filter(|last| last.at == at) {
            Some(last) => last.merge(&rollup),
            None => steps.push(Rollup { at, ..rollup }),
        }
    }
    steps
}

/// Adds a rollup to the one in the file for the same period.
pub(super) fn add(
    tx: &Transaction<'_>,
    resolution: Resolution,
    series: i64,
    added: &Rollup,
) -> rusqlite::Result<()> {
    let step = resolution.length().as_secs().cast_signed();
    let before = tx
        .prepare_cached(
            "SELECT at, ok, slow, failed_provider, failed_account, failed_local, input_tokens, output_tokens,
                cost_usd, dns_us, tcp_us, tls_us, headers_us, first_token, total FROM rollup
             WHERE step = ?1 AND series = ?2 AND at = ?3",
        )?
        .query_row(params![step, series, added.at.0], |r| read(r, true))
        .optional()?;
    let merged;
    let sum = match before {
        None => added,
        Some(mut before) => {
            before.merge(added);
            merged = before;
            &merged
        }
    };
    tx.prepare_cached(
        "INSERT OR REPLACE INTO rollup VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
            ?16, ?17)",
    )?
    .execute(params![
        step,
        series,
        sum.at.0,
        sum.ok,
        sum.slow,
        sum.failed_provider,
        sum.failed_account,
        sum.failed_local,
        sum.input_tokens.cast_signed(),
        sum.output_tokens.cast_signed(),
        sum.cost_usd,
        sum.stages.dns_us.cast_signed(),
        sum.stages.tcp_us.cast_signed(),
        sum.stages.tls_us.cast_signed(),
        sum.stages.headers_us.cast_signed(),
        sum.first_token.to_bytes(),
        sum.total.to_bytes(),
    ])?;
    for ((fault, attribution), count) in &added.faults {
        tx.prepare_cached(
            "INSERT INTO rollup_fault VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET count = count + excluded.count",
        )?
        .execute(params![
            step,
            series,
            added.at.0,
            fault.as_str(),
            Attribution::as_str(*attribution),
            count
        ])?;
    }
    Ok(())
}

/// A stored sample with a revised attribution.
#[derive(Debug)]
pub(super) struct Revised {
    pub(super) series: i64,
    pub(super) started_at: Timestamp,
    pub(super) fault: Fault,
    pub(super) was: Attribution,
    pub(super) now: Attribution,
}

/// Moves a failed probe from one attribution to another in the rollup of the file for its period.
pub(super) fn reattribute(
    tx: &Transaction<'_>,
    resolution: Resolution,
    revised: &Revised,
) -> rusqlite::Result<()> {
    let step = resolution.length().as_secs().cast_signed();
    let at = resolution.begin(revised.started_at).0;
    let from = failures_of(revised.was);
    let to = failures_of(revised.now);
    tx.prepare_cached(&format!(
        "UPDATE rollup SET {from} = max({from} - 1, 0), {to} = {to} + 1 WHERE step = ?1 AND series = ?2 AND at = ?3"
    ))?
    .execute(params![step, revised.series, at])?;
    let fault = revised.fault.as_str();
    let was = Attribution::as_str(revised.was);
    let now = Attribution::as_str(revised.now);
    tx.prepare_cached(
        "UPDATE rollup_fault SET count = count - 1
         WHERE step = ?1 AND series = ?2 AND at = ?3 AND fault = ?4 AND attribution = ?5",
    )?
    .execute(params![step, revised.series, at, fault, was])?;
    tx.prepare_cached(
        "DELETE FROM rollup_fault
         WHERE step = ?1 AND series = ?2 AND at = ?3 AND fault = ?4 AND attribution = ?5 AND count <= 0",
    )?
    .execute(params![step, revised.series, at, fault, was])?;
    tx.prepare_cached(
        "INSERT INTO rollup_fault VALUES (?1, ?2, ?3, ?4, ?5, 1)
         ON CONFLICT DO UPDATE SET count = count + 1",
    )?
    .execute(params![step, revised.series, at, fault, now])
    .map(drop)
}

/// The column that counts the failures of an attribution.
fn failures_of(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::Provider => "failed_provider",
        Attribution::Account => "failed_account",
        Attribution::Local => "failed_local",
    }
}

fn read(row: &Row<'_>, detail: bool) -> rusqlite::Result<Rollup> {
    let mut rollup = Rollup {
        at: Timestamp(row.get(0)?),
        ok: row.get(1)?,
        slow: row.get(2)?,
        failed_provider: row.get(3)?,
        failed_account: row.get(4)?,
        failed_local: row.get(5)?,
        input_tokens: count(row, 6)?,
        output_tokens: count(row, 7)?,
        cost_usd: row.get(8)?,
        stages: StageSums {
            dns_us: count(row, 9)?,
            tcp_us: count(row, 10)?,
            tls_us: count(row, 11)?,
            headers_us: count(row, 12)?,
        },
        ..Rollup::default()
    };
    if detail {
        rollup.first_token = sketch(row, 13)?;
        rollup.total = sketch(row, 14)?;
    }
    Ok(rollup)
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

/// Reads a sketch. An unreadable one is ignored: the counts are still valid.
fn sketch(row: &Row<'_>, column: usize) -> rusqlite::Result<Sketch> {
    let bytes = row.get_ref(column)?.as_blob().unwrap_or_default();
    Ok(Sketch::from_bytes(bytes).unwrap_or_default())
}
