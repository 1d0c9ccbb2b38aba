//! The rules for new passwords.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use identity::{CanonicalName, Email, Username};
use process::{Fault, FaultKind, Reader, Settings};
use zeroize::Zeroizing;

use crate::common::{self, CommonList};
use crate::list::{List, ListFile};
use crate::{BreachedFilter, ListError, Password};

/// The variable that raises the minimum number of characters.
const MIN_CHARS: &str = "PASSWORD_MIN_CHARS";

/// The allowed range of the minimum: never below 8 (OWASP ASVS 6.2.1, NIST SP 800-63B), and never so high that a
/// password of 64 characters is refused (ASVS 6.2.9).
const MIN_CHARS_RANGE: RangeInclusive<usize> = 8..=64;

/// The variable that names a file with additional common passwords.
const COMMON_FILE: &str = "PASSWORD_COMMON_FILE";

/// The variable that names the filter of breached passwords.
const BREACHED_FILTER: &str = "PASSWORD_BREACHED_FILTER";

/// The rules for setting a password. Login applies no rules, so that passwords older than a stricter policy stay
/// valid.
///
/// The first call to [`Policy::violations`] reads the files, so instances that set no password never read them.
#[derive(Clone, Debug)]
pub struct Policy {
    min_chars: usize,
    common: Option<Arc<ListFile<CommonList>>>,
    breached: Option<Arc<ListFile<BreachedFilter>>>,
}

impl Default for Policy {
    /// Requires at least 8 characters and reads no files.
    fn default() -> Self {
        Self { min_chars: *MIN_CHARS_RANGE.start(), common: None, breached: None }
    }
}

impl Policy {
    /// Lists every rule that the password breaks. If the list is empty, the account with these names may use the
    /// password. No rule requires particular kinds of characters (ASVS 6.2.5).
    ///
    /// The first call reads the configured files, and blocks until they are read.
    ///
    /// # Errors
    /// When a configured file is unusable, so the password cannot be checked.
    pub fn violations(
        &self,
        password: &Password,
        username: Option<&Username>,
        email: Option<&Email>,
    ) -> Result<Vec<PolicyViolation>, ListError> {
        let text = password.text();
        let lower = Zeroizing::new(text.to_lowercase());
        let in_file = listed(self.common.as_deref(), |list| list.contains(&lower))?;
        let is_breached = listed(self.breached.as_deref(), |list| list.contains(password))?;
        // Compare canonical forms, so that every spelling of the name is refused.
        let canonical = CanonicalName::of_unchecked(text);
        let matches_email = |email: &Email| {
            let address = email.canonical().as_str();
            let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
            [address, local].contains(&canonical.as_str())
                // A domain has spellings that differ even when folded, such as U-labels and A-labels.
                || Email::parse(text).is_ok_and(|other| other.canonical() == email.canonical())
        };
        let min_chars = self.min_chars;

        Ok([
            (text.chars().count() < min_chars, PolicyViolation::TooShort { min_chars }),
            (in_file || common::contains(&lower), PolicyViolation::TooCommon),
            (is_breached, PolicyViolation::Breached),
            (
                username.is_some_and(|username| canonical == *username.canonical()),
                PolicyViolation::MatchesUsername,
            ),
            (email.is_some_and(matches_email), PolicyViolation::MatchesEmail),
        ]
        .into_iter()
        .filter_map(|(broken, violation)| broken.then_some(violation))
        .collect())
    }
}

impl Settings for Policy {
    /// Reads `PASSWORD_MIN_CHARS` (8 to 64, default 8) and the file names in `PASSWORD_COMMON_FILE` and
    /// `PASSWORD_BREACHED_FILTER` (default none). Returns `None` if a fault was recorded.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let min_chars = reader.optional(MIN_CHARS, Self::default().min_chars)?;
        if MIN_CHARS_RANGE.contains(&min_chars) {
            let common = file(reader, COMMON_FILE);
            let breached = file(reader, BREACHED_FILTER);
            Some(Self { min_chars, common, breached })
        } else {
            let (least, most) = MIN_CHARS_RANGE.into_inner();
            reader.fault(MIN_CHARS, format_args!("must be from {least} to {most}"));
            None
        }
    }
}

/// Reads an optional variable that names a file. Any text is a valid path, so no fault can occur.
fn file<L: List>(reader: &Reader<'_>, name: &'static str) -> Option<Arc<ListFile<L>>> {
    let path: PathBuf = reader.maybe(name).flatten()?;
    Some(Arc::new(ListFile::new(name, path)))
}

