//! Builders for writes to the table, such as `table.update(key).when(…).set(…)`. A write is either sent on its own
//! or becomes part of a transaction (`into()`).

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{self, ReturnValue, TransactWriteItem};
use dynamo::Operation;
use identity::UserId;
use serde::Serialize;
use serde_dynamo::string_set::StringSet;

use crate::expression::{Change, Condition, Expressions, attribute_value};
use crate::item::{Item, StoredItem};
use crate::key::Key;
use crate::table::{StoreError, Table};

/// The outcome of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the condition may have failed"]
pub(crate) enum Written<T> {
    /// The condition held, and the item was written.
    Done(T),
    /// The condition failed, and nothing was written.
    Refused(T),
}

impl<T> Written<T> {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// Converts a refused write to [`StoreError::Absent`], for a write whose condition is that the account exists.
    pub(crate) fn or_absent(self) -> Result<T, StoreError> {
        match self {
            Self::Done(done) => Ok(done),
            Self::Refused(_) => Err(StoreError::Absent),
        }
    }
}

/// Creates or replaces an item.
pub(crate) struct Put<'a> {
    table: &'a Table,
    item: Item,
    condition: Option<Condition>,
}

/// Changes attributes of an item, and creates the item if it does not exist.
pub(crate) struct Update<'a> {
    table: &'a Table,
    key: Key,
    condition: Option<Condition>,
    changes: Vec<Change>,
}

impl Table {
    pub(crate) fn put(&self, key: Key, item: &impl StoredItem) -> Result<Put<'_>, StoreError> {
        Ok(Put { table: self, item: item.with_key(key)?, condition: None })
    }

    pub(crate) fn update(&self, key: Key) -> Update<'_> {
        Update { table: self, key, condition: None, changes: Vec::new() }
    }

    /// Begins an update of an account. The update also raises the account's revision.
    pub(crate) fn update_account(&self, id: UserId) -> Update<'_> {
        self.update(Key::account(id)).add("revision", 1)
    }

    /// Builds the part of a transaction that deletes an item if `condition` holds.
    pub(crate) fn delete_when(&self, key: Key, condition: Condition) -> TransactWriteItem {
        self.delete_part(key, Some(condition))
    }

    /// Builds the part of a transaction that deletes an item, if it exists.
    pub(crate) fn delete_any(&self, key: Key) -> TransactWriteItem {
        self.delete_part(key, None)
    }

    fn delete_part(&self, key: Key, condition: Option<Condition>) -> TransactWriteItem {
        let written = Expressions::new(condition, Vec::new());
        let delete = types::Delete::builder()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .set_condition_expression(written.condition)
            .set_expression_attribute_names(written.names)
            .set_expression_attribute_values(written.values)
            .build()
            .expect("table and key are set");
        TransactWriteItem::builder().delete(delete).build()
    }

    /// Builds the part of a transaction that checks a condition on an item without writing the item.
    pub(crate) fn check(&self, key: Key, condition: Condition) -> TransactWriteItem {
        let written = Expressions::new(Some(condition), Vec::new());
        let check = types::ConditionCheck::builder()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .set_condition_expression(written.condition)
            .set_expression_attribute_names(written.names)
            .set_expression_attribute_values(written.values)
            .build()
            .expect("table, key and condition are set");
        TransactWriteItem::builder().condition_check(check).build()
    }
}

impl Put<'_> {
    pub(crate) fn when(self, condition: Condition) -> Self {
        Self { condition: Some(condition), ..self }
    }

    pub(crate) async fn send(self) -> Result<Written<()>, StoreError> {
        let written = Expressions::new(self.condition, Vec::new());
        let put = self
            .table
            .client
            .put_item()
            .table_name(&self.table.name)
            .set_item(Some(self.item))
            .set_condition_expression(written.condition)
            .set_expression_attribute_names(written.names)
            .set_expression_attribute_values(written.values);
        match put.run().await {
            Ok(_) => Ok(Written::Done(())),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(Written::Refused(())),
                _ => Err(error.into()),
            },
        }
    }
}

impl From<Put<'_>> for TransactWriteItem {
    fn from(put: Put<'_>) -> Self {
        let written = Expressions::new(put.condition, Vec::new());
        let put = types::Put::builder()
            .table_name(&put.table.name)
            .set_item(Some(put.item))
            .set_condition_expression(written.condition)
            .set_expression_attribute_names(written.names)
            .set_expression_attribute_values(written.values)
            .build()
            .expect("table and item are set");
        Self::builder().put(put).build()
    }
}

