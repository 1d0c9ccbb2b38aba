//! `POST /auth/password/forgot`: requests a mail with a code to set a new password.
//!
//! The function does not look up whether anybody has the address, so neither the answer nor its time
//! reveals that.

use std::sync::Arc;

use identity::{Email, MailId, NameError};
use process::{BootError, Clock, Env, Random, SystemClock, SystemRandom};
use serde::Deserialize;
use store::{Mail, NewMail, Outbox};
use throttle::{Postal, Throttle};
use web::{Accepted, Body, Client, FieldError, Message, Method, Problem, Public, Route};

/// The route.
pub struct PasswordForgotRoute {
    outbox: Outbox,
    throttle: Throttle,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The body of a request.
#[derive(Deserialize)]
pub struct Forgot {
    email: String,
}

impl Route for PasswordForgotRoute {
    const NAME: &'static str = "password-forgot";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/password/forgot";
    type Access = Public;
    type Input = (Client, Body<Forgot>);
    type Output = Accepted<Message>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, table, attempts) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let table = store::Config::read(reader);
            let attempts = throttle::Config::read(reader);
            Some((database?, table?, attempts?))
        })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let client = dynamo::connect(&database);
        let shared = (Arc::clone(&clock), Arc::clone(&random));
        Ok(Self {
            outbox: Outbox::new(&table, client.clone()),
            throttle: Throttle::open(&attempts, client, shared.0, shared.1),
            clock,
            random,
        })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(forgot)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        // The syntax of an address reveals nothing about accounts.
        let address = Email::parse(forgot.email.trim()).map_err(malformed)?;
        let network = client.network.map(|network| network.to_string());
        let asked = self.throttle.mail_request(network.as_deref()).await?;
        let postage = self.throttle.postage(address.canonical(), network.as_deref());
        let (postage, asked) = asked.besides(Box::pin(postage)).await?;
        if let Postal::Paid(paid) = postage {
            let now = self.clock.now();
            let mail = Mail::PasswordReset { address };
            let mail = [NewMail { id: MailId::new(now, &*self.random), mail, asked_at: now }];
            let put = async { Ok::<_, Problem>(self.outbox.put(&mail).await?) };
            asked.and(paid).carry_out(Box::pin(put)).await?;
        }
        Ok(Accepted(Message::new(
            "If an account has this address, a mail to set a new password is on its way.",
        )))
    }
}

fn malformed(error: NameError) -> Problem {
    let detail = format!("The e-mail address {error}.");
    Problem::invalid_input(vec![FieldError { field: "email", code: error.code(), detail }])
}
