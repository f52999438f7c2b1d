//! Builds the detector events.

use super::verdict::{
    Blip, Cleared, DetectedCause, DetectorEvent, DetectorEventKind, Shared, Typical,
};
use crate::model::Timestamp;

/// The figures of a detector event.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NoteFigures {
    pub(super) k: u32,
    pub(super) n: u32,
    pub(super) since: i64,
    pub(super) typical: Typical,
    pub(super) shared: Option<Shared>,
    pub(super) was_slow: bool,
    pub(super) ended: Option<i64>,
    pub(super) new_normal: bool,
    pub(super) first_token_ms: Option<f64>,
}

/// A period in which a meter was above zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Episode {
    pub(super) since: i64,
    /// The end of the last bad probe.
    pub(super) until: i64,
    pub(super) k: u32,
    pub(super) n: u32,
}

impl Episode {
    pub(super) fn blip(self, endpoint: &str, cause: DetectedCause, cleared: Cleared) -> Blip {
        Blip {
            endpoint: endpoint.into(),
            cause,
            started_at: Timestamp(self.since),
            ended_at: Timestamp(self.until),
            k: self.k,
            n: self.n,
            cleared,
        }
    }
}

pub(super) struct EventSink<'a> {
    pub(super) endpoint: &'a str,
    pub(super) end: Timestamp,
    pub(super) notes: &'a mut Vec<DetectorEvent>,
}

impl EventSink<'_> {
    pub(super) fn plain(&mut self, event: DetectorEventKind) {
        self.push(
            event,
            DetectedCause::None,
            NoteFigures {
                since: self.end.0,
                ..NoteFigures::default()
            },
        );
    }

    pub(super) fn push(
        &mut self,
        event: DetectorEventKind,
        cause: DetectedCause,
        figures: NoteFigures,
    ) {
        self.notes.push(DetectorEvent {
            at: self.end,
            endpoint: self.endpoint.into(),
            event,
            cause,
            k: figures.k,
            n: figures.n,
            started_at: Timestamp(figures.since),
            typical_failure_rate: figures.typical.failure_rate,
            typical_first_token_ms: figures.typical.first_token_ms,
            first_token_ms: figures.first_token_ms,
            shared: figures.shared,
            was_slow: figures.was_slow,
            ended_at: figures.ended.map(Timestamp),
            new_normal: figures.new_normal,
        });
    }
}
