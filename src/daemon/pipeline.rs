//! The single writer: processes every sample in order and commits its effects with it.
//!
//! [`MonitorState`] decides without I/O. This shell passes rechecks to the scheduler, commits,
//! wakes the outbox, logs and publishes the snapshot, in this order. When the store fails, records
//! wait in memory until it is writable again; probing, detection and notifying continue.

pub mod early;
pub mod quorum;
pub mod reporting;
mod restore;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tracing::Level;
use uuid::Uuid;

use self::early::EarlyReports;
use self::quorum::QuorumState;
use self::reporting::PeriodicReport;
pub use self::restore::{
    catch_up, complete_incidents, number_after, recover, restore, restore_notifications, resume,
};
use super::backlog::{Backlog, PipelineStep};
use super::scheduler::{Report, SchedulerCommand};
use crate::clock::{ClockMonitor, Uptime, WallClock};
use crate::command::Command;
use crate::config::Settings;
use crate::log;
use crate::log::broadcast::Broadcast;
use crate::log::record::LogRecord;
use crate::metrics::Counters;
use crate::store::{Commit, Horizon, IncidentRow, Reserve, Store, Unrecorded};
use llmwatch_core::alerting::{DrillConfirmation, NotificationScheduler};
use llmwatch_core::message::monitor_notice;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    ChannelName, ChannelStats, DrillMessage, Incident, Outcome, Sample, Snapshot, Timestamp,
    is_plausible,
};
use llmwatch_core::monitor::{Effect, Effects, MonitorState, Record, rehearse};
use llmwatch_core::report::routing;

/// How many reports are taken from the queue at once.
const BATCH: usize = 4096;
/// How often ordinary samples are committed as a batch, the store is retried, the snapshot is
/// refreshed and the watchdog is notified. An ordinary sample is therefore recorded and shown
/// within this time.
const PULSE: Duration = Duration::from_secs(1);
/// A commit that takes longer than this is logged.
const SLOW_COMMIT: Duration = Duration::from_secs(1);
/// How long after a clock change reports of earlier probes may still arrive.
const CLOCK_ECHO: Duration = Duration::from_secs(10);
/// How often expired rows are deleted.
const FORGET_EVERY: Duration = Duration::from_mins(1);
/// How many rows are deleted at a time: a few milliseconds of the writer's time, at most once per
/// [`PULSE`].
const FORGET_AT_ONCE: u32 = 1000;
/// How often delivery statistics are refreshed.
const TALLY_EVERY: Duration = Duration::from_secs(5);

/// Sends the reply to a command, once its change is recorded.
type SendReply = Box<dyn FnOnce() + Send>;

/// Everything the pipeline is given.
pub struct Pipeline {
    /// The configuration in force.
    pub settings: Arc<Settings>,
    /// The folded state.
    pub core: MonitorState,
    /// Decides what to send to which channel, and tracks what was sent.
    pub notifications: NotificationScheduler,
    /// The daemon's own store.
    pub store: Store,
    /// Disk space for records that the store cannot take.
    pub reserve: Reserve,
    /// Records of a killed daemon that the store still cannot take.
    pub unrecorded: Option<Commit>,
    /// Whether the reserve holds records, or may hold some after a start.
    pub is_saved: bool,
    /// The machine's wall clock.
    pub wall: WallClock,
    /// How long the machine has been up.
    pub uptime: Uptime,
    /// What arrived while the history was read.
    pub early: EarlyReports,
    /// Reports from the scheduler; when this channel closes, the pipeline ends.
    pub reports: mpsc::Receiver<Report>,
    /// Commands to the pipeline.
    pub commands: mpsc::Receiver<Command>,
    /// Commands to the scheduler.
    pub scheduler: mpsc::UnboundedSender<SchedulerCommand>,
    /// The current state, for all readers.
    pub snapshot: watch::Sender<Arc<Snapshot>>,
    /// Wakes the outbox.
    pub outbox: Arc<Notify>,
    /// Publishes events to listeners.
    pub broadcast: Broadcast,
    /// Counts every sample.
    pub counters: Counters,
    /// The pipeline's side of a shared store, if one is configured.
    pub quorum: Option<QuorumState>,
    /// Called about once a second to feed the service manager's watchdog. A failing store does not
    /// stop it, because a restart would lose the records in memory. A pipeline that hangs does.
    pub alive: Box<dyn FnMut(&Snapshot) + Send>,
}

