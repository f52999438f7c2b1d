//! Is an endpoint healthy? Pure: `(policy, state, observation) -> (state, verdict)`, with whole milliseconds as time.
//!
//! The method is an evidence meter per endpoint: a Bernoulli CUSUM of failures against a learned background rate
//! ([`errors`]) and a CUSUM of clipped log-latency against a learned level ([`slowness`]). Around it: quick second looks
//! under a budget ([`recheck`]), endpoints of one failure domain as each other's witnesses, and recovery by evidence
//! ([`recovery`]). Faults of the account have a small machine of their own ([`account`]) and never touch the meters.
//!
//! Observations are folded in one canonical order, by the end of the probe and then by the endpoint's name
//! ([`canonical_order`](crate::model::canonical_order)), so that which of two results of one instant arrived first decides nothing.

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
mod recheck;
mod recovery;
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
use self::events::{Episode, EventSink, NoteFigures};
use self::judged::Judged;
use self::recheck::RecheckState;
use self::recovery::Alert;
use self::slowness::Slowness;
use crate::model::{
    DetectionPolicy, EndpointName, ProviderName, Sensitivity, ShiftClock, Timestamp, UsualHours,
};

/// How long is learned before anything is called slow: 12 to 50 probes.
const WARM_MS: i64 = 10_800_000;
const DAY_MS: i64 = 86_400_000;
/// A pause in the observations longer than this (or three intervals) is a gap: half-full meters mean nothing any more.
const GAP_MS: i64 = 300_000;
/// How lately siblings must have failed to be witnesses of each other's errors, and of slowness.
const FAILED_LATELY_MS: i64 = 60_000;
const SLOW_LATELY_MS: i64 = 120_000;
/// How long failures must have lasted that a second source confirms, while `alert_after` is not set.
const CONFIRMED_AFTER_MS: i64 = 60_000;
/// How long a provider must have been slow before its endpoints together raise an alert.
const PROVIDER_SLOW_MS: i64 = 90_000;

/// What an endpoint's observations are judged by. An argument, never state: a reload changes it in the middle.
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
    /// The logarithm of how slow a probe is that is neither slow nor usual.
    neutral: f64,
    /// Good probes before anything is called slow.
    warm: u32,
    /// What a first token usually takes, until enough was learned.
    expected_first_token_ms: Option<f64>,
    /// The evidence that an alert needs, in nats.
    evidence: f64,
    /// The alert may come earlier when a second source confirms the failure.
    may_hasten: bool,
    expect_cold_start: bool,
    recheck: bool,
    siblings: bool,
    /// Consecutive failures that open and successes that resolve, instead of the evidence.
    thresholds: Option<(u32, u32)>,
    domain: ProviderName,
}

impl Policy {
    /// The policy of an endpoint that is probed every `interval` and fails together with the others of `domain`.
    pub fn new(policy: &DetectionPolicy, interval: Duration, domain: ProviderName) -> Self {
        let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let thresholds = match (policy.failure_threshold, policy.success_threshold) {
            (None, None) => None,
            (failures, successes) => Some((failures.unwrap_or(3), successes.unwrap_or(2))),
        };
        Self {
            interval_ms: ms(interval).max(1),
            alert_after_ms: ms(policy.alert_after()),
            provider_alert_after_ms: ms(policy.provider_alert_after()),
            degraded_after_ms: ms(policy.degraded_after),
            resolve_after_ms: ms(policy.resolve_after),
            neutral: 0.6 * policy.slow_factor.ln(),
            warm: (WARM_MS / ms(interval).max(1)).clamp(12, 50) as u32,
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

    /// How long failures must have lasted.
    fn alert_after(&self, confirmed: bool) -> i64 {
        if confirmed && self.may_hasten {
            CONFIRMED_AFTER_MS.min(self.alert_after_ms)
        } else {
            self.alert_after_ms
        }
    }
}

/// What a probe showed, as far as detection is concerned.
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
    /// Rightly; without a reading when its latency says nothing about the provider.
    Good(Option<LatencyReading>),
    /// By the provider's fault.
    Failed {
        /// In what way.
        reason: FailureReason,
        /// How long it asks us to wait, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// By a fault of the account, the request or this machine alone.
    Account {
        /// The account's own rate limit was reached.
        rate_limited: bool,
        /// How long the provider asks us to wait, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// The monitor's own network is gone: nothing was measured.
    Offline,
}

/// In what way a probe failed, as far as that changes how it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// The provider throttled the request.
    RateLimited,
    /// Nothing came in time.
    TimedOut,
    /// It confirms itself: the connection was refused, or the name no longer exists while others do.
    Confirmed,
    /// The vendor's page has a recent incident, which confirms this failure and those before it.
    Admitted,
    /// Anything else.
    Other,
}

/// The latency of a good probe, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyReading {
    /// Until the first token; the total for an API without tokens.
    pub first_token_ms: f64,
    /// Until the end.
    pub total_ms: f64,
    /// For each output token after the first; `None` where that is not known.
    pub per_token_ms: Option<f64>,
    /// Whether it is beyond one of the endpoint's absolute limits; `None` when there are none.
    pub beyond_limits: Option<bool>,
}

/// The folded state of all endpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detector {
    /// Boxed: every observation takes one out and puts it back.
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
    /// Its failures may be a brief outage of the domain that recurs.
    held: bool,
    /// What recurs, as of the last midnight.
    rush: Option<Rush>,
    usual_hours: UsualHours,
    minutes: Option<FailingMinutes>,
    errors: ErrorMeter,
    slow: Slowness,
    looking: RecheckState,
    alert: Option<Alert>,
    /// When the last alert was closed, and how often it has come back since.
    closed: Option<i64>,
    flaps: u32,
    first_open: i64,
    account: Account,
}

