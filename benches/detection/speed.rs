//! The processor time that the detector takes.

use std::time::Duration;

use llmwatch_core::detect::{Detector, Observation};
use llmwatch_core::model::{DetectionPolicy, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use crate::rules::{name, policies, result};
use crate::scene::{DAY, MINUTE};
use crate::world::{ENDPOINTS, World};

const DAYS: i64 = 15;

/// Prints the processor time of 129,600 samples: 15 days of six endpoints that are probed every
/// minute, without rechecks.
pub(crate) fn print() {
    let world = World::healthy(1, 0.003, DAYS);
    let policies = policies(
        ENDPOINTS,
        &DetectionPolicy::default(),
        Duration::from_millis(MINUTE.unsigned_abs()),
    );
    let observation = |tick: i64, endpoint: usize| {
        let start = tick + 100 * endpoint as i64;
        let probe = world.probe(endpoint, start);
        Observation {
            endpoint: name(endpoint).into(),
            start: Timestamp(start),
            end: Timestamp(start + probe.total_ms as i64),
            next_tick: Timestamp(start + MINUTE),
            result: result(&probe),
        }
    };
    let mut samples: Vec<_> = (0..DAYS * DAY / MINUTE)
        .flat_map(|n| (0..ENDPOINTS).map(move |e| (n * MINUTE, e)))
        .map(|(tick, e)| observation(tick, e))
        .collect();
    samples.sort_by_key(|s| s.end);
    let mut detector = Detector::default();
    let began_s = cpu_s();
    for sample in &samples {
        std::hint::black_box(detector.observe(&policies, sample));
    }
    println!(
        "{} samples through the detector: {:.2} s of processor time",
        samples.len(),
        cpu_s() - began_s
    );
}

/// The processor time of this thread, in seconds.
fn cpu_s() -> f64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 * 1e-9
}
