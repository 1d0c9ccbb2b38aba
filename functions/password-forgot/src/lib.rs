//! `POST /auth/password/forgot`: requests an email with a code to set a new password.
//!
//! The function does not look up the address, so neither the response nor its timing reveals whether an account
//! has it.

use codes::Requests;
use identity::{Email, NameError};
use secrets::PeppersSecret;
use serde::Deserialize;
use store::Outbox;
use throttle::Throttle;
use web::{
    Accepted, Body, BootError, Client, Endpoint, FieldError, Message, Problem, Public, Route, World,
};

/// Requests emails with codes for setting a new password.
pub struct PasswordForgotRoute {
    requests: Requests,
}

/// The request body.
#[derive(Deserialize)]
pub struct Forgot {
    email: String,
}

impl Route for PasswordForgotRoute {
    const NAME: &'static str = "password-forgot";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/password/forgot")];
    type Access = Public;
    type Settings = (dynamo::Config, store::Config, throttle::Config, PeppersSecret);
    type Input = (Client, Body<Forgot>);
    type Output = Accepted<Message>;

    async fn open(
        (database, table, attempts, peppers): Self::Settings,
        (): &(),
        world: &World,
    ) -> Result<Self, BootError> {
        let database = dynamo::connect(&database);
        let outbox = Outbox::new(&table, database.clone());
        let throttle = Throttle::open(&attempts, database, peppers.open(world), world);
        Ok(Self { requests: Requests::new(outbox, throttle, world) })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(forgot)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        // Reporting a malformed address reveals nothing about accounts.
        let address = Email::parse(forgot.email.trim()).map_err(malformed)?;
        let network = client.network;
        self.requests.reset(address, network).await?;
        Ok(Accepted(Message::new(
            "If an account has this address, an email with a code to set a new password is on its way.",
        )))
    }
}

fn malformed(error: NameError) -> Problem {
    Problem::invalid_input(vec![FieldError::new("email", "email address", &error)])
}
