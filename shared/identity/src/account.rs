//! User accounts.

use jiff::Timestamp;

use crate::{Email, Roles, SessionEpoch, UserId, Username};

/// An account, without its password hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user id: `sub` of the account's tokens.
    pub id: UserId,
    /// The username as given at registration.
    pub username: Username,
    /// The email address, if the account has one.
    pub email: Option<Email>,
    /// Whether the address has been verified.
    pub email_standing: EmailStanding,
    /// An address given at registration that the account claims only once it is verified. Until then it
    /// belongs to no account, and only the verification email is sent there.
    pub pending_email: Option<Email>,
    /// The roles, which determine what the account may do.
    pub roles: Roles,
    /// The time of registration.
    pub created_at: Timestamp,
    /// Whether the account is active or disabled.
    pub standing: Standing,
    /// The session epoch (`ver` of a token). Raising it ends every session immediately.
    pub epoch: SessionEpoch,
}

/// Whether an account may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The account may act.
    Active,
    /// An administrator has disabled the account.
    Disabled,
}

/// Whether the address of an account has been verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailStanding {
    /// The owner has used a code that was mailed to the address.
    Verified,
    /// The account has claimed the address, but the owner has not confirmed it.
    Unverified,
}
