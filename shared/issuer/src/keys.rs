//! Private key sets: JWKS with private members (RFC 7517, RFC 8037), and the states of their keys.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use auth::{Algorithm, PublicKey, PublicKeySet};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use keys::KeyState;
use process::Random;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::jwk::PrivateJwk;
use crate::sign::signer;

/// The set as stored: a JWK Set with additional members.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Stored {
    /// The active key, then the next one.
    keys: Vec<PrivateJwk>,
    /// The id of this version of the secret.
    #[serde(default)]
    version: String,
    /// The version that this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    /// The ids of the revoked keys, which this version removes from the published set immediately.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    revoked: BTreeSet<String>,
}

/// A set of private keys: the active one, which signs, and the next one, which is published before it signs. The
/// set is empty before the first rotation.
#[derive(Clone, Default)]
pub struct SigningKeys {
    stored: Stored,
    active: Option<SigningKey>,
}

/// Shows only key ids.
impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.stored.keys.iter().map(|key| (&key.kid, key.state))).finish()
    }
}

impl SigningKeys {
    /// Generates a set of two keys, one active and one next.
    ///
    /// # Panics
    /// Never: generated keys are valid.
    #[must_use]
    pub fn generate(algorithm: Algorithm, version: &str, random: &dyn Random) -> Self {
        let keys = [KeyState::Active, KeyState::Next];
        let keys = keys.map(|state| PrivateJwk::generate(algorithm, state, random)).into();
        let stored = Stored { keys, version: version.to_owned(), ..Stored::default() };
        Self::new(stored).expect("generated keys are valid")
    }

    fn new(stored: Stored) -> Result<Self, SigningKeyError> {
        let with = |state: KeyState| stored.keys.iter().filter(move |key| key.state == state);
        let known = with(KeyState::Active).count() + with(KeyState::Next).count();
        if known != stored.keys.len() || with(KeyState::Active).count() > 1 {
            return Err(SigningKeyError::States);
        }
        for key in &stored.keys {
            key.encoding()?;
        }
        let active = with(KeyState::Active).next().map(SigningKey::of).transpose()?;
        if active.is_none() && !stored.keys.is_empty() {
            return Err(SigningKeyError::States);
        }
        let set = Self { stored, active };
        set.public_set()?;
        Ok(set)
    }

    /// Returns this set after a rotation: the next key becomes active, the active key is removed, and a new next key
    /// is added.
    ///
    /// # Errors
    /// When there is no next key ([`SigningKeyError::NoNext`]).
    pub fn rotated(
        &self,
        algorithm: Algorithm,
        version: &str,
        random: &dyn Random,
    ) -> Result<Self, SigningKeyError> {
        let next = self.stored.keys.iter().find(|key| key.state == KeyState::Next);
        let mut active = next.ok_or(SigningKeyError::NoNext)?.clone();
        active.state = KeyState::Active;
        let keys = vec![active, PrivateJwk::generate(algorithm, KeyState::Next, random)];
        Self::next_version(keys, version, BTreeSet::new())
    }

    /// Returns this set with new keys instead of those in `revoked`. If the active key is revoked, the next one
    /// becomes active immediately, unless it is revoked too.
    ///
    /// # Panics
    /// Never: generated keys are valid.
    #[must_use]
    pub fn without(
        &self,
        revoked: BTreeSet<String>,
        algorithm: Algorithm,
        version: &str,
        random: &dyn Random,
    ) -> Self {
        let mut keys: Vec<_> =
            self.stored.keys.iter().filter(|key| !revoked.contains(&key.kid)).cloned().collect();
        if !keys.iter().any(|key| key.state == KeyState::Active) {
            match keys.first_mut() {
                Some(next) => next.state = KeyState::Active,
                None => keys.push(PrivateJwk::generate(algorithm, KeyState::Active, random)),
            }
        }
        if !keys.iter().any(|key| key.state == KeyState::Next) {
            keys.push(PrivateJwk::generate(algorithm, KeyState::Next, random));
        }
        Self::next_version(keys, version, revoked).expect("the keys of a valid set are valid")
    }

    fn next_version(
        keys: Vec<PrivateJwk>,
        version: &str,
        revoked: BTreeSet<String>,
    ) -> Result<Self, SigningKeyError> {
        let (version, replaces) = (version.to_owned(), None);
        Self::new(Stored { keys, version, replaces, revoked })
    }

