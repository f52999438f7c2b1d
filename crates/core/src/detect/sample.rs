//! Turns a stored sample into an observation for the detector. The daemon, a restart and a replay
//! all use this.

use std::time::Duration;

use super::{FailureReason, LatencyReading, Observation, ProbeResult};
use crate::model::{Attribution, Fault, Sample, SlowLimits};
use crate::schedule::next_tick;

/// The maximum schedule lag, in milliseconds, of a probe whose latency counts. A later start says
/// more about this machine than about the provider; then only the outcome counts.
pub const LAG_LIMIT_MS: f64 = 1000.0;

/// The settings for reading the samples of one endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Its probe interval.
    pub interval: Duration,
    /// Its absolute latency limits.
    pub limits: &'a SlowLimits,
    /// Whether connectivity checks can detect that this machine is offline.
    pub has_connectivity_checks: bool,
}

impl Reader<'_> {
    /// Returns the observation of `sample`.
    pub fn observe(&self, sample: &Sample) -> Observation {
        let end = sample.ended_at();
        let retry_after_ms = sample.retry_after_ms.map(|ms| ms as i64);
        let result = match (sample.fault, sample.attribution) {
            (None, _) if sample.schedule_lag_ms > LAG_LIMIT_MS => ProbeResult::Good(None),
            (None, _) => {
                let total_ms = sample.total_ms.unwrap_or(0.0);
                let first_token_ms = sample.first_token_ms.unwrap_or(total_ms);
                ProbeResult::Good(Some(LatencyReading {
                    first_token_ms,
                    total_ms,
                    per_token_ms: sample.tpot_ms,
                    beyond_limits: self.limits.exceeded_by(sample),
                }))
            }
            (Some(fault), Some(Attribution::Local))
                if fault.is_network() && self.has_connectivity_checks =>
            {
                ProbeResult::Offline
            }
            (Some(fault), Some(Attribution::Account | Attribution::Local)) => {
                ProbeResult::Account {
                    rate_limited: fault == Fault::AccountRateLimit,
                    retry_after_ms,
                }
            }
            (Some(fault), _) => ProbeResult::Failed {
                reason: reason(fault, sample.http_status),
                retry_after_ms,
            },
        };
        Observation {
            endpoint: sample.endpoint.clone(),
            start: sample.started_at,
            end,
            next_tick: next_tick(&sample.endpoint, self.interval, end),
            result,
        }
    }
}

fn reason(fault: Fault, status: Option<u16>) -> FailureReason {
    match fault {
        Fault::Overloaded if status == Some(429) => FailureReason::RateLimited,
        Fault::TimeoutHeaders | Fault::TimeoutFirstToken | Fault::TimeoutTotal => {
            FailureReason::TimedOut
        }
        // A name that does not resolve is the provider's fault once unrelated names have resolved.
        Fault::TcpRefused | Fault::LocalDns => FailureReason::Confirmed,
        _ => FailureReason::Other,
    }
}
