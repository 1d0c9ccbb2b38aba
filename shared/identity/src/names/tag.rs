//! Tags, which replace names where the names themselves must not be stored.

use jiff::Timestamp;

use super::CanonicalName;

/// A name that at most one account has at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UniqueName<'a> {
    /// A username.
    Username(&'a CanonicalName),
    /// An email address.
    Email(&'a CanonicalName),
}

/// Computes the tags of names. A tag is a MAC of a name, so the name cannot be found without the MAC's key.
pub trait NameTagger: Send + Sync {
    /// The tag of a name in new items.
    fn tag(&self, name: UniqueName<'_>, now: Timestamp) -> String;

    /// All tags that the name may have in stored items. Each key in use results in a different tag.
    fn tags(&self, name: UniqueName<'_>) -> Vec<String>;
}
