//! Every documented security event happens in a test, and conforms to its schema.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use account_events::AccountEventsRoute;
use account_export::AccountExportRoute;
use admin_user::AdminUserRoute;
use admin_users::AdminUsersRoute;
use aws_sdk_dynamodb::types::AttributeValue;
use email_verify::EmailVerifyRoute;
use events::{Event, Kind};
use identity::Role;
use login::LoginRoute;
use logout::LogoutRoute;
use logout_all::LogoutAllRoute;
use mailer::MailerFunction;
use password_change::PasswordChangeRoute;
use password_forgot::PasswordForgotRoute;
use password_reset::PasswordResetRoute;
use process::{Clock, SystemClock, SystemRandom};
use refresh::RefreshRoute;
use register::RegisterRoute;
use serde_json::{Value, json};
use sessions::SessionsRoute;
use template::project::Project;
use testkit::{
    NewUser, Stack, bearer, body, deliver, event, header, json_body, json_request, load, status,
};
use web::{EventResponse, Route, answer};

/// The user's first password.
const PASSWORD: &str = testkit::PASSWORD;

/// The password that replaces [`PASSWORD`].
const NEW: &str = "a longer walk along the coast";

/// The schemas in `docs/events/`, by kind.
fn schemas() -> BTreeMap<String, Value> {
    let folder = Project::here().root().join("docs/events");
    let schemas = std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        (kind, schema)
    });
    schemas.collect()
}

/// Checks that an event conforms to the schema of its kind. Returns the kind.
fn checked(schemas: &BTreeMap<String, Value>, event: &Value) -> String {
    let kind = event["kind"].as_str().unwrap();
    let validator =
        jsonschema::options().should_validate_formats(true).build(&schemas[kind]).unwrap();
    let errors: Vec<_> = validator.iter_errors(event).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{event}: {errors:?}");
    kind.to_owned()
}

#[test]
fn every_kind_has_a_schema_and_is_documented() {
    let schemas = schemas();
    let kinds: BTreeSet<_> = Kind::NAMES.into_iter().map(str::to_owned).collect();
    assert_eq!(schemas.keys().cloned().collect::<BTreeSet<_>>(), kinds);
    let page = std::fs::read_to_string(Project::here().root().join("docs/events.md")).unwrap();
    for (kind, schema) in &schemas {
        let row = format!("| [`{kind}`](events/{kind}.json) | ");
        let row = page.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("docs/events.md does not document {kind}"));
        assert!(jsonschema::meta::is_valid(schema), "{kind}");
        assert_eq!(schema["title"], kind.as_str());
        let members = schema["properties"].as_object().unwrap().keys();
        for member in members {
            let is_common = page.contains(&format!("\n| `{member}` | "));
            assert!(is_common || row.contains(&format!("`{member}`")), "{kind}: {member}");
        }
    }
}

/// A schema that allows everything would prove nothing.
#[test]
fn schemas_refuse_other_members_and_values() {
    let schemas = schemas();
    let now = SystemClock.now();
    let user = identity::UserId::new(now, &SystemRandom);
    let good = json!(
        testkit::occasion(now)
            .event(user, Kind::EmailChanged { standing: identity::EmailStanding::Verified })
    );
    checked(&schemas, &good);
    for (member, value) in [
        ("email", json!("testuser@example.com")),
        ("email_verified", json!("true")),
        ("at", json!("yesterday")),
        ("at", json!("2026-11-25T23:16:47+01:00")),
        ("id", json!("1")),
        ("by", json!("somebody")),
        ("network", json!(7)),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        assert!(!jsonschema::is_valid(&schemas["email_changed"], &bad), "{bad}");
    }
}

/// Changes a request from an event file: it then concerns the account `user`, and has no precondition.
fn about(mut event_json: Value, user: &str) -> Value {
    let path = event_json["rawPath"].as_str().unwrap().to_owned();
    let pattern = event_json["pathParameters"]["id"].as_str().unwrap().to_owned();
    event_json["rawPath"] = json!(path.replace(&pattern, user));
    event_json["pathParameters"]["id"] = json!(user);
    event_json["headers"].as_object_mut().unwrap().remove("if-match");
    event_json
}

/// The routes under test, which share one stack.
struct Bench {
    stack: Stack,
}

impl Bench {
    async fn send<R: Route>(&self, event_json: Value) -> EventResponse {
        let service = Box::pin(self.stack.open::<R>()).await.unwrap();
        Box::pin(answer(&service, event(event_json))).await
    }

    async fn post<R: Route>(&self, request: &Value) -> EventResponse {
        let service = Box::pin(self.stack.open::<R>()).await.unwrap();
        Box::pin(answer(&service, json_request(R::NAME, request))).await
    }

    async fn post_as<R: Route>(&self, token: &str, request: &Value) -> EventResponse {
        self.send::<R>(bearer(json_body(load(R::NAME), request), token)).await
    }

    /// Signs in, and returns the access token and the refresh token.
    async fn login(&self, password: &str) -> (String, String) {
        let login = json!({"username": "testuser", "password": password});
        let tokens = body(&self.post::<LoginRoute>(&login).await);
        let token = |name: &str| tokens[name].as_str().unwrap().to_owned();
        (token("access_token"), token("refresh_token"))
    }

    /// Moves the last rotation of each session into the past, so that its grace period is over.
    async fn end_grace(&self) {
        for item in self.stack.items().await {
            if !item["sk"].as_s().unwrap().starts_with("SESSION#") {
                continue;
            }
            let update = self.stack.client().update_item().table_name("UsersTable");
            let update = update.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
            let update = update.update_expression("SET rotated_at = :old, rotated_before = :old");
            let old = AttributeValue::N("1000".to_owned());
            update.expression_attribute_values(":old", old).send().await.unwrap();
        }
    }

