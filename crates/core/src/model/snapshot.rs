//! The current state: one value that the pages, the API, the metrics, the service status and the
//! alerts read.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Advice, Alternative, Annotation, Api, Attribution, ChannelStats, Drills, EndpointName, Fault,
    Incident, Outcome, Provider, SharedFate, Silence, Sparkline, Status, Timestamp, UsualHours,
    VendorPage,
};

/// The maximum number of sparklines in a notice, to keep an email small.
const STRIPS: usize = 4;
/// Consecutive failed probes from which an endpoint is named as failing too.
const CONVINCING: u32 = 2;
/// The maximum number of alternatives in a notice.
const ALTERNATIVES: usize = 5;
/// Smaller differences of availability do not affect the order of alternatives.
const AVAILABILITY_STEP: f64 = 0.005;

/// The state of everything that is monitored.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// When this was true.
    pub at: Timestamp,
    /// Where the daemon probes from.
    pub location: String,
    /// Since when this machine has been offline.
    pub offline_since: Option<Timestamp>,
    /// Whether the daily probing budget is exhausted.
    pub budget_spent: bool,
    /// What was spent on probes today, in US dollars.
    #[serde(default)]
    pub spent_today_usd: f64,
    /// When a sample was last recorded.
    pub last_recorded_at: Option<Timestamp>,
    /// Why the database cannot be written, if it cannot.
    pub store_error: Option<String>,
    /// Every endpoint, in the order of the configuration.
    pub endpoints: Vec<EndpointView>,
    /// The open incidents, oldest first.
    pub incidents: Vec<Incident>,
    /// The open advice.
    #[serde(default)]
    pub advice: Vec<Advice>,
    /// The active silences.
    #[serde(default)]
    pub silences: Vec<Silence>,
    /// The notes that belong to no incident, oldest first.
    #[serde(default)]
    pub annotations: Vec<Annotation>,
    /// The active maintenance windows.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceView>,
    /// The state of delivery by channel.
    #[serde(default)]
    pub outbox: Vec<ChannelStats>,
    /// The drills of the channels, and when each was last confirmed.
    #[serde(default)]
    pub drills: Drills,
    /// The vendors' status pages.
    #[serde(default)]
    pub official: Vec<VendorView>,
    /// What the endpoints of groups share, so that one failure may take several down.
    #[serde(default)]
    pub shared_fate: Vec<SharedFate>,
    /// The endpoint to use in each group (see the module `route`).
    #[serde(default)]
    pub leaders: BTreeMap<String, EndpointName>,
    /// The locations whose daemons share the store; empty if this daemon has its own.
    #[serde(default)]
    pub locations: Vec<String>,
    /// The machines that probe from the same location as this one.
    #[serde(default)]
    pub partners: Vec<String>,
    /// The differences between the configurations of the daemons.
    #[serde(default)]
    pub differences: Vec<String>,
    /// Since when the shared store has been unreachable.
    #[serde(default)]
    pub alone_since: Option<Timestamp>,
    /// Samples that wait on this machine for the shared store.
    #[serde(default)]
    pub spooled: i64,
}

/// A vendor's status page as of the last read.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VendorView {
    /// The provider.
    pub provider: Provider,
    /// The vendor's display name.
    pub title: String,
    /// The page.
    #[serde(flatten)]
    pub page: VendorPage,
}

/// The current state of an endpoint.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EndpointView {
    /// Its name.
    pub name: EndpointName,
    /// Its provider.
    pub provider: Provider,
    /// The display name of its failure domain.
    pub title: String,
    /// Its API.
    pub api: Api,
    /// Its model.
    pub model: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// Its status.
    pub status: Status,
    /// Why it is not operational, in a few words.
    pub reason: Option<String>,
    /// When it was last probed.
    pub last_probe_at: Option<Timestamp>,
    /// How that probe ended.
    pub last_outcome: Option<Outcome>,
    /// The fault of that probe.
    pub last_fault: Option<Fault>,
    /// Median first token of the recent good probes, in milliseconds.
    pub first_token_ms_p50: Option<f64>,
    /// Median total of the recent good probes, in milliseconds.
    pub total_ms_p50: Option<f64>,
    /// The learned first token, in milliseconds.
    pub typical_first_token_ms: Option<f64>,
    /// How many times slower it usually is in each hour of the week.
    #[serde(skip)]
    pub usual_hours: UsualHours,
    /// Share of good probes in the last 24 hours, 0 to 1; faults of the account or of this machine
    /// do not count.
    pub availability_24h: Option<f64>,
    /// Share of its last 20 probes that failed, 0 to 1; faults of this machine do not count.
    #[serde(default)]
    pub recent_error_rate: f64,
    /// The number of consecutive failed probes up to now.
    #[serde(default)]
    pub failed_in_a_row: u32,
    /// The last hour, minute by minute, as in [`Sparkline::minutes`].
    #[serde(default)]
    pub last_hour: String,
    /// Its alert.
    #[serde(default)]
    pub alert: AlertView,
    /// Its state at each location, if several daemons share a store.
    #[serde(default)]
    pub locations: Vec<LocationView>,
    /// The locations from which it is degraded or down.
    #[serde(default)]
    pub locations_down: Vec<String>,
}

