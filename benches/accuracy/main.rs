//! How true our timings are: probes and curl against a server that notes when it really wrote each
//! byte, in one run.
//!
//! `cargo bench --bench accuracy [-- REQUESTS]`. Figures on a shared machine are noisy; the ratios
//! within one run are not.
//!
//! The server is a process of its own. What it promises counts from the moment at which the kernel
//! received the request, and it notes each write just before it makes it: that is the truth. Probes
//! and curl take turns, each round all at once. What they report for the first token and the end is
//! counted from the moment at which they say that they were connected; so whatever either needs
//! from then until its request is out is its error, and what it sees late as well.

mod truth;

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;

use futures_util::future::join_all;
use llmwatch::clock;
use llmwatch::config::{self, Environment, Settings};
use llmwatch::probe::{Due, Prober};
use llmwatch_core::model::{Endpoint, Sample, Trigger};
use tokio::process::Command;

use truth::{Server, Truth};

/// All at once, so many.
const CONCURRENCY: [usize; 3] = [1, 50, 200];
/// Requests of either at each level, by default.
const REQUESTS: usize = 300;

/// Values in milliseconds, per measure.
#[derive(Default)]
struct Values(HashMap<&'static str, Vec<f64>>);

impl Values {
    fn add(&mut self, measure: &'static str, ms: Option<f64>) {
        self.0.entry(measure).or_default().extend(ms);
    }

    /// How far `measured` is from `truth`.
    fn add_error(&mut self, measure: &'static str, measured: Option<f64>, truth: Option<f64>) {
        self.add(measure, measured.zip(truth).map(|(m, t)| (m - t).abs()));
    }

    /// Median, 99th percentile and maximum.
    fn summary(&mut self, measure: &str) -> Option<[f64; 3]> {
        let values = self.0.get_mut(measure).filter(|v| !v.is_empty())?;
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        Some([at(0.5), at(0.99), at(1.0)])
    }
}

fn main() {
    if std::env::args().any(|a| a == "--serve") {
        return truth::serve();
    }
    let count = std::env::args()
        .find_map(|a| a.parse().ok())
        .unwrap_or(REQUESTS);
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "{count} requests of either; errors in ms against what the server wrote: median / p99 / max"
    );
    for concurrency in CONCURRENCY {
        runtime.block_on(compare(&server, concurrency, count.max(concurrency)));
    }
    for concurrency in [1, 50] {
        runtime.block_on(compare_stages(&server, concurrency, count.max(concurrency)));
    }
}

fn configured(text: &str) -> Settings {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, text).expect("a file");
    config::load(&path, &Environment::default()).expect("a configuration")
}

async fn compare(server: &Server, concurrency: usize, count: usize) {
    let url = format!("http://{}/v1", server.plain);
    let config = configured(&format!(
        "[[endpoint]]\nprovider = \"openai\"\nbase_url = \"{url}\"\n"
    ));
    let prober = Arc::new(Prober::new(&config).expect("a prober"));
    let endpoint = &config.endpoints[0];
    let (mut ours, mut curls) = (Values::default(), Values::default());
    for round in 0..count.div_ceil(concurrency) {
        let names = |who: &str| {
            (0..concurrency)
                .map(|n| format!("{who}-{concurrency}-{round}-{n}"))
                .collect::<Vec<_>>()
        };
        // Each in a task of its own, as the daemon has them.
        let start = |name| tokio::spawn(probe(prober.clone(), endpoint.clone(), name));
        let tasks: Vec<_> = names("p").into_iter().map(start).collect();
        let samples = join_all(tasks).await;
        let curled = join_all(
            names("c")
                .into_iter()
                .map(|name| async { (curl(&url, &[], &name).await, name) }),
        )
        .await;
        let truths = server.truths(&[names("p"), names("c")].concat()).await;
        for sample in samples.into_iter().flatten() {
            let Some(truth) = sample.model.as_ref().and_then(|m| truths.get(m)) else {
                continue;
            };
            judge(&mut ours, &sample, truth);
        }
        for (times, model) in &curled {
            let (Some(times), Some(truth)) = (times.first(), truths.get(model)) else {
                continue;
            };
            curls.add_error("headers", Some(times.first - times.sent), truth.headers);
            curls.add_error(
                "first token",
                Some(times.first - times.connect),
                truth.headers,
            );
            curls.add_error("total", Some(times.total - times.connect), truth.done);
        }
    }
    println!("\nconcurrency {concurrency}");
    for measure in ["headers", "first token", "longest gap", "tpot", "total"] {
        let (own, other) = (ours.summary(measure), curls.summary(measure));
        let ratio = own.zip(other).map_or(String::new(), |(o, c)| {
            format!("  ratio {:.2} / {:.2}", o[0] / c[0], o[1] / c[1])
        });
        println!(
            "  {measure:12} llmwatch {:26} curl {:28}{ratio}",
            show(own),
            show(other)
        );
    }
}

