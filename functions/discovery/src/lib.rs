//! `GET /.well-known/openid-configuration` and `GET /.well-known/oauth-authorization-server`: where
//! whoever verifies our tokens finds the keys (RFC 8414).
//!
//! Latchkey is no authorization server in the sense of RFC 6749: there is no authorization endpoint
//! and no token endpoint of that form. So of the members of RFC 8414 those are here that are true of
//! us, and they are what verifiers ask for.

use auth::{BootError, Env};
use serde::Serialize;
use web::{Endpoint, Json, Method, NoBody, Problem, Public, Route};

/// The route.
pub struct DiscoveryRoute {
    document: Metadata,
}

/// The members of RFC 8414 §2 that are true of us. Lists that would be empty are left out (§3.2).
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Route for DiscoveryRoute {
    const NAME: &'static str = "discovery";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/.well-known/openid-configuration";
    const FURTHER: &'static [Endpoint] =
        &[Endpoint { method: "GET", path: "/.well-known/oauth-authorization-server" }];
    type Access = Public;
    type Input = NoBody;
    type Output = Json<Metadata>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let issuer: String = env.read(|reader| reader.required("ISSUER"))?;
        let jwks_uri = format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/'));
        Ok(Self { document: Metadata { issuer, jwks_uri } })
    }

    async fn handle(&self, (): (), _: NoBody) -> Result<Self::Output, Problem> {
        Ok(Json(self.document.clone()))
    }
}