    /// The token in the latest email.
    async fn mailed_token(&self) -> String {
        let mails = deliver::<MailerFunction>(&self.stack).await;
        let latest = mails.iter().max_by_key(|mail| mail.id.clone()).unwrap();
        latest.token().unwrap().to_owned()
    }
}

#[tokio::test]
async fn every_event_happens_and_conforms_to_its_schema() {
    let bench = Bench { stack: Stack::start().await };
    let is = |answer: EventResponse, expected: i64| {
        assert_eq!(status(&answer), expected, "{:?}", body(&answer));
    };
    let registration =
        json!({"username": "testuser", "password": PASSWORD, "email": "testuser@example.com"});
    is(bench.post::<RegisterRoute>(&registration).await, 201);
    // Confirm the address, reset the password, and sign in.
    let (access, _) = bench.login(PASSWORD).await;
    is(
        bench
            .send::<email_verify_send::EmailVerifySendRoute>(bearer(
                load("email-verify-send"),
                &access,
            ))
            .await,
        202,
    );
    let token = bench.mailed_token().await;
    is(bench.post::<EmailVerifyRoute>(&json!({"token": token})).await, 204);
    let forgotten = json!({"email": "testuser@example.com"});
    is(bench.post::<PasswordForgotRoute>(&forgotten).await, 202);
    let token = bench.mailed_token().await;
    is(bench.post::<PasswordResetRoute>(&json!({"token": token, "new_password": NEW})).await, 204);
    let (access, refresh) = bench.login(NEW).await;
    // Replay a refresh token after the grace period.
    is(bench.post::<RefreshRoute>(&json!({"refresh_token": refresh})).await, 200);
    bench.end_grace().await;
    is(bench.post::<RefreshRoute>(&json!({"refresh_token": refresh})).await, 401);
    drop(access);
    let (access, _) = bench.login(NEW).await;
    let change = json!({"current_password": NEW, "new_password": PASSWORD});
    is(bench.post_as::<PasswordChangeRoute>(&access, &change).await, 200);
    // End sessions: by signing out, from the list, and all at once.
    let (access, _) = bench.login(PASSWORD).await;
    is(bench.send::<LogoutRoute>(bearer(load("logout"), &access)).await, 204);
    let (access, _) = bench.login(PASSWORD).await;
    let (other, _) = bench.login(PASSWORD).await;
    let mut end = bearer(load("sessions-end"), &access);
    let sid = testkit::claims(&other)["sid"].clone();
    end["rawPath"] = json!(format!("/auth/sessions/{}", sid.as_str().unwrap()));
    end["pathParameters"] = json!({"sid": sid});
    is(bench.send::<SessionsRoute>(end).await, 204);
    is(bench.send::<LogoutAllRoute>(bearer(load("logout-all"), &access)).await, 204);
    let (access, _) = bench.login(PASSWORD).await;
    for expected in [401, 401, 401, 429] {
        let wrong = json!({"username": "testuser", "password": "a wrong password"});
        is(bench.post::<LoginRoute>(&wrong).await, expected);
    }
    is(bench.send::<AccountExportRoute>(bearer(load("account-export"), &access)).await, 200);
    let listed =
        body(&bench.send::<AccountEventsRoute>(bearer(load("account-events"), &access)).await);
    let mut listed = listed["events"].as_array().unwrap().clone();
    // An administrator changes the account and finally deletes it. Only the event of the deletion remains.
    let root = NewUser { username: "root-one", email: None, roles: &Role::ALL };
    let root = bench.stack.user(root).await;
    let admin = bench.stack.sign_in(&root).await;
    let user = testkit::claims(&access)["sub"].as_str().unwrap().to_owned();
    let about = |file: &str| about(bearer(load(file), &admin), &user);
    let patch = |change: Value| json_body(header(about("admin-user"), "if-match", "*"), &change);
    let roles = json!({"roles": ["user", "admin"]});
    is(bench.send::<AdminUserRoute>(json_body(about("admin-user-roles"), &roles)).await, 200);
    for disabled in [true, false] {
        is(bench.send::<AdminUserRoute>(patch(json!({"disabled": disabled}))).await, 200);
    }
    for number in [3, 1] {
        let by_admin = body(&bench.send::<AdminUsersRoute>(about("admin-users-events")).await);
        for event in &by_admin["events"].as_array().unwrap()[..number] {
            assert_eq!(event["by"], json!(root.id), "{event}");
            listed.push(event.clone());
        }
        if number > 1 {
            is(bench.send::<AdminUserRoute>(about("admin-user-delete")).await, 200);
        }
    }
    // The event of the first key rotation is in the keys table.
    let scan = bench.stack.client().scan().table_name("KeysTable").send().await.unwrap();
    for item in scan.items() {
        if let Some(event) = item.get("event") {
            listed.push(serde_json::from_str(event.as_s().unwrap()).unwrap());
        }
    }
    let schemas = schemas();
    let kinds: BTreeSet<_> = listed.iter().map(|event| checked(&schemas, event)).collect();
    assert_eq!(kinds, Kind::NAMES.into_iter().map(str::to_owned).collect());
    for event in &listed {
        let text = event.to_string();
        assert!(!text.contains("testuser") && !text.contains("example.com"), "{text}");
        // Parsing an event and writing it again changes nothing.
        let again: Event = serde_json::from_value(event.clone()).unwrap();
        assert_eq!(json!(again), *event);
    }
}
