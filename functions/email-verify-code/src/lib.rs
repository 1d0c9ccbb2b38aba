//! `POST /auth/email/verify/code`: confirms the caller's own address by the digits that were mailed to it.
//! The account and the session are read on every call.
//!
//! Digits are valid only for the account that requested them. Two accounts may claim one address, and its
//! owner, who types the newest digits, must not confirm the address for the other account.

use std::sync::Arc;

use auth::{CheckedCaller, TokenRules, Verifier};
use identity::Anyone;
use keys::TableKeys;
use process::{BootError, Clock, Env, Random, SystemClock, SystemRandom};
use redemption::{ConfirmationError, Confirmations, Digits, PresentedCode};
use serde::Deserialize;
use store::Accounts;
use web::{
    Body, Checked, CheckedAccount, Client, FieldError, Guarded, Method, NoContent, Problem, Route,
};

/// The route.
pub struct EmailVerifyCodeRoute {
    verifier: Verifier<TableKeys>,
    accounts: Accounts,
    confirmations: Confirmations,
}

/// The body of a request.
#[derive(Deserialize)]
pub struct Verify {
    code: String,
}

impl Guarded for EmailVerifyCodeRoute {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}

impl Checked for EmailVerifyCodeRoute {
    type Accounts = Accounts;

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}

impl Route for EmailVerifyCodeRoute {
    const NAME: &'static str = "email-verify-code";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/email/verify/code";
    type Access = CheckedAccount<Anyone>;
    type Input = (Client, Body<Verify>);
    type Output = NoContent;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, keys, table, rules, attempts) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let keys = keys::Config::read(reader);
            let table = store::Config::read(reader);
            let rules = TokenRules::read(reader);
            let attempts = throttle::Config::read(reader);
            Some((database?, keys?, table?, rules?, attempts?))
        })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let client = dynamo::connect(&database);
        let keys = TableKeys::open(&keys, client.clone(), Arc::clone(&clock)).await;
        Ok(Self {
            verifier: Verifier::new(rules, keys, Arc::clone(&clock)),
            accounts: Accounts::new(&table, client.clone()),
            confirmations: Confirmations::open(&attempts, client, clock, random),
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        (client, Body(verify)): Self::Input,
    ) -> Result<Self::Output, Problem> {
        let digits = Digits::parse(&verify.code).ok_or_else(not_eight_digits)?;
        let network = client.network.map(|network| network.to_string());
        let presented = PresentedCode::OwnDigits { account: caller.account().id, digits };
        let confirmed = self.confirmations.confirm(&presented, network.as_deref());
        Box::pin(confirmed).await.map_err(refused)?;
        Ok(NoContent)
    }
}

fn not_eight_digits() -> Problem {
    let detail = "The code must have eight digits.".to_owned();
    Problem::invalid_input(vec![FieldError { field: "code", code: "invalid_format", detail }])
}

fn refused(error: ConfirmationError) -> Problem {
    match error {
        ConfirmationError::Taken => {
            Problem::already_exists("Another account uses this e-mail address.")
        }
        ConfirmationError::Redemption(error) => error.into(),
    }
}
