//! Tests the throttle on an embedded DynamoDB: no burst exceeds its limit, and strangers cannot lock an owner out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use identity::{Account, CanonicalName, Email, EmailStanding, Network, Presented, Role, Username};
use jiff::SignedDuration;
use process::{Clock, Env, SystemRandom, World};
use secrets::{CacheSeconds, Cached, Secret};
use store::{Counters, Epochs, KnownNetworks, StoreError};
use testkit::{Fault, Faults, Interceptor, NewUser, Stack, TestClock};
use throttle::{CausedBy, Familiarity, Limits, NoticeBudget, Postal, Throttle, ThrottleError};

const HOME: Option<Network> = Some(v4([203, 0, 113, 7]));
const ELSEWHERE: Option<Network> = Some(v4([198, 51, 100, 1]));

const fn v4([a, b, c, d]: [u8; 4]) -> Network {
    Network::of(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
}

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
        let account = stack.confirm(&account).await;
        // The peppers are dated with the system clock, so the test clock must not start before they were created.
        let clock = TestClock::at(process::SystemClock.now());
        Self { stack, clock, account }
    }

    fn throttle(&self, settings: &[(&str, &str)]) -> Throttle {
        self.throttle_on(self.stack.client(), settings)
    }

    fn throttle_on(&self, client: dynamo::Client, settings: &[(&str, &str)]) -> Throttle {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let secret = Secret::new(&secrets::Config::file(self.stack.peppers_file()));
        let peppers = Arc::new(Cached::new(secret, CacheSeconds::default(), Arc::clone(&clock)));
        let config = self.stack.env_with(settings).settings::<throttle::Config>().unwrap();
        let world = World { clock, random: Arc::new(SystemRandom) };
        Throttle::open(&config, client, peppers, &world)
    }

    /// Lists the counters whose count is not zero, each with its count and the end of its wait.
    async fn counted(&self) -> BTreeMap<String, (String, String)> {
        let items = self.stack.items().await.into_iter();
        let counters = items.filter(|item| item.contains_key("count"));
        let counted = counters.map(|item| {
            let number = |name: &str| item[name].as_n().unwrap().clone();
            (item["pk"].as_s().unwrap().clone(), (number("count"), number("next_at")))
        });
        counted.filter(|(_, (count, _))| count != "0").collect()
    }

    fn budget(&self, client: dynamo::Client) -> NoticeBudget {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let secret = Secret::new(&secrets::Config::file(self.stack.peppers_file()));
        let peppers = Arc::new(Cached::new(secret, CacheSeconds::default(), Arc::clone(&clock)));
        let counters = Counters::new(&self.stack.users(), client);
        NoticeBudget::new(counters, peppers, clock, Arc::new(SystemRandom))
    }

    /// Raises the account's epoch, as a password change does.
    async fn raise_epoch(&self) {
        let epochs = Epochs::new(&self.stack.users(), self.stack.client());
        epochs.raise(self.account.id, &testkit::occasion(self.clock.now())).await.unwrap();
    }

    /// Gives the account another address.
    async fn move_to(&self, address: &str) {
        let client = self.stack.client().update_item().table_name("UsersTable");
        let key = AttributeValue::S(format!("USER#{}", self.account.id));
        let moved = client.key("pk", key).key("sk", AttributeValue::S("ACCOUNT".to_owned()));
        let moved = moved.update_expression("SET email = :email");
        let address = AttributeValue::S(address.to_owned());
        moved.expression_attribute_values(":email", address).send().await.unwrap();
    }

    /// The number of stored records of known networks.
    async fn known(&self) -> usize {
        let items = self.stack.items().await;
        items.iter().filter(|item| item["pk"].as_s().unwrap().starts_with("KNOWN#")).count()
    }

    fn wait(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    fn owner(&self) -> Presented {
        Presented::Username(self.account.username.canonical().clone())
    }
}

fn name(name: &str) -> CanonicalName {
    Username::parse(name).unwrap().canonical().clone()
}

/// Tries a wrong password. `Ok` means that the attempt was granted. Otherwise, the error is the wait in seconds.
async fn try_wrong_password(
    throttle: &Throttle,
    who: impl Borrow<Presented>,
    network: Option<Network>,
) -> Result<(), u64> {
    match throttle.attempt(who.borrow(), network).await {
        Ok(attempt) => {
            drop(attempt);
            Ok(())
        }
        Err(ThrottleError::TooMany { retry_after }) => Err(retry_after),
        Err(error) => panic!("{error}"),
    }
}

/// Tries the right password of `account`. `Ok` means that the attempt was granted. Otherwise, the error is the wait in
/// seconds.
async fn try_right_password(
    throttle: &Throttle,
    who: impl Borrow<Presented>,
    network: Option<Network>,
    account: &Account,
) -> Result<(), u64> {
    match throttle.attempt(who.borrow(), network).await {
        Ok(attempt) => {
            attempt.succeeded(account).await;
            Ok(())
        }
        Err(ThrottleError::TooMany { retry_after }) => Err(retry_after),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn three_attempts_are_free_and_then_each_wait_is_twice_as_long() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    for _ in 0..3 {
        assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    }
    for wait in [1, 2, 4, 8] {
        // Further tries, even with the correct password, do not prolong the wait.
        for _ in 0..3 {
            assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Err(wait));
        }
        assert_eq!(
            try_right_password(&throttle, bench.owner(), HOME, &bench.account).await,
            Err(wait)
        );
        bench.wait(i64::try_from(wait).unwrap());
        assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    }
    // Other names and other networks do not wait.
    assert_eq!(
        try_wrong_password(&throttle, Presented::Username(name("other")), HOME).await,
        Ok(())
    );
    assert_eq!(try_wrong_password(&throttle, bench.owner(), ELSEWHERE).await, Ok(()));
    // The counter expires after a day.
    bench.wait(24 * 60 * 60 + 1);
    for _ in 0..3 {
        assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    }
}

