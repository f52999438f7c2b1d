//! Log records of effects: converts each effect to event, level, message and fields.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde_json::{Value, json};
use tracing::Level;

use super::{Event, emit};
use llmwatch_core::detect::{Blip, Cleared, DetectedCause, Pending};
use llmwatch_core::incident::Change;
use llmwatch_core::incident::vendor_status::FeedDiff;
use llmwatch_core::message::monitor_notice::{self, MonitorNotice};
use llmwatch_core::message::values::{Language, Locale};
use llmwatch_core::model::{
    Attribution, AttributionRevision, DrillMessage, Fault, Incident, Outcome, Outgoing, Provider,
    Sample, Status, Timestamp,
};
use llmwatch_core::monitor::{Effect, Fact, Record};

/// Log messages are in English, with times in UTC.
const LOCALE: Locale = Locale {
    timezone: Tz::UTC,
    language: Language::English,
};

/// An event that is logged once its cause is committed.
#[derive(Debug)]
pub struct LogRecord {
    /// The event.
    pub event: Event,
    /// Its level.
    pub level: Level,
    /// The message for people.
    pub message: String,
    /// The fields for programs.
    pub fields: Value,
    /// A successful sample, which is logged only on request.
    is_ordinary: bool,
}

impl LogRecord {
    fn new(event: Event, level: Level, message: String, fields: Value) -> Self {
        Self {
            event,
            level,
            message,
            fields,
            is_ordinary: false,
        }
    }

    /// Returns the record of `effect` for the monitor at `location`; `None` if the effect is not
    /// logged.
    pub fn of(effect: &Effect, location: &str) -> Option<Self> {
        match effect {
            Effect::Record(Record::Sample(sample)) => Some(Self::sample(sample)),
            Effect::Incident(change, incident, _) => Some(Self::incident(*change, incident)),
            Effect::Log(fact) => Some(Self::fact(fact, location)),
            Effect::Record(_)
            | Effect::Announce(_)
            | Effect::Recheck { .. }
            | Effect::PauseProbing { .. }
            | Effect::PauseEndpoint { .. } => None,
        }
    }

    /// The start of a channel drill.
    pub fn drill_started(messages: &[DrillMessage]) -> Self {
        let channels: Vec<_> = messages.iter().map(|m| m.channel.as_str()).collect();
        Self::new(
            Event::DrillStarted,
            Level::INFO,
            format!("drill of {}", channels.join(", ")),
            json!({"drill": messages.first().map(|m| m.drill), "channels": channels}),
        )
    }

    /// The confirmation of a drill by a person.
    pub fn drill_confirmed(message: &DrillMessage) -> Self {
        Self::new(
            Event::DrillConfirmed,
            Level::INFO,
            format!("the drill of {} is confirmed", message.channel),
            json!({"drill": message.drill, "notification": message.notification, "channel": message.channel, "by": message.by}),
        )
    }

    /// A drill that nobody confirmed in time.
    pub fn drill_unconfirmed(message: &DrillMessage) -> Self {
        Self::new(
            Event::DrillUnconfirmed,
            Level::WARN,
            format!("nobody has confirmed the drill of {}", message.channel),
            json!({"drill": message.drill, "notification": message.notification, "channel": message.channel}),
        )
    }

