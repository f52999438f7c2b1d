//! The vendor's status page in the JSON of Atlassian Statuspage's v2 API, as scripted in a
//! scenario.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::quantity::{duration, some_duration};
use llmwatch_core::model::Timestamp;

/// One `[[status_page]]`: what the page shows, and when.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Only for the listener with this label.
    pub vendor: Option<String>,
    /// The start, relative to when the scenario was activated.
    #[serde(default, deserialize_with = "duration")]
    pub from: Duration,
    /// The end, exclusive.
    #[serde(default, deserialize_with = "some_duration")]
    pub to: Option<Duration>,
    /// The affected component.
    #[serde(default = "chat")]
    pub component: String,
    /// The status of the component.
    #[serde(default)]
    pub status: ComponentStatus,
    /// The title of an incident, if one is declared.
    pub incident: Option<String>,
    /// The impact of the incident.
    #[serde(default)]
    pub impact: Impact,
    /// The phase of the incident.
    #[serde(default)]
    pub phase: IncidentPhase,
}

/// Statuspage's component statuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "Statuspage's own words")]
pub enum ComponentStatus {
    #[default]
    Operational,
    UnderMaintenance,
    DegradedPerformance,
    PartialOutage,
    MajorOutage,
}

/// Statuspage's impacts of an incident or of the entire page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "Statuspage's own words")]
pub enum Impact {
    None,
    Maintenance,
    #[default]
    Minor,
    Major,
    Critical,
}

/// Statuspage's phases of an incident.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "Statuspage's own words")]
pub enum IncidentPhase {
    #[default]
    Investigating,
    Identified,
    Monitoring,
    Resolved,
}

/// The components that the page always has; notices may add others.
const COMPONENTS: [&str; 3] = ["Chat Completions", "Responses", "Embeddings"];

/// When the page and its components were created.
const SINCE: &str = "2026-01-01T00:00:00.000Z";

/// The page at one point in time.
pub(crate) struct StatusPage<'a> {
    pub(crate) notices: &'a [Notice],
    pub(crate) vendor: &'a str,
    /// How long the scenario has been active.
    pub(crate) elapsed: Duration,
    pub(crate) now: Timestamp,
}

impl StatusPage<'_> {
    /// Returns the document at `path`, if it belongs to the page.
    pub(crate) fn document(&self, path: &str) -> Option<Value> {
        let page = ("page", self.page());
        let components = ("components", json!(self.components()));
        let status = ("status", self.status());
        let parts = match path {
            "/api/v2/summary.json" => vec![
                page,
                components,
                ("incidents", json!(self.incidents(true))),
                ("scheduled_maintenances", json!([])),
                status,
            ],
            "/api/v2/status.json" => vec![page, status],
            "/api/v2/components.json" => vec![page, components],
            "/api/v2/incidents.json" => vec![page, ("incidents", json!(self.incidents(false)))],
            _ => return None,
        };
        Some(
            parts
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        )
    }

    fn page(&self) -> Value {
        json!({
            "id": PAGE_ID, "name": self.vendor, "url": "https://status.simulated.test", "time_zone": "Etc/UTC",
            "updated_at": self.now,
        })
    }

    fn status(&self) -> Value {
        let worst = self
            .current()
            .map(Notice::indicator)
            .max()
            .unwrap_or(Impact::None);
        let description = match worst {
            Impact::None => "All Systems Operational",
            Impact::Maintenance => "Service Under Maintenance",
            Impact::Minor => "Partially Degraded Service",
            Impact::Major => "Partial System Outage",
            Impact::Critical => "Major Service Outage",
        };
        json!({"indicator": worst, "description": description})
    }

    fn components(&self) -> Vec<Value> {
        let mut names = COMPONENTS.to_vec();
        for notice in self.of_this_vendor() {
            if !names.contains(&notice.component.as_str()) {
                names.push(&notice.component);
            }
        }
        names
            .into_iter()
            .zip(1..)
            .map(|(name, position)| self.component(name, position))
            .collect()
    }

    fn component(&self, name: &str, position: u32) -> Value {
        let worst = self
            .current()
            .filter(|notice| notice.component == name)
            .map(|notice| notice.status)
            .max();
        json!({
            "id": component_id(name), "name": name, "status": worst.unwrap_or_default(),
            "created_at": SINCE, "updated_at": self.now, "position": position, "description": null,
            "showcase": true, "start_date": "2026-01-01", "group_id": null, "page_id": PAGE_ID, "group": false,
            "only_show_if_degraded": false,
        })
    }

    /// Returns the incidents so far; with `open`, only unresolved ones.
    fn incidents(&self, open: bool) -> Vec<Value> {
        let mut incidents: Vec<Value> = self
            .of_this_vendor()
            .enumerate()
            .filter(|(_, notice)| notice.from <= self.elapsed)
            .map(|(n, notice)| (n, notice, notice.phase_at(self.elapsed)))
            .filter(|&(_, _, phase)| !(open && phase == IncidentPhase::Resolved))
            .filter_map(|(n, notice, phase)| {
                Some(self.incident(n, notice, phase, notice.incident.as_deref()?))
            })
            .collect();
        incidents.reverse();
        incidents
    }

    fn incident(&self, n: usize, notice: &Notice, phase: IncidentPhase, title: &str) -> Value {
        let started_at = self.now - self.elapsed.saturating_sub(notice.from);
        let resolved_at = match (phase, notice.to) {
            (IncidentPhase::Resolved, Some(to)) => Some(self.now - self.elapsed.saturating_sub(to)),
            (IncidentPhase::Resolved, None) => Some(started_at),
            _ => None,
        };
        let updated_at = resolved_at.unwrap_or(started_at);
        let id = format!("simincident{n:03}");
        json!({
            "id": id, "name": title, "status": phase, "impact": notice.impact,
            "created_at": started_at, "updated_at": updated_at, "monitoring_at": null, "resolved_at": resolved_at,
            "started_at": started_at, "shortlink": format!("https://status.simulated.test/{id}"), "page_id": PAGE_ID,
            "components": [{"id": component_id(&notice.component), "name": notice.component}],
            "incident_updates": [{
                "id": format!("simupdate{n:03}"), "incident_id": id, "status": phase, "body": title,
                "created_at": updated_at, "updated_at": updated_at, "display_at": updated_at,
                "affected_components": [{
                    "code": component_id(&notice.component), "name": notice.component,
                    "old_status": ComponentStatus::Operational, "new_status": notice.status,
                }],
            }],
        })
    }

    fn of_this_vendor(&self) -> impl Iterator<Item = &Notice> {
        self.notices.iter().filter(|notice| {
            notice
                .vendor
                .as_deref()
                .is_none_or(|vendor| vendor == self.vendor)
        })
    }

    fn current(&self) -> impl Iterator<Item = &Notice> {
        self.of_this_vendor().filter(|notice| {
            notice.from <= self.elapsed && notice.to.is_none_or(|to| self.elapsed < to)
        })
    }
}

