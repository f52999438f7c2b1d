//! The detector against the reference implementation on labeled traces, and its invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use llmwatch::cli::trace_files;
use llmwatch_core::detect::{
    DetectedCause, Detector, DetectorEvent, DetectorEventKind, FailureReason, LatencyReading,
    Observation, Policy, ProbeResult,
};
use llmwatch_core::model::{
    DetectionPolicy, EndpointName, Sensitivity, Timestamp, canonical_order,
};
use llmwatch_core::report::backtest::ReplayEvent;
use proptest::prelude::*;

fn events(said: &[ReplayEvent], trace: &str) -> Vec<(EndpointName, String, i64)> {
    let mut events: Vec<_> = said
        .iter()
        .filter(|s| s.trace == trace)
        .map(|s| (s.endpoint.clone(), s.event.clone(), s.t_ms))
        .collect();
    events.sort();
    events
}

/// A good probe of `e` at a minute after the epoch. Its total is twice its first token; the next
/// probe is `interval` minutes later.
fn good_probe(minute: i64, interval: u64, first_token_ms: f64) -> Observation {
    let start = Timestamp(minute * 60_000);
    let reading = LatencyReading {
        first_token_ms,
        total_ms: 2.0 * first_token_ms,
        per_token_ms: None,
        beyond_limits: None,
    };
    Observation {
        endpoint: "e".into(),
        start,
        end: start + Duration::from_millis(100),
        next_tick: start + Duration::from_mins(interval),
        result: ProbeResult::Good(Some(reading)),
    }
}

/// The traces must give every recorded event and no other, within one probe of its time. Any change
/// of the detector shows here.
#[test]
fn the_traces_give_the_golden_events() {
    /// Logarithms differ in the last bit between machines.
    const MAX_MOVED: usize = 3;

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/traces");
    let said = trace_files::replay(&folder, &[&DetectionPolicy::default()])
        .unwrap()
        .remove(0)
        .events;
    let golden = std::fs::read_to_string(folder.join("golden_alerts_dev.jsonl")).unwrap();
    let golden: Vec<ReplayEvent> = golden
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    for (trace, interval_ms) in [("a_p01_60s", 60_000), ("d_p03_300s", 300_000)] {
        let (ours, theirs) = (events(&said, trace), events(&golden, trace));
        assert!(theirs.len() > 100);
        let alike = |(a, b): (&(EndpointName, String, i64), &(EndpointName, String, i64))| {
            (&a.0, &a.1) == (&b.0, &b.1) && (a.2 - b.2).abs() <= interval_ms
        };
        let first = ours
            .iter()
            .zip(&theirs)
            .position(|pair| !alike(pair))
            .unwrap_or(ours.len().min(theirs.len()));
        assert!(
            first == ours.len() && first == theirs.len(),
            "{trace}: {} events against {}; first difference at {first}: {:?} against {:?}",
            ours.len(),
            theirs.len(),
            ours.get(first),
            theirs.get(first)
        );
        let moved = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
        assert!(moved <= MAX_MOVED, "{trace}: {moved} events have moved");
    }
}

const DOMAINS: [&str; 4] = ["alpha", "alpha", "alpha", "beta"];

fn policies() -> BTreeMap<EndpointName, Policy> {
    let policy = |i: usize| {
        let thresholds = (i == 3).then_some(3);
        let policy = DetectionPolicy {
            failure_threshold: thresholds,
            ..DetectionPolicy::default()
        };
        Policy::new(&policy, Duration::from_mins(1), DOMAINS[i].into())
    };
    (0..4)
        .map(|i| (EndpointName::from(format!("e{i}")), policy(i)))
        .collect()
}

/// A random probe: seconds since the previous one, endpoint, and result.
fn probe() -> impl Strategy<Value = (i64, usize, ProbeResult)> {
    let good = (50.0..5_000.0_f64).prop_map(|ms| {
        ProbeResult::Good(Some(LatencyReading {
            first_token_ms: ms,
            total_ms: ms * 2.0,
            per_token_ms: Some(ms / 20.0),
            beyond_limits: None,
        }))
    });
    let result = prop_oneof![
        8 => good,
        6 => any::<bool>().prop_map(|limited| ProbeResult::Failed { reason: if limited { FailureReason::RateLimited } else { FailureReason::TimedOut }, retry_after_ms: None }),
        1 => Just(ProbeResult::Good(None)),
        1 => any::<bool>().prop_map(|rate_limited| ProbeResult::Account { rate_limited, retry_after_ms: Some(1_000) }),
        1 => Just(ProbeResult::Offline),
    ];
    (
        prop_oneof![9 => 1_i64..40, 1 => 100_i64..200_000],
        0_usize..4,
        result,
    )
}

