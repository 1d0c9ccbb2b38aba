//! `GET` and `HEAD /.well-known/jwks.json`: the public keys (RFC 7517) that verify access tokens.

use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use keys::{MaxAgeSeconds, TableKeys};
use web::{AnyOrigin, BootError, Endpoint, NoBody, Problem, Public, PublicDocument, Route, World};

/// Serves the public key set.
pub struct JwksRoute {
    keys: TableKeys,
    /// How long clients may cache the key set. A new key is published for longer than this before it signs.
    max_age: MaxAgeSeconds,
}

impl Route for JwksRoute {
    const NAME: &'static str = "jwks";
    const ENDPOINTS: &'static [Endpoint] =
        &[Endpoint::get("/.well-known/jwks.json"), Endpoint::head("/.well-known/jwks.json")];
    type Access = Public;
    type Settings = (dynamo::Config, keys::Config, MaxAgeSeconds);
    type Input = NoBody;
    type Output = AnyOrigin<PublicDocument<JwkSet>>;

    async fn open(
        (database, keys, max_age): Self::Settings,
        (): &(),
        world: &World,
    ) -> Result<Self, BootError> {
        let (database, clock) = (dynamo::connect(&database), Arc::clone(&world.clock));
        Ok(Self { keys: TableKeys::open(&keys, database, clock).await, max_age })
    }

    async fn handle(&self, (): (), _: NoBody) -> Result<Self::Output, Problem> {
        let document = self.keys.set().await?.as_jwks().clone();
        Ok(AnyOrigin(PublicDocument { document, max_age: self.max_age.seconds() }))
    }
}
