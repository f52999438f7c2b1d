//! Formats times, durations, percentages, latencies, money, counts and lists. Each kind of value is
//! formatted only here, so that mails, pages, reports and the terminal agree.

use std::fmt::Display;

use crate::config::Config;
pub use crate::model::Language;
use crate::model::{Status, Timestamp};
use chrono::{DateTime, Datelike};
use chrono_tz::Tz;

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 3600;
const DAY_S: u64 = 86_400;
/// Durations shorter than this are in seconds, except exactly one minute.
const SECONDS_ONLY_S: u64 = 120;
/// Durations from this length on are in whole minutes.
const WHOLE_MINUTES_S: u64 = 600;
/// Durations from this length on are in hours and minutes.
const HOURS_S: u64 = 7200;
/// Durations from this length on are in days and hours.
const DAYS_S: u64 = 172_800;

/// The placeholder for a value that was not measured.
pub const NONE: &str = "–";

/// The reader's time zone and language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locale {
    /// The time zone for all times.
    pub timezone: Tz,
    /// The language for all texts.
    pub language: Language,
}

impl Default for Locale {
    fn default() -> Self {
        Self {
            timezone: Tz::UTC,
            language: Language::English,
        }
    }
}

impl Locale {
    /// Returns the configured locale.
    pub fn of(config: &Config) -> Self {
        Self {
            timezone: config.monitor.timezone,
            language: config.monitor.language,
        }
    }

