//! The canonical form, by which names are compared.

use std::fmt;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};

use super::hidden::is_ignorable;

/// The form in which names are compared: `NFKC_Casefold` (Unicode Standard, §3.13, D146 ff.), fully folded and
/// without default-ignorable characters. In an address, only the local part has this form. The domain consists of
/// A-labels.
///
/// [`fmt::Debug`] hides the text, and [`fmt::Display`] is not implemented, because the text may be an email
/// address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CanonicalName(String);

/// The maximum length of the input and of the result, in octets.
///
/// Every canonical form of a [`Username`](super::Username) (80 characters) or an
/// [`Email`](super::Email) (254 octets) is shorter, and a DynamoDB key may have up to 2,048 octets.
pub(super) const MAX_OCTETS: usize = 1_024;

/// The maximum number of mapping rounds. For every assigned character, two rounds reach the fixpoint, and a third one
/// confirms it (a test tries all of them). The bound guarantees termination.
const MAX_ROUNDS: usize = 4;

impl CanonicalName {
    /// Returns the canonical form of any text, to compare it with a name. For every text that parses as a username,
    /// the result equals [`Username::canonical`](super::Username::canonical).
    ///
    /// This never fails. The text is truncated to 1,024 octets both before and after the mapping, so callers need not
    /// limit its length. A truncated text never equals the name of an account.
    #[must_use]
    pub fn of_unchecked(text: &str) -> Self {
        let mut name = text[..text.floor_char_boundary(MAX_OCTETS)].to_owned();
        // Folding may leave text that normalization changes (`ŉ`), and normalization may leave text that folding
        // changes (`℡` becomes `TEL`). The steps are therefore repeated until nothing changes, as in the derivation
        // of the property NFKC_Casefold (UAX #44).
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

    /// The canonical text. Never log it: the canonical form of an address is personal data.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Performs one round of the mapping. NFD comes first, because folding turns the mark U+0345 into a letter, and the
/// marks must be in canonical order by then.
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
    fn all_spellings_have_one_canonical_form() {
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
    fn different_names_have_different_canonical_forms() {
        // Nothing is folded beyond Unicode: dotless ı is a separate letter, and marks are significant.
        for (one, other) in [("ı", "i"), ("e", "é"), ("a", "а"), ("ab", "a b"), ("o", "ø")] {
            assert_ne!(canonical(one), canonical(other), "{one:?} {other:?}");
        }
    }

    /// Compares the mapping with the property `Changes_When_NFKC_Casefolded` of the Unicode Character Database. The
    /// mapping does not use the data of this property. The tested ranges contain every character that the mapping
    /// changes.
    #[test]
    fn every_character_is_mapped_as_unicode_specifies() {
        let changes = CodePointSetData::new::<ChangesWhenNfkcCasefolded>();
        for c in ('\0'..='\u{2ffff}').chain('\u{e0000}'..='\u{e0fff}') {
            let text = c.to_string();
            let once = canonical(&text);
            assert_eq!(once != text, changes.contains(c), "{c:?}");
            assert!(once == text || mapped_once(&once) == once, "{c:?}");
        }
    }

    #[test]
    fn the_canonical_form_is_bounded() {
        // U+FDFA has three octets and becomes 33.
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
