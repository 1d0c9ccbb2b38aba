//! A password's hash, as it is stored.

use std::fmt;

use argon2::password_hash::phc::{self, Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Params, Version};
use auth::{Fault, FaultKind};

/// Bounds on what a stored hash may ask for, well above what we write, so that a hash that came
/// into the table by another way cannot take a function's memory or time: 64 MiB, ten passes, four
/// lanes.
const MAX_MEMORY_KIB: u32 = 65_536;
const MAX_PASSES: u32 = 10;
const MAX_LANES: u32 = 4;

/// A hash by argon2id in the PHC string format, with its parameters and salt. Opaque: made by
/// [`Hasher::hash`](crate::Hasher::hash) or read from the store, and shown by nothing.
#[derive(Clone)]
pub struct PasswordHash {
    text: String,
    pub(crate) params: Params,
    pub(crate) salt: Salt,
    pub(crate) output: Output,
}

impl PasswordHash {
    /// Reads what [`PasswordHash::expose`] gave to the store.
    ///
    /// # Errors
    /// [`HashError::Stored`]: not a PHC string of argon2id version 19, or one that asks for more
    /// than 64 MiB, 10 passes or 4 lanes.
    pub fn from_stored(text: String) -> Result<Self, HashError> {
        let parsed = phc::PasswordHash::new(&text).map_err(|_| HashError::Stored)?;
        let params = Params::try_from(&parsed).map_err(|_| HashError::Stored)?;
        let usable = parsed.algorithm == ARGON2ID_IDENT
            && parsed.version == Some(Version::V0x13.into())
            && params.m_cost() <= MAX_MEMORY_KIB
            && params.t_cost() <= MAX_PASSES
            && params.p_cost() <= MAX_LANES;
        match (parsed.salt, parsed.hash) {
            (Some(salt), Some(output)) if usable => Ok(Self { text, params, salt, output }),
            _ => Err(HashError::Stored),
        }
    }

    /// Writes a new hash down.
    pub(crate) fn new(params: Params, salt: Salt, output: Output) -> Result<Self, HashError> {
        let text = phc::PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).map_err(|_| HashError::Failed)?,
            salt: Some(salt),
            hash: Some(output),
        }
        .to_string();
        Ok(Self { text, params, salt, output })
    }

    /// The PHC string, for the store alone. Whoever has it can guess at the password offline.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// A password could not be hashed. Never about the password itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// What is stored is no hash that we would have made.
    #[error("the stored password hash is not usable")]
    Stored,
    /// The hash was not computed: the process is ending, or a defect.
    #[error("the password could not be hashed")]
    Failed,
}

impl Fault for HashError {
    fn kind(&self) -> FaultKind {
        FaultKind::Internal
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA\
        $ISO7kkvFzh19GM8qB7patN3C3Y9HHsjlVTfEZ9T600Y";

    #[test]
    fn round_trips_and_is_not_shown() {
        let hash = PasswordHash::from_stored(GOOD.to_owned()).unwrap();
        assert_eq!(hash.expose(), GOOD);
        let again = PasswordHash::new(hash.params.clone(), hash.salt, hash.output).unwrap();
        assert_eq!(again.expose(), GOOD);
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }

    #[test]
    fn refuses_what_we_would_not_have_made() {
        let changed = |from: &str, to: &str| {
            assert!(GOOD.contains(from));
            GOOD.replace(from, to)
        };
        for text in [
            String::new(),
            "hunter22".to_owned(),
            changed("argon2id", "argon2i"),
            changed("argon2id", "argon2d"),
            changed("argon2id", "scrypt"),
            changed("v=19", "v=16"),
            changed("$v=19", ""),
            changed("m=19456", "m=65537"),
            changed("m=19456", "m=4294967295"),
            changed("m=19456", "m=4294967296"),
            changed("m=19456", "m=7"),
            changed("m=19456", "m=-1"),
            changed("t=2", "t=11"),
            changed("t=2", "t=0"),
            changed("p=1", "p=5"),
            changed("p=1", "p=0"),
            changed("p=1", "p=1,x=1"),
            changed("c29tZXNhbHRzb21lc2FsdA", "c29tZQ"),
            changed("$ISO7kkvFzh19GM8qB7patN3C3Y9HHsjlVTfEZ9T600Y", ""),
            changed("ISO7kkvFzh19GM8qB7patN3C3Y9HHsjlVTfEZ9T600Y", "ISO7"),
            format!("{GOOD}$"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
        ] {
            let stored = PasswordHash::from_stored(text.clone());
            assert!(matches!(stored, Err(HashError::Stored)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\$argon2id\\$v=19\\$\\PC{0,40}|\\PC{0,60}", cut in 0..GOOD.len()) {
            let _ = PasswordHash::from_stored(text.clone());
            let _ = PasswordHash::from_stored(format!("{}{text}", &GOOD[..cut]));
        }
    }
}
