//! `POST /auth/email/verify`: confirms an address by a code that was mailed to it, and claims it for
//! the account that the code was asked for.

use std::sync::Arc;

use auth::{BootError, Clock, Env, MailId, MailedFor, Random, SystemClock, SystemRandom};
use redemption::{PresentedCode, Redemption};
use serde::Deserialize;
use store::{Mail, NewMail, Notice, Redeemed, Verifications};
use web::{Body, Client, Method, NoContent, Problem, Public, Route};

/// The route.
pub struct EmailVerifyRoute {
    redemption: Redemption,
    verifications: Verifications,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The body of a request: `token`, or `email` and `code`.
#[derive(Deserialize)]
pub struct Verify {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    code: Option<String>,
}

impl Route for EmailVerifyRoute {
    const NAME: &'static str = "email-verify";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/email/verify";
    type Access = Public;
    type Input = (Client, Body<Verify>);
    type Output = NoContent;

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
            redemption: Redemption::open(&attempts, client.clone(), shared.0, shared.1),
            verifications: Verifications::new(&table, client),
            clock,
            random,
        })
    }

    async fn handle(
        &self,
        (): (),
        (client, Body(verify)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let Verify { token, email, code } = verify;
        let presented = PresentedCode::of(token, email, code)
            .ok_or_else(|| Problem::invalid_request("Give either token, or email and code."))?;
        let network = client.network.map(|network| network.to_string());
        let found =
            self.redemption.find(MailedFor::EmailVerification, &presented, network.as_deref());
        let found = Box::pin(found).await?;
        let now = self.clock.now();
        // The address that the account gives up is told.
        let old = found.account.email.as_ref();
        let old = old.filter(|old| old.canonical() != found.code.address.canonical());
        let notice = old.map(|old| NewMail {
            id: MailId::new(now, &*self.random),
            mail: Mail::Notice {
                user_id: found.account.id,
                notice: Notice::EmailChanged,
                address: Some(old.clone()),
            },
            asked_at: now,
        });
        let (code, account) = (&found.code, &found.account);
        match self.verifications.verify(code, account, notice.as_ref(), now).await? {
            Redeemed::Done => {
                // The address is claimed: what the counters say of it is not worth an error.
                if let Err(error) = found.succeeded().await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(event = "counters_not_told", error, "a success is not counted");
                }
                Ok(NoContent)
            }
            Redeemed::Taken => {
                found.keep().await?;
                Err(Problem::already_exists("The e-mail address is taken."))
            }
            Redeemed::Meanwhile => {
                Err(Problem::invalid_code().because("code or account has changed meanwhile"))
            }
        }
    }
}
