//! The metrics as text: OpenMetrics 1.0, or the older Prometheus format for scrapers that request
//! it. Pure.

use std::fmt::{Display, Write};

use super::process::ProcessStats;
use super::{BOUNDS, Counted, EndpointCounters, Histogram, STAGES, bucket};
use llmwatch_core::model::{AlertState, Snapshot};
use llmwatch_core::model::{Attribution, Outcome, Status, Timestamp};

/// The format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text`, with exemplars.
    OpenMetrics,
    /// `text/plain; version=0.0.4`.
    Prometheus,
}

impl Format {
    /// Chooses the format by the client's `Accept` header: OpenMetrics unless it accepts only plain
    /// text.
    pub fn asked_by(accept: &str) -> Self {
        let plain = accept.contains("text/plain") && !accept.contains("openmetrics");
        if plain {
            Self::Prometheus
        } else {
            Self::OpenMetrics
        }
    }

    /// The content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Every metric: name, type and description, in the order in which they are written.
pub const METRICS: &[(&str, &str, &str)] = &[
    (
        "llmwatch_build_info",
        "gauge",
        "Version and commit of this process; always 1.",
    ),
    (
        "llmwatch_config_last_reload_successful",
        "gauge",
        "Whether the last reload of the configuration succeeded.",
    ),
    (
        "llmwatch_probe_success",
        "gauge",
        "Whether the last probe succeeded.",
    ),
    (
        "llmwatch_probes_total",
        "counter",
        "Probes by outcome; fault and attribution are empty if good.",
    ),
    (
        "llmwatch_stage_duration_seconds",
        "histogram",
        "Time per stage of the probes; total of good probes only.",
    ),
    (
        "llmwatch_schedule_lag_seconds",
        "histogram",
        "Delay of probes behind their schedule.",
    ),
    (
        "llmwatch_endpoint_status",
        "gauge",
        "1 for the status that an endpoint has, 0 for the others.",
    ),
    (
        "llmwatch_endpoint_alert_state",
        "gauge",
        "1 for the state of an endpoint's alert (inactive, pending, firing), 0 for the others.",
    ),
    ("llmwatch_incidents_open", "gauge", "Open incidents."),
    ("llmwatch_tokens_total", "counter", "Tokens used by probes."),
    (
        "llmwatch_cost_usd_total",
        "counter",
        "Cost of probes, in USD.",
    ),
    (
        "llmwatch_ratelimit_remaining",
        "gauge",
        "Remaining rate limit, as last reported by the provider.",
    ),
    (
        "llmwatch_tls_expiry_days",
        "gauge",
        "Days until the server's certificate expires.",
    ),
    (
        "llmwatch_model_retirement_days",
        "gauge",
        "Days until the model is shut down, where its vendor says so.",
    ),
    (
        "llmwatch_credit_left",
        "gauge",
        "Prepaid credit of the account that is left, where its provider says so.",
    ),
    (
        "llmwatch_notifications_total",
        "counter",
        "Notifications by result, since the store was created.",
    ),
    (
        "llmwatch_channel_last_confirmed_timestamp_seconds",
        "gauge",
        "When a person last confirmed a drill of the channel.",
    ),
    (
        "llmwatch_outbox_pending",
        "gauge",
        "Notifications waiting for delivery.",
    ),
    (
        "llmwatch_outbox_oldest_seconds",
        "gauge",
        "Age of the oldest waiting notification; 0 if there is none.",
    ),
    (
        "process_cpu_seconds_total",
        "counter",
        "Processor time used.",
    ),
    ("process_resident_memory_bytes", "gauge", "Memory in use."),
    ("process_virtual_memory_bytes", "gauge", "Address space."),
    ("process_open_fds", "gauge", "Open files and sockets."),
    (
        "process_max_fds",
        "gauge",
        "Maximum number of open files and sockets.",
    ),
    (
        "process_start_time_seconds",
        "gauge",
        "Start time of the process, in seconds since the Unix epoch.",
    ),
];

/// Writes all metrics as text. `version` is `VERSION (COMMIT)`.
pub fn render(
    snapshot: &Snapshot,
    counted: &Counted,
    process: &ProcessStats,
    version: &str,
    format: Format,
) -> String {
    let mut page = ExpositionWriter {
        format,
        text: String::new(),
    };
    page.build(version, counted);
    page.probes(counted);
    page.status(snapshot);
    page.usage(counted);
    page.expiry(snapshot, counted);
    page.notifications(snapshot);
    page.process(process);
    if format == Format::OpenMetrics {
        page.text += "# EOF\n";
    }
    page.text
}

struct ExpositionWriter {
    format: Format,
    text: String,
}

/// The groups of metrics, in output order.
impl ExpositionWriter {
    fn build(&mut self, version: &str, counted: &Counted) {
        let (number, commit) = version.split_once(" (").unwrap_or((version, ""));
        self.family("llmwatch_build_info");
        self.sample(
            "llmwatch_build_info",
            &[
                ("version", number),
                ("commit", commit.trim_end_matches(')')),
            ],
            1,
        );
        self.family("llmwatch_config_last_reload_successful");
        self.sample(
            "llmwatch_config_last_reload_successful",
            &[],
            u8::from(counted.reload_successful),
        );
    }

