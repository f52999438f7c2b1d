//! Which channel is notified of what, and when: scenarios in simulated time, second by second, from
//! the recipient's view.

use std::sync::Arc;
use std::time::Duration;

use llmwatch::config::{self, Config, Environment};
use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::detect::early_warning::Advisor;
use llmwatch_core::incident::Change;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::Announcement;
use llmwatch_core::model::Silence;
use llmwatch_core::model::{
    Acknowledgement, Attribution, ChannelName, ChannelStats, Evidence, Incident, IncidentState,
    Notice, NoticeKind, Official, Sample, Status, Timestamp,
};
use llmwatch_core::monitor::MonitorState;
use proptest::prelude::*;
use uuid::Uuid;

/// Tuesday, noon UTC.
const NOON: Timestamp = Timestamp(1_795_521_600_000);

struct Story {
    config: Arc<Config>,
    core: MonitorState,
    notifications: NotificationScheduler,
    second: i64,
    incidents: Vec<Incident>,
    reported: Vec<(i64, ChannelName, Notice)>,
    outbox: Vec<ChannelStats>,
}

fn configured(rest: &str) -> Arc<Config> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    let mut text = format!("[monitor]\nlisten = \"off\"\nlocation = \"fra1\"\n{rest}\n");
    for (name, provider) in [("a", "openai"), ("b", "openai"), ("c", "anthropic")] {
        text += &format!(
            "[[endpoint]]\nname = \"{name}\"\nprovider = \"{provider}\"\ngroup = \"chat\"\nbase_url = \"http://127.0.0.1:9\"\napi_key = \"k\"\n"
        );
    }
    std::fs::write(&path, text).unwrap();
    config::load(&path, &Environment::from_process())
        .unwrap()
        .config
}

/// One webhook with these filters.
fn story(filters: &str) -> Story {
    story_of(&format!(
        "[[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\n{filters}\n"
    ))
}

fn story_of(rest: &str) -> Story {
    let config = configured(rest);
    let core = MonitorState::new(config.clone(), 1.0);
    let (notifications, incidents, reported) =
        (NotificationScheduler::default(), Vec::new(), Vec::new());
    Story {
        config,
        core,
        notifications,
        second: 0,
        incidents,
        reported,
        outbox: Vec::new(),
    }
}

impl Story {
    fn now(&self) -> Timestamp {
        NOON + Duration::from_secs(self.second.unsigned_abs())
    }

    fn tick(&mut self) {
        let now = self.now();
        let snapshot = self.core.snapshot(now);
        for outgoing in self
            .notifications
            .tick(now, &self.config, &snapshot, &self.outbox)
        {
            self.reported
                .push((self.second, outgoing.channel, outgoing.notice));
        }
    }

    /// Advances the time to this second.
    fn until(mut self, second: i64) -> Self {
        while self.second < second {
            self.second += 1;
            self.tick();
        }
        self
    }

    fn change(mut self, number: usize, change: Change, edit: impl FnOnce(&mut Incident)) -> Self {
        let at = self.now();
        let incident = &mut self.incidents[number - 1];
        edit(incident);
        let incident = incident.clone();
        self.notifications.record_change(change, incident, at);
        self.tick();
        self
    }

    fn opens(mut self, endpoints: &[&str], status: Status) -> Self {
        let at = self.now();
        let number = self.incidents.len() as u64 + 1;
        self.incidents.push(Incident {
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
            id: Uuid::from_u128(u128::from(number)),
            number,
            state: IncidentState::Open,
            status,
            attribution: Attribution::Provider,
            cause: "http.5xx".parse().unwrap(),
            measure: llmwatch_core::model::Measure::Errors,
            ended_at: None,
            facts: None,
            title: format!("incident {number}"),
            provider: "openai".into(),
            endpoints: endpoints.iter().map(|e| (*e).into()).collect(),
            started_at: at - Duration::from_secs(90),
            opened_at: at,
            resolved_at: None,
            duration_s: 90.0,
            explanation: String::new(),
            acknowledged: None,
            notes: Vec::new(),
            official: Official::default(),
            evidence: Evidence::default(),
        });
        self.change(number as usize, Change::Opened, |_| {})
    }

