//! The key set in the `KeysTable`: its content, and how it is read and written.

use std::collections::HashMap;

use auth::{GlobalEpoch, KeySetError, PublicKeySet};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use dynamo::{Client, DynamoError, Operation};
use events::Event;
use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use process::{Fault, FaultKind};
use serde::{Deserialize, Serialize};

/// The partition key of the key set.
const KEY_SET: &str = "KEY_SET";

/// The state of a published key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// The key is published, but does not sign yet.
    Next,
    /// The key signs.
    Active,
    /// The key no longer signs. It stays published until the last token that it may have signed has expired.
    Retired,
}

impl KeyState {
    /// The name in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// A published key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedKey {
    /// The key, with public members only.
    pub jwk: Jwk,
    /// The state of the key.
    pub state: KeyState,
    /// The time of publication.
    pub published_at: Timestamp,
    /// The end of publication, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

impl PublishedKey {
    /// The key's identifier.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.jwk.common.key_id.as_deref().unwrap_or_default()
    }

    /// Whether the key is still published.
    #[must_use]
    pub fn is_public(&self, now: Timestamp) -> bool {
        self.not_after.is_none_or(|not_after| now < not_after)
    }
}

/// The content of the item. Nothing in it is secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The published keys.
    pub keys: Vec<PublishedKey>,
    /// The version of the secret to which the keys belong.
    pub version: String,
    /// The global epoch.
    pub epoch: GlobalEpoch,
    /// The number of publications. A writer compares it to detect a concurrent publication.
    revision: u64,
}

impl Record {
    fn parse(item: &HashMap<String, AttributeValue>) -> Result<Self, KeysError> {
        let number = |name| match item.get(name).map(AttributeValue::as_n) {
            None => Ok(0_i64),
            Some(Ok(number)) => number.parse().map_err(|_| KeysError::Form),
            Some(Err(_)) => Err(KeysError::Form),
        };
        let text = |name| match item.get(name).map(AttributeValue::as_s) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.as_str())),
            Some(Err(_)) => Err(KeysError::Form),
        };
        let keys = match text("jwks")? {
            None => Vec::new(),
            Some(json) => serde_json::from_str(json).map_err(|_| KeysError::Form)?,
        };
        Ok(Self {
            keys,
            version: text("version")?.unwrap_or_default().to_owned(),
            epoch: GlobalEpoch::at(number("epoch")?),
            revision: number("revision")?.try_into().map_err(|_| KeysError::Form)?,
        })
    }

    /// The key with the id `kid`.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&PublishedKey> {
        self.keys.iter().find(|key| key.kid() == kid)
    }

    /// The keys and the epoch that verifiers use.
    ///
    /// # Errors
    /// When there are no keys, or a key is invalid.
    pub fn published(&self, now: Timestamp) -> Result<Published, KeysError> {
        if self.keys.is_empty() {
            return Err(KeysError::Unpublished);
        }
        let public = self.keys.iter().filter(|key| key.is_public(now));
        let set = PublicKeySet::new(JwkSet { keys: public.map(|key| key.jwk.clone()).collect() })?;
        let signing = self.keys.iter().find(|key| key.state == KeyState::Active);
        Ok(Published { set, epoch: self.epoch, signing_since: signing.map(|key| key.published_at) })
    }
}

/// The keys and the epoch that verifiers use.
#[derive(Clone, Debug)]
pub struct Published {
    /// The currently published keys.
    pub set: PublicKeySet,
    /// The global epoch.
    pub epoch: GlobalEpoch,
    /// When the signing key was published.
    pub signing_since: Option<Timestamp>,
}

/// The `KeysTable`.
#[derive(Clone, Debug)]
pub struct KeysTable {
    client: Client,
    name: String,
}

impl KeysTable {
    /// Uses the table `name`.
    pub fn new(name: impl Into<String>, client: Client) -> Self {
        Self { client, name: name.into() }
    }

    /// Reads the keys and the epoch that verifiers use, with strong consistency.
    ///
    /// # Errors
    /// When the table cannot be read, or its content is not a key set.
    pub async fn published(&self, now: Timestamp) -> Result<Published, KeysError> {
        self.record().await?.published(now)
    }

    /// Reads the item with strong consistency. Returns an empty record if there is none.
    ///
    /// # Errors
    /// When the table cannot be read, or the item is malformed.
    pub async fn record(&self) -> Result<Record, KeysError> {
        let read = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", AttributeValue::S(KEY_SET.to_owned()))
            .consistent_read(true)
            .run()
            .await
            .map_err(DynamoError::from)?;
        read.item.map_or_else(|| Ok(Record::default()), |item| Record::parse(&item))
    }

