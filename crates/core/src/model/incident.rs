//! An incident: a period in which endpoints were not operational, and what is known about it.

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
    /// It answers correctly and at its usual speed.
    Operational,
    /// It could not be measured.
    Unknown,
    /// It is in a maintenance window.
    Maintenance,
    /// It answers slowly or not always.
    Degraded,
    /// It does not answer, or too rarely to be usable.
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

    /// Returns the stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Degraded => "degraded",
            Self::Outage => "outage",
            Self::Unknown => "unknown",
            Self::Maintenance => "maintenance",
        }
    }

    /// Returns the worse of two statuses. In order of severity: operational, unknown, maintenance,
    /// degraded, outage.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        self.max(other)
    }
}

/// The cause of an incident. Serialized as a fault code, `slow` or `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cause {
    /// Answers take longer than usual.
    Slow,
    /// Probes fail with an unknown fault.
    #[default]
    Failed,
    /// Probes fail, most often with this fault.
    Fault(Fault),
}

impl Cause {
    /// Reports whether it affects every endpoint of this machine alike, so that none of them is an
    /// alternative to another.
    pub fn affects_all(self) -> bool {
        self == Self::Fault(Fault::LocalResources)
    }

    /// Returns the stable name: a fault's code, `slow` or `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Failed => "failed",
            Self::Fault(fault) => fault.as_str(),
        }
    }

    /// Returns the fault, if there is one.
    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Slow | Self::Failed => None,
        }
    }

    /// Reports whether it is about latency.
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

/// The kind of an incident. Endpoints of one failure domain and attribution with problems of the
/// same kind are in one incident. Serialized as `service` or the fault's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IncidentKind {
    /// The provider's service fails or is slow; one may turn into the other.
    Service,
    /// The account or this machine has this fault.
    Fault(Fault),
}

impl IncidentKind {
    /// Returns the fault, unless it is about the provider's service.
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

/// The measure that opened the incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Failed probes.
    #[default]
    Errors,
    /// The time to first token.
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

/// One incident. The serialized form is the `incident` of the notifications and of the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// The ID; stable and unique (UUIDv7).
    pub id: Uuid,
    /// Counts from 1 on this daemon; the number that people use.
    pub number: u64,
    /// Whether it is over.
    pub state: IncidentState,
    /// The worst status it has reached.
    pub status: Status,
    /// Whose fault it is.
    pub attribution: Attribution,
    /// Why it has this attribution, in a sentence. `message::incident::narrate` writes it and the
    /// other texts.
    #[serde(default)]
    pub attribution_reason: String,
    /// The most frequent fault's code, or `slow`.
    #[schema(value_type = String)]
    pub cause: Cause,
    /// The measure that opened it.
    #[serde(default)]
    pub measure: Measure,
    /// The incident in one line.
    #[serde(default)]
    pub title: String,
    /// The failure domain: a provider's name, or the host of a compatible server or web target.
    pub provider: ProviderName,
    /// The endpoints that are affected now, in the order in which they joined; once it is resolved,
    /// all that were affected.
    pub endpoints: Vec<EndpointName>,
    /// Endpoints that have recovered while others are still affected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovered: Vec<EndpointName>,
    /// When the first bad probe began; earlier than the decision.
    pub started_at: Timestamp,
    /// When it was opened: the decision.
    pub opened_at: Timestamp,
    /// When the first good probe of the recovery began.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// When it was resolved: the decision.
    pub resolved_at: Option<Timestamp>,
    /// Seconds from `started_at` to `ended_at`, or to the time of this record while it is open.
    pub duration_s: f64,
    /// One paragraph for people: what happened, how certain it is, whose fault and why.
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
    #[serde(default)]
    pub acknowledged: Option<Acknowledgement>,
    /// Notes that people have written, oldest first.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// The figures behind the decision.
    pub evidence: Evidence,
    /// The vendor's status page.
    #[serde(default)]
    pub official: Official,
    /// The locations that see it, each with its status; more than one only if several daemons share
    /// a store.
    #[serde(default)]
    pub locations: Vec<IncidentLocation>,
    /// Whether enough locations see it for the quorum.
    #[serde(default)]
    pub scope: Scope,
    /// The locations that reach its endpoints meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reached_from: Vec<String>,
    /// Whether one daemon decided it by itself because it could not reach the shared store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// The facts for the texts. Rows of release 0.1 have none and keep their texts.
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

/// The extent of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// As many locations see it as `[quorum]` requires.
    #[default]
    All,
    /// Fewer locations see it; others reach the endpoints.
    Location,
}

