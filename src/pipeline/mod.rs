//! The one writer: every sample passes here, in order, and what it leads to is committed with it.
//!
//! [`fold`] decides, purely; this shell commits, then logs, then tells the runner when to look again, publishes the
//! snapshot and wakes the outbox. When the store fails, what is to be recorded waits in memory and is written as soon
//! as there is room again; probing, detection and telling go on meanwhile.

pub mod fold;
pub mod reporting;
mod start;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Level;
use uuid::Uuid;

use self::fold::Core;
use self::reporting::PeriodicReport;
pub use self::start::{restore, restore_desk};
use crate::clock::{Lookout, Uptime, Wall};
use crate::config::Settings;
use crate::daemon::scheduler::{Command, Report};
use crate::desk::{Announcement, Desk};
use crate::incident::Change;
use crate::log;
use crate::log::broadcast::Broadcast;
use crate::message;
use crate::message::values::Locale;
use crate::metrics::Counters;
use crate::model::Silence;
use crate::model::Snapshot;
use crate::model::{
    Acknowledgement, Incident, NoticeType, Outcome, Outgoing, Sample, Tally, Timestamp,
    is_plausible,
};
pub use crate::official::Heard;
use crate::route;
use crate::store::{Commit, Horizon, IncidentRow, Store};

/// Samples that may wait for the store: at one probe a second, more than two hours. Beyond that samples are dropped
/// (with a count in the log), incidents and notifications never.
const BACKLOG: usize = 10_000;
/// How many reports are taken from the queue at once.
const BATCH: usize = 4096;
/// How often ordinary samples are written together, the store is tried again, the snapshot is refreshed and the service
/// manager is notified. So an ordinary sample is recorded and shown at most this much after it was taken.
const PULSE: Duration = Duration::from_secs(1);
/// A store that fails for less long is not worth a message: a backup may have held it.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// A store that fails now and then is not worth a message more often than this.
const STORE_TOLD_EVERY: Duration = Duration::from_hours(1);
/// How often the number of dropped samples is logged.
const LOG_DROPPED_EVERY: Duration = Duration::from_mins(1);
/// A commit longer than this is worth a line.
const SLOW_COMMIT: Duration = Duration::from_secs(1);

/// For so long after the clock was set, reports of probes that began before it may still come.
const CLOCK_ECHO: Duration = Duration::from_secs(10);

/// How often old rows are looked for.
const FORGET_EVERY: Duration = Duration::from_mins(1);
/// How many of them are deleted at a time: a few milliseconds of the writer's time, at most once a [`PULSE`].
const FORGET_AT_ONCE: u32 = 1000;

/// What follows from one sample.
#[derive(Debug, Default)]
pub struct Step {
    /// What is recorded, all or nothing.
    pub commit: Commit,
    /// The incidents that changed, how, and when.
    pub changes: Vec<(Change, Incident, Timestamp)>,
    /// What is to be told about the monitor itself.
    pub announcements: Vec<Announcement>,
    /// When the detector wants another look.
    pub look_again: Vec<(String, Timestamp)>,
    /// What is logged once that is recorded.
    pub lines: Vec<Line>,
    /// Set when the day's budget is spent.
    pub rest_until: Option<Timestamp>,
    /// Endpoints that are not probed until then.
    pub pauses: Vec<(String, Timestamp)>,
}

impl Step {
    /// A sample that changes nothing but the figures.
    fn is_ordinary(&self) -> bool {
        self.commit.sample.is_some()
            && self.changes.is_empty()
            && self.announcements.is_empty()
            && self.rest_until.is_none()
            && self.pauses.is_empty()
            && self.lines.is_empty()
    }

    fn tell(&mut self, changes: Vec<(Change, Incident)>, at: Timestamp, locale: &Locale) {
        for (change, mut incident) in changes {
            message::incident::narrate(&mut incident, locale);
            self.lines.push(Line::incident(change, &incident));
            self.changes.push((change, incident, at));
        }
    }
}

/// A log event that has been decided and is written once its cause is recorded.
#[derive(Debug)]
pub struct Line {
    event: log::Event,
    level: Level,
    message: String,
    fields: Value,
    /// A good sample, which is logged on demand only.
    is_ordinary: bool,
}

impl Line {
    fn new(event: log::Event, level: Level, message: String, fields: Value) -> Self {
        Self {
            event,
            level,
            message,
            fields,
            is_ordinary: false,
        }
    }

