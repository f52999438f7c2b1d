//! Notes that belong to no incident, such as deploys. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EndpointName, Provider, Timestamp};

/// A note that a person or a deploy script has written, and that belongs to no incident. Without
/// endpoints, providers and groups it is about everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Annotation {
    /// When it was written.
    pub at: Timestamp,
    /// Who wrote it; empty when they did not say.
    #[serde(default)]
    pub by: String,
    /// The text: one line of at most 1000 bytes.
    pub text: String,
    /// Only about these endpoints; empty for all.
    #[serde(default)]
    pub endpoints: Vec<EndpointName>,
    /// Only about these providers; empty for all.
    #[serde(default)]
    pub providers: Vec<Provider>,
    /// Only about these groups; empty for all.
    #[serde(default)]
    pub groups: Vec<String>,
}

impl Annotation {
    /// The number that is kept; older ones are dropped.
    pub const MOST: usize = 100;
    /// How long one is kept: as long as the charts reach.
    pub const KEPT: Duration = Duration::from_hours(90 * 24);
}