    fn fact(fact: &Fact, location: &str) -> Self {
        match fact {
            Fact::StatusChanged {
                endpoint,
                provider,
                was,
                now,
            } => Self::new(
                Event::StatusChanged,
                Level::INFO,
                format!("{endpoint} is {} (was {})", now.as_str(), was.as_str()),
                json!({"endpoint": endpoint, "provider": provider, "status": now, "was": was}),
            ),
            Fact::DetectionPending {
                endpoint,
                provider,
                pending,
                fault,
            } => Self::detection_pending(endpoint, *provider, pending, *fault),
            Fact::DetectionCleared {
                provider,
                blip,
                faults,
            } => Self::detection_cleared(*provider, blip, faults),
            Fact::AttributionRevised { provider, revision } => {
                Self::attribution_revised(*provider, revision)
            }
            Fact::Advice { provider, advice } => Self::new(
                Event::AdviceGiven,
                Level::WARN,
                advice.text.clone(),
                json!({"endpoint": advice.endpoint, "provider": provider, "kind": advice.kind}),
            ),
            Fact::BudgetExhausted { usd, tokens, until } => Self::new(
                Event::BudgetSpent,
                Level::WARN,
                format!(
                    "{}: {}, {}; probing resumes at {}",
                    monitor_notice::title(&MonitorNotice::BudgetExhausted, location, &LOCALE),
                    LOCALE.money(*usd),
                    LOCALE.count(*tokens, "token", "tokens"),
                    LOCALE.time(*until)
                ),
                json!({"usd": usd, "tokens": tokens, "until": until}),
            ),
            Fact::EndpointPaused {
                endpoint,
                usd,
                tokens,
                until,
            } => Self::new(
                Event::BudgetSpent,
                Level::WARN,
                format!(
                    "{endpoint} is paused until {}: its provider reports more tokens than the response size allows, \
                     {} and {} today",
                    LOCALE.time(*until),
                    LOCALE.money(*usd),
                    LOCALE.count(*tokens, "token", "tokens")
                ),
                json!({"endpoint": endpoint, "usd": usd, "tokens": tokens, "until": until}),
            ),
            Fact::Offline {
                endpoint,
                fault,
                since,
                dns_only,
            } => {
                let reason = if *dns_only {
                    "no host name resolves here"
                } else {
                    "neither the providers nor the connectivity checks answer"
                };
                Self::new(
                    Event::MonitorOffline,
                    Level::ERROR,
                    format!("{location} is offline: {reason}"),
                    json!({"endpoint": endpoint, "fault": fault, "since": since}),
                )
            }
            Fact::Online {
                since,
                duration_s,
                missed_probes,
            } => Self::new(
                Event::MonitorOnline,
                Level::INFO,
                monitor_notice::title(
                    &MonitorNotice::Online {
                        after_s: *duration_s,
                        missed_probes: *missed_probes,
                    },
                    location,
                    &LOCALE,
                ),
                json!({"since": since, "duration_s": duration_s, "missed_probes": missed_probes}),
            ),
            Fact::ClockSet { from, to } => Self::clock_set(*from, *to),
            Fact::VendorStatus {
                provider,
                vendor,
                diff,
            } => Self::vendor_status(*provider, vendor, diff),
            Fact::IncidentCompleted(incident) => Self::incident(Change::Updated, incident),
        }
    }

    fn sample(sample: &Sample) -> Self {
        let failed = sample.outcome == Outcome::Failed;
        let total = sample.total_ms.unwrap_or(0.0);
        let message = match sample.fault {
            Some(fault) => format!(
                "{} failed after {total:.0} ms: {}",
                sample.endpoint,
                fault.describe()
            ),
            None => match sample.first_token_ms {
                Some(first) => {
                    let outcome = sample.outcome.as_str();
                    format!(
                        "{} {outcome}: first token {first:.0} ms, total {total:.0} ms",
                        sample.endpoint
                    )
                }
                None => format!(
                    "{} {}: total {total:.0} ms",
                    sample.endpoint,
                    sample.outcome.as_str()
                ),
            },
        };
        let level = if failed { Level::WARN } else { Level::INFO };
        let fields = serde_json::to_value(sample).unwrap_or_default();
        Self {
            is_ordinary: !failed,
            ..Self::new(Event::ProbeCompleted, level, message, fields)
        }
    }

    /// A change of an incident.
    pub fn incident(change: Change, incident: &Incident) -> Self {
        let (event, level) = match change {
            Change::Opened => (Event::IncidentOpened, Level::WARN),
            Change::Updated => (Event::IncidentUpdated, Level::INFO),
            Change::Escalated => (Event::IncidentEscalated, Level::WARN),
            Change::Resolved => (Event::IncidentResolved, Level::INFO),
        };
        let fields = json!({
            "incident": incident.id, "number": incident.number, "endpoint": incident.endpoints.first(),
            "endpoints": incident.endpoints, "recovered": incident.recovered, "provider": incident.provider, "status": incident.status,
            "cause": incident.cause, "attribution": incident.attribution, "started_at": incident.started_at,
            "opened_at": incident.opened_at, "ended_at": incident.ended_at, "resolved_at": incident.resolved_at, "duration_s": incident.duration_s,
            "explanation": incident.explanation, "new_normal": incident.new_normal, "lead_s": incident.official.lead_s,
        });
        let title = &incident.title;
        let message = if incident.has_recovered() {
            let lasted = LOCALE.duration(incident.duration_s);
            format!("{title}; recovered after {lasted}")
        } else {
            title.clone()
        };
        Self::new(event, level, message, fields)
    }

    /// A queued notification.
    pub fn outgoing(outgoing: &Outgoing) -> Self {
        let Outgoing {
            channel, notice, ..
        } = outgoing;
        let message = format!("{} is queued for {channel}", notice.kind.as_str());
        let fields = json!({
            "notification": notice.id, "channel": channel, "type": notice.kind,
            "incident": notice.incident.as_ref().map(|i| i.id),
        });
        Self::new(Event::NotificationQueued, Level::INFO, message, fields)
    }

