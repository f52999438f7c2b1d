//! What a vendor says about itself on its own status page.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Status, Timestamp};

/// A vendor's status page at one moment, whatever platform it runs on. It is never evidence of health: a page is late,
/// and sometimes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VendorPage {
    /// The worst of what the page says about the components that matter.
    pub status: Status,
    /// The open incidents, as the page lists them.
    pub incidents: Vec<VendorIncident>,
    /// The page for people.
    pub url: String,
}

/// An incident that a vendor has declared and not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VendorIncident {
    /// The platform's id.
    pub id: String,
    /// Its title.
    pub name: String,
    /// How bad the vendor calls it.
    pub status: Status,
    /// How far it is, in the vendor's word (`investigating`, `monitoring` …).
    pub phase: String,
    /// When it appeared on the page. Its own start, which vendors date back, is not that moment. `None` when the page
    /// does not say.
    pub published_at: Option<Timestamp>,
    /// Its page for people.
    pub url: Option<String>,
    /// The names of the components, products or regions that it concerns.
    pub components: Vec<String>,
}

/// What the vendor's page said about an incident of ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Official {
    /// The page's status; `None` when there is no page or it cannot be read.
    pub status: Option<Status>,
    /// The title of the vendor's own incident.
    pub incident: Option<String>,
    /// From our opening to the vendor's publishing, in seconds: positive when we were first.
    pub lead_s: Option<f64>,
    /// The vendor's incident, or its page.
    pub url: Option<String>,
    /// When the vendor published its incident.
    #[serde(default)]
    pub published_at: Option<Timestamp>,
}
