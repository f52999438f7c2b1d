//! The runner, pipeline and outbox together in simulated time: hours pass in a moment and every
//! millisecond is exact, so that the schedule can be asserted.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use llmwatch::clock::{Clock, Uptime, WallClock};
use llmwatch::command::Commands;
use llmwatch::config::{self, Environment, Settings};
use llmwatch::daemon::pipeline::early::{EarlyRecorder, EarlyReports};
use llmwatch::daemon::pipeline::{self, Pipeline};
use llmwatch::daemon::scheduler::{Probe, Probed, Report, Runner, SchedulerCommand};
use llmwatch::notify::worker;
use llmwatch::store::{Commit, IncidentRow, Reserve, SampleQuery, Store, StoreError};
use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::model::{
    Attribution, Endpoint, Fault, Incident, Outcome, Sample, Timestamp, Trigger,
};
use llmwatch_core::monitor::MonitorState;
use llmwatch_core::schedule::Due;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::good;

pub(crate) const START: Timestamp = Timestamp(1_795_510_800_000);

/// A vendor in simulated time: answers after `latency`, and fails in this range of seconds since
/// the start.
struct Script {
    latency: Duration,
    fails: std::ops::Range<i64>,
}

impl Script {
    /// Starts now.
    fn play(self) -> Arc<Play> {
        Arc::new(Play {
            script: self,
            clock: Clock::starting_at(START),
        })
    }
}

/// A running script, with a clock that is never set.
struct Play {
    script: Script,
    clock: Clock,
}

impl Probe for Play {
    async fn probe(&self, endpoint: Arc<Endpoint>, due: Due, started_at: Timestamp) -> Probed {
        let failing = self
            .script
            .fails
            .contains(&(self.clock.now().since_ms(START) / 1000));
        tokio::time::sleep(self.script.latency).await;
        let total = self.script.latency.as_secs_f64() * 1000.0;
        let sample = Sample {
            provider: endpoint.provider,
            scheduled_at: due.scheduled_at,
            trigger: due.trigger,
            first_token_ms: Some(total / 2.0),
            total_ms: Some(total),
            ..good(&endpoint.name, started_at)
        };
        let sample = if failing {
            Sample {
                outcome: Outcome::Failed,
                fault: Some(Fault::Http5xx),
                attribution: Some(Attribution::Provider),
                first_token_ms: None,
                ..sample
            }
        } else {
            sample
        };
        Probed {
            sample,
            connectivity: None,
        }
    }
}

fn configuration(endpoints: usize, extra: &str) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    let mut text = "[monitor]\nlocation = \"fra1\"\nlisten = \"off\"\n".to_owned() + extra;
    for i in 0..endpoints {
        text += &format!(
            "[[endpoint]]\nname = \"e{i}\"\nprovider = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"
        );
    }
    std::fs::write(&path, text).unwrap();
    config::load(&path, &Environment::from_process()).unwrap()
}

/// Monitors `config` for `length` of simulated time. Returns everything that was recorded.
async fn watch_for(config: Settings, script: Script, length: Duration) -> (Vec<Sample>, Store) {
    let clock = Clock::starting_at(START);
    watch_by(Arc::new(move || clock.now()), config, script, length).await
}

/// The same with a wall clock that can be set.
async fn watch_by(
    wall: WallClock,
    config: Settings,
    script: Script,
    length: Duration,
) -> (Vec<Sample>, Store) {
    watch_probes(wall, config, script.play(), length).await
}

/// The same with any kind of probe.
pub(crate) async fn watch_probes(
    wall: WallClock,
    config: Settings,
    probe: Arc<impl Probe>,
    length: Duration,
) -> (Vec<Sample>, Store) {
    let store = Store::in_memory().unwrap();
    watch_from(store, Duration::ZERO, wall, config, probe, length).await
}

