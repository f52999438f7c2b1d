//! Batches advice for a channel. Advice waits for more to join it, as any message does: one
//! certificate can concern many endpoints.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::message::monitor_notice::{self, MonitorNotice};
use crate::message::values::Locale;
use crate::model::{AdviceData, Block, Document, GivenAdvice, Notice, ShiftClock, Timestamp};

/// Advice that is queued for one channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AdviceBatch {
    entries: Vec<QueuedAdvice>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct QueuedAdvice {
    at: Timestamp,
    #[serde(rename = "data")]
    advice: GivenAdvice,
}

/// Returns the advice in a message.
pub fn advice_of(notice: &Notice) -> Vec<GivenAdvice> {
    let document = notice.document.as_ref();
    let data = document.map(|d| AdviceData::deserialize(&d.data));
    match data {
        Some(Ok(data)) => data.advice,
        _ => Vec::new(),
    }
}

/// Returns the message with this advice instead of its own.
pub fn with_advice(notice: &Notice, advice: Vec<GivenAdvice>, locale: &Locale) -> Notice {
    let (title, document) = content(advice, &notice.location, locale);
    Notice {
        title,
        document: Some(document),
        ..notice.clone()
    }
}

impl AdviceBatch {
    pub(super) fn add(&mut self, advice: GivenAdvice, at: Timestamp) {
        self.entries.push(QueuedAdvice { at, advice });
    }

    /// Reports whether the first entry has waited long enough.
    pub(super) fn is_due(&self, now: Timestamp, wait: Duration) -> bool {
        self.entries
            .first()
            .is_some_and(|first| now >= first.at + wait)
    }

    /// Returns the time of the first entry, the title and the document.
    pub(super) fn message(self, location: &str, locale: &Locale) -> (Timestamp, String, Document) {
        let at = self.entries.first().map_or(Timestamp(0), |first| first.at);
        let advice = self.entries.into_iter().map(|e| e.advice).collect();
        let (title, document) = content(advice, location, locale);
        (at, title, document)
    }
}

/// Returns the title and the document of a message with this advice.
fn content(advice: Vec<GivenAdvice>, location: &str, locale: &Locale) -> (String, Document) {
    let (title, block) = if let [only] = advice.as_slice() {
        let remedy = locale.say(only.kind.remedy());
        (only.text.clone(), Block::Text(remedy.to_owned()))
    } else {
        let notice = MonitorNotice::EarlyWarnings {
            count: advice.len(),
        };
        let entries = advice
            .iter()
            .map(|a| format!("{}. {}", a.text, locale.say(a.kind.remedy())))
            .collect();
        (
            monitor_notice::title(&notice, location, locale),
            Block::List(entries),
        )
    };
    let document = Document {
        blocks: vec![block],
        data: json!(AdviceData { advice }),
    };
    (title, document)
}

impl ShiftClock for AdviceBatch {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self { entries } = self;
        entries.shift_clock(by_ms);
    }
}

impl ShiftClock for QueuedAdvice {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self { at, advice } = self;
        at.shift_clock(by_ms);
        advice.shift_clock(by_ms);
    }
}
