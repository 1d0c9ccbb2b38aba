//! The rule of refreshing: which token answers a presented one.
//!
//! A session rotates at most once per grace. So within a grace after a rotation, an honest client may hold
//! one of two tokens: the current one or, if an answer was lost or a second tab was slower, the previous one.
//! Both get the current one. A caller who presents the previous one later holds a token that another client
//! has used since. One of the two is a thief, and nothing shows which, so the session ends for both.
//!
//! The time is that of the function that received the request. Its update, retries included, may reach the
//! table after the session has rotated once more. Then the token is two rotations behind, although it was
//! presented within the grace. So the time of the rotation before the last is stored too, and the grace of a
//! token begins with the rotation that superseded it, whether it is one behind or two. (The model checker
//! found that an honest client could otherwise lose its session: `protocol` in the tests.)
//!
//! This is the whole rule, without a database: the implementation, the model that it is tested against and
//! the model checker's model all use it.

use jiff::{SignedDuration, Timestamp};

/// The number and the times of a session's rotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The number of rotations.
    pub counter: u64,
    /// The time of the last rotation. `None` if there was none, so that the first refresh after a login
    /// always rotates.
    pub rotated_at: Option<Timestamp>,
    /// The time of the rotation before the last one. `None` if there were fewer than two.
    pub rotated_before: Option<Timestamp>,
}

/// The decision on a presented counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// The counter is current, and the last rotation is at least a grace ago: the session rotates.
    Rotate,
    /// The counter is current, and the session has rotated within the grace: the client gets the same token
    /// again.
    Again,
    /// The counter was superseded within the grace: the client gets the current token, derived again.
    Successor,
    /// The counter was superseded longer than the grace ago: the session ends.
    Reuse,
    /// The counter is ahead, which happens only if the table was restored from a backup: the client is
    /// refused, and the session lives.
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
            // Three rotations take at least two graces, and no operation takes that long.
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
