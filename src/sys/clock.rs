//! The monotonic clock in the standard library's terms, for libraries that reckon in them.

use std::time::{Duration, Instant};

use super::kernel::monotonic_ns;

/// The `Instant` at which [`monotonic_ns`] was zero.
pub(crate) fn instant_base() -> Instant {
    let (now, since) = (Instant::now(), Duration::from_nanos(monotonic_ns()));
    // Both read the same clock, so there is such an instant.
    now.checked_sub(since).unwrap_or(now)
}
