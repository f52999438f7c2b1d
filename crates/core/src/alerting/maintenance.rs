//! Maintenance windows: when they are active and what they cover. Pure over configuration and time.

use chrono::TimeZone;
use chrono_tz::Tz;

use crate::config::matchers::EndpointScope;
use crate::config::{Config, Maintenance, Window};
use crate::model::{MaintenanceView, Timestamp};

/// An active maintenance window.
#[derive(Debug, Clone, Copy)]
pub struct Active<'a> {
    /// The configured window.
    pub maintenance: &'a Maintenance,
    /// When it started.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl Active<'_> {
    /// The endpoints that it covers.
    pub fn scope(&self) -> EndpointScope<'_> {
        let Maintenance {
            endpoints,
            providers,
            groups,
            ..
        } = self.maintenance;
        EndpointScope {
            endpoints,
            providers,
            groups,
        }
    }

    /// Returns the window with the names of its endpoints.
    pub fn view(&self, config: &Config) -> MaintenanceView {
        let covered = config.endpoints.iter().filter(|e| self.scope().includes(e));
        MaintenanceView {
            name: self.maintenance.name.clone(),
            since: self.since,
            until: self.until,
            endpoints: covered.map(|e| e.name.clone()).collect(),
        }
    }
}

/// Returns the windows that are active at `now`.
pub fn active(config: &Config, now: Timestamp) -> Vec<Active<'_>> {
    let zone = config.monitor.timezone;
    config
        .maintenance
        .iter()
        .filter_map(|maintenance| {
            let (since, until) = span(maintenance, zone, now)?;
            Some(Active {
                maintenance,
                since,
                until,
            })
        })
        .collect()
}

/// Reports whether `endpoint` is in one of these windows.
pub fn covers(windows: &[Active<'_>], endpoint: &str, config: &Config) -> bool {
    windows.iter().any(|w| w.scope().covers(endpoint, config))
}

/// Returns the start and end of the window that is active at `now`.
fn span(maintenance: &Maintenance, zone: Tz, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    match &maintenance.window {
        Window::Once { start, end } => (*start <= now && now < *end).then_some((*start, *end)),
        Window::Every { cron, length } => {
            // If `now` is in a window, that window is the first to start after `now - length`.
            let after = zone.from_utc_datetime(&(now - *length).to_datetime().naive_utc());
            let since = Timestamp(
                cron.find_next_occurrence(&after, false)
                    .ok()?
                    .timestamp_millis(),
            );
            (since <= now).then(|| (since, since + *length))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use croner::parser::CronParser;

    use super::*;

    fn weekly() -> Maintenance {
        Maintenance {
            name: "weekly".to_owned(),
            window: Window::Every {
                cron: Box::new(CronParser::new().parse("0 3 * * SUN").unwrap()),
                length: Duration::from_hours(2),
            },
            endpoints: Vec::new(),
            providers: Vec::new(),
            groups: Vec::new(),
        }
    }

    #[test]
    fn recurring_maintenance_opens_on_time_for_its_length() {
        let at = |text: &str| {
            span(
                &weekly(),
                chrono_tz::Europe::Berlin,
                Timestamp::parse(text).unwrap(),
            )
        };
        // A Sunday; Berlin is an hour ahead in November.
        assert_eq!(at("2026-11-22T01:59:59.999Z"), None);
        let begins = Timestamp::parse("2026-11-22T02:00:00Z").unwrap();
        assert_eq!(
            at("2026-11-22T02:00:00Z"),
            Some((begins, begins + Duration::from_hours(2)))
        );
        assert_eq!(
            at("2026-11-22T03:59:59.999Z"),
            Some((begins, begins + Duration::from_hours(2)))
        );
        assert_eq!(at("2026-11-22T04:00:00Z"), None);
        assert_eq!(at("2026-11-23T02:30:00Z"), None, "a Monday");
    }

    #[test]
    fn a_single_window_is_open_between_its_ends() {
        let (start, end) = (Timestamp(1_000), Timestamp(2_000));
        let once = Maintenance {
            window: Window::Once { start, end },
            ..weekly()
        };
        let at = |ms| span(&once, Tz::UTC, Timestamp(ms));
        assert_eq!(
            (at(999), at(1_000), at(1_999), at(2_000)),
            (None, Some((start, end)), Some((start, end)), None)
        );
    }
}
