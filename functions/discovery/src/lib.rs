//! `GET` and `HEAD` of `/.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`:
//! the authorization server metadata (RFC 8414) by which verifiers find the issuer and its keys.

use auth::Algorithm;
use process::{BootError, Env};
use serde::Serialize;
use web::{AnyOrigin, Endpoint, Json, Method, NoBody, Problem, Public, Route};

const OAUTH_PATH: &str = "/.well-known/oauth-authorization-server";

/// Serves the metadata.
pub struct DiscoveryRoute {
    document: Metadata,
}

/// The members of RFC 8414 §2 that are required or apply here. There is neither an authorization endpoint
/// nor a token endpoint, so their members are absent.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    issuer: String,
    jwks_uri: String,
    /// Required, and empty without an authorization endpoint.
    response_types_supported: [&'static str; 0],
    /// A member of OpenID Connect Discovery, from which libraries take the algorithms to accept. It names
    /// every algorithm that can be configured, so that a change of the algorithm breaks no cached copy.
    id_token_signing_alg_values_supported: [Algorithm; 3],
}

impl Route for DiscoveryRoute {
    const NAME: &'static str = "discovery";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/.well-known/openid-configuration";
    const FURTHER: &'static [Endpoint] = &[
        Endpoint { method: "HEAD", path: Self::PATH },
        Endpoint { method: "GET", path: OAUTH_PATH },
        Endpoint { method: "HEAD", path: OAUTH_PATH },
    ];
    type Access = Public;
    type Input = NoBody;
    type Output = AnyOrigin<Json<Metadata>>;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let issuer: String = env.read(|reader| reader.required("ISSUER"))?;
        let jwks_uri = format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/'));
        let document = Metadata {
            issuer,
            jwks_uri,
            response_types_supported: [],
            id_token_signing_alg_values_supported: Algorithm::ALL,
        };
        Ok(Self { document })
    }

    async fn handle(&self, (): (), _: NoBody) -> Result<Self::Output, Problem> {
        Ok(AnyOrigin(Json(self.document.clone())))
    }
}
