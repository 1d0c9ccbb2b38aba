//! E-mail addresses.

use std::fmt;
use std::str::FromStr;

use email_address::{EmailAddress, Options};
use icu_normalizer::ComposingNormalizer;
use serde::{Deserialize, Serialize};

use super::hidden::is_hidden;
use super::{CanonicalName, NameError};

/// How many octets an address has at most: the path of 256 octets that RFC 5321 §4.5.3.1.3 allows,
/// without its angle brackets.
const MAX_OCTETS: usize = 254;

/// A bare `addr-spec` (RFC 5322 §3.4.1, RFC 6531 §3.3) with a dotted domain: no display name, no
/// comment, no address literal.
const OPTIONS: Options =
    Options { minimum_sub_domains: 2, allow_domain_literal: false, allow_display_text: false };

/// An e-mail address. Kept as it was given, since only its own server knows what its letters'
/// case means; unique by [`Email::canonical`].
///
/// Personal data: [`fmt::Debug`] does not show it, and there is no [`fmt::Display`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Email {
    given: String,
    canonical: CanonicalName,
}

impl Email {
    /// Parses an address as somebody gives it, or as it was stored.
    ///
    /// # Errors
    /// The first rule that the address breaks.
    pub fn parse(given: &str) -> Result<Self, NameError> {
        // Before all else, so that no later step sees a long text.
        if given.len() > MAX_OCTETS {
            return Err(NameError::TooLong);
        }
        if given.chars().any(is_hidden) {
            return Err(NameError::InvalidCharacters);
        }
        let canonical = CanonicalName::of_unchecked(given);
        if canonical.as_str().len() > MAX_OCTETS {
            return Err(NameError::TooLong);
        }
        // Composed, since the parser knows letters and not the marks beside them. The canonical
        // form has to be an address as well: `＠` and `（` are no letters there.
        for form in [&*ComposingNormalizer::new_nfc().normalize(given), canonical.as_str()] {
            EmailAddress::parse_with_options(form, OPTIONS)
                .map_err(|_| NameError::InvalidFormat)?;
        }
        if is_quoted_needlessly(canonical.as_str()) {
            return Err(NameError::InvalidFormat);
        }
        Ok(Self { given: given.to_owned(), canonical })
    }

    /// The address as it was given, to write to. Never to be logged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// The form by which the address is unique.
    #[must_use]
    pub fn canonical(&self) -> &CanonicalName {
        &self.canonical
    }
}

/// Whether the local part is quoted where it need not be. `"alice"@` and `alice@` are one mailbox
/// (RFC 5321 §4.1.2), so only the plain spelling is taken.
fn is_quoted_needlessly(address: &str) -> bool {
    let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
    let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            let Some(escaped @ ('"' | '\\')) = chars.next() else {
                return true;
            };
            plain.push(escaped);
        } else {
            plain.push(c);
        }
    }
    EmailAddress::is_valid_local_part(&plain)
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(..)")
    }
}

impl FromStr for Email {
    type Err = NameError;

    fn from_str(given: &str) -> Result<Self, NameError> {
        Self::parse(given)
    }
}

impl TryFrom<String> for Email {
    type Error = NameError;

