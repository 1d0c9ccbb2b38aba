//! Tests `email-verify` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use email_verify::EmailVerifyRoute;
use identity::{Account, Email, EmailStanding, MailId, Presented, Role};
use mailer::MailerFunction;
use process::{Clock, Env, SystemClock, SystemRandom};
use secrets::PeppersSecret;
use serde_json::{Value, json};
use store::{Administration, Mail, NewMail, Outbox};
use testkit::{
    Fault, Interceptor, NewUser, Received, Stack, body, deliver, event, events_of, json_request,
    load, readable, status,
};
use throttle::Throttle;
use web::{EventResponse, Service, World, answer};

struct Bench {
    stack: Stack,
    route: Service<EmailVerifyRoute>,
    account: Account,
}

impl Bench {
    async fn start(email: Option<&str>) -> Self {
        let stack = Stack::start().await;
        let route =
            Service::<EmailVerifyRoute>::open(&stack.env(), &World::system()).await.unwrap();
        let user = NewUser { username: "testuser", email, roles: &[Role::User] };
        let account = stack.user(user).await;
        Self { stack, route, account }
    }

    /// Requests a code for this address, and returns the email.
    async fn mail(&self, address: &str) -> Received {
        let now = SystemClock.now();
        let id = MailId::new(now, &SystemRandom);
        let mail = Mail::EmailVerification {
            user_id: self.account.id,
            epoch: self.account.epoch,
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

    /// All items except counters, as text.
    async fn stored(&self) -> Vec<String> {
        let items = self.stack.items().await.into_iter();
        let sorted = items.map(BTreeMap::from_iter).map(|item| format!("{item:?}"));
        sorted.filter(|item| !item.contains("COUNTER#")).collect()
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
async fn every_event_file_gets_its_recorded_answer() {
    for (name, event_json) in events_of("email-verify") {
        let bench = Bench::start(None).await;
        insta::assert_json_snapshot!(
            name,
            readable(&answer(&bench.route, event(event_json)).await)
        );
    }
}

#[tokio::test]
async fn a_link_confirms_the_address_of_an_account() {
    let bench = Bench::start(Some("testuser@example.com")).await;
    let mail = bench.mail("testuser@example.com").await;
    let answer = bench.by_token(&mail).await;
    assert_eq!((status(&answer), body(&answer)), (204, Value::Null));
    assert_eq!(bench.email().await, verified("testuser@example.com"));
    // No notice is sent, because the address has not changed.
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), 1);
}

/// A double click is not an error. Once the address has been replaced, the link is void.
#[tokio::test]
async fn a_link_succeeds_again_while_the_account_still_has_the_address() {
    let bench = Bench::start(Some("testuser@example.com")).await;
    let mail = bench.mail("testuser@example.com").await;
    // Use the link twice concurrently, then once more.
    let (first, second) = tokio::join!(bench.by_token(&mail), bench.by_token(&mail));
    assert_eq!((status(&first), status(&second)), (204, 204));
    assert_eq!(status(&bench.by_token(&mail).await), 204);
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), 1);

    let next = bench.mail("next@example.com").await;
    assert_eq!(status(&bench.by_token(&next).await), 204);
    assert!(is_wrong(&bench.by_token(&mail).await));
    assert_eq!(bench.email().await, verified("next@example.com"));
    assert_eq!(status(&bench.by_token(&next).await), 204);
}