/// The state of an endpoint's alert, with Prometheus's names.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Nothing is wrong.
    #[default]
    Inactive,
    /// Probes were bad, but there is not enough evidence yet.
    Pending,
    /// The endpoint is in an open incident.
    Firing,
}

impl AlertState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Inactive, Self::Pending, Self::Firing];

    /// Returns the stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// The alert of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertView {
    /// Its state.
    pub state: AlertState,
    /// Bad probes since the first bad one; 0 while it is inactive.
    pub failed: u32,
    /// Probes since the first bad one; 0 while it is inactive.
    pub probes: u32,
    /// When the first bad probe began.
    pub since: Option<Timestamp>,
    /// The earliest time of an alert; only while it is pending.
    pub earliest_alert_at: Option<Timestamp>,
    /// Whether the bad probes were slow rather than failed.
    #[serde(default)]
    pub is_slow: bool,
}

/// The state of an endpoint at one location.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LocationView {
    /// The location.
    pub location: String,
    /// The status there; unknown if that location has not probed it recently.
    pub status: Status,
    /// When it was last probed from there.
    pub last_probe_at: Option<Timestamp>,
    /// Median first token of the recent good probes from there, in milliseconds.
    pub first_token_ms_p50: Option<f64>,
    /// Share of good probes from there in the last 24 hours, 0 to 1.
    pub availability_24h: Option<f64>,
}

impl Snapshot {
    /// Returns the first endpoint of `incident`; `None` if all of them were removed.
    pub fn endpoint_of(&self, incident: &Incident) -> Option<&EndpointView> {
        let mut endpoints = self.endpoints.iter();
        endpoints.find(|e| incident.endpoints.contains(&e.name))
    }

    /// Creates the state at `at` without any endpoint.
    pub fn empty(at: Timestamp) -> Self {
        Self {
            at,
            location: String::new(),
            offline_since: None,
            budget_spent: false,
            spent_today_usd: 0.0,
            last_recorded_at: None,
            store_error: None,
            endpoints: Vec::new(),
            incidents: Vec::new(),
            shared_fate: Vec::new(),
            advice: Vec::new(),
            silences: Vec::new(),
            annotations: Vec::new(),
            maintenance: Vec::new(),
            outbox: Vec::new(),
            drills: Drills::default(),
            official: Vec::new(),
            leaders: BTreeMap::new(),
            locations: Vec::new(),
            partners: Vec::new(),
            differences: Vec::new(),
            alone_since: None,
            spooled: 0,
        }
    }

    /// Returns the [worst](Status::worse) status of all. Endpoints in maintenance count only if all
    /// are.
    pub fn overall(&self) -> Status {
        let statuses = self.endpoints.iter().map(|e| e.status);
        let in_service = statuses
            .filter(|s| *s != Status::Maintenance)
            .reduce(Status::worse);
        match in_service {
            Some(status) => status,
            None if self.endpoints.is_empty() => Status::Unknown,
            None => Status::Maintenance,
        }
    }

    /// Returns the last hour of the first few of these endpoints.
    pub fn sparklines(&self, names: &[EndpointName]) -> Vec<Sparkline> {
        names
            .iter()
            .filter_map(|name| self.endpoints.iter().find(|e| e.name == *name))
            .take(STRIPS)
            .map(|e| Sparkline {
                endpoint: e.name.clone(),
                minutes: e.last_hour.clone(),
                until: self.at,
            })
            .collect()
    }

