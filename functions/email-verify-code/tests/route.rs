//! Tests `email-verify-code` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use email_verify_code::EmailVerifyCodeRoute;
use identity::{Account, Email, EmailStanding, MailId, Role};
use jiff::Timestamp;
use mailer::MailerFunction;
use process::{Clock, Env, SystemClock, SystemRandom};
use serde_json::{Value, json};
use store::{Administration, CODE_VALID_FOR, Mail, NewMail, Outbox};
use testkit::{
    Fault, Interceptor, NewUser, Received, Stack, bearer, body, deliver, event, events_of,
    json_body, load, readable, signed_in, status,
};
use web::{EventResponse, Service, World, answer};

struct Bench {
    stack: Stack,
    route: Service<EmailVerifyCodeRoute>,
    account: Account,
    token: String,
}

impl Bench {
    async fn start(email: Option<&str>) -> Self {
        let stack = Stack::start().await;
        let route =
            Service::<EmailVerifyCodeRoute>::open(&stack.env(), &World::system()).await.unwrap();
        let user = NewUser { username: "testuser", email, roles: &[Role::User] };
        let account = stack.user(user).await;
        let token = stack.sign_in(&account).await;
        Self { stack, route, account, token }
    }

    /// Requests a code for this address on behalf of an account, and returns the email.
    async fn mail_for(&self, account: &Account, address: &str, asked_at: Timestamp) -> Received {
        let id = MailId::new(asked_at, &SystemRandom);
        let address = Email::parse(address).unwrap();
        let mail = Mail::EmailVerification { user_id: account.id, epoch: account.epoch, address };
        let outbox = Outbox::new(&self.stack.users(), self.stack.client());
        outbox.put(&[NewMail { id, mail, asked_at }]).await.unwrap();
        let mails = deliver::<MailerFunction>(&self.stack).await;
        mails.into_iter().find(|mail| mail.id == id.to_string()).unwrap()
    }

    async fn mail(&self, address: &str) -> Received {
        self.mail_for(&self.account, address, SystemClock.now()).await
    }

    async fn ask(&self, token: &str, verify: &Value) -> EventResponse {
        answer(&self.route, event(bearer(json_body(load("email-verify-code"), verify), token)))
            .await
    }

    async fn send_code(&self, code: &str) -> EventResponse {
        self.ask(&self.token, &json!({"code": code})).await
    }

    /// The current address of an account, and whether it is confirmed.
    async fn email_of(&self, account: &Account) -> (Option<String>, EmailStanding) {
        let accounts = Administration::new(&self.stack.users(), self.stack.client());
        let name = account.username.canonical();
        let account = accounts.account_by_name(name).await.unwrap().unwrap();
        (account.email.map(|email| email.as_str().to_owned()), account.email_standing)
    }

    async fn email(&self) -> (Option<String>, EmailStanding) {
        self.email_of(&self.account).await
    }
}

fn is_invalid_code(answer: &EventResponse) -> bool {
    status(answer) == 400 && body(answer)["code"] == "invalid_code"
}

fn is_malformed(answer: &EventResponse) -> bool {
    let body = body(answer);
    status(answer) == 400 && body["code"] == "invalid_input" && body["errors"][0]["field"] == "code"
}

fn verified(address: &str) -> (Option<String>, EmailStanding) {
    (Some(address.to_owned()), EmailStanding::Verified)
}

const NO_EMAIL: (Option<String>, EmailStanding) = (None, EmailStanding::Unverified);

