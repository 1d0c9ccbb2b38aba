//! `GET /api/protected_route_super_admin`: for tokens with the role `super_admin`. Nothing about the
//! caller is read.

use std::sync::Arc;

use auth::{Caller, TokenRules, Verifier};
use identity::SuperAdmin;
use keys::TableKeys;
use process::{BootError, Clock, Env, SystemClock};
use web::{Guarded, Has, Json, Message, Method, NoBody, Problem, Route};

/// The route.
pub struct ProtectedRouteSuperAdmin {
    verifier: Verifier<TableKeys>,
}

impl Guarded for ProtectedRouteSuperAdmin {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}

impl Route for ProtectedRouteSuperAdmin {
    const NAME: &'static str = "protected-route-super-admin";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/api/protected_route_super_admin";
    type Access = Has<SuperAdmin>;
    type Input = NoBody;
    type Output = Json<Message>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, keys, rules) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let keys = keys::Config::read(reader);
            let rules = TokenRules::read(reader);
            Some((database?, keys?, rules?))
        })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keys = TableKeys::open(&keys, dynamo::connect(&database), Arc::clone(&clock)).await;
        Ok(Self { verifier: Verifier::new(rules, keys, clock) })
    }

    async fn handle(&self, _: Caller<SuperAdmin>, _: NoBody) -> Result<Self::Output, Problem> {
        Ok(Json(Message::new("You have accessed a protected super admin route.")))
    }
}
