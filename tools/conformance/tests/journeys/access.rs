//! Tests access to each route, by role and with bad tokens.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream;
use identity::Role;
use process::{Clock, SystemClock};
use reqwest::Method;
use testkit::{BadToken, claims};

use super::{Answer, RunningApi, routes};

/// The routes that anyone may call. Every other route must refuse a bad token.
const PUBLIC: &[&str] = &[
    "GET /.well-known/jwks.json",
    "GET /.well-known/oauth-authorization-server",
    "GET /.well-known/openid-configuration",
    "GET /confirm-email",
    "GET /reset-password",
    "GET /verify-email",
    "HEAD /.well-known/jwks.json",
    "HEAD /.well-known/oauth-authorization-server",
    "HEAD /.well-known/openid-configuration",
    // The code in the body is the credential.
    "POST /auth/email/verify",
    "POST /auth/login",
    "POST /auth/password/forgot",
    "POST /auth/password/reset",
    // The token in the body is the credential.
    "POST /auth/refresh",
    "POST /auth/register",
];

/// The path with values for its parameters. `{sid}` becomes the caller's own session, if there is a caller, and `{id}`
/// becomes an id that no account has.
fn filled(path: &str, token: Option<&str>) -> String {
    let own = token.map(|token| claims(token)["sid"].as_str().unwrap().to_owned());
    let sid = own.unwrap_or_else(|| "5f0c8a3e-2b1d-4c6f-9a7e-3d2b1c0f9e8d".to_owned());
    let filled = |part: &str| match part {
        "{sid}" => sid.clone(),
        "{id}" => "01a2032a-bf2a-7b1e-9e2d-c5564b50823f".to_owned(),
        _ if part.starts_with('{') => "0".to_owned(),
        _ => part.to_owned(),
    };
    path.split('/').map(filled).collect::<Vec<_>>().join("/")
}

async fn call(
    server: &impl RunningApi,
    method: &Method,
    path: &str,
    token: Option<&str>,
) -> Answer {
    let mut request = server.request(method.clone(), path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if ![Method::GET, Method::HEAD].contains(method) {
        request = request.header("content-type", "application/json").body("{}");
    }
    server.send(request).await
}

/// Records each route's answers to a caller without a token and to a caller with each role.
pub(crate) async fn access_matrix(server: &impl RunningApi) {
    let username = |role: Role| format!("matrix-{}", role.as_str().replace('_', "-"));
    for role in Role::ALL {
        assert_eq!(server.register(&username(role)).await.status, 201);
        server.set_roles(&username(role), &[role]);
    }
    let mut matrix = BTreeMap::new();
    for (method, path) in routes() {
        let nobody = call(server, &method, &filled(&path, None), None).await;
        let mut row = vec![format!("no token: {}", nobody.short())];
        for role in Role::ALL {
            // Each call needs a new session, because some routes end the caller's session.
            let token = server.login(&username(role)).await;
            let answer = call(server, &method, &filled(&path, Some(&token)), Some(&token)).await;
            row.push(format!("{role}: {}", answer.short()));
        }
        matrix.insert(format!("{path} {method}"), row.join(" | "));
    }
    // The dev server and the deployed stack share the snapshot.
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_json_snapshot!("access_matrix", matrix);
    });
}

pub(crate) async fn every_bad_token_is_refused_by_every_route(server: &impl RunningApi) {
    assert_eq!(server.register("mallory").await.status, 201);
    server.set_roles("mallory", &Role::ALL);
    let forge = server.forge();

    let mut guarded = 0;
    for (method, path) in routes() {
        if PUBLIC.contains(&format!("{method} {path}").as_str()) {
            continue;
        }
        guarded += 1;
        let claims = claims(&server.login("mallory").await);
        let bad = forge.bad_tokens(&claims, SystemClock.now());
        let control = forge.sign(&forge.header(), &claims);
        let path = filled(&path, Some(&control));
        // A header cannot contain a line break.
        let bad = bad.iter().filter(|bad| !bad.token.contains('\n'));
        let refused = async |bad: &BadToken| {
            let answer = call(server, &method, &path, Some(&bad.token)).await;
            assert_eq!(answer.status, 401, "{method} {path}: {}: {}", bad.fault, bad.token);
        };
        // Send only four requests at a time, because the AWS emulator is slow.
        stream::iter(bad).for_each_concurrent(4, refused).await;
        // Send the valid token last, because the route may end the token's session.
        let control = call(server, &method, &path, Some(&control)).await;
        // The route may still refuse the empty body.
        let admitted = ![401, 403].contains(&control.status) && control.status < 500;
        assert!(admitted, "{method} {path} with a valid token: {}", control.text);
    }
    assert_eq!(guarded + PUBLIC.len(), routes().len());
}

pub(crate) async fn a_token_is_accepted_only_in_the_authorization_header(server: &impl RunningApi) {
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
