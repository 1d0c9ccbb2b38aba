//! Pages of lists: their size ([`PageSize`]), and the cursors from which the next page continues ([`Cursors`]).
//!
//! A cursor is encrypted and authenticated with a key derived from a pepper, so a client can neither read nor create
//! one. It is valid only for the list and the filters for which it was issued.

use std::sync::Arc;

use peppers::Peppers;
use process::{Fault, FaultKind, World};
use secrets::{Cached, SecretError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The number of entries on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(usize);

impl PageSize {
    /// The maximum number of entries on a page.
    pub const MAX: usize = 100;

    /// The size that a client requests, or the default for `None`.
    ///
    /// # Errors
    /// When the size is not from 1 to [`Self::MAX`].
    pub fn of(requested: Option<i64>) -> Result<Self, PageSizeError> {
        let Some(requested) = requested else { return Ok(Self::default()) };
        let size = usize::try_from(requested).ok().filter(|size| (1..=Self::MAX).contains(size));
        size.map(Self).ok_or(PageSizeError)
    }

    /// The number of entries.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for PageSize {
    /// 50 entries.
    fn default() -> Self {
        Self(50)
    }
}

/// The requested size of a page is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be from 1 to 100")]
pub struct PageSizeError;

impl Fault for PageSizeError {
    fn kind(&self) -> FaultKind {
        FaultKind::Invalid
    }

    fn code(&self) -> &'static str {
        "out_of_range"
    }
}

/// The cursor was not issued by this deployment, or was issued for another list or for other filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("was not issued for this list")]
pub struct CursorError;

impl Fault for CursorError {
    fn kind(&self) -> FaultKind {
        FaultKind::Invalid
    }

    fn code(&self) -> &'static str {
        "invalid_cursor"
    }
}

/// Loads the keys for cursors.
#[derive(Clone, Debug)]
pub struct Cursors {
    peppers: Arc<Cached<Peppers>>,
    world: World,
}

/// Creates and reads cursors with loaded keys.
#[derive(Clone, Debug)]
pub struct Ready {
    peppers: Arc<Peppers>,
    world: World,
}

impl Cursors {
    /// Uses keys derived from `peppers`. Reads nothing yet.
    #[must_use]
    pub fn new(peppers: Arc<Cached<Peppers>>, world: &World) -> Self {
        Self { peppers, world: world.clone() }
    }

    /// Loads the keys, usually from the cache.
    ///
    /// # Errors
    /// When the peppers cannot be read.
    pub async fn ready(&self) -> Result<Ready, SecretError> {
        Ok(Ready { peppers: self.peppers.get().await?, world: self.world.clone() })
    }
}

impl Ready {
    /// Creates a cursor for a position in `list`. `list` must contain the name of the route, all filters, and the user
    /// to whom the list belongs, if any.
    #[must_use]
    pub fn cursor(&self, list: &impl Serialize, position: &impl Serialize) -> String {
        let now = self.world.clock.now();
        self.peppers.seal(&json(list), &json(position), now, &*self.world.random)
    }

    /// The position at which `cursor` continues `list`.
    ///
    /// # Errors
    /// When the cursor was not issued for this list.
    pub fn position<P: DeserializeOwned>(
        &self,
        list: &impl Serialize,
        cursor: &str,
    ) -> Result<P, CursorError> {
        let position = self.peppers.open(&json(list), cursor).ok_or(CursorError)?;
        serde_json::from_slice(&position).map_err(|_| CursorError)
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("lists and positions are JSON")
}

#[cfg(test)]
mod tests {
    use process::SystemRandom;

    use super::*;

    fn ready() -> Ready {
        Ready { peppers: Arc::new(Peppers::generate("a", &SystemRandom)), world: World::system() }
    }

    #[test]
    fn a_cursor_is_valid_only_for_its_list_and_filters() {
        let ready = ready();
        let cursor = ready.cursor(&("users", Some("admin")), &7);
        assert_eq!(ready.position(&("users", Some("admin")), &cursor), Ok(7));
        for other in [("users", Some("user")), ("users", None), ("events", Some("admin"))] {
            assert_eq!(ready.position::<i32>(&other, &cursor), Err(CursorError), "{other:?}");
        }
        // The boundary between the members of a list matters.
        let cursor = ready.cursor(&("ab", "c"), &7);
        assert_eq!(ready.position::<i32>(&("a", "bc"), &cursor), Err(CursorError));
        assert_eq!(ready.position::<i32>(&("ab", "c"), "7"), Err(CursorError));
        assert_eq!(ready.position::<String>(&("ab", "c"), &cursor), Err(CursorError));
    }

    #[test]
    fn a_page_has_from_1_to_100_entries_and_50_by_default() {
        for (requested, expected) in [
            (None, Ok(50)),
            (Some(1), Ok(1)),
            (Some(100), Ok(100)),
            (Some(0), Err(PageSizeError)),
            (Some(101), Err(PageSizeError)),
            (Some(-1), Err(PageSizeError)),
            (Some(i64::MAX), Err(PageSizeError)),
        ] {
            assert_eq!(PageSize::of(requested).map(PageSize::get), expected);
        }
    }
}