/// Whether the list contains the password. Returns false if no list is configured.
fn listed<L: List>(
    file: Option<&ListFile<L>>,
    contains: impl FnOnce(&L) -> bool,
) -> Result<bool, ListError> {
    file.map_or(Ok(false), |file| file.get().map(contains))
}

/// A rule that a new password breaks. The messages are shown to users and never repeat the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyViolation {
    /// The password has fewer characters (Unicode scalar values in NFC) than required.
    #[error("must have at least {min_chars} characters")]
    TooShort {
        /// The required number of characters.
        min_chars: usize,
    },
    /// The password, in lower case, is in the configured list or among the 3,000 most common passwords of at least 8
    /// characters.
    #[error("is among the most common passwords")]
    TooCommon,
    /// The password is in the configured list of breached passwords, or is one of the rare false positives of
    /// [`BreachedFilter`].
    #[error("is in a list of passwords that have been breached")]
    Breached,
    /// The password is the username.
    #[error("must not be the username")]
    MatchesUsername,
    /// The password is the email address or its local part.
    #[error("must not be the email address or a part of it")]
    MatchesEmail,
}

impl Fault for PolicyViolation {
    fn kind(&self) -> FaultKind {
        FaultKind::Invalid
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too_short",
            Self::TooCommon => "too_common",
            Self::Breached => "breached_password",
            Self::MatchesUsername => "matches_username",
            Self::MatchesEmail => "matches_email",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::fs;
    use std::path::Path;

    use process::Env;
    use tempfile::TempDir;

    use super::*;
    use crate::FilterBuilder;

    fn codes_of(policy: &Policy, password: &str) -> Vec<&'static str> {
        let password = Password::parse(password.to_owned()).unwrap();
        let username = Username::parse("Wintergarten").unwrap();
        let email = Email::parse("Rosa.Straße@example.com").unwrap();
        policy
            .violations(&password, Some(&username), Some(&email))
            .unwrap()
            .into_iter()
            .map(|violation| violation.code())
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
        // Eight characters as given, four in NFC.
        assert_eq!(codes(&"e\u{301}".repeat(4)), ["too_short"]);
        assert_eq!(codes(&"y".repeat(1_024)), [""; 0]);
    }

    #[test]
    fn no_kind_of_character_is_required() {
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
        // Only NFC and lowercasing are applied.
        assert_eq!(codes("ｐａｓｓｗｏｒｄ"), [""; 0]);
        assert_eq!(codes(" password"), [""; 0]);
    }

    #[test]
    fn the_account_names_are_refused_in_any_spelling() {
        for password in
            ["Wintergarten", "WINTERGARTEN", "ｗｉｎｔｅｒｇａｒｔｅｎ", "winter\u{200b}garten"]
        {
            assert_eq!(codes(password), ["matches_username"], "{password}");
        }
        for password in ["rosa.straße@example.com", "ROSA.STRASSE@EXAMPLE.COM", "rosa.strasse"] {
            assert_eq!(codes(password), ["matches_email"], "{password}");
        }
        let of_domain = |password: &str| {
            let email = Email::parse("Rosa@Bücher.example").unwrap();
            let password = Password::parse(password.to_owned()).unwrap();
            Policy::default().violations(&password, None, Some(&email)).unwrap()
        };
        for password in
            ["rosa@bücher.example", "ROSA@BU\u{308}CHER.example", "rosa@xn--bcher-kva.example"]
        {
            assert_eq!(of_domain(password), [PolicyViolation::MatchesEmail], "{password}");
        }
        assert_eq!(of_domain("rosa@bucher.example"), []);
        for password in ["wintergarten1", "rosa.strasse@", "@example.com", "example.com"] {
            assert_eq!(codes(password), [""; 0], "{password}");
        }
    }

    #[test]
    fn all_violations_are_reported() {
        let (username, email) =
            (Username::parse("baseball").unwrap(), Email::parse("baseball@example.com").unwrap());
        let policy = Policy { min_chars: 9, ..Policy::default() };
        let password = Password::parse("Baseball".into()).unwrap();
        assert_eq!(
            policy.violations(&password, Some(&username), Some(&email)).unwrap(),
            [
                PolicyViolation::TooShort { min_chars: 9 },
                PolicyViolation::TooCommon,
                PolicyViolation::MatchesUsername,
                PolicyViolation::MatchesEmail,
            ]
        );
        assert_eq!(policy.violations(&password, Some(&username), None).unwrap().len(), 3);
    }

