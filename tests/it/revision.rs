//! Attributions that later samples revise: a dead or flaky resolver and a lossy network are
//! nobody's downtime, in samples, incidents, rollups and replays alike.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use llmwatch::clock::Clock;
use llmwatch::daemon::scheduler::{Probe, Probed};
use llmwatch::store::{Commit, SampleQuery, Store, StoreError};
use llmwatch_core::incident::Change;
use llmwatch_core::model::{
    Attribution, ConnectivityCheckResult, Endpoint, Fault, Incident, Outcome, Sample, Timestamp,
};
use llmwatch_core::monitor::{Effect, MonitorState, Record};
use llmwatch_core::report::backtest::Samples;
use llmwatch_core::schedule::{Due, next_tick};

use crate::attribution::{START as START_MS, Watch, chat_and_azure, configuration};
use crate::simulated::{START, watch_probes};
use crate::support::good;

const RESOLVES: Option<ConnectivityCheckResult> = Some(ConnectivityCheckResult {
    any: true,
    by_name: true,
});
const NOTHING_RESOLVES: Option<ConnectivityCheckResult> = Some(ConnectivityCheckResult {
    any: true,
    by_name: false,
});
const MINUTE: Duration = Duration::from_mins(1);

/// A resolver that fails in this range of seconds, and still knows some names by heart at first.
struct Resolver {
    clock: Clock,
    fails: Range<i64>,
    remembers_until: i64,
}

impl Probe for Resolver {
    async fn probe(&self, endpoint: Arc<Endpoint>, due: Due, started_at: Timestamp) -> Probed {
        tokio::time::sleep(Duration::from_millis(40)).await;
        let now = self.clock.now().since_ms(START) / 1000;
        let sample = Sample {
            provider: endpoint.provider,
            scheduled_at: due.scheduled_at,
            trigger: due.trigger,
            total_ms: Some(40.0),
            ..good(&endpoint.name, started_at)
        };
        if !self.fails.contains(&now) {
            return Probed {
                sample,
                connectivity: None,
            };
        }
        Probed {
            sample: Sample {
                outcome: Outcome::Failed,
                fault: Some(Fault::LocalDns),
                dns_ms: None,
                first_token_ms: None,
                http_status: None,
                ..sample
            },
            connectivity: if now < self.remembers_until {
                RESOLVES
            } else {
                NOTHING_RESOLVES
            },
        }
    }
}

/// Monitors two vendors at the default interval for an hour, in which the resolver fails for four
/// minutes. For the first 25 s of them it still knows other names.
async fn watch_dead_resolver() -> (Vec<Sample>, Store, Range<i64>) {
    let hole = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = chat_and_azure()
        + &format!(
            "[[webhook]]\nname = \"hole\"\nurl = \"http://{}/\"\n",
            hole.local_addr().unwrap()
        );
    let tick = next_tick("openai-chat", MINUTE, START + Duration::from_mins(10));
    let begin = tick.since_ms(START) / 1000 - 1;
    let fails = begin..begin + 240;
    let clock = Clock::starting_at(START);
    let probe = Arc::new(Resolver {
        clock: Clock::starting_at(START),
        fails: fails.clone(),
        remembers_until: begin + 25,
    });
    let wall = Arc::new(move || clock.now());
    let config = configuration(&text);
    let (samples, store) = watch_probes(wall, config, probe, Duration::from_hours(1)).await;
    (samples, store, fails)
}

#[tokio::test(start_paused = true)]
async fn dead_resolver_is_nobodys_downtime() {
    let (samples, store, fails) = watch_dead_resolver().await;
    let failed: Vec<_> = samples.iter().filter(|s| s.fault.is_some()).collect();
    assert!(failed.len() > 8, "{}", failed.len());
    assert!(
        failed
            .iter()
            .any(|s| s.attributed_first == Some(Attribution::Provider)),
        "some were attributed to the provider first"
    );
    for sample in &failed {
        assert_eq!(sample.attribution, Some(Attribution::Local), "{sample:?}");
    }
    assert_eq!(store.incidents(false).unwrap(), [], "no vendor is blamed");
    let notices = store.outbox_rows(true).unwrap();
    let mut kinds: Vec<_> = notices.iter().map(|row| row.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["monitor.offline", "monitor.online"]);

    // The rollups, from which report, SLO and pages are made, agree with the samples.
    let end = START + Duration::from_hours(1);
    let sums = store.sums(START, end, None).unwrap();
    for (endpoint, sum) in &sums {
        assert_eq!(sum.availability(), Some(1.0), "{endpoint}");
        assert_eq!(sum.failed_provider, 0, "{endpoint}");
        let local = failed.iter().filter(|s| s.endpoint == *endpoint).count();
        assert_eq!(sum.failed_local as usize, local, "{endpoint}");
        let by_fault: Vec<_> = sum.faults.iter().map(|(key, n)| (*key, *n)).collect();
        let key = (Fault::LocalDns, Attribution::Local);
        assert_eq!(by_fault, [(key, local as u32)], "{endpoint}");
    }
    assert_eq!(sums.len(), 2);
    assert_eq!(fails.end - fails.start, 240);
}

