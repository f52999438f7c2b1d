//! Reports from the store: on demand, and the periodic one.

use std::sync::Arc;

use super::Pipeline;
use super::fold::Core;
use crate::config::Config;
use crate::desk::Announcement;
use crate::model::{Incident, NoticeType, Timestamp};
use crate::report::{Report, Rollups, last_period};
use crate::rollup::Resolution;
use crate::store::{RollupQuery, Store, StoreError};

/// Reads what a report of the time from `since` to `until` is made of. Its edges are whole five minutes, or the
/// whole hours in it where five minutes are not kept any more. `standing` is what was advised and still holds.
///
/// # Errors
/// When the store cannot be read.
pub fn gather(
    store: &Store,
    config: &Config,
    span: (Timestamp, Timestamp),
    standing: &[String],
) -> Result<Report, StoreError> {
    let (since, until) = span;
    let now = rollups(store, since, until)?;
    let before = rollups(store, Timestamp(since.0 - until.since_ms(since)), since)?;
    let incidents: Vec<Incident> = store
        .incidents(false)?
        .iter()
        .filter_map(|row| serde_json::from_str(&row.data).ok())
        .collect();
    Ok(Report::new(
        config,
        span,
        (&now, &before),
        &incidents,
        standing,
    ))
}

/// Whole hours, and what is beside them in finer pieces.
fn rollups(store: &Store, since: Timestamp, until: Timestamp) -> Result<Rollups, StoreError> {
    let read = |resolution, since, until| {
        store.rollups(RollupQuery {
            resolution,
            endpoint: None,
            since,
            until,
            detail: true,
        })
    };
    let begin = Resolution::Hour.begin(since);
    let first = if begin < since {
        begin + Resolution::Hour.length()
    } else {
        begin
    };
    let last = Resolution::Hour.begin(until).max(first);
    let mut all = read(Resolution::Hour, first, last)?;
    for (from, to) in [
        (Resolution::FiveMinutes.begin(since), first.min(until)),
        (last, until),
    ] {
        if from < to {
            for (endpoint, pieces) in read(Resolution::FiveMinutes, from, to)? {
                all.entry(endpoint).or_default().extend(pieces);
            }
        }
    }
    Ok(all)
}

/// What was advised and still holds as of the last checkpoint, in sentences; nothing where there is none yet.
///
/// # Errors
/// When the store cannot be read.
pub fn standing(store: &Store, config: &Arc<Config>) -> Result<Vec<String>, StoreError> {
    let resume =
        |(_, state): (i64, String)| Core::resume(config.clone(), 1.0, &state, Timestamp(0)).ok();
    let core = store.checkpoint()?.and_then(resume);
    Ok(core.map(|core| core.advice()).unwrap_or_default())
}

impl Pipeline {
    /// Has the desk tell the periodic report once its period is over: once, also over restarts, since the desk remembers
    /// what it told. The first period ends after the daemon first ran with `[report]`.
    pub(super) async fn report(&mut self, now: Timestamp) {
        let config = self.core.config().clone();
        let zone = config.monitor.timezone;
        let Some(report) = &config.report else { return };
        let Some((since, until)) = last_period(report, zone, now) else {
            return;
        };
        match self.desk.reported_until() {
            None => self.desk.report_from(now),
            // The clock was wrong when it was told.
            Some(told) if told > now => self.desk.report_from(now),
            Some(told) if until > told => {
                let only = (!report.to.is_empty()).then(|| report.to.clone());
                let gathered = {
                    let (config, standing) = (config.clone(), self.core.advice());
                    self.store
                        .aside(move |store| gather(store, &config, (since, until), &standing))
                        .await
                };
                // A store that cannot be read shows when it cannot be written; the report is due until it is told.
                if let Ok(report) = gathered {
                    let document = Some(report.document(zone));
                    let announcement =
                        Announcement::new(NoticeType::Report, report.title(zone), until);
                    self.desk.announce(Announcement {
                        document,
                        only,
                        ..announcement
                    });
                }
            }
            Some(_) => {}
        }
    }
}
