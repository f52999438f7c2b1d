//! The metrics as the body of an OTLP/HTTP request in its JSON form (opentelemetry-proto 1.x,
//! `collector/metrics/v1`). Pure.
//!
//! Metrics that OpenTelemetry's conventions for generative AI define have the standard names and
//! attributes, marked as synthetic traffic. All metrics are also sent under their `/metrics` names,
//! with dots, so that a translation to Prometheus yields the same names. All sums are cumulative:
//! the next export makes up for a lost one. Times are strings, as the format requires for 64-bit
//! integers; counts are numbers, which every decoder accepts and some require.
//!
//! The body is written point by point, to save memory: a JSON tree of a large fleet takes tens of
//! megabytes.

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use super::process::ProcessStats;
use super::{BOUNDS, Counted, EndpointCounters, Histogram, STAGES, TOKEN_BOUNDS, TokenHistogram};
use llmwatch_core::model::{AlertState, Snapshot};
use llmwatch_core::model::{Api, Attribution, Endpoint, Provider, Status, Timestamp};

/// Every metric: name, unit (UCUM) and description, in the order in which they are sent.
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
        "Whether the last probe succeeded.",
    ),
    (
        "llmwatch.probes",
        "{probe}",
        "Probes by outcome; fault and attribution are empty if good.",
    ),
    (
        "llmwatch.stage.duration",
        "s",
        "Time per stage of the probes; total of good probes only.",
    ),
    (
        "llmwatch.schedule.lag",
        "s",
        "Delay of probes behind their schedule.",
    ),
    (
        "llmwatch.endpoint.status",
        "",
        "1 for the status that an endpoint has, 0 for the others.",
    ),
    (
        "llmwatch.endpoint.alert_state",
        "",
        "1 for the state of an endpoint's alert (inactive, pending, firing), 0 for the others.",
    ),
    ("llmwatch.incidents.open", "{incident}", "Open incidents."),
    ("llmwatch.tokens", "{token}", "Tokens used by probes."),
    ("llmwatch.cost.usd", "", "Cost of probes, in USD."),
    (
        "llmwatch.ratelimit.remaining",
        "",
        "Remaining rate limit, as last reported by the provider.",
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
        "llmwatch.credit.left",
        "",
        "Prepaid credit of the account that is left, where its provider says so.",
    ),
    (
        "llmwatch.notifications",
        "{notification}",
        "Notifications by result, since the store was created.",
    ),
    (
        "llmwatch.outbox.pending",
        "{notification}",
        "Notifications waiting for delivery.",
    ),
    (
        "llmwatch.outbox.oldest",
        "s",
        "Age of the oldest waiting notification; 0 if there is none.",
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

/// The conventions are still in development, so their names appear only here.
const OPERATION: &str = "gen_ai.client.operation.duration";
const FIRST_CHUNK: &str = "gen_ai.client.operation.time_to_first_chunk";
const TOKEN_USAGE: &str = "gen_ai.client.token.usage";

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;
/// The number of finer buckets that the conventions do not have.
const FINER: usize = 2;

/// The inputs of an export.
#[derive(Debug)]
pub struct ExportSource<'a> {
    /// The current snapshot.
    pub snapshot: &'a Snapshot,
    /// The counters since `started_at`.
    pub counted: &'a Counted,
    /// The resource usage of this process.
    pub process: &'a ProcessStats,
    /// The configured endpoints.
    pub endpoints: &'a [Arc<Endpoint>],
    /// `VERSION (COMMIT)`.
    pub version: &'a str,
    /// When counting started.
    pub started_at: Timestamp,
    /// The current time.
    pub now: Timestamp,
}

