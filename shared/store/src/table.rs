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

/// The configuration of the users' table: its name.
#[derive(Clone, Debug)]
pub struct Config {
    table: String,
}

impl Config {
    /// Configures the table named `table`.
    pub fn new(table: impl Into<String>) -> Self {
        Self { table: table.into() }
    }
}

impl Settings for Config {
    /// Reads `USERS_TABLE`.
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

    /// Reads an item with strong consistency.
    pub(crate) async fn get<T: DeserializeOwned>(&self, key: Key) -> Result<Option<T>, StoreError> {
        let get = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .consistent_read(true);
        // Box the futures, here and below, because the SDK's futures are large.
        let output = Box::pin(get.send()).await?;
        output.item.map(item::parse).transpose()
    }

    /// Reads an account with strong consistency.
    pub(crate) async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        Ok(self.get::<AccountItem>(Key::account(id)).await?.map(Account::from))
    }

    /// Reads the items whose keys share a prefix, page by page, with strong consistency.
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
        let deleted = Box::pin(delete.send()).await?;
        let existed = deleted.attributes.is_some_and(|attributes| !attributes.is_empty());
        Ok(existed || unanswered.any())
    }
}

/// Why a transaction failed, if not because of its conditions.
enum TransactError {
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
    /// `user`. If the database refuses the transaction for a reason other than its conditions, the change is made
    /// without the email, because it must not depend on the email.
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
            Err(TransactError::Refused(error)) => {
                let failed = self.transact(change).await?;
                if failed.is_empty() {
                    log_owner_not_told(user, &error);
                }
                Ok(failed)
            }
            Err(TransactError::Unknown(error)) => Err(error),
        }
    }

    async fn send(&self, items: Vec<TransactWriteItem>) -> Result<Vec<usize>, TransactError> {
        let unanswered = Unanswered::default();
        let transaction = self.client.transact_write_items().set_transact_items(Some(items));
        let transaction = transaction.customize().interceptor(unanswered.clone());
        let Err(error) = Box::pin(transaction.send()).await else { return Ok(Vec::new()) };
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

/// Records whether any attempt at an operation got no answer or a server error, so that its outcome is unknown.
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
