//! The metrics that a collector receives.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::GzDecoder;
use llmwatch::metrics::otlp::METRICS;
use llmwatch_simulator::{Request, Scenario, WebhookBehavior};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World};

fn unpacked(request: &Request) -> Value {
    let mut text = String::new();
    GzDecoder::new(&*request.body)
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Indexes the metrics of an export by name.
fn by_name(export: &Value) -> BTreeMap<String, Value> {
    let metrics = export["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
        .as_array()
        .unwrap();
    metrics
        .iter()
        .map(|m| (m["name"].as_str().unwrap().to_owned(), m.clone()))
        .collect()
}

/// Returns the attributes of a data point.
fn labels(point: &Value) -> BTreeMap<String, String> {
    let value = |v: &Value| match v["stringValue"].as_str() {
        Some(text) => text.to_owned(),
        None => v["intValue"].as_i64().unwrap().to_string(),
    };
    let all = point["attributes"].as_array().unwrap();
    all.iter()
        .map(|a| (a["key"].as_str().unwrap().to_owned(), value(&a["value"])))
        .collect()
}

fn integer(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

async fn next(world: &mut World) -> std::sync::Arc<Request> {
    tokio::time::timeout(PATIENCE, world.hook.next())
        .await
        .expect("an export comes")
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_metrics_follow_the_semantic_conventions() {
    let mut world = World::new().await;
    world.openai.set_scenario(
        Scenario::parse("[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n").unwrap(),
    );
    let otlp = format!(
        "\n[otlp]\nendpoint = \"http://{}\"\ninterval = \"1s\"\nheaders = {{ authorization = \"Bearer t0k\" }}\n",
        world.hook.addr()
    );
    world.write(&(world.endpoints() + &otlp));
    let mut daemon = world.run();
    let (metrics, resource) = loop {
        let request = next(&mut world).await;
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/v1/metrics")
        );
        let header = |name: &str| request.header(name).map(str::to_owned);
        assert_eq!(header("content-type").as_deref(), Some("application/json"));
        assert_eq!(header("authorization").as_deref(), Some("Bearer t0k"));
        let export = unpacked(&request);
        let metrics = by_name(&export);
        let failed = |m: &BTreeMap<String, Value>| {
            let points = m.get("gen_ai.client.operation.duration")?["histogram"]["dataPoints"]
                .as_array()?
                .clone();
            points
                .iter()
                .any(|p| labels(p).contains_key("error.type"))
                .then_some(())
        };
        if failed(&metrics).is_some()
            && metrics.contains_key("gen_ai.client.operation.time_to_first_chunk")
        {
            break (metrics, export["resourceMetrics"][0]["resource"].clone());
        }
    };
    assert_eq!(
        resource["attributes"][0],
        json!({"key": "service.name", "value": {"stringValue": "llmwatch"}})
    );

    let operations = &metrics["gen_ai.client.operation.duration"];
    assert_eq!(
        (
            &operations["unit"],
            &operations["histogram"]["aggregationTemporality"]
        ),
        (&json!("s"), &json!(2))
    );
    for point in operations["histogram"]["dataPoints"].as_array().unwrap() {
        let labels = labels(point);
        assert_eq!(labels["gen_ai.operation.name"], "chat");
        assert_eq!(labels["user_agent.synthetic.type"], "test");
        assert_eq!(labels["server.address"], "127.0.0.1");
        let is_azure = labels["endpoint"] == "azure-chat";
        assert_eq!(
            labels["gen_ai.provider.name"],
            if is_azure {
                "azure.ai.openai"
            } else {
                "openai"
            }
        );
        assert_eq!(
            labels.get("error.type").map(String::as_str),
            (!is_azure).then_some("overloaded")
        );
        let counts: Vec<_> = point["bucketCounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(integer)
            .collect();
        assert_eq!(counts.iter().sum::<u64>(), integer(&point["count"]));
        assert_eq!(point["explicitBounds"][0], 0.01);
        assert_eq!(
            (
                counts.len(),
                point["explicitBounds"].as_array().unwrap().len()
            ),
            (15, 14)
        );
        let time = |key: &str| point[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") < time("timeUnixNano"));
    }
    let usage = &metrics["gen_ai.client.token.usage"]["histogram"]["dataPoints"][0];
    assert_eq!(
        (
            labels(usage)["gen_ai.token.type"].as_str(),
            &usage["explicitBounds"][2]
        ),
        ("input", &json!(16.0))
    );
    let probes = &metrics["llmwatch.probes"]["sum"];
    assert_eq!(
        (&probes["isMonotonic"], &probes["aggregationTemporality"]),
        (&json!(true), &json!(2))
    );
    let known: Vec<_> = METRICS.iter().map(|m| m.0).collect();
    assert!(
        metrics.keys().all(|name| known.contains(&name.as_str())),
        "{:?}",
        metrics.keys()
    );

    let before = world.hook.requests().len();
    assert_eq!(daemon.stop().await, Some(0));
    assert!(
        world.hook.requests().len() > before,
        "what was counted last is exported at the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_collector_is_logged_once() {
    let mut world = World::new().await;
    world
        .hook
        .set_behavior(WebhookBehavior::Status(503, Vec::new()));
    let otlp = format!(
        "\n[otlp]\nendpoint = \"http://{}/otlp/\"\ninterval = \"1s\"\n",
        world.hook.addr()
    );
    world.write(&(world.endpoints() + &otlp));
    let mut daemon = world.run();
    let failed = daemon.event("otlp.failed").await;
    assert_eq!(
        (&failed["error"], &failed["level"]),
        (&json!("HTTP 503"), &json!("warn"))
    );
    for _ in 0..3 {
        assert_eq!(next(&mut world).await.path, "/otlp/v1/metrics");
    }
    world.hook.set_behavior(WebhookBehavior::Ok);
    daemon.event("otlp.recovered").await;
    assert_eq!(
        daemon.log.matches("\"otlp.failed\"").count(),
        1,
        "{}",
        daemon.log
    );
    daemon.event("probe.completed").await;
    world.hook.set_behavior(WebhookBehavior::Hang);
    daemon.event("probe.completed").await;
    assert_eq!(daemon.stop().await, Some(0));
}