    #[test]
    fn the_minimum_length_can_only_be_raised() {
        let read = |value| Env::from_iter([(MIN_CHARS, value)]).settings::<Policy>();
        assert_eq!(Env::default().settings::<Policy>().unwrap().min_chars, 8);
        for (value, min_chars) in [("", 8), ("8", 8), ("64", 64)] {
            assert_eq!(read(value).unwrap().min_chars, min_chars);
        }
        for value in ["0", "7", "65"] {
            assert_eq!(
                read(value).unwrap_err().to_string(),
                "invalid configuration: PASSWORD_MIN_CHARS must be from 8 to 64"
            );
        }
        assert!(read("-8").is_err() && read("eight").is_err());
        assert_eq!(codes_of(&read("20").unwrap(), "nineteen characters"), ["too_short"]);
    }

    fn with_files(common: &Path, breached: &Path) -> Policy {
        let path = |path: &Path| path.display().to_string();
        let variables = [(COMMON_FILE, path(common)), (BREACHED_FILTER, path(breached))];
        Env::from_iter(variables).settings::<Policy>().unwrap()
    }

    fn write_filter(path: &Path, words: &[&str]) {
        let mut builder = FilterBuilder::new(0);
        for word in words {
            builder.add(word.as_bytes()).unwrap();
        }
        let mut file = fs::File::create(path).unwrap();
        builder.build().unwrap().write(&mut file).unwrap();
    }

    #[test]
    fn listed_passwords_are_refused() {
        let folder = TempDir::new().unwrap();
        let (common, breached) = (folder.path().join("common"), folder.path().join("breached"));
        fs::write(&common, "Sommerregen\nNieselregen\n").unwrap();
        write_filter(&breached, &["Nieselregen", "Cafe\u{301} am See", "password1", "kurz"]);
        let policy = with_files(&common, &breached);
        // Common passwords match in any case, breached ones exactly.
        for (password, expected) in [
            ("SOMMERREGEN", &["too_common"][..]),
            ("Nieselregen", &["too_common", "breached_password"]),
            ("nieselregen", &["too_common"]),
            ("Caf\u{e9} am See", &["breached_password"]),
            ("caf\u{e9} am See", &[]),
            ("password1", &["too_common", "breached_password"]),
            ("password2", &["too_common"]),
            ("kurz", &["too_short", "breached_password"]),
            ("Landregen", &[]),
        ] {
            assert_eq!(codes_of(&policy, password), expected, "{password}");
        }
    }

    #[test]
    fn only_the_first_check_reads_the_files() {
        let folder = TempDir::new().unwrap();
        let (common, breached) = (folder.path().join("common"), folder.path().join("breached"));
        let policy = with_files(&common, &breached);
        // The files are created only now, so creating the policy has not read them.
        fs::write(&common, "Sommerregen").unwrap();
        write_filter(&breached, &["Nieselregen"]);
        let same = policy.clone();
        assert_eq!(codes_of(&policy, "Nieselregen"), ["breached_password"]);
        // The files no longer exist, and neither policy reads them again.
        fs::remove_file(&common).unwrap();
        fs::remove_file(&breached).unwrap();
        for policy in [&policy, &same] {
            assert_eq!(codes_of(policy, "Nieselregen"), ["breached_password"]);
            assert_eq!(codes_of(policy, "Sommerregen"), ["too_common"]);
        }
    }

    #[test]
    fn an_unusable_file_fails_every_check_until_it_is_repaired() {
        let folder = TempDir::new().unwrap();
        let (common, breached) = (folder.path().join("common"), folder.path().join("breached"));
        let policy = with_files(&common, &breached);
        let password = Password::parse("Landregen".to_owned()).unwrap();
        let error = || {
            let error = policy.violations(&password, None, None).unwrap_err();
            assert_eq!(error.kind(), FaultKind::Internal);
            format!("{error}: {}", error.source().unwrap())
        };
        assert_eq!(
            error(),
            "the file named by PASSWORD_COMMON_FILE is unusable: it cannot be read"
        );
        fs::write(&common, "Sommerregen").unwrap();
        assert_eq!(
            error(),
            "the file named by PASSWORD_BREACHED_FILTER is unusable: it cannot be read"
        );
        fs::write(&breached, "x".repeat(200)).unwrap();
        assert!(error().contains("PASSWORD_BREACHED_FILTER is unusable: it is not a filter"));
        write_filter(&breached, &["Nieselregen"]);
        assert_eq!(policy.violations(&password, None, None).unwrap(), []);
    }
}