    /// Replaces the published keys with `keys`, if the published keys are still those of `seen`. `version` is the
    /// version of the secret to which `keys` belong. Records `event`, if any, in the same transaction. The epoch does
    /// not change.
    ///
    /// # Errors
    /// [`KeysError::Conflict`] when another set has been published since `seen` was read. Other errors when the table
    /// cannot be written.
    pub async fn publish(
        &self,
        seen: &Record,
        keys: &[PublishedKey],
        version: &str,
        event: Option<&Event>,
    ) -> Result<(), KeysError> {
        let jwks = serde_json::to_string(keys).expect("keys are JSON");
        let revision = seen.revision + 1;
        let mut update = Update::builder()
            .table_name(&self.name)
            .key("pk", AttributeValue::S(KEY_SET.to_owned()))
            .update_expression("SET #jwks = :jwks, #version = :version, #revision = :revision")
            .expression_attribute_names("#jwks", "jwks")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#revision", "revision")
            .expression_attribute_values(":jwks", AttributeValue::S(jwks))
            .expression_attribute_values(":version", AttributeValue::S(version.to_owned()))
            .expression_attribute_values(":revision", AttributeValue::N(revision.to_string()));
        update = if seen.revision == 0 {
            update.condition_expression("attribute_not_exists(#revision)")
        } else {
            update
                .condition_expression("#revision = :seen")
                .expression_attribute_values(":seen", AttributeValue::N(seen.revision.to_string()))
        };
        let update = update.build().expect("table, key and update are set");
        let items = [TransactWriteItem::builder().update(update).build()];
        let items = items.into_iter().chain(event.map(|event| self.event(event))).collect();
        let published = self.client.transact_write_items().set_transact_items(Some(items)).run();
        match published.await {
            Ok(_) => {
                if let Some(event) = event {
                    event.log(None);
                }
                Ok(())
            }
            Err(error) if error.as_service_error().is_some_and(is_refused) => {
                Err(KeysError::Conflict)
            }
            Err(error) => Err(DynamoError::from(error).into()),
        }
    }

    /// Builds the part of a transaction that records an event. Such events never expire: there are few of them, and
    /// they contain no personal data.
    fn event(&self, event: &Event) -> TransactWriteItem {
        let json = serde_json::to_string(event).expect("an event is JSON");
        let put = Put::builder()
            .table_name(&self.name)
            .item("pk", AttributeValue::S(format!("EVENT#{}", event.id)))
            .item("event", AttributeValue::S(json))
            .build()
            .expect("table and item are set");
        TransactWriteItem::builder().put(put).build()
    }

    /// Raises the global epoch. A lower epoch changes nothing.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn raise_epoch(&self, epoch: GlobalEpoch) -> Result<(), KeysError> {
        let raised = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("pk", AttributeValue::S(KEY_SET.to_owned()))
            .update_expression("SET #epoch = :epoch")
            .condition_expression("attribute_not_exists(#epoch) OR #epoch < :epoch")
            .expression_attribute_names("#epoch", "epoch")
            .expression_attribute_values(":epoch", AttributeValue::N(epoch.second().to_string()))
            .run()
            .await;
        match raised {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(DynamoError::from(error).into()),
        }
    }
}

/// Whether a transaction failed because a condition was not met.
fn is_refused(error: &TransactWriteItemsError) -> bool {
    let TransactWriteItemsError::TransactionCanceledException(canceled) = error else {
        return false;
    };
    let reasons = canceled.cancellation_reasons();
    reasons.iter().any(|reason| reason.code() == Some("ConditionalCheckFailed"))
}

/// The reason why the key set could not be read or published.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeysError {
    /// The database call failed.
    #[error(transparent)]
    Dynamo(#[from] DynamoError),
    /// No set has been published yet.
    #[error("no key set has been published")]
    Unpublished,
    /// Another set was published concurrently.
    #[error("another key set was published concurrently")]
    Conflict,
    /// The item is malformed.
    #[error("the published key set is malformed")]
    Form,
    /// The published set is invalid.
    #[error("the published key set is invalid")]
    Unusable(#[from] KeySetError),
}

impl Fault for KeysError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Dynamo(error) => error.kind(),
            Self::Conflict => FaultKind::Conflict,
            Self::Unpublished | Self::Form | Self::Unusable(_) => FaultKind::Unavailable,
        }
    }
}