fn observations(history: Vec<(i64, usize, ProbeResult)>) -> Vec<Observation> {
    let mut now = 1_767_225_600_000;
    let observe = |(seconds, i, result): (i64, usize, ProbeResult)| {
        now += seconds * 1000;
        Observation {
            endpoint: format!("e{i}").into(),
            start: Timestamp(now),
            end: Timestamp(now + 700),
            next_tick: Timestamp((now / 60_000 + 1) * 60_000),
            result,
        }
    };
    history.into_iter().map(observe).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Resuming from a checkpoint is the same as never having stopped.
    #[test]
    fn state_is_a_fold(history in prop::collection::vec(probe(), 1..300), cut in 0.0..1.0_f64) {
        let seen = observations(history);
        let cut = (seen.len() as f64 * cut) as usize;
        let policies = policies();
        let mut uninterrupted = Detector::default();
        let mut parts = Detector::default();
        for (i, observation) in seen.iter().enumerate() {
            if i == cut {
                parts = serde_json::from_str(&serde_json::to_string(&parts).unwrap()).unwrap();
            }
            prop_assert_eq!(uninterrupted.observe(&policies, observation), parts.observe(&policies, observation));
        }
        prop_assert_eq!(uninterrupted, parts);
    }

    /// An endpoint never has two open alerts, and only open alerts are resolved.
    #[test]
    fn what_is_opened_is_resolved_before_it_opens_again(history in prop::collection::vec(probe(), 1..400)) {
        let policies = policies();
        let mut detector = Detector::default();
        let mut open: BTreeMap<(EndpointName, bool), bool> = BTreeMap::new();
        for observation in observations(history) {
            for note in detector.observe(&policies, &observation).notes {
                let account = note.cause == DetectedCause::Account;
                let is_open = open.entry((note.endpoint.clone(), account)).or_default();
                match note.event {
                    DetectorEventKind::Open => {
                        prop_assert!(!*is_open, "opened twice: {:?}", note);
                        *is_open = true;
                    }
                    // "Slow" that becomes "down" is the same alert.
                    DetectorEventKind::Join | DetectorEventKind::Escalate => *is_open = true,
                    DetectorEventKind::Resolved => {
                        prop_assert!(*is_open, "resolved but never opened: {:?}", note);
                        *is_open = false;
                    }
                    DetectorEventKind::Offline | DetectorEventKind::Online => {}
                }
            }
        }
    }

    /// A reload with other settings is equivalent to a restart with them: settings are not part of
    /// the state.
    #[test]
    fn a_reload_is_a_restart_with_other_settings(history in prop::collection::vec(probe(), 1..300), cut in 0.0..1.0_f64) {
        let seen = observations(history);
        let (before, after) = seen.split_at((seen.len() as f64 * cut) as usize);
        let hasty = DetectionPolicy {
            alert_after: Some(Duration::from_secs(30)),
            sensitivity: Sensitivity::High,
            slow_factor: 1.5,
            siblings: false,
            ..DetectionPolicy::default()
        };
        let others: BTreeMap<_, _> = (0..4)
            .map(|i| (EndpointName::from(format!("e{i}")), Policy::new(&hasty, Duration::from_secs(30), "alone".into())))
            .collect();
        let mut running = Detector::default();
        for observation in before {
            running.observe(&policies(), observation);
        }
        let checkpoint = serde_json::to_string(&running).unwrap();
        let mut restarted: Detector = serde_json::from_str(&checkpoint).unwrap();
        for observation in after {
            prop_assert_eq!(running.observe(&others, observation), restarted.observe(&others, observation));
        }
        prop_assert_eq!(running, restarted);
    }

    /// The arrival order of simultaneous results does not matter.
    #[test]
    fn the_order_within_an_instant_decides_nothing(
        instants in prop::collection::vec(prop::collection::vec(probe(), 4), 1..100),
        turns in prop::collection::vec(0_usize..4, 100),
    ) {
        let mut now = Timestamp(1_767_225_600_000);
        let (mut one, mut other) = (Detector::default(), Detector::default());
        for (instant, turn) in instants.into_iter().zip(turns) {
            now = now + Duration::from_secs(instant[0].0.unsigned_abs());
            let observe = |(i, (.., result)): (usize, (i64, usize, ProbeResult))| Observation {
                endpoint: format!("e{i}").into(),
                start: now,
                end: now + Duration::from_millis(700),
                next_tick: now + Duration::from_secs(40),
                result,
            };
            let mut arrived: Vec<_> = instant.into_iter().enumerate().map(observe).collect();
            let fold = |detector: &mut Detector, mut arrived: Vec<Observation>| {
                arrived.sort_by(|a, b| {
                    canonical_order(a.end, &a.endpoint).cmp(&canonical_order(b.end, &b.endpoint))
                });
                arrived.iter().map(|o| detector.observe(&policies(), o)).collect::<Vec<_>>()
            };
            let reported = fold(&mut one, arrived.clone());
            arrived.rotate_left(turn);
            prop_assert_eq!(reported, fold(&mut other, arrived));
        }
        prop_assert_eq!(one, other);
    }

    /// After any history, a day and two hours of good probes resolve every alert.
    #[test]
    fn every_opened_is_resolved_in_the_end(history in prop::collection::vec(probe(), 1..400)) {
        let mut seen = observations(history);
        let mut now = seen.last().map_or(Timestamp(0), |o| o.end);
        for _ in 0..26 * 15 {
            now = now + Duration::from_mins(4);
            let reading = LatencyReading { first_token_ms: 50.0, total_ms: 100.0, per_token_ms: None, beyond_limits: None };
            seen.extend((0..4).map(|i| Observation {
                endpoint: format!("e{i}").into(),
                start: now,
                end: now + Duration::from_millis(100),
                next_tick: now + Duration::from_mins(1),
                result: ProbeResult::Good(Some(reading)),
            }));
        }
        let (policies, mut detector) = (policies(), Detector::default());
        let mut open = BTreeSet::new();
        for note in seen.iter().flat_map(|o| detector.observe(&policies, o).notes) {
            let key = (note.endpoint, note.cause == DetectedCause::Account);
            match note.event {
                DetectorEventKind::Open | DetectorEventKind::Join | DetectorEventKind::Escalate => drop(open.insert(key)),
                DetectorEventKind::Resolved => prop_assert!(open.remove(&key), "resolved but never opened: {:?}", key),
                DetectorEventKind::Offline | DetectorEventKind::Online => {}
            }
        }
        prop_assert!(open.is_empty(), "still open: {:?}", open);
    }

    /// A recheck is never scheduled in the past, nor after the next regular probe.
    #[test]
    fn rechecks_lie_between_now_and_the_grid(history in prop::collection::vec(probe(), 1..300)) {
        let policies = policies();
        let mut detector = Detector::default();
        for observation in observations(history) {
            for (endpoint, at) in detector.observe(&policies, &observation).rechecks {
                prop_assert!(at > observation.end);
                if endpoint == observation.endpoint {
                    prop_assert!(at < observation.next_tick);
                }
            }
        }
    }
}

