//! The pages and the API for visitors without the token, links in messages, and shifting traffic.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use llmwatch::links::{Action, Links, VALID};
use llmwatch_core::model::{Annotation, Fault, Outcome, Sample, Snapshot, Status, Timestamp};
use llmwatch_simulator::Scenario;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::support::{KEY, PATIENCE, World, free_port, good, site::Site};

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const TOKEN: &str = "correct horse battery staple";

fn config(monitor: &str, web: &str) -> String {
    format!(
        r#"
[monitor]
location = "fra1"
{monitor}

[defaults]
group = "chat"

[[endpoint]]
name = "openai-chat"
provider = "openai"
base_url = "http://127.0.0.1:1/v1"
model = "gpt-6-luna"
api_key = "{KEY}"

[[endpoint]]
name = "in-house"
provider = "openai-compatible"
base_url = "http://secret-host.internal:2/v1"
model = "qwen-secret"
api_key = "{KEY}"

[web]
{web}
"#
    )
}

/// Two healthy hours, then the first endpoint fails for the last ten minutes.
async fn site(monitor: &str, web: &str) -> Site {
    let mut site = Site::new(&config(monitor, web), NOW).await;
    let at = |minute: i64| Timestamp(NOW.0 - minute * 60_000);
    site.record((1..130).rev().flat_map(|minute| {
        let broken = Sample {
            outcome: Outcome::Failed,
            fault: Some(Fault::Http5xx),
            http_status: Some(500),
            first_token_ms: None,
            error: Some("internal words of the provider".to_owned()),
            ..good("openai-chat", at(minute))
        };
        let openai = if minute < 10 {
            broken
        } else {
            good("openai-chat", at(minute))
        };
        [openai, good("in-house", at(minute))]
    }));
    site
}

#[tokio::test]
async fn the_summary_shows_states_and_nothing_internal() {
    let web = format!("token = \"{TOKEN}\"\npublic = \"summary\"");
    let site = site("", &web).await;
    for path in [
        "/",
        "/endpoints/openai-chat",
        "/endpoints/in-house",
        "/incidents",
        "/incidents/1",
        "/api/v1/status",
        "/api/v1/endpoints",
        "/api/v1/endpoints/in-house",
        "/api/v1/incidents",
        "/api/v1/incidents/1",
        "/api/v1/route?group=chat",
        "/api/v1/health?group=chat",
        "/api/v2/summary.json",
        "/api/v2/incidents.json",
        "/feed.atom",
        "/badge/openai-chat.svg",
        "/embed",
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        for hidden in [
            "secret-host",
            "qwen-secret",
            "gpt-6-luna",
            "internal words",
            "req_",
            "http.5xx",
            "cost",
        ] {
            assert!(
                !answer.body.contains(hidden),
                "{path} shows {hidden}: {}",
                answer.body
            );
        }
    }
    assert!(site.get("/").await.body.contains("openai-chat"));
    for path in [
        "/metrics",
        "/api/v1/events",
        "/api/v1/endpoints/openai-chat/samples",
        "/api/v1/endpoints/openai-chat/series",
        "/api/v1/silences",
        "/groups/chat",
    ] {
        assert_eq!(site.get(path).await.status, 401, "{path}");
    }
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let all = site.ask("GET", "/api/v1/status", &bearer).await;
    assert_eq!(all.json()["endpoints"][0]["model"], "gpt-6-luna");
    let wrong = "authorization: Bearer wrong\r\n";
    assert_eq!(site.ask("GET", "/", wrong).await.status, 401);
}

