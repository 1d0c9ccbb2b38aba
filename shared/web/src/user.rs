//! The representation of a user in answers.

use identity::{Account, Attributes, Email, EmailStanding, Roles, Standing, UserId, Username};
use jiff::Timestamp;
use serde::Serialize;

/// An account as its owner sees it.
#[derive(Clone, Debug, Serialize)]
pub struct UserBody {
    id: UserId,
    username: Username,
    email: Option<Email>,
    email_verified: bool,
    roles: Roles,
    created_at: Timestamp,
    disabled: bool,
}

/// An account as administrators see it.
#[derive(Clone, Debug, Serialize)]
pub struct UserDetails {
    #[serde(flatten)]
    user: UserBody,
    attributes: Attributes,
    /// The kinds of enrolled second factors.
    factors: [&'static str; 0],
    last_login_at: Option<Timestamp>,
}

impl From<Account> for UserDetails {
    fn from(account: Account) -> Self {
        Self {
            attributes: account.attributes.clone(),
            factors: [],
            last_login_at: account.last_login_at,
            user: account.into(),
        }
    }
}

impl From<Account> for UserBody {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            username: account.username,
            // An address given at registration is shown before it is verified, with `email_verified` false.
            email: account.email.or(account.pending_email),
            email_verified: account.email_standing == EmailStanding::Verified,
            roles: account.roles,
            created_at: account.created_at,
            disabled: account.standing == Standing::Disabled,
        }
    }
}
