//! `GET` and `HEAD /.well-known/jwks.json`: the public keys (RFC 7517) that verify access tokens.

use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use keys::{MaxAgeSeconds, TableKeys};
use process::{BootError, Env, SystemClock};
use web::{AnyOrigin, Endpoint, Method, NoBody, Problem, Public, PublicDocument, Route};

/// Serves the public key set.
pub struct JwksRoute {
    keys: TableKeys,
    /// A key is public for longer than this before it signs.
    max_age: MaxAgeSeconds,
}

impl Route for JwksRoute {
    const NAME: &'static str = "jwks";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/.well-known/jwks.json";
    const FURTHER: &'static [Endpoint] = &[Endpoint { method: "HEAD", path: Self::PATH }];
    type Access = Public;
    type Input = NoBody;
    type Output = AnyOrigin<PublicDocument<JwkSet>>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, keys, max_age) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let keys = keys::Config::read(reader);
            let max_age = MaxAgeSeconds::read(reader);
            Some((database?, keys?, max_age?))
        })?;
        let client = dynamo::connect(&database);
        Ok(Self { keys: TableKeys::open(&keys, client, Arc::new(SystemClock)).await, max_age })
    }

    async fn handle(&self, (): (), _: NoBody) -> Result<Self::Output, Problem> {
        let document = self.keys.set().await?.as_jwks().clone();
        Ok(AnyOrigin(PublicDocument { document, max_age: self.max_age.seconds() }))
    }
}
