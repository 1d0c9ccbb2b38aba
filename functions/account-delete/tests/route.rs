//! Tests `account-delete` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use account_delete::AccountDeleteRoute;
use admin_user::AdminUserRoute;
use auth::AccountCheck;
use aws_sdk_dynamodb::types::AttributeValue;
use email_verify::EmailVerifyRoute;
use email_verify_send::EmailVerifySendRoute;
use identity::{Role, SessionId, UserId};
use login::LoginRoute;
use mailer::MailerFunction;
use me::MeRoute;
use password_forgot::PasswordForgotRoute;
use process::{Env, SystemRandom};
use refresh::RefreshRoute;
use register::RegisterRoute;
use serde_json::{Value, json};
use testkit::{
    Fault, Interceptor, NewUser, PASSWORD, Stack, bearer, body, deliver, event, events_of,
    from_network, guarded_by_fresh_session, json_body, load, readable, signed_in, status,
};
use tokio::sync::Notify;
use web::{EventResponse, Route, Service, World, answer};

const USERNAME: &str = "Rosa-Maria";
const ADDRESS: &str = "Rosa.Maria@example.com";

/// A stack whose user has left traces in every kind of item.
struct Bench {
    stack: Stack,
    user: UserId,
    access_token: String,
    refresh_token: String,
    /// All items of the users' table before the deletion.
    items: Vec<Item>,
}

