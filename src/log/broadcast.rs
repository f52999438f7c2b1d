//! Recent events for listeners: a ring of past events, and a channel for new ones.
//!
//! The pipeline never waits for a listener. A listener that does not keep up is disconnected with
//! that reason and has to reconnect. If it sends the id of the last event that it saw, it receives
//! those it missed that are still in the ring.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::broadcast;

use super::Event;
use llmwatch_core::model::Timestamp;

/// The size of the ring for reconnecting listeners: some minutes of events from a large fleet.
const KEPT: usize = 2048;
/// A disconnected listener is expected to reconnect within this time.
const COMES_AGAIN: Duration = Duration::from_mins(5);
/// The number of events by which a listener may lag.
const LAG: usize = 4096;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// Stable and unique: `EPOCH-NUMBER`, where the epoch is the start time of this daemon.
    pub id: String,
    /// The name of the log event, for instance `status.changed`.
    pub name: &'static str,
    /// The fields of the log event and its `message`, as JSON in one line.
    pub data: String,
}

/// The sender and the ring. Clones share them.
#[derive(Debug, Clone)]
pub struct Broadcast(Arc<SharedRing>);

#[derive(Debug)]
struct SharedRing {
    epoch: i64,
    ring: Mutex<Ring>,
    sender: broadcast::Sender<Arc<Happening>>,
    /// The last time that there was a listener.
    listened_at: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The number of the next event.
    next: u64,
    kept: VecDeque<Arc<Happening>>,
}

/// A listener's subscription.
#[derive(Debug)]
pub struct Listening {
    /// Whether events between the last one seen and the first one here were lost.
    pub gap: bool,
    /// The missed events, oldest first.
    pub missed: Vec<Arc<Happening>>,
    /// New events.
    pub coming: broadcast::Receiver<Arc<Happening>>,
}

impl Broadcast {
    /// Creates the broadcast of a daemon that started at `started_at`.
    pub fn new(started_at: Timestamp) -> Self {
        Self(Arc::new(SharedRing {
            epoch: started_at.0,
            ring: Mutex::default(),
            sender: broadcast::channel(LAG).0,
            listened_at: Mutex::default(),
        }))
    }

    /// Reports whether events of this kind are public.
    pub fn carries(event: Event) -> bool {
        matches!(
            event,
            Event::ProbeCompleted
                | Event::StatusChanged
                | Event::IncidentOpened
                | Event::IncidentUpdated
                | Event::IncidentEscalated
                | Event::IncidentResolved
                | Event::FeedChanged
                | Event::BudgetSpent
                | Event::MonitorOffline
                | Event::MonitorOnline
        )
    }

    /// Sends an event to every listener, and keeps it for those that reconnect.
    pub fn publish(&self, event: Event, message: &str, fields: &Value) {
        let mut data = fields.clone();
        if let Value::Object(map) = &mut data {
            map.insert("message".to_owned(), message.into());
        }
        // Compact JSON has no line breaks, so it fits into one `data:` line.
        let data = data.to_string();
        let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let id = format!("{}-{}", self.0.epoch, ring.next);
        ring.next += 1;
        let happening = Arc::new(Happening {
            id,
            name: event.as_str(),
            data,
        });
        if ring.kept.len() == KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(happening.clone());
        // Under the lock, so that no listener misses an event or gets it twice. An error only means
        // that there is no listener.
        let _ = self.0.sender.send(happening);
    }

    /// Reports whether there is a listener, or was one recently that may reconnect.
    pub fn has_listeners(&self) -> bool {
        let mut listened_at = self
            .0
            .listened_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.0.sender.receiver_count() > 0 {
            *listened_at = Some(Instant::now());
        }
        listened_at.is_some_and(|at| at.elapsed() < COMES_AGAIN)
    }

    /// Skips `events` that had no listener. A listener that reconnects later has a gap.
    pub fn skip(&self, events: u64) {
        if events > 0 {
            let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.next += events;
            ring.kept.clear();
        }
    }

    /// Subscribes to events, starting after the event `last_seen` if it is given.
    pub fn listen(&self, last_seen: Option<&str>) -> Listening {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let coming = self.0.sender.subscribe();
        let Some(seen) = last_seen else {
            return Listening {
                gap: false,
                missed: Vec::new(),
                coming,
            };
        };
        let oldest = ring.next - ring.kept.len() as u64;
        let number = seen.split_once('-').and_then(|(epoch, number)| {
            (epoch == self.0.epoch.to_string())
                .then(|| number.parse::<u64>().ok())
                .flatten()
        });
        // The id is from an earlier run of the daemon: all events of this run are new to the
        // listener.
        let from = number.map_or(oldest, |n| n.saturating_add(1));
        let missed = ring
            .kept
            .iter()
            .skip(usize::try_from(from.saturating_sub(oldest)).unwrap_or(usize::MAX));
        Listening {
            gap: number.is_none() || from < oldest,
            missed: missed.cloned().collect(),
            coming,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn broadcast_of(n: usize) -> Broadcast {
        let broadcast = Broadcast::new(Timestamp(7));
        for n in 0..n {
            broadcast.publish(Event::StatusChanged, "it changed", &json!({"n": n}));
        }
        broadcast
    }

    fn ids(listening: &Listening) -> Vec<&str> {
        listening.missed.iter().map(|h| h.id.as_str()).collect()
    }

    #[test]
    fn who_comes_again_gets_what_was_missed_and_nothing_twice() {
        let broadcast = broadcast_of(5);
        let mut listening = broadcast.listen(Some("7-2"));
        assert_eq!(
            (ids(&listening), listening.gap),
            (vec!["7-3", "7-4"], false)
        );
        broadcast.publish(Event::StatusChanged, "it changed", &json!({"n": 5}));
        let next = listening.coming.try_recv().unwrap();
        assert_eq!(
            (next.id.as_str(), next.data.as_str()),
            ("7-5", r#"{"n":5,"message":"it changed"}"#)
        );
        assert!(listening.coming.try_recv().is_err());
    }

    #[test]
    fn who_comes_for_the_first_time_gets_only_what_is_new() {
        assert!(broadcast_of(5).listen(None).missed.is_empty());
    }

    #[test]
    fn what_fell_out_of_the_ring_is_a_gap_and_so_is_another_life() {
        let broadcast = broadcast_of(KEPT + 10);
        let late = broadcast.listen(Some("7-3"));
        assert_eq!((late.missed.len(), late.gap), (KEPT, true));
        let elsewhere = broadcast.listen(Some("6-2050"));
        assert_eq!((elsewhere.missed.len(), elsewhere.gap), (KEPT, true));
        let nonsense = broadcast.listen(Some("what?"));
        assert!(nonsense.gap);
        let future = broadcast.listen(Some("7-99999999999999999999"));
        assert!(future.gap);
        let last = broadcast.listen(Some(&format!("7-{}", KEPT + 9)));
        assert_eq!((last.missed.len(), last.gap), (0, false));
    }

    #[test]
    fn a_slow_listener_is_dropped_and_never_waited_for() {
        let broadcast = broadcast_of(0);
        let mut listening = broadcast.listen(None);
        for n in 0..=LAG {
            broadcast.publish(Event::ProbeCompleted, "it ran", &json!({"n": n}));
        }
        assert!(matches!(
            listening.coming.try_recv(),
            Err(broadcast::error::TryRecvError::Lagged(1))
        ));
    }
}
