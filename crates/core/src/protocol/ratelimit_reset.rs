//! When a rate limit resets, in the four ways in which vendors write that. Pure.
//!
//! OpenAI and most compatible servers give a duration as Go prints one (`6m0s`, `8.64s`, `12ms`), Azure a number of seconds,
//! Anthropic a moment (RFC 3339), `OpenRouter` a moment in milliseconds since the Unix epoch.

use crate::model::Timestamp;

/// A larger number of seconds is a moment in milliseconds since the epoch: this one is in the year 1973.
const FIRST_MOMENT: f64 = 1e11;

/// How long it is from `now` until then, in seconds; `None` when the text is none of the four.
pub(super) fn read(text: &str, now: Timestamp) -> Option<f64> {
    let text = text.trim();
    let until = |ms: f64| ((ms - now.0 as f64) / 1000.0).max(0.0);
    if let Ok(number) = text.parse::<f64>() {
        let number = Some(number).filter(|n| n.is_finite() && *n >= 0.0)?;
        return Some(if number >= FIRST_MOMENT {
            until(number)
        } else {
            number
        });
    }
    go_duration(text).or_else(|| Timestamp::parse(text).ok().map(|at| until(at.0 as f64)))
}

/// A duration as Go prints it, in seconds: numbers with their units, one after the other.
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
            // Both of Unicode's micro signs.
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
