//! Secrets that are parsed and cached.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use cache::{Cache, Lifetime, Source};
use jiff::SignedDuration;
use process::{Clock, Reader, Settings, World};

use crate::{Config, Secret, SecretError};

/// How long a value that is no longer fresh is still served while reads fail, in seconds.
pub const STALE_SECONDS: i64 = 300;

/// How long a value stays fresh after it is read, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSeconds(i64);

impl CacheSeconds {
    /// The maximum, which is also the default.
    pub const MAX: i64 = 60;
}

impl Settings for CacheSeconds {
    /// Reads `SECRETS_CACHE_SECONDS` (1 to 60, default 60).
    fn read(reader: &Reader<'_>) -> Option<Self> {
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

/// A secret parsed as a `T`, cached by the rules of [`cache`].
pub struct Cached<T: Parsed>(Cache<SecretOf<T>>);

/// Does not show the value.
impl<T: Parsed> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cached").field(&self.0.source().secret).finish()
    }
}

/// A type that can be parsed from a secret.
pub trait Parsed: FromStr<Err: fmt::Display> + Send + Sync + 'static {}

impl<T: FromStr<Err: fmt::Display> + Send + Sync + 'static> Parsed for T {}

/// A secret that contains a `T`, as the source of a cache.
struct SecretOf<T> {
    secret: Secret,
    of: PhantomData<fn() -> T>,
}

impl<T: Parsed> Source for SecretOf<T> {
    type Value = T;
    type Error = SecretError;
    const NAME: &'static str = "a secret";

    async fn read(&self) -> Result<T, SecretError> {
        let version = self.secret.current().await?;
        version.value.parse().map_err(|error: T::Err| SecretError::Unusable(error.to_string()))
    }
}

/// The location of a secret, and how long to cache its value.
#[derive(Clone, Debug)]
pub struct CachedConfig {
    secret: Config,
    fresh: CacheSeconds,
}

impl CachedConfig {
    /// Reads the variable `name`, as [`Config::read`] does, and `SECRETS_CACHE_SECONDS`.
    pub fn read(reader: &Reader<'_>, name: &'static str) -> Option<Self> {
        let secret = Config::read(reader, name);
        let fresh = CacheSeconds::read(reader);
        Some(Self { secret: secret?, fresh: fresh? })
    }

    /// Creates a cache of the secret. Reads nothing yet.
    #[must_use]
    pub fn open<T: Parsed>(&self, clock: Arc<dyn Clock>) -> Arc<Cached<T>> {
        Arc::new(Cached::new(Secret::new(&self.secret), self.fresh, clock))
    }
}

/// The location of the peppers' secret, and how long to cache it.
#[derive(Clone, Debug)]
pub struct PeppersSecret(CachedConfig);

impl PeppersSecret {
    /// Creates a cache of the peppers. Reads nothing yet.
    #[must_use]
    pub fn open<T: Parsed>(&self, world: &World) -> Arc<Cached<T>> {
        self.0.open(Arc::clone(&world.clock))
    }
}

impl Settings for PeppersSecret {
    /// Reads `PEPPERS_SECRET`, as [`Config::read`] does, and `SECRETS_CACHE_SECONDS`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        CachedConfig::read(reader, "PEPPERS_SECRET").map(Self)
    }
}

/// The location of the signing keys' secret.
#[derive(Clone, Debug)]
pub struct SigningKeysSecret(Config);

impl SigningKeysSecret {
    /// The location of the secret.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0
    }
}

impl Settings for SigningKeysSecret {
    /// Reads `SIGNING_KEYS_SECRET`, as [`Config::read`] does.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        Config::read(reader, "SIGNING_KEYS_SECRET").map(Self)
    }
}

impl<T: Parsed> Cached<T> {
    /// Creates a cache of `secret`. Reads nothing yet.
    pub fn new(secret: Secret, fresh: CacheSeconds, clock: Arc<dyn Clock>) -> Self {
        let lifetime = Lifetime {
            fresh: SignedDuration::from_secs(fresh.0),
            stale: SignedDuration::from_secs(STALE_SECONDS),
        };
        Self(Cache::new(SecretOf { secret, of: PhantomData }, lifetime, clock))
    }

    /// Returns a fresh value, or the previous one while reads fail.
    ///
    /// # Errors
    /// When the secret cannot be read and the previous value is too old.
    pub async fn get(&self) -> Result<Arc<T>, SecretError> {
        self.0.get().await
    }
}
