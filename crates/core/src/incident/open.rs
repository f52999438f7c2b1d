//! An open incident: its endpoints, what was counted for each, and how it opens and closes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Change, IncidentContext};
use crate::detect::{DetectorEvent, DetectorEventKind};
use crate::model::{
    Attribution, Cause, Confirmation, Endpoint, EndpointName, Evidence, Fault, Incident,
    IncidentKind, IncidentState, Measure, Official, Reattribution, Sample, Scope, ShiftClock,
    Status, Timestamp, TypicalAndNow,
};

/// Ratio to its typical value at which a measure counts as the slow one.
const TELLING: f64 = 1.3;

/// What is decided about an incident before it opens.
#[derive(Clone, Copy)]
pub(super) struct Opening {
    pub(super) id: Uuid,
    pub(super) number: u64,
    pub(super) status: Status,
    pub(super) attribution: Attribution,
    pub(super) kind: IncidentKind,
}

/// An open incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenIncident {
    pub(super) incident: Incident,
    /// What fails. Endpoints of one domain with the same kind share an incident.
    pub(super) kind: IncidentKind,
    /// The endpoints that have not recovered yet.
    #[serde(rename = "bad")]
    pub(super) failing: BTreeSet<EndpointName>,
    /// All endpoints that were ever in the incident, in the order in which they joined.
    #[serde(default)]
    pub(super) joined: Vec<EndpointName>,
    /// Probe counts by endpoint.
    #[serde(default)]
    pub(super) tallies: BTreeMap<EndpointName, ProbeCounts>,
    /// For unconfirmed endpoints: start of the first good probe since the last bad one.
    #[serde(default)]
    pub(super) good_since: BTreeMap<EndpointName, Timestamp>,
    /// The latest start of a recovery among the endpoints that have recovered.
    #[serde(default)]
    pub(super) recovered_at: Option<Timestamp>,
    /// The evidence that the provider rejects valid accounts.
    #[serde(default)]
    pub(super) confirmation: Option<Confirmation>,
    /// Failing endpoints for which the detector has no event, and their consecutive good probes.
    #[serde(default)]
    pub(super) unconfirmed: BTreeMap<EndpointName, u32>,
    /// Failing endpoints whose latest probes were rejected for an account reason: the fault, and
    /// how often in a row.
    #[serde(default)]
    pub(super) refused_alone: BTreeMap<EndpointName, (Fault, u32)>,
    /// When each endpoint's current run of such rejections began.
    #[serde(default)]
    pub(super) refused_since: BTreeMap<EndpointName, Timestamp>,
    /// Number of the account incident that some of its endpoints moved to.
    #[serde(default)]
    pub(super) replaced_by: Option<u64>,
    /// Set when the incident was reattributed from the provider to the account.
    #[serde(default, rename = "acquittal")]
    pub(super) reattribution: Option<Reattribution>,
    /// Failures in a row across all its endpoints.
    pub(super) run: u32,
}

/// Probe counts of one endpoint in an incident.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ProbeCounts {
    /// Probes since its first bad one.
    pub(super) probes: u32,
    /// Failed probes; in a slowness incident, slow ones as well.
    pub(super) bad: u32,
    /// Good probes since the last bad one. Once the incident is resolved, they count as recovery.
    #[serde(default)]
    pub(super) good_run: u32,
    /// Number of probes by fault.
    pub(super) faults: BTreeMap<Fault, u32>,
}

impl ProbeCounts {
    /// Returns what the detector had counted for an endpoint when it raised `note`.
    pub(super) fn at(note: &DetectorEvent, context: &impl IncidentContext) -> Self {
        Self {
            probes: note.n,
            bad: note.k,
            good_run: 0,
            faults: context.faults(&note.endpoint, note.started_at),
        }
    }

    /// Counts only failures as bad: the incident is not, or no longer, about slowness.
    fn without_slow(self) -> Self {
        Self {
            bad: self.faults.values().sum(),
            ..self
        }
    }
}

