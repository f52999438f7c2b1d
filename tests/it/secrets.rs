//! A secret in every key that accepts one, and outside parties that echo whatever they receive, in
//! every form. No secret may be left anywhere.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use llmwatch::redact::Redactor;

use crate::support::{World, eventually};

/// Everything sent outside, to verify that each secret could be echoed.
type Received = Arc<Mutex<String>>;

/// Returns the text escaped as HTML, as JSON, and as a URL within a URL.
fn escaped(text: &str) -> [String; 3] {
    let escape = |code: fn(char) -> String| {
        let codes = text.chars().map(|c| match c {
            c if c.is_ascii_alphanumeric() || c.is_control() || c == ' ' => c.to_string(),
            c => code(c),
        });
        codes.collect()
    };
    [
        escape(|c| format!("&#x{:X};", u32::from(c))),
        escape(|c| format!("\\u{:04x}", u32::from(c))),
        escape(|c| percent(&percent(&c.to_string()))),
    ]
}

/// Returns the text as is, percent-decoded, with its base64 parts decoded, and escaped. Only the
/// beginning of an answer is kept, so each answer begins with a different form.
fn forms(text: &str) -> String {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let [html, json, url] = escaped(text);
    let mut forms = [plain_forms(text), html, json, url];
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % forms.len();
    forms.rotate_left(turn);
    forms.join(" ")
}

fn plain_forms(text: &str) -> String {
    let decoded: String = url::form_urlencoded::parse(text.replace(['&', '='], "\u{1}").as_bytes())
        .map(|(name, value)| format!("{name}{value}"))
        .collect::<String>()
        .replace('\u{1}', " ");
    let mut all = format!("{text} {decoded}");
    for word in text.split([' ', '\r', '\n']) {
        let bytes = STANDARD.decode(word).unwrap_or_default();
        let _ = write!(
            all,
            " {}",
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        );
        let _ = write!(all, " {}", STANDARD.encode(word));
    }
    all.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// An HTTP server that answers every request with 404 and the entire request, and a status page
/// that contains it as JSON.
async fn parrot(received: Received) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(repeat(stream, received.clone()));
        }
    });
    port
}

async fn repeat(mut stream: TcpStream, received: Received) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16_384 {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    received.lock().unwrap().push_str(&head);
    let said = forms(&head);
    let (status, body) = if head.contains("/status-page") {
        let incident = serde_json::json!({
            "id": "1", "name": said, "status": "investigating", "impact": "major",
            "created_at": "2026-11-23T11:31:00Z", "shortlink": "https://status.test/1",
        });
        let page = serde_json::json!({
            "page": {"url": format!("https://status.test/{said}")}, "status": {"indicator": "major"},
            "components": [], "incidents": [incident],
        });
        ("200 OK", page.to_string())
    } else {
        ("404 Not Found", format!("Cannot {said}"))
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        said.chars()
            .filter(char::is_ascii_graphic)
            .take(300)
            .collect::<String>(),
        body.len(),
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// A mail server that rejects every login and echoes it.
async fn mail_parrot(received: Received) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let received = received.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let _ = stream.write_all(b"220 parrot\r\n").await;
                let mut line = String::new();
                while matches!(stream.read_line(&mut line).await, Ok(1..)) {
                    let text = std::mem::take(&mut line);
                    received.lock().unwrap().push_str(&text);
                    let reply = if text.starts_with("EHLO") {
                        "250-parrot\r\n250 AUTH PLAIN\r\n".to_owned()
                    } else {
                        format!("535 5.7.8 no {}\r\n", forms(&text))
                    };
                    let _ = stream.write_all(reply.as_bytes()).await;
                }
            });
        }
    });
    port
}

/// The secrets of the configuration, with characters that are encoded differently in different
/// places.
const SECRETS: [&str; 14] = [
    "sk-endpoint+key/4f9c2d7ab1e85",
    "header-value/9b3e71",
    "basicpass+word/77",
    "T0SENTINEL",
    "B0SENTINEL",
    "hookpathSENTINEL99",
    "query&SENTINEL=55",
    "whsec_c2VudGluZWwtc2lnbmluZy1rZXktMDEyMzQ1Njc4OTA=",
    "routing-SENTINEL-key",
    "mail pass@word#SENTINEL",
    "otlp-SENTINEL-token",
    "heartbeat-SENTINEL-uuid",
    "web-SENTINEL-token-0123456789",
    "feed-SENTINEL-key",
];

