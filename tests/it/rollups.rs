//! Rollups and retention: aggregates of samples are exact, and deleted data is removed from the
//! disk.

use std::time::Duration;

use llmwatch::store::{Commit, Horizon, RollupQuery, SamplePage, Store};
use llmwatch_core::model::{Attribution, Fault, Outcome, Sample, Timestamp};
use llmwatch_core::report::rollup::{Resolution, Rollup, Sketch};
use proptest::prelude::*;

use crate::support::good;

const DAY_MS: i64 = 86_400_000;
const HOUR: Duration = Duration::from_hours(1);

fn record(store: &Store, samples: impl IntoIterator<Item = Sample>) {
    let commits: Vec<_> = samples
        .into_iter()
        .map(|s| Commit {
            sample: Some(s),
            ..Commit::default()
        })
        .collect();
    store.commit(&commits).unwrap();
}

fn failed(endpoint: &str, at: Timestamp, fault: Fault) -> Sample {
    Sample {
        outcome: Outcome::Failed,
        fault: Some(fault),
        attribution: Some(fault.attribution()),
        first_token_ms: None,
        ..good(endpoint, at)
    }
}

fn all_of(store: &Store, endpoint: &str, resolution: Resolution) -> Vec<Rollup> {
    let (since, until) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
    let query = RollupQuery {
        resolution,
        endpoint: Some(endpoint),
        location: None,
        since,
        until,
        detail: true,
    };
    store
        .rollups(query)
        .unwrap()
        .remove(endpoint)
        .unwrap_or_default()
}

