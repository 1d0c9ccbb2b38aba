//! The purposes of emailed codes.

use serde::{Deserialize, Serialize};

/// The purpose of an emailed code. A code for one purpose is invalid for every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailedFor {
    /// Setting a new password.
    PasswordReset,
    /// Confirming an email address.
    EmailVerification,
}

impl MailedFor {
    /// The name in MACs and in the table. It must never change.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset => "password_reset",
            Self::EmailVerification => "email_verification",
        }
    }
}
