//! Tests `admin-user` against an embedded DynamoDB, from the gateway's event to the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use admin_user::AdminUserRoute;
use events::{Actor, Kind};
use identity::{Account, EmailStanding, Role, Roles, Standing, StoredHash, UserId, Username};
use process::{Env, SystemRandom};
use serde_json::{Value, json};
use store::{Administration, Endings, Events, NewAccount, Registrations};
use testkit::{
    Fault, Interceptor, NewUser, Stack, bearer, body, event, events_of, header, json_body, load,
    readable, signed_in, status,
};
use tokio::sync::Barrier;
use web::{EventResponse, Service, World, answer};

type Route = Service<AdminUserRoute>;

async fn route(stack: &Stack) -> Route {
    stack.open().await.unwrap()
}

async fn user(stack: &Stack, username: &str, roles: &[Role]) -> Account {
    let email = format!("{username}@example.com");
    stack.user(NewUser { username, email: Some(&email), roles }).await
}

/// An access token of a new user with these roles.
async fn caller(stack: &Stack, username: &str, roles: &[Role]) -> String {
    stack.sign_in(&user(stack, username, roles).await).await
}

async fn super_admin(stack: &Stack) -> String {
    caller(stack, "root-one", &[Role::Admin, Role::SuperAdmin]).await
}

async fn find(stack: &Stack, account: &Account) -> Option<Account> {
    let administration = Administration::new(&stack.users(), stack.client());
    administration.account(account.id).await.unwrap()
}

async fn stored(stack: &Stack, account: &Account) -> Account {
    find(stack, account).await.unwrap()
}

/// The number of reads before the write: the gate reads the caller's account and session, and the handler reads the
/// account to change.
const READS: usize = 3;

/// A request for the account with this id, made from the event file `name`.
fn request(name: &str, token: &str, id: &str, if_match: Option<&str>) -> Value {
    let mut event_json = bearer(load(name), token);
    let path = event_json["rawPath"].as_str().unwrap().to_owned();
    let pattern = event_json["pathParameters"]["id"].as_str().unwrap().to_owned();
    event_json["rawPath"] = json!(path.replace(&pattern, id));
    event_json["pathParameters"]["id"] = json!(id);
    event_json["headers"].as_object_mut().unwrap().remove("if-match");
    match if_match {
        Some(tags) => header(event_json, "if-match", tags),
        None => event_json,
    }
}

async fn patch(
    route: &Route,
    token: &str,
    account: &Account,
    if_match: Option<&str>,
    change: &Value,
) -> EventResponse {
    let event_json = request("admin-user", token, &account.id.to_string(), if_match);
    answer(route, event(json_body(event_json, change))).await
}

async fn set_roles(
    route: &Route,
    token: &str,
    account: &Account,
    if_match: Option<&str>,
    roles: &[&str],
) -> EventResponse {
    let event_json = request("admin-user-roles", token, &account.id.to_string(), if_match);
    answer(route, event(json_body(event_json, &json!({ "roles": roles })))).await
}

/// Sends the event `name`, with the id of `account`.
async fn post(
    route: &Route,
    token: &str,
    name: &str,
    account: &Account,
    if_match: Option<&str>,
) -> EventResponse {
    let event_json = request(name, token, &account.id.to_string(), if_match);
    answer(route, event(event_json)).await
}

