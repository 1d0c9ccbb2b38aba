//! An account.

use jiff::Timestamp;

use crate::{Email, Roles, UserId, Username};

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
