//! User names.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};
use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::Error as PrecisError;
use precis_profiles::precis_core::profile::PrecisFastInvocation as _;
use serde::{Deserialize, Serialize};

use super::hidden::is_hidden;
use super::{CanonicalName, NameError};

/// How many characters (Unicode scalar values) a user name has.
const CHARS: RangeInclusive<usize> = 3..=80;

/// A user name: RFC 8265 `UsernameCaseMapped`, 3 to 80 characters, without `@` and without
/// anything invisible. Shown as it was first given, compared by [`Username::canonical`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Username {
    given: String,
    canonical: CanonicalName,
}

impl Username {
    /// Parses a user name as somebody gives it, or as it was stored: what parsed once parses again
    /// from [`Username::as_str`]. Whether it is reserved is a question of its own
    /// ([`ReservedNames`](super::ReservedNames)).
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn parse(given: &str) -> Result<Self, NameError> {
        // Before all else, so that no later step sees a long text.
        within(CHARS, given)?;
        // RFC 8265 lets joiners through in some contexts; nobody can see whether they are there.
        if given.chars().any(is_hidden) {
            return Err(NameError::InvalidCharacters);
        }
        let enforced = UsernameCaseMapped::enforce(given).map_err(|error| match error {
            // The rule of RFC 5893 about writing directions.
            PrecisError::Invalid => NameError::InvalidFormat,
            _ => NameError::InvalidCharacters,
        })?;
        // Counted again: three letters with their marks apart may be two, one may become two.
        within(CHARS, &enforced)?;
        // RFC 5891 §4.2.3.2 for domain labels; a mark alone has nothing to be shown on.
        if enforced.chars().next().is_some_and(is_mark) {
            return Err(NameError::InvalidFormat);
        }
        let canonical = CanonicalName::of_unchecked(given);
        // It would look like an e-mail address. Full-width `＠` is `@` by now.
        if canonical.as_str().contains('@') {
            return Err(NameError::InvalidCharacters);
        }
        Ok(Self { given: given.to_owned(), canonical })
    }

    /// The name as it was first given, for display.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// The form by which the name is unique.
    #[must_use]
    pub fn canonical(&self) -> &CanonicalName {
        &self.canonical
    }
}

fn within(range: RangeInclusive<usize>, text: &str) -> Result<(), NameError> {
    let chars = text.chars().take(range.end() + 1).count();
    if chars < *range.start() {
        Err(NameError::TooShort)
    } else if chars > *range.end() {
        Err(NameError::TooLong)
    } else {
        Ok(())
    }
}

fn is_mark(c: char) -> bool {
    GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(c))
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Username").field(&self.given).finish()
    }
}

impl FromStr for Username {
    type Err = NameError;

    fn from_str(given: &str) -> Result<Self, NameError> {
        Self::parse(given)
    }
}

impl TryFrom<String> for Username {
    type Error = NameError;

    fn try_from(given: String) -> Result<Self, NameError> {
        Self::parse(&given)
    }
}

