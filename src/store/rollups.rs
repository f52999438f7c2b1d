//! Rollups in and out of their tables. They are written in the transaction of the samples that they sum up, so they
//! are exact whatever happens between two of them.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::samples::word;
use super::{Store, StoreError};
use crate::model::{Attribution, Sample, Timestamp};
use crate::rollup::{Resolution, Rollup, Sketch, StageSums, floor};

/// Which rollups.
#[derive(Debug, Clone, Copy)]
pub struct RollupQuery<'a> {
    /// Of this length.
    pub resolution: Resolution,
    /// Of this endpoint; `None` for all.
    pub endpoint: Option<&'a str>,
    /// Beginning at or after this moment.
    pub since: Timestamp,
    /// Beginning before this moment.
    pub until: Timestamp,
    /// Whether faults and latency sketches are wanted; without them a query is several times quicker.
    pub detail: bool,
}

impl Store {
    /// The rollups of `query`, per endpoint in order of time. What an endpoint's several models or locations recorded
    /// at one time is one rollup.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn rollups(
        &self,
        query: RollupQuery<'_>,
    ) -> Result<BTreeMap<String, Vec<Rollup>>, StoreError> {
        self.run(|c| {
            let step = query.resolution.length().as_secs();
            let mut found: BTreeMap<String, Vec<Rollup>> = BTreeMap::new();
            let mut of_series = c.prepare_cached(if query.detail {
                "SELECT at, ok, slow, failed_provider, failed_account, failed_local, input_tokens, output_tokens, cost_usd,
                    dns_us, tcp_us, tls_us, headers_us, first_token, total FROM rollup
                 WHERE step = ?1 AND series = ?2 AND at >= ?3 AND at < ?4 ORDER BY at"
            } else {
                "SELECT at, ok, slow, failed_provider, failed_account, failed_local, input_tokens, output_tokens, cost_usd,
                    dns_us, tcp_us, tls_us, headers_us FROM rollup
                 WHERE step = ?1 AND series = ?2 AND at >= ?3 AND at < ?4 ORDER BY at"
            })?;
            let mut faults = c.prepare_cached(
                "SELECT at, fault, attribution, count FROM rollup_fault
                 WHERE step = ?1 AND series = ?2 AND at >= ?3 AND at < ?4",
            )?;
            let mut series = c.prepare_cached("SELECT id, endpoint FROM series WHERE ?1 IS NULL OR endpoint = ?1")?;
            let mut series = series.query([query.endpoint])?;
            while let Some(row) = series.next()? {
                let (id, endpoint): (i64, String) = (row.get(0)?, row.get(1)?);
                let span = params![step.cast_signed(), id, query.since.0, query.until.0];
                let mut read_all: Vec<Rollup> =
                    of_series.query_map(span, |r| read(r, query.detail))?.collect::<Result<_, _>>()?;
                if query.detail {
                    let mut rows = faults.query(span)?;
                    while let Some(row) = rows.next()? {
                        let at = Timestamp(row.get("at")?);
                        if let Ok(place) = read_all.binary_search_by_key(&at, |r| r.at) {
                            let key = (word(row, "fault")?, word(row, "attribution")?);
                            read_all[place].faults.insert(key, row.get("count")?);
                        }
                    }
                }
                let all = found.entry(endpoint).or_default();
                if all.is_empty() {
                    *all = read_all;
                } else {
                    all.append(&mut read_all);
                    all.sort_by_key(|r| r.at);
                    *all = joined(std::mem::take(all), query.resolution.length());
                }
            }
            found.retain(|_, all| !all.is_empty());
            Ok(found)
        })
    }

    /// What `endpoint` did from `since` to `until` in steps of `step` (a multiple of five minutes), with faults and
    /// latencies. Steps without a probe are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn series(
        &self,
        endpoint: &str,
        since: Timestamp,
        until: Timestamp,
        step: Duration,
    ) -> Result<Vec<Rollup>, StoreError> {
        let resolution = Resolution::for_step(step);
        let query = RollupQuery {
            resolution,
            endpoint: Some(endpoint),
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

    /// Every endpoint that samples were ever recorded of.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn known_endpoints(&self) -> Result<Vec<String>, StoreError> {
        self.run(|c| {
            c.prepare_cached("SELECT DISTINCT endpoint FROM series ORDER BY endpoint")?
                .query_map([], |r| r.get(0))?
                .collect()
        })
    }
}

