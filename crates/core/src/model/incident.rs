//! A stretch of not being operational, and what is known about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Attribution, Fault, Official, Outcome, Provider, Sample, Timestamp};

/// How an endpoint or a provider is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Answers rightly and in the usual time.
    Operational,
    /// Answers, but slowly or not always.
    Degraded,
    /// Does not answer, or so rarely that it is of no use.
    Outage,
    /// Could not be measured.
    Unknown,
    /// In a maintenance window.
    Maintenance,
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

    /// The worse of two: an outage, then a degradation, then maintenance; not knowing is worse only than being well.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |s: Self| match s {
            Self::Operational => 0,
            Self::Unknown => 1,
            Self::Maintenance => 2,
            Self::Degraded => 3,
            Self::Outage => 4,
        };
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }
}

/// Whether an incident goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// It goes on.
    Open,
    /// It is over.
    Resolved,
}

/// One incident. The serialised form is the `incident` of the notifications and of the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// Stable and unique (UUIDv7).
    pub id: Uuid,
    /// Counts from 1 on this daemon; what people say.
    pub number: u64,
    /// Whether it goes on.
    pub state: IncidentState,
    /// The worst status it has reached.
    pub status: Status,
    /// Whose fault.
    pub attribution: Attribution,
    /// Why we think so, as a half sentence.
    #[serde(default)]
    pub attribution_reason: String,
    /// The most frequent fault's code, or `slow`.
    pub cause: String,
    /// One line that says it all.
    pub title: String,
    /// The failure domain: a provider's name, or the host of a compatible server or web target.
    pub provider: String,
    /// The endpoints concerned, in the order in which they joined.
    pub endpoints: Vec<String>,
    /// The first bad probe, not the decision.
    pub started_at: Timestamp,
    /// The decision.
    pub opened_at: Timestamp,
    /// When it was over.
    pub resolved_at: Option<Timestamp>,
    /// From `started_at` to `resolved_at`, or to the moment of this record.
    pub duration_s: f64,
    /// One paragraph for people: what, how sure, whose fault and why.
    pub explanation: String,
    /// Endpoints that depend on what is concerned here, and fail because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explains: Vec<String>,
    /// The number of the incident that explains this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_by: Option<u64>,
    /// Endpoints that are as slow as they were in it, for so long that this is their new normal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new_normal: Vec<String>,
    /// Whether it was closed because none of its endpoints is configured any more: nothing is known of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Who said that somebody is on it; no reminders are sent from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// The figures behind the decision.
    pub evidence: Evidence,
    /// What the vendor's own status page says.
    #[serde(default)]
    pub official: Official,
}

impl Incident {
    /// Whether it ended because all is well again: not as a part of another incident, as the new normal, or with its
    /// endpoints.
    pub fn has_recovered(&self) -> bool {
        let goes_on = self.attribution == Attribution::Account && self.explained_by.is_some();
        self.resolved_at.is_some() && !self.is_new_normal() && !self.removed && !goes_on
    }

    /// Whether it ended only because what was slow is the new normal: nothing has become better.
    pub fn is_new_normal(&self) -> bool {
        self.resolved_at.is_some()
            && self
                .endpoints
                .iter()
                .all(|name| self.new_normal.contains(name))
    }
}

/// A person's word that somebody is on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledgement {
    /// When it was said.
    pub at: Timestamp,
    /// Who said it, as they call themselves; empty when they did not say.
    #[serde(default)]
    pub by: String,
    /// What they said about it.
    #[serde(default)]
    pub comment: String,
}

/// The figures behind a decision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// Probes since the first bad one.
    pub probes: u32,
    /// Of these, failed (or slow, for an incident of slowness).
    pub failed: u32,
    /// The learned share of failures in normal times, 0 to 1.
    pub typical_failure_rate: f64,
    /// First token: typical and now.
    pub first_token_ms: FirstToken,
    /// The last bad samples, oldest first.
    pub samples: Vec<EvidenceSample>,
    /// How often each fault was seen, by its code.
    #[serde(default)]
    pub faults: BTreeMap<String, u32>,
    /// The longest wait for a first token.
    #[serde(default)]
    pub worst_first_token_ms: Option<f64>,
    /// The longest probe, failed ones included: what a user waited at worst.
    #[serde(default)]
    pub worst_total_ms: Option<f64>,
    /// The vendor's ids of the first bad requests, for a support ticket; at most [`Evidence::MOST_REQUEST_IDS`].
    #[serde(default)]
    pub request_ids: Vec<String>,
}

impl Evidence {
    /// A support ticket needs no more.
    pub const MOST_REQUEST_IDS: usize = 20;

    /// Takes in what one sample adds to the post-mortem.
    pub fn note(&mut self, sample: &Sample) {
        if sample.outcome == Outcome::Ok {
            return;
        }
        self.worst_first_token_ms = longer(self.worst_first_token_ms, sample.first_token_ms);
        self.worst_total_ms = longer(self.worst_total_ms, sample.total_ms);
        self.note_request(sample.request_id.as_deref());
    }

    /// Takes in the first token of a bad probe.
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

/// First-token latency, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct FirstToken {
    /// The learned median; `None` before enough was learned.
    pub typical: Option<f64>,
    /// The last one; `None` when there was none.
    pub now: Option<f64>,
}

/// One sample as evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceSample {
    /// The endpoint's name.
    pub endpoint: String,
    /// When the probe began.
    pub started_at: Timestamp,
    /// What went wrong; `None` for a slow sample.
    pub fault: Option<Fault>,
    /// The HTTP status, if any.
    pub http_status: Option<u16>,
    /// First token, if any.
    pub first_token_ms: Option<f64>,
    /// The vendor's id of the request.
    pub request_id: Option<String>,
    /// The provider's own words, redacted.
    pub error: Option<String>,
}

/// An endpoint that works while another does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// The endpoint's name.
    pub endpoint: String,
    /// Its dialect.
    pub provider: Provider,
    /// Its vendor as people say it.
    pub title: String,
    /// Its status now.
    pub status: Status,
    /// Median first token of its recent probes.
    pub first_token_ms_p50: Option<f64>,
    /// Share of good probes in the last 24 hours, 0 to 1.
    pub availability_24h: Option<f64>,
}
