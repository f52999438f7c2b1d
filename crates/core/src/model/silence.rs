//! Silences: for a while, nothing is sent about some endpoints. Pure.
//!
//! Probing and detection continue. An incident that begins and ends during a silence is never
//! notified; one that is still open at its end is notified then.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{EndpointName, Provider, Timestamp};

/// One silence. Without endpoints, providers and groups it applies to all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Silence {
    /// The ID; stable and unique. It is needed to end the silence early.
    pub id: Uuid,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Who created it; empty if not given.
    #[serde(default)]
    pub by: String,
    /// Why.
    #[serde(default, alias = "comment")]
    pub note: String,
    /// Only these endpoints; empty for all.
    #[serde(default)]
    pub endpoints: Vec<EndpointName>,
    /// Only these providers; empty for all.
    #[serde(default)]
    pub providers: Vec<Provider>,
    /// Only these groups; empty for all.
    #[serde(default)]
    pub groups: Vec<String>,
}