/// Why a turn starts.
enum Wake {
    /// The scheduler has ended.
    Ended,
    /// A command has arrived.
    Command(Box<Command>),
    /// Reports have arrived, or the pulse is due.
    Due,
}

/// State that the pipeline keeps from one turn to the next.
struct Turns {
    backlog: Backlog,
    clock: ClockFollower,
    deliveries: Deliveries,
    periodic: PeriodicReport,
    written_at: Option<Instant>,
    reports: Vec<Report>,
    /// Samples that were recorded before the first turn.
    early: Vec<Sample>,
    pulse: Interval,
    forget_at: Instant,
    last_recorded_at: Option<Timestamp>,
    /// Whether incidents of endpoints that were removed while the daemon was down are closed.
    is_settled: bool,
}

impl Turns {
    fn new(pipeline: &Pipeline) -> Self {
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            backlog: Backlog::new(pipeline.settings.log.all_samples),
            clock: ClockFollower {
                clock: ClockMonitor::new(pipeline.wall.clone(), pipeline.uptime.clone()),
                at_start: pipeline.core.set_back((pipeline.wall)()),
                last_shift: None,
            },
            deliveries: Deliveries::default(),
            periodic: PeriodicReport::default(),
            written_at: None,
            reports: Vec::with_capacity(BATCH),
            early: Vec::new(),
            pulse,
            forget_at: Instant::now(),
            last_recorded_at: None,
            is_settled: false,
        }
    }

    /// Remembers when samples were last recorded, shifted if the clock was set.
    fn note_recorded(&mut self, steps: &[PipelineStep], now: Timestamp) {
        for (from, to) in steps.iter().filter_map(|s| s.effects.clock_set()) {
            let shift = to.since_ms(from);
            self.last_recorded_at = self.last_recorded_at.map(|at| Timestamp(at.0 + shift));
        }
        let has_sample =
            |s: &PipelineStep| s.effects.sample().is_some() || s.alerting.sample.is_some();
        if steps.iter().any(has_sample) {
            self.last_recorded_at = Some(now);
        }
    }

    /// Reports whether only figures changed. Such steps are written at the next pulse, or with the
    /// next urgent one.
    fn may_wait(&self, steps: &[PipelineStep]) -> bool {
        !steps.is_empty()
            && steps.iter().all(PipelineStep::is_ordinary)
            && self.written_at.is_some_and(|at| at.elapsed() < PULSE)
            && self.backlog.waiting.len() < BATCH
    }
}

/// Detects that the clock was set, and corrects earlier timestamps.
struct ClockFollower {
    clock: ClockMonitor,
    /// A clock change while the daemon was down: from and to.
    at_start: Option<(Timestamp, Timestamp)>,
    /// The last clock change in milliseconds, and when it was detected.
    last_shift: Option<(i64, Instant)>,
}

impl ClockFollower {
    /// Returns the time and, if the clock was set since the last reading, from when to when.
    fn read(&mut self) -> (Timestamp, Option<(Timestamp, Timestamp)>) {
        let reading = self.clock.read();
        let now = reading.now;
        let set_from = reading
            .set_from
            .filter(|from| is_plausible(*from) && is_plausible(now));
        let set = self.at_start.take().or(set_from.map(|from| (from, now)));
        if let Some((from, to)) = set {
            self.last_shift = Some((to.since_ms(from), Instant::now()));
        }
        (now, set)
    }

    /// Shifts the reports of probes that began before the clock was set.
    fn correct(&mut self, reports: &mut [Report], now: Timestamp) {
        self.last_shift = self.last_shift.filter(|(_, at)| at.elapsed() < CLOCK_ECHO);
        if let Some((by_ms, _)) = self.last_shift {
            for report in reports {
                report.follow_clock(by_ms, now);
            }
        }
    }
}

