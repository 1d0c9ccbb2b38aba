//! `POST /auth/email/verify`: confirms an address with the link that was mailed to it, and claims the address
//! for the account that requested the email.

use codes::{Confirmations, PresentedCode, Redemption};
use events::Origin;
use secrets::PeppersSecret;
use serde::Deserialize;
use store::{Codes, Verifications};
use throttle::Throttle;
use web::{Body, BootError, Client, Endpoint, NoContent, Problem, Public, Route, World};

/// Confirms addresses by link.
pub struct EmailVerifyRoute {
    confirmations: Confirmations,
}

/// The request body. The eight digits from the email are not accepted here: they are valid only with a signed-in
/// account (see `email-verify-code`).
#[derive(Deserialize)]
pub struct Verify {
    token: String,
}

impl Route for EmailVerifyRoute {
    const NAME: &'static str = "email-verify";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/email/verify")];
    type Access = Public;
    type Settings = (dynamo::Config, store::Config, throttle::Config, PeppersSecret);
    type Input = (Client, Body<Verify>);
    type Output = NoContent;

    async fn open(
        (database, table, attempts, peppers): Self::Settings,
        (): &(),
        world: &World,
    ) -> Result<Self, BootError> {
        let (database, peppers) = (dynamo::connect(&database), peppers.open(world));
        let codes = Codes::new(&table, database.clone());
        let verifications = Verifications::new(&table, database.clone());
        let throttle = Throttle::open(&attempts, database, peppers.clone(), world);
        let redemption = Redemption::new(codes, throttle, peppers, world);
        Ok(Self { confirmations: Confirmations::new(redemption, verifications, world) })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(verify)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let origin = Origin { user_agent: client.user_agent, network: client.network };
        let presented = PresentedCode::Token(verify.token);
        let confirmed = self.confirmations.confirm(&presented, origin);
        confirmed.await?;
        Ok(NoContent)
    }
}
