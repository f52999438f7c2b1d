//! The history on the index page. It changes slowly and spans many rows, so it is read at most
//! every few seconds, regardless of the number of visitors; meanwhile they get the previous
//! reading. Endpoints are read one at a time and reduced to counts, so memory does not grow with
//! the fleet. Finished days are cached, and a visitor who comes after a long time waits only for
//! the last two; the latencies are then as old as the last reading ahead.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::store::{RollupQuery, Store, StoreError};
use llmwatch_core::model::{EndpointName, Incident, Timestamp};
use llmwatch_core::report::rollup::{Resolution, Rollup, Sketch};

/// The number of days in the bars.
pub(crate) const DAYS: usize = 90;
/// One day, in milliseconds.
pub(crate) const DAY_MS: i64 = 86_400_000;
/// One hour, in milliseconds.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// How often finished days are re-read, while nobody waits for them.
const ALL_DAYS_EVERY: Duration = Duration::from_hours(6);
/// How long latencies over 24 hours are shown to a visitor who would have to wait for them. They
/// are read ahead more often.
const PACES_VALID: Duration = Duration::from_mins(15);
/// The number of incidents on the index page.
const INCIDENTS: u32 = 6;
/// How long a reading is fresh.
const FRESH: Duration = Duration::from_secs(10);
/// How long a stale reading is shown while it is being refreshed. After that, visitors wait for the
/// new reading.
const STALE: Duration = Duration::from_mins(2);

/// The history on the index page.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// When it was read.
    read_at: Timestamp,
    /// The first day of the bars.
    pub(crate) first_day: Timestamp,
    /// When all days were last read, not only the last two.
    full_at: Timestamp,
    /// When the latencies of all endpoints were last read.
    paces_at: Timestamp,
    /// Per endpoint, its days in order.
    pub(crate) days: BTreeMap<EndpointName, Vec<Day>>,
    /// Per endpoint, its last 24 hours.
    pub(crate) paces: BTreeMap<EndpointName, Pace>,
}

/// The probes of one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Day {
    /// Days since the Unix epoch, in UTC.
    pub(crate) number: i64,
    /// Good probes, slow ones included.
    pub(crate) good: u32,
    /// Good probes that were slow.
    pub(crate) slow: u32,
    /// Failed because of the provider.
    pub(crate) failed: u32,
}

impl Day {
    pub(crate) fn of(rollup: &Rollup) -> Self {
        Self {
            number: rollup.at.0.div_euclid(DAY_MS),
            good: rollup.good(),
            slow: rollup.slow,
            failed: rollup.failed_provider,
        }
    }

    /// Probes that count for availability.
    pub(crate) fn counted(self) -> u32 {
        self.good + self.failed
    }

    /// Share of good probes; `None` if no probe counts.
    pub(crate) fn availability(self) -> Option<f64> {
        (self.counted() > 0).then(|| f64::from(self.good) / f64::from(self.counted()))
    }

    /// Midnight (UTC) at its start.
    pub(crate) fn start(self) -> Timestamp {
        Timestamp(self.number * DAY_MS)
    }
}

/// The cached history. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct HistoryCache {
    history: Arc<Mutex<Arc<History>>>,
    /// Held while reading, so that concurrent visitors cause only one reading.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl HistoryCache {
    /// Reads the finished days and the latencies ahead, so that the next visitor waits only for the
    /// last two days. A failure is left to that visitor.
    pub(crate) async fn read_ahead(&self, store: &Store, now: Timestamp) {
        let turn = self.turn.clone().lock_owned().await;
        let newest = self.lock().clone();
        let read = store
            .run_blocking(move |store| read(store, now, &newest, false))
            .await;
        if let Ok(mut history) = read {
            // Too old to be shown as it is.
            history.read_at = now - STALE;
            *self.lock() = Arc::new(history);
        }
        drop(turn);
    }

    /// Returns the history at about `now`.
    pub(crate) async fn get(
        &self,
        store: &Store,
        now: Timestamp,
    ) -> Result<Arc<History>, StoreError> {
        let known = self.lock().clone();
        let age_ms = now.since_ms(known.read_at);
        if (0..FRESH.as_millis() as i64).contains(&age_ms) {
            return Ok(known);
        }
        let good_enough = (0..STALE.as_millis() as i64).contains(&age_ms);
        let turn = if good_enough {
            let Ok(turn) = self.turn.clone().try_lock_owned() else {
                return Ok(known);
            };
            turn
        } else {
            self.turn.clone().lock_owned().await
        };
        // Another request may have read it meanwhile, perhaps with a slightly later `now`.
        let newest = self.lock().clone();
        if now.since_ms(newest.read_at).abs() < FRESH.as_millis() as i64 {
            return Ok(newest);
        }
        let memory = self.clone();
        let store = store.clone();
        // A separate task finishes even if the client disconnects.
        let reading = tokio::spawn(async move {
            let read = store
                .run_blocking(move |store| read(store, now, &newest, !good_enough))
                .await
                .map(Arc::new);
            if let Ok(history) = &read {
                *memory.lock() = history.clone();
            }
            drop(turn);
            read
        });
        if good_enough {
            return Ok(known);
        }
        // It is aborted only when the daemon stops.
        reading.await.unwrap_or(Ok(known))
    }

    fn lock(&self) -> MutexGuard<'_, Arc<History>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the last incidents, newest first. Rows that another release wrote in an incompatible