#[tokio::test(start_paused = true)]
async fn replay_of_stored_samples_revises_them_alike() {
    let (samples, store, _) = watch_dead_resolver().await;
    let text = chat_and_azure();
    let mut folded = MonitorState::new(configuration(&text).config, 1.0);
    let mut replayed: Vec<Sample> = Vec::new();
    store
        .each_sample(SampleQuery::default(), |_, sample| {
            let step = folded.step(sample);
            replayed.extend(step.sample().cloned());
            for revision in step.revisions() {
                for sample in replayed.iter_mut().filter(|s| revision.covers(s)) {
                    *sample = revision.revise(sample);
                }
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
    assert_eq!(replayed, samples, "the same revisions");
    let (seq, checkpoint) = store.checkpoint().unwrap().unwrap();
    assert_eq!(seq, store.last_seq().unwrap());
    let config = configuration(&text).config;
    let resumed = MonitorState::resume(config, 1.0, &checkpoint, START).unwrap();
    let at = START + Duration::from_hours(1);
    assert_eq!(
        serde_json::to_value(resumed.snapshot(at)).unwrap(),
        serde_json::to_value(folded.snapshot(at)).unwrap()
    );

    let mut backtest = Samples::new("store", &configuration(&text).config.endpoints, true);
    for sample in &samples {
        backtest.push(sample);
    }
    let events: Vec<_> = backtest.replay(None).events;
    assert!(
        events
            .iter()
            .all(|e| e.event == "offline" || e.event == "online"),
        "{events:?}"
    );
}

/// Stores what the daemon stores.
fn record(store: &Store, core: &mut MonitorState, sample: Sample) -> Vec<(Change, Incident)> {
    let mut commit = Commit::default();
    let mut changes = Vec::new();
    for effect in core.step(sample) {
        match effect {
            Effect::Record(Record::Sample(sample)) => commit.sample = Some(*sample),
            Effect::Record(Record::Revision(revision)) => commit.revisions.push(revision),
            Effect::Incident(change, incident, _) => changes.push((change, *incident)),
            _ => {}
        }
    }
    store.commit(&[commit]).unwrap();
    changes
}

fn dns_failure(endpoint: &str, second: i64) -> Sample {
    Sample {
        outcome: Outcome::Failed,
        fault: Some(Fault::LocalDns),
        dns_ms: None,
        first_token_ms: None,
        http_status: None,
        total_ms: Some(5.0),
        ..good(endpoint, Timestamp(START_MS + second * 1000))
    }
}

/// Stored sums are revised as well, whether they are in memory or in the file.
#[test]
fn revision_reaches_sums_that_are_in_the_file() {
    for is_written in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("llmwatch.db")).unwrap();
        let mut core = MonitorState::new(configuration(&chat_and_azure()).config, 1.0);
        for minute in 0..5 {
            for name in ["openai-chat", "azure-chat"] {
                let at = Timestamp(START_MS + minute * 60_000);
                record(&store, &mut core, good(name, at));
            }
        }
        let first = core.complete(dns_failure("openai-chat", 300), RESOLVES);
        assert_eq!(first.attribution, Some(Attribution::Provider));
        record(&store, &mut core, first);
        if is_written {
            while store.write_sums(true).unwrap() {}
        }
        for second in [310, 330, 350] {
            let sample = core.complete(dns_failure("azure-chat", second), NOTHING_RESOLVES);
            record(&store, &mut core, sample);
        }
        // A second process sees the same.
        for store in [
            store.clone(),
            Store::open_read_only(&directory.path().join("llmwatch.db")).unwrap(),
        ] {
            let end = Timestamp(START_MS + 3_600_000);
            let sums = store.sums(Timestamp(START_MS), end, None).unwrap();
            let sum = &sums["openai-chat"];
            assert_eq!(
                (sum.ok, sum.failed_provider, sum.failed_local),
                (5, 0, 1),
                "written: {is_written}"
            );
            let key = (Fault::LocalDns, Attribution::Local);
            assert_eq!(sum.faults.get(&key), Some(&1));
            assert_eq!(sum.faults.len(), 1);
        }
    }
}

/// An alert that a failing resolver raised is taken back once other vendors fail alike.
#[test]
fn incident_ends_when_unrelated_vendors_turn_out_to_fail_alike() {
    let text = format!("[detection]\nalert_after = \"20s\"\n{}", chat_and_azure());
    let mut watch = Watch::new(&text);
    watch.well(5);
    for _ in 0..5 {
        watch.probe("openai-chat", Some(Fault::LocalDns), RESOLVES);
        watch.now += 10;
    }
    let [open] = watch.open().try_into().unwrap();
    assert_eq!(open.attribution, Attribution::Provider);
    for _ in 0..3 {
        watch.probe("azure-chat", Some(Fault::LocalDns), NOTHING_RESOLVES);
        watch.now += 10;
    }
    assert_eq!(watch.open(), [], "it was this machine");
    let (change, last) = watch.changes.last().unwrap();
    assert_eq!(
        (*change, last.attribution, last.cause.as_str()),
        (Change::Resolved, Attribution::Local, "local.dns")
    );
    assert!(
        last.explanation
            .contains("because of this machine, not the provider"),
        "{}",
        last.explanation
    );
    for sample in watch.samples.iter().filter(|s| s.fault.is_some()) {
        assert_eq!(sample.attribution, Some(Attribution::Local), "{sample:?}");
    }
    assert!(watch.log.iter().any(|l| l.contains("AttributionRevised")));
}

/// The other way round: a query was lost at first, and then other names resolve.
#[test]
fn broken_zone_counts_from_its_first_failure() {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    let began_at = Timestamp(START_MS + watch.now * 1000);
    watch.probe("openai-chat", Some(Fault::LocalDns), NOTHING_RESOLVES);
    watch.now += 10;
    watch.probe("azure-chat", None, None);
    watch.now += 10;
    for _ in 0..12 {
        watch.probe("openai-chat", Some(Fault::LocalDns), RESOLVES);
        watch.now += 10;
        watch.probe("azure-chat", None, None);
    }
    let [open] = watch.open().try_into().unwrap();
    assert_eq!(
        (open.attribution, open.started_at),
        (Attribution::Provider, began_at)
    );
    for sample in watch.samples.iter().filter(|s| s.fault.is_some()) {
        assert_eq!(
            sample.attribution,
            Some(Attribution::Provider),
            "{sample:?}"
        );
    }
}

/// A vendor's own outage stays its own, though another vendor misses a single query.
#[test]
fn single_lost_query_elsewhere_excuses_no_outage() {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    for second in 0..15 {
        watch.probe("openai-chat", Some(Fault::LocalDns), RESOLVES);
        watch.now += 10;
        let lost = (second == 3).then_some(Fault::LocalDns);
        watch.probe("azure-chat", lost, NOTHING_RESOLVES);
    }
    let own = watch.samples.iter().filter(|s| s.endpoint == "openai-chat");
    for sample in own.filter(|s| s.fault.is_some()) {
        assert_eq!(
            sample.attribution,
            Some(Attribution::Provider),
            "{sample:?}"
        );
    }
    assert_eq!(watch.open().len(), 1);
}

/// Numbers that look random and are the same in every run.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Loses this share of probes to two vendors for an hour.
fn lossy_hour(share: f64, fault: Fault, seed: u64) -> Watch {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    let mut draws = Draws(seed);
    let mut due = vec![("openai-chat".to_owned(), 0), ("azure-chat".to_owned(), 20)];
    for _ in 0..3600 {
        let names: Vec<_> = due
            .extract_if(.., |(_, at)| *at <= watch.now - 300)
            .collect();
        for (name, _) in names {
            let is_lost = draws.next() < share;
            // The connectivity checks get through as often as the probes.
            let any = draws.next() >= share;
            let reach = ConnectivityCheckResult {
                any,
                by_name: false,
            };
            watch.probe(&name, is_lost.then_some(fault), Some(reach));
            let again = if is_lost { 20 } else { 60 };
            due.push((name, watch.now - 300 + again));
        }
        watch.now += 1;
    }
    watch
}

#[test]
fn lossy_network_is_nobodys_downtime() {
    for (share, least_local) in [(0.05, 0.0), (0.3, 0.7), (0.6, 0.7)] {
        for fault in [Fault::TcpTimeout, Fault::TlsHandshake] {
            for seed in 1..=5 {
                let watch = lossy_hour(share, fault, seed);
                let what = format!("{share} {fault} {seed}");
                let vendors: Vec<_> = watch
                    .opened()
                    .into_iter()
                    .filter(|i| i.attribution == Attribution::Provider)
                    .collect();
                assert!(vendors.is_empty(), "{what}: {vendors:?}");
                let failed: Vec<_> = watch.samples.iter().filter(|s| s.fault.is_some()).collect();
                let local = failed
                    .iter()
                    .filter(|s| s.attribution == Some(Attribution::Local));
                let (local, all) = (local.count(), failed.len());
                assert!(all > 0, "{what}");
                assert!(
                    local as f64 >= least_local * all as f64,
                    "{what}: {local} of {all} are local"
                );
                for sample in &failed {
                    assert!(
                        sample.attribution == Some(Attribution::Local)
                            || !has_company(sample, &watch.samples),
                        "{what}: {sample:?}"
                    );
                }
            }
        }
    }
}

/// Whether an unrelated vendor failed within a minute of `sample`, and either of both has answered
/// within a minute since.
fn has_company(sample: &Sample, all: &[Sample]) -> bool {
    let near = |other: &&Sample| other.started_at.since_ms(sample.started_at).abs() <= 60_000;
    let fails_alike = |s: &&Sample| s.endpoint != sample.endpoint && s.fault.is_some();
    all.iter().filter(near).any(|s| fails_alike(&s))
        && all
            .iter()
            .filter(near)
            .any(|s| s.fault.is_none() && s.started_at > sample.started_at)
}
