//! Runs the work of one invocation. The work ends by the deadline, and a panic does not end the process.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use process::{Clock, Deadline, DeadlinePassed, Metric, Reader, Settings};

/// The maximum duration of an invocation on Lambda.
const LONGEST: Duration = Duration::from_mins(15);

/// Lambda's time limit for the start of an instance, minus a margin. A start that takes longer is not aborted here.
const START: Duration = Duration::from_secs(9);

/// The assumed duration of an invocation whose deadline is implausible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invocations {
    usual: Duration,
}

impl Default for Invocations {
    /// The timeout in the template.
    fn default() -> Self {
        Self { usual: Duration::from_secs(15) }
    }
}

impl Invocations {
    /// The deadline of an invocation that Lambda will end at `millis`, in milliseconds since 1970. If no invocation
    /// can end at that time, the usual duration applies. For example, `cargo lambda watch` sends 600000, which is a
    /// duration and not a time.
    pub(crate) fn deadline(self, millis: u64, clock: &dyn Clock) -> Deadline {
        let now = u64::try_from(clock.now().as_millisecond()).unwrap_or(0);
        let left = Duration::from_millis(millis.saturating_sub(now));
        let is_implausible = left.is_zero() || left > LONGEST;
        Deadline::within(if is_implausible { self.usual } else { left })
    }
}

impl Settings for Invocations {
    /// Reads `INVOCATION_SECONDS` (1 to 900, default 15).
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let seconds = reader.optional("INVOCATION_SECONDS", 15)?;
        if !(1..=LONGEST.as_secs()).contains(&seconds) {
            reader.fault("INVOCATION_SECONDS", "must be from 1 to 900");
        }
        Some(Self { usual: Duration::from_secs(seconds) })
    }
}

/// The reason why work did not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    /// The work panicked.
    #[error("a panic")]
    Panic,
    /// The deadline passed, and the work was dropped.
    #[error(transparent)]
    Deadline(#[from] DeadlinePassed),
}

/// Runs the start of an instance. Its calls to services end before the time limit, but the start itself may take
/// longer.
pub(crate) async fn start<F: Future>(work: F) -> F::Output {
    Deadline::within(START).scope(work).await
}

/// Runs the work of one invocation, until the deadline if there is one. A panic ends only this work.
///
/// # Errors
/// When the work panics or does not end by the deadline.
pub async fn finish<F: Future>(
    deadline: Option<Deadline>,
    work: F,
) -> Result<F::Output, Unfinished> {
    let work = AssertUnwindSafe(work).catch_unwind();
    let done = match deadline {
        None => Ok(work.await),
        Some(deadline) => deadline.bound(work).await,
    };
    match done {
        Ok(done) => done.map_err(|_: Box<dyn Any + Send>| Unfinished::Panic),
        Err(passed) => {
            Metric::DeadlinesPassed.add(1.0);
            Err(passed.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use process::{Env, SystemClock};

    use super::*;

    /// The seconds left for a call in an invocation that Lambda will end in `from_now_ms` milliseconds.
    async fn left(from_now_ms: i64) -> u64 {
        let now = SystemClock.now().as_millisecond();
        let millis = u64::try_from(now + from_now_ms).unwrap();
        let deadline = Invocations::default().deadline(millis, &SystemClock);
        // Makes up for the moment that has passed since `now`.
        let left = deadline.scope(async { Deadline::left_for_a_call() }).await.unwrap();
        (left + Duration::from_millis(500)).as_secs()
    }

    #[tokio::test]
    async fn a_plausible_deadline_is_used() {
        assert_eq!(left(5_000).await, 3);
        assert_eq!(left(120_000).await, 118);
        assert_eq!(left(899_000).await, 897);
    }

    #[tokio::test]
    async fn an_implausible_deadline_is_replaced_by_the_usual_duration() {
        let usual = left(15_000).await;
        assert_eq!(usual, 13);
        let now = SystemClock.now().as_millisecond();
        for millis in [600_000, 0, now - 1, now + 901_000, i64::MAX / 2] {
            assert_eq!(left(millis - now).await, usual, "{millis}");
        }
    }

    #[test]
    fn the_usual_duration_is_configurable() {
        let read =
            |text: &str| Env::from_iter([("INVOCATION_SECONDS", text)]).settings::<Invocations>();
        assert_eq!(read("").unwrap().usual, Duration::from_secs(15));
        assert_eq!(read("120").unwrap().usual, Duration::from_mins(2));
        for bad in ["0", "901", "-1", "x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
