//! The store returns what was written to it: completely or not at all, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use llmwatch::clock::StoredClock;
use llmwatch::store::{
    Commit, DeliveryOutcome, IncidentRow, Pending, SamplePage, SampleQuery, Store, StoreError,
};
use llmwatch_core::model::{
    Attribution, Condition, Evidence, Fault, Incident, IncidentState, Notice, NoticeKind, Official,
    Outcome, Outgoing, Sample, Status, Timestamp,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::{good, notice};

fn recorded(store: &Store) -> Vec<Sample> {
    let mut samples = Vec::new();
    let all = store.each_sample(SampleQuery::default(), |_, s| {
        samples.push(s);
        Ok::<_, StoreError>(())
    });
    all.unwrap();
    samples
}

fn of_sample(sample: Sample) -> Commit {
    Commit {
        sample: Some(sample),
        ..Commit::default()
    }
}

pub(crate) fn incident(id: Uuid) -> Incident {
    Incident {
        id,
        number: 1,
        state: IncidentState::Open,
        status: Status::Outage,
        attribution: Attribution::Provider,
        cause: "http.5xx".parse().unwrap(),
        measure: llmwatch_core::model::Measure::Errors,
        ended_at: None,
        facts: None,
        title: "OpenAI: failing".to_owned(),
        provider: "openai".into(),
        endpoints: vec!["openai-chat".into()],
        started_at: Timestamp(1_000),
        opened_at: Timestamp(2_000),
        resolved_at: None,
        duration_s: 1.0,
        explanation: String::new(),
        acknowledged: None,
        notes: Vec::new(),
        evidence: Evidence::default(),
        official: Official::default(),
        attribution_reason: String::new(),
        recovered: Vec::new(),
        explains: Vec::new(),
        explained_by: None,
        locations: Vec::new(),
        scope: llmwatch_core::model::Scope::All,
        reached_from: Vec::new(),
        alone: false,
        new_normal: Vec::new(),
        removed: false,
    }
}

fn queue(store: &Store, channel: &str, kind: NoticeKind, about: Uuid, at: i64) {
    let notice = notice(kind, Some(incident(about)), Timestamp(at));
    let outgoing = vec![Outgoing {
        channel: channel.into(),
        not_before: None,
        notice,
        supersedes_pending: false,
    }];
    store
        .commit(&[Commit {
            outgoing,
            ..Commit::default()
        }])
        .unwrap();
}

#[test]
fn a_commit_that_fails_leaves_nothing_behind() {
    let store = Store::in_memory().unwrap();
    let about = Uuid::now_v7();
    let twice = Outgoing {
        channel: "mail".into(),
        not_before: None,
        notice: notice(NoticeKind::Opened, Some(incident(about)), Timestamp(0)),
        supersedes_pending: false,
    };
    let commit = Commit {
        sample: Some(good("openai-chat", Timestamp(0))),
        outgoing: vec![twice.clone(), twice],
        ..Commit::default()
    };
    store.commit(&[commit]).unwrap_err();
    assert_eq!(recorded(&store), []);
    assert_eq!(store.next_pending("mail", Timestamp(10)).unwrap(), None);
}

#[test]
fn unreachable_channel_gets_one_message_when_online() {
    let store = Store::in_memory().unwrap();
    let queue = |channel: &str, kind, at, supersedes_pending| {
        let condition = Some(Condition {
            key: "offline".to_owned(),
            over: kind == NoticeKind::Online,
        });
        let notice = Notice {
            condition,
            ..notice(kind, None, Timestamp(at))
        };
        let outgoing = vec![Outgoing {
            channel: channel.into(),
            not_before: None,
            notice,
            supersedes_pending,
        }];
        store
            .commit(&[Commit {
                outgoing,
                ..Commit::default()
            }])
            .unwrap();
    };
    let next = |channel| store.next_pending(channel, Timestamp(1_000)).unwrap();
    let types = |channel| next(channel).map(|p| p.notice.kind);
    queue("mail", NoticeKind::Offline, 100, false);
    queue("pager", NoticeKind::Offline, 100, false);
    queue("local", NoticeKind::Offline, 100, false);
    let in_flight = next("mail").unwrap();
    store
        .record_attempt(
            &next("local").unwrap(),
            Timestamp(150),
            DeliveryOutcome::Sent,
            "{}",
            None,
            None,
        )
        .unwrap();
    queue("mail", NoticeKind::Online, 200, true);
    queue("local", NoticeKind::Online, 200, true);
    // A stateful receiver gets both.
    queue("pager", NoticeKind::Online, 200, false);
    // An attempt that was in progress fails and is not retried.
    let later = DeliveryOutcome::RetryAt(Timestamp(500));
    store
        .record_attempt(
            &in_flight,
            Timestamp(210),
            later,
            "{}",
            Some("no route"),
            None,
        )
        .unwrap();
    assert_eq!(types("mail"), Some(NoticeKind::Online));
    assert_eq!(types("local"), Some(NoticeKind::Online));
    assert_eq!(types("pager"), Some(NoticeKind::Offline));
    store
        .record_attempt(
            &next("mail").unwrap(),
            Timestamp(300),
            DeliveryOutcome::Sent,
            "{}",
            None,
            None,
        )
        .unwrap();
    assert_eq!(types("mail"), None);
    let states: Vec<_> = store
        .outbox_rows(true)
        .unwrap()
        .into_iter()
        .map(|r| (r.channel, r.state))
        .collect();
    let of = |channel| {
        states
            .iter()
            .filter(|(c, _)| c == channel)
            .map(|(_, s)| s.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("mail"), of("local")),
        (vec!["merged", "sent"], vec!["sent", "pending"])
    );
}

#[test]
fn unsent_report_about_delivery_is_replaced_by_the_next() {
    let store = Store::in_memory().unwrap();
    for n in 0..100 {
        let condition = Some(Condition {
            key: "delivery".to_owned(),
            over: n % 2 == 1,
        });
        let outgoing = vec![Outgoing {
            channel: "mail".into(),
            not_before: None,
            notice: Notice {
                condition,
                ..notice(NoticeKind::Delivery, None, Timestamp(n))
            },
            supersedes_pending: true,
        }];
        store
            .commit(&[Commit {
                outgoing,
                ..Commit::default()
            }])
            .unwrap();
    }
    let pending = store.outbox_rows(false).unwrap();
    assert_eq!(pending.len(), 1, "{pending:#?}");
    assert_eq!(pending[0].decided_at, Timestamp(99));
}

/// A report held by quiet hours waits until morning. "Offline" does not wait for the report;
/// "online" waits for "offline". Tested with the file, and in memory while the file cannot be
/// written.
#[test]
fn message_held_by_quiet_hours_does_not_block_others() {
    for in_memory in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("llmwatch.db");
        let store = Store::open(&path).unwrap();
        let outgoing = |kind, at, not_before: Option<i64>| {
            let of_sight = matches!(kind, NoticeKind::Offline | NoticeKind::Online);
            let condition = Condition {
                key: "offline".to_owned(),
                over: kind == NoticeKind::Online,
            };
            let notice = Notice {
                condition: of_sight.then_some(condition),
                ..notice(kind, None, Timestamp(at))
            };
            Outgoing {
                channel: "pager".into(),
                not_before: not_before.map(Timestamp),
                notice,
                supersedes_pending: false,
            }
        };
        let commit = |outgoing| Commit {
            outgoing,
            ..Commit::default()
        };
        store
            .commit(&[commit(vec![outgoing(NoticeKind::Report, 100, Some(7_000))])])
            .unwrap();
        let other = in_memory.then(|| held(&path));
        let later = vec![
            outgoing(NoticeKind::Official, 150, Some(6_000)),
            outgoing(NoticeKind::Offline, 200, Some(2_000)),
            // No longer held, because the configuration was edited meanwhile.
            outgoing(NoticeKind::Online, 300, None),
        ];
        assert_eq!(store.commit(&[commit(later)]).is_err(), in_memory);
        assert_eq!(store.next_pending("pager", Timestamp(1_000)).unwrap(), None);
        assert_eq!(
            store.next_attempt_at("pager", Timestamp(1_004)).unwrap(),
            Some(Timestamp(2_000)),
            "in memory: {in_memory}"
        );
        let mut reported = Vec::new();
        while let Some(pending) = store.next_pending("pager", Timestamp(2_000)).unwrap() {
            reported.push(pending.notice.kind);
            store
                .record_attempt(
                    &pending,
                    Timestamp(2_000),
                    DeliveryOutcome::Sent,
                    "{}",
                    None,
                    None,
                )
                .unwrap();
        }
        assert_eq!(
            reported,
            [NoticeKind::Offline, NoticeKind::Online],
            "in memory: {in_memory}"
        );
        assert_eq!(
            store.next_attempt_at("pager", Timestamp(1_004)).unwrap(),
            Some(Timestamp(6_000)),
            "in memory: {in_memory}"
        );
        drop(other);
    }
}

