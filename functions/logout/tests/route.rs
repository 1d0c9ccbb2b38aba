//! Tests `logout` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use auth::AccountCheck;
use identity::Role;
use logout::LogoutRoute;
use process::Env;
use testkit::{NewUser, Stack, bearer, event, events_of, load, readable, signed_in, status};
use web::{EventResponse, Service, World, answer};

async fn route(stack: &Stack) -> Service<LogoutRoute> {
    Service::<LogoutRoute>::open(&stack.env(), &World::system()).await.unwrap()
}

async fn testuser(stack: &Stack) -> identity::Account {
    stack.user(NewUser { username: "testuser", email: None, roles: &[Role::User] }).await
}

async fn ask(route: &Service<LogoutRoute>, token: &str) -> EventResponse {
    answer(route, event(bearer(load("logout"), token))).await
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack).await).await;
    let route = route(&stack).await;
    for (name, event_json) in events_of("logout") {
        let answer = answer(&route, event(signed_in(event_json, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

/// Whether the session of a token exists and is valid.
async fn is_valid(stack: &Stack, token: &str) -> bool {
    let claims = testkit::claims(token);
    let id = |name: &str| claims[name].as_str().unwrap().to_owned();
    let accounts = store::Accounts::new(&stack.users(), stack.client());
    let (user, session) = (id("sub").parse().unwrap(), id("sid").parse().unwrap());
    let found = accounts.find(user, session).await.unwrap();
    found.session.is_some_and(|session| Some(session.epoch) == found.account.map(|it| it.epoch))
}

/// Signing out twice is not an error.
#[tokio::test]
async fn only_the_session_of_the_token_ends() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let account = testuser(&stack).await;
    let stranger = NewUser { username: "stranger", email: None, roles: &[Role::Admin] };
    let stranger = stack.sign_in(&stack.user(stranger).await).await;
    let (one, other) = (stack.sign_in(&account).await, stack.sign_in(&account).await);
    for _ in 0..2 {
        let answer = ask(&route, &one).await;
        assert_eq!((status(&answer), answer.body), (204, None), "both calls succeed");
    }
    assert!(!is_valid(&stack, &one).await);
    assert!(is_valid(&stack, &other).await && is_valid(&stack, &stranger).await);
    // A token that names another user's session does not end that session.
    let mut claims = testkit::claims(&other);
    claims["sid"] = testkit::claims(&stranger)["sid"].clone();
    let mixed = stack.forge().sign(&stack.forge().header(), &claims);
    assert_eq!(status(&ask(&route, &mixed).await), 204);
    assert!(is_valid(&stack, &stranger).await);
}

/// The route reads neither the account nor the session.
#[tokio::test]
async fn a_disabled_account_can_end_its_session() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let account = testuser(&stack).await;
    let token = stack.sign_in(&account).await;
    stack.disable(account.id).await;
    assert_eq!(status(&ask(&route, &token).await), 204);
    assert_eq!(status(&ask(&route, &stack.token_without_account(&[])).await), 204);
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack).await).await;
    let route =
        Service::<LogoutRoute>::open(&stack.env_out_of_reach(), &World::system()).await.unwrap();
    assert_eq!(status(&ask(&route, &token).await), 503);
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_token::<LogoutRoute>().await;
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let error =
        Service::<LogoutRoute>::open(&Env::default(), &World::system()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