/// DNS, TCP and TLS beside curl's for the same target, `concurrency` at once. What can be known of
/// the truth is known from elsewhere: a lookup that nobody else has a hand in, and when the
/// server's kernel received each side of the handshake.
async fn compare_stages(server: &Server, concurrency: usize, count: usize) {
    let url = format!("https://{}/v1", server.secure);
    let root = server.root.display().to_string();
    let text = format!(
        "[monitor]\nca_file = \"{root}\"\n[[endpoint]]\nprovider = \"openai\"\nbase_url = \"{url}\"\napi_key = \"k\"\n"
    );
    let config = configured(&text);
    let prober = Arc::new(Prober::new(&config).expect("a prober"));
    let (mut ours, mut curls) = (Values::default(), Values::default());
    let (mut wire, mut wires) = (Values::default(), Values::default());
    server.spans().await;
    for _ in 0..count.div_ceil(concurrency) {
        let start = |_| {
            tokio::spawn(probe(
                prober.clone(),
                config.endpoints[0].clone(),
                "m".to_owned(),
            ))
        };
        let tasks: Vec<_> = (0..concurrency).map(start).collect();
        for sample in join_all(tasks).await.into_iter().flatten() {
            assert_eq!(sample.fault, None, "{sample:?}");
            ours.add("dns", sample.dns_ms);
            ours.add("tcp", sample.tcp_ms);
            ours.add("tls", sample.tls_ms);
        }
        server
            .spans()
            .await
            .into_iter()
            .for_each(|ms| wire.add("tls", Some(ms)));
        // The first of two requests in one process looks the name up, the second has curl's TLS
        // library set up already.
        let twice = [
            "--cacert",
            &root,
            "--no-sessionid",
            "-o",
            "/dev/null",
            &format!("{url}/chat/completions"),
        ];
        for times in join_all((0..concurrency).map(|_| curl(&url, &twice, "m"))).await {
            let [cold, warm] = &times[..] else {
                panic!("curl has no answer")
            };
            curls.add("dns", Some(cold.name));
            curls.add("tcp", Some(cold.connect - cold.name));
            curls.add("tls, first", Some(cold.secure - cold.connect));
            curls.add("tls", Some(warm.secure - warm.connect));
        }
        // Of one process alone the second is known to be the warm one.
        let cold = usize::from(concurrency == 1);
        server
            .spans()
            .await
            .into_iter()
            .skip(cold)
            .for_each(|ms| wires.add("tls", Some(ms)));
        if concurrency == 1 {
            wire.add("dns", Some(lookup(&server.secure)));
        }
    }
    println!("\nstages of {url}, {concurrency} at once, in ms: median / p99 / max");
    for measure in ["dns", "tcp", "tls", "tls, first"] {
        let (own, other) = (ours.summary(&measure[..3]), curls.summary(measure));
        let difference = own.zip(other).map_or(f64::NAN, |(o, c)| o[0] - c[0]);
        println!(
            "  {measure:12} llmwatch {:26} curl {:28}  difference {difference:+.3}",
            show(own),
            show(other)
        );
    }
    println!(
        "  handshake at the server's kernel: llmwatch {:26} curl {:28}",
        show(wire.summary("tls")),
        show(wires.summary("tls"))
    );
    if concurrency == 1 {
        println!(
            "  getaddrinfo alone, without a thread: {}",
            show(wire.summary("dns"))
        );
    }
}