/// The status and the code of an answer.
fn outcome(answer: &EventResponse) -> (i64, String) {
    (status(answer), body(answer)["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: i64, code: &str) -> (i64, String) {
    (status, code.to_owned())
}

fn done(status: i64) -> (i64, String) {
    (status, String::new())
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let token = super_admin(&stack).await;
    let route = route(&stack).await;
    for (name, event_json) in events_of("admin-user") {
        let answer = answer(&route, event(signed_in(event_json, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}

#[tokio::test]
async fn a_change_takes_effect_and_returns_the_new_state() {
    let stack = Stack::start().await;
    let (route, token) = (route(&stack).await, super_admin(&stack).await);
    let account = user(&stack, "testuser", &[Role::User]).await;
    let change = json!({"attributes": {"tenant": "acme"}, "email_verified": true});
    let answer = patch(&route, &token, &account, Some("\"1\""), &change).await;
    assert_eq!(outcome(&answer), done(200));
    assert_eq!(answer.headers["etag"].to_str().unwrap(), "\"2\"");
    let shown = body(&answer);
    assert_eq!(
        (&shown["attributes"]["tenant"], &shown["email_verified"]),
        (&json!("acme"), &json!(true))
    );
    let now = stored(&stack, &account).await;
    assert_eq!(now.attributes.get("tenant"), Some(&json!("acme")));
    assert_eq!(now.email_standing, EmailStanding::Verified);
    // The attributes are replaced as a whole.
    let change = json!({"attributes": {"plan": "free"}});
    patch(&route, &token, &account, Some("\"2\""), &change).await;
    let now = stored(&stack, &account).await;
    assert_eq!(
        (now.attributes.get("tenant"), now.attributes.get("plan")),
        (None, Some(&json!("free")))
    );
    let answer = patch(&route, &token, &account, Some("\"3\""), &json!({"attributes": {}})).await;
    assert_eq!(body(&answer)["attributes"], json!({}));
    // A change that changes nothing keeps the revision.
    let answer = patch(&route, &token, &account, Some("*"), &json!({})).await;
    assert_eq!((status(&answer), answer.headers["etag"].to_str().unwrap()), (200, "\"4\""));
}

#[tokio::test]
async fn disabling_ends_the_sessions_for_good() {
    let stack = Stack::start().await;
    let (route, token) = (route(&stack).await, super_admin(&stack).await);
    let account = user(&stack, "testuser", &[Role::User]).await;
    let session =
        testkit::claims(&stack.sign_in(&account).await)["sid"].as_str().unwrap().to_owned();
    let session = session.parse().unwrap();
    assert!(stack.lives(account.id, session).await);
    for disabled in [true, false] {
        let change = json!({ "disabled": disabled });
        assert_eq!(status(&patch(&route, &token, &account, Some("*"), &change).await), 200);
        assert_eq!(stored(&stack, &account).await.standing == Standing::Disabled, disabled);
        assert!(!stack.lives(account.id, session).await);
    }
}

#[tokio::test]
async fn logging_a_user_out_ends_the_sessions() {
    let stack = Stack::start().await;
    let (route, token) = (route(&stack).await, super_admin(&stack).await);
    let account = user(&stack, "testuser", &[Role::User]).await;
    let session =
        testkit::claims(&stack.sign_in(&account).await)["sid"].as_str().unwrap().to_owned();
    let answer = post(&route, &token, "admin-user-logout", &account, None).await;
    assert_eq!(outcome(&answer), done(204));
    assert!(!stack.lives(account.id, session.parse().unwrap()).await);
}

#[tokio::test]
async fn a_change_requires_the_current_revision() {
    let stack = Stack::start().await;
    let (route, token) = (route(&stack).await, super_admin(&stack).await);
    let account = user(&stack, "testuser", &[Role::User]).await;
    let change = json!({"attributes": {"n": 1}});
    let missing = patch(&route, &token, &account, None, &change).await;
    assert_eq!(outcome(&missing), refused(428, "precondition_required"));
    for stale in ["\"0\"", "\"2\"", "W/\"1\"", "1", ""] {
        let answer = patch(&route, &token, &account, Some(stale), &change).await;
        assert_eq!(outcome(&answer), refused(412, "precondition_failed"), "{stale}");
        let answer = set_roles(&route, &token, &account, Some(stale), &[]).await;
        assert_eq!(outcome(&answer), refused(412, "precondition_failed"), "{stale}");
        for name in ["admin-user-logout", "admin-user-factors-reset", "admin-user-delete"] {
            let answer = post(&route, &token, name, &account, Some(stale)).await;
            assert_eq!(outcome(&answer), refused(412, "precondition_failed"), "{name} {stale}");
        }
    }
    assert_eq!(stored(&stack, &account).await, account);
    let answer = patch(&route, &token, &account, Some("\"9\", \"1\""), &change).await;
    assert_eq!(outcome(&answer), done(200));
    // The other operations do not require a precondition.
    assert_eq!(outcome(&set_roles(&route, &token, &account, None, &["user"]).await), done(200));
}

/// Another request changes the account between the read and the write.
#[tokio::test]
async fn a_lost_race_fails_the_precondition_or_is_retried() {
    let stack = Stack::start().await;
    let token = super_admin(&stack).await;
    let interceptor = Interceptor::of(&stack).await;
    let env = interceptor.env(&stack, &[]);
    let route = Service::<AdminUserRoute>::open(&env, &World::system()).await.unwrap();
    let account = user(&stack, "testuser", &[Role::User]).await;
    for (if_match, expected) in [
        (Some("\"1\""), refused(412, "precondition_failed")),
        (Some("*"), done(200)),
        (None, done(200)),
    ] {
        let before = stored(&stack, &account).await;
        let tag = if_match.map(|tag| tag.replace('1', &before.revision.to_string()));
        let epochs = store::Epochs::new(&stack.users(), stack.client());
        let id = account.id;
        interceptor.before(READS, async move {
            epochs.raise(id, &testkit::occasion_now()).await.unwrap();
        });
        let answer = set_roles(&route, &token, &account, tag.as_deref(), &["user", "admin"]).await;
        assert_eq!(outcome(&answer), expected, "{if_match:?}");
        let now = stored(&stack, &account).await;
        assert_eq!(now.epoch, before.epoch.next(), "the other change is not lost");
        interceptor.reset();
        set_roles(&route, &token, &account, None, &["user"]).await;
    }
    for (is_conditional, expected) in
        [(true, refused(412, "precondition_failed")), (false, done(200))]
    {
        let before = stored(&stack, &account).await;
        let tag = is_conditional.then(|| format!("\"{}\"", before.revision));
        let epochs = store::Epochs::new(&stack.users(), stack.client());
        let id = account.id;
        interceptor.before(READS, async move {
            epochs.raise(id, &testkit::occasion_now()).await.unwrap();
        });
        let answer = post(&route, &token, "admin-user-delete", &account, tag.as_deref()).await;
        assert_eq!(outcome(&answer), expected);
        assert_eq!(find(&stack, &account).await.is_some(), is_conditional);
    }
}

#[tokio::test]
async fn only_a_super_admin_changes_privileged_accounts_and_grants_privileges() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let admin = caller(&stack, "plain-admin", &[Role::Admin]).await;
    let root = super_admin(&stack).await;
    let forbidden = || refused(403, "insufficient_role");
    let names = [("one", Role::Admin), ("two", Role::SuperAdmin)];
    for (name, role) in names {
        let account = user(&stack, name, &[role]).await;
        let all = async |token: &str| {
            [
                patch(&route, token, &account, Some("*"), &json!({"disabled": false})).await,
                set_roles(&route, token, &account, None, &[role.as_str()]).await,
                post(&route, token, "admin-user-logout", &account, None).await,
                post(&route, token, "admin-user-factors-reset", &account, None).await,
                post(&route, token, "admin-user-delete", &account, None).await,
            ]
            .map(|answer| outcome(&answer))
        };
        assert_eq!(all(&admin).await, [(); 5].map(|()| forbidden()), "{role}");
        assert_eq!(
            all(&root).await,
            [done(200), done(200), done(204), done(204), done(200)],
            "{role}"
        );
    }
    let account = user(&stack, "testuser", &[Role::User]).await;
    for roles in [&["admin"][..], &["super_admin"], &["user", "admin"]] {
        let answer = set_roles(&route, &admin, &account, None, roles).await;
        assert_eq!(outcome(&answer), forbidden(), "{roles:?}");
    }
    assert_eq!(stored(&stack, &account).await, account, "nothing was changed");
    for roles in [&[][..], &["user"]] {
        let answer = set_roles(&route, &admin, &account, None, roles).await;
        assert_eq!(outcome(&answer), done(200), "{roles:?}");
    }
    let answer = patch(&route, &admin, &account, Some("*"), &json!({"disabled": true})).await;
    assert_eq!(outcome(&answer), done(200));
    // An administrator's own account is privileged too.
    let own = user(&stack, "own", &[Role::Admin]).await;
    let token = stack.sign_in(&own).await;
    assert_eq!(outcome(&set_roles(&route, &token, &own, None, &["user"]).await), forbidden());
}

#[tokio::test]
async fn the_last_super_admin_can_be_neither_demoted_nor_disabled_nor_deleted() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let root = user(&stack, "root-one", &[Role::Admin, Role::SuperAdmin]).await;
    let token = stack.sign_in(&root).await;
    let before = stored(&stack, &root).await;
    let last = || refused(409, "last_super_admin");
    assert_eq!(outcome(&set_roles(&route, &token, &root, None, &["admin"]).await), last());
    let disabled = json!({"disabled": true});
    assert_eq!(outcome(&patch(&route, &token, &root, Some("*"), &disabled).await), last());
    assert_eq!(outcome(&post(&route, &token, "admin-user-delete", &root, None).await), last());
    assert_eq!(stored(&stack, &root).await, before);
    user(&stack, "root-two", &[Role::SuperAdmin]).await;
    assert_eq!(outcome(&set_roles(&route, &token, &root, None, &["admin"]).await), done(200));
}

/// How an administrator loses rights while one of the administrator's requests is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Demoted,
    Disabled,
    LoggedOut,
    SessionEnded,
}

impl Loss {
    const ALL: [Self; 4] = [Self::Demoted, Self::Disabled, Self::LoggedOut, Self::SessionEnded];

    fn of(self, stack: &Stack, token: &str) -> impl Future<Output = ()> + Send + use<> {
        let administration = Administration::new(&stack.users(), stack.client());
        let epochs = store::Epochs::new(&stack.users(), stack.client());
        let endings = Endings::new(&stack.users(), stack.client());
        let claims = testkit::claims(token);
        let id = claims["sub"].as_str().unwrap().parse().unwrap();
        let session = claims["sid"].as_str().unwrap().parse().unwrap();
        let now = testkit::occasion_now;
        async move {
            match self {
                Self::SessionEnded => assert!(endings.end(id, session, &now()).await.unwrap()),
                Self::Demoted => {
                    let roles = Roles::from_iter([Role::User]);
                    administration.set_roles(id, &roles, now).await.unwrap();
                }
                Self::Disabled => drop(administration.disable(id, now).await.unwrap()),
                Self::LoggedOut => epochs.raise(id, &now()).await.unwrap(),
            }
        }
    }
}

/// Administrators may change their own accounts, so they must not undo what happens to them.
#[tokio::test]
async fn an_administrator_who_loses_rights_during_a_request_does_not_get_them_back() {
    for loss in Loss::ALL {
        let stack = Stack::start().await;
        let interceptor = Interceptor::of(&stack).await;
        let env = interceptor.env(&stack, &[]);
        let route = Service::<AdminUserRoute>::open(&env, &World::system()).await.unwrap();
        let both = &[Role::Admin, Role::SuperAdmin][..];
        if matches!(loss, Loss::Demoted | Loss::Disabled) {
            without_hash(&stack, "keeper", both).await;
        }
        let names = ["admin-user-roles", "admin-user", "admin-user-delete"];
        // Before the account is read for the change, and before the change is written. A plain administrator's request is
        // refused at the read unless the administrator has been demoted.
        let times = [(both, READS - 1), (both, READS), (&[Role::Admin], READS - 1)];
        for (n, (name, (roles, call))) in
            names.into_iter().flat_map(|name| times.map(|time| (name, time))).enumerate()
        {
            let case = format!("{loss:?} before call {call} of {name} by {roles:?}");
            let admin = without_hash(&stack, &format!("admin-{n}"), roles).await;
            let token = stack.sign_in(&admin).await;
            interceptor.before(call, loss.of(&stack, &token));
            let answer = match name {
                "admin-user-roles" => {
                    let all = ["user", "admin", "super_admin"];
                    set_roles(&route, &token, &admin, None, &all).await
                }
                "admin-user" => {
                    let change = json!({"disabled": false, "attributes": {"n": 1}});
                    patch(&route, &token, &admin, Some("*"), &change).await
                }
                name => post(&route, &token, name, &admin, None).await,
            };
            let expected = if loss == Loss::Demoted || roles == [Role::Admin] {
                refused(403, "insufficient_role")
            } else {
                refused(401, "invalid_token")
            };
            assert_eq!(outcome(&answer), expected, "{case}");
            let now = stored(&stack, &admin).await;
            let is_lost = match loss {
                Loss::Demoted => now.roles == Roles::from_iter([Role::User]),
                Loss::Disabled => now.standing == Standing::Disabled,
                Loss::LoggedOut => now.epoch == admin.epoch.next(),
                Loss::SessionEnded => now.roles == admin.roles,
            };
            assert!(is_lost && now.attributes.is_empty(), "{case}: {now:?}");
        }
    }
}

/// An account is changed only if the session in which the request was admitted has not ended.
#[tokio::test]
async fn an_administrator_whose_session_ends_during_a_request_changes_no_account() {
    let stack = Stack::start().await;
    let interceptor = Interceptor::of(&stack).await;
    let env = interceptor.env(&stack, &[]);
    let route = Service::<AdminUserRoute>::open(&env, &World::system()).await.unwrap();
    let admin = without_hash(&stack, "admin", &[Role::Admin, Role::SuperAdmin]).await;
    let account = without_hash(&stack, "testuser", &[Role::User]).await;
    let mut token = String::new();
    for name in ["admin-user-roles", "admin-user-delete"] {
        for call in [READS - 1, READS] {
            token = stack.sign_in(&admin).await;
            interceptor.before(call, Loss::SessionEnded.of(&stack, &token));
            let answer = match name {
                "admin-user-roles" => {
                    set_roles(&route, &token, &account, None, &["user", "admin"]).await
                }
                name => post(&route, &token, name, &account, None).await,
            };
            assert_eq!(outcome(&answer), refused(401, "invalid_token"), "{name} {call}");
            assert_eq!(stored(&stack, &account).await, account, "{name} {call}");
        }
    }
    // Another session of the administrator may still change the account.
    interceptor.reset();
    let other = stack.sign_in(&admin).await;
    assert_ne!(other, token);
    let answer = set_roles(&route, &other, &account, None, &["user", "admin"]).await;
    assert_eq!(outcome(&answer), done(200));
}

/// Creates an account without hashing a password.
async fn without_hash(stack: &Stack, username: &str, roles: &[Role]) -> Account {
    let occasion = testkit::occasion_now();
    let new = NewAccount {
        id: UserId::new(occasion.at, &SystemRandom),
        username: Username::parse(username).unwrap(),
        email: None,
        roles: roles.iter().copied().collect(),
        password: StoredHash::new("a hash"),
        created_at: occasion.at,
        invite: None,
        occasion,
    };
    let registrations = Registrations::new(&stack.users(), stack.client());
    registrations.create(new, stack.peppers()).await.unwrap()
}

/// How one super administrator removes another.
#[derive(Clone, Copy, Debug)]
enum Removal {
    Demote,
    Disable,
    Delete,
}

impl Removal {
    const ALL: [Self; 3] = [Self::Demote, Self::Disable, Self::Delete];

    async fn of(self, route: &Route, token: &str, account: &Account) -> EventResponse {
        match self {
            Self::Demote => set_roles(route, token, account, None, &["admin"]).await,
            Self::Disable => {
                patch(route, token, account, Some("*"), &json!({"disabled": true})).await
            }
            Self::Delete => post(route, token, "admin-user-delete", account, None).await,
        }
    }
}

/// Two administrators who act concurrently. Each request is held before its write until both have passed the
/// permission check.
struct Duel {
    stack: Stack,
    interceptors: [Interceptor; 2],
    routes: [Route; 2],
}

impl Duel {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let interceptors = [Interceptor::of(&stack).await, Interceptor::of(&stack).await];
        let open = async |interceptor: &Interceptor| {
            let env = interceptor.env(&stack, &[]);
            Service::<AdminUserRoute>::open(&env, &World::system()).await.unwrap()
        };
        let routes = [open(&interceptors[0]).await, open(&interceptors[1]).await];
        Self { stack, interceptors, routes }
    }

    async fn super_admin(&self, username: &str) -> Account {
        without_hash(&self.stack, username, &[Role::Admin, Role::SuperAdmin]).await
    }

    /// Lets both accounts act at once, each with its own access token. `fault` is injected into every transaction.
    async fn at_once(
        &self,
        both: [&Account; 2],
        fault: Fault,
        act: impl AsyncFn(usize, &str) -> EventResponse,
    ) -> [(i64, String); 2] {
        let tokens = [self.stack.sign_in(both[0]).await, self.stack.sign_in(both[1]).await];
        let barrier = Arc::new(Barrier::new(2));
        for interceptor in &self.interceptors {
            let barrier = Arc::clone(&barrier);
            interceptor.before(READS, async move {
                barrier.wait().await;
            });
            interceptor.also_fail_when(move |call| {
                if call.operation == "TransactWriteItems" { fault } else { Fault::None }
            });
        }
        let (first, second) = futures_util::join!(act(0, &tokens[0]), act(1, &tokens[1]));
        let mut outcomes = [outcome(&first), outcome(&second)];
        outcomes.sort();
        outcomes
    }

    /// Lets each of `both` remove the other.
    async fn fight(
        &self,
        both: [&Account; 2],
        removals: [Removal; 2],
        fault: Fault,
    ) -> [(i64, String); 2] {
        let remove = async |side: usize, token: &str| {
            removals[side].of(&self.routes[side], token, both[1 - side]).await
        };
        self.at_once(both, fault, remove).await
    }

    /// Returns those of `both` that are still active super administrators.
    async fn remaining<'a>(&self, both: [&'a Account; 2]) -> Vec<&'a Account> {
        let mut remaining = Vec::new();
        for account in both {
            let found = find(&self.stack, account).await;
            if found.is_some_and(|account| account.is_active_super_admin()) {
                remaining.push(account);
            }
        }
        remaining
    }
}

