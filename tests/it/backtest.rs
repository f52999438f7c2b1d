//! `llmwatch backtest` as users run it: labeled traces, an export, other rules.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use llmwatch_core::model::{Attribution, Fault, Outcome, Provider, Sample, Timestamp};
use llmwatch_core::report::backtest::ReplayEvent;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::good;

const START: Timestamp = Timestamp(1_795_510_800_000);

fn traces() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/traces")
}

/// A directory without a configuration.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn backtest(&self, args: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmwatch"));
        command
            .current_dir(self.0.path())
            .env_remove("LLMWATCH_CONFIG")
            .arg("backtest");
        command.args(args.iter().map(AsRef::as_ref));
        command.output().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn events(lines: &str) -> Vec<ReplayEvent> {
    lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[test]
fn traces_give_one_event_a_line_without_any_configuration() {
    let output = Place::new().backtest(&[&"--samples", &traces(), &"--json"]);
    let lines = stdout(&output);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let keys: Vec<_> = first
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "trace", "t_ms", "endpoint", "event", "notify", "cause", "text"
        ]
    );

    // The detector's own test compares the times.
    let key = |s: &ReplayEvent| {
        (
            s.trace.clone(),
            s.endpoint.clone(),
            s.event.clone(),
            s.notify,
            s.cause.clone(),
        )
    };
    let golden = std::fs::read_to_string(traces().join("golden_alerts_dev.jsonl")).unwrap();
    let mut ours: Vec<_> = events(&lines).iter().map(key).collect();
    let mut theirs: Vec<_> = events(&golden).iter().map(key).collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}

/// Computes the score of the recorded events as in `score.txt`.
#[test]
fn labels_give_the_score() {
    let place = Place::new();
    let labels = traces().join("labels.jsonl");
    let score = stdout(&place.backtest(&[&"--samples", &traces(), &"--labels", &labels]));
    assert_eq!(
        score,
        std::fs::read_to_string(traces().join("score.txt")).unwrap()
    );

    let lines =
        stdout(&place.backtest(&[&"--samples", &traces(), &"--labels", &labels, &"--json"]));
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let outage = &last["score"]["groups"][0];
    assert_eq!(
        (&outage["group"], &outage["caught"]),
        (&"outage".into(), &1.0.into())
    );
}

/// A single file of the folder is also a trace; without a manifest beside it, it describes itself.
#[test]
fn single_trace_replays_as_in_its_folder() {
    let place = Place::new();
    let all = events(&stdout(&place.backtest(&[
        &"--samples",
        &traces(),
        &"--json",
    ])));
    let own: Vec<_> = all.into_iter().filter(|s| s.trace == "a_p01_60s").collect();
    let file = traces().join("a_p01_60s.csv.gz");
    assert_eq!(
        events(&stdout(&place.backtest(&[&"--samples", &file, &"--json"]))),
        own
    );

    let copy = place.0.path().join("a_p01_60s.csv.gz");
    std::fs::copy(file, &copy).unwrap();
    assert_eq!(
        events(&stdout(&place.backtest(&[&"--samples", &copy, &"--json"]))),
        own
    );
}

/// Two endpoints of one provider, probed once a minute. One fails from minute 100 to minute 110.
fn history() -> Vec<Sample> {
    let minute = |m: u64, name: &str| {
        let sample = Sample {
            provider: Provider::OpenAi,
            ..good(name, START + Duration::from_mins(m))
        };
        if name == "chat" && (100..110).contains(&m) {
            let failed = (
                Outcome::Failed,
                Some(Fault::Http5xx),
                Some(Attribution::Provider),
            );
            let (outcome, fault, attribution) = failed;
            return Sample {
                outcome,
                fault,
                attribution,
                first_token_ms: None,
                http_status: Some(503),
                ..sample
            };
        }
        sample
    };
    (0..180)
        .flat_map(|m| [minute(m, "chat"), minute(m, "mini")])
        .collect()
}

fn lines(samples: &[Sample]) -> String {
    samples
        .iter()
        .map(|s| serde_json::to_string(s).unwrap() + "\n")
        .collect()
}

