//! Tests concurrent rotations.

use std::sync::Arc;

use auth::Algorithm;
use issuer::SigningKeys;
use keys::KeysError;
use process::SystemRandom;
use rotation::{Plan, Rotation, RotationError, Step};
use secrets::{SecretError, Version};
use testkit::Faults;
use tokio::sync::Barrier;

use crate::bench::{Bench, LEAD, STEPS, active, token};

/// All interleavings of the four steps of two rotations. Rotation 0 takes the first step.
fn orders() -> Vec<[usize; 8]> {
    let half = |order: &u32| order.count_ones() == 4 && order & 1 == 0;
    let order = |order| std::array::from_fn(|n| usize::from(order >> n & 1 == 1));
    (0_u32..1 << 8).filter(half).map(order).collect()
}

/// Asserts that an error reports a concurrent rotation.
fn assert_reports_concurrency(error: &RotationError) {
    assert!(
        matches!(
            error,
            RotationError::InProgress(_)
                | RotationError::Superseded
                | RotationError::TooEarly { .. }
                | RotationError::Secret(SecretError::Moved)
                | RotationError::Keys(KeysError::Conflict)
        ),
        "{error:?}"
    );
}

/// How much of their first step both rotations perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstStep {
    /// The whole step.
    Whole,
    /// Only its write, as if both rotations had read before either wrote.
    WriteOnly,
}

/// Lets two rotations take their steps in `order`. In the worst case, which is tested here, a rotation takes its
/// later steps even after a step is refused.
async fn interleave(bench: &Bench, order: [usize; 8], first: FirstStep) {
    let in_use = bench.versions().secret().current().await.ok();
    let planned = |token: &str| {
        let in_use = in_use.as_ref().unwrap();
        let keys: SigningKeys = in_use.value.parse().unwrap();
        let rotated = keys.rotated(Algorithm::Es256, token, &SystemRandom).unwrap();
        Version { id: token.to_owned(), value: rotated.replacing(&in_use.id).to_json() }
    };
    let mut remaining = [STEPS.iter(), STEPS.iter()];
    for actor in order {
        let (step, token) =
            (*remaining[actor].next().unwrap(), token(u32::try_from(actor).unwrap()));
        if step == Step::CreateSecret && first == FirstStep::WriteOnly {
            bench.versions().put_pending(&planned(&token)).await.unwrap();
        } else if let Err(error) = bench.rotation().step(step, &token).await {
            assert_reports_concurrency(&error);
        }
        if bench.versions().secret().current().await.is_ok() {
            bench.assert_usable().await;
        }
    }
}

#[tokio::test]
async fn two_rotations_interleaved_in_any_order_leave_one_active_key() {
    assert_eq!(orders().len(), 35);
    let bench = Bench::new().await;
    for first in [FirstStep::Whole, FirstStep::WriteOnly] {
        for order in orders() {
            bench.begin_anew().await;
            let before = bench.current().await;
            let signed = bench.sign().await;
            interleave(&bench, order, first).await;
            bench.assert_usable().await;
            let after = bench.current().await;
            let context = format!("{first:?} {order:?}");
            assert_eq!(Some(after.active().unwrap().kid()), before.next_kid(), "{context}");
            assert!(bench.accepts(&signed).await, "{context}");
            bench.assert_not_stored(&active(&before).1).await;
            bench.wait(LEAD);
            bench.rotate(&Plan::Rotate).await.unwrap();
            bench.assert_settled().await;
            bench.assert_not_stored(&active(&after).1).await;
        }
    }
}

#[tokio::test]
async fn two_first_rotations_interleaved_in_any_order_leave_one_active_key() {
    let bench = Bench::new().await;
    for order in orders() {
        bench.forget().await;
        interleave(&bench, order, FirstStep::Whole).await;
        bench.assert_settled().await;
        bench.wait(LEAD);
        bench.rotate(&Plan::Rotate).await.unwrap();
        bench.assert_settled().await;
    }
}

