//! Decides whether an endpoint is healthy. Pure: `(policy, state, observation) -> (state,
//! verdict)`, with times in whole milliseconds.
//!
//! Each endpoint has evidence meters: a Bernoulli CUSUM of failures against a learned background
//! rate ([`errors`]), and a CUSUM of clipped log-latency against a learned level ([`slowness`]).
//! Rechecks within a budget ([`recheck`]) and other endpoints of the failure domain confirm the
//! evidence; recovery needs evidence too ([`recovery`]). Faults of the account have a state machine
//! of their own ([`account`]) and never change the meters.
//!
//! Observations are folded in one canonical order, by the end of the probe and then by the
//! endpoint's name ([`canonical_order`](crate::model::canonical_order)). So it does not matter
//! which of two simultaneous results arrives first.

mod account;
mod brief;
mod cold;
pub mod early_warning;
mod errors;
mod events;
mod histogram;
mod hours;
mod judge;
mod judged;
mod minutes;
mod patterns;
mod pending;
mod recheck;
mod recovery;
mod revision;
mod sample;
pub mod shared_fate;
mod slowness;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use patterns::{FailingMinutes, Patterns, Rush};
pub use sample::{LAG_LIMIT_MS, Reader};
pub use verdict::{
    Blip, Cleared, DetectedCause, DetectorEvent, DetectorEventKind, Pending, Shared, Typical,
    Verdict,
};

use self::account::Account;
use self::brief::BriefOutages;
use self::cold::{ColdStarts, Pair, Probe};
use self::errors::ErrorMeter;
use self::events::{Episode, NoteFigures};
use self::judged::Judged;
use self::recheck::RecheckState;
use self::recovery::Alert;
use self::slowness::Slowness;
use crate::model::{
    DetectionPolicy, EndpointName, ProviderName, Sensitivity, ShiftClock, Timestamp, UsualHours,
};

/// How long latencies are learned before a probe can be slow; at least 12 and at most 50 probes.
const WARM_MS: i64 = 10_800_000;
const DAY_MS: i64 = 86_400_000;
/// A pause in the observations longer than this (or three intervals) is a gap: earlier evidence is
/// discarded.
const GAP_MS: i64 = 300_000;
/// How recently siblings must have failed, or been slow, to confirm each other.
const FAILED_LATELY_MS: i64 = 60_000;
const SLOW_LATELY_MS: i64 = 120_000;
/// How long failures that a second source confirms must have lasted, while `alert_after` is not
/// set.
const CONFIRMED_AFTER_MS: i64 = 60_000;
/// How long several endpoints of a provider must have been slow before they open an alert together.
const PROVIDER_SLOW_MS: i64 = 90_000;

/// The rules for an endpoint's observations. An argument, never state: a reload may change it at
/// any time.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct Policy {
    interval_ms: i64,
    alert_after_ms: i64,
    provider_alert_after_ms: i64,
    degraded_after_ms: i64,
    resolve_after_ms: i64,
    /// How much slower than typical a probe is that is neither slow nor usual, as a natural
    /// logarithm.
    neutral: f64,
    /// Good probes that are learned before a probe can be slow.
    warm: u32,
    /// The usual time to first token, in milliseconds, until enough is learned.
    expected_first_token_ms: Option<f64>,
    /// The evidence that an alert needs, in nats.
    evidence: f64,
    /// Whether an alert may come earlier if a second source confirms the failure.
    may_hasten: bool,
    expect_cold_start: bool,
    recheck: bool,
    siblings: bool,
    /// Consecutive failures that open an alert, and successes that resolve it, instead of the
    /// evidence.
    thresholds: Option<(u32, u32)>,
    domain: ProviderName,
}

