//! Sessions, from login to their end, against a model: whatever happens in whatever order, each answer
//! and all that is stored afterwards are the model's.

#![expect(clippy::disallowed_methods, reason = "tests begin sessions without signing in")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod model;
mod real;

use std::cell::RefCell;
use std::collections::BTreeMap;

use model::{Answer, Model, Token, Transition};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use real::{AsItIs, Implementation, LongerGrace, Machine, WithoutConditions};
use store::{Judgement, Refreshed};

const CASES: u32 = 50;
const TRANSITIONS: std::ops::Range<usize> = 20..50;

/// How often each answer was given to a refresh.
type Tally = BTreeMap<String, usize>;

/// Runs an implementation and the model side by side. What the model answered, or a difference.
fn run<I: Implementation>(runner: &mut TestRunner) -> Result<Tally, String> {
    let tally = RefCell::new(Tally::new());
    let config = runner.config().clone();
    let ran = runner.run(&Model::sequential_strategy(TRANSITIONS), |(model, transitions, seen)| {
        count(&model, &transitions, &mut tally.borrow_mut());
        Machine::<I>::test_sequential(config.clone(), model, transitions, seen);
        Ok(())
    });
    match ran {
        Ok(()) => Ok(tally.into_inner()),
        Err(TestError::Fail(reason, (_, transitions, _))) => {
            Err(format!("{reason}\nby {transitions:#?}"))
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// Counts what the model answers to refreshes, and why.
fn count(model: &Model, transitions: &[Transition], tally: &mut Tally) {
    let mut model = model.clone();
    for transition in transitions {
        let before = model.clone();
        model = Model::apply(model, transition);
        let (Answer::Refreshed(refreshed), Transition::Refresh { session, token, .. }) =
            (&model.answer, transition)
        else {
            continue;
        };
        let answer = match (refreshed, token) {
            (Refreshed::Live(_, Judgement::Successor), Token::Behind(0)) => {
                "Successor, after the answer to its own rotation was lost".to_owned()
            }
            (Refreshed::Live(_, judgement), _) => format!("{judgement:?}"),
            (Refreshed::Ended, _) => format!("Ended, {}", before.ending(*session).unwrap()),
            (Refreshed::Reused | Refreshed::Ahead, _) => format!("{refreshed:?}"),
        };
        *tally.entry(answer).or_default() += 1;
    }
}

#[test]
fn all_answers_and_all_that_is_stored_are_those_of_the_model() {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let tally = run::<AsItIs>(&mut TestRunner::new(config)).unwrap_or_else(|why| panic!("{why}"));
    println!("{tally:#?}");
    // Four ways to live on and three to have ended; reused; ahead.
    assert_eq!(tally.len(), 9, "some answer was never given: {tally:?}");
}

/// Whether a difference is found to an implementation that is not right.
fn is_noticed<I: Implementation>() -> bool {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        // Without any, `proptest-state-machine` panics.
        max_shrink_iters: 1,
        ..Config::default()
    };
    // It must not depend on luck.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    run::<I>(&mut TestRunner::new_with_rng(config, rng)).is_err()
}

#[test]
fn that_conditions_are_missing_is_noticed() {
    assert!(is_noticed::<WithoutConditions>());
}

#[test]
fn that_the_grace_is_another_is_noticed() {
    assert!(is_noticed::<LongerGrace>());
}
