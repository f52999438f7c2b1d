//! The metrics as the body of an OTLP/HTTP request in its JSON form (opentelemetry-proto 1.x,
//! `collector/metrics/v1`). Pure.
//!
//! What OpenTelemetry's conventions for generative AI name bears their names and attributes, marked as synthetic traffic;
//! everything is there under the names of `/metrics` as well, with dots, so that a translation to Prometheus gives the
//! very same ones. 64-bit integers are strings in this form, and all sums are cumulative: an export that is lost is made
//! good by the next.

use std::sync::Arc;

use serde_json::{Value, json};

use super::process::Process;
use super::{BOUNDS, Counted, EndpointCounters, Histogram, STAGES, TOKEN_BOUNDS, TokenHistogram};
use crate::model::Snapshot;
use crate::model::{Api, Attribution, Endpoint, Provider, Status, Timestamp};

/// Every metric: name, unit (UCUM) and what it says; in the order in which they are sent.
pub const METRICS: &[(&str, &str, &str)] = &[
    (
        OPERATION,
        "s",
        "How long operations took; failed ones have an `error.type`.",
    ),
    (
        FIRST_CHUNK,
        "s",
        "Time to the first visible token of streamed answers.",
    ),
    (TOKEN_USAGE, "{token}", "Tokens of prompts and answers."),
    (
        "llmwatch.probe.success",
        "",
        "Whether the last probe was good.",
    ),
    (
        "llmwatch.probes",
        "{probe}",
        "Probes by how they ended; fault and attribution are empty if good.",
    ),
    (
        "llmwatch.stage.duration",
        "s",
        "Time per stage of the probes; total of good probes only.",
    ),
    ("llmwatch.schedule.lag", "s", "How late probes began."),
    (
        "llmwatch.endpoint.status",
        "",
        "1 for the status that an endpoint has, 0 for the others.",
    ),
    (
        "llmwatch.incidents.open",
        "{incident}",
        "Incidents that go on.",
    ),
    ("llmwatch.tokens", "{token}", "Tokens used by probes."),
    ("llmwatch.cost.usd", "", "What probes cost, in USD."),
    (
        "llmwatch.ratelimit.remaining",
        "",
        "What is left of the rate limit, as the provider said last.",
    ),
    (
        "llmwatch.tls.expiry",
        "d",
        "Days until the server's certificate expires.",
    ),
    (
        "llmwatch.model.retirement",
        "d",
        "Days until the model is shut down, where its vendor says so.",
    ),
    (
        "llmwatch.notifications",
        "{notification}",
        "Notifications by how they ended, since the store was made.",
    ),
    (
        "llmwatch.outbox.pending",
        "{notification}",
        "Notifications that wait to be delivered.",
    ),
    (
        "llmwatch.outbox.oldest",
        "s",
        "Age of the oldest waiting notification; 0 if none waits.",
    ),
    (
        "llmwatch.config.last_reload_successful",
        "",
        "Whether the last reload of the configuration succeeded.",
    ),
    ("process.cpu.time", "s", "Processor time used."),
    ("process.memory.usage", "By", "Memory in use."),
    ("process.memory.virtual", "By", "Address space."),
    (
        "process.unix.file_descriptor.count",
        "{file_descriptor}",
        "Open files and sockets.",
    ),
    (
        "process.uptime",
        "s",
        "How long the process has been running.",
    ),
];

/// The conventions are still in development: their names stand here and nowhere else.
const OPERATION: &str = "gen_ai.client.operation.duration";
const FIRST_CHUNK: &str = "gen_ai.client.operation.time_to_first_chunk";
const TOKEN_USAGE: &str = "gen_ai.client.token.usage";

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;
/// The finer buckets of ours that the conventions do not have.
const FINER: usize = 2;

/// What an export is made from.
#[derive(Debug)]
pub struct Source<'a> {
    /// What is true now.
    pub snapshot: &'a Snapshot,
    /// What was counted since `started_at`.
    pub counted: &'a Counted,
    /// What the operating system says.
    pub process: &'a Process,
    /// What is configured.
    pub endpoints: &'a [Arc<Endpoint>],
    /// `VERSION (COMMIT)`.
    pub version: &'a str,
    /// When counting began.
    pub started_at: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// The whole request.
