//! Finding accounts and changing them, for administrators.

use dynamo::Client;
use identity::{Account, CanonicalName, Roles, UserId};

use crate::expression::exists;
use crate::item::ClaimItem;
use crate::key::Key;
use crate::table::{Config, StoreError, Table};

/// Looks accounts up and changes them.
#[derive(Clone, Debug)]
pub struct Administration(Table);

impl Administration {
    /// The accounts of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// The account with a username, or `None`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account_by_name(
        &self,
        name: &CanonicalName,
    ) -> Result<Option<Account>, StoreError> {
        let Some(claim) = self.0.get::<ClaimItem>(Key::username(name)).await? else {
            return Ok(None);
        };
        self.0.account(claim.user_id).await
    }

    /// Replaces the roles of an account. Checked routes notice at once, routes by token when the token
    /// expires.
    ///
    /// # Errors
    /// When the account does not exist, or the table cannot be written.
    pub async fn set_roles(&self, id: UserId, roles: &Roles) -> Result<(), StoreError> {
        let update = self.0.update(Key::account(id)).when(exists()).set("roles", roles);
        update.send().await?.or_absent()
    }

    /// Disables an account: it cannot sign in, and its sessions end for good, even if it is enabled again.
    /// Routes by token notice when the token expires.
    ///
    /// # Errors
    /// When the account does not exist, or the table cannot be written.
    pub async fn disable(&self, id: UserId) -> Result<(), StoreError> {
        let update = self.0.update(Key::account(id)).when(exists());
        update.set("disabled", true).add("ver", 1).send().await?.or_absent()
    }

    /// Enables an account again.
    ///
    /// # Errors
    /// When the account does not exist, or the table cannot be written.
    pub async fn enable(&self, id: UserId) -> Result<(), StoreError> {
        let update = self.0.update(Key::account(id)).when(exists());
        update.set("disabled", false).send().await?.or_absent()
    }
}
