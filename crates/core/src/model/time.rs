//! A moment of wall-clock time, in milliseconds.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// Milliseconds since the Unix epoch, UTC. Written and read as RFC 3339 with milliseconds
/// (`2026-11-23T09:20:11.088Z`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The milliseconds from `earlier` to `self`; negative when `earlier` is later.
    pub fn since_ms(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// The same moment as a chrono value; the epoch if it is out of chrono's range.
    pub fn to_datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }

    /// Reads RFC 3339.
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

/// Integers in a record between these are moments in milliseconds since the epoch (the years 2001 to 5138): no
/// duration in milliseconds and no count is so large.
const MOMENTS_MS: std::ops::Range<i64> = 1_000_000_000_000..100_000_000_000_000;

/// Whether a clock that reads `at` can be right: one at 1970 was never set.
pub fn is_plausible(at: Timestamp) -> bool {
    MOMENTS_MS.contains(&at.0)
}

/// `state` with every moment in it moved along by `by_ms`, because the clock was set by so much: durations that were under
/// way then stay as long as they are. Fields named in `except`, and all below them, keep what the calendar says. `None` for
/// a state that cannot be read from what it is written to.
pub fn moved<T: Serialize + DeserializeOwned>(state: &T, by_ms: i64, except: &[&str]) -> Option<T> {
    let mut record = serde_json::to_value(state).ok()?;
    move_moments(&mut record, by_ms, except);
    serde_json::from_value(record).ok()
}

fn move_moments(record: &mut Value, by_ms: i64, except: &[&str]) {
    match record {
        Value::Object(fields) => {
            for (_, value) in fields
                .iter_mut()
                .filter(|(name, _)| !except.contains(&name.as_str()))
            {
                move_moments(value, by_ms, except);
            }
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| move_moments(value, by_ms, except)),
        Value::Number(number) => {
            if let Some(ms) = number.as_i64().filter(|ms| MOMENTS_MS.contains(ms)) {
                *record = Value::from(ms + by_ms);
            }
        }
        Value::String(text) => {
            let moment = Timestamp::parse(text).ok();
            if let Some(at) =
                moment.filter(|at| MOMENTS_MS.contains(&at.0) && at.to_string() == *text)
            {
                *text = Timestamp(at.0 + by_ms).to_string();
            }
        }
        Value::Null | Value::Bool(_) => {}
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
    use serde_json::json;

    use super::*;

    #[test]
    fn moments_move_and_nothing_else_does() {
        let mut record = json!({
            "seen": 1_795_510_800_000_i64, "hold_ms": 180_000, "share": 0.25, "never": 0, "day": "2026-11-24",
            "title": "since 2026-11-24T09:00:00.000Z", "threads": [{"last_at": "2026-11-24T09:00:00.000Z"}],
            "silences": [{"until": "2026-11-24T12:00:00.000Z"}], "epoch": "1970-01-01T00:00:00.000Z", "none": null,
        });
        move_moments(&mut record, -3_600_000, &["silences"]);
        let expected = json!({
            "seen": 1_795_507_200_000_i64, "hold_ms": 180_000, "share": 0.25, "never": 0, "day": "2026-11-24",
            "title": "since 2026-11-24T09:00:00.000Z", "threads": [{"last_at": "2026-11-24T08:00:00.000Z"}],
            "silences": [{"until": "2026-11-24T12:00:00.000Z"}], "epoch": "1970-01-01T00:00:00.000Z", "none": null,
        });
        assert_eq!(record, expected);
    }
}
