//! The effects of a sample, a reload, a vendor's status page or a clock change: typed values that
//! the shell turns into rows, log records and messages.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::detect::{Blip, Pending};
use crate::incident::Change;
use crate::incident::vendor_status::FeedDiff;
use crate::message;
use crate::message::values::Locale;
use crate::model::Announcement;
use crate::model::{
    Advice, AttributionRevision, EndpointName, Fault, Incident, Official, Provider, Sample, Status,
    Timestamp,
};

/// One effect for the shell to carry out.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Store this record.
    Record(Record),
    /// An incident changed at this time: a row, a log record and a reason to notify.
    Incident(Change, Box<Incident>, Timestamp),
    /// Log this without notifying anyone.
    Log(Fact),
    /// Notify about the monitor itself, a vendor or an early warning.
    Announce(Box<Announcement>),
    /// Recheck this endpoint at this time.
    Recheck {
        /// The endpoint's name.
        endpoint: EndpointName,
        /// When to probe it.
        at: Timestamp,
    },
    /// Pause all probing until then: the day's budget is used up. A time that has come ends the
    /// pause.
    PauseProbing {
        /// The end of the pause.
        until: Timestamp,
    },
    /// Pause this endpoint until then: its own budget is used up.
    PauseEndpoint {
        /// The endpoint's name.
        endpoint: EndpointName,
        /// The end of the pause.
        until: Timestamp,
    },
}

/// A record to store.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A completed sample.
    Sample(Box<Sample>),
    /// The state as a checkpoint.
    Checkpoint(String),
    /// The official status of a recorded incident.
    VendorStatus(Uuid, Box<Official>),
    /// Stored samples whose attribution later samples revised.
    Revision(AttributionRevision),
    /// The clock would have read `from` and was set to `to`.
    ClockSet {
        /// The time without the change.
        from: Timestamp,
        /// The time after the change.
        to: Timestamp,
    },
}

/// An event for the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// An endpoint's status changed.
    StatusChanged {
        /// The endpoint's name.
        endpoint: EndpointName,
        /// Its provider.
        provider: Provider,
        /// The previous status.
        was: Status,
        /// The new status.
        now: Status,
    },
    /// Probes were bad, and there is not enough evidence for an alert yet.
    DetectionPending {
        /// The endpoint's name.
        endpoint: EndpointName,
        /// Its provider.
        provider: Provider,
        /// The counts so far, and when an alert may come.
        pending: Pending,
        /// The fault of the last probe.
        fault: Option<Fault>,
    },
    /// A pending alert cleared without firing.
    DetectionCleared {
        /// The endpoint's provider.
        provider: Provider,
        /// The failures that cleared.
        blip: Blip,
        /// The faults of the failed probes.
        faults: BTreeMap<Fault, u32>,
    },
    /// An early warning.
    Advice {
        /// The endpoint's provider.
        provider: Provider,
        /// The warning.
        advice: Advice,
    },
    /// Earlier failures turned out to be the fault of someone else.
    AttributionRevised {
        /// The endpoint's provider.
        provider: Provider,
        /// The samples and the attributions.
        revision: AttributionRevision,
    },
    /// The day's budget is used up.
    BudgetExhausted {
        /// Cost of probing since midnight, in USD.
        usd: f64,
        /// Tokens used since midnight.
        tokens: u64,
        /// The end of the pause.
        until: Timestamp,
    },
    /// An endpoint is paused: its provider reports more usage than the bytes sent and received
    /// allow.
    EndpointPaused {
        /// The endpoint's name.
        endpoint: EndpointName,
        /// Reported cost today beyond what is expected, in USD.
        usd: f64,
        /// Reported tokens today beyond what is expected.
        tokens: u64,
        /// The end of the pause.
        until: Timestamp,
    },
    /// This machine went offline.
    Offline {
        /// The endpoint whose probe showed it.
        endpoint: EndpointName,
        /// The fault of that probe.
        fault: Option<Fault>,
        /// The start of that probe.
        since: Timestamp,
        /// Whether only name resolution fails, which may be the resolver alone.
        dns_only: bool,
    },
    /// This machine is online again.
    Online {
        /// When it went offline.
        since: Timestamp,
        /// How long it was offline, in seconds.
        duration_s: f64,
        /// Number of probes that could not measure anything.
        missed_probes: u32,
    },
    /// This machine's clock was changed.
    ClockSet {
        /// The time without the change.
        from: Timestamp,
        /// The time after the change.
        to: Timestamp,
    },
    /// A vendor's status page changed.
    VendorStatus {
        /// The vendor.
        provider: Provider,
        /// The vendor's display name.
        vendor: String,
        /// The changes.
        diff: FeedDiff,
    },
    /// The record of a resolved incident was completed.
    IncidentCompleted(Box<Incident>),
}

