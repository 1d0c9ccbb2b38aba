//! Usernames.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};
use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::Error as PrecisError;
use precis_profiles::precis_core::profile::PrecisFastInvocation as _;
use serde::{Deserialize, Serialize};

use super::canonical::MAX_OCTETS;
use super::hidden::is_hidden;
use super::{CanonicalName, NameError};

/// The allowed length of a username's canonical form, in characters (Unicode scalar values).
pub(super) const CHARS: RangeInclusive<usize> = 3..=80;

/// A username: RFC 8265 `UsernameCaseMapped`, 3 to 80 characters, without `@` and without invisible
/// characters. It is displayed as first entered and compared by [`Username::canonical`].
///
/// The rules examine the canonical form, so either all spellings of a name are accepted or none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Username {
    given: String,
    canonical: CanonicalName,
}

impl Username {
    /// Parses a username as a person enters it, or as stored: a name that was parsed once can be parsed again from
    /// [`Username::as_str`]. This accepts reserved names, which [`ReservedNames`](super::ReservedNames) detects.
    ///
    /// # Errors
    /// When the name is invalid. The error names the first rule that the name breaks.
    pub fn parse(given: &str) -> Result<Self, NameError> {
        // Checked first, so that no later step processes a long text. No spelling of a valid name reaches
        // this limit: even decomposed Hangul has only nine octets per character.
        if given.len() > MAX_OCTETS {
            return Err(NameError::TooLong);
        }
        // This rule alone examines the spelling as given, because folding drops invisible characters. It also
        // refuses the joiners that RFC 8265 allows in some contexts, because a reader cannot see them.
        if given.chars().any(is_hidden) {
            return Err(NameError::InvalidCharacters);
        }
        let canonical = CanonicalName::of_unchecked(given);
        let folded = canonical.as_str();
        let chars = folded.chars().count();
        if chars < *CHARS.start() {
            return Err(NameError::TooShort);
        }
        if chars > *CHARS.end() {
            return Err(NameError::TooLong);
        }
        // A leading mark has no letter to combine with. RFC 5891 §4.2.3.2 forbids it in domain labels.
        if folded.chars().next().is_some_and(is_mark) {
            return Err(NameError::InvalidFormat);
        }
        UsernameCaseMapped::enforce(folded).map_err(|error| match error {
            // The Bidi rule (RFC 5893).
            PrecisError::Invalid => NameError::InvalidFormat,
            _ => NameError::InvalidCharacters,
        })?;
        // A name with `@` would look like an email address.
        if folded.contains('@') {
            return Err(NameError::InvalidCharacters);
        }
        Ok(Self { given: given.to_owned(), canonical })
    }