#[test]
fn consecutive_failures_for_those_who_want_them() {
    let policy = DetectionPolicy {
        failure_threshold: Some(3),
        success_threshold: Some(2),
        ..DetectionPolicy::default()
    };
    let policies = BTreeMap::from([(
        EndpointName::from("e"),
        Policy::new(&policy, Duration::from_mins(1), "d".into()),
    )]);
    let mut detector = Detector::default();
    let mut reported = Vec::new();
    for (i, good) in [true, false, false, true, false, false, false, true, true]
        .into_iter()
        .enumerate()
    {
        let at = Timestamp(i as i64 * 60_000);
        let result = if good {
            ProbeResult::Good(None)
        } else {
            ProbeResult::Failed {
                reason: FailureReason::Other,
                retry_after_ms: None,
            }
        };
        let end = at + Duration::from_secs(1);
        let seen = Observation {
            endpoint: "e".into(),
            start: at,
            end,
            next_tick: at + Duration::from_mins(1),
            result,
        };
        let verdict = detector.observe(&policies, &seen);
        assert!(
            verdict.rechecks.is_empty(),
            "consecutive probes of the grid"
        );
        reported.extend(verdict.notes.into_iter().map(|n| (i, n.event)));
    }
    assert_eq!(
        reported,
        [
            (6, DetectorEventKind::Open),
            (8, DetectorEventKind::Resolved)
        ]
    );
}

