//! Context of a fresh sample: what other endpoints, the connectivity checks and past samples say
//! about its attribution.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::MonitorState;
use super::Recent;
use crate::config::StatusFeed;
use crate::incident::attribution::{
    Context, is_admitted, is_confirmed_by_accounts, is_refuted_by_headers, may_be_wrongly_refused,
};
use crate::model::{
    Confirmation, ConnectivityCheckResult, Endpoint, EndpointName, Fault, Outcome, Sample, Secret,
    Timestamp,
};

/// Siblings are rechecked this long after the first rejection of a key that worked until then.
const ASK_SIBLINGS_AFTER_MS: i64 = 500;
/// How long an incident on the vendor's page counts as recent; a minor one may stay there for days.
const PAGE_RECENT_MS: i64 = 7_200_000;
/// Rejections further apart than this (or two intervals, if longer) are not simultaneous.
const AT_ONCE_MS: i64 = 300_000;

impl MonitorState {
    /// Collects the context for attributing the fault of `sample`.
    pub(super) fn context(
        &self,
        sample: &Sample,
        fault: Fault,
        connectivity: Option<ConnectivityCheckResult>,
    ) -> Context {
        Context {
            connectivity,
            others_answer: self.others_answer(sample, |_| true),
            proxy_reaches_others: self.proxy_reaches_others(sample, fault),
            offline: self.state.offline.is_some(),
            is_lossy: fault.is_loss() && self.is_lossy(sample),
            is_confirmed: self.confirmation(sample, fault).is_some(),
        }
    }

    /// Returns the siblings to recheck now because a key that worked until now is rejected. If
    /// theirs is too, it is hardly the account's fault.
    pub(super) fn siblings_to_recheck(
        &self,
        endpoint: &Endpoint,
        sample: &Sample,
    ) -> Vec<(EndpointName, Timestamp)> {
        let first = self
            .recents
            .get(&endpoint.name)
            .and_then(Recent::failing_since)
            == Some(sample.started_at);
        let suspicious = sample.fault.is_some_and(may_be_wrongly_refused);
        if !first || !suspicious || !endpoint.detection.siblings || !self.has_worked(&endpoint.name)
        {
            return Vec::new();
        }
        let at = Timestamp(sample.ended_at().0 + ASK_SIBLINGS_AFTER_MS);
        self.siblings(endpoint)
            .filter(|e| e.detection.recheck)
            .filter(|e| {
                self.recents
                    .get(&e.name)
                    .is_some_and(|r| r.failing_since().is_none())
            })
            .map(|e| (e.name.clone(), at))
            .collect()
    }

    /// Reports whether an endpoint has answered correctly with its current configuration.
    pub(super) fn has_worked(&self, name: &str) -> bool {
        self.recents.get(name).and_then(Recent::good_at).is_some()
    }

