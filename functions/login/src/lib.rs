//! `POST /auth/login`: begins a session and returns its first tokens.

use std::error::Error;
use std::sync::Arc;

use identity::{Account, CanonicalName, Email, Network, SessionId, Standing, UserId, Username};
use issuer::{Issuer, SessionGrant, Tokens};
use passwords::{Hasher, Password, PasswordHash, Verdict};
use process::Metric;
use secrets::PeppersSecret;
use serde::Deserialize;
use store::{
    Credential, Identifier, Logins, NewMail, NewSession, Notice, Outbox, PasswordVer, Secret,
    Session, SessionLimits, StoreError,
};
use throttle::{Attempt, Familiarity, Throttle};
use web::{
    Body, BootError, Client, Endpoint, FieldError, Json, Problem, Public, Route, StatusCode, World,
};

/// The longest names that a request may have, folded, in characters and in octets. No account has a longer
/// one. The size of the body limits the spelling.
const MAX_USERNAME_CHARS: usize = 80;
const MAX_EMAIL_OCTETS: usize = 254;

/// The route.
pub struct LoginRoute {
    logins: Logins,
    outbox: Outbox,
    throttle: Throttle,
    hasher: Hasher,
    issuer: Issuer,
    world: World,
}

/// The body of a request: `username` or `email`, and `password`.
#[derive(Deserialize)]
pub struct Login {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    email: Option<String>,
    password: String,
}

/// The name that the client presents.
enum Presented {
    /// A name that an account may have.
    Possible(Identifier),
    /// A name that no account can have. It is treated like any other wrong name.
    Impossible(String),
}

/// Who has signed in.
struct Authenticated {
    account: Account,
    /// The account's sessions.
    sessions: Vec<Session>,
    /// The stored hash, if a new hash would have another format or other costs.
    outdated: Option<Secret>,
}

impl<'a> From<&'a Presented> for throttle::Presented<'a> {
    fn from(presented: &'a Presented) -> Self {
        match presented {
            Presented::Possible(Identifier::Username(name)) => Self::Username(name),
            Presented::Possible(Identifier::Email(address)) => Self::Email(address),
            Presented::Impossible(text) => Self::Neither(text),
        }
    }
}

impl Route for LoginRoute {
    const NAME: &'static str = "login";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/login")];
    type Access = Public;
    type Settings = (
        dynamo::Config,
        store::Config,
        issuer::Config,
        SessionLimits,
        throttle::Config,
        PeppersSecret,
    );
    type Input = (Client, Body<Login>);
    type Output = Json<Tokens>;

    async fn open(
        (database, table, tokens, sessions, attempts, peppers): Self::Settings,
        (): &(),
        world: &World,
    ) -> Result<Self, BootError> {
        let (database, peppers) = (dynamo::connect(&database), peppers.open(world));
        Ok(Self {
            logins: Logins::new(&table, database.clone(), sessions),
            outbox: Outbox::new(&table, database.clone()),
            throttle: Throttle::open(&attempts, database, Arc::clone(&peppers), world),
            hasher: Hasher::new(),
            issuer: Issuer::open(tokens, peppers, world).await,
            world: world.clone(),
        })
    }

    async fn handle(&self, (): (), input: Self::Input) -> Result<Self::Output, Problem> {
        let result = Box::pin(self.sign_in(input)).await;
        let outcome = match &result {
            Ok(_) => Some(Metric::LoginsSucceeded),
            Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
                Some(Metric::LoginsFailed)
            }
            Err(problem) if problem.status() == StatusCode::TOO_MANY_REQUESTS => {
                Some(Metric::LoginsThrottled)
            }
            // Invalid requests are no logins, and server errors are not the caller's fault.
            Err(_) => None,
        };
        if let Some(outcome) = outcome {
            outcome.add(1.0);
        }
        result
    }
}

impl LoginRoute {
    async fn sign_in(
        &self,
        (client, Body(login)): <Self as Route>::Input,
    ) -> Result<Json<Tokens>, Problem> {
        let (presented, password) = validate(login)?;
        // Before the attempt is reserved and the session begins: without keys, neither may happen.
        let issuer = self.issuer.ready().await?;
        let network = client.network;
        let (Authenticated { account, sessions, outdated }, attempt) =
            Box::pin(self.authenticate(&presented, &password, network)).await?;
        let session = NewSession {
            id: SessionId::new(&*self.world.random),
            ver: account.ver,
            created_at: self.world.clock.now(),
            pepper: issuer.pepper().to_owned(),
            user_agent: client.user_agent,
            network,
        };
        let renewal = async {
            if let Some(old) = &outdated {
                self.renew(&account, old, &password).await;
            }
        };
        // Joined without stopping at an error: none of them depends on the outcome of the others.
        let (begun, familiarity, ()) = futures_util::join!(
            self.logins.begin(account.id, session, &sessions),
            attempt.succeeded(&account),
            Box::pin(renewal),
        );
        if familiarity == Familiarity::New {
            self.tell(&account).await;
        }
        let session = begun?;
        let tokens = issuer.issue(SessionGrant {
            account: &account,
            session: session.id,
            ver: session.ver,
            auth_time: session.created_at,
            counter: session.chain.counter,
            pepper: &session.pepper,
            ends_at: session.ends_at,
        });
        Ok(Json(tokens?))
    }
}

