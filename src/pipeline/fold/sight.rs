//! Losing and regaining sight of the world: when nothing can be reached, nothing is said about any provider.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Core;
use crate::desk::Announcement;
use crate::log;
use crate::message::values::Locale;
use crate::model::{Block, Document, Endpoint, Fault, NoticeType, Sample, Timestamp};
use crate::pipeline::{Line, Step};

/// The monitor's own network is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Blind {
    pub(super) since: Timestamp,
    /// Whether a notice was queued: a blink is not worth one.
    told: bool,
    /// Probes that could not measure anything.
    #[serde(default)]
    missed: u32,
    /// Whether all of them failed for want of a name: then it may be the resolver alone.
    #[serde(default)]
    nameless: bool,
}

impl Blind {
    /// What is known of the reason, as half a sentence.
    fn reason(&self) -> &'static str {
        if self.nameless {
            "no name is resolved here"
        } else {
            "neither providers nor connectivity checks answer"
        }
    }

    fn past_reason(&self) -> &'static str {
        if self.nameless {
            "no name was resolved"
        } else {
            "neither the providers nor the connectivity checks answered"
        }
    }
}

impl Core {
    /// Takes a sample as a look out of the window; `offline` when it saw nothing at all.
    pub(super) fn see(
        &mut self,
        step: &mut Step,
        endpoint: &Endpoint,
        sample: &Sample,
        offline: bool,
    ) {
        let at = sample.ended_at();
        if offline {
            let alert_after = endpoint.detection.alert_after().as_millis() as i64;
            self.lose_sight(step, sample, at, alert_after);
        } else if self.config.is_outside(endpoint) {
            // An answer from this machine itself says nothing about the world.
            self.regain_sight(step, at);
        }
    }

    fn lose_sight(&mut self, step: &mut Step, sample: &Sample, at: Timestamp, alert_after: i64) {
        let location = &self.config.monitor.location;
        let nameless = sample.fault == Some(Fault::LocalDns);
        let begins = self.state.blind.is_none();
        let fresh = Blind {
            since: sample.started_at,
            told: false,
            missed: 0,
            nameless,
        };
        let blind = self.state.blind.get_or_insert(fresh);
        blind.missed += 1;
        blind.nameless &= nameless;
        if begins {
            let message = format!("{location} has lost its network: {}", blind.reason());
            let fields = json!({"endpoint": sample.endpoint, "fault": sample.fault, "since": sample.started_at});
            step.lines.push(Line::new(
                log::Event::MonitorOffline,
                tracing::Level::ERROR,
                message,
                fields,
            ));
        }
        if !blind.told && at.since_ms(blind.since) >= alert_after {
            blind.told = true;
            let title = format!("{location} has lost its network");
            let document = blind.nameless.then(|| {
                let text = "If addresses can be reached (`ping`), only the resolver is broken: see `/etc/resolv.conf` and \
                            `resolvectl status`.";
                Document {
                    blocks: vec![Block::Text(text.to_owned())],
                    data: json!({"since": blind.since, "fault": sample.fault}),
                }
            });
            step.announcements.push(Announcement {
                document,
                ..Announcement::new(NoticeType::Offline, title, at)
            });
        }
    }

    fn regain_sight(&mut self, step: &mut Step, at: Timestamp) {
        let Some(blind) = self.state.blind.take() else {
            return;
        };
        let seconds = at.since_ms(blind.since) as f64 / 1000.0;
        let missed = blind.missed;
        let probes = if missed == 1 {
            "1 probe".to_owned()
        } else {
            format!("{missed} probes")
        };
        let title = format!(
            "{} has its network back after {}; {probes} missed",
            self.config.monitor.location,
            Locale::default().duration(seconds)
        );
        let fields = json!({"since": blind.since, "duration_s": seconds, "missed_probes": missed});
        step.lines.push(Line::new(
            log::Event::MonitorOnline,
            tracing::Level::INFO,
            title.clone(),
            fields.clone(),
        ));
        if blind.told {
            let text = format!(
                "From {} to {at} this machine could reach nobody: {}. {probes} measured nothing: what happened meanwhile is \
                 unknown, not down, and counts as nobody's downtime.",
                blind.since,
                blind.past_reason()
            );
            let document = Document {
                blocks: vec![Block::Text(text)],
                data: fields,
            };
            step.announcements.push(Announcement {
                document: Some(document),
                ..Announcement::new(NoticeType::Online, title, at)
            });
        }
    }
}
