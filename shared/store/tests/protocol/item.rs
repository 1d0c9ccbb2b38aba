//! The session's item, and what one refresh does to it.

use jiff::{SignedDuration, Timestamp};
use store::{Chain, Judgement};

/// A time, in ticks after the present (before it, when negative), or a length of time.
pub(crate) type Ticks = i8;

/// Where counters stop: beyond it all of them move down with the session's. What matters of a token
/// is whether it is the current one, the one before, or older, and three values tell.
const TOP: u8 = 2;

/// The rule, and how it is broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) grace: Ticks,
    pub(crate) mutation: Mutation,
}

/// What is taken away from the rule, to see that the checker notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Nothing.
    None,
    /// The update has no `counter = presented`.
    AnyCounter,
    /// The update has no `rotated_at <= now - grace`.
    NoRest,
    /// The item is read and judged, and written later without a condition.
    ReadThenWrite,
    /// The update writes even if the item no longer exists.
    Upsert,
    /// The token before the current one never gets its successor.
    NoGrace,
    /// The time of the rotation before the last is not kept.
    ForgetsBefore,
    /// The token before the current one always gets its successor.
    EndlessGrace,
    /// A reuse is refused, and the session lives.
    ReuseLives,
}

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Violation {
    /// A counter was rotated to that had been rotated to before: there are two chains.
    Fork,
    /// Less than a grace lay between two rotations.
    TooSoon,
    /// A token that had been superseded for a grace did not end the session.
    Unnoticed,
    /// A session that had been ended went on.
    Outlived,
    /// A session ended, and all clients were honest.
    Unjust,
}

/// The item. By the times of its rotations the model says for itself, too, since when a token has been
/// superseded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Item {
    pub(crate) counter: u8,
    last: Option<Ticks>,
    before: Option<Ticks>,
}

/// What the table says to a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The token of this counter is current.
    Live(u8),
    /// The session must end.
    Reuse,
    /// There is no such session, or the token is ahead of it.
    Refused,
}

/// A present for `store`'s clock, far enough from its beginning.
fn at(time: Ticks) -> Timestamp {
    let second = 1_000_000 + i64::from(time);
    Timestamp::from_second(second).expect("within jiff's range")
}

fn length(ticks: Ticks) -> SignedDuration {
    SignedDuration::from_secs(ticks.into())
}

impl Item {
    /// A session that has just begun.
    pub(crate) const NEW: Self = Self { counter: 0, last: None, before: None };

    /// The session as `store` sees it.
    fn chain(self) -> Chain {
        let (rotated_at, rotated_before) = (self.last.map(at), self.before.map(at));
        Chain { counter: self.counter.into(), rotated_at, rotated_before }
    }

    /// When a token was superseded, at the latest; `None` when it has not been.
    pub(crate) fn superseded(self, token: u8) -> Option<Ticks> {
        match self.counter.checked_sub(token)? {
            0 => None,
            1 => self.last,
            _ => self.before,
        }
    }

    /// A tick later. What is `horizon` ticks ago or more is all the same.
    pub(crate) fn tick(&mut self, horizon: Ticks) {
        for time in [&mut self.last, &mut self.before].into_iter().flatten() {
            *time = (*time - 1).max(-horizon);
        }
    }

    /// By how much all counters are to be lowered.
    pub(crate) fn excess(self) -> u8 {
        self.counter.saturating_sub(TOP)
    }
}

impl Rule {
    /// What a token gets that is presented at `now`. All of it is `store`'s judgement; a mutation has
    /// it judge something else.
    fn judge(self, item: Item, presented: u8, now: Ticks) -> Judgement {
        let (chain, grace) = (item.chain(), length(self.grace));
        let judge = |chain: Chain, grace| chain.judge(presented.into(), at(now), grace);
        // What the mutation has judged in its place, and which judgement of that it goes by.
        let (other, taken) = match self.mutation {
            Mutation::AnyCounter => {
                (judge(Chain { counter: presented.into(), ..chain }, grace), Judgement::Rotate)
            }
            Mutation::NoRest => {
                (judge(Chain { rotated_at: None, ..chain }, grace), Judgement::Rotate)
            }
            Mutation::NoGrace => (judge(chain, SignedDuration::ZERO), Judgement::Reuse),
            Mutation::EndlessGrace => (judge(chain, SignedDuration::MAX), Judgement::Successor),
            Mutation::ForgetsBefore => {
                return judge(Chain { rotated_before: None, ..chain }, grace);
            }
            Mutation::None | Mutation::ReadThenWrite | Mutation::Upsert | Mutation::ReuseLives => {
                return judge(chain, grace);
            }
        };
        if other == taken { taken } else { judge(chain, grace) }
    }

    /// One refresh as the table carries it out: the conditional update, and, since the old item comes
    /// back with its failure, the judgement of a failure at the same moment.
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

    /// The judgement alone, of an implementation that reads first: whether it will write.
    pub(crate) fn would_rotate(self, item: Item, presented: u8, now: Ticks) -> bool {
        self.judge(item, presented, now) == Judgement::Rotate
    }

    /// What the update writes: the counter after the one that was presented, which the condition
    /// says is the item's. Gives that counter.
    pub(crate) fn rotate(
        self,
        item: &mut Item,
        presented: u8,
        now: Ticks,
    ) -> Result<u8, Violation> {
        let won = presented + 1;
        // All counters up to the present one have been rotated to, one by one.
        if won <= item.counter {
            return Err(Violation::Fork);
        }
        if item.last.is_some_and(|last| now - last < self.grace) {
            return Err(Violation::TooSoon);
        }
        *item = Item { counter: won, last: Some(now), before: item.last };
        Ok(won)
    }
}
