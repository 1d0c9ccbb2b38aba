//! `POST /auth/password`: sets a new password, by the current one. All sessions end, and a new one
//! begins.

use std::sync::Arc;

use auth::{
    Account, Anyone, BootError, CheckedCaller, Clock, Env, Random, SessionId, SystemClock,
    SystemRandom, TokenRules, Verifier,
};
use issuer::{Issuer, SessionGrant, Tokens};
use keys::TableKeys;
use passwords::{Hasher, Password, PasswordError, PasswordHash, Policy, PolicyViolation, Verdict};
use secrets::CachedConfig;
use serde::Deserialize;
use store::{Accounts, Changed, Counters, NewSession, Passwords, Secret, SessionLimits};
use throttle::{Presented, Throttle};
use web::{
    Body, Checked, CheckedAccount, Client, FieldError, Guarded, Json, Method, Problem, Route,
};

/// The route.
pub struct PasswordChangeRoute {
    verifier: Verifier<TableKeys>,
    accounts: Accounts,
    passwords: Passwords,
    throttle: Throttle,
    hasher: Hasher,
    policy: Policy,
    issuer: Issuer,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The body of a request.
#[derive(Deserialize)]
pub struct Change {
    current_password: String,
    new_password: String,
}

impl Guarded for PasswordChangeRoute {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}

impl Checked for PasswordChangeRoute {
    type Accounts = Accounts;

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}

impl Route for PasswordChangeRoute {
    const NAME: &'static str = "password-change";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/password";
    type Access = CheckedAccount<Anyone>;
    type Input = (Client, Body<Change>);
    type Output = Json<Tokens>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, keys, table, rules, tokens, peppers, sessions, attempts, policy) = env
            .read(|reader| {
                let database = dynamo::Config::read(reader);
                let keys = keys::Config::read(reader);
                let table = store::Config::read(reader);
                let rules = TokenRules::read(reader);
                let tokens = issuer::Config::read(reader);
                let peppers = CachedConfig::read(reader, "PEPPERS_SECRET");
                let sessions = SessionLimits::read(reader);
                let attempts = throttle::Limits::read(reader);
                let policy = Policy::read(reader);
                Some((
                    database?, keys?, table?, rules?, tokens?, peppers?, sessions?, attempts?,
                    policy?,
                ))
            })?;
        let client = dynamo::connect(&database);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let peppers = peppers.open(Arc::clone(&clock));
        let counters = Counters::new(&table, client.clone());
        let for_throttle = (Arc::clone(&peppers), Arc::clone(&clock), Arc::clone(&random));
        // Boxed: together they would be too large for a stack to hold gladly.
        let (keys, issuer) = futures_util::join!(
            Box::pin(TableKeys::open(&keys, client.clone(), Arc::clone(&clock))),
            Box::pin(Issuer::open(tokens, peppers, Arc::clone(&clock), Arc::clone(&random))),
        );
        Ok(Self {
            verifier: Verifier::new(rules, keys, Arc::clone(&clock)),
            accounts: Accounts::new(&table, client.clone()),
            passwords: Passwords::new(&table, client, sessions),
            throttle: Throttle::new(
                counters,
                attempts,
                for_throttle.0,
                for_throttle.1,
                for_throttle.2,
            ),
            hasher: Hasher::new(),
            policy,
            issuer,
            clock,
            random,
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, Body(change)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let account = caller.account();
        let (current, new) = self.validate(change, account)?;
        let network = client.network.map(|network| network.to_string());
        let hash = Box::pin(self.authenticate(account, &current, network.as_deref())).await?;
        let issuer = self.issuer.ready().await?;
        let password = self.hasher.hash(&new, &*self.random).await?;
        let session = NewSession {
            id: SessionId::new(&*self.random),
            // All sessions of before are of the epoch before.
            ver: account.ver + 1,
            created_at: self.clock.now(),
            pepper: issuer.pepper().to_owned(),
            user_agent: client.user_agent,
            network,
        };
        let password = Secret::new(password.expose().to_owned());
        let session = match self.passwords.change(account, &hash, password, session).await? {
            Changed::Done(session) => *session,
            // Somebody else has ended the caller's sessions, or changed the password.
            Changed::Meanwhile => {
                return Err(Problem::invalid_token().because("the account has changed meanwhile"));
            }
        };
        let tokens = issuer.issue(SessionGrant {
            account,
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

impl PasswordChangeRoute {
    /// That the current password is right. Guesses are held as at login, on the same counters.
    async fn authenticate(
        &self,
        account: &Account,
        current: &Password,
        network: Option<&str>,
    ) -> Result<Secret, Problem> {
        let presented = Presented::Username(account.username.canonical());
        let attempt = async { Ok(self.throttle.attempt(presented, network).await?) };
        let stored = async { Ok::<_, Problem>(self.passwords.of(account).await?) };
        let (attempt, stored) = futures_util::try_join!(attempt, stored)?;
        let hash = stored
            .as_ref()
            .map(|secret| PasswordHash::from_stored(secret.expose().to_owned()))
            .transpose()?;
        match (stored, self.hasher.verify(current, hash.as_ref()).await?) {
            (Some(stored), Verdict::Right) => {
                attempt.succeeded(account).await?;
                Ok(stored)
            }
            _ => Err(Problem::invalid_credentials()),
        }
    }

    /// Shape and size of the current password, and all the rules of the new one.
    fn validate(&self, change: Change, account: &Account) -> Result<(Password, Password), Problem> {
        let current = Password::parse(change.current_password);
        let new = Password::parse(change.new_password);
        let violations = match &new {
            Ok(new) => {
                self.policy.check(new, Some(&account.username), account.email.as_ref())?.err()
            }
            Err(_) => None,
        };
        match (current, new, violations) {
            (Ok(current), Ok(new), None) => Ok((current, new)),
            (current, new, violations) => {
                let current = current.err().map(|error| shape("current_password", error));
                let new = new.err().map(|error| shape("new_password", error));
                let mut errors: Vec<_> = [current, new].into_iter().flatten().collect();
                errors.extend(violations.into_iter().flatten().map(violation));
                Err(Problem::invalid_input(errors))
            }
        }
    }
}

fn shape(field: &'static str, error: PasswordError) -> FieldError {
    FieldError { field, code: error.code(), detail: format!("The password {error}.") }
}

fn violation(violation: PolicyViolation) -> FieldError {
    let detail = format!("The password {violation}.");
    FieldError { field: "new_password", code: violation.code(), detail }
}