#[tokio::test]
async fn a_success_clears_earlier_failures() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    for _ in 0..10 {
        for _ in 0..2 {
            assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
        }
        assert_eq!(
            try_right_password(&throttle, bench.owner(), HOME, &bench.account).await,
            Ok(())
        );
    }
}

/// The number of concurrent attempts. It is smaller than the number of free attempts at a name. Otherwise, the
/// counter of the name could refuse an attempt that the counter of the name and the network has granted.
const RACERS: usize = 16;

/// Makes concurrent attempts, each with its own database client. All their requests reach the database together.
/// Returns how many attempts were granted.
async fn burst(fault: Fault) -> usize {
    let bench = Bench::start().await;
    // Each attempt makes three reservations and looks up whether the network is known.
    let faults = Faults::together(4 * RACERS, fault);
    let attempts = (0..RACERS).map(|_| {
        let throttle = bench.throttle_on(bench.stack.faulty_client(&faults), &[]);
        let owner = bench.account.username.canonical().clone();
        tokio::spawn(async move {
            try_wrong_password(&throttle, Presented::Username(owner.clone()), HOME).await.is_ok()
        })
    });
    let granted = join_all(attempts).await.into_iter().filter(|granted| *granted.as_ref().unwrap());
    let granted = granted.count();
    assert!(faults.most_at_once() >= 4 * RACERS, "the requests did not race");
    granted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_three_of_a_concurrent_burst_are_checked() {
    assert_eq!(burst(Fault::None).await, 3);
}

/// Shows that the conditions on the writes limit the burst.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_unconditional_writes_a_whole_burst_is_checked() {
    assert_eq!(burst(Fault::Unconditional).await, RACERS);
}

/// Strangers on many networks try the owner's name. On a known network, the owner need not wait.
#[tokio::test]
async fn strangers_cannot_lock_the_owner_out() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    assert_eq!(try_right_password(&throttle, bench.owner(), HOME, &bench.account).await, Ok(()));
    let mut refused = 0;
    for n in 0..40 {
        let network = v4([192, 0, 2, n]);
        if try_wrong_password(&throttle, bench.owner(), Some(network)).await.is_err() {
            refused += 1;
        }
    }
    assert_eq!(refused, 20, "the name has twenty free attempts");
    let new = Some(v4([198, 51, 100, 99]));
    assert_eq!(try_right_password(&throttle, bench.owner(), new, &bench.account).await, Err(1));
    for _ in 0..5 {
        assert_eq!(
            try_right_password(&throttle, bench.owner(), HOME, &bench.account).await,
            Ok(())
        );
    }
    // The same holds for the email address.
    let email = Email::parse("owner@example.com").unwrap();
    let by_email = Presented::Email(email.canonical().clone());
    for n in 0..25 {
        let network = v4([192, 0, 2, n]);
        let _ = try_wrong_password(&throttle, &by_email, Some(network)).await;
    }
    assert_eq!(try_wrong_password(&throttle, &by_email, new).await, Err(1));
    assert_eq!(try_right_password(&throttle, &by_email, HOME, &bench.account).await, Ok(()));
    // A network stays known for ninety days.
    bench.wait(90 * 24 * 60 * 60 + 1);
    for n in 0..25 {
        let network = v4([192, 0, 2, n]);
        let _ = try_wrong_password(&throttle, bench.owner(), Some(network)).await;
    }
    assert_eq!(try_right_password(&throttle, bench.owner(), HOME, &bench.account).await, Err(1));
}

/// One network tries many names.
#[tokio::test]
async fn the_failures_of_one_network_are_limited() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let mut refused = 0;
    for n in 0..150 {
        let name = name(&format!("nobody-{n}"));
        if let Err(wait) =
            try_wrong_password(&throttle, Presented::Username(name.clone()), HOME).await
        {
            assert!(wait > 590, "until the window ends: {wait}");
            refused += 1;
        }
    }
    assert_eq!(refused, 50);
    assert!(try_right_password(&throttle, bench.owner(), HOME, &bench.account).await.is_err());
    assert_eq!(
        try_right_password(&throttle, bench.owner(), ELSEWHERE, &bench.account).await,
        Ok(())
    );
    bench.wait(601);
    assert_eq!(try_right_password(&throttle, bench.owner(), HOME, &bench.account).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn successes_behind_one_ip_address_count_against_no_limit() {
    let bench = Bench::start().await;
    let throttle = Arc::new(bench.throttle(&[]));
    for _ in 0..10 {
        let logins = (0..20).map(|n| {
            let (throttle, account) = (Arc::clone(&throttle), bench.account.clone());
            tokio::spawn(async move {
                let name = name(&format!("colleague-{n}"));
                try_right_password(&throttle, Presented::Username(name.clone()), HOME, &account)
                    .await
            })
        });
        for login in join_all(logins).await {
            assert_eq!(login.unwrap(), Ok(()));
        }
    }
}

#[tokio::test]
async fn unknown_names_are_counted_like_known_ones() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let nobody = name("nobody");
    for who in [
        bench.owner(),
        Presented::Username(nobody.clone()),
        Presented::Impossible("no\u{0}name".to_owned()),
    ] {
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(try_wrong_password(&throttle, &who, HOME).await);
        }
        assert_eq!(answers, [Ok(()), Ok(()), Ok(()), Err(1), Err(1), Err(1)]);
    }
    // All spellings of a name that no account can have share a counter, like those of any other name.
    for text in ["caf\u{e9}!?", "CAFE\u{301}!\u{ff1f}", "Caf\u{e9}!?"] {
        assert_eq!(
            try_wrong_password(&throttle, Presented::Impossible(text.to_owned()), ELSEWHERE).await,
            Ok(())
        );
    }
    assert_eq!(
        try_wrong_password(&throttle, Presented::Impossible("Cafe\u{301}!?".to_owned()), ELSEWHERE)
            .await,
        Err(1)
    );
}

