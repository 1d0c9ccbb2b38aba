//! Email addresses.

use std::fmt;
use std::str::FromStr;

use email_address::EmailAddress;
use icu_normalizer::ComposingNormalizer;
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Serialize};

use super::hidden::{is_hidden, is_joiner};
use super::{CanonicalName, NameError, canonical};

/// The maximum length of an address, in octets: the 256 octets of a path (RFC 5321 §4.5.3.1.3) without its
/// angle brackets.
pub(super) const MAX_OCTETS: usize = 254;

/// The maximum length of the local part, in octets (RFC 5321 §4.5.3.1.1).
const MAX_LOCAL_OCTETS: usize = 64;

/// An email address: an `addr-spec` whose local part may be in any script (RFC 6531 §3.3) and whose
/// domain is a dotted IDNA2008 name. Display names, comments and address literals are refused.
///
/// It keeps its original spelling, because only the receiving server knows whether case matters in a local
/// part. Two addresses belong to the same account if their [`Email::canonical`] forms are equal.
///
/// Personal data: [`fmt::Debug`] does not show it, and there is no [`fmt::Display`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Email {
    given: String,
    canonical: CanonicalName,
}

impl Email {
    /// Parses an address as a person enters it, or as stored.
    ///
    /// # Errors
    /// When the address is invalid. The error names the first rule that the address breaks.
    pub fn parse(given: &str) -> Result<Self, NameError> {
        // Checked first, so that no later step processes a long text. The limit is generous, because a valid
        // address that is decomposed or contains U-labels may have more octets than the forms measured below.
        if given.len() > canonical::MAX_OCTETS {
            return Err(NameError::TooLong);
        }
        let too_long = given.len() > MAX_OCTETS;
        Self::parse_bounded(given)
            .map_err(|error| if too_long { NameError::TooLong } else { error })
    }

    fn parse_bounded(given: &str) -> Result<Self, NameError> {
        let (local, domain) = given.rsplit_once('@').unwrap_or((given, ""));
        // IDNA2008 requires joiners in some words and refuses them elsewhere.
        let hidden = |c: char| is_hidden(c) && !is_joiner(c);
        if local.chars().any(is_hidden) || domain.chars().any(hidden) {
            return Err(NameError::InvalidCharacters);
        }
        let sent = composed(local);
        if sent.len() > MAX_LOCAL_OCTETS {
            return Err(NameError::TooLong);
        }
        let folded = CanonicalName::of_unchecked(local);
        // The folded form must be a local part too: `＠` and `（` are accepted like letters but fold to `@` and `(`.
        if !is_local_part(&sent) || !is_local_part(folded.as_str()) {
            return Err(NameError::InvalidFormat);
        }
        let domain = a_labels(domain)?;
        let canonical = CanonicalName::of_address(&folded, &domain);
        let email = Self { given: given.to_owned(), canonical };
        if email.canonical.as_str().len() > MAX_OCTETS || email.deliverable().len() > MAX_OCTETS {
            return Err(NameError::TooLong);
        }
        Ok(email)
    }

    /// The address as given, for display. Never log it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// The address for a mail server: the local part in NFC (RFC 6532 §3.1), the domain in A-labels, because a
    /// server without SMTPUTF8 accepts no other form. Never log it.
    #[must_use]
    pub fn deliverable(&self) -> String {
        let local = self.given.rsplit_once('@').map_or("", |(local, _)| local);
        format!("{}@{}", composed(local), self.domain())
    }

    /// The domain in A-labels.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.canonical.as_str().rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// The form that must be unique: the `NFKC_Casefold` form of the local part and the A-labels of the domain.
    #[must_use]
    pub fn canonical(&self) -> &CanonicalName {
        &self.canonical
    }
}

fn composed(text: &str) -> String {
    ComposingNormalizer::new_nfc().normalize(text).into_owned()
}

/// The domain in lower-case A-labels (UTS 46 `ToASCII`, non-transitional, `UseSTD3ASCIIRules`,
/// `VerifyDnsLength`).
///
/// Hyphens are checked only at the two ends of a label. `CheckHyphens` would also refuse `--` in the third
/// and fourth position, but registries have delegated such ASCII names. Symbols that UTS 46 maps to
/// themselves, such as emoji, are accepted for the same reason.
fn a_labels(domain: &str) -> Result<String, NameError> {
    let result = Uts46::new().to_ascii(
        domain.as_bytes(),
        AsciiDenyList::STD3,
        Hyphens::CheckFirstLast,
        DnsLength::Verify,
    );
    match result {
        Ok(ascii) if ascii.contains('.') => Ok(ascii.into_owned()),
        Err(_) if domain.contains(is_joiner) => Err(NameError::InvalidCharacters),
        Ok(_) | Err(_) => Err(NameError::InvalidFormat),
    }
}

