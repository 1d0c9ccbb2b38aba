//! The cryptographic back end of `jsonwebtoken`: verification for every process, and signing for those that
//! enable it.
//!
//! `jsonwebtoken` uses one back end per process, and the back ends that it ships link the code of every signer. This
//! one verifies with `aws-lc-rs`, which the AWS SDK links anyway, and gets signers from a hook, which only the crate
//! `issuer` sets. So a function that only verifies links no signing code. A process that verifies and signs, such as
//! a test, may call [`install`] and [`enable_signing`] in either order.

use std::sync::{Once, OnceLock};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    VerificationAlgorithm,
};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use signature::{Error, Verifier};

/// Creates a signer for a key.
pub type SignerFactory = fn(&Algorithm, &EncodingKey) -> Result<Box<dyn JwtSigner>>;

static SIGNERS: OnceLock<SignerFactory> = OnceLock::new();

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory, verifier_factory, key_utils: KeyUtils::new_unimplemented() };

/// Installs this back end for the process. Idempotent.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // This fails only if a back end is already installed, and nothing else in this workspace installs one.
        let _ = PROVIDER.install_default();
    });
}

/// Enables signing in this process. Only the crate `issuer` may call this.
pub fn enable_signing(signers: SignerFactory) {
    install();
    // An error means that `issuer` has already set the same value.
    let _ = SIGNERS.set(signers);
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "jsonwebtoken defines the type of the function"
)]
fn signer_factory(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    match SIGNERS.get() {
        Some(signers) => signers(algorithm, key),
        None => Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "jsonwebtoken defines the type of the function"
)]
fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let unsupported = || new_error(ErrorKind::UnsupportedAlgorithm);
    let verifier = match (algorithm, key.family()) {
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => Kind::Ed25519(key.try_get_as_bytes()?.to_vec()),
        (Algorithm::ES256, AlgorithmFamily::Ec) => Kind::P256(key.try_get_as_bytes()?.to_vec()),
        (Algorithm::RS256, AlgorithmFamily::Rsa) => match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                Kind::Rsa(RsaPublicKeyComponents { n: n.clone(), e: e.clone() })
            }
            DecodingKeyKind::SecretOrDer(_) => return Err(unsupported()),
        },
        _ => return Err(unsupported()),
    };
    Ok(Box::new(PublicKeyVerifier { algorithm: *algorithm, key: verifier }))
}

/// Verifies signatures with a public key and its algorithm.
struct PublicKeyVerifier {
    algorithm: Algorithm,
    key: Kind,
}

enum Kind {
    /// The 32 bytes of the public key (RFC 8032 §5.1.5).
    Ed25519(Vec<u8>),
    /// An uncompressed point (SEC 1, 2.3.3). Signatures have a fixed length (RFC 7518 §3.4).
    P256(Vec<u8>),
    /// The modulus and the exponent (RFC 7518 §6.3.1).
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

impl Verifier<Vec<u8>> for PublicKeyVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match &self.key {
            Kind::Ed25519(key) => ED25519.verify_sig(key, message, signature),
            Kind::P256(key) => ECDSA_P256_SHA256_FIXED.verify_sig(key, message, signature),
            Kind::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for PublicKeyVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
