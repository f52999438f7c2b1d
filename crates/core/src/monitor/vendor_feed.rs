//! Applies vendor status pages: they are logged, shown beside our incidents, and sent to channels
//! that want them.

use std::collections::BTreeSet;

use super::{Around, Effects, Fact, MonitorState, Record};
use crate::config::matchers::wants_type;
use crate::config::{Config, StatusFeed};
use crate::incident::attribution::is_admitted;
use crate::incident::vendor_status::FeedSnapshot;
use crate::incident::{Change, VendorUpdate};
use crate::message::monitor_notice;
use crate::model::{
    Attribution, EndpointName, Fault, Incident, NoticeKind, Timestamp, VendorIncident, VendorView,
};

impl MonitorState {
    /// Applies the contents of a vendor's status page. They change the official status and the
    /// attribution of open incidents, never the status of a healthy endpoint.
    pub fn apply_status_feed(&mut self, snapshot: FeedSnapshot, at: Timestamp) -> Effects {
        let mut step = Effects::default();
        let (feed, provider) = (snapshot.feed.clone(), snapshot.provider);
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
        let concerned = |incident: &Incident| {
            feeds_about(config, incident).filter(|feeds| feeds.contains(&feed))
        };
        let is_affected = self
            .state
            .incidents
            .open()
            .any(|i| i.attribution == Attribution::Provider && concerned(i).is_some());
        let asking: Vec<_> = config
            .channels
            .iter()
            .filter(|c| wants_type(&c.filters, NoticeKind::Official))
            .filter(|c| c.filters.providers.is_empty() || c.filters.providers.contains(&provider))
            .map(|c| c.name.clone())
            .collect();
        let locale = self.locale();
        if !asking.is_empty() {
            let notice = |theirs: &VendorIncident, began: bool| {
                monitor_notice::vendor(provider, &whose, theirs, began, asking.clone(), at, &locale)
            };
            for theirs in diff.published.iter().filter(|_| !is_affected) {
                step.announce(notice(theirs, true));
                self.state.pages.record_notified(&feed, &theirs.id);
            }
            for (theirs, _) in diff.closed.iter().filter(|(_, notified)| *notified) {
                step.announce(notice(theirs, false));
            }
        }
        let pages = &self.state.pages;
        let said = self.state.incidents.update_official(at, |incident| {
            concerned(incident).map_or_else(
                || incident.official.clone(),
                |feeds| pages.about(incident, &feeds),
            )
        });
        for VendorUpdate {
            incident,
            published,
        } in said
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
        let around = Around {
            config: &self.config,
            by_name: &self.by_name,
            recents: &self.recents,
            pages: &self.state.pages,
            without_incidents: self.free_of_incidents(),
            confirmation: None,
        };
        let admits = |incident: &Incident, fault: Fault| {
            let feeds = feeds_about(&self.config, incident)?;
            let mut titles = self.state.pages.titles(&feeds);
            titles
                .find(|title| is_admitted(fault, title))
                .map(ToOwned::to_owned)
        };
        let admitted = self.state.incidents.apply_admissions(at, &around, admits);
        step.incidents_changed(admitted, at, &self.config.monitor.location, &self.locale());
        step.record(Record::Checkpoint(self.checkpoint()));
        step
    }

    /// Returns the vendors' pages, once for each vendor that they cover.
    pub(super) fn vendors(&self) -> Vec<VendorView> {
        let feeds = &self.config.status_feeds;
        let pages = self.state.pages.all().filter_map(|(key, provider, page)| {
            let feed = feeds.iter().find(|f| f.key() == key)?;
            let view = move |title| VendorView {
                provider,
                title,
                page: page.clone(),
            };
            Some(titles(&self.config, feed).into_iter().map(view))
        });
        pages.flatten().collect()
    }
}

/// Returns the feeds that cover one of an incident's endpoints; `None` when none of those is
/// configured any more.
pub(super) fn feeds_about(config: &Config, incident: &Incident) -> Option<Vec<String>> {
    let known = |name: &EndpointName| config.endpoints.iter().find(|e| e.name == *name);
    let endpoints: Vec<_> = incident.endpoints.iter().filter_map(known).collect();
    // Only a local incident spans several providers.
    let provider = endpoints.first()?.provider;
    let speaks = |feed: &&StatusFeed| {
        feed.provider == provider && endpoints.iter().any(|e| feed.is_about(e))
    };
    Some(
        config
            .status_feeds
            .iter()
            .filter(speaks)
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
