//! Tests concurrent registrations of one name.

use futures_util::future::join_all;
use store::RegisterError;
use testkit::{Fault, Faults, Stack};

use crate::{faulty_registrations, keys, new_account};

const RACERS: usize = 50;

/// Registers one name [`RACERS`] times concurrently. Returns how many registrations succeeded, and how many
/// were refused because the name is taken. Any other result fails the test.
async fn race(fault: Fault) -> (usize, usize) {
    let stack = Stack::start().await;
    let faults = Faults::together(RACERS, fault);
    let tasks = (0..RACERS).map(|_| {
        let registrations = faulty_registrations(&stack, &faults);
        tokio::spawn(async move { registrations.create(new_account("testuser", None)).await })
    });
    let results: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(faults.most_at_once(), RACERS, "the requests did not race");
    let won = results.iter().filter(|result| result.is_ok()).count();
    let lost =
        results.iter().filter(|result| matches!(result, Err(RegisterError::UsernameTaken))).count();
    assert_eq!(won + lost, RACERS, "{results:?}");
    let accounts = keys(&stack.client()).await;
    let accounts = accounts.iter().filter(|key| key.ends_with(" ACCOUNT")).count();
    assert_eq!(accounts, won, "one account per successful registration");
    (won, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_one_of_a_concurrent_burst_gets_the_name() {
    assert_eq!(race(Fault::None).await, (1, RACERS - 1));
}

/// Runs the same race with unconditional writes. Every registration succeeds, which shows that the conditions decide
/// the race, and that the test above would fail without them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_unconditional_writes_a_whole_burst_gets_the_name() {
    assert_eq!(race(Fault::Unconditional).await, (RACERS, 0));
}
