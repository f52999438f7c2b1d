//! The last known contents of the vendors' status pages, and how they relate to our incidents.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{
    Attribution, Incident, Official, Provider, Status, Timestamp, VendorIncident, VendorPage,
};

/// A vendor incident published longer than this before ours began is unrelated.
const OTHER_BEFORE_MS: i64 = 6 * 3_600_000;

/// One reading of a status feed.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedSnapshot {
    /// Name of the feed.
    pub feed: String,
    /// The provider that publishes it.
    pub provider: Provider,
    /// The page; `None` when it has been unreadable for a while.
    pub page: Option<VendorPage>,
}

/// The last reading of every feed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VendorPages(BTreeMap<String, KnownPage>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KnownPage {
    provider: Provider,
    page: VendorPage,
    /// Ids of the vendor's incidents that were notified on their own.
    #[serde(rename = "told")]
    notified: BTreeSet<String>,
    /// Ids of the vendor's incidents that await the decision whether they are notified on their
    /// own.
    #[serde(default)]
    undecided: BTreeSet<String>,
}

/// Changes since the previous reading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeedDiff {
    /// The previous page status; `None` if it was unknown.
    pub was: Option<Status>,
    /// The current page status; `None` if it is no longer known.
    pub now: Option<Status>,
    /// Newly published vendor incidents.
    pub published: Vec<VendorIncident>,
    /// Incidents no longer on the page, and whether they were notified.
    pub closed: Vec<(VendorIncident, bool)>,
    /// URL of the human-readable page.
    pub url: String,
}

impl VendorPages {
    /// Applies a reading. Returns what changed, or `None` if nothing did.
    pub fn update(&mut self, snapshot: FeedSnapshot) -> Option<FeedDiff> {
        let before = self.0.remove(&snapshot.feed);
        let was = before.as_ref().map(|p| p.page.status);
        let Some(mut page) = snapshot.page else {
            let before = before?;
            return Some(FeedDiff {
                was,
                url: before.page.url,
                ..FeedDiff::default()
            });
        };
        let (old, notified, mut undecided) = before
            .map(|p| (p.page.incidents, p.notified, p.undecided))
            .unwrap_or_default();
        for incident in &mut page.incidents {
            let known = old
                .iter()
                .find(|o| o.id == incident.id)
                .and_then(|o| o.published_at);
            // Some feeds change an item's date with each update; the first date counts.
            incident.published_at = match (known, incident.published_at) {
                (Some(known), Some(new)) => Some(known.min(new)),
                (known, new) => known.or(new),
            };
        }
        let published: Vec<_> = page
            .incidents
            .iter()
            .filter(|i| !has_id(&old, &i.id))
            .cloned()
            .collect();
        let closed = old
            .iter()
            .filter(|i| !has_id(&page.incidents, &i.id))
            .map(|i| (i.clone(), notified.contains(&i.id)));
        let closed: Vec<_> = closed.collect();
        let is_new = was != Some(page.status) || phases(&old) != phases(&page.incidents);
        let diff = FeedDiff {
            was,
            now: Some(page.status),
            published,
            closed,
            url: page.url.clone(),
        };
        let notified = notified
            .into_iter()
            .filter(|id| has_id(&page.incidents, id))
            .collect();
        undecided.extend(diff.published.iter().map(|i| i.id.clone()));
        undecided.retain(|id| has_id(&page.incidents, id));
        self.0.insert(
            snapshot.feed,
            KnownPage {
                provider: snapshot.provider,
                page,
                notified,
                undecided,
            },
        );
        is_new.then_some(diff)
    }

    /// Reports whether a vendor incident of this feed awaits
    /// [`take_undecided`](Self::take_undecided).
    pub fn has_undecided(&self, feed: &str) -> bool {
        self.0.get(feed).is_some_and(|p| !p.undecided.is_empty())
    }

