//! Finds and changes accounts on behalf of administrators.

use dynamo::Client;
use identity::{Account, CanonicalName, Roles, UserId};

use crate::expression::exists;
use crate::item::ClaimItem;
use crate::key::Key;
use crate::table::{Config, StoreError, Table};

/// Finds and changes accounts.
#[derive(Clone, Debug)]
pub struct Administration(Table);

impl Administration {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Finds the account with this username.
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

    /// Replaces an account's roles. Checked routes apply the new roles immediately. Routes that check only the
    /// token apply the old ones until the token expires.
    ///
    /// # Errors
    /// When the account does not exist, or the table cannot be written.
    pub async fn set_roles(&self, id: UserId, roles: &Roles) -> Result<(), StoreError> {
        let update = self.0.update(Key::account(id)).when(exists()).set("roles", roles);
        update.send().await?.or_absent()
    }

    /// Disables an account: its owner cannot sign in, and its sessions end permanently, even if the account is
    /// enabled again. Routes that check only the token admit the owner until the token expires.
    ///
    /// # Errors
    /// When the account does not exist, or the table cannot be written.
    pub async fn disable(&self, id: UserId) -> Result<(), StoreError> {
        let update = self.0.update(Key::account(id)).when(exists());
        update.set("disabled", true).add("ver", 1).send().await?.or_absent()
    }

    /// Enables a disabled account again.
    ///
    /// # Errors
    /// When the account does not exist, or the table cannot be written.
    pub async fn enable(&self, id: UserId) -> Result<(), StoreError> {
        let update = self.0.update(Key::account(id)).when(exists());
        update.set("disabled", false).send().await?.or_absent()
    }
}