    fn try_from(given: String) -> Result<Self, NameError> {
        Self::parse(&given)
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.given
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_addresses() {
        for address in [
            "test@example.com",
            "Test.User+tag@Mail.Example.co.uk",
            "o'neil@example.com",
            "x@1.example",
            "josé@example.com",
            "jose\u{301}@example.com",
            "用户@例子.公司",
            "\"two words\"@example.com",
            "\"a@b\"@example.com",
            "\"say \\\"hi\\\"\"@example.com",
        ] {
            let email = Email::parse(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            assert_eq!(email.as_str(), address);
        }
    }

    #[test]
    fn spellings_are_one() {
        for (one, other) in [
            ("Test@Example.COM", "test@example.com"),
            ("JOS\u{c9}@example.com", "jose\u{301}@example.com"),
            ("ｔｅｓｔ@example.com", "test@example.com"),
            ("straße@example.com", "STRASSE@example.com"),
            ("\u{212a}@example.com", "k@example.com"),
        ] {
            let (one, other) = (Email::parse(one).unwrap(), Email::parse(other).unwrap());
            assert_eq!(one.canonical(), other.canonical());
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for address in [
            "",
            "@",
            "test",
            "@example.com",
            "test@",
            "test@localhost",
            "test@example..com",
            "test@.example.com",
            "test@example.com.",
            "test@-example.com",
            ".test@example.com",
            "te..st@example.com",
            "two words@example.com",
            "a@b@example.com",
            "a＠b@example.com",
            "test＠example.com",
            "a（b@example.com",
            "Test <test@example.com>",
            "<test@example.com>",
            "test(comment)@example.com",
            "test@[127.0.0.1]",
            "test@example.com, other@example.com",
            " test@example.com",
            "test@example.com ",
            "\"test\"@example.com",
            "\"te\\st\"@example.com",
            "\"two\\ words\"@example.com",
            "\"\"@example.com",
            "\"@example.com",
        ] {
            assert_eq!(Email::parse(address), Err(NameError::InvalidFormat), "{address:?}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_seen() {
        for hidden in [
            '\0',
            '\r',
            '\n',
            '\t',
            '\u{7f}',
            '\u{85}',
            '\u{a0}',
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{e0041}',
            '\u{e000}',
        ] {
            for address in [
                format!("te{hidden}st@example.com"),
                format!("test@exam{hidden}ple.com"),
                format!("test@example.com{hidden}"),
                format!("\"te{hidden}st\"@example.com"),
            ] {
                assert_eq!(
                    Email::parse(&address),
                    Err(NameError::InvalidCharacters),
                    "{address:?}"
                );
            }
        }
    }

    #[test]
    fn counts_octets() {
        let domain = [&*"a".repeat(63), &*"b".repeat(63), &*"c".repeat(61)].join(".");
        let address = |local: usize| format!("{}@{domain}", "x".repeat(local));
        assert_eq!(address(64).len(), MAX_OCTETS);
        assert!(Email::parse(&address(64)).is_ok());
        assert_eq!(Email::parse(&address(65)), Err(NameError::TooLong));
        // U+023A is two octets and three when folded: 197 octets here, 260 there.
        let label = "\u{23a}".repeat(21);
        let grows = format!("{}@{label}.{label}.{label}.com", "x".repeat(64));
        assert_eq!(Email::parse(&grows), Err(NameError::TooLong));
        assert!(Email::parse(&grows[6..]).is_ok());
        assert_eq!(Email::parse(&"@".repeat(10_000_000)), Err(NameError::TooLong));
    }

    #[test]
    fn is_never_shown() {
        let email = Email::parse("test@example.com").unwrap();
        assert_eq!(format!("{email:?} {:?}", email.canonical()), "Email(..) CanonicalName(..)");
        assert_eq!(serde_json::to_string(&email).unwrap(), r#""test@example.com""#);
        let error = serde_json::from_str::<Email>(r#""secret@localhost""#).unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-ZßİéΣａ-ｚ\u{300}-\u{345}.+\"\\\\]{1,20}@[a-zA-Zß.-]{1,20}\\.[a-z]{2,4}",
            "\\PC{0,40}@\\PC{0,40}\\.com",
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn parses_again_and_login_finds_it(text in texts()) {
            if let Ok(email) = Email::parse(&text) {
                let again = Email::parse(email.as_str());
                prop_assert_eq!(again.as_ref(), Ok(&email));
                prop_assert_eq!(&CanonicalName::of_unchecked(&text), email.canonical());
                prop_assert!(Email::parse(email.canonical().as_str()).is_ok());
            }
        }
    }
}
