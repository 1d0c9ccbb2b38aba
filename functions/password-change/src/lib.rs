//! `POST /auth/password`: replaces the current password by a new one. All sessions end, and a new one
//! begins.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use credentials::Reauthentication;
use identity::{Account, Anyone, SessionId};
use issuer::{Issuer, SessionGrant, Tokens};
use passwords::{Hasher, Password, Policy};
use secrets::PeppersSecret;
use serde::Deserialize;
use store::{
    Changed, Hashes, NewMail, NewSession, Notice, Outbox, Passwords, Secret, SessionLimits,
};
use throttle::Throttle;
use web::{Body, BootError, Client, Endpoint, FieldError, Json, Problem, Route, World};

/// The route.
pub struct PasswordChangeRoute {
    passwords: Passwords,
    reauthentication: Reauthentication,
    hasher: Hasher,
    policy: Policy,
    issuer: Issuer,
    world: World,
}

/// The body of a request.
#[derive(Deserialize)]
pub struct Change {
    current_password: String,
    new_password: String,
}

impl Route for PasswordChangeRoute {
    const NAME: &'static str = "password-change";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/password")];
    type Access = Checked<Anyone>;
    type Settings = (issuer::Config, SessionLimits, throttle::Config, PeppersSecret, Policy);
    type Input = (Client, Body<Change>);
    type Output = Json<Tokens>;

    async fn open(
        (tokens, sessions, attempts, peppers, policy): Self::Settings,
        guard: &AccountGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        let (users, database, peppers) = (guard.users(), guard.database(), peppers.open(world));
        let hasher = Hasher::new();
        Ok(Self {
            passwords: Passwords::new(users, database.clone(), sessions),
            reauthentication: Reauthentication::new(
                Hashes::new(users, database.clone()),
                Outbox::new(users, database.clone()),
                Throttle::open(&attempts, database.clone(), peppers.clone(), world),
                hasher.clone(),
                world,
            ),
            hasher,
            policy,
            issuer: Issuer::open(tokens, peppers, world).await,
            world: world.clone(),
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, Body(change)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let account = caller.account();
        let (current, new) = self.validate(change, account)?;
        let network = client.network;
        // Before the attempt is reserved: without keys no password is checked, so nothing must be counted.
        let issuer = self.issuer.ready().await?;
        let proven = self.reauthentication.prove(account, &current, network).await?;
        let password = self.hasher.hash(&new, &*self.world.random).await?;
        let now = self.world.clock.now();
        let session = NewSession {
            id: SessionId::new(&*self.world.random),
            // All earlier sessions belong to the previous epoch.
            ver: account.ver + 1,
            created_at: now,
            pepper: issuer.pepper().to_owned(),
            user_agent: client.user_agent,
            network,
        };
        let password = Secret::new(password.expose().to_owned());
        let notice = NewMail::notice(account, Notice::PasswordChanged, now, &*self.world.random);
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
                let shape = |field| move |error| FieldError::new(field, "password", &error);
                let current = current.err().map(shape("current_password"));
                let new = new.err().map(shape("new_password"));
                let mut errors: Vec<_> = [current, new].into_iter().flatten().collect();
                let violation = |error| FieldError::new("new_password", "password", &error);
                errors.extend(violations.into_iter().flatten().map(violation));
                Err(Problem::invalid_input(errors))
            }
        }
    }
}