/// Starts `slow`, and runs `quick` completely while `slow` waits before its request number `request`. Returns
/// whether there was such a request, and whether each of the two rotations succeeded.
async fn overtake(bench: &Bench, request: usize, slow: Plan, quick: &Plan) -> (bool, [bool; 2]) {
    let faults = Faults::held_at(request);
    let rotation = bench.rotation_with(&faults);
    let task = tokio::spawn(async move { rotation.perform(&slow).await });
    let ended = async {
        while !task.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    let held = tokio::select! {
        biased;
        () = faults.held() => true,
        () = ended => false,
    };
    let quick = bench.rotate(quick).await;
    bench.assert_usable().await;
    faults.release();
    let done = [task.await.unwrap(), quick].map(|done| match done {
        // A rotation that overtakes a revocation completes it. The revocation then finds its key removed.
        Ok(()) | Err(RotationError::UnknownKey(_)) => true,
        Err(error) => {
            assert_reports_concurrency(&error);
            false
        }
    });
    bench.assert_settled().await;
    (held, done)
}

/// Lets `quick` overtake `slow` before each request of `slow` in turn. Returns the number of these requests.
pub(crate) async fn overtake_at_every_request(bench: &Bench, slow: &Plan, quick: &Plan) -> usize {
    for request in 0.. {
        let (before, signed) = (bench.current().await, bench.sign().await);
        let (held, _) = overtake(bench, request, slow.clone(), quick).await;
        assert!(bench.accepts(&signed).await, "request {request}");
        bench.assert_not_stored(&active(&before).1).await;
        bench.wait(LEAD);
        bench.rotate(&Plan::Rotate).await.unwrap();
        bench.assert_settled().await;
        bench.wait(LEAD);
        if !held {
            return request;
        }
    }
    unreachable!("a rotation makes finitely many requests")
}

/// Lets a rotation overtake a revocation of the active key, or a revocation overtake a rotation, before each request of
/// the slower one in turn.
pub(crate) async fn overtake_a_revocation_at_every_request(
    bench: &Bench,
    revocation_is_slow: bool,
) {
    for request in 0.. {
        let (leaked, private) = active(&bench.current().await);
        let (rotation, revocation) = (Plan::RotateNow, Plan::Revoke(leaked.clone()));
        let (slow, quick) =
            if revocation_is_slow { (&revocation, &rotation) } else { (&rotation, &revocation) };
        let (held, done) = overtake(bench, request, slow.clone(), quick).await;
        if done[usize::from(!revocation_is_slow)] {
            assert!(!bench.states().await.contains_key(&leaked), "request {request}");
            bench.assert_not_stored(&private).await;
        }
        // A revocation that failed because of a concurrent rotation must be repeated.
        match bench.rotate(&revocation).await {
            Ok(()) | Err(RotationError::UnknownKey(_)) => {}
            Err(error) => panic!("request {request}: {error:?}"),
        }
        assert!(!bench.states().await.contains_key(&leaked), "request {request}");
        bench.assert_not_stored(&private).await;
        bench.rotate(&Plan::RotateNow).await.unwrap();
        bench.assert_settled().await;
        assert!(!bench.states().await.contains_key(&leaked), "request {request}");
        bench.wait(LEAD);
        if !held {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_overtaken_at_any_request_makes_no_second_active_key() {
    let bench = Bench::rotated().await;
    for slow in [Plan::Rotate, Plan::RotateNow] {
        for quick in [Plan::Rotate, Plan::RotateNow] {
            let requests = overtake_at_every_request(&bench, &slow, &quick).await;
            assert!(requests >= 6, "{requests} requests");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_overtaken_by_a_revocation_does_not_restore_the_key() {
    overtake_a_revocation_at_every_request(&Bench::rotated().await, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_overtaken_still_removes_the_key() {
    overtake_a_revocation_at_every_request(&Bench::rotated().await, true).await;
}

/// Runs all `rotations` concurrently.
async fn together(rotations: Vec<Rotation>, plan: &Plan) -> Vec<Result<(), RotationError>> {
    let start = Arc::new(Barrier::new(rotations.len()));
    let tasks: Vec<_> = rotations
        .into_iter()
        .map(|rotation| {
            let (start, plan) = (Arc::clone(&start), plan.clone());
            tokio::spawn(async move {
                start.wait().await;
                rotation.perform(&plan).await
            })
        })
        .collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_rotations_make_one_active_key() {
    let bench = Bench::new().await;
    for round in 0..20 {
        for plan in [Plan::Rotate, Plan::RotateNow] {
            // Some rounds start without keys.
            if round % 4 == 0 {
                bench.forget().await;
            } else {
                bench.begin_anew().await;
            }
            let before: Option<SigningKeys> = match bench.versions().secret().current().await {
                Ok(version) => Some(version.value.parse().unwrap()),
                Err(_) => None,
            };
            let rotations = (0..4).map(|_| bench.rotation()).collect();
            let done = together(rotations, &plan).await;
            done.iter().filter_map(|done| done.as_ref().err()).for_each(assert_reports_concurrency);
            bench.assert_usable().await;
            if let Some(before) = before {
                assert!(bench.accepts(&crate::bench::sign(&before, bench.now())).await);
                let gone = active(&before).0;
                assert_ne!(active(&bench.current().await).0, gone, "{done:?}");
            }
            bench.wait(LEAD);
            bench.rotate(&Plan::RotateNow).await.unwrap();
            bench.assert_settled().await;
        }
    }
}
