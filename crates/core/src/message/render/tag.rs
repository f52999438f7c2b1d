//! The kind of a message: the bracketed label of its subject, and its color.

use crate::message::severity::Severity;
use crate::model::{DigestData, Notice, NoticeKind};

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::message) enum Tag {
    Incident(Severity),
    Update(Severity),
    Resolved,
    /// The incident was resolved before the message could be sent.
    Over(Severity),
    Monitor,
    Advice,
    Report,
    Official,
    Test,
    Drill,
}

impl Tag {
    pub(in crate::message) fn of(notice: &Notice) -> Self {
        let Some(incident) = &notice.incident else {
            return match notice.kind {
                NoticeKind::Drill => Self::Drill,
                _ if notice.condition.as_ref().is_some_and(|c| c.over) => Self::Resolved,
                NoticeKind::Test => Self::Test,
                NoticeKind::Advice => Self::Advice,
                NoticeKind::Report => Self::Report,
                NoticeKind::Official => Self::Official,
                NoticeKind::Digest => most_severe(notice).map_or(Self::Resolved, Self::Incident),
                _ => Self::Monitor,
            };
        };
        let severity = Severity::of(incident);
        match notice.kind {
            NoticeKind::Resolved => Self::Resolved,
            _ if notice.already_over => Self::Over(severity),
            NoticeKind::Updated => Self::Update(severity),
            _ => Self::Incident(severity),
        }
    }

    /// Returns one or two words in capitals.
    pub(in crate::message) fn label(self) -> &'static str {
        match self {
            Self::Incident(severity) => severity.tag(),
            Self::Update(_) => "UPDATE",
            Self::Resolved | Self::Over(_) => "RESOLVED",
            Self::Monitor => "MONITOR",
            Self::Advice => "ADVICE",
            Self::Report => "REPORT",
            Self::Official => "OFFICIAL",
            Self::Test => "TEST",
            Self::Drill => "DRILL",
        }
    }

    /// Returns `#rrggbb`, with a contrast of at least 4.5:1 on white.
    pub(in crate::message) fn color(self) -> &'static str {
        match self {
            Self::Incident(Severity::Outage) | Self::Update(Severity::Outage) => "#c62828",
            Self::Incident(_) | Self::Update(_) | Self::Monitor => "#8f5a00",
            Self::Resolved | Self::Over(_) => "#1b7a42",
            Self::Advice | Self::Report | Self::Official | Self::Test | Self::Drill => "#2a5db0",
        }
    }

    /// Returns `#rrggbb`, with a contrast of at least 4.5:1 on the dark background of
    /// `templates/mail/body.html`.
    pub(super) fn dark_color(self) -> &'static str {
        match self {
            Self::Incident(Severity::Outage) | Self::Update(Severity::Outage) => "#ff7b72",
            Self::Incident(_) | Self::Update(_) | Self::Monitor => "#e3a23b",
            Self::Resolved | Self::Over(_) => "#4cc38a",
            Self::Advice | Self::Report | Self::Official | Self::Test | Self::Drill => "#8ab4ff",
        }
    }
}

/// Returns the highest severity among a digest's open incidents; `None` if all are resolved.
fn most_severe(notice: &Notice) -> Option<Severity> {
    let data = &notice.document.as_ref()?.data;
    let digest: DigestData = serde_json::from_value(data.clone()).ok()?;
    digest
        .incidents
        .iter()
        .filter(|incident| incident.resolved_at.is_none())
        .map(|incident| Severity::new(incident.attribution, incident.status))
        .max()
}
