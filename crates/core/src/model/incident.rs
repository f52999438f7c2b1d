//! An incident: a time in which endpoints were not operational, and what is known about it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Attribution, EndpointName, Fault, Official, Outcome, Provider, ProviderName, Sample,
    ShiftClock, Timestamp,
};

/// The status of an endpoint or a provider.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Answers correctly and at its usual speed.
    Operational,
    /// Could not be measured.
    Unknown,
    /// In a maintenance window.
    Maintenance,
    /// Answers slowly or not always.
    Degraded,
    /// Does not answer, or too rarely to be of use.
    Outage,
}

impl Status {
    /// Every status.
    pub const ALL: &[Self] = &[
        Self::Operational,
        Self::Degraded,
        Self::Outage,
        Self::Unknown,
        Self::Maintenance,
    ];

    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Degraded => "degraded",
            Self::Outage => "outage",
            Self::Unknown => "unknown",
            Self::Maintenance => "maintenance",
        }
    }

    /// The worse of two, in the one order of severity: operational, unknown, maintenance, degraded, outage.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Why an incident is one. Serialised as a fault code, `slow` or `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cause {
    /// Answers take longer than usual.
    Slow,
    /// Probes fail, of no fault that is known.
    #[default]
    Failed,
    /// Probes fail, most often with this fault.
    Fault(Fault),
}

impl Cause {
    /// The stable name: a fault's code, `slow` or `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Failed => "failed",
            Self::Fault(fault) => fault.as_str(),
        }
    }

    /// The fault, if there is one.
    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Slow | Self::Failed => None,
        }
    }

    /// Whether it is about latency.
    pub fn is_slow(self) -> bool {
        self == Self::Slow
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Cause {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(match name {
            "slow" => Self::Slow,
            code => code.parse().map_or(Self::Failed, Self::Fault),
        })
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(name.parse().unwrap_or_default())
    }
}

/// Endpoints of one failure domain and attribution whose trouble is of the same kind are in one incident. Serialised
/// as `service` or the fault's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IncidentKind {
    /// The provider's service fails or is slow; one may turn into the other.
    Service,
    /// The account or this machine has this fault.
    Fault(Fault),
}

impl IncidentKind {
    /// The fault, unless the provider's service is in trouble.
    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Service => None,
        }
    }
}

impl Serialize for IncidentKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.fault().map_or("service", Fault::as_str))
    }
}

impl<'de> Deserialize<'de> for IncidentKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(name.parse().map_or(Self::Service, Self::Fault))
    }
}

/// The measure that decided that there is an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Failed probes.
    #[default]
    Errors,
    /// The time to the first token.
    FirstToken,
    /// The duration of the probe.
    Total,
    /// The output rate after the first token.
    TokensPerSecond,
}

/// Whether an incident is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// At least one endpoint has not recovered.
    Open,
    /// Every endpoint has recovered, or is not monitored any more.
    Resolved,
}

/// One incident. The serialised form is the `incident` of the notifications and of the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// Stable and unique (UUIDv7).
    pub id: Uuid,
    /// Counts from 1 on this daemon; the number that people use.
    pub number: u64,
    /// Whether it is over.
    pub state: IncidentState,
    /// The worst status it has reached.
    pub status: Status,
    /// Whose fault.
    pub attribution: Attribution,
    /// Why we think so, in a sentence. Written by `message::incident::narrate`, as the other texts are.
    #[serde(default)]
    pub attribution_reason: String,
    /// The most frequent fault's code, or `slow`.
    #[schema(value_type = String)]
    pub cause: Cause,
    /// What decided.
    #[serde(default)]
    pub measure: Measure,
    /// The incident in one line.
    #[serde(default)]
    pub title: String,
    /// The failure domain: a provider's name, or the host of a compatible server or web target.
    pub provider: ProviderName,
    /// The endpoints that are affected now, in the order in which they joined; of an incident that is over, all that were.
    pub endpoints: Vec<EndpointName>,
    /// Endpoints that were affected and have recovered, while others are affected still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovered: Vec<EndpointName>,
    /// The first bad probe, not the decision.
    pub started_at: Timestamp,
    /// The decision.
    pub opened_at: Timestamp,
    /// The start of the first good probe of the recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When its end was decided.
    pub resolved_at: Option<Timestamp>,
    /// Seconds from `started_at` to `ended_at`, or to the time of this record while it is open.
    pub duration_s: f64,
    /// One paragraph for people: what, how sure, whose fault and why.
    #[serde(default)]
    pub explanation: String,
    /// Endpoints that depend on the affected ones, and fail because of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explains: Vec<EndpointName>,
    /// The number of the incident that causes this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_by: Option<u64>,
    /// Endpoints that have been slow for so long that this is their new baseline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new_normal: Vec<EndpointName>,
    /// Whether it was closed because none of its endpoints is configured any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Who acknowledged it; no reminders are sent from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// Notes that people have written, oldest first.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// The figures behind the decision.
    pub evidence: Evidence,
    /// What the vendor's own status page says.
    #[serde(default)]
    pub official: Official,
    /// The locations that see it, with how they see it; more than one only where several daemons share a store.
    #[serde(default)]
    pub locations: Vec<IncidentLocation>,
    /// Whether enough locations see it for the verdict of all.
    #[serde(default)]
    pub scope: Scope,
    /// The locations that reach its endpoints meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reached_from: Vec<String>,
    /// Whether one daemon decided it by itself because it could not reach the shared store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// What the texts are made from. Rows of release 0.1 have none, and keep the texts that they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub facts: Option<IncidentFacts>,
}

