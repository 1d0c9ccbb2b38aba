//! `POST /auth/password`: replaces the current password by a new one. All sessions end, and a new one
//! begins.

use std::sync::Arc;

use auth::{CheckedCaller, TokenRules, Verifier};
use identity::{Account, Anyone, SessionId};
use issuer::{Issuer, SessionGrant, Tokens};
use keys::TableKeys;
use passwords::{Password, PasswordError, Policy, PolicyViolation};
use process::{BootError, Clock, Env, Random, SystemClock, SystemRandom};
use reauthentication::Reauthentication;
use serde::Deserialize;
use store::{Accounts, Changed, NewMail, NewSession, Notice, Passwords, Secret, SessionLimits};
use web::{
    Body, Checked, CheckedAccount, Client, FieldError, Guarded, Json, Method, Problem, Route,
};

/// The route.
pub struct PasswordChangeRoute {
    verifier: Verifier<TableKeys>,
    accounts: Accounts,
    passwords: Passwords,
    reauthentication: Reauthentication,
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
        let (database, keys, table, rules, tokens, sessions, attempts, policy) =
            env.read(|reader| {
                let database = dynamo::Config::read(reader);
                let keys = keys::Config::read(reader);
                let table = store::Config::read(reader);
                let rules = TokenRules::read(reader);
                let tokens = issuer::Config::read(reader);
                let sessions = SessionLimits::read(reader);
                let attempts = throttle::Config::read(reader);
                let policy = Policy::read(reader);
                Some((database?, keys?, table?, rules?, tokens?, sessions?, attempts?, policy?))
            })?;
        let client = dynamo::connect(&database);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let shared = (Arc::clone(&clock), Arc::clone(&random));
        let reauthentication =
            Reauthentication::open(&attempts, client.clone(), shared.0, shared.1);
        let peppers = Arc::clone(reauthentication.throttle().peppers());
        // Boxed: together the futures would take too much stack.
        let (keys, issuer) = futures_util::join!(
            Box::pin(TableKeys::open(&keys, client.clone(), Arc::clone(&clock))),
            Box::pin(Issuer::open(tokens, peppers, Arc::clone(&clock), Arc::clone(&random))),
        );
        Ok(Self {
            verifier: Verifier::new(rules, keys, Arc::clone(&clock)),
            accounts: Accounts::new(&table, client.clone()),
            passwords: Passwords::new(&table, client, sessions),
            reauthentication,
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
        // Before the attempt is reserved: without keys no password is checked, so nothing must be counted.
        let issuer = self.issuer.ready().await?;
        let proof = self.reauthentication.prove(account, &current, network.as_deref());
        let proven = Box::pin(proof).await?;
        let password = self.reauthentication.hasher().hash(&new, &*self.random).await?;
        let now = self.clock.now();
        let session = NewSession {
            id: SessionId::new(&*self.random),
            // All earlier sessions belong to the previous epoch.
            ver: account.ver + 1,
            created_at: now,
            pepper: issuer.pepper().to_owned(),
            user_agent: client.user_agent,
            network,
        };
        let password = Secret::new(password.expose().to_owned());
        let notice = NewMail::notice(account, Notice::PasswordChanged, now, &*self.random);
        let changed = self.passwords.change(account, &proven, password, session, notice.as_ref());
        let session = match changed.await? {
            Changed::Done(session) => *session,
            // Another request has ended the caller's sessions or changed the password.
            Changed::Meanwhile => {
                return Err(Problem::invalid_token().because("the account changed concurrently"));
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
    /// Checks the shape and size of the current password, and the new one against all rules.
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
