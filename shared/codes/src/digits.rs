//! The eight digits of a code, as people type them.

use std::fmt;

/// How many digits a code has.
const DIGITS: usize = 8;

/// Eight digits. They are a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Digits(String);

/// The digits are not shown.
impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digits(..)")
    }
}

impl Digits {
    /// Reads digits: white space and hyphens are dropped, and full-width digits are accepted. `None` if
    /// the rest is not eight digits.
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

/// The hyphen of the keyboard, the hyphens that word processors and phones substitute for it, and the dashes
/// that look like one.
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
    fn anything_else_is_refused() {
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
        fn whatever_is_typed_never_panics(text in ".{0,40}") {
            if let Some(digits) = Digits::parse(&text) {
                prop_assert!(digits.expose().len() == 8);
                prop_assert!(digits.expose().bytes().all(|byte| byte.is_ascii_digit()));
            }
        }
    }
}
