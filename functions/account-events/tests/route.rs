//! Tests `account-events` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use account_events::AccountEventsRoute;
use aws_sdk_dynamodb::types::AttributeValue;
use events::{Kind, Occasion, Origin};
use identity::{Account, Role};
use jiff::{SignedDuration, Timestamp};
use process::{Clock, Env, SystemClock, SystemRandom, World};
use serde_json::{Value, json};
use store::Events;
use testkit::{NewUser, Stack, bearer, body, event, events_of, load, readable, signed_in, status};
use web::{EventResponse, Service, answer};

async fn route(stack: &Stack) -> Service<AccountEventsRoute> {
    Service::<AccountEventsRoute>::open(&stack.env(), &World::system()).await.unwrap()
}

async fn user(stack: &Stack, username: &str) -> Account {
    stack.user(NewUser { username, email: None, roles: &[Role::User] }).await
}

/// Records an event with the time `at`.
async fn record(stack: &Stack, account: &Account, at: Timestamp, kind: Kind) {
    let event = Occasion::new(at, &SystemRandom, Origin::default()).event(account.id, kind);
    Events::new(&stack.users(), stack.client()).record(account.id, &event, event.id).await.unwrap();
}

async fn ask(
    route: &Service<AccountEventsRoute>,
    token: &str,
    query: &[(&str, &str)],
) -> EventResponse {
    let mut event_json = bearer(load("account-events"), token);
    let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    event_json["rawQueryString"] = json!(query.join("&"));
    answer(route, event(event_json)).await
}

fn kinds(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().unwrap().iter();
    events.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&user(&stack, "testuser").await).await;
    let route = route(&stack).await;
    for (name, event_json) in events_of("account-events") {
        let answer = answer(&route, event(signed_in(event_json, &token))).await;
        let mut readable = readable(&answer);
        let events = readable["body"].get_mut("events").and_then(Value::as_array_mut);
        for event in events.into_iter().flatten() {
            for name in ["id", "at", "session_id"] {
                if event.get(name).is_some() {
                    event[name] = json!(format!("[{name}]"));
                }
            }
        }
        insta::assert_json_snapshot!(name, readable);
    }
}

#[tokio::test]
async fn every_event_is_on_exactly_one_page_and_the_latest_comes_first() {
    let stack = Stack::start().await;
    let account = user(&stack, "testuser").await;
    let token = stack.sign_in(&account).await;
    let now = SystemClock.now();
    for n in 0..23 {
        let kind = if n % 2 == 0 { Kind::Disabled } else { Kind::Enabled };
        record(&stack, &account, now + SignedDuration::from_secs(n), kind).await;
    }
    let route = route(&stack).await;
    let all = body(&ask(&route, &token, &[]).await);
    let all_ids: Vec<_> =
        all["events"].as_array().unwrap().iter().map(|event| event["id"].clone()).collect();
    // The registration and the login recorded the other two events.
    assert_eq!((all_ids.len(), &all["next_cursor"]), (25, &Value::Null));
    assert_eq!(kinds(&all)[23..], ["login", "registered"]);
    assert!(all_ids.is_sorted_by(|one, other| one.as_str() > other.as_str()));
    for limit in [1, 5, 24, 25, 100] {
        let mut ids = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let size = limit.to_string();
            let mut query = vec![("limit", size.as_str())];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page = body(&ask(&route, &token, &query).await);
            let events = page["events"].as_array().unwrap();
            assert!((1..=limit).contains(&events.len()), "no page is empty");
            ids.extend(events.iter().map(|event| event["id"].clone()));
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(ids, all_ids, "{limit}");
    }
}

#[tokio::test]
async fn only_the_callers_own_events_are_listed() {
    let stack = Stack::start().await;
    let (one, other) = (user(&stack, "one").await, user(&stack, "other").await);
    record(&stack, &other, SystemClock.now(), Kind::Disabled).await;
    let route = route(&stack).await;
    let (token, stranger) = (stack.sign_in(&one).await, stack.sign_in(&other).await);
    assert_eq!(kinds(&body(&ask(&route, &token, &[]).await)), ["login", "registered"]);
    // A cursor issued to another account is refused.
    let page = body(&ask(&route, &stranger, &[("limit", "1")]).await);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(status(&ask(&route, &stranger, &[("cursor", cursor)]).await), 200);
    let refused = ask(&route, &token, &[("cursor", cursor)]).await;
    assert_eq!(
        (status(&refused), body(&refused)["errors"][0]["field"].as_str()),
        (400, Some("cursor"))
    );
}