impl OpenIncident {
    /// Opens an incident because of `note`, which the detector raised at `sample`.
    pub(super) fn new(
        opening: Opening,
        note: &DetectorEvent,
        sample: &Sample,
        context: &impl IncidentContext,
    ) -> Self {
        let evidence = evidence(note, sample, context);
        let slow = note.cause.is_slow();
        let confirmation = context
            .confirmation()
            .filter(|_| opening.attribution == Attribution::Provider);
        Self {
            incident: Incident {
                id: opening.id,
                number: opening.number,
                state: IncidentState::Open,
                status: opening.status,
                attribution: opening.attribution,
                attribution_reason: String::new(),
                cause: if slow { Cause::Slow } else { Cause::Failed },
                measure: if slow {
                    slow_measure(&evidence)
                } else {
                    Measure::Errors
                },
                title: String::new(),
                provider: context
                    .endpoint(&note.endpoint)
                    .map(Endpoint::domain)
                    .unwrap_or_default(),
                endpoints: vec![note.endpoint.clone()],
                recovered: Vec::new(),
                started_at: note.started_at,
                opened_at: sample.ended_at().max(note.at),
                ended_at: None,
                resolved_at: None,
                duration_s: 0.0,
                explanation: String::new(),
                explains: Vec::new(),
                explained_by: None,
                locations: Vec::new(),
                scope: Scope::All,
                reached_from: Vec::new(),
                alone: false,
                new_normal: Vec::new(),
                removed: false,
                acknowledged: None,
                notes: Vec::new(),
                evidence,
                official: Official::default(),
                facts: None,
            },
            kind: opening.kind,
            failing: BTreeSet::from([note.endpoint.clone()]),
            unconfirmed: BTreeMap::new(),
            refused_alone: BTreeMap::new(),
            refused_since: BTreeMap::new(),
            replaced_by: None,
            reattribution: None,
            joined: vec![note.endpoint.clone()],
            tallies: BTreeMap::from([(note.endpoint.clone(), ProbeCounts::at(note, context))]),
            good_since: BTreeMap::new(),
            recovered_at: None,
            confirmation,
            run: 0,
        }
    }

    /// Applies an event of an endpoint that fails with `status`. Returns how much that changes.
    pub(super) fn worsen(
        &mut self,
        note: &DetectorEvent,
        status: Status,
        context: &impl IncidentContext,
    ) -> Change {
        self.unconfirmed.remove(&note.endpoint);
        if !note.cause.is_slow() && self.incident.cause.is_slow() {
            self.turn_to_failures();
        }
        let incident = &mut self.incident;
        let worse = status == Status::Outage && incident.status == Status::Degraded;
        if worse {
            incident.status = Status::Outage;
        }
        let provider = incident.attribution == Attribution::Provider;
        // A problem of one endpoint has spread to the provider.
        let spreads = note.event == DetectorEventKind::Open
            && provider
            && incident.endpoints.len() == 1
            && !incident.endpoints.contains(&note.endpoint);
        self.count_event(note, context);
        if self.kind.fault().is_some() && provider {
            self.confirmation = context.confirmation().or(self.confirmation.take());
        }
        if note.event == DetectorEventKind::Escalate || worse || spreads {
            Change::Escalated
        } else {
            Change::Updated
        }
    }

    /// Makes an incident about slowness one about failures: slow probes no longer count as bad.
    fn turn_to_failures(&mut self) {
        self.incident.cause = Cause::Failed;
        self.incident.measure = Measure::Errors;
        for tally in self.tallies.values_mut() {
            *tally = std::mem::take(tally).without_slow();
        }
    }

    /// Takes over what the detector counted when it raised `note`.
    pub(super) fn count_event(&mut self, note: &DetectorEvent, context: &impl IncidentContext) {
        let mut tally = ProbeCounts::at(note, context);
        if note.cause.is_slow() && !self.incident.cause.is_slow() {
            tally = tally.without_slow();
        }
        let started_at = self.incident.started_at;
        let is_member = self.failing.contains(&note.endpoint);
        if is_member && note.was_slow {
            // A failure before the slowness, with good probes in between, does not begin it
            // earlier.
            if note.started_at >= started_at {
                self.tallies.insert(note.endpoint.clone(), tally);
            }
            return;
        }
        self.incident.started_at = started_at.min(note.started_at);
        if !is_member {
            self.join(&note.endpoint, tally);
        }
    }

