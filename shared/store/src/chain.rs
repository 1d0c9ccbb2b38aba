//! The refresh rule: which token a client gets for the token that it presents.
//!
//! A session rotates at most once per grace period. Within one grace period after a rotation, an honest client
//! may present either of two tokens: the current one or, if a response was lost or a second tab was slower, the
//! previous one. In both cases it gets the current token. If the previous token is presented later than that,
//! two clients presumably share the session. One of them is a thief, and nothing shows which, so the session
//! ends for both.
//!
//! The rule uses the time at which the function received the request. The function's update, or a retry of it,
//! may reach the table after the session has rotated again. Then the token is two rotations behind, although
//! it was presented within the grace period. The chain therefore also stores the time of the second-to-last
//! rotation, and the grace period of a token begins when the token is superseded, whether it is one or two
//! rotations behind. Without this, the model checker (`tests/protocol`) finds that an honest client can lose its
//! session.
//!
//! The rule contains no database code. All of these use it: the implementation, the model with which the tests
//! compare the implementation, and the model checker.

use jiff::{SignedDuration, Timestamp};

/// The number of a session's rotations, and the times of the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The number of rotations.
    pub counter: u64,
    /// The time of the last rotation. `None` before the first one, so the first refresh after a login always rotates.
    pub rotated_at: Option<Timestamp>,
    /// The time of the second-to-last rotation. `None` if there were fewer than two.
    pub rotated_before: Option<Timestamp>,
}

/// The decision on a presented token, given its counter: the number of rotations before the token was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// The counter is current, and the last rotation was at least a grace period ago: the session rotates.
    Rotate,
    /// The counter is current, and the session rotated within the grace period: the client gets the same
    /// token again.
    Again,
    /// The counter was superseded within the grace period: the client gets the current token, derived again.
    Successor,
    /// The counter was superseded at least a grace period ago: the session ends.
    Reuse,
    /// The counter is ahead of the session's, which happens only if the table was restored from a backup: the
    /// refresh is refused, and the session continues.
    Ahead,
}

impl Chain {
    /// A session that has never rotated.
    pub const NEW: Self = Self { counter: 0, rotated_at: None, rotated_before: None };

    /// Decides on the counter `presented` at the time `now`.
    #[must_use]
    pub fn judge(&self, presented: u64, now: Timestamp, grace: SignedDuration) -> Judgement {
        let within = |at: Option<Timestamp>| at.is_some_and(|at| now.duration_since(at) < grace);
        let superseded_at = match self.counter.checked_sub(presented) {
            None => return Judgement::Ahead,
            Some(0) if within(self.rotated_at) => return Judgement::Again,
            Some(0) => return Judgement::Rotate,
            Some(1) => self.rotated_at,
            Some(2) => self.rotated_before,
            // Three rotations take at least two grace periods, and no operation takes that long.
            Some(_) => None,
        };
        if within(superseded_at) { Judgement::Successor } else { Judgement::Reuse }
    }

    /// The chain after a rotation.
    #[must_use]
    pub fn rotated(self, now: Timestamp) -> Self {
        Self { counter: self.counter + 1, rotated_at: Some(now), rotated_before: self.rotated_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_gets_its_judgement() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let grace = SignedDuration::from_secs(10);
        let chain = Chain { counter: 5, rotated_at: Some(at(0)), rotated_before: Some(at(-10)) };
        for (presented, second, expected) in [
            (5, 0, Judgement::Again),
            (5, 9, Judgement::Again),
            (5, 10, Judgement::Rotate),
            (4, 0, Judgement::Successor),
            (4, 9, Judgement::Successor),
            (4, 10, Judgement::Reuse),
            (3, 0, Judgement::Reuse),
            (3, 9, Judgement::Reuse),
            // A request that was in flight while the session rotated.
            (3, -1, Judgement::Successor),
            (2, -1, Judgement::Reuse),
            (0, 100, Judgement::Reuse),
            (6, 0, Judgement::Ahead),
            (u64::MAX, 100, Judgement::Ahead),
            // A clock that was set back.
            (5, -100, Judgement::Again),
            (4, -100, Judgement::Successor),
        ] {
            assert_eq!(chain.judge(presented, at(second), grace), expected, "{presented} {second}");
        }
        let fresh = Chain::NEW;
        assert_eq!(fresh.judge(0, at(0), grace), Judgement::Rotate);
        assert_eq!(fresh.judge(1, at(0), grace), Judgement::Ahead);
        let once = Chain { counter: 1, rotated_at: Some(at(3)), rotated_before: None };
        assert_eq!(fresh.rotated(at(3)), once);
        let twice = Chain { counter: 2, rotated_at: Some(at(13)), rotated_before: Some(at(3)) };
        assert_eq!(once.rotated(at(13)), twice);
    }
}
