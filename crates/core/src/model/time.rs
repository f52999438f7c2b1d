//! A point in wall-clock time, in milliseconds.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// Milliseconds since the Unix epoch, UTC. Written and read as RFC 3339 with milliseconds
/// (`2026-11-23T09:20:11.088Z`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the milliseconds from `earlier` to `self`; negative if `earlier` is later.
    pub fn since_ms(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// Returns the same time as a chrono value; the epoch if it is out of chrono's range.
    pub fn to_datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }

    /// Parses RFC 3339.
    ///
    /// # Errors
    /// When `text` is not an RFC 3339 date and time.
    pub fn parse(text: &str) -> Result<Self, chrono::ParseError> {
        DateTime::parse_from_rfc3339(text).map(|t| Self(t.timestamp_millis()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            &self
                .to_datetime()
                .to_rfc3339_opts(SecondsFormat::Millis, true),
        )
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// The range of plausible times in milliseconds since the epoch (the years 2001 to 5138).
const MOMENTS_MS: std::ops::Range<i64> = 1_000_000_000_000..100_000_000_000_000;

/// Reports whether a clock that reads `at` can be right: one at 1970 was never set.
pub fn is_plausible(at: Timestamp) -> bool {
    MOMENTS_MS.contains(&at.0)
}

/// State whose times keep their distance from now when the clock is set.
///
/// An implementation destructures its struct, so that a new field does not compile until somebody
/// decides: a point in time is shifted; a duration, a count or a calendar time stays.
pub trait ShiftClock {
    /// Shifts every time by `by_ms` milliseconds, by which the clock was set.
    fn shift_clock(&mut self, by_ms: i64);
}

/// A time in milliseconds since the epoch. An implausible value (never, not yet) stays.
impl ShiftClock for i64 {
    fn shift_clock(&mut self, by_ms: i64) {
        if is_plausible(Timestamp(*self)) {
            *self += by_ms;
        }
    }
}

impl ShiftClock for Timestamp {
    fn shift_clock(&mut self, by_ms: i64) {
        self.0.shift_clock(by_ms);
    }
}

impl<T: ShiftClock> ShiftClock for Option<T> {
    fn shift_clock(&mut self, by_ms: i64) {
        if let Some(item) = self {
            item.shift_clock(by_ms);
        }
    }
}

impl<T: ShiftClock> ShiftClock for Box<T> {
    fn shift_clock(&mut self, by_ms: i64) {
        (**self).shift_clock(by_ms);
    }
}

impl<T: ShiftClock> ShiftClock for [T] {
    fn shift_clock(&mut self, by_ms: i64) {
        for item in self {
            item.shift_clock(by_ms);
        }
    }
}

impl<K, T: ShiftClock> ShiftClock for BTreeMap<K, T> {
    fn shift_clock(&mut self, by_ms: i64) {
        for item in self.values_mut() {
            item.shift_clock(by_ms);
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plausible_moments_are_shifted() {
        let mut moments = [
            Timestamp(1_795_510_800_000),
            Timestamp(0),
            Timestamp(180_000),
        ];
        moments.shift_clock(-3_600_000);
        assert_eq!(
            moments,
            [
                Timestamp(1_795_507_200_000),
                Timestamp(0),
                Timestamp(180_000)
            ]
        );
    }
}
