//! The networks that are known by the names of accounts.
//!
//! A name and a network are given as tags: MACs, which reveal neither of them.

use dynamo::Client;
use futures_util::future::join_all;
use identity::{Account, EmailStanding};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::expression::attribute;
use crate::item;
use crate::key::{Key, KeyPrefix};
use crate::resets::unchanged;
use crate::table::{Config, StoreError, Table};

/// The number of items that one request reads.
const PAGE: i32 = 100;

/// Remembers the networks from which an account signs in.
#[derive(Clone, Debug)]
pub struct KnownNetworks(Table);

/// The stored form of a known network.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Known {
    /// In seconds since 1970: the table's TTL attribute.
    expires_at: i64,
}

impl KnownNetworks {
    /// The known networks in the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Until when a network is known by a name, if it is at the time `now`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn known_until(
        &self,
        who: &str,
        network: &str,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let known = self.0.get::<Known>(Key::known(who, network)).await?;
        let until = known.map(|known| Timestamp::from_second(known.expires_at)).transpose();
        Ok(until.map_err(StoreError::unusable)?.filter(|until| *until > now))
    }

    /// Whether any network is known by a name at the time `now`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn knows_any(&self, who: &str, now: Timestamp) -> Result<bool, StoreError> {
        // A page instead of one item, because expired items may not have been deleted yet.
        let mut pages = self.0.query(&KeyPrefix::known_networks(who)).page_size(PAGE).send();
        let Some(page) = pages.next().await else { return Ok(false) };
        let known = page?.items.unwrap_or_default().into_iter().map(item::parse::<Known>);
        let known = known.collect::<Result<Vec<_>, _>>()?;
        Ok(known.iter().any(|known| known.expires_at > now.as_second()))
    }

    /// Forgets all networks that are known by a name.
    ///
    /// # Errors
    /// When the table cannot be read or written. Every network whose item can be deleted is forgotten
    /// nevertheless.
    pub async fn forget(&self, who: &str) -> Result<(), StoreError> {
        let all = KeyPrefix::known_networks(who);
        let mut pages = self.0.query(&all).page_size(PAGE).send();
        let mut outcome = Ok(());
        while let Some(page) = pages.next().await {
            let items = page?.items.unwrap_or_default();
            let networks = items.iter().filter_map(|item| all.rest(item));
            let forgotten = networks.map(|network| self.0.delete(Key::known(who, network)));
            let mut forgotten = join_all(forgotten).await.into_iter();
            outcome = outcome.and(forgotten.try_for_each(|deleted| deleted.map(drop)));
        }
        outcome
    }

    /// Records that a network is known to `account` by its names `whos`, if the account still has the epoch
    /// and the address that it was read with, and if a confirmed address is still confirmed. So a login
    /// whose password is replaced concurrently makes no network known. Returns whether the condition held.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn know(
        &self,
        account: &Account,
        whos: &[&str],
        network: &str,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let Self(table) = self;
        let condition = match account.email_standing {
            EmailStanding::Verified => unchanged(account).and(attribute("email_verified").is(true)),
            EmailStanding::Unverified => unchanged(account),
        };
        let mut parts = vec![table.check(Key::account(account.id), condition)];
        let known = Known { expires_at: until.as_second() };
        for who in whos {
            // Without a condition on purpose: the record replaces an earlier one with an earlier end.
            parts.push(table.put(Key::known(who, network), &known)?.into());
        }
        Ok(table.transact(parts).await?.is_empty())
    }
}