/// One location's part in an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentLocation {
    /// The location's name.
    pub location: String,
    /// How its endpoints are from there; operational once that location has recovered.
    pub state: Status,
    /// Since when.
    pub since: Timestamp,
}

/// How far an incident reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// As many locations see it as `[quorum]` asks for.
    #[default]
    All,
    /// Fewer locations see it; others reach the endpoints.
    Location,
}

/// What is known around an incident: who else is affected, who is not, and what changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IncidentFacts {
    /// The vendor as people call it ("OpenAI").
    pub vendor: String,
    /// The models of the affected endpoints.
    pub models: Vec<String>,
    /// What alone is affected, if the rest of the provider answers.
    pub only: Option<Only>,
    /// Endpoints of the same provider that answer.
    pub unaffected: Vec<EndpointName>,
    /// How many other models of the provider answer; 0 if models do not distinguish them.
    pub unaffected_models: usize,
    /// Other vendors that answer.
    pub other_vendors: Vec<String>,
    /// An endpoint of another vendor that answers, which shows that this machine's network works.
    pub answers_elsewhere: Option<Elsewhere>,
    /// Whether all affected endpoints use one key.
    pub shares_one_key: bool,
    /// Whether one of them has answered correctly with its present configuration.
    pub worked_before: bool,
    /// How the provider was suspected first and is not any more.
    pub reattribution: Option<Reattribution>,
    /// Why the provider is suspected though it names the account.
    pub confirmation: Option<Confirmation>,
    /// The number of the account's incident that affected endpoints are in instead, because the provider answers again and
    /// rejects them.
    pub replaced_by: Option<u64>,
}

/// What confirms, independently of the account, that the provider rejects it wrongly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// A key of another organization is rejected at the same time: that of this endpoint.
    OtherAccount(EndpointName),
    /// The vendor's own page admits it, in an incident of this title.
    VendorPage(String),
    /// The provider's headers name limits of which this share is left, in hundredths of a percent.
    Headers(u32),
}

/// What alone is affected of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// One model.
    Model(String),
    /// One endpoint.
    Endpoint(String),
    /// One region or host, and others that answer.
    Region {
        /// The affected one.
        here: String,
        /// The model or endpoint, for the title.
        name: String,
        /// Some that answer.
        others: Vec<String>,
    },
}

/// An endpoint of another vendor that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// Its name.
    pub endpoint: EndpointName,
    /// Its vendor as people call it.
    pub vendor: String,
    /// Whether it serves a model that is affected here.
    pub same_model: bool,
}

/// The provider was suspected, and is not any more: the rest is the account's own fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reattribution {
    /// When.
    pub at: Timestamp,
    /// Endpoints that were rejected as well and are not any more.
    #[serde(alias = "let_in")]
    pub recovered: Vec<EndpointName>,
}

impl Incident {
    /// Has it seen from `location`, unless it is known already who sees it.
    pub fn place(&mut self, location: &str) {
        if self.locations.is_empty() {
            self.locations.push(IncidentLocation {
                location: location.to_owned(),
                state: self.status,
                since: self.started_at,
            });
        } else if let [only] = self.locations.as_mut_slice()
            && only.location == location
        {
            (only.state, only.since) = (self.status, self.started_at);
        }
    }

    /// Whether it was seen from `location`. What a daemon recorded without others was seen from where it is, `here`.
    pub fn is_seen_from(&self, location: &str, here: &str) -> bool {
        if self.locations.is_empty() {
            return location == here;
        }
        self.locations.iter().any(|l| l.location == location)
    }

