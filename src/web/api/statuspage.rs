//! The status in the format of Atlassian Statuspage (`/api/v2/*.json`), for tools that read
//! vendors' status pages.
//!
//! Statuspage has no "unknown" status. An endpoint that could not be measured is not reported as
//! broken, and its description says why; one whose probes fail is never reported as operational,
//! whosever fault it is. Incidents of the account and of this machine have the impact `none`.

use axum::Json;
use axum::extract::State;
use ring::digest;
use serde::Serialize;
use utoipa::ToSchema;

use super::incidents::read;
use crate::config::Settings;
use crate::web::View;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::summary;
use llmwatch_core::message::headline::pending_reason;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    AlertState, Attribution, EndpointName, EndpointView, Incident, IncidentState, MaintenanceView,
    Snapshot, Status, Timestamp,
};

/// Statuspage lists the last 50 incidents.
const INCIDENTS: u32 = 50;

#[derive(Debug, Serialize, ToSchema)]
struct Page {
    id: String,
    name: String,
    url: String,
    time_zone: String,
    updated_at: Timestamp,
}

#[derive(Debug, Serialize, ToSchema)]
struct Component {
    id: String,
    name: String,
    status: &'static str,
    created_at: Timestamp,
    updated_at: Timestamp,
    position: usize,
    description: Option<String>,
    showcase: bool,
    start_date: Option<String>,
    group_id: Option<String>,
    page_id: String,
    group: bool,
    only_show_if_degraded: bool,
}

