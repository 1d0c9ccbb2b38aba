//! The signers for `jsonwebtoken`, based on `aws-lc-rs`.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use jsonwebtoken::crypto::JwtSigner;
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey};
use signature::{Error, Signer};

/// Creates a signer. [`auth::crypto::enable_signing`] takes this function as its hook.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "jsonwebtoken defines the type of the function"
)]
pub(crate) fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let bytes = key.as_bytes();
    let pair = match (algorithm, key.family()) {
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            Ed25519KeyPair::from_pkcs8(bytes).ok().map(Pair::Ed25519)
        }
        (Algorithm::ES256, AlgorithmFamily::Ec) => {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes).ok().map(Pair::P256)
        }
        (Algorithm::RS256, AlgorithmFamily::Rsa) => RsaKeyPair::from_der(bytes).ok().map(Pair::Rsa),
        _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    };
    let pair = pair.ok_or_else(|| new_error(ErrorKind::InvalidKeyFormat))?;
    Ok(Box::new(PrivateKey { algorithm: *algorithm, pair }))
}

/// Signs with a private key and its algorithm.
struct PrivateKey {
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Signer<Vec<u8>> for PrivateKey {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair) => {
                let signature =
                    pair.sign(&SystemRandom::new(), message).map_err(|_| Error::new())?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| Error::new())?;
                Ok(signature)
            }
        }
    }
}

impl JwtSigner for PrivateKey {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
