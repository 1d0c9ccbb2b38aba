//! The check that an account and its session are still valid.

use std::future::Future;

use identity::{Account, Authentication, SessionEpoch, SessionId, UserId};
use jiff::Timestamp;
use process::{Fault, FaultKind};

/// A session as read during a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSession {
    /// When the session began.
    pub created_at: Timestamp,
    /// The account's epoch at the time of login.
    pub epoch: SessionEpoch,
    /// When the session expires. This crate compares it with the clock, because the table's TTL deletes items late.
    pub expires_at: Timestamp,
    /// When and how the user last authenticated.
    pub authentication: Authentication,
}

/// The account and the session that a check found. Either may no longer exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The account, if it still exists.
    pub account: Option<Account>,
    /// The session, if it has not ended.
    pub session: Option<LiveSession>,
}

/// Reads the current account and session, with strong consistency.
///
/// An implementation only reads. This crate decides whether the caller is admitted.
pub trait AccountCheck: Send + Sync + 'static {
    /// Reads an account and a session concurrently.
    ///
    /// # Errors
    /// When one of them cannot be read. The caller is then refused.
    fn find(
        &self,
        user: UserId,
        session: SessionId,
    ) -> impl Future<Output = Result<Found, CheckError>> + Send;
}

/// The reason why the account or its session could not be read.
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