#[tokio::test]
async fn an_attempt_whose_answers_are_lost_counts_once() {
    let bench = Bench::start().await;
    let faults = Faults::script(&[]);
    let throttle = bench.throttle_on(bench.stack.faulty_client(&faults), &[]);
    for _ in 0..3 {
        faults.then(&[Fault::LostAnswer; 4]);
        assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    }
    assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Err(1));
}

#[tokio::test]
async fn nothing_is_granted_while_the_counters_cannot_be_reached() {
    let bench = Bench::start().await;
    let faults = Faults::always(Fault::Throttled);
    let throttle = bench.throttle_on(bench.stack.faulty_client(&faults), &[]);
    assert!(matches!(throttle.attempt(&bench.owner(), HOME).await, Err(ThrottleError::Store(_))));
    assert!(throttle.registration(HOME).await.is_err());
}

#[tokio::test]
async fn registrations_have_a_separate_window() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[("THROTTLE_REGISTER_FREE", "2")]);
    let registered = async |network| throttle.registration(network).await.is_ok();
    let home = [registered(HOME).await, registered(HOME).await, registered(HOME).await];
    assert_eq!(home, [true, true, false]);
    assert!(registered(ELSEWHERE).await && registered(None).await);
    assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    bench.wait(601);
    assert!(registered(HOME).await);
}

#[tokio::test]
async fn a_reader_of_the_table_learns_neither_names_nor_networks() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let secretive = name("secretive");
    assert_eq!(
        try_wrong_password(&throttle, Presented::Username(secretive.clone()), HOME).await,
        Ok(())
    );
    let scanned = bench.stack.client().scan().table_name("UsersTable").send().await.unwrap();
    let text = format!("{scanned:?}");
    assert!(text.contains("COUNTER#PAIR") && !text.contains("secretive"));
    assert!(!text.contains("203.0.113.7"));
}

#[test]
fn all_invalid_variables_are_reported_together() {
    let bad = [
        ("THROTTLE_PAIR_FREE", "0"),
        ("THROTTLE_PAIR_BASE_SECONDS", "x"),
        ("THROTTLE_NAME_MAX_SECONDS", "0"),
        ("THROTTLE_NETWORK_WINDOW_SECONDS", "-1"),
        ("THROTTLE_REGISTER_FREE", "1000001"),
    ];
    let error = Env::from_iter(bad).settings::<Limits>().unwrap_err().to_string();
    for (variable, _) in bad {
        assert!(error.contains(variable), "{variable}: {error}");
    }
}

/// Requests `count` emails without waiting. Returns which of them may be sent.
async fn request_mails(throttle: &Throttle, network: Option<Network>, count: usize) -> Vec<bool> {
    let address = Email::parse("owner@example.com").unwrap();
    let mut paid = Vec::new();
    for _ in 0..count {
        let postage = throttle.postage(address.canonical(), network).await.unwrap();
        paid.push(matches!(postage, Postal::Paid(_)));
    }
    paid
}

#[tokio::test]
async fn an_address_gets_three_mails_an_hour_per_network_five_in_total_and_ten_a_day() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    assert_eq!(request_mails(&throttle, HOME, 5).await, [true, true, true, false, false]);
    // A refused request counts against no limit, so two more emails may be sent in this hour.
    assert_eq!(request_mails(&throttle, ELSEWHERE, 3).await, [true, true, false]);
    assert_eq!(request_mails(&throttle, Some(v4([198, 51, 100, 2])), 1).await, [false]);
    // Other addresses are not affected.
    let other = Email::parse("other@example.com").unwrap();
    let postage = throttle.postage(other.canonical(), HOME).await.unwrap();
    assert!(matches!(postage, Postal::Paid(_)));
    bench.wait(60 * 60 + 1);
    assert_eq!(request_mails(&throttle, HOME, 4).await, [true, true, true, false]);
    assert_eq!(request_mails(&throttle, ELSEWHERE, 3).await, [true, true, false]);
    // All ten emails of the day have been sent.
    bench.wait(60 * 60 + 1);
    assert_eq!(request_mails(&throttle, HOME, 1).await, [false]);
    bench.wait(22 * 60 * 60 + 1);
    assert_eq!(request_mails(&throttle, HOME, 1).await, [true]);
}

#[tokio::test]
async fn a_known_network_has_five_mails_that_strangers_cannot_use_up() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    assert_eq!(try_right_password(&throttle, bench.owner(), HOME, &bench.account).await, Ok(()));
    for n in 1..=3 {
        request_mails(&throttle, Some(v4([198, 51, 100, n])), 5).await;
    }
    let expected = [true, true, true, true, true, false];
    assert_eq!(request_mails(&throttle, HOME, 6).await, expected);
    bench.wait(60 * 60 + 1);
    assert_eq!(request_mails(&throttle, HOME, 1).await, [true]);
}

