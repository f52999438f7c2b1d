//! The wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use llmwatch_core::model::Timestamp;

/// The maximum plausible age for [`age`]: a greater one means that the clock was set.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Returns the time since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks the time"
)]
fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Returns the system's wall clock time.
pub(crate) fn now() -> Timestamp {
    Timestamp(i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX))
}

/// Returns how long ago `at` was; zero if it is in the future or more than ten seconds ago.
pub(crate) fn age(at: Duration) -> Duration {
    let age = since_epoch().saturating_sub(at);
    if age > MAX_AGE { Duration::ZERO } else { age }
}
