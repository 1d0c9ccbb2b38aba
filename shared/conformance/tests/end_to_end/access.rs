//! Who may call what.

use std::collections::BTreeMap;

use auth::{Clock, Role, SystemClock};
use reqwest::Method;
use serde_json::Value;

use super::server::{Answer, Server, shared};

/// The routes that anyone may call. Every other route must refuse a bad token.
const PUBLIC: [&str; 3] = ["GET /.well-known/jwks.json", "POST /auth/login", "POST /auth/register"];

async fn call(server: &Server, method: &Method, path: &str, token: Option<&str>) -> Answer {
    let mut request = server.request(method.clone(), path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if method != Method::GET {
        request = request.header("content-type", "application/json").body("{}");
    }
    server.send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn access_matrix() {
    let server = shared();
    let mut tokens: Vec<(&str, Option<String>)> = vec![("no token", None)];
    for (name, roles) in [
        ("user", &[Role::User] as &[Role]),
        ("admin", &[Role::Admin]),
        ("super_admin", &[Role::SuperAdmin]),
    ] {
        let username = format!("matrix-{}", name.replace('_', "-"));
        assert_eq!(server.register(&username).await.status, 201);
        server.set_roles(&username, roles);
        tokens.push((name, Some(server.login(&username).await)));
    }
    let mut matrix = BTreeMap::new();
    for (method, path) in Server::routes() {
        let mut row = Vec::new();
        for (name, token) in &tokens {
            let answer = call(server, &method, &path, token.as_deref()).await;
            row.push(format!("{name}: {}", answer.short()));
        }
        matrix.insert(format!("{path} {method}"), row.join(" | "));
    }
    insta::assert_json_snapshot!(matrix);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_is_refused_by_every_route() {
    let server = shared();
    assert_eq!(server.register("mallory").await.status, 201);
    server.set_roles("mallory", &[Role::User, Role::Admin, Role::SuperAdmin]);
    let good = server.login("mallory").await;
    let claims = good.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&testkit::decode(claims)).unwrap();
    let forge = Server::forge().with_rules(server.url(), "latchkey");
    let bad = forge.bad_tokens(&claims, SystemClock.now());

    let mut guarded = 0;
    for (method, path) in Server::routes() {
        if PUBLIC.contains(&format!("{method} {path}").as_str()) {
            continue;
        }
        guarded += 1;
        let control = forge.sign(&forge.header(), &claims);
        let control = call(server, &method, &path, Some(&control)).await;
        assert!(control.status < 400, "{method} {path} with a good token: {}", control.text);
        for bad in &bad {
            // A line break cannot stand in a header.
            if bad.token.contains('\n') {
                continue;
            }
            let answer = call(server, &method, &path, Some(&bad.token)).await;
            assert_eq!(answer.status, 401, "{method} {path}: {}: {}", bad.fault, bad.token);
        }
    }
    assert_eq!(guarded + PUBLIC.len(), Server::routes().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_in_its_header_alone() {
    let server = shared();
    assert_eq!(server.register("trent").await.status, 201);
    let token = server.login("trent").await;
    let path = "/api/protected_route";
    let bearer = format!("Bearer {token}");
    assert_eq!(server.get(path, Some(&token)).await.status, 200);

    let request = || server.request(Method::GET, path);
    let lower = request().header("authorization", format!("bearer {token}"));
    assert_eq!(server.send(lower).await.status, 200);
    let query = server.request(Method::GET, &format!("{path}?access_token={token}"));
    assert_eq!(server.send(query).await.short(), "401 missing_token");
    for (name, value) in [
        ("cookie", format!("access_token={token}")),
        ("x-authorization", bearer.clone()),
        ("x-user-id", "trent".to_owned()),
        ("proxy-authorization", bearer.clone()),
    ] {
        let answer = server.send(request().header(name, value)).await;
        assert_eq!(answer.short(), "401 missing_token", "{name}");
    }
    let twice = request().header("authorization", &bearer).header("authorization", &bearer);
    assert_eq!(server.send(twice).await.short(), "401 invalid_token");
}
