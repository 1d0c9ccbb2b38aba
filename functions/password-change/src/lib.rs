//! `POST /auth/password`: changes the caller's password. All sessions of the account end, and a new session
//! begins.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use credentials::Reauthentication;
use identity::{Account, Anyone};
use passwords::{Hasher, Password, Policy};
use secrets::PeppersSecret;
use serde::Deserialize;
use signin::{Origin, SignIn, Tokens};
use store::{Hashes, Outbox, Passwords, SessionLimits};
use throttle::Throttle;
use web::{Body, BootError, Client, Endpoint, FieldError, Json, Problem, Route, World};

/// Changes passwords.
pub struct PasswordChangeRoute {
    passwords: Passwords,
    reauthentication: Reauthentication,
    hasher: Hasher,
    policy: Policy,
    signin: SignIn,
    world: World,
}

/// The request body.
#[derive(Deserialize)]
pub struct Change {
    current_password: String,
    new_password: String,
}

impl Route for PasswordChangeRoute {
    const NAME: &'static str = "password-change";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/password")];
    type Access = Checked<Anyone>;
    type Settings = (signin::Config, SessionLimits, throttle::Config, PeppersSecret, Policy);
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
            signin: SignIn::open(tokens, peppers, world).await,
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
        // Get the keys before reserving the attempt: without keys, no session can begin, so the attempt must not
        // be counted.
        let signin = self.signin.ready().await?;
        let proven = self.reauthentication.prove(account, &current, client.network).await?;
        let new = self.hasher.hash(&new, &*self.world.random).await?;
        let new = new.into_stored();
        let origin = Origin { user_agent: client.user_agent, network: client.network };
        let methods = caller.authentication().methods.clone();
        let tokens =
            signin.begin_with_password(&self.passwords, account, &proven, new, methods, origin);
        Ok(Json(tokens.await?))
    }
}

impl PasswordChangeRoute {
    /// Checks the shape and size of the current password, and checks the new one against all rules.
    fn validate(&self, change: Change, account: &Account) -> Result<(Password, Password), Problem> {
        let current = Password::parse(change.current_password);
        let new = Password::parse(change.new_password);
        let violations = match &new {
            Ok(new) => {
                self.policy.violations(new, Some(&account.username), account.email.as_ref())?
            }
            Err(_) => Vec::new(),
        };
        match (current, new, violations) {
            (Ok(current), Ok(new), violations) if violations.is_empty() => Ok((current, new)),
            (current, new, violations) => {
                let shape = |field| move |error| FieldError::new(field, "password", &error);
                let current = current.err().map(shape("current_password"));
                let new = new.err().map(shape("new_password"));
                let mut errors: Vec<_> = [current, new].into_iter().flatten().collect();
                let violation = |error| FieldError::new("new_password", "password", error);
                errors.extend(violations.iter().map(violation));
                Err(Problem::invalid_input(errors))
            }
        }
    }
}
