//! The stored hash of a password.

use std::fmt;

/// The hash of a password in its stored form. It is opaque: only the crate `passwords` interprets it, and nothing
/// displays it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash(String);

impl StoredHash {
    /// Wraps the stored text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reveals the text. Anyone who has it can guess the password offline.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", StoredHash::new("hash")), "StoredHash(..)");
    }
}
