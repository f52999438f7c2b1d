//! Aggregates samples per period: counts, sums and mergeable latency sketches. Pure.
//!
//! A [`Rollup`] covers five minutes, an hour or a day. It folds the samples that began in that
//! period, and merging the rollups of two periods equals the rollup of both. Latencies are kept as
//! a [`Sketch`]: every quantile is within 1% of the true one, however many sketches are merged.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Attribution, Fault, Outcome, Sample, Timestamp};

/// The length of a rollup period. Periods begin at multiples of their length since the Unix epoch,
/// so days are UTC days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
}

impl Resolution {
    /// All resolutions, finest first.
    pub const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Day];

    /// Returns the length of a period.
    pub const fn length(self) -> Duration {
        match self {
            Self::FiveMinutes => Duration::from_mins(5),
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_hours(24),
        }
    }

    /// Returns the beginning of the period that contains `at`.
    pub fn begin(self, at: Timestamp) -> Timestamp {
        floor(at, self.length())
    }

    /// Returns the first beginning of a period at or after `at`.
    pub fn end(self, at: Timestamp) -> Timestamp {
        let begin = self.begin(at);
        if begin < at {
            begin + self.length()
        } else {
            begin
        }
    }

    /// Returns the coarsest resolution whose length divides `step`, or five minutes if none does.
    pub fn for_step(step: Duration) -> Self {
        Self::ALL
            .into_iter()
            .rev()
            .find(|r| step.as_millis().is_multiple_of(r.length().as_millis()))
            .unwrap_or(Self::FiveMinutes)
    }
}

/// Returns the beginning of the step of length `step` that contains `at`.
pub fn floor(at: Timestamp, step: Duration) -> Timestamp {
    let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    Timestamp(at.0.div_euclid(step) * step)
}

/// The ratio between the bounds of one bin. It keeps every quantile within 1% of the true one.
const GAMMA: f64 = 1.01 / 0.99;
/// Latencies up to this many milliseconds are counted as zero.
const SHORTEST_MS: f64 = 1e-9;
/// The maximum number of bins read from a stored sketch. Latencies from a nanosecond to a year need
/// fewer.
const MAX_BINS: u64 = 4096;
/// The first byte of the current format. The format of release 0.1 never begins with it.
const FORMAT: u8 = 0x01;

/// A mergeable summary of latencies, in milliseconds. It is a [DDSketch] that keeps only non-empty
/// bins, so a rollup of a few probes takes a few dozen bytes in memory and on disk.
///
/// [DDSketch]: https://arxiv.org/abs/1908.10693
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Bin index and count, in ascending order.
    bins: Vec<(i16, u32)>,
    /// Latencies that are too short for a bin.
    zeros: u32,
    /// The sum of all latencies, in microseconds.
    sum_us: u64,
}

impl Sketch {
    /// Records one latency.
    pub fn add(&mut self, ms: f64) {
        self.sum_us = self.sum_us.saturating_add((ms * 1000.0).round() as u64);
        if ms > SHORTEST_MS {
            self.count_in((ms.ln() / GAMMA.ln()).floor() as i16, 1);
        } else {
            self.zeros = self.zeros.saturating_add(1);
        }
    }