impl Policy {
    /// Creates the policy of an endpoint that is probed every `interval` and belongs to the failure
    /// domain `domain`.
    pub fn new(policy: &DetectionPolicy, interval: Duration, domain: ProviderName) -> Self {
        let thresholds = match (policy.failure_threshold, policy.success_threshold) {
            (None, None) => None,
            (failures, successes) => Some((failures.unwrap_or(3), successes.unwrap_or(2))),
        };
        Self {
            interval_ms: millis(interval).max(1),
            alert_after_ms: millis(policy.alert_after()),
            provider_alert_after_ms: millis(policy.provider_alert_after()),
            degraded_after_ms: millis(policy.degraded_after),
            resolve_after_ms: millis(policy.resolve_after),
            neutral: 0.6 * policy.slow_factor.ln(),
            warm: (WARM_MS / millis(interval).max(1)).clamp(12, 50) as u32,
            expected_first_token_ms: policy
                .expected_first_token
                .map(|d| d.as_secs_f64() * 1000.0),
            evidence: match policy.sensitivity {
                Sensitivity::High => 9.0,
                Sensitivity::Normal => 12.0,
                Sensitivity::Low => 16.0,
            },
            may_hasten: policy.alert_after.is_none(),
            expect_cold_start: policy.expect_cold_start,
            recheck: policy.recheck && thresholds.is_none(),
            siblings: policy.siblings && thresholds.is_none(),
            thresholds,
            domain,
        }
    }

    /// Reports whether the last bad probe of an episode was at most `within` milliseconds, or one
    /// interval, before `seen`.
    fn is_recent(&self, episode: &Episode, seen: i64, within: i64) -> bool {
        seen - episode.until <= within.max(self.interval_ms)
    }

    /// Returns how long failures must have lasted, in milliseconds.
    fn alert_after(&self, confirmed: bool) -> i64 {
        if confirmed && self.may_hasten {
            CONFIRMED_AFTER_MS.min(self.alert_after_ms)
        } else {
            self.alert_after_ms
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What detection needs to know about a probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// When the probe began.
    pub start: Timestamp,
    /// When it ended; nothing is decided before.
    pub end: Timestamp,
    /// The next scheduled start after `end`.
    pub next_tick: Timestamp,
    /// How it ended.
    pub result: ProbeResult,
}

/// How a probe ended.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeResult {
    /// With a correct answer; without a reading if its latency says nothing about the provider.
    Good(Option<LatencyReading>),
    /// With a fault of the provider.
    Failed {
        /// How it failed.
        reason: FailureReason,
        /// How long the provider asks us to wait, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// With a fault of the account, the request or this machine alone.
    Account {
        /// Whether the account's own rate limit was reached.
        rate_limited: bool,
        /// How long the provider asks us to wait, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// This machine was offline: nothing was measured.
    Offline,
}

/// How a probe failed, where that changes how it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// The provider throttled the request.
    RateLimited,
    /// It timed out.
    TimedOut,
    /// The failure needs no second source: the connection was refused, or the name no longer exists
    /// while others do.
    Confirmed,
    /// A recent incident on the vendor's status page confirms this failure and earlier ones.
    Admitted,
    /// Anything else.
    Other,
}

/// The latency of a good probe, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyReading {
    /// Time to first token; the total for an API without tokens.
    pub first_token_ms: f64,
    /// Total time.
    pub total_ms: f64,
    /// Time per output token after the first; `None` if unknown.
    pub per_token_ms: Option<f64>,
    /// Whether it exceeds one of the endpoint's absolute limits; `None` if there are none.
    pub beyond_limits: Option<bool>,
}

/// The folded state of all endpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detector {
    /// Boxed, because every observation takes one out and puts it back.
    endpoints: BTreeMap<EndpointName, Box<EndpointState>>,
    domains: BTreeMap<ProviderName, Domain>,
    offline: bool,
}

/// The folded state of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct EndpointState {
    /// When the last observation ended.
    seen: Option<i64>,
    day: i64,
    /// The next scheduled start as of the last observation.
    tick: i64,
    cold: ColdStarts,
    /// Whether its failures may be a recurring brief outage of the domain.
    held: bool,
    /// The recurring slow hours, as of the last midnight.
    rush: Option<Rush>,
    usual_hours: UsualHours,
    minutes: Option<FailingMinutes>,
    errors: ErrorMeter,
    slow: Slowness,
    #[serde(rename = "looking")]
    rechecks: RecheckState,
    alert: Option<Alert>,
    /// When the last alert was closed, and how often it has reopened since.
    closed: Option<i64>,
    flaps: u32,
    first_open: i64,
    account: Account,
}

