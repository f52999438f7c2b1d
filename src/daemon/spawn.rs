//! Starts the tasks of the daemon and connects them.

use std::sync::Arc;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tracing::Level;

use super::coordinator::{self, Coordinator};
use super::pipeline::early::{EarlyRecorder, EarlyReports};
use super::pipeline::quorum::{OwnView, QuorumState};
use super::pipeline::{self, Pipeline};
use super::scheduler::{Runner, SchedulerCommand};
use super::subscribers::Subscribers;
use super::{Built, OpenedStore, PIPELINE, RunningDaemon, Stops, Tasks, listen, probed_endpoints};
use crate::clock::{self, StoredClock, WallClock};
use crate::command::Commands;
use crate::config::Settings;
use crate::feeds::Poller;
use crate::links::Links;
use crate::log::broadcast::Broadcast;
use crate::log::{Event, emit};
use crate::metrics::{Counters, export};
use crate::notify::{WorkerContext, heartbeat, worker};
use crate::store::postgres::{DaemonRow, Session, SharedStore};
use crate::store::{Commit, Store, SubscriberStore};
use crate::subscriptions::Subscriptions;
use crate::systemd::Service;
use crate::web;
use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::message::headline::headline;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Snapshot, Timestamp};
use llmwatch_core::monitor::MonitorState;
use llmwatch_core::schedule::budget;

/// Capacity of the pipeline's queue: one sample of every endpoint of a large fleet.
const QUEUE: usize = 16_384;

/// Starts all tasks.
///
/// # Errors
/// When the store cannot be read, or a listener's address cannot be determined.
pub(super) async fn spawn(built: Built) -> anyhow::Result<RunningDaemon> {
    let Built {
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
    } = built;
    let OpenedStore {
        lock,
        store,
        core,
        seq,
        last_seq,
        reserve,
        unrecorded,
    } = opened;
    let (scheduler, scheduler_commands) = mpsc::unbounded_channel();
    let (reports, mut pipeline_reports) = mpsc::channel(QUEUE);
    let (commands, pipeline_commands) = Commands::channel();
    let (config_out, config_in) = watch::channel(config.clone());
    let mut tasks = Tasks::default();
    let stop = Stops::default();
    let multiplier = budget::interval_multiplier(&config);
    let follow = SchedulerCommand::Follow(probed_endpoints(&config), multiplier);
    scheduler.send(follow).ok();
    hold_back(&scheduler, &core, started_at);
    let runner = Runner {
        probe: prober.clone(),
        max_concurrent: config.process.max_concurrent_probes,
        wall: wall.clone(),
        uptime: Arc::new(clock::uptime),
        commands: scheduler_commands,
        reports,
        stop: stop.probing.clone(),
    };
    tasks.spawn("the runner", runner.run());
    // Probing has started; the first results are recorded while the samples after the checkpoint
    // are folded, unless records of the last process come before them.
    let recorder = unrecorded.is_none().then(|| {
        let location = config.monitor.location.clone();
        EarlyRecorder::new(store.clone(), location, config.log.all_samples)
    });
    let reading = catch_up(
        &service,
        &store,
        (seq, last_seq),
        core,
        unrecorded,
        started_at,
    );
    let (restored, early) = match recorder {
        Some(recorder) => recorder.record_until(&mut pipeline_reports, reading).await,
        None => (reading.await, EarlyReports::default()),
    };
    let (core, notifications, unrecorded) = restored?;
    hold_back(&scheduler, &core, started_at);
    service.status(&headline(
        &core.snapshot(started_at),
        started_at,
        &Locale::default(),
    ));
    let (snapshot_out, snapshot) = watch::channel(Arc::new(core.snapshot(started_at)));
    let mut wiring = Wiring {
        wall,
        started_at,
        store,
        shared,
        config: config_in,
        snapshot,
        commands,
        outbox: Arc::new(Notify::new()),
        broadcast: Broadcast::new(started_at),
        counters: Counters::default(),
        stop,
        tasks,
    };
    // Stored times are those of the clock before it was set back while the daemon was down.
    let now = (wiring.wall)();
    let stored = core.set_back(now).map_or(now, |(from, _)| from);
    let clock = StoredClock::starting_at(stored, wiring.wall.clone(), Arc::new(clock::uptime));
    wiring.store.follow_clock(clock);
    let quorum = wiring
        .spawn_coordinator(session, &links, &core, &notifications)
        .await?;
    let pipeline = Pipeline {
        quorum,
        settings: config,
        core,
        notifications,
        store: wiring.store.clone(),
        reserve,
        is_saved: unrecorded.is_some(),
        unrecorded,
        wall: wiring.wall.clone(),
        uptime: Arc::new(clock::uptime),
        early,
        reports: pipeline_reports,
        commands: pipeline_commands,
        scheduler: scheduler.clone(),
        snapshot: snapshot_out,
        outbox: wiring.outbox.clone(),
        broadcast: wiring.broadcast.clone(),
        counters: wiring.counters.clone(),
        alive: alive(service.clone(), wiring.wall.clone()),
    };
    wiring.tasks.spawn(PIPELINE, pipeline.run());
    wiring.spawn_clients(&links);
    let (view, reload_requests) = wiring.spawn_subscribers(read_only, links);
    wiring.spawn_web(view, listener, agent_listener)?;
    Ok(RunningDaemon {
        service,
        wall: wiring.wall,
        started_at,
        _lock: lock,
        store: wiring.store,
        prober,
        counters: wiring.counters,
        config: config_out,
        commands: wiring.commands,
        scheduler,
        reload_requests,
        tasks: wiring.tasks,
        stop: wiring.stop,
    })
}

