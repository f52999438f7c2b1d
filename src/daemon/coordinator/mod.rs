//! The daemon's part in a store that several daemons share.
//!
//! The pipeline records everything in the daemon's own SQLite file and judges its own samples. This
//! task pushes both to the shared store, takes part in the decisions there, and pulls what the
//! other daemons recorded. Samples that are not pushed yet stay in the file, so an unreachable
//! store needs no other buffer.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Level;
use uuid::Uuid;

mod decision;
mod position;

use self::position::{REMEMBERED, SyncPosition, TakenSamples};
use super::pipeline::quorum::OwnView;
use crate::clock::WallClock;
use crate::command::{Command, Commands};
use crate::config::Settings;
use crate::links::Links;
use crate::log::{self, Event, emit};
use crate::shared_view::{Mode, SharedView, Update};
use crate::store::postgres::{
    DaemonRow, Push, SPOOL_LIMIT, Session, SharedError, SharedStore, Updates, day_of,
};
use crate::store::{SampleQuery, Store, StoreError};
use llmwatch_core::locations::{self, LocationReport, LocationVerdict};
use llmwatch_core::model::{ChannelStats, EndpointName, Sample, Timestamp};
use llmwatch_core::schedule::budget;

/// How often to sync while nothing happens, with few daemons.
const PULSE: Duration = Duration::from_secs(1);
/// The longest such interval, with many daemons.
const LONGEST_PULSE: Duration = Duration::from_secs(3);
/// With more daemons than this, syncs are less frequent.
const FEW_DAEMONS: u32 = 10;
/// Up to this many verdicts in total, the others read every verdict after every probe. Above that,
/// they read it when it changes.
const FEW_VERDICTS: usize = 500;
/// How many unchanged verdicts a second are reread on average, however many there are.
const REREAD_PER_SECOND: u64 = 40;
/// How long a verdict counts as fresh after the store last had no sign that it was stale.
const FRESH_FOR: Duration = SYNC_LIMIT;
/// How often the list of daemons is read.
const DAEMONS_EVERY: Duration = Duration::from_secs(5);
/// How often to look for samples that were committed late.
const LATE_EVERY: Duration = Duration::from_secs(6);
/// A probing daemon copies the samples of all locations up to this many per hour; above that, only
/// those of its own location.
const COPIED_PER_HOUR: u64 = 72_000;
/// Minimum time between two syncs.
const SHORTEST: Duration = Duration::from_millis(200);
/// First retry delay when the store is unreachable.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest retry delay when the store stays unreachable.
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Time limit of one sync; after it the connection counts as hung.
const SYNC_LIMIT: Duration = Duration::from_secs(20);
/// Samples pushed at a time.
const BATCH: usize = 1000;
/// Revised samples pushed at a time.
const REVISED_BATCH: u32 = 1000;
/// Samples pulled at a time.
const PULL: i64 = 2000;
/// How often everything is reread instead of only the changes, with few verdicts.
const REREAD: Duration = Duration::from_mins(1);
/// The same with very many verdicts.
const LONGEST_REREAD: Duration = Duration::from_hours(1);
/// A daemon that has not reported for this long counts as gone.
const GONE_MS: i64 = 15_000;
/// How often delivery statistics are refreshed.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How often expired rows are deleted.
const FORGET_EVERY: Duration = Duration::from_mins(1);
/// How many rows are deleted at a time.
const FORGET_AT_ONCE: i64 = 2000;
/// How often the sync position is saved to disk.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Revisions are now and then read again for this long: one with an earlier time may be committed
/// later.
const REVISED_OVERLAP_MS: i64 = 12_000;
/// Samples of other daemons are pulled from at most this far back.
const FIRST_LOOK_BACK_MS: i64 = 24 * 3_600_000;

/// Everything the coordinator is given.
pub struct Coordinator {
    /// The shared store.
    pub shared: SharedStore,
    /// The connection opened at the start, if the store was reachable.
    pub session: Option<Session>,
    /// The daemon's own store.
    pub local: Store,
    /// Signs and verifies the links in messages.
    pub links: Links,
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Settings>>,
    /// The pipeline's conclusions from its own samples.
    pub own: watch::Receiver<Arc<OwnView>>,
    /// Sends updates to the pipeline.
    pub commands: Commands,
    /// Commands from users that apply to the alerting of all daemons.
    pub asked: mpsc::UnboundedReceiver<Command>,
    /// Wakes the outbox.
    pub outbox: Arc<Notify>,
    /// The machine's wall clock.
    pub wall: WallClock,
    /// This daemon as the others see it.
    pub daemon: DaemonRow,
    /// When to stop.
    pub stop: CancellationToken,
}