    fn count_in(&mut self, bin: i16, count: u32) {
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(place) => self.bins[place].1 = self.bins[place].1.saturating_add(count),
            Err(place) => self.bins.insert(place, (bin, count)),
        }
    }

    /// Adds the latencies of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.zeros = self.zeros.saturating_add(other.zeros);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        // Both are sorted: one pass over them is several times faster than a search for each bin.
        let mut place = 0;
        for (bin, count) in &other.bins {
            while self.bins.get(place).is_some_and(|(known, _)| known < bin) {
                place += 1;
            }
            match self.bins.get_mut(place).filter(|(known, _)| known == bin) {
                Some((_, sum)) => *sum = sum.saturating_add(*count),
                None => self.bins.insert(place, (*bin, *count)),
            }
        }
    }

    /// Returns the number of latencies.
    pub fn count(&self) -> u64 {
        let binned: u64 = self.bins.iter().map(|(_, n)| u64::from(*n)).sum();
        u64::from(self.zeros) + binned
    }

    /// Returns the `q` quantile (0 to 1), to within 1%; `None` if the sketch is empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        let rank = (q.clamp(0.0, 1.0) * count.checked_sub(1)? as f64) as u64;
        let mut passed = u64::from(self.zeros);
        if rank < passed {
            return Some(0.0);
        }
        let (bin, _) = self.bins.iter().find(|(_, n)| {
            passed += u64::from(*n);
            passed > rank
        })?;
        let ms = GAMMA.powi(i32::from(*bin)) * 2.0 * GAMMA / (1.0 + GAMMA);
        Some((ms * 1000.0).round() / 1000.0)
    }

    /// Returns the mean; `None` if the sketch is empty.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum_us as f64 / count as f64 / 1000.0)
    }

    /// Serializes the sketch: [`FORMAT`], then as variable-length integers the zeros, the sum, the
    /// number of bins, and for each bin its distance from the previous one and its count. Returns
    /// no bytes if the sketch is empty.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.count() == 0 {
            return Vec::new();
        }
        let mut bytes = Vec::with_capacity(12 + 3 * self.bins.len());
        bytes.push(FORMAT);
        put_varint(&mut bytes, u64::from(self.zeros));
        put_varint(&mut bytes, self.sum_us);
        put_varint(&mut bytes, self.bins.len() as u64);
        let mut before = 0;
        for (bin, count) in &self.bins {
            put_varint(&mut bytes, zigzag(i64::from(*bin) - before));
            put_varint(&mut bytes, u64::from(*count));
            before = i64::from(*bin);
        }
        bytes
    }

    /// Parses the stored format, including that of release 0.1; `None` if it is neither.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let Some((first, mut rest)) = bytes.split_first() else {
            return Some(Self::default());
        };
        if *first != FORMAT {
            return portable::read(bytes);
        }
        let mut sketch = Self {
            zeros: u32::try_from(take_varint(&mut rest)?).ok()?,
            sum_us: take_varint(&mut rest)?,
            ..Self::default()
        };
        let bins = Some(take_varint(&mut rest)?).filter(|n| *n <= MAX_BINS)?;
        sketch.bins.reserve_exact(bins as usize);
        let mut bin = 0_i64;
        for _ in 0..bins {
            bin = bin.checked_add(unzigzag(take_varint(&mut rest)?))?;
            let count = u32::try_from(take_varint(&mut rest)?).ok()?;
            let bin = i16::try_from(bin).ok()?;
            // They are written in ascending order, which damaged bytes need not have.
            if sketch.bins.last().is_none_or(|(last, _)| *last < bin) {
                sketch.bins.push((bin, count));
            } else {
                sketch.count_in(bin, count);
            }
        }
        Some(sketch)
    }
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Sketch({} latencies, median {:?})",
            self.count(),
            self.quantile(0.5)
        )
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The format that release 0.1 stored, which is the portable format of the `DDSketch` libraries:
/// <https://github.com/DataDog/sketches-java/tree/master/src/main/java/com/datadoghq/sketch/ddsketch/encoding>.
mod portable {
    use super::{MAX_BINS, Sketch, unzigzag};

    pub(super) fn read(mut bytes: &[u8]) -> Option<Sketch> {
        let mut sketch = Sketch::default();
        while let Some((flag, rest)) = bytes.split_first() {
            bytes = rest;
            match (flag & 3, flag >> 2) {
                // The total count (which the bins already give), the minimum and the maximum.
                (0, 0x28) => drop(double(&mut bytes)?),
                (0, 0x22 | 0x23) => drop(fixed(&mut bytes)?),
                (0, 0x21) => sketch.sum_us = (fixed(&mut bytes)? * 1000.0).round() as u64,
                (0, 1) => sketch.zeros = double(&mut bytes)? as u32,
                // The bin mapping (ratio and offset). Release 0.1 always used the mapping that is
                // used here.
                (2, 0) if !bytes.is_empty() => {
                    fixed(&mut bytes)?;
                    fixed(&mut bytes)?;
                }
                (1, mode) => bins(&mut bytes, mode, &mut sketch)?,
                _ => return None,
            }
        }
        Some(sketch)
    }

    fn bins(bytes: &mut &[u8], mode: u8, sketch: &mut Sketch) -> Option<()> {
        let bins = Some(varint(bytes)?).filter(|n| *n <= MAX_BINS)?;
        let mut bin = 0_i64;
        let mut step = None;
        if mode == 3 {
            bin = unzigzag(varint(bytes)?);
            step = Some(unzigzag(varint(bytes)?));
        }
        for _ in 0..bins {
            if step.is_none() {
                bin = bin.checked_add(unzigzag(varint(bytes)?))?;
            }
            let count = match mode {
                2 => 1.0,
                1 | 3 => double(bytes)?,
                _ => return None,
            };
            sketch.count_in(i16::try_from(bin).ok()?, count as u32);
            bin = bin.checked_add(step.unwrap_or(0))?;
        }
        Some(())
    }

