//! Passwords in plaintext.

use std::fmt;
use std::sync::Arc;

use icu_normalizer::ComposingNormalizer;
use process::{Fault, FaultKind};
use zeroize::Zeroizing;

/// The maximum length of a password in bytes of UTF-8, as given and in NFC. It limits the work before hashing
/// (OWASP ASVS 15.2.2).
pub const MAX_PASSWORD_BYTES: usize = 1_024;

/// The maximum factor by which NFC lengthens a UTF-8 text (Unicode Standard Annex #15, §9.1).
const NFC_MAX_EXPANSION: usize = 3;

/// A password: any Unicode text of at most 1,024 bytes, in NFC and otherwise exactly as given. It is never trimmed,
/// mapped or truncated. RFC 8265 §4.2.2 requires NFC, so that a password gives the same text on every keyboard.
///
/// It is wiped from memory when dropped. It does not implement `PartialEq`: passwords are compared by their hashes.
pub struct Password(
    /// The hashing thread shares this memory instead of copying it.
    Arc<Zeroizing<String>>,
);

impl Password {
    /// Parses a password without applying any rules, which is sufficient for a login. [`Policy`](crate::Policy) checks
    /// new passwords. Even an empty password is accepted here, and is wrong at every login.
    ///
    /// # Errors
    /// When the password is longer than 1,024 bytes.
    ///
    /// # Panics
    /// Never: writing into a string does not fail.
    pub fn parse(given: String) -> Result<Self, PasswordError> {
        let given = Zeroizing::new(given);
        if given.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::TooLong);
        }
        let normalizer = ComposingNormalizer::new_nfc();
        if normalizer.is_normalized(&given) {
            return Ok(Self(Arc::new(given)));
        }
        // Reserve all the memory now: a string that grows leaves copies behind.
        let mut composed = Zeroizing::new(String::with_capacity(NFC_MAX_EXPANSION * given.len()));
        normalizer
            .normalize_to(&given, &mut *composed)
            .expect("writing into a string does not fail");
        if composed.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::TooLong);
        }
        Ok(Self(Arc::new(composed)))
    }

    /// The text in NFC.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Shares the password with another thread. It is wiped when the last reference is dropped.
    pub(crate) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The reason why a text cannot be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The text is longer than [`MAX_PASSWORD_BYTES`].
    #[error("is longer than {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
}

impl Fault for PasswordError {
    fn kind(&self) -> FaultKind {
        FaultKind::Invalid
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(given: &str) -> String {
        Password::parse(given.to_owned()).unwrap().text().to_owned()
    }

    #[test]
    fn a_password_is_composed_and_otherwise_unchanged() {
        assert_eq!(text("cafe\u{301}"), "caf\u{e9}");
        // NFC only: no NFKC, no case folding, no trimming.
        for given in ["", "  a b  ", "PaSs", "ﬁ ＡＢＣ ß", "a\0b\r\n", "\u{feff}\u{200b}x", "🔑"]
        {
            assert_eq!(text(given), given);
        }
    }

    #[test]
    fn the_length_is_limited_before_and_after_composition() {
        assert!(Password::parse("x".repeat(1_024)).is_ok());
        assert!(Password::parse("é".repeat(512)).is_ok());
        // U+1D160 has four bytes. In NFC, it becomes three characters of four bytes each.
        assert!(Password::parse("\u{1d160}".repeat(85)).is_ok());
        for given in ["x".repeat(1_025), "\u{1d160}".repeat(86), "x".repeat(10_000_000)] {
            assert!(matches!(Password::parse(given), Err(PasswordError::TooLong)));
        }
        // Too long as given, although it would fit in NFC.
        assert!(Password::parse("e\u{301}".repeat(500)).is_err());
        assert_eq!(PasswordError::TooLong.code(), "too_long");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Password::parse("hunter22".into()).unwrap()), "Password(..)");
    }

    proptest! {
        #[test]
        fn composition_stays_within_the_reserved_memory(given in any::<String>()) {
            if let Ok(password) = Password::parse(given.clone()) {
                prop_assert!(password.text().len() <= NFC_MAX_EXPANSION * given.len());
                prop_assert_eq!(text(password.text()), password.text());
            }
        }
    }
}
