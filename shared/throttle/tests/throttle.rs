//! Attempts over an embedded DynamoDB: no burst gets more than may, and no stranger locks anybody out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use auth::{Account, CanonicalName, Clock, Email, Env, Role, SystemRandom, Username};
use futures_util::future::join_all;
use jiff::SignedDuration;
use secrets::{CacheSeconds, Cached, Secret};
use store::Counters;
use testkit::{Fault, Faults, NewUser, Stack, TestClock};
use throttle::{Limits, Presented, Throttle, ThrottleError};

const HOME: Option<&str> = Some("203.0.113.7");
const ELSEWHERE: Option<&str> = Some("198.51.100.1");

struct Bench {
    stack: Stack,
    clock: TestClock,
    account: Account,
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let email = Some("owner@example.com");
        let user = NewUser { username: "owner", email, roles: &[Role::User] };
        let account = stack.user(user).await;
        // The peppers were made a moment ago by the machine's clock.
        let clock = TestClock::at(auth::SystemClock.now());
        Self { stack, clock, account }
    }

    fn throttle(&self, settings: &[(&str, &str)]) -> Throttle {
        self.over(self.stack.client(), settings)
    }

    fn over(&self, client: dynamo::Client, settings: &[(&str, &str)]) -> Throttle {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let secret = Secret::new(&secrets::Config::file(self.stack.peppers_file()));
        let peppers = Arc::new(Cached::new(secret, CacheSeconds::default(), Arc::clone(&clock)));
        let limits = self.stack.env_with(settings).read(Limits::read).unwrap();
        let counters = Counters::new(&self.stack.users(), client);
        Throttle::new(counters, limits, peppers, clock, Arc::new(SystemRandom))
    }

    fn wait(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    fn owner(&self) -> Presented<'_> {
        Presented::Username(self.account.username.canonical())
    }
}

fn name(name: &str) -> CanonicalName {
    Username::parse(name).unwrap().canonical().clone()
}

/// A wrong password: how long to wait, if it was not even looked at.
async fn fail(throttle: &Throttle, who: Presented<'_>, network: Option<&str>) -> Result<(), u64> {
    match throttle.attempt(who, network).await {
        Ok(attempt) => {
            drop(attempt);
            Ok(())
        }
        Err(ThrottleError::TooMany { retry_after }) => Err(retry_after),
        Err(error) => panic!("{error}"),
    }
}

async fn succeed(
    throttle: &Throttle,
    who: Presented<'_>,
    network: Option<&str>,
    account: &Account,
) -> Result<(), u64> {
    match throttle.attempt(who, network).await {
        Ok(attempt) => {
            attempt.succeeded(account).await.unwrap();
            Ok(())
        }
        Err(ThrottleError::TooMany { retry_after }) => Err(retry_after),
        Err(error) => panic!("{error}"),
    }
}

/// R15, R18.
#[tokio::test]
async fn three_are_free_and_then_each_waits_twice_as_long() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    for _ in 0..3 {
        assert_eq!(fail(&throttle, bench.owner(), HOME).await, Ok(()));
    }
    for wait in [1, 2, 4, 8] {
        // However often it is tried meanwhile, with the right password too: that lengthens nothing.
        for _ in 0..3 {
            assert_eq!(fail(&throttle, bench.owner(), HOME).await, Err(wait));
        }
        assert_eq!(succeed(&throttle, bench.owner(), HOME, &bench.account).await, Err(wait));
        bench.wait(i64::try_from(wait).unwrap());
        assert_eq!(fail(&throttle, bench.owner(), HOME).await, Ok(()));
    }
    // Others are not held, from there or elsewhere.
    assert_eq!(fail(&throttle, Presented::Username(&name("other")), HOME).await, Ok(()));
    assert_eq!(fail(&throttle, bench.owner(), ELSEWHERE).await, Ok(()));
    // And it is forgotten after a day.
    bench.wait(24 * 60 * 60 + 1);
    for _ in 0..3 {
        assert_eq!(fail(&throttle, bench.owner(), HOME).await, Ok(()));
    }
}