#[tokio::test]
async fn if_two_super_admins_remove_each_other_one_gets_409() {
    let mixed = Removal::ALL.into_iter().flat_map(|one| Removal::ALL.map(|other| [one, other]));
    let same = Removal::ALL.into_iter().flat_map(|removal| [[removal; 2]; 50]);
    let duel = Duel::start().await;
    let mut survivor = duel.super_admin("the-first").await;
    for (round, removals) in same.chain(mixed).enumerate() {
        let rival = duel.super_admin(&format!("rival-{round}")).await;
        let both = [&survivor, &rival];
        let outcomes = duel.fight(both, removals, Fault::None).await;
        let expected = [done(200), refused(409, "last_super_admin")];
        assert_eq!(outcomes, expected, "round {round}: {removals:?}");
        let [one] = duel.remaining(both).await.try_into().unwrap();
        survivor = Account::clone(one);
    }
}

/// [`Fault::Unconditional`] removes the condition from every write.
#[tokio::test]
async fn without_the_condition_super_admins_can_remove_each_other() {
    for one in Removal::ALL {
        for other in Removal::ALL {
            let duel = Duel::start().await;
            let both = [&duel.super_admin("one").await, &duel.super_admin("two").await];
            let outcomes = duel.fight(both, [one, other], Fault::Unconditional).await;
            assert_eq!(outcomes, [done(200), done(200)], "{one:?} {other:?}");
            assert!(duel.remaining(both).await.is_empty(), "{one:?} {other:?}");
        }
    }
}

