//! `GET /auth/admin`: greets administrators. The account is checked on every call.

use std::sync::Arc;

use auth::{CheckedCaller, TokenRules, Verifier};
use identity::Admin;
use keys::TableKeys;
use process::{BootError, Clock, Env, SystemClock};
use store::Accounts;
use web::{Checked, CheckedAccount, Guarded, Json, Message, Method, NoBody, Problem, Route};

/// The route.
pub struct AdminRoute {
    verifier: Verifier<TableKeys>,
    accounts: Accounts,
}

impl Guarded for AdminRoute {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}

impl Checked for AdminRoute {
    type Accounts = Accounts;

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}

impl Route for AdminRoute {
    const NAME: &'static str = "admin";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/auth/admin";
    type Access = CheckedAccount<Admin>;
    type Input = NoBody;
    type Output = Json<Message>;

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
            accounts: Accounts::new(&table, client),
        })
    }

    async fn handle(&self, _: CheckedCaller<Admin>, _: NoBody) -> Result<Self::Output, Problem> {
        Ok(Json(Message::new("Welcome, Admin!")))
    }
}
