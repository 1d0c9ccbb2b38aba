//! `POST /auth/login`: begins a session and answers its first access token.

use std::sync::Arc;

use auth::{
    Account, BootError, Clock, Email, Env, Random, SessionId, Standing, SystemClock, SystemRandom,
    Username,
};
use issuer::{Grant, Issuer, SigningKeys};
use jiff::SignedDuration;
use passwords::{Hasher, Password, PasswordHash, Verdict};
use serde::{Deserialize, Serialize};
use store::{Credential, Identifier, Logins, NewSession};
use web::{Body, Client, FieldError, Json, Method, Problem, Public, Route};

/// How long a session lives without being used. With refreshing it becomes configuration.
const SESSION_IDLE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A name longer than any that can have been registered, in characters and in octets.
const MAX_USERNAME_CHARS: usize = 80;
const MAX_EMAIL_OCTETS: usize = 254;

/// The route.
pub struct LoginRoute {
    logins: Logins,
    hasher: Hasher,
    issuer: Issuer,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
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

/// TOKENS (RFC 6749 §5.1): the members of the access token.
#[derive(Serialize)]
pub struct Tokens {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
}

/// Whom the client says it is.
enum Presented {
    /// A name that an account may have.
    Possible(Identifier),
    /// A name that no account can have. It is a wrong one like any other.
    Impossible,
}

impl Route for LoginRoute {
    const NAME: &'static str = "login";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/login";
    type Access = Public;
    type Input = (Client, Body<Login>);
    type Output = Json<Tokens>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, table, tokens, keys) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let table = store::Config::read(reader);
            let tokens = issuer::Config::read(reader);
            let keys = reader.required::<SigningKeys>("SIGNING_KEYS");
            Some((database?, table?, tokens?, keys?))
        })?;
        Ok(Self {
            logins: Logins::new(&table, dynamo::connect(&database)),
            hasher: Hasher::new(),
            issuer: Issuer::new(tokens, &keys),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(login)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let (presented, password) = validate(login)?;
        let account = self.authenticate(&presented, &password).await?;
        let now = self.clock.now();
        let session = NewSession {
            id: SessionId::new(&*self.random),
            ver: account.ver,
            created_at: now,
            expires_at: now.saturating_add(SESSION_IDLE).map_err(|_| Problem::internal())?,
            user_agent: client.user_agent,
            network: client.network.map(|network| network.to_string()),
        };
        let grant =
            Grant { account: &account, session: session.id, ver: session.ver, auth_time: now };
        let minted = self.issuer.mint(grant, now, &*self.random)?;
        self.logins.begin(account.id, session).await?;
        let expires_in = minted.lifetime().as_secs();
        Ok(Json(Tokens { access_token: minted.into_token(), token_type: "Bearer", expires_in }))
    }
}

impl LoginRoute {
    /// The account, if name and password are its own and it is not disabled. Whichever of these
    /// fails, the answer is one and so is the work: the hash is computed for nobody too.
    async fn authenticate(
        &self,
        presented: &Presented,
        password: &Password,
    ) -> Result<Account, Problem> {
        let credential = match presented {
            Presented::Possible(identifier) => self.logins.credential(identifier).await?,
            Presented::Impossible => None,
        };
        let hash = match &credential {
            Some(Credential { secret, .. }) => {
                Some(PasswordHash::from_stored(secret.expose().to_owned())?)
            }
            None => None,
        };
        // The account is read while the password is hashed.
        let account = async {
            match &credential {
                Some(credential) => Ok(self.logins.account(credential.user_id).await?),
                None => Ok::<_, Problem>(None),
            }
        };
        let verdict = async { Ok(self.hasher.verify(password, hash.as_ref()).await?) };
        let (account, verdict) = futures_util::try_join!(account, verdict)?;
        match (account, verdict) {
            (Some(account), Verdict::Right) if account.standing == Standing::Active => Ok(account),
            _ => Err(Problem::invalid_credentials()),
        }
    }
}

/// Shape and size alone: a password that no policy would allow is just a wrong one.
fn validate(login: Login) -> Result<(Presented, Password), Problem> {
    let mut errors = Vec::new();
    let presented = match (login.username, login.email) {
        (Some(name), None) => {
            if name.chars().count() > MAX_USERNAME_CHARS {
                errors.push(too_long("username"));
            }
            Username::parse(&name).ok().map(|name| Identifier::Username(name.canonical().clone()))
        }
        (None, Some(address)) => {
            if address.len() > MAX_EMAIL_OCTETS {
                errors.push(too_long("email"));
            }
            Email::parse(&address).ok().map(|email| Identifier::Email(email.canonical().clone()))
        }
        _ => return Err(Problem::invalid_request("Give either username or email.")),
    };
    match Password::parse(login.password) {
        Ok(password) if errors.is_empty() => {
            Ok((presented.map_or(Presented::Impossible, Presented::Possible), password))
        }
        Ok(_) => Err(Problem::invalid_input(errors)),
        Err(_) => {
            errors.push(too_long("password"));
            Err(Problem::invalid_input(errors))
        }
    }
}

fn too_long(field: &'static str) -> FieldError {
    FieldError { field, code: "too_long", detail: format!("The {field} is too long.") }
}