/// A user may reopen an old email or tab much later, so a used link keeps succeeding. An unused link expires.
#[tokio::test]
async fn a_used_link_still_succeeds_long_afterwards() {
    for (current, confirmed) in
        [("testuser@example.com", "testuser@example.com"), ("old@example.com", "new@example.com")]
    {
        let bench = Bench::start(Some(current)).await;
        let (used, unused) = (bench.mail(confirmed).await, bench.mail(confirmed).await);
        assert_eq!(status(&bench.by_token(&used).await), 204);
        bench.stack.expire_codes().await;
        assert_eq!(status(&bench.by_token(&used).await), 204, "before expired items are removed");
        assert!(is_wrong(&bench.by_token(&unused).await), "before expired items are removed");
        bench.stack.remove_expired().await;
        let stored = bench.stored().await;
        for _ in 0..2 {
            assert_eq!(status(&bench.by_token(&used).await), 204);
        }
        assert!(is_wrong(&bench.by_token(&unused).await));
        assert_eq!(bench.stored().await, stored, "a repeated request changes nothing");
        assert_eq!(bench.email().await, verified(confirmed));

        let next = bench.mail("next@example.com").await;
        assert_eq!(status(&bench.by_token(&next).await), 204);
        assert!(is_wrong(&bench.by_token(&used).await), "the account has another address");
        bench.stack.disable(bench.account.id).await;
        assert!(is_wrong(&bench.by_token(&next).await), "the account is disabled");
    }
}

/// A network that is known for a name is exempt from the limit on password guesses for that name. A later owner of the
/// address must not inherit the previous owner's networks.
#[tokio::test]
async fn changing_the_address_forgets_its_known_networks() {
    let bench = Bench::start(Some("old@example.com")).await;
    let account = bench.stack.confirm(&bench.account).await;
    let settings = bench.stack.env().settings::<(throttle::Config, PeppersSecret)>();
    let (config, peppers) = settings.unwrap();
    let world = &World::system();
    let throttle = Throttle::open(&config, bench.stack.client(), peppers.open(world), world);
    let owner = Presented::Username(account.username.canonical().clone());
    let attempt = throttle.attempt(&owner, Some("203.0.113.7".parse().unwrap())).await.unwrap();
    attempt.succeeded(&account).await;
    let known = async || {
        let items = bench.stack.items().await;
        items.iter().filter(|item| item["pk"].as_s().unwrap().starts_with("KNOWN#")).count()
    };
    assert_eq!(known().await, 2, "under the username and under the address");
    let mail = bench.mail("New@example.com").await;
    assert_eq!(status(&bench.by_token(&mail).await), 204);
    assert_eq!(known().await, 1, "under the username");
}

#[tokio::test]
async fn a_link_claims_a_new_address_and_notifies_the_old_one() {
    let bench = Bench::start(Some("old@example.com")).await;
    bench.stack.confirm(&bench.account).await;
    let mail = bench.mail("New@example.com").await;
    assert_eq!(status(&bench.by_token(&mail).await), 204);
    assert_eq!(bench.email().await, verified("New@example.com"));
    let notice = deliver::<MailerFunction>(&bench.stack).await.pop().unwrap();
    assert_eq!(notice.to, "old@example.com");
    assert_eq!(notice.subject, "Latchkey: your email address has been changed");
    // Another account can now claim the old address.
    let user = NewUser { username: "other", email: Some("old@example.com"), roles: &[] };
    bench.stack.user(user).await;
}

/// The confirmation matters more than the notice to the old address.
#[tokio::test]
async fn a_notice_that_cannot_be_written_does_not_prevent_the_confirmation() {
    let mut bench = Bench::start(Some("old@example.com")).await;
    let interceptor = Interceptor::of(&bench.stack).await;
    bench.route =
        Service::<EmailVerifyRoute>::open(&interceptor.env(&bench.stack, &[]), &World::system())
            .await
            .unwrap();
    bench.stack.confirm(&bench.account).await;
    let mail = bench.mail("new@example.com").await;
    interceptor.fail_when(|call| {
        let is_notice = call.body.to_string().contains("OUTBOX#");
        if is_notice { Fault::AccessDenied } else { Fault::None }
    });
    assert_eq!(status(&bench.by_token(&mail).await), 204);
    let tried = interceptor.calls().iter().any(|call| call.body.to_string().contains("OUTBOX#"));
    assert!(tried, "the route tried to write a notice");
    assert_eq!(bench.email().await, verified("new@example.com"));
}

