//! `POST /auth/email/verify/code`: confirms an email address for the caller with the digits mailed to it.
//! The account and the session are read on every call.
//!
//! Digits are valid only for the account that requested them. If a stranger also requests confirmation of the
//! caller's address, the caller gets two emails and may type the digits from the wrong one. Those digits must not
//! confirm the address for the stranger.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use codes::{Confirmations, Digits, PresentedCode, Redemption};
use events::Origin;
use identity::Anyone;
use secrets::PeppersSecret;
use serde::Deserialize;
use store::{Codes, Verifications};
use throttle::Throttle;
use web::{Body, BootError, Client, Endpoint, FieldError, NoContent, Problem, Route, World};

/// Confirms addresses with digits.
pub struct EmailVerifyCodeRoute {
    confirmations: Confirmations,
}

/// The request body.
#[derive(Deserialize)]
pub struct Verify {
    code: String,
}

impl Route for EmailVerifyCodeRoute {
    const NAME: &'static str = "email-verify-code";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/email/verify/code")];
    type Access = Checked<Anyone>;
    type Settings = (throttle::Config, PeppersSecret);
    type Input = (Client, Body<Verify>);
    type Output = NoContent;

    async fn open(
        (attempts, peppers): Self::Settings,
        guard: &AccountGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        let (users, database, peppers) = (guard.users(), guard.database(), peppers.open(world));
        let codes = Codes::new(users, database.clone());
        let verifications = Verifications::new(users, database.clone());
        let throttle = Throttle::open(&attempts, database.clone(), peppers.clone(), world);
        let redemption = Redemption::new(codes, throttle, peppers, world);
        Ok(Self { confirmations: Confirmations::new(redemption, verifications, world) })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, Body(verify)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let digits = Digits::parse(&verify.code).ok_or_else(not_eight_digits)?;
        let origin = Origin { user_agent: client.user_agent, network: client.network };
        let presented = PresentedCode::OwnDigits { account: caller.account().id, digits };
        let confirmed = self.confirmations.confirm(&presented, origin);
        confirmed.await?;
        Ok(NoContent)
    }
}

fn not_eight_digits() -> Problem {
    let detail = "The code must have eight digits.".to_owned();
    Problem::invalid_input(vec![FieldError { field: "code", code: "invalid_format", detail }])
}