/// What the endpoints of one failure domain share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Domain {
    /// How many of its endpoints are part of its common incident.
    open: u32,
    /// Whether the incident is known to affect the domain.
    escalated: bool,
    /// Whether it was reported that slow endpoints are failing now.
    down: bool,
    /// Its brief outages.
    brief: BriefOutages,
}

/// The kind of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum AlertKind {
    Errors,
    Slow,
}

impl Detector {
    /// Folds one observation into the state. An endpoint that is not in `policies` is ignored.
    pub fn observe(
        &mut self,
        policies: &BTreeMap<EndpointName, Policy>,
        seen: &Observation,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let Some(policy) = policies.get(&seen.endpoint) else {
            return verdict;
        };
        let judged = Judged {
            policies,
            policy,
            seen,
        };
        let (start, end, tick) = (judged.start(), judged.end(), seen.next_tick.0);
        let mut own = self.endpoints.remove(&seen.endpoint).unwrap_or_default();
        if own.pass_time(policy, start, end) {
            own.empty_for_gap(&seen.endpoint, end, &mut verdict.blips);
        }
        self.note_connectivity(judged, &mut verdict);
        match seen.result {
            ProbeResult::Offline => {
                own.rechecks.next_start = (end + 1).max(tick.min(end + policy.fast_gap()));
            }
            ProbeResult::Account {
                rate_limited,
                retry_after_ms,
            } => {
                own.count_account_fault(judged, rate_limited, &mut verdict);
                own.rechecks.next_start =
                    own.account
                        .recheck(policy, end, tick, rate_limited, retry_after_ms);
            }
            ProbeResult::Good(_) | ProbeResult::Failed { .. } => {
                own.end_account_faults(judged, &mut verdict);
                self.judge(judged, &mut own, &mut verdict);
            }
        }
        if own.rechecks.next_start < tick {
            verdict
                .rechecks
                .push((seen.endpoint.clone(), Timestamp(own.rechecks.next_start)));
        }
        self.endpoints.insert(seen.endpoint.clone(), own);
        verdict
    }

    /// Notes when this machine goes offline, and when it is online again.
    fn note_connectivity(&mut self, judged: Judged<'_>, verdict: &mut Verdict) {
        let is_offline = judged.seen.result == ProbeResult::Offline;
        let was_offline = std::mem::replace(&mut self.offline, is_offline);
        let mut events = judged.events(&mut verdict.notes);
        match (was_offline, is_offline) {
            (false, true) => events.plain(DetectorEventKind::Offline),
            (true, false) => events.plain(DetectorEventKind::Online),
            _ => {}
        }
    }

    /// Removes the endpoints for which `wanted` returns false.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        let left: Vec<_> = self
            .endpoints
            .keys()
            .filter(|name| !wanted(name))
            .cloned()
            .collect();
        for name in left {
            let alert = self.endpoints.remove(&name).and_then(|w| w.alert);
            if let Some(domain) = alert.and_then(|a| a.grouped) {
                self.leave(&domain);
            }
        }
    }

    /// Withdraws the alert of an endpoint, because its cause turned out not to be the provider.
    /// Returns false if there was none.
    pub fn withdraw(&mut self, endpoint: &str) -> bool {
        let state = self.endpoints.get_mut(endpoint);
        let Some(state) = state.filter(|w| w.alert.is_some()) else {
            return false;
        };
        if let Some(domain) = state.close(state.seen.unwrap_or_default()) {
            self.leave(&domain);
        }
        true
    }

    /// Reports whether an alert about failures is open for an endpoint.
    pub fn is_failing(&self, endpoint: &str) -> bool {
        let alert = self.endpoints.get(endpoint).and_then(|e| e.alert.as_ref());
        alert.is_some_and(|a| a.why == AlertKind::Errors)
    }

    /// Returns the recurring patterns of an endpoint, which are not reported as incidents.
    pub fn patterns(&self, endpoint: &str) -> Patterns {
        let state = self.endpoints.get(endpoint);
        state.map_or_else(Patterns::default, |state| Patterns {
            rush: state.rush,
            minutes: state.minutes,
            cold_starts: state.cold.is_frequent(),
        })
    }

    /// Returns how much slower than typical an endpoint usually is in each hour of the week.
    pub fn usual_hours(&self, endpoint: &str) -> UsualHours {
        let state = self.endpoints.get(endpoint);
        state.map(|s| s.usual_hours.clone()).unwrap_or_default()
    }

    /// Returns the typical values of an endpoint of `policies`.
    pub fn typical(&self, policies: &BTreeMap<EndpointName, Policy>, endpoint: &str) -> Typical {
        let known = self.endpoints.get(endpoint).zip(policies.get(endpoint));
        known
            .map(|(w, policy)| w.typical(policy))
            .unwrap_or_default()
    }

    fn leave(&mut self, domain: &str) {
        let state = self.domains.entry(domain.into()).or_default();
        state.open = state.open.saturating_sub(1);
        if state.open == 0 {
            *state = Domain {
                brief: std::mem::take(&mut state.brief),
                ..Domain::default()
            };
        }
    }

    /// Returns the other endpoints of a domain. The one that is being judged has been taken out.
    fn siblings<'a>(
        &'a self,
        policies: &'a BTreeMap<EndpointName, Policy>,
        domain: &'a str,
    ) -> impl Iterator<Item = (&'a EndpointName, &'a EndpointState)> {
        // Both are sorted by name: one pass over them is far quicker than a search for each.
        let mut states = self.endpoints.iter().peekable();
        policies
            .iter()
            .filter(move |(_, policy)| policy.siblings && policy.domain == domain)
            .filter_map(move |(name, _)| {
                while states.next_if(|(other, _)| *other < name).is_some() {}
                states.next_if(|(other, _)| *other == name)
            })
            .map(|(name, state)| (name, &**state))
    }
}

