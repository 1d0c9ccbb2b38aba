//! `POST /auth/email/verify`: confirms an address by the link that was mailed to it, and claims it for the
//! account that requested the mail.

use std::sync::Arc;

use process::{BootError, Clock, Env, Random, SystemClock, SystemRandom};
use redemption::{ConfirmationError, Confirmations, PresentedCode};
use serde::Deserialize;
use web::{Body, Client, Method, NoContent, Problem, Public, Route};

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
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/email/verify";
    type Access = Public;
    type Input = (Client, Body<Verify>);
    type Output = NoContent;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, attempts) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let attempts = throttle::Config::read(reader);
            Some((database?, attempts?))
        })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let client = dynamo::connect(&database);
        Ok(Self { confirmations: Confirmations::open(&attempts, client, clock, random) })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(verify)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let network = client.network.map(|network| network.to_string());
        let presented = PresentedCode::Token(verify.token);
        let confirmed = self.confirmations.confirm(&presented, network.as_deref());
        Box::pin(confirmed).await.map_err(refused)?;
        Ok(NoContent)
    }
}

fn refused(error: ConfirmationError) -> Problem {
    match error {
        ConfirmationError::Taken => {
            Problem::already_exists("Another account uses this e-mail address.")
        }
        ConfirmationError::Redemption(error) => error.into(),
    }
}