    fn sample(sample: &Sample) -> Self {
        let failed = sample.outcome == Outcome::Failed;
        let total = sample.total_ms.unwrap_or(0.0);
        let message = match sample.fault {
            Some(fault) => format!(
                "{} failed after {total:.0} ms: {}",
                sample.endpoint,
                fault.describe()
            ),
            None => match sample.first_token_ms {
                Some(first) => {
                    let word = sample.outcome.as_str();
                    format!(
                        "{} {word}: first token {first:.0} ms, total {total:.0} ms",
                        sample.endpoint
                    )
                }
                None => format!(
                    "{} {}: total {total:.0} ms",
                    sample.endpoint,
                    sample.outcome.as_str()
                ),
            },
        };
        let level = if failed { Level::WARN } else { Level::INFO };
        let fields = serde_json::to_value(sample).unwrap_or_default();
        Self {
            is_ordinary: !failed,
            ..Self::new(log::Event::ProbeCompleted, level, message, fields)
        }
    }

    fn incident(change: Change, incident: &Incident) -> Self {
        let (event, level) = match change {
            Change::Opened => (log::Event::IncidentOpened, Level::WARN),
            Change::Updated => (log::Event::IncidentUpdated, Level::INFO),
            Change::Escalated => (log::Event::IncidentEscalated, Level::WARN),
            Change::Resolved => (log::Event::IncidentResolved, Level::INFO),
        };
        let fields = json!({
            "incident": incident.id, "number": incident.number, "endpoint": incident.endpoints.first(),
            "endpoints": incident.endpoints, "provider": incident.provider, "status": incident.status,
            "cause": incident.cause, "attribution": incident.attribution, "started_at": incident.started_at,
            "opened_at": incident.opened_at, "resolved_at": incident.resolved_at, "duration_s": incident.duration_s,
            "explanation": incident.explanation, "new_normal": incident.new_normal, "lead_s": incident.official.lead_s,
        });
        let title = &incident.title;
        let message = if incident.has_recovered() {
            let lasted = Locale::default().duration(incident.duration_s);
            format!("{title}; recovered after {lasted}")
        } else {
            title.clone()
        };
        Self::new(event, level, message, fields)
    }