/// Requests emails concurrently, each with its own client and network. Returns how many may be sent.
async fn burst_of_mails(fault: Fault) -> usize {
    let bench = Bench::start().await;
    let faults = Faults::together(RACERS, fault);
    let asked = (0_u8..).take(RACERS).map(|n| {
        let throttle = bench.throttle_on(bench.stack.faulty_client(&faults), &[]);
        tokio::spawn(async move {
            let address = Email::parse("owner@example.com").unwrap();
            let network = v4([198, 51, 100, n]);
            let postage = throttle.postage(address.canonical(), Some(network)).await.unwrap();
            matches!(postage, Postal::Paid(_))
        })
    });
    let paid = join_all(asked).await.into_iter().filter(|paid| *paid.as_ref().unwrap()).count();
    assert!(faults.most_at_once() >= RACERS, "the requests did not race");
    paid
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_most_five_of_a_burst_of_mails_may_be_sent() {
    let paid = burst_of_mails(Fault::None).await;
    assert!((1..=5).contains(&paid), "{paid}");
}

/// Shows that the conditions on the writes limit the burst.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_unconditional_writes_a_whole_burst_of_mails_may_be_sent() {
    assert_eq!(burst_of_mails(Fault::Unconditional).await, RACERS);
}

#[tokio::test]
async fn a_network_may_request_twenty_mails_in_ten_minutes() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    for _ in 0..20 {
        throttle.mail_request(HOME).await.unwrap();
    }
    let refused = throttle.mail_request(HOME).await.unwrap_err();
    assert!(matches!(refused, ThrottleError::TooMany { retry_after: 1..=601 }), "{refused}");
    throttle.mail_request(ELSEWHERE).await.unwrap();
    bench.wait(601);
    throttle.mail_request(HOME).await.unwrap();
    let throttle = bench.throttle(&[("THROTTLE_MAIL_FREE", "1")]);
    assert!(throttle.mail_request(HOME).await.is_err());
}

#[tokio::test]
async fn an_attempt_without_a_name_counts_only_against_its_network() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[("THROTTLE_NETWORK_FREE", "3")]);
    for _ in 0..5 {
        throttle.bare_attempt(HOME).await.unwrap().withdraw().await;
    }
    for _ in 0..3 {
        drop(throttle.bare_attempt(HOME).await.unwrap());
    }
    assert!(throttle.bare_attempt(HOME).await.is_err());
    assert!(
        try_wrong_password(&throttle, bench.owner(), HOME).await.is_err(),
        "logins use the same counter"
    );
    drop(throttle.bare_attempt(ELSEWHERE).await.unwrap());
}

/// An attempt passes when its code is correct. This is not a login, so it makes no network known.
#[tokio::test]
async fn a_passed_attempt_is_released_and_makes_no_network_known() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[("THROTTLE_NAME_FREE", "3")]);
    for _ in 0..2 {
        assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    }
    throttle.attempt(&bench.owner(), HOME).await.unwrap().passed().await;
    // The counter of the name and the network is cleared, and one free attempt at the name is left.
    assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    assert!(
        try_wrong_password(&throttle, bench.owner(), HOME).await.is_err(),
        "refused by the counter of the name"
    );
}

/// Uses up the free attempts at a name from many networks, as strangers could.
async fn use_up_attempts(throttle: &Throttle, who: impl Borrow<Presented>) {
    for n in 0..25 {
        let _ = try_wrong_password(throttle, who.borrow(), Some(v4([192, 0, 2, n]))).await;
    }
}

#[tokio::test]
async fn a_reset_makes_its_network_known_and_forgets_the_others() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let email = bench.account.email.clone().unwrap();
    let by_email = || Presented::Email(email.canonical().clone());
    assert_eq!(
        try_right_password(&throttle, bench.owner(), ELSEWHERE, &bench.account).await,
        Ok(())
    );
    for _ in 0..3 {
        assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
        assert_eq!(try_wrong_password(&throttle, by_email(), HOME).await, Ok(()));
    }
    bench.raise_epoch().await;
    let recovered = throttle.recovered(&bench.account, HOME).await.unwrap();
    assert_eq!(recovered, Familiarity::New);
    // Under the username and under the address, this network's failures are forgotten, and strangers' failures impose
    // no wait on it.
    for who in [bench.owner(), by_email()] {
        use_up_attempts(&throttle, &who).await;
        assert_eq!(try_wrong_password(&throttle, &who, HOME).await, Ok(()));
        assert_eq!(
            try_wrong_password(&throttle, &who, ELSEWHERE).await,
            Err(1),
            "a former network"
        );
    }
    // The reset proves that the user owns the address, even if it had not been confirmed before.
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let account = Account { email_standing: EmailStanding::Unverified, ..bench.account.clone() };
    bench.raise_epoch().await;
    assert_eq!(throttle.recovered(&account, HOME).await.unwrap(), Familiarity::Usual);
    use_up_attempts(&throttle, by_email()).await;
    assert_eq!(try_wrong_password(&throttle, by_email(), HOME).await, Ok(()));
}

#[tokio::test]
async fn all_networks_of_a_name_are_forgotten() {
    let bench = Bench::start().await;
    let networks = KnownNetworks::new(&bench.stack.users(), bench.stack.client());
    let now = bench.clock.now();
    let until = now + SignedDuration::from_hours(24);
    for n in 0..250 {
        let network = format!("network {n}");
        assert!(networks.record(&bench.account, &["somebody"], &network, until).await.unwrap());
    }
    assert!(networks.record(&bench.account, &["somebody else"], "network", until).await.unwrap());
    networks.forget("somebody").await.unwrap();
    assert!(!networks.any_known("somebody", now).await.unwrap());
    assert!(networks.any_known("somebody else", now).await.unwrap());
}

