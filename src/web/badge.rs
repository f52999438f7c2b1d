//! `/badge/{name}.svg`: one figure of an endpoint, a provider or a group, for a README or a wiki.

use std::time::Duration;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::View;
use super::feed::clean;
use super::reader::Reader;
use crate::store::{RollupQuery, Store, StoreError};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{AlertState, EndpointName, Snapshot, Status, Timestamp};
use llmwatch_core::report::rollup::{Resolution, Rollup};

/// Longer ranges use daily rollups instead of hourly ones.
const BY_HOURS: Duration = Duration::from_hours(7 * 24);
/// The longest range: the default retention of rollups.
const LONGEST: Duration = Duration::from_hours(400 * 24);
/// How long a badge may be cached.
const FRESH: &str = "max-age=60";

/// The query parameters.
#[derive(Debug, Default, Deserialize)]
pub(super) struct BadgeQuery {
    metric: Option<String>,
    range: Option<String>,
}

/// The figure on the badge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Uptime,
    Latency,
    Status,
}

pub(super) async fn serve(
    State(view): State<View>,
    reader: Reader,
    Path(file): Path<String>,
    Query(asked): Query<BadgeQuery>,
) -> Response {
    let name = file.strip_suffix(".svg").unwrap_or(&file);
    let metric = match asked.metric.as_deref() {
        None | Some("uptime") => Metric::Uptime,
        Some("latency") => Metric::Latency,
        Some("status") => Metric::Status,
        Some(_) => {
            return plain(
                StatusCode::BAD_REQUEST,
                "metric is uptime, latency or status\n",
            );
        }
    };
    let range = asked.range.as_deref().unwrap_or("30d");
    let Some(length) = parse_range(range) else {
        return plain(
            StatusCode::BAD_REQUEST,
            "range is a number of hours or days, such as 24h or 30d, at most 400d\n",
        );
    };
    let snapshot = view.snapshot.borrow().clone();
    let names = named(&snapshot, name);
    if names.is_empty() {
        return (
            StatusCode::NOT_FOUND,
            svg(&Badge::new(name, "unknown", GRAY)),
        )
            .into_response();
    }
    let badge = if metric == Metric::Latency && !reader.sees_all() {
        Badge::new(name, "not public", GRAY)
    } else if metric == Metric::Status {
        let worst = worst(&snapshot, &names);
        let is_undecided = matches!(worst, Status::Operational | Status::Unknown);
        if is_undecided && is_pending(&snapshot, &names) {
            Badge::new(name, "checking", color(Status::Degraded))
        } else {
            Badge::new(name, worst.as_str(), color(worst))
        }
    } else {
        let now = (view.wall)();
        let read = view
            .store
            .run_blocking(move |store| sum(store, &names, now, length, metric == Metric::Latency));
        match read.await {
            Ok(sum) => figure(name, range, metric, &sum),
            Err(_) => {
                return plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the store cannot be read\n",
                );
            }
        }
    };
    svg(&badge).into_response()
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}

/// Returns the endpoint of this name; otherwise those of the provider or the group of this name.
fn named(snapshot: &Snapshot, name: &str) -> Vec<EndpointName> {
    let all = &snapshot.endpoints;
    if all.iter().any(|e| e.name == name) {
        return vec![name.into()];
    }
    all.iter()
        .filter(|e| e.provider.as_str() == name || e.group.as_deref() == Some(name))
        .map(|e| e.name.clone())
        .collect()
}

/// Reports whether one of them has bad probes but not enough evidence for an alert yet.
fn is_pending(snapshot: &Snapshot, names: &[EndpointName]) -> bool {
    let mut pending = snapshot
        .endpoints
        .iter()
        .filter(|e| e.alert.state == AlertState::Pending);
    pending.any(|e| names.contains(&e.name))
}

fn worst(snapshot: &Snapshot, names: &[EndpointName]) -> Status {
    let mut part = snapshot.clone();
    part.endpoints.retain(|e| names.contains(&e.name));
    part.overall()
}

