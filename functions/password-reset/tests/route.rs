//! Tests `password-reset` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use email_verify::EmailVerifyRoute;
use identity::{Account, Email, MailId, Role};
use login::LoginRoute;
use mailer::MailerFunction;
use password_reset::PasswordResetRoute;
use process::{Clock, Env, SystemClock, SystemRandom};
use serde_json::{Value, json};
use store::{Mail, NewMail, Outbox, Sessions};
use testkit::{
    Fault, Interceptor, NewUser, PASSWORD, Received, Stack, body, deliver, event, events_of,
    from_network, json_body, json_request, load, readable, status,
};
use web::{EventResponse, Service, World, answer};

const NEW: &str = "a longer walk along the coast";

/// The wait after three wrong guesses must not end before the fourth guess, even on a slow machine.
const LONG_WAIT: (&str, &str) = ("THROTTLE_PAIR_BASE_SECONDS", "900");

struct Bench {
    stack: Stack,
    route: Service<PasswordResetRoute>,
    account: Account,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(&[LONG_WAIT]).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> Self {
        let stack = Stack::start().await;
        let env = stack.env_with(settings);
        let route =
            Box::pin(Service::<PasswordResetRoute>::open(&env, &World::system())).await.unwrap();
        let email = Some("testuser@example.com");
        let user = NewUser { username: "testuser", email, roles: &[Role::User] };
        let account = stack.user(user).await;
        Self { stack, route, account }
    }

    /// Requests an email, and returns it.
    async fn request(&self, mail: Mail) -> Received {
        let now = SystemClock.now();
        let id = MailId::new(now, &SystemRandom);
        let outbox = Outbox::new(&self.stack.users(), self.stack.client());
        outbox.put(&[NewMail { id, mail, asked_at: now }]).await.unwrap();
        deliver::<MailerFunction>(&self.stack).await.pop().unwrap()
    }

    /// Requests a code for a password reset, and returns the email that contains it.
    async fn mail(&self) -> Received {
        self.request(Mail::PasswordReset { address: Email::parse("testuser@example.com").unwrap() })
            .await
    }

    async fn ask(&self, reset: &Value) -> EventResponse {
        answer(&self.route, json_request("password-reset", reset)).await
    }

    async fn by_token(&self, mail: &Received, new: &str) -> EventResponse {
        self.ask(&json!({"token": mail.token().unwrap(), "new_password": new})).await
    }

    async fn by_digits(&self, email: &str, digits: &str) -> EventResponse {
        self.ask(&json!({"email": email, "code": digits, "new_password": NEW})).await
    }

    /// The status of a login with this password.
    async fn login(&self, password: &str) -> i64 {
        let env = self.stack.env_with(&[LONG_WAIT]);
        let route = Box::pin(Service::<LoginRoute>::open(&env, &World::system())).await.unwrap();
        let login = json!({"username": "testuser", "password": password});
        status(&answer(&route, json_request("login", &login)).await)
    }

    async fn valid_sessions(&self) -> usize {
        let accounts = store::Administration::new(&self.stack.users(), self.stack.client());
        let name = self.account.username.canonical();
        let epoch = accounts.account_by_name(name).await.unwrap().unwrap().epoch;
        let sessions = Sessions::new(&self.stack.users(), self.stack.client());
        let sessions = sessions.of(self.account.id).await.unwrap();
        sessions.iter().filter(|session| session.is_valid(epoch, SystemClock.now())).count()
    }
}

fn is_invalid_code(answer: &EventResponse) -> bool {
    status(answer) == 400 && body(answer)["code"] == "invalid_code"
}

/// Digits other than those in the email.
fn other_digits(mail: &Received) -> String {
    let digits: u64 = mail.digits().unwrap().parse().unwrap();
    format!("{:08}", (digits + 1) % 100_000_000)
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    for (name, event_json) in events_of("password-reset") {
        let bench = Bench::start().await;
        insta::assert_json_snapshot!(
            name,
            readable(&answer(&bench.route, event(event_json)).await)
        );
    }
}

