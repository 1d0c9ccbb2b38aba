//! `logout-all` over an embedded DynamoDB, from the gateway's event to its answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use auth::AccountCheck;
use identity::Role;
use logout_all::LogoutAllRoute;
use process::Env;
use testkit::{
    NewUser, Stack, bearer, event, events_of, load, readable, signed_in, status, without_token,
};
use web::{EventResponse, Route, answer};

async fn route(stack: &Stack) -> LogoutAllRoute {
    LogoutAllRoute::cold_start(&stack.env()).await.unwrap()
}

async fn testuser(stack: &Stack) -> identity::Account {
    stack.user(NewUser { username: "testuser", email: None, roles: &[Role::User] }).await
}

async fn ask(route: &LogoutAllRoute, token: &str) -> EventResponse {
    answer(route, event(bearer(load("logout-all"), token))).await
}

#[tokio::test]
async fn its_events_are_answered() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack).await).await;
    let route = route(&stack).await;
    for (name, of_file) in events_of("logout-all") {
        let answer = answer(&route, event(signed_in(of_file, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

/// Whether the session of a token is there and counts.
async fn counts(stack: &Stack, token: &str) -> bool {
    let claims = testkit::claims(token);
    let id = |name: &str| claims[name].as_str().unwrap().to_owned();
    let accounts = store::Accounts::new(&stack.users(), stack.client());
    let (user, session) = (id("sub").parse().unwrap(), id("sid").parse().unwrap());
    let found = accounts.find(user, session).await.unwrap();
    found.session.is_some_and(|session| Some(session.ver) == found.account.map(|it| it.ver))
}

#[tokio::test]
async fn it_ends_all_sessions_of_the_caller_and_nobody_elses() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let account = testuser(&stack).await;
    let stranger = NewUser { username: "stranger", email: None, roles: &[Role::Admin] };
    let stranger = stack.sign_in(&stack.user(stranger).await).await;
    let (one, other) = (stack.sign_in(&account).await, stack.sign_in(&account).await);
    let answer = ask(&route, &one).await;
    assert_eq!((status(&answer), answer.body), (204, None));
    assert!(!counts(&stack, &one).await && !counts(&stack, &other).await);
    assert!(counts(&stack, &stranger).await);
    // Checked: what has ended ends nothing.
    assert_eq!(status(&ask(&route, &other).await), 401);
    // Who signs in afterwards is signed in.
    let accounts = store::Accounts::new(&stack.users(), stack.client());
    let session = identity::SessionId::new(&process::SystemRandom);
    let account = accounts.find(account.id, session).await.unwrap().account.unwrap();
    assert!(counts(&stack, &stack.sign_in(&account).await).await);
}

#[tokio::test]
async fn without_a_token_nobody_is_let_in() {
    let stack = Stack::start().await;
    let event = event(without_token(load("logout-all")));
    insta::assert_json_snapshot!(readable(&answer(&route(&stack).await, event).await));
}

#[tokio::test]
async fn what_its_environment_lacks_is_told_at_once() {
    let error = LogoutAllRoute::cold_start(&Env::default()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
