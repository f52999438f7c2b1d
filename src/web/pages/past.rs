//! What the front page shows of the past. It changes slowly and costs many rows, so it is read at most every few seconds,
//! however many people look, and they are shown what was read before meanwhile.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::chart::Spread;
use crate::model::{Incident, Timestamp};
use crate::rollup::{OutcomeCounts, Resolution, Rollup, Sketch};
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
    /// How long that took.
    took: Duration,
    /// The first day of the bars.
    pub(crate) first_day: Timestamp,
    /// Per endpoint, its days.
    pub(crate) days: BTreeMap<String, Vec<OutcomeCounts>>,
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
        // A large fleet is read less often: never for more than a twentieth of the time.
        let fresh = FRESH.max(known.took * 20);
        if younger_than(&known, fresh) {
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
                .aside(move |store| read(store, &newest, now))
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
    fn of<'a>(hours: impl Iterator<Item = &'a Rollup>) -> Self {
        let mut pace = Self::default();
        let (mut first_token, mut total) = (Sketch::default(), Sketch::default());
        for hour in hours {
            first_token.merge(&hour.first_token);
            total.merge(&hour.total);
            if let Some(spread) = Spread::of(&hour.first_token) {
                pace.hours.push((hour.at, spread));
            }
        }
        Self {
            first_token: Spread::of(&first_token),
            total: Spread::of(&total),
            ..pace
        }
    }
}

/// The first day of the bars at `now`.
pub(crate) fn first_day(now: Timestamp) -> Timestamp {
    Timestamp((now.0.div_euclid(DAY_MS) - (DAYS as i64 - 1)) * DAY_MS)
}

/// Reads the past anew. Days that were over when `known` was read do not change any more and are taken from there.
fn read(store: &Store, known: &Past, now: Timestamp) -> Result<Past, StoreError> {
    let began = Instant::now();
    let first_day = first_day(now);
    let (mut days, changed_since) = kept_days(known, first_day, now);
    let query = RollupQuery {
        resolution: Resolution::Day,
        endpoint: None,
        since: changed_since,
        until: now,
        detail: false,
    };
    store.each_rollup(query, |endpoint, day| {
        let day = OutcomeCounts::from(&day);
        let Some(days) = days.get_mut(endpoint) else {
            days.insert(endpoint.to_owned(), vec![day]);
            return;
        };
        // Another series of the same endpoint may have had a part of the same day.
        match days.binary_search_by_key(&day.at, |d| d.at) {
            Ok(place) => days[place].merge(day),
            Err(place) => days.insert(place, day),
        }
    })?;
    Ok(Past {
        read_at: now,
        first_day,
        days,
        paces: paces(store, now)?,
        took: began.elapsed(),
    })
}

/// The days of `known` that cannot change any more, and the moment from which on they can: probes of the day before may
/// be recorded a little after midnight.
fn kept_days(
    known: &Past,
    first_day: Timestamp,
    now: Timestamp,
) -> (BTreeMap<String, Vec<OutcomeCounts>>, Timestamp) {
    let changed_since = Timestamp((known.read_at.0.div_euclid(DAY_MS) - 1) * DAY_MS);
    if known.first_day.0 == 0 || known.first_day > first_day || known.read_at > now {
        return (BTreeMap::new(), first_day);
    }
    let kept = |days: &Vec<OutcomeCounts>| {
        let days = days
            .iter()
            .filter(|d| d.at >= first_day && d.at < changed_since);
        days.copied().collect()
    };
    let days = known
        .days
        .iter()
        .map(|(name, days)| (name.clone(), kept(days)));
    (days.collect(), changed_since.max(first_day))
}

/// How quickly each endpoint answered in the 24 hours before `now`.
fn paces(store: &Store, now: Timestamp) -> Result<BTreeMap<String, Pace>, StoreError> {
    let query = RollupQuery {
        resolution: Resolution::Hour,
        endpoint: None,
        since: now - Duration::from_hours(24),
        until: now,
        detail: true,
    };
    let mut paces = BTreeMap::new();
    let mut hours: BTreeMap<Timestamp, Rollup> = BTreeMap::new();
    let mut current = String::new();
    store.each_rollup(query, |endpoint, hour| {
        if current != endpoint {
            let of = std::mem::replace(&mut current, endpoint.to_owned());
            paces.insert(of, Pace::of(std::mem::take(&mut hours).values()));
        }
        match hours.entry(hour.at) {
            Entry::Occupied(mut known) => known.get_mut().merge(&hour),
            Entry::Vacant(new) => drop(new.insert(hour)),
        }
    })?;
    paces.insert(current, Pace::of(hours.values()));
    Ok(paces)
}
