//! Tests `admin-users` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use admin_users::AdminUsersRoute;
use futures_util::{StreamExt, stream};
use identity::{Account, Attributes, Email, Role, StoredHash, UserId, Username};
use process::{Clock, Env, SystemClock, SystemRandom};
use serde_json::{Value, json};
use store::{Administration, ChangeError, NewAccount, NewEmail, Registrations};
use testkit::{
    Interceptor, NewUser, Stack, bearer, body, event, events_of, load, readable, signed_in, status,
};
use web::{EventResponse, Service, World, answer};

async fn route(stack: &Stack) -> Service<AdminUsersRoute> {
    stack.open().await.unwrap()
}

async fn admin(stack: &Stack) -> String {
    let user = NewUser { username: "administrator-one", email: None, roles: &[Role::Admin] };
    stack.sign_in(&stack.user(user).await).await
}

/// Creates an account without hashing a password.
async fn create(stack: &Stack, username: &str, roles: &[Role]) -> Account {
    let now = SystemClock.now();
    let email = Email::parse(&format!("{username}@example.com")).unwrap();
    let new = NewAccount {
        id: UserId::new(now, &SystemRandom),
        username: Username::parse(username).unwrap(),
        email: Some(NewEmail::Claimed(email)),
        roles: roles.iter().copied().collect(),
        password: StoredHash::new("a hash"),
        created_at: now,
        invite: None,
        occasion: testkit::occasion(now),
    };
    let registrations = Registrations::new(&stack.users(), stack.client());
    registrations.create(new, stack.peppers()).await.unwrap()
}

/// Creates many users concurrently.
async fn create_many(stack: &Stack, numbers: std::ops::Range<usize>) -> BTreeSet<String> {
    let users = stream::iter(numbers)
        .map(async |n| create(stack, &format!("user-{n}"), &[Role::User]).await.id.to_string());
    users.buffer_unordered(16).collect().await
}

fn administration(stack: &Stack) -> Administration {
    Administration::new(&stack.users(), stack.client())
}

async fn list(route: &Service<AdminUsersRoute>, token: &str, query: &str) -> EventResponse {
    let mut event_json = bearer(load("admin-users"), token);
    event_json["rawQueryString"] = json!(query);
    event_json.as_object_mut().unwrap().remove("queryStringParameters");
    answer(route, event(event_json)).await
}

async fn events(
    route: &Service<AdminUsersRoute>,
    token: &str,
    id: &str,
    query: &str,
) -> EventResponse {
    let mut event_json = bearer(load("admin-users-events"), token);
    event_json["rawPath"] = json!(format!("/admin/users/{id}/events"));
    event_json["pathParameters"] = json!({ "id": id });
    event_json["rawQueryString"] = json!(query);
    event_json.as_object_mut().unwrap().remove("queryStringParameters");
    answer(route, event(event_json)).await
}

/// The status, the code and the refused field of an answer.
fn refusal(answer: &EventResponse) -> (i64, String, String) {
    let problem = body(answer);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (status(answer), text(&problem["code"]), text(&problem["errors"][0]["field"]))
}

async fn show(route: &Service<AdminUsersRoute>, token: &str, id: &str) -> EventResponse {
    let mut event_json = bearer(load("admin-users-one"), token);
    event_json["rawPath"] = json!(format!("/admin/users/{id}"));
    event_json["pathParameters"] = json!({ "id": id });
    answer(route, event(event_json)).await
}

