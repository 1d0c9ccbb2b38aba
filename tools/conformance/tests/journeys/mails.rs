//! Emails that change passwords and addresses: the right emails arrive, and their links and digits work.

use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::Received;

use super::{Answer, PASSWORD, RunningApi, Tokens};

/// The password that replaces [`PASSWORD`].
pub(crate) const NEW_PASSWORD: &str = "a longer walk along the coast";

/// The time that an email may take to arrive on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until `count` emails have arrived at addresses of this domain, and checks that there are no more.
pub(crate) async fn mails(server: &impl RunningApi, domain: &str, count: usize) -> Vec<Received> {
    let received = async || {
        let mut mails = server.mails().await;
        mails.retain(|mail| mail.to.ends_with(domain));
        mails
    };
    let enough = async {
        while received().await.len() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, enough).await;
    let mails = received().await;
    assert!(waited.is_ok() && mails.len() == count, "expected {count} emails: {mails:?}");
    mails
}

/// Waits until `count` emails have arrived, and returns the last one.
pub(crate) async fn last(server: &impl RunningApi, domain: &str, count: usize) -> Received {
    mails(server, domain, count).await.pop().unwrap()
}

/// Sends a request with forged host headers.
pub(crate) async fn spoofed(
    server: &impl RunningApi,
    path: &str,
    body: &Value,
    token: Option<&str>,
) -> Answer {
    let mut request = server
        .request(Method::POST, path)
        .header("content-type", "application/json")
        .header("x-forwarded-host", "evil.example")
        .header("forwarded", "host=evil.example;proto=http")
        .header("x-forwarded-proto", "gopher")
        .body(body.to_string());
    // API Gateway selects the API by `Host`, so a request with a forged `Host` would not reach this API.
    if server.accepts_any_host() {
        request = request.header("host", "evil.example");
    }
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    server.send(request).await
}

/// Opens the link in an email, which leads to a page of the API, and returns the link's token. Opening the page must not
/// use up the code.
async fn follow(server: &impl RunningApi, mail: &Received, page: &str) -> String {
    let (link, token) = (mail.link().unwrap(), mail.token().unwrap());
    let path = link.strip_prefix(server.address()).expect("a link to this API");
    assert_eq!(path, format!("/{page}?token={token}"));
    for _ in 0..2 {
        let answer = server.get(path, None).await;
        assert_eq!((answer.status, answer.header("referrer-policy")), (200, Some("no-referrer")));
        assert!(answer.text.contains("<form ") && !answer.text.contains(token), "{}", answer.text);
    }
    token.to_owned()
}

pub(crate) async fn register(server: &impl RunningApi, username: &str, email: &str) -> Answer {
    let body = json!({"username": username, "password": PASSWORD, "email": email});
    spoofed(server, "/auth/register", &body, None).await
}

pub(crate) async fn login(
    server: &impl RunningApi,
    by: &str,
    name: &str,
    password: &str,
) -> Answer {
    server.post("/auth/login", &json!({by: name, "password": password})).await
}

async fn me(server: &impl RunningApi, token: &str) -> Value {
    server.get("/auth/me", Some(token)).await.json()
}