/// How long a lookup takes that is made here and now, in milliseconds.
fn lookup(address: &str) -> f64 {
    let began = std::time::Instant::now();
    let found = std::net::ToSocketAddrs::to_socket_addrs(address)
        .expect("an address")
        .count();
    let took = began.elapsed().as_secs_f64() * 1000.0;
    assert!(found > 0, "{address} has no address");
    took
}

fn show(summary: Option<[f64; 3]>) -> String {
    summary.map_or("-".to_owned(), |[a, b, c]| {
        format!("{a:.3} / {b:.3} / {c:.3}")
    })
}

async fn probe(prober: Arc<Prober>, endpoint: Arc<Endpoint>, model: String) -> Sample {
    let endpoint = Endpoint {
        model: Some(model),
        ..(*endpoint).clone()
    };
    let now = clock::now();
    prober
        .probe(
            &endpoint,
            Due {
                scheduled_at: now,
                started_at: now,
                trigger: Trigger::Manual,
            },
        )
        .await
}

fn judge(errors: &mut Values, sample: &Sample, truth: &Truth) {
    let tokens = &truth.tokens;
    let connected = sample.dns_ms.unwrap_or(0.0) + sample.tcp_ms.unwrap_or(0.0);
    let (first, last) = (tokens.first().copied(), tokens.last().copied());
    errors.add_error("headers", sample.headers_ms, truth.headers);
    errors.add_error(
        "first token",
        sample.first_token_ms.map(|ms| ms - connected),
        first,
    );
    let gap = tokens.windows(2).map(|w| w[1] - w[0]).reduce(f64::max);
    errors.add_error("longest gap", sample.max_gap_ms, gap);
    let steps = sample
        .output_tokens
        .filter(|n| *n > 1)
        .map(|n| f64::from(n - 1));
    let tpot = first
        .zip(last)
        .zip(steps)
        .map(|((first, last), steps)| (last - first) / steps);
    errors.add_error("tpot", sample.tpot_ms, tpot);
    errors.add_error(
        "total",
        sample.total_ms.map(|ms| ms - connected),
        truth.done,
    );
}

/// What curl says of a request, in milliseconds since its start.
struct Times {
    name: f64,
    connect: f64,
    secure: f64,
    sent: f64,
    first: f64,
    total: f64,
}

async fn curl(url: &str, more: &[&str], model: &str) -> Vec<Times> {
    let body = format!(
        r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"pong"}}]}}"#
    );
    let wanted = "%{time_namelookup} %{time_connect} %{time_appconnect} %{time_pretransfer} %{time_starttransfer} \
                  %{time_total}\\n";
    let output = Command::new("curl")
        .args([
            "-sN",
            "-H",
            "content-type: application/json",
            "-d",
            &body,
            "-w",
            wanted,
        ])
        .args(more)
        .args(["-o", "/dev/null", &format!("{url}/chat/completions")])
        .stdin(Stdio::null())
        .output()
        .await;
    let text = output
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    text.lines().filter_map(Times::read).collect()
}

impl Times {
    fn read(line: &str) -> Option<Self> {
        let times: Vec<f64> = line
            .split(' ')
            .filter_map(|s| Some(s.parse::<f64>().ok()? * 1000.0))
            .collect();
        let [name, connect, secure, sent, first, total] = times[..] else {
            return None;
        };
        Some(Self {
            name,
            connect,
            secure,
            sent,
            first,
            total,
        })
    }
}
