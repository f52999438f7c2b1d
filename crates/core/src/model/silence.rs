//! Silences: for a while, nothing is notified about these endpoints. Pure.
//!
//! Probing and detection continue. What began during a silence and is over before it ends was never notified and never will
//! be; what is still open when the silence ends is notified then.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{EndpointName, Provider, Timestamp};

/// One silence, as people ask for it and as it is kept. Without endpoints, providers and groups it holds for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Silence {
    /// Stable and unique; what is needed to end it early.
    pub id: Uuid,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Who asked for it, as they call themselves; empty when they did not say.
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