    fn joins(self, number: usize, endpoint: &str) -> Self {
        self.change(number, Change::Updated, |i| {
            i.endpoints.push(endpoint.into());
        })
    }

    /// Something of it changes that no message says.
    fn stirs(self, number: usize) -> Self {
        self.change(number, Change::Updated, |i| {
            i.explanation.push_str(" One more probe failed.");
        })
    }

    fn worsens(self, number: usize) -> Self {
        self.change(number, Change::Escalated, |i| i.status = Status::Outage)
    }

    fn ends(self, number: usize) -> Self {
        let at = self.now();
        self.change(number, Change::Resolved, |i| {
            i.state = IncidentState::Resolved;
            i.resolved_at = Some(at);
        })
    }

    fn silenced(mut self, endpoints: &[&str], seconds: u64) -> Self {
        self.notifications.silence(Silence {
            id: Uuid::from_u128(7),
            created_at: self.now(),
            until: self.now() + Duration::from_secs(seconds),
            by: String::new(),
            note: String::new(),
            endpoints: endpoints.iter().map(|e| (*e).into()).collect(),
            providers: Vec::new(),
            groups: Vec::new(),
        });
        self
    }

    fn acknowledged(mut self, number: u64) -> Self {
        let word = Acknowledgement {
            at: self.now(),
            by: "ann".to_owned(),
            note: String::new(),
        };
        assert!(self.notifications.acknowledge(number, word).is_some());
        self.tick();
        self
    }

    /// Kills the process and restarts it from its recorded state.
    fn restarts(mut self) -> Self {
        let record = serde_json::to_string(&self.notifications).unwrap();
        self.notifications = serde_json::from_str(&record).unwrap();
        self
    }

    /// Checks the reported messages as `second channel type #number`, or with the title if there is
    /// no incident.
    #[track_caller]
    fn reported(self, expected: &[&str]) -> Self {
        let reported: Vec<_> = self
            .reported
            .iter()
            .map(|(second, channel, notice)| {
                let about = notice
                    .incident
                    .as_ref()
                    .map_or(notice.title.clone(), |i| format!("#{}", i.number));
                let over = if notice.already_over { " over" } else { "" };
                format!(
                    "{second} {channel} {} {about}{over}",
                    notice.kind.as_str().rsplit('.').next().unwrap()
                )
            })
            .collect();
        assert_eq!(reported, expected);
        self
    }
}

#[test]
fn the_first_message_waits_for_others_to_join_it() {
    let story = story("group_wait = \"20s\"")
        .opens(&["a"], Status::Outage)
        .until(5)
        .joins(1, "b")
        .until(60);
    let story = story.reported(&["5 hook opened #1"]);
    let notice = &story.reported[0].2;
    assert_eq!(notice.incident.as_ref().unwrap().endpoints, ["a", "b"]);
    assert_eq!(
        notice.decided_at, NOON,
        "it was decided when the incident was opened"
    );
}

#[test]
fn group_wait_ends_when_no_other_endpoint_could_join() {
    let waits = |endpoints: &[&str]| {
        story("group_wait = \"20s\"")
            .opens(endpoints, Status::Outage)
            .until(60)
    };
    waits(&["a"]).reported(&["20 hook opened #1"]);
    waits(&["a", "b"]).reported(&["0 hook opened #1"]);
}

#[test]
fn incident_over_while_waiting_is_sent_as_over() {
    let story_of_over = |filters: &str| {
        story(&format!("group_wait = \"20s\"\n{filters}"))
            .opens(&["a"], Status::Outage)
            .until(5)
            .ends(1)
            .until(60)
    };
    let story = story_of_over("");
    story.reported(&["5 hook opened #1 over"]);
    let only_ends = story_of_over("on = [\"resolved\"]");
    only_ends.reported(&["5 hook resolved #1"]);
    // A stateful receiver gets both.
    let duty = "[[webhook]]\nname = \"duty\"\nkind = \"pagerduty\"\nrouting_key = \"k\"\n";
    let duty = story_of(duty)
        .opens(&["a"], Status::Outage)
        .until(5)
        .ends(1)
        .until(60);
    let duty = duty.reported(&["5 duty opened #1 over", "5 duty resolved #1"]);
    assert_eq!(duty.reported[1].2.thread, Some(duty.reported[0].2.id));
}

