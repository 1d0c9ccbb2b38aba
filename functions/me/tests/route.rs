//! `me` over an embedded DynamoDB, from the gateway's event to its answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use identity::Role;
use me::MeRoute;
use process::Env;
use serde_json::{Value, json};
use testkit::{
    NewUser, Stack, bearer, event, events_of, load, readable, signed_in, status, without_token,
};
use web::{EventResponse, Route, answer};

async fn route(stack: &Stack) -> MeRoute {
    MeRoute::cold_start(&stack.env()).await.unwrap()
}

async fn testuser(stack: &Stack) -> identity::Account {
    let email = Some("testuser@example.com");
    stack.user(NewUser { username: "testuser", email, roles: &[Role::User] }).await
}

async fn ask(route: &MeRoute, token: &str) -> EventResponse {
    answer(route, event(bearer(load("me"), token))).await
}

#[tokio::test]
async fn its_events_are_answered() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack).await).await;
    let route = route(&stack).await;
    for (name, of_file) in events_of("me") {
        let answer = answer(&route, event(signed_in(of_file, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn without_a_token_nobody_is_let_in() {
    let stack = Stack::start().await;
    let event = event(without_token(load("me")));
    insta::assert_json_snapshot!(readable(&answer(&route(&stack).await, event).await));
}

#[tokio::test]
async fn any_role_will_do() {
    let stack = Stack::start().await;
    let account = stack.user(NewUser { username: "testuser", email: None, roles: &[] }).await;
    let token = stack.sign_in(&account).await;
    assert_eq!(status(&ask(&route(&stack).await, &token).await), 200);
}

#[tokio::test]
async fn a_disabled_account_counts_at_once() {
    let stack = Stack::start().await;
    let account = testuser(&stack).await;
    let token = stack.sign_in(&account).await;
    let route = route(&stack).await;
    assert_eq!(status(&ask(&route, &token).await), 200);
    stack.disable(account.id).await;
    insta::assert_json_snapshot!(readable(&ask(&route, &token).await));
}

#[tokio::test]
async fn a_good_token_without_account_or_session_does_not_do() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    assert_eq!(status(&ask(&route, &stack.token_of_nobody(&Role::ALL)).await), 401);
    // Somebody else's session.
    let account = testuser(&stack).await;
    let other = stack.user(NewUser { username: "otheruser", email: None, roles: &Role::ALL }).await;
    let claims = claims(&stack.sign_in(&other).await);
    let mixed = stack.forge().with_claim(&claims, "sub", json!(account.id));
    assert_eq!(status(&ask(&route, &mixed).await), 401);
    // Of another epoch.
    let raised = identity::Account { ver: account.ver + 1, ..account };
    assert_eq!(status(&ask(&route, &stack.sign_in(&raised).await).await), 401);
}

/// What a token says.
fn claims(token: &str) -> Value {
    serde_json::from_slice(&testkit::decode(token.split('.').nth(1).unwrap())).unwrap()
}

#[tokio::test]
async fn with_its_database_out_of_reach_it_answers_that_it_cannot() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack).await).await;
    let started = Instant::now();
    let route = MeRoute::cold_start(&stack.env_out_of_reach()).await.unwrap();
    insta::assert_json_snapshot!(readable(&ask(&route, &token).await));
    assert!(started.elapsed() < dynamo::OPERATION_DEADLINE);
}

/// The table is another, which has no such account: the database is there, so it is a defect.
#[tokio::test]
async fn with_a_wrong_table_it_answers_that_it_is_broken() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack).await).await;
    let env = stack.env_with(&[("USERS_TABLE", "NoSuchTable")]);
    let route = MeRoute::cold_start(&env).await.unwrap();
    assert_eq!(status(&ask(&route, &token).await), 500);
}

#[tokio::test]
async fn what_its_environment_lacks_is_told_at_once() {
    let error = MeRoute::cold_start(&Env::default()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
