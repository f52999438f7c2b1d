//! Telling: one attempt at delivering a notice through a channel, and the worker that sees the outbox delivered.

mod email;
pub mod heartbeat;
mod keep_alive;
mod webhook;
pub mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use self::email::Mailer;
use self::webhook::Poster;
use crate::config::{Channel, ChannelKind, Settings};
use crate::message::receivers;
use crate::message::render;
use crate::message::render::Setting;
use crate::message::values::Locale;
use crate::model::{Notice, Timestamp};

/// The first wait before another attempt is at most this long, and each one is at most twice the one before…
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// …up to this.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// A receiver that asks for more patience than this gets this.
const MOST_PATIENCE: Duration = Duration::from_hours(1);

/// Why a channel cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("channel `{channel}`: {why}")]
pub struct SetupError {
    /// The channel's name.
    pub channel: String,
    /// What is wrong, and what to do.
    pub why: String,
}

/// Which recipients have a notice already, kept between attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// These have it.
    pub delivered: Vec<String>,
    /// These refused it for good, with their words.
    pub refused: Vec<(String, String)>,
    /// The receiver may have it: it was sent whole, and no answer came in time. It knows a repeat by its id and leaves
    /// it aside, with whatever the repeat says that is new.
    pub perhaps: bool,
}

impl Progress {
    /// Who refused, in one line; `None` when nobody did.
    pub fn refused_summary(&self) -> Option<String> {
        summary(&self.refused)
    }
}

/// What went wrong at whom, in one line, and each reason once; `None` when nothing did.
fn summary(failures: &[(String, String)]) -> Option<String> {
    let mut reasons: Vec<&str> = Vec::new();
    for (_, why) in failures {
        if !reasons.contains(&why.as_str()) {
            reasons.push(why);
        }
    }
    let at = |why: &&str| {
        failures
            .iter()
            .filter(move |f| f.1 == *why)
            .map(|(who, _)| who.as_str())
            .collect::<Vec<_>>()
    };
    let list: Vec<_> = reasons
        .iter()
        .map(|why| format!("{}: {why}", at(why).join(", ")))
        .collect();
    (!list.is_empty()).then(|| list.join("; "))
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempt {
    /// Everybody who can have it has it.
    Delivered {
        /// Who has it, and who refused it for good.
        progress: Progress,
    },
    /// Another attempt is worth while.
    Retry {
        /// Who has it already.
        progress: Progress,
        /// What went wrong, without secrets.
        error: String,
        /// How long the receiver asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Refused for good by everybody.
    Failed {
        /// Who refused.
        progress: Progress,
        /// What went wrong, without secrets.
        error: String,
    },
}

/// Everything that can send, one per configuration.
#[derive(Debug)]
pub struct Sender {
    ways: BTreeMap<String, Way>,
    timezone: Tz,
}

#[derive(Debug)]
enum Way {
    Mail(Box<Mailer>),
    Post(Box<Poster>),
}

impl Sender {
    /// Sets every channel of `config` up; nothing is connected yet.
    ///
    /// # Errors
    /// When a channel cannot be used at all.
    pub fn new(config: &Settings) -> Result<Self, SetupError> {
        let mut ways = BTreeMap::new();
        for channel in &config.channels {
            let failed = |why: String| SetupError {
                channel: channel.name.clone(),
                why,
            };
            ways.insert(
                channel.name.clone(),
                Way::new(channel, &config).map_err(failed)?,
            );
        }
        Ok(Self {
            ways,
            timezone: config.monitor.timezone,
        })
    }

    /// One attempt to deliver `notice` through `channel` to everybody who does not have it yet. `now` is the wall clock.
    pub async fn attempt(
        &self,
        channel: &Channel,
        notice: &Notice,
        progress: Progress,
        now: Timestamp,
    ) -> Attempt {
        let setting = Setting {
            locale: Locale::english(self.timezone),
            now,
        };
        match self.ways.get(&channel.name) {
            Some(Way::Mail(mailer)) => mailer.attempt(notice, setting, progress).await,
            Some(Way::Post(poster)) => poster.attempt(notice, setting, progress).await,
            None => Attempt::Failed {
                progress,
                error: "the channel is not configured any more".to_owned(),
            },
        }
    }

    /// What [`Sender::attempt`] would send, as files: a name's extension and the content. What only the receiver may
    /// know is replaced by `***`.
    pub fn preview(
        &self,
        channel: &Channel,
        notice: &Notice,
        now: Timestamp,
    ) -> Vec<(&'static str, Vec<u8>)> {
        let setting = Setting {
            locale: Locale::english(self.timezone),
            now,
        };
        match (self.ways.get(&channel.name), &channel.kind) {
            (Some(Way::Mail(mailer)), _) => vec![
                (
                    "eml",
                    mailer
                        .formatted(notice, setting)
                        .unwrap_or_else(String::into_bytes),
                ),
                ("txt", render::text(notice, setting).into_bytes()),
                ("html", render::html(notice, setting).into_bytes()),
            ],
            (Some(Way::Post(_)), ChannelKind::Webhook(webhook)) => {
                let call = receivers::call(&webhook.masked(), notice, setting);
                match serde_json::from_str::<serde_json::Value>(&call.body) {
                    Ok(body) => vec![("json", format!("{body:#}\n").into_bytes())],
                    Err(_) => vec![("txt", call.body.into_bytes())],
                }
            }
            _ => Vec::new(),
        }
    }

    /// Opens `channel` without sending anything.
    ///
    /// # Errors
    /// What went wrong, without secrets.
    pub async fn open(&self, channel: &Channel) -> Result<(), String> {
        match self.ways.get(&channel.name) {
            Some(Way::Mail(mailer)) => mailer.open().await,
            Some(Way::Post(poster)) => poster.open().await,
            None => Err("not configured".to_owned()),
        }
    }
}

impl Way {
    fn new(channel: &Channel, settings: &Settings) -> Result<Self, String> {
        Ok(match &channel.kind {
            ChannelKind::Email(email) => Self::Mail(Box::new(Mailer::new(
                email,
                settings.process.ca_file.as_deref(),
            )?)),
            ChannelKind::Webhook(webhook) => Self::Post(Box::new(Poster::new(webhook, settings)?)),
        })
    }
}

/// How long to wait before the attempt after number `attempt` (from 1): full jitter over a bound that doubles from one
/// second to five minutes, but at least as long as the receiver asks. `random` is evenly spread over 0 to 1.
pub fn backoff(attempt: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    let bound = FIRST_WAIT
        .saturating_mul(1 << attempt.min(10))
        .min(LONGEST_WAIT);
    let wait = bound.mul_f64(random.clamp(0.0, 1.0));
    retry_after.map_or(wait, |asked| wait.max(asked.min(MOST_PATIENCE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes_and_honour_what_the_receiver_asks() {
        assert_eq!(backoff(1, None, 1.0), Duration::from_secs(2));
        assert_eq!(backoff(30, None, 1.0), LONGEST_WAIT);
        assert_eq!(backoff(5, None, 0.0), Duration::ZERO);
        assert_eq!(
            backoff(1, Some(Duration::from_secs(40)), 0.3),
            Duration::from_secs(40)
        );
        assert_eq!(
            backoff(1, Some(Duration::from_hours(24)), 0.3),
            MOST_PATIENCE
        );
    }
}
