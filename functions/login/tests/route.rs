//! Tests `login` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use auth::{AccountCheck, TokenRules, Verifier};
use aws_sdk_dynamodb::types::AttributeValue;
use identity::{Account, Acr, Method, Presented, Role};
use login::LoginRoute;
use mailer::MailerFunction;
use process::{Clock, Env, SystemClock};
use serde_json::{Value, json};
use store::{Administration, Events};
use testkit::{
    AUDIENCE, ConcurrentEvent, Fault, Forge, ISSUER, Interceptor, NewUser, PASSWORD, Stack, body,
    deliver, event, events_of, from_network, json_body, json_request, load, readable, status,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use web::{EventResponse, Service, World, answer};

struct Bench {
    stack: Stack,
    route: Service<LoginRoute>,
    account: Account,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with_password(PASSWORD).await
    }

    async fn start_with_password(password: &str) -> Self {
        let stack = Stack::start().await;
        // Other tests cover throttling.
        let free = ["PAIR", "NAME", "NETWORK"].map(|kind| format!("THROTTLE_{kind}_FREE"));
        let free: Vec<_> = free.iter().map(|name| (name.as_str(), "1000")).collect();
        let route =
            Service::<LoginRoute>::open(&stack.env_with(&free), &World::system()).await.unwrap();
        let email = Some("testuser@example.com");
        let user = NewUser { username: "testuser", email, roles: &[Role::User] };
        let account = stack.user_with_password(user, password).await;
        Self { stack, route, account }
    }

    async fn ask(&self, login: &Value) -> EventResponse {
        answer(&self.route, json_request("login", login)).await
    }

    /// Logs in with a name and a password.
    async fn login(&self, username: &str, password: &str) -> EventResponse {
        self.ask(&json!({"username": username, "password": password})).await
    }

    /// The status and the problem code, which is empty for a success.
    async fn outcome(&self, login: &Value) -> (i64, String) {
        let answer = self.ask(login).await;
        (status(&answer), body(&answer)["code"].as_str().unwrap_or_default().to_owned())
    }

    async fn session_count(&self) -> usize {
        let scanned = self.stack.client().scan().table_name("UsersTable").send().await.unwrap();
        let is_session = |sk: &str| sk.starts_with("SESSION#");
        scanned.items().iter().filter(|item| is_session(item["sk"].as_s().unwrap())).count()
    }

    fn verifier(&self) -> Verifier<Forge> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Verifier::new(TokenRules::new(ISSUER, AUDIENCE), self.stack.forge().clone(), clock)
    }
}

