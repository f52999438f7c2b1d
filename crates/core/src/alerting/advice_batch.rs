//! Batches advice for a channel. Advice waits for more to join it, as any message does: one
//! certificate can concern many endpoints.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::message::monitor_notice::{self, MonitorNotice};
use crate::message::values::Locale;
use crate::model::Announcement;
use crate::model::{AdviceKind, Block, Document, Notice, ShiftClock, Timestamp};

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

/// The endpoint and the kind of each advice in a message.
pub fn advice_in(notice: &Notice) -> Vec<(String, String)> {
    let entries = entries_of(notice, &Locale::default());
    entries.iter().map(AdviceEntry::about).collect()
}

/// The message with only the advice for which `is_kept` holds, by endpoint and kind; `None` when none is left.
pub fn keep_advice(
    notice: &Notice,
    is_kept: impl Fn(&str, &str) -> bool,
    locale: &Locale,
) -> Option<Notice> {
    let entries = entries_of(notice, locale);
    let all = entries.len();
    let kept = AdviceBatch {
        entries: entries
            .into_iter()
            .filter(|entry| {
                let (endpoint, kind) = entry.about();
                is_kept(&endpoint, &kind)
            })
            .collect(),
    };
    if kept.entries.len() == all {
        return Some(notice.clone());
    }
    if kept.entries.is_empty() {
        return None;
    }
    let (_, title, document) = kept.message(&notice.location, locale);
    Some(Notice {
        title,
        document: Some(document),
        ..notice.clone()
    })
}

fn entries_of(notice: &Notice, locale: &Locale) -> Vec<AdviceEntry> {
    let document = notice.document.as_ref();
    let advice = document.and_then(|d| d.data["advice"].as_array());
    let entry = |data: &Value| {
        let kind = AdviceKind::deserialize(&data["kind"]).ok()?;
        Some(AdviceEntry {
            at: notice.decided_at,
            title: data["text"].as_str()?.to_owned(),
            todo: locale.say(kind.remedy()).to_owned(),
            data: data.clone(),
        })
    };
    advice.into_iter().flatten().filter_map(entry).collect()
}

impl AdviceEntry {
    /// The endpoint and the kind.
    fn about(&self) -> (String, String) {
        let text = |key: &str| self.data[key].as_str().unwrap_or_default().to_owned();
        (text("endpoint"), text("kind"))
    }
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
