//! Models several interchangeable clients of one owner, such as the tabs of a browser.

use stateright::{Model, Property};

use crate::item::{Mutation, Rule, Ticks, Violation};
use crate::world::{Delays, MANY, Request, Step, World};
use crate::{
    ENDED_STAYS_ENDED, HONEST_KEEP_SESSION, ONE_CHAIN, REUSE_ENDS_SESSION, ROTATIONS_ARE_SPACED,
    Watched, assert_holds, assert_violates, invariants, rule_and_delays,
};

/// `N` tabs that share a session.
#[derive(Clone, Copy, Debug)]
struct Tabs<const N: usize> {
    /// How `store` treats each token.
    rule: Rule,
    delays: Delays,
    behavior: Behavior,
}

/// When the tabs present their tokens.
#[derive(Clone, Copy, Debug)]
enum Behavior {
    /// At any time.
    Any,
    /// While the token is current, or if it was superseded less than `allowance` ticks ago.
    Honest { allowance: Ticks },
}

impl<const N: usize> Tabs<N> {
    /// Tabs that present their tokens at any time.
    fn any() -> Self {
        let (rule, delays) = rule_and_delays();
        Self { rule, delays, behavior: Behavior::Any }
    }

    /// Makes the tabs honest, with the longest allowance that never costs them their session.
    fn honest(self) -> Self {
        let allowance = self.rule.grace - self.delays.skew;
        Self { behavior: Behavior::Honest { allowance }, ..self }
    }

    fn mutated(self, mutation: Mutation) -> Self {
        Self { rule: Rule { mutation, ..self.rule }, ..self }
    }

    fn may_ask(self, world: &World<N>, token: u8) -> bool {
        let (Behavior::Honest { allowance }, Some(item)) = (self.behavior, world.item) else {
            return true;
        };
        item.superseded(token).is_none_or(|at| -at < allowance)
    }
}

impl<const N: usize> Watched for World<N> {
    fn violation(&self) -> Option<Violation> {
        self.violation
    }
}

impl<const N: usize> Model for Tabs<N> {
    type State = World<N>;
    type Action = Step;

    fn init_states(&self) -> Vec<World<N>> {
        vec![World::new()]
    }

    fn actions(&self, world: &World<N>, steps: &mut Vec<Step>) {
        if world.violation.is_some() {
            return;
        }
        world.steps(steps);
        let newest = world.clients.iter().map(|client| client.token).max();
        for (i, client) in world.clients.iter().enumerate() {
            if client.request == Request::None && self.may_ask(world, client.token) {
                steps.extend(self.delays.clock_errors().map(|error| Step::Ask(i, error)));
            }
            if Some(client.token) < newest {
                steps.push(Step::Learn(i));
            }
        }
    }

    fn next_state(&self, world: &World<N>, step: Step) -> Option<World<N>> {
        let mut after = world.after(step, self.rule, self.delays);
        // Honest tabs must never end their session.
        let ends = after.clients.iter().any(|client| client.request == Request::Deleting);
        if ends && matches!(self.behavior, Behavior::Honest { .. }) {
            after.violation = Some(Violation::Unjust);
        }
        Some(after.sorted())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = invariants();
        if matches!(self.behavior, Behavior::Honest { .. }) {
            properties.push(Property::always(HONEST_KEEP_SESSION, |_, world: &World<N>| {
                world.violation != Some(Violation::Unjust)
            }));
        }
        // These states must be reachable. Otherwise, the invariants might hold merely because little happens.
        properties.extend([
            Property::sometimes("the session rotates many times", |_, world: &World<N>| {
                world.rotations == MANY
            }),
            Property::sometimes(
                "all clients get a newer token concurrently",
                |_, world: &World<N>| world.clients.iter().all(|client| client.gets_newer()),
            ),
        ]);
        properties
    }
}

#[test]
fn all_invariants_hold_for_any_client_behavior() {
    assert_holds("any tabs", Tabs::<3>::any());
}

#[test]
fn honest_clients_keep_their_session() {
    assert_holds("honest tabs", Tabs::<4>::any().honest());
}

#[test]
fn clock_skew_shortens_the_grace_period_by_no_more_than_the_skew() {
    let mut tabs = Tabs::<3>::any();
    tabs.delays = Delays { flight: tabs.delays.flight - 1, skew: 1 };
    assert_holds("honest tabs, clocks off by a tick", tabs.honest());
}

/// The allowance of honest clients cannot be longer than the grace period.
#[test]
fn presenting_a_token_after_the_grace_period_can_cost_the_session() {
    let mut tabs = Tabs::<3>::any().honest();
    tabs.behavior = Behavior::Honest { allowance: tabs.rule.grace + 1 };
    assert_violates("slow tabs", tabs, HONEST_KEEP_SESSION);
}

/// If a request is in flight while the session rotates three times, its token is three rotations behind. This is
/// why [`store::Grace::operation_deadline`] is short.
#[test]
fn an_operation_that_takes_two_grace_periods_can_cost_the_session() {
    let mut tabs = Tabs::<3>::any();
    tabs.delays.flight = 2 * tabs.rule.grace;
    assert_violates("slow operations", tabs.honest(), HONEST_KEEP_SESSION);
}

#[test]
fn removing_any_part_of_the_rule_violates_an_invariant() {
    let tabs = Tabs::<3>::any();
    for (tabs, mutation, invariant) in [
        (tabs, Mutation::AnyCounter, ONE_CHAIN),
        (tabs, Mutation::ReadThenWrite, ONE_CHAIN),
        (tabs, Mutation::AnyTime, ROTATIONS_ARE_SPACED),
        (tabs, Mutation::EndlessGrace, REUSE_ENDS_SESSION),
        (tabs, Mutation::ReuseTolerated, ENDED_STAYS_ENDED),
        (tabs, Mutation::Upsert, ENDED_STAYS_ENDED),
        (tabs.honest(), Mutation::NoGrace, HONEST_KEEP_SESSION),
        (tabs.honest(), Mutation::ForgetsBefore, HONEST_KEEP_SESSION),
    ] {
        assert_violates(&format!("{mutation:?}"), tabs.mutated(mutation), invariant);
    }
}
