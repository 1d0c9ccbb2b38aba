//! Model-checks the refresh protocol in every schedule.
//!
//! The model checker explores every interleaving of a few clients that share one session, the functions that
//! they call, and the table. [`store::Chain::judge`] judges each token, as in the implementation. The
//! models omit MACs (tokens cannot be guessed), lifetimes, accounts, and tables restored from a backup.
//!
//! # Steps
//!
//! A client presents its token. A function reads its clock once and sends the conditional update. An attempt
//! may reach the table at any time up to the deadline of the operation. If the answer to an attempt is lost,
//! the function retries with the same time. Once it has an answer, the function answers the client. Any number of
//! messages may be late or lost. On reuse, the function deletes the session in a separate step, which may also be lost.
//!
//! The number of steps is unlimited, but the state space is finite: all counters are lowered together so that they
//! stay small, and times that are too old to affect any comparison are treated as equal.
//!
//! # Honest clients
//!
//! [`HONEST_KEEP_SESSION`] states that honest clients keep their session in every schedule. An honest client presents a
//! superseded token only within the grace period, less the clock skew. The grace period begins when the function
//! that supersedes the token reads its clock. So a client must retry within the grace period if an answer was
//! lost. If several clients share a token store, a client that was inactive for longer than the grace period must take
//! the newest token from the store. A late answer must not replace a newer token in the store.
//!
//! If a client presents a superseded token even one tick after this limit, it can lose the session.
//!
//! # Limits of any such protocol
//!
//! The model of a theft finds an example of each:
//!
//! - If an answer is lost and the client does not retry within the grace period, the owner loses the session,
//!   because a thief would look the same.
//! - A thief and the owner share the session as long as each presents its token within the grace period after the
//!   other's rotation. Once one of them is later than that, the session ends for both.

#![expect(clippy::print_stdout, reason = "the tests print how much they explored")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod item;
mod tabs;
mod theft;
mod world;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use item::{Mutation, Rule, Ticks, Violation};
use process::Env;
use stateright::{Checker, HasDiscoveries, Model, Property};
use store::Grace;
use world::Delays;

const ONE_CHAIN: &str = "the session never rotates to the same counter twice";
const ROTATIONS_ARE_SPACED: &str = "rotations are at least a grace period apart";
const REUSE_ENDS_SESSION: &str =
    "a token superseded at least a grace period ago is refused and ends the session";
const ENDED_STAYS_ENDED: &str = "an ended session stays ended";
const HONEST_KEEP_SESSION: &str = "honest clients keep their session";

/// A state that records a violation.
trait Watched {
    fn violation(&self) -> Option<Violation>;
}

/// The properties that hold for any behavior of the clients.
fn invariants<M: Model<State: Watched>>() -> Vec<Property<M>> {
    fn never<S: Watched>(state: &S, violation: Violation) -> bool {
        state.violation() != Some(violation)
    }
    vec![
        Property::always(ONE_CHAIN, |_, state| never(state, Violation::Fork)),
        Property::always(ROTATIONS_ARE_SPACED, |_, state| never(state, Violation::TooSoon)),
        Property::always(REUSE_ENDS_SESSION, |_, state| never(state, Violation::Unnoticed)),
        Property::always(ENDED_STAYS_ENDED, |_, state| never(state, Violation::Outlived)),
    ]
}

/// A grace period of five ticks, and the operation deadline that the implementation derives from it. A tick is one
/// second.
fn rule_and_delays() -> (Rule, Delays) {
    let grace = Env::from_iter([("REFRESH_GRACE_SECONDS", "5")]).settings::<Grace>().unwrap();
    let deadline = grace.operation_deadline();
    let rule = Rule {
        grace: Ticks::try_from(grace.duration().as_secs()).unwrap(),
        mutation: Mutation::None,
    };
    (rule, Delays { flight: Ticks::try_from(deadline.as_secs()).unwrap(), skew: 0 })
}

/// Explores the whole model. Asserts that every invariant holds and that every required state is reachable.
fn assert_holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{name}: {states} states, {steps} steps, depth {}", checker.max_depth());
    assert!(checker.is_done());
    checker.assert_properties();
}

/// Explores the model until it finds a violation of `property`. Asserts that there is one.
fn assert_violates<M>(name: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    // A breadth-first search on one thread finds a short trace. Every step sorts the tabs, so an index in the
    // trace refers to the order after the previous step.
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let states = checker.unique_state_count();
    let trace = checker.assert_any_discovery(property).into_actions();
    println!("{name}: violates \"{property}\" after {states} states: {trace:?}");
}
