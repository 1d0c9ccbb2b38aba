//! An embedded DynamoDB with the tables of the template, and the environment of a function that uses it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use auth::AccountCheck;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamo::Client;
use dynoxide::Database;
use events::{Occasion, Origin};
use identity::{
    Account, Email, EmailStanding, EventId, Method, NameTagger, Role, Roles, SessionEpoch,
    SessionId, UniqueName, UserId, Username,
};
use jiff::Timestamp;
use keys::KeysTable;
use passwords::{Hasher, Password};
use peppers::Peppers;
use process::{BootError, Clock, Env, SystemClock, SystemRandom, World};
use rotation::{PepperRotation, Plan, Rotation};
use secrets::Versions;
use serde_json::{Value, json};
use store::{Logins, NewAccount, NewEmail, NewSession, Registrations, SessionLimits};
use tempfile::TempDir;
use template::{Setting, Template};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use web::{Route, Service};

use crate::events::workspace;
use crate::{Faults, Forge, Received, mails_in};

/// The `iss` claim of a stack's tokens.
pub const ISSUER: &str = "https://api.example.com";

/// The `aud` claim of a stack's tokens.
pub const AUDIENCE: &str = "latchkey";

/// The default password of a stack's users, which `events/login.json` also uses.
pub const PASSWORD: &str = "a long walk by the river";

/// The template. It is read once, because parsing it takes as long as a short test.
static TEMPLATE: LazyLock<Template> =
    LazyLock::new(|| Template::read(&workspace().join("template.yaml")).expect("a valid template"));

/// An in-memory DynamoDB on its own loopback port, and the secrets of a deployment in files.
///
/// Dropping the stack stops the database and deletes the secrets.
#[derive(Debug)]
pub struct Stack {
    endpoint: String,
    forge: Forge,
    peppers: Peppers,
    secrets: TempDir,
    database: EmbeddedDatabase,
    _stop: oneshot::Sender<()>,
}

/// The database, with an opaque `Debug`.
struct EmbeddedDatabase(Database);

impl std::fmt::Debug for EmbeddedDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EmbeddedDatabase(..)")
    }
}

/// The prefix of links in emails.
pub const LINK_BASE: &str = "https://app.example.com/account";

/// The folder of sent emails, next to the secrets.
const MAILS: &str = "outbox";

/// The files of the two secrets.
const SIGNING_KEYS: &str = "signing-keys.json";
const PEPPERS: &str = "peppers.json";

/// Creates both secrets by a first rotation, as a deployment does.
async fn make_secrets(endpoint: &str, folder: &std::path::Path) -> (Forge, Peppers) {
    let versions = |name| {
        let config = secrets::Config::file(folder.join(name));
        Versions::of(secrets::Secret::new(&config))
    };
    let env = Env::from_iter([
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
    ]);
    let client = dynamo::connect(&env.settings::<dynamo::Config>().expect("a valid environment"));
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let config = env.settings::<rotation::Config>().expect("valid defaults");
    let table = KeysTable::new("KeysTable", client);
    let signing_keys = versions(SIGNING_KEYS);
    let rotation =
        Rotation::new(config, signing_keys.clone(), table, clock.clone(), random.clone());
    rotation.perform(&Plan::Rotate).await.expect("the first keys");
    let keys = signing_keys.secret().current().await.expect("a secret");
    let kept_for = jiff::SignedDuration::from_hours(1);
    let peppers = PepperRotation::new(versions(PEPPERS), kept_for, clock, random).add().await;
    (Forge::of(keys.value.parse().expect("signing keys")), peppers.expect("the first pepper"))
}

/// A user to create.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// The username.
    pub username: &'a str,
    /// The email address, which is not confirmed.
    pub email: Option<&'a str>,
    /// The initial roles.
    pub roles: &'a [Role],
}

/// The occasion of a request that an account's owner makes now. It has no origin.
#[must_use]
pub fn occasion_now() -> Occasion {
    occasion(SystemClock.now())
}

/// The occasion of a request that an account's owner makes at `now`. It has no origin.
#[must_use]
pub fn occasion(now: Timestamp) -> Occasion {
    Occasion::new(now, &SystemRandom, Origin::default())
}