fn token(answer: &EventResponse) -> String {
    body(answer)["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let bench = Bench::start().await;
    for (name, event_json) in events_of("login") {
        let answer = answer(&bench.route, event(event_json)).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn a_name_or_address_is_accepted_in_any_spelling() {
    let bench = Bench::start().await;
    for identifier in [
        json!({"username": "testuser"}),
        json!({"username": "TESTUSER"}),
        json!({"username": "\u{ff54}\u{ff45}\u{ff53}\u{ff54}user"}),
        json!({"email": "testuser@example.com"}),
        json!({"email": "TestUser@EXAMPLE.com"}),
    ] {
        let mut login = identifier.clone();
        login["password"] = json!(PASSWORD);
        assert_eq!(status(&bench.ask(&login).await), 200, "{identifier}");
    }
    // A name without `@` is not an address, and white space within a name is significant.
    for identifier in [
        json!({"email": "testuser"}),
        json!({"username": "test user"}),
        json!({"email": "testuser @example.com"}),
        json!({"username": "other@example.com"}),
        json!({"username": " "}),
    ] {
        let mut login = identifier.clone();
        login["password"] = json!(PASSWORD);
        assert_eq!(
            bench.outcome(&login).await,
            (401, "invalid_credentials".to_owned()),
            "{identifier}"
        );
    }
}

/// Phones add a space after a word, and forms with a single field send an address as `username`.
#[tokio::test]
async fn a_login_accepts_what_sign_in_forms_send() {
    let bench = Bench::start().await;
    for identifier in [
        json!({"username": "testuser "}),
        json!({"username": " testuser"}),
        json!({"username": "\t\u{a0}TestUser\u{3000}\r\n"}),
        json!({"email": " testuser@example.com"}),
        json!({"email": "testuser@example.com \n"}),
        json!({"username": "testuser@example.com"}),
        json!({"username": " TestUser@Example.com "}),
    ] {
        let mut login = identifier.clone();
        login["password"] = json!(PASSWORD);
        assert_eq!(status(&bench.ask(&login).await), 200, "{identifier}");
    }
    // A password is never trimmed.
    assert_eq!(status(&bench.login("testuser", &format!("{PASSWORD} ")).await), 401);
    // An address in `username` may be as long as one in `email`. The error names the member that was sent.
    let address = |octets: usize| format!("{}@example.com", "y".repeat(octets - 12));
    for (username, expected) in [(address(254), 401), (address(255), 400), ("y".repeat(81), 400)] {
        let answer = bench.login(&username, PASSWORD).await;
        assert_eq!(status(&answer), expected, "{username}");
        if expected == 400 {
            assert_eq!(body(&answer)["errors"][0]["field"], "username");
        }
    }
}

/// The limit applies to the canonical form, which may be longer or shorter than the input.
#[tokio::test]
async fn every_spelling_of_a_name_has_the_same_length_limit() {
    let bench = Bench::start().await;
    let domain = [&*"a".repeat(63), &*"b".repeat(63), &*"c".repeat(61)].join(".");
    let (name, address) = ("\u{e9}".repeat(80), format!("{}@{domain}", "\u{e9}".repeat(32)));
    let user = NewUser { username: &name, email: Some(&address), roles: &[Role::User] };
    bench.stack.user(user).await;
    let decomposed = |text: &str| text.replace('\u{e9}', "E\u{301}");
    let spaced = format!("{} {}", "\u{e9}".repeat(40), "\u{e9}".repeat(39));
    for (member, text, expected) in [
        ("username", name.clone(), 200),
        ("email", address.clone(), 200),
        ("username", address.clone(), 200),
        ("username", spaced, 401),
        ("username", format!("{name}\u{e9}"), 400),
        ("email", format!("\u{e9}{address}"), 400),
    ] {
        for text in [decomposed(&text), text] {
            let mut login = json!({"password": PASSWORD});
            login[member] = json!(text);
            assert_eq!(status(&bench.ask(&login).await), expected, "{member} {text}");
        }
    }
    // In the canonical form, thirty ligatures become ninety letters.
    for text in ["\u{fb03}".repeat(30), "ffi".repeat(30)] {
        assert_eq!(status(&bench.login(&text, PASSWORD).await), 400, "{text}");
    }
}

#[tokio::test]
async fn attempts_with_an_address_in_either_member_share_one_throttle() {
    let stack = Stack::start().await;
    let env = stack.env_with(&[("THROTTLE_PAIR_BASE_SECONDS", "300")]);
    let route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    let mut answers = Vec::new();
    for identifier in [
        json!({"email": "testuser@example.com"}),
        json!({"username": "testuser@example.com"}),
        json!({"username": " TESTUSER@example.com "}),
        json!({"email": " testuser@example.com"}),
    ] {
        let mut login = identifier;
        login["password"] = json!("another password");
        answers.push(status(&answer(&route, json_request("login", &login)).await));
    }
    assert_eq!(answers, [401, 401, 401, 429]);
}

#[tokio::test]
async fn a_login_begins_a_session_and_returns_its_token() {
    let bench = Bench::start().await;
    let answer = bench.login("testuser", PASSWORD).await;
    assert_eq!(body(&answer)["expires_in"], 900);
    let claims = bench.verifier().verify(&token(&answer)).await.unwrap();
    assert_eq!((claims.sub, claims.epoch), (bench.account.id, bench.account.epoch));
    assert_eq!(claims.roles, bench.account.roles);
    assert_eq!(claims.exp - claims.iat, 900);
    // The session begins before the token is issued, perhaps in an earlier second.
    assert!((0..60).contains(&(claims.iat - claims.auth_time)), "{claims:?}");
    assert_eq!(claims.amr, Method::Password.into());
    assert_eq!(claims.acr, Acr::One);
    assert_eq!(claims.preferred_username, "testuser");
    let accounts = store::Accounts::new(&bench.stack.users(), bench.stack.client());
    let found = accounts.find(claims.sub, claims.sid).await.unwrap();
    assert_eq!(found.session.unwrap().epoch, bench.account.epoch);
}

/// Anyone can read a token, so it must contain no secret.
#[tokio::test]
async fn a_token_has_exactly_the_documented_claims() {
    let bench = Bench::start().await;
    let token = token(&bench.login("testuser", PASSWORD).await);
    let claims = testkit::decode(token.split('.').nth(1).unwrap());
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "acr",
        "amr",
        "aud",
        "auth_time",
        "client_id",
        "exp",
        "iat",
        "iss",
        "jti",
        "preferred_username",
        "roles",
        "sid",
        "sub",
        "ver",
    ];
    assert_eq!(names, expected);
    assert!(!claims.to_string().contains("testuser@example.com"));
}

/// Tokens, token ids and session ids never repeat.
#[tokio::test]
async fn every_login_begins_a_new_session() {
    let bench = Bench::start().await;
    let (mut tokens, mut ids, mut sessions) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..5 {
        let token = token(&bench.login("testuser", PASSWORD).await);
        let claims = bench.verifier().verify(&token).await.unwrap();
        tokens.insert(token);
        ids.insert(claims.jti);
        sessions.insert(claims.sid);
    }
    assert_eq!((tokens.len(), ids.len(), sessions.len()), (5, 5, 5));
    assert_eq!(bench.session_count().await, 5);
}

/// A login that fails begins no session.
#[tokio::test]
async fn every_failure_gets_the_same_answer() {
    let bench = Bench::start().await;
    let disabled = NewUser { username: "disabled", email: None, roles: &[Role::User] };
    bench.stack.disable(bench.stack.user(disabled).await.id).await;
    let wrong_password = bench.login("testuser", "another password").await;
    let readable_wrong = readable(&wrong_password);
    assert_eq!(status(&wrong_password), 401);
    for login in [
        json!({"username": "nobody-here", "password": PASSWORD}),
        json!({"username": "disabled", "password": PASSWORD}),
        json!({"username": "disabled", "password": "another password"}),
        json!({"email": "nobody@example.com", "password": PASSWORD}),
        json!({"email": "testuser@example.com", "password": "another password"}),
        json!({"username": "no name", "password": PASSWORD}),
        json!({"username": "", "password": PASSWORD}),
        json!({"username": "a\u{0}b\u{202e}", "password": PASSWORD}),
        json!({"email": "no address", "password": PASSWORD}),
        json!({"username": "testuser", "password": ""}),
        json!({"username": "testuser", "password": "short"}),
        json!({"username": "testuser", "password": "y".repeat(1_024)}),
    ] {
        let answer = bench.ask(&login).await;
        // All events have the same request id, so the status, the headers and the whole body must be equal.
        assert_eq!(answer, wrong_password, "{login}");
        assert_eq!(readable(&answer), readable_wrong, "{login}");
    }
    assert_eq!(bench.session_count().await, 0);
}

/// A proxy that forwards all requests to the database and records them.
struct Wiretap {
    url: String,
    recorded: Arc<Mutex<Vec<u8>>>,
}

impl Wiretap {
    async fn in_front_of(stack: &Stack) -> Self {
        let database = stack.env().read(|reader| reader.required("AWS_ENDPOINT_URL_DYNAMODB"));
        let database: String = database.unwrap();
        let database = database.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&recorded);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&database).await.unwrap();
                tokio::spawn(Self::forward(client, server, Arc::clone(&record)));
            }
        });
        Self { url, recorded }
    }

    async fn forward(client: TcpStream, server: TcpStream, record: Arc<Mutex<Vec<u8>>>) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            record.lock().unwrap().extend_from_slice(&bytes[..count]);
            to_server.write_all(&bytes[..count]).await.unwrap();
        }
    }

    /// Returns the sorted names of the operations since the last call.
    fn operations(&self) -> Vec<String> {
        let recorded = std::mem::take(&mut *self.recorded.lock().unwrap());
        let recorded = String::from_utf8(recorded).unwrap();
        let operations = recorded.split("DynamoDB_20120810.").skip(1);
        let mut operations: Vec<_> =
            operations.map(|after| after.lines().next().unwrap().to_owned()).collect();
        operations.sort();
        operations
    }
}