/// Percent-encodes everything that is not a letter or a digit.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Appends everything below `path` to one text.
fn read_all(path: &Path, all: &mut String) {
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        if entry.path().is_dir() {
            read_all(&entry.path(), all);
        } else {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            all.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_that_the_outside_repeats_is_left_behind() {
    // Its own client needs one as well, whichever test runs first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let received = Received::default();
    let parrot = parrot(received.clone()).await;
    let mail = mail_parrot(received.clone()).await;
    let world = World::new().await;
    let [
        key,
        header,
        basic,
        t,
        b,
        path,
        query,
        signing,
        routing,
        password,
        otlp,
        heartbeat,
        token,
        feed,
    ] = SECRETS;
    let basic = STANDARD.encode(format!("me:{basic}"));
    let at = format!("127.0.0.1:{parrot}");
    world.write(&format!(
        r#"
[monitor]
location = "fra1"
state_dir = "{state}"
listen = "127.0.0.1:0"
[detection]
alert_after = "2s"
[[endpoint]]
name = "chat"
provider = "openai-compatible"
base_url = "http://{at}/v1"
model = "m"
api_key = "{key}"
headers = {{ "x-own" = "{header}", "x-auth" = "Basic {basic}" }}
interval = "1s"
[[status_feed]]
provider = "openai-compatible"
kind = "statuspage"
url = "http://{at}/status-page?key={feed}"
interval = "1s"
[[webhook]]
name = "hook"
url = "http://{at}/services/{t}/{b}/{path}?q={query}"
secret = "{signing}"
headers = {{ "x-hook" = "Bearer {header}" }}
group_wait = "0s"
[[webhook]]
name = "pager"
kind = "pagerduty"
url = "http://{at}/v2/enqueue"
routing_key = "{routing}"
group_wait = "0s"
[[email]]
name = "mail"
to = ["recipient-address@example.com"]
from = "llmwatch@example.com"
smtp = "smtp://user:{password}@127.0.0.1:{mail}"
group_wait = "0s"
[otlp]
endpoint = "http://{at}/otlp"
interval = "1s"
headers = {{ authorization = "Bearer {otlp}" }}
[heartbeat]
url = "http://{at}/ping/{heartbeat}"
interval = "1s"
[web]
token = "{token}"
"#,
        state = world.state().display(),
        query = percent(query),
        password = percent(password),
    ));
    let mut daemon = world.run();
    let listening = daemon.event("web.listening").await;
    let listen = listening["address"].as_str().unwrap().to_owned();
    daemon.event("incident.opened").await;
    daemon.event("notification.failed").await;
    daemon.event("notification.retry").await;
    // A repeated request means that the first response was processed.
    eventually("everything outside was asked, and has answered", || {
        let received = received.lock().unwrap().clone();
        let once = ["/services/", "/v2/enqueue", "AUTH PLAIN"];
        let again = ["/otlp", "/ping/", "/status-page"];
        let was_asked = |part: &&str, times| received.matches(*part).count() >= times;
        (once.iter().all(|part| was_asked(part, 1)) && again.iter().all(|part| was_asked(part, 3)))
            .then_some(())
    })
    .await;
    daemon.event("probe.completed").await;

    let mut left = String::new();
    let client = reqwest::Client::new();
    for authorization in [None, Some(format!("Bearer {token}"))] {
        for page in [
            "/",
            "/incidents",
            "/incidents/1",
            "/endpoints/chat",
            "/api/v1/status",
            "/api/v1/endpoints/chat",
            "/api/v1/endpoints/chat/samples",
            "/api/v1/incidents",
            "/api/v1/incidents/1",
            "/api/v2/summary.json",
            "/metrics",
            "/feed.atom",
        ] {
            let mut request = client.get(format!("http://{listen}{page}"));
            if let Some(value) = &authorization {
                request = request.header("authorization", value);
            }
            let text = request.send().await.unwrap().text().await.unwrap();
            if authorization.is_none() {
                assert!(
                    !text.contains("recipient-address"),
                    "{page} shows a recipient"
                );
            }
            left += &text;
        }
    }
    for verb in [
        &["status", "--json"][..],
        &["incidents", "1"],
        &["outbox", "list", "--json"],
        &["check"],
        &["probe"],
        &["test-alert"],
        &["export"],
        &["report"],
    ] {
        let mut command = world.llmwatch(verb);
        let output = command.env("LLMWATCH_TOKEN", "").output().await.unwrap();
        left += &String::from_utf8_lossy(&output.stdout);
        left += &String::from_utf8_lossy(&output.stderr);
    }
    daemon.stop().await;
    left += &daemon.log;
    read_all(&world.state(), &mut left);

    let wire = received.lock().unwrap().clone();
    for secret in SECRETS
        .into_iter()
        .filter(|s| *s != token && *s != signing && *s != password)
    {
        let known = [
            secret.to_owned(),
            percent(secret),
            STANDARD.encode(format!("me:{secret}")),
        ];
        let on_wire = known.iter().any(|form| wire.contains(form.as_str()));
        // The routing key is in a body, which is not echoed.
        assert!(
            on_wire || secret == routing,
            "{secret} was never sent: {wire}"
        );
    }
    for secret in SECRETS {
        let encoded = STANDARD.encode(secret);
        let pairs = [
            format!("me:{secret}"),
            format!("user:{secret}"),
            format!("\0user\0{secret}"),
        ];
        let forms = [secret.to_owned(), percent(secret), encoded].into_iter();
        let forms = forms.chain(escaped(secret).into_iter().filter(|form| form != secret));
        for form in forms.chain(pairs.map(|pair| STANDARD.encode(pair))) {
            let found = left.find(&form).map(|at| {
                let from = left.floor_char_boundary(at.saturating_sub(120));
                let to = left.ceil_char_boundary(at + form.len() + 20);
                &left[from..to]
            });
            assert_eq!(found, None, "`{form}` of `{secret}` is left behind");
        }
    }
}

/// The sentinel of a key that takes a secret, in the form that the key accepts.
fn sentinel(table: &str, key: &str) -> String {
    let plain = format!("s3ntinel-{}-{key}", table.replace('.', "-"));
    match (table, key) {
        ("webhook", "secret") => {
            let signing = STANDARD.encode(format!("{plain}-0123456789"));
            format!("whsec_{signing}")
        }
        ("webhook", "account_sid") => "ACs3ntinelwebhookaccountsid".to_owned(),
        _ => plain,
    }
}

#[test]
fn every_key_that_takes_a_secret_is_redacted() {
    let directory = tempfile::tempdir().unwrap();
    let dkim = directory.path().join("dkim.pem");
    let of_dkim = "MC4CAQAwBQYDK2VwBCIEIPs3ntinelofthedkimkey0123456789abcdefghijkl";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{of_dkim}\n-----END PRIVATE KEY-----\n");
    std::fs::write(&dkim, pem).unwrap();
    let text = format!(
        r#"
[monitor]
proxy = "http://user:s3ntinel-monitor-proxy@127.0.0.1:1"
[store]
url = "postgres://user:s3ntinel-store-url@127.0.0.1/db"
[web]
token = "s3ntinel-web-token"
[heartbeat]
url = "https://example.com/s3ntinel-heartbeat-url"
fail_url = "https://example.com/s3ntinel-heartbeat-fail_url"
[[endpoint]]
name = "plain"
provider = "openai"
model = "m"
api_key = "s3ntinel-endpoint-api_key"
[[endpoint]]
name = "azure"
provider = "azure-openai"
base_url = "https://x.openai.azure.com"
deployment = "d"
entra = {{ tenant = "t", client_id = "c", client_secret = "s3ntinel-endpoint-entra-client_secret" }}
[[endpoint]]
name = "bedrock"
provider = "bedrock"
model = "m"
[endpoint.aws]
region = "us-east-1"
access_key_id = "s3ntinel-endpoint-aws-access_key_id"
secret_access_key = "s3ntinel-endpoint-aws-secret_access_key"
session_token = "s3ntinel-endpoint-aws-session_token"
[[email]]
to = ["a@example.com"]
from = "b@example.com"
smtp = "smtps://user:s3ntinel-email-smtp@smtp.example.com"
dkim = {{ selector = "s", domain = "example.com", key_file = "{dkim}" }}
[[webhook]]
name = "json"
url = "https://example.com/s3ntinel-webhook-url"
secret = "{signing}"
[[webhook]]
name = "pagerduty"
kind = "pagerduty"
routing_key = "s3ntinel-webhook-routing_key"
[[webhook]]
name = "opsgenie"
kind = "opsgenie"
api_key = "s3ntinel-webhook-api_key"
[[webhook]]
name = "pushover"
kind = "pushover"
token = "s3ntinel-webhook-token"
user = "s3ntinel-webhook-user"
[[webhook]]
name = "twilio"
kind = "twilio"
account_sid = "ACs3ntinelwebhookaccountsid"
token = "another-token"
from = "+15005550006"
to = "+15005550010"
"#,
        dkim = dkim.display(),
        signing = sentinel("webhook", "secret"),
    );
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/keys.toml");
    let keys: toml::Table = std::fs::read_to_string(keys).unwrap().parse().unwrap();
    let settings = crate::support::site::config(&text);
    let (redactor, shown) = (Redactor::new(&settings), format!("{settings:?}"));
    let mut secrets = vec![of_dkim.to_owned()];
    for (table, keys) in &keys {
        for (key, about) in keys.as_table().unwrap() {
            if about.get("type").and_then(toml::Value::as_str) == Some("secret") {
                let secret = sentinel(table, key);
                assert!(text.contains(&secret), "add {table}.{key} to this test");
                secrets.push(secret);
            }
        }
    }
    for secret in secrets {
        let cleaned = redactor.clean(&format!("refused: {secret}, try again"));
        assert!(!cleaned.contains(&secret), "{cleaned}");
        assert!(!shown.contains(&secret), "Debug shows {secret}");
    }
}