/// Has the scheduler pause probes whose budget is exhausted.
fn hold_back(
    scheduler: &mpsc::UnboundedSender<SchedulerCommand>,
    core: &MonitorState,
    now: Timestamp,
) {
    let rest = core.rest_until(now).map(SchedulerCommand::RestUntil);
    let paused = core.paused(now).into_iter();
    let paused = paused.map(|(endpoint, until)| SchedulerCommand::Pause(endpoint, until));
    for command in rest.into_iter().chain(paused) {
        // The scheduler lives until the shutdown.
        scheduler.send(command).ok();
    }
}

/// Returns the state after the last of the stored samples, and the state of notifications. The
/// numbers are those of the last sample in `core` and in the store.
async fn catch_up(
    service: &Service,
    store: &Store,
    (seq, last_seq): (i64, i64),
    mut core: MonitorState,
    unrecorded: Option<Commit>,
    now: Timestamp,
) -> anyhow::Result<(MonitorState, NotificationScheduler, Option<Commit>)> {
    let store = store.clone();
    let read = move || -> anyhow::Result<_> {
        // A connection of its own, so that recording does not wait for it.
        let revisions = pipeline::catch_up(&store.reader()?, seq, last_seq, &mut core, now)?;
        let revised = Commit {
            revisions,
            ..Commit::default()
        };
        if !revised.is_empty() {
            // On failure only the rows keep their first attribution.
            store.commit(&[revised]).ok();
        }
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
            tokio::task::spawn_blocking(read),
        )
        .await?
}

/// Feeds the service manager's watchdog and updates its status line.
fn alive(service: Service, wall: WallClock) -> Box<dyn FnMut(&Snapshot) + Send> {
    Box::new(move |snapshot| {
        service.watchdog();
        service.status(&headline(snapshot, wall(), &Locale::default()));
    })
}

/// Everything that the tasks share.
struct Wiring {
    wall: WallClock,
    started_at: Timestamp,
    store: Store,
    shared: Option<SharedStore>,
    config: watch::Receiver<Arc<Settings>>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    commands: Commands,
    /// Wakes the outbox.
    outbox: Arc<Notify>,
    broadcast: Broadcast,
    counters: Counters,
    stop: Stops,
    tasks: Tasks,
}

impl Wiring {
    /// Spawns the sync with a shared store, if one is configured. Returns the pipeline's side of
    /// it.
    async fn spawn_coordinator(
        &mut self,
        session: Option<Session>,
        links: &Links,
        core: &MonitorState,
        notifications: &NotificationScheduler,
    ) -> anyhow::Result<Option<QuorumState>> {
        let Some(shared) = self.shared.clone() else {
            return Ok(None);
        };
        let (asked, for_all) = mpsc::unbounded_channel();
        let config = self.config.borrow().clone();
        let own = OwnView {
            snapshot: core.snapshot(self.started_at),
            incidents: Vec::new(),
            interval_multiplier: budget::interval_multiplier(&config),
            alone_notifications: None,
        };
        let (own_out, own) = watch::channel(Arc::new(own));
        let rows = self
            .store
            .run_blocking(|store| store.incidents(true))
            .await?;
        let known = rows
            .iter()
            .filter_map(|row| serde_json::from_str(&row.data).ok())
            .collect();
        coordinator::note_beginning(&self.store, &config.process.state_dir).await;
        let coordinator = Coordinator {
            daemon: this_daemon(&config, &shared, self.started_at),
            shared,
            session,
            local: self.store.clone(),
            links: links.clone(),
            config: self.config.clone(),
            own,
            commands: self.commands.clone(),
            asked: for_all,
            outbox: self.outbox.clone(),
            wall: self.wall.clone(),
            stop: self.stop.sharing.clone(),
        };
        self.tasks.spawn("the shared store", coordinator.run());
        Ok(Some(QuorumState::new(own_out, asked, notifications, known)))
    }