struct SyncState {
    place: SyncPosition,
    saved: SyncPosition,
    saved_at: Instant,
    /// This daemon's verdicts as pushed to the store.
    pushed_verdicts: BTreeMap<EndpointName, PushedVerdict>,
    /// The hash of the urgent conclusions at the last sync.
    pressing: u64,
    /// The daemons that have reported in the last ten minutes.
    daemons: Polled<Vec<DaemonRow>>,
    late_at: Instant,
    reported: Option<String>,
    view: SharedView,
    verdicts: BTreeMap<(EndpointName, String), LocationVerdict>,
    seen_until: Option<Timestamp>,
    incidents_until: Option<Timestamp>,
    reread_at: Instant,
    forget_at: Instant,
    /// Delivery statistics of the shared outbox.
    deliveries: Polled<Vec<ChannelStats>>,
    taken: TakenSamples,
    /// The last revised samples that were taken, with the time of their revision.
    revised: BTreeSet<(Timestamp, Uuid)>,
    /// When revisions that were committed late were last read.
    late_revised: Polled<()>,
    /// When a transaction was last committed.
    joined_at: Instant,
    since: Timestamp,
    unreachable: Option<String>,
    spooled: u64,
    warned: BTreeSet<String>,
}

impl SyncState {
    /// Reports whether many daemons share the store.
    fn is_crowded(&self) -> bool {
        self.daemons.value.len() > FEW_DAEMONS as usize
    }

    /// Returns how often to sync while nothing happens: less often the more daemons share the
    /// database.
    fn pulse(&self) -> Duration {
        let daemons = u32::try_from(self.daemons.value.len()).unwrap_or(u32::MAX);
        (PULSE * daemons.min(10 * FEW_DAEMONS) / FEW_DAEMONS).clamp(PULSE, LONGEST_PULSE)
    }

    /// Returns how often everything is reread. With many verdicts, a daemon that `probes` shows the
    /// figures of other locations as they were that long ago; their statuses are always current.
    fn reread_every(&self, probes: bool) -> Duration {
        if !probes {
            return REREAD;
        }
        let verdicts = self.verdicts.len() as u64;
        Duration::from_secs(verdicts / REREAD_PER_SECOND).clamp(REREAD, LONGEST_REREAD)
    }
}

/// A verdict as last pushed to the store.
struct PushedVerdict {
    /// The start of the last probe, by this daemon's clock.
    probed_at: Option<Timestamp>,
    /// The parts whose change the others need at once.
    fingerprint: String,
}

/// A value that is polled, and when it was last read.
#[derive(Default)]
struct Polled<T> {
    value: T,
    read_at: Option<Instant>,
}

impl<T> Polled<T> {
    fn is_due(&self, every: Duration) -> bool {
        self.read_at.is_none_or(|at| at.elapsed() >= every)
    }

    fn set(&mut self, value: T) {
        self.value = value;
        self.read_at = Some(Instant::now());
    }
}

/// The inputs of one sync.
struct SyncInputs {
    settings: Arc<Settings>,
    own: Arc<OwnView>,
    /// How far the store's clock is ahead of this machine's, in milliseconds.
    offset_ms: i64,
}

/// Ends reading: the batch is full, or the file cannot be read, which is reported when writing
/// fails.
struct BatchFull;

impl From<StoreError> for BatchFull {
    fn from(_: StoreError) -> Self {
        Self
    }
}

/// Saves the initial sync position before the first sample is recorded. A daemon that is killed
/// soon after its first start then still pushes everything it recorded.
pub async fn note_beginning(local: &Store, state_dir: &Path) {
    let state_dir = state_dir.to_owned();
    let note = move |store: &Store| {
        if SyncPosition::load(&state_dir).is_none() {
            // An unwritable directory is reported at the next save.
            let _ = SyncPosition::fresh(store).save(&state_dir);
        }
    };
    local.run_blocking(note).await;
}