    /// Returns the `lang` attribute of a page.
    pub fn lang(&self) -> &'static str {
        match self.language {
            Language::English => "en",
            Language::Spanish => "es",
        }
    }

    /// Returns an English locale with times in `timezone`.
    pub fn english(timezone: Tz) -> Self {
        Self {
            timezone,
            language: Language::English,
        }
    }

    /// Formats a duration, rounded as a person would: `42 s`, `2 min 30 s`, `14 min`, `2 h 5 min`,
    /// `3 d 4 h`.
    pub fn duration(&self, seconds: f64) -> String {
        let s = seconds.max(0.0).round() as u64;
        match s {
            MINUTE_S => "1 min".to_owned(),
            0..SECONDS_ONLY_S => format!("{s} s"),
            SECONDS_ONLY_S..WHOLE_MINUTES_S => two((s / MINUTE_S, "min"), (s % MINUTE_S, "s")),
            WHOLE_MINUTES_S..HOURS_S => format!("{} min", s / MINUTE_S),
            HOURS_S..DAYS_S => two((s / HOUR_S, "h"), (s % HOUR_S / MINUTE_S, "min")),
            _ => two((s / DAY_S, "d"), (s % DAY_S / HOUR_S, "h")),
        }
    }

    /// Formats the duration of something still in progress: `14 min so far`.
    pub fn duration_so_far(&self, seconds: f64) -> String {
        let duration = self.duration(seconds);
        match self.language {
            Language::English => format!("{duration} so far"),
            Language::Spanish => format!("{duration} hasta ahora"),
        }
    }

    /// Formats a time with its date and zone: `2026-11-29 23:03:57 UTC`.
    pub fn time(&self, at: Timestamp) -> String {
        let local = self.local(at);
        format!("{} {}", local.format("%Y-%m-%d %H:%M:%S"), zone(&local))
    }

    /// Formats a time with its zone, and with its date only if that differs from `now`'s: `23:03
    /// UTC`, `28 Nov, 23:03 UTC`.
    pub fn time_short(&self, at: Timestamp, now: Timestamp) -> String {
        format!("{} {}", self.moment(at, now), zone(&self.local(at)))
    }

    /// Like [`time_short`](Self::time_short) without the zone, for columns whose heading names it.
    pub fn moment(&self, at: Timestamp, now: Timestamp) -> String {
        let at = self.local(at);
        let now = self.local(now);
        let clock = at.format("%H:%M");
        if at.date_naive() == now.date_naive() {
            clock.to_string()
        } else if at.year() == now.year() {
            format!("{}, {clock}", self.day_and_month(&at))
        } else {
            format!("{} {}, {clock}", self.day_and_month(&at), at.year())
        }
    }

    /// Formats a time with the month as a word: `29 November 2026, 23:03:57 UTC`.
    pub fn time_full(&self, at: Timestamp) -> String {
        let local = self.local(at);
        let clock = local.format("%H:%M:%S");
        let day = local.day();
        let year = local.year();
        let zone = zone(&local);
        match self.language {
            Language::English => format!("{day} {} {year}, {clock} {zone}", local.format("%B")),
            Language::Spanish => {
                let month = MONTHS_ES[local.month0() as usize];
                format!("{day} de {month} de {year}, {clock} {zone}")
            }
        }
    }

    /// Returns a status as a word for people. Programs use the stable [`Status::as_str`].
    pub fn status(&self, status: Status) -> &'static str {
        self.say(match status {
            Status::Operational => "operational",
            Status::Degraded => "degraded",
            Status::Outage => "outage",
            Status::Unknown => "unknown",
            Status::Maintenance => "maintenance",
        })
    }

    /// Formats a date: `2026-11-29`.
    pub fn date(&self, at: Timestamp) -> String {
        self.local(at).format("%Y-%m-%d").to_string()
    }

    /// Formats a day of recent months, for the axis of a chart: `29 Nov`.
    pub fn day_tick(&self, at: Timestamp) -> String {
        self.day_and_month(&self.local(at))
    }

    /// Formats a day of the last week, for the axis of a chart: `Sun 29`.
    pub fn weekday_tick(&self, at: Timestamp) -> String {
        let local = self.local(at);
        match self.language {
            Language::English => local.format("%a %-d").to_string(),
            Language::Spanish => {
                let weekday = WEEKDAYS_ES[local.weekday().num_days_from_monday() as usize];
                let short: String = weekday.chars().take(3).collect();
                format!("{short} {}", local.day())
            }
        }
    }

    /// Formats a date with its weekday: `Sunday, 29 November 2026`.
    pub fn date_full(&self, at: Timestamp) -> String {
        let local = self.local(at);
        match self.language {
            Language::English => local.format("%A, %-d %B %Y").to_string(),
            Language::Spanish => {
                let weekday = WEEKDAYS_ES[local.weekday().num_days_from_monday() as usize];
                let month = MONTHS_ES[local.month0() as usize];
                format!("{weekday}, {} de {month} de {}", local.day(), local.year())
            }
        }
    }

    /// Formats the time of day with seconds, for columns whose heading names date and zone:
    /// `23:03:57`.
    pub fn clock_time(&self, at: Timestamp) -> String {
        self.local(at).format("%H:%M:%S").to_string()
    }

    /// Formats the time of day in minutes, for the axis of a chart: `23:03`.
    pub fn clock_tick(&self, at: Timestamp) -> String {
        self.local(at).format("%H:%M").to_string()
    }

    /// Returns the zone's abbreviation at `at`, such as `UTC` or `CET`. Zones without one keep
    /// their name, such as `America/Sao_Paulo`.
    pub fn zone(&self, at: Timestamp) -> String {
        zone(&self.local(at))
    }

    /// Formats a ratio of 0 to 1 as a percentage. Rounds down, so that only a perfect ratio reads
    /// 100%: 0.99996 is `99.996%`. Ratios below 99% have two decimals.
    pub fn percent(&self, share: f64) -> String {
        let steps = if share >= 0.99 { 1000.0 } else { 100.0 };
        // Binary floats cannot represent 0.99996 exactly; a millionth of a step compensates for
        // that.
        let floored = (share * 100.0 * steps + 1e-6).floor() / steps;
        let percent = if share < 1.0 {
            floored.min(100.0 - 1.0 / steps)
        } else {
            floored
        };
        self.percentage(percent, 3)
    }

    /// Formats a baseline failure rate, 0 to 1: `0%`, `0.3%`, `12%`.
    pub fn failure_rate(&self, share: f64) -> String {
        let percent = share * 100.0;
        if percent > 0.0 && percent < 0.01 {
            return format!("<{}", self.percentage(0.01, 2));
        }
        let digits = match percent {
            p if p < 1.0 => 2,
            p if p < 10.0 => 1,
            _ => 0,
        };
        self.percentage(percent, digits)
    }

    /// Formats a latency in milliseconds: `<1 ms`, `380 ms`, `2.41 s`, `20 s`.
    pub fn latency(&self, ms: f64) -> String {
        let ms_rounded = ms.round();
        match ms_rounded {
            _ if ms > 0.0 && ms < 0.5 => "<1 ms".to_owned(),
            r if r < 1000.0 => format!("{r:.0} ms"),
            r if r < 10_000.0 => format!("{} s", self.decimal(ms / 1000.0, 2)),
            r if r < 100_000.0 => format!("{} s", self.decimal(ms / 1000.0, 1)),
            _ => format!("{} s", self.number((ms / 1000.0).round())),
        }
    }

    /// Formats a latency for a chart's axis, without trailing zeros: `500 ms`, `1.5 s`.
    pub fn latency_tick(&self, ms: f64) -> String {
        if ms < 1000.0 {
            format!("{} ms", self.decimal(ms, 3))
        } else {
            format!("{} s", self.decimal(ms / 1000.0, 3))
        }
    }

    /// Formats US dollars, with more digits for small amounts: `$0`, `$0.00083`, `$0.053`,
    /// `$1,250.00`.
    pub fn money(&self, usd: f64) -> String {
        /// Less is nothing: it has no digit to show.
        const LEAST_USD: f64 = 0.000_005;
        let usd = if usd.abs() < LEAST_USD { 0.0 } else { usd };
        let digits = match usd.abs() {
            0.0 => 0,
            u if u < 0.01 => 5,
            u if u < 1.0 => 3,
            _ => 2,
        };
        let fixed = format!("{:.digits$}", usd.abs());
        let (units, cents) = fixed.split_once('.').unwrap_or((&fixed, ""));
        let mark = if cents.is_empty() {
            ""
        } else {
            self.decimal_mark()
        };
        let sign = if usd < 0.0 { "−" } else { "" };
        format!("{sign}${}{mark}{cents}", self.number(units))
    }

    /// Formats an integer with separators: `1,999,700`.
    pub fn number(&self, n: impl Display) -> String {
        let digits = n.to_string();
        let (sign, digits) = match digits.strip_prefix('-') {
            Some(rest) => ("-", rest.to_owned()),
            None => ("", digits),
        };
        // Spanish does not separate numbers of four digits.
        let (separator, least) = match self.language {
            Language::English => (',', 4),
            Language::Spanish => ('.', 5),
        };
        let mut text = sign.to_owned();
        for (place, digit) in digits.char_indices() {
            let left = digits.len() - place;
            if place > 0 && left.is_multiple_of(3) && digits.len() >= least {
                text.push(separator);
            }
            text.push(digit);
        }
        text
    }

    /// Formats a count with its noun: `1 probe`, `1,200 probes`.
    pub fn count(&self, n: u64, one: &str, many: &str) -> String {
        format!("{} {}", self.number(n), if n == 1 { one } else { many })
    }

    /// Lists names in a sentence: `A`, `A and B`, `A, B and C`.
    pub fn list<S: AsRef<str>>(&self, names: &[S]) -> String {
        let names: Vec<_> = names.iter().map(|name| clean(name.as_ref())).collect();
        match names.split_last() {
            None => String::new(),
            Some((one, [])) => one.clone(),
            Some((last, rest)) => format!("{} {} {last}", rest.join(", "), self.and(last)),
        }
    }

    /// Like [`list`](Self::list), but names at most `most` and counts the rest: `A, B and 10 more`.
    pub fn list_at_most<S: AsRef<str>>(&self, names: &[S], most: usize) -> String {
        let more = names.len().saturating_sub(most);
        if more == 0 {
            return self.list(names);
        }
        let shown: Vec<_> = names
            .iter()
            .take(most)
            .map(|name| clean(name.as_ref()))
            .collect();
        match self.language {
            Language::English => format!("{} and {} more", shown.join(", "), self.number(more)),
            Language::Spanish => format!("{} y {} más", shown.join(", "), self.number(more)),
        }
    }

    /// Formats a number with at most `digits` decimals and no trailing zeros: `2.4`, `7`.
    pub fn decimal(&self, value: f64, digits: usize) -> String {
        let fixed = format!("{value:.digits$}");
        let Some((units, decimals)) = fixed.split_once('.') else {
            return self.number(fixed);
        };
        let decimals = decimals.trim_end_matches('0');
        let mark = if decimals.is_empty() {
            ""
        } else {
            self.decimal_mark()
        };
        format!("{}{mark}{decimals}", self.number(units))
    }

    /// Formats `percent` (0 to 100), rounded. Some languages put a space before the sign.
    pub fn percentage(&self, percent: f64, digits: usize) -> String {
        let space = match self.language {
            Language::English => "",
            Language::Spanish => "\u{a0}",
        };
        format!("{}{space}%", self.decimal(percent, digits))
    }

    fn decimal_mark(&self) -> &'static str {
        match self.language {
            Language::English => ".",
            Language::Spanish => ",",
        }
    }

    fn and(&self, next: &str) -> &'static str {
        let sounds_like_y = next.starts_with(['i', 'I', 'í', 'Í']) || next.starts_with("hi");
        match self.language {
            Language::English => "and",
            Language::Spanish if sounds_like_y => "e",
            Language::Spanish => "y",
        }
    }

    fn local(&self, at: Timestamp) -> DateTime<Tz> {
        at.to_datetime().with_timezone(&self.timezone)
    }

    fn day_and_month(&self, at: &DateTime<Tz>) -> String {
        match self.language {
            Language::English => at.format("%-d %b").to_string(),
            Language::Spanish => format!("{} {}", at.day(), &MONTHS_ES[at.month0() as usize][..3]),
        }
    }
}