    /// Returns this set, marked as the replacement for the version `id`.
    #[must_use]
    pub fn replacing(mut self, id: &str) -> Self {
        self.stored.replaces = Some(id.to_owned());
        self
    }

    /// The id of the secret version that this set replaces.
    #[must_use]
    pub fn replaces(&self) -> Option<&str> {
        self.stored.replaces.as_deref()
    }

    /// The set as JSON with private members, to be stored only in the secret.
    ///
    /// # Panics
    /// Never: a JWK Set is JSON.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        Zeroizing::new(serde_json::to_string(&self.stored).expect("a JWK Set is JSON"))
    }

    /// The public halves, with their states.
    ///
    /// # Panics
    /// Never: the keys were validated when the set was created.
    pub fn public(&self) -> impl Iterator<Item = (Jwk, KeyState)> {
        let public = |key: &PrivateJwk| {
            (key.public().expect("validated when the set was created"), key.state)
        };
        self.stored.keys.iter().map(public)
    }

    /// The public halves as a set.
    ///
    /// # Errors
    /// Never for a validated set.
    pub fn public_set(&self) -> Result<PublicKeySet, SigningKeyError> {
        let keys = self.stored.keys.iter().map(PrivateJwk::public).collect::<Result<_, _>>()?;
        PublicKeySet::new(JwkSet { keys }).map_err(|_| SigningKeyError::NotAKeySet)
    }

    /// Whether the set has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stored.keys.is_empty()
    }

    /// The ids of the keys.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.stored.keys.iter().map(|key| key.kid.as_str())
    }

    /// The ids of the keys that this version removes from the published set.
    #[must_use]
    pub fn revoked(&self) -> &BTreeSet<String> {
        &self.stored.revoked
    }

    /// The id of the next key.
    #[must_use]
    pub fn next_kid(&self) -> Option<&str> {
        let next = self.stored.keys.iter().find(|key| key.state == KeyState::Next);
        next.map(|key| key.kid.as_str())
    }

    /// The active key, if there is one yet.
    #[must_use]
    pub fn active(&self) -> Option<&SigningKey> {
        self.active.as_ref()
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
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: EncodingKey,
}

impl SigningKey {
    fn of(jwk: &PrivateJwk) -> Result<Self, SigningKeyError> {
        let (kid, algorithm) = (jwk.kid.clone(), jwk.algorithm());
        Ok(Self { kid, algorithm, encoding: jwk.encoding()? })
    }

