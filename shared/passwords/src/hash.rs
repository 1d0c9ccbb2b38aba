//! The hash of a password.

use std::fmt;

use argon2::password_hash::phc::{self, Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Params, Version};
use identity::StoredHash;
use process::{Fault, FaultKind};

use crate::cost;
use crate::foreign::Foreign;

/// Bounds on the costs of a stored hash: 128 MiB, ten passes, eight lanes. They are well above the costs of new
/// hashes and of Django's hashes, and they keep an imported hash from exhausting a function's memory or time.
const MAX_MEMORY_KIB: u32 = 131_072;
const MAX_PASSES: u32 = 10;
const MAX_LANES: u32 = 8;

/// Describes the formats that [`PasswordHash::from_stored`] parses, for messages.
pub const HASH_FORMATS: &str = "argon2id as a PHC string ($argon2id$v=19$..., also with Django's prefix \
    argon2), bcrypt ($2a$, $2b$ or $2y$), Werkzeug's pbkdf2:sha256:... and scrypt:..., or \
    Django's pbkdf2_sha256$...";

/// A password hash, with its parameters and salt. It comes from [`Hasher::hash`](crate::Hasher::hash) or from the
/// store, and nothing displays it.
///
/// Latchkey's own hashes use argon2id and the PHC string format. Foreign ones are accepted too: bcrypt, and the
/// formats of Werkzeug (Flask) and Django.
#[derive(Clone)]
pub struct PasswordHash {
    stored: StoredHash,
    pub(crate) kind: Kind,
}

#[derive(Clone)]
pub(crate) enum Kind {
    Argon2id(Argon2id),
    Foreign(Foreign),
}

#[derive(Clone)]
pub(crate) struct Argon2id {
    pub(crate) params: Params,
    pub(crate) salt: Salt,
    pub(crate) output: Output,
}

impl PasswordHash {
    /// Parses a stored hash, which comes from [`PasswordHash::into_stored`] or was imported.
    ///
    /// # Errors
    /// [`HashError::Stored`] if this crate cannot verify the hash. [`HashError::TooCostly`] if verifying it would
    /// exhaust a function's memory or time: for argon2id, that means more than 128 MiB, 10 passes or 8 lanes.
    pub fn from_stored(stored: &StoredHash) -> Result<Self, HashError> {
        let text = stored.expose();
        // Django writes the name of the algorithm before the PHC string.
        let phc = text.strip_prefix("argon2").filter(|phc| phc.starts_with("$argon2id$"));
        let text = phc.unwrap_or(text);
        let stored = StoredHash::new(text);
        if let Some(foreign) = Foreign::parse(text) {
            return Ok(Self { kind: Kind::Foreign(foreign?), stored });
        }
        let parsed = phc::PasswordHash::new(text).map_err(|_| HashError::Stored)?;
        let params = Params::try_from(&parsed).map_err(|_| HashError::Stored)?;
        if parsed.algorithm != ARGON2ID_IDENT || parsed.version != Some(Version::V0x13.into()) {
            return Err(HashError::Stored);
        }
        if params.m_cost() > MAX_MEMORY_KIB
            || params.t_cost() > MAX_PASSES
            || params.p_cost() > MAX_LANES
        {
            return Err(HashError::TooCostly(
                "argon2id with more than 128 MiB, 10 passes or 8 lanes",
            ));
        }
        match (parsed.salt, parsed.hash) {
            (Some(salt), Some(output)) => {
                Ok(Self { kind: Kind::Argon2id(Argon2id { params, salt, output }), stored })
            }
            _ => Err(HashError::Stored),
        }
    }

    /// Creates a new hash.
    pub(crate) fn new(params: Params, salt: Salt, output: Output) -> Result<Self, HashError> {
        let text = phc::PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).map_err(|_| HashError::Failed)?,
            salt: Some(salt),
            hash: Some(output),
        }
        .to_string();
        Ok(Self {
            stored: StoredHash::new(text),
            kind: Kind::Argon2id(Argon2id { params, salt, output }),
        })
    }

    /// Whether this hash has the costs of new hashes. If not, the next login replaces it.
    #[must_use]
    pub fn is_current(&self) -> bool {
        match &self.kind {
            Kind::Argon2id(Argon2id { params, output, .. }) => cost::is_current(params, output),
            Kind::Foreign(_) => false,
        }
    }

    /// The stored form.
    #[must_use]
    pub fn into_stored(self) -> StoredHash {
        self.stored
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The reason why a password could not be hashed or verified. It reveals nothing about the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The stored value is not a hash that can be verified.
    #[error("the stored password hash is invalid")]
    Stored,
    /// Verifying the hash would take too much memory or time.
    #[error("the password hash is too expensive to verify: {0}")]
    TooCostly(&'static str),
    /// The hash was not computed, because the process is ending or has a defect.
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
    fn a_hash_round_trips_and_debug_does_not_show_it() {
        let hash = PasswordHash::from_stored(&StoredHash::new(GOOD)).unwrap();
        assert_eq!(hash.stored.expose(), GOOD);
        let Kind::Argon2id(Argon2id { params, salt, output }) = hash.kind.clone() else { panic!() };
        let again = PasswordHash::new(params, salt, output).unwrap();
        assert_eq!(again.stored.expose(), GOOD);
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }

    #[test]
    fn only_hashes_with_the_costs_of_new_ones_are_current() {
        let current =
            |text: &str| PasswordHash::from_stored(&StoredHash::new(text)).unwrap().is_current();
        assert!(current(GOOD));
        for (from, to) in [("m=19456", "m=19455"), ("t=2", "t=3"), ("p=1", "p=2")] {
            assert!(!current(&GOOD.replace(from, to)), "{to}");
        }
        assert!(!current(
            "pbkdf2:sha256:1$s$55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        ));
        // An argon2id hash with Django's prefix is current too.
        assert!(current(&format!("argon2{GOOD}")));
    }

    #[test]
    fn invalid_and_too_costly_hashes_are_refused() {
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
            changed("m=19456", "m=131073"),
            changed("m=19456", "m=4294967295"),
            changed("m=19456", "m=4294967296"),
            changed("m=19456", "m=7"),
            changed("m=19456", "m=-1"),
            changed("t=2", "t=11"),
            changed("t=2", "t=0"),
            changed("p=1", "p=9"),
            changed("p=1", "p=0"),
            changed("p=1", "p=1,x=1"),
            changed("c29tZXNhbHRzb21lc2FsdA", "c29tZQ"),
            changed("$ISO7kkvFzh19GM8qB7patN3C3Y9HHsjlVTfEZ9T600Y", ""),
            changed("ISO7kkvFzh19GM8qB7patN3C3Y9HHsjlVTfEZ9T600Y", "ISO7"),
            format!("{GOOD}$"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
        ] {
            let stored = PasswordHash::from_stored(&StoredHash::new(text.as_str()));
            let refused = matches!(stored, Err(HashError::Stored | HashError::TooCostly(_)));
            assert!(refused, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\$argon2id\\$v=19\\$\\PC{0,40}|\\PC{0,60}", cut in 0..GOOD.len()) {
            let _ = PasswordHash::from_stored(&StoredHash::new(text.as_str()));
            let _ = PasswordHash::from_stored(&StoredHash::new(format!("{}{text}", &GOOD[..cut])));
        }
    }
}