#[tokio::test]
async fn an_invalid_parameter_is_refused() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&user(&stack, "testuser").await).await;
    let route = route(&stack).await;
    let page = body(&ask(&route, &token, &[("limit", "1")]).await);
    let cursor = page["next_cursor"].as_str().unwrap();
    let altered = format!("{}A", &cursor[..cursor.len() - 1]);
    let altered =
        if altered == cursor { format!("{}Q", &cursor[..cursor.len() - 1]) } else { altered };
    let long = "A".repeat(5_000);
    for (name, value, code) in [
        ("limit", "0", "invalid_input"),
        ("limit", "101", "invalid_input"),
        ("limit", "-1", "invalid_input"),
        ("limit", "ten", "invalid_request"),
        ("limit", "", "invalid_request"),
        ("limit", "1&limit=2", "invalid_request"),
        ("cursor", &altered, "invalid_input"),
        ("cursor", "", "invalid_input"),
        ("cursor", "01a2032a-bf2a-7b1e-9e2d-c5564b50823f", "invalid_input"),
        ("cursor", &cursor[..20], "invalid_input"),
        ("cursor", &format!("{cursor}="), "invalid_input"),
        ("cursor", &long, "invalid_input"),
        ("cursor", "%00", "invalid_input"),
    ] {
        let answer = ask(&route, &token, &[(name, value)]).await;
        assert_eq!(
            (status(&answer), body(&answer)["code"].as_str()),
            (400, Some(code)),
            "{name}={value}"
        );
        assert_eq!(body(&answer)["errors"][0]["field"], name, "{value}");
    }
    // A cursor does not reveal the id of the last event on its page.
    let id = page["events"][0]["id"].as_str().unwrap();
    assert!(!cursor.contains(id) && !cursor.contains(&testkit::encode(id.as_bytes())));
}

/// The code must leave out expired events, because the table's TTL deletes them late.
#[tokio::test]
async fn expired_events_are_not_listed() {
    let stack = Stack::start().await;
    let account = user(&stack, "testuser").await;
    let token = stack.sign_in(&account).await;
    let now = SystemClock.now();
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let minute = SignedDuration::from_mins(1);
    record(&stack, &account, now - days(90) + minute, Kind::Disabled).await;
    record(&stack, &account, now - days(90) - minute, Kind::Enabled).await;
    let listed = async |retention: &str| {
        let env = stack.env_with(&[("EVENT_RETENTION_DAYS", retention)]);
        let route = Service::<AccountEventsRoute>::open(&env, &World::system()).await.unwrap();
        kinds(&body(&ask(&route, &token, &[]).await))
    };
    assert_eq!(listed("90").await, ["login", "registered", "disabled"]);
    assert_eq!(listed("91").await, ["login", "registered", "disabled", "enabled"]);
    assert_eq!(listed("1").await, ["login", "registered"]);
    // If all events after a cursor have expired, the list ends.
    let page = async |retention: &str, query: &[(&str, &str)]| {
        let env = stack.env_with(&[("EVENT_RETENTION_DAYS", retention)]);
        let route = Service::<AccountEventsRoute>::open(&env, &World::system()).await.unwrap();
        body(&ask(&route, &token, query).await)
    };
    let cursor = page("91", &[("limit", "3")]).await["next_cursor"].as_str().unwrap().to_owned();
    let query = [("cursor", cursor.as_str())];
    assert_eq!(kinds(&page("91", &query).await), ["enabled"]);
    assert_eq!(page("1", &query).await, json!({"events": [], "next_cursor": null}));
}

#[tokio::test]
async fn an_event_of_an_unknown_kind_is_left_out() {
    let stack = Stack::start().await;
    let account = user(&stack, "testuser").await;
    record(&stack, &account, SystemClock.now(), Kind::Disabled).await;
    for item in stack.items().await {
        if item.get("kind").is_some_and(|kind| kind.as_s().unwrap() == "disabled") {
            let set = stack.client().update_item().table_name("UsersTable");
            let set = set.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
            let set = set.update_expression("SET kind = :later");
            let later = AttributeValue::S("a_later_kind".to_owned());
            set.expression_attribute_values(":later", later).send().await.unwrap();
        }
    }
    let token = stack.sign_in(&account).await;
    let route = route(&stack).await;
    assert_eq!(kinds(&body(&ask(&route, &token, &[]).await)), ["login", "registered"]);
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<AccountEventsRoute>().await;
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let error = Service::<AccountEventsRoute>::open(&Env::default(), &World::system()).await;
    insta::assert_snapshot!(error.err().unwrap().to_string());
}
