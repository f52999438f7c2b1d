//! Whether a provider that floods its connections delays the probes of others: how late 50 ordinary
//! endpoints begin and how long their headers take, first alone, then beside four endpoints whose
//! provider sends as fast as it can.
//!
//! `cargo bench --bench flood [-- SECONDS]`. Both servers run in this process and share the machine
//! with the daemon.

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use llmwatch::clock;
use llmwatch::store::{SampleQuery, Store, StoreError};
use llmwatch_core::model::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use self::support::Process;
use self::support::floor::{Work, set_up};

const ENDPOINTS: usize = 50;
const FLOODED: usize = 4;
const INTERVAL: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(5);

/// What a flooding provider sends for ever, after the head of an answer.
const FLOODS: [(&str, &str); 3] = [
    ("nobody floods", ""),
    ("chunks of one byte", "1\r\nx\r\n"),
    ("comments of a stream", "e\r\n: keep-alive\n\n\r\n"),
];

fn main() {
    let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(20);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(Duration::from_secs(seconds)));
}

async fn run(measured: Duration) {
    println!(
        "{ENDPOINTS} endpoints each second, beside {FLOODED} whose provider floods; milliseconds, median / 99 % / most"
    );
    for (what, flood) in FLOODS {
        let directory = tempfile::tempdir().expect("a directory");
        let (_, config) = set_up(
            directory.path(),
            Work::Kept,
            ENDPOINTS,
            INTERVAL,
            "failures",
        )
        .await;
        if !flood.is_empty() {
            let address = flooding(flood).await;
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .open(&config)
                .expect("a configuration");
            for n in 0..FLOODED {
                let endpoint = format!(
                    "[[endpoint]]\nname = \"flooded-{n}\"\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"none\"\n\
                     base_url = \"http://{address}/v1\"\nprice = {{ input = 0.0, output = 0.0 }}\n"
                );
                file.write_all(endpoint.as_bytes()).expect("room");
            }
        }
        let daemon = Process::daemon(&config, Stdio::null());
        tokio::time::sleep(WARM_UP).await;
        let (from, cpu) = (clock::now(), daemon.cpu_s());
        tokio::time::sleep(measured).await;
        let used = (daemon.cpu_s() - cpu) / measured.as_secs_f64() * 100.0;
        let (lag, headers) = ordinary(directory.path(), from);
        println!(
            "{what:22} began late by {}; headers after {}; {} probes, {used:.0} % of a core",
            spread(&lag),
            spread(&headers),
            lag.len()
        );
    }
}

/// Answers every request with `flood` over and over, as fast as it is taken.
async fn flooding(flood: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                let many = flood.repeat(4096);
                // Until the other side has had enough.
                while stream.write_all(many.as_bytes()).await.is_ok() {}
            });
        }
    });
    address
}

/// How late the ordinary endpoints' probes began since `from`, and how long their headers took.
fn ordinary(directory: &Path, from: Timestamp) -> (Vec<f64>, Vec<f64>) {
    let store = Store::open_read_only(&directory.join("llmwatch.db")).expect("a store");
    let (mut lag, mut headers) = (Vec::new(), Vec::new());
    let query = SampleQuery {
        since: Some(from),
        ..SampleQuery::default()
    };
    let each = store.each_sample(query, |_, sample| {
        if !sample.endpoint.starts_with("flooded") {
            lag.push(sample.schedule_lag_ms);
            headers.extend(sample.headers_ms);
        }
        Ok::<_, StoreError>(())
    });
    each.expect("samples");
    lag.sort_by(f64::total_cmp);
    headers.sort_by(f64::total_cmp);
    (lag, headers)
}

fn spread(sorted: &[f64]) -> String {
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    format!("{:.2} / {:.2} / {:.1}", at(0.5), at(0.99), at(1.0))
}
