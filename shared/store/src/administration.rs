//! Finding accounts and changing them, for administrators.

use aws_sdk_dynamodb::types::AttributeValue;
use dynamo::Client;
use identity::{Account, CanonicalName, Roles, UserId};

use crate::item::{AccountItem, ClaimItem};
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
        Ok(self.0.get::<AccountItem>(Key::account(claim.user_id)).await?.map(Account::from))
    }

    /// Gives an account the roles `roles` in place of those it has. Checked routes see it at once;
    /// routes by token when the token expires.
    ///
    /// # Errors
    /// When there is no such account, or the table cannot be written.
    pub async fn set_roles(&self, id: UserId, roles: &Roles) -> Result<(), StoreError> {
        let roles = serde_dynamo::to_attribute_value(roles).map_err(StoreError::unusable)?;
        let names = [("#roles", "roles")];
        self.0.update_account(id, "SET #roles = :roles", &names, [(":roles", roles)]).await
    }

    /// Disables an account: it cannot sign in, and its sessions end for good, even if it is enabled again.
    /// Routes by token notice when the token expires.
    ///
    /// # Errors
    /// When there is no such account, or the table cannot be written.
    pub async fn disable(&self, id: UserId) -> Result<(), StoreError> {
        let names = [("#disabled", "disabled"), ("#ver", "ver")];
        let values = [
            (":disabled", AttributeValue::Bool(true)),
            (":one", AttributeValue::N("1".to_owned())),
        ];
        let update = "SET #disabled = :disabled, #ver = #ver + :one";
        self.0.update_account(id, update, &names, values).await
    }

    /// Enables an account again.
    ///
    /// # Errors
    /// When there is no such account, or the table cannot be written.
    pub async fn enable(&self, id: UserId) -> Result<(), StoreError> {
        let (names, values) =
            ([("#disabled", "disabled")], [(":disabled", AttributeValue::Bool(false))]);
        self.0.update_account(id, "SET #disabled = :disabled", &names, values).await
    }
}
