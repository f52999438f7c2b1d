//! Draws numbers as SVG paths. Pure: the same numbers give the same bytes. No text from outside is
//! included, so nothing needs escaping. Labels are in HTML beside the drawings, so that they are
//! legible at every width.

use std::fmt::Write as _;

use chrono::{Datelike, Days, NaiveTime, TimeZone, Weekday};

use super::history::{Day, MedianAndP95};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::Timestamp;

/// The width of one bar in drawing units; the rightmost unit is the gap.
pub(crate) const BAR: usize = 4;
/// The height of the bars.
const BAR_HEIGHT: usize = 20;
/// The share of slow probes from which a day is drawn as slow.
const SLOW_SHARE: f64 = 0.1;

/// A row of bars, one per day. There is one path per level, since 200 endpoints × 90 days of
/// elements would be slow.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bars {
    /// Days with measurements.
    pub(crate) good: String,
    /// Days below 99.9% availability, or with many slow probes.
    pub(crate) minor: String,
    /// Days below 99%.
    pub(crate) partial: String,
    /// Days below 95%.
    pub(crate) major: String,
    /// Days without measurements.
    pub(crate) none: String,
}

/// The severity level of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Good,
    Minor,
    Partial,
    Major,
}

impl Level {
    fn of(day: Day) -> Option<Self> {
        let availability = day.availability()?;
        let slow = f64::from(day.slow) / f64::from(day.counted());
        Some(match availability {
            a if a < 0.95 => Self::Major,
            a if a < 0.99 => Self::Partial,
            a if a < 0.999 || slow >= SLOW_SHARE => Self::Minor,
            _ => Self::Good,
        })
    }

    /// Returns the colored height of the bar, so that the level is visible without color too.
    fn height(self) -> usize {
        match self {
            Self::Good | Self::Major => BAR_HEIGHT,
            Self::Minor => 7,
            Self::Partial => 13,
        }
    }
}

/// Draws the bars of `count` days, starting with `first`.
pub(crate) fn bars(days: &[Day], first: Timestamp, count: usize) -> Bars {
    let mut bars = Bars::default();
    let first = first.0.div_euclid(DAY_MS);
    let mut levels = vec![None; count];
    for day in days {
        let place = usize::try_from(day.number - first).ok();
        if let Some(level) = place.and_then(|place| levels.get_mut(place)) {
            *level = Level::of(*day);
        }
    }
    // The background: each run of measured or unmeasured days is one rectangle.
    let mut start = 0;
    while start < count {
        let is_measured = levels[start].is_some();
        let run = levels[start..]
            .iter()
            .take_while(|l| l.is_some() == is_measured)
            .count();
        let (path, height) = if is_measured {
            (&mut bars.good, BAR_HEIGHT)
        } else {
            (&mut bars.none, 4)
        };
        let x = start * BAR;
        let width = run * BAR;
        let top = BAR_HEIGHT - height;
        let _ = write!(path, "M{x} {top}h{width}v{height}h-{width}z");
        start += run;
    }
    for (place, level) in levels.into_iter().enumerate() {
        let path = match level {
            Some(Level::Minor) => &mut bars.minor,
            Some(Level::Partial) => &mut bars.partial,
            Some(Level::Major) => &mut bars.major,
            Some(Level::Good) | None => continue,
        };
        let height = level.map_or(0, Level::height);
        let _ = write!(
            path,
            "M{} {BAR_HEIGHT}v-{height}h{BAR}v{height}z",
            place * BAR
        );
    }
    bars
}

/// Draws the gaps between `count` bars over them, in the background color.
pub(crate) fn gaps(count: usize) -> String {
    let mut path = String::new();
    for place in 1..=count {
        let _ = write!(path, "M{}.5 0v{BAR_HEIGHT}", place * BAR - 1);
    }
    path
}

/// A median line with a band up to the 95th percentile.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TrendLine {
    /// The median.
    pub(crate) line: String,
    /// The band from the median to the 95th percentile.
    pub(crate) band: String,
}

