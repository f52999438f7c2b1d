//! A message that is about no incident: about the monitor itself, an early warning, a report.

use super::{Advice, Block, ChannelName, Condition, Document, NoticeKind, Timestamp};

/// A message that is about no incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// What kind.
    pub kind: NoticeKind,
    /// One line.
    pub title: String,
    /// When it was decided.
    pub at: Timestamp,
    /// The rest, if one line does not say it all.
    pub document: Option<Document>,
    /// Only to these channels; `None` for all that want this type.
    pub only: Option<Vec<ChannelName>>,
    /// Not to this channel.
    pub except: Option<ChannelName>,
    /// What it begins or ends.
    pub condition: Option<Condition>,
}

impl Announcement {
    /// One line, for every channel that wants this type.
    pub fn new(kind: NoticeKind, title: String, at: Timestamp) -> Self {
        let condition = match kind {
            NoticeKind::Offline => Some(("offline", false)),
            NoticeKind::Online => Some(("offline", true)),
            NoticeKind::Budget => Some(("budget", false)),
            NoticeKind::Store => Some(("store", false)),
            _ => None,
        };
        let condition = condition.map(|(key, over)| Condition {
            key: key.to_owned(),
            over,
        });
        Self {
            kind,
            title,
            at,
            document: None,
            only: None,
            except: None,
            condition,
        }
    }

    /// The end of what it begins otherwise.
    #[must_use]
    pub fn over(self) -> Self {
        let condition = self.condition.map(|condition| Condition {
            over: true,
            ..condition
        });
        Self { condition, ..self }
    }

    /// A word before something fails, to the channels that want it. `remedy` says what to do, in the readers' language.
    pub fn advice(
        advice: &Advice,
        remedy: &str,
        channels: Vec<ChannelName>,
        at: Timestamp,
    ) -> Self {
        let data = serde_json::json!({
            "endpoint": advice.endpoint, "kind": advice.kind, "text": advice.text, "since": advice.since,
        });
        let document = Document {
            blocks: vec![Block::Text(remedy.to_owned())],
            data,
        };
        let said = Self::new(NoticeKind::Advice, advice.text.clone(), at);
        Self {
            document: Some(document),
            only: Some(channels),
            ..said
        }
    }
}