/// `rollups`, in order of time, put together to steps of `step`.
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

/// What the samples of one transaction add to the rollups.
#[derive(Default)]
pub(super) struct Addition(BTreeMap<(Resolution, i64, Timestamp), Rollup>);

impl Addition {
    pub(super) fn add(&mut self, series: i64, sample: &Sample) {
        for resolution in Resolution::ALL {
            let at = resolution.begin(sample.started_at);
            self.0
                .entry((resolution, series, at))
                .or_insert_with(|| Rollup::beginning(at))
                .add(sample);
        }
    }

    pub(super) fn write(self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        for ((resolution, series, at), mut added) in self.0 {
            let step = resolution.length().as_secs().cast_signed();
            let before = tx
                .prepare_cached(
                    "SELECT at, ok, slow, failed_provider, failed_account, failed_local, input_tokens, output_tokens,
                        cost_usd, dns_us, tcp_us, tls_us, headers_us, first_token, total FROM rollup
                     WHERE step = ?1 AND series = ?2 AND at = ?3",
                )?
                .query_row(params![step, series, at.0], |r| read(r, true))
                .optional()?;
            let faults = std::mem::take(&mut added.faults);
            let whole = match before {
                None => added,
                Some(mut before) => {
                    before.merge(&added);
                    before
                }
            };
            tx.prepare_cached(
                "INSERT OR REPLACE INTO rollup VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
                    ?16, ?17)",
            )?
            .execute(params![
                step,
                series,
                at.0,
                whole.ok,
                whole.slow,
                whole.failed_provider,
                whole.failed_account,
                whole.failed_local,
                whole.input_tokens.cast_signed(),
                whole.output_tokens.cast_signed(),
                whole.cost_usd,
                whole.stages.dns_us.cast_signed(),
                whole.stages.tcp_us.cast_signed(),
                whole.stages.tls_us.cast_signed(),
                whole.stages.headers_us.cast_signed(),
                whole.first_token.to_bytes(),
                whole.total.to_bytes(),
            ])?;
            for ((fault, attribution), count) in faults {
                tx.prepare_cached(
                    "INSERT INTO rollup_fault VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT DO UPDATE SET count = count + excluded.count",
                )?
                .execute(params![
                    step,
                    series,
                    at.0,
                    fault.as_str(),
                    Attribution::as_str(attribution),
                    count
                ])?;
            }
        }
        Ok(())
    }
}

fn read(row: &Row<'_>, detail: bool) -> rusqlite::Result<Rollup> {
    let whole = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    // A sketch that cannot be read is left out: the counts beside it are still right.
    let sketch = |column| -> rusqlite::Result<Sketch> {
        Ok(
            Sketch::from_bytes(row.get_ref(column)?.as_blob().unwrap_or_default())
                .unwrap_or_default(),
        )
    };
    let mut rollup = Rollup {
        at: Timestamp(row.get(0)?),
        ok: row.get(1)?,
        slow: row.get(2)?,
        failed_provider: row.get(3)?,
        failed_account: row.get(4)?,
        failed_local: row.get(5)?,
        input_tokens: whole(6)?,
        output_tokens: whole(7)?,
        cost_usd: row.get(8)?,
        stages: StageSums {
            dns_us: whole(9)?,
            tcp_us: whole(10)?,
            tls_us: whole(11)?,
            headers_us: whole(12)?,
        },
        ..Rollup::default()
    };
    if detail {
        rollup.first_token = sketch(13)?;
        rollup.total = sketch(14)?;
    }
    Ok(rollup)
}