impl From<Username> for String {
    fn from(name: Username) -> Self {
        name.given
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(given: &str) -> String {
        Username::parse(given).unwrap().canonical().as_str().to_owned()
    }

    #[test]
    fn accepts_names_of_many_scripts() {
        for name in [
            "alice",
            "testuser",
            "adminuser",
            "bob_42",
            "o'neil",
            "a.b-c+d",
            "123",
            "José",
            "Zoë",
            "straße",
            "Łukasz",
            "Ελένη",
            "Дмитрий",
            "משה",
            "علي_حسن",
            "محمد٣",
            "नमस्ते",
            "สมชาย",
            "山田太郎",
            "アリス",
            "김철수",
            "ＡＢＣ",
            "ｱﾘｽ",
            "İstanbul",
            "𐐀𐐁𐐂",
            "col·lega",
            "!#$%&*",
        ] {
            let parsed = Username::parse(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(parsed.as_str(), name);
            assert_eq!(parsed.to_string(), name);
        }
    }

    #[test]
    fn spellings_are_one_account() {
        for (one, other) in [
            ("TESTUSER", "testuser"),
            ("Straße", "STRASSE"),
            ("jos\u{e9}", "JOSE\u{301}"),
            ("ａｌｉｃｅ", "Alice"),
            ("ｱﾘｽ", "アリス"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("\u{130}zmir", "i\u{307}ZMIR"),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one} {other}");
        }
        assert_ne!(canonical("alice"), canonical("alicé"));
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
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{180e}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{202f}',
            '\u{2060}',
            '\u{2061}',
            '\u{2066}',
            '\u{2069}',
            '\u{206f}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{e000}',
            '\u{10ffff}',
            ' ',
            '@',
            '＠',
            '﹫',
        ] {
            for name in [
                format!("test{hidden}user"),
                format!("{hidden}testuser"),
                format!("testuser{hidden}"),
                // Where RFC 5892 lets joiners through: after a virama.
                format!("क्{hidden}षक"),
            ] {
                assert_eq!(Username::parse(&name), Err(NameError::InvalidCharacters), "{name:?}");
            }
        }
    }

    #[test]
    fn refuses_bad_forms() {
        for (name, error) in [
            ("", NameError::TooShort),
            ("ab", NameError::TooShort),
            ("山田", NameError::TooShort),
            ("a\u{301}b", NameError::TooShort),
            ("\u{301}\u{301}\u{301}", NameError::InvalidFormat),
            ("\u{301}alice", NameError::InvalidFormat),
            ("alice123משה", NameError::InvalidFormat),
            ("משהalice", NameError::InvalidFormat),
            ("1משה", NameError::InvalidFormat),
            ("\u{212a}elvin", NameError::InvalidCharacters),
            ("ﬁna", NameError::InvalidCharacters),
            ("𝐀𝐁𝐂", NameError::InvalidCharacters),
            ("two words", NameError::InvalidCharacters),
            ("alice😀", NameError::InvalidCharacters),
            ("a@example.com", NameError::InvalidCharacters),
        ] {
            assert_eq!(Username::parse(name), Err(error), "{name:?}");
        }
    }

    #[test]
    fn counts_characters() {
        assert!(Username::parse("abc").is_ok());
        for c in ['a', 'é', '山', '𐐀', 'ß'] {
            let longest = c.to_string().repeat(80);
            assert!(Username::parse(&longest).is_ok(), "{c}");
            let over = c.to_string().repeat(81);
            assert_eq!(Username::parse(&over), Err(NameError::TooLong), "{c}");
        }
        // Each becomes two when lower-cased.
        assert_eq!(Username::parse(&"İ".repeat(41)), Err(NameError::TooLong));
        assert_eq!(Username::parse(&"a".repeat(10_000_000)), Err(NameError::TooLong));
    }

    #[test]
    fn serde_takes_no_way_around() {
        let name = Username::parse("Alice").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), r#""Alice""#);
        assert_eq!(serde_json::from_str::<Username>(r#""Alice""#).unwrap(), name);
        assert!(serde_json::from_str::<Username>(r#""a\u0000b""#).is_err());
    }

    /// Texts that often are names, and texts that seldom are.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-Z0-9ßİſéΣςσא-תａ-ｚＡ-Ｚ\u{300}-\u{345}_.-]{1,90}",
            "[\\p{L}\\p{M}\\p{N}]{1,12}",
            "\\PC{0,90}",
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn never_panics(text in texts()) {
            let _ = Username::parse(&text);
        }

        #[test]
        fn what_parsed_once_parses_again(text in texts()) {
            if let Ok(name) = Username::parse(&text) {
                let again = Username::parse(name.as_str());
                prop_assert_eq!(again.as_ref(), Ok(&name));
                let json = serde_json::to_string(&name).unwrap();
                prop_assert_eq!(serde_json::from_str::<Username>(&json).unwrap(), name);
            }
        }

        #[test]
        fn login_finds_what_was_registered(text in texts()) {
            if let Ok(name) = Username::parse(&text) {
                prop_assert_eq!(&CanonicalName::of_unchecked(&text), name.canonical());
                // Far below where an unchecked name is cut.
                prop_assert!(name.canonical().as_str().len() < 1_000);
            }
        }

        /// What the profile takes for one name is one account.
        #[test]
        fn is_no_finer_than_the_profile(text in texts()) {
            if let Ok(name) = Username::parse(&text) {
                let enforced = UsernameCaseMapped::enforce(text.as_str()).unwrap();
                prop_assert_eq!(&CanonicalName::of_unchecked(&enforced), name.canonical());
            }
        }
    }
}
