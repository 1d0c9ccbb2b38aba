//! Tests which events a login records.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use events::{Event, Kind};
use identity::{Account, Role};
use login::LoginRoute;
use process::{Clock, SystemClock};
use serde_json::json;
use store::Events;
use testkit::{
    Fault, Interceptor, NewUser, PASSWORD, Stack, event, json_body, json_request, load, status,
};
use web::{Service, World, answer};

struct Bench {
    stack: Stack,
    route: Service<LoginRoute>,
    account: Account,
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let user = NewUser {
            username: "testuser",
            email: Some("testuser@example.com"),
            roles: &[Role::User],
        };
        let account = stack.user(user).await;
        // The wait must outlast the test, even on a slow machine.
        let env = stack.env_with(&[("THROTTLE_PAIR_BASE_SECONDS", "900")]);
        let route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
        Self { stack, route, account }
    }

    async fn login(&self, username: &str, password: &str) -> i64 {
        let login = json!({"username": username, "password": password});
        status(&answer(&self.route, json_request("login", &login)).await)
    }

    /// The events except the registration, latest first. A refused attempt is sorted as if it had happened at the
    /// beginning of its hour.
    async fn events(&self) -> Vec<Event> {
        let events = Events::new(&self.stack.users(), self.stack.client());
        let now = SystemClock.now();
        let mut events = events.page(self.account.id, None, 100, now).await.unwrap().events;
        let registered = events.extract_if(.., |event| event.kind == Kind::Registered).count();
        assert_eq!(registered, 1);
        events
    }

    async fn kinds(&self) -> Vec<&'static str> {
        self.events().await.iter().map(|event| event.kind.name()).collect()
    }
}

#[tokio::test]
async fn a_login_and_a_failure_are_recorded_with_their_origin() {
    let bench = Bench::start().await;
    assert_eq!(bench.login("testuser@example.com", "a wrong password").await, 401);
    let login = json!({"username": "TESTUSER", "password": PASSWORD});
    let event_json =
        testkit::header(json_body(load("login"), &login), "user-agent", "Br\u{f6}wser");
    let tokens = answer(&bench.route, event(event_json)).await;
    let claims = testkit::claims(testkit::body(&tokens)["access_token"].as_str().unwrap());
    let events = bench.events().await;
    let [login, failed] = &events[..] else { panic!("{events:?}") };
    let session_id = claims["sid"].as_str().unwrap().parse().unwrap();
    assert_eq!(login.kind, Kind::Login { session_id });
    assert_eq!(login.origin.user_agent.as_deref(), Some("Br\u{f6}wser"));
    assert_eq!(failed.kind, Kind::LoginFailed);
    for event in [login, failed] {
        assert_eq!(event.origin.network.unwrap().to_string(), "203.0.113.7");
        assert!(SystemClock.now().duration_since(event.at).as_secs() < 60);
    }
}

#[tokio::test]
async fn a_login_to_a_disabled_account_is_recorded_as_failed() {
    let bench = Bench::start().await;
    bench.stack.disable(bench.account.id).await;
    assert_eq!(bench.login("testuser", PASSWORD).await, 401);
    assert_eq!(bench.kinds().await, ["login_failed"]);
}

/// The login writes a decoy instead of an event. The decoy is stored as already expired and contains nothing about the
/// request.
#[tokio::test]
async fn an_unknown_name_leaves_no_event() {
    let bench = Bench::start().await;
    let before = bench.stack.items().await.len();
    for name in ["nobody-here", "nobody@example.com", "no name"] {
        assert_eq!(bench.login(name, "a wrong password").await, 401);
    }
    assert!(bench.kinds().await.is_empty());
    let items = bench.stack.items().await;
    let new = items.iter().filter(|item| {
        let pk = item["pk"].as_s().unwrap();
        pk.starts_with("USER#") && !pk.ends_with(&bench.account.id.to_string())
    });
    let mut count = 0;
    for item in new {
        count += 1;
        assert_eq!(item["sk"].as_s().unwrap(), "DECOY");
        assert_eq!(item.len(), 3, "{item:?}");
        let expires_at: i64 = item["expires_at"].as_n().unwrap().parse().unwrap();
        assert!(expires_at <= SystemClock.now().as_second());
    }
    assert_eq!(count, 3);
    bench.stack.remove_expired().await;
    let left = bench.stack.items().await;
    let counters = left.iter().filter(|it| it.contains_key("count")).count();
    assert_eq!(left.len() - counters, before);
}

/// A flood of refused attempts must not fill the table.
#[tokio::test]
async fn refused_attempts_are_recorded_once_an_hour_for_each_name() {
    let bench = Bench::start().await;
    let names = ["testuser", "testuser@example.com"];
    for name in names {
        for _ in 0..3 {
            assert_eq!(bench.login(name, "a wrong password").await, 401);
        }
        for _ in 0..5 {
            assert_eq!(bench.login(name, PASSWORD).await, 429);
        }
    }
    // Another instance does not know of the event, but the condition of its write prevents a second one.
    let env = bench.stack.env_with(&[("THROTTLE_PAIR_BASE_SECONDS", "900")]);
    let route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    let before = SystemClock.now().as_second() / 3_600;
    let other = Bench { route, ..bench };
    for name in names {
        assert_eq!(other.login(name, PASSWORD).await, 429);
    }
    let events = other.events().await;
    let refused: Vec<_> = events.iter().filter(|event| event.kind == Kind::Throttled).collect();
    let same_hour = refused.iter().all(|event| event.at.as_second() / 3_600 == before);
    assert!(if same_hour { refused.len() == 2 } else { (2..=4).contains(&refused.len()) });
    assert_eq!(events.len() - refused.len(), 6);
}

/// Different database requests would take different amounts of time and reveal which names exist.
#[tokio::test]
async fn a_refused_attempt_makes_the_same_requests_for_every_name() {
    let bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[("THROTTLE_PAIR_BASE_SECONDS", "900")]);
    let route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    let bench = Bench { route, ..bench };
    let mut requests = Vec::new();
    for name in ["testuser", "nobody-here"] {
        for _ in 0..3 {
            bench.login(name, "a wrong password").await;
        }
        for _ in 0..2 {
            interceptor.reset();
            assert_eq!(bench.login(name, "a wrong password").await, 429);
            let mut operations: Vec<_> =
                interceptor.calls().into_iter().map(|call| call.operation).collect();
            operations.sort();
            requests.push(operations);
        }
    }
    assert_eq!((&requests[0], &requests[1]), (&requests[2], &requests[3]));
    let recorded = |at: usize| requests[at].iter().filter(|it| *it == "TransactWriteItems").count();
    assert_eq!((recorded(0), recorded(1)), (1, 0));
}

/// A failure to record the event changes neither the answer nor the counters, and delays the answer only briefly.
#[tokio::test]
async fn an_event_that_cannot_be_recorded_does_not_change_the_answer() {
    let bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[("THROTTLE_PAIR_BASE_SECONDS", "900")]);
    let route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    let bench = Bench { route, ..bench };
    for (fault, expected) in [
        (Fault::AccessDenied, 401),
        (Fault::Silence, 401),
        (Fault::ServerError, 401),
        (Fault::Silence, 429),
    ] {
        interceptor.fail_when(move |call| match call.operation.as_str() {
            "TransactWriteItems" => fault,
            _ => Fault::None,
        });
        let started = Instant::now();
        assert_eq!(bench.login("testuser", "a wrong password").await, expected, "{fault:?}");
        assert!(started.elapsed() < Duration::from_secs(4), "{fault:?}");
    }
    assert!(bench.kinds().await.is_empty());
}