/// A counter that goes down looks like a restart to Prometheus, and an old loss like a new one.
#[test]
fn an_incident_is_one_row_from_its_opening_to_its_end() {
    let store = Store::in_memory().unwrap();
    let id = Uuid::now_v7();
    let row = IncidentRow {
        id,
        number: 7,
        open: true,
        started_at: Timestamp(5),
        data: "{}".to_owned(),
    };
    store
        .commit(&[Commit {
            incidents: vec![row.clone()],
            ..Commit::default()
        }])
        .unwrap();
    assert_eq!(store.incidents(true).unwrap(), std::slice::from_ref(&row));
    let over = IncidentRow { open: false, ..row };
    store
        .commit(&[Commit {
            incidents: vec![over.clone()],
            ..Commit::default()
        }])
        .unwrap();
    assert_eq!(store.incidents(true).unwrap(), []);
    assert_eq!(store.incidents(false).unwrap(), [over]);
    assert_eq!(store.last_incident_number().unwrap(), 7);
}

#[test]
fn a_reader_sees_what_a_writer_has_committed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/llmwatch.db");
    let writer = Store::open(&path).unwrap();
    let sample = good("openai-chat", Timestamp(42));
    writer.commit(&[of_sample(sample.clone())]).unwrap();
    let reader = Store::open_read_only(&path).unwrap();
    assert_eq!(recorded(&reader), [sample]);
    reader
        .commit(&[of_sample(good("x", Timestamp(0)))])
        .unwrap_err();
}

