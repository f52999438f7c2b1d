//! Applies vendor status pages: they are logged, shown beside our incidents, and sent to channels
//! that want them.

use std::collections::BTreeSet;

use super::{Effects, Fact, MonitorContext, MonitorState, Record};
use crate::config::matchers::wants_type;
use crate::config::{Config, StatusFeed};
use crate::incident::attribution::is_admitted;
use crate::incident::vendor_status::FeedSnapshot;
use crate::incident::{Change, VendorUpdate};
use crate::message::monitor_notice;
use crate::model::{
    AlertState, Attribution, ChannelName, Incident, NoticeKind, Provider, Timestamp,
    VendorIncident, VendorView,
};

impl MonitorState {
    /// Applies the contents of a vendor's status page. They change the official status and the
    /// attribution of open incidents, never the status of a healthy endpoint.
    pub fn apply_status_feed(&mut self, snapshot: FeedSnapshot, at: Timestamp) -> Effects {
        let mut step = Effects::default();
        let feed = snapshot.feed.clone();
        let provider = snapshot.provider;
        let config = &self.config;
        let Some(configured) = config.status_feeds.iter().find(|f| f.key() == feed) else {
            // The reading was in flight when the configuration changed.
            return step;
        };
        let whose = titles(config, configured)
            .into_iter()
            .collect::<Vec<_>>()
            .join(", ");
        let diff = self.state.pages.update(snapshot);
        let is_affected = if self.state.pages.has_undecided(&feed) {
            self.is_affected(configured)
        } else {
            None
        };
        if diff.is_none() && is_affected.is_none() {
            return step;
        }
        let asking = self.asking_for_official(provider);
        let began = is_affected.map_or_else(Vec::new, |is_affected| {
            self.take_undecided(&feed, !is_affected && !asking.is_empty())
        });
        let mut ended = Vec::new();
        if let Some(diff) = diff {
            let closed = diff.closed.iter().filter(|(_, notified)| *notified);
            ended.extend(closed.map(|(incident, _)| incident.clone()));
            step.log(Fact::VendorStatus {
                provider,
                vendor: whose.clone(),
                diff,
            });
        }
        let locale = self.locale();
        let began = began.iter().map(|incident| (incident, true));
        let ended = ended.iter().map(|incident| (incident, false));
        for (incident, began) in began.chain(ended).filter(|_| !asking.is_empty()) {
            let channels = asking.clone();
            step.announce(monitor_notice::vendor(
                provider, &whose, incident, began, channels, at, &locale,
            ));
        }
        self.update_official(&mut step, &feed, at);
        self.admit_faults(&mut step, at);
        step.record(Record::Checkpoint(self.checkpoint()));
        step
    }

    /// Reports whether the probes of the endpoints that `feed` covers fail because of the provider.
    /// `None` while that is unclear: an alert is pending, or faults of the account or of this
    /// machine hide how the provider is.
    fn is_affected(&self, feed: &StatusFeed) -> Option<bool> {
        let pending = self.state.detector.all_pending(&self.policies);
        let covered = self.config.endpoints.iter().filter(|e| feed.is_about(e));
        let mut states = Vec::new();
        for endpoint in covered {
            let incident = self.state.incidents.of(&endpoint.name);
            let attribution = incident.map_or(Attribution::Provider, |i| i.attribution);
            let alert = self.alert_of(&endpoint.name, pending.get(&endpoint.name));
            if alert.state == AlertState::Firing && attribution == Attribution::Provider {
                return Some(true);
            }
            states.push(alert.state);
        }
        let answers = states.is_empty() || states.contains(&AlertState::Inactive);
        let is_unclear = !answers || states.contains(&AlertState::Pending);
        (!is_unclear).then_some(false)
    }

    /// Takes the vendor's incidents that await a decision. Those that are announced are recorded
    /// and returned.
    fn take_undecided(&mut self, feed: &str, are_announced: bool) -> Vec<VendorIncident> {
        let mut incidents = self.state.pages.take_undecided(feed);
        incidents.retain(|_| are_announced);
        for incident in &incidents {
            self.state.pages.record_notified(feed, &incident.id);
        }
        incidents
    }

