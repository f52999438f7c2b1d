//! A message that is not about an incident: about the monitor itself, an early warning, a report.

use super::{Advice, ChannelName, Condition, Document, GivenAdvice, NoticeKind, Timestamp};

/// A message that is not about an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// Its kind.
    pub kind: NoticeKind,
    /// The text in one line.
    pub title: String,
    /// When it was decided.
    pub at: Timestamp,
    /// The rest of the text, if there is more than one line.
    pub document: Option<Document>,
    /// Only these channels; `None` for all that want this kind.
    pub only: Option<Vec<ChannelName>>,
    /// A channel that does not get it.
    pub except: Option<ChannelName>,
    /// The condition that begins or ends with it.
    pub condition: Option<Condition>,
    /// The early warning, if it is one.
    pub advice: Option<GivenAdvice>,
}

impl Announcement {
    /// Creates an announcement of one line for every channel that wants this kind.
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
            advice: None,
        }
    }

    /// Returns it as the end of its condition instead of the beginning.
    #[must_use]
    pub fn over(self) -> Self {
        let condition = self.condition.map(|condition| Condition {
            over: true,
            ..condition
        });
        Self { condition, ..self }
    }

    /// Creates an early warning for these channels. It waits for others, to be sent together.
    pub fn advice(advice: &Advice, channels: Vec<ChannelName>, at: Timestamp) -> Self {
        Self {
            only: Some(channels),
            advice: Some(advice.into()),
            ..Self::new(NoticeKind::Advice, advice.text.clone(), at)
        }
    }
}