/// Writes the complete request.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(source: &ExportSource<'_>, out: &mut impl Write) -> io::Result<()> {
    let version = source.version.split(' ').next().unwrap_or_default();
    let resource = attributes(&[
        ("service.name", "llmwatch".into()),
        ("service.version", version.into()),
        (
            "service.instance.id",
            source.snapshot.location.as_str().into(),
        ),
    ]);
    let resource = json!({"attributes": resource});
    let scope = json!({"name": "llmwatch", "version": version});
    write!(
        out,
        "{{\"resourceMetrics\":[{{\"resource\":{resource},\"scopeMetrics\":[{{\"scope\":{scope},\"metrics\":["
    )?;
    let mut metrics = MetricWriter {
        out,
        is_first: true,
    };
    let points = Points {
        from: nanos(source.started_at),
        at: nanos(source.now),
    };
    write_operations(source, &points, &mut metrics)?;
    write_endpoints(source, &points, &mut metrics)?;
    write_state(source, &points, &mut metrics)?;
    write_process(source, &points, &mut metrics)?;
    out.write_all(b"]}]}]}")
}

/// The type of a metric.
#[derive(Debug, Clone, Copy)]
enum MetricKind {
    Gauge,
    Sum,
    Histogram,
}

impl MetricKind {
    fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Sum => "sum",
            Self::Histogram => "histogram",
        }
    }
}

/// Writes metrics one after another, each point as it is produced.
struct MetricWriter<'w, W> {
    out: &'w mut W,
    is_first: bool,
}

impl<W: Write> MetricWriter<'_, W> {
    /// Writes a metric, unless it has no points.
    fn metric(
        &mut self,
        kind: MetricKind,
        name: &str,
        points: impl IntoIterator<Item = Value>,
    ) -> io::Result<()> {
        let mut points = points.into_iter();
        let Some(first) = points.next() else {
            return Ok(());
        };
        if !std::mem::take(&mut self.is_first) {
            self.out.write_all(b",")?;
        }
        let (unit, description) = METRICS
            .iter()
            .find(|m| m.0 == name)
            .map_or(("", ""), |m| (m.1, m.2));
        let name = json!(name);
        let unit = json!(unit);
        let description = json!(description);
        write!(
            self.out,
            "{{\"name\":{name},\"unit\":{unit},\"description\":{description},\"{}\":{{",
            kind.name()
        )?;
        if !matches!(kind, MetricKind::Gauge) {
            write!(self.out, "\"aggregationTemporality\":{CUMULATIVE},")?;
        }
        if matches!(kind, MetricKind::Sum) {
            self.out.write_all(b"\"isMonotonic\":true,")?;
        }
        write!(self.out, "\"dataPoints\":[{first}")?;
        for point in points {
            write!(self.out, ",{point}")?;
        }
        self.out.write_all(b"]}}")
    }

    fn gauge(&mut self, name: &str, points: impl IntoIterator<Item = Value>) -> io::Result<()> {
        self.metric(MetricKind::Gauge, name, points)
    }

    fn sum(&mut self, name: &str, points: impl IntoIterator<Item = Value>) -> io::Result<()> {
        self.metric(MetricKind::Sum, name, points)
    }

    fn histogram(&mut self, name: &str, points: impl IntoIterator<Item = Value>) -> io::Result<()> {
        self.metric(MetricKind::Histogram, name, points)
    }
}

