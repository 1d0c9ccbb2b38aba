//! The checks that every guarded route must pass.

use auth::AccountCheck;
use identity::{Role, Roles};
use jiff::SignedDuration;
use process::{Clock, Env, SystemClock};
use serde_json::{Value, json};
use web::{Access, Event, EventResponse, Route, Service};

use crate::{Forge, NewUser, Stack, bearer, body, claims, event, load, status, without_token};

/// An event for the route `R`, with this token.
fn request<R: Route>(token: &str) -> Event {
    event(bearer(load(R::NAME), token))
}

async fn ask<R: Route>(service: &Service<R>, token: &str) -> EventResponse {
    service.answer(request::<R>(token)).await
}

fn assert_problem(answer: &EventResponse, expected: i64, code: &str, why: &str) {
    assert_eq!(status(answer), expected, "{why}");
    assert_eq!(body(answer)["code"], code, "{why}");
}

fn challenge(answer: &EventResponse) -> Option<&str> {
    answer.headers.get("www-authenticate").map(|value| value.to_str().expect("ASCII"))
}

/// Whether the route admits a caller with these roles.
fn admits<R: Route>(roles: &[Role]) -> bool {
    R::Access::role().is_none_or(|role| roles.contains(&role))
}

/// The role sets to try: each role alone, all roles but one, no role, and all roles.
fn role_sets() -> Vec<Vec<Role>> {
    let all_but = |one: Role| Role::ALL.into_iter().filter(|role| *role != one).collect();
    let alone = Role::ALL.into_iter().map(|role| vec![role]);
    let sets = alone.chain(Role::ALL.into_iter().map(all_but));
    sets.chain([vec![], Role::ALL.to_vec()]).collect()
}

/// Checks that the answer matches the route's access rule and the caller's roles.
fn assert_admitted_by_role<R: Route>(answer: &EventResponse, roles: &[Role]) {
    if admits::<R>(roles) {
        // The route itself may still refuse the request.
        let code = body(answer)["code"].as_str().unwrap_or_default().to_owned();
        assert!(status(answer) != 401 && code != "insufficient_role", "{roles:?}: {code}");
        assert!(status(answer) < 500, "{roles:?}: {code}");
    } else {
        assert_problem(answer, 403, "insufficient_role", &format!("{roles:?}"));
        let challenge = challenge(answer).unwrap_or_default();
        assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
    }
}

