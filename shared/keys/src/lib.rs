//! The public key set in the `KeysTable`, as a [`KeySource`].
//!
//! The set is one item, and the global epoch is in it. A function reads it at its start and keeps it
//! for [`FRESH_SECONDS`]. A `kid` that is not in it causes one more read, at most every
//! [`UNKNOWN_KID_SECONDS`], so that a stranger with invented key ids cannot turn every request into a
//! read. While reads fail the old set serves for [`STALE_SECONDS`] more, and then nobody is let in:
//! 503.
//!
//! Whoever can write this table can forge anyone. No function but the one that makes keys may.

mod record;

use std::fmt;
use std::sync::Arc;

use auth::{Clock, GlobalEpoch, KeyError, KeySource, Metric, PublicKey, PublicKeySet, Reader};
use dynamo::Client;
use jiff::{SignedDuration, Timestamp};
pub use record::{KeyState, KeysError, KeysTable, Published, PublishedKey, Record};
use tokio::sync::{Mutex, MutexGuard};

/// How long a set that has been read counts as fresh, in seconds, unless configured.
pub const FRESH_SECONDS: i64 = 300;

/// How long beyond that it still serves while reads fail, in seconds.
pub const STALE_SECONDS: i64 = 300;

/// The shortest time between two reads for unknown key ids or after a failure, in seconds.
pub const UNKNOWN_KID_SECONDS: i64 = 10;

/// Which table holds the keys, and how long they are kept.
#[derive(Clone, Debug)]
pub struct Config {
    table: String,
    fresh: CacheSeconds,
}

impl Config {
    /// From `KEYS_TABLE` and `KEYS_CACHE_SECONDS`.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let table = reader.required("KEYS_TABLE");
        let fresh = CacheSeconds::read(reader);
        Some(Self { table: table?, fresh: fresh? })
    }

    /// The table.
    #[must_use]
    pub fn table(&self, client: Client) -> KeysTable {
        KeysTable::new(&self.table, client)
    }
}

/// How long verifiers keep the key set, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSeconds(i64);

impl CacheSeconds {
    /// From `KEYS_CACHE_SECONDS`: 1 to 300, 300 by default.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let seconds = reader.optional("KEYS_CACHE_SECONDS", FRESH_SECONDS)?;
        if !(1..=FRESH_SECONDS).contains(&seconds) {
            reader.fault("KEYS_CACHE_SECONDS", "must be from 1 to 300");
        }
        Some(Self(seconds))
    }

    /// As a length of time.
    #[must_use]
    pub fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(self.0)
    }
}

/// For how long anyone may keep the published set (`Cache-Control: max-age`), in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAgeSeconds(u32);

impl MaxAgeSeconds {
    /// The most, and the default.
    const DEFAULT: u32 = 600;

    /// From `JWKS_MAX_AGE_SECONDS`: 1 to 600, 600 by default.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let seconds = reader.optional("JWKS_MAX_AGE_SECONDS", Self::DEFAULT)?;
        if !(1..=Self::DEFAULT).contains(&seconds) {
            reader.fault("JWKS_MAX_AGE_SECONDS", "must be from 1 to 600");
        }
        Some(Self(seconds))
    }

    /// The number of seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// As a length of time.
    #[must_use]
    pub fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(self.0.into())
    }
}

/// The keys of the table, kept for a while.
pub struct TableKeys {
    table: KeysTable,
    fresh: SignedDuration,
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
    epoch: GlobalEpoch,
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

    fn is_tried_before(&self, ago: SignedDuration, now: Timestamp) -> bool {
        Self::age(self.tried_at, now) >= ago
    }

    fn is_younger(&self, than: SignedDuration, now: Timestamp) -> bool {
        Self::age(self.read_at, now) < than
    }
}

impl TableKeys {
    /// Opens the table and reads the set. When that fails the function still starts, and each
    /// request tries again within the limits above.
    pub async fn open(config: &Config, client: Client, clock: Arc<dyn Clock>) -> Self {
        let (table, fresh) = (config.table(client), config.fresh.duration());
        let keys = Self { table, fresh, clock, cache: Mutex::default() };
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
        Ok(Arc::clone(&self.served().await?.set))
    }

    /// The cache, with a set that may serve.
    async fn served(&self) -> Result<MutexGuard<'_, Cache>, KeyError> {
        let (mut cache, now) = self.cache().await;
        // With a cache shorter than the wait between reads, the cache says how often.
        let due = cache.may_try(now) || cache.is_tried_before(self.fresh, now);
        if !cache.is_younger(self.fresh, now) && due {
            self.refresh(&mut cache, now).await;
        }
        let stale = self.fresh + SignedDuration::from_secs(STALE_SECONDS);
        if cache.is_younger(stale, now) { Ok(cache) } else { Err(KeyError) }
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
        match self.table.published(now).await {
            Ok(Published { set, epoch, signing_since }) => {
                if let Some(since) = signing_since {
                    Metric::SigningKeyAge.add(now.duration_since(since).as_secs_f64());
                }
                cache.set = Arc::new(set);
                cache.epoch = epoch;
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

    async fn epoch(&self) -> Result<GlobalEpoch, KeyError> {
        Ok(self.served().await?.epoch)
    }
}