impl Stack {
    /// Starts a stack that has signing keys, peppers, and a published key set.
    ///
    /// # Panics
    /// When the embedded database does not start.
    pub async fn start() -> Self {
        let database = Database::memory().expect("an embedded database in memory");
        for table in &TEMPLATE.tables {
            let mut definition = table.definition.clone();
            definition["TableName"] = table.name.clone().into();
            let request = serde_json::from_value(definition).expect("a table's definition");
            database.create_table(request).expect("a new table");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let port = listener.local_addr().expect("a bound address").port();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            // The sender is dropped with the stack.
            let _ = stopped.await;
        };
        let served = database.clone();
        tokio::spawn(dynoxide::server::serve_with_shutdown(listener, served, stopped));
        let endpoint = format!("http://127.0.0.1:{port}");
        let secrets = tempfile::tempdir().expect("a folder");
        // Boxed: otherwise the nested futures exceed the compiler's limits.
        let (forge, peppers) = Box::pin(make_secrets(&endpoint, secrets.path())).await;
        let database = EmbeddedDatabase(database);
        Self { endpoint, forge, peppers, secrets, database, _stop: stop }
    }

    /// The URL of the database.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The environment of a function: the tables of the template, and all other variables that functions read.
    #[must_use]
    pub fn env(&self) -> Env {
        self.env_with(&[])
    }

