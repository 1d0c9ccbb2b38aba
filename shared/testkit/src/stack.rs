//! An embedded DynamoDB with the tables of the template, and a function's environment against it.

use auth::{
    Account, Clock, Email, Env, Role, Roles, SessionId, SystemClock, SystemRandom, UserId, Username,
};
use aws_sdk_dynamodb::types::AttributeValue;
use dynamo::Client;
use dynoxide::Database;
use jiff::SignedDuration;
use passwords::{Hasher, Password};
use serde_json::json;
use store::{Logins, NewAccount, NewSession, Registrations, Secret};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use xtask::template::Template;

use crate::events::workspace;
use crate::{Faults, Forge};

/// The issuer of a stack's tokens.
pub const ISSUER: &str = "https://api.example.com";

/// The audience of a stack's tokens.
pub const AUDIENCE: &str = "latchkey";

/// The password of a stack's users, unless another is given: that of `events/login.json`.
pub const PASSWORD: &str = "a long walk by the river";

/// An embedded DynamoDB of its own, on a port of its own, in memory. It ends with the stack.
#[derive(Debug)]
pub struct Stack {
    endpoint: String,
    forge: Forge,
    _stop: oneshot::Sender<()>,
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// The name.
    pub username: &'a str,
    /// The address.
    pub email: Option<&'a str>,
    /// The roles.
    pub roles: &'a [Role],
}

impl Stack {
    /// Starts one, with a key set published.
    ///
    /// # Panics
    /// When the embedded database does not do what it is told: then no test can go on.
    pub async fn start() -> Self {
        let database = Database::memory().expect("an embedded database in memory");
        let template = Template::read(&workspace().join("template.yaml")).expect("a template");
        for table in template.tables {
            let mut definition = table.definition;
            definition["TableName"] = table.name.into();
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
        tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, stopped));
        let stack =
            Self { endpoint: format!("http://127.0.0.1:{port}"), forge: Forge::new(), _stop: stop };
        let public = stack.forge.keys().public();
        keys::publish(&stack.client(), "KeysTable", public).await.expect("a published key set");
        stack
    }

    /// The environment of a function: all that any of them reads.
    #[must_use]
    pub fn env(&self) -> Env {
        self.env_with(&[])
    }

    /// The environment of a function, with some variables changed.
    #[must_use]
    pub fn env_with(&self, changes: &[(&str, &str)]) -> Env {
        let signing_keys = self.forge.keys().to_json();
        let variables = [
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &self.endpoint),
            ("USERS_TABLE", "UsersTable"),
            ("KEYS_TABLE", "KeysTable"),
            ("ISSUER", ISSUER),
            ("AUDIENCE", AUDIENCE),
            ("SIGNING_KEYS", &signing_keys),
        ];
        variables.into_iter().chain(changes.iter().copied()).collect()
    }

    /// The environment of a function whose database is out of reach.
    #[must_use]
    pub fn env_out_of_reach(&self) -> Env {
        // The port of a service that is not there (RFC 1078).
        self.env_with(&[("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")])
    }

    /// What signs tokens that this stack's functions accept.
    #[must_use]
    pub fn forge(&self) -> &Forge {
        &self.forge
    }

    /// Which table holds the users.
    #[must_use]
    pub fn users(&self) -> store::Config {
        store::Config::new("UsersTable")
    }

    /// A client.
    ///
    /// # Panics
    /// Never: the environment is complete.
    #[must_use]
    pub fn client(&self) -> Client {
        dynamo::connect(&self.env().read(dynamo::Config::read).expect("a complete environment"))
    }

    /// A client that meets faults.
    #[must_use]
    pub fn faulty_client(&self, faults: &Faults) -> Client {
        let config = self.client().config().to_builder().http_client(faults.http_client());
        Client::from_conf(config.build())
    }

    /// Makes a user with the password [`PASSWORD`].
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn user(&self, new: NewUser<'_>) -> Account {
        self.user_with_password(new, PASSWORD).await
    }

    /// Makes a user with any password, whatever the policy says of it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn user_with_password(&self, new: NewUser<'_>, password: &str) -> Account {
        let now = SystemClock.now();
        let password = Password::parse(password.to_owned()).expect("a password");
        let hash = Hasher::new().hash(&password, &SystemRandom).await.expect("a hash");
        let account = NewAccount {
            id: UserId::new(now, &SystemRandom),
            username: Username::parse(new.username).expect("a username"),
            email: new.email.map(|email| Email::parse(email).expect("an address")),
            roles: new.roles.iter().copied().collect::<Roles>(),
            password: Secret::new(hash.expose().to_owned()),
            created_at: now,
        };
        let registrations = Registrations::new(&self.users(), self.client());
        registrations.create(account).await.expect("a new account")
    }

    /// Disables an account.
    ///
    /// # Panics
    /// When that cannot be written.
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

    /// A good token of somebody whom no table knows.
    #[must_use]
    pub fn token_of_nobody(&self, roles: &[Role]) -> String {
        let claims = Forge::claims(SystemClock.now(), &roles.iter().copied().collect());
        self.forge.sign(&self.forge.header(), &claims)
    }

    /// Begins a session of an account and gives an access token of it.
    ///
    /// # Panics
    /// When the session cannot be begun.
    pub async fn sign_in(&self, account: &Account) -> String {
        let now = SystemClock.now();
        let session = NewSession {
            id: SessionId::new(&SystemRandom),
            ver: account.ver,
            created_at: now,
            expires_at: now + SignedDuration::from_hours(1),
            user_agent: None,
            network: None,
        };
        let id = session.id;
        Logins::new(&self.users(), self.client())
            .begin(account.id, session)
            .await
            .expect("a session");
        let mut claims = Forge::claims(now, &account.roles);
        claims["sub"] = json!(account.id);
        claims["sid"] = json!(id);
        claims["ver"] = json!(account.ver);
        claims["preferred_username"] = json!(account.username);
        self.forge.sign(&self.forge.header(), &claims)
    }
}
