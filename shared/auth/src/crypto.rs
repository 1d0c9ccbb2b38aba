//! The cryptographic back end of `jsonwebtoken`: verification for everybody, signing for whoever
//! brings it.
//!
//! `jsonwebtoken` has one provider per process, and its own back ends link every signer. Ours
//! verifies by `aws-lc-rs`, which the AWS SDK links anyway, and asks a hook for signers, which only
//! the crate `issuer` sets. So a function that verifies links no signing code, and a process that
//! does both (a test) does not depend on which of the two came first.

use std::sync::OnceLock;

use aws_lc_rs::signature::{ED25519, VerificationAlgorithm};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use signature::{Error, Verifier};

/// Makes a signer for a key.
pub type SignerFactory = fn(&Algorithm, &EncodingKey) -> Result<Box<dyn JwtSigner>>;

static SIGNERS: OnceLock<SignerFactory> = OnceLock::new();

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory, verifier_factory, key_utils: KeyUtils::new_unimplemented() };

/// Makes this the provider of the process. Again is harmless.
pub fn install() {
    // An error says that there is a provider already: ours, from an earlier call. Nothing else in
    // this workspace installs one.
    let _ = PROVIDER.install_default();
}

/// Lets this process sign. For the crate `issuer` alone.
pub fn enable_signing(signers: SignerFactory) {
    install();
    // Set already: by the same caller, with the same value.
    let _ = SIGNERS.set(signers);
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is jsonwebtoken's")]
fn signer_factory(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    match SIGNERS.get() {
        Some(signers) => signers(algorithm, key),
        None => Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is jsonwebtoken's")]
fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    match algorithm {
        Algorithm::EdDSA if key.family() == jsonwebtoken::AlgorithmFamily::Ed => {
            Ok(Box::new(Ed25519(key.try_get_as_bytes()?.to_vec())))
        }
        _ => Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    }
}

/// Verifies by an Ed25519 public key (RFC 8032).
struct Ed25519(Vec<u8>);

impl Verifier<Vec<u8>> for Ed25519 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        ED25519.verify_sig(&self.0, message, signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for Ed25519 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}