    /// Returns the working alternatives of `affected`, best first: operational endpoints of the
    /// same group if there is one, otherwise of the same kind of API. Those of another vendor come
    /// first, then the more available in 24 hours, then the faster first token. An endpoint whose
    /// last probe failed is left out.
    pub fn alternatives(&self, affected: &[EndpointName]) -> Vec<Alternative> {
        let mut found: Vec<_> = self
            .candidates(affected)
            .filter(|e| e.status == Status::Operational && e.failed_in_a_row == 0)
            .map(|e| Alternative {
                endpoint: e.name.clone(),
                provider: e.provider,
                title: e.title.clone(),
                status: e.status,
                first_token_ms_p50: e.first_token_ms_p50,
                availability_24h: e.availability_24h,
            })
            .collect();
        let failing: BTreeSet<_> = self
            .endpoints
            .iter()
            .filter(|e| affected.contains(&e.name))
            .map(|e| e.title.clone())
            .collect();
        found.sort_by(|a, b| {
            let is_related = failing.contains(&a.title).cmp(&failing.contains(&b.title));
            is_related.then(by_availability(a, b)).then(by_speed(a, b))
        });
        found.truncate(ALTERNATIVES);
        found
    }

    /// Reports whether another endpoint could replace `affected`, healthy or not.
    pub fn monitors_alternative(&self, affected: &[EndpointName]) -> bool {
        self.candidates(affected).next().is_some()
    }

    /// Returns the vendors of the other open provider incidents, and those whose probes have begun
    /// to fail.
    pub fn also_failing(&self, incident: &Incident, being_checked: &str) -> Vec<String> {
        let others = self
            .incidents
            .iter()
            .filter(|i| i.id != incident.id && i.provider != incident.provider)
            .filter(|i| i.attribution == Attribution::Provider);
        let mut titles: BTreeSet<_> = others
            .map(|i| {
                let endpoint = self.endpoint_of(i);
                endpoint.map_or_else(|| i.provider.to_string(), |e| e.title.clone())
            })
            .collect();
        let own = self.endpoints.iter();
        let own: BTreeSet<_> = own
            .filter(|e| incident.affected().any(|name| *name == e.name))
            .map(|e| e.title.as_str())
            .collect();
        let begins = self.endpoints.iter().filter(|e| {
            e.alert.state == AlertState::Pending
                && !e.alert.is_slow
                && e.alert.failed >= CONVINCING
                && e.last_fault.map(Fault::attribution) == Some(Attribution::Provider)
                && !own.contains(e.title.as_str())
                && !titles.contains(&e.title)
        });
        let begins: BTreeSet<_> = begins
            .map(|e| format!("{} ({being_checked})", e.title))
            .collect();
        titles.extend(begins);
        titles.into_iter().collect()
    }

    fn candidates<'a>(
        &'a self,
        affected: &'a [EndpointName],
    ) -> impl Iterator<Item = &'a EndpointView> {
        let of_affected: Vec<_> = self
            .endpoints
            .iter()
            .filter(|e| affected.contains(&e.name))
            .collect();
        let groups: Vec<_> = of_affected
            .iter()
            .filter_map(|e| e.group.as_deref())
            .collect();
        let kinds: Vec<_> = of_affected.iter().map(|e| e.api == Api::Http).collect();
        self.endpoints.iter().filter(move |e| {
            let fits = match e.group.as_deref() {
                Some(group) if !groups.is_empty() => groups.contains(&group),
                _ => groups.is_empty() && kinds.contains(&(e.api == Api::Http)),
            };
            fits && !affected.contains(&e.name)
        })
    }
}

/// Compares in steps: a difference of a few probes means nothing.
fn by_availability(a: &Alternative, b: &Alternative) -> Ordering {
    unavailable_steps(a).total_cmp(&unavailable_steps(b))
}

fn unavailable_steps(alternative: &Alternative) -> f64 {
    let share = 1.0 - alternative.availability_24h.unwrap_or(1.0);
    (share / AVAILABILITY_STEP).floor()
}

fn by_speed(a: &Alternative, b: &Alternative) -> Ordering {
    let a_ms = a.first_token_ms_p50.unwrap_or(f64::INFINITY);
    let b_ms = b.first_token_ms_p50.unwrap_or(f64::INFINITY);
    a_ms.total_cmp(&b_ms)
}

/// An active maintenance window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaintenanceView {
    /// Its name.
    pub name: String,
    /// When it began.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// The endpoints in it.
    pub endpoints: Vec<EndpointName>,
}
