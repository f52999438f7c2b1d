//! The outbox worker in simulated time, with a receiver that fails by plan, and kills in between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use llmwatch::clock::{self, WallClock};
use llmwatch::config::{self, Environment, Settings};
use llmwatch::links::Links;
use llmwatch::notify::Progress;
use llmwatch::notify::{WorkerContext, worker};
use llmwatch::store::{Commit, DeliveryOutcome, IncidentRow, Store};
use llmwatch_core::message::test_notice::sample_notice;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{IncidentState, Notice, NoticeKind, Outgoing, Timestamp};
use llmwatch_simulator::MailSink;
use proptest::prelude::*;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::PATIENCE;

const START: Timestamp = Timestamp(1_795_435_200_000);

/// The receiver's response to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Take,
    Fail,
    /// Asks to retry after this many seconds.
    Busy(u64),
    Hang,
    /// Accepts the message but never responds.
    TakeAndHang,
    /// Accepts the message but returns an error: the sender cannot know.
    TakeAndFail,
}

/// A received request.
#[derive(Debug, Clone)]
struct Came {
    path: String,
    id: String,
    at: Duration,
    taken: bool,
    body: Value,
}

struct Receiver {
    begun: Instant,
    plan: Mutex<VecDeque<(Answer, bool)>>,
    /// The response after the end of the plan.
    then: Mutex<Answer>,
    came: Mutex<Vec<Came>>,
    kills: mpsc::UnboundedSender<()>,
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let then = *receiver.then.lock().unwrap();
    let (answer, kill) = receiver
        .plan
        .lock()
        .unwrap()
        .pop_front()
        .unwrap_or((then, false));
    receiver.came.lock().unwrap().push(Came {
        path: uri.path().trim_start_matches('/').to_owned(),
        id: headers["webhook-id"].to_str().unwrap().to_owned(),
        at: receiver.begun.elapsed(),
        taken: matches!(
            answer,
            Answer::Take | Answer::TakeAndHang | Answer::TakeAndFail
        ),
        body: serde_json::from_str(&body).unwrap(),
    });
    if kill {
        receiver.kills.send(()).unwrap();
        // The sender is killed before it gets a response.
        std::future::pending::<()>().await;
    }
    match answer {
        Answer::Take => StatusCode::OK.into_response(),
        Answer::Fail | Answer::TakeAndFail => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Answer::Busy(seconds) => (
            StatusCode::TOO_MANY_REQUESTS,
            [("retry-after", seconds.to_string())],
        )
            .into_response(),
        Answer::Hang | Answer::TakeAndHang => std::future::pending().await,
    }
}

/// A receiver, an outbox on disk, and a worker that can be killed.
struct Scene {
    receiver: Arc<Receiver>,
    kills: mpsc::UnboundedReceiver<()>,
    config: Arc<Settings>,
    directory: tempfile::TempDir,
    store: Store,
    wake: Arc<Notify>,
    worker: Option<tokio::task::JoinHandle<()>>,
    _server: tokio_util::task::AbortOnDropHandle<()>,
}