#[tokio::test]
async fn a_success_clears_what_failed_before() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    for _ in 0..10 {
        for _ in 0..2 {
            assert_eq!(fail(&throttle, bench.owner(), HOME).await, Ok(()));
        }
        assert_eq!(succeed(&throttle, bench.owner(), HOME, &bench.account).await, Ok(()));
    }
}

/// How many attempts are made at the same moment: fewer than are free for a name, whose counter might
/// otherwise refuse what that of the pair has let through.
const RACERS: usize = 16;

/// R17: the same burst over clients of their own, which wait for one another.
async fn burst(fault: Fault) -> usize {
    let bench = Bench::start().await;
    // Three requests reserve, and one looks whether the network is known.
    let faults = Faults::together(4 * RACERS, fault);
    let attempts = (0..RACERS).map(|_| {
        let throttle = bench.over(bench.stack.faulty_client(&faults), &[]);
        let owner = bench.account.username.canonical().clone();
        tokio::spawn(
            async move { fail(&throttle, Presented::Username(&owner), HOME).await.is_ok() },
        )
    });
    let granted = join_all(attempts).await.into_iter().filter(|granted| *granted.as_ref().unwrap());
    let granted = granted.count();
    assert!(faults.most_at_once() >= 4 * RACERS, "they did not race");
    granted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_burst_three_are_looked_at() {
    assert_eq!(burst(Fault::None).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_conditions_all_are_looked_at() {
    assert_eq!(burst(Fault::Unconditional).await, RACERS);
}

/// Strangers on many networks try the owner's name: the owner is held nowhere that they have been.
#[tokio::test]
async fn strangers_cannot_lock_the_owner_out() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    assert_eq!(succeed(&throttle, bench.owner(), HOME, &bench.account).await, Ok(()));
    let mut held = 0;
    for n in 0..40 {
        let network = format!("192.0.2.{n}");
        if fail(&throttle, bench.owner(), Some(&network)).await.is_err() {
            held += 1;
        }
    }
    assert_eq!(held, 20, "twenty for the name, and no more");
    let new = Some("198.51.100.99");
    assert_eq!(succeed(&throttle, bench.owner(), new, &bench.account).await, Err(1));
    for _ in 0..5 {
        assert_eq!(succeed(&throttle, bench.owner(), HOME, &bench.account).await, Ok(()));
    }
    // By whichever of their names.
    let email = Email::parse("owner@example.com").unwrap();
    let by_email = Presented::Email(email.canonical());
    for n in 0..25 {
        let network = format!("192.0.2.{n}");
        let _ = fail(&throttle, by_email, Some(&network)).await;
    }
    assert_eq!(fail(&throttle, by_email, new).await, Err(1));
    assert_eq!(succeed(&throttle, by_email, HOME, &bench.account).await, Ok(()));
    // For ninety days.
    bench.wait(90 * 24 * 60 * 60 + 1);
    for n in 0..25 {
        let network = format!("192.0.2.{n}");
        let _ = fail(&throttle, bench.owner(), Some(&network)).await;
    }
    assert_eq!(succeed(&throttle, bench.owner(), HOME, &bench.account).await, Err(1));
}

/// One password on many names.
#[tokio::test]
async fn one_network_has_so_many_failures() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let mut refused = 0;
    for n in 0..150 {
        let name = name(&format!("nobody-{n}"));
        if let Err(wait) = fail(&throttle, Presented::Username(&name), HOME).await {
            assert!(wait > 590, "until the window ends: {wait}");
            refused += 1;
        }
    }
    assert_eq!(refused, 50);
    assert!(succeed(&throttle, bench.owner(), HOME, &bench.account).await.is_err());
    assert_eq!(succeed(&throttle, bench.owner(), ELSEWHERE, &bench.account).await, Ok(()));
    bench.wait(601);
    assert_eq!(succeed(&throttle, bench.owner(), HOME, &bench.account).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn successes_behind_one_address_use_nothing_up() {
    let bench = Bench::start().await;
    let throttle = Arc::new(bench.throttle(&[]));
    for _ in 0..10 {
        let logins = (0..20).map(|n| {
            let (throttle, account) = (Arc::clone(&throttle), bench.account.clone());
            tokio::spawn(async move {
                let name = name(&format!("colleague-{n}"));
                succeed(&throttle, Presented::Username(&name), HOME, &account).await
            })
        });
        for login in join_all(logins).await {
            assert_eq!(login.unwrap(), Ok(()));
        }
    }
}

/// R19: what a counter says does not depend on whether there is such a name.
#[tokio::test]
async fn names_that_nobody_has_are_counted_alike() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let nobody = name("nobody");
    for who in [bench.owner(), Presented::Username(&nobody), Presented::Neither("no\u{0}name")] {
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(fail(&throttle, who, HOME).await);
        }
        assert_eq!(answers, [Ok(()), Ok(()), Ok(()), Err(1), Err(1), Err(1)]);
    }
}

#[tokio::test]
async fn a_lost_answer_counts_once() {
    let bench = Bench::start().await;
    let faults = Faults::script(&[]);
    let throttle = bench.over(bench.stack.faulty_client(&faults), &[]);
    for _ in 0..3 {
        faults.then(&[Fault::LostAnswer; 4]);
        assert_eq!(fail(&throttle, bench.owner(), HOME).await, Ok(()));
    }
    assert_eq!(fail(&throttle, bench.owner(), HOME).await, Err(1));
}

#[tokio::test]
async fn without_its_counters_nothing_is_let_through() {
    let bench = Bench::start().await;
    let faults = Faults::always(Fault::Throttled);
    let throttle = bench.over(bench.stack.faulty_client(&faults), &[]);
    assert!(matches!(throttle.attempt(bench.owner(), HOME).await, Err(ThrottleError::Store(_))));
    assert!(throttle.registration(HOME).await.is_err());
}

#[tokio::test]
async fn registrations_have_a_window_of_their_own() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[("THROTTLE_REGISTER_FREE", "2")]);
    let registered = async |network| throttle.registration(network).await.is_ok();
    let home = [registered(HOME).await, registered(HOME).await, registered(HOME).await];
    assert_eq!(home, [true, true, false]);
    assert!(registered(ELSEWHERE).await && registered(None).await);
    assert_eq!(fail(&throttle, bench.owner(), HOME).await, Ok(()));
    bench.wait(601);
    assert!(registered(HOME).await);
}

/// A reader of the table learns neither names nor networks from it.
#[tokio::test]
async fn counters_say_nothing_of_whom_they_are_about() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let secretive = name("secretive");
    assert_eq!(fail(&throttle, Presented::Username(&secretive), HOME).await, Ok(()));
    let scanned = bench.stack.client().scan().table_name("UsersTable").send().await.unwrap();
    let text = format!("{scanned:?}");
    assert!(text.contains("COUNTER#PAIR") && !text.contains("secretive"));
    assert!(!text.contains("203.0.113.7"));
}

#[test]
fn all_that_is_bad_in_the_configuration_is_told_at_once() {
    let bad = [
        ("THROTTLE_PAIR_FREE", "0"),
        ("THROTTLE_PAIR_BASE_SECONDS", "x"),
        ("THROTTLE_NAME_MAX_SECONDS", "0"),
        ("THROTTLE_NETWORK_WINDOW_SECONDS", "-1"),
        ("THROTTLE_REGISTER_FREE", "1000001"),
    ];
    let error = Env::from_iter(bad).read(Limits::read).unwrap_err().to_string();
    for (variable, _) in bad {
        assert!(error.contains(variable), "{variable}: {error}");
    }
}