#[tokio::test]
async fn all_other_networks_are_forgotten_even_if_one_cannot_be_forgotten() {
    let bench = Bench::start().await;
    let networks = KnownNetworks::new(&bench.stack.users(), bench.stack.client());
    let until = bench.clock.now() + SignedDuration::from_hours(24);
    for network in ["a", "b", "c"] {
        networks.record(&bench.account, &["somebody"], network, until).await.unwrap();
    }
    // The request that lists the networks succeeds. One of the requests that delete them fails.
    let faults = Faults::script(&[Fault::None, Fault::AccessDenied]);
    let failing = KnownNetworks::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
    assert!(failing.forget("somebody").await.is_err());
    assert_eq!(bench.known().await, 1);
}

/// If the password is replaced before a login's network is recorded, the network must not become known, because nobody
/// has signed in from it with the current password.
#[tokio::test]
async fn a_login_whose_password_is_replaced_concurrently_makes_no_network_known() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let attempt = throttle.attempt(&bench.owner(), ELSEWHERE).await.unwrap();
    bench.raise_epoch().await;
    throttle.recovered(&bench.account, HOME).await.unwrap();
    attempt.succeeded(&bench.account).await;
    assert_eq!(
        bench.known().await,
        2,
        "the network of the reset, under the username and the address"
    );
    use_up_attempts(&throttle, bench.owner()).await;
    assert_eq!(try_wrong_password(&throttle, bench.owner(), ELSEWHERE).await, Err(1));
    assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    // The same holds for the network of a reset if another reset follows before the network is recorded.
    bench.raise_epoch().await;
    throttle.recovered(&bench.account, ELSEWHERE).await.unwrap();
    assert_eq!(bench.known().await, 0);
}

/// The owner must get a notice about a new network even if recording the network fails, because an intruder could make
/// it fail.
#[tokio::test]
async fn a_network_is_new_even_if_it_cannot_be_recorded() {
    let bench = Bench::start().await;
    assert_eq!(
        try_right_password(&bench.throttle(&[]), bench.owner(), HOME, &bench.account).await,
        Ok(())
    );
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[]);
    let throttle =
        bench.throttle_on(dynamo::connect(&env.settings::<dynamo::Config>().unwrap()), &[]);
    interceptor.fail_when(|call| {
        let is_transaction = call.body.get("TransactItems").is_some();
        if is_transaction { Fault::AccessDenied } else { Fault::None }
    });
    let attempt = throttle.attempt(&bench.owner(), ELSEWHERE).await.unwrap();
    assert_eq!(attempt.succeeded(&bench.account).await, Familiarity::New);
    assert_eq!(throttle.recovered(&bench.account, ELSEWHERE).await.unwrap(), Familiarity::New);
}

/// A later owner of the address must not inherit the known networks of the previous owner.
#[tokio::test]
async fn no_network_stays_known_under_an_address_that_is_given_up() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let [old, new] = ["owner@example.com", "new@example.com"]
        .map(|address| Email::parse(address).unwrap().canonical().clone());
    assert_eq!(try_right_password(&throttle, bench.owner(), HOME, &bench.account).await, Ok(()));
    let late = throttle.attempt(&bench.owner(), ELSEWHERE).await.unwrap();
    bench.move_to("new@example.com").await;
    throttle.addresses_changed([&old, &new]).await;
    assert_eq!(bench.known().await, 1, "under the username");
    // This login read the account before its address changed.
    late.succeeded(&bench.account).await;
    assert_eq!(bench.known().await, 1);
    use_up_attempts(&throttle, Presented::Email(old.clone())).await;
    assert_eq!(try_wrong_password(&throttle, Presented::Email(old.clone()), HOME).await, Err(1));
    assert_eq!(request_mails(&throttle, HOME, 4).await, [true, true, true, false]);
    use_up_attempts(&throttle, bench.owner()).await;
    assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
}

/// Registering with a stranger's address gives no exemption from the limits that protect the stranger.
#[tokio::test]
async fn an_unconfirmed_address_makes_no_network_known() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let account = Account { email_standing: EmailStanding::Unverified, ..bench.account.clone() };
    let email = account.email.clone().unwrap();
    let by_email = || Presented::Email(email.canonical().clone());
    for who in [bench.owner(), by_email()] {
        assert_eq!(try_right_password(&throttle, &who, HOME, &account).await, Ok(()));
    }
    let strangers = [true, true, true, false];
    assert_eq!(
        request_mails(&throttle, HOME, 4).await,
        strangers,
        "the limit of an unknown network"
    );
    use_up_attempts(&throttle, by_email()).await;
    assert_eq!(try_wrong_password(&throttle, by_email(), HOME).await, Err(1));
    // The network is known under the username.
    use_up_attempts(&throttle, bench.owner()).await;
    assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    // Once the address is confirmed, a login with it makes the network known.
    bench.wait(24 * 60 * 60 + 1);
    assert_eq!(try_right_password(&throttle, by_email(), HOME, &bench.account).await, Ok(()));
    use_up_attempts(&throttle, by_email()).await;
    assert_eq!(try_wrong_password(&throttle, by_email(), HOME).await, Ok(()));
}

/// The /64 with the number `n` in the /48 with the number `site`.
fn slash_64(site: u16, n: u16) -> Network {
    Network::of(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, site, n, 0, 0, 0, 1)))
}

