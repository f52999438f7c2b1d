//! The composition root, in four stages: build everything that must exist before a task runs, spawn
//! the tasks, supervise them until a signal, drain.
//!
//! Any task that ends before the shutdown ends the process: a restart by the service manager is
//! better than a monitor that half works.

mod backlog;
pub mod coordinator;
mod listen;
pub mod pipeline;
mod prober;
mod reload;
pub mod scheduler;
mod spawn;
mod subscribers;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use self::prober::ReloadableProber;
use self::scheduler::SchedulerCommand;
use crate::clock::{self, WallClock};
use crate::command::Commands;
use crate::config::plan::Plan;
use crate::config::{ConfigError, Settings};
use crate::links::Links;
use crate::log::{self, Event, emit};
use crate::metrics::Counters;
use crate::notify::worker;
use crate::store::postgres::{Session, SharedError, SharedStore};
use crate::store::{Commit, Reserve, Store, StoreLock};
use crate::systemd::Service;
use crate::web;
use llmwatch_core::model::{Endpoint, Timestamp};
use llmwatch_core::monitor::MonitorState;
use llmwatch_core::schedule::budget;

/// How long the shutdown may take besides the probes in flight and the last messages.
const RECORDING: Duration = Duration::from_secs(8);
/// How long after that the write-ahead log may be written into the file.
const TIDYING: Duration = Duration::from_secs(2);

/// Rereads the configuration.
pub type ReloadConfig = Box<dyn Fn() -> Result<Settings, ConfigError> + Send + Sync>;

/// Runs until SIGTERM or SIGINT, or until `stop` is cancelled.
///
/// # Errors
/// When a component cannot be started, or ends before the shutdown.
pub async fn run(
    config: Settings,
    reload: ReloadConfig,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let service = Service::from_env();
    let wall: WallClock = Arc::new(clock::now);
    let built = build(config, service, wall).await?;
    let mut daemon = spawn::spawn(built).await?;
    let end = daemon.supervise(&reload, &stop).await?;
    daemon.drain(end).await
}

/// Everything that is opened and restored before the tasks start.
struct Built {
    service: Service,
    wall: WallClock,
    started_at: Timestamp,
    config: Arc<Settings>,
    opened: OpenedStore,
    /// A read-only connection for the pages.
    read_only: Store,
    /// The store that several daemons share, and a connection to it if it is reachable.
    shared: Option<SharedStore>,
    session: Option<Session>,
    links: Links,
    prober: Arc<ReloadableProber>,
    listener: Option<TcpListener>,
    agent_listener: Option<TcpListener>,
}

/// Opens the stores, reads the checkpoint, binds the sockets.
async fn build(config: Settings, service: Service, wall: WallClock) -> anyhow::Result<Built> {
    let started_at = wall();
    log_start(&config);
    let config = Arc::new(config);
    let (shared, session) = open_shared(&config).await?;
    let open = {
        let config = config.clone();
        move || open_store(&config, started_at)
    };
    let opened = service
        .patiently("opening the store", tokio::task::spawn_blocking(open))
        .await??;
    let listener = listen::page(config.process.listen).await?;
    let agent_listener = listen::agent(config.route.agent_listen).await?;
    let prober = Arc::new(ReloadableProber::new(&config, shared.as_ref())?);
    let read_only = opened.store.run_blocking(Store::reader).await?;
    let links = Links::new(&opened.store.run_blocking(Store::link_keys).await?);
    if let Some(session) = &session {
        // Links of this daemon work at the others before its first message is sent. The coordinator
        // tries again.
        let _ = coordinator::share_link_keys(session, &opened.store, &links).await;
    }
    Ok(Built {
        service,
        wall,
        started_at,
        config,
        opened,
        read_only,
        shared,
        session,
        links,
        prober,
        listener,
        agent_listener,
    })
}

fn log_start(config: &Settings) {
    let version = env!("CARGO_PKG_VERSION");
    let location = &config.monitor.location;
    emit(
        Event::MonitorStarted,
        Level::INFO,
        &format!("llmwatch {version} starts at {location}"),
        &json!({"version": version, "location": location, "endpoints": config.endpoints.len()}),
    );
    warn(Plan::of(config).warnings);
    warn(Store::exposed(&config.store.path));
}

