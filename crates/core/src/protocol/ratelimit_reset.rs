//! Parses when a rate limit resets, in the four formats that vendors use. Pure.
//!
//! OpenAI and most compatible servers send a Go duration (`6m0s`, `8.64s`, `12ms`), and Azure a
//! number of seconds. Anthropic sends a timestamp (RFC 3339), and `OpenRouter` milliseconds since
//! the Unix epoch.

use crate::model::Timestamp;

/// Larger numbers are timestamps in milliseconds since the Unix epoch: this one is in 1973.
const FIRST_MOMENT: f64 = 1e11;

/// Returns the seconds from `now` until the reset; `None` if the format is unknown.
pub(super) fn read(text: &str, now: Timestamp) -> Option<f64> {
    let text = text.trim();

    if let Ok(number) = text.parse::<f64>() {
        let number = Some(number).filter(|n| n.is_finite() && *n >= 0.0)?;
        return Some(if number >= FIRST_MOMENT {
            seconds_until(number, now)
        } else {
            number
        });
    }
    go_duration(text).or_else(|| {
        let at = Timestamp::parse(text).ok()?;
        Some(seconds_until(at.0 as f64, now))
    })
}

fn seconds_until(unix_ms: f64, now: Timestamp) -> f64 {
    ((unix_ms - now.0 as f64) / 1000.0).max(0.0)
}

/// Parses a Go duration and returns seconds.
fn go_duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit.len());
        let scale = match &unit[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            // Both Unicode micro signs.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number * scale;
        rest = &unit[end..];
    }
    (!text.is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_795_435_200_000);

    #[test]
    fn the_ways_in_which_vendors_write_it() {
        for (text, seconds) in [
            ("8.64s", 8.64),
            ("6ms", 0.006),
            ("1s", 1.0),
            ("6m0s", 360.0),
            ("1h2m3.5s", 3723.5),
            ("0s", 0.0),
            ("250\u{b5}s", 0.000_25),
            ("2us", 0.000_002),
            // Azure, OpenRouter, Anthropic.
            ("59", 59.0),
            ("1795435260000", 60.0),
            ("2026-11-23T12:00:05Z", 5.0),
        ] {
            let read = read(text, NOW).unwrap_or_else(|| panic!("{text}"));
            assert!((read - seconds).abs() < 1e-9, "{text}: {read}");
        }
        assert_eq!(
            read("2026-11-23T11:00:00Z", NOW),
            Some(0.0),
            "it has passed"
        );
        for text in [
            "", "soon", "5", "5x", "s", "1.2.3s", "-5", "NaN", "6m0", "m6s",
        ] {
            assert_eq!(go_duration(text), None, "{text}");
        }
        assert_eq!(
            [read("-5", NOW), read("NaN", NOW), read("inf", NOW)],
            [None; 3]
        );
    }

    proptest! {
        #[test]
        fn what_go_prints_is_read_back(h in 0u32..100, m in 0u32..60, ms in 0u32..60_000) {
            let seconds = f64::from(ms) / 1000.0;
            let read = go_duration(&format!("{h}h{m}m{seconds}s")).unwrap();
            prop_assert!((read - (f64::from(h * 3600 + m * 60) + seconds)).abs() < 1e-6);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9.hmsunµ:TZ-]{0,24}|\\PC{0,24}") {
            if let Some(seconds) = read(&text, NOW) {
                prop_assert!(seconds >= 0.0);
            }
        }
    }
}