    /// The key id (`kid`).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Checks that `public` accepts a signature of this key.
    ///
    /// # Errors
    /// When the signature is not accepted.
    pub fn signs_for(&self, public: &PublicKey) -> Result<(), SigningKeyError> {
        const PROBE: &[u8] = b"latchkey: does this key sign for that one?";
        auth::crypto::enable_signing(signer);
        let algorithm = self.algorithm.to_jwt();
        let signed = jsonwebtoken::crypto::sign(PROBE, &self.encoding, algorithm);
        match signed {
            Ok(signature) if public.verifies(PROBE, &signature) => Ok(()),
            _ => Err(SigningKeyError::Unusable(self.kid.clone())),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The reason why a private key set is invalid. It reveals nothing but a key id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// The text is not a JWK Set of private keys.
    #[error("not a JWK Set of private keys with their states")]
    NotAKeySet,
    /// The set does not have exactly one active key.
    #[error("the JWK Set does not have exactly one active key")]
    States,
    /// The set has no next key, so it cannot rotate.
    #[error("the JWK Set has no next key")]
    NoNext,
    /// A key cannot sign, or its private and public halves do not match.
    #[error("the key {0} is invalid")]
    Unusable(String),
}

#[cfg(test)]
mod tests {
    use process::SystemRandom;
    use serde_json::{Value, json};

    use super::*;

    fn json(keys: &SigningKeys) -> Value {
        serde_json::from_str(&keys.to_json()).unwrap()
    }

    fn parse(value: &Value) -> Result<SigningKeys, SigningKeyError> {
        value.to_string().parse()
    }

    #[test]
    fn a_set_round_trips_and_publishes_no_private_member() {
        for algorithm in Algorithm::ALL {
            let keys = SigningKeys::generate(algorithm, "v1", &SystemRandom);
            let again: SigningKeys = keys.to_json().parse().unwrap();
            assert_eq!(json(&again), json(&keys));
            assert_eq!(again.active().unwrap().algorithm, algorithm);
            let published = serde_json::to_string(keys.public_set().unwrap().as_jwks()).unwrap();
            for member in ["d", "p", "q", "dp", "dq", "qi", "state"] {
                assert!(!published.contains(&format!("\"{member}\":")), "{member} of {algorithm}");
            }
            for key in json(&keys)["keys"].as_array().unwrap() {
                assert!(!published.contains(key["d"].as_str().unwrap()));
            }
        }
    }

    #[test]
    fn a_rotation_makes_the_next_key_active() {
        let keys = SigningKeys::generate(Algorithm::EdDsa, "v1", &SystemRandom);
        let rotated = keys.rotated(Algorithm::Es256, "v2", &SystemRandom).unwrap();
        assert_eq!(rotated.active().unwrap().kid, keys.next_kid().unwrap());
        assert_eq!(rotated.active().unwrap().algorithm, Algorithm::EdDsa);
        assert!(!rotated.to_json().contains(&keys.active().unwrap().kid), "the old key is gone");
        let again = rotated.rotated(Algorithm::Es256, "v3", &SystemRandom).unwrap();
        assert_eq!(again.active().unwrap().algorithm, Algorithm::Es256);
    }

    #[test]
    fn a_revoked_key_is_replaced() {
        let keys = SigningKeys::generate(Algorithm::EdDsa, "v1", &SystemRandom);
        let (active, next) =
            (keys.active().unwrap().kid.clone(), keys.next_kid().unwrap().to_owned());
        let without = |kids: &[&String]| {
            let revoked = kids.iter().map(|kid| (*kid).clone()).collect();
            keys.without(revoked, Algorithm::EdDsa, "v2", &SystemRandom)
        };
        let after = without(&[&active]);
        assert_eq!(after.active().unwrap().kid, next);
        let after = without(&[&next]);
        assert_eq!(after.active().unwrap().kid, active);
        assert_ne!(after.next_kid().unwrap(), next);
        let after = without(&[&active, &next]);
        assert!(after.kids().all(|kid| ![&active, &next].contains(&&kid.to_owned())));
        assert_eq!(after.kids().count(), 2);
    }

    #[test]
    fn invalid_private_keys_are_refused() {
        for algorithm in Algorithm::ALL {
            let good = json(&SigningKeys::generate(algorithm, "v1", &SystemRandom));
            for member in ["d", "kid", "alg", "kty", "state"] {
                let mut bad = good.clone();
                bad["keys"][0].as_object_mut().unwrap().remove(member);
                assert!(parse(&bad).is_err(), "without {member}");
            }
            // The halves of two different keys.
            let other = json(&SigningKeys::generate(algorithm, "v1", &SystemRandom));
            let mut bad = good.clone();
            bad["keys"][0]["d"] = other["keys"][0]["d"].clone();
            assert!(matches!(parse(&bad), Err(SigningKeyError::Unusable(_))), "{algorithm}");
            // Two active keys, or none.
            let mut bad = good.clone();
            bad["keys"][1]["state"] = json!("active");
            assert_eq!(parse(&bad).unwrap_err(), SigningKeyError::States);
            let mut bad = good.clone();
            bad["keys"][0]["state"] = json!("retired");
            assert_eq!(parse(&bad).unwrap_err(), SigningKeyError::States);
        }
        assert!(parse(&json!({"keys": []})).unwrap().is_empty());
        assert!(parse(&json!([])).is_err());
    }

    #[test]
    fn debug_and_errors_show_no_secret() {
        let keys = SigningKeys::generate(Algorithm::EdDsa, "v1", &SystemRandom);
        let mut bad = json(&keys);
        let secret = bad["keys"][0]["d"].as_str().unwrap().to_owned();
        assert!(!format!("{keys:?} {:?}", keys.active()).contains(&secret));
        bad["keys"][0]["x"] = json!("AAAA");
        let error = parse(&bad).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&secret));
    }
}
