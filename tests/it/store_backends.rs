//! The interface that SQLite and PostgreSQL share: each store keeps what a store has to keep, the
//! same operations produce the same outbox, and the same samples the same events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use llmwatch::config::PostgresUrl;
use llmwatch::store::postgres::{DaemonRow, Push, Session, SharedStore};
use llmwatch::store::{
    Announced, Commit, DeliveryOutcome, Horizon, IncidentRow, Pending, SampleQuery, SignUp, Store,
    StoreError, SubscriberMail, SubscriberStore, Subscription,
};
use llmwatch_core::config::Agree;
use llmwatch_core::incident::Change;
use llmwatch_core::locations::{
    Decided, LocationEvidence, LocationReport, LocationVerdict, SharedIncident, decide,
};
use llmwatch_core::message::subscriber::SubscriberText;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    Attribution, ChannelName, ChannelStats, Fault, Incident, IncidentState, NoticeKind, Outcome,
    Outgoing, Sample, Timestamp,
};
use llmwatch_core::monitor::MonitorState;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use crate::fold::{configuration, history};
use crate::support::postgres::Postgres;
use crate::support::{good, notice};

/// The test's clock, which SQLite's outbox uses.
const NOW: Timestamp = Timestamp(1_795_510_800_000);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

fn shared(server: &Postgres, database: &str) -> SharedStore {
    let url = PostgresUrl::parse(&server.database(database)).unwrap();
    SharedStore::new(Arc::new(url), None).unwrap()
}

/// The same outbox in both stores.
struct Both {
    sqlite: Store,
    postgres: SharedStore,
    session: Session,
}

impl Both {
    async fn new(server: &Postgres, database: &str) -> Self {
        let postgres = shared(server, database);
        Self {
            sqlite: Store::in_memory().unwrap(),
            session: postgres.open().await.unwrap(),
            postgres,
        }
    }

    async fn queue(&self, outgoing: Outgoing) {
        self.postgres.queue_once(&outgoing).await.unwrap();
        let commit = Commit {
            outgoing: vec![outgoing],
            ..Commit::default()
        };
        self.sqlite.commit(&[commit]).unwrap();
    }

    /// Returns the notification that both would send to `channel` next.
    async fn next(&self, channel: &str) -> Option<(Pending, Pending)> {
        let sqlite = self.sqlite.next_pending(channel, NOW).unwrap();
        let postgres = self.postgres.claim(channel).await.unwrap();
        let ids = (
            sqlite.as_ref().map(|p| p.notice.id),
            postgres.as_ref().map(|p| p.notice.id),
        );
        assert_eq!(ids.0, ids.1, "next for {channel}\n{}", self.shown().await);
        let (sqlite, postgres) = (sqlite?, postgres?);
        assert_eq!(sqlite.notice.already_over, postgres.notice.already_over);
        assert_eq!(sqlite.attempts, postgres.attempts);
        Some((sqlite, postgres))
    }

    async fn record(
        &self,
        (sqlite, postgres): &(Pending, Pending),
        outcome: DeliveryOutcome,
        fallback: Option<&str>,
    ) {
        let error = match outcome {
            DeliveryOutcome::Sent | DeliveryOutcome::SentAsResolved => None,
            _ => Some("HTTP 503"),
        };
        self.sqlite
            .record_attempt(sqlite, NOW, outcome, "{}", error, fallback)
            .unwrap();
        let wait = match outcome {
            DeliveryOutcome::RetryAt(at) => Duration::from_millis(at.since_ms(NOW).unsigned_abs()),
            _ => Duration::ZERO,
        };
        self.postgres
            .record_shared_attempt(postgres, outcome, wait, "{}", error, fallback)
            .await
            .unwrap();
    }

    /// Returns id, channel, type, state and attempts of every row of each store.
    async fn rows(&self) -> [Vec<(Uuid, ChannelName, String, String, u32)>; 2] {
        let of = |rows: Vec<llmwatch::store::OutboxRow>| {
            let mut rows: Vec<_> = rows
                .into_iter()
                .map(|r| (r.id, r.channel, r.kind, r.state, r.attempts))
                .collect();
            rows.sort();
            rows
        };
        let postgres = self.postgres.outbox_rows(true).await.unwrap();
        [of(self.sqlite.outbox_rows(true).unwrap()), of(postgres)]
    }

