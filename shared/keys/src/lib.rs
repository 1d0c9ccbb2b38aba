//! The public key set in the `KeysTable`, as a [`KeySource`].
//!
//! The set is one item. A function reads it at its start and keeps it for [`FRESH_SECONDS`]. A `kid`
//! that is not in it causes one more read, at most every [`UNKNOWN_KID_SECONDS`], so that a stranger
//! with invented key ids cannot turn every request into a read. While reads fail the old set serves
//! for [`STALE_SECONDS`] more, and then nobody is let in: 503.
//!
//! Whoever can write this table can forge anyone. No function but the one that makes keys may.

use std::fmt;
use std::sync::Arc;

use auth::{
    Clock, Fault, FaultKind, KeyError, KeySetError, KeySource, PublicKey, PublicKeySet, Reader,
};
use aws_sdk_dynamodb::types::AttributeValue;
use dynamo::{Client, DynamoError};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, MutexGuard};

/// How long a set that has been read counts as fresh, in seconds.
pub const FRESH_SECONDS: i64 = 300;

/// How long beyond that it still serves while reads fail, in seconds.
pub const STALE_SECONDS: i64 = 300;

/// The shortest time between two reads for unknown key ids or after a failure, in seconds.
pub const UNKNOWN_KID_SECONDS: i64 = 10;

/// The key of the one item.
const KEY_SET: &str = "KEY_SET";

/// The attribute that holds the JWK Set.
const JWKS: &str = "jwks";

/// Which table holds the keys.
#[derive(Clone, Debug)]
pub struct Config {
    table: String,
}

impl Config {
    /// From `KEYS_TABLE`.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        Some(Self { table: reader.required("KEYS_TABLE")? })
    }
}

/// The keys of the table, kept for a while.
pub struct TableKeys {
    client: Client,
    table: String,
    clock: Arc<dyn Clock>,
    // Held over a read on purpose: of many requests that need one, the first makes it.
    cache: Mutex<Cache>,
}

impl fmt::Debug for TableKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableKeys").field("table", &self.table).finish_non_exhaustive()
    }
}

/// The last set that was read, and when reads were made.
#[derive(Default)]
struct Cache {
    set: Arc<PublicKeySet>,
    /// When `set` was read; `None` when it never was.
    read_at: Option<Timestamp>,
    /// When a read was last begun, whatever came of it.
    tried_at: Option<Timestamp>,
}

impl Cache {
    /// When the clock has been set back, what lies ahead of it counts as of now. Otherwise a set
    /// would stay fresh, and no read be made, until the clock is where it was.
    fn follow(&mut self, now: Timestamp) {
        self.read_at = self.read_at.map(|at| at.min(now));
        self.tried_at = self.tried_at.map(|at| at.min(now));
    }

    fn age(at: Option<Timestamp>, now: Timestamp) -> SignedDuration {
        at.map_or(SignedDuration::MAX, |at| now.duration_since(at))
    }

    fn may_try(&self, now: Timestamp) -> bool {
        Self::age(self.tried_at, now) >= SignedDuration::from_secs(UNKNOWN_KID_SECONDS)
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        Self::age(self.read_at, now) < SignedDuration::from_secs(FRESH_SECONDS)
    }

    fn may_serve(&self, now: Timestamp) -> bool {
        Self::age(self.read_at, now) < SignedDuration::from_secs(FRESH_SECONDS + STALE_SECONDS)
    }
}

impl TableKeys {
    /// Opens the table and reads the set. When that fails the function still starts, and each
    /// request tries again within the limits above.
    pub async fn open(config: &Config, client: Client, clock: Arc<dyn Clock>) -> Self {
        let keys = Self { client, table: config.table.clone(), clock, cache: Mutex::default() };
        let (mut cache, now) = keys.cache().await;
        keys.refresh(&mut cache, now).await;
        drop(cache);
        keys
    }

    /// The whole set, fresh or at least not too old.
    ///
    /// # Errors
    /// When it cannot be read and what was read before is too old.
    pub async fn set(&self) -> Result<Arc<PublicKeySet>, KeyError> {
        let (mut cache, now) = self.cache().await;
        if !cache.is_fresh(now) && cache.may_try(now) {
            self.refresh(&mut cache, now).await;
        }
        if cache.may_serve(now) { Ok(Arc::clone(&cache.set)) } else { Err(KeyError) }
    }

    /// The cache, and the time once it is ours: whoever waited for another's read must not compare
    /// with the time from before it.
    async fn cache(&self) -> (MutexGuard<'_, Cache>, Timestamp) {
        let mut cache = self.cache.lock().await;
        let now = self.clock.now();
        cache.follow(now);
        (cache, now)
    }

    async fn refresh(&self, cache: &mut Cache, now: Timestamp) {
        cache.tried_at = Some(now);
        match read(&self.client, &self.table).await {
            Ok(set) => {
                cache.set = Arc::new(set);
                cache.read_at = Some(now);
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the key set was not read"
            ),
        }
    }
}

impl KeySource for TableKeys {
    async fn key(&self, kid: &str) -> Result<Option<Arc<PublicKey>>, KeyError> {
        let set = self.set().await?;
        if let Some(key) = set.get(kid) {
            return Ok(Some(Arc::clone(key)));
        }
        let (mut cache, now) = self.cache().await;
        if cache.may_try(now) {
            self.refresh(&mut cache, now).await;
        }
        Ok(cache.set.get(kid).cloned())
    }
}

/// Reads the key set, strongly consistent.
///
/// # Errors
/// When the table cannot be read or what it holds is not a key set.
pub async fn read(client: &Client, table: &str) -> Result<PublicKeySet, KeysError> {
    let item = client
        .get_item()
        .table_name(table)
        .key("pk", AttributeValue::S(KEY_SET.to_owned()))
        .consistent_read(true)
        .send()
        .await
        .map_err(DynamoError::from)?
        .item
        .ok_or(KeysError::Unpublished)?;
    let jwks = item.get(JWKS).and_then(|jwks| jwks.as_s().ok()).ok_or(KeysError::Unpublished)?;
    Ok(PublicKeySet::from_json(jwks)?)
}

/// Publishes `set` in place of what was there.
///
/// For whatever makes keys, one at a time: there is nothing in the item that another writer could
/// have added meanwhile and that must be kept.
///
/// # Errors
/// When the table cannot be written.
pub async fn publish(client: &Client, table: &str, set: &PublicKeySet) -> Result<(), KeysError> {
    let jwks = serde_json::to_string(set.as_jwks()).expect("a JWK Set is JSON");
    client
        .put_item()
        .table_name(table)
        .item("pk", AttributeValue::S(KEY_SET.to_owned()))
        .item(JWKS, AttributeValue::S(jwks))
        .send()
        .await
        .map_err(DynamoError::from)?;
    Ok(())
}

/// The key set could not be read or published.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The database.
    #[error(transparent)]
    Dynamo(#[from] DynamoError),
    /// No set has been published yet.
    #[error("no key set has been published")]
    Unpublished,
    /// What has been published is not a set of ours.
    #[error("the published key set is not usable")]
    Unusable(#[from] KeySetError),
}

impl Fault for KeysError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Dynamo(error) => error.kind(),
            Self::Unpublished | Self::Unusable(_) => FaultKind::Unavailable,
        }
    }
}
