//! What several endpoints of a group share, so that one failure may take all of them down.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::EndpointName;

/// A part that endpoints share.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SharedPart {
    /// The server that `base_url` names.
    Host,
    /// The key.
    Key,
    /// A vendor, which one of them reaches through a gateway.
    Vendor,
    /// The region that the answers name.
    Region,
    /// The network in front of the servers, such as Cloudflare.
    FrontEnd,
    /// The network of the servers' addresses.
    Network,
}

/// One thing that several endpoints of a group share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SharedFate {
    /// The group.
    pub group: String,
    /// What they share.
    pub part: SharedPart,
    /// Its name; empty for a key.
    pub name: String,
    /// The endpoints, at least two, in the order of the configuration.
    pub endpoints: Vec<EndpointName>,
}