#[test]
fn an_hour_with_failures_says_how_many_and_whose_fault() {
    let store = Store::in_memory().unwrap();
    let at = |minute: i64| Timestamp(DAY_MS + minute * 60_000);
    record(&store, (0..50).map(|m| good("a", at(m))));
    record(
        &store,
        [
            failed("a", at(51), Fault::Http5xx),
            failed("a", at(52), Fault::Http5xx),
            failed("a", at(53), Fault::AccountQuota),
            failed("b", at(54), Fault::LocalDns),
        ],
    );
    let [hour] = &all_of(&store, "a", Resolution::Hour)[..] else {
        panic!("one hour")
    };
    assert_eq!(
        (hour.at, hour.ok, hour.failed_provider, hour.failed_account),
        (at(0), 50, 2, 1)
    );
    assert_eq!(hour.faults[&(Fault::Http5xx, Attribution::Provider)], 2);
    assert_eq!(
        hour.availability(),
        Some(50.0 / 52.0),
        "the account's faults do not count"
    );
    assert!((hour.first_token.quantile(0.5).unwrap() - 412.345).abs() < 412.345 * 0.01);
    assert_eq!(
        hour.first_token.count(),
        50,
        "a failed probe has no latency"
    );
    assert_eq!(hour.input_tokens, 53 * 14);
    assert_eq!(hour.stages.dns_us, 50 * 1250);
    assert_eq!(all_of(&store, "a", Resolution::FiveMinutes).len(), 11);
    assert_eq!(
        all_of(&store, "b", Resolution::Day)[0].availability(),
        None,
        "nothing was measured"
    );

    let quarters = store
        .series("a", None, at(0), at(60), Duration::from_mins(15))
        .unwrap();
    let counts: Vec<_> = quarters.iter().map(|r| (r.at, r.probes())).collect();
    assert_eq!(
        counts,
        [(at(0), 15), (at(15), 15), (at(30), 15), (at(45), 8)]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn rollups_equal_the_fold_over_any_commit_batches(
        samples in prop::collection::vec((0i64..3 * DAY_MS, 20.0f64..20_000.0, 0..4u8), 1..80),
        batch in 1usize..9,
    ) {
        let store = Store::in_memory().unwrap();
        let samples: Vec<Sample> = samples.into_iter().map(|(at, ms, kind)| match kind {
            0 => failed("a", Timestamp(at), Fault::StreamTruncated),
            // Another model of the same endpoint is a separate series.
            1 => Sample { model: None, first_token_ms: Some(ms), ..good("a", Timestamp(at)) },
            _ => Sample { first_token_ms: Some(ms), ..good("a", Timestamp(at)) },
        }).collect();
        for some in samples.chunks(batch) {
            record(&store, some.iter().cloned());
        }
        for resolution in Resolution::ALL {
            let stored = all_of(&store, "a", resolution);
            prop_assert!(stored.is_sorted_by(|a, b| a.at < b.at));
            for rollup in &stored {
                let mut fold = Rollup::beginning(rollup.at);
                samples.iter().filter(|s| resolution.begin(s.started_at) == rollup.at).for_each(|s| fold.add(s));
                prop_assert_eq!((rollup.ok, rollup.failed_provider), (fold.ok, fold.failed_provider));
                prop_assert_eq!(&rollup.faults, &fold.faults);
                for q in [0.0, 0.5, 0.95, 1.0] {
                    prop_assert_eq!(rollup.first_token.quantile(q), fold.first_token.quantile(q));
                }
            }
            prop_assert_eq!(stored.iter().map(Rollup::probes).sum::<u32>() as usize, samples.len());
        }
    }

    #[test]
    fn a_quantile_of_a_stored_sketch_is_within_two_percent(mut values in prop::collection::vec(1.0f64..60_000.0, 1..400)) {
        let (left, right) = values.split_at(values.len() / 2);
        let sketch = |values: &[f64]| {
            let mut sketch = Sketch::default();
            for ms in values {
                sketch.add(*ms);
            }
            Sketch::from_bytes(&sketch.to_bytes()).unwrap()
        };
        let mut both = sketch(left);
        both.merge(&sketch(right));
        values.sort_by(f64::total_cmp);
        for q in [0.5, 0.95] {
            let exact = values[(q * (values.len() - 1) as f64) as usize];
            let found = both.quantile(q).unwrap();
            prop_assert!((found - exact).abs() <= 0.02 * exact, "{found} is not near {exact}");
        }
    }
}

#[test]
fn pages_of_samples_go_back_in_time_without_gaps_or_repeats() {
    let store = Store::in_memory().unwrap();
    let ends = |n: i64| {
        if n % 5 == 0 {
            failed("a", Timestamp(n), Fault::Overloaded)
        } else {
            good("a", Timestamp(n))
        }
    };
    record(
        &store,
        (0..25).flat_map(|n| [ends(n), good("b", Timestamp(n))]),
    );
    let mut page = SamplePage {
        location: None,
        endpoint: "a",
        before_seq: None,
        since: None,
        until: None,
        outcome: None,
        limit: 10,
    };
    let mut seen = Vec::new();
    loop {
        let found = store.samples(page).unwrap();
        seen.extend(found.iter().map(|(_, s)| s.started_at.0));
        let Some((seq, _)) = found.last() else { break };
        page.before_seq = Some(*seq);
    }
    assert_eq!(seen, (0..25).rev().collect::<Vec<_>>());
    let failures = SamplePage {
        outcome: Some(Outcome::Failed),
        before_seq: None,
        ..page
    };
    assert_eq!(store.samples(failures).unwrap().len(), 5);
}

#[test]
fn retention_deletes_in_small_steps_and_shrinks_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    let store = Store::open(&path).unwrap();
    let today = 100 * DAY_MS;
    let minutes = |day: i64| (0..1440).map(move |m| Timestamp(day * DAY_MS + m * 60_000));
    for day in [1, 2, 99] {
        record(
            &store,
            minutes(day).map(|at| Sample {
                error: Some("x".repeat(400)),
                ..failed("a", at, Fault::Http5xx)
            }),
        );
    }
    store
        .commit(&[Commit {
            checkpoint: Some("{}".to_owned()),
            ..Commit::default()
        }])
        .unwrap();
    let size = || {
        llmwatch::store::Store::open(&path).unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        std::fs::metadata(&path).unwrap().len()
    };
    let before = size();
    let horizon = Horizon {
        samples: Timestamp(today) - HOUR * 48,
        fine_rollups: Timestamp(today) - HOUR * 48,
        rollups: Timestamp(2 * DAY_MS),
        incidents: None,
    };
    let mut steps = 0;
    while store.forget(horizon, 500).unwrap() == 500 {
        steps += 1;
    }
    assert!(steps >= 2880 / 500, "it took {steps} steps");
    let left = SamplePage {
        location: None,
        endpoint: "a",
        before_seq: None,
        since: None,
        until: None,
        outcome: None,
        limit: 9999,
    };
    assert_eq!(store.samples(left).unwrap().len(), 1440);
    let days: Vec<_> = all_of(&store, "a", Resolution::Day)
        .iter()
        .map(|r| r.at.0 / DAY_MS)
        .collect();
    assert_eq!(days, [2, 99], "rollups are kept longer than samples");
    assert_eq!(all_of(&store, "a", Resolution::FiveMinutes).len(), 288);
    let after = size();
    assert!(after < before / 2, "{before} bytes became {after}");
}
