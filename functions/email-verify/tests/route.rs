//! `email-verify` over an embedded DynamoDB, from the gateway's event to its answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use auth::{Account, Clock, Email, EmailStanding, Env, MailId, Role, SystemClock, SystemRandom};
use email_verify::EmailVerifyRoute;
use mailer::MailerFunction;
use serde_json::{Value, json};
use store::{Administration, Mail, NewMail, Outbox};
use testkit::{
    NewUser, Received, Stack, body, deliver, event, events_of, json_request, load, readable, status,
};
use web::{EventResponse, Route, answer};

struct Bench {
    stack: Stack,
    route: EmailVerifyRoute,
    account: Account,
}

impl Bench {
    async fn start(email: Option<&str>) -> Self {
        let stack = Stack::start().await;
        let route = EmailVerifyRoute::cold_start(&stack.env()).await.unwrap();
        let user = NewUser { username: "testuser", email, roles: &[Role::User] };
        let account = stack.user(user).await;
        Self { stack, route, account }
    }

    /// A mail with a code for this address.
    async fn mail(&self, address: &str) -> Received {
        let now = SystemClock.now();
        let id = MailId::new(now, &SystemRandom);
        let mail = Mail::EmailVerification {
            user_id: self.account.id,
            ver: self.account.ver,
            address: Email::parse(address).unwrap(),
        };
        let outbox = Outbox::new(&self.stack.users(), self.stack.client());
        outbox.put(&[NewMail { id, mail, asked_at: now }]).await.unwrap();
        deliver::<MailerFunction>(&self.stack).await.pop().unwrap()
    }

    async fn ask(&self, verify: &Value) -> EventResponse {
        answer(&self.route, json_request("email-verify", verify)).await
    }

    async fn by_token(&self, mail: &Received) -> EventResponse {
        self.ask(&json!({"token": mail.token().unwrap()})).await
    }

    async fn email(&self) -> (Option<String>, EmailStanding) {
        let accounts = Administration::new(&self.stack.users(), self.stack.client());
        let name = self.account.username.canonical();
        let account = accounts.account_by_name(name).await.unwrap().unwrap();
        let email = account.email.map(|email| email.as_str().to_owned());
        (email, account.email_standing)
    }
}

fn is_wrong(answer: &EventResponse) -> bool {
    status(answer) == 400 && body(answer)["code"] == "invalid_code"
}

fn verified(address: &str) -> (Option<String>, EmailStanding) {
    (Some(address.to_owned()), EmailStanding::Verified)
}

#[tokio::test]
async fn its_events_are_answered() {
    for (name, of_file) in events_of("email-verify") {
        let bench = Bench::start(None).await;
        insta::assert_json_snapshot!(name, readable(&answer(&bench.route, event(of_file)).await));
    }
}

#[tokio::test]
async fn a_link_confirms_the_address_that_an_account_has() {
    let bench = Bench::start(Some("testuser@example.com")).await;
    let mail = bench.mail("testuser@example.com").await;
    let answer = bench.by_token(&mail).await;
    assert_eq!((status(&answer), body(&answer)), (204, Value::Null));
    assert_eq!(bench.email().await, verified("testuser@example.com"));
    // Used up, in both its forms; and nobody is told of a change that was none.
    assert!(is_wrong(&bench.by_token(&mail).await));
    let digits = json!({"email": "testuser@example.com", "code": mail.digits().unwrap()});
    assert!(is_wrong(&bench.ask(&digits).await));
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), 1);
}

#[tokio::test]
async fn digits_claim_another_address_and_the_old_one_is_told() {
    let bench = Bench::start(Some("old@example.com")).await;
    let mail = bench.mail("New@example.com").await;
    let wrong = json!({"email": "old@example.com", "code": mail.digits().unwrap()});
    assert!(is_wrong(&bench.ask(&wrong).await), "with the address that it went to");
    let digits = json!({"email": "NEW@example.com", "code": mail.digits().unwrap()});
    assert_eq!(status(&bench.ask(&digits).await), 204);
    assert_eq!(bench.email().await, verified("New@example.com"));
    let told = deliver::<MailerFunction>(&bench.stack).await.pop().unwrap();
    assert_eq!(told.to, "old@example.com");
    assert_eq!(told.subject, "Latchkey: your e-mail address has been changed");
    // The old address is anybody's.
    let user = NewUser { username: "other", email: Some("old@example.com"), roles: &[] };
    bench.stack.user(user).await;
}

#[tokio::test]
async fn digits_are_void_after_five_tries_and_the_link_is_not() {
    let bench = Bench::start(None).await;
    let env = bench.stack.env_with(&[("THROTTLE_PAIR_FREE", "100")]);
    let bench = Bench { route: EmailVerifyRoute::cold_start(&env).await.unwrap(), ..bench };
    let mail = bench.mail("new@example.com").await;
    let digits: u64 = mail.digits().unwrap().parse().unwrap();
    for n in 1..=5 {
        let wrong = format!("{:08}", (digits + n) % 100_000_000);
        assert!(is_wrong(&bench.ask(&json!({"email": "new@example.com", "code": wrong})).await));
    }
    let right = json!({"email": "new@example.com", "code": mail.digits().unwrap()});
    assert!(is_wrong(&bench.ask(&right).await));
    assert_eq!(status(&bench.by_token(&mail).await), 204);
}

#[tokio::test]
async fn an_address_that_was_taken_meanwhile_is_not_claimed() {
    let bench = Bench::start(Some("old@example.com")).await;
    let mail = bench.mail("new@example.com").await;
    let user = NewUser { username: "other", email: Some("new@example.com"), roles: &[] };
    bench.stack.user(user).await;
    for _ in 0..8 {
        // Also by digits, which is no wrong try.
        let digits = json!({"email": "new@example.com", "code": mail.digits().unwrap()});
        for answer in [bench.by_token(&mail).await, bench.ask(&digits).await] {
            assert_eq!((status(&answer), &body(&answer)["code"]), (409, &json!("already_exists")));
        }
    }
    let old = (Some("old@example.com".to_owned()), EmailStanding::Unverified);
    assert_eq!(bench.email().await, old);
}

#[tokio::test]
async fn whatever_is_wrong_is_one_answer() {
    let bench = Bench::start(None).await;
    let mail = bench.mail("new@example.com").await;
    bench.stack.disable(bench.account.id).await;
    let mut answers = Vec::new();
    for wrong in [
        json!({"token": ""}),
        json!({"token": "x.y.z"}),
        json!({"token": mail.token().unwrap()}),
        json!({"email": "new@example.com", "code": mail.digits().unwrap()}),
        json!({"email": "nobody@example.com", "code": "12345678"}),
        json!({"email": "no address", "code": "12345678"}),
    ] {
        let answer = bench.ask(&wrong).await;
        assert!(is_wrong(&answer), "{wrong}");
        answers.push(readable(&answer));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    for bad in [json!({}), json!({"email": "a@example.com"}), json!({"code": "1"})] {
        let answer = bench.ask(&bad).await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (400, &json!("invalid_request")));
    }
}

#[tokio::test]
async fn with_its_database_out_of_reach_it_answers_that_it_cannot() {
    let stack = Stack::start().await;
    let route = EmailVerifyRoute::cold_start(&stack.env_out_of_reach()).await.unwrap();
    assert_eq!(status(&answer(&route, event(load("email-verify"))).await), 503);
}

#[tokio::test]
async fn what_its_environment_lacks_is_told_at_once() {
    let started = EmailVerifyRoute::cold_start(&Env::default()).await;
    insta::assert_snapshot!(started.err().unwrap().to_string());
}
