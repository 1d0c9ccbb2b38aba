//! Tests `sessions` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};

use identity::{Account, Role};
use process::{Clock, Env, SystemClock};
use serde_json::{Value, json};
use sessions::SessionsRoute;
use testkit::{
    Fault, Interceptor, NewUser, Stack, bearer, body, claims, event, events_of, load, readable,
    signed_in, status,
};
use web::{EventResponse, Service, World, answer};

async fn route(stack: &Stack) -> Service<SessionsRoute> {
    Service::<SessionsRoute>::open(&stack.env(), &World::system()).await.unwrap()
}

async fn testuser(stack: &Stack) -> Account {
    stack.user(NewUser { username: "testuser", email: None, roles: &[Role::User] }).await
}

async fn list(route: &Service<SessionsRoute>, token: &str) -> EventResponse {
    answer(route, event(bearer(load("sessions"), token))).await
}

/// The ids of the listed sessions.
async fn listed(route: &Service<SessionsRoute>, token: &str) -> Vec<Value> {
    let answer = body(&list(route, token).await);
    answer["sessions"].as_array().unwrap().iter().map(|session| session["sid"].clone()).collect()
}

async fn end(route: &Service<SessionsRoute>, token: &str, sid: &str) -> i64 {
    let mut event_json = bearer(load("sessions-end"), token);
    event_json["pathParameters"] = json!({"sid": sid});
    event_json["rawPath"] = json!(format!("/auth/sessions/{sid}"));
    status(&answer(route, event(event_json)).await)
}

fn sid(token: &str) -> Value {
    claims(token)["sid"].clone()
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack).await).await;
    let route = route(&stack).await;
    for (name, event_json) in events_of("sessions") {
        let answer = answer(&route, event(signed_in(event_json, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn sessions_are_listed_latest_first_with_the_current_one_marked() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let account = testuser(&stack).await;
    let stranger = NewUser { username: "stranger", email: None, roles: &Role::ALL };
    let stranger = stack.sign_in(&stack.user(stranger).await).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(stack.sign_in(&account).await);
    }
    let answer = body(&list(&route, &tokens[1]).await);
    let sessions = answer["sessions"].as_array().unwrap();
    let ids: Vec<_> = sessions.iter().map(|session| session["sid"].clone()).collect();
    let expected: Vec<_> = tokens.iter().rev().map(|token| sid(token)).collect();
    assert_eq!(ids, expected);
    let current: Vec<_> = sessions.iter().map(|session| session["current"].clone()).collect();
    assert_eq!(current, [json!(false), json!(true), json!(false)]);
    assert_eq!(listed(&route, &stranger).await, [sid(&stranger)]);
}

#[tokio::test]
async fn only_the_callers_own_sessions_can_be_ended() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let account = testuser(&stack).await;
    let stranger = NewUser { username: "stranger", email: None, roles: &Role::ALL };
    let stranger = stack.sign_in(&stack.user(stranger).await).await;
    let (one, other) = (stack.sign_in(&account).await, stack.sign_in(&account).await);
    let other_id = sid(&other);
    let other_id = other_id.as_str().unwrap();
    // Another user's session id, an unknown id and a malformed id get the same answer.
    for unknown in [
        sid(&stranger).as_str().unwrap(),
        "5f0c8a3e-2b1d-4c6f-9a7e-3d2b1c0f9e8d",
        "x",
        "",
        "ACCOUNT",
    ] {
        assert_eq!(end(&route, &one, unknown).await, 404, "{unknown}");
    }
    assert_eq!(listed(&route, &stranger).await.len(), 1);
    for other_form in
        [other_id.replace('-', ""), format!("{{{other_id}}}"), format!("urn:uuid:{other_id}")]
    {
        assert_eq!(end(&route, &one, &other_form).await, 404, "{other_form}");
    }
    assert_eq!(
        end(&route, &one, &other_id.to_uppercase()).await,
        204,
        "RFC 9562: upper case is accepted"
    );
    assert_eq!(end(&route, &one, other_id).await, 404, "the session has ended");
    assert_eq!(status(&list(&route, &other).await), 401);
    assert_eq!(listed(&route, &one).await, [sid(&one)]);
}

/// The first transaction ends the session, but its answer is lost.
#[tokio::test]
async fn a_retry_after_a_lost_answer_reports_success() {
    let stack = Stack::start().await;
    let interceptor = Interceptor::of(&stack).await;
    let route = Service::<SessionsRoute>::open(&interceptor.env(&stack, &[]), &World::system())
        .await
        .unwrap();
    let account = testuser(&stack).await;
    let stranger = NewUser { username: "stranger", email: None, roles: &Role::ALL };
    let stranger = stack.sign_in(&stack.user(stranger).await).await;
    let lose_first_answer = || {
        let first = AtomicBool::new(true);
        interceptor.fail_when(move |call| {
            let is_first =
                call.operation == "TransactWriteItems" && first.swap(false, Ordering::SeqCst);
            if is_first { Fault::LostAnswer } else { Fault::None }
        });
    };
    let (one, other) = (stack.sign_in(&account).await, stack.sign_in(&account).await);
    let other = sid(&other);
    lose_first_answer();
    assert_eq!(end(&route, &one, other.as_str().unwrap()).await, 204);
    let is_ending = |call: &&testkit::Call| call.operation == "TransactWriteItems";
    assert_eq!(interceptor.calls().iter().filter(is_ending).count(), 2);
    assert_eq!(listed(&route, &one).await, [sid(&one)]);
    // Another account's session stays valid even if an answer is lost.
    lose_first_answer();
    end(&route, &one, sid(&stranger).as_str().unwrap()).await;
    assert_eq!(listed(&route, &stranger).await, [sid(&stranger)]);
    // Without a lost answer, ending an unknown session gets a 404.
    interceptor.reset();
    assert_eq!(end(&route, &one, other.as_str().unwrap()).await, 404);
    assert_eq!(end(&route, &one, sid(&stranger).as_str().unwrap()).await, 404);
}

#[tokio::test]
async fn the_session_id_comes_from_the_path_if_the_event_has_no_path_parameters() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let account = testuser(&stack).await;
    let (one, other) = (stack.sign_in(&account).await, stack.sign_in(&account).await);
    let mut event_json = bearer(load("sessions-end"), &one);
    event_json.as_object_mut().unwrap().remove("pathParameters");
    event_json["routeKey"] = json!("$default");
    event_json["rawPath"] = json!(format!("/auth/sessions/{}", sid(&other).as_str().unwrap()));
    assert_eq!(status(&answer(&route, event(event_json)).await), 204);
    assert_eq!(listed(&route, &one).await, [sid(&one)]);
}

#[tokio::test]
async fn ended_sessions_are_not_listed() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let account = testuser(&stack).await;
    stack.sign_in(&account).await;
    let epochs = store::Epochs::new(&stack.users(), stack.client());
    epochs.raise(account.id, &testkit::occasion(SystemClock.now())).await.unwrap();
    let raised = Account { epoch: account.epoch.next(), ..account };
    let token = stack.sign_in(&raised).await;
    assert_eq!(listed(&route, &token).await, [sid(&token)]);
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<SessionsRoute>().await;
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let error =
        Service::<SessionsRoute>::open(&Env::default(), &World::system()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
