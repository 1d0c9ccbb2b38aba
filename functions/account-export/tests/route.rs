//! Tests `account-export` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;

use account_export::AccountExportRoute;
use events::Kind;
use identity::{Account, Role};
use jiff::{SignedDuration, Timestamp};
use login::LoginRoute;
use process::{Clock, SystemClock};
use serde_json::{Value, json};
use store::{Events, Hashes};
use testkit::{
    Fault, Interceptor, NewUser, PASSWORD, Stack, TestClock, bearer, body, event, from_network,
    guarded_by_fresh_session, json_body, load, status,
};
use web::{EventResponse, Route, Service, World, answer};

async fn ask<R: Route>(stack: &Stack, request: Value) -> EventResponse {
    let route = Box::pin(Service::<R>::open(&stack.env(), &World::system())).await.unwrap();
    answer(&route, event(request)).await
}

/// Creates a user who first fails to sign in and then signs in twice. Returns the account and the last access token.
async fn user(stack: &Stack, username: &str) -> (Account, String) {
    let email = format!("{username}@example.com");
    let new = NewUser { username, email: Some(&email), roles: &[Role::User] };
    let account = stack.user(new).await;
    let login = |password: &str| {
        json_body(load("login"), &json!({"username": username, "password": password}))
    };
    assert_eq!(status(&ask::<LoginRoute>(stack, login("a wrong password")).await), 401);
    ask::<LoginRoute>(stack, login(PASSWORD)).await;
    let tokens = body(&ask::<LoginRoute>(stack, login(PASSWORD)).await);
    (account, tokens["access_token"].as_str().unwrap().to_owned())
}

async fn export(stack: &Stack, token: &str) -> Value {
    let exported = ask::<AccountExportRoute>(stack, bearer(load("account-export"), token)).await;
    assert_eq!(status(&exported), 200, "{exported:?}");
    body(&exported)
}

#[tokio::test]
async fn only_fresh_sessions_are_admitted() {
    guarded_by_fresh_session::<AccountExportRoute>().await;
}

#[tokio::test]
async fn an_export_has_the_documented_form() {
    let stack = Stack::start().await;
    let (account, token) = user(&stack, "testuser").await;
    let mut export = export(&stack, &token).await;
    assert_eq!(export["user"]["id"], json!(account.id));
    redact(&mut export);
    insta::assert_json_snapshot!(export);
}

/// Replaces values that differ from run to run.
fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "id" | "sid" | "session_id" => *member = json!("(id)"),
                    "at" | "exported_at" | "created_at" | "expires_at" | "last_used_at"
                    | "last_login_at"
                        if !member.is_null() =>
                    {
                        *member = json!("(time)");
                    }
                    _ => redact(member),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(redact),
        _ => {}
    }
}