    async fn shown(&self) -> String {
        let [sqlite, postgres] = self.rows().await;
        format!("SQLite: {sqlite:#?}\nPostgreSQL: {postgres:#?}")
    }

    /// Asserts that both have the same rows.
    async fn check(&self) {
        let [sqlite, postgres] = self.rows().await;
        assert_eq!(sqlite, postgres);
        let counts = |stats: Vec<ChannelStats>| -> BTreeMap<ChannelName, [u64; 4]> {
            let of = |s: ChannelStats| (s.channel, [s.pending, s.sent, s.failed, s.expired]);
            stats.into_iter().map(of).collect()
        };
        let postgres = self.session.channel_stats(0).await.unwrap();
        assert_eq!(
            counts(self.sqlite.channel_stats().unwrap()),
            counts(postgres)
        );
    }
}

fn incident(n: u64) -> Incident {
    Incident {
        id: Uuid::from_u128(u128::from(n)),
        number: n,
        ..crate::store::incident(Uuid::nil())
    }
}

fn outgoing(channel: &str, kind: NoticeKind, about: Option<u64>) -> Outgoing {
    let incident = about.map(|n| {
        let is_over = kind == NoticeKind::Resolved;
        Incident {
            resolved_at: is_over.then_some(NOW),
            ended_at: is_over.then_some(NOW),
            ..incident(n)
        }
    });
    Outgoing {
        channel: channel.into(),
        not_before: None,
        notice: notice(kind, incident, NOW),
        supersedes_pending: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_report_about_delivery_replaces_a_pending_one() {
    let Some(server) = Postgres::start("reports about delivery") else {
        return;
    };
    let both = Both::new(&server, "reports").await;
    let report = |over| Outgoing {
        notice: llmwatch_core::model::Notice {
            condition: Some(llmwatch_core::model::Condition {
                key: "delivery".to_owned(),
                over,
            }),
            ..notice(NoticeKind::Delivery, None, NOW)
        },
        supersedes_pending: true,
        ..outgoing("mail", NoticeKind::Delivery, None)
    };
    for over in [false, false, true, false, true] {
        both.queue(report(over)).await;
        both.check().await;
        let [rows, _] = both.rows().await;
        let pending = rows.iter().filter(|row| row.3 == "pending").count();
        assert_eq!(pending, 1, "{}", both.shown().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_stores_keep_one_outbox() {
    let Some(server) = Postgres::start("the outbox of both stores") else {
        return;
    };
    let mut random = fastrand::Rng::with_seed(17);
    for round in 0..6 {
        let both = Both::new(&server, &format!("outbox{round}")).await;
        let mut open: Vec<u64> = Vec::new();
        let mut numbers = 1..;
        for _ in 0..60 {
            let channel = if random.bool() { "mail" } else { "hook" };
            match random.u8(0..10) {
                0..=2 => {
                    let n = numbers.next().unwrap_or_default();
                    both.queue(outgoing(channel, NoticeKind::Opened, Some(n)))
                        .await;
                    open.push(n);
                }
                3 => {
                    if let Some(n) = open.pop() {
                        for channel in ["mail", "hook"] {
                            both.queue(outgoing(channel, NoticeKind::Resolved, Some(n)))
                                .await;
                        }
                    }
                }
                4 if random.u8(0..4) == 0 => {
                    both.queue(outgoing(channel, NoticeKind::Digest, None))
                        .await;
                }
                _ => {
                    let Some(next) = both.next(channel).await else {
                        continue;
                    };
                    let is_both = next.0.notice.already_over;
                    let outcome = match random.u8(0..8) {
                        0 => DeliveryOutcome::RetryAt(NOW + HOUR),
                        1 => DeliveryOutcome::RetryAt(NOW),
                        2 => DeliveryOutcome::Failed,
                        3 => DeliveryOutcome::Expired,
                        _ if is_both => DeliveryOutcome::SentAsResolved,
                        _ => DeliveryOutcome::Sent,
                    };
                    let fallback = (channel == "mail").then_some("hook");
                    both.record(&next, outcome, fallback).await;
                }
            }
            both.check().await;
        }
        // Retries all pending and dead notifications.
        let [rows, _] = both.rows().await;
        for (id, _, _, state, _) in rows {
            if matches!(state.as_str(), "pending" | "failed" | "expired") {
                assert!(both.sqlite.retry(id, NOW).unwrap());
                assert!(both.postgres.retry(id).await.unwrap());
            }
        }
        for channel in ["mail", "hook"] {
            while let Some(next) = both.next(channel).await {
                let outcome = if next.0.notice.already_over {
                    DeliveryOutcome::SentAsResolved
                } else {
                    DeliveryOutcome::Sent
                };
                both.record(&next, outcome, None).await;
            }
        }
        both.check().await;
        let [rows, _] = both.rows().await;
        assert!(
            rows.iter()
                .all(|(.., state, _)| state == "sent" || state == "merged")
        );
    }
}

/// A store under test.
enum Backend {
    Sqlite(Store),
    Postgres {
        shared: SharedStore,
        session: Box<Session>,
        /// Another daemon, which reads what the first has written.
        reader: Box<Session>,
    },
}

impl Backend {
    /// Every kind of store, empty; the server ends with the test.
    async fn all(test: &str) -> (Vec<Self>, Option<Postgres>) {
        let mut all = vec![Self::Sqlite(Store::in_memory().unwrap())];
        let server = Postgres::start(test);
        if let Some(server) = &server {
            let shared = shared(server, "monitor");
            let url = PostgresUrl::parse(&server.url("llmwatch", "monitor")).unwrap();
            let other = SharedStore::new(Arc::new(url), None).unwrap();
            all.push(Self::Postgres {
                session: Box::new(shared.open().await.unwrap()),
                reader: Box::new(other.open().await.unwrap()),
                shared,
            });
        }
        (all, server)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    async fn record_samples(&mut self, samples: &[Sample]) {
        match self {
            Self::Sqlite(store) => {
                let commit = |sample: &Sample| Commit {
                    sample: Some(sample.clone()),
                    ..Commit::default()
                };
                let commits: Vec<_> = samples.iter().map(commit).collect();
                store.commit(&commits).unwrap();
            }
            Self::Postgres {
                shared, session, ..
            } => {
                let push = Push {
                    daemon: &daemon(shared),
                    samples,
                    revised: &[],
                    zone: Tz::UTC,
                    verdicts: &[],
                    report: None,
                };
                session.push(&push).await.unwrap();
            }
        }
    }

    async fn samples(&self) -> Vec<Sample> {
        match self {
            Self::Sqlite(store) => {
                let mut samples = Vec::new();
                let all = store.each_sample(SampleQuery::default(), |_, sample| {
                    samples.push(sample);
                    Ok::<_, StoreError>(())
                });
                all.unwrap();
                samples
            }
            Self::Postgres { reader, .. } => {
                let all = reader.samples_since(Timestamp(0), None, 1000).await;
                all.unwrap().into_iter().map(|(_, sample)| sample).collect()
            }
        }
    }

    /// Records an incident together with notifications about it. Returns whether that succeeded.
    async fn record_incident(&mut self, incident: &Incident, outgoing: Vec<Outgoing>) -> bool {
        match self {
            Self::Sqlite(store) => {
                let commit = Commit {
                    incidents: vec![IncidentRow::of(incident)],
                    outgoing,
                    ..Commit::default()
                };
                store.commit(&[commit]).is_ok()
            }
            Self::Postgres { session, .. } => {
                let decision = session.lock(true, Duration::ZERO).await.unwrap();
                let mut decision = decision.unwrap();
                decision.next_number = decision.next_number.max(incident.number + 1);
                let decided = Decided {
                    change: None,
                    alerts: Vec::new(),
                    shared: SharedIncident {
                        incident: incident.clone(),
                        members: BTreeMap::new(),
                        notified: true,
                        began_at: incident.started_at,
                        opened_at: incident.opened_at,
                    },
                };
                decision.record(&[decided], &[], &outgoing, 0).await.is_ok()
            }
        }
    }

    /// Returns all incidents, and the highest number.
    async fn incidents(&self) -> (Vec<Incident>, u64) {
        match self {
            Self::Sqlite(store) => {
                let rows = store.incidents(false).unwrap();
                let read = |row: &IncidentRow| serde_json::from_str(&row.data).unwrap();
                let incidents = rows.iter().map(read).collect();
                (incidents, store.last_incident_number().unwrap())
            }
            Self::Postgres { reader, .. } => {
                let updates = reader.updates(None, None, false, "").await.unwrap();
                let incidents = updates.incidents.into_iter().map(|s| s.incident);
                (incidents.collect(), updates.last_number)
            }
        }
    }

    fn subscribers(&self) -> SubscriberStore {
        match self {
            Self::Sqlite(store) => SubscriberStore::Own(store.clone()),
            Self::Postgres { shared, .. } => SubscriberStore::Shared(shared.clone()),
        }
    }

    async fn queue(&self, outgoing: Outgoing) {
        match self {
            Self::Sqlite(store) => {
                let commit = Commit {
                    outgoing: vec![outgoing],
                    ..Commit::default()
                };
                store.commit(&[commit]).unwrap();
            }
            Self::Postgres { shared, .. } => shared.queue_once(&outgoing).await.unwrap(),
        }
    }

    async fn next(&self, channel: &str) -> Option<Pending> {
        match self {
            Self::Sqlite(store) => store.next_pending(channel, NOW).unwrap(),
            Self::Postgres { shared, .. } => shared.claim(channel).await.unwrap(),
        }
    }

    /// Records an attempt; one that is to be repeated is so in an hour.
    async fn record(&self, pending: &Pending, outcome: DeliveryOutcome, fallback: Option<&str>) {
        let error = (outcome != DeliveryOutcome::Sent).then_some("HTTP 503");
        match self {
            Self::Sqlite(store) => store
                .record_attempt(pending, NOW, outcome, "{}", error, fallback)
                .unwrap(),
            Self::Postgres { shared, .. } => shared
                .record_shared_attempt(pending, outcome, HOUR, "{}", error, fallback)
                .await
                .unwrap(),
        }
    }

    async fn retry(&self, id: Uuid) -> bool {
        match self {
            Self::Sqlite(store) => store.retry(id, NOW).unwrap(),
            Self::Postgres { shared, .. } => shared.retry(id).await.unwrap(),
        }
    }

    /// Forgets everything that has ended by now.
    async fn forget(&self) {
        match self {
            Self::Sqlite(store) => {
                let before = NOW + HOUR;
                let horizon = Horizon {
                    samples: before,
                    fine_rollups: before,
                    rollups: before,
                    incidents: None,
                };
                store.forget(horizon, 100).unwrap();
            }
            Self::Postgres { session, .. } => {
                // What has ended within this millisecond as well.
                let before = session.now().await.unwrap() + Duration::from_millis(1);
                session.forget(before, 100).await.unwrap();
            }
        }
    }

    async fn rows(&self) -> usize {
        match self {
            Self::Sqlite(store) => store.outbox_rows(true).unwrap().len(),
            Self::Postgres { shared, .. } => shared.outbox_rows(true).await.unwrap().len(),
        }
    }

    async fn stats(&self, channel: &str) -> Option<ChannelStats> {
        let stats = match self {
            Self::Sqlite(store) => store.channel_stats().unwrap(),
            Self::Postgres { session, .. } => session.channel_stats(0).await.unwrap(),
        };
        stats.into_iter().find(|s| s.channel == channel)
    }
}

fn daemon(shared: &SharedStore) -> DaemonRow {
    DaemonRow {
        id: shared.me(),
        location: "fra1".to_owned(),
        host: "host".to_owned(),
        version: "0".to_owned(),
        probes: true,
        endpoints: String::new(),
        samples_per_hour: 0,
        started_at: NOW,
        seen_at: NOW,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_comes_out_as_it_went_in_once() {
    let (backends, _server) = Backend::all("samples in both stores").await;
    for mut store in backends {
        let good = good("openai-chat", Timestamp(1_700_000_000_123));
        let failed = Sample {
            id: Uuid::now_v7(),
            scheduled_at: Timestamp(1_700_000_060_000),
            outcome: Outcome::Failed,
            fault: Some(Fault::TimeoutFirstToken),
            attribution: Some(Attribution::Provider),
            model: None,
            first_token_ms: None,
            error: Some("no \"first\" token,\nin time".to_owned()),
            ..good.clone()
        };
        store.record_samples(&[good.clone(), failed.clone()]).await;
        assert_eq!(store.samples().await, [good, failed], "{}", store.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resolved_never_overtakes_its_opened() {
    let (backends, _server) = Backend::all("order in both stores").await;
    for store in backends {
        let name = store.name();
        for (kind, about) in [
            (NoticeKind::Opened, 1),
            (NoticeKind::Resolved, 1),
            (NoticeKind::Opened, 2),
        ] {
            store.queue(outgoing("mail", kind, Some(about))).await;
        }
        let is_of = |pending: &Pending, n| pending.notice.incident.as_ref().unwrap().number == n;
        let opened = store.next("mail").await.unwrap();
        assert_eq!(opened.notice.kind, NoticeKind::Opened, "{name}");
        assert!(is_of(&opened, 1), "{name}");
        // The incident was over before this could be sent.
        assert!(opened.notice.already_over, "{name}");
        let later = DeliveryOutcome::RetryAt(NOW + HOUR);
        store.record(&opened, later, None).await;
        let other = store.next("mail").await.unwrap();
        assert!(is_of(&other, 2), "{name}");
        store.record(&other, DeliveryOutcome::Sent, None).await;
        // The end waits for its beginning.
        assert_eq!(store.next("mail").await, None, "{name}");
        assert!(store.retry(opened.notice.id).await, "{name}");
        let again = store.next("mail").await.unwrap();
        assert_eq!(again.notice.id, opened.notice.id, "{name}");
        store.record(&again, DeliveryOutcome::Sent, None).await;
        let resolved = store.next("mail").await.unwrap();
        assert_eq!(resolved.notice.kind, NoticeKind::Resolved, "{name}");
        store.record(&resolved, DeliveryOutcome::Sent, None).await;
        assert_eq!(store.stats("mail").await.unwrap().pending, 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_do_not_wait_for_each_other() {
    let (backends, _server) = Backend::all("channels in both stores").await;
    for store in backends {
        store
            .queue(outgoing("hook", NoticeKind::Opened, Some(1)))
            .await;
        assert_eq!(store.next("mail").await, None, "{}", store.name());
        assert_eq!(store.stats("hook").await.unwrap().pending, 1);
        assert!(store.stats("mail").await.is_none(), "{}", store.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fallback_pager_receives_resolve_for_short_incident() {
    let (backends, _server) = Backend::all("the fallback in both stores").await;
    for store in backends {
        for kind in [NoticeKind::Opened, NoticeKind::Resolved] {
            store.queue(outgoing("mail", kind, Some(1))).await;
        }
        for _ in 0..2 {
            let pending = store.next("mail").await.unwrap();
            store
                .record(&pending, DeliveryOutcome::Expired, Some("pager"))
                .await;
        }
        let mut reported = Vec::new();
        while let Some(pending) = store.next("pager").await {
            reported.push(pending.notice.kind);
            store.record(&pending, DeliveryOutcome::Sent, None).await;
        }
        let wanted = [NoticeKind::Opened, NoticeKind::Resolved];
        assert_eq!(reported, wanted, "{}", store.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn durations_keep_their_microseconds() {
    let (backends, _server) = Backend::all("durations in both stores").await;
    for mut store in backends {
        let mut random = fastrand::Rng::with_seed(17);
        let mut samples = Vec::new();
        for n in 0..200 {
            let us = f64::from(random.u32(0..100_000_000));
            samples.push(Sample {
                scheduled_at: Timestamp(60_000 * n),
                total_ms: Some(us / 1000.0),
                ..good("openai-chat", Timestamp(60_000 * n))
            });
        }
        store.record_samples(&samples).await;
        assert_eq!(store.samples().await, samples, "{}", store.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_one_row_from_its_opening_to_its_end() {
    let (backends, _server) = Backend::all("incidents in both stores").await;
    for mut store in backends {
        let name = store.name();
        let opened = incident(7);
        assert!(store.record_incident(&opened, Vec::new()).await, "{name}");
        assert_eq!(store.incidents().await, (vec![opened.clone()], 7), "{name}");
        let over = Incident {
            state: IncidentState::Resolved,
            resolved_at: Some(NOW),
            ended_at: Some(NOW),
            ..opened
        };
        assert!(store.record_incident(&over, Vec::new()).await, "{name}");
        assert_eq!(store.incidents().await, (vec![over], 7), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_and_its_notifications_are_recorded_together() {
    let (backends, _server) = Backend::all("transactions of both stores").await;
    for mut store in backends {
        let name = store.name();
        let message = outgoing("mail", NoticeKind::Opened, Some(1));
        let about = incident(1);
        assert!(store.record_incident(&about, vec![message]).await, "{name}");
        assert!(store.next("mail").await.is_some(), "{name}");
        // PostgreSQL takes no number twice, SQLite no notification: nothing is recorded.
        let other = Incident {
            id: Uuid::from_u128(2),
            ..incident(1)
        };
        let message = outgoing("hook", NoticeKind::Opened, Some(2));
        let twice = vec![message.clone(), message];
        assert!(!store.record_incident(&other, twice).await, "{name}");
        assert_eq!(store.incidents().await, (vec![about], 1), "{name}");
        assert_eq!(store.next("hook").await, None, "{name}");
    }
}

/// A mail with this subject.
fn text(subject: &str) -> SubscriberText {
    SubscriberText {
        subject: subject.to_owned(),
        body: "Text.\n".to_owned(),
    }
}

/// Signs an address up. Returns the emails that are due then.
async fn sign_up(store: &SubscriberStore, address: &str) -> Vec<SubscriberMail> {
    let mail = text("Confirm");
    let signed_up = store.sign_up(address.to_owned(), mail, NOW).await.unwrap();
    assert_eq!(signed_up, SignUp::Accepted);
    store.due_mails(NOW, 10).await.unwrap()
}

fn announced(notes: u32, over: bool) -> Announced {
    Announced {
        incident: Uuid::from_u128(1),
        notes,
        over,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_confirmed_and_ended_once() {
    let (backends, _server) = Backend::all("subscriptions in both stores").await;
    for store in backends {
        let name = store.name();
        let store = store.subscribers();
        let due = sign_up(&store, "ann@example.org").await;
        let [confirmation] = &due[..] else {
            panic!("{name}: {due:?}");
        };
        assert_eq!(confirmation.address, "ann@example.org", "{name}");
        assert_eq!(confirmation.incident, None, "{name}");
        store.finish_mail(confirmation.id).await.unwrap();
        // Within the hour nobody gets a second one.
        assert!(
            sign_up(&store, "ann@example.org").await.is_empty(),
            "{name}"
        );
        // Who has not confirmed gets nothing else.
        let mails = vec![text("Failing")];
        let known = announced(0, false);
        store.announce(None, known, mails, NOW).await.unwrap();
        assert!(store.due_mails(NOW, 10).await.unwrap().is_empty(), "{name}");
        let id = confirmation.subscriber;
        let mut states = vec![store.subscription(id).await.unwrap()];
        for _ in 0..2 {
            states.push(store.confirm(id, NOW).await.unwrap());
        }
        for _ in 0..2 {
            states.push(store.unsubscribe(id).await.unwrap());
        }
        states.push(store.confirm(id, NOW).await.unwrap());
        let wanted = [
            Subscription::Unconfirmed,
            Subscription::Unconfirmed,
            Subscription::Confirmed,
            Subscription::Confirmed,
            Subscription::None,
            Subscription::None,
        ];
        assert_eq!(states, wanted, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_reaches_each_subscriber_once_in_order() {
    let (backends, _server) = Backend::all("announcements of both stores").await;
    for store in backends {
        let name = store.name();
        let store = store.subscribers();
        let subscribe = async |address, at| {
            for confirmation in sign_up(&store, address).await {
                store.confirm(confirmation.subscriber, at).await.unwrap();
                store.finish_mail(confirmation.id).await.unwrap();
            }
        };
        subscribe("ann@example.org", NOW).await;
        subscribe("bob@example.org", NOW).await;
        let first = vec![text("Failing"), text("First note")];
        let (none, some) = (announced(1, false), announced(2, false));
        store.announce(None, none, first, NOW).await.unwrap();
        // Carol confirms while the incident is open.
        let mut got: BTreeMap<String, Vec<SubscriberMail>> = BTreeMap::new();
        receive(&store, &mut got).await;
        subscribe("carol@example.org", NOW + SECOND).await;
        let later = NOW + 2 * SECOND;
        let second = vec![text("Second note")];
        store
            .announce(Some(none), some, second, later)
            .await
            .unwrap();
        let over = announced(2, true);
        let last = vec![text("Over")];
        store.announce(Some(some), over, last, later).await.unwrap();
        receive(&store, &mut got).await;

        let all = ["Failing", "First note", "Second note", "Over"];
        for (address, wanted) in [("ann", &all[..]), ("bob", &all), ("carol", &all[2..])] {
            let mails = &got[&format!("{address}@example.org")];
            let subjects: Vec<_> = mails.iter().map(|m| &m.text.subject).collect();
            assert_eq!(subjects, wanted, "{name}");
            // The first mail that somebody got begins the thread.
            let threads: Vec<_> = mails.iter().map(SubscriberMail::thread).collect();
            assert_eq!(threads[0], None, "{name}: {address}");
            let begun = |thread: &Option<Uuid>| *thread == Some(mails[0].id);
            assert!(threads[1..].iter().all(begun), "{name}: {address}");
        }
    }
}

/// Takes all due mails, by address.
async fn receive(store: &SubscriberStore, got: &mut BTreeMap<String, Vec<SubscriberMail>>) {
    loop {
        let due = store.due_mails(NOW + 5 * SECOND, 3).await.unwrap();
        if due.is_empty() {
            break;
        }
        for mail in due {
            store.finish_mail(mail.id).await.unwrap();
            got.entry(mail.address.clone()).or_default().push(mail);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_mail_waits_and_an_hour_takes_a_hundred_sign_ups() {
    let (backends, _server) = Backend::all("sign-ups in both stores").await;
    for store in backends {
        let name = store.name();
        let store = store.subscribers();
        for n in 0..100 {
            for mail in sign_up(&store, &format!("ann{n}@example.org")).await {
                store.retry_mail(mail.id, NOW, HOUR).await.unwrap();
            }
        }
        assert!(store.due_mails(NOW, 10).await.unwrap().is_empty(), "{name}");
        let mail = text("Confirm");
        let more = store.sign_up("bob@example.org".to_owned(), mail, NOW).await;
        assert_eq!(more.unwrap(), SignUp::TooMany, "{name}");
    }
}

/// Two daemons see the same incident: what one has announced the other does not announce again, and
/// an email is sent by the one that has claimed it.
#[tokio::test(flavor = "multi_thread")]
async fn only_one_daemon_announces_and_sends() {
    let Some(server) = Postgres::start("announcements of two daemons") else {
        return;
    };
    let one = shared(&server, "monitor");
    drop(one.open().await.unwrap());
    let url = PostgresUrl::parse(&server.url("llmwatch", "monitor")).unwrap();
    let other = SharedStore::new(Arc::new(url), None).unwrap();
    one.sign_up("ann@example.org", &text("Confirm"))
        .await
        .unwrap();
    let confirmations = one.claim_subscriber_mails(10).await.unwrap();
    assert_eq!(confirmations.len(), 1);
    assert!(other.claim_subscriber_mails(10).await.unwrap().is_empty());
    one.release_mail_claims().await.unwrap();
    let confirmations = other.claim_subscriber_mails(10).await.unwrap();
    other
        .confirm_subscription(confirmations[0].subscriber)
        .await
        .unwrap();
    other
        .finish_subscriber_mail(confirmations[0].id)
        .await
        .unwrap();
    let mails = [text("Failing")];
    let known = announced(0, false);
    let first = one.announce(None, known, &mails);
    let second = other.announce(None, known, &mails);
    let (first, second) = tokio::join!(first, second);
    assert!(first.unwrap() != second.unwrap(), "one of them is first");
    assert_eq!(one.claim_subscriber_mails(10).await.unwrap().len(), 1);
    assert!(other.claim_subscriber_mails(10).await.unwrap().is_empty());
}

/// A counter that goes down looks like a restart to Prometheus, and what was lost long ago like a
/// new loss.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_still_counts() {
    let (backends, _server) = Backend::all("counts of both stores").await;
    for store in backends {
        for (n, outcome) in [
            DeliveryOutcome::Sent,
            DeliveryOutcome::Failed,
            DeliveryOutcome::Sent,
        ]
        .into_iter()
        .enumerate()
        {
            let about = Some(n as u64 + 1);
            store
                .queue(outgoing("mail", NoticeKind::Opened, about))
                .await;
            let pending = store.next("mail").await.unwrap();
            store.record(&pending, outcome, None).await;
        }
        store.forget().await;
        store
            .queue(outgoing("mail", NoticeKind::Opened, Some(4)))
            .await;
        let name = store.name();
        assert_eq!(store.rows().await, 1, "{name}");
        let stats = store.stats("mail").await.unwrap();
        let counts = [stats.pending, stats.sent, stats.failed, stats.expired];
        assert_eq!(counts, [1, 2, 1, 0], "{name}");
    }
}

/// Formats an event. "Updated" and "escalated" are treated alike: which one it is depends on what
/// the detector saw first, known only to its own daemon.
fn said(change: Change, incident: &Incident) -> String {
    let change = match change {
        Change::Updated => Change::Escalated,
        change => change,
    };
    format!(
        "{change:?} {} {:?} {:?} {:?} {:?} from {} to {:?}",
        incident.id,
        incident.status,
        incident.attribution,
        incident.cause,
        incident.endpoints,
        incident.started_at,
        incident.ended_at,
    )
}

fn sorted(mut events: Vec<String>) -> Vec<String> {
    events.sort();
    events
}

/// The shared incidents, decided by a single daemon with a shared store.
struct OneOfOne {
    session: Session,
    daemon: DaemonRow,
    resolved: Vec<Incident>,
}

impl OneOfOne {
    /// Writes the state's verdicts as of `at` to the database, and decides there. Returns the
    /// events.
    async fn exchange(&mut self, state: &MonitorState, at: Timestamp) -> Vec<String> {
        let snapshot = state.snapshot(at);
        let offset_ms = self.session.now().await.unwrap().0 - at.0;
        let verdicts = LocationVerdict::of_snapshot(&snapshot, offset_ms, |_| i64::from(u32::MAX));
        let verdicts: Vec<_> = verdicts.into_iter().map(|v| (v, true)).collect();
        let mut incidents = snapshot.incidents.clone();
        incidents.extend(self.resolved.iter().cloned());
        let report = LocationReport {
            location: snapshot.location.clone(),
            offset_ms,
            incidents,
        };
        let push = Push {
            daemon: &self.daemon,
            samples: &[],
            revised: &[],
            zone: Tz::UTC,
            verdicts: &verdicts,
            report: Some(&report),
        };
        self.session.push(&push).await.unwrap();
        let decision = self.session.lock(true, Duration::ZERO).await.unwrap();
        let mut decision = decision.unwrap();
        let evidence = LocationEvidence {
            now: decision.now,
            at,
            agree: Agree::Majority,
            verdicts: &decision.verdicts,
            reports: &decision.reports,
            closed: &decision.closed,
        };
        let mut number = decision.next_number;
        let decided = decide(
            decision.open.clone(),
            &evidence,
            || {
                number += 1;
                number - 1
            },
            &Locale::english(Tz::UTC),
        );
        decision.next_number = number;
        decision
            .record(&decided, &[], &[], offset_ms)
            .await
            .unwrap();
        let events = decided
            .iter()
            .filter_map(|d| Some((d.change?, &d.shared.incident)));
        events
            .map(|(change, incident)| said(change, incident))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_stores_give_the_same_events() {
    let Some(server) = Postgres::start("events of both stores") else {
        return;
    };
    let postgres = shared(&server, "monitor");
    let mut one = OneOfOne {
        session: postgres.open().await.unwrap(),
        daemon: daemon(&postgres),
        resolved: Vec::new(),
    };
    let mut runner = TestRunner::deterministic();
    let mut events = 0;
    for case in 0..16 {
        server.query(
            "monitor",
            "TRUNCATE llmwatch_verdict, llmwatch_report, llmwatch_incident",
        );
        one.resolved.clear();
        let samples: Vec<Sample> = history().new_tree(&mut runner).unwrap().current();
        let mut state = MonitorState::new(configuration(""), 1.0);
        for sample in samples {
            let at =
                sample.started_at + Duration::from_millis(sample.total_ms.unwrap_or(0.0) as u64);
            let effects = state.step(sample);
            let mut alone: Vec<_> = effects.incidents().map(|(c, i, _)| said(c, i)).collect();
            let over = effects
                .incidents()
                .filter(|(change, ..)| *change == Change::Resolved);
            one.resolved
                .extend(over.map(|(_, incident, _)| incident.clone()));
            let shared = one.exchange(&state, at).await;
            // Another failure of an endpoint in the same incident is not reported to the others.
            alone.retain(|event| !event.starts_with("Escalated") || shared.contains(event));
            let (alone, shared) = (sorted(alone), sorted(shared));
            assert_eq!(alone, shared, "case {case} at {at}");
            events += alone.len();
        }
    }
    assert!(events > 30, "{events} events");
}
