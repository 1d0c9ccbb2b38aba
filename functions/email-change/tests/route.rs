//! Tests `email-change` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use email_change::EmailChangeRoute;
use email_verify::EmailVerifyRoute;
use identity::{Account, Role};
use mailer::MailerFunction;
use process::Env;
use serde_json::{Value, json};
use testkit::{
    Fault, Interceptor, NewUser, PASSWORD, Stack, bearer, body, deliver, event, events_of,
    from_network, json_body, json_request, load, readable, signed_in, status,
};
use web::{EventResponse, Service, World, answer};

/// The wait after three wrong guesses must not end before the fourth guess, even on a slow machine.
const LONG_WAIT: (&str, &str) = ("THROTTLE_PAIR_BASE_SECONDS", "900");

struct Bench {
    stack: Stack,
    route: Service<EmailChangeRoute>,
    account: Account,
    token: String,
}

impl Bench {
    async fn start(email: Option<&str>) -> Self {
        let stack = Stack::start().await;
        let env = stack.env_with(&[LONG_WAIT]);
        let route =
            Box::pin(Service::<EmailChangeRoute>::open(&env, &World::system())).await.unwrap();
        let user = NewUser { username: "testuser", email, roles: &[Role::User] };
        let account = stack.user(user).await;
        let token = stack.sign_in(&account).await;
        Self { stack, route, account, token }
    }

    async fn ask(&self, change: &Value) -> EventResponse {
        let event = event(bearer(json_body(load("email-change"), change), &self.token));
        answer(&self.route, event).await
    }

    async fn change(&self, password: &str, new_email: &str) -> EventResponse {
        self.ask(&json!({"password": password, "new_email": new_email})).await
    }

    /// The recipients and subjects of the sent emails.
    async fn mailed(&self) -> Vec<(String, String)> {
        let mails = deliver::<MailerFunction>(&self.stack).await;
        let subject = |text: &str| text.strip_prefix("Latchkey: ").unwrap().to_owned();
        mails.into_iter().map(|mail| (mail.to, subject(&mail.subject))).collect()
    }
}

fn expected(mails: &[(&str, &str)]) -> Vec<(String, String)> {
    mails.iter().map(|(to, subject)| ((*to).to_owned(), (*subject).to_owned())).collect()
}

