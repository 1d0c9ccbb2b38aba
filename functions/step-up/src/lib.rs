//! `POST /auth/step-up`: authenticates the caller again, which makes the session fresh.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use credentials::Reauthentication;
use identity::{Anyone, Method};
use passwords::{Hasher, Password};
use secrets::PeppersSecret;
use serde::Deserialize;
use signin::{SignIn, Tokens};
use store::{Hashes, Outbox, StepUps};
use throttle::Throttle;
use web::{Body, BootError, Client, Endpoint, FieldError, Json, Problem, Route, World};

/// Authenticates callers again.
pub struct StepUpRoute {
    reauthentication: Reauthentication,
    step_ups: StepUps,
    signin: SignIn,
}

/// The request body.
#[derive(Deserialize)]
pub struct StepUp {
    password: String,
}

impl Route for StepUpRoute {
    const NAME: &'static str = "step-up";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/step-up")];
    type Access = Checked<Anyone>;
    type Settings = (signin::Config, throttle::Config, PeppersSecret);
    type Input = (Client, Body<StepUp>);
    type Output = Json<Tokens>;

    async fn open(
        (tokens, attempts, peppers): Self::Settings,
        guard: &AccountGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        let (users, database, peppers) = (guard.users(), guard.database(), peppers.open(world));
        Ok(Self {
            reauthentication: Reauthentication::new(
                Hashes::new(users, database.clone()),
                Outbox::new(users, database.clone()),
                Throttle::open(&attempts, database.clone(), peppers.clone(), world),
                Hasher::new(),
                world,
            ),
            step_ups: StepUps::new(users, database.clone()),
            signin: SignIn::open(tokens, peppers, world).await,
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, Body(step_up)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let password = Password::parse(step_up.password).map_err(|error| {
            Problem::invalid_input(vec![FieldError::new("password", "password", &error)])
        })?;
        // Get the keys before reserving the attempt. If they are unavailable, no tokens can be issued, and the attempt
        // must not be counted.
        let signin = self.signin.ready().await?;
        self.reauthentication.prove(caller.account(), &password, client.network).await?;
        Ok(Json(signin.step_up(&self.step_ups, &caller, Method::Password).await?))
    }
}
