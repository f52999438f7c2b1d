//! From the detector's notes to incidents: opened, updated, escalated, resolved. Pure.
//!
//! The book holds the incidents that go on. It is part of the folded state: the same samples give the same incidents,
//! ids included, in the daemon, after a restart and in a replay. So an incident has the id of the sample that opened
//! it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::detect::{Cause, Event, Note};
use crate::model::{
    Attribution, Endpoint, Evidence, EvidenceSample, Fault, FirstToken, Incident, IncidentState, Official, Outcome,
    Sample, Status, Timestamp,
};

/// From this share of failed probes on, an endpoint is of no use: outage rather than degraded.
const OUTAGE_SHARE: f64 = 0.5;
/// How many bad samples an incident shows.
const SHOWN_SAMPLES: usize = 5;

/// The incidents that go on, and the number of the last one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    open: Vec<Open>,
    last_number: u64,
}

/// An incident that goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    incident: Incident,
    /// The endpoints that have not recovered yet.
    bad: BTreeSet<String>,
    /// How often each fault was seen.
    faults: BTreeMap<String, u32>,
}

/// What happened to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It began.
    Opened,
    /// Its extent grew.
    Updated,
    /// It became worse, or turned out to concern the whole provider.
    Escalated,
    /// It is over.
    Resolved,
}

/// What the book needs to know of the world around a note.
pub trait Surroundings {
    /// The endpoint of this name, if it is still configured.
    fn endpoint(&self, name: &str) -> Option<&Endpoint>;
    /// The bad samples of an endpoint since `from`, oldest first.
    fn bad_samples(&self, name: &str, from: Timestamp) -> Vec<EvidenceSample>;
    /// Endpoints of other failure domains that answer at this moment.
    fn working_elsewhere(&self, domain: &str) -> Vec<String>;
    /// What the vendor's own page says about an incident.
    fn official(&self, incident: &Incident) -> Official;
}

