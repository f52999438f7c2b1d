//! The API from outside.

use std::collections::BTreeSet;
use std::sync::Arc;

use llmwatch_core::model::{AlertState, Fault, Outcome, Sample, Snapshot, Status, Timestamp};
use serde_json::json;

use crate::support::{KEY, good, site::Site};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn two() -> String {
    format!(
        r#"
[monitor]
location = "fra1"
public_url = "https://status.example.com"

[defaults]
group = "chat"

[[endpoint]]
name = "openai-chat"
provider = "openai"
base_url = "http://127.0.0.1:1/v1"
api_key = "{KEY}"

[[endpoint]]
name = "azure-chat"
provider = "azure-openai"
base_url = "http://127.0.0.1:2"
deployment = "gpt-6-luna"
model = "gpt-6-luna"
api_key = "{KEY}"
"#
    )
}

fn minutes_ago(minutes: i64) -> Timestamp {
    Timestamp(NOW.0 - minutes * 60_000)
}

fn failed(endpoint: &str, at: Timestamp) -> Sample {
    Sample {
        outcome: Outcome::Failed,
        fault: Some(Fault::Http5xx),
        http_status: Some(500),
        first_token_ms: None,
        ..good(endpoint, at)
    }
}

/// Two healthy hours, then one endpoint fails for the last ten minutes.
async fn site() -> Site {
    let mut site = Site::new(&two(), NOW).await;
    site.record((1..130).rev().flat_map(|m| {
        let openai = if m < 10 {
            failed("openai-chat", minutes_ago(m))
        } else {
            good("openai-chat", minutes_ago(m))
        };
        [openai, good("azure-chat", minutes_ago(m))]
    }));
    site
}

#[tokio::test]
async fn the_status_says_what_is_true_now() {
    let status = site().await.get("/api/v1/status").await.json();
    let endpoints = status["endpoints"].as_array().unwrap();
    let as_pair = |e: &serde_json::Value| json!([e["name"], e["status"]]);
    assert_eq!(as_pair(&endpoints[0]), json!(["openai-chat", "outage"]));
    assert_eq!(as_pair(&endpoints[1]), json!(["azure-chat", "operational"]));
    assert_eq!(status["incidents"][0]["cause"], "http.5xx");
}