/// What the endpoints of one failure domain share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Domain {
    /// How many of its endpoints are in its common incident.
    open: u32,
    /// The incident is known to concern the domain.
    escalated: bool,
    /// It was reported that what was slow is failing now.
    down: bool,
    /// Its outages that were over within minutes.
    brief: BriefOutages,
}

/// What decided that an alert is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum AlertKind {
    Errors,
    Slow,
}

impl Detector {
    /// Folds one observation in. Nothing happens when the endpoint is not in `policies`.
    pub fn observe(
        &mut self,
        policies: &BTreeMap<EndpointName, Policy>,
        seen: &Observation,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let Some(policy) = policies.get(&seen.endpoint) else {
            return verdict;
        };
        let (start, end, tick) = (seen.start.0, seen.end.0, seen.next_tick.0);
        let mut own = self.endpoints.remove(&seen.endpoint).unwrap_or_default();
        if own.pass_time(policy, start, end) {
            own.empty_for_gap(&seen.endpoint, end, &mut verdict.blips);
        }
        let mut note = EventSink {
            endpoint: &seen.endpoint,
            end: seen.end,
            notes: &mut verdict.notes,
        };

        if seen.result == ProbeResult::Offline {
            if !self.offline {
                self.offline = true;
                note.plain(DetectorEventKind::Offline);
            }
            own.looking.next_start = (end + 1).max(tick.min(end + policy.fast_gap()));
        } else {
            if self.offline {
                self.offline = false;
                note.plain(DetectorEventKind::Online);
            }
            if let ProbeResult::Account {
                rate_limited,
                retry_after_ms,
            } = seen.result
            {
                let opened = own.account.fault(policy, start, end, rate_limited);
                if let Some((since, run)) = opened {
                    let typical = own.typical(policy);
                    note.push(
                        DetectorEventKind::Open,
                        DetectedCause::Account,
                        NoteFigures {
                            k: run,
                            n: run,
                            since,
                            typical,
                            ..NoteFigures::default()
                        },
                    );
                }
                own.looking.next_start =
                    own.account
                        .recheck(policy, end, tick, rate_limited, retry_after_ms);
            } else {
                let passed = own.account.passed();
                verdict.blips.extend(
                    passed.map(|e| {
                        e.blip(&seen.endpoint, DetectedCause::Account, Cleared::Recovered)
                    }),
                );
                if let Some(ended) = own.account.clear(start) {
                    note.push(
                        DetectorEventKind::Resolved,
                        DetectedCause::Account,
                        NoteFigures {
                            since: start,
                            ended: Some(ended),
                            ..NoteFigures::default()
                        },
                    );
                }
                let judged = Judged {
                    policies,
                    policy,
                    seen,
                };
                self.judge(judged, &mut own, &mut verdict);
            }
        }
        if own.looking.next_start < tick {
            verdict
                .rechecks
                .push((seen.endpoint.clone(), Timestamp(own.looking.next_start)));
        }
        self.endpoints.insert(seen.endpoint.clone(), own);
        verdict
    }

    /// Forgets the endpoints that are not wanted any more.
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

    /// Takes the alert of an endpoint back: what it was raised for has turned out to be no failure of the provider's.
    /// False when there was none.
    pub fn withdraw(&mut self, endpoint: &str) -> bool {
        let watched = self.endpoints.get_mut(endpoint);
        let Some(watched) = watched.filter(|w| w.alert.is_some()) else {
            return false;
        };
        if let Some(domain) = watched.close(watched.seen.unwrap_or_default()) {
            self.leave(&domain);
        }
        true
    }

    /// Whether an alert of failures is open for an endpoint.
    pub fn is_failing(&self, endpoint: &str) -> bool {
        let alert = self.endpoints.get(endpoint).and_then(|e| e.alert.as_ref());
        alert.is_some_and(|a| a.why == AlertKind::Errors)
    }