impl EndpointState {
    /// Applies what changes with time, such as the daily decay. Returns true after a gap.
    fn pass_time(&mut self, policy: &Policy, start: i64, end: i64) -> bool {
        let day = end.div_euclid(DAY_MS);
        let Some(seen) = self.seen.replace(end) else {
            self.day = day;
            self.rechecks.fill(end);
            return false;
        };
        for _ in self.day..day.min(self.day + 400) {
            self.slow.forget();
            self.errors.forget();
        }
        if day > self.day {
            self.rush = self.slow.rush();
            self.usual_hours = self.slow.usual_hours();
            self.minutes = self.errors.failing_minutes();
        }
        self.day = day;
        self.rechecks.refill(policy, end);
        start - seen > GAP_MS.max(3 * policy.interval_ms)
    }

    /// Resets the meters after a gap. An open alert stays, but its recovery starts over.
    fn empty_for_gap(&mut self, endpoint: &str, end: i64, blips: &mut Vec<Blip>) {
        let left = [
            (DetectedCause::Errors, self.errors.excursion()),
            (DetectedCause::Slow, self.slow.excursion()),
        ];
        blips.extend(
            left.into_iter()
                .filter_map(|(cause, e)| Some(e?.blip(endpoint, cause, Cleared::Gap))),
        );
        self.errors.empty();
        self.slow.empty();
        if let Some(alert) = &mut self.alert {
            alert.begin_again(end);
        }
    }

    /// Counts a fault of the account, the request or this machine.
    fn count_account_fault(
        &mut self,
        judged: Judged<'_>,
        rate_limited: bool,
        verdict: &mut Verdict,
    ) {
        let policy = judged.policy;
        let opened = self
            .account
            .fault(policy, judged.start(), judged.end(), rate_limited);
        let Some((since, run)) = opened else {
            return;
        };
        let figures = NoteFigures {
            k: run,
            n: run,
            since,
            typical: self.typical(policy),
            ..NoteFigures::default()
        };
        judged.events(&mut verdict.notes).push(
            DetectorEventKind::Open,
            DetectedCause::Account,
            figures,
        );
    }

    /// Ends the faults of the account: the provider has judged a request.
    fn end_account_faults(&mut self, judged: Judged<'_>, verdict: &mut Verdict) {
        let name = &judged.seen.endpoint;
        let passed = self.account.passed();
        let cleared = if judged.failed() {
            Cleared::Superseded
        } else {
            Cleared::Recovered
        };
        let blip = |e: Episode| e.blip(name, DetectedCause::Account, cleared);
        verdict.blips.extend(passed.map(blip));
        if let Some(ended) = self.account.clear(judged.start()) {
            let figures = NoteFigures {
                since: judged.start(),
                ended: Some(ended),
                ..NoteFigures::default()
            };
            judged.events(&mut verdict.notes).push(
                DetectorEventKind::Resolved,
                DetectedCause::Account,
                figures,
            );
        }
    }

