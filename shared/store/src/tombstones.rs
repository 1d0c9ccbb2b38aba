//! Tombstones keep the names of deleted accounts from being claimed for a while. Otherwise, somebody could inherit a
//! deleted user's access to another system that identifies users by name.
//!
//! A tombstone contains no name. Its key is a tag, a MAC of the name ([`NameTagger`]).

use aws_sdk_dynamodb::types::TransactWriteItem;
use identity::{NameTagger, UniqueName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::expression::{absent, attribute};
use crate::item::stored_items;
use crate::key::Key;
use crate::table::{StoreError, Table};
use crate::write::Put;

/// The stored form of a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tombstone {
    /// The time from which the name can be claimed again, in seconds since 1970. This is the table's TTL attribute.
    expires_at: i64,
}

stored_items!(Tombstone);

impl Table {
    /// Builds the checks that no tombstone keeps `name` from being claimed. Every transaction that claims a name
    /// contains them.
    pub(crate) fn no_tombstone(
        &self,
        name: UniqueName<'_>,
        tagger: &dyn NameTagger,
        now: Timestamp,
    ) -> Vec<TransactWriteItem> {
        let check = |tag: String| {
            let free = absent().or(attribute("expires_at").at_most(now.as_second()));
            self.check(Key::tombstone(&tag), free)
        };
        tagger.tags(name).into_iter().map(check).collect()
    }

    /// Builds the write that keeps `name` from being claimed until `until`. It replaces an earlier tombstone.
    pub(crate) fn tombstone(
        &self,
        name: UniqueName<'_>,
        tagger: &dyn NameTagger,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Put<'_>, StoreError> {
        let tombstone = Tombstone { expires_at: until.as_second() };
        self.put(Key::tombstone(&tagger.tag(name, now)), &tombstone)
    }

    /// Whether a tombstone keeps `name` from being claimed.
    pub(crate) async fn has_tombstone(
        &self,
        name: UniqueName<'_>,
        tagger: &dyn NameTagger,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        for tag in tagger.tags(name) {
            let tombstone = self.get::<Tombstone>(Key::tombstone(&tag)).await?;
            if tombstone.is_some_and(|tombstone| tombstone.expires_at > now.as_second()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