/// The scale of a line in a chart.
struct Plot {
    width: f64,
    height: f64,
    /// The place at the right edge.
    last: f64,
    /// The value at the upper edge.
    top: f64,
}

impl Plot {
    fn x(&self, place: usize) -> i64 {
        (place as f64 / self.last * self.width).round() as i64
    }

    fn y(&self, value: f64) -> i64 {
        ((1.0 - (value / self.top).clamp(0.0, 1.0)) * self.height).round() as i64
    }
}

/// Draws `points` at the given size; `top` is the value at the upper edge. Missing points interrupt
/// the line.
pub(crate) fn course(
    points: &[Option<MedianAndP95>],
    (width, height): (usize, usize),
    top: f64,
) -> TrendLine {
    let mut course = TrendLine::default();
    let plot = Plot {
        width: width as f64,
        height: height as f64,
        last: points.len().saturating_sub(1).max(1) as f64,
        top,
    };
    let mut place = 0;
    while place < points.len() {
        let run: Vec<_> = points[place..].iter().map_while(|p| *p).collect();
        if let [only] = run.as_slice() {
            // Draws an isolated point as a short dash.
            let x = (plot.x(place) - 1).max(0);
            let _ = write!(course.line, "M{x} {}h2", plot.y(only.p50));
        } else if !run.is_empty() {
            let mut upper = String::new();
            for (n, spread) in run.iter().enumerate() {
                let letter = if n == 0 { "M" } else { " " };
                let x = plot.x(place + n);
                let _ = write!(course.line, "{letter}{x} {}", plot.y(spread.p50));
                let _ = write!(upper, "{letter}{x} {}", plot.y(spread.p95));
            }
            for (n, spread) in run.iter().enumerate().rev() {
                let _ = write!(upper, " {} {}", plot.x(place + n), plot.y(spread.p50));
            }
            course.band += &upper;
            course.band.push('z');
        }
        place += run.len().max(1);
    }
    course
}

/// Draws stacked columns at the given size, one path per layer.
pub(crate) fn stacked(
    columns: &[Vec<f64>],
    layers: usize,
    (width, height): (usize, usize),
    top: f64,
) -> Vec<String> {
    let mut paths = vec![String::new(); layers];
    let step = width as f64 / columns.len().max(1) as f64;
    for (place, column) in columns.iter().enumerate() {
        let left = place as f64 * step;
        let right = (place as f64 + 1.0) * step;
        let left = left.round() as i64;
        let right = (right - step * 0.18).round() as i64;
        let mut base = height as i64;
        let mut sum = 0.0;
        for (layer, value) in column.iter().enumerate().take(layers) {
            sum += value;
            let upper =
                height as i64 - ((sum / top).clamp(0.0, 1.0) * height as f64).round() as i64;
            if *value > 0.0 {
                // Anything above zero is visible, however small its share.
                let upper = upper.min(base - 1).max(0);
                let _ = write!(paths[layer], "M{left} {base}V{upper}H{right}V{base}z");
                base = upper;
            }
        }
    }
    paths
}

