//! Outside parties that never stop talking, or hardly begin. Each is given up within its time
//! limit, and none of them, nor all together, takes more than a bounded amount of memory.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Daemon, World, eventually};

const MIB: u64 = 1024 * 1024;
/// The most memory of a daemon that all these parties attack at once. An ordinary one of this build
/// takes about 60 MiB.
const MAX_MEMORY: u64 = 256 * MIB;
/// Key of a service account; its token address is replaced.
const ACCOUNT: &str = include_str!("../fixtures/keys/google_service_account.json");

/// A compressed mebibyte of spaces. Further ones may follow it.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::default());
    bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
    bomb.finish().unwrap()
});

/// What a party does instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// Headers without end.
    Headers,
    /// A body without end, of well-formed beginnings of its format.
    Body,
    /// A body of an announced gigabyte.
    Gigabyte,
    /// A byte of a header each second.
    DrippingHeaders,
    /// A byte of the body each second.
    DrippingBody,
    /// Compressed zeros without end.
    Bomb,
}

/// The form of what a party sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Events,
    AmazonEvents,
    Xml,
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Events => "text/event-stream",
            Self::AmazonEvents => "application/vnd.amazon.eventstream",
            Self::Xml => "application/rss+xml",
        }
    }

    /// What an endless body consists of.
    fn filler(self) -> Vec<u8> {
        let one = match self {
            Self::Json => b"{\"error\":{\"message\":\"x\",\"a\":[".to_vec(),
            Self::Events => b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".to_vec(),
            // A message whose prelude announces 16 MiB with 16 MiB of headers.
            Self::AmazonEvents => [16_777_216_u32, 16_777_000, 0]
                .into_iter()
                .flat_map(u32::to_be_bytes)
                .collect(),
            Self::Xml => b"<item a=\"1\"><title>x</title>".to_vec(),
        };
        one.repeat(16_384 / one.len())
    }
}

/// A hostile server, and how often a client has given it up.
struct Hostile {
    port: u16,
    given_up: Arc<AtomicUsize>,
}

impl Hostile {
    /// Answers every HTTP request with `attack`.
    async fn http(attack: Attack, form: Form) -> Self {
        Self::start(move |stream| answer(stream, attack, form)).await
    }