impl Book {
    /// The incidents that go on, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.iter().map(|o| &o.incident)
    }

    /// The incident that `endpoint` is in and has not recovered from; of several, the one that is not the provider's
    /// comes last.
    pub fn of(&self, endpoint: &str) -> Option<&Incident> {
        self.open.iter().find(|o| o.bad.contains(endpoint)).map(|o| &o.incident)
    }

    /// Counts a sample towards the incidents that its endpoint is in.
    pub fn count(&mut self, sample: &Sample) {
        for open in self.open.iter_mut().filter(|o| o.bad.contains(&sample.endpoint)) {
            let slow = open.incident.cause == SLOW;
            let evidence = &mut open.incident.evidence;
            evidence.probes += 1;
            evidence.note(sample);
            if sample.outcome == Outcome::Failed || (slow && sample.outcome == Outcome::Slow) {
                evidence.failed += 1;
            }
            if let Some(fault) = sample.fault {
                *open.faults.entry(fault.as_str().to_owned()).or_default() += 1;
            }
        }
    }

    /// Takes in what the detector noted on `sample`. Returns what changed; at most one change per incident.
    pub fn apply(&mut self, notes: &[Note], sample: &Sample, around: &impl Surroundings) -> Vec<(Change, Incident)> {
        let mut changes: Vec<(Change, Uuid)> = Vec::new();
        // The endpoint that decided comes before those that it takes along.
        let (leading, joining): (Vec<_>, Vec<_>) = notes.iter().partition(|n| n.event != Event::Join);
        for note in leading.into_iter().chain(joining) {
            let change = match note.event {
                Event::Open | Event::Join | Event::Escalate => self.worsen(note, sample, around),
                Event::Resolved => self.recover(note, sample),
                Event::Offline | Event::Online => None,
            };
            if let Some(change) = change
                && !changes.iter().any(|(_, id)| *id == change.1)
            {
                changes.push(change);
            }
        }
        let at = sample.ended_at();
        let told = changes.into_iter().filter_map(|(change, id)| {
            let open = self.open.iter_mut().find(|o| o.incident.id == id)?;
            describe(open, at, around);
            Some((change, open.incident.clone()))
        });
        let told = told.collect();
        self.open.retain(|o| o.incident.state == IncidentState::Open);
        told
    }

    /// Asks `about` anew for what the vendors' pages say about the incidents that go on. Returns those whose vendor has
    /// published something since.
    pub fn hear(&mut self, about: impl Fn(&Incident) -> Official) -> Vec<Incident> {
        let mut published = Vec::new();
        for incident in self.open.iter_mut().map(|o| &mut o.incident) {
            let now = about(incident);
            let before = std::mem::replace(&mut incident.official, now);
            if before.incident != incident.official.incident {
                published.push(incident.clone());
            }
        }
        published
    }

    /// Closes what concerns only endpoints that are gone from the configuration.
    pub fn forget(&mut self, at: Timestamp, is_known: impl Fn(&str) -> bool) -> Vec<Incident> {
        let mut closed = Vec::new();
        self.open.retain_mut(|open| {
            open.bad.retain(|name| is_known(name));
            if open.bad.is_empty() {
                let incident = &mut open.incident;
                close(incident, at);
                incident.title = format!("{}: no longer watched", incident.provider);
                incident.explanation = "The endpoints of this incident were removed from the configuration.".to_owned();
                closed.push(incident.clone());
            }
            !open.bad.is_empty()
        });
        closed
    }

    fn worsen(&mut self, note: &Note, sample: &Sample, around: &impl Surroundings) -> Option<(Change, Uuid)> {
        let endpoint = around.endpoint(&note.endpoint)?;
        let attribution = match note.cause {
            Cause::Account => sample.attribution.unwrap_or(Attribution::Account),
            _ => Attribution::Provider,
        };
        let slow = note.cause.is_slow();
        let share = f64::from(note.k) / f64::from(note.n.max(1));
        let status = match note.cause {
            Cause::Account => Status::Outage,
            _ if !slow && share >= OUTAGE_SHARE => Status::Outage,
            _ => Status::Degraded,
        };
        let domain = endpoint.domain();
        let alone = note.event == Event::Open && note.cause != Cause::Account;
        let same = |o: &&mut Open| o.incident.provider == domain && o.incident.attribution == attribution;
        let found = if alone { None } else { self.open.iter_mut().find(same) };
        let Some(open) = found else {
            self.last_number += 1;
            let faults = tally(&around.bad_samples(&note.endpoint, note.started_at));
            self.open.push(Open {
                incident: Incident {
                    id: sample.id,
                    number: self.last_number,
                    state: IncidentState::Open,
                    status,
                    attribution,
                    cause: if slow { SLOW.to_owned() } else { String::new() },
                    title: String::new(),
                    provider: domain,
                    endpoints: vec![note.endpoint.clone()],
                    started_at: note.started_at,
                    opened_at: note.at,
                    resolved_at: None,
                    duration_s: 0.0,
                    explanation: String::new(),
                    acknowledged: None,
                    evidence: Evidence {
                        probes: note.n,
                        failed: note.k,
                        typical_failure_rate: note.typical_failure_rate,
                        first_token_ms: FirstToken { typical: note.typical_first_token_ms, now: note.first_token_ms },
                        ..Evidence::default()
                    },
                    official: Official::default(),
                },
                bad: BTreeSet::from([note.endpoint.clone()]),
                faults,
            });
            return Some((Change::Opened, sample.id));
        };
        let incident = &mut open.incident;
        if !slow && incident.cause == SLOW {
            incident.cause = String::new();
        }
        if status == Status::Outage {
            incident.status = Status::Outage;
        }
        if open.bad.insert(note.endpoint.clone()) {
            if !incident.endpoints.contains(&note.endpoint) {
                incident.endpoints.push(note.endpoint.clone());
            }
            incident.started_at = incident.started_at.min(note.started_at);
            incident.evidence.probes += note.n;
            incident.evidence.failed += note.k;
            for (fault, n) in tally(&around.bad_samples(&note.endpoint, note.started_at)) {
                *open.faults.entry(fault).or_default() += n;
            }
        }
        let change = if note.event == Event::Escalate { Change::Escalated } else { Change::Updated };
        Some((change, incident.id))
    }

    fn recover(&mut self, note: &Note, sample: &Sample) -> Option<(Change, Uuid)> {
        let account = note.cause == Cause::Account;
        let open = self
            .open
            .iter_mut()
            .find(|o| o.bad.contains(&note.endpoint) && (o.incident.attribution != Attribution::Provider) == account)?;
        open.bad.remove(&note.endpoint);
        if !open.bad.is_empty() {
            return Some((Change::Updated, open.incident.id));
        }
        open.incident.evidence.first_token_ms.now = sample.first_token_ms;
        close(&mut open.incident, sample.ended_at());
        Some((Change::Resolved, open.incident.id))
    }
}

/// The `cause` of an incident of slowness.
pub const SLOW: &str = "slow";

