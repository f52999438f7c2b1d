//! Parses durations and sizes as people write them: `"250ms"`, `"1.5s"`, `"10GB"`, `"64KiB"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// Parses `"250ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is not a duration such as \"250ms\", \"30s\" or \"5m\""
        ))
    })
}

/// Like [`duration`], for an optional key.
pub(crate) fn some_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// Parses `"10GB"`, `"64KiB"`, `"512B"` as bytes.
pub(crate) fn some_size<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_size(&text).map(Some).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is not a size such as \"64KiB\" or \"10GB\""
        ))
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    // Ten years or more is a typo, and could overflow deadlines.
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|d| d.as_secs() < 10 * 365 * 86_400)
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bytes = match unit {
        "B" => 1.0,
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number * bytes) as u64)
}

fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    // `f64` would also accept signs and exponents.
    let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    Some((number.parse().ok().filter(|_| plain)?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, ms) in [
            ("0s", 0),
            ("250ms", 250),
            ("1.5s", 1500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "", "5", "s", "-1s", "1e3s", "5 s", "5min", "99999d", "1.2.3s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("10GB", 10_000_000_000)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        assert_eq!(parse_size("10"), None);
        assert_eq!(parse_size("10 elephants"), None);
    }
}
