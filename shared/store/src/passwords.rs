//! Changing a password.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use dynamo::Client;
use identity::Account;

use crate::Secret;
use crate::item::{self, PasswordItem};
use crate::key::Key;
use crate::logins::NewSession;
use crate::outbox::NewMail;
use crate::sessions::{Session, SessionLimits};
use crate::table::{Config, StoreError, Table};

/// Changes passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    table: Table,
    limits: SessionLimits,
}

/// Reads the hashes of passwords.
#[derive(Clone, Debug)]
pub struct Hashes(Table);

impl Hashes {
    /// The passwords of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// The hash of an account's password, or `None` when it has none.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn of(&self, account: &Account) -> Result<Option<Secret>, StoreError> {
        let key = Key::password(account.username.canonical());
        let password = self.0.get::<PasswordItem>(key).await?;
        Ok(password.map(|password| Secret::new(password.hash)))
    }
}

/// The outcome of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The password is the new one, all sessions have ended, and this one has begun.
    Done(Box<Session>),
    /// The account's epoch or its password had changed before, so nothing was changed.
    Meanwhile,
}

impl Passwords {
    /// The passwords of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client, limits: SessionLimits) -> Self {
        Self { table: Table::new(config, client), limits }
    }

    /// Replaces the hash `old` by `new`, ends all sessions of the account by raising its epoch, begins
    /// `session` in the new epoch, and requests `notice`, if any; or does nothing at all. This is one
    /// transaction, with the condition that `account` and `old` are still current. A notice that cannot be
    /// written does not prevent the change.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn change(
        &self,
        account: &Account,
        old: &Secret,
        new: Secret,
        session: NewSession,
        notice: Option<&NewMail>,
    ) -> Result<Changed, StoreError> {
        let number = |n: u64| AttributeValue::N(n.to_string());
        let text = |secret: &Secret| AttributeValue::S(secret.expose().to_owned());
        let epoch = Update::builder()
            .table_name(&self.table.name)
            .set_key(Some(Key::account(account.id).attributes()))
            .condition_expression("#ver = :read AND #disabled = :no")
            .update_expression("SET #ver = :next, password_ver = :next")
            .expression_attribute_names("#ver", "ver")
            .expression_attribute_names("#disabled", "disabled")
            .expression_attribute_values(":read", number(account.ver))
            .expression_attribute_values(":next", number(account.ver + 1))
            .expression_attribute_values(":no", AttributeValue::Bool(false))
            .build()
            .expect("table, key and update are set");
        let password = Update::builder()
            .table_name(&self.table.name)
            .set_key(Some(Key::password(account.username.canonical()).attributes()))
            .condition_expression("#hash = :old")
            .update_expression("SET #hash = :new, #ver = :next")
            .expression_attribute_names("#hash", "hash")
            .expression_attribute_names("#ver", "ver")
            .expression_attribute_values(":old", text(old))
            .expression_attribute_values(":new", text(&new))
            .expression_attribute_values(":next", number(account.ver + 1))
            .build()
            .expect("table, key and update are set");
        let id = session.id;
        let item = session.item(&self.limits);
        let begun = Put::builder()
            .table_name(&self.table.name)
            .set_item(Some(item::with_key(Key::session(account.id, id), &item)?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .expect("table and item are set");
        let change = vec![
            TransactWriteItem::builder().update(epoch).build(),
            TransactWriteItem::builder().update(password).build(),
            TransactWriteItem::builder().put(begun).build(),
        ];
        let failed = match notice {
            Some(notice) => self.table.transact_and_tell(change, account.id, notice).await?,
            None => self.table.transact(change).await?,
        };
        if failed.is_empty() {
            Ok(Changed::Done(Box::new(Session::of(id, item)?)))
        } else {
            Ok(Changed::Meanwhile)
        }
    }
}
