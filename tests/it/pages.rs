//! The pages, live events, badges and feed of a running daemon.

use llmwatch_simulator::Scenario;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::{PATIENCE, World};

const OUTAGE: &str = r#"
[[rule]]
name = "down"
status = 503
body = '{"error": {"message": "down <script>alert(1)</script>"}}'
"#;

/// Requests `path`. Returns status, content type and body.
pub(crate) async fn get(address: &str, path: &str) -> (u16, String, String) {
    let answer = client()
        .get(format!("http://{address}{path}"))
        .send()
        .await
        .unwrap();
    let kind = answer
        .headers()
        .get("content-type")
        .map(|v| v.to_str().unwrap().to_owned())
        .unwrap_or_default();
    (answer.status().as_u16(), kind, answer.text().await.unwrap())
}

fn client() -> reqwest::Client {
    // The first installed provider stays; any will do, because nothing is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A client of the event stream.
struct Events {
    answer: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(address: &str, last_seen: Option<&str>) -> Self {
        let mut request = client().get(format!("http://{address}/api/v1/events"));
        if let Some(id) = last_seen {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self {
            answer,
            text: String::new(),
        }
    }

    /// Returns the id and the data of the next event of this name.
    async fn next(&mut self, name: &str) -> (String, Value) {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |key: &str| {
                    event
                        .lines()
                        .find_map(|l| l.strip_prefix(key))
                        .unwrap_or_default()
                        .trim()
                        .to_owned()
                };
                let found = (field("event:") == name).then(|| (field("id:"), field("data:")));
                self.text = rest.to_owned();
                if let Some((id, data)) = found {
                    return (id, serde_json::from_str(&data).unwrap());
                }
            }
            let chunk = timeout(PATIENCE, self.answer.chunk())
                .await
                .unwrap_or_else(|_| panic!("no `{name}` came"));
            self.text +=
                std::str::from_utf8(&chunk.unwrap().expect("the stream continues")).unwrap();
        }
    }

    /// Waits for the stream to end.
    async fn end(&mut self) {
        while let Ok(Some(_)) = timeout(PATIENCE, self.answer.chunk())
            .await
            .expect("the stream ends")
        {}
    }
}

#[tokio::test]
async fn outage_shows_on_page_events_badge_and_feed() {
    let world = World::new().await;
    world.write(
        &world
            .endpoints()
            .replace("listen = \"off\"", "listen = \"127.0.0.1:0\""),
    );
    let mut daemon = world.run();
    let address = daemon.event("web.listening").await["address"]
        .as_str()
        .unwrap()
        .to_owned();

    let mut events = Events::open(&address, None).await;
    let (_, sample) = events.next("probe.completed").await;
    assert_eq!(
        (&sample["outcome"], &sample["location"]),
        (&Value::from("ok"), &Value::from("fra1"))
    );
    let mut both = [String::new(), String::new()];
    while both.iter().any(String::is_empty) {
        let (_, sample) = events.next("probe.completed").await;
        let place = usize::from(sample["endpoint"] == "azure-chat");
        both[place] = sample["endpoint"].to_string();
    }
    let (status, kind, page) = get(&address, "/").await;
    assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.contains("Both endpoints are operational."), "{page}");
    // The content security policy forbids inline code and external resources.
    for sin in ["<style", " style=", "<script>", "onclick", "http-equiv"] {
        assert!(!page.contains(sin), "{sin}");
    }
    let (_, kind, badge) = get(&address, "/badge/openai-chat.svg?metric=status").await;
    assert_eq!(kind, "image/svg+xml; charset=utf-8");
    assert!(badge.contains(">operational</text>"), "{badge}");

    let (last_seen, _) = events.next("probe.completed").await;
    drop(events);
    world.openai.set_scenario(Scenario::parse(OUTAGE).unwrap());
    daemon.event("incident.opened").await;
    let mut events = Events::open(&address, Some(&last_seen)).await;
    let changed = loop {
        let (_, changed) = events.next("status.changed").await;
        if changed["endpoint"] == "openai-chat" {
            break changed;
        }
    };
    assert_eq!(changed["status"], "outage");
    let mut events = Events::open(&address, Some(&last_seen)).await;
    let (_, opened) = events.next("incident.opened").await;
    assert_eq!(opened["number"], 1);

    let (_, _, page) = get(&address, "/").await;
    assert!(
        page.contains("OpenAI is down.") && page.contains("Use azure-chat instead."),
        "{page}"
    );
    let (status, _, page) = get(&address, "/groups/chat").await;
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("chat: use azure-chat.") && page.contains("First choice alone"),
        "{page}"
    );
    let (_, _, page) = get(&address, "/endpoints/openai-chat?range=1h").await;
    assert!(page.contains("<a href=\"/groups/chat\">chat</a>"), "{page}");
    assert!(
        page.contains("down &#60;script&#62;alert(1)&#60;/script&#62;")
            && !page.contains("<script>alert"),
        "{page}"
    );
    let (_, _, page) = get(&address, "/incidents").await;
    assert!(page.contains("/incidents/1\""), "{page}");
    let (_, _, page) = get(&address, "/incidents/1").await;
    assert!(
        page.contains("First failed probe") && page.contains("Incident opened"),
        "{page}"
    );
    let (_, _, badge) = get(&address, "/badge/openai.svg?metric=status").await;
    assert!(badge.contains(">outage</text>"), "{badge}");
    let (_, _, badge) = get(&address, "/badge/chat.svg?range=24h").await;
    assert!(badge.contains("chat uptime 24h"), "{badge}");
    assert_eq!(get(&address, "/badge/nobody.svg").await.0, 404);
    assert_eq!(get(&address, "/badge/chat.svg?range=soon").await.0, 400);
    let (_, kind, feed) = get(&address, "/feed.atom").await;
    assert_eq!(kind, "application/atom+xml; charset=utf-8");
    let feed = roxmltree::Document::parse(&feed).unwrap();
    let entries: Vec<_> = feed
        .descendants()
        .filter(|n| n.has_tag_name(("http://www.w3.org/2005/Atom", "entry")))
        .collect();
    assert_eq!(entries.len(), 1);
    let text = entries[0]
        .children()
        .find(|n| n.has_tag_name("title"))
        .and_then(|n| n.text())
        .unwrap();
    assert!(text.starts_with("OpenAI: "), "{text}");
    for missing in [
        "/endpoints/nobody",
        "/groups/nobody",
        "/endpoints/%ff",
        "/incidents/2",
        "/incidents/two",
        "/incidents/%ff",
        "/nothing",
        "/incidents/",
        "/endpoints/a/b",
    ] {
        let (status, _, page) = get(&address, missing).await;
        assert!(
            status == 404 && page.contains("There is no such"),
            "{missing}: {status} {page}"
        );
    }
    assert_eq!(get(&address, "/assets/none.css").await.0, 404);
    // Invalid query parameters are ignored.
    for odd in [
        "/incidents?before=nonsense",
        "/incidents?before=1&before=2",
        "/endpoints/openai-chat?range=1h&range=1d",
    ] {
        assert_eq!(get(&address, odd).await.0, 200, "{odd}");
    }

    assert_eq!(daemon.stop().await, Some(0));
    events.end().await;
}
