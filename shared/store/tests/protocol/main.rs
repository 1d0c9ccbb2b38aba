//! The protocol of refreshing, in every schedule there is.
//!
//! A model checker goes through all that can happen between a few clients that share one session, the
//! functions that they call and the table. What a token gets is asked of [`store::Chain::judge`], by
//! which the implementation goes too. What the models leave out: the MAC (tokens cannot be guessed),
//! lifetimes, accounts, and restoring the table.
//!
//! # What can happen
//!
//! A client presents its token: a function reads its clock, once, and sends the conditional update.
//! Attempts reach the table at any time up to the deadline of the operation; each is answered or not
//! heard of and made again, with the time that was read. Then the answer goes to the client. Every
//! message may be late or lost, and any number of them. Reuse deletes the session in a step of its
//! own, which may be lost as well.
//!
//! Nothing is bounded, and still there is an end: counters are lowered so that the session's stays
//! where it is, and all times that are longer ago than anything asks are one.
//!
//! # What honest clients are
//!
//! That their session goes on in every schedule ([`UNJUST`]) is said of clients which present a
//! superseded token only within the grace, counted from when the function that superseded it read its
//! clock, and less what clocks disagree by. So a client whose answer was lost asks again within the
//! grace; and of several that share a store, one that was away for longer takes the newest token from
//! there. To that end an answer that is late must not replace a newer token in the store.
//!
//! A tick more can cost the session.
//!
//! # What no such protocol can give
//!
//! Both are found, as examples, in the model of a theft:
//!
//! - An answer that is lost, and not asked for again within the grace, costs its owner the session: a
//!   thief would look the same.
//! - A thief who presents each token within the grace of its owner's rotation, or the other way round,
//!   shares the session, until one of them comes later than that.

#![expect(clippy::print_stdout, reason = "how much has been explored")]
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
const TOO_SOON: &str = "rotations are a grace apart";
const UNNOTICED: &str = "a token that was superseded a grace ago gets nothing and ends the session";
const OUTLIVED: &str = "a session that was ended stays so";
const UNJUST: &str = "honest clients keep their session";

/// A state that may be wrong.
trait Watched {
    fn violation(&self) -> Option<Violation>;
}

/// What holds whatever clients do.
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

/// The implementation's own figures, in ticks of a second: a grace of five, and the deadline that an
/// operation has then.
fn figures() -> (Rule, Delays) {
    let grace = Env::from_iter([("REFRESH_GRACE_SECONDS", "5")]).read(Grace::read).unwrap();
    let deadline = grace.operation_deadline();
    let rule = Rule {
        grace: Ticks::try_from(grace.duration().as_secs()).unwrap(),
        mutation: Mutation::None,
    };
    (rule, Delays { flight: Ticks::try_from(deadline.as_secs()).unwrap(), skew: 0 })
}

/// Explores all of a model: what must hold does, and what must be possible is.
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

/// Explores a model until it is found that `property` does not hold.
fn fails<M>(name: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    // With one thread and breadth first, the trace is short. In it, tabs stand in the order in which
    // each step leaves them.
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let states = checker.unique_state_count();
    let trace = checker.assert_any_discovery(property).into_actions();
    println!("{name}: not \"{property}\", after {states} states, by {trace:?}");
}