/// Delivery statistics of each channel, refreshed periodically.
#[derive(Default)]
struct Deliveries {
    tallies: Vec<ChannelStats>,
    counted_at: Option<Instant>,
}

impl Deliveries {
    async fn refresh(&mut self, store: &Store) {
        if self.counted_at.is_some_and(|at| at.elapsed() < TALLY_EVERY) {
            return;
        }
        // A store that cannot be read is reported when writing fails.
        if let Ok(tallies) = store.run_blocking(Store::channel_stats).await {
            self.tallies = tallies;
        }
        self.counted_at = Some(Instant::now());
    }

    /// Shifts the timestamps after the clock was set by `by_ms`. The outbox is shifted with the
    /// next commit, so the next refresh waits for that.
    fn move_along(&mut self, by_ms: i64) {
        let tallies = self.tallies.iter_mut();
        for at in tallies.flat_map(|t| [&mut t.failing_since, &mut t.oldest]) {
            *at = at.map(|at| Timestamp(at.0 + by_ms));
        }
        self.counted_at = Some(Instant::now());
    }
}

impl Pipeline {
    /// Records until the scheduler ends; then writes a last checkpoint.
    pub async fn run(mut self) {
        let mut turns = Turns::new(&self);
        let early = std::mem::take(&mut self.early);
        turns.reports.extend(early.waiting);
        turns.early = early.recorded;
        if let Some(unrecorded) = self.unrecorded.take() {
            turns.backlog.waiting.push(unrecorded);
        }
        loop {
            match self.wait(&mut turns).await {
                Wake::Ended => break,
                Wake::Command(command) => self.turn(&mut turns, Some(*command)).await,
                Wake::Due => self.turn(&mut turns, None).await,
            }
        }
        let mut last = Effects::default();
        last.push(Effect::Record(Record::Checkpoint(self.core.checkpoint())));
        self.queue(&mut turns.backlog, vec![last.into()]);
        self.write(&mut turns.backlog).await;
        self.publish(&mut turns.backlog);
    }

    async fn wait(&mut self, turns: &mut Turns) -> Wake {
        tokio::select! {
            n = self.reports.recv_many(&mut turns.reports, BATCH) => {
                if n == 0 { Wake::Ended } else { Wake::Due }
            }
            Some(command) = self.commands.recv() => Wake::Command(Box::new(command)),
            _ = turns.pulse.tick() => Wake::Due,
        }
    }

    /// Folds new reports, records the effects and publishes the new state.
    async fn turn(&mut self, turns: &mut Turns, command: Option<Command>) {
        let (now, mut steps) = self.follow_clock(turns);
        for report in turns.reports.drain(..) {
            steps.extend(self.take(report));
        }
        let command = command.and_then(|command| match command {
            Command::Shared(update) => {
                steps.extend(self.join(*update, now));
                None
            }
            command => self.forward(command),
        });
        let reply = command.and_then(|command| {
            let (step, reply) = self.apply(command, now);
            turns.backlog.all_samples = self.settings.log.all_samples;
            steps.push(step);
            reply
        });
        self.hold_back_opinions(&mut steps);
        self.command_scheduler(&steps);
        turns.note_recorded(&steps, now);
        if reply.is_none() && turns.may_wait(&steps) {
            self.queue(&mut turns.backlog, steps);
            return;
        }
        turns.deliveries.refresh(&self.store).await;
        if turns.backlog.error.is_none() && self.store.sums_are_due() {
            // On failure the sums stay in memory, and the failure is reported when samples cannot
            // be written either.
            let _ = self
                .store
                .run_blocking(|store| store.write_sums(false))
                .await;
        }
        if Instant::now() >= turns.forget_at && turns.backlog.error.is_none() {
            turns.forget_at = Instant::now() + self.forget(now).await;
        }
        self.announce_database(&mut turns.backlog, now);
        let mut snapshot = self.core.snapshot(now);
        steps.extend(self.combine(&mut snapshot));
        if turns.backlog.error.is_none() {
            self.report(&mut turns.periodic, now).await;
        }
        steps.push(self.drill(&snapshot));
        self.alert(&mut steps, &snapshot, &turns.deliveries.tallies);
        self.queue(&mut turns.backlog, steps);
        // A write without a sample does not delay the first sample after a start.
        if turns.backlog.waiting.has_sample() {
            turns.written_at = Some(Instant::now());
        }
        self.write(&mut turns.backlog).await;
        snapshot.last_recorded_at = turns.last_recorded_at;
        snapshot.store_error.clone_from(&turns.backlog.error);
        snapshot.outbox.clone_from(&turns.deliveries.tallies);
        if let Some(quorum) = &self.quorum {
            ChannelStats::join(&mut snapshot.outbox, &quorum.view().outbox);
        }
        self.show(snapshot);
        // Reply only now, so that the client finds its change in the snapshot.
        if let Some(reply) = reply {
            reply();
        }
        // Publish only now, so that listeners find the event in the snapshot.
        self.publish(&mut turns.backlog);
    }