#[test]
fn an_export_is_replayed_in_any_order_of_one_instant() {
    let place = Place::new();
    let samples = history();
    let swapped: Vec<_> = samples
        .chunks(2)
        .flat_map(|pair| pair.iter().rev().cloned())
        .collect();
    let file = place.write("export.jsonl", &lines(&samples));
    let other = place.write("swapped.jsonl", &lines(&swapped));
    let said = events(&stdout(&place.backtest(&[&"--samples", &file, &"--json"])));
    let other = events(&stdout(&place.backtest(&[&"--samples", &other, &"--json"])));
    let key = |s: &ReplayEvent| (s.t_ms, s.endpoint.clone(), s.event.clone(), s.text.clone());
    assert_eq!(
        said.iter().map(key).collect::<Vec<_>>(),
        other.iter().map(key).collect::<Vec<_>>()
    );
    let reported: Vec<_> = said
        .iter()
        .map(|s| (s.endpoint.as_str(), s.event.as_str()))
        .collect();
    assert_eq!(reported, [("chat", "open"), ("chat", "resolved")]);
    assert_eq!(
        said[0].text,
        "4 of the last 4 probes failed; typically 0.75%"
    );
    let delay = said[0].t_ms - (START + Duration::from_mins(100)).0;
    assert!((180_000..=181_000).contains(&delay), "{delay}");
}

/// A rejected key was first attributed to the provider, as its samples record. As in the daemon,
/// the alert is withdrawn after three consecutive account faults.
#[test]
fn a_replay_takes_an_alert_back_as_the_daemon_does() {
    let place = Place::new();
    let mut samples = history();
    for (i, sample) in samples.iter_mut().enumerate() {
        if sample.endpoint == "chat" && i / 2 >= 100 {
            let whose = if i / 2 < 120 {
                Attribution::Provider
            } else {
                Attribution::Account
            };
            sample.outcome = Outcome::Failed;
            sample.fault = Some(Fault::AccountAuth);
            sample.attribution = Some(whose);
            sample.http_status = Some(401);
        }
    }
    let file = place.write("export.jsonl", &lines(&samples));
    let said = events(&stdout(&place.backtest(&[&"--samples", &file, &"--json"])));
    let told: Vec<_> = said
        .iter()
        .map(|s| {
            let minute = (s.t_ms - START.0) / 60_000;
            (minute, s.event.as_str(), s.cause.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            (103, "open", "errors"),
            (121, "open", "account"),
            (122, "resolved", "")
        ]
    );
    assert_eq!(said[2].text, "it was the account's fault");
}

#[test]
fn other_rules_show_what_they_change() {
    let place = Place::new();
    let file = place.write("export.jsonl", &lines(&history()));
    let rules = place.write("rules.toml", "[detection]\nalert_after = \"5m\"\n");
    let text = stdout(&place.backtest(&[&"--samples", &file, &"--rules", &rules]));
    insta::assert_snapshot!(text);

    let rules = place.write(
        "rules.toml",
        "[detection]\nfailure_threshold = 2\nsuccess_threshold = 1\n",
    );
    let said = events(&stdout(&place.backtest(&[
        &"--samples",
        &file,
        &"--rules",
        &rules,
        &"--json",
    ])));
    let minutes: Vec<_> = said.iter().map(|s| (s.t_ms - START.0) / 60_000).collect();
    assert_eq!(minutes, [101, 110]);
}

#[test]
fn mistakes_are_named_with_their_place() {
    let place = Place::new();
    let rules = place.write("rules.toml", "[detection]\nsensitivty = \"high\"\n");
    let output = place.backtest(&[&"--samples", &traces(), &"--rules", &rules]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("did you mean `sensitivity`?"),
        "{output:?}"
    );

    let file = place.write("export.jsonl", "{\"endpoint\":\"chat\"}\n");
    let output = place.backtest(&[&"--samples", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("line 1: not a sample"),
        "{output:?}"
    );

    let file = place.write("trace.csv", "id,endpoint\n1,chat\n");
    let output = place.backtest(&[&"--samples", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("line 1: expected the columns of a trace"),
        "{output:?}"
    );
}
