//! Looking accounts up and changing them, for whoever looks after them.

use auth::{Account, CanonicalName, Roles, UserId};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use dynamo::Client;

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
        let updated = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(Key::account(id).attributes()))
            .condition_expression("attribute_exists(pk)")
            .update_expression("SET #roles = :roles")
            .expression_attribute_names("#roles", "roles")
            .expression_attribute_values(":roles", roles)
            .send()
            .await;
        match updated {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(UpdateItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Err(StoreError::Absent)
            }
            Err(error) => Err(error.into()),
        }
    }
}
