//! Models an owner and a thief who has copied a token.

use stateright::{Model, Property};

use crate::item::{Mutation, Rule, Violation};
use crate::world::{Delays, MANY, Request, Step, World};
use crate::{
    ENDED_STAYS_ENDED, REUSE_ENDS_SESSION, Watched, assert_holds, assert_violates, invariants,
    rule_and_delays,
};

const OWNER: usize = 0;
const THIEF: usize = 1;

/// One theft, at any time. Afterwards, owner and thief present their tokens at any time and in any order.
#[derive(Clone, Copy, Debug)]
struct Theft {
    rule: Rule,
    delays: Delays,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    world: World<2>,
    /// The number of rotations before the token was copied. `None` before the theft.
    stolen: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Steal,
    Step(Step),
}

impl State {
    /// Whether `who` has been caught reusing a token while the other client has the current token.
    fn is_caught(&self, who: usize) -> bool {
        let other = self.world.clients[1 - who].token;
        self.stolen.is_some()
            && self.world.clients[who].request == Request::Deleting
            && self.world.item.is_some_and(|item| item.counter == other)
    }
}

impl Watched for State {
    fn violation(&self) -> Option<Violation> {
        self.world.violation
    }
}

impl Theft {
    fn new() -> Self {
        let (rule, delays) = rule_and_delays();
        Self { rule, delays }
    }

    fn mutated(self, mutation: Mutation) -> Self {
        Self { rule: Rule { mutation, ..self.rule }, ..self }
    }
}

impl Model for Theft {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State { world: World::new(), stolen: None }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        if state.world.violation.is_some() {
            return;
        }
        let mut steps = Vec::new();
        state.world.steps(&mut steps);
        for who in [OWNER, THIEF] {
            if state.world.clients[who].request == Request::None
                && (who == OWNER || state.stolen.is_some())
            {
                steps.extend(self.delays.clock_errors().map(|error| Step::Ask(who, error)));
            }
        }
        acts.extend(steps.into_iter().map(Act::Step));
        if state.stolen.is_none() {
            acts.push(Act::Steal);
        }
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        let mut after = *state;
        match act {
            Act::Steal => {
                after.stolen = Some(after.world.rotations);
                after.world.clients[THIEF].token = after.world.clients[OWNER].token;
            }
            Act::Step(step) => after.world = after.world.after(step, self.rule, self.delays),
        }
        Some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        // If the owner refreshes at least a grace period after the thief has rotated the session, REUSE_ENDS_SESSION
        // and ENDED_STAYS_ENDED require the session to end for both. The same holds for a late refresh by the thief.
        let mut properties = invariants();
        properties.extend([
            Property::sometimes(
                "the owner refreshes too late after the thief and ends the session",
                |_, state: &State| state.is_caught(OWNER),
            ),
            Property::sometimes(
                "the thief refreshes too late after the owner and ends the session",
                |_, state: &State| state.is_caught(THIEF),
            ),
            Property::sometimes(
                "a thief who refreshes within the grace period shares the session",
                |_, state: &State| {
                    let [owner, thief] = state.world.clients;
                    let current = state.world.item.is_some_and(|item| item.counter == thief.token);
                    let rotated_often = (state.stolen, state.world.rotations) == (Some(0), MANY);
                    rotated_often && current && owner.token == thief.token
                },
            ),
            Property::sometimes(
                "without a theft, a lost answer costs the session",
                |_, state: &State| state.stolen.is_none() && state.world.over,
            ),
        ]);
        properties
    }
}

#[test]
fn a_late_refresh_by_owner_or_thief_ends_the_session_for_both() {
    assert_holds("theft", Theft::new());
}

#[test]
fn removing_a_part_of_the_rule_lets_a_theft_continue() {
    for (mutation, invariant) in [
        (Mutation::EndlessGrace, REUSE_ENDS_SESSION),
        (Mutation::ReuseTolerated, ENDED_STAYS_ENDED),
    ] {
        assert_violates(&format!("theft, {mutation:?}"), Theft::new().mutated(mutation), invariant);
    }
}