/// Few probes over five days with a rush from 12:00 to 16:00 UTC, a pause, then a day without a
/// rush. The learned hourly factors must not make the baseline faster than any probe was.
#[test]
fn a_rush_that_has_ended_makes_no_other_hour_slow() {
    let policies = BTreeMap::from([(
        EndpointName::from("e"),
        Policy::new(
            &DetectionPolicy::default(),
            Duration::from_mins(1),
            "d".into(),
        ),
    )]);
    let mut detector = Detector::default();
    let mut probe = |minute: i64, ms: f64| {
        let seen = good_probe(minute, 1, ms);
        detector.observe(&policies, &seen).notes
    };
    // The epoch was a Thursday, so Monday is day 4.
    for day in 4..9 {
        for minute in (0..1440).step_by(30) {
            let is_rush = (720..960).contains(&minute);
            probe(day * 1440 + minute, if is_rush { 800.0 } else { 100.0 });
        }
    }
    for minute in 720..1440 + 720 {
        let notes = probe(11 * 1440 + minute, 100.0);
        assert!(notes.is_empty(), "minute {minute}: {notes:?}");
    }
}

/// The band on the page: a rush from 12:00 to 16:00 UTC on twelve weekdays, kept in the checkpoint.
#[test]
fn the_hours_of_a_rush_are_known_by_hour_of_the_week() {
    let policy = DetectionPolicy::default();
    let policy = Policy::new(&policy, Duration::from_mins(5), "d".into());
    let policies = BTreeMap::from([(EndpointName::from("e"), policy)]);
    let mut detector = Detector::default();
    assert!(detector.usual_hours("e").is_flat());
    // The epoch was a Thursday, so Monday is day 4.
    for minute in (4 * 1440..20 * 1440).step_by(5) {
        let (day, of_day) = (minute / 1440, minute % 1440);
        let is_rush = (day - 4) % 7 < 5 && (720..960).contains(&of_day);
        let ms = if is_rush { 400.0 } else { 200.0 };
        let seen = good_probe(minute, 5, ms);
        detector.observe(&policies, &seen);
    }
    let stored = serde_json::to_string(&detector).unwrap();
    let detector: Detector = serde_json::from_str(&stored).unwrap();
    let usual = detector.usual_hours("e");
    let factor = |day: i64, hour: i64| usual.factor(Timestamp((day * 24 + hour) * 3_600_000));
    for monday in [25, 32] {
        assert!((1.7..2.3).contains(&factor(monday, 13)), "{usual:?}");
        assert!(factor(monday, 3) < 1.1, "{usual:?}");
        assert!(factor(monday + 5, 13) < 1.1, "a weekend: {usual:?}");
    }
    assert!(stored.len() < 4096, "{} bytes", stored.len());
}

