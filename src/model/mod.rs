//! The nouns of llmwatch: plain data with the words of the product, no behaviour beyond naming and simple arithmetic.
//!
//! Everything here is used alike in the store, the API, the log events and the notifications, so the serialised
//! names are part of the contract.

mod fault;
mod incident;
mod notice;
mod official;
mod sample;
mod secret;
mod target;
mod time;

pub use fault::{Attribution, Fault};
pub use incident::{
    Acknowledgement, Alternative, Evidence, EvidenceSample, FirstToken, Incident, IncidentState,
    Status,
};
pub use notice::{Block, Condition, Document, Notice, NoticeType, Outgoing, Strip, Tally};
pub use official::{Official, VendorIncident, VendorPage};
pub use sample::{Outcome, Reach, Sample, Trigger, canonical_order};
pub use secret::Secret;
pub use target::{
    Api, Connection, DetectionPolicy, Endpoint, Entra, Expect, Price, Provider, Sensitivity,
    SlowLimits, Timeouts,
};
pub use time::{Timestamp, is_plausible, moved};
