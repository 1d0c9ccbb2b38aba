//! Public keys and their source.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm};
use serde::{Deserialize, Serialize};

use crate::crypto;
use process::{Fault, FaultKind};

/// A supported signature algorithm (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// `ES256`: ECDSA with P-256 and SHA-256. The default, since nearly every verifier supports it.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// `EdDSA` with Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// `RS256`: RSASSA-PKCS1-v1_5 with SHA-256. Keys have at least 2,048 bits.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// Every algorithm, the default first.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// The value of `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm as `jsonwebtoken` names it.
    #[must_use]
    pub const fn to_jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
        }
    }

    /// Returns the algorithm that the kind of the key determines, or `None` if the kind is unsupported.
    fn of(key: &AlgorithmParameters) -> Option<Self> {
        match key {
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Some(Self::EdDsa)
            }
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Some(Self::Es256)
            }
            AlgorithmParameters::RSA(_) => Some(Self::Rs256),
            _ => None,
        }
    }

    fn is(self, alg: KeyAlgorithm) -> bool {
        let own = match self {
            Self::EdDsa => KeyAlgorithm::EdDSA,
            Self::Es256 => KeyAlgorithm::ES256,
            Self::Rs256 => KeyAlgorithm::RS256,
        };
        alg == own
    }
}

/// The text is not the name of a supported algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected ES256, EdDSA or RS256")]
pub struct AlgorithmError;

impl FromStr for Algorithm {
    type Err = AlgorithmError;

    fn from_str(name: &str) -> Result<Self, AlgorithmError> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name).ok_or(AlgorithmError)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A public key that verifies tokens. The key determines the algorithm; a token only names the key.
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

    /// The only algorithm for which this key is valid.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` (base64url) is a valid signature of `message` by this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        crypto::install();
        let algorithm = self.algorithm.to_jwt();
        let verified = jsonwebtoken::crypto::verify(signature, message, &self.decoding, algorithm);
        matches!(verified, Ok(true))
    }
}

impl TryFrom<&Jwk> for PublicKey {
    type Error = KeySetError;

    fn try_from(jwk: &Jwk) -> Result<Self, KeySetError> {
        let kid = jwk.common.key_id.clone().filter(|kid| !kid.is_empty());
        let kid = kid.ok_or(KeySetError::NoKid)?;
        let Some(algorithm) = Algorithm::of(&jwk.algorithm) else {
            return Err(KeySetError::Unsupported(kid));
        };
        if jwk.common.key_algorithm.is_some_and(|alg| !algorithm.is(alg)) {
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
    /// Creates a key set from the published JWK Set.
    ///
    /// # Errors
    /// When a key is not a public signature key of a supported algorithm, or two keys have the same `kid`.
    pub fn new(published: JwkSet) -> Result<Self, KeySetError> {
        let mut keys: Vec<Arc<PublicKey>> = Vec::with_capacity(published.keys.len());
        for jwk in &published.keys {
            let key = PublicKey::try_from(jwk)?;
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(KeySetError::DuplicateKid(key.kid));
            }
            keys.push(Arc::new(key));
        }
        Ok(Self { keys, published })
    }

    /// Reads a JWK Set.
    ///
    /// # Errors
    /// When the text is not a JWK Set, or [`PublicKeySet::new`] fails.
    pub fn from_json(json: &str) -> Result<Self, KeySetError> {
        Self::new(serde_json::from_str(json).map_err(|_| KeySetError::NotAKeySet)?)
    }

    /// The published set, with public members only.
    #[must_use]
    pub fn as_jwks(&self) -> &JwkSet {
        &self.published
    }

    /// The key named `kid`.
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<&Arc<PublicKey>> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// Whether the set has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The reason why a key set is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The text is not a JWK Set.
    #[error("not a JWK Set")]
    NotAKeySet,
    /// A key has no identifier.
    #[error("a key has no kid")]
    NoKid,
    /// Two keys have the same identifier.
    #[error("duplicate kid {0}")]
    DuplicateKid(String),
    /// A key is not a signature key of a supported algorithm.
    #[error("the key {0} is not a signature key of a supported algorithm")]
    Unsupported(String),
}

/// A source of public keys.
pub trait KeySource: Send + Sync + 'static {
    /// The key named `kid`, or `None` if it is unknown.
    ///
    /// # Errors
    /// When the keys cannot be read at present.
    fn key(
        &self,
        kid: &str,
    ) -> impl Future<Output = Result<Option<Arc<PublicKey>>, KeyError>> + Send;