const MONTHS_ES: [&str; 12] = [
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
];

const WEEKDAYS_ES: [&str; 7] = [
    "lunes",
    "martes",
    "miércoles",
    "jueves",
    "viernes",
    "sábado",
    "domingo",
];

/// Joins two units and omits the second if it is zero.
fn two((big, big_unit): (u64, &str), (small, small_unit): (u64, &str)) -> String {
    match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    }
}

fn zone(at: &DateTime<Tz>) -> String {
    let abbreviation = at.format("%Z").to_string();
    if abbreviation.starts_with(['+', '-']) {
        at.timezone().name().to_owned()
    } else {
        abbreviation
    }
}

/// Makes outside text safe to show on one line. Control characters (line ends and terminal escapes
/// among them) and line separators become spaces, and invisible characters are escaped.
pub fn clean(text: &str) -> String {
    let line = text
        .split(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
        .filter(|s| !s.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    escape_invisible(&line)
}

/// Replaces invisible characters with an escape such as `\u{202e}`. They could make two texts look
/// alike or reverse the text direction. Control characters are kept.
pub fn escape_invisible(text: &str) -> String {
    if !text.contains(is_invisible) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Reports whether `c` is a Unicode format character, line separator or filler. Joiners and
/// selectors of emoji are not.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'
            | '\u{200c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: Locale = Locale {
        timezone: Tz::UTC,
        language: Language::English,
    };
    const SPANISH: Locale = Locale {
        timezone: Tz::Europe__Madrid,
        language: Language::Spanish,
    };

    fn at(text: &str) -> Timestamp {
        Timestamp(
            DateTime::parse_from_rfc3339(text)
                .unwrap()
                .timestamp_millis(),
        )
    }

    #[test]
    fn durations_are_rounded_to_what_people_say() {
        let said = [
            0.0, 42.4, 60.0, 119.0, 120.0, 150.0, 599.0, 600.0, 840.0, 7199.0, 7500.0, 273_600.0,
        ]
        .map(|s| ENGLISH.duration(s));
        assert_eq!(
            said,
            [
                "0 s",
                "42 s",
                "1 min",
                "119 s",
                "2 min",
                "2 min 30 s",
                "9 min 59 s",
                "10 min",
                "14 min",
                "119 min",
                "2 h 5 min",
                "3 d 4 h"
            ]
        );
        assert_eq!(ENGLISH.duration(-5.0), "0 s");
    }

    #[test]
    fn times_carry_their_zone_by_name() {
        let (then, now) = (at("2026-11-28T22:30:05Z"), at("2026-11-29T12:00:00Z"));
        assert_eq!(ENGLISH.time(then), "2026-11-28 22:30:05 UTC");
        assert_eq!(ENGLISH.time_short(then, then), "22:30 UTC");
        assert_eq!(ENGLISH.time_short(then, now), "28 Nov, 22:30 UTC");
        assert_eq!(ENGLISH.time_full(then), "28 November 2026, 22:30:05 UTC");
        assert_eq!(SPANISH.time(then), "2026-11-28 23:30:05 CET");
        assert_eq!(SPANISH.time_short(then, now), "28 nov, 23:30 CET");
        assert_eq!(
            SPANISH.time_full(then),
            "28 de noviembre de 2026, 23:30:05 CET"
        );
        let unnamed = Locale::english(Tz::America__Sao_Paulo);
        assert_eq!(unnamed.time(then), "2026-11-28 19:30:05 America/Sao_Paulo");
    }

    #[test]
    fn a_percentage_is_never_rounded_up() {
        let shares = [
            1.0,
            0.999_999_9,
            0.999_96,
            0.9993,
            0.994,
            0.333_333,
            0.5,
            0.0,
        ];
        assert_eq!(
            shares.map(|s| ENGLISH.percent(s)),
            [
                "100%", "99.999%", "99.996%", "99.93%", "99.4%", "33.33%", "50%", "0%"
            ]
        );
        assert_eq!(SPANISH.percent(0.999_96), "99,996\u{a0}%");
        let rates = [0.0, 0.000_01, 0.003, 0.0099, 0.034, 0.12];
        assert_eq!(
            rates.map(|s| ENGLISH.failure_rate(s)),
            ["0%", "<0.01%", "0.3%", "0.99%", "3.4%", "12%"]
        );
    }

    #[test]
    fn latencies_and_money_have_the_digits_they_need() {
        let ms = [0.0, 0.2, 12.0, 380.4, 999.7, 2410.0, 20_004.0, 123_456.0];
        assert_eq!(
            ms.map(|ms| ENGLISH.latency(ms)),
            [
                "0 ms", "<1 ms", "12 ms", "380 ms", "1 s", "2.41 s", "20 s", "123 s"
            ]
        );
        assert_eq!(SPANISH.latency(2410.0), "2,41 s");
        assert_eq!(
            [500.0, 1500.0].map(|ms| ENGLISH.latency_tick(ms)),
            ["500 ms", "1.5 s"]
        );
        let usd = [0.0, -2.7e-20, 0.000_83, 0.0534, 3.5, 1250.0, -2.0];
        assert_eq!(
            usd.map(|usd| ENGLISH.money(usd)),
            [
                "$0",
                "$0",
                "$0.00083",
                "$0.053",
                "$3.50",
                "$1,250.00",
                "−$2.00"
            ]
        );
    }

    #[test]
    fn numbers_have_separators() {
        let numbers = [0, 999, 1000, 1_999_700, -1000, -999];
        assert_eq!(
            numbers.map(|n| ENGLISH.number(n)),
            ["0", "999", "1,000", "1,999,700", "-1,000", "-999"]
        );
        assert_eq!(
            [1000, 12_000].map(|n| SPANISH.number(n)),
            ["1000", "12.000"]
        );
        assert_eq!(ENGLISH.count(1, "probe", "probes"), "1 probe");
        assert_eq!(ENGLISH.count(1200, "probe", "probes"), "1,200 probes");
    }

    #[test]
    fn names_are_listed_as_in_a_sentence() {
        let names = ["a", "b", "c", "d"];
        assert_eq!(ENGLISH.list(&names[..0]), "");
        assert_eq!(ENGLISH.list(&names[..2]), "a and b");
        assert_eq!(ENGLISH.list(&names), "a, b, c and d");
        assert_eq!(ENGLISH.list_at_most(&names, 2), "a, b and 2 more");
        assert_eq!(SPANISH.list(&["a", "internet"]), "a e internet");
    }

    #[test]
    fn what_would_act_is_not_shown() {
        assert_eq!(
            clean("a\r\nBcc: b\u{202e}c\x1b[2J"),
            "a Bcc: b\\u{202e}c [2J"
        );
        assert_eq!(
            escape_invisible("a\u{200b}b\u{2066}\n\u{1f469}\u{200d}\u{1f680}"),
            "a\\u{200b}b\\u{2066}\n\u{1f469}\u{200d}\u{1f680}"
        );
    }
}
