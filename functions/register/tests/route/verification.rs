//! Tests `EMAIL_VERIFICATION=required`: an address becomes usable once it is verified.

use email_verify::EmailVerifyRoute;
use identity::{CanonicalName, UniqueName};
use jiff::SignedDuration;
use login::LoginRoute;
use mailer::MailerFunction;
use process::{Clock, SystemClock};
use serde_json::{Value, json};
use testkit::{NewUser, body, deliver, json_request, readable, status};
use web::{Service, World, answer};

use crate::{Bench, PASSWORD};

async fn bench() -> Bench {
    Bench::start_with(&[("EMAIL_VERIFICATION", "required")]).await
}

fn registration(username: &str, email: &str) -> Value {
    json!({"username": username, "password": PASSWORD, "email": email})
}

/// The status of a login.
async fn login(bench: &Bench, by: &str, name: &str) -> i64 {
    let route =
        Box::pin(Service::<LoginRoute>::open(&bench.stack.env(), &World::system())).await.unwrap();
    let login = json!({by: name, "password": PASSWORD});
    status(&answer(&route, json_request("login", &login)).await)
}

#[tokio::test]
async fn an_address_is_usable_once_verified() {
    let bench = bench().await;
    let registered = bench.ask(registration("testuser", "Testuser@example.com")).await;
    assert_eq!(status(&registered), 202);
    assert_eq!(login(&bench, "username", "testuser").await, 200);
    assert_eq!(login(&bench, "email", "testuser@example.com").await, 401);
    let [mail] = deliver::<MailerFunction>(&bench.stack).await.try_into().unwrap();
    assert_eq!(mail.to, "Testuser@example.com");

    let verify =
        Service::<EmailVerifyRoute>::open(&bench.stack.env(), &World::system()).await.unwrap();
    let token = json!({"token": mail.token().unwrap()});
    assert_eq!(status(&answer(&verify, json_request("email-verify", &token)).await), 204);
    assert_eq!(login(&bench, "email", "testuser@example.com").await, 200);
}

/// The owner of a taken address gets a notice instead of a code.
#[tokio::test]
async fn neither_answer_nor_table_reveals_whether_an_address_is_taken() {
    let bench = bench().await;
    let email = Some("Taken@example.com");
    let owner = bench.stack.user(NewUser { username: "owner", email, roles: &[] }).await;
    bench.stack.confirm(&owner).await;
    let free = bench.ask(registration("first", "free@example.com")).await;
    let before = bench.stack.items().await.len();
    let taken = bench.ask(registration("second", "taken@example.com")).await;
    assert_eq!(readable(&free), readable(&taken));
    assert_eq!(status(&taken), 202);
    // The new items: the account, the name, the password, the entry in the list of all accounts, the event, the email,
    // and the counters of the address.
    assert_eq!(bench.stack.items().await.len(), before + 9);
    let mails = deliver::<MailerFunction>(&bench.stack).await;
    let to: Vec<_> = mails.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(to, ["free@example.com", "Taken@example.com"]);
    assert!(mails[0].token().is_some() && mails[1].token().is_none());
    assert!(mails[1].text.starts_with("Hello owner,"));
    // The second account was created nevertheless.
    assert_eq!(login(&bench, "username", "second").await, 200);
    // Unlike a taken address, a taken name is refused.
    let answer = bench.ask(registration("owner", "other@example.com")).await;
    assert_eq!((status(&answer), &body(&answer)["code"]), (409, &json!("already_exists")));
}

/// Neither the answer nor an email reveals that an account with this address has been deleted.
#[tokio::test]
async fn the_address_of_a_deleted_account_gets_the_same_answer_as_a_taken_one() {
    let bench = bench().await;
    let until = SystemClock.now() + SignedDuration::from_hours(1);
    let address = CanonicalName::of_unchecked("d@example.com");
    bench.stack.bury(UniqueName::Email(&address), until).await;
    let free = bench.ask(registration("first", "free@example.com")).await;
    let deleted = bench.ask(registration("second", "D@example.com")).await;
    assert_eq!(readable(&free), readable(&deleted));
    assert_eq!(status(&deleted), 202);
    let mails = deliver::<MailerFunction>(&bench.stack).await;
    let to: Vec<_> = mails.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(to, ["free@example.com"]);
    assert_eq!(login(&bench, "username", "second").await, 200);
}

/// If two accounts register with the same address, the first account to confirm the address gets it, even if that
/// account registered second.
#[tokio::test]
async fn an_address_belongs_to_the_account_that_verifies_it() {
    let bench = bench().await;
    for username in ["squatter", "rightful"] {
        assert_eq!(status(&bench.ask(registration(username, "a@example.com")).await), 202);
    }
    let mails = deliver::<MailerFunction>(&bench.stack).await;
    let verify =
        Service::<EmailVerifyRoute>::open(&bench.stack.env(), &World::system()).await.unwrap();
    let mut answers = Vec::new();
    // The emails do not contain the username, which a stranger may have chosen.
    assert!(mails.iter().all(|mail| mail.text.starts_with("Hello,")));
    for mail in mails.iter().rev() {
        let token = json!({"token": mail.token().unwrap()});
        answers.push(status(&answer(&verify, json_request("email-verify", &token)).await));
    }
    assert_eq!(answers, [204, 409]);
}

#[tokio::test]
async fn strangers_cannot_flood_an_address() {
    let bench = bench().await;
    for n in 0..8 {
        let answer = bench.ask(registration(&format!("user-{n}"), "a@example.com")).await;
        assert_eq!(status(&answer), 202);
    }
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), 3);
}

#[tokio::test]
async fn a_registration_without_an_address_gets_the_same_answer() {
    let bench = bench().await;
    let without = bench.ask(json!({"username": "anybody", "password": PASSWORD})).await;
    let with = bench.ask(registration("somebody", "a@example.com")).await;
    assert_eq!(readable(&without), readable(&with));
    insta::assert_json_snapshot!(readable(&with));
}

#[tokio::test]
async fn an_unknown_verification_setting_is_refused() {
    let stack = testkit::Stack::start().await;
    let env = stack.env_with(&[("EMAIL_VERIFICATION", "always")]);
    let error = Service::<register::RegisterRoute>::open(&env, &World::system())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("EMAIL_VERIFICATION is invalid"), "{error}");
}
