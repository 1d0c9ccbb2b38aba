//! The forms in which callers present codes.

use std::fmt;

use identity::UserId;

use crate::Digits;

/// An emailed code, as a caller presents it.
pub enum PresentedCode {
    /// The token from a link.
    Token(String),
    /// The digits with which the owner of an address resets the password.
    Digits {
        /// The address to which the digits were mailed, as the caller states it.
        address: String,
        /// The digits from the email.
        digits: Digits,
    },
    /// The digits with which a signed-in user confirms their own address.
    OwnDigits {
        /// The account of the user.
        account: UserId,
        /// The digits from the email.
        digits: Digits,
    },
}

/// Does not show the code.
impl fmt::Debug for PresentedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Digits { .. } => f.write_str("Digits(..)"),
            Self::OwnDigits { .. } => f.write_str("OwnDigits(..)"),
        }
    }
}

impl PresentedCode {
    /// Reads the code from the members of a body: either `token`, or `email` and `code`.
    ///
    /// # Errors
    /// When a member is missing, both forms are present, or `code` is not eight digits.
    pub fn of(
        token: Option<String>,
        email: Option<String>,
        code: Option<String>,
    ) -> Result<Self, PresentedError> {
        match (token, email, code) {
            (Some(token), None, None) => Ok(Self::Token(token)),
            (None, Some(address), Some(digits)) => {
                let digits = Digits::parse(&digits).ok_or(PresentedError::NotEightDigits)?;
                Ok(Self::Digits { address, digits })
            }
            (None, None, None) => Err(PresentedError::Missing("token")),
            (None, Some(_), None) => Err(PresentedError::Missing("code")),
            (None, None, Some(_)) => Err(PresentedError::Missing("email")),
            (Some(_), _, _) => Err(PresentedError::Both),
        }
    }
}

/// The members of a body do not form a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresentedError {
    /// This member is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The body has `token` in addition to `email` or `code`.
    #[error("specify either `token`, or `email` and `code`, not both")]
    Both,
    /// `code` is not eight digits.
    #[error("the code is not eight digits")]
    NotEightDigits,
}
