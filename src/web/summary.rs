//! The view of a visitor without the token with `[web] public = "summary"`: states, availability,
//! incidents, notes and maintenance. It is built from what may be shown, not by removing what may
//! not: a new field is hidden until it is added here. Pure.

use std::sync::Arc;

use serde_json::{Value, json};

use super::reader::Reader;
use llmwatch_core::message::headline::pending_reason;
use llmwatch_core::message::incident::public_title;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    Annotation, Attribution, Drills, EndpointView, Evidence, Incident, Note, Official, Provider,
    Snapshot, Status,
};

/// Returns the part of the snapshot that `reader` may see.
pub(super) fn snapshot_for(reader: Reader, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
    if reader.sees_all() {
        snapshot
    } else {
        Arc::new(snapshot_summary(&snapshot))
    }
}

/// Returns the part of an incident that `reader` may see.
pub(super) fn incident_for(reader: Reader, incident: Incident) -> Incident {
    if reader.sees_all() {
        incident
    } else {
        incident_summary(&incident)
    }
}

fn snapshot_summary(snapshot: &Snapshot) -> Snapshot {
    Snapshot {
        at: snapshot.at,
        location: snapshot.location.clone(),
        offline_since: snapshot.offline_since,
        budget_spent: false,
        spent_today_usd: 0.0,
        last_recorded_at: snapshot.last_recorded_at,
        store_error: None,
        endpoints: snapshot
            .endpoints
            .iter()
            .map(|e| endpoint_summary(e, snapshot))
            .collect(),
        incidents: snapshot.incidents.iter().map(incident_summary).collect(),
        advice: Vec::new(),
        shared_fate: Vec::new(),
        silences: Vec::new(),
        annotations: snapshot.annotations.iter().map(anonymous).collect(),
        maintenance: snapshot.maintenance.clone(),
        outbox: Vec::new(),
        drills: Drills::default(),
        official: Vec::new(),
        leaders: snapshot.leaders.clone(),
        locations: snapshot.locations.clone(),
        partners: Vec::new(),
        differences: Vec::new(),
        alone_since: snapshot.alone_since,
        spooled: 0,
    }
}

fn endpoint_summary(endpoint: &EndpointView, snapshot: &Snapshot) -> EndpointView {
    let mut shown = endpoint.clone();
    // The title of a self-hosted server contains its address.
    shown.title = match endpoint.provider {
        Provider::OpenAiCompatible | Provider::Http => endpoint
            .group
            .clone()
            .unwrap_or_else(|| endpoint.name.to_string()),
        vendor => vendor.title().to_owned(),
    };
    let incident = snapshot
        .incidents
        .iter()
        .find(|i| i.endpoints.contains(&endpoint.name));
    let maintenance = snapshot
        .maintenance
        .iter()
        .find(|m| m.endpoints.contains(&endpoint.name));
    shown.reason = match (incident, maintenance) {
        (Some(incident), _) => Some(title(incident)),
        (None, Some(window)) => Some(format!("maintenance: {}", window.name)),
        (None, None) => pending_reason(endpoint, &Locale::default()),
    };
    shown.model = None;
    shown.last_outcome = None;
    shown.last_fault = None;
    shown.first_token_ms_p50 = None;
    shown.total_ms_p50 = None;
    shown.typical_first_token_ms = None;
    shown.last_hour = String::new();
    shown
}

fn title(incident: &Incident) -> String {
    public_title(incident, &Locale::default())
}

fn anonymous(annotation: &Annotation) -> Annotation {
    Annotation {
        by: String::new(),
        ..annotation.clone()
    }
}

/// Removes evidence, cause and explanation. Pages recognize a summary by its empty evidence.
fn incident_summary(incident: &Incident) -> Incident {
    let mut shown = incident.clone();
    shown.title = title(incident);
    shown.explanation.clone_from(&shown.title);
    shown.explanation.push('.');
    shown.attribution_reason = String::new();
    shown.provider = incident.endpoints.first().map_or("", |e| e.as_str()).into();
    shown.explains = Vec::new();
    shown.explained_by = None;
    shown.evidence = Evidence::default();
    shown.official = Official::default();
    shown.acknowledged = None;
    for note in &mut shown.notes {
        note.by = String::new();
    }
    shown
}

/// The snapshot as JSON.
pub(super) fn status_json(snapshot: &Snapshot) -> Value {
    json!({
        "at": snapshot.at,
        "status": snapshot.overall(),
        "endpoints": snapshot.endpoints.iter().map(|e| endpoint_json(e, snapshot)).collect::<Vec<_>>(),
        "incidents": snapshot.incidents.iter().map(incident_json).collect::<Vec<_>>(),
        "maintenance": snapshot.maintenance,
        "annotations": snapshot.annotations.iter().map(anonymous).collect::<Vec<_>>(),
    })
}

/// An endpoint as JSON.
pub(super) fn endpoint_json(endpoint: &EndpointView, snapshot: &Snapshot) -> Value {
    let shown = endpoint_summary(endpoint, snapshot);
    json!({
        "name": shown.name, "title": shown.title, "group": shown.group, "status": shown.status, "reason": shown.reason,
        "availability_24h": shown.availability_24h, "alert": shown.alert,
    })
}

/// An incident as JSON. The attribution is included only if it is the provider.
pub(super) fn incident_json(incident: &Incident) -> Value {
    let is_providers = incident.attribution == Attribution::Provider;
    let notes: Vec<Value> = incident.notes.iter().map(note_json).collect();
    json!({
        "id": incident.id, "number": incident.number, "state": incident.state,
        "status": if is_providers { incident.status } else { Status::Unknown },
        "attribution": is_providers.then_some(incident.attribution),
        "title": title(incident), "endpoints": incident.endpoints, "started_at": incident.started_at,
        "opened_at": incident.opened_at, "ended_at": incident.ended_at, "resolved_at": incident.resolved_at, "duration_s": incident.duration_s,
        "notes": notes,
    })
}

fn note_json(note: &Note) -> Value {
    json!({"at": note.at, "text": note.text})
}
