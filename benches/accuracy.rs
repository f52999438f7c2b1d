//! How true our timings are: probes and curl against a server that notes when it really wrote each byte, in one run.
//!
//! `cargo bench --bench accuracy [-- PROBES]`. Figures on a shared machine are noisy; the ratios within one run are not.
//! Times count from the sent request, which the server notes as its arrival: so the way there is an error of ours, too.
//! The server has a runtime and a thread of its own, but shares the machine's cores.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use llmwatch::clock;
use llmwatch::config::{self, Surroundings};
use llmwatch::model::{Endpoint, Sample, Trigger};
use llmwatch::probe::{Due, Prober};
use llmwatch::simulate::{Exchange, Scenario, Simulator, WriteKind};
use tokio::net::TcpListener;
use tokio::process::Command;

const SCENARIO: &str =
    "seed = 1\n[healthy]\nheaders_after = \"30ms\"\nfirst_token_after = \"60ms\"\ntoken_gap = \"10ms\"\ntokens = 4\n";

/// Errors in milliseconds, per measure.
#[derive(Default)]
struct Errors(HashMap<&'static str, Vec<f64>>);

impl Errors {
    fn add(&mut self, measure: &'static str, measured_ms: f64, truth: Duration) {
        self.0.entry(measure).or_default().push((measured_ms - truth.as_secs_f64() * 1000.0).abs());
    }

    /// Median, 99th percentile and maximum.
    fn summary(&mut self, measure: &str) -> Option<[f64; 3]> {
        let errors = self.0.get_mut(measure)?;
        errors.sort_by(f64::total_cmp);
        let at = |share: f64| errors[((errors.len() - 1) as f64 * share).round() as usize];
        Some([at(0.5), at(0.99), at(1.0)])
    }
}

fn main() {
    let count = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(200);
    let (ready, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let scenario = Scenario::parse(SCENARIO).expect("a scenario");
            let simulator = Arc::new(Simulator::start(listener, scenario).expect("a server"));
            ready.send(simulator).expect("somebody who waits");
            std::future::pending::<()>().await;
        });
    });
    let server = address.recv().expect("a server");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("{count} requests each; errors in ms against what the server wrote: median / p99 / max");
    for concurrency in [1, 50, 200] {
        runtime.block_on(compare(&server, concurrency, count));
    }
}

async fn compare(server: &Simulator, concurrency: usize, count: usize) {
    let address = server.addr();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("monitor.toml");
    let text = format!("[[endpoint]]\nprovider = \"openai\"\nbase_url = \"http://{address}/v1\"\n");
    std::fs::write(&path, text).expect("a file");
    let config = config::load(&path, &Surroundings::default()).expect("a configuration");
    let prober = Prober::new(&config.monitor).expect("a prober");
    let (mut ours, mut curls) = (Errors::default(), Errors::default());
    let mut numbers = (0..count).map(|n| format!("{concurrency}-{n}"));
    loop {
        let round: Vec<String> = numbers.by_ref().take(concurrency).collect();
        if round.is_empty() {
            break;
        }
        let before = server.log().len();
        let samples =
            join_all(round.iter().map(|name| probe(&prober, &config.endpoints[0], format!("p-{name}")))).await;
        let timings = join_all(round.iter().map(|name| curl(address.to_string(), format!("c-{name}")))).await;
        server.answered(before + 2 * round.len()).await;
        let log: HashMap<String, Arc<Exchange>> =
            server.log().into_iter().filter_map(|e| Some((e.model.clone()?, e))).collect();
        for sample in &samples {
            let Some(truth) = sample.model.as_ref().and_then(|m| log.get(m)) else { continue };
            judge_ours(&mut ours, sample, truth);
        }
        for (model, timing) in &timings {
            let (Some([first, total]), Some(truth)) = (timing, log.get(model)) else { continue };
            if let (Some(headers), Some(done)) = (truth.first(WriteKind::Headers), truth.first(WriteKind::Done)) {
                curls.add("headers", *first, headers);
                curls.add("total", *total, done);
            }
        }
    }
    println!("\nconcurrency {concurrency}");
    for measure in ["headers", "first token", "longest gap", "tpot", "total"] {
        let show = |s: Option<[f64; 3]>| s.map_or("-".to_owned(), |[a, b, c]| format!("{a:.3} / {b:.3} / {c:.3}"));
        let (own, other) = (ours.summary(measure), curls.summary(measure));
        let ratio =
            own.zip(other).map_or(String::new(), |(o, c)| format!("  ratio {:.2} / {:.2}", o[0] / c[0], o[1] / c[1]));
        println!("  {measure:12} llmwatch {:28} curl {:28}{ratio}", show(own), show(other));
    }
}

async fn probe(prober: &Prober, endpoint: &Endpoint, model: String) -> Sample {
    let endpoint = Endpoint { model: Some(model), ..endpoint.clone() };
    let now = clock::now();
    prober.probe(&endpoint, Due { scheduled_at: now, started_at: now, trigger: Trigger::Manual }).await
}

fn judge_ours(errors: &mut Errors, sample: &Sample, truth: &Exchange) {
    // What came before the request was sent.
    let before = sample.tcp_ms.unwrap_or(0.0);
    let tokens: Vec<Duration> = truth.writes.iter().filter(|w| w.kind == WriteKind::Token).map(|w| w.after).collect();
    if let (Some(measured), Some(truth)) = (sample.headers_ms, truth.first(WriteKind::Headers)) {
        errors.add("headers", measured, truth);
    }
    if let (Some(measured), Some(truth)) = (sample.first_token_ms, tokens.first()) {
        errors.add("first token", measured - before, *truth);
    }
    if let (Some(measured), Some(truth)) =
        (sample.max_gap_ms, tokens.windows(2).map(|w| w[1].saturating_sub(w[0])).max())
    {
        errors.add("longest gap", measured, truth);
    }
    if let (Some(measured), Some(n), Some(first), Some(last)) =
        (sample.tpot_ms, sample.output_tokens.filter(|n| *n > 1), tokens.first(), tokens.last())
    {
        errors.add("tpot", measured, last.saturating_sub(*first) / (n - 1));
    }
    if let (Some(measured), Some(truth)) = (sample.total_ms, truth.first(WriteKind::Done)) {
        errors.add("total", measured - before, truth);
    }
}

/// What curl says of the same request: from the sent request to the first byte and to the end, in milliseconds.
async fn curl(address: String, model: String) -> (String, Option<[f64; 2]>) {
    let body = format!(r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"pong"}}]}}"#);
    let output = Command::new("curl")
        .args(["-sN", "-o", "/dev/null", "-H", "content-type: application/json", "-d", &body])
        .args(["-w", "%{time_pretransfer} %{time_starttransfer} %{time_total}"])
        .arg(format!("http://{address}/v1/chat/completions"))
        .output()
        .await;
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let times: Vec<f64> = text.split(' ').filter_map(|s| s.parse().ok()).collect();
    let timing = match times[..] {
        [sent, first, total] => Some([(first - sent) * 1000.0, (total - sent) * 1000.0]),
        _ => None,
    };
    (model, timing)
}
