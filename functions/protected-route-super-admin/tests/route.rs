//! `protected-route-super-admin` over an embedded DynamoDB, from the gateway's event to its answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use identity::Role;
use process::Env;
use protected_route_super_admin::ProtectedRouteSuperAdmin;
use testkit::{Stack, bearer, event, events_of, load, readable, signed_in, status, without_token};
use web::{Route, answer};

async fn route(stack: &Stack) -> ProtectedRouteSuperAdmin {
    ProtectedRouteSuperAdmin::cold_start(&stack.env()).await.unwrap()
}

#[tokio::test]
async fn its_events_are_answered() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let token = stack.token_of_nobody(&[Role::SuperAdmin]);
    for (name, of_file) in events_of("protected-route-super-admin") {
        let answer = answer(&route, event(signed_in(of_file, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn without_a_token_nobody_is_let_in() {
    let stack = Stack::start().await;
    let event = event(without_token(load("protected-route-super-admin")));
    insta::assert_json_snapshot!(readable(&answer(&route(&stack).await, event).await));
}

#[tokio::test]
async fn another_role_does_not_do() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    for role in Role::ALL {
        let token = stack.token_of_nobody(&[role]);
        let answer =
            answer(&route, event(bearer(load("protected-route-super-admin"), &token))).await;
        let expected = if role == Role::SuperAdmin { 200 } else { 403 };
        assert_eq!(status(&answer), expected, "{role}");
    }
    let others: Vec<_> = Role::ALL.into_iter().filter(|role| *role != Role::SuperAdmin).collect();
    let token = stack.token_of_nobody(&others);
    let answer = answer(&route, event(bearer(load("protected-route-super-admin"), &token))).await;
    insta::assert_json_snapshot!(readable(&answer));
}

/// Nothing about the caller is read: the account need not exist, and what becomes of it does not
/// show before the token expires.
#[tokio::test]
async fn the_token_alone_decides() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let roles = [Role::SuperAdmin];
    let user = testkit::NewUser { username: "testuser", email: None, roles: &roles };
    let account = stack.user(user).await;
    let token = stack.sign_in(&account).await;
    stack.disable(account.id).await;
    assert_eq!(
        status(&answer(&route, event(bearer(load("protected-route-super-admin"), &token))).await),
        200
    );
}

#[tokio::test]
async fn every_bad_token_is_refused() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let now = process::Clock::now(&process::SystemClock);
    let claims = testkit::Forge::claims(now, &[Role::SuperAdmin].into_iter().collect());
    for bad in stack.forge().bad_tokens(&claims, now) {
        // A line break cannot stand in a header.
        if !bad.token.contains('\n') {
            let event = event(bearer(load("protected-route-super-admin"), &bad.token));
            assert_eq!(status(&answer(&route, event).await), 401, "{}", bad.fault);
        }
    }
}

#[tokio::test]
async fn without_its_keys_it_answers_that_it_cannot() {
    let stack = Stack::start().await;
    let route = ProtectedRouteSuperAdmin::cold_start(&stack.env_out_of_reach()).await.unwrap();
    let event = event(bearer(
        load("protected-route-super-admin"),
        &stack.token_of_nobody(&[Role::SuperAdmin]),
    ));
    insta::assert_json_snapshot!(readable(&answer(&route, event).await));
}

#[tokio::test]
async fn what_its_environment_lacks_is_told_at_once() {
    let error = ProtectedRouteSuperAdmin::cold_start(&Env::default()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
