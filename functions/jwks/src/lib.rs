//! `GET /.well-known/jwks.json`: the public keys (RFC 7517), for whoever verifies our tokens.

use std::sync::Arc;

use auth::{BootError, Env, SystemClock};
use jsonwebtoken::jwk::JwkSet;
use keys::TableKeys;
use web::{Method, NoBody, Problem, Public, PublicDocument, Route};

/// How long anyone may keep the answer, in seconds. A key is public for longer than this before it
/// signs.
const MAX_AGE_SECONDS: u32 = 600;

/// The route.
pub struct JwksRoute {
    keys: TableKeys,
}

impl Route for JwksRoute {
    const NAME: &'static str = "jwks";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/.well-known/jwks.json";
    type Access = Public;
    type Input = NoBody;
    type Output = PublicDocument<JwkSet>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, keys) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let keys = keys::Config::read(reader);
            Some((database?, keys?))
        })?;
        let client = dynamo::connect(&database);
        Ok(Self { keys: TableKeys::open(&keys, client, Arc::new(SystemClock)).await })
    }

    async fn handle(&self, (): (), _: NoBody) -> Result<Self::Output, Problem> {
        let document = self.keys.set().await?.as_jwks().clone();
        Ok(PublicDocument { document, max_age: MAX_AGE_SECONDS })
    }
}