    fn outgoing(outgoing: &Outgoing) -> Self {
        let Outgoing {
            channel, notice, ..
        } = outgoing;
        let message = format!("{} is queued for {channel}", notice.r#type.as_str());
        let fields = json!({
            "notification": notice.id, "channel": channel, "type": notice.r#type,
            "incident": notice.incident.as_ref().map(|i| i.id),
        });
        Self::new(log::Event::NotificationQueued, Level::INFO, message, fields)
    }

    fn write(&self, all_samples: bool) {
        if all_samples || !self.is_ordinary {
            log::emit(self.event, self.level, &self.message, &self.fields);
        }
    }
}

/// What the pipeline is told from outside. An answer comes once the thing is on the disk.
#[derive(Debug)]
pub enum Control {
    /// Judge by this configuration from now on.
    Follow(Arc<Settings>, f64),
    /// Tell nothing about these endpoints for a while.
    Silence(Silence, oneshot::Sender<Silence>),
    /// End a silence early. The answer is the silence, or `None` when there is none of this id.
    Unsilence(Uuid, oneshot::Sender<Option<Silence>>),
    /// Somebody is on the incident of this number. The answer is the incident, or `None` when none of this number goes on.
    Acknowledge(u64, Acknowledgement, oneshot::Sender<Option<Incident>>),
    /// A vendor's own page was read.
    Heard(Box<Heard>),
    /// Record at once what waits: somebody is about to read the store.
    Flush(oneshot::Sender<()>),
}

/// Does what a control asks for; gives what to answer once that is recorded.
type Answer = Box<dyn FnOnce() + Send>;

/// How delivery goes is counted again this often.
const TALLY_EVERY: Duration = Duration::from_secs(5);

/// Everything the pipeline is given.
pub struct Pipeline {
    /// The configuration in force.
    pub settings: Arc<Settings>,
    /// The folded state.
    pub core: Core,
    /// Who was told what.
    pub desk: Desk,
    /// Where it is recorded.
    pub store: Store,
    /// The machine's wall clock.
    pub wall: Wall,
    /// How long the machine is up.
    pub uptime: Uptime,
    /// What the runner tells; when it ends, so does the pipeline.
    pub reports: mpsc::Receiver<Report>,
    /// Orders from outside.
    pub controls: mpsc::Receiver<Control>,
    /// Orders for the runner.
    pub commands: mpsc::UnboundedSender<Command>,
    /// What is true now, for everybody to read.
    pub snapshot: watch::Sender<Arc<Snapshot>>,
    /// Wakes the outbox.
    pub outbox: Arc<Notify>,
    /// Tells those who listen what happens.
    pub broadcast: Broadcast,
    /// Counts every sample.
    pub counters: Counters,
    /// Called about once a second: the service manager's watchdog hangs on it. A store that fails does not stop it (what
    /// is to be recorded waits in memory, and a restart would lose that); a pipeline that hangs does.
    pub alive: Box<dyn FnMut(&Snapshot) + Send>,
}

impl Pipeline {
    /// Records until the runner ends; then writes a last checkpoint.
    pub async fn run(mut self) {
        let mut backlog = Backlog {
            all_samples: self.settings.log.all_samples,
            ..Backlog::default()
        };
        let mut periodic = PeriodicReport::default();
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reports = Vec::with_capacity(BATCH);
        let mut last_recorded_at: Option<Timestamp> = None;
        let mut forget_at = Instant::now();
        let (mut outbox, mut tallied_at): (Vec<Tally>, Option<Instant>) = (Vec::new(), None);
        let mut lookout = Lookout::new(self.wall.clone(), self.uptime.clone());
        // By how much the clock was set last; the first look finds out what happened while nobody ran.
        let mut set: Option<(i64, Instant)> = None;
        let mut was_set = self.core.set_back((self.wall)());
        let mut settled = false;
        let mut written_at: Option<Instant> = None;
        loop {
            let mut control = None;
            tokio::select! {
                n = self.reports.recv_many(&mut reports, BATCH) => {
                    if n == 0 {
                        break;
                    }
                }
                Some(order) = self.controls.recv() => control = Some(order),
                _ = pulse.tick() => {}
            }
            // One look for the whole turn: nothing is judged by a clock that was set and not yet followed.
            let look = lookout.look();
            let now = look.now;
            let mut steps = Vec::with_capacity(reports.len() + 3);
            let set_from = look
                .set_from
                .filter(|from| is_plausible(*from) && is_plausible(now));
            if let Some((from, to)) = was_set.take().or(set_from.map(|from| (from, now))) {
                set = Some((to.since_ms(from), Instant::now()));
                steps.push(self.set_clock(from, to));
            }
            if !std::mem::replace(&mut settled, true) {
                steps.push(self.settle(now));
            }
            // What was under way then has come by now.
            set = set.filter(|(_, at)| at.elapsed() < CLOCK_ECHO);
            if let Some((by_ms, _)) = set {
                for report in &mut reports {
                    report.follow_clock(by_ms, now);
                }
            }
            // Probes that end in the same instant arrive in any order; they are folded in one.
            reports.sort_by(|a: &Report, b| a.order().cmp(&b.order()));
            for report in reports.drain(..) {
                steps.extend(self.take(report));
            }
            let answer = control.and_then(|control| {
                let (step, answer) = self.obey(control, now);
                backlog.all_samples = self.settings.log.all_samples;
                steps.push(step);
                answer
            });
            // The look again does not wait for the disk.
            let looks: Vec<_> = steps
                .iter()
                .flat_map(|s| s.look_again.iter().cloned())
                .collect();
            if !looks.is_empty() {
                let _ = self.commands.send(Command::LookAgain(looks));
            }
            if let Some(until) = steps.iter().find_map(|s| s.rest_until) {
                let _ = self.commands.send(Command::RestUntil(until));
            }
            for (endpoint, until) in steps.iter().flat_map(|s| s.pauses.iter().cloned()) {
                let _ = self.commands.send(Command::Pause(endpoint, until));
            }
            for (from, to) in steps.iter().filter_map(|s| s.commit.clock_set) {
                last_recorded_at = last_recorded_at.map(|at| Timestamp(at.0 + to.since_ms(from)));
            }
            if steps.iter().any(|s| s.commit.sample.is_some()) {
                last_recorded_at = Some(now);
            }
            let ordinary =
                answer.is_none() && !steps.is_empty() && steps.iter().all(Step::is_ordinary);
            let just_written = written_at.is_some_and(|at| at.elapsed() < PULSE);
            if ordinary && just_written && backlog.commits.len() < BATCH {
                // Written with the others at the next pulse, or with what does not wait.
                self.queue(&mut backlog, steps);
                continue;
            }
            if tallied_at.is_none_or(|at| at.elapsed() >= TALLY_EVERY) {
                // A store that cannot be read shows when it cannot be written.
                outbox = self
                    .store
                    .aside(Store::outbox_tally)
                    .await
                    .unwrap_or(outbox);
                tallied_at = Some(Instant::now());
            }
            if backlog.error.is_none() && self.store.sums_are_due() {
                // What fails stays in memory, and shows when samples cannot be written either.
                let _ = self.store.aside(|store| store.write_sums(false)).await;
            }
            if Instant::now() >= forget_at && backlog.error.is_none() {
                forget_at = Instant::now() + self.forget(now).await;
            }
            if let Some(error) = backlog.worth_telling() {
                let title = format!(
                    "{} cannot write its store: {error}",
                    self.core.config().monitor.location
                );
                self.desk
                    .announce(Announcement::new(NoticeType::Store, title, now));
            }
            if let (None, Some(since)) = (backlog.failing_since, backlog.told_since) {
                backlog.told_since = None;
                let lasted = Locale::default().duration(since.elapsed().as_secs_f64());
                let title = format!(
                    "{} writes its store again after {lasted}",
                    self.core.config().monitor.location
                );
                self.desk
                    .announce(Announcement::new(NoticeType::Store, title, now).over());
            }
            let mut snapshot = self.core.snapshot(now);
            if backlog.error.is_none() {
                self.report(&mut periodic, now).await;
            }
            let told = self.tell(&mut steps, &snapshot, &outbox);
            steps.push(told);
            self.queue(&mut backlog, steps);
            if !backlog.commits.is_empty() {
                written_at = Some(Instant::now());
            }
            self.write(&mut backlog).await;
            if let Some(answer) = answer {
                answer();
            }
            snapshot.last_recorded_at = last_recorded_at;
            snapshot.store_error.clone_from(&backlog.error);
            snapshot.outbox.clone_from(&outbox);
            self.desk.annotate(&mut snapshot);
            snapshot.leaders.clone_from(&self.snapshot.borrow().leaders);
            snapshot.leaders = route::leaders(&snapshot);
            (self.alive)(&snapshot);
            self.snapshot.send_replace(Arc::new(snapshot));
            // Who hears of it and looks finds it in the snapshot.
            self.say(&mut backlog);
        }
        let checkpoint = Commit {
            checkpoint: Some(self.core.checkpoint()),
            ..Commit::default()
        };
        let last = Step {
            commit: checkpoint,
            ..Step::default()
        };
        self.queue(&mut backlog, vec![last]);
        self.write(&mut backlog).await;
        self.say(&mut backlog);
    }

