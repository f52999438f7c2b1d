//! Several locations, one verdict: at any moment all daemons report the same, whichever of them
//! decides, in whatever order they exchange, with clocks that differ and with some of them cut off
//! for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;
use llmwatch_core::config::Agree;
use llmwatch_core::incident::Change;
use llmwatch_core::locations::{
    Decided, LocationEvidence, LocationReport, LocationVerdict, SharedIncident, decide, overlay,
};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    Attribution, EndpointName, Fault, Incident, Outcome, Sample, Scope, Timestamp,
};
use llmwatch_core::monitor::MonitorState;
use proptest::prelude::*;
use uuid::Uuid;

use crate::fold::{ENDPOINTS, configuration, history};
use crate::support::good;

const PLACES: [&str; 3] = ["fra1", "nyc1", "sin1"];
/// How far the store's clock is ahead of each location's, in milliseconds.
const OFFSETS: [i64; 3] = [0, 300_000, -300_000];
/// A verdict is good for so long.
const PATIENCE_MS: i64 = 180_000;
/// A location that is cut off has so many probes before it exchanges again.
const CUT_OFF: usize = 40;

struct Location {
    name: &'static str,
    offset_ms: i64,
    state: MonitorState,
    resolved: Vec<Incident>,
    /// Probes that it still makes without the store.
    cut_off: usize,
    /// Whether the store has all that it has: what a daemon shows that is cut off is its own.
    is_joined: bool,
}

/// What the store holds.
#[derive(Default)]
struct Shared {
    verdicts: BTreeMap<(EndpointName, String), LocationVerdict>,
    reports: BTreeMap<String, LocationReport>,
    open: Vec<SharedIncident>,
    closed: Vec<SharedIncident>,
    numbers: u64,
}

impl Shared {
    /// Takes in what `location` concludes at `now` by the store's clock.
    fn push(&mut self, location: &Location, now: Timestamp) {
        let snapshot = location.snapshot(now);
        let verdicts = LocationVerdict::of_snapshot(&snapshot, location.offset_ms, |_| PATIENCE_MS);
        for verdict in verdicts {
            let verdict = LocationVerdict {
                location: location.name.to_owned(),
                ..verdict
            };
            if verdict.probed_at.is_some() {
                let key = (verdict.endpoint.clone(), verdict.location.clone());
                self.verdicts.insert(key, verdict);
            }
        }
        let mut incidents = snapshot.incidents;
        incidents.extend(location.resolved.iter().cloned());
        let report = LocationReport {
            location: location.name.to_owned(),
            offset_ms: location.offset_ms,
            incidents,
        };
        self.reports.insert(location.name.to_owned(), report);
    }

    /// What the daemon at `location` decides at `now`.
    fn decide(&self, location: &Location, now: Timestamp) -> Vec<Decided> {
        let verdicts: Vec<_> = self.verdicts.values().cloned().collect();
        let reports: Vec<_> = self.reports.values().cloned().collect();
        let evidence = LocationEvidence {
            now,
            at: Timestamp(now.0 - location.offset_ms),
            agree: Agree::Majority,
            verdicts: &verdicts,
            reports: &reports,
            closed: &self.closed,
        };
        let mut number = self.numbers;
        let numbers = || {
            number += 1;
            number
        };
        decide(
            self.open.clone(),
            &evidence,
            numbers,
            &Locale::english(Tz::UTC),
        )
    }

    fn record(&mut self, decided: &[Decided]) {
        for one in decided {
            let shared = &one.shared;
            self.numbers = self.numbers.max(shared.incident.number);
            self.open.retain(|s| s.incident.id != shared.incident.id);
            if shared.incident.resolved_at.is_none() {
                self.open.push(shared.clone());
            } else {
                self.closed.push(shared.clone());
            }
        }
    }
}

impl Location {
    fn snapshot(&self, now: Timestamp) -> llmwatch_core::model::Snapshot {
        self.state.snapshot(Timestamp(now.0 - self.offset_ms))
    }

    /// What it shows at `now`: each endpoint's status, and where it is down.
    fn shown(&self, shared: &Shared, now: Timestamp) -> Vec<String> {
        let mut snapshot = self.snapshot(now);
        let verdicts: Vec<_> = shared.verdicts.values().cloned().collect();
        let incidents: Vec<_> = shared.open.iter().map(|s| s.incident.clone()).collect();
        overlay(
            &mut snapshot,
            &verdicts,
            &incidents,
            Agree::Majority,
            now,
            true,
        );
        let endpoints = snapshot.endpoints.iter();
        let endpoints =
            endpoints.map(|e| format!("{} {:?} {:?}", e.name, e.status, e.locations_down));
        let incidents = snapshot.incidents.iter();
        let incidents =
            incidents.map(|i| format!("{} {:?} {:?} {:?}", i.id, i.status, i.scope, i.locations));
        endpoints.chain(incidents).collect()
    }
}

