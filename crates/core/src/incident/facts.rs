//! Collects the facts about an incident while they are known. `message::incident` renders the texts
//! from them later.

use std::collections::{BTreeMap, BTreeSet};

use super::IncidentContext;
use super::open::OpenIncident;
use crate::model::{
    Cause, Elsewhere, Endpoint, EvidenceSample, Incident, IncidentFacts, IncidentKind,
    IncidentState, Only, Timestamp,
};

/// The number of bad samples that an incident shows.
const SHOWN_SAMPLES: usize = 5;
/// The number of other regions that are named.
const NAMED_REGIONS: usize = 3;

/// Recomputes the incident's endpoints, counts and cause from the endpoints that have not
/// recovered.
pub(super) fn recount(open: &mut OpenIncident) {
    open.incident.endpoints = open.concerned();
    open.incident.recovered = open
        .joined
        .iter()
        .filter(|name| !open.incident.endpoints.contains(name))
        .cloned()
        .collect();
    let incident = &mut open.incident;
    let mut faults = BTreeMap::new();
    let mut probes = 0_u32;
    let mut failed = 0;
    let mut recovery = 0;
    for tally in incident
        .endpoints
        .iter()
        .filter_map(|name| open.tallies.get(name))
    {
        for (fault, n) in &tally.faults {
            *faults.entry(*fault).or_default() += n;
        }
        probes += tally.probes;
        failed += tally.bad;
        if incident.state == IncidentState::Resolved {
            recovery += tally.good_run;
        }
    }
    incident.evidence.faults = faults;
    incident.evidence.probes = probes.saturating_sub(recovery);
    incident.evidence.failed = failed;
    incident.cause = match open.kind {
        // The incident is about one fault, whatever else its endpoints report.
        IncidentKind::Fault(fault) => Cause::Fault(fault),
        IncidentKind::Service if incident.cause.is_slow() => Cause::Slow,
        IncidentKind::Service => incident
            .evidence
            .faults_by_count()
            .first()
            .map_or(Cause::Failed, |(fault, _)| Cause::Fault(*fault)),
    };
}

/// Returns those of these samples that an incident shows: the latest ones, oldest first.
pub(crate) fn latest(mut samples: Vec<EvidenceSample>) -> Vec<EvidenceSample> {
    samples.sort_by_key(|s| s.started_at);
    samples.split_off(samples.len().saturating_sub(SHOWN_SAMPLES))
}

/// Refreshes all fields of the incident as of `at`.
pub(super) fn refresh(open: &mut OpenIncident, at: Timestamp, context: &impl IncidentContext) {
    recount(open);
    open.incident.official = context.official(&open.incident);
    let mut samples: Vec<_> = open
        .incident
        .endpoints
        .iter()
        .flat_map(|e| context.bad_samples(e, open.incident.started_at))
        .collect();
    samples.sort_by_key(|s| s.started_at);
    let incident = &mut open.incident;
    let until = incident.end().unwrap_or(at);
    incident.duration_s = until.since_ms(incident.started_at).max(0) as f64 / 1000.0;
    // Samples before the alert were not counted one by one.
    for bad in &samples {
        incident.evidence.note_request(bad.request_id.as_deref());
        incident.evidence.note_first_token(bad.first_token_ms);
    }
    incident.evidence.samples = latest(samples);
    open.incident.facts = Some(collect(open, context));
}

fn collect(open: &OpenIncident, context: &impl IncidentContext) -> IncidentFacts {
    let incident = &open.incident;
    let endpoints: Vec<_> = incident
        .endpoints
        .iter()
        .filter_map(|name| context.endpoint(name))
        .collect();
    let (same_provider, others): (Vec<_>, Vec<_>) = context
        .working()
        .into_iter()
        .filter(|e| !incident.endpoints.contains(&e.name))
        .partition(|e| e.domain() == incident.provider);
    let models = models(&endpoints);
    let other_models = self::models(&same_provider);
    let vendors: BTreeSet<_> = others.iter().map(|e| e.domain_title()).collect();
    IncidentFacts {
        vendor: endpoints.first().map_or_else(
            || incident.provider.title().to_owned(),
            |e| e.domain_title(),
        ),
        only: only(incident, &endpoints, &same_provider, context),
        unaffected: same_provider.iter().map(|e| e.name.clone()).collect(),
        unaffected_models: if other_models.is_disjoint(&models) {
            other_models.len()
        } else {
            0
        },
        other_vendors: vendors.into_iter().collect(),
        answers_elsewhere: elsewhere(&models, &others),
        models: models.into_iter().map(str::to_owned).collect(),
        shares_one_key: share_one_key(&endpoints),
        worked_before: incident
            .endpoints
            .iter()
            .any(|name| context.has_worked(name)),
        reattribution: open.reattribution.clone(),
        confirmation: open.confirmation.clone(),
        replaced_by: open.replaced_by,
    }
}

fn models<'a>(endpoints: &[&'a Endpoint]) -> BTreeSet<&'a str> {
    endpoints
        .iter()
        .filter_map(|e| e.model.as_deref())
        .collect()
}

/// Returns the only affected part while the rest of the provider answers: a region if that
/// distinguishes it, else a model, else the endpoint.
fn only(
    incident: &Incident,
    endpoints: &[&Endpoint],
    unaffected: &[&Endpoint],
    context: &impl IncidentContext,
) -> Option<Only> {
    let accounted_for = unaffected.len() + incident.endpoints.len();
    if unaffected.is_empty() || accounted_for < context.size_of(&incident.provider) {
        return None;
    }
    let models = models(endpoints);
    let distinct = models.is_disjoint(&self::models(unaffected));
    let only = match (models.iter().next(), incident.endpoints.as_slice()) {
        (Some(model), _) if models.len() == 1 && distinct => Only::Model((*model).to_owned()),
        (_, [one]) => Only::Endpoint(one.to_string()),
        _ => return None,
    };
    let here: BTreeSet<_> = endpoints.iter().map(|e| host(e)).collect();
    let there: BTreeSet<_> = unaffected.iter().map(|e| host(e)).collect();
    if here.len() != 1 || !here.is_disjoint(&there) {
        return Some(only);
    }
    let (Only::Model(name) | Only::Endpoint(name)) = only else {
        return Some(only);
    };
    let others: BTreeSet<_> = unaffected.iter().map(|e| region(e)).collect();
    Some(Only::Region {
        here: endpoints.first().map(|e| region(e)).unwrap_or_default(),
        name,
        others: others.into_iter().take(NAMED_REGIONS).collect(),
    })
}

fn host(endpoint: &Endpoint) -> String {
    endpoint.base_url.host_str().unwrap_or_default().to_owned()
}

fn region(endpoint: &Endpoint) -> String {
    let label = endpoint.labels.get("region").cloned();
    label.unwrap_or_else(|| host(endpoint))
}

/// Returns a working endpoint of another failure domain, preferably one that serves the same model.
fn elsewhere(models: &BTreeSet<&str>, others: &[&Endpoint]) -> Option<Elsewhere> {
    let same = others
        .iter()
        .find(|e| e.model.as_deref().is_some_and(|m| models.contains(m)));
    let endpoint = same.or_else(|| others.first())?;
    Some(Elsewhere {
        endpoint: endpoint.name.clone(),
        vendor: endpoint.domain_title(),
        same_model: same.is_some(),
    })
}

fn share_one_key(endpoints: &[&Endpoint]) -> bool {
    let mut pairs = endpoints.windows(2);
    endpoints.len() > 1 && pairs.all(|pair| pair[0].shares_key(pair[1]))
}