    /// Spawns the tasks that make outgoing requests: status feeds, heartbeat, outbox, metrics
    /// export.
    fn spawn_clients(&mut self, links: &Links) {
        let poller = Poller {
            config: self.config.clone(),
            commands: self.commands.clone(),
            stop: self.stop.probing.clone(),
        };
        self.tasks.spawn("the status feeds", poller.run());
        let heartbeat = heartbeat::run(
            self.config.clone(),
            self.snapshot.clone(),
            self.wall.clone(),
            self.stop.probing.clone(),
        );
        self.tasks.spawn("the heartbeat", heartbeat);
        let context = WorkerContext {
            store: self.store.clone(),
            wall: self.wall.clone(),
            wake: self.outbox.clone(),
            stop: self.stop.notifying.clone(),
            links: links.clone(),
            shared: self.shared.clone(),
        };
        let config = self.config.clone();
        self.tasks.spawn_fallible("the outbox", async move {
            worker::run(context, config).await.map_err(Into::into)
        });
        let export = export::Export {
            config: self.config.clone(),
            snapshot: self.snapshot.clone(),
            counters: self.counters.clone(),
            wall: self.wall.clone(),
            started_at: self.started_at,
            stop: self.stop.notifying.clone(),
        };
        self.tasks
            .spawn("the export of metrics", export::run(export));
    }

    /// Spawns the subscribers' task. Returns the view for the pages, and the receiver of reload
    /// requests.
    fn spawn_subscribers(
        &mut self,
        read_only: Store,
        links: Links,
    ) -> (web::View, mpsc::Receiver<web::ReloadReply>) {
        let (subscriptions, requests) = Subscriptions::channel();
        let own = SubscriberStore::Own(self.store.clone());
        // Its mails must not delay the claims of slots and notifications.
        let shared = self.shared.as_ref().map(SharedStore::with_own_connection);
        let subscribers = Subscribers {
            local: self.store.clone(),
            store: shared.map_or(own, SubscriberStore::Shared),
            links: links.clone(),
            wall: self.wall.clone(),
            config: self.config.clone(),
            stop: self.stop.notifying.clone(),
        };
        let subscribers = subscribers.run(requests, self.snapshot.clone());
        self.tasks.spawn("the subscriptions", subscribers);
        let (reload, reload_requests) = web::Reload::channel();
        let traffic = web::traffic::Traffic::stored(&self.config.borrow().process.state_dir);
        let view = web::View {
            commands: self.commands.clone(),
            subscriptions,
            snapshot: self.snapshot.clone(),
            config: self.config.clone(),
            wall: self.wall.clone(),
            started_at: self.started_at,
            store_id: read_only.identity().ok(),
            store: read_only,
            stop: self.stop.notifying.clone(),
            history: web::pages::HistoryCache::default(),
            replays: web::pages::ReplayCache::default(),
            traffic,
            links,
            reload,
            broadcast: self.broadcast.clone(),
            counters: self.counters.clone(),
        };
        (view, reload_requests)
    }

    /// Spawns the servers: pages and API, HAProxy's agent checks, the control socket.
    fn spawn_web(
        &mut self,
        view: web::View,
        listener: Option<TcpListener>,
        agent_listener: Option<TcpListener>,
    ) -> anyhow::Result<()> {
        let weights = web::traffic::run(
            view.traffic.clone(),
            self.snapshot.clone(),
            self.config.clone(),
            self.stop.notifying.clone(),
        );
        self.tasks.spawn("the traffic weights", weights);
        if let Some(listener) = listener {
            let address = listener.local_addr()?;
            emit(
                Event::WebListening,
                Level::INFO,
                &format!("the page is at http://{address}/"),
                &json!({"address": address.to_string()}),
            );
            let server = web::run(listener, view.clone());
            self.tasks.spawn("the web server", server);
        }
        if let Some(listener) = agent_listener {
            let server = web::agent::run(listener, view.clone());
            self.tasks.spawn("the agent checks", server);
        }
        // Bind it before readiness is reported, so that clients that wait for that can use it.
        let path = view.config.borrow().process.state_dir.join("control.sock");
        if let Some(listener) = listen::control_socket(&path) {
            let server = web::run_control_socket(listener, path, view);
            self.tasks.spawn("the control socket", server);
        }
        Ok(())
    }
}

/// Describes this daemon to the others that share its store.
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
