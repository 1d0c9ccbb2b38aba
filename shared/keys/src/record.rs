//! The one item of the `KeysTable`: what it holds, and how it is read and written.

use auth::{GlobalEpoch, KeySetError, PublicKeySet};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use dynamo::{Client, DynamoError};
use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use process::{Fault, FaultKind};
use serde::{Deserialize, Serialize};

/// The key of the one item.
const KEY_SET: &str = "KEY_SET";

/// What a key is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, and not signing yet.
    Next,
    /// It signs.
    Active,
    /// It signs no more. Published until the last token that it may have signed has expired.
    Retired,
}

impl KeyState {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// A public key as it is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedKey {
    /// The key: public members alone.
    pub jwk: Jwk,
    /// What it is there for.
    pub state: KeyState,
    /// Since when it has been public.
    pub published_at: Timestamp,
    /// Until when it is, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

impl PublishedKey {
    /// The key's identifier.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.jwk.common.key_id.as_deref().unwrap_or_default()
    }

    /// Whether it is still public.
    #[must_use]
    pub fn is_public(&self, now: Timestamp) -> bool {
        self.not_after.is_none_or(|not_after| now < not_after)
    }
}

/// The item. Nothing in it is a secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The keys.
    pub keys: Vec<PublishedKey>,
    /// The version of the secret that they were published for.
    pub version: String,
    /// The global epoch.
    pub epoch: GlobalEpoch,
    /// How often the keys have been published: by it a writer knows that nobody was in between.
    revision: u64,
}

impl Record {
    /// The key named `kid`.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&PublishedKey> {
        self.keys.iter().find(|key| key.kid() == kid)
    }

    /// What verifiers go by.
    ///
    /// # Errors
    /// When there is no key, or one that is not usable.
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

/// What verifiers go by.
#[derive(Clone, Debug)]
pub struct Published {
    /// The keys that are public now.
    pub set: PublicKeySet,
    /// The global epoch.
    pub epoch: GlobalEpoch,
    /// Since when the key that signs is public.
    pub signing_since: Option<Timestamp>,
}

/// The table.
#[derive(Clone, Debug)]
pub struct KeysTable {
    client: Client,
    name: String,
}

impl KeysTable {
    /// The table called `name`.
    pub fn new(name: impl Into<String>, client: Client) -> Self {
        Self { client, name: name.into() }
    }

    /// What verifiers go by, strongly consistent.
    ///
    /// # Errors
    /// When the table cannot be read, or what it holds is not a key set.
    pub async fn published(&self, now: Timestamp) -> Result<Published, KeysError> {
        self.record().await?.published(now)
    }

    /// The item, read with strong consistency; an empty one if there is none.
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
            .send()
            .await
            .map_err(DynamoError::from)?;
        let Some(item) = read.item else { return Ok(Record::default()) };
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
        Ok(Record {
            keys,
            version: text("version")?.unwrap_or_default().to_owned(),
            epoch: GlobalEpoch::at(number("epoch")?),
            revision: number("revision")?.try_into().map_err(|_| KeysError::Form)?,
        })
    }

    /// Publishes `keys` in place of those in `seen`, for the version `version` of the secret. The
    /// epoch stays as it is.
    ///
    /// # Errors
    /// [`KeysError::Meanwhile`] when anything has been published since `seen` was read; or when the
    /// table cannot be written.
    pub async fn publish(
        &self,
        seen: &Record,
        keys: &[PublishedKey],
        version: &str,
    ) -> Result<(), KeysError> {
        let jwks = serde_json::to_string(keys).expect("keys are JSON");
        let revision = seen.revision + 1;
        let mut update = self
            .client
            .update_item()
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
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Err(KeysError::Meanwhile)
            }
            Err(error) => Err(DynamoError::from(error).into()),
        }
    }

    /// Raises the global epoch. It is never lowered: a lower one changes nothing.
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
            .send()
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

/// The key set could not be read or published.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeysError {
    /// The database.
    #[error(transparent)]
    Dynamo(#[from] DynamoError),
    /// No set has been published yet.
    #[error("no key set has been published")]
    Unpublished,
    /// Another set was published concurrently.
    #[error("another key set was published concurrently")]
    Meanwhile,
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
            Self::Meanwhile => FaultKind::Conflict,
            Self::Unpublished | Self::Form | Self::Unusable(_) => FaultKind::Unavailable,
        }
    }
}
