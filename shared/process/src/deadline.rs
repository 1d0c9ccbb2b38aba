//! The deadline of an invocation.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// The time at the end of an invocation that is reserved for sending the response. The handler is dropped when
/// this time begins.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// The time before [`ANSWER_MARGIN`] in which a handler can still undo its work, for example by giving back the
/// reservations of an attempt. When this time begins, pending calls to services fail.
const UNDO_MARGIN: Duration = Duration::from_millis(1_500);

tokio::task_local! {
    static CURRENT: Deadline;
}

/// The time by which the work of an invocation must end. The work ends in two steps:
///
/// 1. Calls to services fail, as in an outage. The handler still has time for a few short calls.
/// 2. The handler is dropped, and the invocation is answered without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    calls_end: Instant,
    ends: Instant,
}

/// The deadline has passed, and the work was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the invocation's deadline has passed")]
pub struct DeadlinePassed;

impl Deadline {
    /// The deadline of an invocation that Lambda will kill after `left`. If little time is left, the margins shrink.
    #[must_use]
    pub fn within(left: Duration) -> Self {
        Self::starting(Instant::now(), left)
    }

    fn starting(now: Instant, left: Duration) -> Self {
        let work = left.saturating_sub(ANSWER_MARGIN.min(left / 10));
        let calls = work.saturating_sub(UNDO_MARGIN.min(left / 5));
        Self { calls_end: now + calls, ends: now + work }
    }

    /// Runs `work` under this deadline.
    ///
    /// # Errors
    /// When the deadline passes before `work` ends.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, DeadlinePassed> {
        timeout_at(self.ends, self.scope(work)).await.map_err(|_| DeadlinePassed)
    }

    /// Runs `work` and ends its calls to services by this deadline, but never drops the work itself. An instance starts
    /// this way, because a start that takes longer may still succeed.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// How long a service call that begins now may take, or `None` without a deadline. Tasks that the work spawns have
    /// no deadline.
    #[must_use]
    pub fn left_for_a_call() -> Option<Duration> {
        let Self { calls_end, ends } = CURRENT.try_get().ok()?;
        let now = Instant::now();
        // A call that begins after the first step is one of the few short ones.
        let end = if now < calls_end { calls_end } else { ends };
        Some(end.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_end_first_then_the_work_and_then_the_invocation() {
        for (left, calls, work) in
            [(15_000, 13_000, 14_500), (1_000, 700, 900), (10, 7, 9), (0, 0, 0)]
        {
            let now = Instant::now();
            let deadline = Deadline::starting(now, Duration::from_millis(left));
            assert_eq!(deadline.calls_end - now, Duration::from_millis(calls), "of {left}");
            assert_eq!(deadline.ends - now, Duration::from_millis(work), "of {left}");
        }
    }

    #[tokio::test]
    async fn work_that_never_ends_is_dropped() {
        let bound = Deadline::within(Duration::from_millis(10)).bound(std::future::pending::<()>());
        assert_eq!(bound.await, Err(DeadlinePassed));
    }

    #[tokio::test]
    async fn a_call_ends_at_the_first_step_and_a_later_call_at_the_second() {
        assert_eq!(Deadline::left_for_a_call(), None);
        let now = Instant::now();
        let (minute, hour) = (now + Duration::from_mins(1), now + Duration::from_hours(1));
        let left = async || Deadline::left_for_a_call().unwrap();
        let early = Deadline { calls_end: minute, ends: hour }.bound(left()).await.unwrap();
        assert!(early <= Duration::from_mins(1), "{early:?}");
        let late = Deadline { calls_end: now, ends: hour }.bound(left()).await.unwrap();
        assert!(late > Duration::from_mins(1), "{late:?}");
    }
}
