//! The rule of refreshing: what a presented counter gets.
//!
//! A session rotates at most once in a grace. So within a grace after a rotation there are just two
//! tokens that an honest client may hold: the current one, and, when the answer was lost or a second
//! tab was slower, the one before. Both get the current one. Whoever comes later with the one before
//! holds a token that somebody else has used since: the session ends, for the thief and the owner,
//! whichever of them it was.
//!
//! This is the whole rule, without a database: the implementation, the model that it is tested
//! against and the model checker's model all ask it.

use jiff::{SignedDuration, Timestamp};

/// How often a session has rotated, and when last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    /// How often.
    pub counter: u64,
    /// When last; `None` when it never has, so that the first refresh after a login always may.
    pub rotated_at: Option<Timestamp>,
}

/// What a presented counter gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// It is current, and the last rotation is at least a grace ago: the session rotates.
    Rotate,
    /// It is current, and the session has rotated within the grace: the same token again.
    Again,
    /// It is the one before, and the session has rotated within the grace: the current token, derived
    /// again.
    Successor,
    /// It has been superseded for longer than the grace: the session ends.
    Reuse,
    /// It is ahead, which it can only be when the table was restored: refused, and the session lives.
    Ahead,
}

impl Chain {
    /// What `presented` gets at the time `now`.
    #[must_use]
    pub fn judge(&self, presented: u64, now: Timestamp, grace: SignedDuration) -> Judgement {
        let rested = self.rotated_at.is_none_or(|at| now.duration_since(at) >= grace);
        match self.counter.checked_sub(presented) {
            None => Judgement::Ahead,
            Some(0) if rested => Judgement::Rotate,
            Some(0) => Judgement::Again,
            Some(1) if !rested => Judgement::Successor,
            // Two and more behind: superseded longer ago than the grace, since rotations are at least
            // a grace apart.
            Some(_) => Judgement::Reuse,
        }
    }

    /// The chain after it has rotated.
    #[must_use]
    pub fn rotated(self, now: Timestamp) -> Self {
        Self { counter: self.counter + 1, rotated_at: Some(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the contract.
    #[test]
    fn each_row_of_the_table() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let grace = SignedDuration::from_secs(10);
        let chain = Chain { counter: 5, rotated_at: Some(at(0)) };
        for (presented, second, expected) in [
            (5, 0, Judgement::Again),
            (5, 9, Judgement::Again),
            (5, 10, Judgement::Rotate),
            (4, 0, Judgement::Successor),
            (4, 9, Judgement::Successor),
            (4, 10, Judgement::Reuse),
            (3, 0, Judgement::Reuse),
            (3, 9, Judgement::Reuse),
            (0, 100, Judgement::Reuse),
            (6, 0, Judgement::Ahead),
            (u64::MAX, 100, Judgement::Ahead),
            // A clock that was set back.
            (5, -100, Judgement::Again),
            (4, -100, Judgement::Successor),
        ] {
            assert_eq!(chain.judge(presented, at(second), grace), expected, "{presented} {second}");
        }
        let fresh = Chain { counter: 0, rotated_at: None };
        assert_eq!(fresh.judge(0, at(0), grace), Judgement::Rotate);
        assert_eq!(fresh.judge(1, at(0), grace), Judgement::Ahead);
        assert_eq!(fresh.rotated(at(3)), Chain { counter: 1, rotated_at: Some(at(3)) });
    }
}
