//! Tests `step-up` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::disallowed_methods, reason = "tests begin sessions without signing in")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use account_guard::{AccountGuard, Checked, CheckedCaller, Fresh, FreshCaller};
use auth::GlobalEpoch;
use identity::{Account, Anyone, Method, Methods, Role};
use issuer::RefreshToken;
use jiff::{SignedDuration, Timestamp};
use process::{Clock, Env, SystemClock};
use refresh::RefreshRoute;
use serde_json::{Value, json};
use step_up::StepUpRoute;
use store::{NewSession, Sessions};
use testkit::{
    ConcurrentEvent, Fault, Interceptor, NewUser, PASSWORD, Stack, bearer, body, claims, event,
    events_of, json_body, load, readable, signed_in, status,
};
use web::{
    BootError, Endpoint, EventResponse, Message, NoBody, Problem, Route, Service, World, answer,
};

/// The wait after three wrong guesses must not end before the fourth guess, even on a slow machine.
const LONG_WAIT: (&str, &str) = ("THROTTLE_PAIR_BASE_SECONDS", "900");

/// A fresh route. The tests send it the `step-up` event, and it ignores the body.
struct FreshRoute;

impl Route for FreshRoute {
    const NAME: &'static str = "fresh";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/step-up")];
    type Access = Fresh<Anyone>;
    type Settings = ();
    type Input = NoBody;
    type Output = web::Json<Message>;

    async fn open((): (), _: &AccountGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, _: FreshCaller<Anyone>, _: NoBody) -> Result<Self::Output, Problem> {
        Ok(web::Json(Message::new("fresh")))
    }
}

/// A checked route.
struct CheckedRoute;

impl Route for CheckedRoute {
    const NAME: &'static str = "checked";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/step-up")];
    type Access = Checked<Anyone>;
    type Settings = ();
    type Input = NoBody;
    type Output = web::Json<Message>;

    async fn open((): (), _: &AccountGuard, _: &World) -> Result<Self, BootError> {
        Ok(Self)
    }

    async fn handle(&self, _: CheckedCaller<Anyone>, _: NoBody) -> Result<Self::Output, Problem> {
        Ok(web::Json(Message::new("checked")))
    }
}

struct Bench {
    stack: Stack,
    route: Service<StepUpRoute>,
    account: Account,
}

/// The access token and the refresh token of an answer.
fn tokens(answer: &EventResponse) -> (String, String) {
    assert_eq!(status(answer), 200, "{answer:?}");
    let tokens = body(answer);
    let token = |name: &str| tokens[name].as_str().unwrap().to_owned();
    (token("access_token"), token("refresh_token"))
}