    /// Has `steps` wait for the next commit.
    fn queue(&self, backlog: &mut Backlog, steps: Vec<Step>) {
        let listened = self.broadcast.has_listeners();
        let skipped = std::cell::Cell::new(0);
        backlog.add(steps, |sample| {
            let hidden = sample.outcome != Outcome::Failed && !self.settings.log.all_samples;
            if hidden && !listened {
                skipped.set(skipped.get() + 1);
                return None;
            }
            Some(Line::sample(sample))
        });
        self.broadcast.skip(skipped.get());
    }

    /// Tells those who listen what was recorded.
    fn say(&self, backlog: &mut Backlog) {
        let listened = self.broadcast.has_listeners();
        for line in backlog.said.drain(..) {
            if listened || line.event != log::Event::ProbeCompleted {
                self.broadcast.tell(line.event, &line.message, &line.fields);
            } else {
                self.broadcast.skip(1);
            }
        }
    }

    /// Hands what the steps changed to the desk, which decides who is told what as of now.
    fn tell(&mut self, steps: &mut [Step], snapshot: &Snapshot, outbox: &[Tally]) -> Step {
        for step in steps {
            for (change, incident, at) in step.changes.drain(..) {
                let incident = self.desk.hear(change, incident, at);
                step.commit.incidents.push(IncidentRow::of(&incident));
            }
            step.announcements
                .drain(..)
                .for_each(|a| self.desk.announce(a));
        }
        let config = self.core.config().clone();
        let outgoing = self.desk.tick(snapshot.at, &config, snapshot, outbox);
        let lines = outgoing.iter().map(Line::outgoing).collect();
        let commit = Commit {
            outgoing,
            desk: self.desk.take_change(),
            ..Commit::default()
        };
        Step {
            commit,
            lines,
            ..Step::default()
        }
    }