impl LoginRoute {
    /// The account with this name and password, if it is active, and the attempt, whose check has succeeded.
    async fn authenticate(
        &self,
        presented: &Presented,
        password: &Password,
        network: Option<Network>,
    ) -> Result<(Authenticated, Attempt<'_>), Problem> {
        let credential = async {
            match presented {
                // The error is returned later. Here it would drop the reservation half-way, and a dropped
                // reservation cannot be withdrawn.
                Presented::Possible(identifier) => Ok(self.logins.credential(identifier).await),
                Presented::Impossible(_) => Ok::<_, Problem>(Ok(None)),
            }
        };
        // Both run concurrently, before the password is checked. A name that nobody can have is counted like
        // any other.
        let attempt = async { Ok(self.throttle.attempt(presented.into(), network).await?) };
        let (credential, attempt) = futures_util::try_join!(credential, attempt)?;
        attempt.carry_out(Box::pin(self.check(credential, password))).await
    }

    /// Every failure returns the same answer after the same work; even an unknown name costs a hash.
    async fn check(
        &self,
        credential: Result<Option<Credential>, StoreError>,
        password: &Password,
    ) -> Result<Authenticated, Problem> {
        let credential = credential?;
        let hash = match &credential {
            Some(Credential { secret, .. }) => {
                Some(PasswordHash::from_stored(secret.expose().to_owned())?)
            }
            None => None,
        };
        // The account and its sessions are read while the password is hashed. For an unknown name, those of a
        // nonexistent account are read, because on a small machine the reads delay the hash measurably.
        let (user, set_in) = match &credential {
            Some(credential) => (credential.user_id, credential.set_in),
            None => {
                (UserId::new(self.world.clock.now(), &*self.world.random), PasswordVer::default())
            }
        };
        let account = async { Ok::<_, Problem>(self.logins.account(user, set_in).await?) };
        let sessions = async { Ok(self.logins.sessions(user).await?) };
        let verdict = async { Ok(self.hasher.verify(password, hash.as_ref()).await?) };
        let (account, sessions, verdict) = futures_util::try_join!(account, sessions, verdict)?;
        match (account, verdict) {
            (Some(account), Verdict::Right) if account.standing == Standing::Active => {
                let is_outdated = hash.is_some_and(|hash| !hash.is_current());
                let outdated = credential.filter(|_| is_outdated).map(|it| it.secret);
                Ok(Authenticated { account, sessions, outdated })
            }
            _ => Err(Problem::invalid_credentials()),
        }
    }
}

impl LoginRoute {
    /// Requests the mail that notifies the owner of a login from a new network. If the request cannot be
    /// written, the login succeeds nevertheless.
    async fn tell(&self, account: &Account) {
        let now = self.world.clock.now();
        let notice = NewMail::notice(account, Notice::NewNetwork, now, &*self.world.random);
        self.outbox.notify(notice).await;
    }

    /// Replaces an outdated hash: one of another format, or from before the costs were raised. Only a login
    /// knows the password. If it fails, the login succeeds nevertheless, and the next one tries again.
    async fn renew(&self, account: &Account, old: &Secret, password: &Password) {
        let renewed: Result<(), Box<dyn Error + Send + Sync>> = async {
            let new = self.hasher.hash(password, &*self.world.random).await?;
            let new = Secret::new(new.expose().to_owned());
            // If the password has been changed concurrently, its hash stays: this login used the old one.
            self.logins.rehash(account.username.canonical(), old, &new).await?;
            Ok(())
        }
        .await;
        if let Err(error) = renewed {
            let (user_id, error) = (account.id.to_string(), &*error as &dyn Error);
            tracing::warn!(event = "hash_not_renewed", user_id, error, "an old hash is left");
        }
    }
}

/// Checks only shape and size: a password that no policy would allow is just a wrong one. White space around
/// a name is dropped, because keyboards and forms add it. A `username` with `@` is read as an address,
/// because a form with one field sends addresses as usernames, and no username contains `@`.
fn validate(login: Login) -> Result<(Presented, Password), Problem> {
    let mut errors = Vec::new();
    let presented = match (&login.username, &login.email) {
        (Some(name), None) => {
            let name = name.trim();
            if is_like_an_address(name) {
                address("username", name, &mut errors)
            } else {
                username(name, &mut errors)
            }
        }
        (None, Some(given)) => address("email", given.trim(), &mut errors),
        (None, None) => {
            let detail = "Specify either `username` or `email`.";
            return Err(Problem::missing_member("username", detail));
        }
        (Some(_), Some(_)) => {
            return Err(Problem::invalid_request(
                "Specify either `username` or `email`, not both.",
            ));
        }
    };
    match Password::parse(login.password) {
        Ok(password) if errors.is_empty() => Ok((presented, password)),
        Ok(_) => Err(Problem::invalid_input(errors)),
        Err(_) => {
            errors.push(too_long("password"));
            Err(Problem::invalid_input(errors))
        }
    }
}

/// Whether a name contains `@` in any of its widths, as no username does.
fn is_like_an_address(name: &str) -> bool {
    name.contains(['@', '\u{fe6b}', '\u{ff20}'])
}

fn username(name: &str, errors: &mut Vec<FieldError>) -> Presented {
    if let Ok(name) = Username::parse(name) {
        return Presented::Possible(Identifier::Username(name.canonical().clone()));
    }
    if CanonicalName::of_unchecked(name).as_str().chars().count() > MAX_USERNAME_CHARS {
        errors.push(too_long("username"));
    }
    Presented::Impossible(name.to_owned())
}

/// An address in the member `field`.
fn address(field: &'static str, given: &str, errors: &mut Vec<FieldError>) -> Presented {
    if let Ok(email) = Email::parse(given) {
        return Presented::Possible(Identifier::Email(email.canonical().clone()));
    }
    if CanonicalName::of_unchecked(given).as_str().len() > MAX_EMAIL_OCTETS {
        errors.push(too_long(field));
    }
    Presented::Impossible(given.to_owned())
}

fn too_long(field: &'static str) -> FieldError {
    FieldError { field, code: "too_long", detail: format!("The {field} is too long.") }
}
