//! Verification of access tokens: RFC 9068 §4, RFC 8725, RFC 7515.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::{Claims, KeySource, TOKEN_TYPE};
use process::{Clock, Fault, FaultKind, Reader, Settings};

/// The maximum length of a token, in bytes. Latchkey's own tokens are well under 1 KiB.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// The maximum difference between the clocks of the issuer and the verifier, in seconds.
pub const LEEWAY_SECONDS: i64 = 30;

/// The issuer whose tokens are valid, and the audience that they must name.
#[derive(Clone, Debug)]
pub struct TokenRules {
    issuer: String,
    audience: String,
}

impl TokenRules {
    /// Creates rules that accept tokens from `issuer` for `audience`.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), audience: audience.into() }
    }

    /// The issuer (`iss`).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audience (`aud`).
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Checks the claims. Each rule has its own error.
    fn check(&self, claims: &Claims, now: Timestamp) -> Result<(), TokenError> {
        let now = now.as_second();
        let later = now.saturating_add(LEEWAY_SECONDS);
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        if !claims.aud.contains(&self.audience) {
            return Err(TokenError::Audience);
        }
        if claims.exp.saturating_add(LEEWAY_SECONDS) <= now {
            return Err(TokenError::Expired);
        }
        if claims.iat > later || claims.auth_time > later {
            return Err(TokenError::IssuedInTheFuture);
        }
        if claims.nbf.is_some_and(|nbf| nbf > later) {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }
}

impl Settings for TokenRules {
    /// Reads `ISSUER` and `AUDIENCE`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let issuer = reader.required("ISSUER");
        let audience = reader.required("AUDIENCE");
        Some(Self { issuer: issuer?, audience: audience? })
    }
}

/// Verifies access tokens. This is not a trait, because another implementation could then admit anyone.
pub struct Verifier<K> {
    rules: TokenRules,
    keys: K,
    clock: Arc<dyn Clock>,
}

impl<K> fmt::Debug for Verifier<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// The members of a token's header that the verifier reads. It ignores `jwk`, `jku`, `x5u` and `x5c`, because a token
/// must not supply its own key.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Cow<'a, str>,
    #[serde(borrow)]
    typ: Cow<'a, str>,
    #[serde(default, deserialize_with = "present")]
    crit: Presence,
}

impl<'a> Header<'a> {
    fn parse(json: &'a [u8]) -> Result<Self, TokenError> {
        serde_json::from_slice(json).map_err(|_| TokenError::Malformed)
    }
}

#[derive(Default, PartialEq, Eq)]
enum Presence {
    #[default]
    Absent,
    Present,
}

/// Records that a member is present, even if its value is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Presence, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| Presence::Present)
}

impl<K: KeySource> Verifier<K> {
    /// Creates a verifier with these rules, keys and clock.
    pub fn new(rules: TokenRules, keys: K, clock: Arc<dyn Clock>) -> Self {
        Self { rules, keys, clock }
    }

    /// The current time on this verifier's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The source of this verifier's keys.
    pub fn keys(&self) -> &K {
        &self.keys
    }

    /// Verifies a JWS in compact form (RFC 7515 §7.1) and returns its claims.
    ///
    /// # Errors
    /// When the token breaks a rule (the error names the first one that it breaks), or when the keys are not available
    /// ([`TokenError::Keys`]).
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = decode(header)?;
        let header = Header::parse(&header)?;
        if header.crit == Presence::Present {
            return Err(TokenError::Critical);
        }
        if header.typ != TOKEN_TYPE {
            return Err(TokenError::Type);
        }
        let key = self.keys.key(&header.kid).await.map_err(TokenError::Keys)?;
        let key = key.ok_or(TokenError::UnknownKey)?;
        if header.alg != key.algorithm().as_str() {
            return Err(TokenError::Algorithm);
        }
        if !key.verifies(message.as_bytes(), signature) {
            return Err(TokenError::Signature);
        }
        let claims = parse_claims(&decode(payload)?)?;
        self.rules.check(&claims, self.now())?;
        Ok(claims)
    }
}

/// A function of its own, so that its code is generated once, and not in every program that calls [`Verifier::verify`].
fn parse_claims(json: &[u8]) -> Result<Claims, TokenError> {
    serde_json::from_slice(json).map_err(|_| TokenError::Claims)
}

/// Decodes base64url without padding (RFC 7515 §2). Line breaks and nonzero trailing bits are refused.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

/// The reason why a token was refused. It is logged, but the client learns only that the token is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of base64url, or an invalid header.
    #[error("the token is malformed")]
    Malformed,
    /// The header has `crit` (RFC 7515 §4.1.11), but no extension is supported.
    #[error("the token has critical extensions")]
    Critical,
    /// `typ` is not `at+jwt`.
    #[error("the token is not an access token")]
    Type,
    /// `kid` names no known key.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// `alg` is not the algorithm of the key.
    #[error("the token's algorithm does not match its key")]
    Algorithm,
    /// The signature does not match the key.
    #[error("the token's signature is invalid")]
    Signature,
    /// A claim is missing or has the wrong type.
    #[error("the token's claims are missing or malformed")]
    Claims,
    /// `iss` names another issuer.
    #[error("the token is from another issuer")]
    Issuer,
    /// `aud` names another audience.
    #[error("the token is for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` or `auth_time` is in the future.
    #[error("the token was issued in the future")]
    IssuedInTheFuture,
    /// The keys could not be read, so the token could not be checked.
    #[error(transparent)]
    Keys(crate::KeyError),
}

impl Fault for TokenError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Keys(error) => error.kind(),
            _ => FaultKind::Unauthenticated,
        }
    }
}