/// Checks that the route refuses missing and bad tokens, and an incomplete environment.
async fn refuses_bad_tokens<R: Route>(stack: &Stack, service: &Service<R>) {
    let answer = service.answer(event(without_token(load(R::NAME)))).await;
    assert_problem(&answer, 401, "missing_token", "no token");
    assert!(!challenge(&answer).unwrap_or_default().contains("error"), "no error without a token");
    let now = SystemClock.now();
    let claims = Forge::claims(now, &Role::ALL.into_iter().collect::<Roles>());
    for bad in stack.forge().bad_tokens(&claims, now) {
        // A header cannot contain a line break.
        if bad.token.contains('\n') {
            continue;
        }
        let answer = ask(service, &bad.token).await;
        assert_problem(&answer, 401, "invalid_token", bad.fault);
        let challenge = challenge(&answer).unwrap_or_default();
        assert!(challenge.contains(r#"error="invalid_token""#), "{}: {challenge}", bad.fault);
    }
    let error = Service::<R>::open(&Env::default(), &stack.world()).await.err();
    let error = error.expect("an empty environment is refused").to_string();
    for name in ["AWS_REGION", "ISSUER", "AUDIENCE", "KEYS_TABLE"] {
        assert!(error.contains(&format!("{name} is missing")), "{name}: {error}");
    }
}

/// Checks that the route starts without its database, and answers 503 with `Retry-After`.
async fn answers_without_its_database<R: Route>(stack: &Stack, token: &str) {
    let env = stack.env_out_of_reach();
    let service = Service::<R>::open(&env, &stack.world())
        .await
        .expect("the route starts without its database");
    let answer = ask(&service, token).await;
    assert_problem(&answer, 503, "unavailable", "the database is out of reach");
    assert!(answer.headers.contains_key("retry-after"), "503 needs Retry-After");
}

/// Checks that `R` admits callers by their tokens alone.
///
/// `R` must refuse each kind of bad token, require its role in the token, and look up nothing about the caller.
///
/// # Panics
/// When one of the checks fails.
pub async fn guarded_by_token<R: Route>() {
    let stack = Stack::start().await;
    let service = stack.open::<R>().await.expect("a complete environment");
    refuses_bad_tokens(&stack, &service).await;
    for roles in role_sets() {
        assert_admitted_by_role::<R>(
            &ask(&service, &stack.token_without_account(&roles)).await,
            &roles,
        );
    }
    let user = NewUser { username: "testuser", email: None, roles: &Role::ALL };
    let account = stack.user(user).await;
    let token = stack.sign_in(&account).await;
    stack.disable(account.id).await;
    assert_admitted_by_role::<R>(&ask(&service, &token).await, &Role::ALL);
    answers_without_its_database::<R>(&stack, &stack.token_without_account(&Role::ALL)).await;
}

/// Checks that `R` admits callers by their accounts.
///
/// In addition to a valid token, `R` must require an active account with a live session. The account must currently
/// have the role that `R` requires.
///
/// # Panics
/// When one of the checks fails.
pub async fn guarded_by_account<R: Route>() {
    let stack = Stack::start().await;
    let service = stack.open::<R>().await.expect("a complete environment");
    refuses_bad_tokens(&stack, &service).await;
    let refused = async |token: &str, why: &str| {
        assert_problem(&ask(&service, token).await, 401, "invalid_token", why);
    };
    refused(&stack.token_without_account(&Role::ALL), "an account that does not exist").await;

    // The role `super_admin` can be taken away only while another active account has it.
    let keeper = NewUser { username: "keeper", email: None, roles: &Role::ALL };
    stack.user(keeper).await;
    // The account's current roles decide, not the roles in the token.
    let administration = store::Administration::new(&stack.users(), stack.client());
    for (n, roles) in role_sets().into_iter().enumerate() {
        let username = &format!("user-{n}");
        let user =
            NewUser { username, email: Some(&format!("{n}@example.com")), roles: &Role::ALL };
        let account = stack.user(user).await;
        let token = stack.sign_in(&account).await;
        let current = roles.iter().copied().collect::<Roles>();
        administration
            .set_roles(account.id, &current, crate::occasion_now)
            .await
            .expect("an account");
        assert_admitted_by_role::<R>(&ask(&service, &token).await, &roles);
    }

    let user = |username| NewUser { username, email: None, roles: &Role::ALL };
    let (account, other) =
        (stack.user(user("testuser")).await, stack.user(user("otheruser")).await);
    let token = stack.sign_in(&account).await;
    let other_claims = claims(&stack.sign_in(&other).await);
    let mixed = stack.forge().with_claim(&other_claims, "sub", json!(account.id));
    refused(&mixed, "the session of another account").await;
    let outdated = stack.sign_in(&other).await;
    store::Epochs::new(&stack.users(), stack.client())
        .raise(other.id, &crate::occasion_now())
        .await
        .expect("an account");
    refused(&outdated, "another session epoch").await;
    let ended = stack.sign_in(&account).await;
    end(&stack, &claims(&ended)).await;
    refused(&ended, "an ended session").await;

    answers_without_its_database::<R>(&stack, &token).await;
    let env = stack.env_with(&[("USERS_TABLE", "NoSuchTable")]);
    let misconfigured = Service::<R>::open(&env, &stack.world()).await.expect("the route starts");
    let answer = ask(&misconfigured, &token).await;
    assert_problem(&answer, 500, "internal", "the table does not exist");

    stack.disable(account.id).await;
    refused(&token, "a disabled account").await;
}

/// Checks that `R` admits callers by their accounts, and only if they have authenticated recently.
///
/// In addition to everything that [`guarded_by_account`] checks, `R` must refuse a session whose user authenticated
/// too long ago. It must check the role first.
///
/// # Panics
/// When one of the checks fails.
pub async fn guarded_by_fresh_session<R: Route>() {
    const MAX_AGE: i64 = 60;
    guarded_by_account::<R>().await;
    let stack = Stack::start().await;
    let seconds = MAX_AGE.to_string();
    let env = stack.env_with(&[("FRESH_SECONDS", &seconds)]);
    let service = Service::<R>::open(&env, &stack.world()).await.expect("a complete environment");
    let now = SystemClock.now();
    for (n, roles) in role_sets().into_iter().enumerate() {
        let user = NewUser { username: &format!("user-{n}"), email: None, roles: &roles };
        let account = stack.user(user).await;
        let begun = |seconds| now - SignedDuration::from_secs(seconds);
        let stale = stack.sign_in_at(&account, begun(MAX_AGE + 1)).await;
        let answer = ask(&service, &stale).await;
        if admits::<R>(&roles) {
            let code = "insufficient_user_authentication";
            assert_problem(&answer, 401, code, &format!("{roles:?}"));
            assert_eq!(body(&answer)["max_age"], MAX_AGE);
            let challenge = challenge(&answer).unwrap_or_default();
            let expected = format!(r#"error="{code}", max_age={MAX_AGE}"#);
            assert!(challenge.contains(&expected), "{challenge}");
        } else {
            assert_admitted_by_role::<R>(&answer, &roles);
        }
        let fresh = stack.sign_in_at(&account, SystemClock.now()).await;
        assert_admitted_by_role::<R>(&ask(&service, &fresh).await, &roles);
    }
}

/// Ends the session of an access token.
async fn end(stack: &Stack, claims: &Value) {
    let id = |name: &str| claims[name].as_str().expect("an id");
    let user = id("sub").parse().expect("a user's id");
    let session = id("sid").parse().expect("a session's id");
    store::Endings::new(&stack.users(), stack.client())
        .end(user, session, &crate::occasion(SystemClock.now()))
        .await
        .expect("the session ends");
    let accounts = store::Accounts::new(&stack.users(), stack.client());
    assert!(accounts.find(user, session).await.expect("a table").session.is_none());
}
