//! The I/O shell around the schedule: starts each probe when it is due and passes its sample on.
//!
//! This loop does not wait for the pipeline, the store or a mail server: samples go into a queue,
//! so slow consumers do not delay the next probe. The concurrency limit is awaited before a probe
//! starts, so it shows in `schedule_lag_ms` and never in a stage.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, ClockMonitor, ClockReading, Uptime, WallClock};
use llmwatch_core::model::{
    ConnectivityCheckResult, Endpoint, EndpointName, Fault, Sample, Timestamp, canonical_order,
};
use llmwatch_core::schedule::{Due, Schedule};

/// How long probes in flight may continue after the shutdown begins; the rest are aborted.
pub const DRAIN: Duration = Duration::from_secs(5);
/// The loop wakes at least this often, to detect that the machine was suspended.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A longer gap between wake-ups means a suspended machine, or a process that was stopped or got no
/// CPU time.
const ASLEEP: Duration = Duration::from_secs(5);
/// How far a slewed clock may drift before the schedule follows it.
const DRIFT_MS: u64 = 5_000;

/// A completed probe, and the result of the connectivity checks if they ran.
#[derive(Debug)]
pub struct Probed {
    /// The sample.
    pub sample: Sample,
    /// The result of the connectivity checks; `None` when they did not run.
    pub connectivity: Option<ConnectivityCheckResult>,
}

/// Something that can probe: the real prober, or a script in a simulation.
pub trait Probe: Send + Sync + 'static {
    /// Probes `endpoint` once, now. `due` says when it should have started, `started_at` when it
    /// did.
    fn probe(
        &self,
        endpoint: Arc<Endpoint>,
        due: Due,
        started_at: Timestamp,
    ) -> impl Future<Output = Probed> + Send;

    /// Reports whether this daemon makes the probe that is `due`: of several daemons at one
    /// location, only one does.
    fn claims(&self, endpoint: &Endpoint, due: &Due) -> impl Future<Output = bool> + Send {
        let _ = (endpoint, due);
        std::future::ready(true)
    }
}

/// A command to the runner.
#[derive(Debug)]
pub enum SchedulerCommand {
    /// Probe these endpoints from now on, each interval multiplied by the factor (1 or more).
    Follow(Vec<Arc<Endpoint>>, f64),
    /// Recheck these endpoints at these times.
    Recheck(Vec<(String, Timestamp)>),
    /// Pause all probing until then.
    RestUntil(Timestamp),
    /// Pause this endpoint until then.
    Pause(EndpointName, Timestamp),
}

/// A report from the runner.
#[derive(Debug)]
pub enum Report {
    /// A probe has completed.
    Probed(Box<Probed>),
    /// A probe was skipped, or its result discarded.
    Skipped {
        /// The endpoint's name.
        endpoint: EndpointName,
        /// How many ticks of its schedule.
        ticks: u64,
        /// Why.
        reason: &'static str,
    },
    /// The machine was suspended, or the process did not run.
    Asleep {
        /// Approximate start.
        from: Timestamp,
        /// End.
        to: Timestamp,
        /// Whether the machine was suspended. If not, the process was stopped or got no CPU time.
        is_suspension: bool,
    },
}

impl Report {
    /// Shifts the times of a probe that began before the clock was set by `by_ms` and ended at
    /// about `now`.
    pub fn follow_clock(&mut self, by_ms: i64, now: Timestamp) {
        let Self::Probed(probed) = self else { return };
        let ended_at = probed.sample.ended_at();
        let moved = Timestamp(ended_at.0 + by_ms);
        if now.since_ms(moved).abs() < now.since_ms(ended_at).abs() {
            probed.sample.scheduled_at.0 += by_ms;
            probed.sample.started_at.0 += by_ms;
        }
    }

    /// Returns the sort key of reports that are processed together: the probe's end, then the
    /// endpoint's name. The outcome then does not depend on which task finished first within an
    /// instant.
    pub fn order(&self) -> Option<(Timestamp, &str)> {
        match self {
            Self::Probed(probed) => Some(canonical_order(
                probed.sample.ended_at(),
                &probed.sample.endpoint,
            )),
            Self::Skipped { .. } | Self::Asleep { .. } => None,
        }
    }
}