    /// Starts a server that treats each connection with `attack`, which ends when the client has
    /// closed it.
    async fn start<F>(attack: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let given_up = Arc::new(AtomicUsize::new(0));
        let counter = given_up.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (attacked, counter) = (attack(stream), counter.clone());
                tokio::spawn(async move {
                    attacked.await;
                    counter.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { port, given_up }
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte).await, Ok(1)) {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

async fn answer(mut stream: TcpStream, attack: Attack, form: Form) {
    if read_head(&mut stream).await.is_none() {
        return;
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {}\r\n", form.media_type());
    match attack {
        Attack::Headers => {
            let _ = stream.write_all(head.as_bytes()).await;
            pour(stream, b"x-more: and more\r\n").await;
        }
        Attack::Body => {
            let _ = stream.write_all(format!("{head}\r\n").as_bytes()).await;
            pour(stream, &form.filler()).await;
        }
        Attack::Gigabyte => {
            let head = format!("{head}content-length: 1073741824\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            pour(stream, &form.filler()).await;
        }
        Attack::DrippingHeaders => {
            let _ = stream.write_all(format!("{head}x-slow: ").as_bytes()).await;
            drip(stream).await;
        }
        Attack::DrippingBody => {
            let _ = stream.write_all(format!("{head}\r\n").as_bytes()).await;
            drip(stream).await;
        }
        Attack::Bomb => {
            let head = format!("{head}content-encoding: gzip\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            pour(stream, &BOMB).await;
        }
    }
}

/// Sends `piece` again and again until the client closes the connection.
async fn pour(mut stream: TcpStream, piece: &[u8]) {
    let chunk = piece.repeat(16_384 / piece.len() + 1);
    while stream.write_all(&chunk).await.is_ok() {}
}

/// Sends a byte each second until the client closes the connection.
async fn drip(mut stream: TcpStream) {
    let mut read = [0; 4096];
    loop {
        tokio::select! {
            got = stream.read(&mut read) => if matches!(got, Ok(0) | Err(_)) { return },
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if stream.write_all(b"a").await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A mail server that attacks where a web server with the same attack would.
async fn mail(mut stream: TcpStream, attack: Attack) {
    let mut line = [0; 512];
    match attack {
        Attack::Headers => pour(stream, b"220-and more\r\n").await,
        Attack::Body => pour(stream, b"220 and more").await,
        Attack::DrippingHeaders => drip(stream).await,
        Attack::Gigabyte => {
            let _ = stream.write_all(b"220 mail.test\r\n").await;
            let _ = stream.read(&mut line).await;
            pour(stream, b"250-SIZE 1073741824\r\n").await;
        }
        Attack::DrippingBody => {
            let _ = stream.write_all(b"220 mail.test\r\n").await;
            let _ = stream.read(&mut line).await;
            drip(stream).await;
        }
        Attack::Bomb => {
            let _ = stream.write_all(b"220 mail.test\r\n").await;
            for reply in [&b"250 mail.test\r\n"[..], b"250 ok\r\n", b"250 ok\r\n"] {
                let _ = stream.read(&mut line).await;
                let _ = stream.write_all(reply).await;
            }
            let _ = stream.read(&mut line).await;
            pour(stream, b"354-go\r\n").await;
        }
    }
}

/// The parties by name, each with what makes it a part of the configuration.
struct Parties(Vec<(&'static str, Hostile)>);

impl Parties {
    async fn all(attack: Attack) -> Self {
        let mut parties = Vec::new();
        for (name, form) in [
            ("chat", Form::Events),
            ("realtime", Form::Json),
            ("vertex", Form::Events),
            ("bedrock", Form::AmazonEvents),
            ("mcp", Form::Events),
            ("models", Form::Json),
            ("entra", Form::Json),
            ("google-token", Form::Json),
            ("google-metadata", Form::Json),
            ("aws-metadata", Form::Json),
            ("otlp", Form::Json),
            ("heartbeat", Form::Json),
            ("hook", Form::Json),
            ("statuspage", Form::Json),
            ("incident_io", Form::Json),
            ("google_cloud", Form::Json),
            ("instatus", Form::Json),
            ("betterstack", Form::Json),
            ("aws_health", Form::Json),
            ("azure_rss", Form::Xml),
            ("rss", Form::Xml),
        ] {
            parties.push((name, Hostile::http(attack, form).await));
        }
        let mail = Hostile::start(move |stream| mail(stream, attack)).await;
        parties.push(("mail", mail));
        Self(parties)
    }

    fn at(&self, name: &str) -> String {
        let (_, party) = self.0.iter().find(|(n, _)| *n == name).unwrap();
        format!("127.0.0.1:{}", party.port)
    }

    fn config(&self, world: &World) -> String {
        let account = ACCOUNT.replace(
            "https://oauth2.googleapis.com",
            &format!("http://{}", self.at("google-token")),
        );
        std::fs::write(world.directory.path().join("account.json"), account).unwrap();
        let mut text = format!(
            r#"
[monitor]
location = "fra1"
state_dir = "{state}"
listen = "off"
[detection]
alert_after = "1s"
[otlp]
endpoint = "http://{otlp}/v1/metrics"
interval = "1s"
[heartbeat]
url = "http://{heartbeat}/ping"
interval = "1s"
[[webhook]]
name = "hook"
url = "http://{hook}/alerts"
group_wait = "0s"
[[email]]
name = "mail"
to = ["a@example.com"]
from = "b@example.com"
smtp = "smtp://{mail}"
group_wait = "0s"
[defaults]
interval = "10s"
expect = {{}}
timeout = {{ connect = "60s", headers = "3s", first_token = "3s", token_gap = "3s", total = "6s" }}
[[endpoint]]
name = "chat"
provider = "openai-compatible"
model = "m"
base_url = "http://{chat}/v1"
[[endpoint]]
name = "realtime"
provider = "openai"
api = "realtime"
api_key = "k"
base_url = "http://{realtime}/v1"
[[endpoint]]
name = "vertex"
provider = "vertex"
google = {{ project = "p" }}
base_url = "http://{vertex}"
headers = {{ authorization = "Bearer k" }}
[[endpoint]]
name = "bedrock"
provider = "bedrock"
base_url = "http://{bedrock}"
aws = {{ region = "us-east-1", access_key_id = "k", secret_access_key = "s" }}
[[endpoint]]
name = "mcp"
provider = "mcp"
base_url = "http://{mcp}/mcp"
[[endpoint]]
name = "models"
provider = "openai-compatible"
api = "models"
model = "m"
base_url = "http://{models}/v1"
[[endpoint]]
name = "entra"
provider = "azure-openai"
deployment = "d"
base_url = "http://{chat}"
entra = {{ client_id = "c", client_secret = "s", token_url = "http://{entra}/token" }}
[[endpoint]]
name = "google-token"
provider = "vertex"
base_url = "http://{vertex}"
google = {{ credentials_file = "account.json" }}
[[endpoint]]
name = "google-metadata"
provider = "vertex"
base_url = "http://vertex.example:1"
resolve = ["127.0.0.1"]
google = {{ project = "p" }}
[[endpoint]]
name = "aws-metadata"
provider = "bedrock"
base_url = "http://bedrock.example:1"
resolve = ["127.0.0.1"]
aws = {{ region = "us-east-1" }}
"#,
            state = world.state().display(),
            otlp = self.at("otlp"),
            heartbeat = self.at("heartbeat"),
            hook = self.at("hook"),
            mail = self.at("mail"),
            chat = self.at("chat"),
            realtime = self.at("realtime"),
            vertex = self.at("vertex"),
            bedrock = self.at("bedrock"),
            mcp = self.at("mcp"),
            models = self.at("models"),
            entra = self.at("entra"),
        );
        for (kind, provider) in [
            ("statuspage", "openai"),
            ("incident_io", "openai-compatible"),
            ("google_cloud", "vertex"),
            ("instatus", "mcp"),
            ("betterstack", "openai-compatible"),
            ("aws_health", "bedrock"),
            ("azure_rss", "azure-openai"),
            ("rss", "vertex"),
        ] {
            text += &format!(
                "[[status_feed]]\nprovider = \"{provider}\"\nkind = \"{kind}\"\nurl = \"http://{}/page\"\ninterval = \"1s\"\n",
                self.at(kind)
            );
        }
        text
    }
}

const ENDPOINTS: [&str; 10] = [
    "chat",
    "realtime",
    "vertex",
    "bedrock",
    "mcp",
    "models",
    "entra",
    "google-token",
    "google-metadata",
    "aws-metadata",
];

/// Lets every party attack one daemon, until each was given up.
async fn withstand(attack: Attack) {
    let world = World::new().await;
    let parties = Parties::all(attack).await;
    world.write(&parties.config(&world));
    let google = parties.at("google-metadata");
    let aws = format!("http://{}", parties.at("aws-metadata"));
    let mut daemon = world.run_with(&[
        ("GCE_METADATA_HOST", google.as_str()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &aws),
        ("HOME", "/nonexistent"),
    ]);
    every_probe_fails(&mut daemon).await;
    for (name, party) in &parties.0 {
        eventually(&format!("{name} is given up"), || {
            (party.given_up.load(Ordering::Relaxed) > 0).then_some(())
        })
        .await;
    }
    let peak = daemon.memory("VmHWM");
    assert!(peak < MAX_MEMORY, "{attack:?}: {} MiB", peak / MIB);
    assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    assert!(!daemon.log.contains("panicked"), "{}", daemon.log);
}

async fn every_probe_fails(daemon: &mut Daemon) {
    let mut missing = ENDPOINTS.to_vec();
    while !missing.is_empty() {
        let sample = daemon.event("probe.completed").await;
        assert_eq!(sample["outcome"], "failed", "{sample}");
        missing.retain(|name| sample["endpoint"] != *name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outside_party_is_given_up() {
    let attacks = [
        Attack::Headers,
        Attack::Body,
        Attack::Gigabyte,
        Attack::DrippingHeaders,
        Attack::DrippingBody,
        Attack::Bomb,
    ];
    futures_util::future::join_all(attacks.map(withstand)).await;
}

/// What a server does after it has agreed to a WebSocket.
#[derive(Clone, Copy)]
enum Frames {
    /// This frame again and again.
    Endless(&'static [u8]),
    /// The beginning of a frame, then bytes without end.
    Giant(&'static [u8]),
    /// This frame, then a byte a second.
    Dripping(&'static [u8]),
}

async fn websocket(mut stream: TcpStream, frames: Frames) {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let Some(head) = read_head(&mut stream).await else {
        return;
    };
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "))
        .unwrap_or_default();
    let digest = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{GUID}").as_bytes(),
    );
    let accept = STANDARD.encode(digest);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes()).await;
    match frames {
        Frames::Endless(frame) => pour(stream, frame).await,
        Frames::Giant(beginning) => {
            let _ = stream.write_all(beginning).await;
            pour(stream, b"aaaa").await;
        }
        Frames::Dripping(frame) => {
            let _ = stream.write_all(frame).await;
            drip(stream).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_without_end() {
    let world = World::new().await;
    let cases = [
        ("texts", Frames::Endless(b"\x81\x02{}")),
        ("empty-texts", Frames::Endless(b"\x81\x00")),
        ("pings", Frames::Endless(b"\x89\x04ping")),
        ("empty-pings", Frames::Endless(b"\x89\x00")),
        ("pongs", Frames::Endless(b"\x8a\x00")),
        // Fragments of one message that never ends.
        ("fragments", Frames::Endless(b"\x01\x01a")),
        (
            "continuations",
            Frames::Giant(b"\x01\x01a\x00\x7f\x00\x00\x00\x00\x40\x00\x00\x00"),
        ),
        // Frames of a gigabyte, and of 2^63 bytes.
        (
            "gigabyte",
            Frames::Giant(b"\x81\x7f\x00\x00\x00\x00\x40\x00\x00\x00"),
        ),
        (
            "most",
            Frames::Giant(b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ),
        (
            "binary",
            Frames::Giant(b"\x82\x7f\x00\x00\x00\x00\x40\x00\x00\x00"),
        ),
        ("dripping", Frames::Dripping(b"\x81\x7e\xff\xff")),
        ("silent", Frames::Dripping(b"\x81\x02{}\x81\x7e\xff\xff")),
    ];
    let mut config = format!(
        "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\nlisten = \"off\"\n[defaults]\ninterval = \"1s\"\nprovider = \"openai\"\n\
         api = \"realtime\"\napi_key = \"k\"\ntimeout = {{ connect = \"60s\", headers = \"60s\", first_token = \"5s\", token_gap = \"5s\", total = \"9s\" }}\n",
        world.state().display()
    );
    let mut servers = Vec::new();
    for (name, frames) in cases {
        let server = Hostile::start(move |stream| websocket(stream, frames)).await;
        config += &format!(
            "[[endpoint]]\nname = \"{name}\"\nbase_url = \"http://127.0.0.1:{}/v1\"\n",
            server.port
        );
        servers.push((name, server));
    }
    world.write(&config);
    let mut daemon = world.run();
    let mut missing: Vec<_> = servers.iter().map(|(name, _)| *name).collect();
    while !missing.is_empty() {
        let sample = daemon.event("probe.completed").await;
        assert_eq!(sample["outcome"], "failed", "{sample}");
        missing.retain(|name| sample["endpoint"] != *name);
    }
    for (name, server) in &servers {
        eventually(&format!("{name} is given up"), || {
            (server.given_up.load(Ordering::Relaxed) > 0).then_some(())
        })
        .await;
    }
    let peak = daemon.memory("VmHWM");
    assert!(peak < MAX_MEMORY, "{} MiB", peak / MIB);
    assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
}

/// A message of a PostgreSQL server.
fn message(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap() + 4;
    [&[tag][..], &length.to_be_bytes(), content].concat()
}

/// A database server that attacks at once, or after it has let the client in.
async fn database(mut stream: TcpStream, first: Vec<u8>, attack: Option<Vec<u8>>) {
    let mut startup = [0; 1024];
    if !matches!(stream.read(&mut startup).await, Ok(1..)) {
        return;
    }
    let _ = stream.write_all(&first).await;
    match attack {
        Some(piece) => pour(stream, &piece).await,
        None => drip(stream).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_end() {
    const PASSWORD: &str = "p@ss/word-SENTINEL-9b3e71";
    let let_in = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
    let giant = |tag: u8| [&[tag][..], &[0x7f, 0xff, 0xff, 0xff]].concat();
    let error = format!(
        "SFATAL\0C53300\0Mno entry for {PASSWORD} {}\0\0",
        "x".repeat(100_000)
    );
    let rounds = b"r=aaaa,s=QSXCR+Q6sek8bf92,i=4294967295";
    let scram = [
        message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
        message(b'R', &[&b"\0\0\0\x0b"[..], rounds].concat()),
    ]
    .concat();
    let cases = [
        ("dripping", Vec::new(), None),
        ("dripping later", let_in.clone(), None),
        ("a giant error", giant(b'E'), Some(vec![b'x'; 4096])),
        (
            "a giant row",
            [let_in.clone(), giant(b'D')].concat(),
            Some(vec![b'x'; 4096]),
        ),
        ("empty rows", let_in.clone(), Some(message(b'D', &[0, 0]))),
        (
            "notices",
            let_in.clone(),
            Some(message(b'N', b"SNOTICE\0Mhello\0\0")),
        ),
        ("parameters", let_in.clone(), Some(message(b'S', b"a\0b\0"))),
        (
            "rows",
            let_in,
            Some(message(
                b'D',
                &[&[0, 1, 0, 0, 4, 0][..], &[b'x'; 1024]].concat(),
            )),
        ),
        ("a long error", message(b'E', error.as_bytes()), None),
        ("endless rounds", scram, None),
    ];
    let attacks = cases.map(|(name, first, attack)| async move {
        let world = World::new().await;
        let server =
            Hostile::start(move |stream| database(stream, first.clone(), attack.clone())).await;
        let password = PASSWORD.replace('@', "%40").replace('/', "%2F");
        world.write(&format!(
            "{}[store]\nurl = \"postgres://me:{password}@127.0.0.1:{}/monitor?sslmode=disable\"\n",
            world.endpoints(),
            server.port
        ));
        let mut daemon = world.run();
        // It probes on with what it has.
        daemon.event("store.unreachable").await;
        daemon.good_probes(&["openai-chat", "azure-chat"]).await;
        eventually(&format!("{name}: the server is given up twice"), || {
            (server.given_up.load(Ordering::Relaxed) > 1).then_some(())
        })
        .await;
        let peak = daemon.memory("VmHWM");
        assert!(peak < MAX_MEMORY, "{name}: {} MiB", peak / MIB);
        assert_eq!(daemon.stop().await, Some(0), "{name}: {}", daemon.log);
        assert!(!daemon.log.contains("SENTINEL"), "{name}: {}", daemon.log);
        let longest = daemon.log.lines().map(str::len).max();
        assert!(longest < Some(4096), "{name}: {longest:?}");
    });
    futures_util::future::join_all(attacks).await;
}

/// Sends a visitor's request and returns once the page has closed the connection.
async fn visit(address: String, head: String, piece: Option<&'static [u8]>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    match piece {
        Some(piece) => pour(stream, piece).await,
        None => drip(stream).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_without_end() {
    let world = World::new().await;
    let web =
        "[web]\ntoken = \"a token of the operator\"\npublic = \"summary\"\nsubscribe = true\n";
    let config = world.endpoints().replace(
        "listen = \"off\"",
        "listen = \"127.0.0.1:0\"\npublic_url = \"https://status.example.com\"",
    );
    world.write(&format!("{config}{}{web}", world.email()));
    let mut daemon = world.run();
    let address = daemon.event("web.listening").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut visits = tokio::task::JoinSet::new();
    for path in [
        "/subscribe",
        "/a/AAAA",
        "/unsubscribe/AAAA",
        "/api/v1/silences",
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n"
        );
        let length = format!("{head}content-length: 1073741824\r\n\r\nemail=");
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
        let cases: [(String, Option<&'static [u8]>); 7] = [
            (head.clone(), Some(b"x-more: and more\r\n")),
            (format!("{head}x-long: "), Some(b"aaaa")),
            (length.clone(), Some(b"aaaa")),
            (chunked.clone(), Some(b"1000;x=")),
            (chunked, Some(b"4\r\naaaa\r\n")),
            (head, None),
            (length, None),
        ];
        for (head, piece) in cases {
            visits.spawn(visit(address.clone(), head, piece));
        }
    }
    let all = tokio::time::timeout(crate::support::PATIENCE, async {
        while let Some(ended) = visits.join_next().await {
            ended.unwrap();
        }
    });
    all.await.expect("every visitor is cut off");
    daemon.good_probes(&["openai-chat", "azure-chat"]).await;
    let peak = daemon.memory("VmHWM");
    assert!(peak < MAX_MEMORY, "{} MiB", peak / MIB);
    assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
}

/// What one server answers to each path.
fn absurd(path: &axum::http::Uri, elsewhere: u16) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    let usage = |tokens: &str| {
        let event =
            "data: {\"choices\":[{\"delta\":{\"content\":\"pong\"},\"finish_reason\":\"stop\"}]}";
        let text = format!(
            "{event}\n\ndata: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{tokens},\"completion_tokens\":{tokens}}}}}\n\ndata: [DONE]\n\n"
        );
        ([("content-type", "text/event-stream")], text).into_response()
    };
    match path.path() {
        "/token" => {
            r#"{"access_token":"t","expires_in":18446744073709551615,"token_type":"Bearer"}"#
                .into_response()
        }
        "/attributes" => {
            let attributes: String = (0..50_000).map(|n| format!(" a{n}=\"1\"")).collect();
            format!("<rss><channel><item{attributes}/></channel></rss>").into_response()
        }
        "/redirect" => {
            let to = format!("http://127.0.0.1:{elsewhere}/");
            (axum::http::StatusCode::FOUND, [("location", to)]).into_response()
        }
        path if path.starts_with("/false/") => usage("4294967295"),
        path if path.starts_with("/vast/") => usage("18446744073709551615"),
        _ => usage("3"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_numbers_and_addresses_from_outside_change_nothing_else() {
    let elsewhere = Hostile::http(Attack::Body, Form::Json).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let port = elsewhere.port;
    let router = axum::Router::new()
        .fallback(move |path: axum::http::Uri| async move { absurd(&path, port) });
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let world = World::new().await;
    let endpoint = |name: &str| {
        format!(
            "[[endpoint]]\nname = \"{name}\"\nprovider = \"openai-compatible\"\nmodel = \"m\"\n\
             base_url = \"http://{at}/{name}/v1\"\nprice = {{ input = 1.0, output = 1.0 }}\n"
        )
    };
    let feed = |kind: &str, path: &str| {
        format!(
            "[[status_feed]]\nprovider = \"openai-compatible\"\nkind = \"{kind}\"\nurl = \"http://{at}/{path}\"\ninterval = \"1s\"\n"
        )
    };
    world.write(&format!(
        "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\nlisten = \"off\"\n[defaults]\ninterval = \"1s\"\n\
         [budget]\ndaily_usd = 10.0\n{}{}{}\
         [[endpoint]]\nname = \"entra\"\nprovider = \"azure-openai\"\ndeployment = \"d\"\nbase_url = \"http://{at}\"\n\
         entra = {{ client_id = \"c\", client_secret = \"s\", token_url = \"http://{at}/token\" }}\n{}{}",
        world.state().display(),
        endpoint("false"),
        endpoint("vast"),
        endpoint("honest"),
        feed("rss", "attributes"),
        feed("statuspage", "redirect"),
    ));
    let mut daemon = world.run();
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    while ["false", "vast", "honest", "entra"]
        .iter()
        .any(|name| seen.get(*name).is_none_or(|n| *n < 2))
    {
        let sample = daemon.event("probe.completed").await;
        let name = sample["endpoint"].as_str().unwrap().to_owned();
        assert_eq!(sample["outcome"], "ok", "{sample}");
        if matches!(&*name, "false" | "vast") {
            assert_eq!(sample["warnings"][0], "usage.implausible", "{sample}");
            assert_eq!(sample["output_tokens"], u32::MAX, "{sample}");
            assert!(sample["cost_usd"].as_f64().unwrap() < 0.05, "{sample}");
        }
        *seen.entry(name).or_default() += 1;
    }
    assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    let log = &daemon.log;
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains("budget."), "{log}");
    assert!(log.contains("attributes on one element"), "{log}");
    assert!(
        log.contains(&format!("it redirects to http://127.0.0.1:{port}/")),
        "{log}"
    );
    assert_eq!(elsewhere.given_up.load(Ordering::Relaxed), 0);
    server.abort();
}