#[tokio::test]
async fn a_link_sets_the_password_once_and_ends_all_sessions() {
    let bench = Bench::start().await;
    bench.stack.confirm(&bench.account).await;
    bench.stack.sign_in(&bench.account).await;
    let mail = bench.mail().await;
    let answer = bench.by_token(&mail, NEW).await;
    assert_eq!((status(&answer), body(&answer)), (204, Value::Null));
    assert_eq!(bench.valid_sessions().await, 0);
    assert_eq!((bench.login(PASSWORD).await, bench.login(NEW).await), (401, 200));
    // The owner gets a notice, and neither form of the code works again.
    let notice = deliver::<MailerFunction>(&bench.stack).await.pop().unwrap();
    assert_eq!(notice.subject, "Latchkey: your password has been changed");
    assert!(is_invalid_code(&bench.by_token(&mail, "another passphrase").await));
    let digits = mail.digits().unwrap();
    assert!(is_invalid_code(&bench.by_digits("testuser@example.com", digits).await));
    assert_eq!(bench.login(NEW).await, 200);
}

#[tokio::test]
async fn digits_work_with_any_spelling_of_the_address() {
    let bench = Bench::start().await;
    let mail = bench.mail().await;
    let digits = mail.digits().unwrap();
    assert!(is_invalid_code(&bench.by_digits("other@example.com", digits).await));
    assert_eq!(status(&bench.by_digits("TESTUSER@Example.com", digits).await), 204);
    assert_eq!(bench.login(NEW).await, 200);
    assert!(is_invalid_code(&bench.by_token(&mail, NEW).await));
}

/// Digits are accepted as people and phones type them. Other input is reported as malformed and does not
/// cost a try.
#[tokio::test]
async fn digits_may_be_grouped_and_malformed_values_cost_no_try() {
    let bench = Bench::start().await;
    let mail = bench.mail().await;
    let mine = "testuser@example.com";
    for malformed in ["", "1234567", "123456789", "1234567x", mail.token().unwrap(), "١٢٣٤٥٦٧٨"]
    {
        for _ in 0..2 {
            let answer = bench.by_digits(mine, malformed).await;
            let error = &body(&answer)["errors"][0];
            assert_eq!((status(&answer), &error["field"]), (400, &json!("code")), "{malformed}");
        }
    }
    let (first, last) = mail.digits().unwrap().split_at(4);
    let full_width = |c: char| char::from_u32(u32::from(c) - 48 + 0xff10).unwrap();
    let last: String = last.chars().map(full_width).collect();
    assert_eq!(status(&bench.by_digits(mine, &format!("{first} - {last}\n")).await), 204);
    assert_eq!(bench.login(NEW).await, 200);
}

/// An unconfirmed address may belong to a stranger, so it gets the code and nothing else.
#[tokio::test]
async fn an_unconfirmed_address_gets_no_notice_of_a_reset() {
    let bench = Bench::start().await;
    let mail = bench.mail().await;
    assert_eq!(status(&bench.by_token(&mail, NEW).await), 204);
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), 1);
}

/// A new network is reported just as at login, in addition to the notice of the reset.
#[tokio::test]
async fn a_reset_from_a_new_network_is_reported_to_the_owner() {
    let bench = Bench::start().await;
    bench.stack.confirm(&bench.account).await;
    assert_eq!(bench.login(PASSWORD).await, 200);
    let reset = async |network: &str, new: &str| {
        let mail = bench.mail().await;
        let reset = json!({"token": mail.token().unwrap(), "new_password": new});
        let event_json = from_network(json_body(load("password-reset"), &reset), network);
        status(&answer(&bench.route, event(event_json)).await)
    };
    let reported = async || {
        let mails = deliver::<MailerFunction>(&bench.stack).await;
        mails.iter().filter(|mail| mail.subject.ends_with("from a new network")).count()
    };
    assert_eq!((reset("203.0.113.7", NEW).await, reported().await), (204, 0));
    assert_eq!((reset("198.51.100.1", PASSWORD).await, reported().await), (204, 1));
}

/// A reset voids all codes that were mailed before it.
#[tokio::test]
async fn using_one_link_voids_the_other() {
    let bench = Bench::start().await;
    let (first, second) = (bench.mail().await, bench.mail().await);
    let digits = first.digits().unwrap();
    assert!(
        is_invalid_code(&bench.by_digits("testuser@example.com", digits).await),
        "the earlier digits are void"
    );
    assert_eq!(status(&bench.by_token(&first, NEW).await), 204, "the earlier link is valid");
    assert!(is_invalid_code(&bench.by_token(&second, NEW).await));
}

