//! Limits how often something happens, and retries requests that the database temporarily refuses.

use std::num::NonZeroU32;
use std::time::Duration;

use process::{Fault, FaultKind};
use store::StoreError;
use tokio::time::{Instant, sleep, sleep_until};

/// Limits the number of events per second, and spreads them evenly.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    /// Permits `rate` events a second, or any number if `rate` is `None`.
    pub(super) fn new(rate: Option<NonZeroU32>) -> Self {
        let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
        Self { interval, next: Instant::now() }
    }

    /// Reserves time for `events` events. Returns the time at which they may begin. A pause does not permit a burst
    /// after it.
    pub(super) fn reserve(&mut self, events: u32) -> Instant {
        let at = self.next.max(Instant::now());
        self.next = at + self.interval * events;
        at
    }

    /// Waits until the next `events` may happen.
    pub(super) async fn wait(&mut self, events: u32) {
        sleep_until(self.reserve(events)).await;
    }
}

/// How many times a request is sent while the database temporarily refuses it. The waits add up to a minute.
const TRIES: u32 = 7;

/// Sends a request, and sends it again while the database is throttled or unreachable.
pub(super) async fn patiently<T>(
    request: impl AsyncFn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut wait = Duration::from_secs(1);
    for _ in 1..TRIES {
        match request().await {
            Err(error) if error.kind() == FaultKind::Unavailable => sleep(wait).await,
            answer => return answer,
        }
        wait *= 2;
    }
    request().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_spread_evenly_and_a_pause_permits_no_burst() {
        let mut pace = Pace::new(NonZeroU32::new(10));
        let first = pace.reserve(1);
        assert_eq!(pace.reserve(2) - first, Duration::from_millis(100));
        assert_eq!(pace.reserve(1) - first, Duration::from_millis(300));
        pace.next = first.checked_sub(Duration::from_secs(5)).unwrap();
        assert!(pace.reserve(1) >= first);
        let mut unlimited = Pace::new(None);
        assert!(unlimited.reserve(1_000_000) <= Instant::now());
        assert!(unlimited.reserve(1) <= Instant::now());
    }
}