impl Update<'_> {
    pub(crate) fn when(self, condition: Condition) -> Self {
        Self { condition: Some(condition), ..self }
    }

    pub(crate) fn set(self, name: &'static str, value: impl Serialize) -> Self {
        self.with(Change::Set(name, attribute_value(value)))
    }

    /// Sets an attribute unless the item already has it.
    pub(crate) fn set_if_absent(self, name: &'static str, value: impl Serialize) -> Self {
        self.with(Change::SetIfAbsent(name, attribute_value(value)))
    }

    /// Sets an attribute to the value that `from` had before the update.
    pub(crate) fn copy(self, name: &'static str, from: &'static str) -> Self {
        self.with(Change::Copy(name, from))
    }

    /// Adds to a number. An absent attribute counts as zero.
    pub(crate) fn add(self, name: &'static str, number: i64) -> Self {
        self.with(Change::Add(name, attribute_value(number)))
    }

    /// Adds strings to a set of strings. The set need not exist.
    pub(crate) fn add_to_set(self, name: &'static str, strings: impl Serialize) -> Self {
        self.with(Change::Add(name, attribute_value(StringSet(strings))))
    }

    /// Removes strings from a set of strings.
    pub(crate) fn remove_from_set(self, name: &'static str, strings: impl Serialize) -> Self {
        self.with(Change::Take(name, attribute_value(StringSet(strings))))
    }

    pub(crate) fn remove(self, name: &'static str) -> Self {
        self.with(Change::Remove(name))
    }

    fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    pub(crate) async fn send(self) -> Result<Written<()>, StoreError> {
        Ok(match self.execute(None).await? {
            Written::Done(_) => Written::Done(()),
            Written::Refused(_) => Written::Refused(()),
        })
    }

    /// Sends the update. Returns the item as it was before the update, or as it was when the condition failed.
    pub(crate) async fn returning_old<T: StoredItem>(
        self,
    ) -> Result<Written<Option<T>>, StoreError> {
        self.execute(Some(ReturnValue::AllOld)).await?.parse()
    }

    /// Sends the update. Returns the item as it is after the update, or as it was when the condition failed.
    pub(crate) async fn returning_new<T: StoredItem>(
        self,
    ) -> Result<Written<Option<T>>, StoreError> {
        self.execute(Some(ReturnValue::AllNew)).await?.parse()
    }

    async fn execute(
        self,
        returned: Option<ReturnValue>,
    ) -> Result<Written<Option<Item>>, StoreError> {
        let written = Expressions::new(self.condition, self.changes);
        let on_failure =
            returned.is_some().then_some(types::ReturnValuesOnConditionCheckFailure::AllOld);
        let update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(self.key.attributes()))
            .set_condition_expression(written.condition)
            .update_expression(written.update)
            .set_expression_attribute_names(written.names)
            .set_expression_attribute_values(written.values)
            .set_return_values(returned)
            .set_return_values_on_condition_check_failure(on_failure);
        match update.run().await {
            Ok(output) => Ok(Written::Done(output.attributes)),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Written::Refused(failed.item().cloned()))
                }
                _ => Err(error.into()),
            },
        }
    }
}

impl Written<Option<Item>> {
    fn parse<T: StoredItem>(self) -> Result<Written<Option<T>>, StoreError> {
        let parse = |item: Option<Item>| {
            // For an item that does not exist, some emulators return only the key.
            let exists = |item: &Item| item.keys().any(|name| name != "pk" && name != "sk");
            item.filter(exists).map(T::parse).transpose()
        };
        Ok(match self {
            Self::Done(item) => Written::Done(parse(item)?),
            Self::Refused(item) => Written::Refused(parse(item)?),
        })
    }
}

impl From<Update<'_>> for TransactWriteItem {
    fn from(update: Update<'_>) -> Self {
        let written = Expressions::new(update.condition, update.changes);
        let update = types::Update::builder()
            .table_name(&update.table.name)
            .set_key(Some(update.key.attributes()))
            .set_condition_expression(written.condition)
            .update_expression(written.update)
            .set_expression_attribute_names(written.names)
            .set_expression_attribute_values(written.values)
            .build()
            .expect("table, key and update are set");
        Self::builder().update(update).build()
    }
}