async fn ask<R: Route>(stack: &Stack, request: Value) -> EventResponse {
    let route = Box::pin(Service::<R>::open(&stack.env(), &World::system())).await.unwrap();
    answer(&route, event(request)).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The network from which the user signs in and deletes the account.
const NETWORK: &str = "198.51.100.7";

fn login(name: &str, password: &str) -> Value {
    let login = json!({"username": name, "password": password});
    from_network(json_body(load("login"), &login), NETWORK)
}

/// Registers a user who then confirms the address, requests a code, fails to sign in with a wrong password, and signs
/// in. Returns the user's id and tokens.
async fn live(stack: &Stack, username: &str, address: &str) -> (UserId, String, String) {
    let registration = json!({"username": username, "password": PASSWORD, "email": address});
    let request = json_body(load("register"), &registration);
    let registered = ask::<RegisterRoute>(stack, request).await;
    assert_eq!(status(&registered), 201, "{registered:?}");
    let id = text(&body(&registered)["user"]["id"]).parse().unwrap();
    let tokens = ask::<LoginRoute>(stack, login(username, PASSWORD)).await;
    let token = text(&body(&tokens)["access_token"]);
    let send = bearer(load("email-verify-send"), &token);
    assert_eq!(status(&ask::<EmailVerifySendRoute>(stack, send).await), 202);
    let mails = deliver::<MailerFunction>(stack).await;
    let token = mails.iter().rfind(|mail| mail.to == address).unwrap().token().unwrap();
    let verify = json_body(load("email-verify"), &json!({"token": token}));
    assert_eq!(status(&ask::<EmailVerifyRoute>(stack, verify).await), 204);
    let forgot = json_body(load("password-forgot"), &json!({"email": address}));
    assert_eq!(status(&ask::<PasswordForgotRoute>(stack, forgot).await), 202);
    deliver::<MailerFunction>(stack).await;
    assert_eq!(status(&ask::<LoginRoute>(stack, login(username, "a wrong password")).await), 401);
    let tokens = body(&ask::<LoginRoute>(stack, login(address, PASSWORD)).await);
    (id, text(&tokens["access_token"]), text(&tokens["refresh_token"]))
}

fn delete(token: &str, password: &str) -> Value {
    let request = json_body(load("account-delete"), &json!({"password": password}));
    bearer(from_network(request, NETWORK), token)
}

type Item = HashMap<String, AttributeValue>;

/// All items of both tables.
async fn items(stack: &Stack) -> Vec<Item> {
    let keys = stack.client().scan().table_name("KeysTable").send().await.unwrap();
    stack.items().await.into_iter().chain(keys.items.unwrap_or_default()).collect()
}

fn key(item: &Item) -> String {
    let part = |name: &str| item.get(name).map_or("", |part| part.as_s().unwrap()).to_owned();
    format!("{} {}", part("pk"), part("sk"))
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let (user, access_token, refresh_token) = live(&stack, USERNAME, ADDRESS).await;
        let items = stack.items().await;
        Self { stack, user, access_token, refresh_token, items }
    }

    /// Restores the users' table to its state at the start.
    async fn restore(&self) {
        let client = self.stack.client();
        for item in self.stack.items().await {
            let key = ["pk", "sk"].map(|name| (name.to_owned(), item[name].clone()));
            let delete = client.delete_item().table_name("UsersTable");
            delete.set_key(Some(HashMap::from(key))).send().await.unwrap();
        }
        for item in &self.items {
            let put = client.put_item().table_name("UsersTable");
            put.set_item(Some(item.clone())).send().await.unwrap();
        }
    }

    async fn delete(&self) -> EventResponse {
        ask::<AccountDeleteRoute>(&self.stack, delete(&self.access_token, PASSWORD)).await
    }

    /// Deletes the account through `interceptor`.
    async fn delete_through(&self, interceptor: &Interceptor) -> EventResponse {
        let env = interceptor.env(&self.stack, &[]);
        let route = Box::pin(Service::<AccountDeleteRoute>::open(&env, &World::system())).await;
        answer(&route.unwrap(), event(delete(&self.access_token, PASSWORD))).await
    }

    /// The keys of all items that contain the user's name, address or id in any attribute.
    async fn traces(&self) -> Vec<String> {
        let id = self.user.to_string();
        let [name, address] = [USERNAME, ADDRESS].map(str::to_lowercase);
        let names_user = |item: &&Item| {
            let text = format!("{item:?}").to_lowercase();
            text.contains(&id) || text.contains(&name) || text.contains(&address)
        };
        let mut traces: Vec<_> =
            items(&self.stack).await.iter().filter(names_user).map(key).collect();
        traces.sort();
        traces
    }

    /// Checks that only the deletion event still names the user, and that the tombstones name nobody.
    async fn assert_nothing_is_left(&self, case: &str) {
        self.assert_only_the_event_is_left(case, &[]).await;
    }

    /// Like [`Self::assert_nothing_is_left`], but the event must also have the attributes `more`.
    async fn assert_only_the_event_is_left(&self, case: &str, more: &[&str]) {
        let [event] = self.traces().await.try_into().unwrap_or_else(|it| panic!("{case}: {it:?}"));
        let prefix = format!("USER#{} EVENT#", self.user);
        assert!(event.starts_with(&prefix), "{case}: {event}");
        let all = items(&self.stack).await;
        let attributes = |item: &Item| item.keys().cloned().collect::<BTreeSet<_>>();
        let event = all.iter().find(|item| key(item) == event).unwrap();
        assert_eq!(event["kind"].as_s().unwrap(), "deleted", "{case}");
        let expected = ["pk", "sk", "id", "kind", "at", "expires_at"].iter().chain(more);
        assert_eq!(attributes(event), expected.map(|it| (*it).to_owned()).collect(), "{case}");
        let tombstones: Vec<_> =
            all.iter().filter(|item| key(item).starts_with("TOMBSTONE#")).collect();
        assert_eq!(tombstones.len(), 2, "{case}");
        for tombstone in tombstones {
            let expected = ["pk", "sk", "expires_at"].map(str::to_owned);
            assert_eq!(attributes(tombstone), BTreeSet::from(expected), "{case}");
        }
    }

    async fn has_account(&self) -> bool {
        let accounts = store::Accounts::new(&self.stack.users(), self.stack.client());
        accounts.find(self.user, SessionId::new(&SystemRandom)).await.unwrap().account.is_some()
    }
}

#[tokio::test]
async fn only_fresh_sessions_are_admitted() {
    guarded_by_fresh_session::<AccountDeleteRoute>().await;
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    for (name, event_json) in events_of("account-delete") {
        let stack = Stack::start().await;
        let user = NewUser { username: "testuser", email: None, roles: &[Role::User] };
        let token = stack.sign_in(&stack.user(user).await).await;
        let answer = ask::<AccountDeleteRoute>(&stack, signed_in(event_json, &token)).await;
        let mut readable = readable(&answer);
        for name in ["receipt", "user_id", "at"] {
            if let Some(member) = readable["body"].get_mut(name) {
                *member = json!(format!("({name})"));
            }
        }
        insta::assert_json_snapshot!(name, readable);
    }
}

