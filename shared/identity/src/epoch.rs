//! The session epoch of an account.

use serde::{Deserialize, Serialize};

/// The session epoch of an account. Raising it ends all sessions of the account: sessions, tokens and codes of
/// another epoch are invalid. In tokens and in the database, the epoch is the number `ver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionEpoch(u64);

impl SessionEpoch {
    /// The epoch of a new account.
    pub const FIRST: Self = Self(1);

    /// The epoch with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The epoch after this one.
    ///
    /// # Panics
    /// After 2^64 epochs.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
