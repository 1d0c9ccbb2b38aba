//! The known networks of accounts: those from which the owners have signed in.
//!
//! A known network is stored under the account's names, which are its username and its address, so that it can be
//! looked up by the name that a login presents. Names and networks are passed as tags: MACs, which do not reveal them.

use dynamo::Client;
use futures_util::future::join_all;
use identity::{Account, EmailStanding};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::expression::attribute;
use crate::item::{StoredItem, stored_items};
use crate::key::{Key, KeyPrefix};
use crate::resets::unchanged;
use crate::table::{Config, StoreError, Table};

/// The maximum number of items that one request reads.
const PAGE: i32 = 100;

/// Remembers the networks from which an account signs in.
#[derive(Clone, Debug)]
pub struct KnownNetworks(Table);

/// The stored form of a known network.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Known {
    /// The table's TTL attribute, in seconds since 1970.
    expires_at: i64,
}

stored_items!(Known);

impl KnownNetworks {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Returns the time until which a network is known under a name, or `None` if it is not known at `now`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn known_until(
        &self,
        name: &str,
        network: &str,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let known = self.0.get::<Known>(Key::known(name, network)).await?;
        let until = known.map(|known| Timestamp::from_second(known.expires_at)).transpose();
        Ok(until.map_err(StoreError::unusable)?.filter(|until| *until > now))
    }

    /// Whether any network is known under a name at `now`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn any_known(&self, name: &str, now: Timestamp) -> Result<bool, StoreError> {
        // Read more than one item, because some may have expired without having been deleted yet.
        let mut pages = self.0.query(&KeyPrefix::known_networks(name)).page_size(PAGE).send();
        let Some(page) = pages.next().await else { return Ok(false) };
        let known = page?.items.unwrap_or_default().into_iter().map(Known::parse);
        let known = known.collect::<Result<Vec<_>, _>>()?;
        Ok(known.iter().any(|known| known.expires_at > now.as_second()))
    }

    /// Forgets all networks that are known under a name.
    ///
    /// # Errors
    /// When the table cannot be read or written. A failed deletion does not prevent the others.
    pub async fn forget(&self, name: &str) -> Result<(), StoreError> {
        let all = KeyPrefix::known_networks(name);
        let mut pages = self.0.query(&all).page_size(PAGE).send();
        let mut outcome = Ok(());
        while let Some(page) = pages.next().await {
            let items = page?.items.unwrap_or_default();
            let networks = items.iter().filter_map(|item| all.rest(item));
            let forgotten = networks.map(|network| self.0.delete(Key::known(name, network)));
            let mut forgotten = join_all(forgotten).await.into_iter();
            outcome = outcome.and(forgotten.try_for_each(|deleted| deleted.map(drop)));
        }
        outcome
    }

    /// Records that a network is known under `names`, which are names of `account`. Returns whether it was recorded.
    ///
    /// The write is conditional: the account must still have the epoch and the address that were read, and a confirmed
    /// address must still be confirmed. So if the password is replaced during a login, the login's network does not
    /// become known.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn record(
        &self,
        account: &Account,
        names: &[&str],
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
        for name in names {
            // This write has no condition: it replaces an earlier record, which would expire sooner.
            parts.push(table.put(Key::known(name, network), &known)?.into());
        }
        Ok(table.transact(parts).await?.is_empty())
    }
}
