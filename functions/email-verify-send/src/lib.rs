//! `POST /auth/email/verify/send`: requests a mail with a code that confirms the caller's address.

use account_guard::{AccountGuard, Checked, CheckedCaller};
use identity::{Account, Anyone, Email, EmailStanding};
use secrets::PeppersSecret;
use store::{NewMail, Outbox};
use throttle::{Postal, Throttle};
use web::{Accepted, BootError, Client, Endpoint, Message, NoBody, Problem, Route, World};

/// The route.
pub struct EmailVerifySendRoute {
    outbox: Outbox,
    throttle: Throttle,
    world: World,
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
        Ok(Self {
            outbox: Outbox::new(guard.users(), database.clone()),
            throttle: Throttle::open(&attempts, database.clone(), peppers.open(world), world),
            world: world.clone(),
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, NoBody): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let account = caller.account();
        let network = client.network;
        let asked = self.throttle.mail_request(network).await?;
        if let Some(address) = unverified(account) {
            let postage = self.throttle.postage(address.canonical(), network);
            let (postage, asked) = asked.besides(postage).await?;
            if let Postal::Paid(paid) = postage {
                let (now, address) = (self.world.clock.now(), address.clone());
                let (user, random) = (account.id, &*self.world.random);
                let mail = [NewMail::verification(user, account.ver, address, now, random)];
                let put = async { Ok::<_, Problem>(self.outbox.put(&mail).await?) };
                asked.and(paid).carry_out(put).await?;
            }
        }
        Ok(Accepted(Message::new(
            "If your account has an address that is not confirmed, a mail to it is on its way.",
        )))
    }
}

/// The address that an account has or wants to have, if it is not verified.
fn unverified(account: &Account) -> Option<&Email> {
    match (&account.email, account.email_standing) {
        (Some(email), EmailStanding::Unverified) => Some(email),
        (Some(_), EmailStanding::Verified) => None,
        (None, _) => account.pending_email.as_ref(),
    }
}