/// The effects of one step, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects(Vec<Effect>);

impl Effects {
    /// Adds an effect.
    pub fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    /// Returns the effects in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Effect> {
        self.0.iter()
    }

    /// Keeps what remains to be recorded while the store is ahead of the state: no sample, because
    /// it is stored already, and no checkpoint, which would count later samples as folded.
    #[must_use]
    pub fn behind_store(mut self) -> Self {
        self.0.retain(|effect| {
            !matches!(
                effect,
                Effect::Record(Record::Sample(_) | Record::Checkpoint(_))
            )
        });
        self
    }

    /// The incidents that changed, how, and when.
    pub fn incidents(&self) -> impl Iterator<Item = (Change, &Incident, Timestamp)> {
        self.iter().filter_map(|effect| match effect {
            Effect::Incident(change, incident, at) => Some((*change, incident.as_ref(), *at)),
            _ => None,
        })
    }

    /// Returns the announcements.
    pub fn announcements(&self) -> impl Iterator<Item = &Announcement> {
        self.iter().filter_map(|effect| match effect {
            Effect::Announce(announcement) => Some(announcement.as_ref()),
            _ => None,
        })
    }

    /// The endpoints to probe again, and when.
    pub fn rechecks(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.iter().filter_map(|effect| match effect {
            Effect::Recheck { endpoint, at } => Some((endpoint.as_str(), *at)),
            _ => None,
        })
    }

    /// Returns the official statuses to record, with the ids of their incidents.
    pub fn vendor_statuses(&self) -> impl Iterator<Item = (Uuid, &Official)> {
        self.iter().filter_map(|effect| match effect {
            Effect::Record(Record::VendorStatus(id, official)) => Some((*id, official.as_ref())),
            _ => None,
        })
    }

    /// Returns the revisions of stored samples.
    pub fn revisions(&self) -> impl Iterator<Item = &AttributionRevision> {
        self.iter().filter_map(|effect| match effect {
            Effect::Record(Record::Revision(revision)) => Some(revision),
            _ => None,
        })
    }

    /// The recorded sample.
    pub fn sample(&self) -> Option<&Sample> {
        self.iter().find_map(|effect| match effect {
            Effect::Record(Record::Sample(sample)) => Some(sample.as_ref()),
            _ => None,
        })
    }

    /// Returns the times before and after a clock change.
    pub fn clock_set(&self) -> Option<(Timestamp, Timestamp)> {
        self.iter().find_map(|effect| match effect {
            Effect::Record(Record::ClockSet { from, to }) => Some((*from, *to)),
            _ => None,
        })
    }

    /// Returns the end of the probing pause.
    pub fn pause_until(&self) -> Option<Timestamp> {
        self.iter().find_map(|effect| match effect {
            Effect::PauseProbing { until } => Some(*until),
            _ => None,
        })
    }

    /// The endpoints that pause, and until when.
    pub fn pauses(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.iter().filter_map(|effect| match effect {
            Effect::PauseEndpoint { endpoint, until } => Some((endpoint.as_str(), *until)),
            _ => None,
        })
    }

    /// Reports whether this is a sample that only adds records and rechecks.
    pub fn is_ordinary(&self) -> bool {
        self.sample().is_some()
            && self
                .iter()
                .all(|effect| matches!(effect, Effect::Record(_) | Effect::Recheck { .. }))
    }

    /// Adds incident changes at `at`, as seen from `location`, with texts for the readers of
    /// `locale`.
    pub fn incidents_changed(
        &mut self,
        changes: Vec<(Change, Incident)>,
        at: Timestamp,
        location: &str,
        locale: &Locale,
    ) {
        for (change, mut incident) in changes {
            incident.place(location);
            message::incident::narrate(&mut incident, locale);
            self.push(Effect::Incident(change, Box::new(incident), at));
        }
    }

    pub(super) fn log(&mut self, fact: Fact) {
        self.push(Effect::Log(fact));
    }

    pub(super) fn announce(&mut self, announcement: Announcement) {
        self.push(Effect::Announce(Box::new(announcement)));
    }

    pub(super) fn record(&mut self, record: Record) {
        self.push(Effect::Record(record));
    }

    pub(super) fn recheck(&mut self, all: Vec<(EndpointName, Timestamp)>) {
        for (endpoint, at) in all {
            self.push(Effect::Recheck { endpoint, at });
        }
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = std::vec::IntoIter<Effect>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Effects {
    type Item = &'a Effect;
    type IntoIter = std::slice::Iter<'a, Effect>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
