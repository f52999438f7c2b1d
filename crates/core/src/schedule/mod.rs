//! Decides when each endpoint is due. Pure: the time is an argument.
//!
//! Every endpoint has its own grid on the wall clock: ticks one interval apart, shifted by a phase
//! that is hashed from its name. So a restart keeps the rhythm, nothing drifts, and a fleet spreads
//! over the interval instead of bunching. A recheck between two ticks does not move the grid.

pub mod budget;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{EndpointName, Timestamp, Trigger};

/// One probe that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// When it should begin.
    pub scheduled_at: Timestamp,
    /// Why it is due.
    pub trigger: Trigger,
}

/// Returns the first tick of the grid of `name` strictly after `after`.
pub fn next_tick(name: &str, interval: Duration, after: Timestamp) -> Timestamp {
    let interval = interval_ms(interval);
    let phase = (hash(name) % interval.unsigned_abs()).cast_signed();
    Timestamp(after.0 + interval - (after.0 - phase).rem_euclid(interval))
}

/// The next probe of each endpoint. At most one probe of an endpoint is in flight; ticks that pass
/// meanwhile are skipped.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: BTreeMap<EndpointName, ScheduleEntry>,
    /// The entries that are not in flight, by time.
    waiting: BTreeSet<(Timestamp, EndpointName)>,
}

#[derive(Debug)]
struct ScheduleEntry {
    interval: Duration,
    due: Timestamp,
    trigger: Trigger,
    in_flight: bool,
}

impl Schedule {
    /// Applies `policies` (names and intervals) from `now` on. An endpoint with an unchanged
    /// interval keeps its next probe, including a scheduled recheck. A new endpoint is probed at
    /// once, and then on its grid.
    pub fn follow(&mut self, policies: &[(EndpointName, Duration)], now: Timestamp) {
        let names: BTreeSet<&str> = policies.iter().map(|(name, _)| name.as_str()).collect();
        self.entries.retain(|name, _| names.contains(name.as_str()));
        let new: Vec<_> = policies
            .iter()
            .filter(|(name, _)| !self.entries.contains_key(name))
            .collect();
        for (place, (name, interval)) in new.iter().enumerate() {
            let entry = ScheduleEntry {
                interval: *interval,
                due: now + startup_delay(place, new.len(), *interval),
                trigger: Trigger::Startup,
                in_flight: false,
            };
            self.entries.insert(name.clone(), entry);
        }
        for (name, interval) in policies {
            if let Some(entry) = self.entries.get_mut(name)
                && entry.interval != *interval
            {
                entry.interval = *interval;
                entry.due = next_tick(name, *interval, now);
                entry.trigger = Trigger::Schedule;
            }
        }
        self.rebuild();
    }

    /// When the next probe is due; `None` when no probe is waiting.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Takes all probes that are due at `now` and marks them in flight.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some((at, name)) = self.waiting.pop_first() {
            if at > now {
                self.waiting.insert((at, name));
                break;
            }
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.in_flight = true;
                due.push(Due {
                    endpoint: name,
                    scheduled_at: at,
                    trigger: entry.trigger,
                });
            }
        }
        due
    }

    /// Returns `name` to its grid after its probe has ended. Returns how many ticks passed while it
    /// was in flight.
    pub fn finished(&mut self, name: &str, now: Timestamp) -> u64 {
        let Some(entry) = self.entries.get_mut(name).filter(|e| e.in_flight) else {
            return 0;
        };
        let next = next_tick(name, entry.interval, entry.due);
        let again = next_tick(name, entry.interval, now);
        let skipped = again.since_ms(next).max(0) / interval_ms(entry.interval);
        entry.in_flight = false;
        entry.due = again;
        entry.trigger = Trigger::Schedule;
        self.waiting.insert((again, name.into()));
        skipped.unsigned_abs()
    }

    /// Schedules a recheck of `name` at `at`, unless a tick comes first or a probe is in flight.
    pub fn recheck(&mut self, name: &str, at: Timestamp) {
        let Some(entry) = self
            .entries
            .get_mut(name)
            .filter(|e| !e.in_flight && at < e.due)
        else {
            return;
        };
        self.waiting.remove(&(entry.due, name.into()));
        entry.due = at;
        entry.trigger = Trigger::Recheck;
        self.waiting.insert((at, name.into()));
    }

    /// Puts every endpoint back on its grid after `now`: probes missed during a sleep or a clock
    /// change are not caught up.
    pub fn resync(&mut self, now: Timestamp) {
        for (name, entry) in &mut self.entries {
            entry.due = next_tick(name, entry.interval, now);
            entry.trigger = Trigger::Schedule;
        }
        self.rebuild();
    }

    /// The shortest interval; `None` without endpoints.
    pub fn shortest_interval(&self) -> Option<Duration> {
        self.entries.values().map(|e| e.interval).min()
    }

    fn rebuild(&mut self) {
        self.waiting = self
            .entries
            .iter()
            .filter(|(_, e)| !e.in_flight)
            .map(|(name, e)| (e.due, name.clone()))
            .collect();
    }
}

/// After a start, all endpoints are probed within this time, or within their interval if it is
/// shorter.
const STARTUP: Duration = Duration::from_secs(10);
/// Delay between the first probes of consecutive endpoints in a small fleet.
const STARTUP_STEP: Duration = Duration::from_millis(100);