/// Five weeks of everything that is learned: a rush, wide latencies, failures at the top of the
/// hour, cold starts, brief outages on several days, an alert of slowness that is open. As the
/// store packs it, and unpacked.
#[test]
fn the_state_of_an_endpoint_stays_below_four_kibibytes() {
    let policy = Policy::new(
        &DetectionPolicy::default(),
        Duration::from_mins(1),
        "d".into(),
    );
    let policies = BTreeMap::from([("e".into(), policy)]);
    let mut detector = Detector::default();
    let mut rng = fastrand::Rng::with_seed(15);
    let mut largest = 0;
    for minute in 0..35 * 1440_i64 {
        let of_day = minute % 1440;
        let is_rush = (540..1020).contains(&of_day);
        let spread =
            (-2.0 * rng.f64().max(1e-9).ln()).sqrt() * (rng.f64() * std::f64::consts::TAU).cos();
        let last_hours = minute > 35 * 1440 - 120;
        let slower = if is_rush { 2.0 } else { 1.0 } * if last_hours { 6.0 } else { 1.0 };
        let first_token_ms = 400.0 * slower * (0.9 * spread).exp();
        let is_down = minute % 60 < 2 && rng.f64() < 0.6 || minute % 4321 < 2 || rng.f64() < 0.02;
        let result = if is_down {
            let reasons = [
                FailureReason::Other,
                FailureReason::TimedOut,
                FailureReason::Confirmed,
            ];
            ProbeResult::Failed {
                reason: reasons[rng.usize(..3)],
                retry_after_ms: None,
            }
        } else {
            ProbeResult::Good(Some(LatencyReading {
                first_token_ms,
                total_ms: first_token_ms * (1.0 + rng.f64()),
                per_token_ms: Some(first_token_ms / 20.0),
                beyond_limits: None,
            }))
        };
        // Times of the year 2026 have as many digits as they will have.
        let start = Timestamp(1_793_491_200_000 + minute * 60_000);
        detector.observe(
            &policies,
            &Observation {
                endpoint: "e".into(),
                start,
                end: Timestamp(start.0 + 20_000),
                next_tick: Timestamp(start.0 + 60_000),
                result,
            },
        );
        if minute % 101 == 0 || last_hours {
            let state = serde_json::to_vec(&detector).unwrap();
            let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&state).unwrap();
            largest = largest.max(packed.finish().unwrap().len());
        }
    }
    assert!((1500..=4096).contains(&largest), "{largest} bytes");
    let text = serde_json::to_string(&detector).unwrap();
    assert!(text.len() <= 4096, "{} bytes of JSON", text.len());
    let before: Detector = serde_json::from_value(as_written_before(&text)).unwrap();
    assert!(before == detector, "the form of the release before");
}

/// A checkpoint as the release before wrote it: the meters of slowness with the names of their
/// fields, and the level as its first bin and two bytes for each bin.
fn as_written_before(checkpoint: &str) -> serde_json::Value {
    const NAMES: [&str; 16] = [
        "l",
        "since",
        "k",
        "n",
        "last_slow",
        "peak",
        "level",
        "learned",
        "stale",
        "median",
        "sigma",
        "recent",
        "recent_at",
        "wander",
        "incident",
        "incident_n",
    ];
    let mut checkpoint: serde_json::Value = serde_json::from_str(checkpoint).unwrap();
    let meters = checkpoint["endpoints"]["e"]["slow"]["meters"].as_array_mut();
    for meter in meters.unwrap() {
        let fields = NAMES.iter().map(|name| (*name).to_owned());
        let values = std::mem::take(meter.as_array_mut().unwrap());
        let mut named: serde_json::Map<_, _> = fields.zip(values).collect();
        let packed = STANDARD_NO_PAD.decode(named["level"].as_str().unwrap());
        let packed = packed.unwrap();
        let mut counts = Vec::new();
        let mut count = 0_u16;
        let mut shift = 0;
        for byte in &packed[1..] {
            count |= u16::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                counts.extend(count.to_le_bytes());
                (count, shift) = (0, 0);
            }
        }
        let level = serde_json::json!([packed[0], STANDARD_NO_PAD.encode(counts)]);
        named.insert("level".to_owned(), level);
        let fields = ["last", "last_at", "sum", "weight", "pending"].map(str::to_owned);
        let values = std::mem::take(named["wander"].as_array_mut().unwrap());
        let wander: serde_json::Map<_, _> = fields.into_iter().zip(values).collect();
        named.insert("wander".to_owned(), wander.into());
        *meter = named.into();
    }
    checkpoint
}