#[tokio::test]
async fn every_failure_gets_the_same_answer() {
    // With the default setting, the throttle would refuse the fourth guess.
    let bench = Bench::start_with(&[("THROTTLE_PAIR_FREE", "100")]).await;
    let mail = bench.mail().await;
    let other = bench.stack.user(NewUser { username: "other", email: None, roles: &[] }).await;
    let verification = bench
        .request(Mail::EmailVerification {
            user_id: other.id,
            epoch: other.epoch,
            address: Email::parse("new@example.com").unwrap(),
        })
        .await;
    let mine = "testuser@example.com";
    let wrong = other_digits(&mail);
    let cases = [
        json!({"token": "", "new_password": NEW}),
        json!({"token": "x.y.z", "new_password": NEW}),
        json!({"token": format!("{}A", mail.token().unwrap()), "new_password": NEW}),
        json!({"token": verification.token().unwrap(), "new_password": NEW}),
        json!({"email": mine, "code": wrong, "new_password": NEW}),
        json!({"email": mine, "code": wrong, "new_password": NEW}),
        json!({"email": mine, "code": wrong, "new_password": NEW}),
        json!({"email": "nobody@example.com", "code": mail.digits().unwrap(), "new_password": NEW}),
        json!({"email": "new@example.com", "code": verification.digits().unwrap(), "new_password": NEW}),
        json!({"email": "no address", "code": "12345678", "new_password": NEW}),
    ];
    let mut answers = Vec::new();
    for case in &cases {
        let answer = bench.ask(case).await;
        assert!(is_invalid_code(&answer), "{case}");
        answers.push(readable(&answer));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(bench.login(PASSWORD).await, 200);
    // Three of the requests above were tries at the digits.
    for _ in 0..2 {
        assert!(is_invalid_code(&bench.by_digits(mine, &wrong).await));
    }
    let digits = mail.digits().unwrap();
    assert_eq!(readable(&bench.by_digits(mine, digits).await), answers[0], "the sixth try");
    assert_eq!(status(&bench.by_token(&mail, NEW).await), 204, "wrong digits do not void the link");
}

#[tokio::test]
async fn guesses_are_throttled_as_at_login_and_a_reset_lifts_the_wait() {
    let bench = Bench::start().await;
    let mail = bench.mail().await;
    let wrong = other_digits(&mail);
    for _ in 0..3 {
        assert!(is_invalid_code(&bench.by_digits("testuser@example.com", &wrong).await));
    }
    let digits = mail.digits().unwrap();
    let throttled = bench.by_digits("testuser@example.com", digits).await;
    assert_eq!((status(&throttled), &body(&throttled)["code"]), (429, &json!("too_many_attempts")));
    assert!(throttled.headers.contains_key("retry-after"));
    // Password guesses under the username are counted separately. The reset clears that counter too.
    for _ in 0..3 {
        assert_eq!(bench.login("a wrong password").await, 401);
    }
    assert_eq!(bench.login(PASSWORD).await, 429);
    assert_eq!(status(&bench.by_token(&mail, NEW).await), 204);
    assert_eq!(bench.login(NEW).await, 200);
}

#[tokio::test]
async fn a_refused_password_does_not_use_up_the_code() {
    let bench = Bench::start().await;
    let mail = bench.mail().await;
    let long = "x".repeat(1_025);
    for (new, code) in [
        ("short", "too_short"),
        ("password1", "too_common"),
        ("TESTUSER", "matches_username"),
        ("testuser@EXAMPLE.com", "matches_email"),
        (long.as_str(), "too_long"),
    ] {
        for by in [
            json!({"token": mail.token().unwrap()}),
            json!({"email": "testuser@example.com", "code": mail.digits().unwrap()}),
        ] {
            let mut reset = by;
            reset["new_password"] = new.into();
            let answer = bench.ask(&reset).await;
            let error = &body(&answer)["errors"][0];
            assert_eq!((status(&answer), &error["code"]), (400, &json!(code)), "{new}");
            assert_eq!(error["field"], "new_password");
        }
    }
    // A password that equals the username is reported only with a valid code. Otherwise the answer would reveal
    // the username of the account.
    let wrong = json!({"token": "x", "new_password": "testuser"});
    assert!(is_invalid_code(&bench.ask(&wrong).await));
    // The code allows five tries, but a refused password does not cost one.
    for _ in 0..8 {
        let request = json!({
            "email": "testuser@example.com", "code": mail.digits().unwrap(), "new_password": "testuser",
        });
        assert_eq!(status(&bench.ask(&request).await), 400);
    }
    let digits = mail.digits().unwrap();
    assert_eq!(status(&bench.by_digits("testuser@example.com", digits).await), 204);
}

#[tokio::test]
async fn a_disabled_account_cannot_reset_its_password() {
    let bench = Bench::start().await;
    let mail = bench.mail().await;
    bench.stack.disable(bench.account.id).await;
    assert!(is_invalid_code(&bench.by_token(&mail, NEW).await));
}

/// Access to an old mailbox must not give access to an account that has changed its address.
#[tokio::test]
async fn a_code_sent_to_a_former_address_is_void() {
    let bench = Bench::start().await;
    let mail = bench.mail().await;
    let verification = bench
        .request(Mail::EmailVerification {
            user_id: bench.account.id,
            epoch: bench.account.epoch,
            address: Email::parse("new@example.com").unwrap(),
        })
        .await;
    let verify =
        Service::<EmailVerifyRoute>::open(&bench.stack.env(), &World::system()).await.unwrap();
    let token = json!({"token": verification.token().unwrap()});
    assert_eq!(status(&answer(&verify, json_request("email-verify", &token)).await), 204);
    assert!(is_invalid_code(&bench.by_token(&mail, NEW).await));
    let digits = mail.digits().unwrap();
    assert!(is_invalid_code(&bench.by_digits("testuser@example.com", digits).await));
    assert_eq!(bench.login(PASSWORD).await, 200);
}

#[tokio::test]
async fn exactly_one_form_of_the_code_must_be_given() {
    let bench = Bench::start().await;
    for bad in [
        json!({"new_password": NEW}),
        json!({"token": "t"}),
        json!({"email": "testuser@example.com", "new_password": NEW}),
        json!({"code": "12345678", "new_password": NEW}),
        json!({"token": "t", "email": "testuser@example.com", "code": "12345678", "new_password": NEW}),
        json!({"token": 7, "new_password": NEW}),
        json!({"email": "testuser@example.com", "code": 12_345_678, "new_password": NEW}),
    ] {
        let answer = bench.ask(&bad).await;
        let code = (status(&answer), body(&answer)["code"].clone());
        assert_eq!(code, (400, Value::from("invalid_request")), "{bad}");
    }
}

#[tokio::test]
async fn a_missing_or_mistyped_member_is_named() {
    let bench = Bench::start().await;
    let email = "testuser@example.com";
    for (bad, field, code) in [
        (json!({"new_password": NEW}), "token", "missing"),
        (json!({"token": null, "new_password": NEW}), "token", "missing"),
        (json!({"email": email, "new_password": NEW}), "code", "missing"),
        (json!({"email": email, "code": null, "new_password": NEW}), "code", "missing"),
        (json!({"code": "12345678", "new_password": NEW}), "email", "missing"),
        (json!({"token": "t"}), "new_password", "missing"),
        (json!({"token": 7, "new_password": NEW}), "token", "wrong_type"),
        (json!({"email": email, "code": 1, "new_password": NEW}), "code", "wrong_type"),
    ] {
        let body = body(&bench.ask(&bad).await);
        assert_eq!(body["code"], "invalid_request", "{bad}");
        let errors = body["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{bad}");
        let error = (errors[0]["field"].as_str(), errors[0]["code"].as_str());
        assert_eq!(error, (Some(field), Some(code)), "{bad}");
    }
    // No member is missing here.
    let both = json!({"token": "t", "email": email, "code": "12345678", "new_password": NEW});
    assert_eq!(body(&bench.ask(&both).await)["errors"], Value::Null);
}

#[tokio::test]
async fn a_network_that_guesses_links_is_throttled() {
    let bench = Bench::start_with(&[("THROTTLE_NETWORK_FREE", "5")]).await;
    let mail = bench.mail().await;
    for _ in 0..5 {
        assert!(is_invalid_code(&bench.ask(&json!({"token": "x.y.z", "new_password": NEW})).await));
    }
    assert_eq!(status(&bench.by_token(&mail, NEW).await), 429);
    let reset = json!({"token": mail.token().unwrap(), "new_password": NEW});
    let elsewhere = from_network(json_body(load("password-reset"), &reset), "198.51.100.1");
    assert_eq!(status(&answer(&bench.route, event(elsewhere)).await), 204);
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let stack = Stack::start().await;
    let route = Service::<PasswordResetRoute>::open(&stack.env_out_of_reach(), &World::system())
        .await
        .unwrap();
    for (name, event_json) in events_of("password-reset") {
        let expected = if name.ends_with("weak") { 400 } else { 503 };
        assert_eq!(status(&answer(&route, event(event_json)).await), expected, "{name}");
    }
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let started = Service::<PasswordResetRoute>::open(&Env::default(), &World::system()).await;
    insta::assert_snapshot!(started.err().unwrap().to_string());
}

/// An outage neither costs a try at the digits nor uses up the code.
#[tokio::test]
async fn a_request_counts_against_no_limit_if_any_call_fails() {
    for by_digits in [false, true] {
        for call in 0.. {
            let mut bench = Bench::start().await;
            let interceptor = Interceptor::of(&bench.stack).await;
            let env = interceptor.env(&bench.stack, &[]);
            bench.route = Box::pin(Service::<PasswordResetRoute>::open(&env, &World::system()))
                .await
                .unwrap();
            let mail = bench.mail().await;
            interceptor.fail_at(call, Fault::AccessDenied);
            let answer = if by_digits {
                bench.by_digits("testuser@example.com", mail.digits().unwrap()).await
            } else {
                bench.by_token(&mail, NEW).await
            };
            assert!(matches!(status(&answer), 204 | 500), "{call}: {}", status(&answer));
            let mut counted = bench.stack.counted().await;
            if status(&answer) == 204 {
                // The code has been used, so its counter no longer matters.
                counted.retain(|key, _| !key.starts_with("DIGITS#"));
            }
            assert_eq!(counted, BTreeMap::new(), "{by_digits} {call}");
            if interceptor.calls().len() <= call {
                assert!(call > 8, "{call}");
                break;
            }
            interceptor.reset();
            if status(&answer) == 500 {
                assert_eq!(
                    status(&bench.by_token(&mail, NEW).await),
                    204,
                    "the code is still valid"
                );
            }
        }
    }
}

/// The reset matters more than the notice to the owner.
#[tokio::test]
async fn a_notice_that_cannot_be_written_does_not_prevent_the_reset() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[]);
    bench.route =
        Box::pin(Service::<PasswordResetRoute>::open(&env, &World::system())).await.unwrap();
    bench.account = bench.stack.confirm(&bench.account).await;
    bench.stack.sign_in(&bench.account).await;
    let mail = bench.mail().await;
    interceptor.fail_when(|call| {
        let is_notice = call.body.to_string().contains("OUTBOX#");
        if is_notice { Fault::AccessDenied } else { Fault::None }
    });
    assert_eq!(status(&bench.by_token(&mail, NEW).await), 204);
    let tried = interceptor.calls().iter().any(|call| call.body.to_string().contains("OUTBOX#"));
    assert!(tried, "the route tried to write a notice");
    assert_eq!(bench.valid_sessions().await, 0);
    assert_eq!((bench.login(PASSWORD).await, bench.login(NEW).await), (401, 200));
}

