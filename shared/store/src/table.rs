//! The table: its configuration, reads, deletes and transactions, and its errors.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use auth::CheckError;
use aws_sdk_dynamodb::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::query::paginator::QueryPaginator;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValue, TransactWriteItem};
use dynamo::{Client, DynamoError, Operation};
use identity::{Account, Revision, UserId};
use process::{Fault, FaultKind, Reader, Settings};

use crate::event::Retention;
use crate::expression::{Condition, Expressions, attribute, attribute_value, exists};
use crate::item::{AccountItem, Item, StoredItem};
use crate::key::{Key, KeyPrefix};
use crate::outbox::NewMail;

/// The configuration of the users' table: its name, and how long it keeps events.
#[derive(Clone, Debug)]
pub struct Config {
    table: String,
    retention: Retention,
}

impl Config {
    /// Configures the table named `table`, with the default retention of events.
    pub fn new(table: impl Into<String>) -> Self {
        Self { table: table.into(), retention: Retention::default() }
    }

    /// Sets how long events are kept.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }
}

impl Settings for Config {
    /// Reads `USERS_TABLE` and the variable of [`Retention`].
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let table = reader.required("USERS_TABLE");
        let retention = Retention::read(reader);
        Some(Self { table: table?, retention: retention? })
    }
}

/// The maximum number of keys in a `BatchGetItem` request.
pub(crate) const BATCH: usize = 100;

/// The maximum number of requests for a batch. Each contains only the keys that earlier responses left out.
const BATCH_TRIES: usize = 8;

/// A position in a scan of the whole table.
#[derive(Clone, Debug)]
pub struct ScanPosition(Item);

impl ScanPosition {
    /// The position after an account, whether or not it still exists.
    #[must_use]
    pub fn after(id: UserId) -> Self {
        Self(Key::account(id).attributes())
    }
}

/// A part of the table.
pub(crate) struct Scanned {
    /// The items that pass the filter.
    pub(crate) items: Vec<Item>,
    /// The number of items of any kind that were read.
    pub(crate) examined: u64,
    pub(crate) next: Option<ScanPosition>,
}

/// The users' table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) retention: Retention,
}

impl Table {
    pub(crate) fn new(config: &Config, client: Client) -> Self {
        Self { client, name: config.table.clone(), retention: config.retention }
    }

    /// Reads an item with strong consistency.
    pub(crate) async fn get<T: StoredItem>(&self, key: Key) -> Result<Option<T>, StoreError> {
        let get = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .consistent_read(true);
        // Box the futures, here and below, because the SDK's futures are large.
        let output = get.run().await?;
        output.item.map(T::parse).transpose()
    }

