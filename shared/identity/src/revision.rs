//! The revision of an account.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version number of an account. Every write to the account raises it, except a write that only records the last
/// login. A write that depends on an earlier read requires that the revision has not changed. Clients see the revision
/// as the entity tag.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    /// The revision of an account that an older version of Latchkey created and that has not changed since.
    pub const NONE: Self = Self(0);

    /// The revision of a new account.
    pub const FIRST: Self = Self(1);

    /// The revision with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The revision after this one.
    ///
    /// # Panics
    /// After 2^64 revisions.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
