//! Emailed codes: requesting them ([`Requests`]), finding the code that a caller presents ([`Redemption`]), and
//! confirming addresses with codes ([`Confirmations`]).
//!
//! Before a code is looked up, an attempt is reserved. An attempt with the token from a link counts only against the
//! limit for the network, because the token's 128 bits cannot be guessed. An attempt with the digits that confirm the
//! caller's own address also counts only against that limit; one with the digits for a password reset counts like an
//! attempt at the password. In addition, digits have their own counter, which allows five tries. Every wrong code gets
//! the same response.

mod confirmation;
mod digits;
mod presented;
mod redemption;
mod requests;

pub use confirmation::Confirmations;
pub use digits::Digits;
pub use presented::{PresentedCode, PresentedError};
use process::{Fault, FaultKind};
pub use redemption::{Redemption, ValidCode};
pub use requests::Requests;
use secrets::SecretError;
use store::StoreError;
use throttle::ThrottleError;

/// The reason why a code could not be found, used or requested.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The code is invalid. The reason appears only in the log.
    #[error("{0}")]
    Wrong(&'static str),
    /// Another account uses the email address that the code confirms.
    #[error("another account uses the email address")]
    Taken,
    /// There have been too many attempts, or the counters cannot be reached.
    #[error(transparent)]
    Throttle(#[from] ThrottleError),
    /// The table cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peppers cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Fault for CodeError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Wrong(_) => FaultKind::Invalid,
            Self::Taken => FaultKind::Conflict,
            Self::Throttle(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Secret(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Wrong(_) => "invalid_code",
            Self::Taken => self.kind().code(),
            Self::Throttle(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Secret(error) => error.code(),
        }
    }

    fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Taken => Some("Another account uses this email address."),
            Self::Wrong(_) | Self::Throttle(_) | Self::Store(_) | Self::Secret(_) => None,
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttle(error) => error.retry_after(),
            Self::Wrong(_) | Self::Taken | Self::Store(_) | Self::Secret(_) => None,
        }
    }
}
