//! Tests the four steps of a rotation, repeated and in the wrong order.

use rotation::{Plan, RotationError, Step};

use crate::bench::{Bench, LEAD, STEPS, seconds, token};

#[tokio::test]
async fn repeating_a_step_changes_nothing() {
    let bench = Bench::new().await;
    // The first rotation starts without keys, the second one with keys.
    for n in 0..2 {
        let mut performed = Vec::new();
        for step in STEPS {
            bench.rotation().step(step, &token(n)).await.unwrap();
            let after = (bench.stored().await, bench.record().await);
            performed.push(step);
            // If a step gets no response, Secrets Manager waits a while before it repeats the step.
            bench.wait(seconds(2));
            for earlier in &performed {
                bench.rotation().step(*earlier, &token(n)).await.unwrap();
            }
            assert_eq!((bench.stored().await, bench.record().await), after, "{step:?}");
        }
        assert_eq!(bench.version().await.id, token(n));
        bench.assert_settled().await;
        bench.wait(LEAD);
    }
}

#[tokio::test]
async fn a_step_of_a_rotation_that_has_not_begun_is_refused() {
    for bench in [Bench::new().await, Bench::rotated().await] {
        let before = (bench.stored().await, bench.record().await);
        for step in &STEPS[1..] {
            let result = bench.rotation().step(*step, &token(1)).await;
            assert!(matches!(result, Err(RotationError::Superseded)), "{step:?}: {result:?}");
        }
        assert_eq!((bench.stored().await, bench.record().await), before);
    }
}

#[tokio::test]
async fn an_unpublished_version_is_not_put_into_use() {
    let bench = Bench::rotated().await;
    bench.rotation().step(Step::CreateSecret, &token(1)).await.unwrap();
    let tested = bench.rotation().step(Step::TestSecret, &token(1)).await;
    assert!(matches!(tested, Err(RotationError::NotPublished(_))), "{tested:?}");
    bench.forget_table().await;
    let tested = bench.rotation().step(Step::TestSecret, &token(1)).await;
    assert!(matches!(tested, Err(RotationError::Keys(_))), "{tested:?}");
}

#[tokio::test]
async fn a_second_rotation_does_not_begin_before_the_first_is_completed() {
    let bench = Bench::rotated().await;
    bench.rotation().step(Step::CreateSecret, &token(1)).await.unwrap();
    let second = bench.rotation().step(Step::CreateSecret, &token(2)).await;
    let Err(RotationError::InProgress(first)) = second else { panic!("{second:?}") };
    assert_eq!(first, token(1));
}

/// The interrupted rotation is completed first. Verifiers may not know its next key yet, so the manual rotation must
/// wait.
#[tokio::test]
async fn a_manual_rotation_completes_an_interrupted_one() {
    for completed in 1..=STEPS.len() {
        let bench = Bench::rotated().await;
        for step in &STEPS[..completed] {
            bench.rotation().step(*step, &token(1)).await.unwrap();
        }
        assert_eq!(bench.refused_until().await, bench.now() + LEAD);
        assert_eq!(bench.version().await.id, token(1));
        bench.assert_settled().await;
        bench.rotate(&Plan::RotateNow).await.unwrap();
        bench.assert_settled().await;
    }
}

/// Secrets Manager puts the first version of a secret into use as soon as it is created.
#[tokio::test]
async fn the_steps_publish_a_version_that_is_already_in_use() {
    let bench = Bench::new().await;
    bench.rotation().step(Step::CreateSecret, &token(1)).await.unwrap();
    bench.versions().promote(&token(1), "none").await.unwrap();
    for step in STEPS {
        bench.rotation().step(step, &token(1)).await.unwrap();
    }
    bench.assert_settled().await;
}

/// A version may be both in use and pending if the process that put it into use was stopped partway through.
#[tokio::test]
async fn a_version_that_is_both_pending_and_in_use_blocks_no_rotation() {
    let bench = Bench::rotated().await;
    let pending = bench.stack.signing_keys().with_extension("json.pending");
    bench.rotation().step(Step::CreateSecret, &token(1)).await.unwrap();
    let leftover = std::fs::read(&pending).unwrap();
    for step in STEPS {
        bench.rotation().step(step, &token(1)).await.unwrap();
    }
    assert!(!pending.exists());
    std::fs::write(&pending, leftover).unwrap();
    bench.wait(LEAD);
    for step in STEPS {
        bench.rotation().step(step, &token(2)).await.unwrap();
    }
    assert_eq!(bench.version().await.id, token(2));
    bench.assert_settled().await;
}
