//! A histogram of latencies in logarithmic bins, with decay: the learned level.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 160 bins of 6% each, from 20 ms to 224 s.
const BINS: usize = 160;
const FIRST_MS: f64 = 20.0;
const STEP: f64 = 1.06;

/// The stored value of one count, so that decay can leave fractions.
const ONE: u16 = 8;
/// The maximum value of a bin; when it is reached, all bins are halved.
const FULL: u16 = 60_000;

/// Counts per bin with decay, in eighths.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram(Vec<u16>);

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0; BINS])
    }
}

impl Histogram {
    /// Counts one latency.
    pub(super) fn add(&mut self, ms: f64) {
        let bin = ((ms.max(FIRST_MS).ln() - FIRST_MS.ln()) / STEP.ln()) as usize;
        let bin = bin.min(BINS - 1);
        self.0[bin] += ONE;
        if self.0[bin] >= FULL {
            self.scale(0.5);
        }
    }

    /// Returns the latency in milliseconds below which the share `q` (0 to 1) of the counts lies,
    /// interpolated within its bin on the logarithmic scale.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        // Summed in order: the same counts give the same bits on every machine.
        let total = self
            .0
            .iter()
            .fold(0.0, |sum, count| sum + f64::from(*count));

        let mut below = 0.0;
        for (bin, &count) in self.0.iter().enumerate() {
            let count = f64::from(count);
            if below + count >= q * total {
                return bin_start_ms(bin as f64 + (q * total - below) / count.max(1e-12));
            }
            below += count;
        }
        bin_start_ms(BINS as f64)
    }

    /// Reports whether nothing is counted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Multiplies all counts by `factor`.
    pub(super) fn scale(&mut self, factor: f64) {
        for count in &mut self.0 {
            *count = (f64::from(*count) * factor) as u16;
        }
    }

    /// Adds the counts of a checkpoint; those beyond the last bin are dropped.
    fn unpack(&mut self, bytes: &[u8]) {
        let Some((from, counts)) = bytes.split_first() else {
            return;
        };
        let groups = counts.split_inclusive(|byte| byte & 0x80 == 0);
        for (bin, group) in self.0.iter_mut().skip(usize::from(*from)).zip(groups) {
            let count = group
                .iter()
                .rev()
                .fold(0_u64, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
            *bin = count.min(u64::from(FULL)) as u16;
        }
    }

    /// Shifts all counts by a factor, given as its natural logarithm. The spread stays the same.
    pub(super) fn shift(&mut self, logarithm: f64) {
        let by = (logarithm / STEP.ln()).round() as i64;
        let last = BINS as i64 - 1;
        let old = std::mem::replace(&mut self.0, vec![0; BINS]);
        for (bin, count) in old.into_iter().enumerate() {
            let bin = &mut self.0[(bin as i64 + by).clamp(0, last) as usize];
            *bin = bin.saturating_add(count).min(FULL);
        }
    }
}

/// Returns the latency, in milliseconds, at which a bin begins; a fraction is a place within it.
fn bin_start_ms(bin: f64) -> f64 {
    (FIRST_MS.ln() + bin * STEP.ln()).exp()
}

/// Most bins are empty, so only those from the first to the last used one are written: the number
/// of the first, and the counts in groups of seven bits (LEB128), since most are small.
impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let is_used = |count: &u16| *count != 0;
        let from = self.0.iter().position(is_used).unwrap_or(0);
        let to = self.0.iter().rposition(is_used).map_or(0, |last| last + 1);
        let mut bytes = vec![from as u8];
        for count in &self.0[from..to] {
            let mut rest = *count;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
        s.serialize_str(&BASE64.encode(bytes))
    }
}

/// The form in a checkpoint: that of this release, or the first bin and two bytes for each count,
/// or the bins and counts of release 0.1.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Packed(String),
    Bytes(usize, String),
    Counts(Vec<(usize, f64)>),
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut histogram = Self::default();
        let (from, text) = match Stored::deserialize(d)? {
            Stored::Packed(text) => {
                let bytes = BASE64.decode(text).map_err(serde::de::Error::custom)?;
                histogram.unpack(&bytes);
                return Ok(histogram);
            }
            Stored::Bytes(from, text) => (from, text),
            Stored::Counts(counts) => {
                for (bin, count) in counts {
                    if let Some(slot) = histogram.0.get_mut(bin) {
                        *slot = (count * f64::from(ONE)).min(f64::from(FULL)) as u16;
                    }
                }
                return Ok(histogram);
            }
        };
        let bytes = BASE64.decode(text).map_err(serde::de::Error::custom)?;
        let counts = bytes.as_chunks::<2>().0;
        for (bin, count) in histogram.0.iter_mut().skip(from).zip(counts) {
            *bin = u16::from_le_bytes(*count);
        }
        Ok(histogram)
    }
}
