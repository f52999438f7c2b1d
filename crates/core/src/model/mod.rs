//! The data model: plain data, with no behavior beyond naming and simple arithmetic.
//!
//! The store, the API, the log events and the notifications use these types, so the serialized
//! names are part of the contract.

mod advice;
mod annotation;
mod announcement;
mod cloud;
mod drill;
mod endpoint;
mod fault;
mod incident;
mod language;
mod names;
mod notification;
mod sample;
mod secret;
mod shared_fate;
mod silence;
pub mod snapshot;
mod time;
mod usual_hours;
mod vendor_status;

pub use advice::{Advice, AdviceData, AdviceKind, GivenAdvice};
pub use annotation::Annotation;
pub use announcement::Announcement;
pub use cloud::{Aws, AwsKeys, AwsSource, Google, GoogleSource};
pub use drill::{DrillMessage, Drills};
pub use endpoint::{
    Api, ClientIdentity, Connection, DetectionPolicy, Endpoint, Entra, Expect, Price, Provider,
    Sensitivity, SlowLimits, Timeouts,
};
pub use fault::{Attribution, Fault};
pub use incident::{
    Acknowledgement, Alternative, Cause, Confirmation, Elsewhere, Evidence, EvidenceSample,
    Incident, IncidentFacts, IncidentKind, IncidentLocation, IncidentState, Measure, Note, Only,
    Reattribution, Scope, Status, TypicalAndNow,
};
pub use language::Language;
pub use names::{ChannelName, EndpointName, ProviderName};
pub use notification::{
    Block, ChannelStats, Condition, DigestData, DigestIncident, Document, Extent, FailoverOutcome,
    Notice, NoticeKind, Outgoing, Sparkline,
};
pub use sample::{
    AttributionRevision, ConnectivityCheckResult, Outcome, Sample, Trigger, Warning,
    canonical_order,
};
pub use secret::Secret;
pub use shared_fate::{SharedFate, SharedPart};
pub use silence::Silence;
pub use snapshot::{
    AlertState, AlertView, EndpointView, LocationView, MaintenanceView, Snapshot, VendorView,
};
pub use time::{ShiftClock, Timestamp, is_plausible};
pub use usual_hours::UsualHours;
pub use vendor_status::{Official, VendorIncident, VendorPage};
