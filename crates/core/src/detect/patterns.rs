//! Recurring patterns of an endpoint: advice is given once, and no incident is opened.

use serde::{Deserialize, Serialize};

/// The recurring patterns of one endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Patterns {
    /// The hours of weekdays in which it is slower than usual.
    pub rush: Option<Rush>,
    /// The minutes of the hour at which it fails.
    pub minutes: Option<FailingMinutes>,
    /// Whether it answers late after idle periods.
    pub cold_starts: bool,
}

/// Hours of weekdays, UTC, in which an endpoint is slower than usual.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rush {
    /// The first hour, 0 to 23.
    pub from_hour: u8,
    /// The hour at which it ends, 1 to 24.
    pub to_hour: u8,
    /// How many times slower it is in the worst of them.
    pub factor: f32,
}

/// Minutes of the hour at which requests fail.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FailingMinutes {
    /// The first minute, 0 to 59.
    pub from_minute: u8,
    /// The minute at which it ends, 1 to 60.
    pub to_minute: u8,
    /// The share of hours with failures there, 0 to 1.
    pub share: f32,
}