    /// Returns the channels that want the incidents of a provider's status page.
    fn asking_for_official(&self, provider: Provider) -> Vec<ChannelName> {
        self.config
            .channels
            .iter()
            .filter(|c| wants_type(&c.filters, NoticeKind::Official))
            .filter(|c| c.filters.providers.is_empty() || c.filters.providers.contains(&provider))
            .map(|c| c.name.clone())
            .collect()
    }

    /// Updates what the open incidents say about the vendor's page.
    fn update_official(&mut self, step: &mut Effects, feed: &String, at: Timestamp) {
        let config = &self.config;
        let pages = &self.state.pages;
        let updates = self.state.incidents.update_official(at, |incident| {
            match feeds_if_about(config, incident, feed) {
                Some(feeds) => pages.about(incident, &feeds),
                None => incident.official.clone(),
            }
        });
        for VendorUpdate {
            incident,
            published,
        } in updates
        {
            step.record(Record::VendorStatus(
                incident.id,
                Box::new(incident.official.clone()),
            ));
            match (published, incident.resolved_at) {
                (false, _) => {}
                (true, None) => {
                    step.incidents_changed(
                        vec![(Change::Updated, incident)],
                        at,
                        &self.config.monitor.location,
                        &self.locale(),
                    );
                }
                // Its recovery has been notified; only the record is completed.
                (true, Some(_)) => step.log(Fact::IncidentCompleted(Box::new(incident))),
            }
        }
    }

    /// Attributes incidents of the account to the provider if its page has an incident about the
    /// same fault.
    fn admit_faults(&mut self, step: &mut Effects, at: Timestamp) {
        let context = MonitorContext {
            config: &self.config,
            by_name: &self.by_name,
            recents: &self.recents,
            pages: &self.state.pages,
            without_incidents: self.free_of_incidents(),
            confirmation: None,
        };
        let pages = &self.state.pages;
        let config = &self.config;
        let admitted = self
            .state
            .incidents
            .apply_admissions(at, &context, |incident, fault| {
                let feeds = feeds_about(config, incident)?;
                let mut titles = pages.titles(&feeds);
                titles
                    .find(|title| is_admitted(fault, title))
                    .map(ToOwned::to_owned)
            });
        step.incidents_changed(admitted, at, &self.config.monitor.location, &self.locale());
    }

    /// Returns the vendors' pages, once for each vendor that they cover.
    pub(super) fn vendors(&self) -> Vec<VendorView> {
        let feeds = &self.config.status_feeds;
        let pages = self.state.pages.all().filter_map(|(key, provider, page)| {
            let feed = feeds.iter().find(|f| f.key() == key)?;
            Some(
                titles(&self.config, feed)
                    .into_iter()
                    .map(move |title| VendorView {
                        provider,
                        title,
                        page: page.clone(),
                    }),
            )
        });
        pages.flatten().collect()
    }
}

/// Returns the feeds about an incident, if `feed` is one of them.
fn feeds_if_about(config: &Config, incident: &Incident, feed: &String) -> Option<Vec<String>> {
    feeds_about(config, incident).filter(|feeds| feeds.contains(feed))
}

/// Returns the feeds that cover one of an incident's endpoints; `None` when none of those is
/// configured any more.
pub(super) fn feeds_about(config: &Config, incident: &Incident) -> Option<Vec<String>> {
    let endpoints: Vec<_> = incident
        .endpoints
        .iter()
        .filter_map(|name| config.endpoints.iter().find(|e| e.name == *name))
        .collect();
    // Only a local incident spans several providers.
    let provider = endpoints.first()?.provider;
    Some(
        config
            .status_feeds
            .iter()
            .filter(|feed| feed.provider == provider && endpoints.iter().any(|e| feed.is_about(e)))
            .map(StatusFeed::key)
            .collect(),
    )
}

/// Returns the display names of what a feed covers: the vendor, or the failure domains of servers
/// without a vendor.
fn titles(config: &Config, feed: &StatusFeed) -> BTreeSet<String> {
    let mut titles: BTreeSet<_> = config
        .endpoints
        .iter()
        .filter(|e| feed.is_about(e))
        .map(|e| e.domain_title())
        .collect();
    if titles.is_empty() {
        titles.insert(feed.provider.title().to_owned());
    }
    titles
}