const PAGE_ID: &str = "simpage00001";

fn component_id(name: &str) -> String {
    format!("sim-{}", name.to_lowercase().replace(' ', "-"))
}

fn chat() -> String {
    COMPONENTS[0].to_owned()
}

impl Notice {
    /// Returns the status of the entire page: the worse of the component's status and the
    /// incident's impact.
    fn indicator(&self) -> Impact {
        let of_component = match self.status {
            ComponentStatus::Operational => Impact::None,
            ComponentStatus::UnderMaintenance => Impact::Maintenance,
            ComponentStatus::DegradedPerformance => Impact::Minor,
            ComponentStatus::PartialOutage => Impact::Major,
            ComponentStatus::MajorOutage => Impact::Critical,
        };
        if self.incident.is_some() {
            of_component.max(self.impact)
        } else {
            of_component
        }
    }

    /// Returns the configured phase while the notice lasts, then resolved.
    fn phase_at(&self, elapsed: Duration) -> IncidentPhase {
        if self.to.is_some_and(|to| elapsed >= to) {
            IncidentPhase::Resolved
        } else {
            self.phase
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;

    #[test]
    fn simulated_page_shows_an_outage_in_its_window() {
        let scenario = Scenario::parse(
            r#"
            [[status_page]]
            from = "60s"
            to = "120s"
            status = "partial_outage"
            incident = "Elevated error rates"
            impact = "critical"
            "#,
        )
        .unwrap();
        let at = |seconds| StatusPage {
            notices: &scenario.status_page,
            vendor: "openai",
            elapsed: Duration::from_secs(seconds),
            now: Timestamp(1_795_435_200_000) + Duration::from_secs(seconds),
        };
        let indicator = |seconds| {
            at(seconds).document("/api/v2/status.json").unwrap()["status"]["indicator"].clone()
        };
        assert_eq!(
            (indicator(59), indicator(60), indicator(120)),
            (json!("none"), json!("critical"), json!("none"))
        );

        let during = at(90).document("/api/v2/summary.json").unwrap();
        assert_eq!(during["components"][0]["status"], "partial_outage");
        assert_eq!(during["incidents"][0]["status"], "investigating");
        assert_eq!(
            during["incidents"][0]["started_at"],
            json!(Timestamp(1_795_435_260_000))
        );

        let after = at(200);
        assert_eq!(
            after.document("/api/v2/summary.json").unwrap()["incidents"],
            json!([])
        );
        let past = after.document("/api/v2/incidents.json").unwrap();
        assert_eq!(past["incidents"][0]["status"], "resolved");
        assert_eq!(
            past["incidents"][0]["resolved_at"],
            json!(Timestamp(1_795_435_320_000))
        );
    }
}
