//! Usernames and email addresses.
//!
//! A name is displayed as first entered. Its canonical form ([`CanonicalName`]) must be unique. Spellings that differ
//! only in case, width or composition belong to one account, and so do `ß` and `ss`.

mod canonical;
mod email;
mod hidden;
mod presented;
mod reserved;
mod tag;
mod username;

pub use canonical::CanonicalName;
pub use email::Email;
pub use hidden::is_hidden;
pub use presented::Presented;
pub use reserved::ReservedNames;
pub use tag::{NameTagger, UniqueName};
pub use username::Username;

use process::{Fault, FaultKind};

/// The reason why a name is refused. The messages are shown to users and never repeat the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has too few characters.
    #[error("is too short")]
    TooShort,
    /// The name has too many characters.
    #[error("is too long")]
    TooLong,
    /// The name contains a forbidden character, such as a space, a control character or an invisible one.
    #[error("contains a character that is not allowed")]
    InvalidCharacters,
    /// The characters are allowed, but not in this order: the text is not an email address, begins with a
    /// combining mark, or mixes writing directions.
    #[error("has an invalid format")]
    InvalidFormat,
    /// The name is reserved for the operator of the service ([`ReservedNames`]).
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