/// Every email arrives, its link and digits work, and no email contains anything from the headers of a request.
pub(crate) async fn a_password_and_an_address_change_by_mail(server: &impl RunningApi) {
    const DOMAIN: &str = "reset.example.com";
    assert_eq!(register(server, "rosa-1", "rosa@reset.example.com").await.status, 201);
    let access = server.login("rosa-1").await;

    // Verify the address.
    let sent = spoofed(server, "/auth/email/verify/send", &json!({}), Some(&access)).await;
    assert_eq!(sent.status, 202);
    let mail = last(server, DOMAIN, 1).await;
    let token = follow(server, &mail, "verify-email").await;
    assert_eq!(me(server, &access).await["email_verified"], false);
    assert_eq!(server.post("/auth/email/verify", &json!({"token": token})).await.status, 204);
    assert_eq!(me(server, &access).await["email_verified"], true);

    // Reset the password with the link.
    let forgot = json!({"email": "ROSA@reset.example.com"});
    assert_eq!(spoofed(server, "/auth/password/forgot", &forgot, None).await.status, 202);
    let mail = last(server, DOMAIN, 2).await;
    assert_eq!(mail.to, "rosa@reset.example.com");
    let token = follow(server, &mail, "reset-password").await;
    let reset = json!({"token": token, "new_password": NEW_PASSWORD});
    assert_eq!(spoofed(server, "/auth/password/reset", &reset, None).await.status, 204);
    assert_eq!(server.post("/auth/password/reset", &reset).await.short(), "400 invalid_code");
    assert_eq!(server.get("/auth/me", Some(&access)).await.status, 401, "all sessions have ended");
    assert_eq!(login(server, "email", "rosa@reset.example.com", PASSWORD).await.status, 401);
    let tokens = Tokens::of(&login(server, "email", "rosa@reset.example.com", NEW_PASSWORD).await);
    assert!(last(server, DOMAIN, 3).await.subject.ends_with("your password has been changed"));

    // Reset the password again with the digits, then change it.
    assert_eq!(spoofed(server, "/auth/password/forgot", &forgot, None).await.status, 202);
    let digits = last(server, DOMAIN, 4).await.digits().unwrap().to_owned();
    let reset =
        json!({"email": "rosa@RESET.EXAMPLE.COM", "code": digits, "new_password": PASSWORD});
    assert_eq!(server.post("/auth/password/reset", &reset).await.status, 204);
    assert_eq!(server.refresh(&tokens.refresh).await.short(), "401 invalid_token");
    mails(server, DOMAIN, 5).await;
    let access = server.login("rosa-1").await;
    let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    let changed = spoofed(server, "/auth/password", &change, Some(&access)).await;
    assert_eq!(changed.status, 200);
    assert!(last(server, DOMAIN, 6).await.subject.ends_with("your password has been changed"));

    // Sign in from a new network.
    let body = json!({"username": "rosa-1", "password": NEW_PASSWORD}).to_string();
    let elsewhere = server.request_from(Ipv4Addr::new(127, 0, 0, 9), Method::POST, "/auth/login");
    let elsewhere = elsewhere.header("content-type", "application/json").body(body);
    assert_eq!(server.send(elsewhere).await.status, 200);
    assert!(last(server, DOMAIN, 7).await.subject.ends_with("used from a new network"));

    for mail in mails(server, DOMAIN, 7).await {
        assert_eq!(
            (mail.to.as_str(), mail.from.as_str()),
            ("rosa@reset.example.com", server.sender())
        );
        let whole = format!("{mail:?}");
        assert!(!whole.contains("evil") && !whole.contains("gopher"), "{whole}");
    }
}

/// Requests an email with a code that confirms the account's own address, and returns this email.
async fn confirmation_mail(
    server: &impl RunningApi,
    access: &str,
    domain: &str,
    count: usize,
) -> Received {
    let sent = spoofed(server, "/auth/email/verify/send", &json!({}), Some(access)).await;
    assert_eq!(sent.status, 202);
    last(server, domain, count).await
}

/// Confirms the address of the signed-in account with the digits in an email.
async fn confirm(server: &impl RunningApi, access: &str, mail: &Received) {
    let (first, second) = mail.digits().unwrap().split_at(4);
    let code = json!({"code": format!("{first} {second}")});
    let answer = spoofed(server, "/auth/email/verify/code", &code, Some(access)).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(me(server, access).await["email_verified"], true);
}