    /// The environment of a function, with some variables changed.
    #[must_use]
    pub fn env_with(&self, changes: &[(&str, &str)]) -> Env {
        let secret = |name| format!("file:{}", self.secrets.path().join(name).display());
        let (signing_keys, peppers) = (secret(SIGNING_KEYS), secret(PEPPERS));
        let mails = secret(MAILS);
        let variables = [
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &self.endpoint),
            ("ISSUER", ISSUER),
            ("AUDIENCE", AUDIENCE),
            ("SIGNING_KEYS_SECRET", &signing_keys),
            ("PEPPERS_SECRET", &peppers),
            ("MAIL_TRANSPORT", &mails),
            ("MAIL_FROM", "no-reply@example.com"),
            ("MAIL_LINK_BASE", LINK_BASE),
        ];
        let settings = TEMPLATE.functions.iter().flat_map(|function| &function.environment);
        let tables = settings.filter_map(|(name, setting)| match setting {
            Setting::Table(table) => Some((name.as_str(), table.as_str())),
            Setting::Text(_) | Setting::Deployed => None,
        });
        tables.chain(variables).chain(changes.iter().copied()).collect()
    }

    /// The environment of a function that cannot reach its database.
    #[must_use]
    pub fn env_out_of_reach(&self) -> Env {
        // No service listens on port 1 (TCPMUX, RFC 1078).
        self.env_with(&[("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")])
    }

    /// The system's clock and randomness, which functions also use.
    #[must_use]
    pub fn world(&self) -> World {
        World::system()
    }

    /// Opens a route with this stack's environment.
    ///
    /// # Errors
    /// When the route cannot start.
    pub async fn open<R: Route>(&self) -> Result<Service<R>, BootError> {
        Service::open(&self.env(), &self.world()).await
    }

    /// The forge whose tokens this stack's functions accept.
    #[must_use]
    pub fn forge(&self) -> &Forge {
        &self.forge
    }

    /// The peppers, which key the MACs of refresh tokens and codes.
    #[must_use]
    pub fn peppers(&self) -> &Peppers {
        &self.peppers
    }

    /// The file of the signing keys' secret.
    #[must_use]
    pub fn signing_keys(&self) -> PathBuf {
        self.secrets.path().join(SIGNING_KEYS)
    }

    /// The file of the peppers' secret.
    #[must_use]
    pub fn peppers_file(&self) -> PathBuf {
        self.secrets.path().join(PEPPERS)
    }

    /// All emails sent so far.
    #[must_use]
    pub fn mails(&self) -> Vec<Received> {
        mails_in(&self.secrets.path().join(MAILS))
    }

    /// All records in the stream of the users' table so far.
    ///
    /// # Panics
    /// When the records cannot be read.
    #[must_use]
    pub fn stream_records(&self) -> Vec<Value> {
        local::streams::records(&self.database.0, "UsersTable").expect("a stream")
    }

    /// An event for the mailer with all emails that have been requested so far, even those already sent.
    #[must_use]
    pub fn mailer_event(&self) -> Value {
        self.stream_event("mailer")
    }

    /// An event with all current records of the stream that the filters of `function` accept.
    ///
    /// # Panics
    /// When the template has no such function.
    #[must_use]
    pub fn stream_event(&self, function: &str) -> Value {
        let function = TEMPLATE.function(function).expect("a function of the template");
        let accepted = |record: &Value| function.streams.iter().any(|source| source.takes(record));
        let records: Vec<_> = self.stream_records().into_iter().filter(accepted).collect();
        json!({ "Records": records })
    }

    /// All items of the users' table.
    ///
    /// # Panics
    /// When the items cannot be read.
    pub async fn items(&self) -> Vec<HashMap<String, AttributeValue>> {
        let scan = self.client().scan().table_name("UsersTable").consistent_read(true);
        let items = scan.into_paginator().items().send().collect::<Result<_, _>>().await;
        items.expect("a table that can be read")
    }

    /// Expires all emailed codes that have an expiry time, as if ten minutes had passed.
    ///
    /// # Panics
    /// When the table cannot be written.
    pub async fn expire_codes(&self) {
        let now = AttributeValue::N(SystemClock.now().as_second().to_string());
        for item in self.items().await {
            let is_code = matches!(item["sk"].as_s().map(String::as_str), Ok("CODE" | "DIGITS"));
            if !is_code || !item.contains_key("expires_at") {
                continue;
            }
            self.client()
                .update_item()
                .table_name("UsersTable")
                .key("pk", item["pk"].clone())
                .key("sk", item["sk"].clone())
                .update_expression("SET expires_at = :now")
                .expression_attribute_values(":now", now.clone())
                .send()
                .await
                .expect("an item that can be written");
        }
    }

    /// Deletes expired items, as the table's TTL does.
    ///
    /// # Panics
    /// When the table cannot be written.
    pub async fn remove_expired(&self) {
        let now = SystemClock.now().as_second();
        for item in self.items().await {
            let expires_at = item.get("expires_at").and_then(|ends| ends.as_n().ok());
            if !expires_at.is_some_and(|ends| ends.parse().is_ok_and(|ends: i64| ends <= now)) {
                continue;
            }
            self.client()
                .delete_item()
                .table_name("UsersTable")
                .key("pk", item["pk"].clone())
                .key("sk", item["sk"].clone())
                .send()
                .await
                .expect("an item that can be deleted");
        }
    }

    /// All attempt counters that are not zero, by partition key. Includes the counters of attempts with emailed digits.
    ///
    /// # Panics
    /// When the table cannot be read.
    pub async fn counted(&self) -> BTreeMap<String, String> {
        let items = self.items().await.into_iter();
        let counted = items.filter_map(|item| {
            let count = item.get("count").or_else(|| item.get("tries"))?;
            let key = item["pk"].as_s().expect("a key").clone();
            Some((key, count.as_n().expect("a number").clone()))
        });
        counted.filter(|(_, count)| count != "0").collect()
    }

    /// Whether a session exists and has the epoch of its account.
    ///
    /// # Panics
    /// When the table cannot be read, or the account no longer exists.
    pub async fn lives(&self, user: UserId, session: SessionId) -> bool {
        let accounts = store::Accounts::new(&self.users(), self.client());
        let found = accounts.find(user, session).await.expect("a table that can be read");
        let epoch = found.account.expect("an account").epoch;
        found.session.is_some_and(|session| session.epoch == epoch)
    }

    /// The table of public keys.
    #[must_use]
    pub fn keys_table(&self) -> KeysTable {
        KeysTable::new("KeysTable", self.client())
    }

    /// The default limits on sessions: their lifetimes, and their number per account.
    ///
    /// # Panics
    /// Never: the defaults are valid.
    #[must_use]
    pub fn limits(&self) -> SessionLimits {
        self.env().settings::<SessionLimits>().expect("valid defaults")
    }

    /// The store that begins sessions.
    #[must_use]
    pub fn logins(&self) -> Logins {
        Logins::new(&self.users(), self.client(), self.limits())
    }

    /// A session that begins now, with a new id. It is not stored.
    #[must_use]
    pub fn new_session(&self, epoch: SessionEpoch) -> NewSession {
        let now = SystemClock.now();
        NewSession {
            id: SessionId::new(&SystemRandom),
            epoch,
            created_at: now,
            methods: Method::Password.into(),
            pepper: self.peppers.current(peppers::Purpose::RefreshToken, now).id().to_owned(),
            user_agent: Some("curl/8.14.1".to_owned()),
            network: None,
            event: EventId::new(now, &SystemRandom),
        }
    }

    /// The configuration of the users' table.
    #[must_use]
    pub fn users(&self) -> store::Config {
        store::Config::new("UsersTable")
    }

    /// A client of the embedded database.
    ///
    /// # Panics
    /// Never: the environment is complete.
    #[must_use]
    pub fn client(&self) -> Client {
        dynamo::connect(&self.env().settings::<dynamo::Config>().expect("a complete environment"))
    }

    /// A client of the embedded database. Injects `faults` into the client's requests.
    #[must_use]
    pub fn faulty_client(&self, faults: &Faults) -> Client {
        let config = self.client().config().to_builder().http_client(faults.http_client());
        Client::from_conf(config.build())
    }

    /// Creates a user with the password [`PASSWORD`].
    ///
    /// # Panics
    /// When the user cannot be created.
    pub async fn user(&self, new: NewUser<'_>) -> Account {
        self.user_with_password(new, PASSWORD).await
    }

    /// Creates a user with any password, regardless of the policy.
    ///
    /// # Panics
    /// When the user cannot be created.
    pub async fn user_with_password(&self, new: NewUser<'_>, password: &str) -> Account {
        let now = SystemClock.now();
        let password = Password::parse(password.to_owned()).expect("a password");
        let hash = Hasher::new().hash(&password, &SystemRandom).await.expect("a hash");
        let account = NewAccount {
            id: UserId::new(now, &SystemRandom),
            username: Username::parse(new.username).expect("a username"),
            email: new
                .email
                .map(|email| NewEmail::Claimed(Email::parse(email).expect("an address"))),
            roles: new.roles.iter().copied().collect::<Roles>(),
            password: hash.into_stored(),
            created_at: now,
            invite: None,
            occasion: occasion(now),
        };
        let registrations = Registrations::new(&self.users(), self.client());
        registrations.create(account, &self.peppers).await.expect("a new account")
    }

    /// Confirms the address of an account, as if its owner had followed the link, and returns the changed
    /// account.
    ///
    /// # Panics
    /// When the account has no address, or the table cannot be written.
    pub async fn confirm(&self, account: &Account) -> Account {
        self.client()
            .update_item()
            .table_name("UsersTable")
            .key("pk", AttributeValue::S(format!("USER#{}", account.id)))
            .key("sk", AttributeValue::S("ACCOUNT".to_owned()))
            .condition_expression("attribute_exists(email)")
            .update_expression("SET email_verified = :confirmed")
            .expression_attribute_values(":confirmed", AttributeValue::Bool(true))
            .send()
            .await
            .expect("an account with an address");
        Account { email_standing: EmailStanding::Verified, ..account.clone() }
    }

    /// Stores a tombstone, as if an account with this name had been deleted.
    ///
    /// # Panics
    /// When the table cannot be written.
    pub async fn bury(&self, name: UniqueName<'_>, until: Timestamp) {
        let tag = self.peppers.tag(name, SystemClock.now());
        self.client()
            .put_item()
            .table_name("UsersTable")
            .item("pk", AttributeValue::S(format!("TOMBSTONE#{tag}")))
            .item("sk", AttributeValue::S("TOMBSTONE".to_owned()))
            .item("expires_at", AttributeValue::N(until.as_second().to_string()))
            .send()
            .await
            .expect("a table that can be written");
    }

    /// Disables an account but keeps its sessions.
    ///
    /// # Panics
    /// When the account does not exist, or the table cannot be written.
    pub async fn disable(&self, id: UserId) {
        self.client()
            .update_item()
            .table_name("UsersTable")
            .key("pk", AttributeValue::S(format!("USER#{id}")))
            .key("sk", AttributeValue::S("ACCOUNT".to_owned()))
            .condition_expression("attribute_exists(pk)")
            .update_expression("SET disabled = :disabled")
            .expression_attribute_values(":disabled", AttributeValue::Bool(true))
            .send()
            .await
            .expect("an account");
    }

    /// A valid token of a user who does not exist.
    #[must_use]
    pub fn token_without_account(&self, roles: &[Role]) -> String {
        let claims = Forge::claims(SystemClock.now(), &roles.iter().copied().collect());
        self.forge.sign(&self.forge.header(), &claims)
    }

    /// Begins a session and returns an access token for it.
    ///
    /// # Panics
    /// When the session cannot begin.
    pub async fn sign_in(&self, account: &Account) -> String {
        self.sign_in_at(account, SystemClock.now()).await
    }

    /// Begins a session as if the user had signed in at `begun`, and returns a new access token for it.
    ///
    /// # Panics
    /// When the session cannot begin.
    pub async fn sign_in_at(&self, account: &Account, begun: Timestamp) -> String {
        let session = NewSession { created_at: begun, ..self.new_session(account.epoch) };
        let id = session.id;
        self.logins().begin(account.id, session, &[]).await.expect("a session");
        let mut claims = Forge::claims(SystemClock.now(), &account.roles);
        claims["auth_time"] = json!(begun.as_second());
        claims["sub"] = json!(account.id);
        claims["sid"] = json!(id);
        claims["ver"] = json!(account.epoch);
        claims["preferred_username"] = json!(account.username);
        self.forge.sign(&self.forge.header(), &claims)
    }
}
