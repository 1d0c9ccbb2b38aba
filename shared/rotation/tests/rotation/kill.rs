//! Tests rotations that are killed partway.

use rotation::{Plan, RotationError};
use testkit::Faults;

use crate::bench::{Bench, LEAD, STEPS, active, token};

/// The party that continues a killed rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContinuedBy {
    /// Secrets Manager repeats the steps with the same token.
    SecretsManager,
    /// An operator starts a rotation by hand.
    Operator,
}

/// The requests of one complete rotation, in order.
pub(crate) async fn operations(bench: &Bench) -> Vec<String> {
    bench.wait(LEAD);
    let faults = Faults::script(&[]);
    steps(bench, &faults, &token(0)).await.unwrap();
    bench.assert_settled().await;
    faults.operations()
}

/// The requests that write: their numbers, counted from 1, and their operations.
pub(crate) fn writes(operations: &[String]) -> Vec<(usize, &str)> {
    let reads = |name: &str| ["Get", "Describe"].iter().any(|verb| name.starts_with(verb));
    let numbered = operations.iter().enumerate().map(|(n, name)| (n + 1, name.as_str()));
    numbered.filter(|(_, name)| !reads(name)).collect()
}

async fn steps(bench: &Bench, faults: &Faults, token: &str) -> Result<(), RotationError> {
    for step in STEPS {
        bench.rotation_with(faults).step(step, token).await?;
    }
    Ok(())
}

/// Kills a rotation right after request number `request`, lets `by` continue it, and checks that nothing is lost.
pub(crate) async fn kill_after(bench: &Bench, request: usize, by: ContinuedBy) {
    let context = format!("killed after request {request}, continued by {by:?}");
    bench.wait(LEAD);
    bench.rotate(&Plan::RotateNow).await.unwrap();
    bench.wait(LEAD);
    let before = bench.current().await;
    let signed = bench.sign().await;
    let in_use = bench.version().await.id;
    let token =
        token(u32::try_from(request).unwrap() * 2 + 1000 + u32::from(by == ContinuedBy::Operator));

    let killed = steps(bench, &Faults::killed_after(request), &token).await;
    assert!(killed.is_err(), "{context}");
    bench.assert_usable().await;
    assert!(bench.accepts(&signed).await, "{context}");

    // A new process continues.
    match by {
        ContinuedBy::SecretsManager => {
            steps(bench, &Faults::script(&[]), &token).await.expect(&context);
        }
        ContinuedBy::Operator => match bench.rotate(&Plan::Rotate).await {
            Ok(()) => {}
            // The killed rotation has been completed, and its next key is too new to sign.
            Err(RotationError::TooEarly { at }) => {
                assert!(at > bench.now(), "{context}");
            }
            Err(error) => panic!("{context}: {error:?}"),
        },
    }
    assert_ne!(bench.version().await.id, in_use, "{context}");
    bench.assert_settled().await;
    assert!(bench.accepts(&signed).await, "{context}");
    let after = bench.current().await;
    assert_eq!(Some(after.active().unwrap().kid()), before.next_kid(), "{context}");
    bench.assert_not_stored(&active(&before).1).await;

    bench.wait(LEAD);
    bench.rotate(&Plan::Rotate).await.unwrap();
    bench.assert_settled().await;
}

/// Kills the rotation after each request, including reads. Here the secret is a file, so writing it is not a request:
/// the write happens between two reads of the keys table.
#[tokio::test]
async fn a_rotation_killed_after_any_request_can_be_completed() {
    let bench = Bench::rotated().await;
    let operations = operations(&bench).await;
    let writes = writes(&operations);
    println!("{writes:?} of {operations:?}");
    let names: Vec<_> = writes.iter().map(|(_, name)| *name).collect();
    assert_eq!(names, ["TransactWriteItems", "TransactWriteItems"]);
    for request in 0..=operations.len() {
        for by in [ContinuedBy::SecretsManager, ContinuedBy::Operator] {
            kill_after(&bench, request, by).await;
        }
    }
}

#[tokio::test]
async fn a_first_rotation_killed_after_any_request_can_be_completed() {
    let bench = Bench::new().await;
    let faults = Faults::script(&[]);
    steps(&bench, &faults, &token(0)).await.unwrap();
    for request in 0..=faults.requests() {
        bench.forget().await;
        let killed = steps(&bench, &Faults::killed_after(request), &token(1)).await;
        assert!(killed.is_err(), "request {request}");
        steps(&bench, &Faults::script(&[]), &token(1)).await.unwrap();
        bench.assert_settled().await;
        assert_eq!(bench.version().await.id, token(1));
    }
}

#[tokio::test]
async fn a_revocation_killed_after_any_request_can_be_completed() {
    let bench = Bench::rotated().await;
    let faults = Faults::script(&[]);
    let (leaked, _) = active(&bench.current().await);
    bench.rotation_with(&faults).perform(&Plan::Revoke(leaked)).await.unwrap();
    for request in 0..=faults.requests() {
        bench.wait(LEAD);
        bench.rotate(&Plan::Rotate).await.unwrap();
        let (leaked, private) = active(&bench.current().await);
        let plan = Plan::Revoke(leaked.clone());
        let killed = bench.rotation_with(&Faults::killed_after(request)).perform(&plan).await;
        assert!(killed.is_err(), "request {request}");
        match bench.rotate(&plan).await {
            // The killed revocation has been completed.
            Ok(()) | Err(RotationError::UnknownKey(_)) => {}
            Err(error) => panic!("request {request}: {error:?}"),
        }
        bench.assert_settled().await;
        assert!(!bench.states().await.contains_key(&leaked), "request {request}");
        bench.assert_not_stored(&private).await;
    }
}