pub fn request(source: &Source<'_>) -> Value {
    let version = source.version.split(' ').next().unwrap_or_default();
    let resource = attributes(&[
        ("service.name", "llmwatch".into()),
        ("service.version", version.into()),
        (
            "service.instance.id",
            source.snapshot.location.as_str().into(),
        ),
    ]);
    json!({"resourceMetrics": [{
        "resource": {"attributes": resource},
        "scopeMetrics": [{"scope": {"name": "llmwatch", "version": version}, "metrics": metrics(source)}],
    }]})
}

fn metrics(source: &Source<'_>) -> Vec<Value> {
    let points = Points {
        from: nanos(source.started_at),
        at: nanos(source.now),
    };
    let (snapshot, counted, process) = (source.snapshot, source.counted, source.process);
    let mut all = of_operations(source, &points);

    let each = || counted.endpoints.iter();
    let labels = |name: &str, e: &EndpointCounters| {
        [
            ("endpoint", name.into()),
            ("provider", e.provider.as_str().into()),
            ("model", e.model.as_str().into()),
        ]
    };
    all.push(gauge(
        "llmwatch.probe.success",
        each().map(|(n, e)| points.whole(&labels(n, e), u64::from(e.success))),
    ));
    let probes = each().flat_map(|(name, e)| {
        e.probes
            .iter()
            .map(|((outcome, fault, attribution), count)| {
                let how = [
                    ("outcome", outcome.as_str().into()),
                    ("fault", fault.map_or("", |f| f.as_str()).into()),
                    (
                        "attribution",
                        attribution.map_or("", Attribution::as_str).into(),
                    ),
                ];
                points.whole(&[labels(name, e).as_slice(), &how].concat(), *count)
            })
    });
    all.push(sum("llmwatch.probes", probes));
    let stages = each().flat_map(|(name, e)| {
        let reached = STAGES.iter().zip(&e.stages).filter(|(_, h)| h.count > 0);
        reached.map(|(stage, h)| {
            points.histogram(
                &[
                    ("endpoint", name.as_str().into()),
                    ("stage", (*stage).into()),
                ],
                h,
                0,
            )
        })
    });
    all.push(histogram("llmwatch.stage.duration", stages));
    all.push(histogram(
        "llmwatch.schedule.lag",
        std::iter::once(points.histogram(&[], &counted.schedule_lag, 0)),
    ));
    let statuses = snapshot.endpoints.iter().flat_map(|e| {
        Status::ALL.iter().map(|status| {
            let labels = [
                ("endpoint", e.name.as_str().into()),
                ("status", status.as_str().into()),
            ];
            points.whole(&labels, u64::from(e.status == *status))
        })
    });
    all.push(gauge("llmwatch.endpoint.status", statuses));
    let open = super::incidents_open(snapshot);
    let open = open.iter().map(|((provider, attribution), count)| {
        points.whole(
            &[
                ("provider", (*provider).into()),
                ("attribution", (*attribution).into()),
            ],
            *count,
        )
    });
    all.push(gauge("llmwatch.incidents.open", open));
    let tokens = each().flat_map(|(name, e)| {
        [("input", e.input.sum), ("output", e.output.sum)].map(|(direction, count)| {
            points.whole(
                &[
                    ("endpoint", name.as_str().into()),
                    ("direction", direction.into()),
                ],
                count,
            )
        })
    });
    all.push(sum("llmwatch.tokens", tokens));
    let costs =
        each().map(|(name, e)| points.number(&[("endpoint", name.as_str().into())], e.cost_usd));
    all.push(sum("llmwatch.cost.usd", costs));
    let left = each().flat_map(|(name, e)| {
        let kinds = [
            ("requests", e.ratelimit_requests),
            ("tokens", e.ratelimit_tokens),
        ];
        kinds.into_iter().filter_map(|(kind, left)| {
            let labels = [("endpoint", name.as_str().into()), ("kind", kind.into())];
            Some(points.whole(&labels, left?.max(0).cast_unsigned()))
        })
    });
    all.push(gauge("llmwatch.ratelimit.remaining", left));

    for (metric, end) in [
        (
            "llmwatch.tls.expiry",
            (|e| e.tls_expires_at) as fn(&EndpointCounters) -> Option<Timestamp>,
        ),
        ("llmwatch.model.retirement", |e| e.model_retires_at),
    ] {
        let days = each().filter_map(|(name, e)| {
            Some(points.number(
                &[("endpoint", name.as_str().into())],
                super::days_until(end(e)?, snapshot),
            ))
        });
        all.push(gauge(metric, days));
    }

    // Counted since the store was made, of which the time is not known: 0 says so.
    let since_ever = Points {
        from: "0".to_owned(),
        at: points.at.clone(),
    };
    let told = snapshot.outbox.iter().flat_map(|t| {
        [
            ("sent", t.sent),
            ("failed", t.failed),
            ("expired", t.expired),
        ]
        .map(|(result, count)| {
            since_ever.whole(
                &[
                    ("channel", t.channel.as_str().into()),
                    ("result", result.into()),
                ],
                count,
            )
        })
    });
    all.push(sum("llmwatch.notifications", told));
    let pending = snapshot
        .outbox
        .iter()
        .map(|t| points.whole(&[("channel", t.channel.as_str().into())], t.pending));
    all.push(gauge("llmwatch.outbox.pending", pending));
    let single = |name, value| gauge(name, std::iter::once(points.number(&[], value)));
    all.push(single(
        "llmwatch.outbox.oldest",
        super::oldest_waiting_s(snapshot),
    ));
    all.push(single(
        "llmwatch.config.last_reload_successful",
        f64::from(u8::from(counted.reload_successful)),
    ));
    all.push(sum(
        "process.cpu.time",
        std::iter::once(points.number(&[], process.cpu_seconds)),
    ));
    all.push(single(
        "process.memory.usage",
        process.resident_bytes as f64,
    ));
    all.push(single(
        "process.memory.virtual",
        process.virtual_bytes as f64,
    ));
    all.push(single(
        "process.unix.file_descriptor.count",
        process.open_fds as f64,
    ));
    all.push(single(
        "process.uptime",
        source.now.since_ms(source.started_at).max(0) as f64 / 1000.0,
    ));
    // A metric without a point is not sent.
    all.retain(|metric| {
        ["gauge", "sum", "histogram"]
            .iter()
            .any(|kind| metric[kind]["dataPoints"][0].is_object())
    });
    all
}

