//! The table: its configuration, reads, deletes and transactions, and its errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use auth::CheckError;
use aws_sdk_dynamodb::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::query::paginator::QueryPaginator;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{ReturnValue, TransactWriteItem};
use dynamo::{Client, DynamoError};
use identity::{Account, UserId};
use process::{Fault, FaultKind, Reader, Settings};
use serde::de::DeserializeOwned;

use crate::expression::attribute_value;
use crate::item::{self, AccountItem};
use crate::key::{Key, KeyPrefix};
use crate::outbox::NewMail;

/// The name of the users' table.
#[derive(Clone, Debug)]
pub struct Config {
    table: String,
}

impl Config {
    /// The table named `table`.
    pub fn new(table: impl Into<String>) -> Self {
        Self { table: table.into() }
    }
}

impl Settings for Config {
    /// From `USERS_TABLE`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        Some(Self { table: reader.required("USERS_TABLE")? })
    }
}

/// The users' table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
}

impl Table {
    pub(crate) fn new(config: &Config, client: Client) -> Self {
        Self { client, name: config.table.clone() }
    }

    /// Reads an item, strongly consistent.
    pub(crate) async fn get<T: DeserializeOwned>(&self, key: Key) -> Result<Option<T>, StoreError> {
        let get = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .consistent_read(true);
        // Boxed, here and below: the SDK's futures are large.
        let output = Box::pin(get.send()).await?;
        output.item.map(item::parse).transpose()
    }

    /// Reads an account, strongly consistent.
    pub(crate) async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        Ok(self.get::<AccountItem>(Key::account(id)).await?.map(Account::from))
    }

    /// Reads the items with a common key prefix, page by page, strongly consistent.
    pub(crate) fn query(&self, of: &KeyPrefix) -> QueryPaginator {
        self.client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
            .expression_attribute_values(":pk", attribute_value(&of.pk))
            .expression_attribute_values(":sk", attribute_value(of.sk))
            .into_paginator()
    }

    /// Deletes an item. Returns whether it existed. If it does not exist but an earlier attempt got no
    /// answer, that attempt has probably deleted it, so the result is true.
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
        let deleted = Box::pin(delete.send()).await?;
        let was_there = deleted.attributes.is_some_and(|attributes| !attributes.is_empty());
        Ok(was_there || unanswered.any())
    }
}

/// Why a transaction failed, other than by its conditions.
enum NotDone {
    /// The database refused it, so it was not carried out.
    Refused(StoreError),
    /// There was no answer, or none that says whether it was carried out.
    Unknown(StoreError),
}

impl From<NotDone> for StoreError {
    fn from(not_done: NotDone) -> Self {
        let (NotDone::Refused(error) | NotDone::Unknown(error)) = not_done;
        error
    }
}

impl Table {
    /// Carries out a transaction. Returns the positions of the items whose conditions failed: none if it
    /// succeeded.
    pub(crate) async fn transact(
        &self,
        items: Vec<TransactWriteItem>,
    ) -> Result<Vec<usize>, StoreError> {
        Ok(self.send(items).await?)
    }

    /// Carries out a transaction and requests `mail`, if any, which notifies the owner `user`, in the same
    /// one. If the database refuses it for a reason other than its conditions, the change is made without the
    /// mail: the change must happen; the mail is only desirable.
    ///
    /// A transaction that may have been carried out is not sent again without the mail: its own change would
    /// fail the conditions.
    pub(crate) async fn transact_and_tell(
        &self,
        change: Vec<TransactWriteItem>,
        user: UserId,
        mail: Option<&NewMail>,
    ) -> Result<Vec<usize>, StoreError> {
        let Some(mail) = mail else { return self.transact(change).await };
        let told = change.iter().cloned().chain([self.mail(mail)?.into()]).collect();
        match self.send(told).await {
            Ok(failed) => Ok(failed),
            Err(NotDone::Refused(error)) => {
                let failed = self.transact(change).await?;
                if failed.is_empty() {
                    not_told(user, &error);
                }
                Ok(failed)
            }
            Err(NotDone::Unknown(error)) => Err(error),
        }
    }

    async fn send(&self, items: Vec<TransactWriteItem>) -> Result<Vec<usize>, NotDone> {
        let unanswered = Unanswered::default();
        let transaction = self.client.transact_write_items().set_transact_items(Some(items));
        let transaction = transaction.customize().interceptor(unanswered.clone());
        let Err(error) = Box::pin(transaction.send()).await else { return Ok(Vec::new()) };
        let failed = failed(error.as_service_error());
        if !failed.is_empty() {
            return Ok(failed);
        }
        let is_refused = error.raw_response().is_some_and(|it| it.status().is_client_error());
        // A database that has carried out a transaction does not cancel a later attempt with the same token.
        let is_cancelled = error
            .as_service_error()
            .is_some_and(TransactWriteItemsError::is_transaction_canceled_exception);
        let error = StoreError::from(error);
        // No other transient error reveals the outcome of an earlier attempt without an answer.
        let is_final = error.kind() != FaultKind::Unavailable;
        if is_refused && (is_cancelled || is_final || !unanswered.any()) {
            Err(NotDone::Refused(error))
        } else {
            Err(NotDone::Unknown(error))
        }
    }
}

/// Whether the outcome of any attempt at an operation is unknown, for want of an answer.
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

/// Logs that the owner of an account gets no notice of a change that has happened.
pub(crate) fn not_told(user: UserId, error: &StoreError) {
    let (user_id, error) = (user.to_string(), error as &dyn std::error::Error);
    tracing::warn!(event = "owner_not_told", user_id, error, "security");
}

/// The positions of the items whose conditions failed, in a cancelled transaction. None if the transaction
/// failed for another reason.
fn failed(error: Option<&TransactWriteItemsError>) -> Vec<usize> {
    let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error else {
        return Vec::new();
    };
    let reasons = canceled.cancellation_reasons().iter().enumerate();
    let failed = reasons.filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"));
    failed.map(|(at, _)| at).collect()
}

/// Reading or writing the table failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not carry out the request.
    #[error(transparent)]
    Dynamo(#[from] DynamoError),
    /// A stored item has an unexpected form.
    #[error("a stored item is invalid")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The account does not exist.
    #[error("the account does not exist")]
    Absent,
    /// The database reports that a condition failed, and returns an item for which it holds.
    #[error("a condition failed although it holds")]
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
            Self::Absent => FaultKind::Absent,
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
