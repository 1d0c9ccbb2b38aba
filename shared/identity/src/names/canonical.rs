//! The form by which names are compared.

use std::fmt;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};

use super::hidden::is_ignorable;

/// The form by which a name is unique: `NFKC_Casefold` (Unicode Standard, §3.13, D146 and what
/// follows it), folded fully, without what Unicode calls default-ignorable. In an address this is the
/// form of the local part; the domain is in A-labels.
///
/// It may be an e-mail address, so it is not shown by [`fmt::Debug`], and there is no
/// [`fmt::Display`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CanonicalName(String);

/// The maximum number of octets that are read and kept.
///
/// Every canonical form of a [`Username`](super::Username) (80 characters) or an
/// [`Email`](super::Email) (254 octets) is shorter, and a key of DynamoDB takes 2,048.
pub(super) const MAX_OCTETS: usize = 1_024;

/// How often a name is mapped at most. Two rounds reach the fixpoint for every assigned character
/// (a test looks at all of them) and a third one finds it unchanged; the bound says that it ends.
const MAX_ROUNDS: usize = 4;

impl CanonicalName {
    /// The canonical form of any text, to compare it with a name. Equal to
    /// [`Username::canonical`](super::Username::canonical) for every text that parses as a username.
    ///
    /// Never fails. The result has at most 1,024 octets; a longer text is cut before and after it is
    /// mapped, so the caller need not bound it, and the result of a cut text is never the name of an
    /// account.
    #[must_use]
    pub fn of_unchecked(text: &str) -> Self {
        let mut name = text[..text.floor_char_boundary(MAX_OCTETS)].to_owned();
        // A folding may leave what normalization changes (`ŉ`), and a compatibility mapping what
        // folding changes (`℡` becomes `TEL`), so the steps are repeated until nothing moves, as
        // the derivation of the property NFKC_Casefold (UAX #44) does.
        for _ in 0..MAX_ROUNDS {
            let next = mapped_once(&name);
            if next == name {
                break;
            }
            name = next;
        }
        name.truncate(name.floor_char_boundary(MAX_OCTETS));
        Self(name)
    }

    /// The canonical form of an address, joined from the canonical forms of its parts.
    pub(super) fn of_address(local: &Self, a_labels: &str) -> Self {
        Self(format!("{}@{a_labels}", local.0))
    }

    /// The canonical text. Of an e-mail it is personal data, and never to be logged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// NFD first: folding U+0345 gives a letter, so marks must be in canonical order before it.
fn mapped_once(text: &str) -> String {
    let visible: String = text.chars().filter(|&c| !is_ignorable(c)).collect();
    let decomposed = DecomposingNormalizer::new_nfd().normalize(&visible);
    let folded = CaseMapper::new().fold_string(&decomposed);
    ComposingNormalizer::new_nfkc().normalize(&folded).into_owned()
}

impl fmt::Debug for CanonicalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CanonicalName(..)")
    }
}

#[cfg(test)]
mod tests {
    use icu_properties::CodePointSetData;
    use icu_properties::props::ChangesWhenNfkcCasefolded;
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        CanonicalName::of_unchecked(text).as_str().to_owned()
    }

    #[test]
    fn spellings_are_one() {
        for (one, other) in [
            ("ß", "ss"),
            ("ẞ", "SS"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("Ａｌｉｃｅ", "alice"),
            ("ｱﾘｽ", "アリス"),
            ("ALICE", "alice"),
            ("\u{130}", "i\u{307}"),
            ("ΟΔΟΣ", "οδος"),
            ("οδοσ", "οδος"),
            ("\u{212a}elvin", "kelvin"),
            ("ﬁ", "fi"),
            ("℡", "tel"),
            ("𝐀", "a"),
            ("\u{149}", "\u{2bc}n"),
            ("Ꭰ", "ꭰ"),
            ("\u{1e9b}\u{323}", "\u{1e69}"),
            ("ᾳ", "αι"),
            ("a\u{345}\u{301}", "a\u{301}\u{345}"),
            ("te\u{200b}st\u{ad}us\u{200d}er", "testuser"),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn different_names_are_different() {
        // No folding beyond Unicode's: dotless ı is a letter of its own, marks count.
        for (one, other) in [("ı", "i"), ("e", "é"), ("a", "а"), ("ab", "a b"), ("o", "ø")] {
            assert_ne!(canonical(one), canonical(other), "{one:?} {other:?}");
        }
    }

    /// Against the property `Changes_When_NFKC_Casefolded` of the Unicode Character Database,
    /// which other data than our steps derive. The ranges hold all that changes.
    #[test]
    fn every_character_is_mapped_as_unicode_says() {
        let changes = CodePointSetData::new::<ChangesWhenNfkcCasefolded>();
        for c in ('\0'..='\u{2ffff}').chain('\u{e0000}'..='\u{e0fff}') {
            let text = c.to_string();
            let once = canonical(&text);
            assert_eq!(once != text, changes.contains(c), "{c:?}");
            assert!(once == text || mapped_once(&once) == once, "{c:?}");
        }
    }

    #[test]
    fn is_bounded() {
        // U+FDFA is three octets and becomes 33.
        for text in ["\u{fdfa}".repeat(10_000), "é".repeat(10_000), "x".repeat(1_000_000)] {
            assert!(canonical(&text).len() <= MAX_OCTETS);
            assert!(canonical(&text).len() > MAX_OCTETS - 4);
        }
        assert_eq!(canonical(""), "");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(
            format!("{:?}", CanonicalName::of_unchecked("a@example.com")),
            "CanonicalName(..)"
        );
    }

    proptest! {
        #[test]
        fn mapping_again_changes_nothing(text in "\\PC{0,40}|(?s:.){0,40}") {
            let once = canonical(&text);
            prop_assert_eq!(canonical(&once), once);
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            canonical(&text);
        }
    }
}
