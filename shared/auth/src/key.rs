//! Public keys, and where they come from.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm};

use crate::{Fault, FaultKind};

/// A signature algorithm that we sign with and accept (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `EdDSA` with Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The value of `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
        }
    }

    /// The same for `jsonwebtoken`.
    #[must_use]
    pub const fn to_jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A public key that verifies tokens. The algorithm hangs on the key: a token only names the key.
#[derive(Clone, Debug)]
pub struct PublicKey {
    kid: String,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

impl PublicKey {
    /// The key's identifier (`kid`).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The one algorithm that this key is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

impl TryFrom<&Jwk> for PublicKey {
    type Error = KeySetError;

    fn try_from(jwk: &Jwk) -> Result<Self, KeySetError> {
        let kid = jwk.common.key_id.clone().filter(|kid| !kid.is_empty());
        let kid = kid.ok_or(KeySetError::NoKid)?;
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDsa
            }
            _ => return Err(KeySetError::Unsupported(kid)),
        };
        let named = match algorithm {
            Algorithm::EdDsa => KeyAlgorithm::EdDSA,
        };
        if jwk.common.key_algorithm.is_some_and(|alg| alg != named) {
            return Err(KeySetError::Unsupported(kid));
        }
        let decoding =
            DecodingKey::from_jwk(jwk).map_err(|_| KeySetError::Unsupported(kid.clone()))?;
        Ok(Self { kid, algorithm, decoding })
    }
}

/// A JWK Set (RFC 7517 §5) of public keys.
#[derive(Clone, Debug)]
pub struct PublicKeySet {
    keys: Vec<Arc<PublicKey>>,
    published: JwkSet,
}

impl Default for PublicKeySet {
    fn default() -> Self {
        Self { keys: Vec::new(), published: JwkSet { keys: Vec::new() } }
    }
}

impl PublicKeySet {
    /// A set of `jwks`.
    ///
    /// # Errors
    /// When one of them is not a public signature key of a supported algorithm, or a `kid` stands
    /// twice.
    pub fn new(published: JwkSet) -> Result<Self, KeySetError> {
        let mut keys: Vec<Arc<PublicKey>> = Vec::with_capacity(published.keys.len());
        for jwk in &published.keys {
            let key = PublicKey::try_from(jwk)?;
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(KeySetError::DoubleKid(key.kid));
            }
            keys.push(Arc::new(key));
        }
        Ok(Self { keys, published })
    }

    /// Reads a JWK Set.
    ///
    /// # Errors
    /// When it is not one, or as [`PublicKeySet::new`] says.
    pub fn from_json(json: &str) -> Result<Self, KeySetError> {
        Self::new(serde_json::from_str(json).map_err(|_| KeySetError::NotAKeySet)?)
    }

    /// The set as it is published: public members alone.
    #[must_use]
    pub fn as_jwks(&self) -> &JwkSet {
        &self.published
    }

    /// The key named `kid`.
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<&Arc<PublicKey>> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// Whether there is no key in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// A key set is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not a JWK Set at all.
    #[error("not a JWK Set")]
    NotAKeySet,
    /// A key has no identifier.
    #[error("a key has no kid")]
    NoKid,
    /// Two keys have one identifier.
    #[error("the kid {0} stands twice")]
    DoubleKid(String),
    /// A key is of a kind that we do not use.
    #[error("the key {0} is not an Ed25519 signature key")]
    Unsupported(String),
}

/// Where public keys come from.
pub trait KeySource: Send + Sync + 'static {
    /// The key named `kid`, or `None` when there is none of that name.
    ///
    /// # Errors
    /// When the keys cannot be read at present.
    fn key(
        &self,
        kid: &str,
    ) -> impl Future<Output = Result<Option<Arc<PublicKey>>, KeyError>> + Send;
}

/// The public keys cannot be had at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the public keys cannot be read")]
pub struct KeyError;

impl Fault for KeyError {
    fn kind(&self) -> FaultKind {
        FaultKind::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8037, appendix A.2.
    const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA","use":"sig",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn reads_and_publishes_a_set() {
        let set = PublicKeySet::from_json(&format!(r#"{{"keys":[{ED25519}]}}"#)).unwrap();
        assert_eq!(set.get("a").unwrap().algorithm(), Algorithm::EdDsa);
        assert!(set.get("b").is_none());
        let published = serde_json::to_value(set.as_jwks()).unwrap();
        let expected: serde_json::Value = serde_json::from_str(ED25519).unwrap();
        assert_eq!(published["keys"][0], expected);
    }

    #[test]
    fn a_private_member_is_not_published() {
        let private = ED25519.replace(r#""kid""#, r#""d":"AAAA","kid""#);
        let set = PublicKeySet::from_json(&format!(r#"{{"keys":[{private}]}}"#)).unwrap();
        assert!(!serde_json::to_string(set.as_jwks()).unwrap().contains("AAAA"));
    }

    #[test]
    fn refuses_what_it_cannot_use() {
        let set = |jwk: &str| PublicKeySet::from_json(&format!(r#"{{"keys":[{jwk}]}}"#));
        let unsupported = || KeySetError::Unsupported("a".to_owned());
        assert_eq!(PublicKeySet::from_json("[]").unwrap_err(), KeySetError::NotAKeySet);
        assert_eq!(set(r#"{"kty":"oct","k":"AAAA","kid":"a"}"#).unwrap_err(), unsupported());
        assert_eq!(set(&ED25519.replace("EdDSA", "HS256")).unwrap_err(), unsupported());
        assert_eq!(set(&ED25519.replace(r#""kid":"a","#, "")).unwrap_err(), KeySetError::NoKid);
        assert_eq!(
            set(&format!("{ED25519},{ED25519}")).unwrap_err(),
            KeySetError::DoubleKid("a".to_owned())
        );
    }
}
