//! Daily usage of probing, and the factor on the intervals that keeps it within the budget.

use std::time::Duration;

use serde::Serialize;

use crate::config::Config;
use crate::model::Endpoint;

const DAY_S: f64 = 86_400.0;
/// Tokens that a provider may add to those of a request or an answer: tools, images, hidden
/// prompts.
pub const MAX_ADDED_TOKENS: u32 = 4096;

/// Usage per day.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Load {
    /// Probes.
    pub probes_per_day: f64,
    /// Tokens, in and out.
    pub tokens_per_day: f64,
    /// US dollars, where prices are known.
    pub usd_per_day: f64,
}

/// Returns the factor on every interval that fits a day of probing into the budget; 1 or more.
pub fn interval_multiplier(config: &Config) -> f64 {
    let load = total(config);
    let money = overload(load.usd_per_day, config.budget.daily_usd);
    let tokens = config
        .budget
        .daily_tokens
        .map_or(1.0, |limit| overload(load.tokens_per_day, limit as f64));
    // A tiny budget allows next to no probes; the cap keeps the arithmetic finite.
    money.max(tokens).min(1e4)
}

/// Returns by which factor the use exceeds the limit, at least 1.
fn overload(used: f64, limit: f64) -> f64 {
    if used <= limit {
        1.0
    } else {
        used / limit.max(1e-9)
    }
}

/// Returns how long `e` may go without a recorded sample when intervals are multiplied by
/// `interval_multiplier`. It is three intervals, and at least one interval plus the total timeout.
pub fn patience(e: &Endpoint, interval_multiplier: f64) -> Duration {
    let interval = e.interval.mul_f64(interval_multiplier);
    (interval * 3).max(interval + e.timeouts.total)
}

/// Returns the usage of all endpoints at their configured intervals.
pub fn total(config: &Config) -> Load {
    config
        .endpoints
        .iter()
        .map(|e| load(e))
        .fold(Load::default(), |sum, l| Load {
            probes_per_day: sum.probes_per_day + l.probes_per_day,
            tokens_per_day: sum.tokens_per_day + l.tokens_per_day,
            usd_per_day: sum.usd_per_day + l.usd_per_day,
        })
}

/// Returns the usage of one endpoint at its configured interval.
pub fn load(e: &Endpoint) -> Load {
    let probes_per_day = DAY_S / e.interval.as_secs_f64();
    let (input, output) = e.expected_tokens;
    Load {
        probes_per_day,
        tokens_per_day: probes_per_day * f64::from(input + output),
        usd_per_day: probes_per_day * e.price.map_or(0.0, |p| p.cost(input, output)),
    }
}