    /// Reads the clock once for the entire turn, and handles a clock change. The first turn also
    /// settles what changed while the daemon was down.
    fn follow_clock(&mut self, turns: &mut Turns) -> (Timestamp, Vec<PipelineStep>) {
        let mut steps = Vec::with_capacity(turns.reports.len() + 3);
        let (now, set) = turns.clock.read();
        if !std::mem::replace(&mut turns.is_settled, true) {
            let early = std::mem::take(&mut turns.early);
            turns.last_recorded_at = early.last().map(Sample::ended_at);
            let before = set.map_or(now, |(from, _)| from);
            steps.extend(self.resume(early, before));
        }
        if let Some((from, to)) = set {
            turns.deliveries.move_along(to.since_ms(from));
            steps.push(self.set_clock(from, to));
        }
        turns.clock.correct(&mut turns.reports, now);
        // Reports of one instant arrive in any order; sorting makes the fold deterministic.
        turns.reports.sort_by(|a, b| a.order().cmp(&b.order()));
        (now, steps)
    }

    /// Shifts open incidents and pending timers after the clock was set.
    fn set_clock(&mut self, from: Timestamp, to: Timestamp) -> PipelineStep {
        let effects = self.core.follow_clock(from, to);
        let moved = self.notifications.follow_clock(to.since_ms(from));
        PipelineStep {
            incidents: moved.iter().map(IncidentRow::of).collect(),
            ..effects.into()
        }
    }

    /// Folds a report. Reports without a sample are logged at once.
    fn take(&mut self, report: Report) -> Option<PipelineStep> {
        match report {
            Report::Probed(probed) => {
                let sample = self.core.complete(probed.sample, probed.connectivity);
                self.counters.count(&sample);
                Some(self.core.step(sample).into())
            }
            Report::Skipped {
                endpoint,
                ticks,
                reason,
            } => {
                let message = format!(
                    "{endpoint}: {ticks} probe{} skipped, {reason}",
                    if ticks == 1 { "" } else { "s" }
                );
                let fields = json!({"endpoint": endpoint, "ticks": ticks, "reason": reason});
                log::emit(log::Event::ProbeSkipped, Level::WARN, &message, &fields);
                None
            }
            Report::Asleep {
                from,
                to,
                is_suspension,
            } => {
                let seconds = to.since_ms(from) as f64 / 1000.0;
                let message = if is_suspension {
                    format!(
                        "this machine was suspended for {seconds:.0} s; nothing was measured meanwhile"
                    )
                } else {
                    format!(
                        "this process did not run for {seconds:.0} s: it was stopped, or the machine is overloaded; \
                         nothing was measured meanwhile"
                    )
                };
                let fields = json!({"from": from, "to": to, "duration_s": seconds});
                log::emit(log::Event::MonitorAsleep, Level::WARN, &message, &fields);
                None
            }
        }
    }