#[test]
fn a_store_of_a_later_release_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    drop(Store::open(&path).unwrap());
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("version 99") && error.contains("newer release"),
        "{error}"
    );
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let world = tempfile::tempdir().unwrap();
    let path = world.path().join("llmwatch.db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    // Also a table with a name that llmwatch uses.
    raw.execute_batch("CREATE TABLE sample (x); INSERT INTO sample VALUES ('theirs')")
        .unwrap();
    drop(raw);
    let before = std::fs::read(&path).unwrap();
    let config = world.path().join("monitor.toml");
    let text = format!(
        "[monitor]\nlisten = \"off\"\nstate_dir = \"{}\"\n",
        world.path().display()
    );
    std::fs::write(&config, text).unwrap();
    for (verb, code) in [
        (&["run"][..], 78),
        (&["store", "check"], 1),
        (&["status"], 3),
        (&["incidents"], 1),
        (&["export"], 1),
        (&["store", "repair"], 1),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_llmwatch"))
            .arg("-c")
            .arg(&config)
            .args(verb)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("is an SQLite database that llmwatch did not create"),
            "{verb:?}: {said}"
        );
        assert!(!said.contains("CREATE"), "{verb:?} shows SQL: {said}");
        assert_eq!(output.status.code(), Some(code), "{verb:?}: {said}");
    }
    assert!(std::fs::read(&path).unwrap() == before, "the file changed");
}

proptest! {
    #[test]
    fn durations_keep_their_microseconds(us in 0u64..100_000_000) {
        let store = Store::in_memory().unwrap();
        let sample = Sample { total_ms: Some(us as f64 / 1000.0), ..good("e", Timestamp(0)) };
        store.commit(&[of_sample(sample.clone())]).unwrap();
        prop_assert_eq!(recorded(&store)[0].total_ms, sample.total_ms);
    }
}