    /// The name as first entered, for display.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// The form in which the name is compared.
    #[must_use]
    pub fn canonical(&self) -> &CanonicalName {
        &self.canonical
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
    use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
    use proptest::prelude::*;

    use super::*;

    fn canonical(given: &str) -> String {
        Username::parse(given).unwrap().canonical().as_str().to_owned()
    }

    #[test]
    fn names_in_many_scripts_are_accepted() {
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
            "COL·LECCIÓ",
            "coŀlega",
            "\u{212a}elvin",
            "ﬁna",
            "𝐀𝐁𝐂",
            "ⓣestuser",
            "!#$%&*",
        ] {
            let parsed = Username::parse(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(parsed.as_str(), name);
            assert_eq!(parsed.to_string(), name);
        }
    }

    #[test]
    fn all_spellings_are_one_account() {
        for (one, other) in [
            ("TESTUSER", "testuser"),
            ("Straße", "STRASSE"),
            ("jos\u{e9}", "JOSE\u{301}"),
            ("ａｌｉｃｅ", "Alice"),
            ("ｱﾘｽ", "アリス"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("\u{130}zmir", "i\u{307}ZMIR"),
            ("COL·LECCIÓ", "col·lecció"),
            ("COL·LECCIÓ", "coŀleccio\u{301}"),
            ("\u{212a}elvin", "kelvin"),
            ("ﬁna", "FINA"),
            ("𝐀𝐁𝐂", "abc"),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one} {other}");
        }
        assert_ne!(canonical("alice"), canonical("alicé"));
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
                // RFC 5892 allows joiners after a virama.
                format!("क्{hidden}षक"),
            ] {
                assert_eq!(Username::parse(&name), Err(NameError::InvalidCharacters), "{name:?}");
            }
        }
    }

    #[test]
    fn all_spellings_of_a_bad_name_get_the_same_error() {
        for spellings in [
            &["col·ega", "COL·EGA", "coŀega"][..],
            &["a@b.c", "A＠B．C", "ａ﹫ｂ.c"],
            &["ﬁ", "FI", "fi", "ﬀ"],
            &["two words", "TWO WORDS", "ｔｗｏ ｗｏｒｄｓ"],
            &["\u{301}alice", "\u{301}ALICE"],
            &["1משה", "１משה", "①משה"],
        ] {
            let errors: Vec<_> = spellings.iter().map(|name| Username::parse(name)).collect();
            assert!(errors[0].is_err(), "{spellings:?}");
            assert!(errors.iter().all(|error| *error == errors[0]), "{spellings:?}: {errors:?}");
        }
    }

    #[test]
    fn malformed_names_are_refused() {
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
            ("two words", NameError::InvalidCharacters),
            ("alice😀", NameError::InvalidCharacters),
            ("a@example.com", NameError::InvalidCharacters),
        ] {
            assert_eq!(Username::parse(name), Err(error), "{name:?}");
        }
    }

    #[test]
    fn lengths_are_limited_in_characters() {
        assert!(Username::parse("abc").is_ok());
        // Characters of the canonical form are counted, not those of the spelling: here, Hangul in jamo, letters
        // with marks, and characters that fold to several letters.
        for (spelling, longest) in [
            ("a", 80),
            ("é", 80),
            ("e\u{301}", 80),
            ("山", 80),
            ("𐐀", 80),
            ("\u{1112}\u{1161}\u{11ab}", 80),
            ("ᾂ", 40),
            ("ß", 40),
            ("İ", 40),
            ("ﬃ", 26),
        ] {
            assert!(Username::parse(&spelling.repeat(longest)).is_ok(), "{spelling}");
            let over = spelling.repeat(longest + 1);
            assert_eq!(Username::parse(&over), Err(NameError::TooLong), "{spelling}");
        }
        assert!(Username::parse("ßs").is_ok(), "three letters");
        assert_eq!(Username::parse(&"a".repeat(10_000_000)), Err(NameError::TooLong));
    }

    #[test]
    fn deserializing_checks_the_rules() {
        let name = Username::parse("Alice").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), r#""Alice""#);
        assert_eq!(serde_json::from_str::<Username>(r#""Alice""#).unwrap(), name);
        assert!(serde_json::from_str::<Username>(r#""a\u0000b""#).is_err());
    }

    /// Generates texts. Some of the patterns often yield valid names, others rarely.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-Z0-9ßİſéΣςσא-תａ-ｚＡ-Ｚ\u{300}-\u{345}_.-]{1,90}",
            "[\\p{L}\\p{M}\\p{N}]{1,12}",
            "\\PC{0,90}",
            any::<String>(),
        ]
    }

    fn full_width(c: char) -> char {
        match c {
            '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap(),
            _ => c,
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in texts()) {
            let _ = Username::parse(&text);
        }

        #[test]
        fn every_parsed_name_parses_again(text in texts()) {
            if let Ok(name) = Username::parse(&text) {
                let again = Username::parse(name.as_str());
                prop_assert_eq!(again.as_ref(), Ok(&name));
                let json = serde_json::to_string(&name).unwrap();
                prop_assert_eq!(serde_json::from_str::<Username>(&json).unwrap(), name);
            }
        }

        #[test]
        fn login_finds_the_registered_name(text in texts()) {
            if let Ok(name) = Username::parse(&text) {
                prop_assert_eq!(&CanonicalName::of_unchecked(&text), name.canonical());
                // This is far below the length at which an unchecked name is truncated.
                prop_assert!(name.canonical().as_str().len() < 1_000);
            }
        }

        #[test]
        fn names_that_the_profile_considers_equal_are_one_account(text in texts()) {
            if let (Ok(name), Ok(enforced)) =
                (Username::parse(&text), UsernameCaseMapped::enforce(text.as_str()))
            {
                prop_assert_eq!(&CanonicalName::of_unchecked(&enforced), name.canonical());
            }
        }

        #[test]
        fn either_all_spellings_of_a_name_are_accepted_or_none(text in texts()) {
            let parsed = Username::parse(&text);
            let canonical = CanonicalName::of_unchecked(&text);
            for spelling in [
                text.to_uppercase(),
                text.to_lowercase(),
                DecomposingNormalizer::new_nfd().normalize(&text).into_owned(),
                DecomposingNormalizer::new_nfkd().normalize(&text).into_owned(),
                ComposingNormalizer::new_nfc().normalize(&text).into_owned(),
                ComposingNormalizer::new_nfkc().normalize(&text).into_owned(),
                text.chars().map(full_width).collect(),
                canonical.as_str().to_owned(),
            ] {
                // Skip spellings of other names: upper case merges `ı` and `i`, and folding drops invisible
                // characters.
                if CanonicalName::of_unchecked(&spelling) == canonical
                    && spelling.chars().any(is_hidden) == text.chars().any(is_hidden)
                {
                    let other = Username::parse(&spelling);
                    prop_assert_eq!(
                        other.as_ref().map(Username::canonical),
                        parsed.as_ref().map(Username::canonical),
                        "{:?}", spelling
                    );
                }
            }
        }
    }
}
