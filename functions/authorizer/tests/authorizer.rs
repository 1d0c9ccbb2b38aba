//! Tests `authorizer` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use authorizer::Authorizer;
use identity::{Account, Role};
use lambda::{EventHandler, World, open_handler};
use process::{Clock, Env, SystemClock};
use serde_json::{Value, json};
use testkit::{NewUser, Stack, bearer, claims, events_of, load, signed_in};

async fn start(stack: &Stack, settings: &[(&str, &str)]) -> Authorizer {
    open_handler::<Authorizer>(&stack.env_with(settings), &World::system()).await.unwrap()
}

async fn testuser(stack: &Stack, roles: &[Role]) -> Account {
    stack.user(NewUser { username: "testuser", email: None, roles }).await
}

async fn ask(authorizer: &Authorizer, event: Value) -> Value {
    let answer = authorizer.handle(serde_json::from_value(event).unwrap()).await.unwrap();
    serde_json::to_value(answer).unwrap()
}

async fn admits(authorizer: &Authorizer, token: &str) -> bool {
    let answer = ask(authorizer, bearer(load("authorizer"), token)).await;
    if answer["isAuthorized"] == false {
        assert_eq!(answer["context"], json!({}), "a refused caller gets no context");
    }
    answer["isAuthorized"].as_bool().unwrap()
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack, &[Role::User]).await).await;
    let authorizer = start(&stack, &[]).await;
    for (name, event_json) in events_of("authorizer") {
        let mut answer = ask(&authorizer, signed_in(event_json, &token)).await;
        for id in ["sub", "sid"] {
            if answer["context"][id].is_string() {
                answer["context"][id] = json!("(id)");
            }
        }
        insta::assert_json_snapshot!(name, answer);
    }
}

#[tokio::test]
async fn the_context_identifies_the_caller() {
    let stack = Stack::start().await;
    let account = testuser(&stack, &[Role::User, Role::Admin]).await;
    let token = stack.sign_in(&account).await;
    let answer = ask(&start(&stack, &[]).await, bearer(load("authorizer"), &token)).await;
    let context = json!({"sub": account.id, "sid": claims(&token)["sid"], "roles": "user,admin"});
    assert_eq!(answer, json!({"isAuthorized": true, "context": context}));
}

/// Latchkey's own routes refuse the same tokens.
#[tokio::test]
async fn every_bad_token_is_refused() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack, &Role::ALL).await).await;
    for access in ["by_token", "checked"] {
        let authorizer = start(&stack, &[("AUTHORIZER_ACCESS", access)]).await;
        assert!(admits(&authorizer, &token).await);
        for bad in stack.forge().bad_tokens(&claims(&token), SystemClock.now()) {
            // A header cannot contain a line break, so no event contains such a token.
            if !bad.token.contains('\n') {
                assert!(!admits(&authorizer, &bad.token).await, "{access}: {}", bad.fault);
            }
        }
        let two = format!("{token}, Bearer {token}");
        assert!(!admits(&authorizer, &two).await, "{access}: two tokens");
    }
}

#[tokio::test]
async fn a_caller_needs_every_required_role() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack, &[Role::User, Role::Admin]).await).await;
    for (roles, expected) in [
        ("", true),
        ("user", true),
        ("admin", true),
        ("user,admin", true),
        ("super_admin", false),
        ("admin,super_admin", false),
    ] {
        let authorizer = start(&stack, &[("AUTHORIZER_ROLES", roles)]).await;
        assert_eq!(admits(&authorizer, &token).await, expected, "{roles}");
    }
}

#[tokio::test]
async fn checked_access_reads_the_current_account() {
    let stack = Stack::start().await;
    let account = testuser(&stack, &[Role::Admin]).await;
    let token = stack.sign_in(&account).await;
    let by_token = start(&stack, &[("AUTHORIZER_ROLES", "admin")]).await;
    let settings = [("AUTHORIZER_ACCESS", "checked"), ("AUTHORIZER_ROLES", "admin")];
    let checked = start(&stack, &settings).await;
    assert!(admits(&by_token, &token).await && admits(&checked, &token).await);
    let administration = store::Administration::new(&stack.users(), stack.client());
    administration
        .set_roles(account.id, &[Role::User].into_iter().collect(), testkit::occasion_now)
        .await
        .unwrap();
    assert!(admits(&by_token, &token).await && !admits(&checked, &token).await);
    administration
        .set_roles(account.id, &[Role::Admin].into_iter().collect(), testkit::occasion_now)
        .await
        .unwrap();
    assert!(admits(&checked, &token).await);
    administration.disable(account.id, testkit::occasion_now).await.unwrap();
    assert!(admits(&by_token, &token).await && !admits(&checked, &token).await);
}

/// If the authorizer answered "no", the gateway would send a 403 to a caller whose token may be valid.
#[tokio::test]
async fn a_caller_who_cannot_be_checked_causes_an_error() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack, &[Role::User]).await).await;
    let authorizer =
        open_handler::<Authorizer>(&stack.env_out_of_reach(), &World::system()).await.unwrap();
    let event = serde_json::from_value(bearer(load("authorizer"), &token)).unwrap();
    let error = authorizer.handle(event).await.unwrap_err();
    assert!(!error.to_string().contains(&token));
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let cold_start = async |env: Env| {
        open_handler::<Authorizer>(&env, &World::system()).await.err().unwrap().to_string()
    };
    insta::assert_snapshot!("an empty environment", cold_start(Env::default()).await);
    let bad = [("AUTHORIZER_ACCESS", "both"), ("AUTHORIZER_ROLES", "user,root")];
    insta::assert_snapshot!("bad values", cold_start(Env::from_iter(bad)).await);
}
