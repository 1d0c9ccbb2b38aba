//! Tests `logout-all` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use auth::AccountCheck;
use identity::Role;
use logout_all::LogoutAllRoute;
use process::Env;
use testkit::{NewUser, Stack, bearer, event, events_of, load, readable, signed_in, status};
use web::{EventResponse, Service, World, answer};

async fn route(stack: &Stack) -> Service<LogoutAllRoute> {
    Service::<LogoutAllRoute>::open(&stack.env(), &World::system()).await.unwrap()
}

async fn testuser(stack: &Stack) -> identity::Account {
    stack.user(NewUser { username: "testuser", email: None, roles: &[Role::User] }).await
}

async fn ask(route: &Service<LogoutAllRoute>, token: &str) -> EventResponse {
    answer(route, event(bearer(load("logout-all"), token))).await
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack).await).await;
    let route = route(&stack).await;
    for (name, event_json) in events_of("logout-all") {
        let answer = answer(&route, event(signed_in(event_json, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

/// Whether a token's session exists and is valid.
async fn is_valid(stack: &Stack, token: &str) -> bool {
    let claims = testkit::claims(token);
    let id = |name: &str| claims[name].as_str().unwrap().to_owned();
    let accounts = store::Accounts::new(&stack.users(), stack.client());
    let (user, session) = (id("sub").parse().unwrap(), id("sid").parse().unwrap());
    let found = accounts.find(user, session).await.unwrap();
    found.session.is_some_and(|session| Some(session.epoch) == found.account.map(|it| it.epoch))
}

#[tokio::test]
async fn only_the_callers_sessions_end() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let account = testuser(&stack).await;
    let stranger = NewUser { username: "stranger", email: None, roles: &[Role::Admin] };
    let stranger = stack.sign_in(&stack.user(stranger).await).await;
    let (one, other) = (stack.sign_in(&account).await, stack.sign_in(&account).await);
    let answer = ask(&route, &one).await;
    assert_eq!((status(&answer), answer.body), (204, None));
    assert!(!is_valid(&stack, &one).await && !is_valid(&stack, &other).await);
    assert!(is_valid(&stack, &stranger).await);
    // An ended session is refused.
    assert_eq!(status(&ask(&route, &other).await), 401);
    // A session that begins later is valid.
    let accounts = store::Accounts::new(&stack.users(), stack.client());
    let session = identity::SessionId::new(&process::SystemRandom);
    let account = accounts.find(account.id, session).await.unwrap().account.unwrap();
    assert!(is_valid(&stack, &stack.sign_in(&account).await).await);
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<LogoutAllRoute>().await;
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let error =
        Service::<LogoutAllRoute>::open(&Env::default(), &World::system()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
