//! Tests `email-verify-send` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_sdk_dynamodb::types::AttributeValue;
use email_verify_send::EmailVerifySendRoute;
use identity::{Account, Role};
use mailer::MailerFunction;
use process::Env;
use testkit::{
    Fault, Interceptor, NewUser, Stack, bearer, deliver, event, events_of, load, readable,
    signed_in, status,
};
use web::{EventResponse, Service, World, answer};

struct Bench {
    stack: Stack,
    route: Service<EmailVerifySendRoute>,
    account: Account,
    token: String,
}

impl Bench {
    async fn start(email: Option<&str>) -> Self {
        let stack = Stack::start().await;
        let route =
            Service::<EmailVerifySendRoute>::open(&stack.env(), &World::system()).await.unwrap();
        let user = NewUser { username: "testuser", email, roles: &[Role::User] };
        let account = stack.user(user).await;
        let token = stack.sign_in(&account).await;
        Self { stack, route, account, token }
    }

    async fn ask(&self) -> EventResponse {
        answer(&self.route, event(bearer(load("email-verify-send"), &self.token))).await
    }

    /// Sets an attribute of the account.
    async fn set_attribute(&self, name: &str, value: AttributeValue) {
        self.stack
            .client()
            .update_item()
            .table_name("UsersTable")
            .key("pk", AttributeValue::S(format!("USER#{}", self.account.id)))
            .key("sk", AttributeValue::S("ACCOUNT".to_owned()))
            .update_expression("SET #name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", value)
            .send()
            .await
            .unwrap();
    }

    /// The recipients of all emails sent so far.
    async fn mailed(&self) -> Vec<String> {
        let mails = deliver::<MailerFunction>(&self.stack).await;
        mails.into_iter().map(|mail| mail.to).collect()
    }
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let bench = Bench::start(Some("testuser@example.com")).await;
    for (name, event_json) in events_of("email-verify-send") {
        let answer = answer(&bench.route, event(signed_in(event_json, &bench.token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn an_unverified_address_gets_an_email() {
    let bench = Bench::start(Some("testuser@example.com")).await;
    assert_eq!(status(&bench.ask().await), 202);
    assert_eq!(bench.mailed().await, ["testuser@example.com"]);
    // A verified address gets no email.
    bench.set_attribute("email_verified", AttributeValue::Bool(true)).await;
    assert_eq!(status(&bench.ask().await), 202);
    assert_eq!(bench.mailed().await.len(), 1);
}

#[tokio::test]
async fn a_pending_address_gets_an_email_and_an_account_without_an_address_gets_none() {
    let bench = Bench::start(None).await;
    assert_eq!(status(&bench.ask().await), 202);
    assert_eq!(bench.mailed().await, [""; 0]);
    bench.set_attribute("pending_email", AttributeValue::S("new@example.com".to_owned())).await;
    assert_eq!(status(&bench.ask().await), 202);
    assert_eq!(bench.mailed().await, ["new@example.com"]);
}

#[tokio::test]
async fn three_requests_send_emails_and_the_twenty_first_is_refused() {
    let bench = Bench::start(Some("testuser@example.com")).await;
    for _ in 0..20 {
        assert_eq!(status(&bench.ask().await), 202);
    }
    assert_eq!(bench.mailed().await.len(), 3);
    assert_eq!(status(&bench.ask().await), 429);
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<EmailVerifySendRoute>().await;
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let bench = Bench::start(None).await;
    let env = bench.stack.env_out_of_reach();
    let route = Service::<EmailVerifySendRoute>::open(&env, &World::system()).await.unwrap();
    let event = event(bearer(load("email-verify-send"), &bench.token));
    assert_eq!(status(&answer(&route, event).await), 503);
}

#[tokio::test]
async fn a_request_counts_against_no_limit_if_any_call_fails() {
    for call in 0.. {
        let mut bench = Bench::start(Some("testuser@example.com")).await;
        let interceptor = Interceptor::of(&bench.stack).await;
        let env = interceptor.env(&bench.stack, &[]);
        bench.route = Service::<EmailVerifySendRoute>::open(&env, &World::system()).await.unwrap();
        interceptor.fail_at(call, Fault::AccessDenied);
        let status = status(&bench.ask().await);
        assert!(matches!(status, 202 | 500 | 503), "{call}: {status}");
        let counted = bench.stack.counted().await;
        assert_eq!(counted.is_empty(), status != 202, "{call}: {counted:?}");
        assert!(counted.keys().all(|key| key.starts_with("COUNTER#MAIL")), "{call}: {counted:?}");
        assert_eq!(bench.mailed().await.len(), usize::from(status == 202), "{call}");
        if interceptor.calls().len() <= call {
            assert!(call > 6, "{call}");
            break;
        }
    }
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let started = Service::<EmailVerifySendRoute>::open(&Env::default(), &World::system()).await;
    insta::assert_snapshot!(started.err().unwrap().to_string());
}
