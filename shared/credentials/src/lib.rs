//! Checks passwords within the limits of the throttle: at login ([`Authentication`]), and before a signed-in user
//! changes their password or address, or steps up ([`Reauthentication`]).
//!
//! Failed and refused attempts are recorded as events of the account. Recording them never changes the response.
//!
//! Each attempt is reserved before the password is checked. If the server cannot carry out the check, the reservation
//! is released.

mod authentication;
mod reauthentication;
mod refused;

pub use authentication::{Authenticated, Authentication, Success};
use identity::{Account, StoredHash};
use passwords::{HashError, PasswordHash};
use process::{Fault, FaultKind, World};
pub use reauthentication::Reauthentication;
use store::{Notice, Outbox, StoreError};
use throttle::{Attempt, Familiarity, ThrottleError};

/// Parses the stored hash, if there is one.
fn parse(stored: Option<&StoredHash>) -> Result<Option<PasswordHash>, HashError> {
    stored.map(PasswordHash::from_stored).transpose()
}

/// Records that the password of `account` was right. If the network is new to the account, the owner gets a
/// notice.
async fn succeed(attempt: Attempt<'_>, account: &Account, outbox: &Outbox, world: &World) {
    if attempt.succeeded(account).await == Familiarity::New {
        outbox.notify(account, Notice::NewNetwork, world).await;
    }
}

/// The reason why a password was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The name or the password is wrong, or the account is disabled.
    #[error("the name or the password is wrong")]
    WrongCredentials,
    /// The password of the signed-in user is wrong, or the account has no password.
    #[error("the password is wrong")]
    WrongPassword,
    /// There have been too many attempts, or the counters cannot be reached.
    #[error(transparent)]
    Throttle(#[from] ThrottleError),
    /// The table cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The password cannot be hashed, or the stored hash is invalid.
    #[error(transparent)]
    Hash(#[from] HashError),
}

impl Fault for CredentialError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::WrongCredentials => FaultKind::Unauthenticated,
            Self::WrongPassword => FaultKind::Forbidden,
            Self::Throttle(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Hash(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::WrongCredentials => "invalid_credentials",
            Self::WrongPassword => "wrong_password",
            Self::Throttle(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Hash(error) => error.code(),
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttle(error) => error.retry_after(),
            Self::WrongCredentials | Self::WrongPassword | Self::Store(_) | Self::Hash(_) => None,
        }
    }
}
