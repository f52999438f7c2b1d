//! How much slower than typical an endpoint usually is, hour by hour of the week.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Timestamp;

const HOUR_MS: i64 = 3_600_000;
const HOURS_A_WEEK: i64 = 168;
/// The unit of a stored value, in natural logarithms: 5 %.
const UNIT: f64 = 0.05;
/// One digit for each hour: the values are below this.
const RADIX: u32 = 36;

/// What is usual in each hour of the week, UTC. Empty while every hour is alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsualHours(Vec<u8>);

impl UsualHours {
    /// From the factor's logarithm for each hour of a week, in the order of their numbers since the epoch: the first is
    /// the hour that begins at a multiple of 168 hours.
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

    /// Whether every hour is alike, as far as is known.
    pub fn is_flat(&self) -> bool {
        self.0.is_empty()
    }

    /// How many times slower than typical the endpoint usually is in the hour of `at`; 1 or more.
    pub fn factor(&self, at: Timestamp) -> f64 {
        let hour = at.0.div_euclid(HOUR_MS).rem_euclid(HOURS_A_WEEK) as usize;
        let value = self.0.get(hour).copied().unwrap_or_default();
        (f64::from(value) * UNIT).exp()
    }
}

impl Serialize for UsualHours {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let digit = |v: &u8| char::from_digit(u32::from(*v), RADIX).unwrap_or('0');
        s.serialize_str(&self.0.iter().map(digit).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for UsualHours {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let digit = |c: char| c.to_digit(RADIX).map_or(0, |v| v as u8);
        Ok(Self(
            text.chars()
                .take(HOURS_A_WEEK as usize)
                .map(digit)
                .collect(),
        ))
    }
}
