//! The check of whether an account and a session may still act.

use std::future::Future;

use identity::{Account, SessionId, UserId};
use jiff::Timestamp;
use process::{Fault, FaultKind};

/// What a session is at the moment of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSession {
    /// The account's epoch at the time of login.
    pub ver: u64,
    /// When it ends by itself. Compared here: a table's TTL only sweeps.
    pub expires_at: Timestamp,
}

/// What a check found: either may be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The account, unless it is gone.
    pub account: Option<Account>,
    /// The session, unless it has ended.
    pub session: Option<LiveSession>,
}

/// Reads an account and a session as they are now, strongly consistent.
///
/// It reads; what follows from what it finds is decided in this crate.
pub trait AccountCheck: Send + Sync + 'static {
    /// Reads both concurrently.
    ///
    /// # Errors
    /// When either could not be read: the caller is then refused.
    fn find(
        &self,
        user: UserId,
        session: SessionId,
    ) -> impl Future<Output = Result<Found, CheckError>> + Send;
}

/// The account could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The database does not answer.
    #[error("the account could not be read")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The stored account is malformed.
    #[error("the stored account is invalid")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Fault for CheckError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Unavailable(_) => FaultKind::Unavailable,
            Self::Unusable(_) => FaultKind::Internal,
        }
    }
}