    /// Reads an account with strong consistency.
    pub(crate) async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        Ok(self.get::<AccountItem>(Key::account(id)).await?.map(Account::from))
    }

    /// Reads the items whose keys share a prefix, page by page, with strong consistency.
    pub(crate) fn query(&self, of: &KeyPrefix) -> QueryPaginator {
        self.items_of(of).into_paginator()
    }

    /// Reads the keys of the items whose keys share a prefix, and their attribute `kind`, in pages of `size` items. Each
    /// page is read only when it is requested.
    pub(crate) fn keys_of(&self, of: &KeyPrefix, size: i32) -> QueryPaginator {
        self.items_of(of)
            .projection_expression("#pk, #sk, #kind")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_names("#sk", "sk")
            .expression_attribute_names("#kind", "kind")
            .into_paginator()
            .page_size(size)
    }

    fn items_of(&self, of: &KeyPrefix) -> QueryFluentBuilder {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .expression_attribute_values(":pk", attribute_value(&of.pk));
        // DynamoDB refuses an empty prefix.
        if of.sk.is_empty() {
            return query.key_condition_expression("pk = :pk");
        }
        query
            .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
            .expression_attribute_values(":sk", attribute_value(of.sk))
    }

    /// Reads accounts with strong consistency, in the order of `ids`, which must be distinct. Accounts that do not
    /// exist are left out.
    pub(crate) async fn accounts(&self, ids: &[UserId]) -> Result<Vec<Account>, StoreError> {
        let mut found = self.get_all(ids.iter().copied().map(Key::account)).await?;
        let in_order = ids.iter().filter_map(|id| found.remove(&Key::account(*id)));
        in_order.map(|item| Ok(AccountItem::parse(item)?.into())).collect()
    }

    /// Reads items with strong consistency, as many at once as DynamoDB permits. Absent ones are left out.
    pub(crate) async fn get_all(
        &self,
        keys: impl Iterator<Item = Key>,
    ) -> Result<HashMap<Key, Item>, StoreError> {
        // DynamoDB refuses a request with the same key twice.
        let keys: Vec<_> = keys.collect::<BTreeSet<_>>().into_iter().collect();
        let mut found = HashMap::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let mut rest: Vec<Item> = batch.iter().cloned().map(Key::attributes).collect();
            for _ in 0..BATCH_TRIES {
                let read = KeysAndAttributes::builder().set_keys(Some(rest)).consistent_read(true);
                let read = read.build().expect("keys are set");
                let get = self.client.batch_get_item().request_items(&self.name, read);
                let output = get.run().await?;
                for item in output.responses.unwrap_or_default().into_values().flatten() {
                    let key = Key::of(&item).ok_or(StoreError::Contradiction)?;
                    found.insert(key, item);
                }
                // DynamoDB returns only a part when the table is throttled, or when the response would be too large.
                let left = output.unprocessed_keys.unwrap_or_default().remove(&self.name);
                rest = left.map(|left| left.keys).unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
            }
            if !rest.is_empty() {
                return Err(StoreError::Partial);
            }
        }
        Ok(found)
    }

    /// Reads up to `limit` sort keys of a partition that follow `after`, in order and with strong consistency. Also
    /// returns whether the partition ends with them.
    pub(crate) async fn keys_after(
        &self,
        pk: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), StoreError> {
        let condition = if after.is_some() { "pk = :pk AND sk > :after" } else { "pk = :pk" };
        let mut query = self
            .client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .key_condition_expression(condition)
            .expression_attribute_values(":pk", attribute_value(pk));
        if let Some(after) = after {
            query = query.expression_attribute_values(":after", attribute_value(after));
        }
        let output = query.run().await?;
        let is_end = output.last_evaluated_key.is_none_or(|key| key.is_empty());
        let key = |mut item: Item| match item.remove("sk") {
            Some(AttributeValue::S(sk)) => Ok(sk),
            _ => Err(StoreError::Contradiction),
        };
        let keys = output.items.unwrap_or_default().into_iter().map(key);
        Ok((keys.collect::<Result<_, _>>()?, is_end))
    }

    /// Scans the next `limit` items of the table, but at most a megabyte, and returns those that pass `filter`.
    pub(crate) async fn scan(
        &self,
        from: Option<ScanPosition>,
        limit: Option<i32>,
        filter: Condition,
    ) -> Result<Scanned, StoreError> {
        let filter = Expressions::new(Some(filter), Vec::new());
        let scan = self
            .client
            .scan()
            .table_name(&self.name)
            .consistent_read(true)
            .set_limit(limit)
            .set_filter_expression(filter.condition)
            .set_expression_attribute_names(filter.names)
            .set_expression_attribute_values(filter.values)
            .set_exclusive_start_key(from.map(|from| from.0));
        let output = scan.run().await?;
        Ok(Scanned {
            examined: u64::try_from(output.scanned_count()).unwrap_or(0),
            items: output.items.unwrap_or_default(),
            next: output.last_evaluated_key.filter(|key| !key.is_empty()).map(ScanPosition),
        })
    }

    /// The condition that an account has not changed since it was read.
    pub(crate) fn is_current(account: &Account) -> Condition {
        match account.revision {
            Revision::NONE => exists().and(attribute("revision").is_absent()),
            revision => attribute("revision").is(revision),
        }
    }

    /// Deletes an item and returns whether it existed. If the item is absent but an earlier attempt got no
    /// answer, that attempt has probably deleted it, so the result is `true`.
    pub(crate) async fn delete(&self, key: Key) -> Result<bool, StoreError> {
        let unanswered = Unanswered::default();
        let delete = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .return_values(ReturnValue::AllOld)
            .customize()
            .interceptor(unanswered.clone());
        let deleted = delete.run().await?;
        let existed = deleted.attributes.is_some_and(|attributes| !attributes.is_empty());
        Ok(existed || unanswered.any())
    }
}

/// Why a transaction failed, if not because of its conditions.
pub(crate) enum TransactError {
    /// The database refused the transaction, so it was not carried out.
    Refused(StoreError),
    /// No answer showed whether the transaction was carried out.
    Unknown(StoreError),
}

impl From<TransactError> for StoreError {
    fn from(error: TransactError) -> Self {
        let (TransactError::Refused(error) | TransactError::Unknown(error)) = error;
        error
    }
}

impl Table {
    /// Carries out a transaction. Returns the positions of the items whose conditions failed. If there are none,
    /// the transaction succeeded.
    pub(crate) async fn transact(
        &self,
        items: Vec<TransactWriteItem>,
    ) -> Result<Vec<usize>, StoreError> {
        Ok(self.send(items).await?)
    }