#[tokio::test]
async fn samples_come_newest_first_page_by_page() {
    let site = site().await;
    let first = site
        .get("/api/v1/endpoints/openai-chat/samples?limit=100")
        .await
        .json();
    assert_eq!(first["samples"].as_array().unwrap().len(), 100);
    assert_eq!(first["samples"][0]["fault"], "http.5xx");
    let next = first["next"].as_str().unwrap();
    let second = site
        .get(&format!(
            "/api/v1/endpoints/openai-chat/samples?limit=100&cursor={next}"
        ))
        .await
        .json();
    assert_eq!(second["samples"].as_array().unwrap().len(), 29);
    assert_eq!(second["next"], json!(null));
    let failed = site
        .get("/api/v1/endpoints/openai-chat/samples?outcome=failed&limit=5")
        .await
        .json();
    assert_eq!(failed["samples"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn pagination_is_stable_while_samples_arrive() {
    let mut site = site().await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site
            .get(&format!(
                "/api/v1/endpoints/openai-chat/samples?limit=10{cursor}"
            ))
            .await
            .json();
        seen.extend(
            page["samples"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| s["started_at"].clone()),
        );
        site.record([
            good("azure-chat", minutes_ago(0)),
            good("openai-chat", minutes_ago(0)),
        ]);
        let Some(next) = page["next"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    let wanted: Vec<_> = (1..130).map(|m| json!(minutes_ago(m))).collect();
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn the_history_comes_in_steps_with_percentiles_and_faults() {
    let site = site().await;
    let series = site
        .get("/api/v1/endpoints/openai-chat/series?range=24h&step=5m")
        .await
        .json();
    assert_eq!(series["step_s"], 300);
    let points = series["points"].as_array().unwrap();
    assert!((25..=28).contains(&points.len()), "{} points", points.len());
    let last = points.last().unwrap();
    assert_eq!(last["faults"][0]["fault"], "http.5xx");
    assert_eq!(last["first_token_ms"]["p95"], json!(null));
    assert_eq!(series["summary"]["ok"], 120);
    assert_eq!(series["summary"]["failed_provider"], 9);
    let p50 = series["summary"]["first_token_ms"]["p50"].as_f64().unwrap();
    assert!((p50 - 412.345).abs() < 5.0, "{p50}");
}

#[tokio::test]
async fn a_step_too_short_for_the_range_is_widened_and_said() {
    let series = site()
        .await
        .get("/api/v1/endpoints/openai-chat/series?range=90d&step=5m")
        .await
        .json();
    assert_eq!(series["step_s"], 7200);
}

#[tokio::test]
async fn endpoint_shows_state_and_settings_without_the_key() {
    let answer = site().await.get("/api/v1/endpoints/openai-chat").await;
    let one = answer.json();
    assert_eq!(one["base_url"], "http://127.0.0.1:1/v1");
    assert!(!answer.body.contains(KEY), "{}", answer.body);
    assert_eq!(one["interval_s"], 60.0);
    let availability = one["availability"]["30d"].as_f64().unwrap();
    assert!(
        (availability - 120.0 / 129.0).abs() < 1e-9,
        "{availability}"
    );
}

#[tokio::test]
async fn the_route_leads_to_the_one_that_works_and_says_why() {
    let site = site().await;
    let route = site.get("/api/v1/route?group=chat").await;
    assert_eq!(route.status, 200);
    let ranking = route.json();
    assert_eq!(ranking["endpoint"], "azure-chat");
    assert_eq!(
        ranking["ranking"][0]["reasons"],
        json!(["operational", "first token 412 ms", "no recent failure"])
    );
    assert_eq!(ranking["ranking"][1]["usable"], json!(false));
    assert_eq!(
        site.get("/api/v1/route?group=chat&format=text")
            .await
            .body
            .trim(),
        "azure-chat"
    );
    assert_eq!(site.get("/api/v1/route?group=nope").await.status, 404);
}

#[tokio::test]
async fn route_does_not_flap_but_leaves_a_failing_endpoint() {
    let mut site = Site::new(&two(), NOW).await;
    // Closely spaced, so that all samples are from the last few minutes.
    let at = |n: i64| Timestamp(NOW.0 - (250 - n) * 900);
    let first_token = |endpoint: &str, ms: f64, n: i64| Sample {
        first_token_ms: Some(ms),
        ..good(endpoint, at(n))
    };
    let mut probes = 0;
    for (openai_ms, azure_ms, leader, why) in [
        (400.0, 450.0, "openai-chat", "the quicker one"),
        (
            500.0,
            450.0,
            "openai-chat",
            "a little slower is no reason to move",
        ),
        (600.0, 450.0, "azure-chat", "clearly slower is"),
        (
            400.0,
            450.0,
            "azure-chat",
            "nor is a little quicker a reason to move back",
        ),
    ] {
        // As many as the recent median covers.
        site.record((probes..probes + 60).flat_map(|n| {
            [
                first_token("openai-chat", openai_ms, n),
                first_token("azure-chat", azure_ms, n),
            ]
        }));
        probes += 60;
        let text = site.get("/api/v1/route?group=chat&format=text").await;
        assert_eq!((text.status, text.body.trim()), (200, leader), "{why}");
        assert_eq!(
            text.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(
            site.get("/api/v1/route?group=chat").await.json()["endpoint"],
            leader,
            "{why}"
        );
    }
    site.record([0, 1].map(|n| failed("azure-chat", at(probes + n))));
    let route = site.get("/api/v1/route?group=chat").await.json();
    assert_eq!(route["endpoint"], "openai-chat");
    assert_eq!(
        route["ranking"][1]["reasons"][1],
        "its last 2 probes failed"
    );
    assert_eq!(
        site.get("/api/v1/incidents").await.json()["incidents"],
        json!([]),
        "long before there is an incident"
    );
}

#[tokio::test]
async fn a_route_to_nowhere_is_503() {
    let site = Site::new(&two(), NOW).await;
    let route = site.get("/api/v1/route?group=chat").await;
    assert_eq!(
        (route.status, &route.json()["endpoint"]),
        (503, &json!(null))
    );
    let text = site.get("/api/v1/route?group=chat&format=text").await;
    assert_eq!(
        (text.status, text.header("content-type")),
        (503, Some("application/problem+json"))
    );
}

#[tokio::test]
async fn incidents_can_be_listed_and_read() {
    let site = site().await;
    let list = site.get("/api/v1/incidents?state=open").await.json();
    assert_eq!(list["incidents"][0]["number"], 1);
    assert_eq!(
        site.get("/api/v1/incidents?state=resolved").await.json()["incidents"],
        json!([])
    );
    let one = site.get("/api/v1/incidents/1").await.json();
    assert_eq!(one["endpoints"], json!(["openai-chat"]));
    assert!(
        one["duration_s"].as_f64().unwrap() >= 9.0 * 60.0,
        "an open incident lasts until now"
    );
    assert_eq!(site.get("/api/v1/incidents/2").await.status, 404);
}

#[tokio::test]
async fn ready_means_that_samples_are_being_recorded() {
    let site = Site::new(&two(), NOW).await;
    let now = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = Snapshot::clone(&site.snapshot.borrow());
        change(&mut snapshot);
        site.snapshot.send_replace(Arc::new(snapshot));
    };
    assert_eq!(site.get("/readyz").await.status, 200, "it has just begun");
    now(&|s| s.last_recorded_at = Some(minutes_ago(10)));
    let late = site.get("/readyz").await;
    assert_eq!(
        (late.status, late.body),
        (503, format!("nothing recorded since {}\n", minutes_ago(10)))
    );
    now(&|s| s.last_recorded_at = Some(minutes_ago(2)));
    assert_eq!(site.get("/readyz").await.status, 200);
    now(&|s| s.store_error = Some("the store `/srv/secret/llmwatch.db`: disk is full".to_owned()));
    let failing = site.get("/readyz").await;
    assert!(
        failing.status == 503 && failing.body.starts_with("not recording: "),
        "{failing:?}"
    );
    assert!(
        !failing.body.contains("secret"),
        "anybody may ask: {failing:?}"
    );
    assert_eq!(site.get("/healthz").await.status, 200, "alive all the same");
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let site = site().await;
    for (method, path, status) in [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/endpoints/nobody", 404),
        ("GET", "/api/v1/endpoints/nobody/samples", 404),
        ("GET", "/api/v1/endpoints/openai-chat/samples?limit=0", 400),
        ("GET", "/api/v1/endpoints/openai-chat/samples?cursor=x", 400),
        (
            "GET",
            "/api/v1/endpoints/openai-chat/samples?since=yesterday",
            400,
        ),
        ("GET", "/api/v1/endpoints/openai-chat/series?step=1s", 400),
        ("GET", "/api/v1/endpoints/%ff", 400),
        ("GET", "/api/v1/incidents/one", 400),
        ("GET", "/api/v1/route?format=xml", 400),
        ("PUT", "/api/v1/status", 405),
        ("POST", "/api/v1/nothing", 404),
        ("POST", "/api/v1/silences", 403),
    ] {
        let answer = site.ask(method, path, "").await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{method} {path}: {answer:?}"
        );
        assert_eq!(answer.json()["status"], status, "{method} {path}");
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_know_is_a_problem_too() {
    let site = Site::new(&(two() + "\n[web]\ntoken = \"sesame\"\n"), NOW).await;
    let answer = site
        .ask(
            "POST",
            "/api/v1/status",
            "authorization: Bearer sesame\r\ncontent-length: 0\r\n",
        )
        .await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET,HEAD")),
        "{answer:?}"
    );
    assert_eq!(
        answer.json()["detail"],
        "`/api/v1/status` does not allow POST"
    );
}

#[tokio::test]
async fn what_the_client_has_already_is_not_sent_again() {
    let site = site().await;
    let first = site.get("/api/v1/incidents").await;
    let tag = first.header("etag").unwrap();
    let again = site
        .ask(
            "GET",
            "/api/v1/incidents",
            &format!("if-none-match: W/\"x\", {tag}\r\n"),
        )
        .await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(again.header("etag"), Some(tag));
}

#[tokio::test]
async fn existing_tools_read_it_as_a_statuspage() {
    let site = site().await;
    let summary = site.get("/api/v2/summary.json").await.json();
    assert_eq!(summary["status"]["indicator"], "major");
    assert_eq!(summary["components"][0]["status"], "major_outage");
    assert_eq!(summary["components"][1]["status"], "operational");
    let update = &summary["incidents"][0]["incident_updates"][0];
    assert_eq!(
        update["affected_components"][0]["new_status"],
        "major_outage"
    );
    let incident = &summary["incidents"][0];
    assert_eq!(
        (&incident["status"], &incident["impact"]),
        (&json!("investigating"), &json!("major"))
    );
    assert_eq!(
        incident["shortlink"],
        "https://status.example.com/incidents/1"
    );
    assert_eq!(
        site.get("/api/v2/status.json").await.json()["page"]["url"],
        "https://status.example.com"
    );
    assert_eq!(
        site.get("/api/v2/components.json").await.json()["components"],
        summary["components"]
    );
    assert_eq!(
        site.get("/api/v2/incidents.json").await.json()["incidents"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// Four bad probes are too little evidence for an alert, but too many to call the endpoint healthy.
#[tokio::test]
async fn a_pending_endpoint_is_not_shown_as_healthy() {
    let site = site().await;
    site.snapshot.send_modify(|snapshot| {
        let snapshot = Arc::make_mut(snapshot);
        let pending = snapshot.endpoints.get_mut(1).unwrap();
        assert_eq!(pending.status, Status::Operational);
        pending.status = Status::Unknown;
        pending.alert.state = AlertState::Pending;
        (pending.alert.failed, pending.alert.probes) = (4, 4);
    });
    let summary = site.get("/api/v2/summary.json").await.json();
    let component = &summary["components"][1];
    assert_eq!(component["status"], "degraded_performance");
    assert_eq!(
        component["description"],
        "checking: 4 of the last 4 probes failed"
    );
    let name = component["name"].as_str().unwrap();
    let badge = site.get(&format!("/badge/{name}.svg?metric=status")).await;
    assert!(badge.body.contains("checking"), "{}", badge.body);
}

/// A rejected key is not the provider's downtime, but the endpoint cannot be used, and the page says so.
#[tokio::test]
async fn an_account_fault_is_not_shown_as_operational() {
    let mut site = Site::new(&two(), NOW).await;
    site.record((1..130).rev().flat_map(|m| {
        let mut azure = good("azure-chat", minutes_ago(m));
        if m < 10 {
            azure.outcome = Outcome::Failed;
            azure.fault = Some(Fault::AccountAuth);
        }
        [good("openai-chat", minutes_ago(m)), azure]
    }));
    let summary = site.get("/api/v2/summary.json").await.json();
    assert_eq!(summary["components"][0]["status"], "operational");
    assert_eq!(summary["components"][1]["status"], "degraded_performance");
    assert_eq!(summary["status"]["indicator"], "minor");
    let incident = &summary["incidents"][0];
    assert_eq!(incident["impact"], "none");
    let update = &incident["incident_updates"][0];
    assert_eq!(
        update["affected_components"][0]["new_status"],
        "degraded_performance"
    );
}

#[tokio::test]
async fn the_description_names_every_path_that_is_answered() {
    let site = site().await;
    let description = site.get("/api/v1/openapi.json").await.json();
    assert!(
        description["openapi"].as_str().unwrap().starts_with("3.1"),
        "{}",
        description["openapi"]
    );
    let mut ids = BTreeSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        let id = "0199a4a8-7f3c-7000-8000-000000000000";
        let path = path
            .replace("{name}", "openai-chat")
            .replace("{number}", "1")
            .replace("{id}", id);
        for (method, operation) in operations.as_object().unwrap() {
            assert!(
                ids.insert(operation["operationId"].to_string()),
                "{} twice",
                operation["operationId"]
            );
            assert!(
                operation["responses"]["default"]["description"].is_string(),
                "{operation}"
            );
            match method.as_str() {
                // The event stream does not end.
                "get" if path == "/api/v1/events" => {}
                "get" => {
                    let answer = site.get(&path).await;
                    assert_eq!(answer.status, 200, "{path}: {answer:?}");
                }
                // This site has no token.
                writing => {
                    assert_eq!(operation["security"], json!([{"token": []}]));
                    let answer = site
                        .ask(&writing.to_uppercase(), &path, "content-length: 0\r\n")
                        .await;
                    assert_eq!(answer.status, 403, "{writing} {path}: {answer:?}");
                }
            }
        }
    }
    assert!(ids.len() >= 18, "{ids:?}");
}

/// A reference to a missing schema breaks client generators.
#[tokio::test]
async fn the_description_refers_only_to_what_it_holds() {
    let description = site().await.get("/api/v1/openapi.json").await;
    let held = description.json()["components"]["schemas"].clone();
    let named = description
        .body
        .split("#/components/schemas/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let missing: BTreeSet<_> = named.filter(|name| held.get(*name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
