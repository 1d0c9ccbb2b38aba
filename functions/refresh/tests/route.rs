//! Tests `refresh` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::disallowed_methods, reason = "tests begin sessions without signing in")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Instant;

use auth::GlobalEpoch;
use aws_sdk_dynamodb::types::AttributeValue;
use identity::{Account, Method, Methods, Role, Roles, SessionId};
use issuer::RefreshToken;
use jiff::SignedDuration;
use mailer::MailerFunction;
use peppers::{Peppers, Purpose};
use process::{Clock, Env, SystemClock};
use refresh::RefreshRoute;
use serde_json::{Value, json};
use store::NewSession;
use testkit::{
    ConcurrentEvent, Fault, Interceptor, NewUser, Stack, body, deliver, event, events_of,
    json_body, json_request, load, readable, status,
};
use web::{EventResponse, Service, World, answer};

struct Bench {
    stack: Stack,
    route: Service<RefreshRoute>,
    account: Account,
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let route = Service::<RefreshRoute>::open(&stack.env(), &World::system()).await.unwrap();
        let email = Some("testuser@example.com");
        let user = NewUser { username: "testuser", email, roles: &[Role::User] };
        let account = stack.user(user).await;
        let account = stack.confirm(&account).await;
        Self { stack, route, account }
    }

    /// Begins a session that has never rotated.
    async fn begin(&self) -> SessionId {
        let session = self.stack.new_session(self.account.epoch);
        self.stack.logins().begin(self.account.id, session, &[]).await.unwrap().id
    }

    /// A session's refresh token with this counter.
    fn token(&self, sid: SessionId, counter: u64) -> String {
        signed_with(self.stack.peppers(), RefreshToken { sub: self.account.id, sid, counter })
    }

    async fn ask(&self, token: &str) -> EventResponse {
        answer(&self.route, json_request("refresh", &json!({"refresh_token": token}))).await
    }

    /// Returns the status and, on success, the refresh token.
    async fn refresh(&self, token: &str) -> (i64, Option<String>) {
        let answer = self.ask(token).await;
        (status(&answer), body(&answer)["refresh_token"].as_str().map(str::to_owned))
    }

    /// Sets an attribute of a session, for example to simulate the passage of time.
    async fn set(&self, sid: SessionId, name: &str, number: i64) {
        self.stack
            .client()
            .update_item()
            .table_name("UsersTable")
            .key("pk", AttributeValue::S(format!("USER#{}", self.account.id)))
            .key("sk", AttributeValue::S(format!("SESSION#{sid}")))
            .condition_expression("attribute_exists(pk)")
            .update_expression("SET #name = :number")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":number", AttributeValue::N(number.to_string()))
            .send()
            .await
            .unwrap();
    }

    /// Ends the grace period by moving the last rotation into the past.
    async fn end_grace(&self, sid: SessionId) {
        self.set(sid, "rotated_at", 1).await;
    }

    async fn exists(&self, sid: SessionId) -> bool {
        let sessions = store::Sessions::new(&self.stack.users(), self.stack.client());
        sessions.of(self.account.id).await.unwrap().iter().any(|session| session.id == sid)
    }

    /// All items of the users' table.
    async fn table(&self) -> BTreeMap<String, String> {
        let scanned = self.stack.client().scan().table_name("UsersTable").send().await.unwrap();
        let row = |item: &std::collections::HashMap<String, AttributeValue>| {
            let sorted: BTreeMap<_, _> = item.iter().collect();
            (format!("{:?} {:?}", item["pk"], item["sk"]), format!("{sorted:?}"))
        };
        scanned.items().iter().map(row).collect()
    }
}

fn signed_with(peppers: &Peppers, token: RefreshToken) -> String {
    token.sign(&peppers.current(Purpose::RefreshToken, jiff::Timestamp::MAX))
}