/// Whether `text` is a `Local-part` (RFC 5321 §4.1.2) without needless quotes. `"alice"@` and `alice@` are the
/// same mailbox, so only the unquoted spelling is accepted.
fn is_local_part(text: &str) -> bool {
    // RFC 6531 §3.3 adds every non-ASCII character to `atext` and `qtextSMTP`. Both contain letters, so `x` can
    // stand in for any of them.
    let ascii: String = text.chars().map(|c| if c.is_ascii() { c } else { 'x' }).collect();
    EmailAddress::is_valid_local_part(&ascii) && !is_quoted_needlessly(&ascii)
}

fn is_quoted_needlessly(local: &str) -> bool {
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
    use icu_normalizer::DecomposingNormalizer;
    use proptest::prelude::*;

    use super::*;

    fn canonical(address: &str) -> String {
        let email = Email::parse(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        email.canonical().as_str().to_owned()
    }

    #[test]
    fn valid_addresses_are_accepted() {
        for address in [
            "test@example.com",
            "Test.User+tag@Mail.Example.co.uk",
            "o'neil@example.com",
            "x@1.example",
            "x@r3---sn-abc.example",
            "josé@example.com",
            "jose\u{301}@example.com",
            "İx@example.com",
            "用户@例子.公司",
            "用户@例子。公司",
            "info@हिन्दी.भारत",
            "सम्पर्क@हिन्दी.भारत",
            "a@example.భారత్",
            "ผู้ใช้@ตัวอย่าง.ไทย",
            "மின்னஞ்சல்@உதாரணம்.இந்தியா",
            "משתמש@דוגמה.קום",
            "بريد@مثال.إختبار",
            "Δοκιμή@παράδειγμα.δοκιμή",
            "x@i❤.example",
            "\"two words\"@example.com",
            "\"a@b\"@example.com",
            "\"say \\\"hi\\\"\"@example.com",
            "\"हिन्दी शब्द\"@example.com",
            // IDNA2008 requires the joiner here.
            "a@نامه\u{200c}ای.example",
        ] {
            let email = Email::parse(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            assert_eq!(email.as_str(), address);
        }
    }

    #[test]
    fn all_spellings_have_one_canonical_form() {
        for (one, other) in [
            ("Test@Example.COM", "test@example.com"),
            ("JOS\u{c9}@example.com", "jose\u{301}@example.com"),
            ("ｔｅｓｔ@example.com", "test@example.com"),
            ("straße@example.com", "STRASSE@example.com"),
            ("\u{212a}@example.com", "k@example.com"),
            ("İx@example.com", "i\u{307}x@example.com"),
            ("user@bücher.de", "user@xn--bcher-kva.de"),
            ("user@BÜCHER.de", "USER@XN--BCHER-KVA.DE"),
            ("user@bu\u{308}cher.de", "user@bücher.de"),
            ("user@ｂｕｃｈ.de", "user@buch.de"),
            ("user@straße.example", "user@xn--strae-oqa.example"),
            ("user@STRAẞE.example", "user@straße.example"),
            ("用户@例子。公司", "用户@例子.公司"),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one} {other}");
        }
    }

    /// IDNA2003 mapped these letters to others; IDNA2008 allows domains with them.
    #[test]
    fn domains_that_differ_in_idna2008_are_different_addresses() {
        for (one, other) in [
            ("a@straße.example", "a@strasse.example"),
            ("a@βόλος.example", "a@βόλοσ.example"),
            ("a@نامه\u{200c}ای.example", "a@نامهای.example"),
            ("a@bücher.example", "a@bucher.example"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one} {other}");
        }
    }

    #[test]
    fn the_deliverable_domain_is_in_a_labels() {
        for (address, deliverable) in [
            ("Test@Example.COM", "Test@example.com"),
            ("user@bücher.de", "user@xn--bcher-kva.de"),
            ("jose\u{301}@BÜCHER.de", "jos\u{e9}@xn--bcher-kva.de"),
            ("info@हिन्दी.भारत", "info@xn--j2bd4cyah0f.xn--h2brj9c"),
            ("\"a@b\"@例子.公司", "\"a@b\"@xn--fsqu00a.xn--55qx5d"),
        ] {
            let email = Email::parse(address).unwrap();
            assert_eq!(email.deliverable(), deliverable);
            assert!(email.domain().is_ascii());
        }
    }

    #[test]
    fn malformed_addresses_are_refused() {
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
            "test@example-.com",
            "test@exam_ple.com",
            "test@exam!ple.com",
            "test@exam ple.com",
            "test@xn--.example",
            "test@xn--999999999.example",
            "test@\u{301}a.example",
            ".test@example.com",
            "test.@example.com",
            "te..st@example.com",
            "te．．st@example.com",
            "two words@example.com",
            "a@b@example.com",
            "a＠b@example.com",
            "test＠example.com",
            "test@example＠a.com",
            "a（b@example.com",
            "Test <test@example.com>",
            "<test@example.com>",
            "test(comment)@example.com",
            "test@[127.0.0.1]",
            "test@[IPv6:::1]",
            "test@example.com, other@example.com",
            " test@example.com",
            "test@example.com ",
            "\"test\"@example.com",
            "\"तुम\"@example.com",
            "＂test＂@example.com",
            "\"te\\st\"@example.com",
            "\"two\\ words\"@example.com",
            "\"\"@example.com",
            "\"@example.com",
        ] {
            assert_eq!(Email::parse(address), Err(NameError::InvalidFormat), "{address:?}");
        }
    }

    #[test]
    fn invisible_characters_are_refused() {
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
    fn lengths_are_limited_in_octets() {
        let domain = [&*"a".repeat(63), &*"b".repeat(63), &*"c".repeat(61)].join(".");
        let address = |local: usize| format!("{}@{domain}", "x".repeat(local));
        assert_eq!(address(64).len(), MAX_OCTETS);
        assert!(Email::parse(&address(64)).is_ok());
        assert_eq!(Email::parse(&address(65)), Err(NameError::TooLong));
        let local = |c: &str, times: usize| Email::parse(&format!("{}@a.example", c.repeat(times)));
        assert!(local("x", 64).is_ok() && local("é", 32).is_ok() && local("न", 21).is_ok());
        for (c, times) in [("x", 65), ("é", 33), ("न", 22)] {
            assert_eq!(local(c, times), Err(NameError::TooLong), "{c}");
        }
        // The composed form is measured, however the address is spelled.
        for (composed, decomposed) in [("\u{e9}", "e\u{301}"), ("\u{1d8}", "u\u{308}\u{301}")] {
            let [composed, decomposed] =
                [composed, decomposed].map(|c| format!("{}@{domain}", c.repeat(32)));
            assert_eq!((composed.len(), decomposed.len() > MAX_OCTETS), (MAX_OCTETS, true));
            let parsed = Email::parse(&decomposed).unwrap();
            assert_eq!(parsed.canonical(), Email::parse(&composed).unwrap().canonical());
            let longer = decomposed.replace('@', "e\u{301}@");
            assert_eq!(Email::parse(&longer), Err(NameError::TooLong));
        }
        // The limit applies to the A-labels too: 245 octets as given become 645.
        let grows = format!("x@{}com", "é.".repeat(80));
        assert!(grows.len() < MAX_OCTETS && Email::parse(&grows).is_err());
        assert_eq!(Email::parse(&"@".repeat(10_000_000)), Err(NameError::TooLong));
    }

    #[test]
    fn debug_and_errors_do_not_show_the_address() {
        let email = Email::parse("test@example.com").unwrap();
        assert_eq!(format!("{email:?} {:?}", email.canonical()), "Email(..) CanonicalName(..)");
        assert_eq!(serde_json::to_string(&email).unwrap(), r#""test@example.com""#);
        let error = serde_json::from_str::<Email>(r#""secret@localhost""#).unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-ZßİéΣａ-ｚ\u{300}-\u{345}.+\"\\\\]{1,20}@[a-zA-Zß.-]{1,20}\\.[a-z]{2,4}",
            "[\\p{L}\\p{M}\\p{N}]{1,12}@[\\p{L}\\p{M}\\p{N}]{1,8}\\.[\\p{L}\\p{M}]{1,8}",
            "[a-zअ-ह\u{93e}-\u{94d}ก-ฮ\u{e31}-\u{e3a}]{1,10}@[a-zäöüßअ-हก-ฮ。.-]{1,12}\\.[a-zเ-ๆ]{2,4}",
            "\\PC{0,40}@\\PC{0,40}\\.com",
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in texts()) {
            let _ = Email::parse(&text);
        }

        #[test]
        fn every_parsed_address_parses_again(text in texts()) {
            if let Ok(email) = Email::parse(&text) {
                let again = Email::parse(email.as_str());
                prop_assert_eq!(again.as_ref(), Ok(&email));
                let delivered = Email::parse(&email.deliverable());
                prop_assert_eq!(delivered.as_ref().map(Email::canonical), Ok(email.canonical()));
                prop_assert!(email.domain().is_ascii() && email.domain().contains('.'));
            }
        }

        /// Spells the local part decomposed, composed, in lower case and folded, and the domain as given, in U-labels
        /// and in A-labels of both cases.
        #[test]
        fn every_spelling_is_the_same_address(text in texts()) {
            if let (Ok(email), Some((local, domain))) = (Email::parse(&text), text.rsplit_once('@')) {
                let (folded, a_labels) = email.canonical().as_str().rsplit_once('@').unwrap();
                let locals = [
                    DecomposingNormalizer::new_nfd().normalize(local).into_owned(),
                    composed(local),
                    local.to_lowercase(),
                    folded.to_owned(),
                ];
                let (u_labels, _) = Uts46::new()
                    .to_unicode(a_labels.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast);
                let domains =
                    [domain.to_owned(), u_labels.into_owned(), a_labels.to_owned(), a_labels.to_uppercase()];
                for (local, domain) in locals.iter().flat_map(|l| domains.iter().map(move |d| (l, d))) {
                    match Email::parse(&format!("{local}@{domain}")) {
                        Ok(other) => prop_assert_eq!(other.canonical(), email.canonical()),
                        // SMTP limits the octets of each spelling.
                        Err(error) => prop_assert_eq!(error, NameError::TooLong, "{}@{}", local, domain),
                    }
                }
            }
        }
    }
}
