//! What is known of an account, and the check of whether it may still act.

use std::future::Future;

use jiff::Timestamp;

use crate::{Email, Fault, FaultKind, Roles, SessionId, UserId, Username};

/// An account as everybody but the hasher of passwords knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `sub` of its tokens.
    pub id: UserId,
    /// The name in the form first given.
    pub username: Username,
    /// The address, if it has one.
    pub email: Option<Email>,
    /// Whether the owner has shown that mail to the address arrives.
    pub email_standing: EmailStanding,
    /// An address that it was registered with and that is not claimed before it is verified. Until
    /// then it is nobody's: it proves nothing, and nothing but the mail that verifies it is sent there.
    pub pending_email: Option<Email>,
    /// What it may do.
    pub roles: Roles,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Whether it may act at all.
    pub standing: Standing,
    /// The session epoch (`ver` of a token): raised to end every session at once.
    pub ver: u64,
}

/// Whether an account may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Active,
    /// An administrator has disabled it.
    Disabled,
}

/// Whether the address of an account has been verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailStanding {
    /// Mail to it has been shown to arrive.
    Verified,
    /// It has only been claimed.
    Unverified,
}

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
