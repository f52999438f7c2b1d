//! A compact in-memory queue of commits for while the store is not writable.

use std::collections::VecDeque;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::store::{Commit, IncidentRow};
use llmwatch_core::model::{Outgoing, Sample};

/// The most samples that may wait: more than a day at one probe a second, eight minutes at 200.
/// They take about 20 MB.
const LIMIT: usize = 100_000;
/// How many consecutive ordinary samples are packed together.
const PACK: usize = 256;

/// Commits in order, oldest first. Long runs of ordinary samples are packed.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    entries: VecDeque<Entry>,
}

/// Commits that are written in one transaction.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) commits: Vec<Commit>,
    /// The packed form, if they were packed.
    packed: Option<Packed>,
}

#[derive(Debug)]
enum Entry {
    Commit(Box<Commit>),
    Packed(Packed),
}

/// Ordinary samples, as compressed JSON lines.
#[derive(Debug)]
struct Packed {
    count: usize,
    lines: Vec<u8>,
}

impl Packed {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Self {
        let mut count = 0;
        let mut lines = DeflateEncoder::new(Vec::new(), Compression::fast());
        for sample in samples {
            count += 1;
            // Writing plain data to memory cannot fail.
            let _ = serde_json::to_writer(&mut lines, sample);
            let _ = lines.write_all(b"\n");
        }
        let mut lines = lines.finish().unwrap_or_default();
        lines.shrink_to_fit();
        Self { count, lines }
    }

    fn unpack(&self) -> Vec<Commit> {
        let mut lines = Vec::new();
        // This process packed it, so unpacking cannot fail.
        let _ = DeflateDecoder::new(&self.lines[..]).read_to_end(&mut lines);
        serde_json::Deserializer::from_slice(&lines)
            .into_iter::<Sample>()
            .map_while(Result::ok)
            .map(|sample| Commit {
                sample: Some(sample),
                ..Commit::default()
            })
            .collect()
    }
}

impl Waiting {
    pub(super) fn push(&mut self, commit: Commit) {
        self.entries.push_back(Entry::Commit(Box::new(commit)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reports whether any sample waits.
    pub(super) fn has_sample(&self) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Commit(commit) => commit.sample.is_some(),
            Entry::Packed(_) => true,
        })
    }

    /// Returns the number of waiting commits.
    pub(super) fn len(&self) -> usize {
        self.entries
            .iter()
            .map(|entry| match entry {
                Entry::Commit(_) => 1,
                Entry::Packed(packed) => packed.count,
            })
            .sum()
    }

    /// Removes and returns the next batch to write.
    pub(super) fn take(&mut self) -> Option<Batch> {
        if let Some(Entry::Packed(_)) = self.entries.front() {
            let Some(Entry::Packed(packed)) = self.entries.pop_front() else {
                return None;
            };
            return Some(Batch {
                commits: packed.unpack(),
                packed: Some(packed),
            });
        }
        let mut commits = Vec::new();
        while let Some(Entry::Commit(_)) = self.entries.front() {
            if let Some(Entry::Commit(commit)) = self.entries.pop_front() {
                commits.push(*commit);
            }
        }
        (!commits.is_empty()).then_some(Batch {
            commits,
            packed: None,
        })
    }

    /// Puts back a batch that could not be written. Returns how many samples were dropped to stay
    /// within the limit.
    pub(super) fn put_back(&mut self, batch: Batch) -> usize {
        self.put_back_within(batch, LIMIT)
    }

    fn put_back_within(&mut self, batch: Batch, limit: usize) -> usize {
        match batch.packed {
            Some(packed) => self.entries.push_front(Entry::Packed(packed)),
            None => {
                for commit in batch.commits.into_iter().rev() {
                    self.entries.push_front(Entry::Commit(Box::new(commit)));
                }
            }
        }
        self.drop_replaced();
        self.pack();
        self.drop_excess(limit)
    }

    /// Returns the waiting notifications, in order.
    pub(super) fn outgoing(&self) -> impl Iterator<Item = &Outgoing> {
        self.commits().flat_map(|commit| &commit.outgoing)
    }

    /// Returns the waiting incident rows; the last row of an incident is the valid one.
    pub(super) fn incidents(&self) -> impl Iterator<Item = &IncidentRow> {
        self.commits().flat_map(|commit| &commit.incidents)
    }

    /// Returns the latest waiting alerting state.
    pub(super) fn notification_state(&self) -> Option<&String> {
        self.commits()
            .filter_map(|commit| commit.notification_state.as_ref())
            .last()
    }