/// The same, continuing after the samples in `store`, which take as long as `reading` to read.
async fn watch_from(
    store: Store,
    reading: Duration,
    wall: WallClock,
    config: Settings,
    probe: Arc<impl Probe>,
    length: Duration,
) -> (Vec<Sample>, Store) {
    let config = Arc::new(config);
    let (scheduler, scheduler_commands) = mpsc::unbounded_channel();
    let (reports, mut pipeline_reports) = mpsc::channel(1024);
    let (_commands, pipeline_commands) = Commands::channel();
    let core = pipeline::restore(&store, config.config.clone(), 1.0, START).unwrap();
    let (snapshot, _) = watch::channel(Arc::new(core.snapshot(START)));
    let (_config_out, config_in) = watch::channel(config.clone());
    let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    scheduler
        .send(SchedulerCommand::Follow(config.endpoints.clone(), 1.0))
        .unwrap();
    let runner = Runner {
        probe,
        max_concurrent: config.process.max_concurrent_probes,
        wall: wall.clone(),
        uptime: uptime(),
        commands: scheduler_commands,
        reports,
        stop: stop.clone(),
    };
    let runner = tokio::spawn(runner.run());
    let early = if reading.is_zero() {
        EarlyReports::default()
    } else {
        let recorder = EarlyRecorder::new(store.clone(), "fra1".to_owned(), false);
        let reading = tokio::time::sleep(reading);
        recorder
            .record_until(&mut pipeline_reports, reading)
            .await
            .1
    };
    let pipeline = Pipeline {
        quorum: None,
        settings: config.clone(),
        core,
        notifications: NotificationScheduler::default(),
        store: store.clone(),
        reserve: Reserve::default(),
        unrecorded: None,
        is_saved: false,
        wall: wall.clone(),
        uptime: uptime(),
        early,
        reports: pipeline_reports,
        commands: pipeline_commands,
        scheduler,
        snapshot,
        outbox: wake.clone(),
        broadcast: llmwatch::log::broadcast::Broadcast::new(Timestamp(0)),
        counters: llmwatch::metrics::Counters::default(),
        alive: Box::new(|_| {}),
    };
    let post = llmwatch::notify::WorkerContext {
        shared: None,
        store: store.clone(),
        wall,
        wake,
        stop: stop.clone(),
        links: llmwatch::links::Links::new(&[7; 32].into()),
    };
    let parts = tokio::spawn(async move {
        let (reported, ran, ()) =
            tokio::join!(worker::run(post, config_in), runner, pipeline.run());
        reported.unwrap();
        ran.unwrap();
    });
    tokio::time::sleep(length).await;
    stop.cancel();
    parts.await.unwrap();
    let mut samples = Vec::new();
    let all = store.each_sample(SampleQuery::default(), |_, s| {
        samples.push(s);
        Ok::<_, StoreError>(())
    });
    all.unwrap();
    (samples, store)
}

