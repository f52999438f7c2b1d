//! An observation with everything that is needed to judge it.

use std::collections::BTreeMap;

use super::events::EventSink;
use super::{DetectorEvent, FailureReason, LatencyReading, Observation, Policy, ProbeResult};
use crate::model::EndpointName;

/// One observation and the policies that apply.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a> {
    pub(super) policies: &'a BTreeMap<EndpointName, Policy>,
    /// The policy of its endpoint.
    pub(super) policy: &'a Policy,
    pub(super) seen: &'a Observation,
}

impl<'a> Judged<'a> {
    pub(super) fn start(self) -> i64 {
        self.seen.start.0
    }

    pub(super) fn end(self) -> i64 {
        self.seen.end.0
    }

    pub(super) fn failed(self) -> bool {
        self.failure().is_some()
    }

    pub(super) fn failure(self) -> Option<FailureReason> {
        match self.seen.result {
            ProbeResult::Failed { reason, .. } => Some(reason),
            _ => None,
        }
    }

    pub(super) fn reading(self) -> Option<LatencyReading> {
        match self.seen.result {
            ProbeResult::Good(reading) => reading,
            _ => None,
        }
    }

    pub(super) fn events<'s>(self, notes: &'s mut Vec<DetectorEvent>) -> EventSink<'s>
    where
        'a: 's,
    {
        EventSink {
            endpoint: &self.seen.endpoint,
            end: self.seen.end,
            notes,
        }
    }
}