    fn siblings<'a>(&'a self, endpoint: &'a Endpoint) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        let domain = endpoint.domain();
        self.config
            .endpoints
            .iter()
            .filter(move |e| e.name != endpoint.name && e.domain() == domain)
    }

    /// Returns evidence, independent of the account, that the provider wrongly rejects `sample`.
    pub(super) fn confirmation(&self, sample: &Sample, fault: Fault) -> Option<Confirmation> {
        if !may_be_wrongly_refused(fault) {
            return None;
        }
        let endpoint = self.endpoint(&sample.endpoint)?;
        if is_refuted_by_headers(sample) {
            let share = sample.ratelimit_headroom.unwrap_or_default();
            return Some(Confirmation::Headers((share * 10_000.0) as u32));
        }
        self.admitted(endpoint, fault)
            .map(Confirmation::VendorPage)
            .or_else(|| {
                self.rejected_elsewhere(endpoint, sample, fault)
                    .map(Confirmation::OtherAccount)
            })
    }

    /// The status feeds that cover `endpoint`.
    fn feeds_of(&self, endpoint: &Endpoint) -> Vec<String> {
        let feeds = self.config.status_feeds.iter();
        feeds
            .filter(|feed| feed.is_about(endpoint))
            .map(StatusFeed::key)
            .collect()
    }

    /// Reports whether the vendor's page has an incident that appeared within the two hours before
    /// `at`.
    pub(super) fn is_on_vendor_page(&self, endpoint: &Endpoint, at: Timestamp) -> bool {
        let feeds = self.feeds_of(endpoint);
        self.state
            .pages
            .published(&feeds)
            .any(|published_at| (0..=PAGE_RECENT_MS).contains(&at.since_ms(published_at)))
    }

    /// The title of the incident on the vendor's page that admits `fault`.
    fn admitted(&self, endpoint: &Endpoint, fault: Fault) -> Option<String> {
        let feeds = self.feeds_of(endpoint);
        let mut titles = self.state.pages.titles(&feeds);
        titles
            .find(|title| is_admitted(fault, title))
            .map(ToOwned::to_owned)
    }

    /// Returns an endpoint whose key belongs to another organization and is rejected in the same
    /// way since the same time. Both keys must have worked before; `None` while any other key
    /// works.
    fn rejected_elsewhere(
        &self,
        endpoint: &Endpoint,
        sample: &Sample,
        fault: Fault,
    ) -> Option<EndpointName> {
        if !is_confirmed_by_accounts(fault) || !self.has_worked(&endpoint.name) {
            return None;
        }
        let organization = sample
            .organization
            .as_deref()
            .or_else(|| self.organization(&endpoint.name))?;
        let began_at = self
            .failing_since(&endpoint.name)
            .unwrap_or(sample.started_at);
        let (other_began_at, other) = self
            .siblings(endpoint)
            .filter(|e| {
                !e.shares_key(endpoint)
                    && self
                        .organization(&e.name)
                        .is_some_and(|other| other != organization)
            })
            .filter_map(|e| {
                let at = self.rejected_together(endpoint, e, fault, began_at)?;
                Some((at, e.name.clone()))
            })
            .min()?;
        let onset = other_began_at.min(began_at);
        let any_works = self
            .siblings(endpoint)
            .filter(|e| !e.shares_key(endpoint))
            .any(|e| self.has_answered_since(&e.name, onset));
        (!any_works).then_some(other)
    }

    /// Returns since when `other` fails with the same fault as `endpoint`, if both began at about
    /// the same time.
    fn rejected_together(
        &self,
        endpoint: &Endpoint,
        other: &Endpoint,
        fault: Fault,
        began_at: Timestamp,
    ) -> Option<Timestamp> {
        let (_, _, last) = self.recents.get(&other.name).and_then(Recent::last)?;
        if last != Some(fault) || !self.has_worked(&other.name) {
            return None;
        }
        let other_began_at = self.failing_since(&other.name)?;
        let at_once_ms = AT_ONCE_MS.max(2 * endpoint.interval.as_millis() as i64);
        // Endpoints in the same provider incident stay linked, even if something interrupted the
        // failures of one.
        let is_linked = self
            .state
            .incidents
            .are_suspected_together(&endpoint.name, &other.name)
            || began_at.since_ms(other_began_at).abs() <= at_once_ms;
        is_linked.then_some(other_began_at)
    }

    fn failing_since(&self, name: &str) -> Option<Timestamp> {
        self.recents.get(name).and_then(Recent::failing_since)
    }

    /// Returns the organization that the endpoint's last answer named.
    fn organization(&self, name: &str) -> Option<&str> {
        self.recents.get(name).and_then(Recent::organization)
    }

    /// Reports whether the endpoint's last probe was answered, after `at`.
    fn has_answered_since(&self, name: &str, at: Timestamp) -> bool {
        self.recents
            .get(name)
            .and_then(Recent::last)
            .is_some_and(|(ended_at, outcome, _)| outcome != Outcome::Failed && ended_at > at)
    }

    /// Reports whether packets are lost on the way to unrelated providers as well.
    fn is_lossy(&self, sample: &Sample) -> bool {
        let network = &self.state.network;
        network.is_lossy(&self.peers, &sample.endpoint, sample.started_at)
    }

    /// Reports whether the proxy is up but cannot reach the target, while other providers answer
    /// through it.
    fn proxy_reaches_others(&self, sample: &Sample, fault: Fault) -> bool {
        let Some(endpoint) = self.endpoint(&sample.endpoint) else {
            return false;
        };
        let proxies = &self.config.monitor.proxy;
        let proxy = proxies.towards(&endpoint.base_url);
        fault == Fault::LocalProxy
            && sample
                .http_status
                .is_some_and(|status| matches!(status, 502..=504))
            && self.others_answer(sample, |other| proxies.towards(&other.base_url) == proxy)
    }

    /// Reports whether an endpoint of another failure domain that matches `those` has answered
    /// since this one began to fail.
    fn others_answer(&self, sample: &Sample, those: impl Fn(&Endpoint) -> bool) -> bool {
        let Some(endpoint) = self.endpoint(&sample.endpoint) else {
            return false;
        };
        let Some(since) = self.failing_since(&endpoint.name) else {
            return false;
        };
        let domain = endpoint.domain();
        self.config
            .endpoints
            .iter()
            .filter(|e| e.domain() != domain && self.config.is_outside(e))
            .any(|e| those(e) && self.has_answered_since(&e.name, since))
    }
}

/// Returns a fingerprint of what an endpoint sends, without revealing it. When it changes, earlier
/// successes no longer count.
pub(super) fn fingerprint(endpoint: &Endpoint) -> u64 {
    let Endpoint {
        base_url,
        model,
        deployment,
        api_version,
        body,
        path,
        ..
    } = endpoint;
    let headers: Vec<_> = endpoint
        .headers
        .iter()
        .map(|(name, value)| (name, value.expose().to_owned()))
        .collect();
    let key = endpoint.api_key.as_ref().map_or("", Secret::expose);
    let text = format!(
        "{base_url}\n{model:?}\n{deployment:?}\n{api_version:?}\n{body:?}\n{path}\n{headers:?}\n{key}"
    );
    first_eight_bytes(&text)
}

/// Returns the first eight bytes of the SHA-256 of `text`. Checkpoints store it, so it must not
/// change between releases.
fn first_eight_bytes(text: &str) -> u64 {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::first_eight_bytes;

    #[test]
    fn fingerprints_stay_equal_between_releases() {
        // FIPS 180-2, B.1.
        assert_eq!(first_eight_bytes("abc"), 0xba78_16bf_8f01_cfea);
    }
}