    fn obey(&mut self, control: Control, now: Timestamp) -> (Step, Option<Answer>) {
        let mut step = Step::default();
        let answer: Answer = match control {
            Control::Follow(config, stretch) => {
                self.counters
                    .retain(|name| config.endpoints.iter().any(|e| e.name == name));
                let step = self.core.follow(config.config.clone(), stretch, now);
                self.settings = config;
                return (step, None);
            }
            Control::Heard(heard) => {
                return (self.core.hear(*heard, now), None);
            }
            Control::Flush(reply) => Box::new(move || {
                // Whoever asked may have left.
                let _ = reply.send(());
            }),
            Control::Silence(silence, reply) => {
                self.desk.silence(silence.clone());
                // Whoever asked may have gone away; it holds all the same.
                Box::new(move || drop(reply.send(silence)))
            }
            Control::Unsilence(id, reply) => {
                let ended = self.desk.unsilence(id);
                Box::new(move || drop(reply.send(ended)))
            }
            Control::Acknowledge(number, word, reply) => {
                let incident = self.desk.acknowledge(number, word);
                if let Some(incident) = &incident {
                    step.commit.incidents.push(IncidentRow::of(incident));
                    step.lines.push(Line::incident(Change::Updated, incident));
                }
                Box::new(move || drop(reply.send(incident)))
            }
        };
        (step, Some(answer))
    }

    fn take(&mut self, report: Report) -> Option<Step> {
        match report {
            Report::Probed(probed) => {
                let sample = self.core.complete(probed.sample, probed.controls);
                self.counters.count(&sample);
                Some(self.core.step(sample))
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
            Report::Asleep { from, to } => {
                let seconds = to.since_ms(from) as f64 / 1000.0;
                let message = format!(
                    "this machine was asleep for {seconds:.0} s; what happened meanwhile is unknown"
                );
                let fields = json!({"from": from, "to": to, "duration_s": seconds});
                log::emit(log::Event::MonitorAsleep, Level::WARN, &message, &fields);
                None
            }
        }
    }

    /// The clock was set: everything that goes on or waits keeps its distance from now.
    fn set_clock(&mut self, from: Timestamp, to: Timestamp) -> Step {
        let mut step = self.core.move_along(from, to);
        step.commit.incidents = self
            .desk
            .move_along(to.since_ms(from))
            .iter()
            .map(IncidentRow::of)
            .collect();
        step
    }

    /// Forgets a little of what is too old; gives how long it is until the next time.
    async fn forget(&mut self, now: Timestamp) -> Duration {
        let horizon = Horizon::at(now, &self.settings.store);
        match self
            .store
            .aside(move |store| store.forget(horizon, FORGET_AT_ONCE))
            .await
        {
            Ok(FORGET_AT_ONCE) => PULSE,
            Ok(_) => FORGET_EVERY,
            Err(error) => {
                let error = error.to_string();
                let message = format!("cannot delete what is older than it is kept for: {error}");
                log::emit(
                    log::Event::StoreFailed,
                    Level::ERROR,
                    &message,
                    &json!({"error": error}),
                );
                FORGET_EVERY
            }
        }
    }

    /// Commits everything that waits, in order, in one transaction.
    async fn write(&mut self, backlog: &mut Backlog) {
        if backlog.commits.is_empty() {
            return;
        }
        let commits: Vec<_> = backlog.commits.drain(..).collect();
        let began = Instant::now();
        let work = move |store: &Store| {
            let result = store.commit(&commits);
            (commits, result)
        };
        let (commits, result) = self.store.aside(work).await;
        match result {
            Ok(()) => {
                let took = began.elapsed();
                if took > SLOW_COMMIT {
                    let fields =
                        json!({"duration_s": took.as_secs_f64(), "commits": commits.len()});
                    log::emit(
                        log::Event::StoreSlow,
                        Level::WARN,
                        "the store is slow to write",
                        &fields,
                    );
                }
                if backlog.error.take().is_some() {
                    let message = format!(
                        "the store is written again: {} commits that waited",
                        commits.len()
                    );
                    log::emit(
                        log::Event::StoreRecovered,
                        Level::INFO,
                        &message,
                        &json!({"commits": commits.len()}),
                    );
                }
                backlog.failing_since = None;
                let lines = std::mem::take(&mut backlog.lines);
                backlog.say(lines);
                if commits
                    .iter()
                    .any(|c| !c.outgoing.is_empty() || c.clock_set.is_some())
                {
                    self.outbox.notify_waiters();
                }
            }
            Err(error) => {
                let error = error.to_string();
                if backlog.error.is_none() {
                    let fields = json!({"error": error, "waiting": commits.len()});
                    let message = format!("cannot record, keeping samples in memory: {error}");
                    log::emit(log::Event::StoreFailed, Level::ERROR, &message, &fields);
                }
                backlog.error = Some(error);
                backlog.failing_since.get_or_insert(began);
                // It is decided and told, even if it is not recorded.
                let lines = std::mem::take(&mut backlog.lines);
                backlog.say(lines);
                if commits.iter().any(|c| !c.outgoing.is_empty()) {
                    self.outbox.notify_waiters();
                }
                backlog.commits = commits.into();
                backlog.trim();
            }
        }
    }
}

/// What waits to be recorded, and what is to be logged once it is.
#[derive(Default)]
struct Backlog {
    /// Whether good samples are logged as well.
    all_samples: bool,
    commits: VecDeque<Commit>,
    lines: Vec<Line>,
    /// What was logged and is told to those who listen next.
    said: Vec<Line>,
    error: Option<String>,
    failing_since: Option<Instant>,
    told_at: Option<Instant>,
    /// Since when the store had failed, while people believe that it still does.
    told_since: Option<Instant>,
    /// Samples that were dropped, how many of them the log has, and when it got that.
    dropped: u64,
    dropped_logged: u64,
    dropped_at: Option<Instant>,
}

impl Backlog {
    /// The error, when it is time to tell people that the store fails.
    fn worth_telling(&mut self) -> Option<&str> {
        let long = self
            .failing_since
            .is_some_and(|since| since.elapsed() >= STORE_PATIENCE);
        if !long
            || self
                .told_at
                .is_some_and(|at| at.elapsed() < STORE_TOLD_EVERY)
        {
            return None;
        }
        self.told_at = Some(Instant::now());
        self.told_since = self.failing_since;
        self.error.as_deref()
    }