    fn detection_pending(
        endpoint: &str,
        provider: Provider,
        pending: &Pending,
        fault: Option<Fault>,
    ) -> Self {
        let Pending {
            failed,
            probes,
            since,
            earliest_alert_at,
            cause,
        } = pending;
        let bad = if cause.is_slow() {
            "were slow"
        } else {
            "failed"
        };
        let of = LOCALE.count((*probes).into(), "probe", "probes");
        let earliest = LOCALE.time(*earliest_alert_at);
        let message = format!(
            "checking {endpoint}: {failed} of the last {of} {bad}; no alert before {earliest}"
        );
        let fields = json!({
            "endpoint": endpoint, "provider": provider, "kind": cause.as_str(), "failed": failed, "probes": probes,
            "since": since, "earliest_alert_at": earliest_alert_at, "fault": fault,
        });
        Self::new(Event::DetectionPending, Level::INFO, message, fields)
    }

    fn detection_cleared(provider: Provider, blip: &Blip, faults: &BTreeMap<Fault, u32>) -> Self {
        let faults: BTreeMap<&str, u32> = faults.iter().map(|(f, n)| (f.as_str(), *n)).collect();
        let lasted = blip.ended_at.since_ms(blip.started_at) as f64 / 1000.0;
        let (kind, verb) = match blip.cause {
            DetectedCause::Slow => ("slow", "were slow"),
            DetectedCause::Account => ("account", "were rejected"),
            _ => ("errors", "failed"),
        };
        let codes: Vec<_> = faults.keys().copied().collect();
        let codes = if codes.is_empty() {
            String::new()
        } else {
            format!(" ({})", codes.join(", "))
        };
        let how = match blip.cleared {
            Cleared::Recovered => "recovered before an alert",
            Cleared::Gap => "no alert, since probing paused",
            Cleared::Reattributed => "no alert, since it was this machine",
            Cleared::Superseded => "no alert, since it fails in another way now",
        };
        let message = format!(
            "{}: {how}: {} of {} probes {verb}{codes} within {}",
            blip.endpoint,
            blip.k,
            blip.n,
            LOCALE.duration(lasted)
        );
        let fields = json!({
            "endpoint": blip.endpoint, "provider": provider, "kind": kind, "started_at": blip.started_at,
            "duration_s": lasted, "bad": blip.k, "probes": blip.n, "faults": faults,
            "cleared": blip.cleared.as_str(),
        });
        Self::new(Event::DetectionCleared, Level::INFO, message, fields)
    }

    fn attribution_revised(provider: Provider, revision: &AttributionRevision) -> Self {
        let AttributionRevision {
            endpoint,
            location: _,
            from,
            until,
            fault,
            was,
            now,
            count,
        } = revision;
        let failed = LOCALE.count((*count).into(), "failed probe", "failed probes");
        let why = match now {
            Attribution::Local => {
                "unrelated providers failed in the same way, so the cause is this machine"
            }
            _ => "unrelated names resolved meanwhile, so the cause is the provider",
        };
        let at = LOCALE.time(*from);
        let message = format!("{endpoint}: {failed} since {at} reattributed ({fault}): {why}");
        let fields = json!({
            "endpoint": endpoint, "provider": provider, "fault": fault, "attribution": now, "was": was,
            "from": from, "until": until, "probes": count,
        });
        Self::new(Event::AttributionRevised, Level::INFO, message, fields)
    }

    fn clock_set(from: Timestamp, to: Timestamp) -> Self {
        let by_s = to.since_ms(from) as f64 / 1000.0;
        let direction = if by_s < 0.0 { "back" } else { "forward" };
        let message = format!(
            "this machine's clock was set {direction} by {}, to {}; open incidents and timers were shifted \
             accordingly",
            LOCALE.duration(by_s.abs()),
            LOCALE.time(to)
        );
        let fields = json!({"from": from, "to": to, "by_s": by_s});
        Self::new(Event::MonitorClockSet, Level::WARN, message, fields)
    }

    fn vendor_status(provider: Provider, vendor: &str, diff: &FeedDiff) -> Self {
        let name = |status: Option<Status>| status.map_or("unknown", Status::as_str);
        let mut message = format!(
            "the status page of {vendor} reports {} (was {})",
            name(diff.now),
            name(diff.was)
        );
        let first = diff.published.first();
        if let Some(incident) = first {
            message += &format!(": {}", incident.name);
        }
        let fields = json!({
            "provider": provider, "status": name(diff.now), "was": name(diff.was), "url": diff.url,
            "official_incident": first.map(|i| &i.name), "published_at": first.and_then(|i| i.published_at),
            "published": diff.published.iter().map(|i| &i.name).collect::<Vec<_>>(),
            "closed": diff.closed.iter().map(|(i, _)| &i.name).collect::<Vec<_>>(),
        });
        Self::new(Event::FeedChanged, Level::INFO, message, fields)
    }

    /// Logs the record. Successful samples are logged only with `all_samples`.
    pub fn emit(&self, all_samples: bool) {
        if all_samples || !self.is_ordinary {
            emit(self.event, self.level, &self.message, &self.fields);
        }
    }
}