    /// Whether it ended by a recovery: not by becoming part of another incident, by a new baseline, or with its
    /// endpoints.
    pub fn has_recovered(&self) -> bool {
        self.resolved_at.is_some()
            && !self.is_new_normal()
            && !self.removed
            && self.merged_into().is_none()
    }

    /// The number of the incident that it became part of.
    pub fn merged_into(&self) -> Option<u64> {
        let may_be = self.attribution == Attribution::Account || self.alone;
        self.explained_by
            .filter(|_| self.resolved_at.is_some() && may_be)
    }

    /// Whether the provider is only suspected: it rejects an account that worked before.
    pub fn is_suspected(&self) -> bool {
        self.attribution == Attribution::Provider
            && self
                .cause
                .fault()
                .is_some_and(|f| f.attribution() == Attribution::Account)
    }

    /// Every endpoint that is or was affected.
    pub fn affected(&self) -> impl Iterator<Item = &EndpointName> {
        self.endpoints.iter().chain(&self.recovered)
    }

    /// When its outage was over: the first good probe, or the decision if that is not known.
    pub fn end(&self) -> Option<Timestamp> {
        self.ended_at.or(self.resolved_at)
    }

    /// Whether it ended only because its slowness is the new baseline: nothing has become faster.
    pub fn is_new_normal(&self) -> bool {
        self.resolved_at.is_some()
            && self
                .endpoints
                .iter()
                .all(|name| self.new_normal.contains(name))
    }
}

/// A person has acknowledged an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledgement {
    /// When.
    pub at: Timestamp,
    /// By whom; empty if not given.
    #[serde(default)]
    pub by: String,
    /// What they wrote about it.
    #[serde(default, alias = "comment")]
    pub note: String,
}

/// A note that a person has written about an incident, for the page and the next message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Note {
    /// When it was written.
    pub at: Timestamp,
    /// Who wrote it; empty when they did not say.
    #[serde(default)]
    pub by: String,
    /// The text: one line of at most 1000 bytes.
    pub text: String,
}

impl Note {
    /// Notes of one incident at most.
    pub const MOST: usize = 100;
}

/// The figures behind a decision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// Probes since the first bad one.
    pub probes: u32,
    /// Of these, failed (or slow, for an incident of slowness).
    pub failed: u32,
    /// The learned share of failures in normal times, 0 to 1; `None` until learned.
    #[serde(default)]
    pub typical_failure_rate: Option<f64>,
    /// Time to the first token, in milliseconds.
    pub first_token_ms: TypicalAndNow,
    /// Duration of the probe, in milliseconds.
    #[serde(default)]
    pub total_ms: TypicalAndNow,
    /// Output tokens a second after the first.
    #[serde(default)]
    pub tokens_per_second: TypicalAndNow,
    /// The last bad samples, oldest first.
    pub samples: Vec<EvidenceSample>,
    /// How often each fault was seen.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, u32>)]
    pub faults: BTreeMap<Fault, u32>,
    /// The longest time to a first token, in milliseconds.
    #[serde(default)]
    pub worst_first_token_ms: Option<f64>,
    /// The longest probe that was not good, in milliseconds.
    #[serde(default)]
    pub worst_total_ms: Option<f64>,
    /// The vendor's ids of the first bad requests, for a support ticket; at most [`Evidence::MOST_REQUEST_IDS`].
    #[serde(default)]
    pub request_ids: Vec<String>,
}

impl Evidence {
    /// The most request ids that are kept.
    pub const MOST_REQUEST_IDS: usize = 20;

    /// Adds what one sample says to the post-mortem.
    pub fn note(&mut self, sample: &Sample) {
        if sample.outcome == Outcome::Ok {
            return;
        }
        self.worst_first_token_ms = longer(self.worst_first_token_ms, sample.first_token_ms);
        self.worst_total_ms = longer(self.worst_total_ms, sample.total_ms);
        self.note_request(sample.request_id.as_deref());
    }

    /// Adds the first token of a bad probe.
    pub fn note_first_token(&mut self, ms: Option<f64>) {
        self.worst_first_token_ms = longer(self.worst_first_token_ms, ms);
    }

    /// Keeps the id of a bad request, once.
    pub fn note_request(&mut self, id: Option<&str>) {
        if let Some(id) = id
            && self.request_ids.len() < Self::MOST_REQUEST_IDS
            && !self.request_ids.iter().any(|known| known == id)
        {
            self.request_ids.push(id.to_owned());
        }
    }
}

