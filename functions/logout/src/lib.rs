//! `POST /auth/logout`: ends the session of the access token. Again is harmless.

use std::sync::Arc;

use auth::{Caller, TokenRules, Verifier};
use identity::Anyone;
use keys::TableKeys;
use process::{BootError, Clock, Env, SystemClock};
use store::Endings;
use web::{Guarded, Method, NoBody, NoContent, Problem, Route, SignedIn};

/// The route.
pub struct LogoutRoute {
    verifier: Verifier<TableKeys>,
    endings: Endings,
}

impl Guarded for LogoutRoute {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}

impl Route for LogoutRoute {
    const NAME: &'static str = "logout";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/auth/logout";
    // By token: whose session has ended, or whose account is disabled, may still end it.
    type Access = SignedIn;
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
            endings: Endings::new(&table, client),
        })
    }

    async fn handle(&self, caller: Caller<Anyone>, _: NoBody) -> Result<NoContent, Problem> {
        // Whose session it is, and which one, says the token alone.
        self.endings.end(caller.user_id(), caller.session_id()).await?;
        Ok(NoContent)
    }
}