    fn commits(&self) -> impl Iterator<Item = &Commit> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Commit(commit) => Some(commit.as_ref()),
            Entry::Packed(_) => None,
        })
    }

    /// Drops checkpoints and alerting states that later ones replace.
    fn drop_replaced(&mut self) {
        let mut has_checkpoint = false;
        let mut has_notification_state = false;
        for entry in self.entries.iter_mut().rev() {
            if let Entry::Commit(commit) = entry {
                let checkpoint = commit.checkpoint.is_some();
                let notification_state = commit.notification_state.is_some();
                if has_checkpoint {
                    commit.checkpoint = None;
                }
                if has_notification_state {
                    commit.notification_state = None;
                }
                has_checkpoint |= checkpoint;
                has_notification_state |= notification_state;
            }
        }
        let is_empty = |entry: &Entry| matches!(entry, Entry::Commit(commit) if commit.is_empty());
        self.entries.retain(|entry| !is_empty(entry));
    }

    /// Packs long runs of ordinary samples.
    fn pack(&mut self) {
        let mut packed = VecDeque::with_capacity(self.entries.len());
        let mut row: Vec<Box<Commit>> = Vec::new();
        for entry in self.entries.drain(..) {
            match entry {
                Entry::Commit(commit) if commit.is_ordinary() => {
                    row.push(commit);
                    if row.len() == PACK {
                        let samples = row.iter().filter_map(|commit| commit.sample.as_ref());
                        packed.push_back(Entry::Packed(Packed::of(samples)));
                        row.clear();
                    }
                }
                entry => {
                    packed.extend(row.drain(..).map(Entry::Commit));
                    packed.push_back(entry);
                }
            }
        }
        packed.extend(row.into_iter().map(Entry::Commit));
        self.entries = packed;
    }

    /// Drops the oldest samples beyond the limit, never an incident or a notification. Returns how
    /// many.
    fn drop_excess(&mut self, limit: usize) -> usize {
        let mut excess = self.len().saturating_sub(limit);
        let mut dropped = 0;
        self.entries.retain_mut(|entry| {
            if excess == 0 {
                return true;
            }
            let count = match entry {
                Entry::Packed(packed) => packed.count,
                Entry::Commit(commit) => usize::from(commit.sample.take().is_some()),
            };
            excess = excess.saturating_sub(count);
            dropped += count;
            matches!(entry, Entry::Commit(commit) if !commit.is_empty())
        });
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmwatch_core::model::{Api, Provider, Timestamp, Trigger};
    use uuid::Uuid;

    fn sample(number: usize) -> Sample {
        Sample {
            id: Uuid::from_u128(number as u128),
            first_token_ms: Some(0.1 + number as f64),
            ..Sample::unmeasured(
                "chat",
                Provider::OpenAi,
                Api::Chat,
                "fra1",
                Timestamp(0),
                Trigger::Schedule,
            )
        }
    }

    fn ordinary(number: usize) -> Commit {
        Commit {
            sample: Some(sample(number)),
            ..Commit::default()
        }
    }

    #[test]
    fn what_was_packed_comes_out_in_order_and_unchanged() {
        let mut waiting = Waiting::default();
        let mut commits: Vec<_> = (0..1000).map(ordinary).collect();
        commits[700].notification_state = Some("a".to_owned());
        commits[900].notification_state = Some("b".to_owned());
        let batch = Batch {
            commits,
            packed: None,
        };
        assert_eq!(waiting.put_back(batch), 0);
        assert_eq!(waiting.len(), 1000);
        assert_eq!(waiting.notification_state().map(String::as_str), Some("b"));
        let first = waiting.take().expect("samples wait");
        assert!(first.packed.is_some());
        waiting.put_back(first);
        let mut written = Vec::new();
        while let Some(batch) = waiting.take() {
            written.extend(batch.commits.into_iter().filter_map(|c| c.sample));
        }
        assert_eq!(written, (0..1000).map(sample).collect::<Vec<_>>());
    }

    #[test]
    fn the_oldest_samples_are_dropped_and_no_notification() {
        let mut waiting = Waiting::default();
        let mut commits: Vec<_> = (0..2500).map(ordinary).collect();
        commits[10].notification_state = Some("kept".to_owned());
        let batch = Batch {
            commits,
            packed: None,
        };
        let dropped = waiting.put_back_within(batch, 2000);
        assert!((500..500 + PACK).contains(&dropped), "{dropped}");
        assert_eq!(
            waiting.notification_state().map(String::as_str),
            Some("kept")
        );
        let size: usize = waiting
            .entries
            .iter()
            .map(|entry| match entry {
                Entry::Packed(packed) => packed.lines.len(),
                Entry::Commit(_) => size_of::<Commit>(),
            })
            .sum();
        assert!(
            size < 2000 * 200 + PACK * size_of::<Commit>(),
            "{size} bytes"
        );
    }
}
