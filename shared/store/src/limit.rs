//! The rule for counting attempts: how many are free, and how long each further one must wait.
//!
//! The rule contains no database code. [`Counters`](crate::Counters) applies it to stored counters.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The number of free attempts, and the wait before further ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The number of free attempts.
    pub free: u32,
    /// The wait once the free attempts are used up.
    pub beyond: Beyond,
    /// For [`Beyond::Doubling`], the time without an attempt after which the counter expires. For
    /// [`Beyond::WindowEnd`], the length of a window.
    pub window: SignedDuration,
}

/// How long callers must wait once the free attempts are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// A wait after each attempt, twice as long as the previous one.
    Doubling {
        /// The first wait.
        base: SignedDuration,
        /// The longest wait.
        most: SignedDuration,
    },
    /// A wait until the window ends.
    WindowEnd,
}

/// The stored form of a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counter {
    pub(crate) count: u32,
    /// The earliest time of the next attempt, in milliseconds since 1970. 0 if the next attempt need not wait.
    pub(crate) next_at: i64,
    /// When the counter expires, in seconds since 1970: the table's TTL attribute.
    pub(crate) expires_at: i64,
    /// The mark of the last reservation. A retry recognizes its own write by the mark.
    pub(crate) last: String,
}

/// The decision on an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The attempt may be made, and this is the new counter.
    Grant(Counter),
    /// The attempt must wait this long.
    Wait(SignedDuration),
}

/// The maximum number of doublings. After this many, even a first wait of one second has grown beyond any wait that can
/// be configured.
const MAX_DOUBLINGS: u32 = 30;

impl Limit {
    /// The wait after the attempt that raises the count to `count`.
    fn wait_after(&self, count: u32) -> SignedDuration {
        match self.beyond {
            Beyond::Doubling { base, most } if count >= self.free => {
                let doublings = (count - self.free).min(MAX_DOUBLINGS);
                base.saturating_mul(1 << doublings).min(most)
            }
            _ => SignedDuration::ZERO,
        }
    }

    /// The counter after a first attempt at `now`.
    pub(crate) fn first(&self, now: Timestamp, mark: &str) -> Counter {
        self.counted(0, None, now, mark)
    }

    /// Decides on an attempt at `now`, given the counter `old`.
    pub(crate) fn decide(&self, old: &Counter, now: Timestamp, mark: &str) -> Decision {
        let second = now.as_second();
        if old.expires_at <= second {
            return Decision::Grant(self.first(now, mark));
        }
        let wait = SignedDuration::from_millis(old.next_at.saturating_sub(now.as_millisecond()));
        if wait > SignedDuration::ZERO {
            return Decision::Wait(wait);
        }
        match self.beyond {
            Beyond::WindowEnd if old.count >= self.free => {
                Decision::Wait(SignedDuration::from_secs(old.expires_at - second))
            }
            Beyond::WindowEnd => {
                Decision::Grant(self.counted(old.count, Some(old.expires_at), now, mark))
            }
            Beyond::Doubling { .. } => Decision::Grant(self.counted(old.count, None, now, mark)),
        }
    }

    /// The counter after one more attempt, where `count` is the number so far. `window_end` is the end of the current
    /// window, if one has begun.
    fn counted(&self, count: u32, window_end: Option<i64>, now: Timestamp, mark: &str) -> Counter {
        let count = count.saturating_add(1);
        let wait = self.wait_after(count);
        let next_at = if wait.is_zero() { 0 } else { millis(now, wait) };
        let expires_at = window_end.unwrap_or_else(|| {
            let ends = now.as_second().saturating_add(self.window.as_secs()).saturating_add(1);
            // The counter must not expire before its wait is over.
            ends.max(next_at / 1000 + 1)
        });
        Counter { count, next_at, expires_at, last: mark.to_owned() }
    }

    /// The count below which an attempt is free and causes no wait, so incrementing the counter is enough.
    pub(crate) fn free_below(&self) -> u32 {
        match self.beyond {
            Beyond::Doubling { .. } => self.free.saturating_sub(1),
            Beyond::WindowEnd => self.free,
        }
    }
}

fn millis(now: Timestamp, later: SignedDuration) -> i64 {
    let later = i64::try_from(later.as_millis()).unwrap_or(i64::MAX);
    now.as_millisecond().saturating_add(later)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn seconds(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    /// The default limit for a name and a network together.
    const PAIR: Limit = Limit {
        free: 3,
        beyond: Beyond::Doubling {
            base: SignedDuration::from_secs(1),
            most: SignedDuration::from_secs(900),
        },
        window: SignedDuration::from_secs(86_400),
    };

    const NETWORK: Limit =
        Limit { free: 5, beyond: Beyond::WindowEnd, window: SignedDuration::from_secs(600) };

    /// How many seconds each attempt must wait if all are made as early as possible.
    fn waits(limit: Limit, attempts: usize) -> Vec<i64> {
        let (mut now, mut waits) = (at(0), vec![0]);
        let mut counter = limit.first(now, "n");
        while waits.len() < attempts {
            let mut waited = 0;
            loop {
                match limit.decide(&counter, now, "n") {
                    Decision::Grant(new) => {
                        counter = new;
                        break;
                    }
                    Decision::Wait(wait) => {
                        waited += wait.as_secs();
                        now += wait;
                    }
                }
            }
            waits.push(waited);
        }
        waits
    }

    #[test]
    fn three_attempts_are_free_and_then_the_wait_doubles_up_to_a_maximum() {
        let expected = [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900];
        assert_eq!(waits(PAIR, expected.len()), expected);
        assert_eq!(PAIR.wait_after(u32::MAX), seconds(900));
    }

    #[test]
    fn attempts_beyond_the_limit_wait_for_the_next_window() {
        assert_eq!(waits(NETWORK, 11), [0, 0, 0, 0, 0, 601, 0, 0, 0, 0, 601]);
    }

    #[test]
    fn a_counter_expires_after_its_window() {
        let old =
            Counter { count: 10, next_at: 0, expires_at: at(5).as_second(), last: "o".into() };
        let Decision::Grant(before) = PAIR.decide(&old, at(4), "n") else { panic!() };
        let Decision::Grant(after) = PAIR.decide(&old, at(5), "n") else { panic!() };
        assert_eq!((before.count, after.count), (11, 1));
    }
}
