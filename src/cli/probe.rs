//! `llmwatch probe`: probes endpoints once, now, without the daemon.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Exit, Failure, Globals, UNKNOWN, color, paint, plugin_code, print, table};
use crate::clock;
use crate::config::Settings;
use crate::probe::{ConnectivityChecks, Due, Prober};
use crate::redact::Redactor;
use llmwatch_core::incident::attribution::{Context, attribute};
use llmwatch_core::model::{
    Attribution, Endpoint, Fault, Outcome, Provider, Sample, Status, Timestamp, Trigger,
};
use llmwatch_core::protocol::dialect::{Adaptations, Credential, Dialect, ProbeRequest};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch probe openai-chat --count 3")]
pub(super) struct ProbeArgs {
    /// Endpoints to probe [default: all]
    names: Vec<String>,
    /// Number of probes per endpoint, one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Print one Nagios plugin line with performance data
    #[arg(long, conflicts_with = "json")]
    nagios: bool,
    /// Print samples as JSON lines
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(globals: &Globals, args: &ProbeArgs) -> Exit {
    let done = probe(globals, args).await;
    if let Err(failure) = &done
        && args.nagios
    {
        // A monitoring system shows only stdout.
        let first = failure.text.lines().next().unwrap_or_default();
        let why = first
            .trim_start_matches("llmwatch: ")
            .trim_start_matches("error: ");
        print(&format!("LLMWATCH UNKNOWN - {}", why.replace('|', "/")));
    }
    done
}

async fn probe(globals: &Globals, args: &ProbeArgs) -> Exit {
    let config = globals.load().map_err(|f| f.with(UNKNOWN))?;
    let mut chosen: Vec<Arc<Endpoint>> = Vec::new();
    for name in &args.names {
        let Some(endpoint) = config.endpoints.iter().find(|e| e.name == *name) else {
            let known: Vec<_> = config.endpoints.iter().map(|e| e.name.as_str()).collect();
            let text = format!(
                "llmwatch: unknown endpoint `{name}`; configured: {}",
                known.join(", ")
            );
            return Err(Failure {
                code: UNKNOWN,
                text,
            });
        };
        chosen.push(endpoint.clone());
    }
    if chosen.is_empty() {
        chosen.clone_from(&config.endpoints);
    }
    if chosen.is_empty() {
        return Err(Failure {
            code: UNKNOWN,
            text: "llmwatch: no endpoint is configured".to_owned(),
        });
    }
    let all = samples(&config, &chosen, args.count)
        .await
        .map_err(|f| f.with(UNKNOWN))?;
    let status = all
        .iter()
        .map(|samples| judge(samples))
        .max_by_key(|s| severity(*s))
        .unwrap_or(Status::Unknown);
    if args.nagios {
        print(&plugin_line(status, &all));
    } else {
        show(&config, &chosen, &all, args.json)?;
    }
    Ok(plugin_code(status))
}

/// Prints the samples of each of `endpoints`.
pub(super) fn show(
    config: &Settings,
    endpoints: &[Arc<Endpoint>],
    all: &[Vec<Sample>],
    as_json: bool,
) -> Result<(), Failure> {
    if as_json {
        for sample in all.iter().flatten() {
            print(&serde_json::to_string(sample)?);
        }
    } else {
        let redactor = Redactor::new(config);
        let asked: Vec<_> = endpoints.iter().map(|e| asked(e, &redactor)).collect();
        print(&render(all, &asked));
    }
    Ok(())
}

/// Returns the samples of each of `endpoints`, probed `count` times, as a daemon would record them.
pub(super) async fn samples(
    config: &Settings,
    endpoints: &[Arc<Endpoint>],
    count: u32,
) -> Result<Vec<Vec<Sample>>, Failure> {
    let prober = Arc::new(Prober::new(config)?);
    let checks = Arc::new(ConnectivityChecks::new(
        &config.connectivity_checks,
        &config.endpoints,
    ));
    let redactor = Redactor::new(config);
    let mut tasks = JoinSet::new();
    for (place, endpoint) in endpoints.iter().cloned().enumerate() {
        let prober = prober.clone();
        let checks = checks.clone();
        let redactor = redactor.clone();
        tasks.spawn(async move {
            let mut samples = Vec::new();
            for _ in 0..count {
                let now = clock::now();
                let due = Due {
                    scheduled_at: now,
                    started_at: now,
                    trigger: Trigger::Manual,
                };
                let mut sample = prober.probe(&endpoint, due).await;
                redactor.clean_sample(&mut sample);
                if let Some(fault) = sample.fault {
                    let asked = checks.ask_about(&endpoint, fault).await;
                    let context = Context {
                        connectivity: asked,
                        ..Context::default()
                    };
                    sample.attribution = Some(attribute(fault, context));
                }
                samples.push(sample);
            }
            (place, samples)
        });
    }
    let mut all = tasks.join_all().await;
    all.sort_by_key(|(place, _)| *place);
    Ok(all.into_iter().map(|(_, samples)| samples).collect())
}

/// Derives the status from an endpoint's samples. It is unknown if only the account or this machine
/// failed, because the provider was not measured.
fn judge(samples: &[Sample]) -> Status {
    let failed = samples
        .iter()
        .filter(|s| s.attribution == Some(Attribution::Provider))
        .count();
    let blocked = samples
        .iter()
        .filter(|s| s.outcome == Outcome::Failed)
        .count()
        - failed;
    if failed > 0 {
        if failed + blocked == samples.len() {
            Status::Outage
        } else {
            Status::Degraded
        }
    } else if blocked > 0 {
        Status::Unknown
    } else if samples.iter().any(|s| s.outcome == Outcome::Slow) {
        Status::Degraded
    } else {
        Status::Operational
    }
}

fn severity(status: Status) -> u8 {
    match status {
        Status::Operational | Status::Maintenance => 0,
        Status::Degraded => 1,
        Status::Unknown => 2,
        Status::Outage => 3,
    }
}

/// Returns the method and the URL of the endpoint's request.
fn asked(endpoint: &Endpoint, redactor: &Redactor) -> String {
    let request = Dialect::of(endpoint).request(&ProbeRequest {
        endpoint,
        id: "",
        adaptations: &Adaptations::default(),
        credential: Credential::Configured,
        now: Timestamp::default(),
    });
    let mut url = request.url;
    // That fails only without a host, and then there is no login to remove.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    redactor.clean(&format!("{} {url}", request.method))
}

/// Reports whether the URL may be wrong: the server does not know it, or something else answers
/// there.
fn may_have_asked_elsewhere(sample: &Sample) -> bool {
    let is_unknown = matches!(sample.http_status, Some(404 | 405));
    let is_another = sample.http_status.is_some()
        && matches!(
            sample.fault,
            Some(Fault::BodyMalformed | Fault::HttpUnexpected | Fault::HttpRedirect)
        );
    is_unknown || is_another
}

/// Formats the samples of each endpoint; `asked` is what was asked of each.
fn render(all: &[Vec<Sample>], asked: &[String]) -> String {
    let head = [
        "endpoint",
        "outcome",
        "dns",
        "tcp",
        "tls",
        "headers",
        "first token",
        "max gap",
        "total",
        "tokens",
        "cost",
        "fault",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
    for s in all.iter().flatten() {
        let tokens = match (s.input_tokens, s.output_tokens) {
            (None, None) => "-".to_owned(),
            (input, output) => format!("{}+{}", input.unwrap_or(0), output.unwrap_or(0)),
        };
        rows.push(vec![
            s.endpoint.to_string(),
            s.outcome.as_str().to_owned(),
            ms(s.dns_ms),
            ms(s.tcp_ms),
            ms(s.tls_ms),
            ms(s.headers_ms),
            ms(s.first_token_ms),
            ms(s.max_gap_ms),
            ms(s.total_ms),
            tokens,
            s.cost_usd
                .map_or("-".to_owned(), |usd| format!("${usd:.7}")),
            s.fault
                .map(|f| format!("{f} ({})", s.attribution.map_or("", Attribution::as_str)))
                .unwrap_or_default(),
        ]);
    }
    let mut text = table(&rows);
    let each = all.iter().zip(asked);
    let each = each.flat_map(|(samples, asked)| samples.iter().map(move |s| (s, asked)));
    for (s, asked) in each.filter(|(s, _)| s.outcome == Outcome::Failed) {
        let fault = s.fault.map_or("", |f| f.describe());
        text += &format!(
            "\n{}",
            paint(&format!("{}: {fault}", s.endpoint), color(Status::Outage))
        );
        for (name, value) in [
            ("error", &s.error),
            ("the answer", &s.answer),
            ("request id", &s.request_id),
        ] {
            if let Some(value) = value {
                text += &format!("\n  {name}: {value}");
            }
        }
        if may_have_asked_elsewhere(s) {
            text += &format!("\n  asked: {asked}");
        }
        let is_unknown_path = matches!(s.http_status, Some(404 | 405));
        if is_unknown_path && s.fault == Some(Fault::RequestRejected) {
            text += "\n  check `base_url`: the server does not know the path that was asked";
            let is_compatible = matches!(s.provider, Provider::OpenAi | Provider::OpenAiCompatible);
            if is_compatible && !asked.contains("/v1/") {
                text += " (most compatible servers want `/v1` at its end)";
            }
        }
    }
    text
}

/// Formats one line with performance data, following the monitoring plugins' guidelines.
fn plugin_line(status: Status, all: &[Vec<Sample>]) -> String {
    let status = match status {
        Status::Operational | Status::Maintenance => "OK",
        Status::Degraded => "WARNING",
        Status::Outage => "CRITICAL",
        Status::Unknown => "UNKNOWN",
    };
    let samples: Vec<_> = all.iter().flatten().collect();
    let failed: Vec<_> = samples
        .iter()
        .filter(|s| s.outcome == Outcome::Failed)
        .collect();
    let detail = match failed.as_slice() {
        [] if samples.len() == 1 => "1 probe good".to_owned(),
        [] => format!("{} probes good", samples.len()),
        some => {
            let list: Vec<_> = some
                .iter()
                .map(|s| {
                    format!(
                        "{} {}",
                        s.endpoint,
                        s.fault.map_or("failed", |f| f.as_str())
                    )
                })
                .collect();
            format!(
                "{} of {} probes failed: {}",
                some.len(),
                samples.len(),
                list.join(", ")
            )
        }
    };
    let mut data = Vec::new();
    for sample in all.iter().filter_map(|s| s.last()) {
        for (stage, value) in [
            ("first_token", sample.first_token_ms),
            ("total", sample.total_ms),
        ] {
            if let Some(ms) = value {
                data.push(format!(
                    "'{}_{stage}'={:.6}s;;;0",
                    sample.endpoint,
                    ms / 1000.0
                ));
            }
        }
    }
    // A vertical bar separates the text from the data, so it may not appear in the text.
    format!(
        "LLMWATCH {status} - {} | {}",
        detail.replace('|', "/"),
        data.join(" ")
    )
}
