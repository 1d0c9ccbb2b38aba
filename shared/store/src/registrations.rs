//! Creating accounts.

use auth::{Account, Email, EmailStanding, Fault, FaultKind, Roles, Standing, UserId, Username};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use dynamo::Client;
use jiff::Timestamp;
use serde::Serialize;

use crate::Secret;
use crate::item::{self, AccountItem, ClaimItem, PasswordItem};
use crate::key::Key;
use crate::table::{Config, StoreError, Table};

/// Creates accounts.
#[derive(Clone, Debug)]
pub struct Registrations(Table);

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub username: Username,
    /// Its address, claimed at once and not verified.
    pub email: Option<Email>,
    /// Its roles.
    pub roles: Roles,
    /// The hash of its password.
    pub password: Secret,
    /// The time of registration.
    pub created_at: Timestamp,
}

/// The epoch of a new account.
const FIRST_VER: u64 = 1;

/// The items of the transaction, in its order, by which a failed condition is told.
const USERNAME_CLAIM: usize = 0;
const EMAIL_CLAIM: usize = 3;

impl Registrations {
    /// The registrations of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Creates an account with its claims to name and address, or nothing at all.
    ///
    /// One transaction with a condition on each item: of any number that race for a name, one gets
    /// it.
    ///
    /// # Errors
    /// When name or address is taken, or the table cannot be written.
    pub async fn create(&self, new: NewAccount) -> Result<Account, RegisterError> {
        let NewAccount { id, username, email, roles, password, created_at } = new;
        let claim = ClaimItem { user_id: id, username: username.clone() };
        let name = username.canonical().clone();
        let address = email.as_ref().map(|email| email.canonical().clone());
        let account = Account {
            id,
            username,
            email,
            email_standing: EmailStanding::Unverified,
            roles,
            created_at,
            standing: Standing::Active,
            ver: FIRST_VER,
        };
        let hash = password.expose().to_owned();
        let mut puts = vec![
            self.put_new(Key::username(&name), &claim)?,
            self.put_new(Key::password(&name), &PasswordItem { hash })?,
            self.put_new(Key::account(id), &AccountItem::from(account.clone()))?,
        ];
        if let Some(address) = &address {
            puts.push(self.put_new(Key::email(address), &claim)?);
        }
        let sent = self.0.client.transact_write_items().set_transact_items(Some(puts)).send().await;
        match sent {
            Ok(_) => Ok(account),
            Err(error) => Err(match taken(error.as_service_error()) {
                Some(USERNAME_CLAIM) => RegisterError::UsernameTaken,
                Some(EMAIL_CLAIM) => RegisterError::EmailTaken,
                _ => StoreError::from(error).into(),
            }),
        }
    }

    fn put_new(&self, key: Key, item: &impl Serialize) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.0.name)
            .set_item(Some(item::with_key(key, item)?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .expect("table and item are set");
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

/// The first item whose condition failed.
fn taken(error: Option<&TransactWriteItemsError>) -> Option<usize> {
    let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error else {
        return None;
    };
    let mut reasons = canceled.cancellation_reasons().iter();
    reasons.position(|reason| reason.code() == Some("ConditionalCheckFailed"))
}

/// An account could not be created.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Somebody has the username.
    #[error("the username is taken")]
    UsernameTaken,
    /// Somebody has the address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// The table.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault for RegisterError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::UsernameTaken | Self::EmailTaken => FaultKind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }
}
