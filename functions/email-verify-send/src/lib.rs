//! `POST /auth/email/verify/send`: requests an email with a code that confirms the caller's address.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use codes::Requests;
use identity::Anyone;
use secrets::PeppersSecret;
use store::Outbox;
use throttle::Throttle;
use web::{Accepted, BootError, Client, Endpoint, Message, NoBody, Problem, Route, World};

/// Requests codes that confirm addresses.
pub struct EmailVerifySendRoute {
    requests: Requests,
}

impl Route for EmailVerifySendRoute {
    const NAME: &'static str = "email-verify-send";
    const ENDPOINTS: &'static [Endpoint] = &[Endpoint::post("/auth/email/verify/send")];
    type Access = Checked<Anyone>;
    type Settings = (throttle::Config, PeppersSecret);
    type Input = (Client, NoBody);
    type Output = Accepted<Message>;

    async fn open(
        (attempts, peppers): Self::Settings,
        guard: &AccountGuard,
        world: &World,
    ) -> Result<Self, BootError> {
        let database = guard.database();
        let outbox = Outbox::new(guard.users(), database.clone());
        let throttle = Throttle::open(&attempts, database.clone(), peppers.open(world), world);
        Ok(Self { requests: Requests::new(outbox, throttle, world) })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, NoBody): Self::Input,
    ) -> Result<Self::Output, Problem> {
        self.requests.verification(caller.account(), client.network).await?;
        Ok(Accepted(Message::new(
            "If your account has an unconfirmed address, an email to confirm it is on its way.",
        )))
    }
}
