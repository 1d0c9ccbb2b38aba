//! What a secret says, kept for a while.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use auth::{Clock, Reader};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::{Config, Secret, SecretError};

/// How long beyond its freshness a value still serves while reads fail, in seconds.
pub const STALE_SECONDS: i64 = 300;

/// How long after a failed read the next one is tried, in seconds.
const RETRY_SECONDS: i64 = 5;

/// How long a value that has been read counts as fresh, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSeconds(i64);

impl CacheSeconds {
    /// The most, and the default.
    pub const MAX: i64 = 60;

    /// From `SECRETS_CACHE_SECONDS`: 1 to 60, 60 by default.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let seconds = reader.optional("SECRETS_CACHE_SECONDS", Self::MAX)?;
        if !(1..=Self::MAX).contains(&seconds) {
            reader.fault("SECRETS_CACHE_SECONDS", "must be from 1 to 60");
        }
        Some(Self(seconds))
    }
}

impl Default for CacheSeconds {
    fn default() -> Self {
        Self(Self::MAX)
    }
}

/// A secret as a `T`. Read again once it is no longer fresh; while reads fail the old value serves for
/// [`STALE_SECONDS`] more.
pub struct Cached<T> {
    secret: Secret,
    fresh: SignedDuration,
    clock: Arc<dyn Clock>,
    // Held over a read on purpose: of many requests that need one, the first makes it.
    cache: Mutex<Option<Entry<T>>>,
}

struct Entry<T> {
    value: Arc<T>,
    read_at: Timestamp,
    tried_at: Timestamp,
}

impl<T> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// Where a secret is, and how long to keep what it says.
#[derive(Clone, Debug)]
pub struct CachedConfig {
    secret: Config,
    fresh: CacheSeconds,
}

impl CachedConfig {
    /// From the variable `name`, as [`Config::read`] says, and `SECRETS_CACHE_SECONDS`.
    pub fn read(reader: &Reader<'_>, name: &'static str) -> Option<Self> {
        let secret = Config::read(reader, name);
        let fresh = CacheSeconds::read(reader);
        Some(Self { secret: secret?, fresh: fresh? })
    }

    /// What the secret says, kept. Nothing is read yet.
    #[must_use]
    pub fn open<T: FromStr<Err: fmt::Display>>(&self, clock: Arc<dyn Clock>) -> Arc<Cached<T>> {
        Arc::new(Cached::new(Secret::new(&self.secret), self.fresh, clock))
    }
}

impl<T: FromStr<Err: fmt::Display>> Cached<T> {
    /// Keeps what `secret` says. Nothing is read yet.
    pub fn new(secret: Secret, fresh: CacheSeconds, clock: Arc<dyn Clock>) -> Self {
        let fresh = SignedDuration::from_secs(fresh.0);
        Self { secret, fresh, clock, cache: Mutex::default() }
    }

    /// The value, fresh or at least not too old.
    ///
    /// # Errors
    /// When it cannot be read, and what was read before is too old.
    pub async fn get(&self) -> Result<Arc<T>, SecretError> {
        let mut cache = self.cache.lock().await;
        let now = self.clock.now();
        if let Some(entry) = &mut *cache {
            // When the clock has been set back, what lies ahead of it counts as of now.
            entry.read_at = entry.read_at.min(now);
            entry.tried_at = entry.tried_at.min(now);
            let age = now.duration_since(entry.read_at);
            let tried = SignedDuration::from_secs(RETRY_SECONDS).min(self.fresh);
            let tried = now.duration_since(entry.tried_at) < tried;
            if age < self.fresh || (tried && age < self.stale()) {
                return Ok(Arc::clone(&entry.value));
            }
        }
        match self.read().await {
            Ok(value) => {
                let value = Arc::new(value);
                let entry = Entry { value: Arc::clone(&value), read_at: now, tried_at: now };
                *cache = Some(entry);
                Ok(value)
            }
            Err(error) => match &mut *cache {
                Some(entry) if now.duration_since(entry.read_at) < self.stale() => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a secret was not read"
                    );
                    entry.tried_at = now;
                    Ok(Arc::clone(&entry.value))
                }
                _ => {
                    *cache = None;
                    Err(error)
                }
            },
        }
    }

    /// How old a value may be that serves while reads fail.
    fn stale(&self) -> SignedDuration {
        self.fresh + SignedDuration::from_secs(STALE_SECONDS)
    }

    async fn read(&self) -> Result<T, SecretError> {
        let version = self.secret.current().await?;
        version.value.parse().map_err(|error: T::Err| SecretError::Unusable(error.to_string()))
    }
}
