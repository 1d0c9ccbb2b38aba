//! Private keys as JWKs (RFC 7517, RFC 7518 §6, RFC 8037), and signing with them.

use auth::Algorithm;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use keys::KeyState;
use pkcs1::der::asn1::UintRef;
use pkcs1::der::{Decode, Encode};
use process::Random;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::SigningKeyError;

/// The length of a coordinate in P-256, in bytes (RFC 7518 §6.2.1.2).
const P256_BYTES: usize = 32;

/// A private JWK and its state.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PrivateJwk {
    #[serde(flatten)]
    material: Material,
    alg: Algorithm,
    #[serde(rename = "use")]
    usage: String,
    pub(crate) kid: String,
    pub(crate) state: KeyState,
}

/// The members that depend on the kind of key.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(tag = "kty")]
enum Material {
    /// RFC 8037 §2.
    #[serde(rename = "OKP")]
    Okp { crv: String, x: String, d: String },
    /// RFC 7518 §6.2.
    #[serde(rename = "EC")]
    Ec { crv: String, x: String, y: String, d: String },
    /// RFC 7518 §6.3.
    #[serde(rename = "RSA")]
    Rsa {
        n: String,
        e: String,
        d: String,
        p: String,
        q: String,
        dp: String,
        dq: String,
        qi: String,
    },
}

impl PrivateJwk {
    /// Generates a key.
    ///
    /// Ed25519 keys are made from `random`. For other kinds, `aws-lc-rs` uses its own source of randomness.
    pub(crate) fn generate(algorithm: Algorithm, state: KeyState, random: &dyn Random) -> Self {
        let material = match algorithm {
            Algorithm::EdDsa => Material::ed25519(random),
            Algorithm::Es256 => Material::p256(),
            Algorithm::Rs256 => Material::rsa(),
        };
        Self {
            material,
            alg: algorithm,
            usage: "sig".to_owned(),
            kid: encode(random.bytes::<12>()),
            state,
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.alg
    }

    /// The public half.
    ///
    /// The conversion goes through JSON on purpose: it parses the key as a verifier will, and it drops the private
    /// members, because the public type lacks them.
    pub(crate) fn public(&self) -> Result<Jwk, SigningKeyError> {
        serde_json::to_value(self)
            .and_then(serde_json::from_value)
            .map_err(|_| SigningKeyError::Unusable(self.kid.clone()))
    }

    /// The key in the form that `jsonwebtoken` needs. Fails if the private and the public half do not match.
    pub(crate) fn encoding(&self) -> Result<EncodingKey, SigningKeyError> {
        self.material.encoding(self.alg).ok_or_else(|| SigningKeyError::Unusable(self.kid.clone()))
    }
}

impl Material {
    fn ed25519(random: &dyn Random) -> Self {
        let seed = Zeroizing::new(random.bytes::<32>());
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed)
            .expect("32 bytes are an Ed25519 private key (RFC 8032 §5.1.5)");
        Self::Okp { crv: "Ed25519".to_owned(), x: encode(pair.public_key()), d: encode(*seed) }
    }

    fn p256() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .expect("aws-lc-rs generates keys");
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(P256_BYTES);
        let d: aws_lc_rs::encoding::EcPrivateKeyBin<'_> =
            aws_lc_rs::encoding::AsBigEndian::as_be_bytes(&pair.private_key())
                .expect("a private key has bytes");
        Self::Ec { crv: "P-256".to_owned(), x: encode(x), y: encode(y), d: encode(d.as_ref()) }
    }

    fn rsa() -> Self {
        let pair =
            aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).expect("aws-lc-rs generates keys");
        let document: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
            pair.as_der().expect("an RSA key has a PKCS #8 form");
        let info = pkcs8::PrivateKeyInfoRef::from_der(document.as_ref())
            .expect("aws-lc-rs writes PKCS #8");
        let key = pkcs1::RsaPrivateKey::from_der(info.private_key.as_bytes())
            .expect("PKCS #8 contains PKCS #1");
        let member = |integer: UintRef<'_>| encode(integer.as_bytes());
        Self::Rsa {
            n: member(key.modulus),
            e: member(key.public_exponent),
            d: member(key.private_exponent),
            p: member(key.prime1),
            q: member(key.prime2),
            dp: member(key.exponent1),
            dq: member(key.exponent2),
            qi: member(key.coefficient),
        }
    }

    fn encoding(&self, algorithm: Algorithm) -> Option<EncodingKey> {
        match (self, algorithm) {
            (Self::Okp { crv, x, d }, Algorithm::EdDsa) if crv == "Ed25519" => {
                let (seed, public) = (decode(d)?, decode(x)?);
                let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public).ok()?;
                Some(EncodingKey::from_ed_der(pair.to_pkcs8v1().ok()?.as_ref()))
            }
            (Self::Ec { crv, x, y, d }, Algorithm::Es256) if crv == "P-256" => {
                let (x, y) = (decode(x)?, decode(y)?);
                if (x.len(), y.len()) != (P256_BYTES, P256_BYTES) {
                    return None;
                }
                let point: Vec<u8> = [4].into_iter().chain(x.iter().chain(&*y).copied()).collect();
                let pair = EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    &decode(d)?,
                    &point,
                );
                Some(EncodingKey::from_ec_der(pair.ok()?.to_pkcs8v1().ok()?.as_ref()))
            }
            (Self::Rsa { n, e, d, p, q, dp, dq, qi }, Algorithm::Rs256) => {
                let members = [n, e, d, p, q, dp, dq, qi].map(|member| decode(member));
                let member = |at: usize| UintRef::new(members[at].as_deref()?).ok();
                // RFC 8017, appendix A.1.2, lists the members in the same order as the JWK.
                let key = pkcs1::RsaPrivateKey {
                    modulus: member(0)?,
                    public_exponent: member(1)?,
                    private_exponent: member(2)?,
                    prime1: member(3)?,
                    prime2: member(4)?,
                    exponent1: member(5)?,
                    exponent2: member(6)?,
                    coefficient: member(7)?,
                    other_prime_infos: None,
                };
                let der = Zeroizing::new(key.to_der().ok()?);
                RsaKeyPair::from_der(&der).ok()?;
                Some(EncodingKey::from_rsa_der(&der))
            }
            _ => None,
        }
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(member: &str) -> Option<Zeroizing<Vec<u8>>> {
    URL_SAFE_NO_PAD.decode(member).ok().map(Zeroizing::new)
}
