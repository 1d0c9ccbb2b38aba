//! Hashes from Flask and Django applications. Imported users keep their passwords: such hashes are accepted, and are
//! replaced at the next login.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{HashError, Password};

/// The maximum number of PBKDF2 iterations: about twice what the frameworks use today, and less than a second of work.
const MAX_ITERATIONS: u32 = 2_500_000;

/// The maximum memory of scrypt, in bytes.
const MAX_SCRYPT_BYTES: u64 = 64 * 1024 * 1024;
/// The maximum number of scrypt lanes.
const MAX_SCRYPT_LANES: u32 = 4;

/// The maximum cost of bcrypt, which takes about a second.
const MAX_BCRYPT_COST: u32 = 14;

/// bcrypt uses only this many bytes of a password, and ignores the rest.
const BCRYPT_BYTES: usize = 72;

/// A hash created by another framework.
#[derive(Clone)]
pub(crate) enum Foreign {
    /// bcrypt: `$2b$12$…`.
    Bcrypt(String),
    /// PBKDF2: Werkzeug's `pbkdf2:sha256:ITERATIONS$SALT$HEX` or Django's
    /// `pbkdf2_sha256$ITERATIONS$SALT$BASE64`.
    Pbkdf2Sha256 { iterations: NonZeroU32, salt: Vec<u8>, hash: Vec<u8> },
    /// scrypt: Werkzeug's `scrypt:N:r:p$SALT$HEX`.
    Scrypt { params: scrypt::Params, salt: Vec<u8>, hash: Vec<u8> },
}