/// The daemon's own database file, and the state read from it before probing begins.
struct OpenedStore {
    /// Held while the daemon runs.
    lock: StoreLock,
    store: Store,
    /// The state of the last checkpoint, and the sequence number of its last sample.
    core: MonitorState,
    seq: i64,
    /// The sequence number of the last sample in the store.
    last_seq: i64,
    /// Disk space for records that cannot be written to the store, and what the previous process
    /// saved there.
    reserve: Reserve,
    unrecorded: Option<Commit>,
}

/// Opens the daemon's own database file and reads the last checkpoint, from the reserve if the
/// store lacks it.
fn open_store(config: &Settings, now: Timestamp) -> anyhow::Result<OpenedStore> {
    let lock = StoreLock::take(&config.store.path)?;
    let store = Store::open(&config.store.path)?;
    let reserve = Reserve::open(&config.store.path, config.endpoints.len());
    let unrecorded = pipeline::recover(&store, &reserve)?;
    let multiplier = budget::interval_multiplier(config);
    let found = unrecorded.as_ref();
    let (seq, core) = pipeline::resume(&store, found, config.config.clone(), multiplier, now)?;
    Ok(OpenedStore {
        lock,
        last_seq: store.last_seq()?,
        store,
        core,
        seq,
        reserve,
        unrecorded,
    })
}

/// Connects to the shared store, if one is configured.
///
/// # Errors
/// When it rejects the connection. If it is unreachable the daemon starts alone, since probing does
/// not need it.
async fn open_shared(
    config: &Settings,
) -> Result<(Option<SharedStore>, Option<Session>), SharedError> {
    let Some(url) = &config.store.shared else {
        return Ok((None, None));
    };
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let shared = SharedStore::new(url.clone(), config.process.ca_file.as_deref())?
        .of_daemon(&host, &config.process.state_dir);
    match shared.open().await {
        Ok(session) => Ok((Some(shared), Some(session))),
        Err(error) if error.is_misconfiguration() => Err(error),
        // The coordinator logs it and keeps trying.
        Err(_) => Ok((Some(shared), None)),
    }
}

/// The endpoints that this daemon probes.
fn probed_endpoints(config: &Settings) -> Vec<Arc<Endpoint>> {
    if config.monitor.probe {
        config.endpoints.clone()
    } else {
        Vec::new()
    }
}

fn warn(warnings: impl IntoIterator<Item = String>) {
    for warning in warnings {
        emit(Event::ConfigWarning, Level::WARN, &warning, &json!({}));
    }
}

/// The running daemon: its tasks, and everything that a reload and the shutdown need.
struct RunningDaemon {
    service: Service,
    wall: WallClock,
    started_at: Timestamp,
    /// Never read: while it is held, no other daemon can use the store.
    _lock: StoreLock,
    store: Store,
    prober: Arc<ReloadableProber>,
    counters: Counters,
    config: watch::Sender<Arc<Settings>>,
    commands: Commands,
    scheduler: mpsc::UnboundedSender<SchedulerCommand>,
    reload_requests: mpsc::Receiver<web::ReloadReply>,
    tasks: Tasks,
    stop: Stops,
}

/// The shutdown order: probing stops first, then recording (by itself, once its queue is empty),
/// then notifying and sharing.
#[derive(Default)]
struct Stops {
    probing: CancellationToken,
    notifying: CancellationToken,
    sharing: CancellationToken,
}

/// The daemon's tasks, each with a name for the log.
#[derive(Default)]
struct Tasks(JoinSet<(&'static str, anyhow::Result<()>)>);

/// When this task ends, the others may finish.
const PIPELINE: &str = "the pipeline";

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_fallible(name, async move {
            task.await;
            Ok(())
        });
    }

    fn spawn_fallible(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.0.spawn(async move { (name, task.await) });
    }
}

type TaskResult = Result<(&'static str, anyhow::Result<()>), JoinError>;

fn unexpected_end(ended: TaskResult) -> anyhow::Error {
    match ended {
        Ok((name, Ok(()))) => anyhow::anyhow!("{name} has ended unexpectedly"),
        Ok((name, Err(error))) => error.context(format!("{name} has failed")),
        Err(error) => anyhow::anyhow!("a component of the daemon has panicked: {error}"),
    }
}

/// The signals that the daemon reacts to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Runs `work` until it is done, or until a signal to stop, which is returned.
    async fn cut_short(&mut self, work: impl Future<Output = ()>) -> Option<&'static str> {
        tokio::select! {
            _ = self.terminate.recv() => Some("SIGTERM"),
            _ = self.interrupt.recv() => Some("SIGINT"),
            () = work => None,
        }
    }
}