    /// Applies a command. Returns the reply to send once the change is recorded.
    fn apply(&mut self, command: Command, now: Timestamp) -> (PipelineStep, Option<SendReply>) {
        let mut step = PipelineStep::default();
        let reply: SendReply = match command {
            Command::Reload(settings, interval_multiplier) => {
                let names: HashSet<_> =
                    settings.endpoints.iter().map(|e| e.name.as_str()).collect();
                self.counters.retain(|name| names.contains(name));
                let effects = self
                    .core
                    .follow(settings.config.clone(), interval_multiplier, now);
                self.settings = settings;
                return (effects.into(), None);
            }
            Command::Shared(_) => return (step, None),
            Command::UpdateVendorPage(snapshot) => {
                return (self.core.apply_status_feed(*snapshot, now).into(), None);
            }
            Command::Flush(reply) => Box::new(move || reply.send(())),
            Command::CreateSilence(silence, reply) => {
                self.notifications.silence(silence.clone());
                Box::new(move || reply.send(silence))
            }
            Command::ExpireSilence(id, reply) => {
                let expired = self.notifications.unsilence(id);
                Box::new(move || reply.send(expired))
            }
            Command::AddAnnotation(annotation, reply) => {
                self.notifications.add_annotation(annotation.clone());
                Box::new(move || reply.send(annotation))
            }
            Command::Drill(channels, reply) => {
                let started = self.start_drill(&channels, now);
                if let Ok(messages) = &started {
                    step.records.push(LogRecord::drill_started(messages));
                }
                Box::new(move || reply.send(started))
            }
            Command::ConfirmDrill(notification, by, reply) => {
                let confirmation = self.notifications.confirm_drill(notification, now, &by);
                if let DrillConfirmation::Confirmed(message) = &confirmation {
                    step.records.push(LogRecord::drill_confirmed(message));
                }
                Box::new(move || reply.send(confirmation))
            }
            Command::Acknowledge(number, acknowledgement, reply) => {
                let incident = self.notifications.acknowledge(number, acknowledgement);
                let incident = incident.map(|i| self.up_to_date(i, now));
                step.update(incident.as_ref());
                Box::new(move || reply.send(incident))
            }
            Command::AddNote(number, note, reply) => {
                let incident = self.notifications.note(number, note);
                let incident = incident.map(|i| self.up_to_date(i, now));
                step.update(incident.as_ref());
                Box::new(move || reply.send(incident))
            }
        };
        (step, Some(reply))
    }

    /// Returns `changed` by a user with the figures and texts as of `now`.
    fn up_to_date(&self, changed: Incident, now: Timestamp) -> Incident {
        let locale = self.core.locale();
        let open = self.core.snapshot(now).incidents.into_iter();
        let mut known = open.map(|incident| match &self.quorum {
            Some(quorum) => quorum.as_known(&incident, &locale),
            None => incident,
        });
        let current = known.find(|incident| incident.id == changed.id);
        changed.as_of(current, now)
    }

    /// Sends rechecks and pauses to the scheduler, before the disk write.
    fn command_scheduler(&self, steps: &[PipelineStep]) {
        let rechecks: Vec<_> = steps
            .iter()
            .flat_map(|s| s.effects.rechecks())
            .map(|(endpoint, at)| (endpoint.to_owned(), at))
            .collect();
        if !rechecks.is_empty() {
            let _ = self.scheduler.send(SchedulerCommand::Recheck(rechecks));
        }
        for until in steps.iter().filter_map(|s| s.effects.pause_until()) {
            let _ = self.scheduler.send(SchedulerCommand::RestUntil(until));
        }
        for (endpoint, until) in steps.iter().flat_map(|s| s.effects.pauses()) {
            let _ = self
                .scheduler
                .send(SchedulerCommand::Pause(endpoint.into(), until));
        }
    }

    /// Announces a database that has been failing for long, and its recovery.
    fn announce_database(&mut self, backlog: &mut Backlog, now: Timestamp) {
        let location = &self.settings.monitor.location;
        let locale = Locale::of(&self.settings);
        if let Some(error) = backlog.worth_announcing() {
            self.notifications
                .announce(monitor_notice::database_failing(
                    location, error, now, &locale,
                ));
        }
        if let Some(length) = backlog.recovered_after() {
            let seconds = length.as_secs_f64();
            self.notifications
                .announce(monitor_notice::database_recovered(
                    location, seconds, now, &locale,
                ));
        }
    }

