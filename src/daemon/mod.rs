//! The composition root: builds the parts, starts them, says READY, waits for a signal, drains.
//!
//! Any part that ends before the shutdown ends the process: a monitor that half works is worse than one that the
//! service manager starts again.

mod backlog;
pub mod coordinator;
pub mod joint;
pub mod pipeline;
pub mod reporting;
mod restore;
pub mod scheduler;
mod subscribers;
mod waiting;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use self::coordinator::Coordinator;
use self::joint::{Joint, OwnView};
use self::pipeline::Pipeline;
use self::scheduler::{Probe, Probed, Runner, SchedulerCommand};
use crate::clock::{self, WallClock};
use crate::command::{Command, Commands};
use crate::config::plan::Plan;
use crate::config::{ConfigError, Settings};
use crate::feeds::Poller;
use crate::links::Links;
use crate::log::broadcast::Broadcast;
use crate::log::{self, Event, emit};
use crate::metrics::{Counters, export};
use crate::notify::{heartbeat, worker};
use crate::probe::{ConnectivityChecks, Due as ProbeDue, Prober};
use crate::redact::Redactor;
use crate::store::postgres::{DaemonRow, Session, SharedError, SharedStore};
use crate::store::{Reserve, Store, StoreError, StoreLock};
use crate::subscriptions::Subscriptions;
use crate::systemd::{self, Service};
use crate::web;
use llmwatch_core::model::Snapshot;
use llmwatch_core::model::{Endpoint, Timestamp};
use llmwatch_core::monitor::MonitorState;
use llmwatch_core::schedule::{Due, budget};

/// Samples that may wait for the pipeline: enough for every endpoint of a large fleet at once.
const QUEUE: usize = 16_384;

/// How the daemon reads its configuration again, with the level of the log that is to be from then on.
pub type Reload = Box<dyn Fn() -> Result<Settings, ConfigError> + Send>;