/// Folds good probes of one endpoint, one per minute, with these first tokens. Returns the events
/// by minute.
fn minutes(
    policy: &DetectionPolicy,
    readings: impl Iterator<Item = (f64, Option<bool>)>,
) -> Vec<(usize, DetectorEventKind, bool)> {
    let policies = BTreeMap::from([(
        EndpointName::from("e"),
        Policy::new(policy, Duration::from_mins(1), "d".into()),
    )]);
    let mut detector = Detector::default();
    let mut noted = Vec::new();
    for (i, (first_token_ms, beyond_limits)) in readings.enumerate() {
        let start = Timestamp(i as i64 * 60_000);
        let reading = LatencyReading {
            first_token_ms,
            total_ms: first_token_ms + 100.0,
            per_token_ms: None,
            beyond_limits,
        };
        let end = start + Duration::from_millis(first_token_ms as u64 + 100);
        let next_tick = start + Duration::from_mins(1);
        let result = ProbeResult::Good(Some(reading));
        let seen = Observation {
            endpoint: "e".into(),
            start,
            end,
            next_tick,
            result,
        };
        noted.extend(
            detector
                .observe(&policies, &seen)
                .notes
                .into_iter()
                .map(|n| (i, n.event, n.new_normal)),
        );
    }
    noted
}

#[test]
fn slow_from_the_first_probe_shows_against_the_limit() {
    let readings =
        || std::iter::repeat_n((2400.0, None), 40).chain(std::iter::repeat_n((800.0, None), 40));
    assert_eq!(
        minutes(&DetectionPolicy::default(), readings()),
        [],
        "nothing to compare with"
    );
    let expected = Some(Duration::from_millis(800));
    let policy = DetectionPolicy {
        expected_first_token: expected,
        ..DetectionPolicy::default()
    };
    let noted = minutes(&policy, readings());
    assert!(
        matches!(
            noted[..],
            [
                (3..10, DetectorEventKind::Open, false),
                (40..50, DetectorEventKind::Resolved, false)
            ]
        ),
        "{noted:?}"
    );
}

#[test]
fn a_limit_of_the_user_counts_from_the_first_probe_on() {
    let slow = std::iter::repeat_n((900.0, Some(true)), 10);
    let fine = std::iter::repeat_n((400.0, Some(false)), 30);
    let noted = minutes(&DetectionPolicy::default(), slow.chain(fine));
    assert!(
        matches!(
            noted[..],
            [
                (3..6, DetectorEventKind::Open, false),
                (12..25, DetectorEventKind::Resolved, false)
            ]
        ),
        "{noted:?}"
    );
}

#[test]
fn day_long_slowness_becomes_the_baseline_once() {
    let usual = std::iter::repeat_n((400.0, None), 300);
    let noted = minutes(
        &DetectionPolicy::default(),
        usual.chain(std::iter::repeat_n((1200.0, None), 3 * 1440)),
    );
    assert!(
        matches!(
            noted[..],
            [
                (300..330, DetectorEventKind::Open, false),
                (1700..1800, DetectorEventKind::Resolved, true)
            ]
        ),
        "{noted:?}"
    );
}

/// Higher sensitivity requires fewer failures.
#[test]
fn sensitivity_is_how_many_failures_are_wanted() {
    let wanted = [Sensitivity::High, Sensitivity::Normal, Sensitivity::Low].map(|sensitivity| {
        let policy = DetectionPolicy {
            sensitivity,
            ..DetectionPolicy::default()
        };
        let policies = BTreeMap::from([(
            EndpointName::from("e"),
            Policy::new(&policy, Duration::from_mins(1), "d".into()),
        )]);
        let mut detector = Detector::default();
        // Further apart than `alert_after`, so that each is an event of its own.
        (1..10).find(|i| {
            let start = Timestamp(i * 100_000);
            let (end, next_tick) = (
                start + Duration::from_secs(1),
                start + Duration::from_mins(1),
            );
            let result = ProbeResult::Failed {
                reason: FailureReason::Other,
                retry_after_ms: None,
            };
            let seen = Observation {
                endpoint: "e".into(),
                start,
                end,
                next_tick,
                result,
            };
            detector
                .observe(&policies, &seen)
                .notes
                .iter()
                .any(|n| n.event == DetectorEventKind::Open)
        })
    });
    assert_eq!(wanted, [Some(3), Some(4), Some(5)]);
}

