//! A code as a caller presents it.

use std::fmt;

use identity::UserId;

use crate::Digits;

/// A code as a caller presents it.
pub enum PresentedCode {
    /// The token of a link.
    Token(String),
    /// The digits that were mailed to an address, for a reset.
    Digits {
        /// The address.
        address: String,
        /// The digits.
        digits: Digits,
    },
    /// The digits with which a signed-in account confirms its own address.
    OwnDigits {
        /// The account.
        account: UserId,
        /// The digits.
        digits: Digits,
    },
}

/// The code is not shown.
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
    /// The code in the members of a body: either `token`, or `email` and `code`.
    ///
    /// # Errors
    /// When a member is missing or too many are given, or `code` is not eight digits.
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
    /// There is a `token`, and `email` or `code` too.
    #[error("specify either `token`, or `email` and `code`, not both")]
    Both,
    /// `code` is not eight digits.
    #[error("the code is not eight digits")]
    NotEightDigits,
}
