//! Tests `register` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod names;
mod passwords;
mod shape;
mod verification;

use std::collections::BTreeMap;
use std::time::Instant;

use identity::{CanonicalName, UniqueName};
use jiff::SignedDuration;
use process::{Clock, Env, SystemClock};
use register::RegisterRoute;
use serde_json::{Value, json};
use testkit::{Fault, Interceptor, Stack, body, event, events_of, json_request, readable, status};
use web::{EventResponse, Service, World, answer};

/// A password that satisfies all rules.
const PASSWORD: &str = testkit::PASSWORD;

struct Bench {
    stack: Stack,
    route: Service<RegisterRoute>,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(variables: &[(&str, &str)]) -> Self {
        let stack = Stack::start().await;
        // Some tests exceed the default limit on registrations from one network.
        let free = [&[("THROTTLE_REGISTER_FREE", "100000")], variables].concat();
        let route =
            Service::<RegisterRoute>::open(&stack.env_with(&free), &World::system()).await.unwrap();
        Self { stack, route }
    }

    async fn ask(&self, registration: Value) -> EventResponse {
        answer(&self.route, json_request("register", &registration)).await
    }

    /// Returns the status and, for a refusal, the error codes of the fields or of the whole request.
    async fn outcome(&self, registration: Value) -> (i64, Vec<String>) {
        let answer = self.ask(registration).await;
        let body = body(&answer);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let codes = match body["errors"].as_array() {
            Some(errors) => errors
                .iter()
                .map(|error| format!("{} {}", text(&error["field"]), text(&error["code"])))
                .collect(),
            None if body["code"].is_string() => vec![text(&body["code"])],
            None => Vec::new(),
        };
        (status(&answer), codes)
    }

    /// The number of items other than counters and events. Each account has one item for itself, one for its password,
    /// one for each claimed name, and one in the list of all accounts.
    async fn items(&self) -> usize {
        let items = self.stack.items().await;
        let others = items.iter().filter(|item| {
            let [pk, sk] = ["pk", "sk"].map(|name| item[name].as_s().unwrap());
            !pk.starts_with("COUNTER#") && !sk.starts_with("EVENT#")
        });
        others.count()
    }
}

fn registered() -> (i64, Vec<String>) {
    (201, Vec::new())
}