fn sum(
    store: &Store,
    names: &[EndpointName],
    now: Timestamp,
    length: Duration,
    detail: bool,
) -> Result<Rollup, StoreError> {
    let resolution = if length <= BY_HOURS {
        Resolution::Hour
    } else {
        Resolution::Day
    };
    let mut sum = Rollup::default();
    for name in names {
        let since = now - length;
        let query = RollupQuery {
            resolution,
            endpoint: Some(name),
            location: None,
            since,
            until: now,
            detail,
        };
        for rollup in store.rollups(query)?.into_values().flatten() {
            sum.merge(&rollup);
        }
    }
    Ok(sum)
}

fn figure(name: &str, range: &str, metric: Metric, sum: &Rollup) -> Badge {
    let label = format!(
        "{name} {} {range}",
        if metric == Metric::Uptime {
            "uptime"
        } else {
            "first token"
        }
    );
    if metric == Metric::Latency {
        let sketch = if sum.first_token.count() > 0 {
            &sum.first_token
        } else {
            &sum.total
        };
        let median = sketch.quantile(0.5).map(|ms| Locale::default().latency(ms));
        return Badge::new(
            &label,
            median.as_deref().unwrap_or("no data"),
            if median.is_some() { BLUE } else { GRAY },
        );
    }
    let Some(share) = sum.availability() else {
        return Badge::new(&label, "no data", GRAY);
    };
    let color = match share {
        s if s >= 0.999 => GREEN,
        s if s >= 0.99 => AMBER,
        _ => RED,
    };
    Badge::new(&label, &Locale::default().percent(share), color)
}

/// Colors on which white text has enough contrast.
const GREEN: &str = "#21794a";
const AMBER: &str = "#955c00";
const RED: &str = "#b3261e";
const GRAY: &str = "#666f78";
const BLUE: &str = "#0b5cad";

fn color(status: Status) -> &'static str {
    match status {
        Status::Operational => GREEN,
        Status::Degraded => AMBER,
        Status::Outage => RED,
        Status::Unknown => GRAY,
        Status::Maintenance => BLUE,
    }
}

/// Parses a number of hours or days.
fn parse_range(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|n| *n > 0)?;
    let hours = match unit {
        "h" => number,
        "d" => number.checked_mul(24)?,
        _ => return None,
    };
    (hours <= LONGEST.as_secs() / 3600).then(|| Duration::from_hours(hours))
}

#[derive(Template)]
#[template(path = "pages/badge.svg")]
struct Badge {
    label: String,
    value: String,
    color: &'static str,
    label_text: usize,
    value_text: usize,
    label_width: usize,
    value_width: usize,
    label_middle: usize,
    value_middle: usize,
    width: usize,
}

impl Badge {
    fn new(label: &str, value: &str, color: &'static str) -> Self {
        // Wide enough for any browser's font; the text is scaled to fit exactly.
        let wide = |text: &str| (text.chars().count() * 67).div_ceil(10);
        let label_text = wide(label);
        let value_text = wide(value);
        let label_width = label_text + 12;
        let value_width = value_text + 12;
        Self {
            label: clean(label),
            value: value.to_owned(),
            color,
            label_text,
            value_text,
            label_width,
            value_width,
            label_middle: label_width / 2,
            value_middle: label_width + value_width / 2,
            width: label_width + value_width,
        }
    }
}

fn svg(badge: &Badge) -> impl IntoResponse + use<> {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("image/svg+xml; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static(FRESH)),
        // As a standalone document, it may not run or load anything.
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        // Other sites are meant to embed it.
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        ),
    ];
    (headers, badge.render().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_hours_or_days() {
        assert_eq!(parse_range("24h"), Some(Duration::from_hours(24)));
        assert_eq!(parse_range("30d"), Some(Duration::from_hours(720)));
        for wrong in [
            "",
            "d",
            "0d",
            "-1d",
            "30",
            "30x",
            "401d",
            "99999999999999999999d",
            "3é",
        ] {
            assert_eq!(parse_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let badge = Badge::new("<script>\"'&\0", "<b>", GRAY).render().unwrap();
        assert!(
            !badge.contains("<script>") && !badge.contains("<b>"),
            "{badge}"
        );
        assert!(!badge.contains('\0'), "no XML can hold it");
        assert!(badge.contains("&#60;script&#62;&#34;&#39;&#38;"), "{badge}");
    }
}