/// Probes three endpoints of one provider every minute for some weeks, and every 15 s during
/// outages. An outage is (day, duration in seconds, n: every n-th probe fails). Returns the days on
/// which an alert opened, with the seconds until it did.
fn days_with_alerts(policy: &DetectionPolicy, outages: &[(i64, i64, i64)]) -> Vec<(i64, i64)> {
    let policy = Policy::new(policy, Duration::from_mins(1), "d".into());
    let policies: BTreeMap<_, _> = (0..3)
        .map(|i| (EndpointName::from(format!("e{i}")), policy.clone()))
        .collect();
    let mut detector = Detector::default();
    let mut opened = Vec::new();
    let last_day = outages.iter().map(|o| o.0).max().unwrap_or_default();
    for second in (0..(last_day + 1) * 86_400).step_by(5) {
        let (day, of_day) = (second / 86_400, second % 86_400 - 36_000);
        let outage = outages
            .iter()
            .find(|o| o.0 == day && (0..o.1 + 600).contains(&of_day));
        for i in 0..3 {
            let (gap, turn) = if outage.is_some() {
                (15, 5 * i)
            } else {
                (60, 20 * i)
            };
            if second % gap != turn {
                continue;
            }
            let failed = outage.is_some_and(|o| of_day < o.1 && (of_day / 15) % o.2 == 0);
            let start = Timestamp(second * 1000);
            let result = if failed {
                ProbeResult::Failed {
                    reason: FailureReason::Other,
                    retry_after_ms: None,
                }
            } else {
                ProbeResult::Good(None)
            };
            let seen = Observation {
                endpoint: format!("e{i}").into(),
                start,
                end: start + Duration::from_secs(1),
                next_tick: start + Duration::from_mins(1),
                result,
            };
            let notes = detector.observe(&policies, &seen).notes;
            let is_open = |n: &DetectorEvent| n.event == DetectorEventKind::Open;
            opened.extend(notes.iter().filter(|n| is_open(n)).map(|_| (day, of_day)));
        }
    }
    opened
}

/// A weekly deploy during which half of the requests fail for two minutes. An outage that is
/// clearly worse or longer is still reported.
#[test]
fn a_brief_partial_outage_that_recurs_is_reported_once() {
    let outages = [
        (8, 120, 2),
        (15, 120, 2),
        (22, 110, 2),
        (23, 300, 1),
        (29, 600, 2),
    ];
    let opened = days_with_alerts(&DetectionPolicy::default(), &outages);
    let days: Vec<_> = opened.iter().map(|(day, _)| *day).collect();
    assert_eq!(days, [8, 23, 29], "{opened:?}");
    assert!(opened[1].1 < 120, "a complete outage: {opened:?}");
    assert!((130..420).contains(&opened[2].1), "it lasts: {opened:?}");

    let set = DetectionPolicy {
        alert_after: Some(Duration::from_secs(90)),
        provider_alert_after: Some(Duration::from_secs(30)),
        ..DetectionPolicy::default()
    };
    let days: Vec<_> = days_with_alerts(&set, &outages)
        .iter()
        .map(|o| o.0)
        .collect();
    assert_eq!(days, [8, 15, 22, 23, 29], "a value that is set binds");
}

/// Folds a day and a half of good probes of one endpoint, then these: second, whether it failed,
/// and its duration in seconds. Returns the end times of those that opened an alert.
fn opened(probes: &[(i64, bool, i64)]) -> Vec<i64> {
    let policy = Policy::new(
        &DetectionPolicy::default(),
        Duration::from_mins(1),
        "d".into(),
    );
    let policies = BTreeMap::from([(EndpointName::from("e"), policy)]);
    let mut detector = Detector::default();
    let mut opened = Vec::new();
    let usual = (-2160..0).map(|minute| (minute * 60, false, 1));
    for (second, failed, took) in usual.chain(probes.iter().copied()) {
        let (start, end) = (Timestamp(second * 1000), Timestamp((second + took) * 1000));
        let next_tick = Timestamp(((second + took).div_euclid(60) + 1) * 60_000);
        let failure = ProbeResult::Failed {
            reason: FailureReason::Other,
            retry_after_ms: None,
        };
        let result = if failed {
            failure
        } else {
            ProbeResult::Good(None)
        };
        let seen = Observation {
            endpoint: "e".into(),
            start,
            end,
            next_tick,
            result,
        };
        let notes = detector.observe(&policies, &seen).notes;
        opened.extend(
            notes
                .iter()
                .filter(|n| n.event == DetectorEventKind::Open)
                .map(|_| second + took),
        );
    }
    opened
}

