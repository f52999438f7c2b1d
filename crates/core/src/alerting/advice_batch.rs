//! Batches advice for a channel. Advice waits for more to join it, as any message does: one
//! certificate can concern many endpoints.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::message::monitor_notice::{self, MonitorNotice};
use crate::message::values::Locale;
use crate::model::Announcement;
use crate::model::{Block, Document, ShiftClock, Timestamp};

/// Advice that is queued for one channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AdviceBatch {
    entries: Vec<AdviceEntry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct AdviceEntry {
    at: Timestamp,
    title: String,
    todo: String,
    data: Value,
}

impl AdviceBatch {
    pub(super) fn add(&mut self, announcement: &Announcement) {
        let Some(Document { blocks, data }) = &announcement.document else {
            return;
        };
        let texts = blocks.iter().filter_map(|b| {
            if let Block::Text(text) = b {
                Some(text.as_str())
            } else {
                None
            }
        });
        let todo = texts.collect::<Vec<_>>().join(" ");
        self.entries.push(AdviceEntry {
            at: announcement.at,
            title: announcement.title.clone(),
            todo,
            data: data.clone(),
        });
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
        let data = json!({"advice": self.entries.iter().map(|e| &e.data).collect::<Vec<_>>()});
        let n = self.entries.len();
        if let [AdviceEntry { title, todo, .. }] = self.entries.as_slice() {
            return (
                at,
                title.clone(),
                Document {
                    blocks: vec![Block::Text(todo.clone())],
                    data,
                },
            );
        }
        let notice = MonitorNotice::EarlyWarnings { count: n };
        let title = monitor_notice::title(&notice, location, locale);
        let entries = self
            .entries
            .iter()
            .map(|e| format!("{}. {}", e.title, e.todo))
            .collect();
        (
            at,
            title,
            Document {
                blocks: vec![Block::List(entries)],
                data,
            },
        )
    }
}

impl ShiftClock for AdviceBatch {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self { entries } = self;
        entries.shift_clock(by_ms);
    }
}

impl ShiftClock for AdviceEntry {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            at,
            title: _,
            todo: _,
            data,
        } = self;
        at.shift_clock(by_ms);
        if let Some(Value::String(since)) = data.get_mut("since")
            && let Ok(mut moment) = Timestamp::parse(since)
        {
            moment.shift_clock(by_ms);
            *since = moment.to_string();
        }
    }
}
