//! Applies vendor status pages: they are logged, shown beside our incidents, and sent to channels
//! that want them.

use std::collections::BTreeSet;

use super::{Effects, Fact, MonitorContext, MonitorState, Record};
use crate::config::matchers::wants_type;
use crate::config::{Config, StatusFeed};
use crate::incident::attribution::is_admitted;
use crate::incident::vendor_status::{FeedDiff, FeedSnapshot};
use crate::incident::{Change, VendorUpdate};
use crate::message::monitor_notice;
use crate::model::{Attribution, Incident, NoticeKind, Provider, Timestamp, VendorView};

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
        let Some(diff) = self.state.pages.update(snapshot) else {
            return step;
        };
        step.log(Fact::VendorStatus {
            provider,
            vendor: whose.clone(),
            diff: diff.clone(),
        });
        self.announce_vendor_incidents(&mut step, &feed, provider, &whose, &diff, at);
        self.update_official(&mut step, &feed, at);
        self.admit_faults(&mut step, at);
        step.record(Record::Checkpoint(self.checkpoint()));
        step
    }

    /// Announces the vendor's incidents to the channels that want them, unless the probes see them
    /// too.
    fn announce_vendor_incidents(
        &mut self,
        step: &mut Effects,
        feed: &String,
        provider: Provider,
        vendor: &str,
        diff: &FeedDiff,
        at: Timestamp,
    ) {
        let is_affected = self.state.incidents.open().any(|i| {
            i.attribution == Attribution::Provider
                && feeds_if_about(&self.config, i, feed).is_some()
        });
        let asking: Vec<_> = self
            .config
            .channels
            .iter()
            .filter(|c| wants_type(&c.filters, NoticeKind::Official))
            .filter(|c| c.filters.providers.is_empty() || c.filters.providers.contains(&provider))
            .map(|c| c.name.clone())
            .collect();
        if asking.is_empty() {
            return;
        }
        let locale = self.locale();
        let published = diff.published.iter().filter(|_| !is_affected);
        let closed = diff.closed.iter().filter(|(_, notified)| *notified);
        let began = published.clone().map(|incident| (incident, true));
        let ended = closed.map(|(incident, _)| (incident, false));
        for (incident, began) in began.chain(ended) {
            let channels = asking.clone();
            step.announce(monitor_notice::vendor(
                provider, vendor, incident, began, channels, at, &locale,
            ));
        }
        for incident in published {
            self.state.pages.record_notified(feed, &incident.id);
        }
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
