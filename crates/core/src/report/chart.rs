//! The charts of a report: availability and latency of each endpoint per step, as inline SVG. Pure.

use askama::Template;

use super::rollup::Rollup;
use crate::message::values::Locale;
use crate::model::{EndpointName, Timestamp};
use crate::text;

/// Chart dimensions, in SVG units.
const WIDTH: f64 = 820.0;
const BARS: f64 = 26.0;
const LINES: f64 = 60.0;
/// Availability thresholds for the color of a bar.
const GOOD: f64 = 0.999;
const FAIR: f64 = 0.98;
const DAY_MS: i64 = 24 * 3_600_000;

/// The rollups of one endpoint, one per step.
#[derive(Debug, Clone)]
pub struct Series {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// In chronological order.
    pub steps: Vec<Rollup>,
}

impl Series {
    /// Returns a quantile of the time to first token of each step: its place on the axis, and
    /// milliseconds.
    fn quantiles(&self, q: f64, axis: Axis) -> Vec<(f64, f64)> {
        self.steps
            .iter()
            .filter_map(|r| {
                let middle = Timestamp(r.at.0 + axis.step_ms / 2);
                Some((axis.x(middle), r.first_token.quantile(q)?))
            })
            .collect()
    }
}

/// The time axis that all charts share.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// Its beginning.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// The length of a step, in milliseconds.
    pub step_ms: i64,
    /// The reader's language and zone.
    pub locale: Locale,
}

#[derive(Template)]
#[template(path = "report/charts.html")]
struct Charts {
    charts: Vec<Chart>,
    ticks: Vec<Tick>,
    locale: Locale,
    gray: &'static str,
}

struct Chart {
    name: String,
    summary: String,
    bars: Vec<Bar>,
    p50: String,
    p95: String,
    scale: String,
}

struct Bar {
    x: String,
    width: String,
    color: &'static str,
    title: String,
}

struct Tick {
    x: String,
    anchor: &'static str,
    label: String,
}

/// Renders the charts of `series` as HTML; empty if `series` is empty.
pub fn html(series: &[Series], axis: Axis) -> String {
    let charts: Vec<_> = series
        .iter()
        .filter(|s| !s.steps.is_empty())
        .map(|s| chart(s, axis))
        .collect();
    if charts.is_empty() || axis.until <= axis.since {
        return String::new();
    }
    let charts = Charts {
        charts,
        ticks: ticks(axis),
        locale: axis.locale,
        gray: crate::message::document::GRAY,
    };
    // Rendering into a string cannot fail.
    charts.render().unwrap_or_default()
}

impl Axis {
    fn x(&self, at: Timestamp) -> f64 {
        let length = self.until.since_ms(self.since).max(1) as f64;
        (at.since_ms(self.since) as f64 / length * WIDTH).clamp(0.0, WIDTH)
    }
}

fn ticks(axis: Axis) -> Vec<Tick> {
    let locale = axis.locale;
    let middle = Timestamp(i64::midpoint(axis.since.0, axis.until.0));
    let all = [
        (axis.since, "start"),
        (middle, "middle"),
        (axis.until, "end"),
    ];
    let has_hours = axis.step_ms < DAY_MS;
    all.map(|(at, anchor)| Tick {
        x: unit(axis.x(at)),
        anchor,
        label: if has_hours {
            locale.time_short(at, axis.until)
        } else {
            locale.date(at)
        },
    })
    .into()
}

fn chart(series: &Series, axis: Axis) -> Chart {
    let locale = axis.locale;
    let mut sum = Rollup::default();
    series.steps.iter().for_each(|r| sum.merge(r));
    let p50 = series.quantiles(0.5, axis);
    let p95 = series.quantiles(0.95, axis);
    let top = p95.iter().map(|(_, ms)| *ms).fold(1.0, f64::max);

    let availability = sum
        .availability()
        .map_or(locale.say("nothing measured").to_owned(), |a| {
            locale.percent(a)
        });
    Chart {
        name: series.endpoint.to_string(),
        summary: availability,
        bars: series.steps.iter().map(|r| bar(r, axis, &locale)).collect(),
        p50: polyline(&p50, top),
        p95: polyline(&p95, top),
        scale: if p95.is_empty() {
            String::new()
        } else {
            locale.latency(top)
        },
    }
}

/// Returns the `points` of an SVG polyline through milliseconds, of which `top` is the highest.
fn polyline(points: &[(f64, f64)], top: f64) -> String {
    if let [(x, ms)] = points {
        // A line through one point would be invisible.
        return format!("{} {}", point(x - 4.0, *ms, top), point(x + 4.0, *ms, top));
    }
    let points: Vec<_> = points.iter().map(|(x, ms)| point(*x, *ms, top)).collect();
    points.join(" ")
}

fn point(x: f64, ms: f64, top: f64) -> String {
    let y = BARS + 8.0 + LINES * (1.0 - ms / top);
    format!("{},{}", unit(x), unit(y))
}

fn bar(step: &Rollup, axis: Axis, locale: &Locale) -> Bar {
    let end = Timestamp(step.at.0 + axis.step_ms);
    let from = axis.x(step.at);
    let to = axis.x(end);
    let availability = step.availability();
    let color = match availability {
        None => "#9a9a9a",
        Some(a) if a >= GOOD => "#3aa76d",
        Some(a) if a >= FAIR => "#e0a030",
        Some(_) => "#d93636",
    };
    let share = availability.map_or(locale.say("nothing measured").to_owned(), |a| {
        locale.percent(a)
    });
    let failed = locale.number(step.failed_provider);
    let n = step.probes();
    let at = locale.time(step.at);
    let probes = locale.number(n);
    Bar {
        x: unit(from),
        width: unit((to - from - 1.0).max(0.5)),
        color,
        title: text!(
            locale,
            n => "{at}: {share}, {failed} of {probes} probe failed",
            "{at}: {share}, {failed} of {probes} probes failed";
            at, share, failed, probes
        ),
    }
}

/// Formats a coordinate with one decimal.
fn unit(value: f64) -> String {
    format!("{value:.1}")
}