/// Different database requests would take different amounts of time and reveal whether an account exists or is
/// disabled.
#[tokio::test]
async fn every_failure_makes_the_same_database_requests() {
    let stack = Stack::start().await;
    let tap = Wiretap::in_front_of(&stack).await;
    let env = stack.env_with(&[("AWS_ENDPOINT_URL_DYNAMODB", &tap.url)]);
    let route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    for (username, email) in
        [("testuser", Some("testuser@example.com")), ("disabled", Some("disabled@example.com"))]
    {
        let account = stack.user(NewUser { username, email, roles: &[Role::User] }).await;
        if username == "disabled" {
            stack.disable(account.id).await;
        }
    }
    tap.operations();
    for by in ["username", "email"] {
        let mut requests = Vec::new();
        for name in ["testuser", "disabled", "nobody-here"] {
            let name = if by == "email" { format!("{name}@example.com") } else { name.to_owned() };
            let login = json!({by: name, "password": "another password"});
            assert_eq!(status(&answer(&route, json_request("login", &login)).await), 401);
            requests.push(tap.operations());
        }
        assert!(requests[0].len() > 4, "{requests:?}");
        assert!(requests.iter().all(|operations| *operations == requests[0]), "{requests:?}");
    }
}

/// After the free attempts, no password is checked, whether or not the name exists.
#[tokio::test]
async fn all_spellings_of_a_name_share_one_throttle() {
    let stack = Stack::start().await;
    // The wait must outlast the guesses, even on a slow machine.
    let env = stack.env_with(&[("THROTTLE_PAIR_BASE_SECONDS", "300")]);
    let route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    let user = NewUser { username: "testuser", email: None, roles: &[Role::User] };
    stack.user(user).await;
    let ask = async |username: &str, password: &str, forwarded: &str| {
        let login = json!({"username": username, "password": password});
        let event_json = json_body(load("login"), &login);
        answer(&route, event(testkit::header(event_json, "x-forwarded-for", forwarded))).await
    };
    for names in [["testuser", "TESTUSER", "testUser"], ["nobody", "NOBODY", "nobodY"]] {
        for name in names {
            assert_eq!(status(&ask(name, "another password", "192.0.2.1").await), 401, "{name}");
        }
        // Neither a forged `x-forwarded-for` nor the right password lifts the wait.
        for (password, forwarded) in [("another password", "192.0.2.2"), (PASSWORD, "192.0.2.3")] {
            let throttled = ask(names[0], password, forwarded).await;
            assert_eq!(status(&throttled), 429);
            assert_eq!(body(&throttled)["code"], "too_many_attempts");
            let wait: u64 = throttled.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((200..=300).contains(&wait), "{wait}");
        }
    }
}