    /// Makes `change` and requests `mail`, if any, in one transaction. The email is for the owner of the account
    /// `user`. If the database refuses the transaction permanently, for a reason other than its conditions, the change
    /// is made without the email, because it must not depend on the email. Conflicts with other transactions and
    /// throttling are transient: otherwise, somebody who causes them could change an account without a notice to its
    /// owner.
    ///
    /// A transaction that may have been carried out is not sent again without the email: if it was carried out,
    /// its own change would make the conditions fail.
    pub(crate) async fn transact_with_mail(
        &self,
        change: Vec<TransactWriteItem>,
        user: UserId,
        mail: Option<&NewMail>,
    ) -> Result<Vec<usize>, StoreError> {
        let Some(mail) = mail else { return self.transact(change).await };
        let with_mail = change.iter().cloned().chain([self.mail(mail)?.into()]).collect();
        match self.send(with_mail).await {
            Ok(failed) => Ok(failed),
            Err(TransactError::Refused(error)) if error.kind() != FaultKind::Unavailable => {
                let failed = self.transact(change).await?;
                if failed.is_empty() {
                    log_owner_not_told(user, &error);
                }
                Ok(failed)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Carries out a transaction, as [`Self::transact`] does, and distinguishes the reasons for a failure.
    pub(crate) async fn send(
        &self,
        items: Vec<TransactWriteItem>,
    ) -> Result<Vec<usize>, TransactError> {
        let unanswered = Unanswered::default();
        let transaction = self.client.transact_write_items().set_transact_items(Some(items));
        let transaction = transaction.customize().interceptor(unanswered.clone());
        let Err(error) = transaction.run().await else { return Ok(Vec::new()) };
        let failed = failed(error.as_service_error());
        if !failed.is_empty() {
            return Ok(failed);
        }
        let is_refused = error.raw_response().is_some_and(|it| it.status().is_client_error());
        // If an earlier attempt had been carried out, the database would not cancel a later one with the same
        // token.
        let is_canceled = error
            .as_service_error()
            .is_some_and(TransactWriteItemsError::is_transaction_canceled_exception);
        let error = StoreError::from(error);
        // After any other transient error, the outcome of an unanswered earlier attempt remains unknown.
        let is_final = error.kind() != FaultKind::Unavailable;
        if is_refused && (is_canceled || is_final || !unanswered.any()) {
            Err(TransactError::Refused(error))
        } else {
            Err(TransactError::Unknown(error))
        }
    }
}

/// Records whether any attempt at an operation got no response or a server error, which leaves its outcome unknown.
#[derive(Clone, Debug, Default)]
struct Unanswered(Arc<AtomicBool>);

impl Unanswered {
    fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Intercept for Unanswered {
    fn name(&self) -> &'static str {
        "Unanswered"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().is_none_or(|response| response.status().is_server_error()) {
            self.0.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Logs that an account's owner was not notified of an event.
pub(crate) fn log_owner_not_told(user: UserId, error: &StoreError) {
    let (user_id, error) = (user.to_string(), error as &dyn std::error::Error);
    tracing::warn!(event = "owner_not_told", user_id, error, "security");
}

/// The positions of the items whose conditions failed in a canceled transaction. Empty if the transaction
/// failed for another reason.
fn failed(error: Option<&TransactWriteItemsError>) -> Vec<usize> {
    let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error else {
        return Vec::new();
    };
    let reasons = canceled.cancellation_reasons().iter().enumerate();
    let failed = reasons.filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"));
    failed.map(|(at, _)| at).collect()
}

/// Why reading or writing the table failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request to the database failed.
    #[error(transparent)]
    Dynamo(#[from] DynamoError),
    /// A stored item has an unexpected form.
    #[error("a stored item is invalid")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The account does not exist.
    #[error("the account does not exist")]
    Absent,
    /// The account was deleted or disabled, or all its sessions were ended, during a login.
    #[error("the account was deleted, disabled or logged out during the login")]
    Raced,
    /// The database repeatedly returned only a part of a batch.
    #[error("the database repeatedly returned only a part of a batch")]
    Partial,
    /// The database contradicts itself: for example, it reports that a condition failed, but returns an item that
    /// meets the condition.
    #[error("the database contradicts itself")]
    Contradiction,
}

impl StoreError {
    pub(crate) fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unusable(Box::new(error))
    }
}

impl<E, R> From<SdkError<E, R>> for StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        Self::Dynamo(error.into())
    }
}

impl Fault for StoreError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Dynamo(error) => error.kind(),
            Self::Unusable(_) | Self::Contradiction => FaultKind::Internal,
            Self::Partial => FaultKind::Unavailable,
            Self::Absent => FaultKind::Absent,
            Self::Raced => FaultKind::Unauthenticated,
        }
    }
}

impl From<StoreError> for CheckError {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            FaultKind::Unavailable => Self::Unavailable(error.into()),
            _ => Self::Unusable(error.into()),
        }
    }
}
