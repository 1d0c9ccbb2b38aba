//! What a new password must be.

use std::ops::RangeInclusive;

use auth::{CanonicalName, Email, Fault, FaultKind, Reader, Username};
use zeroize::Zeroizing;

use crate::{Password, common};

/// The variable that raises the least number of characters.
const MIN_CHARS: &str = "PASSWORD_MIN_CHARS";

/// What it may be: never below 8 (OWASP ASVS 6.2.1, NIST SP 800-63B), and never so high that a
/// password of 64 characters is refused (ASVS 6.2.9).
const MIN_CHARS_RANGE: RangeInclusive<usize> = 8..=64;

/// The rules for a password that is being set. Login has none, so that passwords from before a
/// stricter policy still open their accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    min_chars: usize,
}

impl Default for Policy {
    /// At least 8 characters.
    fn default() -> Self {
        Self { min_chars: *MIN_CHARS_RANGE.start() }
    }
}

impl Policy {
    /// Reads `PASSWORD_MIN_CHARS`, 8 when it is not set. `None` when a fault has been noted: no
    /// number, or not from 8 to 64.
    #[must_use]
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let min_chars = reader.optional(MIN_CHARS, Self::default().min_chars)?;
        if MIN_CHARS_RANGE.contains(&min_chars) {
            Some(Self { min_chars })
        } else {
            let (least, most) = MIN_CHARS_RANGE.into_inner();
            reader.fault(MIN_CHARS, format_args!("must be from {least} to {most}"));
            None
        }
    }

    /// Whether the account of these names may have this password; a name that is not known cannot be
    /// compared with. No rule asks for kinds of
    /// characters (ASVS 6.2.5).
    ///
    /// # Errors
    /// Every rule that it breaks, at least one.
    pub fn check(
        &self,
        password: &Password,
        username: Option<&Username>,
        email: Option<&Email>,
    ) -> Result<(), Vec<PolicyViolation>> {
        let text = password.text();
        // Compared as names are, so that another spelling of the name is the name.
        let canonical = CanonicalName::of_unchecked(text);
        let matches_email = |email: &Email| {
            let address = email.canonical().as_str();
            let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
            canonical.as_str() == address || canonical.as_str() == local
        };
        let min_chars = self.min_chars;

        let violations: Vec<_> = [
            (text.chars().count() < min_chars, PolicyViolation::TooShort { min_chars }),
            (common::contains(&Zeroizing::new(text.to_lowercase())), PolicyViolation::TooCommon),
            (
                username.is_some_and(|username| canonical == *username.canonical()),
                PolicyViolation::MatchesUsername,
            ),
            (email.is_some_and(matches_email), PolicyViolation::MatchesEmail),
        ]
        .into_iter()
        .filter_map(|(broken, violation)| broken.then_some(violation))
        .collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

/// A rule that a new password breaks. The texts are for people and never repeat the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyViolation {
    /// Fewer characters (Unicode scalar values of the NFC form) than the policy asks for.
    #[error("must have at least {min_chars} characters")]
    TooShort {
        /// What the policy asks for.
        min_chars: usize,
    },
    /// Lower-cased, it is among the 3,000 most common passwords of at least 8 characters.
    #[error("is among the most common passwords")]
    TooCommon,
    /// It is the account's own name.
    #[error("must not be the username")]
    MatchesUsername,
    /// It is the account's e-mail address, or what stands before the `@`.
    #[error("must not be the e-mail address or a part of it")]
    MatchesEmail,
}

impl PolicyViolation {
    /// The stable code for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too_short",
            Self::TooCommon => "too_common",
            Self::MatchesUsername => "matches_username",
            Self::MatchesEmail => "matches_email",
        }
    }
}

impl Fault for PolicyViolation {
    fn kind(&self) -> FaultKind {
        FaultKind::Invalid
    }
}

#[cfg(test)]
mod tests {
    use auth::Env;

    use super::*;

