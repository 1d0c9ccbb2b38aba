//! Tests the rotation of peppers.

use std::sync::Arc;

use peppers::{ANNOUNCE_SECONDS, AddError, Peppers, Purpose};
use process::{Clock, Env, SystemRandom};
use rotation::{PepperRotation, PepperRotationError};
use secrets::{Secret, SecretError, Versions};
use testkit::{Stack, TestClock};
use tokio::sync::Barrier;

use crate::bench::seconds;

/// How long a pepper is kept, in seconds: 90 days, plus the time for which a function may use an old copy of the
/// secret.
const KEPT: i64 = 90 * 24 * 60 * 60 + ANNOUNCE_SECONDS;

struct Bench {
    stack: Stack,
    clock: TestClock,
}

impl Bench {
    /// Starts without a pepper.
    async fn new() -> Self {
        let bench = Self { stack: Stack::start().await, clock: TestClock::default() };
        std::fs::remove_file(bench.stack.peppers_file()).unwrap();
        bench
    }

    fn rotation(&self) -> PepperRotation {
        let versions = Versions::of(Secret::new(&secrets::Config::file(self.stack.peppers_file())));
        let kept_for = Env::default().read(rotation::peppers_kept_for).unwrap();
        let (clock, random) = (Arc::new(self.clock.clone()), Arc::new(SystemRandom));
        PepperRotation::new(versions, kept_for, clock, random)
    }

    async fn add(&self) -> Peppers {
        self.rotation().add().await.unwrap()
    }

    async fn ids(&self) -> Vec<String> {
        let peppers = self.rotation().current().await.unwrap().unwrap();
        peppers.ids().map(str::to_owned).collect()
    }

    /// The id of the pepper in use.
    async fn in_use(&self) -> String {
        let peppers = self.rotation().current().await.unwrap().unwrap();
        peppers.current(Purpose::RefreshToken, self.clock.now()).id().to_owned()
    }
}

#[tokio::test]
async fn the_first_pepper_is_used_immediately() {
    let bench = Bench::new().await;
    assert!(bench.rotation().current().await.unwrap().is_none());
    let first = bench.add().await;
    assert_eq!(first.begins_at(), None);
    assert_eq!(bench.ids().await, [bench.in_use().await]);
}

#[tokio::test]
async fn a_new_pepper_is_announced_before_it_is_used() {
    let bench = Bench::new().await;
    bench.add().await;
    let old = bench.in_use().await;
    let added = bench.add().await;
    assert_eq!(added.begins_at(), Some(bench.clock.now() + seconds(ANNOUNCE_SECONDS)));
    let ids = bench.ids().await;
    assert_eq!((ids.len(), &ids[0]), (2, &old));
    bench.clock.advance(seconds(ANNOUNCE_SECONDS - 1));
    assert_eq!(bench.in_use().await, old);
    bench.clock.advance(seconds(1));
    assert_eq!(bench.in_use().await, ids[1]);
}

#[tokio::test]
async fn no_pepper_is_added_before_the_last_one_is_in_use() {
    let bench = Bench::new().await;
    bench.add().await;
    let begins_at = bench.add().await.begins_at().unwrap();
    bench.clock.advance(seconds(ANNOUNCE_SECONDS - 1));
    let before = std::fs::read(bench.stack.peppers_file()).unwrap();
    let added = bench.rotation().add().await;
    let Err(PepperRotationError::NotNow(error)) = added else { panic!("{added:?}") };
    assert_eq!(error, AddError::NotInUse { starts_at: begins_at });
    assert_eq!(std::fs::read(bench.stack.peppers_file()).unwrap(), before);
    bench.clock.advance(seconds(1));
    bench.add().await;
    assert_eq!(bench.ids().await.len(), 3);
}

#[tokio::test]
async fn an_old_pepper_is_kept_while_anything_made_with_it_may_be_valid() {
    let bench = Bench::new().await;
    bench.add().await;
    let first = bench.in_use().await;
    bench.add().await;
    // The old pepper is used until the new one comes into use.
    bench.clock.advance(seconds(ANNOUNCE_SECONDS + KEPT));
    let second = bench.in_use().await;
    bench.add().await;
    assert_eq!(bench.ids().await[..2], [first.clone(), second.clone()]);
    bench.clock.advance(seconds(ANNOUNCE_SECONDS));
    bench.add().await;
    let ids = bench.ids().await;
    assert!(!ids.contains(&first));
    assert_eq!((ids.len(), &ids[0]), (3, &second));
}

#[tokio::test]
async fn an_invalid_set_of_peppers_is_not_replaced() {
    let bench = Bench::new().await;
    for bad in ["hush", "{}", r#"{"id":"1","secret":"hush"}"#] {
        std::fs::write(bench.stack.peppers_file(), bad).unwrap();
        let error = bench.rotation().add().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"));
        assert_eq!(std::fs::read_to_string(bench.stack.peppers_file()).unwrap(), bad);
    }
}

#[tokio::test]
async fn a_pepper_can_follow_one_generated_by_cloudformation() {
    let bench = Bench::new().await;
    let generated = format!(r#"{{"id":"1","secret":"{}"}}"#, "a1B2".repeat(16));
    std::fs::write(bench.stack.peppers_file(), generated).unwrap();
    assert_eq!(bench.in_use().await, "1");
    bench.add().await;
    assert_eq!((bench.ids().await.len(), bench.in_use().await), (2, "1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_additions_lose_no_pepper() {
    for before in 0..2 {
        for _ in 0..10 {
            let bench = Bench::new().await;
            for _ in 0..before {
                bench.add().await;
            }
            let start = Arc::new(Barrier::new(4));
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let (rotation, start) = (bench.rotation(), Arc::clone(&start));
                    tokio::spawn(async move {
                        start.wait().await;
                        rotation.add().await
                    })
                })
                .collect();
            let mut done = 0;
            for task in tasks {
                match task.await.unwrap() {
                    Ok(_) => done += 1,
                    Err(
                        PepperRotationError::Secret(SecretError::Moved)
                        | PepperRotationError::NotNow(_),
                    ) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            assert_eq!(bench.ids().await.len(), before + done);
            // After the first pepper, a second one can be added immediately, but no third.
            assert!((1..=2 - before).contains(&done), "{done} additions succeeded");
        }
    }
}
