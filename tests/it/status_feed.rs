//! Vendor status pages, read over HTTP by the real daemon: who was first, and who is notified.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use llmwatch::config::plan::Plan;
use llmwatch_core::incident::vendor_status::FeedSnapshot;
use llmwatch_core::model::{Fault, Provider, Timestamp};
use llmwatch_simulator::Scenario;
use serde_json::Value;

use crate::attribution::{self, START, Watch, configuration, endpoint};
use crate::support::{PATIENCE, World};

const OUTAGE: &str = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";
const ADMITTED: &str = r#"
[[status_page]]
status = "partial_outage"
incident = "Elevated error rates"
impact = "major"
"#;

fn scenario(text: &str) -> Scenario {
    Scenario::parse(text).unwrap()
}

fn feed(address: &str) -> String {
    format!(
        "\n[[status_feed]]\nprovider = \"openai\"\nkind = \"statuspage\"\nurl = \"http://{address}/api/v2/summary.json\"\ninterval = \"1s\"\n"
    )
}

async fn next_hook(world: &mut World) -> Value {
    let request = tokio::time::timeout(PATIENCE, world.hook.next())
        .await
        .expect("a webhook");
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lead_is_known_when_the_vendor_publishes_later() {
    let mut world = World::new().await;
    let hook = world.webhook() + "on = [\"opened\", \"updated\", \"resolved\"]\n";
    world.write(
        &(world.endpoints() + &hook + &world.email() + &feed(&world.openai.addr().to_string())),
    );
    let mut daemon = world.run();
    let first = daemon.event("feed.changed").await;
    assert_eq!(
        (first["provider"].as_str(), first["status"].as_str()),
        (Some("openai"), Some("operational"))
    );

    world.openai.set_scenario(scenario(OUTAGE));
    let opened = next_hook(&mut world).await;
    assert_eq!(opened["type"], "incident.opened");
    let official = &opened["data"]["incident"]["official"];
    assert_eq!(
        (official["status"].as_str(), &official["incident"]),
        (Some("operational"), &Value::Null)
    );
    assert_eq!(
        (&official["lead_s"], official["url"].as_str()),
        (&Value::Null, Some("https://status.simulated.test"))
    );

    world
        .openai
        .set_scenario(scenario(&format!("{OUTAGE}{ADMITTED}")));
    let changed = daemon.event("feed.changed").await;
    assert_eq!(
        (
            changed["status"].as_str(),
            changed["official_incident"].as_str()
        ),
        (Some("degraded"), Some("Elevated error rates"))
    );
    let line = daemon.event("incident.updated").await;
    assert!(
        line["lead_s"].as_f64().unwrap() > 0.0,
        "we were first: {line}"
    );
    let updated = next_hook(&mut world).await;
    assert_eq!(updated["type"], "incident.updated");
    let official = &updated["data"]["incident"]["official"];
    assert_eq!(official["incident"], "Elevated error rates");
    assert_eq!(official["lead_s"], line["lead_s"]);

    world.openai.set_scenario(Scenario::healthy());
    let resolved = next_hook(&mut world).await;
    assert_eq!(resolved["type"], "incident.resolved");
    assert_eq!(
        resolved["data"]["incident"]["official"]["lead_s"], line["lead_s"],
        "it stays known when the vendor is done"
    );
    let mails = [world.mail.next().await, world.mail.next().await]
        .map(|m| String::from_utf8_lossy(&m.data).into_owned());
    assert!(mails[0].contains("does not mention this"), "{}", mails[0]);
    assert!(mails[1].contains("Elevated error rates"), "{}", mails[1]);
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn vendor_only_outage_is_sent_to_channels_that_ask() {
    let mut world = World::new().await;
    world.openai.set_scenario(scenario(ADMITTED));
    let hook = world.webhook() + "on = [\"opened\", \"official\"]\n";
    world.write(
        &(world.endpoints() + &world.email() + &hook + &feed(&world.openai.addr().to_string())),
    );
    let mut daemon = world.run();
    let reported = next_hook(&mut world).await;
    assert_eq!(reported["type"], "feed.changed");
    let title = reported["data"]["title"].as_str().unwrap();
    assert!(
        title.contains("Elevated error rates") && title.contains("our probes are unaffected"),
        "{reported}"
    );
    world.openai.set_scenario(Scenario::healthy());
    let over = next_hook(&mut world).await;
    assert!(
        over["data"]["title"]
            .as_str()
            .unwrap()
            .ends_with("Elevated error rates has ended"),
        "{over}"
    );
    assert_eq!(daemon.stop().await, Some(0));
    assert_eq!(
        world.query::<i64>("SELECT count(*) FROM incident"),
        0,
        "what a page says is no measurement"
    );
    assert_eq!(
        world.query::<i64>("SELECT count(*) FROM outbox WHERE channel = 'oncall'"),
        0
    );
}

/// A page that returns an `ETag`, then fails, then recovers.
#[derive(Default)]
struct Page {
    fetched: AtomicUsize,
    unchanged: AtomicUsize,
    broken: AtomicUsize,
}

async fn page(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    const TAG: &str = "\"v1\"";
    if page.broken.load(Ordering::SeqCst) > 0 {
        return (
            StatusCode::OK,
            "<html><title>Just a moment...</title></html>",
        )
            .into_response();
    }
    if headers.get("if-none-match").is_some_and(|t| t == TAG) {
        page.unchanged.fetch_add(1, Ordering::SeqCst);
        return StatusCode::NOT_MODIFIED.into_response();
    }
    page.fetched.fetch_add(1, Ordering::SeqCst);
    let body = include_str!("../fixtures/status/statuspage_summary_degraded.json");
    ([("etag", TAG), ("content-type", "application/json")], body).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_page_is_fetched_once_and_fails_once_in_the_log() {
    let state = Arc::new(Page::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new()
        .route("/api/v2/summary.json", get(page))
        .with_state(state.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let world = World::new().await;
    world.write(&(world.endpoints() + &feed(&address.to_string())));
    let mut daemon = world.run();
    let changed = daemon.event("feed.changed").await;
    assert_eq!(changed["status"], "degraded");
    crate::support::eventually("an answer of 304", || {
        (state.unchanged.load(Ordering::SeqCst) >= 2).then_some(())
    })
    .await;
    assert_eq!(state.fetched.load(Ordering::SeqCst), 1);

    state.broken.store(1, Ordering::SeqCst);
    let failed = daemon.event("feed.failed").await;
    assert_eq!(
        (failed["provider"].as_str(), failed["error"].as_str()),
        (Some("openai"), Some("it is not JSON"))
    );
    let lost = daemon.event("feed.changed").await;
    assert_eq!(
        (lost["status"].as_str(), lost["was"].as_str()),
        (Some("unknown"), Some("degraded"))
    );
    state.broken.store(0, Ordering::SeqCst);
    let back = daemon.event("feed.changed").await;
    assert_eq!(
        (back["status"].as_str(), back["was"].as_str()),
        (Some("degraded"), Some("unknown"))
    );
    assert_eq!(daemon.stop().await, Some(0));
    assert_eq!(
        daemon.log.matches("\"feed.failed\"").count(),
        1,
        "{}",
        daemon.log
    );
    server.abort();
}

fn compatible(name: &str, host: &str) -> String {
    endpoint(
        name,
        "openai-compatible",
        &format!("base_url = \"https://{host}/v1\"\nmodel = \"m\""),
    )
}

/// The probes are not called unaffected before it is certain.
#[test]
fn a_vendor_incident_waits_while_an_alert_is_pending() {
    let channel =
        "[[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:1\"\non = [\"official\"]\n";
    let text = endpoint("openai-chat", "openai", "model = \"gpt-6-luna\"") + channel;
    let at = |watch: &Watch| Timestamp(START + watch.now * 1000);
    let begin = || {
        let mut watch = Watch::new(&text);
        watch.well(60);
        for _ in 0..2 {
            watch.probe("openai-chat", Some(Fault::Http5xx), None);
            watch.now += 10;
        }
        let published = at(&watch).to_string();
        (watch, published)
    };
    let read = |watch: &mut Watch, published: &str| {
        let page = attribution::page(Provider::OpenAi, Some(published));
        let step = watch.core.apply_status_feed(page, at(watch));
        let titles = step.announcements().map(|a| a.title.clone());
        titles.collect::<Vec<_>>()
    };

    let (mut watch, published) = begin();
    assert_eq!(read(&mut watch, &published), [] as [String; 0]);
    watch.well(60);
    let [title] = read(&mut watch, &published).try_into().unwrap();
    assert!(title.contains("our probes are unaffected"), "{title}");
    assert_eq!(read(&mut watch, &published), [] as [String; 0], "once");

    let (mut watch, published) = begin();
    assert_eq!(read(&mut watch, &published), [] as [String; 0]);
    watch.minutes(5, None, |_| Some(Fault::Http5xx));
    assert_eq!(watch.open().len(), 1);
    assert_eq!(read(&mut watch, &published), [] as [String; 0]);
    watch.well(60);
    assert_eq!(watch.open(), []);
    assert_eq!(read(&mut watch, &published), [] as [String; 0]);
}

#[test]
fn status_page_of_one_server_does_not_cover_another() {
    let text = compatible("groq", "api.groq.test")
        + &compatible("fireworks", "api.fireworks.test")
        + "[[status_feed]]\nprovider = \"openai-compatible\"\nurl = \"https://status.groq.test\"\nkind = \"statuspage\"\nendpoints = [\"groq\"]\n";
    let mut watch = Watch::new(&text);
    watch.well(5);
    let at = |watch: &Watch| Timestamp(START + watch.now * 1000);
    let key = watch.core.config().status_feeds[0].key();
    let published = at(&watch).to_string();
    let snapshot = FeedSnapshot {
        feed: key,
        ..attribution::page(Provider::OpenAiCompatible, Some(&published))
    };
    watch.core.apply_status_feed(snapshot, at(&watch));
    let shown: Vec<_> = watch
        .core
        .snapshot(at(&watch))
        .official
        .into_iter()
        .map(|v| v.title)
        .collect();
    assert_eq!(
        shown,
        ["api.groq.test"],
        "the page stands beside the server that it speaks of"
    );
    watch.minutes(5, None, |_| Some(Fault::Http5xx));
    let mut official: Vec<_> = watch
        .open()
        .into_iter()
        .map(|i| (i.provider, i.official.incident))
        .collect();
    official.sort();
    let theirs = Some("Elevated error rates".to_owned());
    assert_eq!(
        official,
        [
            ("api.fireworks.test".into(), None),
            ("api.groq.test".into(), theirs)
        ]
    );
}

/// An endpoint of `provider` at `base`.
fn at(name: &str, provider: &str, base: &str) -> String {
    let deployment = if provider == "azure-openai" {
        "deployment = \"m\"\n"
    } else {
        ""
    };
    format!(
        "[[endpoint]]\nname = \"{name}\"\nprovider = \"{provider}\"\nbase_url = \"{base}\"\nmodel = \"m\"\n\
         api_key = \"k\"\n{deployment}"
    )
}

#[test]
fn default_pages_cover_regional_and_foundry_hosts() {
    for (provider, base, is_covered) in [
        ("openai", "https://api.openai.com/v1", true),
        ("openai", "https://eu.api.openai.com/v1", true),
        ("openai", "https://api.openai.com.example.com/v1", false),
        ("openai", "https://gateway.example.com/v1", false),
        ("azure-openai", "https://r.openai.azure.com", true),
        ("azure-openai", "https://r.services.ai.azure.com", true),
        (
            "azure-openai",
            "https://r.cognitiveservices.azure.com",
            true,
        ),
        ("azure-openai", "https://apim.example.com", false),
    ] {
        let feeds = configuration(&at("e", provider, base)).status_feeds.len();
        assert_eq!(feeds, usize::from(is_covered), "{base}");
    }
}

#[test]
fn default_page_is_not_about_endpoints_at_a_gateway() {
    let text = at("own", "openai", "https://us.api.openai.com/v1")
        + &at("gateway", "openai", "https://gateway.example.com/v1");
    let settings = configuration(&text);
    let [feed] = &settings.status_feeds[..] else {
        panic!("{:?}", settings.status_feeds)
    };
    let covered: Vec<_> = settings
        .endpoints
        .iter()
        .filter(|e| feed.is_about(e))
        .map(|e| e.name.as_str())
        .collect();
    assert_eq!(covered, ["own"]);
    let plan = Plan::of(&settings);
    assert_eq!(plan.status_pages[0].endpoints, ["own"]);
    let shown = plan.to_string();
    assert!(
        shown.contains("openai for own: https://status.openai.com/"),
        "{shown}"
    );
}

#[test]
fn status_feed_for_foreign_hosts_draws_a_warning() {
    let feed = "[[status_feed]]\nprovider = \"openai-compatible\"\nurl = \"https://status.groq.test\"\nkind = \"statuspage\"\n";
    let groq = compatible("groq", "api.groq.test");
    let both = groq.clone() + &compatible("fireworks", "api.fireworks.test") + feed;
    let warned = |text: &str| {
        configuration(text)
            .warnings
            .iter()
            .any(|w| w.contains("say with `endpoints` for which"))
    };
    assert!(warned(&both));
    assert!(!warned(&(groq + feed)));
    assert!(!warned(&(both + "endpoints = [\"groq\"]\n")));
}
