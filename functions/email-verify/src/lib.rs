//! `POST /auth/email/verify`: confirms an address by the link that was mailed to it, and claims it for the
//! account that requested the mail.

use redemption::{Confirmations, PresentedCode};
use secrets::PeppersSecret;
use serde::Deserialize;
use web::{Body, BootError, Client, Endpoint, NoContent, Problem, Public, Route, World};

/// The route.
pub struct EmailVerifyRoute {
    confirmations: Confirmations,
}

/// The body of a request. Digits are for a signed-in account (`email-verify-code`).
#[derive(Deserialize)]
pub struct Verify {
    token: String,
}

impl Route for EmailVerifyRoute {
    const NAME: &'static str = "email-verify";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/email/verify")];
    type Access = Public;
    type Settings = (dynamo::Config, throttle::Config, PeppersSecret);
    type Input = (Client, Body<Verify>);
    type Output = NoContent;

    async fn open(
        (database, attempts, peppers): Self::Settings,
        (): &(),
        world: &World,
    ) -> Result<Self, BootError> {
        let database = dynamo::connect(&database);
        let confirmations = Confirmations::open(&attempts, database, peppers.open(world), world);
        Ok(Self { confirmations })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(verify)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let network = client.network;
        let presented = PresentedCode::Token(verify.token);
        let confirmed = self.confirmations.confirm(&presented, network);
        confirmed.await?;
        Ok(NoContent)
    }
}