#[tokio::test]
async fn an_ipv6_slash_48_has_ten_times_the_limits_of_a_slash_64() {
    let bench = Bench::start().await;
    let settings = [
        ("THROTTLE_PAIR_FREE", "2"),
        ("THROTTLE_NAME_FREE", "1000"),
        ("THROTTLE_NETWORK_FREE", "3"),
        ("THROTTLE_REGISTER_FREE", "2"),
        ("THROTTLE_MAIL_FREE", "2"),
    ];
    let throttle = bench.throttle(&settings);
    // Attempts at one name, each from another /64.
    for n in 0..20 {
        assert_eq!(
            try_wrong_password(&throttle, bench.owner(), Some(slash_64(1, n))).await,
            Ok(()),
            "{n}"
        );
    }
    assert_eq!(try_wrong_password(&throttle, bench.owner(), Some(slash_64(1, 20))).await, Err(1));
    assert_eq!(
        try_wrong_password(&throttle, bench.owner(), Some(slash_64(2, 0))).await,
        Ok(()),
        "another /48"
    );
    // Attempts at many names.
    for n in 0..30 {
        let nobody = name(&format!("nobody-{n}"));
        let who = Presented::Username(nobody.clone());
        assert_eq!(try_wrong_password(&throttle, who, Some(slash_64(3, n))).await, Ok(()), "{n}");
    }
    let nobody = name("nobody-30");
    assert!(
        try_wrong_password(&throttle, Presented::Username(nobody.clone()), Some(slash_64(3, 30)))
            .await
            .is_err()
    );
    // A single /64 has the limits of an IPv4 address.
    let one = slash_64(4, 0);
    for _ in 0..2 {
        assert_eq!(try_wrong_password(&throttle, bench.owner(), Some(one)).await, Ok(()));
        assert!(throttle.registration(Some(one)).await.is_ok());
    }
    assert_eq!(try_wrong_password(&throttle, bench.owner(), Some(one)).await, Err(1));
    assert!(throttle.registration(Some(one)).await.is_err());
    // A /48 may also make ten times as many registrations (the single /64 has made two) and requests for emails.
    for n in 1..19 {
        assert!(throttle.registration(Some(slash_64(4, n))).await.is_ok(), "{n}");
    }
    assert!(throttle.registration(Some(slash_64(4, 19))).await.is_err());
    for n in 0..20 {
        assert!(throttle.mail_request(Some(slash_64(5, n))).await.is_ok(), "{n}");
    }
    assert!(throttle.mail_request(Some(slash_64(5, 20))).await.is_err());
}

#[tokio::test]
async fn mails_to_an_address_are_also_counted_per_ipv6_slash_48() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    assert_eq!(request_mails(&throttle, Some(slash_64(1, 0)), 1).await, [true]);
    let counted = bench.counted().await;
    let pairs = counted.keys().filter(|key| key.starts_with("COUNTER#MAIL_PAIR#")).count();
    assert_eq!(pairs, 2, "{counted:?}");
    // A known /64 gets five emails, and its /48 gets fifty.
    for n in 0..11 {
        let network = slash_64(2, n);
        assert_eq!(
            try_right_password(&throttle, bench.owner(), Some(network), &bench.account).await,
            Ok(())
        );
        assert_eq!(request_mails(&throttle, Some(network), 5).await, [n < 10; 5], "{n}");
    }
}

#[tokio::test]
async fn successes_in_an_ipv6_slash_48_count_against_no_limit() {
    let bench = Bench::start().await;
    let settings = [("THROTTLE_PAIR_FREE", "1"), ("THROTTLE_NETWORK_FREE", "1")];
    let throttle = bench.throttle(&settings);
    for n in 0..25 {
        let network = slash_64(1, n);
        assert_eq!(
            try_right_password(&throttle, bench.owner(), Some(network), &bench.account).await,
            Ok(())
        );
    }
    assert_eq!(bench.counted().await, BTreeMap::new());
}

/// The bodies of all requests after the first `before`.
fn requests(faults: &Faults, before: usize) -> String {
    format!("{:?}", &faults.bodies()[before..])
}

/// If throttled attempts made reservations on the counter of the name, one network could keep the counter reserved,
/// and the owner would be refused on an unknown network.
#[tokio::test]
async fn a_flood_of_throttled_attempts_reserves_nothing_on_the_counter_of_the_name() {
    let bench = Bench::start().await;
    for (settings, free) in [
        // The counter of the name and the network refuses in the first case, the counter of the network in the second.
        (&[][..], 3),
        (&[("THROTTLE_NETWORK_FREE", "2")][..], 2),
    ] {
        let faults = Faults::script(&[]);
        let throttle = bench.throttle_on(bench.stack.faulty_client(&faults), settings);
        for _ in 0..free {
            assert_eq!(try_wrong_password(&throttle, bench.owner(), ELSEWHERE).await, Ok(()));
        }
        let wait = try_wrong_password(&throttle, bench.owner(), ELSEWHERE).await.unwrap_err();
        let before = faults.requests();
        for _ in 0..5 {
            assert_eq!(try_wrong_password(&throttle, bench.owner(), ELSEWHERE).await, Err(wait));
        }
        let flood = requests(&faults, before);
        assert!(flood.contains("COUNTER#PAIR#") && flood.contains("COUNTER#NETWORK#"));
        assert!(!flood.contains("COUNTER#NAME#"), "{flood}");
        // Attempts from another network, and from this one after its wait, make reservations on every counter.
        for network in [HOME, ELSEWHERE] {
            let before = faults.requests();
            assert_eq!(try_wrong_password(&throttle, bench.owner(), network).await, Ok(()));
            assert!(requests(&faults, before).contains("COUNTER#NAME#"));
            bench.wait(i64::try_from(wait).unwrap());
        }
        bench.wait(24 * 60 * 60 + 1);
    }
}

