//! Early warnings: what may become a failure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EndpointName, ShiftClock, Timestamp};

/// The kind of an advice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AdviceKind {
    /// The model will be shut down.
    ModelRetires,
    /// A model other than the requested one answers.
    OtherModel,
    /// The backend has a fingerprint that was not seen before.
    Fingerprint,
    /// The account's own rate limit is nearly used up.
    Headroom,
    /// The certificate expires.
    Certificate,
    /// It is slower at the same hours of every weekday.
    RushHours,
    /// Requests fail at the same minutes of every hour.
    FailingMinutes,
    /// It answers late, or times out, after idle periods.
    ColdStarts,
    /// The account's prepaid credit runs out.
    Credit,
    /// No endpoint of the group is independent of its first.
    SharedFate,
    /// It fails repeatedly, each time too briefly for an alert.
    BriefOutages,
}

impl AdviceKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ModelRetires,
        Self::OtherModel,
        Self::Fingerprint,
        Self::Headroom,
        Self::Certificate,
        Self::RushHours,
        Self::FailingMinutes,
        Self::ColdStarts,
        Self::Credit,
        Self::SharedFate,
    ];

    /// Returns the stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ModelRetires => "model_retires",
            Self::OtherModel => "other_model",
            Self::Fingerprint => "fingerprint",
            Self::Headroom => "headroom",
            Self::Certificate => "certificate",
            Self::RushHours => "rush_hours",
            Self::FailingMinutes => "failing_minutes",
            Self::ColdStarts => "cold_starts",
            Self::Credit => "credit",
            Self::SharedFate => "shared_fate",
            Self::BriefOutages => "brief_outages",
        }
    }

    /// What to do about it, in a sentence, in English.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::ModelRetires => {
                "Try its successor and change `model` before that day; requests are rejected from then on."
            }
            Self::OtherModel => {
                "Check the provider's announcements: answers, limits and prices are those of the model that answers."
            }
            Self::Fingerprint => {
                "The provider has changed what runs behind the name: check whether your answers change."
            }
            Self::Headroom => {
                "Ask for a higher limit, spread the load or probe less often, before requests are rejected."
            }
            Self::Certificate => {
                "The server's operator has to renew it: clients refuse to connect from that day on."
            }
            Self::RushHours => {
                "Consider a larger limit, another region or another model for these hours. What is usual at that time is not reported as an incident."
            }
            Self::FailingMinutes => {
                "Move scheduled jobs to other minutes or ask for a higher limit. Failures at these minutes count as usual."
            }
            Self::ColdStarts => {
                "Keep one instance warm, or set `expect_cold_start = true` in its `detection`. Cold starts are not reported as incidents."
            }
            Self::SharedFate => {
                "Add an alternative with another provider, host and key: otherwise one failure takes all of them down."
            }
            Self::Credit => {
                "Top the account up, or switch on automatic top-up, before requests are rejected."
            }
            Self::BriefOutages => {
                "Let clients retry for longer than that, or switch to an alternative. If such outages matter, lower `alert_after`; each one is in the log (`detection.cleared`)."
            }
        }
    }
}

/// One advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Advice {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// What it is about.
    pub kind: AdviceKind,
    /// One sentence.
    pub text: String,
    /// When it was first given.
    pub since: Timestamp,
    /// The step at which it was given; it is repeated at the next step.
    pub(crate) step: i64,
}

/// One advice as a message gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenAdvice {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// What it is about.
    pub kind: AdviceKind,
    /// One sentence.
    pub text: String,
    /// When it was first given.
    pub since: Timestamp,
}

/// The [`Document::data`](super::Document::data) of a message with advice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdviceData {
    /// The advice, in the order in which it was given.
    pub advice: Vec<GivenAdvice>,
}

impl From<&Advice> for GivenAdvice {
    fn from(advice: &Advice) -> Self {
        Self {
            endpoint: advice.endpoint.clone(),
            kind: advice.kind,
            text: advice.text.clone(),
            since: advice.since,
        }
    }
}

impl ShiftClock for GivenAdvice {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            endpoint: _,
            kind: _,
            text: _,
            since,
        } = self;
        since.shift_clock(by_ms);
    }
}
