//! Rotation of keys under load, revocation, and attacks with a copy of the tables.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use identity::Role;
use issuer::{RefreshToken, SigningKeys};
use peppers::{Peppers, Purpose};
use process::SystemRandom;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Forge, claims, token_header};

use super::server::{Server, shared};
use crate::journeys::{RunningApi, Tokens};

/// The time limit for the rotations under load.
const TIME_LIMIT: Duration = Duration::from_mins(10);

/// Sends logins, refreshes and other requests in sequence until `done`, and counts them. Panics if a request fails.
async fn stream(server: &Server, username: &str, done: &AtomicBool, requests: &AtomicUsize) {
    let mut tokens = server.sign_in(username).await;
    while !done.load(Ordering::SeqCst) {
        for path in ["/auth/protected", "/api/protected_route", "/auth/me"] {
            let answer = server.get(path, Some(&tokens.access)).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
        let refreshed = server.refresh(&tokens.refresh).await;
        assert_eq!(refreshed.status, 200, "{}", refreshed.text);
        tokens = Tokens::of(&refreshed);
        let keys = server.get("/.well-known/jwks.json", None).await;
        assert_eq!(keys.status, 200);
        requests.fetch_add(6, Ordering::SeqCst);
        tokens = if requests.load(Ordering::SeqCst).is_multiple_of(4) {
            server.sign_in(username).await
        } else {
            tokens
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_rotations_under_load_fail_no_request() {
    let settings = [
        "JWKS_MAX_AGE_SECONDS=1",
        "KEYS_CACHE_SECONDS=1",
        "SECRETS_CACHE_SECONDS=1",
        // Short enough that sessions rotate under load. Database calls must finish within three fifths of this
        // time, even on a busy machine.
        "REFRESH_GRACE_SECONDS=4",
        // The users sign in repeatedly, and their first sessions must stay live.
        "SESSIONS_PER_ACCOUNT=500",
    ];
    // One instance for each user, and one for the rotations.
    let mut arguments = vec!["--db", "memory", "--concurrency", "4"];
    arguments.extend(settings.iter().flat_map(|setting| ["--env", *setting]));
    let server = Server::start(&arguments);
    let users = ["streamer-1", "streamer-2", "streamer-3"];
    for user in users {
        assert_eq!(server.register(user).await.status, 201);
    }
    let before = server.sign_in(users[0]).await;
    let (done, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    let started = Instant::now();
    let rotations = async {
        let mut kids = vec![token_header(&before.access)["kid"].clone()];
        while kids.len() < 4 || requests.load(Ordering::SeqCst) <= 100 {
            assert!(started.elapsed() < TIME_LIMIT, "only {kids:?}, {requests:?} requests");
            // A rotation succeeds only once the next key has been public for long enough.
            let output = tokio::task::block_in_place(|| server.operate(&["keys", "rotate"]));
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() || error.contains("must not sign before"), "{error}");
            let kid = token_header(&server.login(users[0]).await)["kid"].clone();
            if !kids.contains(&kid) {
                kids.push(kid);
            }
        }
        done.store(true, Ordering::SeqCst);
        kids
    };
    let streams = users.map(|user| stream(&server, user, &done, &requests));
    let (kids, _) = tokio::join!(rotations, futures_util::future::join_all(streams));
    let requests = requests.load(Ordering::SeqCst);
    println!("{requests} requests over {} keys in {:?}", kids.len(), started.elapsed());
    assert!(requests > 100, "only {requests} requests");
    // A token that was signed three rotations ago stays valid until it expires.
    for path in ["/auth/protected", "/api/protected_route"] {
        assert_eq!(server.get(path, Some(&before.access)).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_comes_too_early_reports_when_it_will_be_possible() {
    let server = shared();
    // This rotation may succeed: on a slow machine, the next key may already have been public for long enough. The
    // second rotation then comes too early.
    server.operate(&["keys", "rotate"]);
    let output = server.operate(&["keys", "rotate"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.trim().lines().count(), 1, "{error}");
    assert!(error.contains("the next key must not sign before 20"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_key_is_revoked_and_its_tokens_are_refused() {
    let settings = ["KEYS_CACHE_SECONDS=1", "SECRETS_CACHE_SECONDS=1"];
    let mut arguments = vec!["--db", "memory"];
    arguments.extend(settings.iter().flat_map(|setting| ["--env", *setting]));
    let server = Server::start(&arguments);
    assert_eq!(server.register("leaker").await.status, 201);
    let tokens = server.sign_in("leaker").await;
    let kid = token_header(&tokens.access)["kid"].as_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let output = server.operate(arguments);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // Without confirmation, the command reports the consequence and changes nothing.
    let (done, printed) = run(&["keys", "retire", &kid]);
    assert!(!done && printed.contains("Every access token"), "{printed}");
    assert_eq!(server.get("/auth/protected", Some(&tokens.access)).await.status, 200);
    assert!(!run(&["keys", "retire", "unknown", "--yes"]).0);
    let (done, printed) = run(&["keys", "retire", &kid, "--yes"]);
    assert!(done && !printed.split("Published keys").nth(1).unwrap().contains(&kid), "{printed}");
    let deadline = Instant::now() + Duration::from_mins(2);
    for path in ["/auth/protected", "/api/protected_route"] {
        while server.get(path, Some(&tokens.access)).await.status != 401 {
            assert!(Instant::now() < deadline, "{path} still accepts the token");
        }
    }
    // The session stays live, and another key signs its next token.
    let next = loop {
        let refreshed = Tokens::of(&server.refresh(&tokens.refresh).await);
        if token_header(&refreshed.access)["kid"] != json!(kid) {
            break refreshed;
        }
        assert!(Instant::now() < deadline, "functions still sign with the revoked key");
    };
    assert_eq!(server.get("/auth/protected", Some(&next.access)).await.status, 200);
    // Revoke all keys.
    assert!(run(&["keys", "retire", "--all", "--yes"]).0);
    while server.get("/auth/protected", Some(&next.access)).await.status != 401 {
        assert!(Instant::now() < deadline, "the token is still accepted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_global_epoch_ends_every_session() {
    let server = Server::start(&["--db", "memory", "--env", "KEYS_CACHE_SECONDS=1"]);
    assert_eq!(server.register("restored").await.status, 201);
    let tokens = server.sign_in("restored").await;
    let output = server.operate(&["sessions", "end-all"]);
    assert_eq!(output.status.code(), Some(1), "the command needs no confirmation");
    assert_eq!(server.refresh(&tokens.refresh).await.status, 200);
    assert!(server.operate(&["sessions", "end-all", "--yes"]).status.success());
    let deadline = Instant::now() + Duration::from_mins(2);
    while server.get("/auth/protected", Some(&tokens.access)).await.status != 401
        || server.refresh(&tokens.refresh).await.status != 401
    {
        assert!(Instant::now() < deadline, "the tokens are still accepted");
    }
    // A user who signs in during a later second is admitted.
    loop {
        let again = server.sign_in("restored").await;
        if server.get("/auth/protected", Some(&again.access)).await.status == 200 {
            assert_eq!(server.refresh(&again.refresh).await.status, 200);
            break;
        }
        assert!(Instant::now() < deadline, "new sessions are still refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_a_pepper_ends_no_session() {
    let server = Server::start(&["--db", "memory", "--env", "SECRETS_CACHE_SECONDS=1"]);
    assert_eq!(server.register("salty").await.status, 201);
    let before = server.sign_in("salty").await;
    assert!(server.operate(&["keys", "rotate", "--peppers"]).status.success());
    let second = server.operate(&["keys", "rotate", "--peppers"]);
    assert!(!second.status.success(), "a second pepper was added too early");
    assert_eq!(server.refresh(&before.refresh).await.status, 200);
    let after = server.sign_in("salty").await;
    assert_eq!(server.refresh(&after.refresh).await.status, 200);
    let pepper = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    assert_eq!(pepper(&before.refresh), pepper(&after.refresh), "the new pepper signs too early");
}

/// The items of both tables, as a thief would copy them.
async fn dump(server: &Server) -> BTreeMap<String, String> {
    let state = std::fs::read_to_string(server.local().join("dev.json")).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let url = state["database"].as_str().unwrap();
    let mut items = BTreeMap::new();
    for table in ["users_table", "keys_table"] {
        let request = json!({"TableName": state[table], "ConsistentRead": true});
        let answer = reqwest::Client::new()
            .post(url)
            .header("x-amz-target", "DynamoDB_20120810.Scan")
            .header("content-type", "application/x-amz-json-1.0")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
                 SignedHeaders=host, Signature=0",
            )
            .header("x-amz-date", "20260101T000000Z")
            .body(request.to_string())
            .send()
            .await
            .unwrap();
        let scanned: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        for item in scanned["Items"].as_array().unwrap() {
            items.insert(format!("{table} {} {}", item["pk"], item["sk"]), item.to_string());
        }
    }
    items
}

/// An attacker has the source code and a copy of both tables. Each attack is refused and changes nothing. As a
/// control, each attack succeeds with the real pepper or key.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_tables_gives_no_access() {
    let server = Server::start(&["--db", "memory"]);
    assert_eq!(server.register("owner").await.status, 201);
    let tokens = server.sign_in("owner").await;
    let claims = claims(&tokens.access);
    let before = dump(&server).await;
    // The copy contains no secret.
    let everything: String = before.values().map(String::as_str).collect();
    let peppers = std::fs::read_to_string(server.local().join("peppers.json")).unwrap();
    let keys = std::fs::read_to_string(server.local().join("signing-keys.json")).unwrap();
    let member = |json: &str, pointer: &str| {
        let json: Value = serde_json::from_str(json).unwrap();
        json.pointer(pointer).unwrap().as_str().unwrap().to_owned()
    };
    for secret in [
        member(&peppers, "/secret"),
        member(&keys, "/keys/0/d"),
        member(&keys, "/keys/1/d"),
        tokens.refresh.clone(),
        tokens.access.clone(),
    ] {
        assert!(!everything.contains(&secret));
    }

    // The attacker knows ids, counters and key ids, and can create peppers and keys with the same ids.
    let (user, session) = (&claims["sub"], &claims["sid"]);
    let id = |value: &Value| value.as_str().unwrap().to_owned();
    let claim = RefreshToken {
        sub: id(user).parse().unwrap(),
        sid: id(session).parse().unwrap(),
        counter: 0,
    };
    let real_peppers: Peppers = peppers.parse().unwrap();
    let pepper = real_peppers.ids().next().unwrap().to_owned();
    let guess = json!({"id": pepper, "secret": "0".repeat(64)}).to_string();
    let refresh_by =
        |peppers: &Peppers| claim.sign(&peppers.by_id(&pepper, Purpose::RefreshToken).unwrap());
    let real = server.forge();
    let mut stranger: Value = serde_json::from_str(
        &SigningKeys::generate(auth::Algorithm::Es256, "x", &SystemRandom).to_json(),
    )
    .unwrap();
    stranger["keys"][0]["kid"] = json!(real.kid());
    let forged = Forge::of(stranger.to_string().parse().unwrap());
    let as_admin = |forge: &Forge| {
        let roles: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
        forge.with_claim(&claims, "roles", json!(roles))
    };

    // Refresh the session, forge tokens with more roles, and end sessions.
    let attacks = async |refresh: String, access: String| {
        let end = format!("/auth/sessions/{}", id(session));
        [
            server.refresh(&refresh).await.status,
            server.get("/auth/protected", Some(&access)).await.status,
            server.get("/api/protected_route_admin", Some(&access)).await.status,
            server.call(Method::DELETE, &end, &access).await.status,
            server.call(Method::POST, "/auth/logout", &access).await.status,
            server.call(Method::POST, "/auth/logout-all", &access).await.status,
        ]
    };
    let refused = attacks(refresh_by(&guess.parse().unwrap()), as_admin(&forged)).await;
    assert_eq!(refused, [401; 6]);
    // A token signed with a pepper that has a new id is refused too.
    let own = Peppers::generate("x", &SystemRandom);
    let own = claim.sign(&own.current(Purpose::RefreshToken, jiff::Timestamp::MAX));
    assert_eq!(server.refresh(&own).await.status, 401);
    assert_eq!(dump(&server).await, before, "an attack has changed a table");

    let allowed = attacks(refresh_by(&real_peppers), as_admin(&real)).await;
    // The last call is refused, because the logout before it has ended the session.
    assert_eq!(allowed, [200, 200, 200, 204, 204, 401]);
    assert_ne!(dump(&server).await, before);
}
