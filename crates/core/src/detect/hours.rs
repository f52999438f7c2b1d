//! The usual level of each hour of the week, from the same hour of earlier days.
//!
//! Two weeks are stored, one value an hour. The usual value of an hour is the (lower) median of
//! that hour on the last five days of the same class (weekday, weekend), or the lower value of the
//! same hour of the last two weeks, whichever is higher. One incident changes neither. A rush that
//! recurs every day is known from its second day, and fully from its third.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::patterns::Rush;
use crate::model::UsualHours;

const HOUR_MS: i64 = 3_600_000;
const HOURS_A_DAY: i64 = 24;
const HOURS_A_WEEK: i64 = 168;
/// Days of the same class that are compared.
const COMPARED: usize = 5;
/// The unit of a stored value, as a natural logarithm (5%), and how many units are distinguished.
const UNIT: f64 = 0.05;
const UNITS: f64 = 31.0;
/// An hour never counts as faster than typical. Otherwise a level that has just changed would make
/// every probe slow.
const LEAST_USUAL: f64 = 0.0;
/// No hour yet; far from overflow.
const NEVER: i64 = i64::MIN / 2;
/// An hour in which nothing was measured.
const NONE: i8 = i8::MIN;
/// The weight of a value from the other class of days, or from a single day.
const BELIEVED: f64 = 0.5;
/// The share of an hour at either end in which the neighboring hour counts as well: a rush may
/// begin between two hours.
const EDGE: f64 = 1.0 / 3.0;

/// The last days of one measure, hour by hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Hours<const DAYS: usize> {
    /// The hour that is being measured, counted from the epoch.
    hour: i64,
    sum: f32,
    count: u32,
    ring: Ring<DAYS>,
    /// The usual values of the previous, the current and the next hour.
    usual: [f32; 3],
}

impl<const DAYS: usize> Default for Hours<DAYS> {
    fn default() -> Self {
        Self {
            hour: NEVER,
            sum: 0.0,
            count: 0,
            ring: Ring::default(),
            usual: [0.0; 3],
        }
    }
}

impl<const DAYS: usize> Hours<DAYS> {
    const HOURS: i64 = DAYS as i64 * HOURS_A_DAY;

    /// Returns the usual value at `at`, as a difference from the level of all hours (natural
    /// logarithms).
    pub(super) fn usual(&self, at: i64) -> f64 {
        let share = at.rem_euclid(HOUR_MS) as f64 / HOUR_MS as f64;
        let [before, own, after] = self.usual.map(|u| f64::from(u).max(LEAST_USUAL));
        if share < EDGE {
            own.max(before)
        } else if share > 1.0 - EDGE {
            own.max(after)
        } else {
            own
        }
    }

    /// Advances the clock to `at`. Returns whether another hour has begun.
    pub(super) fn advance(&mut self, at: i64) -> bool {
        let hour = at.div_euclid(HOUR_MS);
        if hour <= self.hour {
            return false;
        }
        if self.hour > NEVER {
            let mean = f64::from(self.sum) / f64::from(self.count.max(1));
            let stored = (mean / UNIT).round().clamp(-UNITS, UNITS) as i8;
            self.put(self.hour, if self.count > 0 { stored } else { NONE });
            for skipped in (self.hour + 1).max(hour - Self::HOURS)..hour {
                self.put(skipped, NONE);
            }
        }
        (self.hour, self.sum, self.count) = (hour, 0.0, 0);
        self.put(hour, NONE);
        let center = self.center();
        self.usual =
            [hour - 1, hour, hour + 1].map(|h| self.of(h).map_or(0.0, |v| (v - center) as f32));
        true
    }

    /// Adds one measurement of this hour.
    pub(super) fn add(&mut self, difference: f64) {
        self.sum += difference as f32;
        self.count += 1;
    }

    fn put(&mut self, hour: i64, value: i8) {
        self.ring.0[hour.rem_euclid(Self::HOURS) as usize] = value;
    }

    fn get(&self, hour: i64) -> Option<f64> {
        let known = hour < self.hour && hour > self.hour - Self::HOURS;
        let value = self.ring.0[hour.rem_euclid(Self::HOURS) as usize];
        (known && value != NONE).then(|| f64::from(value) * UNIT)
    }

    /// Returns the median of the last week.
    fn center(&self) -> f64 {
        let mut week: Vec<f64> = (self.hour - HOURS_A_WEEK..self.hour)
            .filter_map(|h| self.get(h))
            .collect();
        lower_median(&mut week).unwrap_or(0.0)
    }