/// Covers every outcome of a change of address.
pub(crate) async fn an_address_changes_only_after_confirmation(server: &impl RunningApi) {
    const DOMAIN: &str = "change.example.com";
    assert_eq!(register(server, "rosa-2", "old@change.example.com").await.status, 201);
    let access = server.login("rosa-2").await;
    // Only a confirmed address gets notices. Confirm this one with the digits, as a person would type them.
    confirm(server, &access, &confirmation_mail(server, &access, DOMAIN, 1).await).await;
    let change = async |new: &str| {
        let body = json!({"password": PASSWORD, "new_email": new});
        let answer = spoofed(server, "/auth/email/change", &body, Some(&access)).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    };
    let last_to =
        |mails: &[Received], to: &str| mails.iter().rfind(|it| it.to == to).cloned().unwrap();

    // Before the confirmation, nothing changes, and the old address receives a notice.
    change("unconfirmed@change.example.com").await;
    let received = mails(server, DOMAIN, 3).await;
    assert!(
        last_to(&received, "old@change.example.com").subject.ends_with("address was requested")
    );
    let unconfirmed = last_to(&received, "unconfirmed@change.example.com");
    assert_eq!(me(server, &access).await["email"], "old@change.example.com");
    assert_eq!(
        login(server, "email", "unconfirmed@change.example.com", PASSWORD).await.status,
        401
    );
    let digits: u32 = unconfirmed.digits().unwrap().parse().unwrap();
    let wrong = json!({"code": format!("{:08}", (digits + 1) % 100_000_000)});
    let wrong = spoofed(server, "/auth/email/verify/code", &wrong, Some(&access)).await;
    assert_eq!(wrong.short(), "400 invalid_code");

    // After the confirmation, the old address receives another notice and can no longer be used to sign in.
    change("New@change.example.com").await;
    let received = mails(server, DOMAIN, 5).await;
    let token =
        follow(server, &last_to(&received, "New@change.example.com"), "confirm-email").await;
    // A double click succeeds.
    for _ in 0..2 {
        assert_eq!(server.post("/auth/email/verify", &json!({"token": token})).await.status, 204);
    }
    let current = me(server, &access).await;
    assert_eq!(
        (&current["email"], &current["email_verified"]),
        (&json!("New@change.example.com"), &json!(true))
    );
    assert!(last(server, DOMAIN, 6).await.subject.ends_with("address has been changed"));
    assert_eq!(login(server, "email", "new@change.example.com", PASSWORD).await.status, 200);
    assert_eq!(login(server, "email", "old@change.example.com", PASSWORD).await.status, 401);

    // Another account claims the unconfirmed address. The earlier code is still valid, but must not take the address
    // from that account.
    assert_eq!(register(server, "other-2", "unconfirmed@change.example.com").await.status, 201);
    let late = json!({"token": unconfirmed.token().unwrap()});
    assert_eq!(server.post("/auth/email/verify", &late).await.short(), "409 already_exists");
    assert_eq!(me(server, &access).await["email"], "New@change.example.com");

    // If another account already has the address, the answer is the same and no code is sent. If that account has
    // confirmed the address, its owner gets an email.
    let other = server.login("other-2").await;
    confirm(server, &other, &confirmation_mail(server, &other, DOMAIN, 7).await).await;
    change("UNCONFIRMED@change.example.com").await;
    let received = mails(server, DOMAIN, 9).await;
    let notice = last_to(&received, "unconfirmed@change.example.com");
    assert!(notice.subject.ends_with("someone entered your email address for another account"));
    assert_eq!((notice.token(), notice.digits()), (None, None));

    // Confirming a change with the digits also releases the old address, which receives a notice.
    let body = json!({"password": PASSWORD, "new_email": "moved@change.example.com"});
    let requested = spoofed(server, "/auth/email/change", &body, Some(&other)).await;
    assert_eq!(requested.status, 202, "{}", requested.text);
    let moved = last_to(&mails(server, DOMAIN, 11).await, "moved@change.example.com");
    confirm(server, &other, &moved).await;
    assert_eq!(me(server, &other).await["email"], "moved@change.example.com");
    assert!(last(server, DOMAIN, 12).await.subject.ends_with("address has been changed"));
}