/// What the conventions for generative AI name.
fn of_operations(source: &Source<'_>, points: &Points) -> Vec<Value> {
    let (mut operations, mut first_chunks, mut usage) = (Vec::new(), Vec::new(), Vec::new());
    for endpoint in source.endpoints {
        let Some(counted) = source.counted.endpoints.get(&endpoint.name) else {
            continue;
        };
        let Some(operation) = operation(endpoint.api) else {
            continue;
        };
        let mut labels: Vec<(&str, Value)> = vec![
            ("gen_ai.operation.name", operation.into()),
            ("gen_ai.provider.name", provider(endpoint.provider).into()),
            (
                "server.address",
                endpoint.base_url.host_str().unwrap_or_default().into(),
            ),
            (
                "server.port",
                endpoint
                    .base_url
                    .port_or_known_default()
                    .unwrap_or_default()
                    .into(),
            ),
            ("user_agent.synthetic.type", "test".into()),
            ("endpoint", endpoint.name.as_str().into()),
        ];
        if let Some(model) = &endpoint.model {
            labels.push(("gen_ai.request.model", model.as_str().into()));
        }
        let with = |key, value: &str| [labels.as_slice(), &[(key, value.into())]].concat();
        let [.., first_token, total] = &counted.stages;
        if total.count > 0 {
            operations.push(points.histogram(&labels, total, FINER));
        }
        for (fault, failed) in &counted.failures {
            operations.push(points.histogram(&with("error.type", fault.as_str()), failed, FINER));
        }
        if endpoint.stream && first_token.count > 0 {
            first_chunks.push(points.histogram(&labels, first_token, FINER));
        }
        for (kind, tokens) in [("input", &counted.input), ("output", &counted.output)] {
            if tokens.count > 0 {
                usage.push(points.tokens(&with("gen_ai.token.type", kind), tokens));
            }
        }
    }
    let named = [
        (OPERATION, operations),
        (FIRST_CHUNK, first_chunks),
        (TOKEN_USAGE, usage),
    ];
    named
        .into_iter()
        .map(|(name, points)| histogram(name, points.into_iter()))
        .collect()
}

