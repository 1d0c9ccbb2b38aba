//! Model-checks the refresh protocol in every schedule.
//!
//! The model checker explores every interleaving of a few clients that share one session, the functions that
//! they call, and the table. [`store::Chain::judge`] decides what a token gets, as in the implementation. The
//! models omit the MAC (tokens cannot be guessed), lifetimes, accounts, and a restored table.
//!
//! # Steps
//!
//! A client presents its token. A function reads its clock once and sends the conditional update. Attempts
//! reach the table at any time up to the deadline of the operation. If the answer to an attempt is lost, the
//! function retries with the same time. Then the function answers the client. Any number of messages may be
//! late or lost. Reuse deletes the session in a separate step, which may be lost too.
//!
//! The number of steps is unlimited, but the state space is finite: counters are lowered together so that
//! they stay small, and all times that are older than any comparison needs are equal.
//!
//! # Honest clients
//!
//! [`UNJUST`] says that honest clients keep their session in every schedule. An honest client presents a
//! superseded token only within the grace, less the clock skew. The grace begins when the function that
//! supersedes the token reads its clock. So a client whose answer was lost retries within the grace. If
//! several clients share a token store, a client that was inactive for longer takes the newest token from it.
//! A late answer must therefore not replace a newer token in the store.
//!
//! A client that is one tick later can lose the session.
//!
//! # Limits of any such protocol
//!
//! The model of a theft finds an example of each:
//!
//! - If an answer is lost and the client does not retry within the grace, its owner loses the session: a
//!   thief would look the same.
//! - A thief who presents each token within the grace after the owner's rotation shares the session, and so
//!   does one whose rotations the owner follows within the grace. The sharing lasts until one of them is
//!   later than that.

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

const FORK: &str = "no counter is rotated to twice";
const TOO_SOON: &str = "rotations are at least a grace apart";
const UNNOTICED: &str = "a token superseded at least a grace ago gets nothing and ends the session";
const OUTLIVED: &str = "an ended session stays ended";
const UNJUST: &str = "honest clients keep their session";

/// A state that records a violation.
trait Watched {
    fn violation(&self) -> Option<Violation>;
}

/// Properties that hold for any behaviour of the clients.
fn invariants<M: Model<State: Watched>>() -> Vec<Property<M>> {
    fn never<S: Watched>(state: &S, violation: Violation) -> bool {
        state.violation() != Some(violation)
    }
    vec![
        Property::always(FORK, |_, state| never(state, Violation::Fork)),
        Property::always(TOO_SOON, |_, state| never(state, Violation::TooSoon)),
        Property::always(UNNOTICED, |_, state| never(state, Violation::Unnoticed)),
        Property::always(OUTLIVED, |_, state| never(state, Violation::Outlived)),
    ]
}

/// The values of the implementation, in ticks of one second: a grace of five, and the operation deadline that
/// follows from it.
fn figures() -> (Rule, Delays) {
    let grace = Env::from_iter([("REFRESH_GRACE_SECONDS", "5")]).settings::<Grace>().unwrap();
    let deadline = grace.operation_deadline();
    let rule = Rule {
        grace: Ticks::try_from(grace.duration().as_secs()).unwrap(),
        mutation: Mutation::None,
    };
    (rule, Delays { flight: Ticks::try_from(deadline.as_secs()).unwrap(), skew: 0 })
}

/// Explores the whole model. Checks that every invariant holds and that every required state is reachable.
fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{name}: {states} states, {steps} steps between them, depth {}", checker.max_depth());
    assert!(checker.is_done());
    checker.assert_properties();
}

/// Explores the model until `property` is violated.
fn fails<M>(name: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    // One thread and breadth-first search give a short trace. Every step sorts the tabs, so an index in the
    // trace refers to the order after the previous step.
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let states = checker.unique_state_count();
    let trace = checker.assert_any_discovery(property).into_actions();
    println!("{name}: violates \"{property}\" after {states} states: {trace:?}");
}