    fn typical(&self, policy: &Policy) -> Typical {
        self.slow.typical(policy, self.errors.typical())
    }

    fn fails_with_others(&self, end: i64) -> bool {
        self.alert.is_none()
            && self.errors.evidence() > 0.0
            && self
                .errors
                .last_failed()
                .is_some_and(|t| end - t <= FAILED_LATELY_MS)
    }

    fn lags_with_others(&self, end: i64, evidence: f64) -> bool {
        self.alert.is_none()
            && self.slow.evidence() >= 0.5 * evidence
            && self
                .slow
                .last_slow()
                .is_some_and(|t| end - t <= SLOW_LATELY_MS)
    }

    fn open(&mut self, policy: &Policy, end: i64, why: AlertKind, grouped: bool) {
        (self.flaps, self.first_open) = match self.closed {
            Some(closed) if end - closed <= recovery::REOPEN_WINDOW_MS => {
                ((self.flaps + 1).min(recovery::MAX_FLAPS), self.first_open)
            }
            _ => (0, end),
        };
        let (k, n) = match why {
            AlertKind::Errors => (self.errors.failures(), self.errors.probes()),
            AlertKind::Slow => self.slow.counts(),
        };
        let hold_ms = policy.resolve_after_ms << self.flaps;
        if why == AlertKind::Slow {
            self.slow.begin_incident();
        }
        let grouped = grouped.then(|| policy.domain.clone());
        let failing_since = self.errors.since().filter(|_| why == AlertKind::Errors);
        let mut alert = Alert::new(why, k, n, end, hold_ms, grouped);
        alert.failing_since = failing_since;
        self.alert = Some(alert);
        self.errors.forget_pending();
    }

    /// Closes the alert. Returns the domain if the alert was part of its common incident.
    fn close(&mut self, end: i64) -> Option<ProviderName> {
        self.errors.empty();
        self.slow.empty();
        self.closed = Some(end);
        self.rechecks.rest();
        self.alert.take().and_then(|a| a.grouped)
    }

    fn figures(
        &self,
        policy: &Policy,
        why: AlertKind,
        reading: Option<LatencyReading>,
    ) -> NoteFigures {
        let (k, n) = match why {
            AlertKind::Errors => (self.errors.failures(), self.errors.probes()),
            AlertKind::Slow => self.slow.counts(),
        };
        let since = match why {
            AlertKind::Errors => self.errors.since(),
            AlertKind::Slow => self.slow.since(),
        };
        NoteFigures {
            k,
            n,
            since: since.or(self.seen).unwrap_or_default(),
            typical: self.typical(policy),
            shared: None,
            was_slow: false,
            ended: None,
            new_normal: false,
            first_token_ms: reading.map(|r| r.first_token_ms),
        }
    }
}

impl ShiftClock for Detector {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            endpoints,
            domains,
            offline: _,
        } = self;
        endpoints.shift_clock(by_ms);
        domains.shift_clock(by_ms);
    }
}

impl ShiftClock for Domain {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            open: _,
            escalated: _,
            down: _,
            brief,
        } = self;
        brief.shift_clock(by_ms);
    }
}

impl ShiftClock for EndpointState {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            cold,
            errors,
            slow,
            rechecks,
            alert,
            account,
            tick,
            first_open,
            seen,
            closed,
            day: _,
            held: _,
            rush: _,
            usual_hours: _,
            minutes: _,
            flaps: _,
        } = self;
        cold.shift_clock(by_ms);
        errors.shift_clock(by_ms);
        slow.shift_clock(by_ms);
        rechecks.shift_clock(by_ms);
        alert.shift_clock(by_ms);
        account.shift_clock(by_ms);
        tick.shift_clock(by_ms);
        first_open.shift_clock(by_ms);
        seen.shift_clock(by_ms);
        closed.shift_clock(by_ms);
    }
}
