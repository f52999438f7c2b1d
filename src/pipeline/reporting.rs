//! Reports from the store: on demand, and the periodic one.

use super::Pipeline;
use crate::config::Config;
use crate::desk::Announcement;
use crate::model::{Incident, NoticeType, Timestamp};
use crate::report::{Report, last_period};
use crate::rollup::Resolution;
use crate::store::{RollupQuery, Store, StoreError};

/// Reads what a report of the time from `since` to `until` is made of. Hours count as a whole.
///
/// # Errors
/// When the store cannot be read.
pub fn gather(store: &Store, config: &Config, span: (Timestamp, Timestamp)) -> Result<Report, StoreError> {
    let (since, until) = span;
    let hours = |since, until| {
        let since = Resolution::Hour.begin(since);
        store.rollups(RollupQuery { resolution: Resolution::Hour, endpoint: None, since, until, detail: true })
    };
    let now = hours(since, until)?;
    let before = hours(Timestamp(since.0 - until.since_ms(since)), Resolution::Hour.begin(since))?;
    let incidents: Vec<Incident> =
        store.incidents(false)?.iter().filter_map(|row| serde_json::from_str(&row.data).ok()).collect();
    Ok(Report::new(config, span, (&now, &before), &incidents))
}

impl Pipeline {
    /// Has the desk tell the periodic report once its period is over: once, also over restarts, since the desk remembers
    /// what it told. The first period ends after the daemon first ran with `[report]`.
    pub(super) async fn report(&mut self, now: Timestamp) {
        let config = self.core.config().clone();
        let zone = config.monitor.timezone;
        let Some(report) = &config.report else { return };
        let Some((since, until)) = last_period(report, zone, now) else { return };
        match self.desk.reported_until() {
            None => self.desk.report_from(now),
            Some(told) if until > told => {
                let only = (!report.to.is_empty()).then(|| report.to.clone());
                let gathered = {
                    let config = config.clone();
                    self.store.aside(move |store| gather(store, &config, (since, until))).await
                };
                // A store that cannot be read shows when it cannot be written; the report is due until it is told.
                if let Ok(report) = gathered {
                    let document = Some(report.document(zone));
                    let announcement = Announcement::new(NoticeType::Report, report.title(), until);
                    self.desk.announce(Announcement { document, only, ..announcement });
                }
            }
            Some(_) => {}
        }
    }
}