    /// Takes in `steps`; `logged` says which samples become a line, since most of them may interest nobody.
    fn add(&mut self, steps: Vec<Step>, logged: impl Fn(&Sample) -> Option<Line>) {
        for step in steps {
            self.lines
                .extend(step.commit.sample.as_ref().and_then(&logged));
            self.lines.extend(step.lines);
            if !step.commit.is_empty() {
                self.commits.push_back(step.commit);
            }
        }
    }

    /// Logs what has happened.
    fn say(&mut self, lines: Vec<Line>) {
        for line in lines {
            line.write(self.all_samples);
            if Broadcast::carries(line.event) {
                self.said.push(line);
            }
        }
    }

    /// Lets go of what a longer wait would only pile up: states that later ones replace, and samples beyond the limit.
    fn trim(&mut self) {
        let newest = self.commits.iter().rposition(|c| c.checkpoint.is_some());
        for commit in self.commits.iter_mut().take(newest.unwrap_or(0)) {
            commit.checkpoint = None;
        }
        let newest = self.commits.iter().rposition(|c| c.desk.is_some());
        for commit in self.commits.iter_mut().take(newest.unwrap_or(0)) {
            commit.desk = None;
        }
        let excess = self.commits.len().saturating_sub(BACKLOG);
        for commit in self.commits.iter_mut().take(excess) {
            self.dropped += u64::from(commit.sample.take().is_some());
        }
        self.commits.retain(|c| !c.is_empty());
        let logged_lately = self
            .dropped_at
            .is_some_and(|at| at.elapsed() < LOG_DROPPED_EVERY);
        if self.dropped == self.dropped_logged || logged_lately {
            return;
        }
        (self.dropped_logged, self.dropped_at) = (self.dropped, Some(Instant::now()));
        let message = format!(
            "{} samples could not be recorded and are lost",
            self.dropped
        );
        log::emit(
            log::Event::StoreFailed,
            Level::ERROR,
            &message,
            &json!({"dropped": self.dropped}),
        );
    }
}