    /// Takes the vendor incidents of this feed for which it has not been decided whether they are
    /// notified on their own.
    pub fn take_undecided(&mut self, feed: &str) -> Vec<VendorIncident> {
        let Some(known) = self.0.get_mut(feed) else {
            return Vec::new();
        };
        let ids = std::mem::take(&mut known.undecided);
        let incidents = known.page.incidents.iter();
        incidents.filter(|i| ids.contains(&i.id)).cloned().collect()
    }

    /// Records that this vendor incident was notified on its own, so that its end is notified too.
    pub fn record_notified(&mut self, feed: &str, id: &str) {
        if let Some(page) = self.0.get_mut(feed) {
            page.notified.insert(id.to_owned());
        }
    }

    /// Drops the feeds that are no longer configured.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.0.retain(|feed, _| wanted(feed));
    }

    /// Returns each feed's page, sorted by feed.
    pub fn all(&self) -> impl Iterator<Item = (&str, Provider, &VendorPage)> {
        self.0
            .iter()
            .map(|(feed, known)| (feed.as_str(), known.provider, &known.page))
    }

    /// Returns the publication times, where known, of the incidents on these feeds that report
    /// degraded service or worse.
    pub fn published<'a>(&'a self, feeds: &'a [String]) -> impl Iterator<Item = Timestamp> {
        feeds
            .iter()
            .filter_map(|feed| self.0.get(feed))
            .flat_map(|known| &known.page.incidents)
            .filter(|incident| matches!(incident.status, Status::Degraded | Status::Outage))
            .filter_map(|incident| incident.published_at)
    }

    /// Returns the titles of the incidents on these feeds.
    pub fn titles<'a>(&'a self, feeds: &'a [String]) -> impl Iterator<Item = &'a str> {
        feeds
            .iter()
            .filter_map(|feed| self.0.get(feed))
            .flat_map(|known| &known.page.incidents)
            .map(|incident| incident.name.as_str())
    }

    /// Returns what these feeds say about `incident`. A vendor incident that was matched once is
    /// kept: the vendor may close it before ours resolves.
    pub fn about(&self, incident: &Incident, feeds: &[String]) -> Official {
        let known = &incident.official;
        let pages: Vec<_> = feeds
            .iter()
            .filter_map(|feed| self.0.get(feed))
            .map(|p| &p.page)
            .collect();
        let status = pages.iter().map(|p| p.status).reduce(Status::worse);
        if incident.attribution == Attribution::Local {
            return Official::default();
        }
        if known.incident.is_some() {
            return Official {
                status,
                ..known.clone()
            };
        }
        let nearest = pages
            .iter()
            .flat_map(|p| &p.incidents)
            .map(|i| {
                let apart_ms = i.published_at.map(|at| at.since_ms(incident.started_at));
                (i, apart_ms)
            })
            .filter(|(_, apart_ms)| apart_ms.is_none_or(|ms| ms >= -OTHER_BEFORE_MS))
            .min_by_key(|(_, apart_ms)| apart_ms.map_or(i64::MAX, i64::abs));
        let page_url = pages.first().map(|p| p.url.clone());
        match nearest {
            None => Official {
                status,
                url: page_url,
                ..Official::default()
            },
            Some((published, _)) => Official {
                status,
                incident: Some(published.name.clone()),
                lead_s: published
                    .published_at
                    .map(|at| lead_s(incident.opened_at, at)),
                url: published.url.clone().or(page_url),
                published_at: published.published_at,
            },
        }
    }
}

fn has_id(incidents: &[VendorIncident], id: &str) -> bool {
    incidents.iter().any(|i| i.id == id)
}

/// Returns what a vendor changes while an incident lasts.
fn phases(incidents: &[VendorIncident]) -> BTreeSet<(String, String, Status)> {
    incidents
        .iter()
        .map(|i| (i.id.clone(), i.phase.clone(), i.status))
        .collect()
}

/// Returns by how many seconds our incident was opened before the vendor published theirs.
fn lead_s(opened_at: Timestamp, published_at: Timestamp) -> f64 {
    published_at.since_ms(opened_at) as f64 / 1000.0
}
