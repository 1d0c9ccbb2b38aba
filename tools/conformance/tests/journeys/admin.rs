//! Administrators list and change accounts.

use identity::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, PASSWORD, RunningApi};

/// Sends a request with an access token, a body, and optionally the entity tag that the resource must still have.
async fn change(
    server: &impl RunningApi,
    token: &str,
    method: Method,
    path: &str,
    if_match: Option<&str>,
    body: &Value,
) -> Answer {
    let mut request = server
        .request(method, path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(body.to_string());
    if let Some(tag) = if_match {
        request = request.header("if-match", tag);
    }
    server.send(request).await
}

pub(crate) async fn an_administrator_lists_and_shows_accounts(server: &impl RunningApi) {
    let body = json!({"username": "listed", "password": PASSWORD, "email": "listed@example.com"});
    assert_eq!(server.post("/auth/register", &body).await.status, 201);
    assert_eq!(server.register("viewer").await.status, 201);
    server.set_roles("viewer", &[Role::Admin]);
    let token = server.login("viewer").await;
    let (mut names, mut query) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/admin/users?limit=2{query}"), Some(&token)).await.json();
        for user in page["users"].as_array().unwrap() {
            names.push(user["username"].as_str().unwrap().to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("&cursor={cursor}"),
            None => break,
        }
    }
    for name in ["listed", "viewer"] {
        assert_eq!(names.iter().filter(|it| *it == name).count(), 1, "{names:?}");
    }
    for filter in ["email=listed@example.com", "username=LISTED"] {
        let page = server.get(&format!("/admin/users?{filter}"), Some(&token)).await.json();
        assert_eq!(page["users"][0]["username"], "listed", "{filter}");
        let id = page["users"][0]["id"].as_str().unwrap();
        let shown = server.get(&format!("/admin/users/{id}"), Some(&token)).await;
        assert_eq!((shown.status, &shown.json()["username"]), (200, &json!("listed")));
        assert!(shown.header("etag").is_some());
    }
    let altered = server.get("/admin/users?cursor=a.b", Some(&token)).await;
    assert_eq!(altered.short(), "400 invalid_input");
}

pub(crate) async fn an_administrator_changes_an_account(server: &impl RunningApi) {
    for username in ["chief", "deputy", "worker"] {
        assert_eq!(server.register(username).await.status, 201);
    }
    let both = [Role::Admin, Role::SuperAdmin];
    server.set_roles("chief", &both);
    server.set_roles("deputy", &both);
    let (token, deputy) = (server.login("chief").await, server.login("deputy").await);
    let id = |token: &str| testkit::claims(token)["sub"].as_str().unwrap().to_owned();
    let worker = id(&server.login("worker").await);
    let path = format!("/admin/users/{worker}");
    let tag = async || {
        let shown = server.get(&path, Some(&token)).await;
        shown.header("etag").unwrap().to_owned()
    };
    let send_patch = async |tag: Option<&str>, body: &Value| {
        change(server, &token, Method::PATCH, &path, tag, body).await
    };
    let body = json!({"email": "worker@example.com", "email_verified": true, "attributes": {"tenant": "acme"}});
    assert_eq!(send_patch(None, &body).await.short(), "428 precondition_required");
    let first = tag().await;
    assert_eq!(send_patch(Some(&first), &body).await.status, 200);
    assert_eq!(send_patch(Some(&first), &body).await.short(), "412 precondition_failed");
    // The next token contains the attributes. This login records its network for the new
    // address.
    let login = json!({"email": "worker@example.com", "password": PASSWORD});
    let login = server.post("/auth/login", &login).await.json();
    let claims = testkit::claims(login["access_token"].as_str().unwrap());
    assert_eq!(claims["attributes"], json!({"tenant": "acme"}));
    // The previous address gets a notice, and the networks recorded for it are forgotten.
    let body = json!({"email": "other@example.com"});
    assert_eq!(send_patch(Some("*"), &body).await.json()["email_verified"], false);
    let roles = format!("{path}/roles");
    let body = json!({"roles": ["user", "admin"]});
    assert_eq!(change(server, &token, Method::PUT, &roles, None, &body).await.status, 200);
    let worker_token = server.login("worker").await;
    assert_eq!(server.get("/auth/admin", Some(&worker_token)).await.status, 200);
    for action in ["factors/reset", "logout"] {
        let path = format!("{path}/{action}");
        assert_eq!(server.call(Method::POST, &path, &token).await.status, 204);
    }
    assert_eq!(server.get("/auth/admin", Some(&worker_token)).await.short(), "401 invalid_token");
    for disabled in [true, false] {
        let answer = send_patch(Some("*"), &json!({ "disabled": disabled })).await;
        assert_eq!(answer.json()["disabled"], disabled);
    }
    // The chief demotes the deputy, so the deputy's attempt to demote the chief is refused.
    let demote = json!({"roles": ["admin"]});
    let [chief, other] = [&token, &deputy].map(|token| format!("/admin/users/{}/roles", id(token)));
    assert_eq!(change(server, &token, Method::PUT, &other, None, &demote).await.status, 200);
    let late = change(server, &deputy, Method::PUT, &chief, None, &demote).await;
    assert!([403, 409].contains(&late.status), "{}", late.text);
}