/// Strangers who use up the free attempts at a name must not lock out the owner, who has just reset the password.
#[tokio::test]
async fn a_reset_makes_its_network_known_and_forgets_all_others() {
    let bench = Bench::start().await;
    // The wait must outlast the guesses, even on a slow machine.
    let settings = [
        ("THROTTLE_NAME_FREE", "2"),
        ("THROTTLE_NAME_BASE_SECONDS", "300"),
        ("THROTTLE_NAME_MAX_SECONDS", "600"),
    ];
    let env = bench.stack.env_with(&settings);
    let route = Box::pin(Service::<LoginRoute>::open(&env, &World::system())).await.unwrap();
    let login = async |by: &str, name: &str, password: &str, network: &str| {
        let login = json!({by: name, "password": password});
        let event_json = from_network(json_body(load("login"), &login), network);
        status(&answer(&route, event(event_json)).await)
    };
    assert_eq!(login("username", "testuser", PASSWORD, "198.51.100.1").await, 200);
    assert_eq!(status(&bench.by_token(&bench.mail().await, NEW).await), 204);
    for (by, name) in [("username", "testuser"), ("email", "testuser@example.com")] {
        for n in 0..5 {
            login(by, name, "a wrong password", &format!("192.0.2.{n}")).await;
        }
        assert_eq!(
            login(by, name, NEW, "198.51.100.1").await,
            429,
            "a network known before the reset, by {by}"
        );
        assert_eq!(
            login(by, name, NEW, "203.0.113.7").await,
            200,
            "the network of the reset, by {by}"
        );
    }
}

#[tokio::test]
async fn white_space_around_an_address_is_ignored() {
    let bench = Bench::start().await;
    let mail = bench.mail().await;
    let digits = mail.digits().unwrap();
    assert_eq!(status(&bench.by_digits(" testuser@example.com\n", digits).await), 204);
}