/// A password is neither trimmed nor truncated, and upper and lower case differ.
#[tokio::test]
async fn only_the_exact_password_is_accepted() {
    let long = format!("{}Q{}", "y".repeat(500), "z".repeat(523));
    for (set, others) in [
        (
            "Correct horse\0 battery",
            vec![
                "correct horse\0 battery".to_owned(),
                "Correct horse\0 battery ".to_owned(),
                " Correct horse\0 battery".to_owned(),
                "Correct horse".to_owned(),
                "Correct horse\0".to_owned(),
                "Correct horse\0 batterY".to_owned(),
                "Correct  horse\0 battery".to_owned(),
            ],
        ),
        (
            &long,
            vec![
                long[..72].to_owned(),
                long[..1_023].to_owned(),
                format!("{}x", &long[..1_023]),
                long.replace('Q', "q"),
            ],
        ),
        // NFC is the only normalization.
        ("p\u{e4}ssw\u{f6}rter", vec!["passworter".to_owned(), "P\u{e4}ssw\u{f6}rter".to_owned()]),
    ] {
        let bench = Bench::start_with_password(set).await;
        assert_eq!(status(&bench.login("testuser", set).await), 200, "{set}");
        for other in others {
            assert_eq!(status(&bench.login("testuser", &other).await), 401, "{other}");
        }
    }
    let bench = Bench::start_with_password("p\u{e4}ssw\u{f6}rter").await;
    assert_eq!(status(&bench.login("testuser", "pa\u{308}sswo\u{308}rter").await), 200);
    let bench = Bench::start_with_password(&"y".repeat(64)).await;
    assert_eq!(status(&bench.login("testuser", &"y".repeat(64)).await), 200, "64 characters");
}

/// A new deployment has no users, so nobody can sign in with a well-known password.
#[tokio::test]
async fn there_is_no_default_account() {
    let stack = Stack::start().await;
    let route = Service::<LoginRoute>::open(&stack.env(), &World::system()).await.unwrap();
    for (name, password) in [
        ("admin", "admin"),
        ("admin", "password"),
        ("root", "root"),
        ("test", "test"),
        ("user", "user"),
    ] {
        let login = json!({"username": name, "password": password});
        assert_eq!(status(&answer(&route, json_request("login", &login)).await), 401);
    }
}

/// Only a JSON object with the documented members and types is accepted.
#[tokio::test]
async fn only_the_documented_body_is_accepted() {
    let bench = Bench::start().await;
    let name = "testuser";
    for (bad, code) in [
        (json!({"password": PASSWORD}), "invalid_request"),
        (json!({"username": name}), "invalid_request"),
        (json!({"username": null, "password": PASSWORD}), "invalid_request"),
        (
            json!({"username": name, "email": "a@example.com", "password": PASSWORD}),
            "invalid_request",
        ),
        (json!({"username": name, "password": null}), "invalid_request"),
        (json!({"username": name, "password": 12_345_678}), "invalid_request"),
        (json!({"username": 1, "password": PASSWORD}), "invalid_request"),
        (json!({"username": [name], "password": PASSWORD}), "invalid_request"),
        (json!({"username": {"$ne": ""}, "password": {"$ne": ""}}), "invalid_request"),
        (json!({"email": true, "password": PASSWORD}), "invalid_request"),
        (json!([name, null, PASSWORD]), "invalid_request"),
        (json!({"username": "y".repeat(81), "password": PASSWORD}), "invalid_input"),
        (json!({"email": "y".repeat(255), "password": PASSWORD}), "invalid_input"),
        (json!({"username": name, "password": "y".repeat(1_025)}), "invalid_input"),
    ] {
        assert_eq!(bench.outcome(&bad).await, (400, code.to_owned()), "{bad}");
    }
    let both = json!({"username": "y".repeat(81), "password": "y".repeat(1_025)});
    insta::assert_json_snapshot!("too long", readable(&bench.ask(&both).await));
    assert_eq!(bench.session_count().await, 0);
}