#[tokio::test]
async fn after_a_deletion_no_table_names_the_user() {
    let bench = Bench::start().await;
    live(&bench.stack, "bystander", "bystander@example.com").await;
    let others = async || {
        let of_others = |item: &Item| {
            let key = key(item);
            let is_shared = ["COUNTER#", "TOMBSTONE#"].iter().any(|kind| key.starts_with(kind));
            (!is_shared).then(|| (key, format!("{:?}", item.iter().collect::<BTreeMap<_, _>>())))
        };
        let traces: BTreeSet<_> = bench.traces().await.into_iter().collect();
        let all: BTreeMap<_, _> = items(&bench.stack).await.iter().filter_map(of_others).collect();
        all.into_iter().filter(|(key, _)| !traces.contains(key)).collect::<BTreeMap<_, _>>()
    };
    let known = |items: &BTreeMap<String, String>| {
        items.keys().filter(|key| key.starts_with("KNOWN#")).count()
    };
    let kinds: BTreeSet<_> =
        bench.traces().await.iter().map(|key| key.split_once('#').unwrap().0.to_owned()).collect();
    let expected = ["CODE", "CODES", "DIGITS", "EMAIL", "LIST", "USER", "USERNAME"];
    assert_eq!(kinds, BTreeSet::from(expected.map(str::to_owned)), "the user has left traces");
    let before = others().await;
    assert_eq!(known(&before), 4, "one network under two names for each of two users");

    let receipt = bench.delete().await;
    assert_eq!(status(&receipt), 200, "{receipt:?}");
    let receipt = body(&receipt);
    let members: Vec<_> = receipt.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["action", "at", "deleted", "receipt", "user_id"]);
    assert_eq!(receipt["action"], "deleted");
    assert_eq!(receipt["user_id"], json!(bench.user));
    let deleted = &receipt["deleted"];
    assert_eq!(deleted["sessions"], 2);
    assert_eq!(deleted["codes"], 2);
    assert_eq!(deleted["known_networks"], 2);
    assert!(deleted["events"].as_u64().unwrap() >= 4, "{deleted}");

    bench.assert_nothing_is_left("deleted").await;
    let event = format!("EVENT#{}", text(&receipt["receipt"]));
    assert!(bench.traces().await[0].ends_with(&event), "the receipt names the event");
    let mut after = others().await;
    after.retain(|key, _| !key.starts_with("OUTBOX#"));
    assert_eq!(known(&after), 2, "the networks of the other user are still known");
    for (key, item) in before.iter().filter(|(key, _)| !key.starts_with("KNOWN#")) {
        assert_eq!(after.get(key), Some(item), "the other user keeps {key}");
    }
    // The stream invokes the mailer for the deletion, but the mailer finds nothing left to delete.
    deliver::<MailerFunction>(&bench.stack).await;
    bench.assert_nothing_is_left("after the mailer").await;
}

#[tokio::test]
async fn after_a_deletion_by_an_administrator_no_table_names_the_user() {
    let bench = Bench::start().await;
    let admin = NewUser { username: "administrator", email: None, roles: &[Role::Admin] };
    let admin = bench.stack.user(admin).await;
    let mut request = bearer(load("admin-user-delete"), &bench.stack.sign_in(&admin).await);
    request["rawPath"] = json!(format!("/admin/users/{}", bench.user));
    request["pathParameters"] = json!({ "id": bench.user });
    let receipt = ask::<AdminUserRoute>(&bench.stack, request).await;
    assert_eq!(status(&receipt), 200, "{receipt:?}");
    let deleted = &body(&receipt)["deleted"];
    assert_eq!((&deleted["sessions"], &deleted["codes"]), (&json!(2), &json!(2)));
    assert_eq!(deleted["known_networks"], 2);
    bench.assert_only_the_event_is_left("deleted", &["by"]).await;
    deliver::<MailerFunction>(&bench.stack).await;
    bench.assert_only_the_event_is_left("after the mailer", &["by"]).await;
}

/// Sending the right password from a new network makes that network known and requests a notice, which the mailer
/// drops.
#[tokio::test]
async fn after_a_deletion_from_a_new_network_no_table_names_the_user() {
    let bench = Bench::start().await;
    let mails = bench.stack.mails().len();
    let request = from_network(delete(&bench.access_token, PASSWORD), "192.0.2.1");
    let receipt = ask::<AccountDeleteRoute>(&bench.stack, request).await;
    assert_eq!(body(&receipt)["deleted"]["known_networks"], 4, "{receipt:?}");
    assert_eq!(deliver::<MailerFunction>(&bench.stack).await.len(), mails);
    bench.assert_nothing_is_left("after the mailer").await;
}

