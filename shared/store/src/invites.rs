//! Invitations to register.

use dynamo::Client;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::item::stored_items;
use crate::key::Key;
use crate::table::{Config, StoreError, Table};

/// Creates and checks invitations. [`Registrations`](crate::Registrations) redeems them.
#[derive(Clone, Debug)]
pub struct Invites(Table);

/// The stored form of an invitation. Its key is a MAC of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct InviteItem {
    created_at: Timestamp,
    /// The table's TTL attribute, in seconds since 1970.
    expires_at: i64,
}

stored_items!(InviteItem);

impl Invites {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Creates an invitation. `tag` is a MAC of its code. The code itself is not stored.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn make(
        &self,
        tag: &str,
        created_at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let expires_at = expires_at.as_second();
        let invite = InviteItem { created_at, expires_at };
        // This write has no condition: the code is new and has 128 random bits, so no other item has this key,
        // and a retry after a lost answer must not fail because of the first attempt's write.
        self.0.put(Key::invite(tag), &invite)?.send().await.map(drop)
    }

    /// Whether the invitation exists and has not expired.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn is_valid(&self, tag: &str, now: Timestamp) -> Result<bool, StoreError> {
        let invite = self.0.get::<InviteItem>(Key::invite(tag)).await?;
        Ok(invite.is_some_and(|invite| now.as_second() < invite.expires_at))
    }
}