#[tokio::test]
async fn a_flood_of_requests_for_mail_reserves_nothing_on_the_counters_of_the_address() {
    let bench = Bench::start().await;
    let faults = Faults::script(&[]);
    let throttle = bench.throttle_on(bench.stack.faulty_client(&faults), &[]);
    assert_eq!(request_mails(&throttle, HOME, 4).await, [true, true, true, false]);
    let before = faults.requests();
    assert_eq!(request_mails(&throttle, HOME, 5).await, [false; 5]);
    let flood = requests(&faults, before);
    assert!(flood.contains("COUNTER#MAIL_PAIR#"));
    assert!(!flood.contains("COUNTER#MAIL_HOUR#") && !flood.contains("COUNTER#MAIL_DAY#"));
}

#[tokio::test]
async fn an_attempt_that_fails_on_one_counter_counts_on_none() {
    let bench = Bench::start().await;
    let good = bench.throttle(&[]);
    let home = slash_64(1, 1);
    let home = Some(home);
    for _ in 0..2 {
        assert_eq!(try_wrong_password(&good, bench.owner(), home).await, Ok(()));
    }
    let before = bench.counted().await;
    assert_eq!(before.len(), 5, "{before:?}");
    // One of the six requests looks up whether the network is known. The others are reservations.
    for n in 0..6 {
        let faults = Faults::script(&[vec![Fault::None; n], vec![Fault::AccessDenied]].concat());
        let throttle = bench.throttle_on(bench.stack.faulty_client(&faults), &[]);
        let refused = throttle.attempt(&bench.owner(), home).await.err();
        assert!(matches!(refused, Some(ThrottleError::Store(_))), "{n}: {refused:?}");
        assert_eq!(bench.counted().await, before, "{n}");
    }
}

/// An attempt counts if and only if the guess was wrong.
#[tokio::test]
async fn an_attempt_that_the_server_cannot_carry_out_does_not_count() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    let before = bench.counted().await;
    let outage = || StoreError::Contradiction;
    let attempt = throttle.attempt(&bench.owner(), HOME).await.unwrap();
    let failed = attempt.carry_out(async { Err::<(), ThrottleError>(outage().into()) }).await;
    assert!(failed.is_err());
    assert_eq!(bench.counted().await, before);
    // An attempt whose check takes too long is not counted either.
    let attempt = throttle.attempt(&bench.owner(), HOME).await.unwrap();
    let late = attempt.carry_out(std::future::pending::<Result<(), ThrottleError>>()).await;
    assert!(matches!(late, Err(ThrottleError::Overdue)));
    assert_eq!(bench.counted().await, before);
    let registration = throttle.registration(HOME).await.unwrap();
    let failed = registration.carry_out(async { Err::<(), ThrottleError>(outage().into()) }).await;
    assert!(failed.is_err());
    assert_eq!(bench.counted().await, before);
    let wrong = ThrottleError::TooMany { retry_after: 1 };
    let attempt = throttle.attempt(&bench.owner(), HOME).await.unwrap();
    assert!(attempt.carry_out(async { Err::<(), _>(wrong) }).await.is_err());
    assert_ne!(bench.counted().await, before, "the caller's failure counts");
}

/// A release that is retried after a lost answer must not release the reservations of others.
#[tokio::test]
async fn a_reservation_is_released_once_despite_lost_answers() {
    let bench = Bench::start().await;
    let faults = Faults::script(&[]);
    let throttle = bench.throttle_on(bench.stack.faulty_client(&faults), &[]);
    for _ in 0..2 {
        assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    }
    let before = bench.counted().await;
    for fault in [Fault::LostAnswer, Fault::AccessDenied, Fault::Lost, Fault::ServerError] {
        let attempt = throttle.attempt(&bench.owner(), HOME).await.unwrap();
        faults.then(&[fault]);
        attempt.withdraw().await;
        assert_eq!(bench.counted().await, before, "{fault:?}");
    }
    // If another attempt has changed the counter, the release lowers it instead of restoring its state.
    let attempt = throttle.attempt(&bench.owner(), HOME).await.unwrap();
    let other = throttle.attempt(&bench.owner(), ELSEWHERE).await.unwrap();
    faults.then(&[Fault::LostAnswer; 6]);
    attempt.withdraw().await;
    other.withdraw().await;
    assert_eq!(bench.counted().await, before);
}

/// A reservation that was retried and then released leaves neither a count nor a wait.
#[tokio::test]
async fn an_attempt_whose_reservation_was_retried_leaves_no_wait() {
    let bench = Bench::start().await;
    let faults = Faults::script(&[]);
    let throttle = bench.throttle_on(bench.stack.faulty_client(&faults), &[]);
    for _ in 0..2 {
        assert_eq!(try_wrong_password(&throttle, bench.owner(), HOME).await, Ok(()));
    }
    let before = bench.counted().await;
    // The first four requests update three counters and look up the network. The fifth replaces the counter of
    // the name and the network, which then imposes a wait.
    faults.then(&[&[Fault::None; 4][..], &[Fault::LostAnswer]].concat());
    let attempt = throttle.attempt(&bench.owner(), HOME).await.unwrap();
    assert_eq!(faults.operations().iter().filter(|it| *it == "UpdateItem").count(), 11);
    attempt.withdraw().await;
    assert_eq!(bench.counted().await, before);
}