/// The uptime of a machine that never sleeps.
fn uptime() -> Uptime {
    let clock = Clock::starting_at(Timestamp(0));
    Arc::new(move || Duration::from_millis(clock.now().0.unsigned_abs()))
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_never_answers_delays_no_probe() {
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let extra = format!(
        "[[webhook]]\nname = \"hole\"\nurl = \"http://{}/\"\n",
        hole.local_addr().unwrap()
    );
    let script = Script {
        latency: Duration::from_millis(400),
        fails: 300..1200,
    };
    let (samples, store) =
        watch_for(configuration(5, &extra), script, Duration::from_mins(30)).await;
    assert!(samples.iter().any(|s| s.outcome == Outcome::Failed));
    assert_eq!(
        store.incidents(false).unwrap().len(),
        1,
        "one provider, one incident"
    );
    let waiting = store.channel_stats().unwrap();
    assert!(
        waiting[0].pending > 0,
        "the receiver never answered: {waiting:?}"
    );
    for sample in &samples {
        assert!(
            sample.schedule_lag_ms < 2.0,
            "{} lagged {} ms",
            sample.endpoint,
            sample.schedule_lag_ms
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_keeps_its_own_grid() {
    let script = Script {
        latency: Duration::from_millis(300),
        fails: 0..0,
    };
    let (samples, _) = watch_for(configuration(20, ""), script, Duration::from_hours(1)).await;
    let mut begun: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for sample in samples.iter().filter(|s| s.trigger == Trigger::Schedule) {
        begun
            .entry(&sample.endpoint)
            .or_default()
            .push(sample.scheduled_at.0);
    }
    assert_eq!(begun.len(), 20);
    for (endpoint, times) in begun {
        assert!(times.len() >= 59, "{endpoint}: {}", times.len());
        assert!(
            times.windows(2).all(|w| w[1] - w[0] == 60_000),
            "{endpoint} drifts: {times:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_slot_shows_as_lag_and_never_as_latency() {
    let script = Script {
        latency: Duration::from_secs(20),
        fails: 0..0,
    };
    let config = configuration(12, "max_concurrent_probes = 2\n");
    let (samples, _) = watch_for(config, script, Duration::from_mins(10)).await;
    assert!(
        samples.iter().any(|s| s.schedule_lag_ms > 1000.0),
        "two slots are too few for these"
    );
    assert!(samples.iter().all(|s| s.total_ms == Some(20_000.0)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_waits_for_a_slot_does_not_begin_after_the_shutdown() {
    let script = Script {
        latency: Duration::from_secs(2),
        fails: 0..0,
    };
    let length = Duration::from_mins(10);
    let config = configuration(40, "max_concurrent_probes = 1\n");
    let (samples, _) = watch_for(config, script, length).await;
    assert!(samples.iter().any(|s| s.schedule_lag_ms > 1000.0));
    assert!(samples.iter().all(|s| s.started_at <= START + length));
}

#[tokio::test(start_paused = true)]
async fn failure_is_rechecked_within_seconds() {
    let script = Script {
        latency: Duration::from_millis(400),
        fails: 600..780,
    };
    let (samples, _) = watch_for(configuration(1, ""), script, Duration::from_mins(20)).await;
    let first = samples
        .iter()
        .position(|s| s.outcome == Outcome::Failed)
        .unwrap();
    let again = samples[first + 1]
        .started_at
        .since_ms(samples[first].started_at);
    assert!(
        (5_000..7_000).contains(&again),
        "looked again after {again} ms"
    );
}

/// While a machine sleeps, the wall clock jumps and nothing runs.
#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_says_so_and_catches_nothing_up() {
    let clock = Clock::starting_at(START);
    let slept = Arc::new(Mutex::new(Duration::ZERO));
    let wall: WallClock = {
        let slept = slept.clone();
        Arc::new(move || clock.now() + *slept.lock().unwrap())
    };
    let uptime: Uptime = {
        let (awake, slept) = (uptime(), slept.clone());
        Arc::new(move || awake() + *slept.lock().unwrap())
    };
    let (scheduler, scheduler_commands) = mpsc::unbounded_channel();
    let (reports, mut reported) = mpsc::channel(1024);
    let stop = CancellationToken::new();
    let config = configuration(10, "");
    scheduler
        .send(SchedulerCommand::Follow(config.endpoints.clone(), 1.0))
        .unwrap();
    let script = Script {
        latency: Duration::from_millis(100),
        fails: 0..0,
    };
    let runner = Runner {
        probe: script.play(),
        max_concurrent: 64,
        wall,
        uptime,
        commands: scheduler_commands,
        reports,
        stop: stop.clone(),
    };
    let running = tokio::spawn(runner.run());
    tokio::time::sleep(Duration::from_mins(2)).await;
    while reported.try_recv().is_ok() {}

    *slept.lock().unwrap() = Duration::from_hours(8);
    let Some(Report::Asleep {
        from,
        to,
        is_suspension: true,
    }) = reported.recv().await
    else {
        panic!("it slept")
    };
    assert!((to.since_ms(from) - 8 * 3_600_000).abs() <= 2_000);
    tokio::time::sleep(Duration::from_secs(61)).await;
    let mut probes = 0;
    while let Ok(report) = reported.try_recv() {
        probes += usize::from(matches!(report, Report::Probed(_)));
    }
    assert!(
        (10..=11).contains(&probes),
        "one each, and no burst of what was missed: {probes}"
    );
    stop.cancel();
    running.await.unwrap();
}

/// Answers after `latency`; every second answer of an endpoint is late and thus a timeout.
struct Starved {
    latency: Duration,
    asked: Mutex<BTreeMap<String, u32>>,
}

impl Probe for Starved {
    async fn probe(&self, endpoint: Arc<Endpoint>, due: Due, started_at: Timestamp) -> Probed {
        tokio::time::sleep(self.latency).await;
        let mut asked = self.asked.lock().unwrap();
        let count = asked.entry(endpoint.name.to_string()).or_default();
        *count += 1;
        let timeout = count.is_multiple_of(2).then_some(Fault::TimeoutTotal);
        let sample = Sample {
            scheduled_at: due.scheduled_at,
            fault: timeout,
            ..good(&endpoint.name, started_at)
        };
        Probed {
            sample,
            connectivity: None,
        }
    }
}

/// On an overloaded machine, many seconds pass each time before the process runs again.
#[tokio::test(start_paused = true)]
async fn a_process_without_cpu_time_keeps_probing() {
    let clock = Clock::starting_at(START);
    let (scheduler, scheduler_commands) = mpsc::unbounded_channel();
    let (reports, mut reported) = mpsc::channel(1024);
    let stop = CancellationToken::new();
    let config = configuration(10, "[defaults]\ninterval = \"5s\"\n");
    scheduler
        .send(SchedulerCommand::Follow(config.endpoints.clone(), 1.0))
        .unwrap();
    let runner = Runner {
        probe: Arc::new(Starved {
            latency: Duration::from_millis(100),
            asked: Mutex::default(),
        }),
        max_concurrent: 64,
        wall: Arc::new(move || clock.now()),
        uptime: uptime(),
        commands: scheduler_commands,
        reports,
        stop: stop.clone(),
    };
    let running = tokio::spawn(runner.run());
    let (mut good, mut timeouts, mut stalls) = (0, 0, 0);
    for _ in 0..100 {
        tokio::time::advance(Duration::from_secs(8)).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        while let Ok(report) = reported.try_recv() {
            match report {
                Report::Probed(probed) if probed.sample.fault.is_some() => timeouts += 1,
                Report::Probed(_) => good += 1,
                Report::Asleep { is_suspension, .. } => {
                    assert!(!is_suspension, "the machine was awake");
                    stalls += 1;
                }
                Report::Skipped { .. } => {}
            }
        }
    }
    assert!(good >= 200, "{good} results in 100 turns");
    assert!(stalls >= 90, "{stalls} stalls were reported");
    assert_eq!(timeouts, 0, "timeouts of a stalled process say nothing");
    stop.cancel();
    running.await.unwrap();
}

/// A wall clock that is set by `hours` after this many seconds.
fn set_after(seconds: u64, hours: i64) -> WallClock {
    let clock = Clock::starting_at(START);
    Arc::new(move || {
        let now = clock.now();
        let set = now >= START + Duration::from_secs(seconds);
        Timestamp(now.0 + if set { hours * 3_600_000 } else { 0 })
    })
}

#[tokio::test(start_paused = true)]
async fn clock_set_during_an_outage_delays_and_repeats_nothing() {
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let extra = format!(
        "[[webhook]]\nname = \"hole\"\nurl = \"http://{}/\"\n",
        hole.local_addr().unwrap()
    );
    let outage = || Script {
        latency: Duration::from_millis(400),
        fails: 600..1800,
    };
    for hours in [-5, 5] {
        // Before the outage, while it is pending, while its first message waits for others, later,
        // and after it.
        for set in [300, 640, 700, 715, 725, 900, 1830, 2400] {
            let when = format!("set by {hours} h after {set} s");
            let (_, store) = watch_by(
                set_after(set, hours),
                configuration(1, &extra),
                outage(),
                Duration::from_mins(15),
            )
            .await;
            let rows = store.outbox_rows(true).unwrap();
            let reported: Vec<_> = rows
                .iter()
                .map(|r| (r.kind.as_str(), r.attempts > 0))
                .collect();
            assert_eq!(
                reported,
                [("incident.opened", true)],
                "{when}: five minutes into the outage"
            );

            let length = Duration::from_hours(1);
            let (samples, store) = watch_by(
                set_after(set, hours),
                configuration(1, &extra),
                outage(),
                length,
            )
            .await;
            let reported: Vec<_> = store
                .outbox_rows(true)
                .unwrap()
                .iter()
                .map(|r| r.kind.clone())
                .collect();
            assert_eq!(reported, ["incident.opened", "incident.resolved"], "{when}");
            let rows = store.incidents(false).unwrap();
            let incidents: Vec<Incident> = rows
                .iter()
                .map(|r| serde_json::from_str(&r.data).unwrap())
                .collect();
            assert_eq!(incidents.len(), 1, "{when}");
            let lasted = incidents[0].duration_s;
            assert!(
                (1140.0..1500.0).contains(&lasted),
                "{when}: it lasted twenty minutes, not {lasted} s"
            );
            assert_eq!(rows[0].started_at, incidents[0].started_at, "{when}");
            let scheduled = samples
                .iter()
                .filter(|s| s.trigger == Trigger::Schedule)
                .count();
            assert!(
                scheduled >= 55,
                "{when}: the schedule continues: {scheduled}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn clock_corrected_while_stopped_holds_nothing_back() {
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let extra = format!(
        "[[webhook]]\nname = \"hole\"\nurl = \"http://{}/\"\n",
        hole.local_addr().unwrap()
    );
    let outage = Script {
        latency: Duration::from_millis(400),
        fails: 600..9000,
    };
    let (_, store) = watch_for(configuration(1, &extra), outage, Duration::from_mins(15)).await;
    // The clock was five hours ahead all along, and is correct at the next start.
    let now = START + Duration::from_mins(16) - Duration::from_hours(5);
    let core = pipeline::restore(&store, configuration(1, &extra).config, 1.0, now).unwrap();
    let (from, to) = core.set_back(now).expect("the samples end after the start");
    assert_eq!(to, now);
    let mut core = core;
    core.follow_clock(from, to);
    assert_eq!(core.set_back(now), None);
    let incident = core.snapshot(now).incidents.remove(0);
    assert!(
        (240.0..400.0).contains(&incident.duration_s),
        "{}",
        incident.duration_s
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_continues_exactly_where_the_samples_end() {
    let script = Script {
        latency: Duration::from_millis(400),
        fails: 900..2000,
    };
    let config = configuration(3, "");
    let (_, store) = watch_for(config.clone(), script, Duration::from_mins(25)).await;
    let (config, now) = (config.config, START + Duration::from_mins(25));
    let uninterrupted = {
        let mut core = MonitorState::new(config.clone(), 1.0);
        let all = store.each_sample(SampleQuery::default(), |_, s| {
            core.step(s);
            Ok::<_, StoreError>(())
        });
        all.unwrap();
        core
    };
    let restored = pipeline::restore(&store, config, 1.0, now).unwrap();
    assert_eq!(restored.checkpoint(), uninterrupted.checkpoint());
    assert_eq!(restored.snapshot(now).incidents.len(), 1);
}

/// Continues after the samples of `store` while these are still being read, and asserts that
/// nothing was recorded or judged twice or not at all.
async fn restart_while_reading(store: Store, script: Script) -> (Vec<Sample>, Store) {
    let clock = Clock::starting_at(START);
    let wall = Arc::new(move || clock.now());
    let config = configuration(3, "");
    let reading = Duration::from_mins(5);
    let length = Duration::from_mins(25);
    let probe = script.play();
    let (samples, store) = watch_from(store, reading, wall, config.clone(), probe, length).await;
    let ids: HashSet<Uuid> = samples.iter().map(|s| s.id).collect();
    assert_eq!(ids.len(), samples.len(), "no sample was recorded twice");
    let mut folded = MonitorState::new(config.config.clone(), 1.0);
    for sample in &samples {
        folded.step(sample.clone());
    }
    let restored = pipeline::restore(&store, config.config, 1.0, START + length).unwrap();
    assert_eq!(restored.checkpoint(), folded.checkpoint());
    (samples, store)
}

#[tokio::test(start_paused = true)]
async fn samples_are_recorded_before_the_history_is_read_and_judged_after_it() {
    // It begins to fail after the history is read, and while it is.
    for fails in [900..2000, 200..2000] {
        let script = Script {
            latency: Duration::from_millis(400),
            fails: fails.clone(),
        };
        let (samples, store) = restart_while_reading(Store::in_memory().unwrap(), script).await;
        let good = samples.iter().filter(|s| s.outcome == Outcome::Ok).count();
        assert!(good as i64 >= fails.start / 60 * 3, "{good}");
        assert_eq!(store.incidents(true).unwrap().len(), 1, "{fails:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn incident_that_was_not_judged_before_a_crash_opens_at_the_next_start() {
    let script = |fails| Script {
        latency: Duration::from_millis(400),
        fails,
    };
    let length = Duration::from_mins(20);
    let (samples, _) = watch_for(configuration(3, ""), script(600..2000), length).await;
    // The samples were recorded, their consequences were not.
    let store = Store::in_memory().unwrap();
    let commits = samples.into_iter().map(|sample| Commit {
        sample: Some(sample),
        ..Commit::default()
    });
    store.commit(&commits.collect::<Vec<_>>()).unwrap();
    assert!(store.incidents(true).unwrap().is_empty());
    let clock = Clock::starting_at(START + length);
    let wall = Arc::new(move || clock.now());
    let config = configuration(3, "");
    let shortly = Duration::from_secs(2);
    let (_, store) = watch_from(
        store,
        Duration::ZERO,
        wall,
        config,
        script(0..2000).play(),
        shortly,
    )
    .await;
    assert_eq!(store.incidents(true).unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn incident_numbers_are_never_reused_after_retention() {
    let script = Script {
        latency: Duration::from_millis(400),
        fails: 900..2000,
    };
    let (samples, _) = watch_for(configuration(1, ""), script, Duration::from_mins(25)).await;
    let store = Store::in_memory().unwrap();
    let data = "{}".to_owned();
    let row = IncidentRow {
        id: Uuid::now_v7(),
        number: 40,
        open: false,
        started_at: START,
        data,
    };
    // A checkpoint that this release cannot read: the state is rebuilt from the stored samples.
    let checkpoint = Some("[]".to_owned());
    store
        .commit(&[Commit {
            incidents: vec![row],
            checkpoint,
            ..Commit::default()
        }])
        .unwrap();
    let mut core = pipeline::restore(&store, configuration(1, "").config, 1.0, START).unwrap();
    for sample in samples {
        core.step(sample);
    }
    assert_eq!(
        core.snapshot(START + Duration::from_mins(25)).incidents[0].number,
        41
    );
}

#[tokio::test(start_paused = true)]
async fn periodic_report_is_sent_once_at_its_hour() {
    let extra = "[report]\nevery = \"daily\"\nat = \"10:00\"\nto = [\"hole\"]\n\
                 [[webhook]]\nname = \"hole\"\nurl = \"http://127.0.0.1:9/\"\non = []\n";
    let script = Script {
        latency: Duration::from_millis(400),
        fails: 300..1200,
    };
    let (_, store) = watch_for(configuration(2, extra), script, Duration::from_mins(150)).await;
    let rows = store.outbox_rows(true).unwrap();
    let reports: Vec<_> = rows
        .iter()
        .filter(|r| r.kind == "report.periodic")
        .collect();
    assert_eq!(reports.len(), 1, "{rows:?}");
    assert!(
        reports[0].title.ends_with("1 incident"),
        "{}",
        reports[0].title
    );
}