fn an_hour_ago() -> Timestamp {
    SystemClock.now() - SignedDuration::from_hours(1)
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let env = stack.env_with(&[LONG_WAIT]);
        let route = Box::pin(Service::<StepUpRoute>::open(&env, &World::system())).await.unwrap();
        let user = NewUser { username: "testuser", email: None, roles: &[Role::User] };
        let account = stack.user(user).await;
        Self { stack, route, account }
    }

    async fn step_up(&self, token: &str, password: &str) -> EventResponse {
        let request = json_body(load("step-up"), &json!({"password": password}));
        answer(&self.route, event(bearer(request, token))).await
    }

    /// The code with which route `R` refuses the caller, or `None` if it admits the caller.
    async fn refusal<R: Route>(&self, token: &str) -> Option<Value> {
        let route = self.stack.open::<R>().await.unwrap();
        let answer = answer(&route, event(bearer(load("step-up"), token))).await;
        if status(&answer) == 200 { None } else { Some(body(&answer)["code"].clone()) }
    }

    async fn refresh(&self, token: &str) -> EventResponse {
        let route = self.stack.open::<RefreshRoute>().await.unwrap();
        let request = json_body(load("refresh"), &json!({"refresh_token": token}));
        answer(&route, event(request)).await
    }

    /// The current refresh token of the only session.
    async fn refresh_token(&self) -> String {
        let sessions = Sessions::new(&self.stack.users(), self.stack.client());
        let [session] = sessions.of(self.account.id).await.unwrap().try_into().unwrap();
        let counter = session.chain.counter;
        let token = RefreshToken { sub: self.account.id, sid: session.id, counter };
        let peppers = self.stack.peppers();
        token.sign(&peppers.by_id(&session.pepper, peppers::Purpose::RefreshToken).unwrap())
    }
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    for (name, event_json) in events_of("step-up") {
        let bench = Bench::start().await;
        let token = bench.stack.sign_in(&bench.account).await;
        let answer = answer(&bench.route, event(signed_in(event_json, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn only_a_step_up_makes_a_session_fresh_again() {
    let bench = Bench::start().await;
    let begun = an_hour_ago();
    let first = bench.stack.sign_in_at(&bench.account, begun).await;
    let stale = Some(json!("insufficient_user_authentication"));
    assert_eq!(bench.refusal::<FreshRoute>(&first).await, stale);
    // A refresh does not renew the authentication.
    let (refreshed, refresh_token) = tokens(&bench.refresh(&bench.refresh_token().await).await);
    let unchanged = claims(&refreshed);
    assert_eq!(unchanged["auth_time"], begun.as_second());
    assert_eq!((&unchanged["acr"], &unchanged["amr"]), (&json!("1"), &json!(["pwd"])));
    assert_eq!(bench.refusal::<FreshRoute>(&refreshed).await, stale);

    let before = SystemClock.now().as_second();
    let (stepped_up, same_refresh_token) = tokens(&bench.step_up(&refreshed, PASSWORD).await);
    let renewed = claims(&stepped_up);
    assert!(renewed["auth_time"].as_i64().unwrap() >= before);
    for name in ["sub", "sid", "ver", "acr", "amr"] {
        assert_eq!(renewed[name], unchanged[name], "{name}");
    }
    assert_eq!(same_refresh_token, refresh_token);
    // The session is fresh, whichever of its tokens the client uses.
    for token in [&first, &refreshed, &stepped_up] {
        assert_eq!(bench.refusal::<FreshRoute>(token).await, None);
    }
    let (again, _) = tokens(&bench.refresh(&refresh_token).await);
    assert_eq!(claims(&again)["auth_time"], renewed["auth_time"]);
}

#[tokio::test]
async fn a_password_does_not_change_the_assurance() {
    let bench = Bench::start().await;
    let passkey = Methods::from(Method::Possession).and(Method::UserPresence);
    let two_factors = Methods::from(Method::Password).and(Method::Otp);
    for (methods, amr, acr) in [
        (Method::Password.into(), json!(["pwd"]), "1"),
        (two_factors, json!(["pwd", "otp"]), "2"),
        (passkey, json!(["pwd", "pop", "user"]), "2"),
    ] {
        let new = bench.stack.new_session(bench.account.epoch);
        let session = NewSession { methods, ..new };
        let id = session.id;
        bench.stack.logins().begin(bench.account.id, session, &[]).await.unwrap();
        let any = claims(&bench.stack.sign_in(&bench.account).await);
        let token = bench.stack.forge().with_claim(&any, "sid", json!(id));
        let (stepped_up, _) = tokens(&bench.step_up(&token, PASSWORD).await);
        let claims = claims(&stepped_up);
        assert_eq!((&claims["amr"], &claims["acr"]), (&amr, &json!(acr)));
    }
}

#[tokio::test]
async fn a_wrong_password_changes_nothing_and_is_throttled_as_at_login() {
    let bench = Bench::start().await;
    let token = bench.stack.sign_in_at(&bench.account, an_hour_ago()).await;
    for _ in 0..3 {
        let answer = bench.step_up(&token, "another password").await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (403, &json!("wrong_password")));
    }
    let throttled = bench.step_up(&token, PASSWORD).await;
    assert_eq!((status(&throttled), &body(&throttled)["code"]), (429, &json!("too_many_attempts")));
    let stale = Some(json!("insufficient_user_authentication"));
    assert_eq!(bench.refusal::<FreshRoute>(&token).await, stale);
}

/// An instance that had not yet read the new global epoch may have admitted the step-up.
#[tokio::test]
async fn a_step_up_does_not_save_a_session_from_the_global_epoch() {
    let bench = Bench::start().await;
    let old = bench.stack.sign_in_at(&bench.account, an_hour_ago()).await;
    let (stepped_up, refresh_token) = tokens(&bench.step_up(&old, PASSWORD).await);
    assert_eq!(bench.refusal::<CheckedRoute>(&stepped_up).await, None);
    let epoch = GlobalEpoch::after(SystemClock.now() - SignedDuration::from_mins(30));
    bench.stack.keys_table().raise_epoch(epoch).await.unwrap();
    let ended = Some(json!("invalid_token"));
    assert_eq!(bench.refusal::<CheckedRoute>(&stepped_up).await, ended);
    assert_eq!(status(&bench.refresh(&refresh_token).await), 401);
}

/// If all sessions of the account end during the request, no token of the session remains valid.
#[tokio::test]
async fn a_step_up_that_loses_a_race_revives_no_session() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[("THROTTLE_NETWORK_FREE", "1000")]);
    bench.route = Box::pin(Service::<StepUpRoute>::open(&env, &World::system())).await.unwrap();
    let mut users = 0;
    for concurrent in ConcurrentEvent::ALL {
        for call in 0.. {
            users += 1;
            let username = format!("user-{users}");
            let email = format!("{username}@example.com");
            let user = NewUser { username: &username, email: Some(&email), roles: &[Role::User] };
            let account = bench.stack.user(user).await;
            let token = bench.stack.sign_in(&account).await;
            let (action, begun) = concurrent.prepare(&bench.stack, &account).await;
            interceptor.before(call, action);
            let answer = bench.step_up(&token, PASSWORD).await;
            if interceptor.calls().len() <= call {
                assert!(call > 5 && status(&answer) == 200, "{call}");
                break;
            }
            let case = format!("{concurrent:?} before call {call}");
            assert!(matches!(status(&answer), 200 | 401 | 403), "{case}: {}", status(&answer));
            let other = begun.await.unwrap();
            let sessions = Sessions::new(&bench.stack.users(), bench.stack.client());
            for session in sessions.of(account.id).await.unwrap() {
                let lives = bench.stack.lives(account.id, session.id).await;
                assert_eq!(lives, Some(session.id) == other, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_counts_against_no_limit_if_any_call_fails() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[]);
    bench.route = Box::pin(Service::<StepUpRoute>::open(&env, &World::system())).await.unwrap();
    for call in 0.. {
        let username = format!("user-{call}");
        let user = NewUser { username: &username, email: None, roles: &[Role::User] };
        let account = bench.stack.user(user).await;
        let token = bench.stack.sign_in(&account).await;
        interceptor.fail_at(call, Fault::AccessDenied);
        let answer = bench.step_up(&token, PASSWORD).await;
        assert!(matches!(status(&answer), 200 | 500 | 503), "{call}: {}", status(&answer));
        assert_eq!(bench.stack.counted().await, BTreeMap::new(), "{call}");
        if interceptor.calls().len() <= call {
            assert!(call > 6, "{call}");
            break;
        }
    }
}

#[tokio::test]
async fn an_overlong_password_is_invalid_input() {
    let bench = Bench::start().await;
    let token = bench.stack.sign_in(&bench.account).await;
    let answer = bench.step_up(&token, &"x".repeat(1_025)).await;
    assert_eq!((status(&answer), &body(&answer)["code"]), (400, &json!("invalid_input")));
    assert_eq!(body(&answer)["errors"][0]["code"], "too_long");
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<StepUpRoute>().await;
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let started = Box::pin(Service::<StepUpRoute>::open(&Env::default(), &World::system())).await;
    insta::assert_snapshot!(started.err().unwrap().to_string());
}
