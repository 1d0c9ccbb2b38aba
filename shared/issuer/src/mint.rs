//! Minting of access tokens (RFC 9068).

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use auth::{Audience, Claims, TOKEN_TYPE, TokenRules};
use identity::{Account, Attributes, Authentication, SessionEpoch, SessionId, TokenId};
use jiff::Timestamp;
use jsonwebtoken::Header;
use process::{Fault, FaultKind, Random, Reader, Settings};
use serde::Serialize;

use crate::SigningKey;
use crate::sign::signer;

/// The default lifetime of an access token, in seconds.
const DEFAULT_SECONDS: u64 = 900;

/// The maximum lifetime of an access token, in seconds. A route that checks only the token may act on outdated roles
/// for that long.
pub const MAX_SECONDS: u64 = 3600;

/// Claim names that have a meaning of their own. The claim for attributes must not have one of these names.
const OTHER_CLAIMS: [&str; 22] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "sid",
    "ver",
    "roles",
    "groups",
    "entitlements",
    "scope",
    "auth_time",
    "acr",
    "amr",
    "azp",
    "act",
    "may_act",
    "cnf",
    "preferred_username",
];

/// The name of the claim with the account's attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AttributesClaim(String);

impl FromStr for AttributesClaim {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if !(1..=100).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must have from 1 to 100 visible ASCII characters");
        }
        if OTHER_CLAIMS.contains(&name) {
            return Err("is the name of another claim");
        }
        Ok(Self(name.to_owned()))
    }
}

/// The content of a token: its claims, and the account's attributes under a configurable name.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(flatten)]
    claims: Claims,
    #[serde(flatten)]
    attributes: Option<HashMap<&'a str, &'a Attributes>>,
}

/// The issuer, audience, client and lifetime of access tokens.
#[derive(Clone, Debug)]
pub struct Config {
    rules: TokenRules,
    client_id: String,
    lifetime: Duration,
    attributes_claim: AttributesClaim,
}

impl Settings for Config {
    /// Reads `ISSUER`, `AUDIENCE`, `CLIENT_ID` (default `latchkey`), `ACCESS_TOKEN_SECONDS` (1 to 3600, default 900)
    /// and `ATTRIBUTES_CLAIM` (default `attributes`).
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let rules = TokenRules::read(reader);
        let client_id = reader.optional("CLIENT_ID", "latchkey".to_owned());
        let seconds = reader.optional("ACCESS_TOKEN_SECONDS", DEFAULT_SECONDS);
        if seconds.is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
            reader.fault("ACCESS_TOKEN_SECONDS", "must be from 1 to 3600");
        }
        let attributes_claim = AttributesClaim("attributes".to_owned());
        let attributes_claim = reader.optional("ATTRIBUTES_CLAIM", attributes_claim);
        Some(Self {
            rules: rules?,
            client_id: client_id?,
            lifetime: Duration::from_secs(seconds?),
            attributes_claim: attributes_claim?,
        })
    }
}

/// Mints access tokens.
#[derive(Clone, Debug)]
pub struct AccessTokens {
    config: Config,
}

/// The account and the login for which a token is minted.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The account in its current state.
    pub account: &'a Account,
    /// The session of the token.
    pub session: SessionId,
    /// The account's epoch at the time of login.
    pub epoch: SessionEpoch,
    /// When and how the user last authenticated.
    pub authentication: &'a Authentication,
}

/// A new access token. `Debug` does not show it.
#[derive(Clone)]
pub struct Minted {
    token: String,
    lifetime: Duration,
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

impl Minted {
    /// The JWS in compact form.
    #[must_use]
    pub fn into_token(self) -> String {
        self.token
    }

    /// The lifetime (`expires_in`).
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

impl AccessTokens {
    /// Creates a minter and enables signing in this process.
    #[must_use]
    pub fn new(config: Config) -> Self {
        auth::crypto::enable_signing(signer);
        Self { config }
    }

    /// Mints an access token, signed by `key`.
    ///
    /// # Errors
    /// When the token cannot be signed, which never happens with a validated key.
    pub fn mint(
        &self,
        key: &SigningKey,
        grant: Grant<'_>,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<Minted, MintError> {
        let Grant { account, session, epoch, authentication } = grant;
        let lifetime = self.config.lifetime;
        let issued = now.as_second();
        let claims = Claims {
            iss: self.config.rules.issuer().to_owned(),
            sub: account.id,
            aud: Audience::One(self.config.rules.audience().to_owned()),
            exp: issued.saturating_add_unsigned(lifetime.as_secs()),
            iat: issued,
            nbf: None,
            jti: TokenId::new(random),
            client_id: self.config.client_id.clone(),
            sid: session,
            epoch,
            roles: account.roles.clone(),
            auth_time: authentication.at.as_second(),
            acr: authentication.methods.acr(),
            amr: authentication.methods.clone(),
            preferred_username: account.username.as_str().to_owned(),
        };
        let mut header = Header::new(key.algorithm.to_jwt());
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(key.kid.clone());
        // For an account without attributes, the claim is omitted, so that the token stays short.
        let attributes = &account.attributes;
        let named = || HashMap::from([(self.config.attributes_claim.0.as_str(), attributes)]);
        let content = Content { claims, attributes: (!attributes.is_empty()).then(named) };
        let token =
            jsonwebtoken::encode(&header, &content, &key.encoding).map_err(|_| MintError)?;
        Ok(Minted { token, lifetime })
    }
}

/// An access token could not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token could not be signed")]
pub struct MintError;

impl Fault for MintError {
    fn kind(&self) -> FaultKind {
        FaultKind::Internal
    }
}