#[tokio::test]
async fn a_deleted_user_is_refused_everywhere() {
    let bench = Bench::start().await;
    assert_eq!(status(&bench.delete().await), 200);
    let refused = async |answer: EventResponse, expected: (i64, &str)| {
        assert_eq!((status(&answer), text(&body(&answer)["code"]).as_str()), expected);
    };
    let stack = &bench.stack;
    let me = bearer(load("me"), &bench.access_token);
    refused(ask::<MeRoute>(stack, me).await, (401, "invalid_token")).await;
    refused(bench.delete().await, (401, "invalid_token")).await;
    let refresh = json_body(load("refresh"), &json!({"refresh_token": bench.refresh_token}));
    refused(ask::<RefreshRoute>(stack, refresh).await, (401, "invalid_token")).await;
    for name in [USERNAME, ADDRESS] {
        let answer = ask::<LoginRoute>(stack, login(name, PASSWORD)).await;
        refused(answer, (401, "invalid_credentials")).await;
    }
    let register = async |username: &str, email: &str| {
        let registration = json!({"username": username, "password": PASSWORD, "email": email});
        ask::<RegisterRoute>(stack, json_body(load("register"), &registration)).await
    };
    refused(register("rosa-MARIA", "other@example.com").await, (409, "already_exists")).await;
    refused(register("other", "ROSA.maria@example.com").await, (409, "already_exists")).await;
    bench.assert_nothing_is_left("after the refusals").await;
}

#[tokio::test]
async fn without_a_quarantine_the_names_are_free_at_once() {
    let bench = Bench::start().await;
    let env = bench.stack.env_with(&[("NAME_QUARANTINE_DAYS", "0")]);
    let route =
        Box::pin(Service::<AccountDeleteRoute>::open(&env, &World::system())).await.unwrap();
    let deleted = answer(&route, event(delete(&bench.access_token, PASSWORD))).await;
    assert_eq!(status(&deleted), 200);
    let (user, ..) = live(&bench.stack, USERNAME, ADDRESS).await;
    assert_ne!(user, bench.user);
}

/// Simulates killing the process after each of its database calls in turn. Afterwards, either the account is still
/// complete, or the mailer deletes its remains.
#[tokio::test]
async fn a_deletion_that_is_killed_at_any_call_leaves_nothing() {
    let (mut left_behind, mut kept) = (0, 0);
    let bench = Bench::start().await;
    for calls in 1.. {
        bench.restore().await;
        let before = bench.traces().await;
        let interceptor = Interceptor::of(&bench.stack).await;
        let (made, killed) = (AtomicUsize::new(0), Arc::new(Notify::new()));
        let kill = Arc::clone(&killed);
        interceptor.fail_when(move |_| match made.fetch_add(1, Ordering::SeqCst) + 1 {
            call if call < calls => Fault::None,
            call if call == calls => Fault::LostAnswer,
            _ => {
                kill.notify_one();
                Fault::Silence
            }
        });
        tokio::select! {
            answer = bench.delete_through(&interceptor) => {
                assert_eq!(status(&answer), 200);
                break;
            }
            () = killed.notified() => interceptor.answered(calls).await,
        }
        let case = format!("killed after call {calls}");
        if bench.has_account().await {
            kept += 1;
            // Checking the password may have recorded an event or a notice.
            let after: BTreeSet<_> = bench.traces().await.into_iter().collect();
            assert!(before.iter().all(|key| after.contains(key)), "{case}");
            assert_eq!(status(&bench.delete().await), 200, "{case}");
        } else {
            left_behind += usize::from(bench.traces().await.len() > 1);
            deliver::<MailerFunction>(&bench.stack).await;
        }
        bench.assert_nothing_is_left(&case).await;
    }
    assert!(kept > 3, "the account was kept {kept} times");
    assert!(left_behind > 3, "without the mailer, something was left {left_behind} times");
}

/// Runs two logins and a code request before each database call of the deletion in turn.
#[tokio::test]
async fn requests_during_a_deletion_leave_nothing_behind() {
    let bench = Bench::start().await;
    for call in 0.. {
        bench.restore().await;
        let interceptor = Interceptor::of(&bench.stack).await;
        let (env, token) = (bench.stack.env(), bench.access_token.clone());
        interceptor.before(call, async move {
            for password in [PASSWORD, "a wrong password"] {
                let route = Box::pin(Service::<LoginRoute>::open(&env, &World::system())).await;
                answer(&route.unwrap(), event(login(USERNAME, password))).await;
            }
            let send = bearer(load("email-verify-send"), &token);
            let route =
                Box::pin(Service::<EmailVerifySendRoute>::open(&env, &World::system())).await;
            answer(&route.unwrap(), event(send)).await;
        });
        let answer = bench.delete_through(&interceptor).await;
        interceptor.answered(usize::MAX).await;
        let is_last = interceptor.calls().len() <= call;
        assert_eq!(status(&answer), 200, "{call}: {answer:?}");
        deliver::<MailerFunction>(&bench.stack).await;
        bench.assert_nothing_is_left(&format!("before call {call}")).await;
        if is_last {
            break;
        }
    }
}