    /// The bad probes of an endpoint of `policies` that are not enough for an alert yet. Bad probes that lie further back than
    /// an alert takes are not counted as current.
    pub fn pending(
        &self,
        policies: &BTreeMap<EndpointName, Policy>,
        endpoint: &str,
    ) -> Option<Pending> {
        let (watched, policy) = self.endpoints.get(endpoint).zip(policies.get(endpoint))?;
        let mut pending = watched.pending(policy)?;
        let domain = self.domains.get(&policy.domain);
        if let Some(until) = domain.and_then(|d| d.brief.explains_until(policy))
            && pending.cause == DetectedCause::Errors
        {
            pending.earliest_alert_at = pending.earliest_alert_at.max(Timestamp(until));
        }
        Some(pending)
    }

    /// When the bad probes of an endpoint began that the detector has not settled yet.
    pub fn pending_since(&self, endpoint: &str) -> Option<Timestamp> {
        let watched = self.endpoints.get(endpoint)?;
        let account = watched.account.passed();
        let errors = || watched.errors.excursion();
        let since = account.or_else(errors).or_else(|| watched.slow.excursion());
        since.map(|excursion| Timestamp(excursion.since))
    }

    /// What recurs at an endpoint and is therefore not reported as an incident.
    pub fn patterns(&self, endpoint: &str) -> Patterns {
        let state = self.endpoints.get(endpoint);
        state.map_or_else(Patterns::default, |state| Patterns {
            rush: state.rush,
            minutes: state.minutes,
            cold_starts: state.cold.is_frequent(),
        })
    }

    /// How much slower than typical an endpoint usually is in each hour of the week.
    pub fn usual_hours(&self, endpoint: &str) -> UsualHours {
        let state = self.endpoints.get(endpoint);
        state.map(|s| s.usual_hours.clone()).unwrap_or_default()
    }

    /// What is typical for an endpoint of `policies`.
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

    /// The other endpoints of a domain. The one that is being judged has been taken out.
    fn siblings<'a>(
        &'a self,
        policies: &'a BTreeMap<EndpointName, Policy>,
        domain: &'a str,
    ) -> impl Iterator<Item = (&'a EndpointName, &'a EndpointState)> {
        let all = self.endpoints.iter().map(|(name, state)| (name, &**state));
        all.filter(move |(name, _)| {
            policies
                .get(*name)
                .is_some_and(|p| p.domain == domain && p.siblings)
        })
    }
}

impl EndpointState {
    /// What the mere passing of time changes: a little is forgotten every day. True after a gap.
    fn pass_time(&mut self, policy: &Policy, start: i64, end: i64) -> bool {
        let day = end.div_euclid(DAY_MS);
        let Some(seen) = self.seen.replace(end) else {
            self.day = day;
            self.looking.fill(end);
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
        self.looking.refill(policy, end);
        start - seen > GAP_MS.max(3 * policy.interval_ms)
    }

    /// A gap empties half-full meters; an open alert stays, but its recovery has to be earned again.
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

    fn pending(&self, policy: &Policy) -> Option<Pending> {
        if self.account.is_open() || self.alert.is_some() {
            return None;
        }
        let next = self.looking.next_start;
        let seen = self.seen?;
        let goes_on = |excursion: &Episode, within: i64| {
            seen - excursion.until <= within.max(policy.interval_ms)
        };
        let errors = || {
            let excursion = self.errors.excursion()?;
            let earliest = match policy.thresholds {
                Some((failures, _)) => next + self.errors.missing(failures) * policy.interval_ms,
                None => excursion.since + policy.alert_after(self.errors.is_confirmed()),
            };
            goes_on(&excursion, policy.alert_after_ms).then_some((
                DetectedCause::Errors,
                excursion,
                earliest,
            ))
        };
        let slow = || {
            let excursion = self.slow.excursion()?;
            let earliest = excursion.since + policy.degraded_after_ms;
            let is_convincing = self.slow.evidence() >= 0.5 * policy.evidence;
            (is_convincing && goes_on(&excursion, policy.degraded_after_ms)).then_some((
                DetectedCause::Slow,
                excursion,
                earliest,
            ))
        };
        let account = self.account.pending(policy, next);
        let (cause, excursion, earliest) = account
            .map(|(excursion, earliest)| (DetectedCause::Account, excursion, earliest))
            .or_else(errors)
            .or_else(slow)?;
        Some(Pending {
            failed: excursion.k,
            probes: excursion.n,
            since: Timestamp(excursion.since),
            earliest_alert_at: Timestamp(earliest.max(next)),
            cause,
        })
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
                ((self.flaps + 1).min(recovery::MOST_FLAPS), self.first_open)
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
        self.alert = Some(Alert::new(why, k, n, end, hold_ms, grouped));
        self.errors.forget_pending();
    }

    /// Closes the alert; gives the domain whose common incident it was in.
    fn close(&mut self, end: i64) -> Option<ProviderName> {
        self.errors.empty();
        self.slow.empty();
        self.closed = Some(end);
        self.looking.rest();
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
            looking,
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
        looking.shift_clock(by_ms);
        alert.shift_clock(by_ms);
        account.shift_clock(by_ms);
        tick.shift_clock(by_ms);
        first_open.shift_clock(by_ms);
        seen.shift_clock(by_ms);
        closed.shift_clock(by_ms);
    }
}