/// Compares the export with the table: it must contain every session and event of the account, and nothing of other
/// accounts.
#[tokio::test]
async fn an_export_contains_all_data_of_the_caller_and_nothing_of_others() {
    let stack = Stack::start().await;
    let (account, token) = user(&stack, "testuser").await;
    let (other, _) = user(&stack, "otheruser").await;
    let export = export(&stack, &token).await;
    let items = stack.items().await;
    let partition = format!("USER#{}", account.id);
    let stored = |prefix: &str| -> BTreeSet<String> {
        let own = items.iter().filter(|item| item["pk"].as_s().unwrap() == &partition);
        let ids = own.filter_map(|item| item["sk"].as_s().unwrap().strip_prefix(prefix));
        ids.map(str::to_owned).collect()
    };
    let exported = |list: &str, id: &str| -> BTreeSet<String> {
        let rows = export[list].as_array().unwrap().iter();
        rows.map(|row| row[id].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(stored("SESSION#").len(), 2);
    assert_eq!(exported("sessions", "sid"), stored("SESSION#"));
    assert!(stored("EVENT#").len() >= 4);
    assert_eq!(exported("events", "id"), stored("EVENT#"));
    assert_eq!(export["events"][0]["kind"], "exported");
    // Every attribute of the account is either exported or internal.
    let item = items.iter().find(|item| {
        item["pk"].as_s().unwrap() == &partition && item["sk"].as_s().unwrap() == "ACCOUNT"
    });
    let internal = ["pk", "sk", "ver", "password_ver", "revision"];
    for name in item.unwrap().keys().filter(|name| !internal.contains(&name.as_str())) {
        assert!(export["user"].get(name).is_some(), "{name} is not exported");
    }
    let text = export.to_string();
    for foreign in [other.id.to_string(), "otheruser".to_owned()] {
        assert!(!text.contains(&foreign), "{foreign}");
    }
}

#[tokio::test]
async fn an_export_contains_no_secret() {
    let stack = Stack::start().await;
    let (account, token) = user(&stack, "testuser").await;
    let text = export(&stack, &token).await.to_string();
    let hash = Hashes::new(&stack.users(), stack.client()).of(&account).await.unwrap().unwrap();
    assert!(!text.contains(hash.expose()) && !text.contains("argon2"));
    assert!(!text.contains(&token));
    for pepper in stack.peppers().ids() {
        assert!(!text.contains(pepper), "the id of a pepper");
    }
    for item in stack.items().await {
        let pk = item["pk"].as_s().unwrap();
        for mac in pk.rsplit('#').filter(|part| part.len() == 43) {
            assert!(!text.contains(mac), "the MAC of {pk}");
        }
    }
}

/// The event is recorded before the data is read.
#[tokio::test]
async fn an_export_that_cannot_be_recorded_is_refused() {
    let stack = Stack::start().await;
    let (_, token) = user(&stack, "testuser").await;
    let interceptor = Interceptor::of(&stack).await;
    let env = interceptor.env(&stack, &[]);
    let route =
        Box::pin(Service::<AccountExportRoute>::open(&env, &World::system())).await.unwrap();
    interceptor.fail_when(|call| match call.operation.as_str() {
        "TransactWriteItems" => Fault::AccessDenied,
        _ => Fault::None,
    });
    let refused = answer(&route, event(bearer(load("account-export"), &token))).await;
    assert_eq!(status(&refused), 500);
    assert!(!interceptor.calls().iter().any(|call| call.operation == "Query"));
}

/// Otherwise, a user could create any number of events.
#[tokio::test]
async fn the_exports_of_one_session_in_one_minute_have_one_event() {
    let stack = Stack::start().await;
    let (_, token) = user(&stack, "testuser").await;
    let now = SystemClock.now().as_second();
    let clock = TestClock::at(Timestamp::from_second(now - now.rem_euclid(60) + 60).unwrap());
    let (env, world) = (stack.env(), World { clock: Arc::new(clock.clone()), ..World::system() });
    let route = Box::pin(Service::<AccountExportRoute>::open(&env, &world)).await.unwrap();
    for (seconds, expected) in [(0, 1), (30, 1), (29, 1), (1, 2), (60, 3)] {
        clock.advance(SignedDuration::from_secs(seconds));
        let exported = answer(&route, event(bearer(load("account-export"), &token))).await;
        assert_eq!(status(&exported), 200, "{exported:?}");
        let export = body(&exported);
        let events = export["events"].as_array().unwrap();
        let count = events.iter().filter(|event| event["kind"] == "exported").count();
        assert_eq!(count, expected, "after {seconds} s");
    }
}

/// Otherwise, an export of the owner could hide the export of a thief.
#[tokio::test]
async fn the_exports_of_two_sessions_have_two_events() {
    let stack = Stack::start().await;
    let (account, one) = user(&stack, "testuser").await;
    let other = stack.sign_in(&account).await;
    let clock = TestClock::at(SystemClock.now());
    let (env, world) = (stack.env(), World { clock: Arc::new(clock), ..World::system() });
    let route = Box::pin(Service::<AccountExportRoute>::open(&env, &world)).await.unwrap();
    let networks = [("192.0.2.1", &one), ("198.51.100.1", &other), ("198.51.100.1", &one)];
    let mut export = Value::Null;
    for (network, token) in networks {
        let request = from_network(bearer(load("account-export"), token), network);
        export = body(&answer(&route, event(request)).await);
    }
    let events = export["events"].as_array().unwrap().iter();
    let exported = events.filter(|event| event["kind"] == "exported");
    let mut networks: Vec<_> = exported.map(|it| it["network"].as_str().unwrap()).collect();
    networks.sort_unstable();
    assert_eq!(networks, ["192.0.2.1", "198.51.100.1"]);
}

/// Otherwise, a thief could prevent every change to the account, because concurrent transactions conflict.
#[tokio::test]
async fn a_repeated_export_writes_nothing() {
    let stack = Stack::start().await;
    let (_, token) = user(&stack, "testuser").await;
    let interceptor = Interceptor::of(&stack).await;
    let clock = TestClock::at(SystemClock.now());
    let (env, world) =
        (interceptor.env(&stack, &[]), World { clock: Arc::new(clock), ..World::system() });
    let route = Box::pin(Service::<AccountExportRoute>::open(&env, &world)).await.unwrap();
    for expected in [1, 0, 0] {
        interceptor.reset();
        let exported = answer(&route, event(bearer(load("account-export"), &token))).await;
        assert_eq!(status(&exported), 200, "{exported:?}");
        let calls = interceptor.calls();
        let is_write = |operation: &str| !matches!(operation, "GetItem" | "Query");
        let writes = calls.iter().filter(|call| is_write(&call.operation)).count();
        assert_eq!(writes, expected);
    }
}

/// The client of a failed login chooses the user agent, so a stranger can cause large events. The export must still fit
/// into a Lambda response, which is limited to 6 MB.
#[tokio::test]
async fn an_export_states_which_events_are_missing() {
    let stack = Stack::start().await;
    let (account, token) = user(&stack, "testuser").await;
    let events = Events::new(&stack.users(), stack.client());
    let begins = SystemClock.now() - SignedDuration::from_hours(3);
    for n in 0..250 {
        let occasion = testkit::occasion(begins + SignedDuration::from_secs(n));
        let mut event = occasion.event(account.id, Kind::LoginFailed);
        event.origin.user_agent = Some("\"".repeat(5_000));
        if n % 2 == 0 {
            // The id of such an event contains the start of the hour.
            (event.kind, event.at) = (Kind::Throttled, event.at + SignedDuration::from_mins(40));
        }
        events.record(account.id, &event, event.id).await.unwrap();
    }
    let exported = ask::<AccountExportRoute>(&stack, bearer(load("account-export"), &token)).await;
    let size = serde_json::to_vec(&exported).unwrap().len();
    assert!(size < 6_000_000, "{size}");
    let export = body(&exported);
    let events = export["events"].as_array().unwrap();
    assert_eq!(events[0]["kind"], "exported");
    assert!(events.len() < 250, "{}", events.len());
    let times = events.iter().map(|event| event["at"].as_str().unwrap().parse().unwrap());
    let times: Vec<Timestamp> = times.collect();
    assert!(times.is_sorted_by(|later, earlier| later >= earlier), "{times:?}");
    let omitted: Timestamp = export["events_omitted_before"].as_str().unwrap().parse().unwrap();
    let earliest = *times.last().unwrap();
    assert!(omitted >= earliest && omitted <= SystemClock.now(), "{omitted} {earliest}");
    // No omitted event happened later.
    let exported: BTreeSet<_> = events.iter().map(|event| event["id"].to_string()).collect();
    let stored = Events::new(&stack.users(), stack.client());
    let mut before = None;
    loop {
        let page = stored.page(account.id, before, 100, SystemClock.now()).await.unwrap();
        for event in page.events {
            let is_exported = exported.contains(&json!(event.id).to_string());
            assert!(is_exported || event.at < omitted, "{} {omitted}", event.at);
        }
        before = page.next;
        if before.is_none() {
            break;
        }
    }
}