/// A length of time as people say it: `42 s`, `14 min`, `2 h 5 min`, `3 d 4 h`.
pub fn human_duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match s {
        0..=119 => format!("{s} s"),
        120..=7199 => format!("{} min", s / 60),
        7200..=172_799 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

fn close(incident: &mut Incident, at: Timestamp) {
    incident.state = IncidentState::Resolved;
    incident.resolved_at = Some(at);
}

fn tally(samples: &[EvidenceSample]) -> BTreeMap<String, u32> {
    let mut faults = BTreeMap::new();
    for fault in samples.iter().filter_map(|s| s.fault) {
        *faults.entry(fault.as_str().to_owned()).or_default() += 1;
    }
    faults
}

/// Words the incident from what is known of it at `at`.
fn describe(open: &mut Open, at: Timestamp, around: &impl Surroundings) {
    open.incident.official = around.official(&open.incident);
    let mut samples: Vec<_> =
        open.incident.endpoints.iter().flat_map(|e| around.bad_samples(e, open.incident.started_at)).collect();
    samples.sort_by_key(|s| s.started_at);
    let incident = &mut open.incident;
    incident.duration_s = incident.resolved_at.unwrap_or(at).since_ms(incident.started_at).max(0) as f64 / 1000.0;
    // Those before the decision were not counted one by one.
    for bad in &samples {
        incident.evidence.note_request(bad.request_id.as_deref());
        incident.evidence.note_first_token(bad.first_token_ms);
    }
    incident.evidence.samples = samples.split_off(samples.len().saturating_sub(SHOWN_SAMPLES));
    incident.evidence.faults.clone_from(&open.faults);
    let mut faults: Vec<_> = open.faults.iter().collect();
    faults.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    if incident.cause != SLOW {
        incident.cause = faults.first().map_or_else(|| "failed".to_owned(), |(fault, _)| (*fault).clone());
    }
    let names = incident.endpoints.join(", ");
    let title = incident.endpoints.first().and_then(|e| around.endpoint(e)).map(Endpoint::domain_title);
    let title = title.unwrap_or_else(|| incident.provider.clone());
    let Evidence { probes, failed, typical_failure_rate, first_token_ms, .. } = &incident.evidence;
    let word = if incident.cause == SLOW { "were slow" } else { "failed" };
    let over = incident.resolved_at.is_some();
    let share = if over {
        format!("{failed} of {probes} probes {word}")
    } else {
        format!("{failed} of the last {probes} probes {word}")
    };
    incident.title = format!("{title}: {share} ({})", incident.cause);

    let since = format!("{}", incident.started_at.to_datetime().format("%H:%M:%S UTC"));
    let mut text = match (incident.attribution, over) {
        (_, true) => format!("{names} recovered after {}: {share}", human_duration(incident.duration_s)),
        (Attribution::Account, _) => {
            format!("{names} cannot be used with this account since {since}: {share}")
        }
        (Attribution::Local, _) => format!("{names} cannot be reached from this machine since {since}: {share}"),
        (Attribution::Provider, _) if incident.cause == SLOW => format!("{names} is slow since {since}: {share}"),
        (Attribution::Provider, _) => format!("{names} is failing since {since}: {share}"),
    };
    if !faults.is_empty() {
        let list: Vec<_> = faults
            .iter()
            .take(3)
            .map(|(code, n)| {
                let words = code.parse::<Fault>().map_or("", Fault::describe);
                format!("{n} × {code}, {words}")
            })
            .collect();
        text += &format!(" ({})", list.join("; "));
    }
    if incident.attribution == Attribution::Provider {
        text += &format!("; typical is {:.1} %", typical_failure_rate * 100.0);
    }
    if let (Some(typical), Some(now)) = (first_token_ms.typical, first_token_ms.now) {
        text += &format!("; first token typically {typical:.0} ms, now {now:.0} ms");
    }
    text += ".";
    if !over {
        let elsewhere = around.working_elsewhere(&incident.provider);
        match incident.attribution {
            Attribution::Provider if elsewhere.is_empty() => {}
            Attribution::Provider => {
                text += &format!(
                    " This machine's network is not the cause: {} answers from here.",
                    elsewhere.first().map_or("", String::as_str)
                );
            }
            Attribution::Account => {
                text += " The provider answers; it refuses this account or this request. Check the key, the quota and \
                         the model's name.";
                if let Some(error) = incident.evidence.samples.last().and_then(|s| s.error.as_ref()) {
                    text += &format!(" Its words: {error}");
                }
            }
            Attribution::Local => text += " The cause lies on this machine or its network, not at the provider.",
        }
    }
    incident.explanation = text;
}