/// Every API fails occasionally; soon after a burst, one failure is not an outage yet.
#[test]
fn one_failure_after_a_burst_that_is_over_is_not_enough() {
    let burst = [(0, true, 1), (6, true, 1), (22, true, 1), (38, true, 1)];
    let calm = [
        (54, false, 1),
        (68, false, 1),
        (82, false, 1),
        (96, false, 1),
    ];
    let again = [(110, true, 1), (116, true, 1)];
    assert!(opened(&[&burst[..], &calm, &again[..1]].concat()).is_empty());
    assert_eq!(
        opened(&[&burst[..], &calm, &again].concat()),
        [117],
        "two are"
    );
    assert_eq!(
        opened(&[&burst[..], &again].concat()),
        [111],
        "and when it was never well, one"
    );
    let mixed = [
        (54, false, 1),
        (70, true, 1),
        (74, false, 1),
        (86, false, 1),
    ];
    assert_eq!(
        opened(&[&burst[..], &mixed, &again].concat()),
        [111],
        "nor does it end while some fail"
    );
}

/// A burst of 75 seconds does not last 90 because its last failure was a timeout. Hanging from the
/// start does.
#[test]
fn a_timeout_among_quick_failures_does_not_lengthen_them() {
    let quick = [
        (0, true, 1),
        (6, true, 1),
        (22, true, 1),
        (38, true, 1),
        (54, true, 1),
    ];
    let well = [(92, false, 1), (107, false, 1), (120, false, 1)];
    assert!(opened(&[&quick[..], &[(75, true, 16)], &well].concat()).is_empty());
    assert_eq!(
        opened(&[&quick[..], &[(75, true, 16), (92, true, 1)]].concat()),
        [93]
    );
    assert_eq!(
        opened(&[
            (0, true, 15),
            (20, true, 15),
            (50, true, 15),
            (80, true, 15)
        ]),
        [95]
    );
}

/// The baseline must not follow slow probes before they are classified as slow.
#[test]
fn nearly_twice_as_slow_shows_within_half_an_hour() {
    let noise = [-1.2, 0.4, -0.3, 1.1, -0.6, 0.2, 0.8, -0.9, 0.1, 0.5_f64]
        .iter()
        .cycle();
    let usual = noise.map(|z| 400.0 * (0.45 * z).exp()).zip(0..600);
    let readings = usual.map(|(ms, minute)| (if minute < 500 { ms } else { 1.9 * ms }, None));
    let noted = minutes(&DetectionPolicy::default(), readings);
    assert!(
        matches!(noted[..], [(510..530, DetectorEventKind::Open, false)]),
        "{noted:?}"
    );
}

/// One rejection of the key does not raise an alert, but is remembered.
#[test]
fn a_refusal_that_passes_is_a_blip() {
    let policy = Policy::new(
        &DetectionPolicy::default(),
        Duration::from_mins(1),
        "d".into(),
    );
    let policies = BTreeMap::from([(EndpointName::from("e"), policy)]);
    let mut detector = Detector::default();
    let refused = ProbeResult::Account {
        rate_limited: false,
        retry_after_ms: None,
    };
    let blips = [
        ProbeResult::Good(None),
        refused,
        ProbeResult::Good(None),
        ProbeResult::Good(None),
    ]
    .into_iter()
    .zip(0..)
    .flat_map(|(result, minute)| {
        let start = Timestamp(minute * 60_000);
        let (end, next_tick) = (
            start + Duration::from_secs(1),
            start + Duration::from_mins(1),
        );
        let seen = Observation {
            endpoint: "e".into(),
            start,
            end,
            next_tick,
            result,
        };
        let verdict = detector.observe(&policies, &seen);
        assert_eq!(verdict.notes, []);
        verdict
            .blips
            .into_iter()
            .map(move |blip| (minute, blip.cause, blip.started_at, blip.ended_at, blip.k))
    });
    let blips: Vec<_> = blips.collect();
    assert_eq!(
        blips,
        [(
            2,
            DetectedCause::Account,
            Timestamp(60_000),
            Timestamp(61_000),
            1
        )]
    );
}