/// Exchanges the keys of the links in messages, so that every daemon accepts the links that the
/// others send, those included that a daemon signed before it first reached the shared store.
pub async fn share_link_keys(
    session: &Session,
    local: &Store,
    links: &Links,
) -> Result<(), SharedError> {
    let Ok(own) = local.run_blocking(Store::link_keys).await else {
        // The pipeline reports a file that cannot be used.
        return Ok(());
    };
    let keys = session.link_keys(&own).await?;
    if keys != own {
        links.replace_keys(&keys);
        let save = move |store: &Store| store.set_link_keys(&keys);
        // If that fails, links of the others are refused after a restart until the store is
        // reached.
        let _ = local.run_blocking(save).await;
    }
    Ok(())
}

impl Coordinator {
    /// Syncs until the shutdown, then pushes what is left.
    pub async fn run(mut self) {
        let mut state = self.begin().await;
        let mut retry = FIRST_RETRY;
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep_until(next) => {}
            }
            let done = tokio::time::timeout(SYNC_LIMIT, self.sync(&mut state)).await;
            let result = match done {
                Ok(result) => result,
                Err(_) => Err(SharedError::Unreachable {
                    url: self.shared.shown(),
                    why: "the database does not answer in time".to_owned(),
                }),
            };
            match result {
                Ok(is_behind) => {
                    retry = FIRST_RETRY;
                    let soon = if is_behind { Duration::ZERO } else { SHORTEST };
                    next = Instant::now() + soon;
                    if !is_behind {
                        let until = next + state.pulse() - SHORTEST;
                        // With few daemons, any change triggers a sync.
                        let known = state.is_crowded().then_some(state.pressing);
                        self.wait_for_work(until, known).await;
                    }
                }
                Err(SharedError::Busy { .. }) => {
                    next = Instant::now() + Duration::from_millis(fastrand::u64(10..100));
                }
                Err(error) => {
                    self.session = None;
                    note_unreachable(&mut state, &error);
                    self.publish(&mut state, Vec::new(), Default::default())
                        .await;
                    next = Instant::now() + retry;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
        }
        // Push the effects of the last samples, then release the leases so that the others need not
        // wait.
        let last = async {
            while self.sync(&mut state).await.is_ok_and(|is_behind| is_behind) {}
            if let Some(session) = &self.session {
                let _ = session.leave().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), last).await;
        self.save(&mut state, true).await;
    }

    async fn begin(&self) -> SyncState {
        let settings = self.config.borrow().clone();
        let state_dir = settings.process.state_dir.clone();
        let (place, taken) = self
            .local
            .run_blocking(move |store| {
                let place =
                    SyncPosition::load(&state_dir).unwrap_or_else(|| SyncPosition::fresh(store));
                let mut ids = VecDeque::new();
                let query = SampleQuery {
                    since: Some(Timestamp(place.pulled.0 - 600_000)),
                    ..SampleQuery::default()
                };
                let location = settings.monitor.location.clone();
                let _ = store.each_sample(query, |_, sample| {
                    if sample.location != location || ids.len() < REMEMBERED {
                        ids.push_back(sample.id);
                    }
                    Ok::<_, StoreError>(())
                });
                (place, ids)
            })
            .await;
        let now = Instant::now();
        SyncState {
            saved: place.clone(),
            saved_at: now,
            place,
            pushed_verdicts: BTreeMap::new(),
            pressing: 0,
            daemons: Polled::default(),
            late_at: now,
            reported: None,
            view: SharedView::default(),
            verdicts: BTreeMap::new(),
            seen_until: None,
            incidents_until: None,
            reread_at: now,
            forget_at: now,
            deliveries: Polled::default(),
            taken: TakenSamples::new(taken),
            revised: BTreeSet::new(),
            late_revised: Polled::default(),
            joined_at: now,
            since: (self.wall)(),
            unreachable: None,
            spooled: 0,
            warned: BTreeSet::new(),
        }
    }