    /// Passes changes to alerting, which decides who is notified now.
    fn alert(
        &mut self,
        steps: &mut Vec<PipelineStep>,
        snapshot: &Snapshot,
        deliveries: &[ChannelStats],
    ) {
        for step in steps.iter_mut() {
            for effect in &step.effects {
                match effect {
                    Effect::Incident(change, incident, at) => {
                        let incident =
                            self.notifications
                                .record_change(*change, (**incident).clone(), *at);
                        step.incidents.push(IncidentRow::of(&incident));
                    }
                    Effect::Announce(announcement) => {
                        self.notifications.announce((**announcement).clone());
                    }
                    _ => {}
                }
            }
        }
        let config = self.core.config().clone();
        let outgoing = self
            .notifications
            .tick(snapshot.at, &config, snapshot, deliveries);
        steps.push(PipelineStep {
            records: outgoing.iter().map(LogRecord::outgoing).collect(),
            alerting: Commit {
                outgoing,
                notification_state: self.notifications.take_change(),
                ..Commit::default()
            },
            ..PipelineStep::default()
        });
    }

    /// Starts a drill of the channels if one is due, and reports drills that nobody confirmed in
    /// time.
    fn drill(&mut self, snapshot: &Snapshot) -> PipelineStep {
        let config = self.core.config().clone();
        let mut step = PipelineStep::default();
        if self.notifications.is_drill_due(&config, snapshot)
            && let Ok(messages) = self.start_drill(&[], snapshot.at)
        {
            step.records.push(LogRecord::drill_started(&messages));
        }
        let late = self
            .notifications
            .report_unconfirmed_drills(&config, snapshot.at);
        step.records
            .extend(late.iter().map(LogRecord::drill_unconfirmed));
        step
    }

    /// Starts a drill of `channels`, or returns why it cannot be started.
    fn start_drill(
        &mut self,
        channels: &[ChannelName],
        now: Timestamp,
    ) -> Result<Vec<DrillMessage>, String> {
        let config = self.core.config().clone();
        if let Some(since) = self.core.offline_since() {
            let since = self.core.locale().time(since);
            return Err(format!(
                "this machine is offline since {since}: a drill needs the network, so none was started"
            ));
        }
        let known: Vec<_> = config.channels.iter().map(|c| c.name.clone()).collect();
        if known.is_empty() {
            return Err(
                "no channel is configured: add an `[[email]]` or a `[[webhook]]`".to_owned(),
            );
        }
        if let Some(unknown) = channels.iter().find(|c| !known.contains(c)) {
            let known = known.join(", ");
            return Err(format!("unknown channel `{unknown}`; configured: {known}"));
        }
        let chosen = [channels, &config.drill.channels, &known];
        let chosen = chosen.into_iter().find(|c| !c.is_empty());
        let incident = rehearse(&config, now);
        let id = Uuid::now_v7();
        let chosen = chosen.unwrap_or_default();
        Ok(self
            .notifications
            .start_drill(id, chosen, incident.as_ref(), &config, now))
    }