fn claims(answer: &EventResponse) -> Value {
    let token = body(answer)["access_token"].as_str().unwrap().to_owned();
    serde_json::from_slice(&testkit::decode(token.split('.').nth(1).unwrap())).unwrap()
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let bench = Bench::start().await;
    let token = bench.token(bench.begin().await, 0);
    for (name, mut event_json) in events_of("refresh") {
        let filled =
            event_json["body"].as_str().unwrap().replace("REPLACE_WITH_A_REFRESH_TOKEN", &token);
        event_json["body"] = json!(filled);
        let answer = answer(&bench.route, event(event_json)).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

/// Covers each rule of [`store::Chain::judge`].
#[tokio::test]
async fn every_counter_is_judged_by_the_rotation_rules() {
    let bench = Bench::start().await;
    let (sid, other) = (bench.begin().await, bench.begin().await);
    let [zero, one, two] = [0, 1, 2].map(|counter| bench.token(sid, counter));
    // The first refresh after a login always rotates.
    assert_eq!(bench.refresh(&zero).await, (200, Some(one.clone())));
    // Within the grace period, the current token and the previous one get the same answer.
    assert_eq!(bench.refresh(&one).await, (200, Some(one.clone())));
    assert_eq!(bench.refresh(&zero).await, (200, Some(one.clone())));
    // After the grace period, the session rotates again.
    bench.end_grace(sid).await;
    assert_eq!(bench.refresh(&one).await, (200, Some(two.clone())));
    // A counter ahead of the stored one, which can occur after the table is restored, is refused. The session stays
    // valid.
    assert_eq!(bench.refresh(&bench.token(sid, 3)).await, (401, None));
    assert!(bench.exists(sid).await);
    // After the grace period, a replay ends this session and no other.
    bench.end_grace(sid).await;
    assert_eq!(bench.refresh(&one).await, (401, None));
    assert!(!bench.exists(sid).await && bench.exists(other).await);
    assert_eq!(bench.refresh(&two).await, (401, None), "the owner's token is void too");
    assert_eq!(bench.refresh(&bench.token(other, 0)).await.0, 200);
}

#[tokio::test]
async fn a_token_two_rotations_behind_counts_as_reuse_even_within_the_grace_period() {
    let bench = Bench::start().await;
    let sid = bench.begin().await;
    assert_eq!(bench.refresh(&bench.token(sid, 0)).await.0, 200);
    bench.end_grace(sid).await;
    assert_eq!(bench.refresh(&bench.token(sid, 1)).await.0, 200);
    assert_eq!(bench.refresh(&bench.token(sid, 0)).await, (401, None));
    assert!(!bench.exists(sid).await);
}

/// Only one notice is sent, however often an old token is presented.
#[tokio::test]
async fn a_session_ended_for_reuse_is_reported_to_the_owner_once() {
    let bench = Bench::start().await;
    let sid = bench.begin().await;
    let zero = bench.token(sid, 0);
    assert_eq!(bench.refresh(&zero).await.0, 200);
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await, []);
    bench.end_grace(sid).await;
    let again = (0..8).map(|_| bench.refresh(&zero));
    for answer in futures_util::future::join_all(again).await {
        assert_eq!(answer, (401, None));
    }
    let [mail] = deliver::<MailerFunction>(&bench.stack).await.try_into().unwrap();
    assert_eq!(mail.to, "testuser@example.com");
    assert_eq!(mail.subject, "Latchkey: a session has been ended");
}

#[tokio::test]
async fn the_access_token_has_the_same_session_and_the_current_roles() {
    let bench = Bench::start().await;
    let sid = bench.begin().await;
    let roles: Roles = [Role::User, Role::Admin].into_iter().collect();
    let administration = store::Administration::new(&bench.stack.users(), bench.stack.client());
    administration.set_roles(bench.account.id, &roles, testkit::occasion_now).await.unwrap();
    let first = bench.ask(&bench.token(sid, 0)).await;
    let again = bench.ask(&bench.token(sid, 0)).await;
    let (first, again) = (claims(&first), claims(&again));
    assert_eq!(first["roles"], json!(["user", "admin"]));
    assert_eq!((&first["sid"], &first["sub"]), (&json!(sid), &json!(bench.account.id)));
    assert_eq!(first["auth_time"], again["auth_time"]);
    assert_ne!(first["jti"], again["jti"], "a new access token each time");
}

#[tokio::test]
async fn a_refresh_does_not_renew_the_authentication() {
    let bench = Bench::start().await;
    let begun = SystemClock.now() - SignedDuration::from_hours(1);
    let methods = Methods::from(Method::Password).and(Method::Otp);
    let new = bench.stack.new_session(bench.account.epoch);
    let session = NewSession { created_at: begun, methods, ..new };
    let sid = session.id;
    bench.stack.logins().begin(bench.account.id, session, &[]).await.unwrap();
    for counter in [0, 1] {
        let claims = claims(&bench.ask(&bench.token(sid, counter)).await);
        assert_eq!(claims["auth_time"], begun.as_second());
        assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pwd", "otp"]), &json!("2")));
        bench.end_grace(sid).await;
    }
}

#[tokio::test]
async fn ended_and_expired_sessions_cannot_be_refreshed() {
    for reason in ["disabled", "epoch raised", "account deleted", "idle", "too old", "ended"] {
        let bench = Bench::start().await;
        let sid = bench.begin().await;
        let token = bench.token(sid, 0);
        let (users, client) = (bench.stack.users(), bench.stack.client());
        match reason {
            "disabled" => {
                let administration = store::Administration::new(&users, client);
                administration.disable(bench.account.id, testkit::occasion_now).await.unwrap();
                // Enabling the account does not revive the session.
                administration.enable(bench.account.id, testkit::occasion_now).await.unwrap();
            }
            "epoch raised" => {
                let epochs = store::Epochs::new(&users, client);
                let occasion = testkit::occasion(SystemClock.now());
                epochs.raise(bench.account.id, &occasion).await.unwrap();
            }
            "account deleted" => {
                client
                    .delete_item()
                    .table_name("UsersTable")
                    .key("pk", AttributeValue::S(format!("USER#{}", bench.account.id)))
                    .key("sk", AttributeValue::S("ACCOUNT".to_owned()))
                    .send()
                    .await
                    .unwrap();
            }
            "idle" => bench.set(sid, "expires_at", 1_000).await,
            "too old" => bench.set(sid, "absolute_expires_at", 1_000).await,
            "ended" => {
                assert!({
                    let endings = store::Endings::new(&users, client);
                    let occasion = testkit::occasion(SystemClock.now());
                    endings.end(bench.account.id, sid, &occasion).await.unwrap()
                });
            }
            other => panic!("{other}"),
        }
        assert_eq!(bench.refresh(&token).await, (401, None), "{reason}");
    }
}

#[tokio::test]
async fn a_disabled_account_cannot_refresh() {
    let bench = Bench::start().await;
    let token = bench.token(bench.begin().await, 0);
    bench.stack.disable(bench.account.id).await;
    assert_eq!(bench.refresh(&token).await, (401, None));
}

#[tokio::test]
async fn sessions_older_than_the_global_epoch_are_refused() {
    let bench = Bench::start().await;
    let token = bench.token(bench.begin().await, 0);
    let epoch = GlobalEpoch::after(SystemClock.now());
    bench.stack.keys_table().raise_epoch(epoch).await.unwrap();
    // A new process reads the new epoch.
    let route = Service::<RefreshRoute>::open(&bench.stack.env(), &World::system()).await.unwrap();
    let request = json_request("refresh", &json!({"refresh_token": token}));
    assert_eq!(status(&answer(&route, request).await), 401);
}

#[tokio::test]
async fn a_forged_token_changes_nothing() {
    let bench = Bench::start().await;
    let sid = bench.begin().await;
    let good = bench.token(sid, 0);
    let stranger = Peppers::generate("a", &process::SystemRandom);
    let claim = RefreshToken { sub: bench.account.id, sid, counter: 0 };
    let forged = signed_with(&stranger, claim);
    let id = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    let renamed = forged.replacen(&id(&forged), &id(&good), 1);
    let access = bench.stack.sign_in(&bench.account).await;
    let before = bench.table().await;
    let mut bad = vec![forged, renamed, access, "a.b.c".to_owned(), "x".repeat(16_000)];
    for at in (0..good.len()).step_by(7) {
        let mut altered = good.clone();
        let other = if altered.as_bytes()[at] == b'A' { "B" } else { "A" };
        altered.replace_range(at..=at, other);
        bad.push(altered);
    }
    for token in bad {
        let answer = bench.ask(&token).await;
        assert_eq!(status(&answer), 401, "{token}");
        assert_eq!(body(&answer)["code"], "invalid_token");
    }
    assert_eq!(bench.table().await, before);
    assert_eq!(bench.refresh(&good).await.0, 200, "the good token is still valid");
}

/// When the database is unreachable, a bad token still gets a 401, and a good one gets a 503.
#[tokio::test]
async fn a_bad_token_is_refused_without_a_database_read() {
    let bench = Bench::start().await;
    let good = bench.token(bench.begin().await, 0);
    let route = Service::<RefreshRoute>::open(&bench.stack.env_out_of_reach(), &World::system())
        .await
        .unwrap();
    let ask = async |token: &str| {
        let request = json_request("refresh", &json!({"refresh_token": token}));
        answer(&route, request).await
    };
    let bad = good.replacen("v1", "v0", 1);
    assert_eq!(status(&ask(&bad).await), 401);
    let started = Instant::now();
    insta::assert_json_snapshot!(readable(&ask(&good).await));
    assert!(started.elapsed() < dynamo::OPERATION_DEADLINE);
}

#[tokio::test]
async fn unreadable_secrets_cause_a_503() {
    let bench = Bench::start().await;
    let token = bench.token(bench.begin().await, 0);
    for missing in ["SIGNING_KEYS_SECRET", "PEPPERS_SECRET"] {
        let env = bench.stack.env_with(&[(missing, "file:/nowhere/at-all.json")]);
        let route = Service::<RefreshRoute>::open(&env, &World::system()).await.unwrap();
        let request = json_request("refresh", &json!({"refresh_token": token}));
        assert_eq!(status(&answer(&route, request).await), 503, "{missing}");
    }
    // The session is intact, so the client can retry.
    assert_eq!(bench.refresh(&token).await.0, 200);
}

#[tokio::test]
async fn only_the_documented_body_is_accepted() {
    let bench = Bench::start().await;
    for bad in [
        json!({}),
        json!({"refresh_token": null}),
        json!({"refresh_token": 1}),
        json!({"refresh_token": ["a"]}),
        json!([]),
    ] {
        let request = event(json_body(load("refresh"), &bad));
        let answer = answer(&bench.route, request).await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (400, &json!("invalid_request")));
    }
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let cold_start = async |env: Env| {
        Service::<RefreshRoute>::open(&env, &World::system()).await.err().unwrap().to_string()
    };
    insta::assert_snapshot!("an empty environment", cold_start(Env::default()).await);
    let bad = [
        ("REFRESH_GRACE_SECONDS", "0"),
        ("SESSION_IDLE_SECONDS", "100"),
        ("SESSION_ABSOLUTE_SECONDS", "99"),
        ("SESSIONS_PER_ACCOUNT", "many"),
        ("SECRETS_CACHE_SECONDS", "61"),
        ("KEYS_CACHE_SECONDS", "301"),
    ];
    insta::assert_snapshot!("bad values", cold_start(Env::from_iter(bad)).await);
}

