//! Private key sets: JWKS with private members (RFC 7517, RFC 8037).

use std::fmt;
use std::str::FromStr;

use auth::{PublicKeySet, Random};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::JwkSet;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The private JWKs as they are stored: the first one signs.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct PrivateJwk {
    kty: String,
    crv: String,
    alg: String,
    #[serde(rename = "use")]
    usage: String,
    kid: String,
    x: String,
    d: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct PrivateJwks {
    keys: Vec<PrivateJwk>,
}

/// A set of private keys, of which the first one is active.
#[derive(Clone)]
pub struct SigningKeys {
    stored: PrivateJwks,
    public: PublicKeySet,
}

/// Key ids alone.
impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stored.keys.iter().map(|key| &key.kid)).finish()
    }
}

impl SigningKeys {
    /// A set of one new Ed25519 key.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let seed = Zeroizing::new(random.bytes::<32>());
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed)
            .expect("32 bytes are an Ed25519 private key (RFC 8032 §5.1.5)");
        let key = PrivateJwk {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            alg: "EdDSA".to_owned(),
            usage: "sig".to_owned(),
            kid: URL_SAFE_NO_PAD.encode(random.bytes::<12>()),
            x: URL_SAFE_NO_PAD.encode(pair.public_key()),
            d: URL_SAFE_NO_PAD.encode(*seed),
        };
        Self::new(PrivateJwks { keys: vec![key] }).expect("a generated key is a good key")
    }

    fn new(stored: PrivateJwks) -> Result<Self, SigningKeyError> {
        if stored.keys.is_empty() {
            return Err(SigningKeyError::Empty);
        }
        for key in &stored.keys {
            key.pair()?;
        }
        // Through JSON on purpose: what we publish is parsed just as a verifier will parse it, and
        // a private member has no place to go.
        let json = serde_json::to_value(&stored).map_err(|_| SigningKeyError::NotAKeySet)?;
        let published: JwkSet =
            serde_json::from_value(json).map_err(|_| SigningKeyError::NotAKeySet)?;
        let public = PublicKeySet::new(published).map_err(|_| SigningKeyError::NotAKeySet)?;
        Ok(Self { stored, public })
    }

    /// The set as JSON, private members and all: for a file or a secret, and nowhere else.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        Zeroizing::new(serde_json::to_string(&self.stored).expect("a JWK Set is JSON"))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKeySet {
        &self.public
    }

    /// The key that signs.
    pub(crate) fn active(&self) -> SigningKey {
        let key = self.stored.keys.first().expect("a set is never empty");
        let pair = key.pair().expect("checked when the set was made");
        let der = pair.to_pkcs8v1().expect("an Ed25519 key has a PKCS #8 form");
        SigningKey { kid: key.kid.clone(), encoding: EncodingKey::from_ed_der(der.as_ref()) }
    }
}

impl PrivateJwk {
    fn pair(&self) -> Result<Ed25519KeyPair, SigningKeyError> {
        let unusable = || SigningKeyError::Unusable(self.kid.clone());
        if (self.kty.as_str(), self.crv.as_str(), self.alg.as_str()) != ("OKP", "Ed25519", "EdDSA")
        {
            return Err(unusable());
        }
        let seed = Zeroizing::new(URL_SAFE_NO_PAD.decode(&self.d).map_err(|_| unusable())?);
        let public = URL_SAFE_NO_PAD.decode(&self.x).map_err(|_| unusable())?;
        Ed25519KeyPair::from_seed_and_public_key(&seed, &public).map_err(|_| unusable())
    }
}

impl FromStr for SigningKeys {
    type Err = SigningKeyError;

    fn from_str(json: &str) -> Result<Self, SigningKeyError> {
        Self::new(serde_json::from_str(json).map_err(|_| SigningKeyError::NotAKeySet)?)
    }
}

/// A private key that signs tokens.
#[derive(Clone)]
pub struct SigningKey {
    pub(crate) kid: String,
    pub(crate) encoding: EncodingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A private key set is not usable. Says nothing of its content but a key id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// Not a JWK Set of private keys.
    #[error("not a JWK Set of private Ed25519 keys")]
    NotAKeySet,
    /// A set without a key.
    #[error("the JWK Set has no key")]
    Empty,
    /// A key that cannot sign, or whose halves do not belong together.
    #[error("the key {0} is not a usable Ed25519 key")]
    Unusable(String),
}

#[cfg(test)]
mod tests {
    use auth::SystemRandom;

    use super::*;

    #[test]
    fn round_trips() {
        let keys = SigningKeys::generate(&SystemRandom);
        let again: SigningKeys = keys.to_json().parse().unwrap();
        assert_eq!(again.to_json(), keys.to_json());
    }

    #[test]
    fn the_public_half_has_no_private_member() {
        let keys = SigningKeys::generate(&SystemRandom);
        let public = serde_json::to_value(keys.public().as_jwks()).unwrap();
        let members: Vec<_> = public["keys"][0].as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
    }

    #[test]
    fn refuses_what_cannot_sign() {
        let keys = SigningKeys::generate(&SystemRandom);
        let other = SigningKeys::generate(&SystemRandom);
        let mut mixed = keys.stored.clone();
        mixed.keys[0].x.clone_from(&other.stored.keys[0].x);
        assert!(matches!(SigningKeys::new(mixed), Err(SigningKeyError::Unusable(_))));
        let parse = |json: &str| json.parse::<SigningKeys>().map(|_| ());
        assert_eq!(parse("{"), Err(SigningKeyError::NotAKeySet));
        assert_eq!(parse(r#"{"keys":[]}"#), Err(SigningKeyError::Empty));
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = SigningKeys::generate(&SystemRandom);
        let shown = format!("{keys:?} {:?}", keys.active());
        assert!(!shown.contains(&keys.stored.keys[0].d));
    }
}