/// Locks the file as another process would: nothing can be written until this is dropped.
fn held(path: &std::path::Path) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[test]
fn unwritable_notification_is_sent_once_and_recorded_later() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    let store = Store::open(&path).unwrap();
    let (stored, fresh) = (Uuid::now_v7(), Uuid::now_v7());
    queue(&store, "mail", NoticeKind::Opened, stored, 100);
    let outgoing = |kind, about, at| Outgoing {
        channel: "mail".into(),
        not_before: None,
        notice: notice(kind, Some(incident(about)), Timestamp(at)),
        supersedes_pending: false,
    };
    let commit = Commit {
        sample: Some(good("openai-chat", Timestamp(7))),
        outgoing: vec![
            outgoing(NoticeKind::Resolved, stored, 200),
            outgoing(NoticeKind::Opened, fresh, 300),
        ],
        ..Commit::default()
    };

    let other = held(&path);
    let opened = store
        .next_pending("mail", Timestamp(1_000))
        .unwrap()
        .unwrap();
    store
        .record_attempt(
            &opened,
            Timestamp(1_000),
            DeliveryOutcome::Sent,
            "{}",
            None,
            None,
        )
        .unwrap();
    assert_eq!(
        store.next_pending("mail", Timestamp(1_001)).unwrap(),
        None,
        "sent, though the file does not know it"
    );
    assert_eq!(
        store.next_attempt_at("mail", Timestamp(1_004)).unwrap(),
        None
    );
    store.commit(std::slice::from_ref(&commit)).unwrap_err();
    let resolved = store
        .next_pending("mail", Timestamp(1_002))
        .unwrap()
        .unwrap();
    assert_eq!(
        (resolved.notice.id, resolved.attempts),
        (commit.outgoing[0].notice.id, 0)
    );
    let later = DeliveryOutcome::RetryAt(Timestamp(5_000));
    store
        .record_attempt(&resolved, Timestamp(1_002), later, "{}", Some("no"), None)
        .unwrap();
    let other_incident = store
        .next_pending("mail", Timestamp(1_003))
        .unwrap()
        .unwrap();
    assert_eq!(other_incident.notice.id, commit.outgoing[1].notice.id);
    store
        .record_attempt(
            &other_incident,
            Timestamp(1_003),
            DeliveryOutcome::Sent,
            "{}",
            None,
            None,
        )
        .unwrap();
    assert_eq!(store.next_pending("mail", Timestamp(1_004)).unwrap(), None);
    assert_eq!(
        store.next_attempt_at("mail", Timestamp(1_004)).unwrap(),
        Some(Timestamp(5_000))
    );
    drop(other);

    store.commit(&[commit]).unwrap();
    let rows = store.outbox_rows(true).unwrap();
    let states: Vec<_> = rows
        .iter()
        .map(|r| (r.state.as_str(), r.attempts))
        .collect();
    assert_eq!(states, [("sent", 1), ("pending", 1), ("sent", 1)]);
    assert_eq!(recorded(&store).len(), 1);
    let again = store
        .next_pending("mail", Timestamp(5_000))
        .unwrap()
        .unwrap();
    assert_eq!((again.notice.id, again.attempts), (resolved.notice.id, 1));
}

/// A store in the format of release 0.1: two samples that the checkpoint includes, an open
/// incident, and a pending notice.
fn store_of_release_0_1(path: &std::path::Path) {
    let c = rusqlite::Connection::open(path).unwrap();
    c.execute_batch(include_str!("../../src/store/schema_1.sql"))
        .unwrap();
    let notice = notice(
        NoticeKind::Opened,
        Some(incident(Uuid::from_u128(7))),
        Timestamp(2_000),
    );
    let (notice, incident) = (
        serde_json::to_string(&notice).unwrap(),
        serde_json::to_string(&incident(Uuid::from_u128(7))).unwrap(),
    );
    c.execute_batch(
        "PRAGMA user_version = 1;
         INSERT INTO series VALUES (3, 'openai-chat', 'openai', 'chat', 'gpt-6-luna', 'fra1');
         INSERT INTO sample (seq, id, series, scheduled_at, started_at, cause, outcome, http_status, headers_us,
            first_token_us, first_any_token_us, total_us, schedule_lag_us, cost_usd, request_id, http_version)
         VALUES (5, x'00000000000000000000000000000001', 3, 300000, 300007, 'schedule', 'ok', 200, 180000, 412345,
            400000, 450000, 200, 0.0000029, 'req_1', 'HTTP/2');
         INSERT INTO sample (seq, id, series, scheduled_at, started_at, cause, outcome, fault, attribution,
            http_status, total_us, schedule_lag_us, retry_after_us, error)
         VALUES (6, x'00000000000000000000000000000002', 3, 360000, 360000, 'recheck', 'failed', 'http.5xx',
            'provider', 503, 90000, 0, 30000000, 'we are not well');
         INSERT INTO rollup VALUES (300, 3, 300000, 1, 0, 1, 0, 0, 0, 0, 0.0000029, 0, 0, 0, 180000, x'', x'');
         INSERT INTO rollup VALUES (3600, 3, 0, 1, 0, 1, 0, 0, 0, 0, 0.0000029, 0, 0, 0, 180000, x'', x'');
         INSERT INTO rollup_fault VALUES (300, 3, 300000, 'http.5xx', 'provider', 1);
         INSERT INTO checkpoint VALUES (1, 6, '{}');",
    )
    .unwrap();
    let id = Uuid::from_u128(7);
    c.execute(
        "INSERT INTO incident VALUES (?1, 1, 1, 1000, ?2)",
        rusqlite::params![id, incident],
    )
    .unwrap();
    c.execute(
        "INSERT INTO outbox (id, channel, incident, notice, decided_at, queued_at, next_attempt_at)
         VALUES (?1, 'oncall', ?1, ?2, 2000, 2000, 2000)",
        rusqlite::params![id, notice],
    )
    .unwrap();
}

