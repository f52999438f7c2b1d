//! Stores with a long history, made in about a minute.

use std::path::Path;

use llmwatch::clock;
use llmwatch::store::{Commit, Store};
use llmwatch_core::model::{
    Api, Attribution, Fault, Outcome, Provider, Sample, Timestamp, Trigger,
};
use llmwatch_core::report::rollup::{Resolution, Sketch};
use rusqlite::{Connection, Transaction, params};

const DAY_MS: i64 = 86_400_000;
/// The interval of the samples.
const EVERY_MS: i64 = 120_000;

/// Records a sample of each of `count` endpoints every two minutes for `days` days until now; one
/// in `failing` failed, at random, none if it is 0.
pub(crate) fn samples(file: &Path, count: usize, days: i64, failing: u32) {
    let store = Store::open(file).expect("a store");
    let now = clock::now().0;
    let mut rng = fastrand::Rng::with_seed(5);
    for step in 0..days * DAY_MS / EVERY_MS {
        let at = now - days * DAY_MS + step * EVERY_MS;
        let commits: Vec<_> = (0..count)
            .map(|n| {
                let failed = failing > 0 && rng.u32(0..failing) == 0;
                Commit {
                    sample: Some(sample(&format!("e{n}"), at + n as i64, failed, &mut rng)),
                    ..Commit::default()
                }
            })
            .collect();
        store.commit(&commits).expect("room");
        if store.sums_are_due() {
            store.write_sums(false).expect("room");
        }
    }
    store.checkpoint_wal();
}

fn sample(endpoint: &str, at: i64, failed: bool, rng: &mut fastrand::Rng) -> Sample {
    let at = Timestamp(at);
    let total = 1.0 + rng.f64();
    Sample {
        id: uuid::Uuid::now_v7(),
        outcome: if failed { Outcome::Failed } else { Outcome::Ok },
        fault: failed.then_some(Fault::Http5xx),
        attribution: failed.then_some(Attribution::Provider),
        http_status: Some(if failed { 503 } else { 200 }),
        headers_ms: Some(total),
        total_ms: Some(total),
        ..Sample::unmeasured(
            endpoint,
            Provider::Http,
            Api::Http,
            "fra1",
            at,
            Trigger::Schedule,
        )
    }
}

/// Adds what is left of earlier samples: for each of `count` endpoints the rollups of `days` days
/// before the last `before`, and those of the hours in the last `hours` of these days.
pub(crate) fn rollups(file: &Path, count: usize, days: i64, before: i64, hours: i64) {
    drop(Store::open(file).expect("a store"));
    let mut connection = Connection::open(file).expect("a store");
    let end = clock::now().0.div_euclid(DAY_MS) * DAY_MS - before * DAY_MS;
    let tx = connection.transaction().expect("room");
    for n in 0..count {
        let name = format!("e{n}");
        let series = "INSERT OR IGNORE INTO series (endpoint, provider, api, model, location)
                      VALUES (?1, 'http', 'http', '', 'fra1')";
        tx.execute(series, [&name]).expect("room");
        let id = "SELECT id FROM series WHERE endpoint = ?1";
        let series: i64 = tx.query_row(id, [&name], |r| r.get(0)).expect("a series");
        insert(&tx, series, Resolution::Day, end, days);
        insert(&tx, series, Resolution::Hour, end, hours);
    }
    tx.commit().expect("room");
}

fn insert(tx: &Transaction<'_>, series: i64, resolution: Resolution, end: i64, count: i64) {
    let step = resolution.length().as_millis() as i64;
    let probes = step / EVERY_MS;
    let mut rng = fastrand::Rng::with_seed(series.unsigned_abs());
    let sketches: Vec<_> = (0..8).map(|_| latencies(probes, &mut rng)).collect();
    let insert = "INSERT INTO rollup VALUES (?1, ?2, ?3, ?4, 0, 1, 0, 0, 100, 100, 0.01, 1, 1, 1, 1, ?5, ?6)";
    let mut insert = tx.prepare_cached(insert).expect("the schema");
    for back in 1..=count {
        let first = &sketches[rng.usize(..sketches.len())];
        let total = &sketches[rng.usize(..sketches.len())];
        let at = end - back * step;
        let row = params![step / 1000, series, at, probes, first, total];
        insert.execute(row).expect("room");
    }
}

/// The packed sketch of `probes` latencies, most near 400 ms and a few far above.
fn latencies(probes: i64, rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut sketch = Sketch::default();
    for _ in 0..probes {
        let spread: f64 = (0..4).map(|_| rng.f64()).sum::<f64>() - 2.0;
        sketch.add(400.0 * (0.6 * spread).exp());
    }
    sketch.to_bytes()
}