/// Runs until SIGTERM or SIGINT, or until `stop` is cancelled.
///
/// # Errors
/// When a part cannot be started, or ends before the shutdown.
pub async fn run(config: Settings, reload: Reload, stop: CancellationToken) -> anyhow::Result<()> {
    let service = Service::from_env();
    let wall: WallClock = Arc::new(clock::now);
    let started_at = wall();
    emit(
        Event::MonitorStarted,
        Level::INFO,
        &format!(
            "llmwatch {} starts at {}",
            env!("CARGO_PKG_VERSION"),
            config.monitor.location
        ),
        &json!({"version": env!("CARGO_PKG_VERSION"), "location": config.monitor.location, "endpoints": config.endpoints.len()}),
    );
    warn(Plan::of(&config).warnings);
    warn(Store::exposed(&config.store.path));
    let config = Arc::new(config);
    let interval_multiplier = budget::interval_multiplier(&config);
    let (shared, session) = open_shared(&config).await?;
    let (_lock, store, reserve, unrecorded, seq, mut core) = {
        let config = config.clone();
        let open = move || -> anyhow::Result<_> {
            let lock = StoreLock::take(&config.store.path)?;
            let store = Store::open(&config.store.path)?;
            let reserve = Reserve::open(&config.store.path, config.endpoints.len());
            let unrecorded = pipeline::recover(&store, &reserve)?;
            let (seq, core) = pipeline::resume(
                &store,
                unrecorded.as_ref(),
                config.config.clone(),
                interval_multiplier,
                started_at,
            )?;
            Ok((lock, store, reserve, unrecorded, seq, core))
        };
        service
            .patiently("opening the store", tokio::task::spawn_blocking(open))
            .await??
    };
    if let Some(session) = &session {
        share_link_key(session, &store).await?;
    }
    let listener = listener(config.process.listen).await?;
    let agent_listener = agent_listener(config.route.agent_listen).await?;
    let eyes = Arc::new(ReloadableProber::new(&config, shared.as_ref())?);

    let (scheduler, scheduler_commands) = mpsc::unbounded_channel();
    let (reports, pipeline_reports) = mpsc::channel(QUEUE);
    let (commands, pipeline_commands) = Commands::channel();
    let (config_out, config_in) = watch::channel(config.clone());
    let wake = Arc::new(Notify::new());
    let broadcast = Broadcast::new(started_at);
    let counters = Counters::default();
    // Probing stops first, then recording (by itself, when the queue is empty), then notifying.
    let (stop_probing, stop_notifying) = (CancellationToken::new(), CancellationToken::new());
    let stop_sharing = CancellationToken::new();
    let mut parts: JoinSet<(&'static str, anyhow::Result<()>)> = JoinSet::new();

    scheduler
        .send(SchedulerCommand::Follow(
            probed_endpoints(&config),
            interval_multiplier,
        ))
        .ok();
    hold_back(&scheduler, &core, started_at);
    let runner = Runner {
        probe: eyes.clone(),
        max_concurrent: config.process.max_concurrent_probes,
        wall: wall.clone(),
        uptime: Arc::new(clock::uptime),
        commands: scheduler_commands,
        reports,
        stop: stop_probing.clone(),
    };
    parts.spawn(async move {
        ("the runner", {
            runner.run().await;
            Ok(())
        })
    });
    // Probing has begun; its results wait until what the store says after the checkpoint is read.
    let (core, notifications, unrecorded) = {
        let store = store.clone();
        let catch_up = move || -> anyhow::Result<_> {
            pipeline::catch_up(&store, seq, &mut core, started_at)?;
            let notifications = pipeline::restore_notifications(&store, unrecorded.as_ref())?;
            match &unrecorded {
                None => pipeline::complete_incidents(&store)?,
                Some(commit) => pipeline::number_after(commit, &mut core),
            }
            Ok((core, notifications, unrecorded))
        };
        service
            .patiently(
                "reading the last samples",
                tokio::task::spawn_blocking(catch_up),
            )
            .await??
    };
    hold_back(&scheduler, &core, started_at);
    service.status(&core.snapshot(started_at).headline(started_at));
    let (snapshot_out, snapshot) = watch::channel(Arc::new(core.snapshot(started_at)));
    let alive = {
        let (service, wall) = (service.clone(), wall.clone());
        move |snapshot: &Snapshot| {
            service.watchdog();
            service.status(&snapshot.headline(wall()));
        }
    };
    let joint = match &shared {
        None => None,
        Some(shared) => {
            coordinator::note_beginning(&store, &config.process.state_dir).await;
            let (asked, for_all) = mpsc::unbounded_channel();
            let own = OwnView {
                snapshot: core.snapshot(started_at),
                incidents: Vec::new(),
                interval_multiplier,
                alone_notifications: None,
            };
            let (own_out, own) = watch::channel(Arc::new(own));
            let known = store.run_blocking(|store| store.incidents(true)).await?;
            let known = known
                .iter()
                .filter_map(|row| serde_json::from_str(&row.data).ok())
                .collect();
            let coordinator = Coordinator {
                shared: shared.clone(),
                session,
                local: store.clone(),
                config: config_in.clone(),
                own,
                commands: commands.clone(),
                asked: for_all,
                outbox: wake.clone(),
                wall: wall.clone(),
                daemon: this_daemon(&config, shared, started_at),
                stop: stop_sharing.clone(),
            };
            parts.spawn(async move {
                coordinator.run().await;
                ("the shared store", Ok(()))
            });
            Some(Joint::new(own_out, asked, &notifications, known))
        }
    };
    let pipeline = Pipeline {
        joint,
        settings: config.clone(),
        core,
        notifications,
        store: store.clone(),
        reserve,
        is_saved: unrecorded.is_some(),
        unrecorded,
        wall: wall.clone(),
        uptime: Arc::new(clock::uptime),
        reports: pipeline_reports,
        commands: pipeline_commands,
        scheduler: scheduler.clone(),
        snapshot: snapshot_out,
        outbox: wake.clone(),
        broadcast: broadcast.clone(),
        counters: counters.clone(),
        alive: Box::new(alive),
    };
    parts.spawn(async move {
        ("the pipeline", {
            pipeline.run().await;
            Ok(())
        })
    });
    let poller = Poller {
        config: config_in.clone(),
        commands: commands.clone(),
        stop: stop_probing.clone(),
    };
    parts.spawn(async move {
        ("the status feeds", {
            poller.run().await;
            Ok(())
        })
    });
    let (pulse, switch, over) = (snapshot.clone(), config_in.clone(), stop_probing.clone());
    let clock = wall.clone();
    parts.spawn(async move {
        ("the heartbeat", {
            heartbeat::run(switch, pulse, clock, over).await;
            Ok(())
        })
    });
    let post = worker::WorkerContext {
        store: store.clone(),
        wall: wall.clone(),
        wake,
        stop: stop_notifying.clone(),
        shared: shared.clone(),
    };
    let channels = config_in.clone();
    parts.spawn(async move {
        (
            "the outbox",
            worker::run(post, channels).await.map_err(Into::into),
        )
    });
    let export = export::Export {
        config: config_in.clone(),
        snapshot: snapshot.clone(),
        counters: counters.clone(),
        wall: wall.clone(),
        started_at,
        stop: stop_notifying.clone(),
    };
    parts.spawn(async move {
        ("the export of metrics", {
            export::run(export).await;
            Ok(())
        })
    });
    let read_only = store.run_blocking(Store::reader).await?;
    let links = Links::new(&store.run_blocking(Store::link_key).await?);
    let (subscriptions, requests) = Subscriptions::channel();
    let subscribers = subscribers::Subscribers {
        store: store.clone(),
        links: links.clone(),
        wall: wall.clone(),
        config: config_in.clone(),
        stop: stop_notifying.clone(),
    }
    .run(requests, snapshot.clone());
    parts.spawn(async move {
        subscribers.await;
        ("the subscriptions", Ok(()))
    });
    let (reload_request, mut reload_requests) = web::Reload::channel();
    let view = web::View {
        commands: commands.clone(),
        subscriptions,
        snapshot: snapshot.clone(),
        config: config_in.clone(),
        wall: wall.clone(),
        started_at,
        store: read_only,
        stop: stop_notifying.clone(),
        history: web::pages::HistoryCache::default(),
        replays: web::pages::ReplayCache::default(),
        traffic: web::traffic::Traffic::stored(&config.process.state_dir),
        links,
        reload: reload_request,
        broadcast,
        counters: counters.clone(),
    };
    let weights = web::traffic::run(
        view.traffic.clone(),
        snapshot,
        config_in,
        stop_notifying.clone(),
    );
    parts.spawn(async move {
        weights.await;
        ("the traffic weights", Ok(()))
    });
    if let Some(listener) = listener {
        let address = listener.local_addr()?;
        emit(
            Event::WebListening,
            Level::INFO,
            &format!("the page is at http://{address}/"),
            &json!({"address": address.to_string()}),
        );
        let view = view.clone();
        parts.spawn(async move {
            web::run(listener, view).await;
            ("the web server", Ok(()))
        });
    }
    if let Some(listener) = agent_listener {
        let view = view.clone();
        parts.spawn(async move {
            web::agent::run(listener, view).await;
            ("the agent checks", Ok(()))
        });
    }
    parts.spawn(async move {
        control_socket(view).await;
        ("the control socket", Ok(()))
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    service.ready();
    emit(
        Event::MonitorReady,
        Level::INFO,
        "probing",
        &json!({"endpoints": config.endpoints.len()}),
    );

    if store.is_unchecked() {
        let store = store.clone();
        tokio::task::spawn_blocking(move || check(&store));
    }

    let why = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok("SIGTERM"),
            _ = interrupt.recv() => break Ok("SIGINT"),
            () = stop.cancelled() => break Ok("asked to"),
            Some(ended) = parts.join_next() => break Err(ended),
            reply = reload_asked(&mut hangup, &mut reload_requests) => {
                service.reloading();
                let current = config_out.borrow().clone();
                let new = reload().map_err(|error| error.to_string()).and_then(|new| {
                    eyes.reload(&new).map_err(|error| error.to_string())?;
                    Ok(new)
                });
                counters.reloaded(new.is_ok());
                if let Some(reply) = reply {
                    let result = new.as_ref().map(|_| ()).map_err(|error| first_error(error));
                    // The client may have disconnected.
                    let _ = reply.send(result);
                }
                match new {
                    Err(error) => rejected(&error),
                    Ok(new) => {
                        let new = Arc::new(reloaded(new, &current));
                        let interval_multiplier = budget::interval_multiplier(&new);
                        commands.send(Command::Reload(new.clone(), interval_multiplier)).await.ok();
                        scheduler.send(SchedulerCommand::Follow(probed_endpoints(&new), interval_multiplier)).ok();
                        config_out.send_replace(new);
                    }
                }
                service.ready();
            }
        }
    };
    service.stopping();
    let reason = why
        .as_ref()
        .map_or("a component has ended", |signal| *signal);
    emit(
        Event::MonitorStopping,
        Level::INFO,
        &format!("stopping: {reason}"),
        &json!({"reason": reason}),
    );
    drop(scheduler);
    stop_probing.cancel();
    let mut failed = why.err().map(early);
    // The runner ends, then the pipeline, whose queue it closed.
    let drained = async {
        let mut left = parts.len();
        while let Some(ended) = parts.join_next().await {
            left -= 1;
            if let Ok((name, Ok(()))) = &ended
                && *name == "the pipeline"
            {
                stop_sharing.cancel();
                stop_notifying.cancel();
            } else if !matches!(ended, Ok((_, Ok(())))) {
                failed.get_or_insert(early(ended));
            }
            if left == 0 {
                break;
            }
        }
    };
    let limit = scheduler::DRAIN + worker::DRAIN + Duration::from_secs(10);
    if tokio::time::timeout(limit, drained).await.is_err() {
        stop_sharing.cancel();
        stop_notifying.cancel();
    }
    store.run_blocking(Store::checkpoint_wal).await;
    let stopped_at: Timestamp = wall();
    let seconds = stopped_at.since_ms(started_at) as f64 / 1000.0;
    emit(
        Event::MonitorStopped,
        Level::INFO,
        "stopped",
        &json!({"uptime_s": seconds}),
    );
    failed.map_or(Ok(()), Err)
}

/// Connects to the store that several daemons share, if there is one.
///
/// # Errors
/// When it refuses. One that does not answer is no reason to watch nothing: the daemon starts alone.
async fn open_shared(
    config: &Settings,
) -> Result<(Option<SharedStore>, Option<Session>), SharedError> {
    let Some(url) = &config.store.shared else {
        return Ok((None, None));
    };
    let shared = SharedStore::new(url.clone(), config.process.ca_file.as_deref())?;
    match shared.open().await {
        Ok(session) => Ok((Some(shared), Some(session))),
        Err(error) if error.is_misconfiguration() => Err(error),
        // The coordinator logs it and keeps trying.
        Err(_) => Ok((Some(shared), None)),
    }
}

/// Has the links in messages signed with the key that all daemons of the shared store have, so that each reads those of
/// the others. A daemon that starts while the store is away keeps the key that it had.
async fn share_link_key(session: &Session, store: &Store) -> Result<(), StoreError> {
    let own = store.run_blocking(Store::link_key).await?;
    let Ok(key) = session.link_key(&own).await else {
        return Ok(());
    };
    if key == own {
        return Ok(());
    }
    store
        .run_blocking(move |store| store.set_link_key(&key))
        .await
}

/// Has the scheduler leave out what may not be probed because a budget is spent.
fn hold_back(
    scheduler: &mpsc::UnboundedSender<SchedulerCommand>,
    core: &MonitorState,
    now: Timestamp,
) {
    // The scheduler lives until it is told to stop.
    if let Some(until) = core.rest_until(now) {
        scheduler.send(SchedulerCommand::RestUntil(until)).ok();
    }
    for (endpoint, until) in core.paused(now) {
        scheduler
            .send(SchedulerCommand::Pause(endpoint, until))
            .ok();
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

/// This daemon, for the others that share its store.
fn this_daemon(config: &Settings, shared: &SharedStore, started_at: Timestamp) -> DaemonRow {
    let name = rustix::system::uname();
    DaemonRow {
        id: shared.me(),
        location: config.monitor.location.clone(),
        host: name.nodename().to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        probes: config.monitor.probe,
        endpoints: String::new(),
        samples_per_hour: 0,
        started_at,
        seen_at: started_at,
    }
}

/// Looks for damage in a file that was too large for that before the start.
fn check(store: &Store) {
    if let Err(error) = store.reader().and_then(|reader| reader.check()) {
        let error = error.to_string();
        let fields = json!({"error": error});
        emit(Event::StoreFailed, Level::ERROR, &error, &fields);
    }
}

/// The page's socket: the one that the service manager holds open under the name `http`, else one of our own.
async fn listener(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let passed = systemd::inherited_listener("http")
        .context("the socket `http` from the service manager")?;
    match (passed, address) {
        (Some(listener), _) => Ok(Some(TcpListener::from_std(listener)?)),
        (None, None) => Ok(None),
        (None, Some(address)) => {
            let bound = TcpListener::bind(address).await;
            Ok(Some(bound.with_context(|| {
                format!("cannot listen on {address} (`listen` in `[monitor]`)")
            })?))
        }
    }
}

/// The socket of HAProxy's agent checks.
async fn agent_listener(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = TcpListener::bind(address).await;
    let listener = bound
        .with_context(|| format!("cannot listen on {address} (`agent_listen` in `[route]`)"))?;
    Ok(Some(listener))
}

/// Serves the control socket. Without it everything but the commands that use it works, so it is no reason to end.
async fn control_socket(view: web::View) {
    let path = view.config.borrow().process.state_dir.join("control.sock");
    let stop = view.stop.clone();
    if let Err(error) = web::run_control_socket(path.clone(), view).await {
        emit(
            Event::ConfigWarning,
            Level::WARN,
            &format!(
                "cannot serve the control socket {}: {error}; `ack`, `silence` and `note` need the web token",
                path.display()
            ),
            &json!({"error": error.to_string()}),
        );
        stop.cancelled().await;
    }
}

type Ended = Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>;

fn early(ended: Ended) -> anyhow::Error {
    match ended {
        Ok((name, Ok(()))) => anyhow::anyhow!("{name} has ended unexpectedly"),
        Ok((name, Err(error))) => error.context(format!("{name} has failed")),
        Err(error) => anyhow::anyhow!("a component of the daemon has panicked: {error}"),
    }
}

/// Takes `new` in the place of `current`, as far as that goes without a restart, and logs it.
fn reloaded(mut new: Settings, current: &Settings) -> Settings {
    let fixed = [
        (
            new.store.path != current.store.path || new.store.shared != current.store.shared,
            "the store's `url`",
        ),
        (new.process.listen != current.process.listen, "`listen`"),
        (
            new.process.max_concurrent_probes != current.process.max_concurrent_probes,
            "`max_concurrent_probes`",
        ),
        (new.log.format != current.log.format, "the log's `format`"),
        (
            new.route.agent_listen != current.route.agent_listen,
            "`agent_listen`",
        ),
    ];
    let needs_restart: Vec<_> = fixed
        .iter()
        .filter(|(changed, _)| *changed)
        .map(|(_, name)| *name)
        .collect();
    new.store.path.clone_from(&current.store.path);
    new.store.shared.clone_from(&current.store.shared);
    new.process.listen = current.process.listen;
    new.process.max_concurrent_probes = current.process.max_concurrent_probes;
    new.log.format = current.log.format;
    new.route.agent_listen = current.route.agent_listen;
    let mut message = format!(
        "{} endpoints, {} channels",
        new.endpoints.len(),
        new.channels.len()
    );
    if !needs_restart.is_empty() {
        message += &format!("; a restart is needed for {}", needs_restart.join(", "));
    }
    let fields = json!({"endpoints": new.endpoints.len(), "channels": new.channels.len(), "needs_restart": needs_restart});
    // A change of the log level is logged at the more verbose of both levels.
    log::set_level(new.log.level.max(current.log.level));
    emit(
        Event::ConfigReloaded,
        Level::INFO,
        &format!("the configuration is reloaded: {message}"),
        &fields,
    );
    log::set_level(new.log.level);
    let known = Plan::of(current).warnings;
    warn(
        Plan::of(&new)
            .warnings
            .into_iter()
            .filter(|warning| !known.contains(warning)),
    );
    new
}

fn warn(warnings: impl IntoIterator<Item = String>) {
    for warning in warnings {
        emit(Event::ConfigWarning, Level::WARN, &warning, &json!({}));
    }
}

fn rejected(error: &str) {
    let first = first_error(error);
    emit(
        Event::ConfigRejected,
        Level::ERROR,
        &format!("the new configuration was rejected, the old one stays in effect: {first}"),
        &json!({"error": error}),
    );
}

/// The first error of a configuration in one line, with its place and what to do, and how many more there are.
fn first_error(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let Some(first) = lines.next() else {
        return "it cannot be read".to_owned();
    };
    let mut message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    let rest: Vec<_> = lines
        .take_while(|line| !line.starts_with("error: "))
        .collect();
    if let Some(place) = rest.iter().find_map(|line| line.strip_prefix("--> ")) {
        message += &format!(" ({place})");
    }
    if let Some(help) = rest.iter().find_map(|line| line.strip_prefix("help: ")) {
        message += &format!("; {help}");
    }
    match text
        .lines()
        .filter(|line| line.starts_with("error: "))
        .count()
    {
        0 | 1 => message,
        n => format!("{message} (and {} more)", n - 1),
    }
}

/// Waits for a reload to be asked for: by a signal, or through the control socket, which wants to know the result.
async fn reload_asked(
    hangup: &mut Signal,
    requests: &mut mpsc::Receiver<web::ReloadReply>,
) -> Option<web::ReloadReply> {
    tokio::select! {
        _ = hangup.recv() => None,
        Some(reply) = requests.recv() => Some(reply),
    }
}

/// The real prober with the controls, exchangeable at a reload.
struct ReloadableProber {
    set: RwLock<Arc<ProberSet>>,
    /// Where several daemons may probe from one location: each slot is taken by one of them.
    shared: Option<SharedStore>,
}

struct ProberSet {
    location: String,
    prober: Prober,
    controls: ConnectivityChecks,
    redactor: Redactor,
}

impl ReloadableProber {
    fn new(config: &Settings, shared: Option<&SharedStore>) -> anyhow::Result<Self> {
        Ok(Self {
            set: RwLock::new(Arc::new(ProberSet::new(config)?)),
            shared: shared.cloned(),
        })
    }

    fn reload(&self, config: &Settings) -> anyhow::Result<()> {
        let set = Arc::new(ProberSet::new(config)?);
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = set;
        Ok(())
    }

    fn current(&self) -> Arc<ProberSet> {
        self.set
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ProberSet {
    fn new(config: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            location: config.monitor.location.clone(),
            prober: Prober::new(config)?,
            controls: ConnectivityChecks::new(&config.connectivity_checks, &config.endpoints),
            redactor: Redactor::new(config),
        })
    }
}

impl Probe for ReloadableProber {
    async fn probe(&self, endpoint: Arc<Endpoint>, due: Due, started_at: Timestamp) -> Probed {
        let set = self.current();
        let due = ProbeDue {
            scheduled_at: due.scheduled_at,
            started_at,
            trigger: due.trigger,
        };
        let mut sample = set.prober.probe(&endpoint, due).await;
        set.redactor.clean_sample(&mut sample);
        let controls = match sample.fault {
            Some(fault) => set.controls.ask_about(&endpoint, fault).await,
            None => None,
        };
        Probed { sample, controls }
    }

    async fn claims(&self, endpoint: &Endpoint, due: &Due) -> bool {
        let Some(shared) = &self.shared else {
            return true;
        };
        let location = self.current().location.clone();
        let claimed = shared
            .claim_slot(
                &due.endpoint,
                &location,
                due.scheduled_at,
                endpoint.interval,
            )
            .await;
        // While the store does not answer nobody can know better.
        claimed.unwrap_or(true)
    }
}
