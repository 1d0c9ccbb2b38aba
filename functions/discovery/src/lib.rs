//! `GET` and `HEAD` of `/.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`:
//! the authorization server metadata (RFC 8414), from which verifiers learn the issuer and the URL of its keys.

use auth::Algorithm;
use process::{Reader, Settings};
use serde::Serialize;
use web::{AnyOrigin, BootError, Endpoint, Json, NoBody, Problem, Public, Route, World};

const OPENID_PATH: &str = "/.well-known/openid-configuration";
const OAUTH_PATH: &str = "/.well-known/oauth-authorization-server";

/// The issuer of this deployment (RFC 8414 §2), from `ISSUER`.
pub struct IssuerUrl(String);

impl Settings for IssuerUrl {
    fn read(reader: &Reader<'_>) -> Option<Self> {
        reader.required("ISSUER").map(Self)
    }
}

/// Serves the authorization server metadata.
pub struct DiscoveryRoute {
    document: Metadata,
}

/// The metadata document: those members of RFC 8414 §2 that are required or apply here. Latchkey has neither an
/// authorization endpoint nor a token endpoint, so their members are absent.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    issuer: String,
    jwks_uri: String,
    /// A required member. It is empty because there is no authorization endpoint.
    response_types_supported: [&'static str; 0],
    /// A member of OpenID Connect Discovery, from which libraries learn which algorithms to accept. It lists
    /// every algorithm that can be configured, so cached copies stay correct when the algorithm changes.
    id_token_signing_alg_values_supported: [Algorithm; 3],
}

impl Route for DiscoveryRoute {
    const NAME: &'static str = "discovery";
    const ENDPOINTS: &'static [Endpoint] = &[
        Endpoint::get(OPENID_PATH),
        Endpoint::head(OPENID_PATH),
        Endpoint::get(OAUTH_PATH),
        Endpoint::head(OAUTH_PATH),
    ];
    type Access = Public;
    type Settings = IssuerUrl;
    type Input = NoBody;
    type Output = AnyOrigin<Json<Metadata>>;

    async fn open(IssuerUrl(issuer): IssuerUrl, (): &(), _: &World) -> Result<Self, BootError> {
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
