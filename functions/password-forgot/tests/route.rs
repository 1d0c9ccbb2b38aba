//! Tests `password-forgot` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use identity::Role;
use mailer::MailerFunction;
use password_forgot::PasswordForgotRoute;
use process::Env;
use serde_json::{Value, json};
use testkit::{
    Fault, Interceptor, NewUser, Stack, body, deliver, event, events_of, from_network, json_body,
    json_request, load, readable, status,
};
use web::{EventResponse, Service, World, answer};

struct Bench {
    stack: Stack,
    route: Service<PasswordForgotRoute>,
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let route =
            Service::<PasswordForgotRoute>::open(&stack.env(), &World::system()).await.unwrap();
        let email = Some("Testuser@example.com");
        stack.user(NewUser { username: "testuser", email, roles: &[Role::User] }).await;
        Self { stack, route }
    }

    async fn ask(&self, email: &str) -> EventResponse {
        answer(&self.route, json_request("password-forgot", &json!({"email": email}))).await
    }

    async fn ask_from(&self, network: &str, email: &str) -> i64 {
        let event_json = json_body(load("password-forgot"), &json!({"email": email}));
        status(&answer(&self.route, event(from_network(event_json, network))).await)
    }

    /// Counts the items of each kind. A kind is the prefix of the partition key together with the attribute names.
    async fn kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for item in self.stack.items().await {
            let mut names: Vec<_> = item.keys().map(String::as_str).collect();
            names.sort_unstable();
            let kind = item["pk"].as_s().unwrap().split('#').next().unwrap().to_owned();
            *kinds.entry(format!("{kind}: {}", names.join(" "))).or_default() += 1;
        }
        kinds
    }
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    for (name, event_json) in events_of("password-forgot") {
        let bench = Bench::start().await;
        insta::assert_json_snapshot!(
            name,
            readable(&answer(&bench.route, event(event_json)).await)
        );
    }
}

/// Requests for a known and for an unknown address write the same kinds of items, none of which contains a code.
#[tokio::test]
async fn neither_answer_nor_table_reveals_whether_an_account_has_the_address() {
    let (known, unknown) = (Bench::start().await, Bench::start().await);
    let answers = [known.ask("testuser@EXAMPLE.com").await, unknown.ask("n@example.com").await];
    let [known_answer, unknown_answer] = answers.each_ref().map(readable);
    assert_eq!(known_answer, unknown_answer);
    assert_eq!(known.kinds().await, unknown.kinds().await);
    let outbox = "OUTBOX: address asked_at expires_at kind pk sk";
    assert_eq!(known.kinds().await[outbox], 1);
    // Only the mailer looks up the account.
    let mails = deliver::<MailerFunction>(&known.stack).await;
    assert_eq!(
        mails.iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(),
        ["Testuser@example.com"]
    );
    assert_eq!(deliver::<MailerFunction>(&unknown.stack).await, []);
}

#[tokio::test]
async fn only_three_requests_an_hour_send_mail_but_all_get_the_same_answer() {
    let bench = Bench::start().await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(readable(&bench.ask("testuser@example.com").await));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), 3);
    // All spellings share the limits: three an hour per network, and five an hour in total.
    for _ in 0..5 {
        assert_eq!(bench.ask_from("198.51.100.1", "TESTUSER@example.com").await, 202);
    }
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), 5);
}

#[tokio::test]
async fn a_network_that_asks_too_often_gets_429() {
    let bench = Bench::start().await;
    for n in 0..20 {
        let email = format!("n{n}@example.com");
        assert_eq!(bench.ask_from("198.51.100.1", &email).await, 202);
    }
    let event_json = json_body(load("password-forgot"), &json!({"email": "testuser@example.com"}));
    let throttled = answer(&bench.route, event(from_network(event_json, "198.51.100.1"))).await;
    assert_eq!((status(&throttled), &body(&throttled)["code"]), (429, &json!("too_many_attempts")));
    assert!(throttled.headers.contains_key("retry-after"));
    assert_eq!(bench.ask_from("198.51.100.2", "testuser@example.com").await, 202);
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), 1);
}

/// Reporting a malformed address reveals nothing about accounts. The request counts against no limit.
#[tokio::test]
async fn a_malformed_address_is_reported() {
    let bench = Bench::start().await;
    let long = format!("{}@example.com", "x".repeat(254));
    for (malformed, code) in [
        ("", "invalid_format"),
        ("@", "invalid_format"),
        ("testuser", "invalid_format"),
        ("testuser@", "invalid_format"),
        ("not an address", "invalid_format"),
        ("x\u{202e}@example.com", "invalid_characters"),
        (long.as_str(), "too_long"),
    ] {
        let before = bench.stack.items().await.len();
        for _ in 0..3 {
            let answer = bench.ask(malformed).await;
            let error = &body(&answer)["errors"][0];
            assert_eq!((status(&answer), &error["field"]), (400, &json!("email")), "{malformed}");
            assert_eq!(error["code"], code, "{malformed}");
        }
        assert_eq!(bench.stack.items().await.len(), before);
    }
    // White space around the address is ignored.
    assert_eq!(status(&bench.ask(" testuser@example.com\n").await), 202);
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), 1);
    for bad in [json!({}), json!({"email": null}), json!({"email": 7}), json!({"email": ["a"]})] {
        let answer = answer(&bench.route, json_request("password-forgot", &bad)).await;
        let code = (status(&answer), body(&answer)["code"].clone());
        assert_eq!(code, (400, Value::from("invalid_request")), "{bad}");
    }
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let stack = Stack::start().await;
    let route = Service::<PasswordForgotRoute>::open(&stack.env_out_of_reach(), &World::system())
        .await
        .unwrap();
    assert_eq!(status(&answer(&route, event(load("password-forgot"))).await), 503);
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let started = Service::<PasswordForgotRoute>::open(&Env::default(), &World::system()).await;
    insta::assert_snapshot!(started.err().unwrap().to_string());
}

/// An email that could not be requested is not counted against the limit on emails to its address.
#[tokio::test]
async fn a_request_counts_against_no_limit_if_any_call_fails() {
    for call in 0.. {
        let mut bench = Bench::start().await;
        let interceptor = Interceptor::of(&bench.stack).await;
        let env = interceptor.env(&bench.stack, &[]);
        bench.route = Service::<PasswordForgotRoute>::open(&env, &World::system()).await.unwrap();
        interceptor.fail_at(call, Fault::AccessDenied);
        let status = status(&bench.ask(" testuser@example.com ").await);
        assert!(matches!(status, 202 | 500), "{call}: {status}");
        let counted = bench.stack.counted().await;
        assert_eq!(counted.is_empty(), status == 500, "{call}: {counted:?}");
        if interceptor.calls().len() <= call {
            assert_eq!(
                deliver::<MailerFunction>(&bench.stack).await.len(),
                1,
                "spaces around the address are ignored"
            );
            assert!(call > 4, "{call}");
            break;
        }
    }
}

#[tokio::test]
async fn an_unanswered_call_counts_against_no_limit() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    bench.route =
        Service::<PasswordForgotRoute>::open(&interceptor.env(&bench.stack, &[]), &World::system())
            .await
            .unwrap();
    for prefix in ["COUNTER#MAIL_HOUR#", "OUTBOX#"] {
        interceptor.fail_when(move |call| match call.partition_key() {
            key if key.starts_with(prefix) => Fault::Silence,
            _ => Fault::None,
        });
        assert_eq!(status(&bench.ask("testuser@example.com").await), 503, "{prefix}");
        assert_eq!(bench.stack.counted().await, BTreeMap::new(), "{prefix}");
    }
}