/// The subjects of the emails, without the prefix.
const CONFIRM: &str = "confirm your email address";
const CONFIRM_NEW: &str = "confirm your new email address";
const REQUESTED: &str = "a new email address was requested";
const CHANGED: &str = "your email address has been changed";

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    for (name, event_json) in events_of("email-change") {
        let bench = Bench::start(Some("testuser@example.com")).await;
        let answer = answer(&bench.route, event(signed_in(event_json, &bench.token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn the_new_address_gets_a_code_and_the_old_one_two_notices() {
    let bench = Bench::start(Some("old@example.com")).await;
    bench.stack.confirm(&bench.account).await;
    assert_eq!(status(&bench.change(PASSWORD, "New@example.com").await), 202);
    let both = expected(&[("New@example.com", CONFIRM_NEW), ("old@example.com", REQUESTED)]);
    let mut mailed = bench.mailed().await;
    mailed.sort();
    assert_eq!(mailed, both);
    let mails = bench.stack.mails();
    let token = mails.iter().find_map(testkit::Received::token).unwrap();
    let verify =
        Service::<EmailVerifyRoute>::open(&bench.stack.env(), &World::system()).await.unwrap();
    let verified = answer(&verify, json_request("email-verify", &json!({"token": token}))).await;
    assert_eq!(status(&verified), 204);
    assert_eq!(bench.mailed().await[2..], expected(&[("old@example.com", CHANGED)]));
}

#[tokio::test]
async fn a_first_address_or_a_new_spelling_sends_no_notice() {
    let bench = Bench::start(None).await;
    assert_eq!(status(&bench.change(PASSWORD, "new@example.com").await), 202);
    assert_eq!(bench.mailed().await, expected(&[("new@example.com", CONFIRM)]));
    let bench = Bench::start(Some("testuser@example.com")).await;
    assert_eq!(status(&bench.change(PASSWORD, "TestUser@example.com").await), 202);
    assert_eq!(bench.mailed().await, expected(&[("TestUser@example.com", CONFIRM)]));
}

/// An unconfirmed address may belong to a stranger.
#[tokio::test]
async fn an_unconfirmed_old_address_gets_no_notice() {
    let bench = Bench::start(Some("victim@example.com")).await;
    assert_eq!(status(&bench.change(PASSWORD, "new@example.com").await), 202);
    assert_eq!(bench.mailed().await, expected(&[("new@example.com", CONFIRM_NEW)]));
}

/// As at login, the owner is warned if someone who knows the password uses a new network.
#[tokio::test]
async fn a_new_network_is_reported_to_the_owner() {
    let bench = Bench::start(Some("old@example.com")).await;
    bench.stack.confirm(&bench.account).await;
    let change = async |network: &str, address: &str| {
        let change = json!({"password": PASSWORD, "new_email": address});
        let event_json = bearer(json_body(load("email-change"), &change), &bench.token);
        status(&answer(&bench.route, event(from_network(event_json, network))).await)
    };
    let reported = async || {
        let mailed = bench.mailed().await;
        mailed.iter().filter(|(_, subject)| subject.ends_with("from a new network")).count()
    };
    assert_eq!((change("203.0.113.7", "a@example.com").await, reported().await), (202, 0));
    assert_eq!((change("198.51.100.1", "b@example.com").await, reported().await), (202, 1));
    assert_eq!((change("198.51.100.1", "c@example.com").await, reported().await), (202, 1));
}

/// The answer does not reveal whether an address is taken. The owner of a taken address gets an email.
#[tokio::test]
async fn a_taken_address_gets_the_same_answer_as_a_free_one() {
    let bench = Bench::start(Some("old@example.com")).await;
    let user = NewUser { username: "other", email: Some("Other@example.com"), roles: &[] };
    let other = bench.stack.user(user).await;
    bench.stack.confirm(&other).await;
    let free = readable(&bench.change(PASSWORD, "new@example.com").await);
    assert_eq!(readable(&bench.change(PASSWORD, "other@example.com").await), free);
    let mailed = bench.mailed().await;
    let to_owner: Vec<_> = mailed.iter().filter(|(to, _)| to == "Other@example.com").collect();
    assert_eq!(to_owner.len(), 1);
    assert_eq!(to_owner[0].1, "someone entered your email address for another account");
    assert!(!mailed.iter().any(|(to, _)| to == "other@example.com"));
}

#[tokio::test]
async fn a_wrong_password_changes_nothing_and_is_throttled_as_at_login() {
    let bench = Bench::start(Some("testuser@example.com")).await;
    for _ in 0..3 {
        let answer = bench.change("another password", "new@example.com").await;
        let code = (status(&answer), body(&answer)["code"].clone());
        assert_eq!(code, (403, json!("wrong_password")));
    }
    assert_eq!(status(&bench.change(PASSWORD, "new@example.com").await), 429);
    assert_eq!(bench.mailed().await, []);
}

#[tokio::test]
async fn malformed_addresses_and_passwords_are_reported() {
    let bench = Bench::start(None).await;
    for (email, code) in [
        ("new", "invalid_format"),
        ("", "invalid_format"),
        ("a\u{202e}@example.com", "invalid_characters"),
    ] {
        let answer = bench.change(PASSWORD, email).await;
        let error = &body(&answer)["errors"][0];
        assert_eq!((status(&answer), &error["field"]), (400, &json!("new_email")));
        assert_eq!(error["code"], code, "{email}");
    }
    let long = "x".repeat(1_025);
    let errors = body(&bench.change(&long, &long).await)["errors"].clone();
    let fields: Vec<_> = errors.as_array().unwrap().iter().map(|it| &it["field"]).collect();
    assert_eq!(fields, ["password", "new_email"]);
    for bad in [json!({}), json!({"password": PASSWORD}), json!({"new_email": "a@example.com"})] {
        let answer = bench.ask(&bad).await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (400, &json!("invalid_request")));
    }
}

#[tokio::test]
async fn only_three_requests_an_hour_send_mail() {
    let bench = Bench::start(Some("old@example.com")).await;
    bench.stack.confirm(&bench.account).await;
    for _ in 0..5 {
        assert_eq!(status(&bench.change(PASSWORD, "new@example.com").await), 202);
    }
    assert_eq!(bench.mailed().await.len(), 3 * 2);
}

#[tokio::test]
async fn a_disabled_account_cannot_change_its_address() {
    let bench = Bench::start(None).await;
    bench.stack.disable(bench.account.id).await;
    assert_eq!(status(&bench.change(PASSWORD, "new@example.com").await), 401);
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<EmailChangeRoute>().await;
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let bench = Bench::start(None).await;
    let env = bench.stack.env_out_of_reach();
    let route = Box::pin(Service::<EmailChangeRoute>::open(&env, &World::system())).await.unwrap();
    let event = event(bearer(load("email-change"), &bench.token));
    assert_eq!(status(&answer(&route, event).await), 503);
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let started =
        Box::pin(Service::<EmailChangeRoute>::open(&Env::default(), &World::system())).await;
    insta::assert_snapshot!(started.err().unwrap().to_string());
}

#[tokio::test]
async fn a_request_counts_against_no_limit_if_any_call_fails() {
    for call in 0.. {
        let mut bench = Bench::start(Some("old@example.com")).await;
        let interceptor = Interceptor::of(&bench.stack).await;
        let env = interceptor.env(&bench.stack, &[]);
        bench.route =
            Box::pin(Service::<EmailChangeRoute>::open(&env, &World::system())).await.unwrap();
        interceptor.fail_at(call, Fault::AccessDenied);
        let status = status(&bench.change(PASSWORD, "new@example.com").await);
        assert!(matches!(status, 202 | 500 | 503), "{call}: {status}");
        let counted = bench.stack.counted().await;
        assert_eq!(counted.is_empty(), status != 202, "{call}: {counted:?}");
        assert!(counted.keys().all(|key| key.starts_with("COUNTER#MAIL")), "{call}: {counted:?}");
        if interceptor.calls().len() <= call {
            assert!(call > 10, "{call}");
            break;
        }
    }
}