#[test]
fn a_store_of_release_0_1_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    store_of_release_0_1(&path);
    let store = Store::open(&path).unwrap();

    let samples = recorded(&store);
    assert_eq!(samples.len(), 2);
    let first = &samples[0];
    assert_eq!(first.scheduled_at, Timestamp(300_000));
    assert_eq!(first.started_at, Timestamp(300_007));
    assert_eq!(first.first_token_ms, Some(412.345));
    assert_eq!(first.first_any_token_ms, Some(400.0));
    assert_eq!(first.cost_usd, Some(0.000_002_9));
    assert_eq!(first.request_id.as_deref(), Some("req_1"));
    let second = &samples[1];
    assert_eq!(second.fault, Some(Fault::Http5xx));
    assert_eq!(second.retry_after_ms, Some(30_000.0));
    assert_eq!(second.error.as_deref(), Some("we are not well"));

    assert_eq!(store.checkpoint().unwrap(), Some((6, "{}".to_owned())));
    assert_eq!(store.incidents(true).unwrap()[0].number, 1);
    let waiting = store.next_pending("oncall", Timestamp(3_000)).unwrap();
    assert_eq!(waiting.unwrap().notice.id, notice_id(&path));

    let next = good("openai-chat", Timestamp(420_000));
    store.commit(&[of_sample(next.clone())]).unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    let page = SamplePage {
        location: None,
        endpoint: "openai-chat",
        before_seq: None,
        since: None,
        until: None,
        outcome: None,
        limit: 10,
    };
    let found = store.samples(page).unwrap();
    assert_eq!(
        found.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
        [7, 6, 5]
    );
    let failed = SamplePage {
        outcome: Some(Outcome::Failed),
        ..page
    };
    assert_eq!(store.samples(failed).unwrap().len(), 1);
    let sum = &store
        .sums(Timestamp(300_000), Timestamp(600_000), None)
        .unwrap()["openai-chat"];
    assert_eq!((sum.ok, sum.failed_provider), (2, 1));
}

#[test]
fn incidents_of_release_0_1_get_the_time_of_their_recovery() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("llmwatch.db")).unwrap();
    for minute in 0..12 {
        let mut sample = good("openai-chat", Timestamp(60_000 * minute));
        if (2..7).contains(&minute) {
            (sample.outcome, sample.fault) = (Outcome::Failed, Some(Fault::Http5xx));
        }
        store.commit(&[of_sample(sample)]).unwrap();
    }
    let over = |id: u128, number: u64, endpoint: &str| Incident {
        number,
        state: IncidentState::Resolved,
        endpoints: vec![endpoint.into()],
        started_at: Timestamp(120_000),
        resolved_at: Some(Timestamp(600_500)),
        ..incident(Uuid::from_u128(id))
    };
    let incidents = [over(1, 1, "openai-chat"), over(2, 2, "long-gone")];
    let commit = Commit {
        incidents: incidents.iter().map(IncidentRow::of).collect(),
        ..Commit::default()
    };
    store.commit(&[commit]).unwrap();
    llmwatch::daemon::pipeline::complete_incidents(&store).unwrap();
    let stored: Vec<Incident> = store
        .incidents(false)
        .unwrap()
        .iter()
        .map(|row| serde_json::from_str(&row.data).unwrap())
        .collect();
    let of = |number: u64| stored.iter().find(|i| i.number == number).unwrap();
    assert_eq!(of(1).ended_at, Some(Timestamp(420_000)));
    assert!((of(1).duration_s - 300.0).abs() < 0.001);
    assert_eq!(of(2).ended_at, None, "its samples are gone");
}

fn notice_id(path: &std::path::Path) -> Uuid {
    let c = rusqlite::Connection::open(path).unwrap();
    let json: String = c
        .query_row("SELECT notice FROM outbox", [], |r| r.get(0))
        .unwrap();
    serde_json::from_str::<Notice>(&json).unwrap().id
}

