//! Reports from the store: on demand, and the periodic one.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Pipeline;
use crate::config::Config;
use crate::log;
use crate::store::{Store, StoreError};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::Announcement;
use llmwatch_core::model::{Evidence, Incident, NoticeKind, Timestamp};
use llmwatch_core::monitor::MonitorState;
use llmwatch_core::report::{Report, last_period};

/// Retry delay after a periodic report failed.
const RETRY_AFTER: Duration = Duration::from_mins(10);

/// Reads the data of a report on `span`, as of `at`, row by row: memory use depends on the number of endpoints
/// and incidents, not on the length of the period. `location` limits it to one location. `standing`
/// is advice that still holds.
///
/// # Errors
/// When the store cannot be read.
pub fn gather(
    store: &Store,
    config: &Config,
    span: (Timestamp, Timestamp),
    at: Timestamp,
    location: Option<&str>,
    standing: &[String],
) -> Result<Report, StoreError> {
    let (since, until) = span;
    let now = store.sums(since, until, location)?;
    let earlier = Timestamp(since.0 - until.since_ms(since));
    let before = store.sums(earlier, since, location)?;
    let here = &config.monitor.location;
    let mut incidents: Vec<Incident> = Vec::new();
    store.each_incident(until, |row| {
        if let Ok(incident) = serde_json::from_str::<Incident>(&row.data)
            && incident.resolved_at.is_none_or(|at| at >= since)
            && location.is_none_or(|location| incident.is_seen_from(location, here))
        {
            incidents.push(Incident {
                // A report needs only the request IDs of the evidence.
                evidence: Evidence {
                    request_ids: incident.evidence.request_ids.clone(),
                    ..Evidence::default()
                },
                ..incident
            });
        }
    })?;
    Ok(Report::new(
        config,
        span,
        at,
        (&now, &before),
        &incidents,
        standing,
    ))
}

/// Returns the advice that still holds as of the last checkpoint, as sentences; empty without a
/// checkpoint.
///
/// # Errors
/// When the store cannot be read.
pub fn standing(store: &Store, config: &Arc<Config>) -> Result<Vec<String>, StoreError> {
    let core = store.checkpoint()?.and_then(|(_, state)| {
        MonitorState::resume(config.clone(), 1.0, &state, Timestamp(0)).ok()
    });
    Ok(core.map(|core| core.advice()).unwrap_or_default())
}

/// The job that builds the periodic report, on its own thread and connection: probing and recording
/// continue.
#[derive(Default)]
pub(in crate::daemon) struct PeriodicReport(Option<JoinHandle<Result<Report, StoreError>>>);

impl Pipeline {
    /// Queues the periodic report when its period ends. The notification state remembers the last
    /// one sent, so a restart does not repeat it. The first period ends after the daemon first ran
    /// with `[report]`.
    pub(in crate::daemon) async fn report(
        &mut self,
        periodic: &mut PeriodicReport,
        now: Timestamp,
    ) {
        let config = self.core.config().clone();
        let zone = config.monitor.timezone;
        let locale = Locale::of(&config);
        let Some(report) = &config.report else { return };
        let Some(span) = last_period(report, zone, now) else {
            return;
        };
        match self.notifications.reported_until() {
            Some(sent) if sent >= span.1 && sent <= now => return,
            Some(sent) if sent <= now => {}
            // No report was sent yet, or the clock was wrong when the last one was.
            _ => return self.notifications.report_from(now),
        }
        let Some(job) = periodic.0.take_if(|job| job.is_finished()) else {
            if periodic.0.is_none() && self.may_try_report(now) {
                self.notifications.try_report(now);
                let store = self.store.clone();
                let standing = self.core.advice();
                let make = move || gather(&store.reader()?, &config, span, now, None, &standing);
                periodic.0 = Some(tokio::task::spawn_blocking(make));
            }
            return;
        };
        match job.await {
            Ok(Ok(made)) if (made.since, made.until) == span => {
                self.notifications.announce(Announcement {
                    document: Some(made.document(&locale)),
                    only: (!report.to.is_empty()).then(|| report.to.clone()),
                    ..Announcement::new(NoticeKind::Report, made.title(&locale), span.1)
                });
            }
            // The settings have changed since: build it again.
            Ok(Ok(_)) => {}
            Ok(Err(error)) => report_failed(&error.to_string()),
            Err(error) => report_failed(&error.to_string()),
        }
    }

    fn may_try_report(&self, now: Timestamp) -> bool {
        let tried_at = self.notifications.report_tried_at();
        tried_at.is_none_or(|at| at > now || now >= at + RETRY_AFTER)
    }
}

fn report_failed(error: &str) {
    let minutes = RETRY_AFTER.as_secs() / 60;
    let message =
        format!("cannot make the periodic report, trying again in {minutes} minutes: {error}");
    log::store_failed("report", &message, &error);
}
