//! The items of the users' table, typed.

use std::collections::HashMap;

use auth::{Account, Email, EmailStanding, LiveSession, Roles, Standing, UserId, Username};
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::key::Key;

/// An item with its key, as DynamoDB takes it.
pub(crate) fn with_key(
    key: Key,
    item: &impl Serialize,
) -> Result<HashMap<String, AttributeValue>, StoreError> {
    let mut attributes: HashMap<String, AttributeValue> =
        serde_dynamo::to_item(item).map_err(StoreError::unusable)?;
    attributes.extend(key.attributes());
    Ok(attributes)
}

/// An item out of what DynamoDB gave. Key attributes and those of later versions are passed over.
pub(crate) fn parse<T: DeserializeOwned>(
    attributes: HashMap<String, AttributeValue>,
) -> Result<T, StoreError> {
    serde_dynamo::from_item(attributes).map_err(StoreError::unusable)
}

/// An account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountItem {
    id: UserId,
    username: Username,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<Email>,
    email_verified: bool,
    roles: Roles,
    created_at: Timestamp,
    disabled: bool,
    ver: u64,
}

impl From<Account> for AccountItem {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            username: account.username,
            email: account.email,
            email_verified: account.email_standing == EmailStanding::Verified,
            roles: account.roles,
            created_at: account.created_at,
            disabled: account.standing == Standing::Disabled,
            ver: account.ver,
        }
    }
}

impl From<AccountItem> for Account {
    fn from(item: AccountItem) -> Self {
        Self {
            id: item.id,
            username: item.username,
            email: item.email,
            email_standing: if item.email_verified {
                EmailStanding::Verified
            } else {
                EmailStanding::Unverified
            },
            roles: item.roles,
            created_at: item.created_at,
            standing: if item.disabled { Standing::Disabled } else { Standing::Active },
            ver: item.ver,
        }
    }
}

/// The claim of an account to a name or an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClaimItem {
    pub(crate) user_id: UserId,
    /// The account's username: the way from an address to the password. Usernames do not change.
    pub(crate) username: Username,
}

/// A password's hash.
#[derive(Serialize, Deserialize)]
pub(crate) struct PasswordItem {
    pub(crate) hash: String,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionItem {
    pub(crate) created_at: Timestamp,
    pub(crate) last_used_at: Timestamp,
    /// In seconds since 1970: the table's TTL attribute.
    pub(crate) expires_at: i64,
    /// How often the session has rotated.
    pub(crate) counter: u64,
    /// The account's epoch at the time of login.
    pub(crate) ver: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<String>,
}

impl TryFrom<SessionItem> for LiveSession {
    type Error = StoreError;

    fn try_from(item: SessionItem) -> Result<Self, StoreError> {
        let expires_at = Timestamp::from_second(item.expires_at).map_err(StoreError::unusable)?;
        Ok(Self { ver: item.ver, expires_at })
    }
}