#[test]
fn rollups_survive_a_crash_before_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    let store = Store::open(&path).unwrap();
    let minutes = |from: i64, to: i64| (from..to).map(|m| good("a", Timestamp(m * 60_000)));
    let record = |store: &Store, from, to| {
        let commits: Vec<_> = minutes(from, to).map(of_sample).collect();
        store.commit(&commits).unwrap();
    };
    record(&store, 0, 30);
    while store.write_sums(true).unwrap() {}
    record(&store, 30, 70);
    let probes = |store: &Store| {
        store
            .sums(Timestamp(0), Timestamp(7_200_000), None)
            .unwrap()["a"]
            .probes()
    };
    assert_eq!(probes(&store), 70);
    assert_eq!(probes(&store.reader().unwrap()), 70, "another connection");
    let foreign = Store::open_read_only(&path).unwrap();
    assert_eq!(probes(&foreign), 70, "another process");
    drop(store);

    let store = Store::open(&path).unwrap();
    record(&store, 70, 80);
    assert_eq!(probes(&store), 80, "what was not written is summed again");
    while store.write_sums(true).unwrap() {}
    assert_eq!(probes(&store), 80);
    assert_eq!(probes(&foreign), 80);
}

#[test]
fn files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state").join("llmwatch.db");
    let _lock = llmwatch::store::StoreLock::take(&path).unwrap();
    let store = Store::open(&path).unwrap();
    store.commit(&[of_sample(good("a", Timestamp(1)))]).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_database_of_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE shopping (list TEXT)")
        .unwrap();
    let refused = Store::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::Unknown { .. }), "{refused}");
}

/// When attempts are due after the clock was set, in milliseconds from then: one that failed
/// before, one that failed after, one that failed before and was released after, and two that
/// failed before and were recorded after the clock was set and after the store followed it.
fn due_after_clock_was_set(by_minutes: i64, is_written: bool) -> [i64; 5] {
    const BEGAN: Timestamp = Timestamp(1_795_521_600_000);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    let store = Store::open(&path).unwrap();
    let wall = Arc::new(AtomicI64::new(BEGAN.0));
    let read = wall.clone();
    store.follow_clock(StoredClock::starting_at(
        BEGAN,
        Arc::new(move || Timestamp(read.load(Ordering::Relaxed))),
        Arc::new(|| Duration::from_hours(1)),
    ));
    let channels = ["before", "after", "released", "late", "later"];
    let outgoing = channels.map(|channel| Outgoing {
        channel: channel.into(),
        not_before: None,
        notice: notice(NoticeKind::Offline, None, BEGAN),
        supersedes_pending: false,
    });
    let commit = Commit {
        outgoing: outgoing.into(),
        ..Commit::default()
    };
    store.commit(&[commit]).unwrap();
    let [before, after, released, late, later] =
        channels.map(|channel| store.next_pending(channel, BEGAN).unwrap().unwrap());
    let fails = |pending: &Pending, at: Timestamp| {
        let retry = DeliveryOutcome::RetryAt(Timestamp(at.0 + 5_000));
        store
            .record_attempt(pending, at, retry, "{}", Some("down"), None)
            .unwrap();
    };
    fails(&before, BEGAN);
    let other = (!is_written).then(|| held(&path));
    fails(&released, BEGAN);
    let now = Timestamp(BEGAN.0 + by_minutes * 60_000);
    wall.store(now.0, Ordering::Relaxed);
    // Fails while the file cannot be written, but releases what waits in memory.
    let _ = store.release_channel("released", now);
    drop(other);
    fails(&after, now);
    fails(&late, BEGAN);
    let commit = Commit {
        clock_set: Some((BEGAN, now)),
        ..Commit::default()
    };
    store.commit(&[commit]).unwrap();
    fails(&later, BEGAN);
    channels.map(|channel| {
        let due = store.next_attempt_at(channel, now).unwrap().unwrap();
        due.since_ms(now)
    })
}

#[test]
fn attempts_are_due_by_the_clock_that_planned_them() {
    let wanted = [5_000, 5_000, 0, 5_000, 5_000];
    for by_minutes in [-600, -40, 40, 600] {
        let due = due_after_clock_was_set(by_minutes, true);
        assert_eq!(due, wanted, "set by {by_minutes} min");
    }
    let due = due_after_clock_was_set(-40, false);
    assert_eq!(due, wanted, "while the file cannot be written");
}