/// An unconfirmed address may belong to a stranger.
#[tokio::test]
async fn an_old_address_that_was_never_confirmed_gets_no_notice() {
    let bench = Bench::start(Some("victim@example.com")).await;
    let mail = bench.mail("new@example.com").await;
    assert_eq!(status(&bench.by_token(&mail).await), 204);
    let mails = deliver::<MailerFunction>(&bench.stack).await;
    assert!(mails.iter().all(|mail| mail.to == "new@example.com"), "{mails:?}");
}

/// The eight digits in the email are accepted only from a signed-in user. Otherwise they would confirm the address for
/// the account that requested the latest email, even if that account is a stranger's.
#[tokio::test]
async fn digits_without_a_session_confirm_nothing() {
    let bench = Bench::start(None).await;
    let mail = bench.mail("new@example.com").await;
    let digits = json!({"email": "new@example.com", "code": mail.digits().unwrap()});
    let answer = bench.ask(&digits).await;
    assert_eq!((status(&answer), &body(&answer)["code"]), (400, &json!("invalid_request")));
    assert_eq!(bench.email().await, (None, EmailStanding::Unverified));
    // If a token is given, `email` and `code` are ignored like other unknown members.
    let both = json!({"token": mail.token().unwrap(), "email": "x", "code": "1"});
    assert_eq!(status(&bench.ask(&both).await), 204);
}

#[tokio::test]
async fn a_link_does_not_claim_an_address_taken_in_the_meantime() {
    let bench = Bench::start(Some("old@example.com")).await;
    let mail = bench.mail("new@example.com").await;
    let user = NewUser { username: "other", email: Some("new@example.com"), roles: &[] };
    bench.stack.user(user).await;
    for _ in 0..8 {
        let answer = bench.by_token(&mail).await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (409, &json!("already_exists")));
    }
    let old = (Some("old@example.com".to_owned()), EmailStanding::Unverified);
    assert_eq!(bench.email().await, old);
}

#[tokio::test]
async fn every_failure_gets_the_same_answer() {
    let bench = Bench::start(None).await;
    let mail = bench.mail("new@example.com").await;
    bench.stack.disable(bench.account.id).await;
    let mut answers = Vec::new();
    for wrong in [
        json!({"token": ""}),
        json!({"token": "x.y.z"}),
        json!({"token": mail.token().unwrap()}),
        json!({"token": format!("{}A", mail.token().unwrap())}),
    ] {
        let answer = bench.ask(&wrong).await;
        assert!(is_wrong(&answer), "{wrong}");
        answers.push(readable(&answer));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    for bad in [json!({}), json!({"token": null}), json!({"token": 7}), json!({"code": "1"})] {
        let answer = bench.ask(&bad).await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (400, &json!("invalid_request")));
    }
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let stack = Stack::start().await;
    let route = Service::<EmailVerifyRoute>::open(&stack.env_out_of_reach(), &World::system())
        .await
        .unwrap();
    assert_eq!(status(&answer(&route, event(load("email-verify"))).await), 503);
}

/// After an outage, the code is still valid.
#[tokio::test]
async fn a_request_counts_against_no_limit_if_any_call_fails() {
    for call in 0.. {
        let mut bench = Bench::start(Some("old@example.com")).await;
        let mail = bench.mail("new@example.com").await;
        let interceptor = Interceptor::of(&bench.stack).await;
        let env = interceptor.env(&bench.stack, &[]);
        bench.route = Service::<EmailVerifyRoute>::open(&env, &World::system()).await.unwrap();
        interceptor.fail_at(call, Fault::AccessDenied);
        let first_status = status(&bench.by_token(&mail).await);
        assert!(matches!(first_status, 204 | 500), "{call}: {first_status}");
        assert_eq!(bench.stack.counted().await, BTreeMap::new(), "{call}");
        if interceptor.calls().len() <= call {
            assert!(call > 4, "{call}");
            break;
        }
        interceptor.reset();
        assert_eq!(status(&bench.by_token(&mail).await), 204, "{call}");
        assert_eq!(bench.email().await, verified("new@example.com"), "{call}");
    }
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let started = Service::<EmailVerifyRoute>::open(&Env::default(), &World::system()).await;
    insta::assert_snapshot!(started.err().unwrap().to_string());
}
