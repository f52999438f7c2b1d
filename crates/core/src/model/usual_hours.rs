//! How much slower than typical an endpoint usually is, hour by hour of the week.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Timestamp;

const HOUR_MS: i64 = 3_600_000;
const HOURS_A_WEEK: i64 = 168;
/// The unit of a stored value, as a natural logarithm: 5%.
const UNIT: f64 = 0.05;
/// The number base of the digits: each hour is one digit.
const RADIX: u32 = 36;

/// The usual level of each hour of the week, UTC. Empty while all hours are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsualHours(Vec<u8>);

impl UsualHours {
    /// Creates it from the natural logarithm of the factor of each hour of a week. The first is the
    /// hour that begins at a multiple of 168 hours since the epoch.
    pub fn new(logarithms: impl Iterator<Item = f64>) -> Self {
        let most = f64::from(RADIX - 1);
        let values: Vec<u8> = logarithms
            .take(HOURS_A_WEEK as usize)
            .map(|v| (v / UNIT).round().clamp(0.0, most) as u8)
            .collect();
        if values.iter().all(|v| *v == 0) {
            return Self::default();
        }
        Self(values)
    }

    /// Reports whether all hours are the same, as far as known.
    pub fn is_flat(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many times slower than typical the endpoint usually is in the hour of `at`; at
    /// least 1.
    pub fn factor(&self, at: Timestamp) -> f64 {
        let hour = at.0.div_euclid(HOUR_MS).rem_euclid(HOURS_A_WEEK) as usize;
        let value = self.0.get(hour).copied().unwrap_or_default();
        (f64::from(value) * UNIT).exp()
    }
}

impl Serialize for UsualHours {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let digits: String = self
            .0
            .iter()
            .map(|v| char::from_digit(u32::from(*v), RADIX).unwrap_or('0'))
            .collect();
        s.serialize_str(&digits)
    }
}

impl<'de> Deserialize<'de> for UsualHours {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Ok(Self(
            text.chars()
                .take(HOURS_A_WEEK as usize)
                .map(|c| c.to_digit(RADIX).map_or(0, |v| v as u8))
                .collect(),
        ))
    }
}
