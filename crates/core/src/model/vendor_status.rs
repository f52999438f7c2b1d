//! A vendor's status page.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Status, Timestamp};

/// The content of a vendor's status page, for any platform. It is never evidence of health, because
/// pages are late and sometimes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VendorPage {
    /// The worst status of the relevant components.
    pub status: Status,
    /// The open incidents, as the page lists them.
    pub incidents: Vec<VendorIncident>,
    /// The page for people.
    pub url: String,
}

/// An open incident on a status page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VendorIncident {
    /// The platform's ID.
    pub id: String,
    /// Its title.
    pub name: String,
    /// Its severity according to the vendor.
    pub status: Status,
    /// Its phase in the vendor's terms (`investigating`, `monitoring` …).
    pub phase: String,
    /// When it appeared on the page, which is not its start: vendors backdate that. `None` if the
    /// page does not say.
    pub published_at: Option<Timestamp>,
    /// Its page for people.
    pub url: Option<String>,
    /// The names of the affected components, products or regions.
    pub components: Vec<String>,
}

/// What the vendor's status page says about an incident.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Official {
    /// The page's status; `None` when there is no page or it cannot be read.
    pub status: Option<Status>,
    /// The title of the vendor's own incident.
    pub incident: Option<String>,
    /// Seconds from our opening to the vendor's publication; positive if we were first.
    pub lead_s: Option<f64>,
    /// The URL of the vendor's incident, or of its page.
    pub url: Option<String>,
    /// When the vendor published its incident.
    #[serde(default)]
    pub published_at: Option<Timestamp>,
}