#[test]
fn escalation_channel_gets_only_lasting_incidents() {
    let short = story("after = \"10m\"")
        .opens(&["a"], Status::Outage)
        .until(300)
        .ends(1);
    short.until(1_000).reported(&[]);
    let long = story("after = \"10m\"")
        .opens(&["a"], Status::Outage)
        .until(900)
        .ends(1)
        .until(1_000);
    long.reported(&["600 hook opened #1", "900 hook resolved #1"]);
    let taken = story("after = \"10m\"")
        .opens(&["a"], Status::Outage)
        .until(300)
        .acknowledged(1)
        .until(900)
        .ends(1);
    taken.until(1_000).reported(&[]);
}

#[test]
fn reminders_back_off_survive_restart_and_end_with_ack() {
    let story = story("group_wait = \"0s\"\nremind_every = \"1h\"")
        .opens(&["a"], Status::Outage)
        .until(2 * 3600);
    let story = story
        .restarts()
        .until(7 * 3600 - 1)
        .restarts()
        .until(8 * 3600);
    let story = story.reported(&[
        "0 hook opened #1",
        "3600 hook reminder #1",
        "10800 hook reminder #1",
        "25200 hook reminder #1",
    ]);
    let count = story.reported.len();
    let story = story.acknowledged(1).until(40 * 3600);
    assert_eq!(story.reported.len(), count, "somebody is on it");
}

#[test]
fn a_day_is_the_longest_between_reminders() {
    let story = story("group_wait = \"0s\"")
        .opens(&["a"], Status::Outage)
        .until(5 * 86_400);
    let hours: Vec<_> = story
        .reported
        .iter()
        .map(|(second, ..)| second / 3600)
        .collect();
    assert_eq!(hours, [0, 4, 12, 28, 52, 76, 100]);
}

#[test]
fn an_incident_becomes_news_when_it_becomes_bad_enough() {
    let filters = "group_wait = \"0s\"\nmin_status = \"outage\"";
    let mild = story(filters)
        .opens(&["a"], Status::Degraded)
        .until(60)
        .ends(1)
        .until(120);
    mild.reported(&[]);
    let grave = story(filters)
        .opens(&["a"], Status::Degraded)
        .until(60)
        .worsens(1)
        .until(100)
        .ends(1);
    grave
        .until(120)
        .reported(&["60 hook opened #1", "100 hook resolved #1"]);
}

#[test]
fn on_selects_the_notified_changes() {
    let all = "group_wait = \"0s\"\non = [\"opened\", \"updated\", \"escalated\", \"resolved\"]";
    let story_of_all = |filters| {
        story(filters)
            .opens(&["a"], Status::Degraded)
            .until(10)
            .joins(1, "b")
            .until(20)
            .worsens(1)
            .until(30)
            .ends(1)
    };
    story_of_all(all).reported(&[
        "0 hook opened #1",
        "10 hook updated #1",
        "20 hook escalated #1",
        "30 hook resolved #1",
    ]);
    let stirred = story(all)
        .opens(&["a"], Status::Degraded)
        .until(10)
        .stirs(1);
    let stirred = stirred.until(20).joins(1, "b").until(30).stirs(1).until(40);
    stirred.reported(&["0 hook opened #1", "20 hook updated #1"]);
    story_of_all("group_wait = \"0s\"").reported(&[
        "0 hook opened #1",
        "20 hook escalated #1",
        "30 hook resolved #1",
    ]);
    story_of_all("group_wait = \"0s\"\non = [\"resolved\"]").reported(&["30 hook resolved #1"]);
    story_of_all("group_wait = \"0s\"\non = [\"monitor\"]").reported(&[]);
}

#[test]
fn scopes_choose_incidents_by_their_endpoints() {
    let channels = "[[webhook]]\nname = \"openai\"\nurl = \"http://127.0.0.1:9/\"\nproviders = [\"openai\"]\ngroup_wait = \"0s\"\n\
                    [[webhook]]\nname = \"c\"\nurl = \"http://127.0.0.1:9/\"\nendpoints = [\"c\"]\ngroup_wait = \"0s\"\n\
                    [[webhook]]\nname = \"own\"\nurl = \"http://127.0.0.1:9/\"\nattribution = [\"account\"]\n";
    let story = story_of(channels)
        .opens(&["a", "b"], Status::Outage)
        .opens(&["c"], Status::Outage)
        .until(60);
    story.reported(&["0 openai opened #1", "0 c opened #2"]);
}