fn longer(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

impl Evidence {
    /// The faults, the most frequent first.
    pub fn faults_by_count(&self) -> Vec<(Fault, u32)> {
        let mut faults: Vec<_> = self.faults.iter().map(|(fault, n)| (*fault, *n)).collect();
        faults.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.as_str().cmp(b.0.as_str())));
        faults
    }
}

/// A measure in normal times and now.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct TypicalAndNow {
    /// The learned median; `None` until enough was learned.
    pub typical: Option<f64>,
    /// The last value; `None` if there was none.
    pub now: Option<f64>,
}

impl TypicalAndNow {
    /// How many times the typical value it is now.
    pub fn ratio(self) -> Option<f64> {
        let (typical, now) = (self.typical?, self.now?);
        (typical > 0.0).then_some(now / typical)
    }
}

/// One sample as evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceSample {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// When the probe began.
    pub started_at: Timestamp,
    /// Why it failed; `None` for a slow sample.
    pub fault: Option<Fault>,
    /// The HTTP status, if any.
    pub http_status: Option<u16>,
    /// First token, if any.
    pub first_token_ms: Option<f64>,
    /// The vendor's id of the request.
    pub request_id: Option<String>,
    /// The error text, redacted.
    pub error: Option<String>,
    /// The answer, if it was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// An endpoint that answers while another does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// Its dialect.
    pub provider: Provider,
    /// Its vendor as people call it.
    pub title: String,
    /// Its status now.
    pub status: Status,
    /// Median first token of its recent probes.
    pub first_token_ms_p50: Option<f64>,
    /// Share of good probes in the last 24 hours, 0 to 1.
    pub availability_24h: Option<f64>,
}

impl ShiftClock for Incident {
    fn shift_clock(&mut self, by_ms: i64) {
        // What the vendor published stays: its times are the calendar's.
        let Self {
            started_at,
            opened_at,
            ended_at,
            resolved_at,
            acknowledged,
            notes,
            evidence,
            locations,
            facts,
            id: _,
            number: _,
            state: _,
            status: _,
            attribution: _,
            attribution_reason: _,
            cause: _,
            measure: _,
            title: _,
            provider: _,
            endpoints: _,
            recovered: _,
            duration_s: _,
            explanation: _,
            explains: _,
            explained_by: _,
            new_normal: _,
            removed: _,
            official: _,
            scope: _,
            reached_from: _,
            alone: _,
        } = self;
        started_at.shift_clock(by_ms);
        opened_at.shift_clock(by_ms);
        ended_at.shift_clock(by_ms);
        resolved_at.shift_clock(by_ms);
        acknowledged.shift_clock(by_ms);
        notes.shift_clock(by_ms);
        evidence.shift_clock(by_ms);
        locations.shift_clock(by_ms);
        facts.shift_clock(by_ms);
    }
}

impl ShiftClock for IncidentLocation {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            since,
            location: _,
            state: _,
        } = self;
        since.shift_clock(by_ms);
    }
}

impl ShiftClock for IncidentFacts {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            reattribution,
            vendor: _,
            models: _,
            only: _,
            unaffected: _,
            unaffected_models: _,
            other_vendors: _,
            answers_elsewhere: _,
            shares_one_key: _,
            worked_before: _,
            confirmation: _,
            replaced_by: _,
        } = self;
        reattribution.shift_clock(by_ms);
    }
}

impl ShiftClock for Reattribution {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self { at, recovered: _ } = self;
        at.shift_clock(by_ms);
    }
}

impl ShiftClock for Acknowledgement {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self { at, by: _, note: _ } = self;
        at.shift_clock(by_ms);
    }
}

impl ShiftClock for Note {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self { at, by: _, text: _ } = self;
        at.shift_clock(by_ms);
    }
}

impl ShiftClock for Evidence {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            samples,
            probes: _,
            failed: _,
            typical_failure_rate: _,
            first_token_ms: _,
            total_ms: _,
            tokens_per_second: _,
            faults: _,
            worst_first_token_ms: _,
            worst_total_ms: _,
            request_ids: _,
        } = self;
        samples.shift_clock(by_ms);
    }
}

impl ShiftClock for EvidenceSample {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            started_at,
            endpoint: _,
            fault: _,
            http_status: _,
            first_token_ms: _,
            request_id: _,
            error: _,
            answer: _,
        } = self;
        started_at.shift_clock(by_ms);
    }
}
