//! Compares the session operations of `store` with a model: after any sequence of operations and faults, every answer
//! and all stored sessions must equal the model's.

#![expect(clippy::disallowed_methods, reason = "tests begin sessions without signing in")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod model;
mod real;

use std::cell::RefCell;
use std::collections::BTreeMap;

use model::{Answer, Model, Token, Transition};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use real::{Implementation, LongerGrace, Machine, Unmodified, WithoutConditions};
use store::{Judgement, Refreshed};

const CASES: u32 = 50;
const TRANSITIONS: std::ops::Range<usize> = 20..50;

/// How often the model gave each answer to a refresh.
type Tally = BTreeMap<String, usize>;

/// Runs an implementation and the model side by side. Returns the tally of the answers, or the first difference.
fn run<I: Implementation>(runner: &mut TestRunner) -> Result<Tally, String> {
    let tally = RefCell::new(Tally::new());
    let config = runner.config().clone();
    let result =
        runner.run(&Model::sequential_strategy(TRANSITIONS), |(model, transitions, seen)| {
            count(&model, &transitions, &mut tally.borrow_mut());
            Machine::<I>::test_sequential(config.clone(), model, transitions, seen);
            Ok(())
        });
    match result {
        Ok(()) => Ok(tally.into_inner()),
        Err(TestError::Fail(reason, (_, transitions, _))) => {
            Err(format!("{reason}\nby {transitions:#?}"))
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// Counts the model's answers to refreshes, by reason.
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
                "Successor, after a lost answer to its own rotation".to_owned()
            }
            (Refreshed::Live(_, judgement), _) => format!("{judgement:?}"),
            (Refreshed::Ended, _) => format!("Ended, {}", before.ending(*session).unwrap()),
            (Refreshed::Reused | Refreshed::Ahead, _) => format!("{refreshed:?}"),
        };
        *tally.entry(answer).or_default() += 1;
    }
}

#[test]
fn answers_and_stored_sessions_match_the_model() {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let tally =
        run::<Unmodified>(&mut TestRunner::new(config)).unwrap_or_else(|why| panic!("{why}"));
    println!("{tally:#?}");
    // Four answers for a live session, three for an ended one, one for reuse, and one for a token that is ahead of its
    // session.
    assert_eq!(tally.len(), 9, "not every kind of answer was given: {tally:?}");
}

/// Whether the test finds a difference between the model and a defective implementation.
fn is_detected<I: Implementation>() -> bool {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        // `proptest-state-machine` panics if this is 0.
        max_shrink_iters: 1,
        ..Config::default()
    };
    // A fixed seed makes the result reproducible.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    run::<I>(&mut TestRunner::new_with_rng(config, rng)).is_err()
}

#[test]
fn missing_conditions_are_detected() {
    assert!(is_detected::<WithoutConditions>());
}

#[test]
fn a_longer_grace_is_detected() {
    assert!(is_detected::<LongerGrace>());
}
