//! Random numbers: a sequence for making a world, and fixed ones for each probe.

use std::f64::consts::PI;

/// Random numbers for making a world.
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn share(&mut self) -> f64 {
        self.0.f64()
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.usize(..n)
    }

    pub(crate) fn until(&mut self, length: i64) -> i64 {
        self.0.i64(0..length)
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let r = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        r * (2.0 * PI * self.share()).cos()
    }

    pub(crate) fn poisson(&mut self, mean: f64) -> usize {
        let (limit, mut product, mut n) = ((-mean).exp(), self.share(), 0);
        while product > limit {
            product *= self.share();
            n += 1;
        }
        n
    }
}

/// Random numbers of one probe: they depend on nothing but the seed, the endpoint and the time
/// (splitmix64).
#[derive(Clone, Copy)]
pub(crate) struct Fixed(u64);

impl Fixed {
    pub(crate) fn new(seed: u64, endpoint: usize, t: i64) -> Self {
        let place = seed
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add((endpoint as u64 + 1).wrapping_mul(0xD134_2543_DE82_EF95));
        Self(mix(mix(place).wrapping_add(
            t.cast_unsigned().wrapping_mul(0xA24B_AED4_963E_E407),
        )))
    }

    /// The draw of this number, always the same: above 0, below 1.
    pub(crate) fn u(self, slot: u64) -> f64 {
        let z = mix(self
            .0
            .wrapping_add((slot + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        ((z >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
    }

    /// Two independent normal draws.
    pub(crate) fn normals(self, slot: u64) -> (f64, f64) {
        let r = (-2.0 * self.u(slot).ln()).sqrt();
        let angle = 2.0 * PI * self.u(slot + 1);
        (r * angle.cos(), r * angle.sin())
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