/// Reads all pages, beginning at `cursor`. Returns the ids in the order in which they were listed, and the size of each
/// page.
async fn walk(
    route: &Service<AdminUsersRoute>,
    token: &str,
    query: &str,
    cursor: Option<&str>,
) -> (Vec<String>, Vec<usize>) {
    let (mut ids, mut sizes) = (Vec::new(), Vec::new());
    let mut next = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    loop {
        let answer = list(route, token, &format!("{query}{next}")).await;
        let page = body(&answer);
        assert_eq!(status(&answer), 200, "{page}");
        let users = page["users"].as_array().unwrap();
        sizes.push(users.len());
        ids.extend(users.iter().map(|user| user["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return (ids, sizes),
        }
    }
}

/// The usernames of all accounts that pass a filter.
async fn names(route: &Service<AdminUsersRoute>, token: &str, query: &str) -> BTreeSet<String> {
    let answer = list(route, token, query).await;
    let page = body(&answer);
    assert_eq!(status(&answer), 200, "{query}: {page}");
    assert_eq!(page["next_cursor"], Value::Null, "{query}");
    let users = page["users"].as_array().unwrap().iter();
    users.map(|user| user["username"].as_str().unwrap().to_owned()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let route = route(&stack).await;
    for (name, event_json) in events_of("admin-users") {
        let answer = answer(&route, event(signed_in(event_json, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_through_many_users_returns_each_exactly_once() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let route = route(&stack).await;
    let mut expected = create_many(&stack, 0..2_000).await;
    for (query, limit) in [("limit=100", 100), ("limit=37", 37), ("", 50)] {
        let (ids, sizes) = walk(&route, &token, query, None).await;
        let unique: BTreeSet<_> = ids.iter().cloned().collect();
        assert_eq!((ids.len(), unique.len()), (2_001, 2_001), "{query}");
        assert!(expected.is_subset(&unique));
        let (last, full) = sizes.split_last().unwrap();
        assert!(full.iter().all(|size| *size == limit) && *last <= limit, "{sizes:?}");
    }
    // No single stored list covers these filters, but the walk still returns every match exactly once.
    let (ids, _) = walk(&route, &token, "limit=30&role=user&disabled=false", None).await;
    let unique: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!((ids.len(), &unique), (2_000, &expected));
    // An account that registers during a walk causes no other account to be skipped or repeated.
    let first = body(&list(&route, &token, "limit=100").await);
    let during = create_many(&stack, 2_000..2_100).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let (rest, _) = walk(&route, &token, "limit=100", Some(cursor)).await;
    let on_first = first["users"].as_array().unwrap().iter();
    let seen: Vec<_> =
        on_first.map(|user| user["id"].as_str().unwrap().to_owned()).chain(rest).collect();
    let unique: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(seen.len(), unique.len());
    expected.retain(|id| !unique.contains(id));
    assert!(expected.is_empty(), "{expected:?}");
    assert!(unique.len() <= 2_001 + during.len());
}

#[tokio::test]
async fn the_number_of_reads_for_a_page_does_not_grow_with_the_table() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let interceptor = Interceptor::of(&stack).await;
    let env = interceptor.env(&stack, &[]);
    let route = Service::<AdminUsersRoute>::open(&env, &World::system()).await.unwrap();
    let mut most = Vec::new();
    for users in [0..10, 10..1_000] {
        create_many(&stack, users).await;
        let (mut next, mut reads) = (String::new(), 0);
        loop {
            interceptor.reset();
            let page = body(&list(&route, &token, &format!("limit=50{next}")).await);
            let calls = interceptor.calls();
            let count =
                |operation: &str| calls.iter().filter(|call| call.operation == operation).count();
            assert!(count("Query") <= 16 && count("BatchGetItem") <= 1 && count("Scan") == 0);
            reads = reads.max(calls.len());
            match page["next_cursor"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        most.push(reads);
    }
    assert!(most[1] <= most[0], "a large table needs no more reads than a small one: {most:?}");
}

#[tokio::test]
async fn a_cursor_that_was_altered_or_issued_for_another_list_is_refused() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let route = route(&stack).await;
    create_many(&stack, 0..5).await;
    let page = body(&list(&route, &token, "limit=2&disabled=false").await);
    let cursor = page["next_cursor"].as_str().unwrap();
    let refused = async |query: &str| {
        let answer = list(&route, &token, query).await;
        let problem = body(&answer);
        let found = (status(&answer), &problem["code"], &problem["errors"][0]["field"]);
        assert_eq!(found, (400, &json!("invalid_input"), &json!("cursor")), "{query}");
    };
    for at in 0..cursor.len() {
        let mut altered: Vec<_> = cursor.chars().collect();
        altered[at] = if altered[at] == 'A' { 'B' } else { 'A' };
        let altered: String = altered.into_iter().collect();
        refused(&format!("disabled=false&cursor={altered}")).await;
    }
    for filter in ["", "disabled=true", "disabled=false&role=admin", "role=user"] {
        refused(&format!("{filter}&cursor={cursor}")).await;
    }
    refused(&format!("username=user-1&cursor={cursor}")).await;
    refused("cursor=").await;
    // The page size may change between pages.
    let other = list(&route, &token, &format!("limit=100&disabled=false&cursor={cursor}")).await;
    assert_eq!(body(&other)["users"].as_array().unwrap().len(), 4);
    // Another deployment refuses the cursor.
    let elsewhere = Stack::start().await;
    let token = admin(&elsewhere).await;
    let other = self::route(&elsewhere).await;
    let answer = list(&other, &token, &format!("disabled=false&cursor={cursor}")).await;
    assert_eq!(status(&answer), 400);
    // The position is encrypted: no id can be found in the cursor.
    for user in page["users"].as_array().unwrap() {
        assert!(!cursor.contains(user["id"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn filters_match_exactly_and_can_be_combined() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let route = route(&stack).await;
    create(&stack, "root", &[Role::Admin, Role::SuperAdmin]).await;
    create(&stack, "Straße", &[Role::User]).await;
    let off = create(&stack, "off", &[Role::User, Role::Admin]).await;
    administration(&stack).disable(off.id, testkit::occasion_now).await.unwrap();
    for (query, expected) in [
        ("", &["administrator-one", "root", "Straße", "off"][..]),
        ("role=admin", &["administrator-one", "root", "off"]),
        ("role=super_admin", &["root"]),
        ("role=user", &["Straße", "off"]),
        ("disabled=true", &["off"]),
        ("disabled=false", &["administrator-one", "root", "Straße"]),
        ("role=admin&disabled=true", &["off"]),
        ("role=user&disabled=true", &["off"]),
        ("role=user&disabled=false", &["Straße"]),
        ("role=super_admin&disabled=true", &[]),
        ("username=STRASSE", &["Straße"]),
        ("username=strass", &[]),
        ("username=nobody", &[]),
        ("email=ROOT@EXAMPLE.com", &["root"]),
        ("email=nobody@example.com", &[]),
        ("email=root@example.com&username=root", &["root"]),
        ("email=root@example.com&username=off", &[]),
        ("username=root&role=user", &[]),
        ("username=off&disabled=true&role=admin", &["off"]),
        ("username=root&limit=1", &["root"]),
    ] {
        assert_eq!(names(&route, &token, query).await, set(expected), "{query}");
    }
}

#[tokio::test]
async fn bad_filters_are_refused() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let route = route(&stack).await;
    for (query, code, field) in [
        ("limit=0", "invalid_input", "limit"),
        ("limit=101", "invalid_input", "limit"),
        ("limit=-1", "invalid_input", "limit"),
        ("limit=x", "invalid_request", "limit"),
        ("limit=99999999999999999999", "invalid_request", "limit"),
        ("role=root", "invalid_request", "role"),
        ("disabled=maybe", "invalid_request", "disabled"),
        ("email=x", "invalid_input", "email"),
        ("username=a", "invalid_input", "username"),
        ("username=a%40b.example", "invalid_input", "username"),
    ] {
        let answer = list(&route, &token, query).await;
        let problem = body(&answer);
        let found = (status(&answer), &problem["code"], &problem["errors"][0]["field"]);
        assert_eq!(found, (400, &json!(code), &json!(field)), "{query}");
    }
}

#[tokio::test]
async fn an_account_is_shown_with_its_revision_as_the_entity_tag() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let route = route(&stack).await;
    let account = create(&stack, "testuser", &[Role::User]).await;
    stack.sign_in(&account).await;
    let attributes = Attributes::parse(r#"{"tenant":"acme"}"#).unwrap();
    let edit = |account: &Account| {
        let attributes = attributes.clone();
        Ok::<_, ChangeError>((Account { attributes, ..account.clone() }, None))
    };
    let administration = administration(&stack);
    administration.edit(account.id, testkit::occasion_now, stack.peppers(), edit).await.unwrap();
    let id = account.id.to_string();
    let answer = show(&route, &token, &id).await;
    assert_eq!((status(&answer), answer.headers["etag"].to_str().unwrap()), (200, "\"2\""));
    let mut user = body(&answer);
    let last_login = user["last_login_at"].take();
    assert!(last_login.as_str().unwrap().ends_with('Z'), "{last_login}");
    let expected = json!({
        "id": id,
        "username": "testuser",
        "email": "testuser@example.com",
        "email_verified": false,
        "roles": ["user"],
        "created_at": user["created_at"],
        "disabled": false,
        "attributes": {"tenant": "acme"},
        "factors": [],
        "last_login_at": null,
    });
    assert_eq!(user, expected);
    assert_eq!(status(&show(&route, &token, &id.to_uppercase()).await), 200);
    for unknown in ["0190a0f0-7c3a-7abc-8def-0123456789ab", "0", "ACCOUNT", ""] {
        assert_eq!(status(&show(&route, &token, unknown).await), 404, "{unknown}");
    }
}

#[tokio::test]
async fn the_events_of_an_account_are_paged_with_the_latest_first() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let route = route(&stack).await;
    let account = create(&stack, "testuser", &[Role::User]).await;
    create(&stack, "bystander", &[Role::User]).await;
    let administration = administration(&stack);
    for _ in 0..4 {
        administration.disable(account.id, testkit::occasion_now).await.unwrap();
        administration.enable(account.id, testkit::occasion_now).await.unwrap();
    }
    let id = account.id.to_string();
    let all = body(&events(&route, &token, &id, "").await);
    let all = all["events"].as_array().unwrap();
    let kinds: Vec<_> = all.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    let expected = [["enabled", "disabled"]; 4].concat();
    assert_eq!(kinds, [expected, vec!["registered"]].concat());
    for limit in [1, 4, 9, 100] {
        let (mut listed, mut next) = (Vec::new(), String::new());
        loop {
            let answer = events(&route, &token, &id, &format!("limit={limit}{next}")).await;
            let page = body(&answer);
            assert_eq!(status(&answer), 200, "{page}");
            let found = page["events"].as_array().unwrap();
            assert!((1..=limit).contains(&found.len()), "no page is empty");
            listed.extend(found.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(&listed, all, "{limit}");
    }
}

#[tokio::test]
async fn a_cursor_is_valid_only_for_the_events_of_its_account() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let route = route(&stack).await;
    let accounts = [create(&stack, "one", &[]).await, create(&stack, "other", &[]).await];
    let [one, other] = accounts.map(|account| account.id);
    for id in [one, other] {
        administration(&stack).disable(id, testkit::occasion_now).await.unwrap();
    }
    let (one, other) = (one.to_string(), other.to_string());
    let page = body(&events(&route, &token, &one, "limit=1").await);
    let cursor = page["next_cursor"].as_str().unwrap();
    let query = format!("cursor={cursor}");
    assert_eq!(status(&events(&route, &token, &one, &query).await), 200);
    let refused = || (400, "invalid_input".to_owned(), "cursor".to_owned());
    assert_eq!(refusal(&events(&route, &token, &other, &query).await), refused());
    assert_eq!(refusal(&list(&route, &token, &query).await), refused(), "a list of accounts");
    let accounts = body(&list(&route, &token, "limit=1").await);
    let of_accounts = format!("cursor={}", accounts["next_cursor"].as_str().unwrap());
    assert_eq!(refusal(&events(&route, &token, &one, &of_accounts).await), refused());
    for at in 0..cursor.len() {
        let mut altered: Vec<_> = cursor.chars().collect();
        altered[at] = if altered[at] == 'A' { 'B' } else { 'A' };
        let query = format!("cursor={}", altered.into_iter().collect::<String>());
        assert_eq!(refusal(&events(&route, &token, &one, &query).await), refused(), "{at}");
    }
    for (query, code, field) in [
        ("limit=0", "invalid_input", "limit"),
        ("limit=101", "invalid_input", "limit"),
        ("limit=x", "invalid_request", "limit"),
        ("cursor=", "invalid_input", "cursor"),
    ] {
        let expected = (400, code.to_owned(), field.to_owned());
        assert_eq!(refusal(&events(&route, &token, &one, query).await), expected, "{query}");
    }
}

#[tokio::test]
async fn only_administrators_see_the_events_of_others() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let route = route(&stack).await;
    let account = create(&stack, "testuser", &[Role::User]).await;
    let id = account.id.to_string();
    let own = stack.sign_in(&account).await;
    let super_admin = create(&stack, "root", &[Role::User, Role::SuperAdmin]).await;
    // No role implies another.
    for token in [own, stack.sign_in(&super_admin).await] {
        let refused = (403, "insufficient_role".to_owned(), String::new());
        assert_eq!(refusal(&events(&route, &token, &id, "").await), refused);
    }
    for unknown in ["0190a0f0-7c3a-7abc-8def-0123456789ab", "0", ""] {
        let refused = (404, "not_found".to_owned(), String::new());
        assert_eq!(refusal(&events(&route, &token, unknown, "").await), refused, "{unknown}");
    }
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<AdminUsersRoute>().await;
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let error =
        Service::<AdminUsersRoute>::open(&Env::default(), &World::system()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
