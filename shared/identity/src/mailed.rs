//! What a code by mail is good for.

use serde::{Deserialize, Serialize};

/// What a code by mail is good for. One for the one is none for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailedFor {
    /// Setting a new password.
    PasswordReset,
    /// Showing that mail to an address arrives.
    EmailVerification,
}

impl MailedFor {
    /// Its name, in what is authenticated and where it is stored. Never changed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset => "password_reset",
            Self::EmailVerification => "email_verification",
        }
    }
}
