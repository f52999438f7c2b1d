//! Bad probes that are not enough for an alert yet, and the earliest time of the alert.

use std::collections::BTreeMap;

use super::{DetectedCause, Detector, EndpointState, Episode, PROVIDER_SLOW_MS, Pending, Policy};
use crate::model::{EndpointName, ProviderName, Timestamp};

/// What decides when the endpoints of one failure domain can open an alert together, in
/// milliseconds.
#[derive(Debug, Clone, Copy)]
struct DomainOutlook {
    endpoints: u32,
    /// Whether an alert is open, which others may join at their next bad probe.
    is_open: bool,
    /// The earliest next probe.
    next_start: i64,
    /// The earliest failure, and the shortest `provider_alert_after`.
    failing_from: i64,
    provider_alert_after_ms: i64,
    /// The earliest time at which one of the endpoints can open an alert, or be slow with others
    /// for long enough.
    alone: i64,
}

impl DomainOutlook {
    const NONE: Self = Self {
        endpoints: 0,
        is_open: false,
        next_start: i64::MAX,
        failing_from: i64::MAX,
        provider_alert_after_ms: i64::MAX,
        alone: i64::MAX,
    };

    fn add(&mut self, policy: &Policy, state: &EndpointState) {
        let slow = state.slow_from() + PROVIDER_SLOW_MS.min(policy.degraded_after_ms);
        self.endpoints += 1;
        self.is_open |= state.alert.is_some();
        self.next_start = self.next_start.min(state.rechecks.next_start);
        self.failing_from = self.failing_from.min(state.failing_from());
        self.provider_alert_after_ms = self
            .provider_alert_after_ms
            .min(policy.provider_alert_after_ms);
        self.alone = self.alone.min(state.errors_due(policy)).min(slow);
    }

    /// Returns the earliest time at which an endpoint, whose next probe begins at `next_start`, can
    /// open an alert with others.
    fn earliest(self, next_start: i64) -> i64 {
        if self.endpoints < 2 {
            i64::MAX
        } else if self.is_open {
            next_start
        } else {
            let together = self
                .failing_from
                .saturating_add(self.provider_alert_after_ms);
            together.min(self.alone).max(self.next_start)
        }
    }
}

impl Detector {
    /// Returns the bad probes of an endpoint of `policies` that are not enough for an alert yet.
    /// Bad probes older than the time that an alert takes do not count.
    pub fn pending(
        &self,
        policies: &BTreeMap<EndpointName, Policy>,
        endpoint: &str,
    ) -> Option<Pending> {
        let (state, policy) = self.endpoints.get(endpoint).zip(policies.get(endpoint))?;
        let (cause, bad) = state.pending(policy)?;
        let mut outlook = DomainOutlook::NONE;
        if policy.siblings {
            for (name, sibling) in self.siblings(policies, &policy.domain) {
                if let Some(policy) = policies.get(name) {
                    outlook.add(policy, sibling);
                }
            }
        }
        Some(state.describe(policy, cause, bad, outlook))
    }

    /// As [`pending`](Self::pending), for every endpoint of `policies` that has such probes.
    pub fn all_pending(
        &self,
        policies: &BTreeMap<EndpointName, Policy>,
    ) -> BTreeMap<EndpointName, Pending> {
        let known = || {
            let known = policies.iter();
            known.filter_map(|(name, policy)| Some((name, policy, self.endpoints.get(name)?)))
        };
        let found: Vec<_> = known()
            .filter_map(|(name, policy, state)| Some((name, policy, state, state.pending(policy)?)))
            .collect();
        if found.is_empty() {
            return BTreeMap::new();
        }
        let mut outlooks: BTreeMap<&ProviderName, DomainOutlook> = BTreeMap::new();
        for (_, policy, state) in known().filter(|(_, policy, _)| policy.siblings) {
            let outlook = outlooks.entry(&policy.domain);
            outlook.or_insert(DomainOutlook::NONE).add(policy, state);
        }
        let described = found
            .into_iter()
            .map(|(name, policy, state, (cause, bad))| {
                let outlook = outlooks.get(&policy.domain).filter(|_| policy.siblings);
                let outlook = outlook.copied().unwrap_or(DomainOutlook::NONE);
                (name.clone(), state.describe(policy, cause, bad, outlook))
            });
        described.collect()
    }

    /// Returns when the bad probes began that are neither an alert nor over yet.
    pub fn pending_since(&self, endpoint: &str) -> Option<Timestamp> {
        let state = self.endpoints.get(endpoint)?;
        let account = state.account.passed();
        let since = account
            .or_else(|| state.errors.excursion())
            .or_else(|| state.slow.excursion());
        since.map(|excursion| Timestamp(excursion.since))
    }
}

impl EndpointState {
    /// Returns the bad probes that are not enough for an alert yet, and what they are evidence of.
    fn pending(&self, policy: &Policy) -> Option<(DetectedCause, Episode)> {
        if self.account.is_open() || self.alert.is_some() {
            return None;
        }
        let seen = self.seen?;
        let account = self.account.passed().map(|e| (DetectedCause::Account, e));
        account
            .or_else(|| self.pending_errors(policy, seen))
            .or_else(|| self.pending_slowness(policy, seen))
    }

    fn pending_errors(&self, policy: &Policy, seen: i64) -> Option<(DetectedCause, Episode)> {
        let excursion = self.errors.excursion()?;
        let is_recent = policy.is_recent(&excursion, seen, policy.alert_after_ms);
        is_recent.then_some((DetectedCause::Errors, excursion))
    }

    fn pending_slowness(&self, policy: &Policy, seen: i64) -> Option<(DetectedCause, Episode)> {
        let excursion = self.slow.excursion()?;
        let is_convincing = self.slow.evidence() >= 0.5 * policy.evidence;
        let is_recent = policy.is_recent(&excursion, seen, policy.degraded_after_ms);
        (is_convincing && is_recent).then_some((DetectedCause::Slow, excursion))
    }

    fn describe(
        &self,
        policy: &Policy,
        cause: DetectedCause,
        bad: Episode,
        outlook: DomainOutlook,
    ) -> Pending {
        let next_start = self.rechecks.next_start;
        let slow = self.slow_from() + policy.degraded_after_ms;
        let own = self.errors_due(policy).min(slow);
        let account = (cause == DetectedCause::Account).then(|| self.account.earliest(policy));
        let own = own.min(account.unwrap_or(i64::MAX)).max(next_start);
        Pending {
            failed: bad.k,
            probes: bad.n,
            since: Timestamp(bad.since),
            earliest_alert_at: Timestamp(
                // A sibling may not have been probed for long.
                own.min(outlook.earliest(next_start))
                    .max(self.seen.unwrap_or(i64::MIN)),
            ),
            cause,
        }
    }

    /// Returns the start of the first failure that counts; the next probe may be the first.
    fn failing_from(&self) -> i64 {
        self.errors.since().unwrap_or(self.rechecks.next_start)
    }

    fn slow_from(&self) -> i64 {
        let since = self.slow.earliest_since();
        since.unwrap_or(self.rechecks.next_start)
    }

    /// Returns the earliest time of an alert about failures of this endpoint alone. A second source
    /// may still confirm them.
    fn errors_due(&self, policy: &Policy) -> i64 {
        match policy.thresholds {
            Some((failures, _)) => {
                self.rechecks.next_start + self.errors.missing(failures) * policy.interval_ms
            }
            None => self.failing_from() + policy.alert_after(true),
        }
    }
}