/// If all sessions of the account end during a refresh, the refreshed session ends too, even if the answer is a 200.
#[tokio::test]
async fn a_refresh_that_races_the_end_of_all_sessions_does_not_revive_its_session() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    bench.route =
        Service::<RefreshRoute>::open(&interceptor.env(&bench.stack, &[]), &World::system())
            .await
            .unwrap();
    let mut users = 0;
    for concurrent in ConcurrentEvent::ALL {
        for call in 0.. {
            users += 1;
            let username = format!("user-{users}");
            let email = format!("{username}@example.com");
            let user = NewUser { username: &username, email: Some(&email), roles: &[Role::User] };
            bench.account = bench.stack.user(user).await;
            let sid = bench.begin().await;
            let token = bench.token(sid, 0);
            let (action, new_session) = concurrent.prepare(&bench.stack, &bench.account).await;
            interceptor.before(call, action);
            let (first, _) = bench.refresh(&token).await;
            if interceptor.calls().len() <= call {
                assert!(call > 1 && first == 200, "{call}");
                break;
            }
            let case = format!("{concurrent:?} before call {call}");
            assert!(matches!(first, 200 | 401), "{case}: {first}");
            assert!(!bench.stack.lives(bench.account.id, sid).await, "{case}");
            assert_eq!(bench.refresh(&token).await, (401, None), "{case}");
            if let Some(other) = new_session.await.unwrap() {
                assert!(bench.stack.lives(bench.account.id, other).await, "{case}");
            }
        }
    }
}

/// Ending a stolen session matters more than notifying the owner.
#[tokio::test]
async fn reuse_ends_a_session_even_if_the_notice_cannot_be_written() {
    for fault in [Fault::AccessDenied, Fault::ServerError, Fault::Lost] {
        let mut bench = Bench::start().await;
        let interceptor = Interceptor::of(&bench.stack).await;
        bench.route =
            Service::<RefreshRoute>::open(&interceptor.env(&bench.stack, &[]), &World::system())
                .await
                .unwrap();
        let (sid, other) = (bench.begin().await, bench.begin().await);
        let zero = bench.token(sid, 0);
        assert_eq!(bench.refresh(&zero).await.0, 200);
        bench.end_grace(sid).await;
        interceptor.fail_when(move |call| {
            let is_notice = call.body.to_string().contains("OUTBOX#");
            if is_notice { fault } else { Fault::None }
        });
        assert_eq!(bench.refresh(&zero).await, (401, None), "{fault:?}");
        assert!(!bench.exists(sid).await && bench.exists(other).await, "{fault:?}");
        assert_eq!(deliver::<MailerFunction>(&bench.stack).await, []);
    }
}
