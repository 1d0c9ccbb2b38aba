//! Models a session's item and the effect of a refresh on it.

use jiff::{SignedDuration, Timestamp};
use store::{Chain, Judgement};

/// A duration in ticks, or a time in ticks relative to the present. A past time is negative.
pub(crate) type Ticks = i8;

/// The largest counter. If a counter exceeds it, all counters are lowered together. Three values are enough, because
/// the rule distinguishes only the current token, the previous one and older ones.
const TOP: u8 = 2;

/// The refresh rule, with a mutation that tests the checker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) grace: Ticks,
    pub(crate) mutation: Mutation,
}

/// A change that breaks the rule. The checker must detect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The rule is unchanged.
    None,
    /// The update lacks the condition `counter = presented`.
    AnyCounter,
    /// The update lacks the condition `rotated_at <= now - grace`.
    AnyTime,
    /// The function reads and judges the item, and writes it later without a condition.
    ReadThenWrite,
    /// The update writes even if the item no longer exists.
    Upsert,
    /// The previous token never gets its successor.
    NoGrace,
    /// The time of the second-to-last rotation is not stored.
    ForgetsBefore,
    /// The previous token always gets its successor.
    EndlessGrace,
    /// Reuse is refused, but does not end the session.
    ReuseTolerated,
}

/// A violated invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Violation {
    /// The session rotated to the same counter twice, so there are two chains.
    Fork,
    /// Two rotations were less than a grace period apart.
    TooSoon,
    /// A token that had been superseded for at least a grace period did not end the session.
    Unnoticed,
    /// A session was refreshed after its end.
    Outlived,
    /// A session ended although all clients were honest.
    Unjust,
}

/// The session's item. From the rotation times, the model determines when a token was superseded, independently of
/// `store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Item {
    pub(crate) counter: u8,
    last: Option<Ticks>,
    before: Option<Ticks>,
}

/// The table's answer to a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The token with this counter is current.
    Live(u8),
    /// The token was reused, so the session must end.
    Reuse,
    /// The session does not exist, or the token is ahead of it.
    Refused,
}

/// Converts a time to a `Timestamp` that is far from the limits of the type.
fn at(time: Ticks) -> Timestamp {
    let second = 1_000_000 + i64::from(time);
    Timestamp::from_second(second).expect("within jiff's range")
}

fn length(ticks: Ticks) -> SignedDuration {
    SignedDuration::from_secs(ticks.into())
}

impl Item {
    /// A session that has never rotated.
    pub(crate) const NEW: Self = Self { counter: 0, last: None, before: None };

    /// The chain that `store` judges.
    fn chain(self) -> Chain {
        let (rotated_at, rotated_before) = (self.last.map(at), self.before.map(at));
        Chain { counter: self.counter.into(), rotated_at, rotated_before }
    }

    /// The latest time at which the token may have been superseded. `None` if it has not been superseded.
    pub(crate) fn superseded(self, token: u8) -> Option<Ticks> {
        match self.counter.checked_sub(token)? {
            0 => None,
            1 => self.last,
            _ => self.before,
        }
    }

    /// Advances the clock by one tick. All times at least `horizon` ticks ago become equal.
    pub(crate) fn tick(&mut self, horizon: Ticks) {
        for time in [&mut self.last, &mut self.before].into_iter().flatten() {
            *time = (*time - 1).max(-horizon);
        }
    }

    /// The amount by which all counters must be lowered.
    pub(crate) fn excess(self) -> u8 {
        self.counter.saturating_sub(TOP)
    }
}

impl Rule {
    /// Lets `store` judge a token that is presented at `now`. A mutation may change the chain or the grace period that
    /// `store` gets.
    fn judge(self, item: Item, presented: u8, now: Ticks) -> Judgement {
        let (chain, grace) = (item.chain(), length(self.grace));
        let judge = |chain: Chain, grace| chain.judge(presented.into(), at(now), grace);
        // `other` is the judgement for the changed input. It replaces the original judgement only if it equals `taken`.
        let (other, taken) = match self.mutation {
            Mutation::AnyCounter => {
                (judge(Chain { counter: presented.into(), ..chain }, grace), Judgement::Rotate)
            }
            Mutation::AnyTime => {
                (judge(Chain { rotated_at: None, ..chain }, grace), Judgement::Rotate)
            }
            Mutation::NoGrace => (judge(chain, SignedDuration::ZERO), Judgement::Reuse),
            Mutation::EndlessGrace => (judge(chain, SignedDuration::MAX), Judgement::Successor),
            Mutation::ForgetsBefore => {
                return judge(Chain { rotated_before: None, ..chain }, grace);
            }
            Mutation::None
            | Mutation::ReadThenWrite
            | Mutation::Upsert
            | Mutation::ReuseTolerated => {
                return judge(chain, grace);
            }
        };
        if other == taken { taken } else { judge(chain, grace) }
    }

    /// Refreshes as the table does: applies the conditional update or, if the condition fails, judges the item at
    /// the same moment.
    pub(crate) fn refresh(
        self,
        item: &mut Option<Item>,
        presented: u8,
        now: Ticks,
    ) -> Result<Outcome, Violation> {
        let Some(old) = item else {
            return match self.mutation {
                Mutation::Upsert => Err(Violation::Outlived),
                _ => Ok(Outcome::Refused),
            };
        };
        let superseded = old.superseded(presented).is_some_and(|at| now - at >= self.grace);
        match self.judge(*old, presented, now) {
            Judgement::Reuse => Ok(Outcome::Reuse),
            Judgement::Rotate => self.rotate(old, presented, now).map(Outcome::Live),
            _ if superseded => Err(Violation::Unnoticed),
            Judgement::Again | Judgement::Successor => Ok(Outcome::Live(old.counter)),
            Judgement::Ahead => Ok(Outcome::Refused),
        }
    }

    /// Whether an implementation that reads before it writes would rotate the session.
    pub(crate) fn would_rotate(self, item: Item, presented: u8, now: Ticks) -> bool {
        self.judge(item, presented, now) == Judgement::Rotate
    }

    /// Applies the update, which writes the successor of the presented counter, and returns the new counter. The
    /// condition requires the presented counter to be the current one.
    pub(crate) fn rotate(
        self,
        item: &mut Item,
        presented: u8,
        now: Ticks,
    ) -> Result<u8, Violation> {
        let next = presented + 1;
        // The session has rotated to every counter up to the current one.
        if next <= item.counter {
            return Err(Violation::Fork);
        }
        if item.last.is_some_and(|last| now - last < self.grace) {
            return Err(Violation::TooSoon);
        }
        *item = Item { counter: next, last: Some(now), before: item.last };
        Ok(next)
    }
}