    /// Returns the usual value of each hour of the coming week, above the level of all hours.
    pub(super) fn week(&self) -> UsualHours {
        let center = self.center();
        UsualHours::new((0..HOURS_A_WEEK).map(|place| {
            let hour = self.hour + (place - self.hour).rem_euclid(HOURS_A_WEEK);
            let known = self.of(hour);
            known.map_or(0.0, |v| (v - center).max(LEAST_USUAL))
        }))
    }

    /// Returns the longest run of hours in which weekdays are at least `factor` times slower than
    /// usual.
    pub(super) fn rush(&self, factor: f64) -> Option<Rush> {
        let day = self.hour.div_euclid(HOURS_A_DAY);
        let monday = day - (day + 3).rem_euclid(7);
        let center = self.center();
        let levels: Vec<f64> = (0..HOURS_A_DAY)
            .map(|h| {
                let mut values: Vec<f64> = (monday - 7..day)
                    .filter(|d| !is_weekend(d * HOURS_A_DAY))
                    .filter_map(|d| self.get(d * HOURS_A_DAY + h))
                    .collect();
                let enough = values.len() >= COMPARED;
                lower_median(&mut values)
                    .filter(|_| enough)
                    .unwrap_or(center)
                    - center
            })
            .collect();
        let slow_from = factor.ln();
        let mut best: &[f64] = &[];
        let mut from = 0;
        let mut start = 0;

        for run in levels.split(|level| *level < slow_from) {
            if run.len() > best.len() {
                best = run;
                from = start;
            }
            start += run.len() + 1;
        }
        let worst = best.iter().copied().reduce(f64::max)?;
        Some(Rush {
            from_hour: from as u8,
            to_hour: (from + best.len()) as u8,
            factor: worst.exp() as f32,
        })
    }

    /// Returns the usual value of `hour`, if it is known.
    fn of(&self, hour: i64) -> Option<f64> {
        let week = [1, 2].map(|w| self.get(hour - w * HOURS_A_WEEK));
        let weekly = match week {
            [Some(a), Some(b)] => Some(a.min(b)),
            _ => None,
        };
        let daily = self
            .of_days(hour, true)
            .or_else(|| self.of_days(hour, false));
        match (daily, weekly) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        }
    }

    /// Returns the median of the same hour on earlier days of the same class (weekday, weekend), or
    /// of the other class.
    fn of_days(&self, hour: i64, same_kind: bool) -> Option<f64> {
        let mut values: Vec<f64> = (1..=DAYS as i64)
            .map(|d| hour - d * HOURS_A_DAY)
            .filter(|h| (is_weekend(*h) == is_weekend(hour)) == same_kind)
            .filter_map(|h| self.get(h))
            .take(COMPARED)
            .collect();
        let is_single = values.len() == 1;
        let median = lower_median(&mut values)?;
        Some(if is_single || !same_kind {
            median * BELIEVED
        } else {
            median
        })
    }
}

/// Returns the character that stands for a level in a checkpoint; `_` if it is not known.
fn letter(value: i8) -> char {
    if value == NONE {
        return '_';
    }
    let place = (i32::from(value) + UNITS as i32) as usize;
    LETTERS.get(place).map_or('_', |l| char::from(*l))
}

fn is_weekend(hour: i64) -> bool {
    // The epoch was a Thursday.
    (hour.div_euclid(HOURS_A_DAY) + 3).rem_euclid(7) >= 5
}

fn lower_median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// One value an hour, written as one letter each.
#[derive(Debug, Clone, PartialEq)]
struct Ring<const DAYS: usize>(Vec<i8>);

/// The letters of the values from the lowest to the highest; the last one is an hour without a
/// value.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl<const DAYS: usize> Default for Ring<DAYS> {
    fn default() -> Self {
        Self(vec![NONE; DAYS * HOURS_A_DAY as usize])
    }
}

impl<const DAYS: usize> Serialize for Ring<DAYS> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let all: String = self.0.iter().copied().map(letter).collect();
        s.serialize_str(all.trim_end_matches('_'))
    }
}

impl<'de, const DAYS: usize> Deserialize<'de> for Ring<DAYS> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut ring = Self::default();
        let text = String::deserialize(d)?;
        for (slot, letter) in ring.0.iter_mut().zip(text.bytes()) {
            let place = LETTERS.iter().position(|l| *l == letter);
            *slot = match place.and_then(|place| i8::try_from(place).ok()) {
                Some(place) if letter != b'_' => place - UNITS as i8,
                _ => NONE,
            };
        }
        Ok(ring)
    }
}
