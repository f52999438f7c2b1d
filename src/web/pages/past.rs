//! What the front page shows of the past. It changes slowly and costs many rows, so it is read at most every few seconds,
//! however many people look, and they are shown what was read before meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
/// How long it is shown while it is read anew; who comes later than that waits for it.
const STALE: Duration = Duration::from_mins(2);

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
}

/// The last reading of the past. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    past: Arc<Mutex<Arc<Past>>>,
    /// Held by whoever reads it anew, so that a crowd reads it once.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Memory {
    /// The past as of about `now`.
    pub(crate) async fn recall(
        &self,
        store: &Store,
        now: Timestamp,
    ) -> Result<Arc<Past>, StoreError> {
        let known = self.lock().clone();
        let younger_than = |past: &Past, limit: Duration| {
            (0..limit.as_millis() as i64).contains(&now.since_ms(past.read_at))
        };
        if younger_than(&known, FRESH) {
            return Ok(known);
        }
        let good_enough = younger_than(&known, STALE);
        let turn = if good_enough {
            let Ok(turn) = self.turn.clone().try_lock_owned() else {
                return Ok(known);
            };
            turn
        } else {
            self.turn.clone().lock_owned().await
        };
        // Whoever had the turn before has read it meanwhile, perhaps a moment later than this look.
        let newest = self.lock().clone();
        if now.since_ms(newest.read_at).abs() < FRESH.as_millis() as i64 {
            return Ok(newest);
        }
        let (memory, store) = (self.clone(), store.clone());
        // A task of its own: it ends even if who asked for it goes away.
        let reading = tokio::spawn(async move {
            let read = store
                .aside(move |store| read(store, now))
                .await
                .map(Arc::new);
            if let Ok(past) = &read {
                *memory.lock() = past.clone();
            }
            drop(turn);
            read
        });
        if good_enough {
            return Ok(known);
        }
        // It ends early only with the whole daemon.
        reading.await.unwrap_or(Ok(known))
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Past>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last incidents, newest first. What another release wrote in another form is left out rather than fatal.
pub(crate) async fn incidents(store: &Store) -> Result<Vec<Incident>, StoreError> {
    let rows = store
        .aside(|store| store.last_incidents(None, INCIDENTS))
        .await?;
    Ok(rows
        .iter()
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect())
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
            hours: hours
                .iter()
                .filter_map(|hour| Some((hour.at, Spread::of(&hour.first_token)?)))
                .collect(),
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
    let all = |resolution, since, detail| RollupQuery {
        resolution,
        endpoint: None,
        since,
        until: now,
        detail,
    };
    let hours = store.rollups(all(Resolution::Hour, now - Duration::from_hours(24), true))?;
    Ok(Past {
        read_at: now,
        first_day,
        days: store.rollups(all(Resolution::Day, first_day, false))?,
        paces: hours
            .into_iter()
            .map(|(name, hours)| (name, Pace::of(&hours)))
            .collect(),
    })
}