/// The context of an incident: what else is affected, what is not, and what changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IncidentFacts {
    /// The vendor's display name ("OpenAI").
    pub vendor: String,
    /// The models of the affected endpoints.
    pub models: Vec<String>,
    /// The only affected part, if the rest of the provider answers.
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
    /// Whether one of them has answered correctly with its current configuration.
    pub worked_before: bool,
    /// Set if it was attributed to the provider first.
    pub reattribution: Option<Reattribution>,
    /// Why it is attributed to the provider although the provider blames the account.
    pub confirmation: Option<Confirmation>,
    /// The number of the account's incident that affected endpoints moved to, because the provider
    /// answers again and rejects them.
    pub replaced_by: Option<u64>,
}

/// The second source that confirms that the provider rejects the account wrongly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// The key of this endpoint, of another organization, is rejected at the same time.
    OtherAccount(EndpointName),
    /// The vendor's status page has an incident with this title.
    VendorPage(String),
    /// The provider's headers show that this share of the limits is left, in hundredths of a
    /// percent.
    Headers(u32),
}

/// The only affected part of a provider.
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
        /// Regions or hosts that answer.
        others: Vec<String>,
    },
}

/// An endpoint of another vendor that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// Its name.
    pub endpoint: EndpointName,
    /// Its vendor's display name.
    pub vendor: String,
    /// Whether it serves a model that is affected here.
    pub same_model: bool,
}

/// The incident was attributed to the provider first, and is the account's own fault now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reattribution {
    /// When.
    pub at: Timestamp,
    /// Endpoints that were rejected as well and have recovered.
    #[serde(alias = "let_in")]
    pub recovered: Vec<EndpointName>,
}

impl Incident {
    /// Sets `location` as the one that sees it, unless the locations are known.
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

    /// Reports whether it was seen from `location`. An incident without locations was seen from
    /// `here`, where its daemon is.
    pub fn is_seen_from(&self, location: &str, here: &str) -> bool {
        if self.locations.is_empty() {
            return location == here;
        }
        self.locations.iter().any(|l| l.location == location)
    }

    /// Returns it with the figures and texts of `current`, the same incident as the monitor has it
    /// at `now`, and with what people have added. Without `current` only its duration is brought up
    /// to date.
    #[must_use]
    pub fn as_of(self, current: Option<Self>, now: Timestamp) -> Self {
        let latest = match current {
            None => self,
            Some(current) => Self {
                acknowledged: self.acknowledged,
                notes: self.notes,
                ..current
            },
        };
        let until = latest.end().unwrap_or(now);
        let duration_s = until.since_ms(latest.started_at).max(0) as f64 / 1000.0;
        Self {
            duration_s,
            ..latest
        }
    }

    /// Reports whether it ended with a recovery, rather than as part of another incident, by a new
    /// baseline, or because its endpoints were removed.
    pub fn has_recovered(&self) -> bool {
        self.resolved_at.is_some()
            && !self.is_new_normal()
            && !self.removed
            && self.merged_into().is_none()
    }

    /// Returns the number of the incident that it was merged into.
    pub fn merged_into(&self) -> Option<u64> {
        let may_be = self.attribution == Attribution::Account || self.alone;
        self.explained_by
            .filter(|_| self.resolved_at.is_some() && may_be)
    }

    /// Reports whether the provider is only suspected: it rejects an account that worked before.
    pub fn is_suspected(&self) -> bool {
        self.attribution == Attribution::Provider
            && self
                .cause
                .fault()
                .is_some_and(|f| f.attribution() == Attribution::Account)
    }

    /// Returns every endpoint that is or was affected.
    pub fn affected(&self) -> impl Iterator<Item = &EndpointName> {
        self.endpoints.iter().chain(&self.recovered)
    }

    /// Returns when its outage was over: the first good probe, or the decision if that is unknown.
    pub fn end(&self) -> Option<Timestamp> {
        self.ended_at.or(self.resolved_at)
    }

    /// Reports whether it ended only because its slowness is the new baseline: nothing has become
    /// faster.
    pub fn is_new_normal(&self) -> bool {
        self.resolved_at.is_some()
            && self
                .endpoints
                .iter()
                .all(|name| self.new_normal.contains(name))
    }
}