    /// The global epoch, which is read together with the keys.
    ///
    /// # Errors
    /// When the epoch cannot be read at present.
    fn epoch(&self) -> impl Future<Output = Result<GlobalEpoch, KeyError>> + Send;
}

/// The earliest valid start of a session, for all accounts: a session that began earlier is invalid. Operators raise it
/// after restoring a backup, because the backup brings back ended sessions and old counters. It is in whole seconds,
/// like `auth_time`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlobalEpoch(i64);

impl GlobalEpoch {
    /// The initial epoch, which refuses no session.
    pub const NEVER_RAISED: Self = Self(0);

    /// The epoch that begins at `second`, in seconds since 1970.
    #[must_use]
    pub fn at(second: i64) -> Self {
        Self(second)
    }

    /// The epoch that refuses every session that began at or before `now`. It begins with the next second, because the
    /// times in tokens are whole seconds.
    #[must_use]
    pub fn after(now: Timestamp) -> Self {
        Self(now.as_second().saturating_add(1))
    }

    /// The first second in which a valid session may have begun, in seconds since 1970.
    #[must_use]
    pub fn second(self) -> i64 {
        self.0
    }

    /// Whether a session that began at `auth_time` is refused.
    #[must_use]
    pub fn refuses(self, auth_time: i64) -> bool {
        auth_time < self.0
    }
}

/// The public keys are not available at the moment.
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

    /// The key from RFC 8037, appendix A.2.
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
    fn the_kind_of_a_key_determines_its_algorithm() {
        // The key from RFC 7517, appendix A.1.
        let ec = r#"{"kty":"EC","crv":"P-256","kid":"a",
            "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
        let set = |jwk: &str| PublicKeySet::from_json(&format!(r#"{{"keys":[{jwk}]}}"#));
        assert_eq!(set(ec).unwrap().get("a").unwrap().algorithm(), Algorithm::Es256);
        assert!(set(&ec.replace("P-256", "P-384")).is_err());
        assert!(set(&ED25519.replace("Ed25519", "P-256")).is_err());
        let rsa = r#"{"kty":"RSA","kid":"a","alg":"RS256","n":"AQAB","e":"AQAB"}"#;
        assert_eq!(set(rsa).unwrap().get("a").unwrap().algorithm(), Algorithm::Rs256);
        assert!(set(&rsa.replace("RS256", "PS256")).is_err());
    }

    #[test]
    fn an_epoch_refuses_sessions_that_began_before_it() {
        let now = Timestamp::from_millisecond(1_000_999).unwrap();
        let epoch = GlobalEpoch::after(now);
        assert!(epoch.refuses(999) && epoch.refuses(1_000) && !epoch.refuses(1_001));
        assert!(!GlobalEpoch::NEVER_RAISED.refuses(0));
    }

    #[test]
    fn a_private_member_is_not_published() {
        let private = ED25519.replace(r#""kid""#, r#""d":"AAAA","kid""#);
        let set = PublicKeySet::from_json(&format!(r#"{{"keys":[{private}]}}"#)).unwrap();
        assert!(!serde_json::to_string(set.as_jwks()).unwrap().contains("AAAA"));
    }

    #[test]
    fn invalid_keys_are_refused() {
        let set = |jwk: &str| PublicKeySet::from_json(&format!(r#"{{"keys":[{jwk}]}}"#));
        let unsupported = || KeySetError::Unsupported("a".to_owned());
        assert_eq!(PublicKeySet::from_json("[]").unwrap_err(), KeySetError::NotAKeySet);
        assert_eq!(set(r#"{"kty":"oct","k":"AAAA","kid":"a"}"#).unwrap_err(), unsupported());
        assert_eq!(set(&ED25519.replace("EdDSA", "HS256")).unwrap_err(), unsupported());
        assert_eq!(set(&ED25519.replace("EdDSA", "ES256")).unwrap_err(), unsupported());
        assert_eq!(set(&ED25519.replace(r#""kid":"a","#, "")).unwrap_err(), KeySetError::NoKid);
        assert_eq!(
            set(&format!("{ED25519},{ED25519}")).unwrap_err(),
            KeySetError::DuplicateKid("a".to_owned())
        );
    }
}
