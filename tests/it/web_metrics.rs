//! The metrics that Prometheus scrapes.

use llmwatch::metrics::text::METRICS;
use llmwatch_core::model::{Fault, Outcome, Sample, Timestamp};

use crate::support::{good, site::Site};

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const ONE: &str = r#"
[monitor]
location = "fra1"

[[endpoint]]
name = "a"
provider = "openai-compatible"
base_url = "http://127.0.0.1:1/v1"
model = "m"
"#;

async fn site() -> Site {
    let mut site = Site::new(ONE, NOW).await;
    let at = |n: i64| Timestamp(NOW.0 - (20 - n) * 60_000);
    let failed = Sample {
        outcome: Outcome::Failed,
        fault: Some(Fault::Overloaded),
        request_id: Some("req \"2\"".to_owned()),
        first_token_ms: None,
        ..good("a", at(19))
    };
    site.record((0..19).map(|n| good("a", at(n))).chain([failed]));
    site
}

fn without_process(text: &str) -> String {
    text.lines()
        .filter(|l| !l.starts_with("process_") && !l.contains("build_info{"))
        .fold(String::new(), |t, l| t + l + "\n")
}

#[tokio::test]
async fn the_metrics_are_openmetrics_with_exemplars() {
    let answer = site().await.get("/metrics").await;
    let kind = answer.header("content-type").unwrap();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    assert!(answer.body.ends_with("\n# EOF\n"), "{}", answer.body);
    insta::assert_snapshot!(without_process(&answer.body));
}

#[tokio::test]
async fn an_older_scraper_gets_the_older_format() {
    let answer = site()
        .await
        .ask(
            "GET",
            "/metrics",
            "accept: text/plain;version=0.0.4;q=0.5\r\n",
        )
        .await;
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(
        answer
            .body
            .contains("# TYPE llmwatch_probes_total counter\n"),
        "{}",
        answer.body
    );
    assert!(
        !answer.body.contains("# EOF") && !answer.body.contains(" # {"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn every_metric_is_there_and_no_other() {
    let body = site()
        .await
        .ask("GET", "/metrics", "accept: text/plain\r\n")
        .await
        .body;
    let families: Vec<_> = body
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let named: Vec<_> = METRICS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(families, named);
}