fn refused(status: i64, codes: &[&str]) -> (i64, Vec<String>) {
    (status, codes.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    for (name, event_json) in events_of("register") {
        let bench = Bench::start().await;
        let answer = answer(&bench.route, event(event_json)).await;
        insta::assert_json_snapshot!(name.clone(), readable(&answer));
        let stored = if status(&answer) == 201 { 5 } else { 0 };
        assert_eq!(bench.items().await, stored, "{name}");
    }
}

#[tokio::test]
async fn a_taken_name_or_address_is_reported_and_stores_nothing() {
    let bench = Bench::start().await;
    let full =
        |name: &str, email: &str| json!({"username": name, "password": PASSWORD, "email": email});
    assert_eq!(bench.outcome(full("testuser", "t@example.com")).await, registered());
    let again = bench.ask(full("testuser", "other@example.com")).await;
    insta::assert_json_snapshot!("a taken name", readable(&again));
    let again = bench.ask(full("otheruser", "T@EXAMPLE.com")).await;
    insta::assert_json_snapshot!("a taken address", readable(&again));
    assert_eq!(bench.items().await, 5);
    assert_eq!(bench.outcome(full("otheruser", "other@example.com")).await, registered());
}

#[tokio::test]
async fn names_of_a_deleted_account_get_the_same_answer_as_taken_ones() {
    let bench = Bench::start().await;
    let until = SystemClock.now() + SignedDuration::from_hours(1);
    let [name, address] = ["deleted", "d@example.com"].map(CanonicalName::of_unchecked);
    for name in [UniqueName::Username(&name), UniqueName::Email(&address)] {
        bench.stack.bury(name, until).await;
    }
    let full =
        |name: &str, email: &str| json!({"username": name, "password": PASSWORD, "email": email});
    assert_eq!(bench.outcome(full("taken", "t@example.com")).await, registered());
    let before = bench.items().await;
    for (deleted, taken) in [
        (full("Deleted", "other@example.com"), full("taken", "other@example.com")),
        (full("otheruser", "D@example.com"), full("otheruser", "t@example.com")),
    ] {
        let (deleted, taken) = (bench.ask(deleted).await, bench.ask(taken).await);
        assert_eq!(status(&deleted), 409);
        assert_eq!(readable(&deleted), readable(&taken));
    }
    assert_eq!(bench.items().await, before);
}

#[tokio::test]
async fn registrations_from_one_network_are_limited() {
    let bench = Bench::start_with(&[("THROTTLE_REGISTER_FREE", "2")]).await;
    let user = |n: usize| json!({"username": format!("user{n}"), "password": PASSWORD});
    // An invalid registration is refused before it counts against the limit.
    assert_eq!(bench.outcome(json!({"username": "a", "password": PASSWORD})).await.0, 400);
    for n in 0..2 {
        assert_eq!(bench.outcome(user(n)).await, registered());
    }
    let throttled = bench.ask(user(2)).await;
    assert_eq!(
        (status(&throttled), body(&throttled)["code"].as_str()),
        (429, Some("too_many_attempts"))
    );
    let wait: u64 = throttled.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((590..=601).contains(&wait), "until the window ends: {wait}");
    assert_eq!(bench.items().await, 8, "nothing is stored");
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let stack = Stack::start().await;
    let route =
        Service::<RegisterRoute>::open(&stack.env_out_of_reach(), &World::system()).await.unwrap();
    let registration = json!({"username": "testuser", "password": PASSWORD});
    let started = Instant::now();
    let answer = answer(&route, json_request("register", &registration)).await;
    assert!(started.elapsed() < dynamo::OPERATION_DEADLINE);
    insta::assert_json_snapshot!(readable(&answer));
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let cold_start = async |env: Env| {
        Service::<RegisterRoute>::open(&env, &World::system()).await.err().unwrap().to_string()
    };
    insta::assert_snapshot!("an empty environment", cold_start(Env::default()).await);
    let bad = [("PASSWORD_MIN_CHARS", "7"), ("RESERVED_USERNAMES", "root system")];
    insta::assert_snapshot!("bad values", cold_start(Env::from_iter(bad)).await);
}

/// Tests the limits on registrations per network and on emails per address.
#[tokio::test]
async fn a_request_counts_against_no_limit_if_any_call_fails() {
    for call in 0.. {
        let mut bench = Bench::start().await;
        let interceptor = Interceptor::of(&bench.stack).await;
        let env = interceptor.env(&bench.stack, &[("EMAIL_VERIFICATION", "required")]);
        bench.route = Service::<RegisterRoute>::open(&env, &World::system()).await.unwrap();
        interceptor.fail_at(call, Fault::AccessDenied);
        let registration =
            json!({"username": "testuser", "password": PASSWORD, "email": "a@example.com"});
        let status = status(&bench.ask(registration).await);
        assert!(matches!(status, 202 | 500), "{call}: {status}");
        let counted = bench.stack.counted().await;
        assert_eq!(counted.is_empty(), status == 500, "{call}: {counted:?}");
        if interceptor.calls().len() <= call {
            assert!(call > 4, "{call}");
            break;
        }
    }
    // The route repeats a refused transaction without the email, so make every transaction fail.
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[("EMAIL_VERIFICATION", "required")]);
    bench.route = Service::<RegisterRoute>::open(&env, &World::system()).await.unwrap();
    interceptor.fail_when(|call| match call.operation.as_str() {
        "TransactWriteItems" => Fault::AccessDenied,
        _ => Fault::None,
    });
    let registration =
        json!({"username": "testuser", "password": PASSWORD, "email": "a@example.com"});
    assert_eq!(status(&bench.ask(registration).await), 500);
    assert_eq!(bench.stack.counted().await, BTreeMap::new());
}

/// The user can request the email later, so the account is created without it.
#[tokio::test]
async fn an_email_that_cannot_be_requested_does_not_prevent_the_registration() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[("EMAIL_VERIFICATION", "required")]);
    bench.route = Service::<RegisterRoute>::open(&env, &World::system()).await.unwrap();
    interceptor.fail_when(|call| {
        let is_email = call.body.to_string().contains("OUTBOX#");
        if is_email { Fault::AccessDenied } else { Fault::None }
    });
    let registration =
        json!({"username": "testuser", "password": PASSWORD, "email": "a@example.com"});
    assert_eq!(status(&bench.ask(registration.clone()).await), 202);
    assert_eq!(bench.items().await, 4);
    assert_eq!(
        bench.outcome(registration).await,
        refused(409, &["already_exists"]),
        "the name is taken"
    );
}