/// How an update changed a component.
#[derive(Debug, Serialize, ToSchema)]
struct AffectedComponent {
    code: String,
    name: String,
    old_status: &'static str,
    new_status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct IncidentUpdate {
    id: String,
    status: &'static str,
    body: String,
    incident_id: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    display_at: Timestamp,
    affected_components: Vec<AffectedComponent>,
    deliver_notifications: bool,
    custom_tweet: Option<String>,
    tweet_id: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PageIncident {
    id: String,
    name: String,
    status: &'static str,
    impact: &'static str,
    created_at: Timestamp,
    updated_at: Timestamp,
    monitoring_at: Option<Timestamp>,
    resolved_at: Option<Timestamp>,
    started_at: Timestamp,
    shortlink: String,
    page_id: String,
    components: Vec<Component>,
    incident_updates: Vec<IncidentUpdate>,
    reminder_intervals: Option<String>,
}

/// A maintenance window that is open.
#[derive(Debug, Serialize, ToSchema)]
struct PageMaintenance {
    id: String,
    name: String,
    status: &'static str,
    impact: &'static str,
    created_at: Timestamp,
    updated_at: Timestamp,
    monitoring_at: Option<Timestamp>,
    resolved_at: Option<Timestamp>,
    started_at: Timestamp,
    scheduled_for: Timestamp,
    scheduled_until: Timestamp,
    shortlink: String,
    page_id: String,
    components: Vec<Component>,
    incident_updates: Vec<IncidentUpdate>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Indicator {
    indicator: &'static str,
    description: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Summary {
    page: Page,
    components: Vec<Component>,
    incidents: Vec<PageIncident>,
    /// The windows that are open.
    scheduled_maintenances: Vec<PageMaintenance>,
    status: Indicator,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusOnly {
    page: Page,
    status: Indicator,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Components {
    page: Page,
    components: Vec<Component>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PageIncidents {
    page: Page,
    incidents: Vec<PageIncident>,
}

/// Everything now, in Statuspage's form.
#[utoipa::path(get, path = "/api/v2/summary.json", operation_id = "statuspage_summary", responses((status = 200, body = Summary)))]
pub(super) async fn summarize(State(view): State<View>, reader: Reader) -> Json<Summary> {
    let site = Site::of(&view, reader);
    Json(Summary {
        page: site.page(),
        components: site.components(),
        incidents: site
            .snapshot
            .incidents
            .iter()
            .map(|i| site.incident(i))
            .collect(),
        scheduled_maintenances: site
            .snapshot
            .maintenance
            .iter()
            .map(|m| site.maintenance(m))
            .collect(),
        status: site.indicator(),
    })
}

/// The worst status of all endpoints, in Statuspage's form.
#[utoipa::path(get, path = "/api/v2/status.json", operation_id = "statuspage_status", responses((status = 200, body = StatusOnly)))]
pub(super) async fn status(State(view): State<View>, reader: Reader) -> Json<StatusOnly> {
    let site = Site::of(&view, reader);
    Json(StatusOnly {
        page: site.page(),
        status: site.indicator(),
    })
}

/// Every endpoint, in Statuspage's form.
#[utoipa::path(get, path = "/api/v2/components.json", operation_id = "statuspage_components", responses((status = 200, body = Components)))]
pub(super) async fn components(State(view): State<View>, reader: Reader) -> Json<Components> {
    let site = Site::of(&view, reader);
    Json(Components {
        page: site.page(),
        components: site.components(),
    })
}

/// The last 50 incidents, in Statuspage's form.
#[utoipa::path(get, path = "/api/v2/incidents.json", operation_id = "statuspage_incidents", responses((status = 200, body = PageIncidents)))]
pub(super) async fn incidents(
    State(view): State<View>,
    reader: Reader,
) -> Result<Json<PageIncidents>, Problem> {
    let site = Site::of(&view, reader);
    let rows = view
        .store
        .run_blocking(|store| store.incidents_before(None, None, INCIDENTS))
        .await?;
    let incidents: Vec<_> = rows
        .iter()
        .map(|row| {
            let incident = read(row, &site.snapshot)?;
            Ok(site.incident(&summary::incident_for(reader, incident)))
        })
        .collect::<Result<_, Problem>>()?;
    Ok(Json(PageIncidents {
        page: site.page(),
        incidents,
    }))
}

/// The common input of all documents.
struct Site {
    snapshot: std::sync::Arc<Snapshot>,
    config: std::sync::Arc<Settings>,
    started_at: Timestamp,
    id: String,
}

impl Site {
    fn of(view: &View, reader: Reader) -> Self {
        let snapshot = summary::snapshot_for(reader, view.snapshot.borrow().clone());
        let id = short_id(&["page", &snapshot.location]);
        Self {
            snapshot,
            config: view.config.borrow().clone(),
            started_at: view.started_at,
            id,
        }
    }

    fn url(&self) -> String {
        if let Some(url) = &self.config.monitor.public_url {
            return url.clone();
        }
        match self.config.process.listen {
            Some(address) => format!("http://{address}"),
            None => String::new(),
        }
    }

    fn page(&self) -> Page {
        Page {
            id: self.id.clone(),
            name: self
                .config
                .web
                .title
                .clone()
                .unwrap_or_else(|| "llmwatch".to_owned()),
            url: self.url(),
            time_zone: self.config.monitor.timezone.name().to_owned(),
            updated_at: self.snapshot.at,
        }
    }

    fn components(&self) -> Vec<Component> {
        self.snapshot
            .endpoints
            .iter()
            .enumerate()
            .map(|(at, e)| self.component(at, e))
            .collect()
    }

    fn component(&self, position: usize, e: &EndpointView) -> Component {
        Component {
            id: short_id(&["component", &e.name]),
            name: e.name.to_string(),
            status: component_status(shown(e)),
            created_at: self.started_at,
            updated_at: e.last_probe_at.unwrap_or(self.started_at),
            position: position + 1,
            description: self.description(e),
            showcase: true,
            start_date: None,
            group_id: None,
            page_id: self.id.clone(),
            group: false,
            only_show_if_degraded: false,
        }
    }

    fn description(&self, e: &EndpointView) -> Option<String> {
        let locale = Locale::of(&self.config);
        pending_reason(e, &locale).or_else(|| {
            let reason = e.reason.as_ref()?;
            Some(format!("{}: {reason}", e.status.as_str()))
        })
    }

    fn incident(&self, i: &Incident) -> PageIncident {
        let components = self.components_of(&i.endpoints);
        let broken = component_status(if i.attribution == Attribution::Provider {
            i.status
        } else {
            Status::Degraded
        });
        let opened = IncidentUpdate {
            affected_components: changed(&components, "operational", broken),
            ..update(i, "investigating", i.opened_at, &i.explanation)
        };
        let mut incident_updates = vec![opened];
        if let Some(at) = i.resolved_at {
            let body = if i.is_new_normal() {
                "Probes are as slow as before. After so long this is the new normal."
            } else {
                "Probes are answered correctly and in time again."
            };
            let resolved = IncidentUpdate {
                affected_components: changed(&components, broken, "operational"),
                ..update(i, "resolved", at, body)
            };
            incident_updates.insert(0, resolved);
        }
        PageIncident {
            id: i.id.to_string(),
            name: i.title.clone(),
            status: if i.state == IncidentState::Resolved {
                "resolved"
            } else {
                "investigating"
            },
            impact: match (i.attribution, i.status) {
                (Attribution::Provider, Status::Outage) => "major",
                (Attribution::Provider, Status::Degraded) => "minor",
                _ => "none",
            },
            created_at: i.opened_at,
            updated_at: i.resolved_at.unwrap_or(i.opened_at),
            monitoring_at: None,
            resolved_at: i.resolved_at,
            started_at: i.started_at,
            shortlink: format!("{}/incidents/{}", self.url(), i.number),
            page_id: self.id.clone(),
            components,
            incident_updates,
            reminder_intervals: None,
        }
    }

    fn maintenance(&self, m: &MaintenanceView) -> PageMaintenance {
        PageMaintenance {
            id: short_id(&["maintenance", &m.name, &m.since.to_string()]),
            name: m.name.clone(),
            status: "in_progress",
            impact: "maintenance",
            created_at: m.since,
            updated_at: m.since,
            monitoring_at: None,
            resolved_at: None,
            started_at: m.since,
            scheduled_for: m.since,
            scheduled_until: m.until,
            shortlink: format!("{}/", self.url()),
            page_id: self.id.clone(),
            components: self.components_of(&m.endpoints),
            incident_updates: Vec::new(),
        }
    }

    fn components_of(&self, names: &[EndpointName]) -> Vec<Component> {
        let all = self.snapshot.endpoints.iter().enumerate();
        all.filter(|(_, e)| names.contains(&e.name))
            .map(|(at, e)| self.component(at, e))
            .collect()
    }

    fn indicator(&self) -> Indicator {
        let statuses: Vec<_> = self.snapshot.endpoints.iter().map(shown).collect();
        let down = statuses.iter().filter(|s| **s == Status::Outage).count();
        let degraded = statuses.iter().filter(|s| **s == Status::Degraded).count();
        let (indicator, description) = match (down, degraded) {
            (0, 0) if statuses.contains(&Status::Maintenance) => {
                ("maintenance", "Service Under Maintenance")
            }
            (0, 0) if statuses.contains(&Status::Unknown) => ("none", "No Known Problems"),
            (0, 0) => ("none", "All Systems Operational"),
            (0, _) => ("minor", "Partially Degraded Service"),
            (n, _) if n == self.snapshot.endpoints.len() => ("critical", "Major Service Outage"),
            _ => ("major", "Partial System Outage"),
        };
        Indicator {
            indicator,
            description,
        }
    }
}

fn changed(
    components: &[Component],
    old_status: &'static str,
    new_status: &'static str,
) -> Vec<AffectedComponent> {
    components
        .iter()
        .map(|c| AffectedComponent {
            code: c.id.clone(),
            name: c.name.clone(),
            old_status,
            new_status,
        })
        .collect()
}

/// Returns an update of an incident, without the affected components.
fn update(incident: &Incident, status: &'static str, at: Timestamp, body: &str) -> IncidentUpdate {
    IncidentUpdate {
        id: short_id(&["update", &incident.id.to_string(), status]),
        status,
        body: body.to_owned(),
        incident_id: incident.id.to_string(),
        created_at: at,
        updated_at: at,
        display_at: at,
        affected_components: Vec::new(),
        deliver_notifications: true,
        custom_tweet: None,
        tweet_id: None,
    }
}

/// Returns the displayed status. Statuspage has no status for a pending alert, nor for an incident
/// of the account or of this machine; neither must look healthy.
fn shown(endpoint: &EndpointView) -> Status {
    match (endpoint.status, endpoint.alert.state) {
        (Status::Operational | Status::Unknown, AlertState::Pending)
        | (Status::Unknown, AlertState::Firing) => Status::Degraded,
        (status, _) => status,
    }
}

fn component_status(status: Status) -> &'static str {
    match status {
        Status::Operational | Status::Unknown => "operational",
        Status::Degraded => "degraded_performance",
        Status::Outage => "major_outage",
        Status::Maintenance => "under_maintenance",
    }
}

/// Returns a stable id of twelve characters, like those of Statuspage.
fn short_id(parts: &[&str]) -> String {
    let digest = digest::digest(&digest::SHA256, parts.join("\n").as_bytes());
    let number = digest
        .as_ref()
        .iter()
        .take(6)
        .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{number:012x}")
}
