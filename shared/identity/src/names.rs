//! The names that people give themselves: user names and e-mail addresses.
//!
//! A name is kept as it was first given, for display, and is unique by its canonical form
//! ([`CanonicalName`]), so that `ß` and `ss`, composed and decomposed, full and half width, upper
//! and lower case are one account.

mod canonical;
mod email;
mod hidden;
mod presented;
mod reserved;
mod username;

pub use canonical::CanonicalName;
pub use email::Email;
pub use hidden::is_hidden;
pub use presented::Presented;
pub use reserved::ReservedNames;
pub use username::Username;

use process::{Fault, FaultKind};

/// Why a name is refused. The texts are for people and never repeat what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Fewer characters than a name needs.
    #[error("is too short")]
    TooShort,
    /// More than a name may have.
    #[error("is too long")]
    TooLong,
    /// A character that names may not have, such as a space, a control or an invisible character.
    #[error("contains a character that is not allowed")]
    InvalidCharacters,
    /// Allowed characters in an order that is not: no e-mail address, a combining mark at the
    /// start, mixed writing directions.
    #[error("has an invalid format")]
    InvalidFormat,
    /// The name is kept for the operator of the service ([`ReservedNames`]).
    #[error("is reserved")]
    Reserved,
}

impl Fault for NameError {
    fn kind(&self) -> FaultKind {
        FaultKind::Invalid
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::InvalidCharacters => "invalid_characters",
            Self::InvalidFormat => "invalid_format",
            Self::Reserved => "reserved",
        }
    }
}