/// Everything the runner is given.
pub struct Runner<P> {
    /// The prober.
    pub probe: Arc<P>,
    /// The maximum number of concurrent probes.
    pub max_concurrent: usize,
    /// The machine's wall clock.
    pub wall: WallClock,
    /// How long the machine has been up.
    pub uptime: Uptime,
    /// Commands. Unbounded, so that the two sides cannot deadlock; there is at most one per sample.
    pub commands: mpsc::UnboundedReceiver<SchedulerCommand>,
    /// Results.
    pub reports: mpsc::Sender<Report>,
    /// When to stop.
    pub stop: CancellationToken,
}

impl<P: Probe> Runner<P> {
    /// Probes until the shutdown; then lets the probes in flight finish for [`DRAIN`].
    pub async fn run(mut self) {
        let mut state = RunnerState {
            clock: Clock::starting_at((self.wall)()),
            schedule: Schedule::default(),
            endpoints: BTreeMap::new(),
            rest_until: None,
            paused: BTreeMap::new(),
            slots: Arc::new(Semaphore::new(self.max_concurrent)),
            in_flight: JoinSet::new(),
            tasks: BTreeMap::new(),
        };
        let mut clock = ClockMonitor::new(self.wall.clone(), self.uptime.clone());
        loop {
            if let Some(slept) = state.notice(clock.read()) {
                self.report(slept).await;
            }
            state.start_due(&self.probe);
            let wake = state.next_wake();
            tokio::select! {
                () = self.stop.cancelled() => break,
                command = self.commands.recv() => match command {
                    Some(command) => state.apply(command),
                    None => break,
                },
                Some(ended) = state.in_flight.join_next_with_id() => {
                    if let Some(slept) = state.notice(clock.read()) {
                        self.report(slept).await;
                    }
                    for report in state.take(ended) {
                        self.report(report).await;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        // A probe that waits for its turn does not begin.
        state.slots.close();
        let deadline = Instant::now() + DRAIN;
        // A timeout alone never passes while one result after another is ready.
        while Instant::now() < deadline
            && let Ok(Some(ended)) =
                tokio::time::timeout_at(deadline, state.in_flight.join_next_with_id()).await
        {
            for report in state.take(ended) {
                self.report(report).await;
            }
        }
    }

    /// Sends a report. The queue is as long as the number of concurrent probes, so this waits only
    /// when recording has fallen far behind. Ticks that pass meanwhile are reported as skipped.
    async fn report(&self, report: Report) {
        // The pipeline ends only when the process is about to exit.
        let _ = self.reports.send(report).await;
    }
}

type ProbeTaskResult = Result<(tokio::task::Id, Option<Probed>), tokio::task::JoinError>;

struct RunnerState {
    clock: Clock,
    schedule: Schedule,
    endpoints: BTreeMap<EndpointName, Arc<Endpoint>>,
    rest_until: Option<Timestamp>,
    /// Paused endpoints, and until when.
    paused: BTreeMap<EndpointName, Timestamp>,
    slots: Arc<Semaphore>,
    /// Yields `None` where another daemon makes the probe, or the shutdown came before its turn.
    in_flight: JoinSet<Option<Probed>>,
    /// The tasks in flight.
    tasks: BTreeMap<tokio::task::Id, Task>,
}

struct Task {
    endpoint: EndpointName,
    counts: bool,
    /// Whether the process did not run for a while during the probe.
    stalled: bool,
    abort: AbortHandle,
}

impl Task {
    /// Reports whether the result says something about the endpoint. After a stall, a timeout or a
    /// lost connection may be this process's own doing.
    fn accepts(&self, probed: &Probed) -> bool {
        let fault = probed.sample.fault;
        let is_doubtful = fault.is_some_and(|f| f.is_network() && f != Fault::TcpRefused);
        self.counts && !(self.stalled && is_doubtful)
    }
}

impl RunnerState {
    fn apply(&mut self, command: SchedulerCommand) {
        let now = self.clock.now();
        match command {
            SchedulerCommand::Follow(endpoints, interval_multiplier) => {
                let policies: Vec<_> = endpoints
                    .iter()
                    .map(|e| {
                        (
                            e.name.clone(),
                            e.interval.mul_f64(interval_multiplier.max(1.0)),
                        )
                    })
                    .collect();
                self.schedule.follow(&policies, now);
                self.endpoints = endpoints.into_iter().map(|e| (e.name.clone(), e)).collect();
                for task in self
                    .tasks
                    .values_mut()
                    .filter(|t| !self.endpoints.contains_key(&t.endpoint))
                {
                    task.counts = false;
                    task.abort.abort();
                }
            }
            SchedulerCommand::Recheck(looks) => {
                for (endpoint, at) in looks {
                    self.schedule.recheck(&endpoint, at);
                }
            }
            SchedulerCommand::RestUntil(until) => self.rest_until = Some(until),
            SchedulerCommand::Pause(endpoint, until) => {
                self.paused.insert(endpoint, until);
            }
        }
    }

    fn start_due<P: Probe>(&mut self, probe: &Arc<P>) {
        let now = self.clock.now();
        if let Some(until) = self.rest_until {
            if now < until {
                return;
            }
            self.rest_until = None;
            self.schedule.resync(now);
        }
        self.paused.retain(|_, until| now < *until);
        for due in self.schedule.take_due(now) {
            if self.paused.contains_key(&due.endpoint) {
                self.schedule.finished(&due.endpoint, now);
                continue;
            }
            let Some(endpoint) = self.endpoints.get(&due.endpoint).cloned() else {
                continue;
            };
            let probe = probe.clone();
            let slots = self.slots.clone();
            let clock = self.clock;
            let name = due.endpoint.clone();
            let abort = self.in_flight.spawn(async move {
                if !probe.claims(&endpoint, &due).await {
                    return None;
                }
                // Closed by the shutdown.
                let _slot = slots.acquire_owned().await.ok()?;
                let lag =
                    Instant::now().saturating_duration_since(clock.instant_of(due.scheduled_at));
                let mut probed = probe.probe(endpoint, due, clock.now()).await;
                probed.sample.schedule_lag_ms = lag.as_micros() as f64 / 1000.0;
                Some(probed)
            });
            self.tasks.insert(
                abort.id(),
                Task {
                    endpoint: name,
                    counts: true,
                    stalled: false,
                    abort,
                },
            );
        }
    }

    fn take(&mut self, ended: ProbeTaskResult) -> Vec<Report> {
        let now = self.clock.now();
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(task) = self.tasks.remove(&id) else {
            return Vec::new();
        };
        let mut reports = Vec::new();
        let missed = self.schedule.finished(&task.endpoint, now);
        match ended {
            Ok((_, Some(mut probed))) if task.accepts(&probed) => {
                if task.stalled {
                    // The stall is in its latencies, so only the outcome counts.
                    let lag = &mut probed.sample.schedule_lag_ms;
                    *lag = lag.max(ASLEEP.as_secs_f64() * 1000.0);
                }
                reports.push(Report::Probed(Box::new(probed)));
            }
            Ok((_, None)) => return reports,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => reports.push(Report::Skipped {
                endpoint: task.endpoint.clone(),
                ticks: 1,
                reason: "interrupted",
            }),
        }
        if missed > 0 {
            reports.push(Report::Skipped {
                endpoint: task.endpoint,
                ticks: missed,
                reason: "still in flight",
            });
        }
        reports
    }

    fn next_wake(&self) -> Instant {
        let at = match self.rest_until {
            Some(until) => Some(until),
            None => self.schedule.next_due(),
        };
        let soon = Instant::now() + HEARTBEAT;
        at.map_or(soon, |at| self.clock.instant_of(at).min(soon))
    }

    /// Detects that the machine was suspended, the process did not run, or the clock was set. The
    /// loop wakes every second.
    ///
    /// After a suspension or a clock change, the results in flight are wrong: they are discarded,
    /// and every endpoint returns to its schedule. A process that got no CPU time carries on
    /// instead. If it began anew each time, it would never probe on an overloaded machine.
    fn notice(&mut self, reading: ClockReading) -> Option<Report> {
        let ClockReading {
            now,
            passed,
            suspended,
            set_from,
        } = reading;
        let is_suspension = suspended > ASLEEP;
        let is_drifting = self.clock.drift_ms(now).unsigned_abs() > DRIFT_MS;
        if is_suspension || set_from.is_some() || is_drifting {
            self.clock = Clock::starting_at(now);
            self.schedule.resync(now);
            for task in self.tasks.values_mut() {
                task.counts = false;
                task.abort.abort();
            }
        }
        if passed <= ASLEEP {
            return None;
        }
        for task in self.tasks.values_mut() {
            task.stalled = true;
        }
        Some(Report::Asleep {
            from: now - passed,
            to: now,
            is_suspension,
        })
    }
}