/// Writes the counters of each endpoint.
fn write_endpoints<W: Write>(
    source: &ExportSource<'_>,
    points: &Points,
    out: &mut MetricWriter<'_, W>,
) -> io::Result<()> {
    let counted = source.counted;
    let each = counted.endpoints.iter();
    out.gauge(
        "llmwatch.probe.success",
        each.clone()
            .map(|(n, e)| points.integer(&endpoint_labels(n, e), u64::from(e.success))),
    )?;
    let probes = each.clone().flat_map(|(name, e)| {
        e.probes
            .iter()
            .map(move |((outcome, fault, attribution), count)| {
                let how = [
                    ("outcome", outcome.as_str().into()),
                    ("fault", fault.map_or("", |f| f.as_str()).into()),
                    (
                        "attribution",
                        attribution.map_or("", Attribution::as_str).into(),
                    ),
                ];
                let labels = endpoint_labels(name, e);
                points.integer(&[labels.as_slice(), &how].concat(), *count)
            })
    });
    out.sum("llmwatch.probes", probes)?;
    let stages = each.clone().flat_map(|(name, e)| {
        let reached = STAGES.iter().zip(&e.stages).filter(|(_, h)| h.count > 0);
        reached.map(move |(stage, h)| {
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
    out.histogram("llmwatch.stage.duration", stages)?;
    out.histogram(
        "llmwatch.schedule.lag",
        [points.histogram(&[], &counted.schedule_lag, 0)],
    )?;
    let tokens = each.clone().flat_map(|(name, e)| {
        [("input", e.input.sum), ("output", e.output.sum)].map(|(direction, count)| {
            let direction = [("direction", direction.into())];
            points.integer(&[endpoint_label(name), direction].concat(), count)
        })
    });
    out.sum("llmwatch.tokens", tokens)?;
    out.sum(
        "llmwatch.cost.usd",
        each.clone()
            .map(|(name, e)| points.number(&endpoint_label(name), e.cost_usd)),
    )?;
    let left = each.clone().flat_map(|(name, e)| {
        let kinds = [
            ("requests", e.ratelimit_requests),
            ("tokens", e.ratelimit_tokens),
        ];
        kinds.into_iter().filter_map(move |(kind, left)| {
            let labels = [endpoint_label(name), [("kind", kind.into())]].concat();
            Some(points.integer(&labels, left?.max(0).cast_unsigned()))
        })
    });
    out.gauge("llmwatch.ratelimit.remaining", left)?;
    let expiries = each.clone().filter_map(|(name, e)| {
        let days = super::days_until(e.tls_expires_at?, source.snapshot);
        Some(points.number(&endpoint_label(name), days))
    });
    out.gauge("llmwatch.tls.expiry", expiries)?;
    let retirements = each.clone().filter_map(|(name, e)| {
        let days = super::days_until(e.model_retires_at?, source.snapshot);
        Some(points.number(&endpoint_label(name), days))
    });
    out.gauge("llmwatch.model.retirement", retirements)?;
    let credit = each.filter_map(|(name, e)| {
        let (left, currency) = e.credit.as_ref()?;
        let labels = [
            endpoint_label(name),
            [("currency", currency.as_str().into())],
        ]
        .concat();
        Some(points.number(&labels, *left))
    });
    out.gauge("llmwatch.credit.left", credit)
}

fn endpoint_label(name: &str) -> [(&'static str, Value); 1] {
    [("endpoint", name.into())]
}

fn endpoint_labels(name: &str, e: &EndpointCounters) -> [(&'static str, Value); 3] {
    [
        ("endpoint", name.into()),
        ("provider", e.provider.as_str().into()),
        ("model", e.model.as_str().into()),
    ]
}

/// Writes the current state.
fn write_state<W: Write>(
    source: &ExportSource<'_>,
    points: &Points,
    out: &mut MetricWriter<'_, W>,
) -> io::Result<()> {
    let snapshot = source.snapshot;
    let statuses = snapshot.endpoints.iter().flat_map(|e| {
        Status::ALL.iter().map(|status| {
            let labels = [
                ("endpoint", e.name.as_str().into()),
                ("status", status.as_str().into()),
            ];
            points.integer(&labels, u64::from(e.status == *status))
        })
    });
    out.gauge("llmwatch.endpoint.status", statuses)?;
    let alerts = snapshot.endpoints.iter().flat_map(|e| {
        AlertState::ALL.into_iter().map(|state| {
            let labels = [
                ("endpoint", e.name.as_str().into()),
                ("state", state.as_str().into()),
            ];
            points.integer(&labels, u64::from(e.alert.state == state))
        })
    });
    out.gauge("llmwatch.endpoint.alert_state", alerts)?;
    let open = super::incidents_open(snapshot);
    let open = open.iter().map(|((provider, attribution), count)| {
        points.integer(
            &[
                ("provider", (*provider).into()),
                ("attribution", (*attribution).into()),
            ],
            *count,
        )
    });
    out.gauge("llmwatch.incidents.open", open)?;
    // Counted since the store was created, at an unknown time; 0 means unknown.
    let since_ever = Points {
        from: "0".to_owned(),
        at: points.at.clone(),
    };
    let notifications = snapshot.outbox.iter().flat_map(|t| {
        let results = [
            ("sent", t.sent),
            ("failed", t.failed),
            ("expired", t.expired),
        ];
        results.map(|(result, count)| {
            since_ever.integer(
                &[
                    ("channel", t.channel.as_str().into()),
                    ("result", result.into()),
                ],
                count,
            )
        })
    });
    out.sum("llmwatch.notifications", notifications)?;
    let pending = snapshot
        .outbox
        .iter()
        .map(|t| points.integer(&[("channel", t.channel.as_str().into())], t.pending));
    out.gauge("llmwatch.outbox.pending", pending)?;
    let oldest = super::oldest_waiting_s(snapshot);
    out.gauge("llmwatch.outbox.oldest", [points.number(&[], oldest)])?;
    let reloaded = f64::from(u8::from(source.counted.reload_successful));
    out.gauge(
        "llmwatch.config.last_reload_successful",
        [points.number(&[], reloaded)],
    )
}

/// Writes the resource usage of this process.
fn write_process<W: Write>(
    source: &ExportSource<'_>,
    points: &Points,
    out: &mut MetricWriter<'_, W>,
) -> io::Result<()> {
    let process = source.process;
    let uptime = source.now.since_ms(source.started_at).max(0) as f64 / 1000.0;
    out.sum(
        "process.cpu.time",
        [points.number(&[], process.cpu_seconds)],
    )?;
    for (name, value) in [
        ("process.memory.usage", process.resident_bytes as f64),
        ("process.memory.virtual", process.virtual_bytes as f64),
        (
            "process.unix.file_descriptor.count",
            process.open_fds as f64,
        ),
        ("process.uptime", uptime),
    ] {
        out.gauge(name, [points.number(&[], value)])?;
    }
    Ok(())
}

/// Writes the metrics that the conventions for generative AI define.
fn write_operations<W: Write>(
    source: &ExportSource<'_>,
    points: &Points,
    out: &mut MetricWriter<'_, W>,
) -> io::Result<()> {
    let each = source.endpoints.iter().filter_map(|endpoint| {
        let counted = source.counted.endpoints.get(&endpoint.name)?;
        Some((endpoint, counted, operation_labels(endpoint)?))
    });
    let durations = each.clone().flat_map(|(_, counted, labels)| {
        let total = counted.stages.last().filter(|total| total.count > 0);
        let good = total.map(|total| points.histogram(&labels, total, FINER));
        let failed = counted.failures.iter().map(move |(fault, failed)| {
            let error = [("error.type", fault.as_str().into())];
            points.histogram(&[labels.as_slice(), &error].concat(), failed, FINER)
        });
        good.into_iter().chain(failed)
    });
    out.histogram(OPERATION, durations)?;
    let first_chunks = each.clone().filter_map(|(endpoint, counted, labels)| {
        let [.., first_token, _] = &counted.stages;
        let is_streamed = endpoint.stream && first_token.count > 0;
        is_streamed.then(|| points.histogram(&labels, first_token, FINER))
    });
    out.histogram(FIRST_CHUNK, first_chunks)?;
    let usage = each.flat_map(|(_, counted, labels)| {
        [("input", &counted.input), ("output", &counted.output)]
            .into_iter()
            .filter(|(_, tokens)| tokens.count > 0)
            .map(move |(kind, tokens)| {
                let kind = [("gen_ai.token.type", kind.into())];
                points.tokens(&[labels.as_slice(), &kind].concat(), tokens)
            })
    });
    out.histogram(TOKEN_USAGE, usage)
}

/// Returns the attributes of an endpoint's operations; `None` if they are not generative AI
/// operations.
fn operation_labels(endpoint: &Endpoint) -> Option<Vec<(&'static str, Value)>> {
    let url = &endpoint.base_url;
    let mut labels: Vec<(&str, Value)> = vec![
        ("gen_ai.operation.name", operation(endpoint.api)?.into()),
        ("gen_ai.provider.name", provider(endpoint.provider).into()),
        ("server.address", url.host_str().unwrap_or_default().into()),
        (
            "server.port",
            url.port_or_known_default().unwrap_or_default().into(),
        ),
        ("user_agent.synthetic.type", "test".into()),
        ("endpoint", endpoint.name.as_str().into()),
    ];
    if let Some(model) = &endpoint.model {
        labels.push(("gen_ai.request.model", model.as_str().into()));
    }
    Some(labels)
}

/// Returns the well-known operation name of an API; `None` if it is not a generative AI operation.
fn operation(api: Api) -> Option<&'static str> {
    match api {
        Api::Chat
        | Api::Responses
        | Api::Messages
        | Api::Ollama
        | Api::Converse
        | Api::Realtime => Some("chat"),
        Api::Generate => Some("generate_content"),
        Api::Embeddings => Some("embeddings"),
        Api::Speech
        | Api::Transcription
        | Api::Mcp
        | Api::Moderations
        | Api::Models
        | Api::Http => None,
    }
}

/// Returns the well-known name of a provider, or ours if there is none.
fn provider(provider: Provider) -> &'static str {
    match provider {
        Provider::AzureOpenAi => "azure.ai.openai",
        Provider::Gemini => "gcp.gemini",
        Provider::Vertex => "gcp.vertex_ai",
        Provider::Bedrock => "aws.bedrock",
        Provider::Mistral => "mistral_ai",
        Provider::XAi => "x_ai",
        other => other.as_str(),
    }
}

/// The time range of data points.
struct Points {
    from: String,
    at: String,
}

impl Points {
    fn integer(&self, labels: &[(&str, Value)], value: u64) -> Value {
        self.point(labels, json!({"asInt": value}))
    }

    fn number(&self, labels: &[(&str, Value)], value: f64) -> Value {
        self.point(labels, json!({"asDouble": value}))
    }

    /// Formats a histogram. The first `joined` buckets are merged into the next one.
    fn histogram(&self, labels: &[(&str, Value)], h: &Histogram, joined: usize) -> Value {
        let first = std::iter::once(h.buckets[..=joined].iter().sum::<u64>());
        let counts = first.chain(h.buckets[joined + 1..].iter().copied());
        let exemplars = h.exemplar.iter().map(|e| {
            let id = attributes(&[("request_id", e.request_id.as_str().into())]);
            // Rotel drops a histogram whose exemplar lacks the ids or has a string as its time.
            json!({
                "filteredAttributes": id, "timeUnixNano": e.at.0.max(0).saturating_mul(1_000_000),
                "asDouble": e.seconds, "traceId": "", "spanId": "",
            })
        });
        let distribution = json!({
            "count": h.count,
            "sum": h.sum,
            "bucketCounts": counts.collect::<Vec<_>>(),
            "explicitBounds": BOUNDS[joined..],
            "exemplars": exemplars.collect::<Vec<_>>(),
        });
        self.point(labels, distribution)
    }

    fn tokens(&self, labels: &[(&str, Value)], h: &TokenHistogram) -> Value {
        let distribution = json!({
            "count": h.count,
            "sum": h.sum as f64,
            "bucketCounts": h.buckets,
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
    of.iter()
        .map(|(key, value)| match value {
            Value::Number(number) => json!({"key": key, "value": {"intValue": number}}),
            value => json!({"key": key, "value": {"stringValue": value}}),
        })
        .collect()
}

fn nanos(at: Timestamp) -> String {
    format!("{}000000", at.0.max(0))
}