    fn byte(bytes: &mut &[u8]) -> Option<u64> {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(u64::from(*byte))
    }

    fn fixed(bytes: &mut &[u8]) -> Option<f64> {
        let (value, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(f64::from_le_bytes(*value))
    }

    /// Reads a variable-length integer whose ninth byte carries eight bits.
    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..=56).step_by(7) {
            let next = byte(bytes)?;
            if next < 0x80 || shift == 56 {
                return Some(value | next << shift);
            }
            value |= (next & 0x7f) << shift;
        }
        None
    }

    fn double(bytes: &mut &[u8]) -> Option<f64> {
        let mut bits = 0;
        for shift in (1..=57).rev().step_by(7) {
            let next = byte(bytes)?;
            if next < 0x80 || shift == 1 {
                bits |= next << shift;
                break;
            }
            bits |= (next & 0x7f) << shift;
        }
        let bits = bits.rotate_right(6).wrapping_add(1_f64.to_bits());
        Some(f64::from_bits(bits) - 1.0)
    }
}

/// The samples of one endpoint that began in one period.
#[derive(Debug, Clone, Default)]
pub struct Rollup {
    /// The beginning of the period.
    pub at: Timestamp,
    /// Good probes with normal latency.
    pub ok: u32,
    /// Good probes that were slow.
    pub slow: u32,
    /// Probes that failed because of the provider.
    pub failed_provider: u32,
    /// Probes that failed because of the account.
    pub failed_account: u32,
    /// Probes that failed because of this machine.
    pub failed_local: u32,
    /// Failed probes by fault and attribution.
    pub faults: BTreeMap<(Fault, Attribution), u32>,
    /// Tokens of the prompts.
    pub input_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
    /// The cost of the probes.
    pub cost_usd: f64,
    /// Time spent in the stages of the good probes.
    pub stages: StageSums,
    /// Time to first token of the good probes.
    pub first_token: Sketch,
    /// Total time of the good probes.
    pub total: Sketch,
}

/// Microseconds spent in each stage, summed over the good probes of a rollup. A stage that was
/// skipped (a reused connection) adds nothing, so `sum / good` is the average per probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageSums {
    /// Name resolution.
    pub dns_us: u64,
    /// TCP connection.
    pub tcp_us: u64,
    /// TLS handshake.
    pub tls_us: u64,
    /// From sending the request to receiving the response headers.
    pub headers_us: u64,
}

impl Rollup {
    /// Returns an empty rollup that begins at `at`.
    pub fn beginning(at: Timestamp) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }

    /// Adds one sample.
    pub fn add(&mut self, sample: &Sample) {
        self.input_tokens += u64::from(sample.input_tokens.unwrap_or(0));
        self.output_tokens += u64::from(sample.output_tokens.unwrap_or(0));
        self.cost_usd += sample.cost_usd.unwrap_or(0.0);
        match sample.outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Slow => self.slow += 1,
            Outcome::Failed => {
                let attribution = sample.attribution.unwrap_or(Attribution::Provider);
                *self.failures_of(attribution) += 1;
                if let Some(fault) = sample.fault {
                    *self.faults.entry((fault, attribution)).or_default() += 1;
                }
                return;
            }
        }
        self.stages.dns_us += microseconds(sample.dns_ms);
        self.stages.tcp_us += microseconds(sample.tcp_ms);
        self.stages.tls_us += microseconds(sample.tls_ms);
        self.stages.headers_us += microseconds(sample.headers_ms);
        for (sketch, ms) in [
            (&mut self.first_token, sample.first_token_ms),
            (&mut self.total, sample.total_ms),
        ] {
            if let Some(ms) = ms {
                sketch.add(ms);
            }
        }
    }

    /// Moves a failed probe from one attribution to another.
    pub fn reattribute(&mut self, fault: Fault, was: Attribution, now: Attribution) {
        *self.failures_of(was) = self.failures_of(was).saturating_sub(1);
        *self.failures_of(now) += 1;
        if let Some(count) = self.faults.get_mut(&(fault, was)) {
            *count = count.saturating_sub(1);
        }
        self.faults.retain(|_, count| *count > 0);
        *self.faults.entry((fault, now)).or_default() += 1;
    }

    fn failures_of(&mut self, attribution: Attribution) -> &mut u32 {
        match attribution {
            Attribution::Provider => &mut self.failed_provider,
            Attribution::Account => &mut self.failed_account,
            Attribution::Local => &mut self.failed_local,
        }
    }

    /// Adds the contents of `other` and keeps its own `at`.
    pub fn merge(&mut self, other: &Self) {
        self.ok = self.ok.saturating_add(other.ok);
        self.slow = self.slow.saturating_add(other.slow);
        self.failed_provider = self.failed_provider.saturating_add(other.failed_provider);
        self.failed_account = self.failed_account.saturating_add(other.failed_account);
        self.failed_local = self.failed_local.saturating_add(other.failed_local);
        for (key, count) in &other.faults {
            *self.faults.entry(*key).or_default() += count;
        }
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_usd += other.cost_usd;
        self.stages.dns_us += other.stages.dns_us;
        self.stages.tcp_us += other.stages.tcp_us;
        self.stages.tls_us += other.stages.tls_us;
        self.stages.headers_us += other.stages.headers_us;
        self.first_token.merge(&other.first_token);
        self.total.merge(&other.total);
    }

    /// Returns the number of good probes, slow ones included.
    pub fn good(&self) -> u32 {
        self.ok + self.slow
    }

    /// Returns the number of failed probes, whatever the attribution.
    pub fn failed(&self) -> u32 {
        self.failed_provider + self.failed_account + self.failed_local
    }

    /// Returns the number of probes.
    pub fn probes(&self) -> u32 {
        self.good() + self.failed()
    }

    /// Returns the share of good probes, 0 to 1, or `None` if nothing was measured. Faults of the
    /// account and of this machine are excluded.
    pub fn availability(&self) -> Option<f64> {
        let measured = self.good() + self.failed_provider;
        (measured > 0).then(|| f64::from(self.good()) / f64::from(measured))
    }
}