/// Axis ticks below a chart, at round times.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    /// The position, in percent of the width, and the label.
    pub(crate) marks: Vec<(String, String)>,
    /// The lines above them, in drawing units.
    pub(crate) lines: String,
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Returns a handful of ticks at round times in the reader's time zone: quarters of an hour, hours,
/// days, weeks or half months.
pub(crate) fn ticks(
    (since, until): (Timestamp, Timestamp),
    locale: &Locale,
    (width, height): (usize, usize),
) -> Ticks {
    let length = until.since_ms(since);
    let zone = locale.timezone;
    let local_since = since.to_datetime().with_timezone(&zone);
    let local_until = until.to_datetime().with_timezone(&zone);
    let moments: Vec<Timestamp> = if length <= DAY_MS {
        let step = if length <= HOUR_MS {
            HOUR_MS / 4
        } else {
            (length / 6 / HOUR_MS).max(1) * HOUR_MS
        };
        let offset = local_since.naive_local().and_utc().timestamp_millis() - since.0;
        let first = (since.0 + offset).div_euclid(step) * step - offset;
        std::iter::successors(Some(Timestamp(first)), |at| Some(Timestamp(at.0 + step)))
            .take_while(|at| *at <= until)
            .collect()
    } else {
        let days = (0..).map_while(|n| local_since.date_naive().checked_add_days(Days::new(n)));
        let days = days
            .take_while(|day| *day <= local_until.date_naive())
            .filter(|day| match length / DAY_MS {
                ..8 => true,
                8..=30 => day.weekday() == Weekday::Mon,
                _ => matches!(day.day(), 1 | 15),
            });
        days.filter_map(|day| {
            zone.from_local_datetime(&day.and_time(NaiveTime::MIN))
                .earliest()
        })
        .map(|at| Timestamp(at.timestamp_millis()))
        .collect()
    };

    let mut ticks = Ticks::default();
    for at in moments {
        let place = at.since_ms(since) as f64 / length as f64;
        // A label near an edge would overflow.
        if (0.02..=0.98).contains(&place) {
            let label = match length {
                ..=DAY_MS => locale.clock_tick(at),
                ms if ms <= 7 * DAY_MS => locale.weekday_tick(at),
                _ => locale.day_tick(at),
            };
            ticks.marks.push((format!("{:.2}", place * 100.0), label));
            let _ = write!(ticks.lines, "M{:.0} 0v{height}", place * width as f64);
        }
    }
    ticks
}

/// Rounds `value` up to a round number for the top of a scale, whose half must be a good label too.
pub(crate) fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0];
    steps
        .iter()
        .map(|s| s * unit)
        .find(|s| *s >= value * 0.9999)
        .unwrap_or(10.0 * unit)
}

#[cfg(test)]
mod tests {
    use chrono_tz::Europe::Berlin;

    use super::*;

    #[test]
    fn one_failure_of_1440_does_not_color_the_day() {
        let day = |number, good, failed| Day {
            number,
            good,
            slow: 0,
            failed,
        };
        let days = [
            day(0, 1439, 1),
            day(1, 1430, 10),
            day(3, 1400, 40),
            day(4, 700, 740),
        ];
        let drawn = bars(&days, Timestamp(0), 5);
        assert_eq!(drawn.good, "M0 0h8v20h-8zM12 0h8v20h-8z");
        assert_eq!(drawn.none, "M8 16h4v4h-4z");
        assert_eq!(drawn.minor, "M4 20v-7h4v7z");
        assert_eq!(drawn.partial, "M12 20v-13h4v13z");
        assert_eq!(drawn.major, "M16 20v-20h4v20z");
    }

    fn labels(since: &str, until: &str) -> Vec<String> {
        let at = |text| Timestamp::parse(text).unwrap();
        ticks((at(since), at(until)), &Locale::english(Berlin), (720, 120))
            .marks
            .into_iter()
            .map(|(_, label)| label)
            .collect()
    }

    #[test]
    fn axis_ticks_are_round_in_local_time() {
        let hour = labels("2026-11-26T01:20:00Z", "2026-11-26T02:20:00Z");
        assert_eq!(hour, ["02:30", "02:45", "03:00", "03:15"]);
        let day = labels("2026-11-25T01:30:00Z", "2026-11-26T01:30:00Z");
        assert_eq!(day, ["04:00", "08:00", "12:00", "16:00", "20:00", "00:00"]);
        let month = labels("2026-10-27T08:00:00Z", "2026-11-26T08:00:00Z");
        assert_eq!(month, ["2 Nov", "9 Nov", "16 Nov", "23 Nov"]);
        let quarter = labels("2026-08-29T00:00:00Z", "2026-11-27T00:00:00Z");
        assert_eq!(
            quarter,
            ["1 Sep", "15 Sep", "1 Oct", "15 Oct", "1 Nov", "15 Nov"]
        );
    }

    #[test]
    fn a_day_begins_at_its_own_midnight_where_the_clocks_change() {
        let week = labels("2026-10-22T02:00:00Z", "2026-10-29T02:00:00Z");
        assert_eq!(
            week,
            ["Fri 23", "Sat 24", "Sun 25", "Mon 26", "Tue 27", "Wed 28"]
        );
    }
}