#[tokio::test]
async fn a_network_is_new_only_if_others_are_known() {
    let bench = Bench::start().await;
    let throttle = bench.throttle(&[]);
    let sign_in = async |network| {
        let attempt = throttle.attempt(&bench.owner(), network).await.unwrap();
        attempt.succeeded(&bench.account).await
    };
    assert_eq!(sign_in(HOME).await, Familiarity::Usual, "the first network");
    assert_eq!(sign_in(HOME).await, Familiarity::Usual);
    assert_eq!(sign_in(ELSEWHERE).await, Familiarity::New);
    assert_eq!(sign_in(ELSEWHERE).await, Familiarity::Usual);
    // The network is known, whichever name the login uses.
    let email = bench.account.email.clone().unwrap();
    let attempt =
        throttle.attempt(&Presented::Email(email.canonical().clone()), HOME).await.unwrap();
    assert_eq!(attempt.succeeded(&bench.account).await, Familiarity::Usual);
    // A network that has not been used for 90 days is forgotten.
    bench.wait(91 * 24 * 60 * 60);
    assert_eq!(sign_in(HOME).await, Familiarity::Usual, "no network is known");
    assert_eq!(sign_in(ELSEWHERE).await, Familiarity::New);
}

/// Reserves notices that only people with the account's password or tokens can cause. Returns how many may be sent.
async fn reserve_notices(budget: &NoticeBudget, address: &str, count: usize) -> usize {
    reserve_notices_by(CausedBy::Insiders, budget, address, count).await
}

/// Reserves notices one after the other. Returns how many may be sent.
async fn reserve_notices_by(
    by: CausedBy,
    budget: &NoticeBudget,
    address: &str,
    count: usize,
) -> usize {
    let address = Email::parse(address).unwrap();
    let mut sent = 0;
    for _ in 0..count {
        sent += usize::from(budget.reserve(address.canonical(), by).await.unwrap().is_some());
    }
    sent
}

/// The notices that anyone can cause also count toward the limit of ten a day.
#[tokio::test]
async fn anyone_can_cause_at_most_three_notices_a_day() {
    let bench = Bench::start().await;
    let budget = bench.budget(bench.stack.client());
    assert_eq!(reserve_notices_by(CausedBy::Anyone, &budget, "owner@example.com", 5).await, 3);
    assert_eq!(reserve_notices(&budget, "owner@example.com", 12).await, 7);
    bench.wait(24 * 60 * 60 + 1);
    assert_eq!(reserve_notices(&budget, "owner@example.com", 9).await, 9);
    assert_eq!(reserve_notices_by(CausedBy::Anyone, &budget, "owner@example.com", 5).await, 1);
    // A notice refused by the limit of ten is not counted toward the limit of three.
    let counted = bench.counted().await;
    let count = counted.iter().find(|(key, _)| key.starts_with("COUNTER#NOTICE_ANYONE#"));
    assert_eq!(count.unwrap().1.0, "1");
}

#[tokio::test]
async fn an_address_gets_ten_notices_a_day() {
    let bench = Bench::start().await;
    let budget = bench.budget(bench.stack.client());
    assert_eq!(reserve_notices(&budget, "owner@example.com", 8).await, 8);
    // All spellings of an address share the limit.
    assert_eq!(reserve_notices(&budget, "OWNER@example.com", 8).await, 2);
    assert_eq!(reserve_notices(&budget, "other@example.com", 1).await, 1);
    bench.wait(23 * 60 * 60);
    assert_eq!(reserve_notices(&budget, "owner@example.com", 1).await, 0);
    bench.wait(60 * 60 + 1);
    assert_eq!(reserve_notices(&budget, "owner@example.com", 12).await, 10);
    let items = format!("{:?}", bench.stack.items().await);
    assert!(items.contains("COUNTER#NOTICE_DAY#") && !items.contains("#owner@example.com#"));
}

#[tokio::test]
async fn a_notice_that_is_given_back_does_not_count() {
    let bench = Bench::start().await;
    let budget = bench.budget(bench.stack.client());
    let owner = Email::parse("owner@example.com").unwrap();
    for _ in 0..30 {
        let receipt = budget.reserve(owner.canonical(), CausedBy::Anyone).await;
        let receipt = receipt.unwrap().unwrap();
        receipt.give_back().await.unwrap();
    }
    assert_eq!(reserve_notices(&budget, "owner@example.com", 12).await, 10);
}

#[tokio::test]
async fn a_notice_is_given_back_on_every_counter_that_can_be_reached() {
    for n in 0..2 {
        let bench = Bench::start().await;
        let faults = Faults::script(&[]);
        let budget = bench.budget(bench.stack.faulty_client(&faults));
        let owner = Email::parse("owner@example.com").unwrap();
        let receipt = budget.reserve(owner.canonical(), CausedBy::Anyone).await.unwrap().unwrap();
        assert_eq!(bench.counted().await.len(), 2);
        faults.then(&[vec![Fault::None; n], vec![Fault::AccessDenied]].concat());
        assert!(receipt.give_back().await.is_err(), "{n}");
        assert_eq!(bench.counted().await.len(), 1, "{n}");
    }
}

/// Reserves notices concurrently, each with its own client. Returns how many may be sent.
async fn burst_of_notices(fault: Fault) -> usize {
    let bench = Bench::start().await;
    let faults = Faults::together(RACERS, fault);
    let asked = (0..RACERS).map(|_| {
        let budget = bench.budget(bench.stack.faulty_client(&faults));
        tokio::spawn(async move { reserve_notices(&budget, "owner@example.com", 1).await })
    });
    let sent = join_all(asked).await.into_iter().map(Result::unwrap).sum();
    assert!(faults.most_at_once() >= RACERS, "the requests did not race");
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_most_ten_of_a_burst_of_notices_are_sent() {
    assert_eq!(burst_of_notices(Fault::None).await, 10);
}

/// Shows that the conditions on the writes limit the burst.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_unconditional_writes_a_whole_burst_of_notices_is_sent() {
    assert_eq!(burst_of_notices(Fault::Unconditional).await, RACERS);
}