impl Foreign {
    /// Parses a hash, or returns `None` if it has none of these forms.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, HashError>> {
        if text.starts_with("$2a$") || text.starts_with("$2b$") || text.starts_with("$2y$") {
            Some(Self::bcrypt(text))
        } else if let Some(rest) = text.strip_prefix("pbkdf2:sha256:") {
            Some(Self::pbkdf2(rest, |hash| hex::decode(hash).ok()))
        } else if let Some(rest) = text.strip_prefix("pbkdf2_sha256$") {
            Some(Self::pbkdf2(rest, |hash| STANDARD.decode(hash).ok()))
        } else {
            text.strip_prefix("scrypt:").map(Self::scrypt)
        }
    }

    fn bcrypt(text: &str) -> Result<Self, HashError> {
        let parts: bcrypt::HashParts = text.parse().map_err(|_| HashError::Stored)?;
        if parts.get_cost() > MAX_BCRYPT_COST {
            return Err(HashError::TooCostly("bcrypt with a cost above 14"));
        }
        Ok(Self::Bcrypt(text.to_owned()))
    }

    /// Parses `ITERATIONS$SALT$HASH`. The text of the salt is used without decoding.
    fn pbkdf2(rest: &str, decode: impl FnOnce(&str) -> Option<Vec<u8>>) -> Result<Self, HashError> {
        let mut members = rest.split('$');
        let (Some(iterations), Some(salt), Some(hash), None) =
            (members.next(), members.next(), members.next(), members.next())
        else {
            return Err(HashError::Stored);
        };
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| HashError::Stored)?;
        if iterations.get() > MAX_ITERATIONS {
            return Err(HashError::TooCostly("PBKDF2 with more than 2,500,000 iterations"));
        }
        let hash = decode(hash).filter(|hash| hash.len() == 32).ok_or(HashError::Stored)?;
        Ok(Self::Pbkdf2Sha256 { iterations, salt: salt.as_bytes().to_vec(), hash })
    }

    /// Parses `N:r:p$SALT$HEX`. The text of the salt is used without decoding.
    fn scrypt(rest: &str) -> Result<Self, HashError> {
        let mut members = rest.split('$');
        let (Some(costs), Some(salt), Some(hash), None) =
            (members.next(), members.next(), members.next(), members.next())
        else {
            return Err(HashError::Stored);
        };
        let costs: Vec<u32> = costs
            .split(':')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| HashError::Stored)?;
        let [n, r, p] = costs[..] else { return Err(HashError::Stored) };
        if !n.is_power_of_two() || n < 2 {
            return Err(HashError::Stored);
        }
        let bytes = u64::from(n).saturating_mul(128).saturating_mul(r.into());
        if bytes > MAX_SCRYPT_BYTES || p > MAX_SCRYPT_LANES {
            return Err(HashError::TooCostly("scrypt with more than 64 MiB or four lanes"));
        }
        let log_n = u8::try_from(n.ilog2()).map_err(|_| HashError::Stored)?;
        let params = scrypt::Params::new(log_n, r, p).map_err(|_| HashError::Stored)?;
        let hash = hex::decode(hash).map_err(|_| HashError::Stored)?;
        // Werkzeug's hashes have 64 bytes. A hash of fewer than 16 bytes would be too easy to match.
        if !(16..=64).contains(&hash.len()) {
            return Err(HashError::Stored);
        }
        Ok(Self::Scrypt { params, salt: salt.as_bytes().to_vec(), hash })
    }

    /// Whether this is a hash of `password`. The check takes as long as the hash's parameters require.
    pub(crate) fn verify(&self, password: &Password) -> Result<bool, HashError> {
        let password = password.text().as_bytes();
        match self {
            // bcrypt ignores the rest of a longer password, so any continuation would match.
            Self::Bcrypt(_) if password.len() > BCRYPT_BYTES => Ok(false),
            Self::Bcrypt(text) => bcrypt::verify(password, text).map_err(|_| HashError::Failed),
            Self::Pbkdf2Sha256 { iterations, salt, hash } => {
                let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
                Ok(pbkdf2::verify(algorithm, *iterations, salt, password, hash).is_ok())
            }
            Self::Scrypt { params, salt, hash } => {
                let mut output = vec![0; hash.len()];
                scrypt::scrypt(password, salt, params, &mut output)
                    .map_err(|_| HashError::Failed)?;
                Ok(constant_time::verify_slices_are_equal(&output, hash).is_ok())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(text: &str, password: &str) -> Result<bool, HashError> {
        let password = Password::parse(password.to_owned()).unwrap();
        Foreign::parse(text).ok_or(HashError::Stored)??.verify(&password)
    }

    /// The vectors from RFC 7914 §11 and §12, in the frameworks' formats.
    #[test]
    fn published_vectors_are_verified() {
        let scrypt = "scrypt:16:1:1$$77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442\
                      fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906";
        assert_eq!(verify(scrypt, ""), Ok(true));
        assert_eq!(verify(scrypt, "x"), Ok(false));
        let pbkdf2 = "pbkdf2:sha256:1$salt$\
                      55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";
        assert_eq!(verify(pbkdf2, "passwd"), Ok(true));
        assert_eq!(verify(pbkdf2, "password"), Ok(false));
    }

    #[test]
    fn bcrypt_refuses_passwords_that_it_would_truncate() {
        let long = "x".repeat(72);
        let text = bcrypt::hash_with_salt(&long, 4, [7; 16]).unwrap().to_string();
        assert_eq!(verify(&text, &long), Ok(true));
        assert_eq!(verify(&text, &format!("{long}y")), Ok(false));
        assert_eq!(verify(&text, &long[..71]), Ok(false));
    }

    #[test]
    fn a_hash_that_is_too_costly_is_refused_with_the_reason() {
        for (text, reason) in [
            ("pbkdf2:sha256:2500001$s$00", "PBKDF2"),
            ("pbkdf2_sha256$4000000000$s$AA==", "PBKDF2"),
            ("scrypt:131072:8:1$s$00", "scrypt"),
            ("scrypt:16384:8:5$s$00", "scrypt"),
            ("$2b$15$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde", "bcrypt"),
        ] {
            let error = verify(text, "x").unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn text_in_another_form_is_refused() {
        for text in [
            "",
            "plain",
            "pbkdf2:sha256:",
            "pbkdf2:sha256:0$s$00",
            "pbkdf2:sha256:1$s$zz",
            "pbkdf2:sha256:1$s$00$",
            "pbkdf2:sha1:1$s$00",
            "scrypt:3:1:1$s$00000000000000000000000000000000",
            "scrypt:16:1$s$00",
            "$2b$12$short",
            "md5$s$00",
        ] {
            assert_eq!(verify(text, "x"), Err(HashError::Stored), "{text}");
        }
    }
}
