//! What has just happened, for listeners: the last events in a ring, and a channel for those to come.
//!
//! The pipeline never waits for a listener. One that does not keep up is disconnected with that reason and has to reconnect; with the id of
//! the last event that it saw it then gets what it missed, as far as the ring still holds it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::broadcast;

use super::Event;
use llmwatch_core::model::Timestamp;

/// Events that are kept for those who come again: some minutes of a large fleet.
const KEPT: usize = 2048;
/// A listener that was cut off comes again within this.
const COMES_AGAIN: Duration = Duration::from_mins(5);
/// Events that a listener may lag behind.
const LAG: usize = 4096;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// Stable and unique: `EPOCH-NUMBER`, where the epoch is the start of this daemon.
    pub id: String,
    /// The name of the log event, for instance `status.changed`.
    pub name: &'static str,
    /// The fields of the log event and its `message`, as JSON on one line.
    pub data: String,
}

/// The sending end and the ring. Clones share them.
#[derive(Debug, Clone)]
pub struct Broadcast(Arc<SharedRing>);

#[derive(Debug)]
struct SharedRing {
    epoch: i64,
    ring: Mutex<Ring>,
    sender: broadcast::Sender<Arc<Happening>>,
    /// When there was a listener last.
    listened_at: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The number of the next event.
    next: u64,
    kept: VecDeque<Arc<Happening>>,
}

/// What a listener gets.
#[derive(Debug)]
pub struct Listening {
    /// Whether events between the last one seen and the first one here are lost.
    pub gap: bool,
    /// What was missed, oldest first.
    pub missed: Vec<Arc<Happening>>,
    /// What is to come.
    pub coming: broadcast::Receiver<Arc<Happening>>,
}

impl Broadcast {
    /// For a daemon that began at `started_at`.
    pub fn new(started_at: Timestamp) -> Self {
        Self(Arc::new(SharedRing {
            epoch: started_at.0,
            ring: Mutex::default(),
            sender: broadcast::channel(LAG).0,
            listened_at: Mutex::default(),
        }))
    }

    /// Whether events of this kind are public.
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

    /// Sends it to every listener, and keeps it for those that reconnect.
    pub fn publish(&self, event: Event, message: &str, fields: &Value) {
        let mut data = fields.clone();
        if let Value::Object(map) = &mut data {
            map.insert("message".to_owned(), message.into());
        }
        // Compact JSON has no line breaks: one `data:` line holds it.
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
        // Under the lock, so that nobody misses one or gets it twice. That nobody listens is no error.
        let _ = self.0.sender.send(happening);
    }

    /// Whether somebody listens, or did a short while ago and may come again.
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

    /// Leaves out `events` that nobody listened to; a listener that reconnects after that has a gap.
    pub fn skip(&self, events: u64) {
        if events > 0 {
            let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.next += events;
            ring.kept.clear();
        }
    }

    /// Begins to listen, after the event `last_seen` if there is one.
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
        // An id of another daemon's life says nothing about this one's events: all of them are new to the listener.
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