/// Hashing is slow, so nine out of ten strings come with a password that is too long to be hashed.
#[tokio::test]
async fn naughty_strings_cause_no_server_error() {
    let bench = Bench::start().await;
    let too_long = "y".repeat(1_025);
    for (n, text) in testkit::naughty_strings().into_iter().enumerate() {
        let password = if n % 10 == 0 { PASSWORD } else { too_long.as_str() };
        for login in [
            json!({"username": text, "password": password}),
            json!({"email": text, "password": password}),
        ] {
            let status = status(&bench.ask(&login).await);
            assert!(matches!(status, 400 | 401), "string {n}: {status}");
        }
    }
}

#[tokio::test]
async fn the_refresh_token_belongs_to_the_session() {
    let bench = Bench::start().await;
    let answer = bench.login("testuser", PASSWORD).await;
    let refresh = body(&answer)["refresh_token"].as_str().unwrap().to_owned();
    let decoded = issuer::RefreshToken::verify(&refresh, bench.stack.peppers()).unwrap();
    let claims = bench.verifier().verify(&token(&answer)).await.unwrap();
    assert_eq!((decoded.sub, decoded.sid, decoded.counter), (claims.sub, claims.sid, 0));
    // 30 days minus the time since the login, in whole seconds.
    let expires_in = body(&answer)["refresh_expires_in"].as_i64().unwrap();
    assert!((30 * 86_400 - 60..=30 * 86_400).contains(&expires_in), "{expires_in}");
}

#[tokio::test]
async fn the_oldest_session_ends_at_the_limit() {
    let stack = Stack::start().await;
    let env = stack.env_with(&[("SESSIONS_PER_ACCOUNT", "3")]);
    let route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    let user = NewUser { username: "testuser", email: None, roles: &[Role::User] };
    let account = stack.user(user).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let login = json!({"username": "testuser", "password": PASSWORD});
        let answer = answer(&route, json_request("login", &login)).await;
        ids.push(testkit::claims(&token(&answer))["sid"].as_str().unwrap().to_owned());
    }
    let sessions = store::Sessions::new(&stack.users(), stack.client());
    let left: BTreeSet<_> =
        sessions.of(account.id).await.unwrap().iter().map(|it| it.id.to_string()).collect();
    assert_eq!(left, ids[2..].iter().cloned().collect());
}

/// The network comes from the gateway, not from a header that the client sends.
#[tokio::test]
async fn a_session_records_network_and_user_agent() {
    let bench = Bench::start().await;
    let event_json = testkit::header(load("login"), "x-forwarded-for", "198.51.100.1");
    let event_json = testkit::header(event_json, "user-agent", &"a".repeat(1_000));
    assert_eq!(status(&answer(&bench.route, event(event_json)).await), 200);
    let scanned = bench.stack.client().scan().table_name("UsersTable").send().await.unwrap();
    let session = scanned.items().iter().find(|item| item.contains_key("network")).unwrap();
    assert_eq!(session["network"].as_s().unwrap(), "203.0.113.7");
    assert_eq!(session["user_agent"].as_s().unwrap().len(), 256);
}

/// Invisible characters are removed.
#[tokio::test]
async fn a_user_agent_may_be_in_any_script() {
    let bench = Bench::start().await;
    let event_json =
        testkit::header(load("login"), "user-agent", "Br\u{f6}wser \u{202e}\u{540d}/1");
    assert_eq!(status(&answer(&bench.route, event(event_json)).await), 200);
    let scanned = bench.stack.client().scan().table_name("UsersTable").send().await.unwrap();
    let session = scanned.items().iter().find(|item| item.contains_key("network")).unwrap();
    assert_eq!(session["user_agent"].as_s().unwrap(), "Br\u{f6}wser \u{540d}/1");
}