/// The acknowledgement of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledgement {
    /// When.
    pub at: Timestamp,
    /// By whom; empty if not given.
    #[serde(default)]
    pub by: String,
    /// The note that came with it.
    #[serde(default, alias = "comment")]
    pub note: String,
}

/// A note that a person has written about an incident, for the page and the next message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Note {
    /// When it was written.
    pub at: Timestamp,
    /// Who wrote it; empty if not given.
    #[serde(default)]
    pub by: String,
    /// The text: one line of at most 1000 bytes.
    pub text: String,
}

impl Note {
    /// The maximum number of notes of one incident.
    pub const MOST: usize = 100;
}

/// The figures behind a decision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// Probes since the first bad one.
    pub probes: u32,
    /// How many of these failed (or were slow, for an incident about slowness).
    pub failed: u32,
    /// The learned share of failures in normal times, 0 to 1; `None` until learned.
    #[serde(default)]
    pub typical_failure_rate: Option<f64>,
    /// Time to first token, in milliseconds.
    pub first_token_ms: TypicalAndNow,
    /// Duration of the probe, in milliseconds.
    #[serde(default)]
    pub total_ms: TypicalAndNow,
    /// Output tokens per second after the first.
    #[serde(default)]
    pub tokens_per_second: TypicalAndNow,
    /// The last bad samples, oldest first.
    pub samples: Vec<EvidenceSample>,
    /// The number of failures by fault.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, u32>)]
    pub faults: BTreeMap<Fault, u32>,
    /// The longest time to a first token, in milliseconds.
    #[serde(default)]
    pub worst_first_token_ms: Option<f64>,
    /// The longest probe that was not good, in milliseconds.
    #[serde(default)]
    pub worst_total_ms: Option<f64>,
    /// The vendor's IDs of the first bad requests, for a support ticket; at most
    /// [`Evidence::MAX_REQUEST_IDS`].
    #[serde(default)]
    pub request_ids: Vec<String>,
}

impl Evidence {
    /// The maximum number of request IDs.
    pub const MAX_REQUEST_IDS: usize = 20;

    /// Adds a sample to the post-mortem.
    pub fn note(&mut self, sample: &Sample) {
        if sample.outcome == Outcome::Ok {
            return;
        }
        self.worst_first_token_ms = longer(self.worst_first_token_ms, sample.first_token_ms);
        self.worst_total_ms = longer(self.worst_total_ms, sample.total_ms);
        self.note_request(sample.request_id.as_deref());
    }

    /// Adds the time to first token of a bad probe, in milliseconds.
    pub fn note_first_token(&mut self, ms: Option<f64>) {
        self.worst_first_token_ms = longer(self.worst_first_token_ms, ms);
    }

    /// Adds the ID of a bad request, unless it is there.
    pub fn note_request(&mut self, id: Option<&str>) {
        if let Some(id) = id
            && self.request_ids.len() < Self::MAX_REQUEST_IDS
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
    /// Returns the faults with their counts, the most frequent first.
    pub fn faults_by_count(&self) -> Vec<(Fault, u32)> {
        let mut faults: Vec<_> = self.faults.iter().map(|(fault, n)| (*fault, *n)).collect();
        faults.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.as_str().cmp(b.0.as_str())));
        faults
    }
}

/// A measure in normal times and now.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct TypicalAndNow {
    /// The learned median; `None` until enough is learned.
    pub typical: Option<f64>,
    /// The last value; `None` if there was none.
    pub now: Option<f64>,
}

impl TypicalAndNow {
    /// Returns the ratio of the current to the typical value.
    pub fn ratio(self) -> Option<f64> {
        let typical = self.typical?;
        let now = self.now?;
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
    /// Time to first token in milliseconds, if there was one.
    pub first_token_ms: Option<f64>,
    /// The vendor's ID of the request.
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
    /// Its provider.
    pub provider: Provider,
    /// Its vendor's display name.
    pub title: String,
    /// Its status now.
    pub status: Status,
    /// Median time to first token of its recent probes, in milliseconds.
    pub first_token_ms_p50: Option<f64>,
    /// Share of good probes in the last 24 hours, 0 to 1.
    pub availability_24h: Option<f64>,
}

impl ShiftClock for Incident {
    fn shift_clock(&mut self, by_ms: i64) {
        // The vendor's times do not depend on this machine's clock.
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