    /// Waits for news from the pipeline, a command, or `until`. With `known`, only a change of the
    /// urgent hash counts as news.
    async fn wait_for_work(&mut self, until: Instant, known: Option<u64>) {
        if !self.asked.is_empty() {
            return;
        }
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = self.own.changed() => {
                    if changed.is_err() {
                        tokio::time::sleep_until(until).await;
                        return;
                    }
                    let now = pressing(&self.own.borrow());
                    if known.is_none_or(|known| known != now) {
                        return;
                    }
                }
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Syncs once with the shared store. Returns whether there is more to transfer.
    async fn sync(&mut self, state: &mut SyncState) -> Result<bool, SharedError> {
        if self.session.as_ref().is_none_or(Session::is_closed) {
            self.session = None;
            let session = self.shared.open().await?;
            share_link_keys(&session, &self.local, &self.links).await?;
            self.session = Some(session);
        }
        let Some(mut session) = self.session.take() else {
            return Ok(false);
        };
        let result = self.sync_over(&mut session, state).await;
        // A connection that failed is not reused.
        if matches!(result, Ok(_) | Err(SharedError::Busy { .. })) {
            self.session = Some(session);
        }
        result
    }

    async fn sync_over(
        &mut self,
        session: &mut Session,
        state: &mut SyncState,
    ) -> Result<bool, SharedError> {
        let store = session.identity().await?;
        self.recognize(store, state).await;
        let offset_ms = self.clock_offset(session).await?;
        let here = SyncInputs {
            settings: self.config.borrow().clone(),
            own: self.own.borrow_and_update().clone(),
            offset_ms,
        };
        let is_behind = self.push(session, state, &here).await?;
        if state.deliveries.is_due(COUNT_EVERY) {
            let deliveries = session.channel_stats(here.offset_ms).await?;
            state.deliveries.set(deliveries);
        }
        if self.decide(session, state, &here).await? {
            self.outbox.notify_waiters();
        }
        let updates = self.updates(session, state, &here).await?;
        let (pulled, is_full) = self
            .samples_of_others(session, state, &here.settings, updates.now)
            .await?;
        let revised = revised_of_others(session, state, &here.settings, updates.now).await?;
        if state.forget_at.elapsed() >= FORGET_EVERY {
            state.forget_at = Instant::now();
            let before = updates.now - here.settings.store.keep_samples;
            session.forget(before, FORGET_AT_ONCE).await?;
        }
        state.joined_at = Instant::now();
        state.since = (self.wall)();
        if !is_behind {
            self.note_reachable(state);
        }
        let samples = take_new(state, pulled);
        let revised = take_revised(state, revised);
        let incidents = self.take_updates(state, updates, &here);
        self.publish(state, incidents, (samples, revised)).await;
        self.save(state, false).await;
        Ok(is_behind || is_full)
    }

    /// Detects a different database: it gets only samples from now on, and is read from scratch.
    async fn recognize(&self, store: Uuid, state: &mut SyncState) {
        if state.place.store == Some(store) {
            return;
        }
        if state.place.store.is_some() {
            state.place.pushed = self.local.run_blocking(Store::last_seq).await.unwrap_or(0);
            state.place.pulled = Timestamp::default();
            state.place.revised = Timestamp::default();
        }
        state.place.store = Some(store);
        state.pushed_verdicts.clear();
        state.reported = None;
        state.seen_until = None;
        state.incidents_until = None;
    }

    /// Returns how far the store's clock is ahead of this machine's, in milliseconds, accurate to
    /// half the round trip.
    async fn clock_offset(&self, session: &Session) -> Result<i64, SharedError> {
        let before = (self.wall)();
        let store_now = session.now().await?;
        let after = (self.wall)();
        Ok(store_now.0 - i64::midpoint(before.0, after.0))
    }

    /// Pushes samples and conclusions to the store. Returns whether there is more to push.
    async fn push(
        &self,
        session: &mut Session,
        state: &mut SyncState,
        here: &SyncInputs,
    ) -> Result<bool, SharedError> {
        let settings = &here.settings;
        let (samples, last) = self.waiting_samples(state, settings).await;
        // Read later than the samples: a revision in between then reaches the store after them.
        let revised = self
            .local
            .run_blocking(|store| store.revised_samples(REVISED_BATCH))
            .await
            .unwrap_or_default();
        let (verdicts, report) = conclusions(&here.own, settings, here.offset_ms);
        let new = new_verdicts(state, verdicts);
        let report_text = serde_json::to_string(&report.incidents).unwrap_or_default();
        let is_changed = settings.monitor.probe && state.reported.as_deref() != Some(&report_text);
        let daemon = DaemonRow {
            location: settings.monitor.location.clone(),
            probes: settings.monitor.probe,
            endpoints: endpoints_of(settings),
            samples_per_hour: samples_per_hour(settings),
            ..self.daemon.clone()
        };
        let inserted = session
            .push(&Push {
                daemon: &daemon,
                samples: &samples,
                revised: &revised.samples,
                zone: settings.monitor.timezone,
                verdicts: &new,
                report: is_changed.then_some(&report),
            })
            .await?;
        state.place.pushed = last;
        // What is not forgotten is pushed again, which changes nothing.
        let forget = move |store: &Store| store.forget_revised(&revised);
        let _ = self.local.run_blocking(forget).await;
        for (verdict, _) in &new {
            note_pushed(state, verdict);
        }
        if is_changed {
            state.reported = Some(report_text);
        }
        if state.unreachable.is_some() {
            state.spooled += inserted;
        }
        Ok(samples.len() >= BATCH)
    }

    /// Reads what changed in the store, or everything every [`REREAD`].
    async fn updates(
        &self,
        session: &Session,
        state: &mut SyncState,
        here: &SyncInputs,
    ) -> Result<Updates, SharedError> {
        let reread_every = state.reread_every(here.settings.monitor.probe);
        if state.reread_at.elapsed() >= reread_every || state.joined_at.elapsed() >= FRESH_FOR {
            state.seen_until = None;
            state.reread_at = Instant::now();
        }
        let day = day_of((self.wall)(), here.settings.monitor.timezone);
        let updates = session
            .updates(
                state.seen_until,
                state.incidents_until,
                state.daemons.is_due(DAEMONS_EVERY),
                &day,
            )
            .await?;
        if let Some(daemons) = &updates.daemons {
            let known: BTreeSet<_> = state.daemons.value.iter().map(|d| d.id).collect();
            if daemons.iter().any(|d| !known.contains(&d.id)) {
                // A daemon that was alone until now brings the key of its links.
                share_link_keys(session, &self.local, &self.links).await?;
            }
            state.daemons.set(daemons.clone());
        }
        Ok(updates)
    }

    /// Returns the next samples of this location to push, and the number of the last sample read.
    async fn waiting_samples(&self, state: &SyncState, settings: &Settings) -> (Vec<Sample>, i64) {
        let after = state.place.pushed;
        let location = settings.monitor.location.clone();
        self.local
            .run_blocking(move |store| {
                let newest = store.last_seq().unwrap_or(after);
                let after = after.max(newest - SPOOL_LIMIT);
                let query = SampleQuery {
                    after_seq: after,
                    ..SampleQuery::default()
                };
                let mut samples = Vec::new();
                let mut last = after;
                if newest > after {
                    let _ = store.each_sample(query, |seq, sample| {
                        if samples.len() >= BATCH {
                            return Err(BatchFull);
                        }
                        last = seq;
                        if sample.location == location {
                            samples.push(sample);
                        }
                        Ok(())
                    });
                }
                (samples, last)
            })
            .await
    }

    /// Returns the next samples of the other daemons, and whether there are more.
    async fn samples_of_others(
        &self,
        session: &Session,
        state: &mut SyncState,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<(Vec<(Timestamp, Sample)>, bool), SharedError> {
        let location = copied_location(state, settings);
        let since = state
            .place
            .pulled
            .max(Timestamp(now.0 - FIRST_LOOK_BACK_MS));
        let mut samples = session.samples_since(since, location, PULL).await?;
        let is_full = samples.len() as i64 >= PULL;
        if state.late_at.elapsed() >= LATE_EVERY {
            state.late_at = Instant::now();
            let taken = &state.taken;
            let late = session.late_samples(since, location, |id| taken.contains(&id));
            samples.extend(late.await?);
        }
        Ok((samples, is_full))
    }

    fn take_asked(&mut self) -> Vec<Command> {
        let mut asked = Vec::new();
        while let Ok(command) = self.asked.try_recv() {
            asked.push(command);
        }
        asked
    }

    /// Applies the updates. Returns the incidents that may have changed.
    fn take_updates(
        &self,
        state: &mut SyncState,
        updates: Updates,
        here: &SyncInputs,
    ) -> Vec<locations::SharedIncident> {
        let settings = &here.settings;
        let is_all = state.seen_until.is_none();
        if is_all {
            state.verdicts.clear();
        }
        state.seen_until = Some(updates.now);
        state.incidents_until = Some(updates.now);
        for verdict in updates.verdicts {
            let key = (verdict.endpoint.clone(), verdict.location.clone());
            state.verdicts.insert(key, verdict);
        }
        for (endpoint, location, probed_at) in updates.lapsed {
            if let Some(known) = state.verdicts.get_mut(&(endpoint, location)) {
                known.probed_at = Some(probed_at);
            }
        }
        for verdict in state.verdicts.values_mut() {
            verdict.confirm_fresh(updates.now, FRESH_FOR);
        }
        let channels = channel_set(settings);
        let alerting = updates.alerting.iter().find(|(name, _)| *name == channels);
        let location = &settings.monitor.location;
        let live: Vec<_> = state
            .daemons
            .value
            .iter()
            .filter(|d| updates.now.since_ms(d.seen_at) <= GONE_MS)
            .cloned()
            .collect();
        let partners: Vec<_> = live
            .iter()
            .filter(|d| d.location == *location && d.probes && d.id != self.daemon.id)
            .map(|d| d.host.clone())
            .collect();
        let warnings = differences(&live, settings, self.daemon.id);
        for warning in &warnings {
            if state.warned.insert(warning.clone()) {
                emit(Event::ConfigWarning, Level::WARN, warning, &json!({}));
            }
        }
        state.view = SharedView {
            mode: Mode::Joined,
            since: Timestamp::default(),
            offset_ms: here.offset_ms,
            verdicts: state.verdicts.values().cloned().collect(),
            open: updates
                .incidents
                .iter()
                .filter(|s| s.incident.resolved_at.is_none())
                .cloned()
                .collect(),
            notifications: alerting
                .and_then(|(_, data)| serde_json::from_str(data).ok())
                .unwrap_or_else(|| std::mem::take(&mut state.view.notifications)),
            partners,
            warnings,
            locations: live
                .iter()
                .filter(|d| d.probes)
                .map(|d| d.location.clone())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            spent: updates.spent,
            last_number: updates.last_number,
            outbox: state.deliveries.value.clone(),
            spooled: 0,
        };
        updates.incidents
    }

    async fn publish(
        &self,
        state: &mut SyncState,
        incidents: Vec<locations::SharedIncident>,
        (samples, revised): (Vec<Sample>, Vec<Sample>),
    ) {
        let settings = self.config.borrow().clone();
        if state.unreachable.is_some() {
            let alone_after = settings.config.quorum.alone_after;
            state.view.mode = if state.joined_at.elapsed() >= alone_after {
                Mode::Alone
            } else {
                Mode::Unreachable
            };
            state.view.since = state.since;
            let pushed = state.place.pushed;
            let newest = self
                .local
                .run_blocking(Store::last_seq)
                .await
                .unwrap_or(pushed);
            state.view.spooled = (newest - pushed).max(0);
        }
        let update = Update {
            view: Arc::new(state.view.clone()),
            incidents,
            samples,
            revised,
        };
        let _ = self.commands.send(Command::Shared(Box::new(update))).await;
    }

    fn note_reachable(&self, state: &mut SyncState) {
        if state.unreachable.take().is_none() {
            return;
        }
        let url = self.shared.shown();
        emit(
            Event::StoreReachable,
            Level::INFO,
            &format!("the store `{url}` is reachable again"),
            &json!({"store": url}),
        );
        let samples = std::mem::take(&mut state.spooled);
        emit(
            Event::StoreSpooled,
            Level::INFO,
            &format!("{samples} buffered samples were written to the shared store"),
            &json!({"samples": samples}),
        );
    }

    async fn save(&self, state: &mut SyncState, at_once: bool) {
        let is_due = at_once || state.saved_at.elapsed() >= SAVE_EVERY;
        if !is_due || state.saved == state.place {
            return;
        }
        state.saved = state.place.clone();
        state.saved_at = Instant::now();
        let place = state.place.clone();
        let settings = self.config.borrow().clone();
        let saved = self
            .local
            .run_blocking(move |_| place.save(&settings.process.state_dir))
            .await;
        if let Err(error) = saved {
            // After a restart samples are transferred again; duplicates are ignored.
            let message = format!("cannot record what the shared store has: {error}");
            log::store_failed("locations", &message, &error);
        }
    }
}

fn note_unreachable(state: &mut SyncState, error: &SharedError) {
    if state.unreachable.is_none() {
        let fields = json!({"error": error.to_string(), "since": state.since});
        let message = format!("{error}; samples wait on this machine");
        emit(Event::StoreUnreachable, Level::WARN, &message, &fields);
    }
    state.unreachable = Some(error.to_string());
    // The others may have seen them become stale.
    state.pushed_verdicts.clear();
}

/// Returns the key of the alerting state: daemons with the same channels share one.
fn channel_set(settings: &Settings) -> String {
    let mut names: Vec<_> = settings.channels.iter().map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    names.join(" ")
}

/// Returns this daemon's verdicts on its endpoints, and its incidents.
fn conclusions(
    own: &OwnView,
    settings: &Settings,
    offset_ms: i64,
) -> (Vec<LocationVerdict>, LocationReport) {
    let config = &settings.config;
    let patience = |name: &str| {
        let endpoint = config.endpoints.iter().find(|e| e.name == name);
        let usual = endpoint.map_or(PULSE, |e| budget::patience(e, own.interval_multiplier));
        let limit = config.quorum.stale_after.unwrap_or(usual + 2 * PULSE);
        limit.as_millis() as i64
    };
    let verdicts = if config.monitor.probe {
        LocationVerdict::of_snapshot(&own.snapshot, offset_ms, patience)
            .into_iter()
            .filter(|v| v.probed_at.is_some())
            .collect()
    } else {
        Vec::new()
    };
    let report = LocationReport {
        location: config.monitor.location.clone(),
        offset_ms,
        incidents: own.incidents.clone(),
    };
    (verdicts, report)
}

/// Hashes the conclusions that cannot wait for the next regular sync.
fn pressing(own: &OwnView) -> u64 {
    let mut hasher = DefaultHasher::new();
    for endpoint in &own.snapshot.endpoints {
        (endpoint.status, endpoint.failed_in_a_row > 0).hash(&mut hasher);
    }
    own.snapshot.offline_since.is_some().hash(&mut hasher);
    for incident in &own.incidents {
        let is_over = incident.resolved_at.is_some();
        (incident.id, is_over, incident.status).hash(&mut hasher);
        (incident.attribution, &incident.endpoints).hash(&mut hasher);
    }
    own.alone_notifications.is_some().hash(&mut hasher);
    hasher.finish()
}

/// Returns how many samples per hour this daemon plans to record.
fn samples_per_hour(settings: &Settings) -> u64 {
    if !settings.monitor.probe {
        return 0;
    }
    settings
        .endpoints
        .iter()
        .map(|e| 3_600_000 / e.interval.as_millis().max(1) as u64)
        .sum()
}

/// Formats the parts of a verdict whose change the others need at once.
fn fingerprint(verdict: &LocationVerdict) -> String {
    format!(
        "{} {:?} {} {} {}",
        verdict.status.as_str(),
        verdict.incident,
        verdict.counts,
        verdict.pending,
        verdict.patience_ms
    )
}

/// Returns a hash of each endpoint's configuration by name, as JSON.
fn endpoints_of(settings: &Settings) -> String {
    let hashes: BTreeMap<_, _> = settings
        .endpoints
        .iter()
        .map(|e| (e.name.clone(), llmwatch_core::locations::fingerprint(e)))
        .collect();
    serde_json::to_string(&hashes).unwrap_or_default()
}

/// Returns warnings about differences between the daemons' configurations.
pub fn differences(daemons: &[DaemonRow], settings: &Settings, me: Uuid) -> Vec<String> {
    let mine: BTreeMap<String, u64> =
        serde_json::from_str(&endpoints_of(settings)).unwrap_or_default();
    let mut warnings = Vec::new();
    for other in daemons.iter().filter(|d| d.id != me) {
        let others: BTreeMap<String, u64> =
            serde_json::from_str(&other.endpoints).unwrap_or_default();
        let place = format!("{} ({})", other.location, other.host);
        for (name, hash) in &others {
            if mine.get(name).is_some_and(|own| own != hash) {
                warnings.push(format!(
                    "`{name}` is probed differently from {place}: compare the two configurations"
                ));
            }
        }
        if other.location == settings.monitor.location && other.probes && settings.monitor.probe {
            warnings.push(format!(
                "{} also probes from `{}` and is this daemon's partner: each slot is probed by one of the two; if that is \
                 not meant, set another `location` in `[monitor]`",
                other.host, other.location
            ));
        }
    }
    warnings
}

/// Returns the verdicts to push, and whether the others should read each at once.
fn new_verdicts(state: &SyncState, verdicts: Vec<LocationVerdict>) -> Vec<(LocationVerdict, bool)> {
    let is_small = state.verdicts.len() <= FEW_VERDICTS;
    let mut new = Vec::new();
    for verdict in verdicts {
        let Some(known) = state.pushed_verdicts.get(&verdict.endpoint) else {
            new.push((verdict, true));
            continue;
        };
        let is_changed = known.fingerprint != fingerprint(&verdict);
        let probed_at = verdict.view.last_probe_at;
        if is_changed || probed_at != known.probed_at {
            // The others may have seen it become stale in between.
            let pause = probed_at
                .zip(known.probed_at)
                .map(|(now, was)| now.since_ms(was));
            let is_late = pause.is_none_or(|pause| pause > verdict.patience_ms / 2);
            new.push((verdict, is_small || is_changed || is_late));
        }
    }
    new
}

/// Records that `verdict` was pushed.
fn note_pushed(state: &mut SyncState, verdict: &LocationVerdict) {
    let pushed = PushedVerdict {
        probed_at: verdict.view.last_probe_at,
        fingerprint: fingerprint(verdict),
    };
    state
        .pushed_verdicts
        .insert(verdict.endpoint.clone(), pushed);
}

/// The only location whose samples this daemon copies; `None` for all.
fn copied_location<'a>(state: &SyncState, settings: &'a Settings) -> Option<&'a str> {
    let here = &settings.monitor.location;
    let others = state.daemons.value.iter().filter(|d| d.location != *here);
    let all: u64 = others.map(|d| d.samples_per_hour).sum();
    let is_own_only = settings.monitor.probe && all > COPIED_PER_HOUR;
    is_own_only.then_some(here.as_str())
}

