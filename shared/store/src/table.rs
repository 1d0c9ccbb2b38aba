//! The table itself: which one it is, how an item is read, what can go wrong.

use auth::{CheckError, Fault, FaultKind, Reader};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use dynamo::{Client, DynamoError};
use serde::de::DeserializeOwned;

use crate::item;
use crate::key::Key;

/// Which table holds the users.
#[derive(Clone, Debug)]
pub struct Config {
    table: String,
}

impl Config {
    /// The table named `table`.
    pub fn new(table: impl Into<String>) -> Self {
        Self { table: table.into() }
    }

    /// From `USERS_TABLE`.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
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
        let output = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .consistent_read(true)
            .send()
            .await?;
        output.item.map(item::parse).transpose()
    }
}

/// The table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error(transparent)]
    Dynamo(#[from] DynamoError),
    /// An item is not what we write.
    #[error("a stored item is not usable")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no such account.
    #[error("there is no such account")]
    Absent,
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
            Self::Unusable(_) => FaultKind::Internal,
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