/// Returns how long after a start the endpoint at `place` of `count` is probed.
fn startup_delay(place: usize, count: usize, interval: Duration) -> Duration {
    let step = STARTUP_STEP.as_secs_f64();
    let all = (step * count as f64).min(STARTUP.min(interval).as_secs_f64());
    Duration::from_secs_f64(all * place as f64 / count.max(1) as f64)
}

fn interval_ms(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis())
        .unwrap_or(i64::MAX)
        .max(1)
}

/// FNV-1a with the finalizer of `SplitMix64`. It is stable across releases and machines, unlike the
/// standard library's hasher, and well spread in its low bits.
fn hash(name: &str) -> u64 {
    let mut h = name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// A schedule of `names`, each probed once at the start.
    fn started(names: &[&str], now: i64) -> Schedule {
        let mut schedule = schedule(names, now);
        let first = Timestamp(now) + STARTUP_STEP * names.len() as u32;
        for due in schedule.take_due(first) {
            schedule.finished(&due.endpoint, first);
        }
        schedule
    }

    fn schedule(names: &[&str], now: i64) -> Schedule {
        let mut schedule = Schedule::default();
        let policies: Vec<_> = names
            .iter()
            .map(|n| (EndpointName::from(*n), MINUTE))
            .collect();
        schedule.follow(&policies, Timestamp(now));
        schedule
    }

    #[test]
    fn a_restart_probes_at_once_and_keeps_the_rhythm() {
        let second_probe = |start: i64| {
            let mut schedule = schedule(&["openai-chat"], start);
            let due = schedule.take_due(Timestamp(start));
            assert_eq!(due[0].trigger, Trigger::Startup);
            schedule.finished("openai-chat", Timestamp(start + 10));
            schedule.next_due().unwrap()
        };
        let (first, later) = (
            second_probe(1_000_000),
            second_probe(1_000_000 + 10 * 60_000),
        );
        assert_eq!(later.since_ms(first), 10 * 60_000);
    }

    #[test]
    fn a_start_probes_every_endpoint_within_ten_seconds() {
        let last = |count, interval| startup_delay(count - 1, count, interval);
        assert_eq!(startup_delay(0, 5000, MINUTE), Duration::ZERO);
        assert_eq!(last(3, MINUTE), Duration::from_millis(200));
        assert!(last(5000, MINUTE) < STARTUP);
        assert!(last(5000, Duration::from_secs(2)) < Duration::from_secs(2));
    }

    #[test]
    fn a_fleet_spreads_over_the_interval() {
        let mut per_second = [0; 60];
        for i in 0..600 {
            let tick = next_tick(&format!("endpoint-{i}"), MINUTE, Timestamp(0));
            per_second[(tick.0 / 1000 % 60) as usize] += 1;
        }
        assert!(
            per_second.iter().all(|n| (1..=30).contains(n)),
            "ten a second on average: {per_second:?}"
        );
    }

    #[test]
    fn long_probe_skips_ticks_and_keeps_the_grid() {
        let mut schedule = started(&["slow"], 0);
        let due = schedule.next_due().unwrap();
        assert_eq!(schedule.take_due(due).len(), 1);
        assert_eq!(schedule.next_due(), None, "at most one in flight");
        assert_eq!(schedule.finished("slow", due + Duration::from_secs(130)), 2);
        assert_eq!(schedule.next_due().unwrap().since_ms(due), 3 * 60_000);
    }

    #[test]
    fn recheck_does_not_move_the_grid() {
        let mut schedule = started(&["a"], 0);
        let tick = schedule.next_due().unwrap();
        schedule.take_due(tick);
        schedule.finished("a", tick + Duration::from_secs(1));
        schedule.recheck("a", tick + Duration::from_secs(6));
        let again = schedule.take_due(tick + Duration::from_secs(6));
        assert_eq!(again[0].trigger, Trigger::Recheck);
        schedule.finished("a", tick + Duration::from_secs(7));
        assert_eq!(schedule.next_due().unwrap().since_ms(tick), 60_000);
        schedule.recheck("a", tick + Duration::from_secs(90));
        assert_eq!(
            schedule.next_due().unwrap().since_ms(tick),
            60_000,
            "the grid comes first"
        );
    }

    #[test]
    fn after_a_sleep_there_is_no_burst() {
        let mut schedule = started(&["a", "b", "c"], 0);
        let morning = Timestamp(8 * 3_600_000);
        schedule.resync(morning);
        assert!(schedule.take_due(morning).is_empty());
        assert_eq!(schedule.take_due(morning + MINUTE).len(), 3);
    }

    proptest! {
        #[test]
        fn ticks_are_one_interval_apart(name in "[a-z0-9-]{1,20}", seconds in 1u64..4000, from in 0i64..2_000_000_000_000) {
            let interval = Duration::from_secs(seconds);
            let first = next_tick(&name, interval, Timestamp(from));
            prop_assert!(first.0 > from && first.since_ms(Timestamp(from)) <= interval.as_millis() as i64);
            prop_assert_eq!(next_tick(&name, interval, first).since_ms(first), interval.as_millis() as i64);
            prop_assert_eq!(next_tick(&name, interval, Timestamp(first.0 - 1)), first);
        }
    }
}