/// Why the daemon stops: the signal or request, or the task that ended.
type StopReason = Result<&'static str, TaskResult>;

impl RunningDaemon {
    /// Reports readiness, then handles reload requests until the daemon has to stop.
    async fn supervise(
        &mut self,
        reload: &ReloadConfig,
        stop: &CancellationToken,
    ) -> anyhow::Result<StopReason> {
        let mut signals = Signals::install()?;
        self.service.ready();
        let endpoints = self.config.borrow().endpoints.len();
        let fields = json!({"endpoints": endpoints});
        emit(Event::MonitorReady, Level::INFO, "probing", &fields);
        self.check_store();
        loop {
            let reply = tokio::select! {
                _ = signals.terminate.recv() => return Ok(Ok("SIGTERM")),
                _ = signals.interrupt.recv() => return Ok(Ok("SIGINT")),
                () = stop.cancelled() => return Ok(Ok("asked to")),
                Some(ended) = self.tasks.0.join_next() => return Ok(Err(ended)),
                _ = signals.hangup.recv() => None,
                Some(reply) = self.reload_requests.recv() => Some(reply),
            };
            // A reload waits for the pipeline, which a slow disk may hold up: the end must not wait
            // for it.
            if let Some(signal) = signals.cut_short(self.reload(reload, reply)).await {
                return Ok(Ok(signal));
            }
        }
    }

    /// Checks the integrity of a database file that was too large to check before the start.
    fn check_store(&self) {
        if !self.store.is_unchecked() {
            return;
        }
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.reader().and_then(|reader| reader.check()) {
                log::store_failed("integrity", &error.to_string(), &error);
            }
        });
    }

    /// Stops the tasks in order, within a time limit.
    ///
    /// # Errors
    /// When a task had ended by itself, or fails during the shutdown.
    async fn drain(mut self, end: StopReason) -> anyhow::Result<()> {
        self.service.stopping();
        let reason = *end.as_ref().unwrap_or(&"a component has ended");
        emit(
            Event::MonitorStopping,
            Level::INFO,
            &format!("stopping: {reason}"),
            &json!({"reason": reason}),
        );
        drop(self.scheduler);
        self.stop.probing.cancel();
        let mut failed = end.err().map(unexpected_end);
        let deadline = Instant::now() + scheduler::DRAIN + worker::DRAIN + RECORDING;
        let ended = join_all(&mut self.tasks, &self.stop, &mut failed);
        if timeout_at(deadline, ended).await.is_err() {
            self.stop.finish();
        }
        // Otherwise the next start finds the rest in the log.
        let checkpoint = self.store.run_blocking(Store::checkpoint_wal);
        let _ = timeout_at(deadline + TIDYING, checkpoint).await;
        let uptime_s = (self.wall)().since_ms(self.started_at) as f64 / 1000.0;
        let fields = json!({"uptime_s": uptime_s});
        emit(Event::MonitorStopped, Level::INFO, "stopped", &fields);
        failed.map_or(Ok(()), Err)
    }
}

impl Stops {
    /// Called once everything is recorded: the remaining messages are sent and shared.
    fn finish(&self) {
        self.sharing.cancel();
        self.notifying.cancel();
    }
}

/// Waits for every task: the runner ends, then the pipeline, whose queue the runner closed, then
/// the rest. Keeps the first failure in `failed`.
async fn join_all(tasks: &mut Tasks, stop: &Stops, failed: &mut Option<anyhow::Error>) {
    while let Some(ended) = tasks.0.join_next().await {
        match ended {
            Ok((PIPELINE, Ok(()))) => stop.finish(),
            Ok((_, Ok(()))) => {}
            ended => {
                failed.get_or_insert_with(|| unexpected_end(ended));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_signal_to_stop_ends_a_reload_that_hangs() {
        let mut signals = Signals::install().unwrap();
        assert_eq!(signals.cut_short(ready(())).await, None);
        for (name, signal) in [
            ("SIGTERM", rustix::process::Signal::TERM),
            ("SIGINT", rustix::process::Signal::INT),
        ] {
            rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
            assert_eq!(signals.cut_short(pending()).await, Some(name));
        }
    }
}
