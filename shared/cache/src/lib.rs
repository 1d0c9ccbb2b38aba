//! A cache of one value from a [`Source`]. The key set and the secrets are cached by these rules:
//!
//! 1. A value is *fresh* for some time after it was read. A fresh value is served without another read.
//! 2. After that, the next request reads it again. While reads fail, the old value is served for some
//!    more time, and at least [`RETRY_SECONDS`] pass between the starts of two reads.
//! 3. If no value may be served (none was ever read, or the last one is too old), each request reads
//!    the value. A failed read therefore fails only the requests that waited for it, not later ones.
//! 4. Concurrent requests share one read and its outcome, even if it fails.
//!
//! [`Cache::renewed`] reads the value again even if it is fresh, for instance because the key set lacks a key that a
//! caller needs. It reads at most once every [`RETRY_SECONDS`].

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use process::Clock;
use tokio::sync::Mutex;

/// The minimum number of seconds between the starts of two reads while an old value can be served.
pub const RETRY_SECONDS: i64 = 10;

/// A source of a value.
pub trait Source: Send + Sync + 'static {
    /// The type of the value.
    type Value: Send + Sync + 'static;

    /// The reason why the value could not be read. All requests that shared the read get a copy.
    type Error: std::error::Error + Clone + Send + Sync + 'static;

    /// The name of the value in the log, such as `the key set`.
    const NAME: &'static str;

    /// Reads the value.
    fn read(&self) -> impl Future<Output = Result<Self::Value, Self::Error>> + Send;
}

/// How long a value is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// How long a value is served without a further read.
    pub fresh: SignedDuration,
    /// How much longer it is served while reads fail.
    pub stale: SignedDuration,
}

impl Lifetime {
    /// The longest time for which a value is served after it was read.
    #[must_use]
    pub fn longest(self) -> SignedDuration {
        self.fresh + self.stale
    }
}

/// A cached value, and the rules by which it is read again.
pub struct Cache<S: Source> {
    source: S,
    lifetime: Lifetime,
    clock: Arc<dyn Clock>,
    /// How many reads have ended.
    reads: AtomicU64,
    // Locked during a read, so that concurrent requests wait for its outcome.
    state: Mutex<State<S>>,
}

/// Does not show the value, which may be a secret.
impl<S: Source> fmt::Debug for Cache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

struct State<S: Source> {
    kept: Option<Kept<S::Value>>,
    /// When the last read began, whether or not it succeeded.
    tried_at: Option<Timestamp>,
    /// Why the last read failed; `None` after a successful one.
    failure: Option<S::Error>,
}

struct Kept<T> {
    value: Arc<T>,
    read_at: Timestamp,
}

impl<S: Source> Default for State<S> {
    fn default() -> Self {
        Self { kept: None, tried_at: None, failure: None }
    }
}

impl<S: Source> State<S> {
    /// Replaces times in the future with the current time, in case the clock was set back. Otherwise the value
    /// would stay fresh, and nothing would be read, until the clock caught up.
    fn clamp_times(&mut self, now: Timestamp) {
        self.tried_at = self.tried_at.map(|at| at.min(now));
        if let Some(kept) = &mut self.kept {
            kept.read_at = kept.read_at.min(now);
        }
    }

    /// The value if it is younger than `age`.
    fn younger_than(&self, age: SignedDuration, now: Timestamp) -> Option<Arc<S::Value>> {
        let kept = self.kept.as_ref().filter(|kept| now.duration_since(kept.read_at) < age)?;
        Some(Arc::clone(&kept.value))
    }

    /// Whether the last read began at least `ago` ago, or nothing has been read yet.
    fn tried_before(&self, ago: SignedDuration, now: Timestamp) -> bool {
        self.tried_at.is_none_or(|at| now.duration_since(at) >= ago)
    }
}

/// What a caller wants: a value that is still fresh, or one that has been read again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Fresh,
    Renewed,
}

impl<S: Source> Cache<S> {
    /// Creates an empty cache. Reads nothing yet.
    pub fn new(source: S, lifetime: Lifetime, clock: Arc<dyn Clock>) -> Self {
        Self { source, lifetime, clock, reads: AtomicU64::new(0), state: Mutex::default() }
    }

    /// The source of the value.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Returns a fresh value, or an old one while reads fail.
    ///
    /// # Errors
    /// When the value cannot be read, and no old one may be served.
    pub async fn get(&self) -> Result<Arc<S::Value>, S::Error> {
        self.value(Wanted::Fresh).await
    }

    /// Reads the value again and returns it. Skips the read if the last one began less than [`RETRY_SECONDS`] ago.
    /// If the read fails, the value stays the same.
    ///
    /// # Errors
    /// In the same cases as [`Cache::get`].
    pub async fn renewed(&self) -> Result<Arc<S::Value>, S::Error> {
        self.value(Wanted::Renewed).await
    }

    async fn value(&self, wanted: Wanted) -> Result<Arc<S::Value>, S::Error> {
        let reads = self.reads.load(Ordering::SeqCst);
        let mut state = self.state.lock().await;
        // Read the clock after locking: a request that waited for another's read must not use the time from
        // before the wait.
        let now = self.clock.now();
        state.clamp_times(now);
        let shared_read_failed =
            self.reads.load(Ordering::SeqCst) != reads && state.failure.is_some();
        if self.is_due(wanted, &state, now) && !shared_read_failed {
            self.read(&mut state, now).await;
        }
        match state.younger_than(self.lifetime.longest(), now) {
            Some(value) => Ok(value),
            None => Err(state.failure.clone().expect("without a value, a read has just failed")),
        }
    }

    fn is_due(&self, wanted: Wanted, state: &State<S>, now: Timestamp) -> bool {
        let retry = SignedDuration::from_secs(RETRY_SECONDS);
        if state.younger_than(self.lifetime.longest(), now).is_none() {
            return true;
        }
        if state.younger_than(self.lifetime.fresh, now).is_none() {
            // If values stay fresh for less than the usual retry interval, retry after that shorter time.
            return state.tried_before(retry.min(self.lifetime.fresh), now);
        }
        wanted == Wanted::Renewed && state.tried_before(retry, now)
    }

    async fn read(&self, state: &mut State<S>, now: Timestamp) {
        // Set the time before the read: a read that hangs and is dropped with its request is an attempt too.
        state.tried_at = Some(now);
        // Boxed: reads are rare, and the SDK's futures are deeply nested.
        match self.source.read().boxed().await {
            Ok(value) => {
                state.kept = Some(Kept { value: Arc::new(value), read_at: now });
                state.failure = None;
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "{} was not read",
                    S::NAME
                );
                state.failure = Some(error);
            }
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
    }
}
