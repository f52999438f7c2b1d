//! What the front page shows of the past. It changes slowly and costs a few queries, so it is read at most every few
//! seconds, however many people look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::chart::Spread;
use crate::model::{Incident, Timestamp};
use crate::rollup::{Resolution, Rollup, Sketch};
use crate::store::{RollupQuery, Store, StoreError};

/// The days that the bars show.
pub(crate) const DAYS: usize = 90;
/// One day.
pub(crate) const DAY_MS: i64 = 86_400_000;
/// One hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// The incidents that the front page lists.
const INCIDENTS: u32 = 6;
/// How long what was read is good enough.
const FRESH: Duration = Duration::from_secs(10);

/// What the front page shows of the past.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// When it was read.
    read_at: Timestamp,
    /// The first day of the bars.
    pub(crate) first_day: Timestamp,
    /// Per endpoint, its days.
    pub(crate) days: BTreeMap<String, Vec<Rollup>>,
    /// Per endpoint, its last 24 hours.
    pub(crate) paces: BTreeMap<String, Pace>,
    /// The last incidents, newest first.
    pub(crate) incidents: Vec<Incident>,
}

/// The last reading of the past. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Arc<Past>>>);

impl Memory {
    /// The past as of `now`, at most a few seconds old.
    pub(crate) async fn recall(&self, store: &Store, now: Timestamp) -> Result<Arc<Past>, StoreError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let age = now.since_ms(known.read_at);
        if (0..FRESH.as_millis() as i64).contains(&age) {
            return Ok(known);
        }
        let read = Arc::new(store.aside(move |store| read(store, now)).await?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = read.clone();
        Ok(read)
    }
}

/// How quickly an endpoint answered in the last 24 hours.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pace {
    /// First token of the good probes per hour, oldest first.
    pub(crate) hours: Vec<(Timestamp, Spread)>,
    /// First token over all of them.
    pub(crate) first_token: Option<Spread>,
    /// Total over all of them.
    pub(crate) total: Option<Spread>,
}

impl Pace {
    fn of(hours: &[Rollup]) -> Self {
        let whole = |sketch: fn(&Rollup) -> &Sketch| {
            let mut whole = Sketch::default();
            for hour in hours {
                whole.merge(sketch(hour));
            }
            Spread::of(&whole)
        };
        Self {
            hours: hours.iter().filter_map(|hour| Some((hour.at, Spread::of(&hour.first_token)?))).collect(),
            first_token: whole(|r| &r.first_token),
            total: whole(|r| &r.total),
        }
    }
}

/// The first day of the bars at `now`.
pub(crate) fn first_day(now: Timestamp) -> Timestamp {
    Timestamp((now.0.div_euclid(DAY_MS) - (DAYS as i64 - 1)) * DAY_MS)
}

fn read(store: &Store, now: Timestamp) -> Result<Past, StoreError> {
    let first_day = first_day(now);
    let all = |resolution, since, detail| RollupQuery { resolution, endpoint: None, since, until: now, detail };
    let hours = store.rollups(all(Resolution::Hour, now - Duration::from_hours(24), true))?;
    let incidents = store.last_incidents(None, INCIDENTS)?;
    Ok(Past {
        read_at: now,
        first_day,
        days: store.rollups(all(Resolution::Day, first_day, false))?,
        paces: hours.into_iter().map(|(name, hours)| (name, Pace::of(&hours))).collect(),
        // What another release wrote in another form is left out rather than fatal.
        incidents: incidents.iter().filter_map(|data| serde_json::from_str(data).ok()).collect(),
    })
}
