//! `POST /auth/email/change`: requests a change to the caller's address. The change takes effect when the new
//! address is confirmed with a code mailed to it. If the old address is a confirmed one, it gets notices.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use codes::Requests;
use credentials::Reauthentication;
use identity::{Anyone, Email};
use passwords::{Hasher, Password};
use secrets::PeppersSecret;
use serde::Deserialize;
use store::{Hashes, Outbox};
use throttle::Throttle;
use web::{
    Accepted, Body, BootError, Client, Endpoint, FieldError, Message, Problem, Route, World,
};

/// Requests changes of address.
pub struct EmailChangeRoute {
    reauthentication: Reauthentication,
    requests: Requests,
}

/// The request body.
#[derive(Deserialize)]
pub struct Change {
    password: String,
    new_email: String,
}

impl Route for EmailChangeRoute {
    const NAME: &'static str = "email-change";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/email/change")];
    type Access = Checked<Anyone>;
    type Settings = (throttle::Config, PeppersSecret);
    type Input = (Client, Body<Change>);
    type Output = Accepted<Message>;

    async fn open(
        (attempts, peppers): Self::Settings,
        guard: &AccountGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        let (users, database) = (guard.users(), guard.database());
        let outbox = Outbox::new(users, database.clone());
        let throttle = Throttle::open(&attempts, database.clone(), peppers.open(world), world);
        Ok(Self {
            reauthentication: Reauthentication::new(
                Hashes::new(users, database.clone()),
                outbox.clone(),
                throttle.clone(),
                Hasher::new(),
                world,
            ),
            requests: Requests::new(outbox, throttle, world),
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, Body(change)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let account = caller.account();
        let (password, address) = validate(change)?;
        let network = client.network;
        self.reauthentication.prove(account, &password, network).await?;
        self.requests.change(account, &address, network).await?;
        Ok(Accepted(Message::new(
            "An email to the new address is on its way. The address takes effect once you confirm it.",
        )))
    }
}

/// Checks the shape and size of the password, and checks the address against all rules.
fn validate(change: Change) -> Result<(Password, Email), Problem> {
    match (Password::parse(change.password), Email::parse(&change.new_email)) {
        (Ok(password), Ok(address)) => Ok((password, address)),
        (password, address) => {
            let password =
                password.err().map(|error| FieldError::new("password", "password", &error));
            let address =
                address.err().map(|error| FieldError::new("new_email", "address", &error));
            Err(Problem::invalid_input([password, address].into_iter().flatten().collect()))
        }
    }
}