/// No notice is sent for the first network, for a known network, or for a failed login.
#[tokio::test]
async fn a_login_from_a_new_network_is_reported_to_the_owner() {
    let bench = Bench::start().await;
    bench.stack.confirm(&bench.account).await;
    let login = async |network: &str, password: &str| {
        let login = json!({"username": "testuser", "password": password});
        let event_json = from_network(json_body(load("login"), &login), network);
        status(&answer(&bench.route, event(event_json)).await)
    };
    for (network, password, expected, notices) in [
        ("203.0.113.7", PASSWORD, 200, 0),
        ("203.0.113.7", PASSWORD, 200, 0),
        ("198.51.100.1", "a wrong password", 401, 0),
        ("198.51.100.1", PASSWORD, 200, 1),
        ("198.51.100.1", PASSWORD, 200, 1),
        ("203.0.113.7", PASSWORD, 200, 1),
        ("2001:db8::1", PASSWORD, 200, 2),
        ("2001:db8::2", PASSWORD, 200, 2),
    ] {
        assert_eq!(login(network, password).await, expected);
        let mails = deliver::<MailerFunction>(&bench.stack).await;
        assert_eq!(mails.len(), notices, "{network}");
        for mail in mails {
            assert_eq!(mail.to, "testuser@example.com");
            assert_eq!(mail.subject, "Latchkey: your account was used from a new network");
        }
    }
}

#[tokio::test]
async fn an_unreachable_database_causes_a_503() {
    let stack = Stack::start().await;
    let route =
        Service::<LoginRoute>::open(&stack.env_out_of_reach(), &World::system()).await.unwrap();
    let started = Instant::now();
    let answer = answer(&route, event(load("login"))).await;
    assert!(started.elapsed() < dynamo::OPERATION_DEADLINE);
    insta::assert_json_snapshot!(readable(&answer));
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let cold_start = async |env: Env| {
        Service::<LoginRoute>::open(&env, &World::system()).await.err().unwrap().to_string()
    };
    insta::assert_snapshot!("an empty environment", cold_start(Env::default()).await);
    let bad = [("ACCESS_TOKEN_SECONDS", "hush"), ("SESSIONS_PER_ACCOUNT", "hush")];
    let error = cold_start(Env::from_iter(bad)).await;
    assert!(!error.contains("hush"), "{error}");
    insta::assert_snapshot!("bad values", error);
}

/// If the password changes at any point during a login with the old password, no session of that login stays valid.
/// Signing out everywhere is different, because it does not change the password: a login that reads the account
/// afterwards is treated as a later login, and its session stays valid.
#[tokio::test]
async fn no_session_of_a_login_outlives_a_concurrent_password_change() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let free = ["PAIR", "NAME", "NETWORK"].map(|kind| format!("THROTTLE_{kind}_FREE"));
    let free: Vec<_> = free.iter().map(|name| (name.as_str(), "1000")).collect();
    let env = interceptor.env(&bench.stack, &free);
    bench.route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    let mut users = 0;
    for (by, concurrent) in ["username", "email"]
        .into_iter()
        .flat_map(|by| ConcurrentEvent::ALL.map(|concurrent| (by, concurrent)))
    {
        for call in 0.. {
            users += 1;
            let username = format!("user-{users}");
            let email = format!("{username}@example.com");
            let user = NewUser { username: &username, email: Some(&email), roles: &[Role::User] };
            let account = bench.stack.user(user).await;
            let (action, other) = concurrent.prepare(&bench.stack, &account).await;
            interceptor.before(call, action);
            let name = if by == "email" { &email } else { &username };
            let answer = bench.ask(&json!({by: name, "password": PASSWORD})).await;
            let calls = interceptor.calls();
            if calls.len() <= call {
                assert!(call > 8, "{call}");
                break;
            }
            let case = format!("{concurrent:?} before call {call} by {by}");
            let other = other.await.unwrap();
            match status(&answer) {
                401 => assert_eq!(body(&answer)["code"], "invalid_credentials", "{case}"),
                200 => {
                    let read = calls.iter().position(|it| it.sort_key() == "ACCOUNT").unwrap();
                    let claims = testkit::claims(&token(&answer));
                    let session = claims["sid"].as_str().unwrap().parse().unwrap();
                    let lives = bench.stack.lives(account.id, session).await;
                    let may_live = !concurrent.replaces_the_password() && call <= read;
                    assert!(!lives || may_live, "{case}");
                }
                other => panic!("{case}: {other}"),
            }
            // The concurrent change may have begun a session, which the login must not end.
            if let Some(other) = other {
                assert!(bench.stack.lives(account.id, other).await, "{case}");
            }
        }
    }
}