impl Scene {
    async fn new(plan: Vec<(Answer, bool)>, then: Answer, filters: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (kill, kills) = mpsc::unbounded_channel();
        let (plan, then) = (Mutex::new(plan.into()), Mutex::new(then));
        let receiver = Arc::new(Receiver {
            begun: Instant::now(),
            plan,
            then,
            came: Mutex::default(),
            kills: kill,
        });
        let app = Router::new().fallback(receive).with_state(receiver.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("monitor.toml");
        let mut text = "[[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\n".to_owned();
        for name in ["a", "b"] {
            text += &format!(
                "[[webhook]]\nname = \"{name}\"\nurl = \"http://{address}/{name}\"\n{filters}\n"
            );
        }
        std::fs::write(&path, text).unwrap();
        let surroundings = Environment {
            hostname: "host".to_owned(),
            ..Environment::default()
        };
        let config = Arc::new(config::load(&path, &surroundings).unwrap());
        let store = Store::open(&directory.path().join("llmwatch.db")).unwrap();
        let mut scene = Self {
            receiver,
            kills,
            config,
            directory,
            store,
            wake: Arc::new(Notify::new()),
            worker: None,
            _server: tokio_util::task::AbortOnDropHandle::new(server),
        };
        scene.begin();
        scene
    }

    fn begin(&mut self) {
        let begun = self.receiver.begun;
        let wall: WallClock = Arc::new(move || START + begun.elapsed());
        let stop = CancellationToken::new();
        let post = WorkerContext {
            shared: None,
            store: self.store.clone(),
            wall,
            wake: self.wake.clone(),
            stop,
            links: Links::new(&[7; 32].into()),
        };
        let (config, configs) = watch::channel(self.config.clone());
        self.worker = Some(tokio::spawn(async move {
            worker::run(post, configs).await.unwrap();
            drop(config);
        }));
    }

    /// Kills the worker without warning, so that attempts in progress are not recorded, and
    /// restarts it from disk.
    async fn kill(&mut self) {
        let worker = self.worker.take().unwrap();
        worker.abort();
        let _ = worker.await;
        self.store = Store::open(&self.directory.path().join("llmwatch.db")).unwrap();
        self.begin();
    }

    fn decide(&self, channel: &str, notice: &Notice) {
        let incident = notice.incident.as_ref().unwrap();
        let row = IncidentRow {
            id: incident.id,
            number: incident.number,
            open: incident.state == IncidentState::Open,
            started_at: incident.started_at,
            data: serde_json::to_string(incident).unwrap(),
        };
        let outgoing = vec![Outgoing {
            channel: channel.into(),
            not_before: None,
            notice: notice.clone(),
            supersedes_pending: false,
        }];
        self.store
            .commit(&[Commit {
                incidents: vec![row],
                outgoing,
                ..Commit::default()
            }])
            .unwrap();
        self.wake.notify_waiters();
    }

    /// Advances time, with the kills that the receiver requests.
    async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            tokio::select! {
                Some(()) = self.kills.recv() => self.kill().await,
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    fn waiting(&self) -> usize {
        self.store
            .outbox_rows(false)
            .unwrap()
            .iter()
            .filter(|r| r.state == "pending")
            .count()
    }

    fn came(&self) -> Vec<Came> {
        self.receiver.came.lock().unwrap().clone()
    }
}

fn now(scene: &Scene) -> Timestamp {
    START + scene.receiver.begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn failing_receiver_gets_the_message_later_under_its_id() {
    let mut scene = Scene::new(Vec::new(), Answer::Fail, "").await;
    let notice = sample_notice(
        NoticeKind::Opened,
        Uuid::now_v7(),
        "fra1",
        None,
        now(&scene),
        &Locale::default(),
    );
    scene.decide("a", &notice);
    scene.pass(Duration::from_mins(10)).await;
    assert_eq!(scene.waiting(), 1, "it is still there");
    let in_vain = scene.came().len();
    assert!(
        (45..200).contains(&in_vain),
        "at most 15 s apart, and not in a loop: {in_vain} times"
    );
    *scene.receiver.then.lock().unwrap() = Answer::Take;
    scene.pass(Duration::from_secs(16)).await;
    assert_eq!(scene.waiting(), 0, "no wait is longer than 15 s");
    let came = scene.came();
    assert_eq!(came.iter().filter(|c| c.taken).count(), 1);
    assert!(
        came.iter()
            .all(|c| c.id == notice.id.to_string() && c.body == came[0].body)
    );
}

#[tokio::test(start_paused = true)]
async fn a_success_releases_all_that_waits_on_the_channel() {
    let mut scene = Scene::new(Vec::new(), Answer::Fail, "").await;
    for _ in 0..5 {
        let notice = Notice {
            incident: None,
            ..sample_notice(
                NoticeKind::Offline,
                Uuid::now_v7(),
                "fra1",
                None,
                now(&scene),
                &Locale::default(),
            )
        };
        scene.store.commit(&[queued("a", notice)]).unwrap();
    }
    scene.pass(Duration::from_mins(5)).await;
    assert_eq!(scene.waiting(), 5);
    *scene.receiver.then.lock().unwrap() = Answer::Take;
    let from = scene.receiver.begun.elapsed();
    scene.pass(Duration::from_secs(16)).await;
    assert_eq!(scene.waiting(), 0);
    let taken: Vec<_> = scene.came().into_iter().filter(|c| c.taken).collect();
    assert_eq!(taken.len(), 5);
    let first = taken[0].at;
    assert!(
        first.checked_sub(from).unwrap() <= Duration::from_secs(15),
        "{:?}",
        first.checked_sub(from).unwrap()
    );
    let last = taken[4].at;
    assert!(
        last.checked_sub(first).unwrap() <= Duration::from_secs(1),
        "{:?}",
        last.checked_sub(first).unwrap()
    );
}

fn queued(channel: &str, notice: Notice) -> Commit {
    let outgoing = vec![Outgoing {
        channel: channel.into(),
        not_before: None,
        notice,
        supersedes_pending: false,
    }];
    Commit {
        outgoing,
        ..Commit::default()
    }
}

#[tokio::test(start_paused = true)]
async fn undeliverable_notification_expires_and_is_kept() {
    let mut scene = Scene::new(Vec::new(), Answer::Fail, "give_up_after = \"10m\"").await;
    scene.decide(
        "a",
        &sample_notice(
            NoticeKind::Opened,
            Uuid::now_v7(),
            "fra1",
            None,
            now(&scene),
            &Locale::default(),
        ),
    );
    scene.pass(Duration::from_mins(12)).await;
    let rows = scene.store.outbox_rows(false).unwrap();
    assert_eq!((rows.len(), rows[0].state.as_str()), (1, "expired"));
    assert!(rows[0].error.as_deref().unwrap().contains("500"));
    assert!(
        scene.came().iter().all(|c| c.at <= Duration::from_mins(11)),
        "then it rests"
    );
}

#[tokio::test(start_paused = true)]
async fn a_busy_receiver_is_left_alone_for_as_long_as_it_asks() {
    let mut scene = Scene::new(vec![(Answer::Busy(200), false)], Answer::Take, "").await;
    scene.decide(
        "a",
        &sample_notice(
            NoticeKind::Opened,
            Uuid::now_v7(),
            "fra1",
            None,
            now(&scene),
            &Locale::default(),
        ),
    );
    scene.pass(Duration::from_mins(10)).await;
    let came = scene.came();
    assert_eq!(came.len(), 2);
    assert!(
        came[1].at.saturating_sub(came[0].at) >= Duration::from_secs(200),
        "{:?}",
        came[1].at
    );
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_hangs_delays_no_other() {
    let mut scene = Scene::new(
        vec![(Answer::Hang, false)],
        Answer::Take,
        "timeout = \"60s\"",
    )
    .await;
    scene.decide(
        "a",
        &sample_notice(
            NoticeKind::Opened,
            Uuid::now_v7(),
            "fra1",
            None,
            now(&scene),
            &Locale::default(),
        ),
    );
    scene.pass(Duration::from_secs(1)).await;
    scene.decide(
        "b",
        &sample_notice(
            NoticeKind::Opened,
            Uuid::now_v7(),
            "fra1",
            None,
            now(&scene),
            &Locale::default(),
        ),
    );
    scene.pass(Duration::from_secs(1)).await;
    assert_eq!(
        scene
            .came()
            .iter()
            .map(|c| (c.path.as_str(), c.taken))
            .collect::<Vec<_>>(),
        [("a", false), ("b", true)]
    );
}

/// The notices of one incident, in the order of their decision.
fn tale(number: u64, middle: &[NoticeKind], ends: bool) -> Vec<Notice> {
    let types = std::iter::once(NoticeKind::Opened).chain(middle.iter().copied());
    let types = types.chain(ends.then_some(NoticeKind::Resolved));
    types
        .map(|kind| {
            let mut notice = sample_notice(
                kind,
                Uuid::now_v7(),
                "fra1",
                None,
                START,
                &Locale::default(),
            );
            let incident = notice.incident.as_mut().unwrap();
            (incident.id, incident.number) = (Uuid::from_u128(u128::from(number)), number);
            notice
        })
        .collect()
}

/// Notices of incidents to two channels, with the seconds before each.
fn decisions() -> impl Strategy<Value = Vec<(u64, &'static str, Notice)>> {
    let middle = prop::collection::vec(
        prop::sample::select(vec![NoticeKind::Escalated, NoticeKind::Updated]),
        0..3,
    );
    let tales = prop::collection::vec(
        (middle, any::<bool>(), prop::sample::select(vec!["a", "b"])),
        1..5,
    );
    (
        tales,
        prop::collection::vec((any::<prop::sample::Index>(), 0u64..90), 20),
    )
        .prop_map(|(tales, order)| {
            let mut queues: Vec<_> = tales
                .iter()
                .enumerate()
                .map(|(n, (middle, ends, channel))| {
                    (*channel, VecDeque::from(tale(n as u64 + 1, middle, *ends)))
                })
                .collect();
            let mut decided = Vec::new();
            for (which, wait) in order.iter().cycle() {
                queues.retain(|(_, queue)| !queue.is_empty());
                if queues.is_empty() {
                    break;
                }
                let place = which.index(queues.len());
                let (channel, queue) = &mut queues[place];
                decided.extend(queue.pop_front().map(|notice| (*wait, *channel, notice)));
            }
            decided
        })
}

fn answers() -> impl Strategy<Value = Vec<(Answer, bool)>> {
    let answer = prop_oneof![
        3 => Just(Answer::Take),
        3 => Just(Answer::Fail),
        1 => (1u64..400).prop_map(Answer::Busy),
        1 => Just(Answer::Hang),
        1 => Just(Answer::TakeAndHang),
        1 => Just(Answer::TakeAndFail),
    ];
    prop::collection::vec((answer, prop::bool::weighted(0.25)), 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever fails and whenever the worker is killed, each notice is sent at least once, in
    /// order per channel and incident; repeats have the same id. An opening sent after the end says
    /// so, and replaces all other notices.
    #[test]
    fn notices_are_sent_in_order_at_least_once_under_one_id(decided in decisions(), plan in answers()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let came = runtime.block_on(async {
            let mut scene = Scene::new(plan.clone(), Answer::Take, "").await;
            for (wait, channel, notice) in &decided {
                scene.pass(Duration::from_secs(*wait)).await;
                scene.decide(channel, notice);
            }
            for _ in 0..200 {
                scene.pass(Duration::from_mins(5)).await;
                if scene.waiting() == 0 {
                    break;
                }
            }
            assert_eq!(scene.waiting(), 0, "nothing waits in the end");
            scene.came()
        });
        for channel in ["a", "b"] {
            for number in 1..=5 {
                let about = |n: &&(u64, &str, Notice)| n.1 == channel && n.2.incident.as_ref().unwrap().number == number;
                let wanted: Vec<_> = decided.iter().filter(about).map(|(.., n)| n.id.to_string()).collect();
                let taken: Vec<_> = came
                    .iter()
                    .filter(|c| c.taken && c.path == channel && c.body["data"]["incident"]["number"] == number)
                    .collect();
                let mut reported: Vec<_> = taken.iter().map(|c| c.id.clone()).collect();
                reported.dedup();
                let over = taken.last().is_some_and(|c| c.body["data"]["incident"]["state"] == "resolved");
                let stands_for_all = reported.len() == 1 && over && reported.first() == wanted.first();
                prop_assert!(reported == wanted || stands_for_all, "{channel} {number}: {reported:?} of {wanted:?}");
            }
        }
    }
}

/// A receiver that accepted the opening without a timely response ignores the repeat by its id. The
/// end must therefore be a separate message.
#[tokio::test(start_paused = true)]
async fn receiver_that_may_have_the_opening_gets_the_end() {
    let mut scene = Scene::new(vec![(Answer::TakeAndHang, false)], Answer::Fail, "").await;
    let tale = tale(1, &[], true);
    scene.decide("a", &tale[0]);
    scene.pass(Duration::from_mins(1)).await;
    scene.decide("a", &tale[1]);
    *scene.receiver.then.lock().unwrap() = Answer::Take;
    scene.pass(Duration::from_mins(10)).await;
    let taken = scene.came().into_iter().filter(|c| c.taken);
    let mut first = std::collections::BTreeSet::new();
    let kept: Vec<_> = taken
        .filter(|c| first.insert(c.id.clone()))
        .map(|c| c.body["type"].clone())
        .collect();
    assert_eq!(kept, ["incident.opened", "incident.resolved"]);
}

/// One recipient got the opening at once, the other only after the end. The first one must also get
/// the end.
#[tokio::test]
async fn recipient_with_the_opening_gets_the_end() {
    let mut sink = MailSink::start(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    let text = format!(
        "[[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\n[[email]]\nname = \"a\"\nfrom = \"llmwatch@example.com\"\n\
         to = [\"ann@example.com\", \"bob@example.com\"]\nsmtp = \"smtp://{}\"\n",
        sink.addr()
    );
    std::fs::write(&path, text).unwrap();
    let surroundings = Environment {
        hostname: "host".to_owned(),
        ..Environment::default()
    };
    let config = Arc::new(config::load(&path, &surroundings).unwrap());
    let store = Store::open(&directory.path().join("llmwatch.db")).unwrap();
    let decide = |notice: Notice| {
        let incident = notice.incident.clone().unwrap();
        let row = IncidentRow {
            id: incident.id,
            number: incident.number,
            open: incident.state == IncidentState::Open,
            started_at: incident.started_at,
            data: serde_json::to_string(&incident).unwrap(),
        };
        let outgoing = vec![Outgoing {
            channel: "a".into(),
            not_before: None,
            notice,
            supersedes_pending: false,
        }];
        store
            .commit(&[Commit {
                incidents: vec![row],
                outgoing,
                ..Commit::default()
            }])
            .unwrap();
    };
    decide(sample_notice(
        NoticeKind::Opened,
        Uuid::now_v7(),
        "fra1",
        None,
        clock::now(),
        &Locale::default(),
    ));
    // The mail server deferred bob.
    let pending = store.next_pending("a", clock::now()).unwrap().unwrap();
    let progress = serde_json::to_string(&Progress {
        delivered: vec!["ann@example.com".to_owned()],
        ..Progress::default()
    });
    let put_off = DeliveryOutcome::RetryAt(clock::now());
    store
        .record_attempt(
            &pending,
            clock::now(),
            put_off,
            &progress.unwrap(),
            Some("bob: 451"),
            None,
        )
        .unwrap();
    decide(sample_notice(
        NoticeKind::Resolved,
        Uuid::now_v7(),
        "fra1",
        None,
        clock::now(),
        &Locale::default(),
    ));

    let stop = CancellationToken::new();
    let wake = Arc::new(Notify::new());
    let post = WorkerContext {
        shared: None,
        store: store.clone(),
        wall: Arc::new(clock::now),
        wake,
        stop: stop.clone(),
        links: Links::new(&[7; 32].into()),
    };
    let (_config, configs) = watch::channel(config);
    let worker = tokio::spawn(worker::run(post, configs));
    let mut came = Vec::new();
    for _ in 0..3 {
        let mail = tokio::time::timeout(PATIENCE, sink.next())
            .await
            .expect("a mail comes");
        let over = String::from_utf8_lossy(&mail.data).contains("RESOLVED after");
        came.push((mail.to[0].clone(), over));
    }
    came[1..].sort();
    let reported = [
        ("bob@example.com", false),
        ("ann@example.com", true),
        ("bob@example.com", true),
    ];
    assert_eq!(came, reported.map(|(who, over)| (who.to_owned(), over)));
    stop.cancel();
    worker.await.unwrap().unwrap();
}
