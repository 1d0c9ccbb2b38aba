//! `POST /auth/me/delete`: deletes the caller's account. The session must be fresh, and the request must contain the
//! password.

use account_guard::{AccountGuard, Fresh, FreshCaller};
use credentials::Reauthentication;
use deletion::{AccountDeletion, Receipt};
use events::{Occasion, Origin};
use identity::{Account, Anyone};
use passwords::{Hasher, Password};
use peppers::{NameQuarantine, Peppers};
use secrets::{Cached, PeppersSecret};
use serde::Deserialize;
use std::sync::Arc;
use store::{ChangeError, Deletions, Hashes, Outbox, StoreError};
use throttle::Throttle;
use web::{Body, BootError, Client, Endpoint, FieldError, Json, Problem, Route, World};

/// Deletes the accounts of callers.
pub struct AccountDeleteRoute {
    reauthentication: Reauthentication,
    deletion: AccountDeletion,
    peppers: Arc<Cached<Peppers>>,
    world: World,
}

/// The request body.
#[derive(Deserialize)]
pub struct Confirmation {
    password: String,
}

/// Why an account was not deleted.
enum Refusal {
    /// Since the caller was admitted, all sessions have ended or the account has been deleted.
    SessionEnded,
    /// The account could not be deleted.
    Change(ChangeError),
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(StoreError::Absent) => Self::SessionEnded,
            error => Self::Change(error),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::SessionEnded => Self::invalid_token(),
            Refusal::Change(error) => error.into(),
        }
    }
}

impl Route for AccountDeleteRoute {
    const NAME: &'static str = "account-delete";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/me/delete")];
    type Access = Fresh<Anyone>;
    type Settings = (throttle::Config, PeppersSecret, NameQuarantine);
    type Input = (Client, Body<Confirmation>);
    type Output = Json<Receipt>;

    async fn open(
        (attempts, peppers, quarantine): Self::Settings,
        guard: &AccountGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        let (users, database, peppers) = (guard.users(), guard.database(), peppers.open(world));
        let throttle = Throttle::open(&attempts, database.clone(), Arc::clone(&peppers), world);
        Ok(Self {
            reauthentication: Reauthentication::new(
                Hashes::new(users, database.clone()),
                Outbox::new(users, database.clone()),
                throttle,
                Hasher::new(),
                world,
            ),
            deletion: AccountDeletion::new(Deletions::new(users, database.clone()), quarantine),
            peppers,
            world: world.clone(),
        })
    }

    async fn handle(
        &self,
        caller: FreshCaller<Anyone>,
        (client, Body(confirmation)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let account = caller.account();
        let password = Password::parse(confirmation.password).map_err(|error| {
            Problem::invalid_input(vec![FieldError::new("password", "password", &error)])
        })?;
        self.reauthentication.prove(account, &password, client.network).await?;
        let peppers = self.peppers.get().await?;
        let now = self.world.clock.now();
        let occasion = Occasion::new(now, &*self.world.random, Origin::default());
        // Every password change raises the epoch. If the epoch has not changed, the password verified above is still
        // the current one.
        let is_proven = |current: &Account| {
            if current.epoch == account.epoch { Ok(()) } else { Err(Refusal::SessionEnded) }
        };
        let receipt =
            self.deletion.delete(account.id, &occasion, &peppers, None, is_proven).await?;
        Ok(Json(receipt))
    }
}