/// The answer is the same whether the account is deleted or disabled before the login reads it or between that read and
/// the beginning of the session.
#[tokio::test]
async fn a_login_that_races_a_deletion_or_disabling_is_answered_like_a_wrong_password() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[]);
    bench.route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    let refused = bench.login("testuser", "another password").await;
    for change in ["deleted", "disabled"] {
        let mut refused_late = 0;
        for call in 0.. {
            let case = format!("{change} before call {call}");
            let username = format!("{change}-{call}");
            let user = NewUser { username: &username, email: None, roles: &[Role::User] };
            let id = bench.stack.user(user).await.id;
            let delete = bench.stack.client().delete_item().table_name("UsersTable");
            let delete = delete
                .key("pk", AttributeValue::S(format!("USER#{id}")))
                .key("sk", AttributeValue::S("ACCOUNT".to_owned()));
            let administration = Administration::new(&bench.stack.users(), bench.stack.client());
            interceptor.before(call, async move {
                if change == "deleted" {
                    drop(delete.send().await.unwrap());
                } else {
                    administration.disable(id, testkit::occasion_now).await.unwrap();
                }
            });
            let before = bench.session_count().await;
            let answer = bench.login(&username, PASSWORD).await;
            let calls = interceptor.calls();
            if calls.len() <= call {
                break;
            }
            if status(&answer) == 401 {
                assert_eq!(answer, refused, "{case}");
                assert_eq!(bench.session_count().await, before, "{case}");
                let read = calls.iter().position(|it| it.sort_key() == "ACCOUNT").unwrap();
                refused_late += usize::from(read < call);
            } else {
                assert_eq!(status(&answer), 200, "{case}: {answer:?}");
            }
        }
        assert!(refused_late > 0, "{change}");
    }
}

/// Someone knows the password, so the owner must see the attempt. The login is held before each of its calls, and the
/// account is disabled.
#[tokio::test]
async fn a_login_during_which_the_account_is_disabled_is_recorded_as_failed() {
    let mut bench = Bench::start().await;
    let interceptor = Interceptor::of(&bench.stack).await;
    let env = interceptor.env(&bench.stack, &[]);
    bench.route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    let administration = Administration::new(&bench.stack.users(), bench.stack.client());
    let events = Events::new(&bench.stack.users(), bench.stack.client());
    let mut refused_late = 0;
    for call in 0.. {
        let username = format!("disabled-{call}");
        let user = NewUser { username: &username, email: None, roles: &[Role::User] };
        let id = bench.stack.user(user).await.id;
        let disabling = administration.clone();
        interceptor.before(call, async move {
            disabling.disable(id, testkit::occasion_now).await.unwrap();
        });
        let answer = bench.login(&username, PASSWORD).await;
        let calls = interceptor.calls();
        if calls.len() <= call {
            break;
        }
        if status(&answer) == 401 {
            let page = events.page(id, None, 10, SystemClock.now()).await.unwrap();
            let mut kinds: Vec<_> = page.events.iter().map(|event| event.kind.name()).collect();
            kinds.sort_unstable();
            assert_eq!(kinds, ["disabled", "login_failed", "registered"], "before call {call}");
            let read = calls.iter().position(|it| it.sort_key() == "ACCOUNT").unwrap();
            refused_late += usize::from(read < call);
        }
    }
    assert!(refused_late > 0);
}

/// The account item and the password item share an epoch, which every password change renews. Earlier versions stored
/// no such epoch.
#[tokio::test]
async fn an_old_account_without_a_shared_epoch_can_sign_in_and_gets_one_at_the_next_reset() {
    let bench = Bench::start().await;
    let client = bench.stack.client();
    for (pk, sk, attribute) in [
        (format!("USER#{}", bench.account.id), "ACCOUNT", "password_ver"),
        ("USERNAME#testuser".to_owned(), "PASSWORD", "ver"),
    ] {
        let removed = client
            .update_item()
            .table_name("UsersTable")
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk.to_owned()))
            .condition_expression(format!("attribute_exists({attribute})"))
            .update_expression(format!("REMOVE {attribute}"));
        removed.send().await.unwrap();
    }
    assert_eq!(status(&bench.login("testuser", PASSWORD).await), 200);
    let logins = bench.stack.logins();
    let name = Presented::Username(bench.account.username.canonical().clone());
    let read = logins.credential(&name).await.unwrap().unwrap();
    assert!(logins.account(bench.account.id, read.set_in).await.unwrap().is_some());
    let (reset, done) = ConcurrentEvent::Reset.prepare(&bench.stack, &bench.account).await;
    reset.await;
    assert_eq!(done.await.unwrap(), None);
    assert_eq!(logins.account(bench.account.id, read.set_in).await.unwrap(), None);
    let current = logins.credential(&name).await.unwrap().unwrap();
    assert!(logins.account(bench.account.id, current.set_in).await.unwrap().is_some());
}