/// Returns the samples whose attribution was revised since the last sync, with the time of that.
async fn revised_of_others(
    session: &Session,
    state: &mut SyncState,
    settings: &Settings,
    now: Timestamp,
) -> Result<Vec<(Timestamp, Sample)>, SharedError> {
    let mut since = state
        .place
        .revised
        .max(Timestamp(now.0 - FIRST_LOOK_BACK_MS));
    let mut limit = PULL;
    if state.late_revised.is_due(LATE_EVERY) {
        state.late_revised.set(());
        since = Timestamp(since.0 - REVISED_OVERLAP_MS);
        limit *= 10;
    }
    let location = copied_location(state, settings);
    session.revised_since(since, location, limit).await
}

/// Returns the revised samples that were not taken yet, and advances the position.
fn take_revised(state: &mut SyncState, revised: Vec<(Timestamp, Sample)>) -> Vec<Sample> {
    let mut new = Vec::new();
    for (revised_at, sample) in revised {
        state.place.revised = state.place.revised.max(revised_at);
        if state.revised.insert((revised_at, sample.id)) {
            new.push(sample);
        }
    }
    let oldest = Timestamp(state.place.revised.0 - REVISED_OVERLAP_MS);
    state.revised.retain(|(at, _)| *at >= oldest);
    new
}

/// Returns the pulled samples that are not in the file yet, and advances the position.
fn take_new(state: &mut SyncState, pulled: Vec<(Timestamp, Sample)>) -> Vec<Sample> {
    let mut new = Vec::new();
    for (recorded_at, sample) in pulled {
        state.place.pulled = state.place.pulled.max(recorded_at);
        if state.taken.insert(sample.id) {
            new.push(sample);
        }
    }
    new
}