/// form are left out.
pub(crate) async fn incidents(store: &Store) -> Result<Vec<Incident>, StoreError> {
    let rows = store
        .run_blocking(|store| store.last_incidents(None, INCIDENTS))
        .await?;
    Ok(rows
        .iter()
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect())
}

/// The latency of an endpoint over the last 24 hours.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pace {
    /// First-token latency of good probes per hour, oldest first.
    pub(crate) hours: Vec<(Timestamp, MedianAndP95)>,
    /// First-token latency over all hours.
    pub(crate) first_token: Option<MedianAndP95>,
    /// Total latency over all hours.
    pub(crate) total: Option<MedianAndP95>,
}

impl Pace {
    fn of(hours: &[Rollup]) -> Self {
        let mut first_token = Sketch::default();
        let mut total = Sketch::default();
        for hour in hours {
            first_token.merge(&hour.first_token);
            total.merge(&hour.total);
        }
        Self {
            hours: hours
                .iter()
                .filter_map(|hour| Some((hour.at, MedianAndP95::of(&hour.first_token)?)))
                .collect(),
            first_token: MedianAndP95::of(&first_token),
            total: MedianAndP95::of(&total),
        }
    }
}

/// Returns the first day of the bars at `now`.
pub(crate) fn first_day(now: Timestamp) -> Timestamp {
    Timestamp((now.0.div_euclid(DAY_MS) - (DAYS as i64 - 1)) * DAY_MS)
}

/// Reads the history at `now`. Of the days that `known` holds, only the last two before its reading
/// are re-read: a sample of an earlier day changes only when it is reattributed. All days are
/// re-read now and then; while a visitor `is_waiting`, once a day, and latencies only where none
/// are known or they are too old.
fn read(
    store: &Store,
    now: Timestamp,
    known: &History,
    is_waiting: bool,
) -> Result<History, StoreError> {
    let first_day = first_day(now);
    let age_ms = now.since_ms(known.full_at);
    let every_ms = if is_waiting {
        DAY_MS
    } else {
        ALL_DAYS_EVERY.as_millis() as i64
    };
    // The clock may have been set back, and after 90 days nothing known is left.
    let is_full = !(0..every_ms).contains(&age_ms) || known.read_at < first_day;
    let known_until = known.read_at.0.min(now.0).div_euclid(DAY_MS) - 1;
    let since = if is_full {
        first_day
    } else {
        Timestamp(known_until * DAY_MS)
    };
    let paces_age_ms = now.since_ms(known.paces_at);
    let keeps_paces = is_waiting && (0..PACES_VALID.as_millis() as i64).contains(&paces_age_ms);
    let mut history = History {
        read_at: now,
        first_day,
        full_at: if is_full { now } else { known.full_at },
        paces_at: if keeps_paces { known.paces_at } else { now },
        ..History::default()
    };
    for name in store.known_endpoints()? {
        let query = |resolution, since, detail| RollupQuery {
            resolution,
            endpoint: Some(&name),
            location: None,
            since,
            until: now,
            detail,
        };
        let recent = store.rollups(query(Resolution::Day, since, false))?;
        let recent = recent.into_values().flatten().map(|r| Day::of(&r));
        let earlier = known.days.get(name.as_str()).filter(|_| !is_full);
        let earlier = earlier.into_iter().flatten().copied();
        let first = first_day.0.div_euclid(DAY_MS);
        let kept = earlier.filter(|d| (first..known_until).contains(&d.number));
        let days: Vec<Day> = kept.chain(recent).collect();
        let known_pace = known.paces.get(name.as_str()).filter(|_| keeps_paces);
        let pace = if let Some(pace) = known_pace {
            Some(pace.clone())
        } else {
            let since = now - Duration::from_hours(24);
            let hours = store.rollups(query(Resolution::Hour, since, true))?;
            hours.into_values().next().map(|hours| Pace::of(&hours))
        };
        if let Some(pace) = pace {
            history.paces.insert(name.clone(), pace);
        }
        if !days.is_empty() {
            history.days.insert(name, days);
        }
    }
    Ok(history)
}

/// The median and the 95th percentile of a latency, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct MedianAndP95 {
    /// The median.
    pub(crate) p50: f64,
    /// The 95th percentile.
    pub(crate) p95: f64,
}

impl MedianAndP95 {
    /// Computes them from a sketch; `None` if it is empty.
    pub(crate) fn of(sketch: &Sketch) -> Option<Self> {
        Some(Self {
            p50: sketch.quantile(0.5)?,
            p95: sketch.quantile(0.95)?,
        })
    }
}