#[test]
fn quiet_hours_pass_outages_and_hold_the_rest() {
    let quiet = "group_wait = \"0s\"\nquiet_hours = \"12:00-13:00\"";
    let story_of = |filters| {
        story(filters)
            .opens(&["a"], Status::Outage)
            .opens(&["b"], Status::Degraded)
            .until(10)
    };
    story_of(quiet)
        .until(3_700)
        .reported(&["0 hook opened #1", "3600 hook opened #2"]);
    let all = "group_wait = \"0s\"\nquiet_hours = \"11:00-13:00\"\nquiet_hours_all = true";
    let over = story_of(all).ends(2).until(3_700);
    let over = over.reported(&["3600 hook opened #1", "3600 hook opened #2 over"]);
    assert_eq!(
        over.reported[0].2.decided_at,
        over.now() - Duration::from_secs(100),
        "it is not late: it was due now"
    );
}

#[test]
fn silenced_incident_that_ends_during_the_silence_is_not_sent() {
    let begun = story("group_wait = \"0s\"")
        .silenced(&["a"], 600)
        .opens(&["a"], Status::Outage)
        .opens(&["c"], Status::Outage);
    begun
        .until(60)
        .ends(1)
        .until(700)
        .reported(&["0 hook opened #2"]);
    let lasting = story("group_wait = \"0s\"")
        .silenced(&["a"], 600)
        .opens(&["a"], Status::Outage)
        .until(800)
        .ends(1);
    lasting.reported(&["600 hook opened #1", "800 hook resolved #1"]);
    let wider = story("group_wait = \"0s\"")
        .silenced(&["a"], 600)
        .opens(&["a"], Status::Outage)
        .until(60)
        .joins(1, "b");
    wider.reported(&["60 hook opened #1"]);
}

#[test]
fn notified_channel_gets_the_end_despite_a_silence() {
    let story = story("group_wait = \"0s\"")
        .opens(&["a"], Status::Degraded)
        .until(10)
        .silenced(&[], 600);
    let story = story.until(60).worsens(1).until(100).ends(1).until(700);
    story.reported(&["0 hook opened #1", "100 hook resolved #1"]);
}

#[test]
fn a_silence_can_be_ended_early() {
    let mut story = story("group_wait = \"0s\"")
        .silenced(&[], 600)
        .opens(&["a"], Status::Outage)
        .until(30);
    assert!(
        story.notifications.unsilence(Uuid::from_u128(8)).is_none(),
        "there is no such silence"
    );
    assert!(story.notifications.unsilence(Uuid::from_u128(7)).is_some());
    story.until(40).reported(&["31 hook opened #1"]);
}

#[test]
fn maintenance_holds_alerts_until_its_end() {
    let window = "[[maintenance]]\nstart = \"2026-11-24T12:01:00Z\"\nend = \"2026-11-24T12:11:00Z\"\nproviders = [\"openai\"]\n\
                  [[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\ngroup_wait = \"0s\"\n";
    let noon = Timestamp::parse("2026-11-24T12:00:00Z").unwrap();
    assert_eq!(noon, NOON);
    let before = story_of(window)
        .opens(&["a"], Status::Outage)
        .until(300)
        .ends(1)
        .until(800);
    before.reported(&["0 hook opened #1", "660 hook resolved #1"]);
    let within = story_of(window)
        .until(100)
        .opens(&["a"], Status::Outage)
        .until(300)
        .ends(1)
        .until(800);
    within.reported(&[]);
    let beyond = story_of(window)
        .until(100)
        .opens(&["a"], Status::Outage)
        .opens(&["c"], Status::Outage)
        .until(800);
    beyond.reported(&["100 hook opened #2", "660 hook opened #1"]);
}

#[test]
fn two_failures_in_turn_are_both_notified() {
    let story = story("group_wait = \"0s\"")
        .opens(&["a"], Status::Outage)
        .until(60)
        .opens(&["c"], Status::Outage);
    story.until(90).ends(1).until(120).ends(2).reported(&[
        "0 hook opened #1",
        "60 hook opened #2",
        "90 hook resolved #1",
        "120 hook resolved #2",
    ]);
}