/// The samples of all locations by the store's clock, each with the place that it is from.
fn merged(histories: [Vec<Sample>; 3]) -> Vec<(Timestamp, usize, Sample)> {
    let mut all = Vec::new();
    for (place, samples) in histories.into_iter().enumerate() {
        for (n, sample) in samples.into_iter().enumerate() {
            let sample = Sample {
                id: Uuid::from_u128(((place as u128 + 1) << 64) | n as u128),
                location: PLACES[place].to_owned(),
                ..sample
            };
            let took = Duration::from_millis(sample.total_ms.unwrap_or(0.0) as u64);
            let end = sample.started_at + took;
            all.push((Timestamp(end.0 + OFFSETS[place]), place, sample));
        }
    }
    all.sort_by_key(|(at, place, _)| (*at, *place));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn all_daemons_report_one_verdict_at_any_moment(
        histories in [history(), history(), history()],
        seed in 0_u64..1_000_000,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut locations: Vec<_> = PLACES
            .iter()
            .zip(OFFSETS)
            .map(|(name, offset_ms)| Location {
                name,
                offset_ms,
                state: MonitorState::new(configuration(""), 1.0),
                resolved: Vec::new(),
                cut_off: 0,
                is_joined: true,
            })
            .collect();
        let mut shared = Shared::default();
        // How often alerting was notified of the beginning and of the end of each incident.
        let mut alerts: BTreeMap<Uuid, [usize; 2]> = BTreeMap::new();
        for (now, place, sample) in merged(histories) {
            let location = &mut locations[place];
            let effects = location.state.step(sample);
            let over = effects.incidents().filter(|(change, ..)| *change == Change::Resolved);
            location.resolved.extend(over.map(|(_, incident, _)| incident.clone()));
            if location.cut_off == 0 && random.u8(0..60) == 0 {
                location.cut_off = random.usize(1..CUT_OFF);
            }
            location.is_joined = location.cut_off == 0;
            if !location.is_joined {
                location.cut_off -= 1;
                continue;
            }
            shared.push(&locations[place], now);
            let decided = shared.decide(&locations[place], now);
            for one in &decided {
                let counts = alerts.entry(one.shared.incident.id).or_default();
                counts[0] += one.alerts.iter().filter(|c| **c == Change::Opened).count();
                counts[1] += one.alerts.iter().filter(|c| **c == Change::Resolved).count();
            }
            shared.record(&decided);
            // A second decision at the same moment changes nothing.
            for other in &locations {
                let again = shared.decide(other, now);
                let news: Vec<_> = again
                    .iter()
                    .filter(|d| d.change.is_some() || !d.alerts.is_empty())
                    .map(|d| (d.change, &d.alerts, &d.shared.incident.title))
                    .collect();
                prop_assert!(news.is_empty(), "{} at {now}: {news:?}", other.name);
            }
            let joined = locations.iter().filter(|l| l.is_joined);
            let shown: Vec<_> = joined.map(|l| l.shown(&shared, now)).collect();
            prop_assert!(shown.iter().all(|other| *other == shown[0]), "{shown:#?}");
        }
        for (id, [opened, resolved]) in alerts {
            prop_assert!(opened == 1 && resolved <= 1, "{id}: {opened} {resolved}");
        }
    }
}

/// A location whose probes have begun to fail is one of those that have to agree: it is not left
/// out until it is sure.
#[test]
fn one_location_is_not_all_while_the_others_are_checking() {
    let name = ENDPOINTS[0].0;
    let mut locations: Vec<_> = PLACES
        .iter()
        .map(|name| Location {
            name,
            offset_ms: 0,
            state: MonitorState::new(configuration("alert_after = \"60s\""), 1.0),
            resolved: Vec::new(),
            cut_off: 0,
            is_joined: true,
        })
        .collect();
    let mut shared = Shared::default();
    let mut opened = None;
    for second in (0..900).step_by(20) {
        let now = Timestamp(1_700_000_000_000 + second * 1000);
        for (place, location) in locations.iter_mut().enumerate() {
            // fra1 fails first; the others begin to when it has an incident.
            let fails = second >= 600 && (place == 0 || opened.is_some());
            let at = Timestamp(now.0 + place as i64);
            let sample = Sample {
                location: location.name.to_owned(),
                ..good(name, at)
            };
            let failed = Sample {
                outcome: Outcome::Failed,
                fault: Some(Fault::Http5xx),
                attribution: Some(Attribution::Provider),
                http_status: Some(503),
                ..sample.clone()
            };
            location.state.step(if fails { failed } else { sample });
            shared.push(location, at);
        }
        let decided = shared.decide(&locations[0], now);
        shared.record(&decided);
        let Some(open) = shared.open.first() else {
            continue;
        };
        let since = *opened.get_or_insert(second);
        let sure = shared
            .verdicts
            .values()
            .filter(|v| v.endpoint == name && v.incident.is_some())
            .count();
        let scope = if sure >= 2 {
            Scope::All
        } else {
            Scope::Location
        };
        assert_eq!(
            open.incident.scope, scope,
            "{second} since {since}: {sure} are sure"
        );
        let shown = locations[0].shown(&shared, now).join("\n");
        let is_down = shown.contains(&format!("{name} Outage"));
        assert_eq!(is_down, sure >= 2, "{second}: {shown}");
        if sure == 3 {
            return;
        }
    }
    panic!("the others never became sure");
}