#[tokio::test]
async fn a_link_is_refused_unless_it_is_signed_and_young() {
    let site = site("", &format!("token = \"{TOKEN}\"")).await;
    let links = Links::new(&[7; 32].into());
    let id = Uuid::from_u128(1);
    let foreign = Links::new(&[8; 32].into()).token(Action::Acknowledge, id, NOW + VALID);
    let expired = links.token(Action::Acknowledge, id, Timestamp(NOW.0 - 1));
    for (token, status) in [(foreign.as_str(), 404), (expired.as_str(), 410), ("x", 404)] {
        for method in ["GET", "POST"] {
            let headers = "content-length: 0\r\n";
            let answer = site.ask(method, &format!("/a/{token}"), headers).await;
            assert_eq!(answer.status, status, "{method} {answer:?}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        }
    }
    let incident = site.store.incidents(true).unwrap()[0].id;
    let token = links.token(Action::Acknowledge, incident, NOW + VALID);
    let page = site.get(&format!("/a/{token}")).await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("Acknowledge incident 1?"),
        "{}",
        page.body
    );
    assert!(page.body.contains("<button"), "{}", page.body);
}

#[tokio::test]
async fn links_stay_below_the_path_of_the_public_url() {
    let site = site("public_url = \"http://localhost/llm/\"", "").await;
    for path in [
        "/",
        "/llm/",
        "/llm/incidents/1",
        "/llm/endpoints/openai-chat",
    ] {
        let page = site.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        for attribute in ["href=\"/", "src=\"/", "action=\"/"] {
            for link in page.body.split(attribute).skip(1) {
                assert!(link.starts_with("llm/"), "{path}: {attribute}{link:.60}");
            }
        }
    }
    assert_eq!(site.get("/llm/api/v1/status").await.status, 200);
    assert_eq!(site.get("/llmwatch").await.status, 404);
}

#[tokio::test]
async fn health_is_small_and_readable_from_listed_origins() {
    let site = site("", "cors_origins = [\"https://app.example.com\"]").await;
    let path = "/api/v1/health?group=chat";
    let answer = site
        .ask("GET", path, "origin: https://app.example.com\r\n")
        .await;
    assert!(answer.body.len() <= 200, "{answer:?}");
    let health = answer.json();
    assert_eq!(
        (&health["status"], &health["attribution"], &health["use"]),
        (&json!("outage"), &json!("provider"), &json!("in-house"))
    );
    let allowed = "access-control-allow-origin";
    assert_eq!(answer.header(allowed), Some("https://app.example.com"));
    let other = site
        .ask("GET", path, "origin: https://evil.example\r\n")
        .await;
    assert_eq!(other.header(allowed), None);
    assert_eq!(site.get("/api/v1/health?group=nope").await.status, 404);
    let embed = site.get("/embed").await;
    let policy = embed.header("content-security-policy").unwrap();
    assert!(
        policy.contains("frame-ancestors https://app.example.com"),
        "{policy}"
    );
    assert_eq!(embed.header("x-frame-options"), None);
}

#[tokio::test]
async fn a_route_waits_for_another_choice() {
    let site = site("", "").await;
    let path = "/api/v1/route?group=chat";
    let first = site.get(path).await;
    let tag = first.header("etag").unwrap().to_owned();
    assert_eq!(first.json()["ranking"][0]["weight"], 100);
    let known = format!("if-none-match: {tag}\r\n");
    assert_eq!(site.ask("GET", path, &known).await.status, 304);
    let waited = site.ask("GET", &format!("{path}&wait=100ms"), &known).await;
    assert_eq!(
        (waited.status, waited.header("etag")),
        (304, Some(tag.as_str()))
    );
    let asked = tokio::spawn({
        let address = site.address;
        let request = format!(
            "GET {path}&wait=1m HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{known}\r\n"
        );
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    });
    let mut next = Snapshot::clone(&site.snapshot.borrow());
    next.endpoints[1].status = Status::Outage;
    site.snapshot.send_replace(Arc::new(next));
    let answer = tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap()
        .unwrap();
    // Without a change, the wait ends with 304.
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(site.get("/api/v1/route?wait=nonsense").await.status, 400);
}

#[tokio::test]
async fn large_json_is_compressed_for_those_who_take_it() {
    let site = site("", "").await;
    let plain = site.get("/api/v1/openapi.json").await;
    assert_eq!(plain.header("content-encoding"), None);
    let headers = "accept-encoding: gzip\r\n";
    let zipped = site.ask("GET", "/api/v1/openapi.json", headers).await;
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(zipped.header("etag"), plain.header("etag"));
}

#[tokio::test]
async fn a_deploy_is_marked_on_the_pages_of_its_endpoints() {
    let site = site("", &format!("token = \"{TOKEN}\"\npublic = \"summary\"")).await;
    let deploy = Annotation {
        at: Timestamp(NOW.0 - 30 * 60_000),
        by: "kim".to_owned(),
        text: "deployed <b>gateway 2.3".to_owned(),
        endpoints: vec!["openai-chat".into()],
        providers: Vec::new(),
        groups: Vec::new(),
    };
    site.snapshot
        .send_modify(|snapshot| Arc::make_mut(snapshot).annotations = vec![deploy]);
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let text = "deployed &#60;b&#62;gateway 2.3";
    let page = site.ask("GET", "/", &bearer).await.body;
    assert!(page.contains(text) && page.contains("kim"), "{page}");
    let own = site
        .ask("GET", "/endpoints/openai-chat", &bearer)
        .await
        .body;
    let other = site.ask("GET", "/endpoints/in-house", &bearer).await.body;
    assert!(own.contains(text), "{own}");
    assert!(!other.contains(text), "{other}");
    // Half an hour before the end of 24 hours: near the right edge of the charts.
    assert!(own.contains("class=\"note-mark\" d=\"M70"), "{own}");
    let public = site.get("/").await.body;
    assert!(public.contains(text) && !public.contains("kim"), "{public}");
    let status = site.get("/api/v1/status").await.json();
    assert_eq!(status["annotations"][0]["by"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_socket_takes_notes_and_agents_see_the_outage() {
    let world = World::new().await;
    let agent = SocketAddr::from(([127, 0, 0, 1], free_port()));
    world.write(&(world.endpoints() + &format!("\n[route]\nagent_listen = \"{agent}\"\n")));
    let mut daemon = world.run();
    daemon.well().await;
    let outage = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";
    world.openai.set_scenario(Scenario::parse(outage).unwrap());
    let opened = daemon.event("incident.opened").await;
    let number = opened["number"].to_string();
    let socket = world.state().join("control.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let noted = world
        .llmwatch(&["note", &number, "the vendor\r\nconfirmed it", "--json"])
        .output()
        .await
        .unwrap();
    assert_eq!(noted.status.code(), Some(0), "{noted:?}");
    let noted: Value = serde_json::from_slice(&noted.stdout).unwrap();
    assert_eq!(noted["notes"][0]["text"], "the vendor  confirmed it");
    let acknowledged = world
        .llmwatch(&["ack", &number, "--note", "on it"])
        .output()
        .await
        .unwrap();
    assert_eq!(acknowledged.status.code(), Some(0), "{acknowledged:?}");
    let kept: String =
        world.query("SELECT json_extract(data, '$.acknowledged.note') FROM incident");
    assert_eq!(kept, "on it");

    let ask = |line: &'static str| async move {
        let mut stream = TcpStream::connect(agent).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    };
    let reply = ask("openai-chat\n").await;
    assert!(reply.starts_with("down #"), "{reply}");
    assert_eq!(ask("azure-chat\n").await, "up ready 100%\n");
    assert_eq!(ask("nobody\n").await, "up ready 100%\n");
    assert_eq!(ask("\u{0}\u{1}garbage\n").await, "up ready 100%\n");
    let route = world.llmwatch(&["route", "chat"]).output().await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&route.stdout),
        "azure-chat\n",
        "{route:?}"
    );
    let deploy = [
        "note",
        "deployed 2.3",
        "--endpoint",
        "azure-chat",
        "--by",
        "kim",
    ];
    let marked = world.llmwatch(&deploy).output().await.unwrap();
    assert_eq!(marked.status.code(), Some(0), "{marked:?}");
    let unknown = ["note", "deployed 2.3", "--group", "nobody"];
    let refused = world.llmwatch(&unknown).output().await.unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(daemon.stop().await, Some(0));
    assert!(!socket.exists());
    let status = world
        .llmwatch(&["status", "--json"])
        .output()
        .await
        .unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["annotations"].as_array().unwrap().len(), 1);
    assert_eq!(status["annotations"][0]["text"], "deployed 2.3");
    assert_eq!(status["annotations"][0]["endpoints"][0], "azure-chat");
}
