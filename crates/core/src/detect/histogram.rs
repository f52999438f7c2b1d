//! A histogram of latencies in logarithmic bins, with decay: the learned level.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 160 bins of 6 % from 20 ms reach to 224 s.
const BINS: usize = 160;
const FIRST_MS: f64 = 20.0;
const STEP: f64 = 1.06;

/// Decayed counts per bin.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram(Vec<f64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0.0; BINS])
    }
}

impl Histogram {
    /// Counts one latency.
    pub(super) fn add(&mut self, ms: f64) {
        let bin = ((ms.max(FIRST_MS).ln() - FIRST_MS.ln()) / STEP.ln()) as usize;
        self.0[bin.min(BINS - 1)] += 1.0;
    }

    /// The latency below which the share `q` of the counts lies, interpolated within its bin on the logarithmic scale.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        // Summed in order: the same counts give the same bits on every machine.
        let total = self.0.iter().fold(0.0, |sum, count| sum + count);
        let at = |bins: f64| (FIRST_MS.ln() + bins * STEP.ln()).exp();
        let mut below = 0.0;
        for (bin, &count) in self.0.iter().enumerate() {
            if below + count >= q * total {
                return at(bin as f64 + (q * total - below) / count.max(1e-12));
            }
            below += count;
        }
        at(BINS as f64)
    }

    /// Forgets a part of everything.
    pub(super) fn scale(&mut self, factor: f64) {
        self.0.iter_mut().for_each(|count| *count *= factor);
    }
}

/// Most bins are empty, so only the others are written.
impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(
            self.0
                .iter()
                .enumerate()
                .filter(|(_, count)| **count != 0.0),
        )
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut histogram = Self::default();
        for (bin, count) in Vec::<(usize, f64)>::deserialize(d)? {
            if let Some(slot) = histogram.0.get_mut(bin) {
                *slot = count;
            }
        }
        Ok(histogram)
    }
}
