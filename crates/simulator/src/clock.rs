//! The wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use llmwatch_core::model::Timestamp;

/// The longest age that [`age`] believes: more means that the clock was set meanwhile.
const MAX_AGE: Duration = Duration::from_secs(10);

/// The time since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks the time"
)]
fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The system's wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp(i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX))
}

/// How long ago the wall clock read `at`; zero for a moment in the future or more than ten seconds ago.
pub(crate) fn age(at: Duration) -> Duration {
    let age = since_epoch().saturating_sub(at);
    if age > MAX_AGE { Duration::ZERO } else { age }
}
