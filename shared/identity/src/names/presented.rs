//! A name as a caller presents it.

use super::{CanonicalName, Email, NameError, Username, email, username};

/// A name that a caller presents, which may or may not belong to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// A username.
    Username(CanonicalName),
    /// An email address.
    Email(CanonicalName),
    /// Text that no account can have as a name. It is treated like any other wrong name.
    Impossible(String),
}

impl Presented {
    /// The name in its canonical form, or the text that cannot be a name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Username(name) | Self::Email(name) => name.as_str(),
            Self::Impossible(text) => text,
        }
    }

    /// Parses a username, ignoring surrounding white space, which keyboards and forms add. Text that contains `@`
    /// in any width is parsed as an address: forms with a single field send addresses as usernames, and no
    /// username contains `@`.
    ///
    /// # Errors
    /// [`NameError::TooLong`] if the folded text is longer than any account's name can be.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.contains(['@', '\u{fe6b}', '\u{ff20}']) {
            return Self::parse_email(text);
        }
        let text = text.trim();
        match Username::parse(text) {
            Ok(name) => Ok(Self::Username(name.canonical().clone())),
            Err(_) if folded(text).chars().count() > *username::CHARS.end() => {
                Err(NameError::TooLong)
            }
            Err(_) => Ok(Self::Impossible(text.to_owned())),
        }
    }

    /// Parses an address, ignoring surrounding white space.
    ///
    /// # Errors
    /// [`NameError::TooLong`] if the folded text is longer than any account's address can be.
    pub fn parse_email(text: &str) -> Result<Self, NameError> {
        match Self::email(text) {
            Self::Impossible(text) if folded(&text).len() > email::MAX_OCTETS => {
                Err(NameError::TooLong)
            }
            presented => Ok(presented),
        }
    }

    /// Parses an address of any length, ignoring surrounding white space.
    #[must_use]
    pub fn email(text: &str) -> Self {
        let text = text.trim();
        Email::parse(text).map_or_else(
            |_| Self::Impossible(text.to_owned()),
            |email| Self::Email(email.canonical().clone()),
        )
    }
}

fn folded(text: &str) -> String {
    CanonicalName::of_unchecked(text).as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn username(name: &str) -> Presented {
        Presented::Username(Username::parse(name).unwrap().canonical().clone())
    }

    fn email(address: &str) -> Presented {
        Presented::Email(Email::parse(address).unwrap().canonical().clone())
    }

    #[test]
    fn every_spelling_of_a_name_parses_as_the_same_name() {
        for text in ["testuser", "\t\u{a0}TestUser\u{3000}\r\n", "\u{ff54}estuser"] {
            assert_eq!(Presented::parse(text), Ok(username("testuser")), "{text}");
        }
        for text in ["t@example.com", " T@EXAMPLE.com\n"] {
            assert_eq!(Presented::parse(text), Ok(email("t@example.com")), "{text}");
            assert_eq!(Presented::parse_email(text), Ok(email("t@example.com")), "{text}");
            assert_eq!(Presented::email(text), email("t@example.com"), "{text}");
        }
    }

    #[test]
    fn invalid_text_is_impossible_and_overlong_text_is_refused() {
        let impossible = |text: &str| Presented::Impossible(text.to_owned());
        for text in ["", "no\0name", "test user"] {
            assert_eq!(Presented::parse(text), Ok(impossible(text)), "{text}");
        }
        for text in ["testuser", "a@b@c"] {
            assert_eq!(Presented::parse_email(text), Ok(impossible(text)), "{text}");
        }
        let longest = format!(" {}\0 ", "y".repeat(79));
        assert_eq!(Presented::parse(&longest), Ok(impossible(longest.trim())));
        assert_eq!(Presented::parse(&"y".repeat(81)), Err(NameError::TooLong));
        let longest = format!("{}@", "y".repeat(253));
        assert_eq!(Presented::parse(&longest), Ok(impossible(&longest)));
        let longer = format!("y{longest}");
        assert_eq!(Presented::parse(&longer), Err(NameError::TooLong));
        assert_eq!(Presented::parse_email(&longer), Err(NameError::TooLong));
        assert_eq!(Presented::email(&longer), impossible(&longer));
    }
}