/// Even a login that succeeds despite a failed call leaves no counters behind.
#[tokio::test]
async fn a_request_counts_against_no_limit_if_any_call_fails() {
    let stack = Stack::start().await;
    let interceptor = Interceptor::of(&stack).await;
    let route =
        Service::<LoginRoute>::open(&interceptor.env(&stack, &[]), &World::system()).await.unwrap();
    let user = NewUser { username: "testuser", email: None, roles: &[Role::User] };
    stack.user(user).await;
    let login = json!({"username": "testuser", "password": PASSWORD});
    let ask = async |network: &str| {
        answer(&route, event(from_network(json_body(load("login"), &login), network))).await
    };
    for fault in [Fault::AccessDenied, Fault::LostAnswer, Fault::ServerError] {
        // Use a new network each time, so that the login makes every possible call.
        for (call, network) in (0..).zip(1_u32..) {
            interceptor.fail_at(call, fault);
            let answer = ask(&format!("2001:db8:{network:x}::1")).await;
            let case = format!("{fault:?} at call {call}: {}", status(&answer));
            assert!(matches!(status(&answer), 200 | 500 | 503), "{case}");
            assert!(fault == Fault::AccessDenied || status(&answer) == 200, "{case}");
            assert_eq!(stack.counted().await, BTreeMap::new(), "{case}");
            if interceptor.calls().len() <= call {
                assert!(call > 12, "{case}");
                break;
            }
        }
    }
    // Fail all writes to one kind of counter, or the transaction that begins the session.
    for pk in ["COUNTER#NAME", "COUNTER#PAIR", "COUNTER#NETWORK", "USER#"] {
        interceptor.fail_when(move |call| {
            // The session and its event are written in one transaction.
            let is_session = call.operation == "TransactWriteItems"
                && call.body.to_string().contains("SESSION#");
            let is_counted = call.operation == "UpdateItem" && call.partition_key().starts_with(pk);
            let fails = if pk == "USER#" { is_session } else { is_counted };
            if fails { Fault::AccessDenied } else { Fault::None }
        });
        for _ in 0..5 {
            assert_eq!(status(&ask("203.0.113.7").await), 500, "{pk}");
        }
        assert_eq!(stack.counted().await, BTreeMap::new(), "{pk}");
    }
    interceptor.reset();
    assert_eq!(status(&ask("203.0.113.7").await), 200);
    // A wrong password still counts as an attempt.
    let wrong = json!({"username": "testuser", "password": "another password"});
    assert_eq!(status(&answer(&route, json_request("login", &wrong)).await), 401);
    assert_eq!(stack.counted().await.len(), 3);
}

/// Without the secrets, no token can be issued, so checking a password would only help a guesser.
#[tokio::test]
async fn without_secrets_no_password_is_checked() {
    for secret in ["SIGNING_KEYS_SECRET", "PEPPERS_SECRET"] {
        let stack = Stack::start().await;
        let env = stack.env_with(&[(secret, "file:/nowhere")]);
        let route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
        let user = NewUser { username: "testuser", email: None, roles: &[Role::User] };
        stack.user(user).await;
        for password in [PASSWORD, "another password"] {
            let login = json!({"username": "testuser", "password": password});
            assert_eq!(status(&answer(&route, json_request("login", &login)).await), 503);
        }
        assert_eq!(stack.counted().await, BTreeMap::new(), "{secret}");
    }
}

/// A login with the right password replaces an outdated hash, but does not depend on the replacement.
#[tokio::test]
async fn a_login_succeeds_even_if_the_outdated_hash_cannot_be_replaced() {
    let stack = Stack::start().await;
    let interceptor = Interceptor::of(&stack).await;
    let route =
        Service::<LoginRoute>::open(&interceptor.env(&stack, &[]), &World::system()).await.unwrap();
    let account =
        stack.user(NewUser { username: "testuser", email: None, roles: &[Role::User] }).await;
    let logins = stack.logins();
    let hashes = store::Hashes::new(&stack.users(), stack.client());
    let current = hashes.of(&account).await.unwrap().unwrap();
    // The same password, hashed by Python's hashlib.
    let outdated = "pbkdf2:sha256:1$salt$\
                    e2763edab07e474ded914e067a82079268b4575025b5c4b67d8f09f6e6783629";
    let outdated = identity::StoredHash::new(outdated);
    assert!(logins.rehash(account.username.canonical(), &current, &outdated).await.unwrap());
    let login = json!({"username": "testuser", "password": PASSWORD});
    let ask = async || status(&answer(&route, json_request("login", &login)).await);
    for fault in [Fault::AccessDenied, Fault::Silence] {
        interceptor.fail_when(move |call| match call.sort_key() {
            "PASSWORD" if call.operation == "UpdateItem" => fault,
            _ => Fault::None,
        });
        assert_eq!(ask().await, 200, "{fault:?}");
        assert_eq!(hashes.of(&account).await.unwrap().unwrap().expose(), outdated.expose());
    }
    interceptor.reset();
    assert_eq!(ask().await, 200);
    let renewed = hashes.of(&account).await.unwrap().unwrap();
    assert!(renewed.expose().starts_with("$argon2id$"), "{renewed:?}");
}
