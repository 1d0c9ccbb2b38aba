//! Tests `password-change` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::disallowed_methods, reason = "tests begin sessions without signing in")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use auth::AccountCheck;
use identity::{Account, MailId, Method, Methods, Presented, Role, SessionId};
use jiff::SignedDuration;
use mailer::MailerFunction;
use password_change::PasswordChangeRoute;
use passwords::{Hasher, Password, PasswordHash, Verdict};
use process::{Clock, Env, SystemClock, SystemRandom};
use serde_json::{Value, json};
use store::{Hashes, Mail, NewMail, NewSession, Notice, Passwords};
use testkit::{
    ConcurrentEvent, Fault, Interceptor, NewUser, PASSWORD, Stack, bearer, body, claims, deliver,
    event, events_of, from_network, json_body, load, readable, signed_in, status,
};
use web::{EventResponse, Service, World, answer};

const NEW: &str = "a longer walk along the coast";

/// The wait after three wrong guesses must not end before the fourth guess, even on a slow machine.
const LONG_WAIT: (&str, &str) = ("THROTTLE_PAIR_BASE_SECONDS", "900");

struct Bench {
    stack: Stack,
    route: Service<PasswordChangeRoute>,
    account: Account,
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let env = stack.env_with(&[LONG_WAIT]);
        let route =
            Box::pin(Service::<PasswordChangeRoute>::open(&env, &World::system())).await.unwrap();
        let email = Some("testuser@example.com");
        let user = NewUser { username: "testuser", email, roles: &[Role::User] };
        let account = stack.user(user).await;
        Self { stack, route, account }
    }

    async fn token(&self) -> String {
        self.stack.sign_in(&self.account).await
    }

    async fn ask(&self, token: &str, change: &Value) -> EventResponse {
        answer(&self.route, event(bearer(json_body(load("password-change"), change), token))).await
    }

    async fn change(&self, token: &str, current: &str, new: &str) -> EventResponse {
        self.ask(token, &json!({"current_password": current, "new_password": new})).await
    }

    async fn account_now(&self) -> Account {
        let accounts = store::Accounts::new(&self.stack.users(), self.stack.client());
        let found = accounts.find(self.account.id, SessionId::new(&SystemRandom)).await.unwrap();
        found.account.unwrap()
    }

    fn passwords(&self) -> Passwords {
        Passwords::new(&self.stack.users(), self.stack.client(), self.stack.limits())
    }

    fn hashes(&self) -> Hashes {
        Hashes::new(&self.stack.users(), self.stack.client())
    }

    fn notice(&self) -> NewMail {
        let now = SystemClock.now();
        let (user_id, notice) = (self.account.id, Notice::PasswordChanged);
        let mail = Mail::Notice { user_id, notice, address: None };
        NewMail { id: MailId::new(now, &SystemRandom), mail, asked_at: now }
    }

    /// Whether this is the stored password.
    async fn has_password(&self, password: &str) -> bool {
        let stored = self.hashes().of(&self.account).await.unwrap().unwrap();
        let hash = PasswordHash::from_stored(&stored).unwrap();
        let password = Password::parse(password.to_owned()).unwrap();
        Hasher::new().verify(&password, Some(&hash)).await.unwrap() == Verdict::Right
    }

    /// Whether a token's session is valid.
    async fn is_valid(&self, token: &str) -> bool {
        let claims = claims(token);
        let session: SessionId = claims["sid"].as_str().unwrap().parse().unwrap();
        let accounts = store::Accounts::new(&self.stack.users(), self.stack.client());
        let found = accounts.find(self.account.id, session).await.unwrap();
        let epoch = found.account.unwrap().epoch;
        found.session.is_some_and(|session| session.epoch == epoch) && claims["ver"] == json!(epoch)
    }
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    for (name, event_json) in events_of("password-change") {
        let bench = Bench::start().await;
        let token = bench.token().await;
        let answer = answer(&bench.route, event(signed_in(event_json, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn a_change_sets_the_password_and_ends_all_other_sessions() {
    let bench = Bench::start().await;
    bench.stack.confirm(&bench.account).await;
    let (mine, other) = (bench.token().await, bench.token().await);
    let answer = bench.change(&mine, PASSWORD, NEW).await;
    assert_eq!(status(&answer), 200, "{answer:?}");
    assert!(bench.has_password(NEW).await && !bench.has_password(PASSWORD).await);
    assert!(!bench.is_valid(&mine).await && !bench.is_valid(&other).await);
    let tokens = body(&answer);
    let new = tokens["access_token"].as_str().unwrap();
    assert!(bench.is_valid(new).await);
    let refresh = tokens["refresh_token"].as_str().unwrap();
    // The password is stored with the account's current epoch. Otherwise, no login would succeed.
    let name = Presented::Username(bench.account.username.canonical().clone());
    let logins = bench.stack.logins();
    let credential = logins.credential(&name).await.unwrap().unwrap();
    assert!(logins.account(bench.account.id, credential.set_in).await.unwrap().is_some());
    let decoded = issuer::RefreshToken::verify(refresh, bench.stack.peppers()).unwrap();
    assert_eq!((decoded.sub, decoded.counter), (bench.account.id, 0));
    // The owner gets a notice.
    let [mail] = deliver::<MailerFunction>(&bench.stack).await.try_into().unwrap();
    assert_eq!(mail.to, "testuser@example.com");
    assert_eq!(mail.subject, "Latchkey: your password has been changed");
    // An ended session cannot change the password.
    assert_eq!(status(&bench.change(&other, NEW, PASSWORD).await), 401);
    assert!(bench.has_password(NEW).await);
    assert_eq!(status(&bench.change(new, NEW, PASSWORD).await), 200);
}

#[tokio::test]
async fn the_new_session_keeps_the_methods_of_the_previous_one() {
    let bench = Bench::start().await;
    let methods = Methods::from(Method::Password).and(Method::Otp);
    let created_at = SystemClock.now() - SignedDuration::from_hours(1);
    let new = bench.stack.new_session(bench.account.epoch);
    let session = NewSession { created_at, methods, ..new };
    let sid = session.id;
    bench.stack.logins().begin(bench.account.id, session, &[]).await.unwrap();
    let token = bench.stack.forge().with_claim(&claims(&bench.token().await), "sid", json!(sid));
    let before = SystemClock.now().as_second();
    let answer = bench.change(&token, PASSWORD, NEW).await;
    assert_eq!(status(&answer), 200);
    let claims = claims(body(&answer)["access_token"].as_str().unwrap());
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pwd", "otp"]), &json!("2")));
    assert!(claims["auth_time"].as_i64().unwrap() >= before);
}

/// An unconfirmed address gets no notice, and a confirmed one gets at most ten a day.
#[tokio::test]
async fn repeated_changes_send_no_more_notices_than_the_limit() {
    for (confirmed, limit) in [(false, 0), (true, 10)] {
        let bench = Bench::start().await;
        if confirmed {
            bench.stack.confirm(&bench.account).await;
        }
        let mut token = bench.token().await;
        let mut passwords = [PASSWORD, NEW];
        for _ in 0..15 {
            let answer = bench.change(&token, passwords[0], passwords[1]).await;
            assert_eq!(status(&answer), 200);
            body(&answer)["access_token"].as_str().unwrap().clone_into(&mut token);
            passwords.reverse();
        }
        assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), limit);
    }
}

/// A new network is reported just as at login, in addition to the notice of the change.
#[tokio::test]
async fn a_new_network_is_reported_to_the_owner() {
    let bench = Bench::start().await;
    bench.stack.confirm(&bench.account).await;
    let change = async |network: &str, current: &str, new: &str| {
        let token = bench.stack.sign_in(&bench.account_now().await).await;
        let change = json!({"current_password": current, "new_password": new});
        let event_json = bearer(json_body(load("password-change"), &change), &token);
        status(&answer(&bench.route, event(from_network(event_json, network))).await)
    };
    let reported = async || {
        let mails = deliver::<MailerFunction>(&bench.stack).await;
        mails.iter().filter(|mail| mail.subject.ends_with("from a new network")).count()
    };
    assert_eq!((change("203.0.113.7", PASSWORD, NEW).await, reported().await), (200, 0));
    assert_eq!((change("198.51.100.1", NEW, PASSWORD).await, reported().await), (200, 1));
    assert_eq!((change("198.51.100.1", PASSWORD, NEW).await, reported().await), (200, 1));
}

#[tokio::test]
async fn a_wrong_password_changes_nothing_and_is_throttled_as_at_login() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    for _ in 0..3 {
        let answer = bench.change(&token, "another password", NEW).await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (403, &json!("wrong_password")));
    }
    let throttled = bench.change(&token, PASSWORD, NEW).await;
    assert_eq!((status(&throttled), &body(&throttled)["code"]), (429, &json!("too_many_attempts")));
    assert!(bench.has_password(PASSWORD).await && bench.is_valid(&token).await);
}

