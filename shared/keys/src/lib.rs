//! The public key set in the `KeysTable`, as a [`KeySource`].
//!
//! The set is one item, which also contains the global epoch. The other items are events that report rotations. A
//! function reads the set at startup and caches it by the rules of [`cache`]: for [`FRESH_SECONDS`], and for
//! [`STALE_SECONDS`] more while reads fail. After that, requests get a 503. A `kid` that is not in the set causes
//! another read, but at most one every [`UNKNOWN_KID_SECONDS`], so that a stranger with invented key ids cannot turn
//! every request into a read.
//!
//! Anyone who can write to this table can forge any user's tokens, so only the function that rotates keys may do so.

mod record;

use std::sync::Arc;

use auth::{GlobalEpoch, KeyError, KeySource, PublicKey, PublicKeySet};
use cache::{Cache, Lifetime, Source};
use dynamo::Client;
use jiff::SignedDuration;
use process::{Clock, Metric, Reader, Settings};
pub use record::{KeyState, KeysError, KeysTable, Published, PublishedKey, Record};

/// How long a set stays fresh after it is read, in seconds. This is both the maximum and the default.
pub const FRESH_SECONDS: i64 = 300;

/// How long a set that is no longer fresh is still served while reads fail, in seconds. If `KEYS_CACHE_SECONDS` is
/// lower, that value applies instead.
pub const STALE_SECONDS: i64 = 300;

/// The minimum number of seconds between two reads for unknown key ids.
pub const UNKNOWN_KID_SECONDS: i64 = cache::RETRY_SECONDS;

/// The name of the keys' table, and how long the keys are cached.
#[derive(Clone, Debug)]
pub struct Config {
    table: String,
    fresh: CacheSeconds,
}

impl Config {
    /// Returns the table, accessed with `client`.
    #[must_use]
    pub fn table(&self, client: Client) -> KeysTable {
        KeysTable::new(&self.table, client)
    }
}

impl Settings for Config {
    /// Reads `KEYS_TABLE` and `KEYS_CACHE_SECONDS`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let table = reader.required("KEYS_TABLE");
        let fresh = CacheSeconds::read(reader);
        Some(Self { table: table?, fresh: fresh? })
    }
}

/// How long verifiers cache the key set, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSeconds(i64);

impl CacheSeconds {
    fn lifetime(self) -> Lifetime {
        let fresh = SignedDuration::from_secs(self.0);
        Lifetime { fresh, stale: fresh.min(SignedDuration::from_secs(STALE_SECONDS)) }
    }

    /// The maximum time for which a function uses a set after reading it: while it is fresh, and then while reads
    /// fail.
    #[must_use]
    pub fn longest(self) -> SignedDuration {
        self.lifetime().longest()
    }
}

impl Settings for CacheSeconds {
    /// Reads `KEYS_CACHE_SECONDS` (1 to 300, default 300).
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let seconds = reader.optional("KEYS_CACHE_SECONDS", FRESH_SECONDS)?;
        if !(1..=FRESH_SECONDS).contains(&seconds) {
            reader.fault("KEYS_CACHE_SECONDS", "must be from 1 to 300");
        }
        Some(Self(seconds))
    }
}

/// How long clients may cache the published set (`Cache-Control: max-age`), in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAgeSeconds(u32);

impl MaxAgeSeconds {
    /// The default, which is also the maximum.
    const DEFAULT: u32 = 600;

    /// The number of seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// The same time as a duration.
    #[must_use]
    pub fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(self.0.into())
    }
}

impl Settings for MaxAgeSeconds {
    /// Reads `JWKS_MAX_AGE_SECONDS` (1 to 600, default 600).
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let seconds = reader.optional("JWKS_MAX_AGE_SECONDS", Self::DEFAULT)?;
        if !(1..=Self::DEFAULT).contains(&seconds) {
            reader.fault("JWKS_MAX_AGE_SECONDS", "must be from 1 to 600");
        }
        Some(Self(seconds))
    }
}

/// The cached keys of the table.
#[derive(Debug)]
pub struct TableKeys {
    cache: Cache<PublishedKeys>,
}

/// The key set in the table, as the source of the cache.
struct PublishedKeys {
    table: KeysTable,
    clock: Arc<dyn Clock>,
}

impl Source for PublishedKeys {
    type Value = KeysInUse;
    type Error = KeysError;
    const NAME: &'static str = "the key set";

    async fn read(&self) -> Result<KeysInUse, KeysError> {
        let now = self.clock.now();
        let Published { set, epoch, signing_since } = self.table.published(now).await?;
        if let Some(since) = signing_since {
            Metric::SigningKeyAge.add(now.duration_since(since).as_secs_f64());
        }
        Ok(KeysInUse { set: Arc::new(set), epoch })
    }
}

/// The set and the epoch, which are read together.
struct KeysInUse {
    set: Arc<PublicKeySet>,
    epoch: GlobalEpoch,
}

impl TableKeys {
    /// Creates an empty cache of the table's keys. Reads nothing yet.
    #[must_use]
    pub fn new(config: &Config, client: Client, clock: Arc<dyn Clock>) -> Self {
        let source = PublishedKeys { table: config.table(client), clock: Arc::clone(&clock) };
        Self { cache: Cache::new(source, config.fresh.lifetime(), clock) }
    }

    /// Reads the set when a function starts. If that fails, the function still starts, and the next request
    /// reads the set.
    pub async fn warm(&self) {
        // The cache logs a failure.
        let _ = self.cache.get().await;
    }

    /// Creates a cache of the table's keys and calls [`warm`](Self::warm).
    pub async fn open(config: &Config, client: Client, clock: Arc<dyn Clock>) -> Self {
        let keys = Self::new(config, client, clock);
        keys.warm().await;
        keys
    }

    /// Returns the whole set: a fresh one, or the previous one while reads fail.
    ///
    /// # Errors
    /// When the set cannot be read and the previous one is too old.
    pub async fn set(&self) -> Result<Arc<PublicKeySet>, KeyError> {
        let kept = self.cache.get().await.map_err(unreadable)?;
        Ok(Arc::clone(&kept.set))
    }
}

/// Drops the cause, which the cache has logged.
fn unreadable(_: KeysError) -> KeyError {
    KeyError
}

impl KeySource for TableKeys {
    async fn key(&self, kid: &str) -> Result<Option<Arc<PublicKey>>, KeyError> {
        if let Some(key) = self.set().await?.get(kid) {
            return Ok(Some(Arc::clone(key)));
        }
        let renewed = self.cache.renewed().await.map_err(unreadable)?;
        Ok(renewed.set.get(kid).cloned())
    }

    async fn epoch(&self) -> Result<GlobalEpoch, KeyError> {
        Ok(self.cache.get().await.map_err(unreadable)?.epoch)
    }
}