    fn codes_of(policy: &Policy, password: &str) -> Vec<&'static str> {
        let password = Password::parse(password.to_owned()).unwrap();
        let username = Username::parse("Wintergarten").unwrap();
        let email = Email::parse("Rosa.Straße@example.com").unwrap();
        policy
            .check(&password, Some(&username), Some(&email))
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(PolicyViolation::code)
            .collect()
    }

    fn codes(password: &str) -> Vec<&'static str> {
        codes_of(&Policy::default(), password)
    }

    #[test]
    fn length_is_counted_in_characters_of_the_nfc_form() {
        assert_eq!(codes(""), ["too_short"]);
        assert_eq!(codes("xq7vfk2"), ["too_short"]);
        assert_eq!(codes("xq7vfk2p"), [""; 0]);
        assert_eq!(codes("🔑🔒🔓🗝🔏🔐🔑"), ["too_short"]);
        assert_eq!(codes("🔑🔒🔓🗝🔏🔐🔑🔒"), [""; 0]);
        // Eight given, four composed.
        assert_eq!(codes(&"e\u{301}".repeat(4)), ["too_short"]);
        assert_eq!(codes(&"y".repeat(1_024)), [""; 0]);
    }

    #[test]
    fn nothing_is_asked_of_the_kinds_of_characters() {
        for password in ["qmzpwlxkdjv", "83920174650", "zw ei wo rte", "контрасепшн", "        x"]
        {
            assert_eq!(codes(password), [""; 0], "{password}");
        }
    }

    #[test]
    fn every_common_password_is_refused_in_any_case() {
        let list = include_str!("../data/common-passwords.txt");
        assert_eq!(list.lines().count(), 3_000);
        for password in list.lines() {
            assert_eq!(codes(password), ["too_common"], "{password}");
            assert_eq!(codes(&password.to_uppercase()), ["too_common"], "{password}");
        }
        // In NFC, lower-cased, and not mapped otherwise.
        assert_eq!(codes("ｐａｓｓｗｏｒｄ"), [""; 0]);
        assert_eq!(codes(" password"), [""; 0]);
    }

    #[test]
    fn own_names_are_refused_in_any_spelling() {
        for password in
            ["Wintergarten", "WINTERGARTEN", "ｗｉｎｔｅｒｇａｒｔｅｎ", "winter\u{200b}garten"]
        {
            assert_eq!(codes(password), ["matches_username"], "{password}");
        }
        for password in ["rosa.straße@example.com", "ROSA.STRASSE@EXAMPLE.COM", "rosa.strasse"] {
            assert_eq!(codes(password), ["matches_email"], "{password}");
        }
        for password in ["wintergarten1", "rosa.strasse@", "@example.com", "example.com"] {
            assert_eq!(codes(password), [""; 0], "{password}");
        }
    }

    #[test]
    fn all_violations_are_told() {
        let (username, email) =
            (Username::parse("baseball").unwrap(), Email::parse("baseball@example.com").unwrap());
        let policy = Policy { min_chars: 9 };
        let password = Password::parse("Baseball".into()).unwrap();
        assert_eq!(
            policy.check(&password, Some(&username), Some(&email)),
            Err(vec![
                PolicyViolation::TooShort { min_chars: 9 },
                PolicyViolation::TooCommon,
                PolicyViolation::MatchesUsername,
                PolicyViolation::MatchesEmail,
            ])
        );
        assert_eq!(policy.check(&password, Some(&username), None).unwrap_err().len(), 3);
    }

    #[test]
    fn is_configured_upwards_only() {
        let read = |value| Env::from_iter([(MIN_CHARS, value)]).read(Policy::read);
        assert_eq!(read(""), Ok(Policy::default()));
        assert_eq!(Env::default().read(Policy::read), Ok(Policy { min_chars: 8 }));
        assert_eq!(read("8"), Ok(Policy { min_chars: 8 }));
        assert_eq!(read("64"), Ok(Policy { min_chars: 64 }));
        for value in ["0", "7", "65"] {
            assert_eq!(
                read(value).unwrap_err().to_string(),
                "the configuration is not usable: PASSWORD_MIN_CHARS must be from 8 to 64"
            );
        }
        assert!(read("-8").is_err() && read("eight").is_err());
        assert_eq!(codes_of(&read("20").unwrap(), "nineteen characters"), ["too_short"]);
    }
}
