//! Parses the eight digits of a code as people type them.

use std::fmt;

/// The number of digits in a code.
const DIGITS: usize = 8;

/// The eight digits of a code, which are secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Digits(String);

/// Does not show the digits.
impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digits(..)")
    }
}

impl Digits {
    /// Parses digits. White space and hyphens are ignored, and full-width digits are accepted. Returns `None` unless
    /// exactly eight digits remain.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let typed = text.chars().filter(|c| !c.is_whitespace() && !is_hyphen(*c));
        let digits: Option<String> = typed.map(ascii).collect();
        digits.filter(|digits| digits.len() == DIGITS).map(Self)
    }

    /// The digits, in ASCII.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether `c` is the keyboard's hyphen, a character that word processors or phones substitute for it, or a dash that
/// looks like it.
fn is_hyphen(c: char) -> bool {
    matches!(
        c,
        '-' | '\u{ad}' | '\u{2010}'
            ..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
    )
}

/// Converts an ASCII or full-width digit to ASCII.
fn ascii(c: char) -> Option<char> {
    let value = match c {
        '0'..='9' => c.to_digit(10)?,
        '０'..='９' => u32::from(c) - u32::from('０'),
        _ => return None,
    };
    char::from_digit(value, 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn white_space_hyphens_and_full_width_digits_are_accepted() {
        for typed in [
            "12345678",
            "1234 5678",
            "1234-5678",
            " 12 34 56 78\r\n",
            "12345678\n",
            "1234\u{a0}5678",
            "1234\u{2011}5678",
            "1234\u{2013}5678",
            "１２３４５６７８",
            "１２３４　５６７８",
            "１２３４－５６７８",
            "--1-2-3-4-5-6-7-8--",
        ] {
            assert_eq!(Digits::parse(typed), Some(Digits("12345678".to_owned())), "{typed}");
        }
        assert_eq!(Digits::parse("0000-0000").unwrap().expose(), "00000000");
    }

    #[test]
    fn other_characters_and_lengths_are_refused() {
        for typed in [
            "",
            " ",
            "-",
            "1234567",
            "123456789",
            "1234567a",
            "+1234567",
            "1234.5678",
            "1234_5678",
            "٠١٢٣٤٥٦٧",
            "①②③④⑤⑥⑦⑧",
            "0x123456",
            "1234567\0",
        ] {
            assert_eq!(Digits::parse(typed), None, "{typed}");
        }
    }

    #[test]
    fn debug_shows_no_digits() {
        assert_eq!(format!("{:?}", Digits::parse("12345678").unwrap()), "Digits(..)");
    }

    proptest! {
        #[test]
        fn any_text_parses_to_eight_ascii_digits_or_none(text in ".{0,40}") {
            if let Some(digits) = Digits::parse(&text) {
                prop_assert!(digits.expose().len() == 8);
                prop_assert!(digits.expose().bytes().all(|byte| byte.is_ascii_digit()));
            }
        }
    }
}