/// Digits other than those in the email, different for each `n`.
fn wrong_digits(mail: &Received, n: u64) -> String {
    let digits: u64 = mail.digits().unwrap().parse().unwrap();
    format!("{:08}", (digits + 1 + n) % 100_000_000)
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    for (name, event_json) in events_of("email-verify-code") {
        let bench = Bench::start(Some("testuser@example.com")).await;
        let answer = answer(&bench.route, event(signed_in(event_json, &bench.token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn digits_confirm_the_callers_address() {
    let bench = Bench::start(Some("testuser@example.com")).await;
    let mail = bench.mail("testuser@example.com").await;
    let answer = bench.send_code(mail.digits().unwrap()).await;
    assert_eq!((status(&answer), body(&answer)), (204, Value::Null));
    assert_eq!(bench.email().await, verified("testuser@example.com"));
    // Sending the same digits again is not an error.
    assert_eq!(status(&bench.send_code(mail.digits().unwrap()).await), 204);
}

#[tokio::test]
async fn digits_claim_a_new_address_and_notify_a_confirmed_old_one() {
    let bench = Bench::start(Some("old@example.com")).await;
    let mail = bench.mail("New@example.com").await;
    assert_eq!(status(&bench.send_code(mail.digits().unwrap()).await), 204);
    assert_eq!(bench.email().await, verified("New@example.com"));
    let mail = bench.mail("newer@example.com").await;
    assert_eq!(status(&bench.send_code(mail.digits().unwrap()).await), 204);
    let mails = deliver::<MailerFunction>(&bench.stack).await;
    let notices: Vec<_> = mails.iter().filter(|mail| mail.digits().is_none()).collect();
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].to, "New@example.com");
}

/// Two accounts request confirmation of one address. If the owner of the address signs in and types the newest digits,
/// which were sent for the squatter's account, neither account gets the address. The digits that were sent for the
/// owner's account confirm it.
#[tokio::test]
async fn digits_confirm_an_address_only_for_the_signed_in_account() {
    let bench = Bench::start(None).await;
    let user = NewUser { username: "squatter", email: None, roles: &[Role::User] };
    let squatter = bench.stack.user(user).await;
    let mine = bench.mail("a@example.com").await;
    let theirs = bench.mail_for(&squatter, "a@example.com", SystemClock.now()).await;
    assert_ne!(mine.digits(), theirs.digits());
    assert!(is_invalid_code(&bench.send_code(theirs.digits().unwrap()).await));
    assert_eq!((bench.email().await, bench.email_of(&squatter).await), (NO_EMAIL, NO_EMAIL));
    assert_eq!(status(&bench.send_code(mine.digits().unwrap()).await), 204);
    assert_eq!(bench.email().await, verified("a@example.com"));
    // For the squatter, the address is now taken.
    let session = bench.stack.sign_in(&squatter).await;
    let late = bench.ask(&session, &json!({"code": theirs.digits().unwrap()})).await;
    assert_eq!((status(&late), &body(&late)["code"]), (409, &json!("already_exists")));
    assert_eq!(bench.email_of(&squatter).await, NO_EMAIL);
}

#[tokio::test]
async fn an_address_taken_since_the_mail_was_sent_is_not_claimed_and_costs_no_try() {
    let bench = Bench::start(Some("old@example.com")).await;
    let mail = bench.mail("new@example.com").await;
    let user = NewUser { username: "other", email: Some("new@example.com"), roles: &[] };
    bench.stack.user(user).await;
    for _ in 0..8 {
        let answer = bench.send_code(mail.digits().unwrap()).await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (409, &json!("already_exists")));
    }
    assert_eq!(bench.email().await.0.as_deref(), Some("old@example.com"));
}

#[tokio::test]
async fn digits_are_void_after_five_wrong_tries() {
    let bench = Bench::start(None).await;
    let mail = bench.mail("new@example.com").await;
    for n in 0..5 {
        assert!(is_invalid_code(&bench.send_code(&wrong_digits(&mail, n)).await));
    }
    assert!(is_invalid_code(&bench.send_code(mail.digits().unwrap()).await));
    assert_eq!(bench.email().await, NO_EMAIL);
    // The digits in the next email allow another five tries.
    let next = bench.mail("new@example.com").await;
    assert!(is_invalid_code(&bench.send_code(&wrong_digits(&next, 0)).await));
    assert_eq!(status(&bench.send_code(next.digits().unwrap()).await), 204);
}

/// Digits are accepted as people and phones type them. Other input is reported as malformed and does not
/// cost a try.
#[tokio::test]
async fn spaces_hyphens_and_full_width_digits_are_accepted_and_malformed_values_cost_no_try() {
    let bench = Bench::start(None).await;
    let mail = bench.mail("new@example.com").await;
    for malformed in ["", " ", "1234567", "123456789", "1234567x", "١٢٣٤٥٦٧٨", "1234.5678"]
    {
        for _ in 0..2 {
            assert!(is_malformed(&bench.send_code(malformed).await), "{malformed}");
        }
    }
    for bad in
        [json!({}), json!({"code": null}), json!({"code": 12_345_678}), json!({"code": ["1"]})]
    {
        let answer = bench.ask(&bench.token, &bad).await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (400, &json!("invalid_request")));
    }
    let digits = mail.digits().unwrap();
    let (first, last) = digits.split_at(4);
    let full_width: String =
        digits.chars().map(|c| char::from_u32(u32::from(c) - 48 + 0xff10).unwrap()).collect();
    for typed in
        [format!("{first} {last}"), format!("{first}-{last}"), format!(" {digits}\r\n"), full_width]
    {
        assert_eq!(status(&bench.send_code(&typed).await), 204, "{typed}");
    }
}

/// ASVS 6.5.5 allows at most ten minutes.
#[tokio::test]
async fn digits_expire_after_ten_minutes() {
    assert_eq!(CODE_VALID_FOR.as_secs(), 600);
    let bench = Bench::start(None).await;
    let mail = bench.mail("new@example.com").await;
    bench.stack.expire_codes().await;
    assert!(is_invalid_code(&bench.send_code(mail.digits().unwrap()).await));
    assert_eq!(bench.email().await, NO_EMAIL);
}

#[tokio::test]
async fn every_failure_gets_the_same_answer() {
    let bench = Bench::start(None).await;
    let other = NewUser { username: "other", email: None, roles: &[Role::User] };
    let other = bench.stack.user(other).await;
    let no_email = readable(&bench.send_code("12345678").await);
    let mail = bench.mail("new@example.com").await;
    let session = bench.stack.sign_in(&other).await;
    let other_account = bench.ask(&session, &json!({"code": mail.digits().unwrap()})).await;
    for answer in [bench.send_code(&wrong_digits(&mail, 0)).await, other_account] {
        assert!(is_invalid_code(&answer));
        assert_eq!(readable(&answer), no_email);
    }
}

#[tokio::test]
async fn a_network_that_guesses_is_throttled() {
    let bench = Bench::start(None).await;
    let env = bench.stack.env_with(&[("THROTTLE_NETWORK_FREE", "3")]);
    let bench = Bench {
        route: Service::<EmailVerifyCodeRoute>::open(&env, &World::system()).await.unwrap(),
        ..bench
    };
    let mail = bench.mail("new@example.com").await;
    for n in 0..3 {
        assert!(is_invalid_code(&bench.send_code(&wrong_digits(&mail, n)).await));
    }
    let throttled = bench.send_code(mail.digits().unwrap()).await;
    assert_eq!((status(&throttled), &body(&throttled)["code"]), (429, &json!("too_many_attempts")));
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<EmailVerifyCodeRoute>().await;
}

#[tokio::test]
async fn a_disabled_account_cannot_confirm_its_address() {
    let bench = Bench::start(None).await;
    let mail = bench.mail("new@example.com").await;
    bench.stack.disable(bench.account.id).await;
    assert_eq!(status(&bench.send_code(mail.digits().unwrap()).await), 401);
    assert_eq!(bench.email().await, NO_EMAIL);
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let bench = Bench::start(None).await;
    let env = bench.stack.env_out_of_reach();
    let route = Service::<EmailVerifyCodeRoute>::open(&env, &World::system()).await.unwrap();
    let event = event(bearer(load("email-verify-code"), &bench.token));
    assert_eq!(status(&answer(&route, event).await), 503);
}

/// An outage neither costs a try at the digits nor uses up the code.
#[tokio::test]
async fn a_request_counts_against_no_limit_if_any_call_fails() {
    for call in 0.. {
        let mut bench = Bench::start(Some("old@example.com")).await;
        let mail = bench.mail("new@example.com").await;
        let interceptor = Interceptor::of(&bench.stack).await;
        let env = interceptor.env(&bench.stack, &[]);
        bench.route = Service::<EmailVerifyCodeRoute>::open(&env, &World::system()).await.unwrap();
        interceptor.fail_at(call, Fault::AccessDenied);
        let first_status = status(&bench.send_code(mail.digits().unwrap()).await);
        assert!(matches!(first_status, 204 | 500 | 503), "{call}: {first_status}");
        let mut counted = bench.stack.counted().await;
        if first_status == 204 {
            // The digits are used up, so their counter no longer matters.
            counted.retain(|key, _| !key.starts_with("DIGITS#"));
        }
        assert_eq!(counted, BTreeMap::new(), "{call}");
        if interceptor.calls().len() <= call {
            assert!(call > 8, "{call}");
            break;
        }
        interceptor.reset();
        assert_eq!(status(&bench.send_code(mail.digits().unwrap()).await), 204, "{call}");
        assert_eq!(bench.email().await, verified("new@example.com"), "{call}");
    }
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let started = Service::<EmailVerifyCodeRoute>::open(&Env::default(), &World::system()).await;
    insta::assert_snapshot!(started.err().unwrap().to_string());
}