    /// Publishes the snapshot and feeds the watchdog.
    fn show(&mut self, mut snapshot: Snapshot) {
        self.notifications.annotate(&mut snapshot);
        if let Some(quorum) = self.quorum.as_ref().filter(|q| !q.is_alone()) {
            let shared = &quorum.view().notifications;
            shared.annotate_shared(&mut snapshot);
        }
        snapshot.leaders.clone_from(&self.snapshot.borrow().leaders);
        snapshot.leaders = routing::leaders(&snapshot);
        (self.alive)(&snapshot);
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    /// Publishes the logged records to listeners.
    fn publish(&self, backlog: &mut Backlog) {
        let has_listeners = self.broadcast.has_listeners();
        for record in backlog.logged.drain(..) {
            if has_listeners || record.event != log::Event::ProbeCompleted {
                self.broadcast
                    .publish(record.event, &record.message, &record.fields);
            } else {
                self.broadcast.skip(1);
            }
        }
    }

    /// Deletes some expired rows. Returns how long to wait until the next time.
    async fn forget(&mut self, now: Timestamp) -> Duration {
        let horizon = Horizon::at(now, &self.settings.store);
        match self
            .store
            .run_blocking(move |store| store.forget(horizon, FORGET_AT_ONCE))
            .await
        {
            Ok(FORGET_AT_ONCE) => PULSE,
            Ok(_) => FORGET_EVERY,
            Err(error) => {
                let message = format!("cannot delete expired records: {error}");
                log::store_failed("retention", &message, &error);
                FORGET_EVERY
            }
        }
    }

    /// Queues `steps` for the next commit.
    fn queue(&self, backlog: &mut Backlog, steps: Vec<PipelineStep>) {
        let has_listeners = self.broadcast.has_listeners();
        let mut skipped = 0;
        backlog.add(steps, &self.settings.monitor.location, |sample| {
            let is_hidden = sample.outcome != Outcome::Failed && !self.settings.log.all_samples;
            if is_hidden && !has_listeners {
                skipped += 1;
                return false;
            }
            true
        });
        self.broadcast.skip(skipped);
    }

    /// Commits everything in the queue, in order: one transaction, unless writing failed before.
    async fn write(&mut self, backlog: &mut Backlog) {
        while let Some(mut batch) = backlog.waiting.take() {
            let commits = std::mem::take(&mut batch.commits);
            // If the store fails, notifications queued behind this batch are sent as well.
            let later: Vec<_> = backlog.waiting.outgoing().cloned().collect();
            let notifies = !later.is_empty() || commits.iter().any(|c| !c.outgoing.is_empty());
            let shifts = commits.iter().any(|c| c.clock_set.is_some());
            let began = Instant::now();
            let work = move |store: &Store| {
                let result = store.commit_first(&commits, &later);
                (commits, result)
            };
            let (commits, result) = self.store.run_blocking(work).await;
            if notifies || (shifts && result.is_ok()) {
                self.outbox.notify_waiters();
            }
            match result {
                Ok(()) => {
                    warn_if_slow(began.elapsed(), commits.len());
                    backlog.recorded(commits.len());
                }
                Err(error) => {
                    batch.commits = commits;
                    backlog.failed(batch, error.to_string(), began);
                    self.save(backlog).await;
                    return;
                }
            }
        }
        if std::mem::take(&mut self.is_saved) {
            let reserve = self.reserve.clone();
            // A failure to clear it is harmless: the next recorded sample makes it obsolete.
            let _ = self.store.run_blocking(move |_| reserve.clear()).await;
        }
    }

    /// Saves to the reserve what must survive this process while the store is not writable.
    async fn save(&mut self, backlog: &mut Backlog) {
        if !std::mem::take(&mut backlog.is_unsaved) {
            return;
        }
        let last: BTreeMap<_, _> = backlog
            .waiting
            .incidents()
            .map(|row| (row.number, row))
            .collect();
        let mut unrecorded = Unrecorded {
            last_seq: 0,
            checkpoint: Some(self.core.checkpoint()),
            notification_state: backlog.waiting.notification_state().cloned(),
            incidents: last.into_values().cloned().collect(),
            outgoing: backlog.waiting.outgoing().cloned().collect(),
        };
        let reserve = self.reserve.clone();
        let work = move |store: &Store| {
            store.retain_undelivered(&mut unrecorded.outgoing);
            if let Ok(last_seq) = store.last_seq() {
                unrecorded.last_seq = last_seq;
                // Without space in the reserve it stays in memory only; the store's error is
                // already in the log.
                let _ = reserve.write(&unrecorded);
            }
        };
        self.store.run_blocking(work).await;
        self.is_saved = true;
    }
}

fn warn_if_slow(took: Duration, commits: usize) {
    if took > SLOW_COMMIT {
        log::emit_limited(
            log::Event::StoreSlow,
            Level::WARN,
            "recording",
            "database write is slow",
            json!({"duration_s": took.as_secs_f64(), "commits": commits}),
        );
    }
}