/// Deletes the account before each database call of a login in turn.
#[tokio::test]
async fn a_login_during_which_the_account_is_deleted_leaves_nothing() {
    let bench = Bench::start().await;
    for password in [PASSWORD, "a wrong password"] {
        for call in 0.. {
            bench.restore().await;
            let interceptor = Interceptor::of(&bench.stack).await;
            let (env, token) = (bench.stack.env(), bench.access_token.clone());
            interceptor.before(call, async move {
                let route =
                    Box::pin(Service::<AccountDeleteRoute>::open(&env, &World::system())).await;
                let deleted = answer(&route.unwrap(), event(delete(&token, PASSWORD))).await;
                assert_eq!(status(&deleted), 200);
            });
            let env = interceptor.env(&bench.stack, &[]);
            let route = Box::pin(Service::<LoginRoute>::open(&env, &World::system())).await;
            let answer = answer(&route.unwrap(), event(login(USERNAME, password))).await;
            interceptor.answered(usize::MAX).await;
            if interceptor.calls().len() <= call {
                break;
            }
            assert!(matches!(status(&answer), 200 | 401 | 503), "{call}: {answer:?}");
            deliver::<MailerFunction>(&bench.stack).await;
            bench.assert_nothing_is_left(&format!("a login, before call {call}")).await;
        }
    }
}

/// Someone who knows only the old password must not be able to delete the account after its owner has changed the
/// password.
#[tokio::test]
async fn a_password_that_is_replaced_concurrently_cannot_delete_the_account() {
    let (mut deleted, mut refused) = (0, 0);
    let bench = Bench::start().await;
    for call in 0.. {
        bench.restore().await;
        let interceptor = Interceptor::of(&bench.stack).await;
        let (epochs, user) =
            (store::Epochs::new(&bench.stack.users(), bench.stack.client()), bench.user);
        interceptor.before(call, async move {
            // Fails if the account has already been deleted.
            let _ = epochs.raise(user, &testkit::occasion_now()).await;
        });
        let answer = bench.delete_through(&interceptor).await;
        interceptor.answered(usize::MAX).await;
        if interceptor.calls().len() <= call {
            break;
        }
        match status(&answer) {
            200 => deleted += 1,
            401 => {
                assert!(bench.has_account().await, "{call}");
                refused += 1;
            }
            other => panic!("{call}: {other}"),
        }
    }
    assert!(deleted > 0 && refused > 3, "{deleted} {refused}");
}

#[tokio::test]
async fn the_password_is_required_and_guesses_are_limited() {
    let stack = Stack::start().await;
    let env = stack.env_with(&[("THROTTLE_PAIR_BASE_SECONDS", "900")]);
    let route =
        Box::pin(Service::<AccountDeleteRoute>::open(&env, &World::system())).await.unwrap();
    let user = NewUser { username: "testuser", email: None, roles: &[Role::User] };
    let account = stack.user(user).await;
    let token = stack.sign_in(&account).await;
    let ask = async |password: &str| {
        let answer = answer(&route, event(delete(&token, password))).await;
        (status(&answer), text(&body(&answer)["code"]))
    };
    assert_eq!(ask(&"x".repeat(1_025)).await, (400, "invalid_input".to_owned()));
    for _ in 0..3 {
        assert_eq!(ask("a wrong password").await, (403, "wrong_password".to_owned()));
    }
    assert_eq!(ask(PASSWORD).await, (429, "too_many_attempts".to_owned()));
}

#[tokio::test]
async fn the_last_super_admin_cannot_delete_their_account() {
    let stack = Stack::start().await;
    let roles = &[Role::User, Role::SuperAdmin];
    let mut tokens = Vec::new();
    for username in ["first", "second"] {
        let account = stack.user(NewUser { username, email: None, roles }).await;
        tokens.push(stack.sign_in(&account).await);
    }
    let ask = async |token: &str| ask::<AccountDeleteRoute>(&stack, delete(token, PASSWORD)).await;
    assert_eq!(status(&ask(&tokens[0]).await), 200);
    let refused = ask(&tokens[1]).await;
    assert_eq!((status(&refused), &body(&refused)["code"]), (409, &json!("last_super_admin")));
    assert_eq!(status(&ask(&tokens[1]).await), 409, "the account still exists");
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let (env, world) = (Env::default(), World::system());
    let error = Box::pin(Service::<AccountDeleteRoute>::open(&env, &world)).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
