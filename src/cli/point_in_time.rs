//! Parses the points in time given with `--since` and `--until`.

use chrono::{NaiveDate, NaiveTime, TimeZone};
use chrono_tz::Tz;

use super::Failure;
use crate::config::duration;
use llmwatch_core::model::Timestamp;

/// Parses a duration before now (`30d`), a date in `zone` (`2026-11-01`, its start) or RFC 3339.
///
/// # Errors
/// A usage error that shows the three forms.
pub(super) fn point_in_time(text: &str, now: Timestamp, zone: Tz) -> Result<Timestamp, Failure> {
    Timestamp::parse(text)
        .ok()
        .or_else(|| start_of_day(text.parse().ok()?, zone))
        .or_else(|| duration(text).ok().map(|back| now - back))
        .ok_or_else(|| {
            Failure::new(format!(
                "invalid point in time `{text}`: expected a duration before now (`30d`), \
                 a date (`2026-11-01`) or RFC 3339 (`2026-11-01T09:00:00Z`)"
            ))
        })
}

/// Returns the start of a day: midnight, or the first hour after it if the clocks skip midnight.
fn start_of_day(day: NaiveDate, zone: Tz) -> Option<Timestamp> {
    let mut hours = (0..4).filter_map(|hour| NaiveTime::from_hms_opt(hour, 0, 0));
    let first = hours.find_map(|time| zone.from_local_datetime(&day.and_time(time)).earliest())?;
    Some(Timestamp(first.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_a_date_and_rfc_3339_are_accepted() {
        let now = Timestamp::parse("2026-11-30T12:00:00Z").unwrap();
        let madrid = chrono_tz::Europe::Madrid;
        let at = |text| point_in_time(text, now, madrid).unwrap().to_string();
        assert_eq!(at("1h"), "2026-11-30T11:00:00.000Z");
        assert_eq!(at("2026-11-01"), "2026-10-31T23:00:00.000Z");
        assert_eq!(at("2026-11-01T09:00:00+01:00"), "2026-11-01T08:00:00.000Z");
        let error = point_in_time("yesterday", now, madrid).unwrap_err();
        assert!(error.text.contains("`yesterday`"), "{}", error.text);
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_starts_at_one() {
        let now = Timestamp::parse("2026-11-30T12:00:00Z").unwrap();
        // In Beirut, clocks skip from 00:00 to 01:00 on the last Sunday of March.
        let at = point_in_time("2025-03-30", now, chrono_tz::Asia::Beirut).unwrap();
        assert_eq!(at.to_string(), "2025-03-29T22:00:00.000Z");
    }
}