    fn probes(&mut self, counted: &Counted) {
        self.family("llmwatch_probe_success");
        for (name, e) in &counted.endpoints {
            let labels = [
                ("endpoint", name.as_str()),
                ("provider", e.provider.as_str()),
                ("model", &e.model),
            ];
            self.sample("llmwatch_probe_success", &labels, u8::from(e.success));
        }
        self.family("llmwatch_probes_total");
        for (name, e) in &counted.endpoints {
            // Both common series exist from the start, so that rates over them do too.
            let mut probes = e.probes.clone();
            probes.entry((Outcome::Ok, None, None)).or_default();
            for ((outcome, fault, attribution), count) in &probes {
                let labels = [
                    ("endpoint", name.as_str()),
                    ("provider", e.provider.as_str()),
                    ("model", &e.model),
                    ("outcome", outcome.as_str()),
                    ("fault", fault.map_or("", |f| f.as_str())),
                    ("attribution", attribution.map_or("", Attribution::as_str)),
                ];
                self.sample("llmwatch_probes_total", &labels, count);
            }
        }
        self.family("llmwatch_stage_duration_seconds");
        for (name, e) in &counted.endpoints {
            for (stage, histogram) in STAGES.iter().zip(&e.stages).filter(|(_, h)| h.count > 0) {
                self.histogram(
                    "llmwatch_stage_duration_seconds",
                    &[("endpoint", name), ("stage", stage)],
                    histogram,
                );
            }
        }
        self.family("llmwatch_schedule_lag_seconds");
        self.histogram("llmwatch_schedule_lag_seconds", &[], &counted.schedule_lag);
    }

    fn status(&mut self, snapshot: &Snapshot) {
        self.family("llmwatch_endpoint_status");
        for e in &snapshot.endpoints {
            for status in Status::ALL.iter().copied() {
                let labels = [("endpoint", e.name.as_str()), ("status", status.as_str())];
                self.sample(
                    "llmwatch_endpoint_status",
                    &labels,
                    u8::from(e.status == status),
                );
            }
        }
        self.family("llmwatch_endpoint_alert_state");
        for e in &snapshot.endpoints {
            for state in AlertState::ALL {
                let labels = [("endpoint", e.name.as_str()), ("state", state.as_str())];
                self.sample(
                    "llmwatch_endpoint_alert_state",
                    &labels,
                    u8::from(e.alert.state == state),
                );
            }
        }
        self.family("llmwatch_incidents_open");
        for ((provider, attribution), count) in super::incidents_open(snapshot) {
            self.sample(
                "llmwatch_incidents_open",
                &[("provider", provider), ("attribution", attribution)],
                count,
            );
        }
    }

    fn usage(&mut self, counted: &Counted) {
        self.family("llmwatch_tokens_total");
        for (name, e) in &counted.endpoints {
            self.sample(
                "llmwatch_tokens_total",
                &[("endpoint", name), ("direction", "input")],
                e.input.sum,
            );
            self.sample(
                "llmwatch_tokens_total",
                &[("endpoint", name), ("direction", "output")],
                e.output.sum,
            );
        }
        self.family("llmwatch_cost_usd_total");
        for (name, e) in &counted.endpoints {
            self.sample("llmwatch_cost_usd_total", &[("endpoint", name)], e.cost_usd);
        }
        self.family("llmwatch_ratelimit_remaining");
        for (name, e) in &counted.endpoints {
            for (kind, left) in [
                ("requests", e.ratelimit_requests),
                ("tokens", e.ratelimit_tokens),
            ] {
                if let Some(left) = left {
                    self.sample(
                        "llmwatch_ratelimit_remaining",
                        &[("endpoint", name), ("kind", kind)],
                        left,
                    );
                }
            }
        }
    }