    /// Adds an endpoint, or adds to the counts of one that is in the incident already.
    pub(super) fn join(&mut self, name: &str, tally: ProbeCounts) {
        self.failing.insert(name.into());
        self.good_since.remove(name);
        if !self.joined.iter().any(|known| known == name) {
            self.joined.push(name.into());
        }
        let known = self.tallies.entry(name.into()).or_default();
        known.probes += tally.probes;
        known.bad += tally.bad;
        known.good_run = 0;
        for (fault, n) in tally.faults {
            *known.faults.entry(fault).or_default() += n;
        }
    }

    /// Removes an endpoint that has recovered, at `ended_at` if known.
    pub(super) fn leave(&mut self, name: &str, ended_at: Option<Timestamp>) {
        self.failing.remove(name);
        self.unconfirmed.remove(name);
        self.good_since.remove(name);
        if let Some(at) = ended_at {
            self.recovered_at = Some(self.recovered_at.map_or(at, |known| known.max(at)));
        }
    }

    /// The endpoints that have not recovered; once the incident is resolved, all of them.
    pub(super) fn concerned(&self) -> Vec<EndpointName> {
        let is_over = self.incident.state == IncidentState::Resolved;
        self.joined
            .iter()
            .filter(|name| is_over || self.failing.contains(*name))
            .cloned()
            .collect()
    }

    /// Fills in the fields that a checkpoint of release 0.1 lacks.
    pub(super) fn complete(&mut self) {
        if !self.joined.is_empty() {
            return;
        }
        self.joined.clone_from(&self.incident.endpoints);
        let evidence = &self.incident.evidence;
        let tally = ProbeCounts {
            probes: evidence.probes,
            bad: evidence.failed,
            good_run: 0,
            faults: evidence.faults.clone(),
        };
        if let Some(first) = self.joined.iter().find(|name| self.failing.contains(*name)) {
            self.tallies.insert(first.clone(), tally);
        }
    }

    /// Resolves the incident at `at`.
    pub(super) fn close(&mut self, at: Timestamp) {
        close(&mut self.incident, at);
        let start = self.incident.started_at;
        self.incident.ended_at = self.recovered_at.map(|end| end.max(start));
    }
}

/// Returns the first evidence of an incident that `note` opens.
fn evidence(note: &DetectorEvent, sample: &Sample, context: &impl IncidentContext) -> Evidence {
    let usual = context.usual(&note.endpoint);
    let decided = Some(sample).filter(|s| s.endpoint == note.endpoint);
    // A few probes are not typical, whichever measure is concerned.
    let is_learned = note.typical_first_token_ms.is_some();
    Evidence {
        probes: note.n,
        failed: note.k,
        typical_failure_rate: note.typical_failure_rate,
        first_token_ms: TypicalAndNow {
            typical: note.typical_first_token_ms,
            now: note.first_token_ms,
        },
        total_ms: TypicalAndNow {
            typical: usual.total_ms.filter(|_| is_learned),
            now: decided.and_then(|s| s.total_ms),
        },
        tokens_per_second: TypicalAndNow {
            typical: usual.tokens_per_second.filter(|_| is_learned),
            now: decided.and_then(Sample::tokens_per_second),
        },
        ..Evidence::default()
    }
}

/// Returns which measure of a slow endpoint is slow.
fn slow_measure(evidence: &Evidence) -> Measure {
    let first = evidence.first_token_ms.ratio().unwrap_or(1.0);
    let total = evidence.total_ms.ratio().unwrap_or(1.0);
    let rate = evidence.tokens_per_second.ratio().unwrap_or(1.0);
    if first >= TELLING || total < TELLING {
        Measure::FirstToken
    } else if rate <= 1.0 / TELLING {
        Measure::TokensPerSecond
    } else {
        Measure::Total
    }
}

/// Marks an incident as resolved at `at`.
pub(super) fn close(incident: &mut Incident, at: Timestamp) {
    incident.state = IncidentState::Resolved;
    incident.resolved_at = Some(at);
}

impl ShiftClock for OpenIncident {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            incident,
            good_since,
            recovered_at,
            refused_since,
            reattribution,
            kind: _,
            failing: _,
            joined: _,
            tallies: _,
            confirmation: _,
            unconfirmed: _,
            refused_alone: _,
            replaced_by: _,
            run: _,
        } = self;
        incident.shift_clock(by_ms);
        good_since.shift_clock(by_ms);
        recovered_at.shift_clock(by_ms);
        refused_since.shift_clock(by_ms);
        reattribution.shift_clock(by_ms);
    }
}
