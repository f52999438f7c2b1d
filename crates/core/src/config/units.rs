//! Parses values as people write them: durations and times of day. Pure.

use std::time::Duration;

/// Parses a duration: an integer or decimal number and a unit, `500ms`, `30s`, `1.5h`, or several,
/// `1h30m`.
///
/// # Errors
/// A short message that says what is wrong.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    const WANTED: &str = "expected a number and a unit: `500ms`, `30s`, `5m`, `1h` or `7d`";
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(WANTED);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or(WANTED)?;
        let number: f64 = rest[..digits].parse().map_err(|_| WANTED)?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(WANTED),
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    // A hundred years is more than anyone needs and does not overflow date arithmetic.
    if total > 100.0 * 365.0 * 86_400.0 {
        return Err("that is more than a hundred years");
    }
    Ok(Duration::from_micros((total * 1e6).round() as u64))
}

/// Formats a duration as [`duration`] parses it, in the largest unit that divides it.
pub fn show(d: Duration) -> String {
    let ms = d.as_millis();
    [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ]
    .into_iter()
    .find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit))
    .map_or_else(
        || format!("{ms}ms"),
        |(unit, name)| format!("{}{name}", ms / unit),
    )
}

/// Parses a time of day, such as `08:00`, as minutes since midnight.
pub fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_of_time_as_people_write_them() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for bad in ["", "30", "s", "-5s", "5 s", "5y", "1..2s", "1e9d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(ms in 1u64..10_000_000_000) {
            let d = Duration::from_millis(ms);
            prop_assert_eq!(duration(&show(d)), Ok(d));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC*") {
            let _ = duration(&text);
        }
    }
}