    fn expiry(&mut self, snapshot: &Snapshot, counted: &Counted) {
        for (family, end) in [
            (
                "llmwatch_tls_expiry_days",
                (|e| e.tls_expires_at) as fn(&EndpointCounters) -> Option<Timestamp>,
            ),
            ("llmwatch_model_retirement_days", |e| e.model_retires_at),
        ] {
            self.family(family);
            for (name, e) in &counted.endpoints {
                if let Some(at) = end(e) {
                    self.sample(
                        family,
                        &[("endpoint", name)],
                        super::days_until(at, snapshot),
                    );
                }
            }
        }
        self.family("llmwatch_credit_left");
        for (name, e) in &counted.endpoints {
            if let Some((left, currency)) = &e.credit {
                self.sample(
                    "llmwatch_credit_left",
                    &[("endpoint", name), ("currency", currency)],
                    *left,
                );
            }
        }
    }

    fn notifications(&mut self, snapshot: &Snapshot) {
        self.family("llmwatch_notifications_total");
        for t in &snapshot.outbox {
            for (result, count) in [
                ("sent", t.sent),
                ("failed", t.failed),
                ("expired", t.expired),
            ] {
                self.sample(
                    "llmwatch_notifications_total",
                    &[("channel", &t.channel), ("result", result)],
                    count,
                );
            }
        }
        self.family("llmwatch_channel_last_confirmed_timestamp_seconds");
        for (channel, at) in &snapshot.drills.last_confirmed {
            self.sample(
                "llmwatch_channel_last_confirmed_timestamp_seconds",
                &[("channel", channel)],
                at.0 as f64 / 1000.0,
            );
        }
        self.family("llmwatch_outbox_pending");
        for t in &snapshot.outbox {
            self.sample(
                "llmwatch_outbox_pending",
                &[("channel", &t.channel)],
                t.pending,
            );
        }
        self.family("llmwatch_outbox_oldest_seconds");
        let age = super::oldest_waiting_s(snapshot);
        self.sample("llmwatch_outbox_oldest_seconds", &[], age);
    }

    fn process(&mut self, process: &ProcessStats) {
        for (name, value) in [
            ("process_cpu_seconds_total", process.cpu_seconds),
            (
                "process_resident_memory_bytes",
                process.resident_bytes as f64,
            ),
            ("process_virtual_memory_bytes", process.virtual_bytes as f64),
            ("process_open_fds", process.open_fds as f64),
            ("process_max_fds", process.max_fds as f64),
            ("process_start_time_seconds", process.started_s),
        ] {
            self.family(name);
            self.sample(name, &[], value);
        }
    }
}

impl ExpositionWriter {
    fn family(&mut self, name: &str) {
        let Some((_, kind, help)) = METRICS.iter().find(|(n, ..)| *n == name) else {
            return;
        };
        // In OpenMetrics, a counter's family name has no suffix, but its samples have.
        let family = match self.format {
            Format::OpenMetrics => name.trim_end_matches("_total"),
            Format::Prometheus => name,
        };
        self.text += &format!("# TYPE {family} {kind}\n# HELP {family} {help}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.line(name, labels, None, value);
        self.text.push('\n');
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], le: Option<f64>, value: impl Display) {
        self.text += name;
        let mut before = '{';
        for (key, value) in labels {
            self.text.push(before);
            self.text += key;
            self.text += "=\"";
            for c in value.chars() {
                match c {
                    '\\' => self.text += "\\\\",
                    '"' => self.text += "\\\"",
                    '\n' => self.text += "\\n",
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
            before = ',';
        }
        if let Some(le) = le {
            let bound = if le.is_infinite() {
                "+Inf".to_owned()
            } else {
                le.to_string()
            };
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{before}le=\"{bound}\"");
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = write!(self.text, " {value}");
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let mut below = 0;
        for (at, (bound, count)) in bounds.zip(histogram.buckets).enumerate() {
            below += count;
            self.line(&format!("{name}_bucket"), labels, Some(bound), below);
            if let Some(e) = &histogram.exemplar
                && self.format == Format::OpenMetrics
                && bucket(e.seconds) == at
            {
                let id = e
                    .request_id
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                let at = e.at.0 as f64 / 1000.0;
                let _ = write!(
                    self.text,
                    " # {{request_id=\"{id}\"}} {} {at:.3}",
                    e.seconds
                );
            }
            self.text.push('\n');
        }
        self.sample(&format!("{name}_count"), labels, histogram.count);
        self.sample(&format!("{name}_sum"), labels, histogram.sum);
    }
}