fn microseconds(ms: Option<f64>) -> u64 {
    ms.map_or(0, |ms| (ms * 1000.0).round() as u64)
}

/// Probe outcomes of one endpoint in one period: the part of a [`Rollup`] that status bars need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// The beginning of the period.
    pub at: Timestamp,
    /// Good probes, slow ones included.
    pub good: u32,
    /// The slow ones among them.
    pub slow: u32,
    /// Probes that failed because of the provider.
    pub failed: u32,
}

impl OutcomeCounts {
    /// Adds the counts of `other` and keeps its own `at`.
    pub fn merge(&mut self, other: Self) {
        self.good = self.good.saturating_add(other.good);
        self.slow = self.slow.saturating_add(other.slow);
        self.failed = self.failed.saturating_add(other.failed);
    }

    /// Returns the availability, as [`Rollup::availability`] does.
    pub fn availability(self) -> Option<f64> {
        let measured = u64::from(self.good) + u64::from(self.failed);
        (measured > 0).then(|| f64::from(self.good) / measured as f64)
    }
}

impl From<&Rollup> for OutcomeCounts {
    fn from(rollup: &Rollup) -> Self {
        Self {
            at: rollup.at,
            good: rollup.good(),
            slow: rollup.slow,
            failed: rollup.failed_provider,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sketch;

    fn sketch(latencies: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for ms in latencies {
            sketch.add(*ms);
        }
        sketch
    }

    #[test]
    fn a_sketch_stored_by_release_0_1_is_read() {
        // What release 0.1 stored for 0, 1.5, 400, 400, 401 and 65,000 ms.
        const STORED: &str = "a085408800000000000000008c0000000000bdef408400000000a829f04002\
             fd4a815abf52f03f0000000000000000040205032802ae0404fe0302";
        let bytes: Vec<u8> = (0..STORED.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&STORED[i..i + 2], 16).unwrap())
            .collect();
        let read = Sketch::from_bytes(&bytes).unwrap();
        assert_eq!(read, sketch(&[0.0, 1.5, 400.0, 400.0, 401.0, 65_000.0]));
    }

    #[test]
    fn a_sketch_of_five_probes_is_stored_in_thirty_bytes() {
        let five = sketch(&[412.0, 398.5, 431.2, 405.9, 1200.0]);
        assert!(five.to_bytes().len() <= 30, "{:?}", five.to_bytes());
        assert_eq!(Sketch::from_bytes(&five.to_bytes()), Some(five));
    }

    #[test]
    fn garbage_is_no_sketch() {
        for bytes in [&[1][..], &[1, 0, 5, 255, 255, 3], &[0xff; 40], &[2, 7]] {
            assert_eq!(Sketch::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
