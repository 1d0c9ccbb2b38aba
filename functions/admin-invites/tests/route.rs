//! Tests `admin-invites` against an embedded DynamoDB, from the gateway's event to the answer. Also registers accounts
//! with the invitations.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use admin_invites::AdminInvitesRoute;
use identity::Role;
use peppers::{CodeKind, CodeTag};
use process::Env;
use register::RegisterRoute;
use serde_json::json;
use testkit::{
    NewUser, PASSWORD, Stack, bearer, body, event, events_of, json_request, load, readable,
    signed_in, status,
};
use web::{EventResponse, Service, World, answer};

async fn route(stack: &Stack) -> Service<AdminInvitesRoute> {
    Service::<AdminInvitesRoute>::open(&stack.env(), &World::system()).await.unwrap()
}

async fn admin(stack: &Stack) -> String {
    let user = NewUser { username: "administrator-one", email: None, roles: &[Role::Admin] };
    stack.sign_in(&stack.user(user).await).await
}

async fn ask(route: &Service<AdminInvitesRoute>, token: &str) -> EventResponse {
    answer(route, event(bearer(load("admin-invites"), token))).await
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let token = admin(&stack).await;
    let route = route(&stack).await;
    for (name, event_json) in events_of("admin-invites") {
        let answer = answer(&route, event(signed_in(event_json, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn an_invitation_can_be_used_once_and_is_stored_only_as_a_mac() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let env = stack.env_with(&[("REGISTRATION", "invite")]);
    let register = Service::<RegisterRoute>::open(&env, &World::system()).await.unwrap();
    let token = admin(&stack).await;
    let codes: Vec<_> = [ask(&route, &token).await, ask(&route, &token).await]
        .iter()
        .map(|answer| body(answer)["invite_code"].as_str().unwrap().to_owned())
        .collect();
    assert_ne!(codes[0], codes[1]);
    let scanned = stack.client().scan().table_name("UsersTable").send().await.unwrap();
    let secret = codes[0].split('.').nth(1).unwrap();
    assert!(!format!("{scanned:?}").contains(secret));

    let attempt = async |username: &str, code: &serde_json::Value| {
        let registration = json!({"username": username, "password": PASSWORD, "invite_code": code});
        let answer = answer(&register, json_request("register", &registration)).await;
        (status(&answer), body(&answer)["code"].as_str().unwrap_or_default().to_owned())
    };
    let invalid = || (403, "invalid_invite".to_owned());
    // The name is too short, but the invitation is checked first.
    for bad in [json!(null), json!("x"), json!(format!("{}A", codes[0])), json!("a.b"), json!("")] {
        assert_eq!(attempt("no", &bad).await, invalid(), "{bad}");
    }
    // A refused registration does not use up the invitation.
    assert_eq!(attempt("no", &json!(codes[0])).await.0, 400);
    assert_eq!(attempt("administrator-one", &json!(codes[0])).await.0, 409);
    assert_eq!(attempt("newcomer", &json!(codes[0])).await.0, 201);
    assert_eq!(attempt("another", &json!(codes[0])).await, invalid(), "single use");
    assert_eq!(attempt("another", &json!(codes[1])).await.0, 201);
}

#[tokio::test]
async fn an_invitation_serves_only_one_of_two_concurrent_registrations() {
    let stack = Stack::start().await;
    let answer = ask(&route(&stack).await, &admin(&stack).await).await;
    let code = body(&answer)["invite_code"].as_str().unwrap().to_owned();
    let tag = tag_of(&stack, &code);
    let registrations = store::Registrations::new(&stack.users(), stack.client());
    let register = async |username: &str| {
        let now = process::Clock::now(&process::SystemClock);
        let new = store::NewAccount {
            id: identity::UserId::new(now, &process::SystemRandom),
            username: identity::Username::parse(username).unwrap(),
            email: None,
            roles: [Role::User].into_iter().collect(),
            password: identity::StoredHash::new("hash"),
            created_at: now,
            invite: Some(tag.clone()),
            occasion: testkit::occasion(now),
        };
        registrations.create(new, stack.peppers()).await
    };
    // Calling `create` directly simulates two registrations that have both passed the invitation check.
    assert!(register("one").await.is_ok());
    let late = register("two").await;
    assert!(matches!(late, Err(store::RegisterError::InvalidInvite)), "{late:?}");
}

fn tag_of(stack: &Stack, code: &str) -> String {
    CodeTag::of(CodeKind::Invite, code, stack.peppers()).unwrap().as_str().to_owned()
}

#[tokio::test]
async fn closed_registration_refuses_even_a_valid_invitation() {
    let stack = Stack::start().await;
    let env = stack.env_with(&[("REGISTRATION", "closed")]);
    let register = Service::<RegisterRoute>::open(&env, &World::system()).await.unwrap();
    let invite = body(&ask(&route(&stack).await, &admin(&stack).await).await);
    let code = &invite["invite_code"];
    let registration = json!({"username": "newcomer", "password": PASSWORD, "invite_code": code});
    let answer = answer(&register, json_request("register", &registration)).await;
    assert_eq!((status(&answer), &body(&answer)["code"]), (403, &json!("registration_closed")));
}

#[tokio::test]
async fn callers_without_the_admin_role_are_refused() {
    let stack = Stack::start().await;
    let roles = [Role::User, Role::SuperAdmin];
    let user = NewUser { username: "testuser", email: None, roles: &roles };
    let token = stack.sign_in(&stack.user(user).await).await;
    assert_eq!(status(&ask(&route(&stack).await, &token).await), 403);
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<AdminInvitesRoute>().await;
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let error =
        Service::<AdminInvitesRoute>::open(&Env::default(), &World::system()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
