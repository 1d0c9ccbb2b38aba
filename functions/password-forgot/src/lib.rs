//! `POST /auth/password/forgot`: requests a mail with a code to set a new password.
//!
//! The function does not look up whether anybody has the address, so neither the answer nor its time
//! reveals that.

use identity::{Email, MailId, NameError};
use secrets::PeppersSecret;
use serde::Deserialize;
use store::{Mail, NewMail, Outbox};
use throttle::{Postal, Throttle};
use web::{
    Accepted, Body, BootError, Client, Endpoint, FieldError, Message, Problem, Public, Route, World,
};

/// The route.
pub struct PasswordForgotRoute {
    outbox: Outbox,
    throttle: Throttle,
    world: World,
}

/// The body of a request.
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
        Ok(Self {
            outbox: Outbox::new(&table, database.clone()),
            throttle: Throttle::open(&attempts, database, peppers.open(world), world),
            world: world.clone(),
        })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(forgot)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        // The syntax of an address reveals nothing about accounts.
        let address = Email::parse(forgot.email.trim()).map_err(malformed)?;
        let network = client.network;
        let asked = self.throttle.mail_request(network).await?;
        let postage = self.throttle.postage(address.canonical(), network);
        let (postage, asked) = asked.besides(postage).await?;
        if let Postal::Paid(paid) = postage {
            let now = self.world.clock.now();
            let mail = Mail::PasswordReset { address };
            let mail = [NewMail { id: MailId::new(now, &*self.world.random), mail, asked_at: now }];
            let put = async { Ok::<_, Problem>(self.outbox.put(&mail).await?) };
            asked.and(paid).carry_out(put).await?;
        }
        Ok(Accepted(Message::new(
            "If an account has this address, a mail to set a new password is on its way.",
        )))
    }
}

fn malformed(error: NameError) -> Problem {
    Problem::invalid_input(vec![FieldError::new("email", "e-mail address", &error)])
}
