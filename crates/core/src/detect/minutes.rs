//! Detects failures that recur at the same minutes of every hour: a rate limit that thousands of
//! scheduled jobs reach at the top of the hour, a load every half hour.
//!
//! For every two minutes of the hour, the share of hours with a failure is tracked, with decay.
//! Minutes that stand out are a pattern: failures there are usual and not evidence.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::patterns::FailingMinutes;

const HOUR_MS: i64 = 3_600_000;
const SLOTS: usize = 30;
/// The unit of the counts with decay.
const UNIT: f32 = 0.0625;
const SLOT_MS: i64 = HOUR_MS / SLOTS as i64;
/// The half-life of the counts.
const HALF_LIFE_DAYS: f64 = 3.0;
/// The minimum number of hours with failures, and their minimum share, that make a pattern.
const LEAST_HOURS: f32 = 2.9;
const LEAST_SHARE: f64 = 0.06;
/// By how many times the average of the other minutes a pattern must stand out.
const STANDS_OUT: f32 = 8.0;
/// The share of hours from which fewer hours are enough.
const CLEAR_SHARE: f64 = 0.25;
const CLEAR_HOURS: f32 = 1.9;
/// An hour with failures in more slots than this had an outage and is ignored.
const OUTAGE: u32 = 8;
/// The highest failure rate that counts as usual.
const CEILING: f64 = 0.6;

/// The minutes of the hour of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Minutes {
    /// The current hour, counted from the epoch, and its slots with failures.
    hour: i64,
    failed: u32,
    /// Hours with decay, and those with failures by slot.
    hours: f32,
    slots: Slots,
}

impl Minutes {
    /// Counts one probe.
    pub(super) fn add(&mut self, start: i64, failed: bool) {
        let hour = start.div_euclid(HOUR_MS);
        if hour > self.hour {
            if self.hour > 0 && self.failed.count_ones() <= OUTAGE {
                for (slot, hits) in self.slots.0.iter_mut().enumerate() {
                    *hits += f32::from(u8::from(self.failed & (1 << slot) != 0));
                }
                self.hours += 1.0;
            }
            (self.hour, self.failed) = (hour, 0);
        }
        if failed && hour == self.hour {
            self.failed |= 1 << slot(start);
        }
    }

    /// Returns the usual share of failures at these minutes, 0 to 1; 0 if they do not stand out.
    pub(super) fn usual(&self, at: i64) -> f64 {
        let hits = self.slots.0[slot(at)];
        let others = (self.slots.0.iter().sum::<f32>() - hits) / (SLOTS - 1) as f32;
        let share = f64::from(hits - 0.5) / f64::from(self.hours + 2.0);
        let least = if share >= CLEAR_SHARE {
            CLEAR_HOURS
        } else {
            LEAST_HOURS + STANDS_OUT * others
        };
        if hits < least || share < LEAST_SHARE {
            return 0.0;
        }
        share.min(CEILING)
    }

    /// Returns the minutes that stand out most.
    pub(super) fn pattern(&self) -> Option<FailingMinutes> {
        let shares: Vec<f64> = (0..SLOTS)
            .map(|slot| self.usual(slot as i64 * SLOT_MS))
            .collect();
        let mut best = (0.0, 0, 0);
        let mut slot = 0;
        while slot < SLOTS {
            let from = slot;
            let mut most = 0.0_f64;
            while slot < SLOTS && shares[slot] > 0.0 {
                most = most.max(shares[slot]);
                slot += 1;
            }
            if most > best.0 {
                best = (most, from, slot);
            }
            slot += 1;
        }
        let (share, from, to) = best;
        (share > 0.0).then(|| FailingMinutes {
            from_minute: (from * 60 / SLOTS) as u8,
            to_minute: (to * 60 / SLOTS) as u8,
            share: share as f32,
        })
    }

    /// Applies the decay of one day.
    pub(super) fn forget(&mut self) {
        let factor = 0.5_f64.powf(1.0 / HALF_LIFE_DAYS) as f32;
        self.hours *= factor;
        for hits in &mut self.slots.0 {
            *hits = (*hits * factor / UNIT).floor() * UNIT;
        }
    }
}

fn slot(at: i64) -> usize {
    (at.rem_euclid(HOUR_MS) / SLOT_MS) as usize
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Slots([f32; SLOTS]);

impl Serialize for Slots {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let used = self
            .0
            .iter()
            .rposition(|v| *v != 0.0)
            .map_or(0, |last| last + 1);
        let bytes: Vec<u8> = self.0[..used]
            .iter()
            .flat_map(|v| ((*v / UNIT) as u16).to_le_bytes())
            .collect();
        s.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Slots {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = BASE64
            .decode(String::deserialize(d)?)
            .map_err(serde::de::Error::custom)?;
        let mut slots = Self::default();
        for (slot, value) in slots.0.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *slot = f32::from(u16::from_le_bytes(*value)) * UNIT;
        }
        Ok(slots)
    }
}
