//! `POST /auth/logout-all`: ends all sessions of the caller, at once.

use std::sync::Arc;

use auth::{CheckedCaller, TokenRules, Verifier};
use identity::Anyone;
use keys::TableKeys;
use process::{BootError, Clock, Env, SystemClock};
use store::{Accounts, Epochs};
use web::{Checked, CheckedAccount, Guarded, Method, NoBody, NoContent, Problem, Route};

/// The route.
pub struct LogoutAllRoute {
    verifier: Verifier<TableKeys>,
    accounts: Accounts,
    epochs: Epochs,
}

impl Guarded for LogoutAllRoute {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}

impl Checked for LogoutAllRoute {
    type Accounts = Accounts;

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}

impl Route for LogoutAllRoute {
    const NAME: &'static str = "logout-all";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/logout-all";
    type Access = CheckedAccount<Anyone>;
    type Input = NoBody;
    type Output = NoContent;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, keys, table, rules) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let keys = keys::Config::read(reader);
            let table = store::Config::read(reader);
            let rules = TokenRules::read(reader);
            Some((database?, keys?, table?, rules?))
        })?;
        let client = dynamo::connect(&database);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keys = TableKeys::open(&keys, client.clone(), Arc::clone(&clock)).await;
        Ok(Self {
            verifier: Verifier::new(rules, keys, clock),
            accounts: Accounts::new(&table, client.clone()),
            epochs: Epochs::new(&table, client),
        })
    }

    async fn handle(
        &self,
        caller: CheckedCaller<Anyone>,
        _: NoBody,
    ) -> Result<Self::Output, Problem> {
        self.epochs.raise(caller.user_id()).await?;
        Ok(NoContent)
    }
}