#[test]
fn a_storm_is_a_handful_of_messages_that_name_everything() {
    for wait in ["20s", "0s"] {
        let mut story = story(&format!("group_wait = \"{wait}\"\nremind_every = \"off\""));
        for n in 0..200 {
            story = story.opens(&["a"], Status::Outage);
            if n % 3 == 0 {
                let next = story.second + 1;
                story = story.until(next);
            }
        }
        for n in 1..=200 {
            story = story.ends(n);
            if n % 3 == 0 {
                let next = story.second + 1;
                story = story.until(next);
            }
        }
        let next = story.second + 600;
        let story = story.until(next);
        let limit = if wait == "20s" { 12 } else { 24 };
        assert!(
            story.reported.len() <= limit,
            "{wait}: {} messages",
            story.reported.len()
        );
        let mut named = std::collections::BTreeSet::new();
        for (.., notice) in &story.reported {
            named.extend(notice.incident.iter().map(|i| i.number));
            let listed = notice
                .document
                .as_ref()
                .and_then(|d| d.data["incidents"].as_array().cloned());
            named.extend(
                listed
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|i| i["number"].as_u64()),
            );
        }
        assert_eq!(named.len(), 200, "{wait}: everything is named");
    }
}

#[test]
fn single_rate_limited_incident_is_sent_as_a_normal_message() {
    let mut story = story("group_wait = \"0s\"");
    let mut expected = Vec::new();
    for n in 1..=13 {
        let second = story.second;
        story = story.opens(&["a"], Status::Outage).until(second + 1);
        expected.push(format!(
            "{} hook opened #{n}",
            if n == 13 { 15 } else { second }
        ));
    }
    let story = story.until(60).ends(13).until(90);
    expected.push("60 hook resolved #13".to_owned());
    story.reported(&expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn failing_channel_is_reported_once_through_the_others() {
    let channels = "[[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\n[[webhook]]\nname = \"other\"\nurl = \"http://127.0.0.1:9/\"\n";
    let mut story = story_of(channels);
    let failing = |since| ChannelStats {
        channel: "hook".into(),
        failing_since: since,
        last_error: Some("HTTP 500".to_owned()),
        ..ChannelStats::default()
    };
    story.outbox = vec![failing(Some(NOON))];
    story = story.until(1_000).restarts().until(2_000);
    story.outbox = vec![ChannelStats {
        last_sent_at: Some(story.now()),
        ..failing(None)
    }];
    story.until(3_000).reported(&[
        "300 other delivery the channel `hook` is failing: HTTP 500",
        "2001 other delivery the channel `hook` recovered after 33 min",
    ]);
}

fn hooks(count: usize) -> String {
    let hook = |n| format!("[[webhook]]\nname = \"hook{n:02}\"\nurl = \"http://127.0.0.1:9/\"\n");
    (0..count).map(hook).collect()
}

#[test]
fn channels_that_fail_together_are_one_message_to_each_channel() {
    let mut story = story_of(&hooks(84));
    let of = |n: usize| ChannelStats {
        channel: format!("hook{n:02}").as_str().into(),
        failing_since: Some(NOON),
        last_error: Some(format!("HTTP 5{n:02}")),
        ..ChannelStats::default()
    };
    story.outbox = (0..83).map(of).collect();
    let mut story = story.until(1_000);
    assert_eq!(story.reported.len(), 84, "one for each channel");
    let (_, channel, notice) = &story.reported[83];
    assert_eq!(channel, "hook83");
    assert_eq!(
        notice.title,
        "83 channels are failing: hook00, hook01, hook02, hook03, hook04 and 78 more"
    );
    let text = format!("{:?}", notice.document);
    assert!(text.contains("hook07: HTTP 507"), "{text}");
    // One recovers, then the rest.
    story.reported.clear();
    story.outbox[0].failing_since = None;
    story.outbox[0].last_sent_at = Some(story.now());
    story = story.until(1_010);
    let titles = |story: &Story, channel: &str| -> Vec<String> {
        let of_channel = story.reported.iter().filter(|(_, c, _)| c == channel);
        of_channel
            .map(|(.., notice)| notice.title.clone())
            .collect()
    };
    assert_eq!(titles(&story, "hook00"), Vec::<String>::new());
    assert_eq!(
        titles(&story, "hook83"),
        [
            "recovered channels: hook00; still failing: hook01, hook02, hook03, hook04, hook05 and 77 more"
        ]
    );
    story.reported.clear();
    let now = story.now();
    for tally in &mut story.outbox {
        (tally.failing_since, tally.last_sent_at) = (None, Some(now));
    }
    story = story.until(1_020);
    assert_eq!(
        titles(&story, "hook83"),
        ["82 channels recovered: hook01, hook02, hook03, hook04, hook05 and 77 more"]
    );
    let over = |notice: &Notice| notice.condition.as_ref().is_some_and(|c| c.over);
    assert!(story.reported.iter().all(|(.., notice)| over(notice)));
}

#[test]
fn flapping_channel_is_reported_four_times_an_hour_at_most() {
    let mut story = story_of(&hooks(3));
    // Every ten seconds a message is rejected for good, and the next one is delivered.
    while story.second < 4 * 3_600 {
        let rejected = story.now();
        story.outbox = vec![ChannelStats {
            channel: "hook00".into(),
            failed: 1,
            last_dead_at: Some(rejected),
            ..ChannelStats::default()
        }];
        let half = story.second + 5;
        story = story.until(half);
        story.outbox[0].last_sent_at = Some(story.now());
        story = story.until(half + 5);
    }
    let of = |channel: &str| {
        let times: Vec<i64> = story
            .reported
            .iter()
            .filter(|(_, c, _)| c == channel)
            .map(|(second, ..)| *second)
            .collect();
        times
    };
    assert_eq!(of("hook00"), Vec::<i64>::new());
    assert_eq!(of("hook01"), of("hook02"));
    let times = of("hook01");
    assert_eq!(times.len(), 16, "{times:?}");
    assert!(times.windows(5).all(|w| w[4] - w[0] >= 3_600), "{times:?}");
}

#[test]
fn rejecting_recipient_is_reported_once_a_day() {
    let mut story = story("remind_every = \"off\"");
    let refused = |at| ChannelStats {
        channel: "hook".into(),
        last_refused_at: Some(at),
        refused: Some("bob@example.com: no such mailbox".to_owned()),
        ..ChannelStats::default()
    };
    story.outbox = vec![refused(NOON)];
    story = story.until(100).restarts();
    story.outbox = vec![refused(story.now())];
    story = story.until(200);
    story.second = 90_000;
    story.outbox = vec![refused(story.now())];
    let reported = "delivery the channel `hook` does not reach every recipient: bob@example.com: no such mailbox";
    story.until(90_010).reported(&[
        &format!("1 hook {reported}"),
        &format!("90001 hook {reported}"),
    ]);
}

#[test]
fn advice_comes_to_those_that_ask_for_it_once_and_together() {
    let channels = "[[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\n\
                    [[webhook]]\nname = \"asks\"\nurl = \"http://127.0.0.1:9/\"\non = [\"advice\"]\n";
    let said = |name: &str, at| {
        let mut advisor = Advisor::default();
        let endpoint = configured("")
            .endpoints
            .iter()
            .find(|e| e.name == name)
            .unwrap()
            .clone();
        let soon = Timestamp(NOON.0 + 3 * 86_400_000);
        let sample = Sample {
            tls_expires_at: Some(soon),
            ratelimit_headroom: None,
            ..crate::support::good(name, at)
        };
        let reported = advisor.consider(&endpoint, &sample, &Locale::default());
        Announcement::advice(&reported[0], vec!["asks".into()], at)
    };
    let mut story = story_of(channels);
    story.notifications.announce(said("a", NOON));
    story.tick();
    story
        .notifications
        .announce(said("b", NOON + Duration::from_secs(10)));
    story.tick();
    let mut story = story.restarts().until(100);
    story.notifications.announce(said("c", story.now()));
    let story = story.until(200).reported(&[
        "20 asks given 2 early warnings at fra1",
        "120 asks given c: the server's certificate expires in 2 days, on 2026-11-27",
    ]);
    let first = story.reported[0].2.document.as_ref().unwrap();
    assert_eq!(first.data["advice"][1]["endpoint"], "b");
    assert!(llmwatch_core::message::document::text(&first.blocks, 76).contains("renew it"));
}

#[test]
fn monitor_notices_are_sent_at_once_to_their_channels() {
    let channels = "[[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\n\
                    [[webhook]]\nname = \"other\"\nurl = \"http://127.0.0.1:9/\"\non = [\"opened\"]\n";
    let mut story = story_of(channels);
    story.notifications.announce(Announcement::new(
        NoticeKind::Offline,
        "fra1 has lost its network".to_owned(),
        NOON,
    ));
    story
        .until(1)
        .reported(&["1 hook offline fra1 has lost its network"]);
}

#[test]
fn incident_missing_after_restart_is_resolved() {
    let mut story = story("group_wait = \"0s\"")
        .opens(&["a"], Status::Outage)
        .until(10)
        .restarts();
    let snapshot = story.core.snapshot(story.now());
    story.notifications.reconcile(&snapshot, &Locale::default());
    story
        .until(11)
        .reported(&["0 hook opened #1", "11 hook resolved #1"]);
}

#[test]
fn incident_of_a_removed_endpoint_is_closed_after_restart() {
    let mut story = story("group_wait = \"0s\"")
        .opens(&["a"], Status::Outage)
        .until(10)
        .restarts();
    let mut snapshot = story.core.snapshot(story.now());
    snapshot.endpoints.retain(|e| e.name != "a");
    story.notifications.reconcile(&snapshot, &Locale::default());
    let story = story
        .until(11)
        .reported(&["0 hook opened #1", "11 hook resolved #1"]);
    let incident = story.reported[1].2.incident.clone().unwrap();
    assert!(incident.removed, "{incident:?}");
    assert_eq!(incident.title, "OpenAI: a removed from the configuration");
    let notice = Notice {
        incident: Some(incident),
        ..story.reported[1].2.clone()
    };
    let subject = llmwatch_core::message::render::subject(&notice, &Locale::default());
    assert!(
        subject.ends_with("OpenAI: a removed from the configuration"),
        "{subject}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// In any history, each channel gets the opening of an incident first and once, and its end
    /// last and once.
    #[test]
    fn resolved_is_never_sent_without_opened(
        steps in prop::collection::vec((0usize..7, 1usize..5, 1i64..400), 1..40),
        filters in prop::sample::select(vec![
            "group_wait = \"0s\"", "group_wait = \"20s\"", "after = \"5m\"", "quiet_hours = \"12:10-12:40\"",
            "min_status = \"outage\"", "on = [\"opened\", \"updated\", \"escalated\", \"resolved\", \"reminder\"]\nremind_every = \"10m\"",
        ]),
    ) {
        let window = "[[maintenance]]\nstart = \"2026-11-24T12:20:00Z\"\nend = \"2026-11-24T12:50:00Z\"\nendpoints = [\"a\"]\n";
        let mut story = story_of(&format!("{window}[[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\n{filters}\n"));
        for (what, number, wait) in steps {
            let open = story.incidents.get(number - 1).is_some_and(|i| i.state == IncidentState::Open);
            story = match what {
                0 | 1 => {
                    let endpoint = ["a", "b", "c"][number % 3];
                    story.opens(&[endpoint], if what == 0 { Status::Degraded } else { Status::Outage })
                }
                2 if open => story.worsens(number),
                3 if open => story.ends(number),
                4 if open => story.acknowledged(number as u64),
                5 => story.silenced(&["a"], 300),
                6 => story.restarts(),
                _ => story,
            };
            let next = story.second + wait;
            story = story.until(next);
        }
        for incident in &story.incidents {
            let reported: Vec<_> = story.reported.iter().map(|t| &t.2)
                .filter(|n| n.incident.as_ref().is_some_and(|i| i.id == incident.id)).collect();
            if let [first, rest @ ..] = reported.as_slice() {
                prop_assert_eq!(first.kind, NoticeKind::Opened);
                prop_assert!(rest.iter().all(|n| n.kind != NoticeKind::Opened));
                prop_assert!(rest.iter().rev().skip(1).all(|n| n.kind != NoticeKind::Resolved));
            }
        }
        let mut ids: Vec<_> = story.reported.iter().map(|t| t.2.id).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), story.reported.len(), "every message has an id of its own");
    }
}