#[tokio::test]
async fn a_new_password_must_follow_the_rules_and_all_errors_are_reported_together() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let long = "x".repeat(1_025);
    for (new, code) in [
        ("short", "too_short"),
        ("password1", "too_common"),
        ("TESTUSER", "matches_username"),
        (long.as_str(), "too_long"),
    ] {
        let answer = bench.change(&token, &long, new).await;
        let errors = body(&answer)["errors"].clone();
        let errors: Vec<_> = errors.as_array().unwrap().iter().collect();
        let of = |field: &str| errors.iter().find(|error| error["field"] == field).unwrap();
        assert_eq!(of("current_password")["code"], "too_long");
        assert_eq!(of("new_password")["code"], code, "{new}");
    }
    for bad in [json!({}), json!({"current_password": PASSWORD}), json!({"new_password": NEW})] {
        let answer = bench.ask(&token, &bad).await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (400, &json!("invalid_request")));
    }
    assert!(bench.has_password(PASSWORD).await);
}

#[tokio::test]
async fn only_one_of_two_concurrent_changes_succeeds() {
    let bench = Bench::start().await;
    let stored = bench.hashes().of(&bench.account).await.unwrap().unwrap();
    let change = async |name: &str| {
        let session = bench.stack.new_session(bench.account.epoch.next());
        let new = identity::StoredHash::new(format!("the hash of {name}"));
        {
            let passwords = bench.passwords();
            let notice = bench.notice();
            passwords.change(&bench.account, &stored, new, session, Some(&notice)).await.unwrap()
        }
    };
    assert!(matches!(change("one").await, store::Changed::Done(_)));
    let sessions = store::Sessions::new(&bench.stack.users(), bench.stack.client());
    let before = sessions.of(bench.account.id).await.unwrap();
    assert_eq!(change("two").await, store::Changed::Conflict);
    assert_eq!(
        sessions.of(bench.account.id).await.unwrap(),
        before,
        "the losing change has no effect"
    );
    let kept = bench.hashes().of(&bench.account).await.unwrap().unwrap();
    assert_eq!(kept.expose(), "the hash of one");
}