/// The well-known name of what an API does; `None` for what is no operation of generative AI.
fn operation(api: Api) -> Option<&'static str> {
    match api {
        Api::Chat | Api::Responses | Api::Messages | Api::Ollama => Some("chat"),
        Api::Generate => Some("generate_content"),
        Api::Embeddings => Some("embeddings"),
        Api::Moderations | Api::Models | Api::Http => None,
    }
}

/// The well-known name of a provider; ours where there is none.
fn provider(provider: Provider) -> &'static str {
    match provider {
        Provider::AzureOpenAi => "azure.ai.openai",
        Provider::Gemini => "gcp.gemini",
        other => other.as_str(),
    }
}

/// Points of one stretch of time.
struct Points {
    from: String,
    at: String,
}

impl Points {
    fn whole(&self, labels: &[(&str, Value)], value: u64) -> Value {
        self.point(labels, json!({"asInt": value.to_string()}))
    }

    fn number(&self, labels: &[(&str, Value)], value: f64) -> Value {
        self.point(labels, json!({"asDouble": value}))
    }

    /// The first `joined` buckets are put together with the one after them.
    fn histogram(&self, labels: &[(&str, Value)], h: &Histogram, joined: usize) -> Value {
        let first = std::iter::once(h.buckets[..=joined].iter().sum::<u64>());
        let counts = first.chain(h.buckets[joined + 1..].iter().copied());
        let exemplars = h.exemplar.iter().map(|e| {
            let id = attributes(&[("request_id", e.request_id.as_str().into())]);
            json!({"filteredAttributes": id, "timeUnixNano": nanos(e.at), "asDouble": e.seconds})
        });
        let distribution = json!({
            "count": h.count.to_string(),
            "sum": h.sum,
            "bucketCounts": counts.map(|n| n.to_string()).collect::<Vec<_>>(),
            "explicitBounds": BOUNDS[joined..],
            "exemplars": exemplars.collect::<Vec<_>>(),
        });
        self.point(labels, distribution)
    }

    fn tokens(&self, labels: &[(&str, Value)], h: &TokenHistogram) -> Value {
        let distribution = json!({
            "count": h.count.to_string(),
            "sum": h.sum as f64,
            "bucketCounts": h.buckets.map(|n| n.to_string()),
            "explicitBounds": TOKEN_BOUNDS.map(|bound| bound as f64),
        });
        self.point(labels, distribution)
    }

    fn point(&self, labels: &[(&str, Value)], mut point: Value) -> Value {
        point["attributes"] = attributes(labels).into();
        point["startTimeUnixNano"] = self.from.as_str().into();
        point["timeUnixNano"] = self.at.as_str().into();
        point
    }
}

fn attributes(of: &[(&str, Value)]) -> Vec<Value> {
    let one = |(key, value): &(&str, Value)| match value {
        Value::Number(number) => json!({"key": key, "value": {"intValue": number.to_string()}}),
        value => json!({"key": key, "value": {"stringValue": value}}),
    };
    of.iter().map(one).collect()
}

fn gauge(name: &str, points: impl Iterator<Item = Value>) -> Value {
    named(
        name,
        "gauge",
        &json!({"dataPoints": points.collect::<Vec<_>>()}),
    )
}

fn sum(name: &str, points: impl Iterator<Item = Value>) -> Value {
    let points: Vec<_> = points.collect();
    named(
        name,
        "sum",
        &json!({"dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true}),
    )
}

fn histogram(name: &str, points: impl Iterator<Item = Value>) -> Value {
    let points: Vec<_> = points.collect();
    named(
        name,
        "histogram",
        &json!({"dataPoints": points, "aggregationTemporality": CUMULATIVE}),
    )
}

fn named(name: &str, kind: &str, data: &Value) -> Value {
    let (unit, description) = METRICS
        .iter()
        .find(|m| m.0 == name)
        .map_or(("", ""), |m| (m.1, m.2));
    json!({"name": name, "unit": unit, "description": description, kind: data})
}

fn nanos(at: Timestamp) -> String {
    format!("{}000000", at.0.max(0))
}