#[tokio::test]
async fn if_two_requests_change_the_same_revision_one_gets_412() {
    let lost = refused(412, "precondition_failed");
    for (fault, expected) in
        [(Fault::None, [done(200), lost]), (Fault::Unconditional, [done(200), done(200)])]
    {
        let duel = Duel::start().await;
        let both = [&duel.super_admin("one").await, &duel.super_admin("two").await];
        let account = user(&duel.stack, "testuser", &[Role::User]).await;
        let change = async |side: usize, token: &str| {
            let change = json!({"attributes": {"side": side}});
            patch(&duel.routes[side], token, &account, Some("\"1\""), &change).await
        };
        assert_eq!(duel.at_once(both, fault, change).await, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn a_super_admin_demoted_before_the_check_also_gets_409() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let both = [Role::Admin, Role::SuperAdmin];
    let (one, other) = (user(&stack, "one", &both).await, user(&stack, "two", &both).await);
    let token = stack.sign_in(&other).await;
    let administration = Administration::new(&stack.users(), stack.client());
    administration
        .set_roles(other.id, &Roles::from_iter([Role::Admin]), testkit::occasion_now)
        .await
        .unwrap();
    let answer = set_roles(&route, &token, &one, None, &["admin"]).await;
    assert_eq!(outcome(&answer), refused(409, "last_super_admin"));
    // A caller whose token lacks the role gets 403.
    let token = stack.sign_in(&stored(&stack, &other).await).await;
    let answer = set_roles(&route, &token, &one, None, &["admin"]).await;
    assert_eq!(outcome(&answer), refused(403, "insufficient_role"));
}

#[tokio::test]
async fn an_address_is_claimed_replaced_and_removed() {
    let stack = Stack::start().await;
    let (route, token) = (route(&stack).await, super_admin(&stack).await);
    let account = user(&stack, "testuser", &[Role::User]).await;
    user(&stack, "other", &[Role::User]).await;
    let change = async |change: Value| patch(&route, &token, &account, Some("*"), &change).await;
    // A new address is unconfirmed, even if the previous one was confirmed.
    change(json!({"email_verified": true})).await;
    let answer = change(json!({"email": "New@example.com"})).await;
    let shown = body(&answer);
    assert_eq!(
        (&shown["email"], &shown["email_verified"]),
        (&json!("New@example.com"), &json!(false))
    );
    // Setting the same address again also makes it unconfirmed.
    change(json!({"email_verified": true})).await;
    let shown = body(&change(json!({"email": "New@example.com"})).await);
    assert_eq!(shown["email_verified"], false);
    let conflict = change(json!({"email": "OTHER@example.com", "email_verified": true})).await;
    assert_eq!(outcome(&conflict), refused(409, "already_exists"));
    let shown = body(&change(json!({"email": "third@example.com", "email_verified": true})).await);
    assert_eq!(shown["email_verified"], true);
    let shown = body(&change(json!({ "email": null })).await);
    assert_eq!((&shown["email"], &shown["email_verified"]), (&Value::Null, &json!(false)));
    let answer = change(json!({"email_verified": true})).await;
    assert_eq!(outcome(&answer), refused(400, "invalid_input"), "there is no address");
    // The released addresses can be claimed again.
    for (n, address) in
        ["testuser@example.com", "new@example.com", "third@example.com"].into_iter().enumerate()
    {
        let username = &format!("next-{n}");
        stack.user(NewUser { username, email: Some(address), roles: &[] }).await;
    }
}

#[tokio::test]
async fn if_addresses_must_be_verified_an_unconfirmed_address_is_not_claimed() {
    let stack = Stack::start().await;
    let token = super_admin(&stack).await;
    let env = stack.env_with(&[("EMAIL_VERIFICATION", "required")]);
    let route = Service::<AdminUserRoute>::open(&env, &World::system()).await.unwrap();
    let account = user(&stack, "testuser", &[Role::User]).await;
    user(&stack, "other", &[Role::User]).await;
    // The address is not claimed yet, so the answer does not reveal whether it is taken.
    for address in ["other@example.com", "new@example.com"] {
        let answer = patch(&route, &token, &account, Some("*"), &json!({"email": address})).await;
        assert_eq!((status(&answer), &body(&answer)["email"]), (200, &json!(address)));
        let now = stored(&stack, &account).await;
        assert_eq!((now.email, now.pending_email.unwrap().as_str()), (None, address));
    }
    let answer = patch(&route, &token, &account, Some("*"), &json!({"email_verified": true})).await;
    assert_eq!(outcome(&answer), done(200));
    let now = stored(&stack, &account).await;
    assert_eq!((now.email.unwrap().as_str(), now.pending_email), ("new@example.com", None));
}

#[tokio::test]
async fn bad_changes_are_refused() {
    let stack = Stack::start().await;
    let (route, token) = (route(&stack).await, super_admin(&stack).await);
    let account = user(&stack, "testuser", &[Role::User]).await;
    let long = "x".repeat(1_024);
    for (change, code, field) in [
        (json!({"attributes": {"a": long}}), "invalid_input", "attributes"),
        (json!({"attributes": [1]}), "invalid_input", "attributes"),
        (json!({"attributes": null}), "invalid_input", "attributes"),
        (json!({"email": "x"}), "invalid_input", "email"),
        (json!({"email": 7}), "invalid_request", "email"),
        (json!({"disabled": null}), "invalid_request", "disabled"),
        (json!({"disabled": "true"}), "invalid_request", "disabled"),
        (json!({"email_verified": 1}), "invalid_request", "email_verified"),
    ] {
        let answer = patch(&route, &token, &account, Some("*"), &change).await;
        let problem = body(&answer);
        let found = (status(&answer), &problem["code"], &problem["errors"][0]["field"]);
        assert_eq!(found, (400, &json!(code), &json!(field)), "{change}");
    }
    let answer = set_roles(&route, &token, &account, None, &["user", "root"]).await;
    assert_eq!(outcome(&answer), refused(400, "invalid_request"));
    assert_eq!(stored(&stack, &account).await, account);
}

#[tokio::test]
async fn an_unknown_account_is_not_found() {
    let stack = Stack::start().await;
    let (route, token) = (route(&stack).await, super_admin(&stack).await);
    for id in ["0190a0f0-7c3a-7abc-8def-0123456789ab", "0", "x"] {
        for name in ["", "-roles", "-logout", "-factors-reset", "-delete"]
            .map(|case| format!("admin-user{case}"))
        {
            let answer = answer(&route, event(request(&name, &token, id, Some("*")))).await;
            assert_eq!(outcome(&answer), refused(404, "not_found"), "{name} {id}");
        }
    }
}

#[tokio::test]
async fn a_deletion_returns_a_receipt() {
    let stack = Stack::start().await;
    let route = route(&stack).await;
    let admin = user(&stack, "plain-admin", &[Role::Admin]).await;
    let token = stack.sign_in(&admin).await;
    let account = user(&stack, "testuser", &[Role::User]).await;
    for _ in 0..2 {
        stack.sign_in(&account).await;
    }
    let answer = post(&route, &token, "admin-user-delete", &account, Some("\"1\"")).await;
    assert_eq!(outcome(&answer), done(200));
    let receipt = body(&answer);
    // The events are the registration and two logins.
    let expected = json!({
        "receipt": receipt["receipt"],
        "action": "deleted",
        "user_id": account.id,
        "at": receipt["at"],
        "deleted": {"sessions": 2, "events": 3, "codes": 0, "known_networks": 0},
    });
    assert_eq!(receipt, expected);
    assert_eq!(find(&stack, &account).await, None);
    // The event names the administrator but contains nothing else about the request.
    let events = Events::new(&stack.users(), stack.client());
    let page = events.page(account.id, None, 10, World::system().clock.now()).await.unwrap();
    let [event] = page.events.try_into().unwrap();
    assert_eq!(
        (json!(event.id), json!(event.at)),
        (receipt["receipt"].clone(), receipt["at"].clone())
    );
    assert_eq!((event.kind, event.by), (Kind::Deleted, Actor::User(admin.id)));
    assert_eq!(event.origin, events::Origin::default());
    // A repeated request finds no account, whatever its precondition.
    for if_match in [None, Some("*"), Some("\"1\"")] {
        let answer = post(&route, &token, "admin-user-delete", &account, if_match).await;
        assert_eq!(outcome(&answer), refused(404, "not_found"), "{if_match:?}");
    }
}

#[tokio::test]
async fn an_outage_changes_nothing_and_is_reported() {
    let stack = Stack::start().await;
    let token = super_admin(&stack).await;
    let account = user(&stack, "testuser", &[Role::User]).await;
    let interceptor = Interceptor::of(&stack).await;
    let env = interceptor.env(&stack, &[]);
    let route = Service::<AdminUserRoute>::open(&env, &World::system()).await.unwrap();
    interceptor.fail_when(|call| {
        if call.operation == "TransactWriteItems" { Fault::Throttled } else { Fault::None }
    });
    let answer = set_roles(&route, &token, &account, None, &["user", "admin"]).await;
    assert_eq!(outcome(&answer), refused(503, "unavailable"));
    let answer = post(&route, &token, "admin-user-delete", &account, None).await;
    assert_eq!(outcome(&answer), refused(503, "unavailable"));
    assert_eq!(stored(&stack, &account).await, account);
}

#[tokio::test]
async fn the_guard_refuses_every_bad_token_and_stale_sessions() {
    testkit::guarded_by_fresh_session::<AdminUserRoute>().await;
}

#[tokio::test]
async fn all_missing_settings_are_reported_together() {
    let error =
        Service::<AdminUserRoute>::open(&Env::default(), &World::system()).await.err().unwrap();
    insta::assert_snapshot!(error.to_string());
}
