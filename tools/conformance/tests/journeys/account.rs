//! Users list the events of their accounts, export their data and delete their accounts. Administrators list
//! other users' events and delete other users' accounts.

use identity::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, PASSWORD, RunningApi, mails};

/// The kinds of all events that a route lists, fetched in pages of two.
async fn kinds(server: &impl RunningApi, path: &str, token: &str) -> Vec<String> {
    let (mut kinds, mut query) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{path}?limit=2{query}"), Some(token)).await.json();
        for event in page["events"].as_array().unwrap() {
            kinds.push(event["kind"].as_str().unwrap().to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("&cursor={cursor}"),
            None => return kinds,
        }
    }
}

async fn delete(server: &impl RunningApi, token: &str, password: &str) -> Answer {
    let request = server.request(Method::POST, "/auth/me/delete");
    let request = request.header("authorization", format!("Bearer {token}"));
    let body = json!({"password": password}).to_string();
    server.send(request.header("content-type", "application/json").body(body)).await
}

/// Registers an account with an address, begins a session and requests an email, so that every kind of item exists.
async fn furnish(server: &impl RunningApi, username: &str, domain: &str) -> String {
    let email = format!("{username}@{domain}");
    assert_eq!(mails::register(server, username, &email).await.status, 201);
    let token = server.login(username).await;
    assert_eq!(server.call(Method::POST, "/auth/email/verify/send", &token).await.status, 202);
    mails::mails(server, domain, 1).await;
    token
}

/// Checks a receipt: the deletion must have found an item of each kind.
fn assert_receipt(answer: &Answer, user: &str) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let receipt = answer.json();
    assert_eq!((&receipt["action"], &receipt["user_id"]), (&json!("deleted"), &json!(user)));
    for (kind, number) in receipt["deleted"].as_object().unwrap() {
        assert!(number.as_u64().unwrap() > 0, "{kind}: {receipt}");
    }
    receipt
}

/// Checks that the account cannot be used, and that nobody can register its names.
async fn assert_gone(server: &impl RunningApi, username: &str, domain: &str, token: &str) {
    assert_eq!(server.get("/auth/me", Some(token)).await.short(), "401 invalid_token");
    let login = json!({"username": username, "password": PASSWORD});
    assert_eq!(server.post("/auth/login", &login).await.short(), "401 invalid_credentials");
    assert_eq!(server.register(username).await.short(), "409 already_exists");
    let (other, email) = (format!("{username}-2"), format!("{username}@{domain}"));
    assert_eq!(mails::register(server, &other, &email).await.short(), "409 already_exists");
}

pub(crate) async fn a_user_exports_and_deletes_the_account(server: &impl RunningApi) {
    const DOMAIN: &str = "leaves.example.com";
    let token = furnish(server, "departing", DOMAIN).await;
    assert_eq!(kinds(server, "/auth/me/events", &token).await, ["login", "registered"]);
    let export = server.get("/auth/me/export", Some(&token)).await;
    assert_eq!(export.status, 200, "{}", export.text);
    let export = export.json();
    assert_eq!(
        (&export["format"], &export["user"]["username"]),
        (&json!("latchkey-export/1"), &json!("departing"))
    );
    assert_eq!(export["events"][0]["kind"], "exported");
    let wrong = delete(server, &token, "a walk by another river").await;
    assert_eq!(wrong.short(), "403 wrong_password");
    let listed = kinds(server, "/auth/me/events", &token).await;
    assert_eq!(listed, ["login_failed", "exported", "login", "registered"]);
    let user = testkit::claims(&token)["sub"].as_str().unwrap().to_owned();
    assert_receipt(&delete(server, &token, PASSWORD).await, &user);
    assert_gone(server, "departing", DOMAIN, &token).await;
}

pub(crate) async fn an_administrator_deletes_an_account(server: &impl RunningApi) {
    const DOMAIN: &str = "removed.example.com";
    assert_eq!(server.register("remover").await.status, 201);
    server.set_roles("remover", &[Role::Admin]);
    let admin = server.login("remover").await;
    let token = furnish(server, "removed", DOMAIN).await;
    let id = |token: &str| testkit::claims(token)["sub"].as_str().unwrap().to_owned();
    let path = format!("/admin/users/{}", id(&token));
    let events = format!("{path}/events");
    assert_eq!(kinds(server, &events, &admin).await, ["login", "registered"]);
    let tag = server.get(&path, Some(&admin)).await.header("etag").unwrap().to_owned();
    let remove = async |tag: &str| {
        let request = server.request(Method::DELETE, &path).header("if-match", tag);
        server.send(request.header("authorization", format!("Bearer {admin}"))).await
    };
    assert_eq!(remove("\"0\"").await.short(), "412 precondition_failed");
    let receipt = assert_receipt(&remove(&tag).await, &id(&token));
    assert_gone(server, "removed", DOMAIN, &token).await;
    assert_eq!(server.get(&path, Some(&admin)).await.short(), "404 not_found");
    // Only the event of the deletion remains, and it names the administrator.
    let event = &server.get(&events, Some(&admin)).await.json()["events"][0];
    assert_eq!((&event["id"], &event["by"]), (&receipt["receipt"], &json!(id(&admin))));
    assert_eq!(kinds(server, &events, &admin).await, ["deleted"]);
}