#[tokio::test]
async fn a_disabled_account_cannot_change_its_password() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    bench.stack.disable(bench.account.id).await;
    assert_eq!(status(&bench.change(&token, PASSWORD, NEW).await), 401);
    // The same is true if the account is disabled during the request.
    let stored = bench.hashes().of(&bench.account).await.unwrap().unwrap();
    let session = bench.stack.new_session(bench.account.epoch.next());
    let new = identity::StoredHash::new("hash");
    let late = {
        let passwords = bench.passwords();
        let notice = bench.notice();
        passwords.change(&bench.account, &stored, new, session, Some(&notice)).await.unwrap()
    };
    assert_eq!(late, store::Changed::Conflict);
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<PasswordChangeRoute>().await;
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let env = bench.stack.env_out_of_reach();
    let route =
        Box::pin(Service::<PasswordChangeRoute>::open(&env, &World::system())).await.unwrap();
    let event = event(bearer(load("password-change"), &token));
    assert_eq!(status(&answer(&route, event).await), 503);
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let started =
        Box::pin(Service::<PasswordChangeRoute>::open(&Env::default(), &World::system())).await;
    insta::assert_snapshot!(started.err().unwrap().to_string());
}

/// If all sessions of the account end while its password is being changed, the change fails and begins no
/// session.
#[tokio::test]
async fn a_change_that_loses_a_race_begins_no_session() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let free = [("THROTTLE_NETWORK_FREE", "1000")];
    let env = interceptor.env(&bench.stack, &free);
    bench.route =
        Box::pin(Service::<PasswordChangeRoute>::open(&env, &World::system())).await.unwrap();
    let mut users = 0;
    for concurrent in ConcurrentEvent::ALL {
        for call in 0.. {
            users += 1;
            let username = format!("user-{users}");
            let email = format!("{username}@example.com");
            let user = NewUser { username: &username, email: Some(&email), roles: &[Role::User] };
            let account = bench.stack.user(user).await;
            let token = bench.stack.sign_in(&account).await;
            let (action, other) = concurrent.prepare(&bench.stack, &account).await;
            interceptor.before(call, action);
            let answer = bench.change(&token, PASSWORD, NEW).await;
            let calls = interceptor.calls();
            if calls.len() <= call {
                assert!(call > 5 && status(&answer) == 200, "{call}");
                break;
            }
            let case = format!("{concurrent:?} before call {call}");
            assert!(matches!(status(&answer), 401 | 403), "{case}: {}", status(&answer));
            let other = other.await.unwrap();
            let sessions = store::Sessions::new(&bench.stack.users(), bench.stack.client());
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
    bench.route =
        Box::pin(Service::<PasswordChangeRoute>::open(&env, &World::system())).await.unwrap();
    for call in 0.. {
        let username = format!("user-{call}");
        let user = NewUser { username: &username, email: None, roles: &[Role::User] };
        let account = bench.stack.user(user).await;
        let token = bench.stack.sign_in(&account).await;
        interceptor.fail_at(call, Fault::AccessDenied);
        let answer = bench.change(&token, PASSWORD, NEW).await;
        assert!(matches!(status(&answer), 200 | 500 | 503), "{call}: {}", status(&answer));
        assert_eq!(bench.stack.counted().await, BTreeMap::new(), "{call}");
        if interceptor.calls().len() <= call {
            assert!(call > 8, "{call}");
            break;
        }
    }
}

/// The change matters more than the notice to the owner.
#[tokio::test]
async fn a_notice_that_cannot_be_written_does_not_prevent_the_change() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[]);
    bench.route =
        Box::pin(Service::<PasswordChangeRoute>::open(&env, &World::system())).await.unwrap();
    interceptor.fail_when(|call| {
        let is_notice = call.body.to_string().contains("OUTBOX#");
        if is_notice { Fault::AccessDenied } else { Fault::None }
    });
    bench.account = bench.stack.confirm(&bench.account).await;
    let (mine, other) = (bench.token().await, bench.token().await);
    let answer = bench.change(&mine, PASSWORD, NEW).await;
    assert_eq!(status(&answer), 200);
    let tried = interceptor.calls().iter().any(|call| call.body.to_string().contains("OUTBOX#"));
    assert!(tried, "the route tried to write a notice");
    assert!(bench.has_password(NEW).await && !bench.is_valid(&other).await);
    assert!(bench.is_valid(body(&answer)["access_token"].as_str().unwrap()).await);
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await, []);
}
