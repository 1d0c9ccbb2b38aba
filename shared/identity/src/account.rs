//! User accounts.

use jiff::Timestamp;

use crate::{Attributes, Email, Revision, Role, Roles, SessionEpoch, UserId, Username};

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
    /// An address given at registration. The account claims the address only once it is verified. Until then, the
    /// address belongs to no account, and only the verification email is sent to it.
    pub pending_email: Option<Email>,
    /// The roles, which determine what the account may do.
    pub roles: Roles,
    /// The time of registration.
    pub created_at: Timestamp,
    /// Whether the account is active or disabled.
    pub standing: Standing,
    /// The session epoch (`ver` of a token). Raising it ends every session immediately.
    pub epoch: SessionEpoch,
    /// Facts about the account that administrators set and tokens contain.
    pub attributes: Attributes,
    /// The revision of the account. Every write raises it, except a write that only sets [`Self::last_login_at`].
    pub revision: Revision,
    /// The time of the last login, if it was recorded.
    pub last_login_at: Option<Timestamp>,
}

impl Account {
    /// Whether the account is active and has the role `super_admin`.
    #[must_use]
    pub fn is_active_super_admin(&self) -> bool {
        self.standing == Standing::Active && self.roles.contains(Role::SuperAdmin)
    }
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
