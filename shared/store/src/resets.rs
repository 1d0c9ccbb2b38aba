//! What a code by mail is good for: setting a password without the old one, and claiming an address.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};
use dynamo::Client;
use identity::{Account, Email, UserId};
use jiff::Timestamp;

use crate::Secret;
use crate::codes::Code;
use crate::item::{self, ClaimItem, PasswordItem, PasswordVer};
use crate::key::Key;
use crate::outbox::NewMail;
use crate::table::{Config, StoreError, Table};

/// Sets passwords by a code.
#[derive(Clone, Debug)]
pub struct Resets(Table);

/// Claims addresses by a code.
#[derive(Clone, Debug)]
pub struct Verifications(Table);

/// What came of using a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// It is done, and the code is used up.
    Done,
    /// The code has been used, or the account is another than it was, and nothing has been changed.
    Meanwhile,
    /// Somebody else has the address, and nothing has been changed.
    Taken,
}

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(n: u64) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

/// The condition that an account has the epoch and the address that it was read with, and is not disabled.
pub(crate) struct Unchanged {
    pub(crate) condition: String,
    pub(crate) values: Vec<(&'static str, AttributeValue)>,
}

impl Unchanged {
    pub(crate) fn of(account: &Account) -> Self {
        let mut condition = "#ver = :read AND #disabled = :disabled".to_owned();
        let mut values =
            vec![(":read", number(account.ver)), (":disabled", AttributeValue::Bool(false))];
        // As it was given, letter for letter: what is stored was read a moment ago.
        match &account.email {
            Some(email) => {
                condition.push_str(" AND #email = :email");
                values.push((":email", text(email.as_str())));
            }
            None => condition.push_str(" AND attribute_not_exists(#email)"),
        }
        Self { condition, values }
    }

    /// The names in the condition.
    pub(crate) fn names() -> HashMap<String, String> {
        ["ver", "disabled", "email"].map(|name| (format!("#{name}"), name.to_owned())).into()
    }
}

/// An update of an account that is [`Unchanged`].
struct AccountUpdate {
    update: String,
    unchanged: Unchanged,
}

impl AccountUpdate {
    fn of(account: &Account, update: &str) -> Self {
        Self { update: update.to_owned(), unchanged: Unchanged::of(account) }
    }

    fn with(mut self, name: &'static str, value: AttributeValue) -> Self {
        self.unchanged.values.push((name, value));
        self
    }

    fn build(self, table: &Table, id: UserId) -> TransactWriteItem {
        let mut update = Update::builder()
            .table_name(&table.name)
            .set_key(Some(Key::account(id).attributes()))
            .condition_expression(self.unchanged.condition)
            .update_expression(self.update)
            .set_expression_attribute_names(Some(Unchanged::names()));
        for (name, value) in self.unchanged.values {
            update = update.expression_attribute_values(name, value);
        }
        let update = update.build().expect("table, key and update are set");
        TransactWriteItem::builder().update(update).build()
    }
}

impl Resets {
    /// The passwords of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Sets the hash `new` of the password, ends all sessions of the account by raising its epoch, uses
    /// the code up and requests `notice`, if any; or does nothing at all. This is one transaction, with the
    /// conditions that the code is valid and that `account`, including its address, is still current. A
    /// notice that cannot be written does not prevent the reset.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn reset(
        &self,
        code: &Code,
        account: &Account,
        new: Secret,
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<Redeemed, StoreError> {
        let Self(table) = self;
        let raised = AccountUpdate::of(account, "SET #ver = :next, password_ver = :next")
            .with(":next", number(account.ver + 1))
            .build(table, account.id);
        // Without a condition on purpose: the account is compared in the same transaction, and a reset
        // replaces any hash, or creates the first one.
        let key = Key::password(account.username.canonical());
        let hash = new.expose().to_owned();
        let password = PasswordItem { hash, ver: PasswordVer::of(account.ver + 1) };
        let password = Put::builder()
            .table_name(&table.name)
            .set_item(Some(item::with_key(key, &password)?))
            .build()
            .expect("table and item are set");
        let items = vec![
            table.use_up(code, now),
            raised,
            TransactWriteItem::builder().put(password).build(),
        ];
        let failed = match notice {
            Some(notice) => table.transact_and_tell(items, account.id, notice).await?,
            None => table.transact(items).await?,
        };
        Ok(redeemed(&failed, None))
    }
}

impl Verifications {
    /// The addresses of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Claims the address that the code was mailed to for the account, as verified, gives up its previous
    /// address, uses the code up, and requests `notice`; or does nothing at all. This is one transaction,
    /// with the conditions that the code is valid, that `account` is still current, and that nobody else has
    /// the address. A notice that cannot be written does not prevent the claim.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn verify(
        &self,
        code: &Code,
        account: &Account,
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<Redeemed, StoreError> {
        let Self(table) = self;
        let update = "SET #email = :new, email_verified = :verified REMOVE pending_email";
        let verified = AccountUpdate::of(account, update)
            .with(":new", text(code.address.as_str()))
            .with(":verified", AttributeValue::Bool(true))
            .build(table, account.id);
        let claim = ClaimItem { user_id: account.id, username: account.username.clone() };
        let claimed = Put::builder()
            .table_name(&table.name)
            .set_item(Some(item::with_key(Key::email(code.address.canonical()), &claim)?))
            .condition_expression("attribute_not_exists(pk) OR user_id = :own")
            .expression_attribute_values(":own", text(account.id.to_string()))
            .build()
            .expect("table and item are set");
        let mut items = vec![
            table.use_up(code, now),
            verified,
            TransactWriteItem::builder().put(claimed).build(),
        ];
        let differs = |old: &&Email| old.canonical() != code.address.canonical();
        if let Some(old) = account.email.as_ref().filter(differs) {
            let given_up = Delete::builder()
                .table_name(&table.name)
                .set_key(Some(Key::email(old.canonical()).attributes()))
                .condition_expression("attribute_not_exists(pk) OR user_id = :own")
                .expression_attribute_values(":own", text(account.id.to_string()))
                .build()
                .expect("table and key are set");
            items.push(TransactWriteItem::builder().delete(given_up).build());
        }
        let failed = match notice {
            Some(notice) => table.transact_and_tell(items, account.id, notice).await?,
            None => table.transact(items).await?,
        };
        // The third of them is the claim.
        Ok(redeemed(&failed, Some(2)))
    }
}

/// The outcome of a transaction with these failed conditions. `claim` is the position of a claim that another
/// account may have.
fn redeemed(failed: &[usize], claim: Option<usize>) -> Redeemed {
    match failed {
        [] => Redeemed::Done,
        [only] if Some(*only) == claim => Redeemed::Taken,
        _ => Redeemed::Meanwhile,
    }
}
